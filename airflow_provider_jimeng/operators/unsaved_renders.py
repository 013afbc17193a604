# SPDX-License-Identifier: Apache-2.0
"""The renders that a rescue finds: which of them can be saved, and why the others cannot."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import (
    JimengError,
    LandingError,
    MissingConnectionError,
    NotSentError,
    ParameterError,
    RenderNotFoundError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.messages import render_error, unlabelled_for_good
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.output_path import is_below
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.core.render import (
    PAYLOAD_VERSION,
    Render,
    RenderManifest,
    kept_until,
    parse_time,
)
from airflow_provider_jimeng.core.submit_messages import CHECK, cost_of, found_by_hand, owner_of
from airflow_provider_jimeng.hooks.base import links_to
from airflow_provider_jimeng.hooks.waiting import poke, poller_for
from airflow_provider_jimeng.storage.landing import already_landed, land, still_landed
from airflow_provider_jimeng.storage.output import OutputPath, check_names, manifest_in_place

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.render import RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.storage.paid import Entries

log = logging.getLogger(__name__)

ROUND_SECONDS = 10.0
_ABANDONED_AFTER_SECONDS = 24 * 3600
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{16}|claim|beat)\.part")
KINDS = ("landed", "already_landed", "running", "failed", "lost", "unknown", "problems")


@dataclass(slots=True, kw_only=True)
class UnsavedRender:
    """A render that a task paid for, and perhaps did not save.

    ``manifest``: that of its file, if it was saved once. ``trouble``: why the API cannot be queried.
    """

    render: Render
    target: OutputPath
    manifest: RenderManifest | None = None
    trouble: str | None = None


@dataclass(slots=True, kw_only=True)
class UnsavedRenders:
    """Collects renders and intents, then saves every video that can be saved. It submits nothing and changes no record.

    :param folder: directory for renders whose own path is not known.
    :param hook_for: returns the hook of a connection.
    :param compare_bytes: read every saved video to see whether it is unaltered.
    :param unconnected: number of renders whose connection does not exist; another try does not help them.
    """

    folder: OutputPath
    hook_for: Callable[[str], JimengHook]
    aigc_meta: Mapping[str, str] | None = None
    require_tagged: bool = False
    compare_bytes: bool = False
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    unconnected: int = 0
    summary: dict[str, list[Any]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    _renders: dict[tuple[str, str], UnsavedRender] = field(default_factory=dict)
    _intents: dict[tuple[TaskKey, str], Record] = field(default_factory=dict)
    _certain: set[tuple[TaskKey, str]] = field(default_factory=set)
    _recorded: dict[TaskKey, Record] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _hooks: dict[str, JimengHook] = field(default_factory=dict)
    _clients: ExitStack = field(default_factory=ExitStack)
    _unread: dict[str, JimengError] = field(default_factory=dict)
    _sizes: dict[str, int | None] = field(default_factory=dict)
    _answers: dict[tuple[tuple[str, str, str], str], Render] = field(default_factory=dict)

    def add_payload(self, payload: Mapping[str, Any], *, owner: tuple[str, str, str]) -> None:
        """Add a render payload, or a manifest, from XCom. ``owner``: DAG, run and task that pushed it."""
        try:
            render = Render.from_payload(payload)
            manifest = RenderManifest.from_payload(payload) if "sha256" in payload else None
        except ValueError as error:
            self.summary["problems"].append(f"An XCom does not contain a render payload: {error}")
            return
        target = self._target_of(payload.get("output_path"))
        self._add(UnsavedRender(render=render, target=target, manifest=manifest))
        self._answers[owner, render.task_id] = render

    def add_intent(self, payload: Mapping[str, Any]) -> None:
        """Add a ``jimeng_intent`` from XCom. Its try pushed it last, so no payload beside it is its answer."""
        try:
            intent = Record.from_payload(payload)
        except (KeyError, TypeError, ValueError) as error:
            self.summary["problems"].append(
                f"An XCom does not contain an intent ({type(error).__name__}: {error})."
            )
            return
        self._add_record(intent)
        self._certain.add((intent.key, intent.intent_at))

    def add_records(self, records: Iterable[Record]) -> None:
        """Add records of tasks."""
        for record in records:
            self._add_record(record)
            self._known |= {str(past["render"]["task_id"]) for past in record.past()}
            if record.state is not RecordState.INTENT:
                self._recorded[record.key] = record

    def visit(self, place: OutputPath, entries: Entries) -> None:
        """Remember the files of a directory, and remove the temporary files that killed tasks left in it."""
        _remove_abandoned_files(place, entries)
        self._sizes |= {_plain(str(entry["name"])): entry.get("size") for entry in entries}

    def run(self, *, deadline: float) -> dict[str, Any]:
        """Save what is done, or is done before ``deadline`` (epoch seconds); return the summary."""
        self.summary["unknown"] += [_unknown(intent) for intent in self._unanswered()]
        pending = list(self._renders.values())
        with self._clients:
            while pending := [unsaved for unsaved in pending if not self._is_settled(unsaved)]:
                left = deadline - self.now()
                if left <= 0:
                    break
                self.sleep(min(left, spread(ROUND_SECONDS, random.random())))
                self._unread.clear()
        for unsaved in pending:
            self._list_running(unsaved)
        return {"version": PAYLOAD_VERSION, **self.summary}

    def _add_record(self, record: Record) -> None:
        if record.state is RecordState.INTENT:
            self._intents[record.key, record.intent_at] = record
        elif record.render is not None:
            manifest = None if record.manifest is None else RenderManifest.from_payload(record.manifest)
            target = self._target_of(record.output_path)
            self._add(
                UnsavedRender(render=Render.from_payload(record.render), target=target, manifest=manifest)
            )
        for past in record.previous:
            if past["state"] == RecordState.SUBMITTED:
                self._add(UnsavedRender(render=Render.from_payload(past["render"]), target=self.folder))

    def _unanswered(self) -> list[Record]:
        """Return the intents whose submit has no known response.

        The answer to an intent is a later record of its task, or an XCom with a render that no record has. Such an XCom
        answers one intent of its task and request: the last one that began before the render.
        """
        answers = {key: render for key, render in self._answers.items() if render.task_id not in self._known}
        unknown: list[Record] = []
        for intent in sorted(self._intents.values(), key=_began, reverse=True):
            record = self._recorded.get(intent.key)
            if record is not None and _began(record) >= _began(intent):
                continue
            owner = (intent.key.dag_id, intent.key.run_id, intent.key.task_id)
            matching = (
                (whose, task_id)
                for (whose, task_id), render in answers.items()
                if (whose, render.fingerprint) == (owner, intent.fingerprint)
                and render.submitted_at >= _began(intent)
            )
            answer = None if (intent.key, intent.intent_at) in self._certain else next(matching, None)
            if answer is None:
                unknown.append(intent)
            else:
                del answers[answer]
        return unknown[::-1]

    def _add(self, unsaved: UnsavedRender) -> None:
        """Keep each render once. The place in a record counts more than the one in an XCom."""
        key = (unsaved.render.task_id, unsaved.render.req_key)
        before = self._renders.get(key)
        if before is not None:
            unsaved.manifest = unsaved.manifest or before.manifest
            if unsaved.target == self.folder:
                unsaved.target = before.target
        self._renders[key] = unsaved

    def _target_of(self, output_path: str | None) -> OutputPath:
        """Return where a task saves its render, if that is in this folder."""
        if isinstance(output_path, str) and is_below(self.folder.output_path, output_path):
            target = OutputPath(output_path=output_path, output_conn_id=self.folder.output_conn_id)
            with suppress(ParameterError):  # too long a name for a manifest beside it
                check_names(target)
                return target
        return self.folder

    def _is_settled(self, unsaved: UnsavedRender) -> bool:
        try:
            return self._handle(unsaved)
        except MissingConnectionError as error:
            self.unconnected += 1
            problem = str(error)
        except JimengError as error:
            problem = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - the other renders are saved anyway
            problem = f"{type(error).__name__}: {error}"
        until = kept_until(unsaved.render.submitted_at)
        self.summary["problems"].append(
            f"Render {unsaved.render.task_id}, kept until {until}, could not be saved. {problem}"
        )
        return True

    def _handle(self, unsaved: UnsavedRender) -> bool:
        """Save a render, or list why not; return ``False`` while it still runs."""
        saved = self._saved_file(unsaved)
        if saved is not None and (saved.is_labelled or not self.require_tagged):
            self.summary["already_landed"].append(saved.to_payload())
            return True
        try:
            hook = self._hook(unsaved.render.jimeng_conn_id)
        except NotSentError as error:
            unsaved.trouble = f"{type(error).__name__}: {error}"
            return False
        ended = poke(lambda: _ask(hook, unsaved), poller_for(unsaved.render, deadline=float("inf")))
        if ended is None:
            return False
        if ended.outcome is Outcome.SUCCEEDED:
            try:
                self.summary["landed"].append(self._land(hook, unsaved, ended).to_payload())
            except RenderNotFoundError as error:
                lost = error if saved is None else unlabelled_for_good(saved)
                self.summary["lost"].append(_listed(unsaved, str(lost)))
            return True
        kind = "failed" if ended.outcome is Outcome.FAILED else "lost"
        why = (
            render_error(ended, unsaved.render, submits=False)
            if saved is None
            else unlabelled_for_good(saved)
        )
        self.summary[kind].append({**_listed(unsaved, str(why)), "code": ended.code})
        return True

    def _saved_file(self, unsaved: UnsavedRender) -> RenderManifest | None:
        """Return the manifest of a saved render. Its size is compared, or its bytes if ``compare_bytes`` is set."""
        if not self.compare_bytes and self._is_listed(unsaved):
            return unsaved.manifest
        places = [unsaved.target] if unsaved.target == self.folder else [unsaved.target, self.folder]
        for target in places:
            saved = None if self.compare_bytes else manifest_in_place(target, unsaved.render, completed=True)
            if (saved := saved or already_landed(target, unsaved.render)) is not None:
                return saved
        if unsaved.manifest is None:
            return None
        return still_landed(
            unsaved.manifest,
            output_conn_id=self.folder.output_conn_id,
            output_path=self.folder.output_path,
            compare_bytes=self.compare_bytes,
        )

    def _is_listed(self, unsaved: UnsavedRender) -> bool:
        """Return whether the listing shows the recorded file with its size, and its manifest. That needs no request."""
        manifest = unsaved.manifest
        if manifest is None:
            return False
        file = unsaved.target.file_for(unsaved.render)
        return (
            manifest.uri == file.uri
            and self._sizes.get(_plain(file.path)) == manifest.bytes
            and _plain(file.sidecar.path) in self._sizes
        )

    def _hook(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection: one for all its renders, with one client.

        :raises JimengError: the connection cannot be read. In one round it is looked up once.
        """
        if jimeng_conn_id in self._unread:
            raise self._unread[jimeng_conn_id].with_traceback(None)
        if jimeng_conn_id not in self._hooks:
            self._hooks[jimeng_conn_id] = self._clients.enter_context(self.hook_for(jimeng_conn_id))
        hook = self._hooks[jimeng_conn_id]
        try:
            _ = hook.settings
        except JimengError as error:
            self._unread[jimeng_conn_id] = error
            raise
        return hook

    def _land(self, hook: JimengHook, unsaved: UnsavedRender, ended: RenderEvent) -> RenderManifest:
        """Save a render where its task would save it, or in the folder if another file has that name."""
        links = links_to(hook, unsaved.render, aigc_meta=self.aigc_meta, require_tagged=self.require_tagged)
        for target in (unsaved.target, self.folder):
            try:
                return land(
                    unsaved.render,
                    links,
                    target=target,
                    require_tagged=self.require_tagged,
                    event=ended,
                )
            except TargetTakenError as error:
                log.warning("The render is saved in the directory instead. %s", error)
        raise AssertionError  # a directory always has a free name

    def _list_running(self, unsaved: UnsavedRender) -> None:
        until = kept_until(unsaved.render.submitted_at)
        if unsaved.trouble is not None:
            self.summary["problems"].append(
                f"Render {unsaved.render.task_id}, kept until {until}, could not be queried. {unsaved.trouble}"
            )
            return
        self.summary["running"].append(
            _listed(unsaved, f"It still runs, or has no link yet, and can be saved until {until}.")
        )


def _remove_abandoned_files(place: OutputPath, entries: Iterable[Mapping[str, Any]]) -> None:
    """Remove the temporary files of tasks that were killed more than a day ago.

    The next task that saves the same video removes them by their names. It does not know the names that 0.1.0 used, and
    not every video is saved again.

    :param entries: the directory's listing, with times by the clock of the store.
    """
    abandoned_before = time.time() - _ABANDONED_AFTER_SECONDS
    for entry in entries:
        name = str(entry["name"]).rpartition("/")[2]
        if entry["type"] != "file" or not _TEMPORARY.fullmatch(name):
            continue
        written_at = entry.get("mtime") or entry.get("LastModified") or abandoned_before
        if isinstance(written_at, datetime):
            written_at = written_at.timestamp()
        if written_at < abandoned_before:
            try:
                place.file(name).remove()
                log.info("Removed %s, which a killed task left.", place.file(name).uri)
            except LandingError as error:
                log.warning("%s", error)


def _ask(hook: JimengHook, unsaved: UnsavedRender) -> QueryReply:
    try:
        reply = hook.query(unsaved.render)
    except JimengError as error:
        unsaved.trouble = f"{type(error).__name__}: {error}"
        raise
    unsaved.trouble = None
    return reply


def _plain(path: str) -> str:
    """Return a path as both a file and a listing of its store have it."""
    return path.strip("/")


def _began(record: Record) -> pendulum.DateTime:
    return parse_time(record.intent_at)


def _listed(unsaved: UnsavedRender, message: str) -> dict[str, Any]:
    return {**unsaved.render.to_payload(), "message": message}


def _unknown(intent: Record) -> dict[str, Any]:
    request = dict(intent.request or {})
    return {
        "task_instance": intent.key.to_payload(),
        "intent_at": intent.intent_at,
        "jimeng_conn_id": intent.jimeng_conn_id,
        **request,
        "estimated_cost_cny": cost_of(request),
        "message": f"The submit that {owner_of(intent)}, began at {intent.intent_at} got no response. {CHECK} {found_by_hand(intent)}",
    }


def flattened(values: Any) -> Sequence[Mapping[str, Any]]:
    """Return the dicts of what ``xcom_pull`` gives for one task: a value, or a list of a mapped task's values."""
    if isinstance(values, Mapping):
        return [values]
    if values is None or isinstance(values, str | int | float):
        return []
    return [value for value in values if isinstance(value, Mapping)]
