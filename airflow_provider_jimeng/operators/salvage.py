"""What a rescue finds, and what becomes of each: landed, there already, running, failed, lost, unknown."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.deadlines import kept_until, spread
from airflow_provider_jimeng.core.errors import (
    JimengError,
    MissingConnectionError,
    ParameterError,
    RenderNotFoundError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.event import PAYLOAD_VERSION, Outcome
from airflow_provider_jimeng.core.messages import lacks_label, render_error, unlabelled_for_good
from airflow_provider_jimeng.core.output_path import is_below
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.core.render import Render, RenderManifest, parse_time
from airflow_provider_jimeng.core.submit_messages import CHECK, cost_of, found_by_hand, owner_of
from airflow_provider_jimeng.hooks.landing import land_render
from airflow_provider_jimeng.hooks.waiting import ask_now, need_connection, poller_for
from airflow_provider_jimeng.storage.landing import already_landed, still_landed
from airflow_provider_jimeng.storage.manifest import manifest_in_place
from airflow_provider_jimeng.storage.names import check_names
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.event import RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

log = logging.getLogger(__name__)

ROUND_SECONDS = 10.0
KINDS = ("landed", "already_landed", "running", "failed", "lost", "unknown", "problems")


@dataclass(slots=True, kw_only=True)
class Wreck:
    """A render that somebody paid for. ``manifest``: where it was landed once; ``trouble``: why it cannot be asked."""

    render: Render
    target: Target
    manifest: RenderManifest | None = None
    trouble: str | None = None


@dataclass(slots=True, kw_only=True)
class Salvage:
    """Collects renders and intents, then lands what can be landed. It submits nothing and changes no record.

    :param folder: directory that renders of unknown destination are landed in.
    :param hook_for: returns the hook of a connection.
    :param compare_bytes: read every landed video to see whether it is unaltered.
    :param unconnected: counts the renders whose connection does not exist, which no other try mends.
    """

    folder: Target
    hook_for: Callable[[str], JimengHook]
    aigc_meta: Mapping[str, str] | None = None
    require_tagged: bool = False
    compare_bytes: bool = False
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    unconnected: int = 0
    summary: dict[str, list[Any]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    _wrecks: dict[tuple[str, str], Wreck] = field(default_factory=dict)
    _intents: dict[tuple[TaskKey, str], Record] = field(default_factory=dict)
    _certain: set[tuple[TaskKey, str]] = field(default_factory=set)
    _recorded: dict[TaskKey, Record] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _hooks: dict[str, JimengHook] = field(default_factory=dict)
    _answers: dict[tuple[tuple[str, str, str], str], Render] = field(default_factory=dict)

    def add_payload(self, payload: Mapping[str, Any], *, owner: tuple[str, str, str]) -> None:
        """Take in a render payload from XCom; a manifest is one, too. ``owner``: DAG, run and task that pushed it."""
        try:
            render = Render.from_payload(payload)
            manifest = RenderManifest.from_payload(payload) if "sha256" in payload else None
        except ValueError as error:
            self.summary["problems"].append(f"An XCom holds no render payload: {error}")
            return
        target = self._target_of(payload.get("output_path"))
        self._add(Wreck(render=render, target=target, manifest=manifest))
        self._answers[owner, render.task_id] = render

    def add_intent(self, payload: Mapping[str, Any]) -> None:
        """Take in a ``jimeng_intent`` from XCom, which its try left last: no payload beside it is the answer."""
        try:
            intent = Record.from_payload(payload)
        except (KeyError, TypeError, ValueError) as error:
            self.summary["problems"].append(f"An XCom holds no intent ({type(error).__name__}: {error}).")
            return
        self._add_record(intent)
        self._certain.add((intent.key, intent.intent_at))

    def add_records(self, records: Iterable[Record]) -> None:
        """Take in records of tasks."""
        for record in records:
            self._add_record(record)
            self._known |= {str(past["render"]["task_id"]) for past in record.past()}
            if record.state is not RecordState.INTENT:
                self._recorded[record.key] = record

    def run(self, *, deadline: float) -> dict[str, Any]:
        """Land what is done, and what gets done before ``deadline`` (epoch seconds); return the summary."""
        self.summary["unknown"] += [_unknown(intent) for intent in self._unanswered()]
        pending = list(self._wrecks.values())
        while pending := [wreck for wreck in pending if not self._settled(wreck)]:
            left = deadline - self.now()
            if left <= 0:
                break
            self.sleep(min(left, spread(ROUND_SECONDS, random.random())))
        for wreck in pending:
            self._still_there(wreck)
        return {"version": PAYLOAD_VERSION, **self.summary}

    def _add_record(self, record: Record) -> None:
        if record.state is RecordState.INTENT:
            self._intents[record.key, record.intent_at] = record
        elif record.render is not None:
            manifest = None if record.manifest is None else RenderManifest.from_payload(record.manifest)
            target = self._target_of(record.output_path)
            self._add(Wreck(render=Render.from_payload(record.render), target=target, manifest=manifest))
        for past in record.previous:
            if past["state"] == RecordState.SUBMITTED:
                self._add(Wreck(render=Render.from_payload(past["render"]), target=self.folder))

    def _unanswered(self) -> list[Record]:
        """Return the intents that nothing answers: neither a later record of the task, nor an XCom that no record knows.

        An XCom answers one intent of its task and request, the last that was begun before it.
        """
        answers = {key: render for key, render in self._answers.items() if render.task_id not in self._known}
        unknown: list[Record] = []
        for intent in sorted(self._intents.values(), key=_began, reverse=True):
            record = self._recorded.get(intent.key)
            if record is not None and _began(record) >= _began(intent):
                continue
            owner = (intent.key.dag_id, intent.key.run_id, intent.key.task_id)
            fitting = (
                (whose, task_id)
                for (whose, task_id), render in answers.items()
                if (whose, render.fingerprint) == (owner, intent.fingerprint)
                and render.submitted_at >= _began(intent)
            )
            answer = None if (intent.key, intent.intent_at) in self._certain else next(fitting, None)
            if answer is None:
                unknown.append(intent)
            else:
                del answers[answer]
        return unknown[::-1]

    def _add(self, wreck: Wreck) -> None:
        """Keep a render once; a record knows better than an XCom where it belongs."""
        key = (wreck.render.task_id, wreck.render.req_key)
        before = self._wrecks.get(key)
        if before is not None:
            wreck.manifest = wreck.manifest or before.manifest
            if wreck.target == self.folder:
                wreck.target = before.target
        self._wrecks[key] = wreck

    def _target_of(self, output_path: str | None) -> Target:
        """Return where a task lands its render, if that is in this folder."""
        if isinstance(output_path, str) and is_below(self.folder.output_path, output_path):
            target = Target(output_path=output_path, output_conn_id=self.folder.output_conn_id)
            with suppress(ParameterError):  # a name that holds no video and its manifest
                check_names(target)
                return target
        return self.folder

    def _settled(self, wreck: Wreck) -> bool:
        try:
            return self._handle(wreck)
        except MissingConnectionError as error:
            self.unconnected += 1
            problem = str(error)
        except JimengError as error:
            problem = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - a missing connection of one render must not strand the others
            problem = f"{type(error).__name__}: {error}"
        until = kept_until(wreck.render.submitted_at)
        self.summary["problems"].append(
            f"Render {wreck.render.task_id}, kept until {until}, could not be landed. {problem}"
        )
        return True

    def _handle(self, wreck: Wreck) -> bool:
        """Do what can be done for a render now; return whether that was the last of it."""
        there = self._there(wreck)
        if there is not None and not lacks_label(there, required=self.require_tagged):
            self.summary["already_landed"].append(there.to_payload())
            return True
        hook = self._hook(wreck.render.jimeng_conn_id)
        need_connection(hook)
        ended = ask_now(lambda: _ask(hook, wreck), poller_for(wreck.render, deadline=float("inf")))
        if ended is None:
            return False
        if ended.outcome is Outcome.SUCCEEDED:
            try:
                self.summary["landed"].append(self._land(hook, wreck, ended).to_payload())
            except RenderNotFoundError as error:
                lost = error if there is None else unlabelled_for_good(there)
                self.summary["lost"].append(_listed(wreck, str(lost)))
            return True
        kind = "failed" if ended.outcome is Outcome.FAILED else "lost"
        why = (
            render_error(ended, wreck.render, submits=False) if there is None else unlabelled_for_good(there)
        )
        self.summary[kind].append({**_listed(wreck, str(why)), "code": ended.code})
        return True

    def _there(self, wreck: Wreck) -> RenderManifest | None:
        """Return the manifest of a render that is landed; its size must do, unless bytes are to be compared."""
        places = [wreck.target] if wreck.target == self.folder else [wreck.target, self.folder]
        for target in places:
            found = None if self.compare_bytes else manifest_in_place(target, wreck.render, completed=True)
            if (found := found or already_landed(target, wreck.render)) is not None:
                return found
        if wreck.manifest is None:
            return None
        return still_landed(
            wreck.manifest,
            output_conn_id=self.folder.output_conn_id,
            output_path=self.folder.output_path,
            compare_bytes=self.compare_bytes,
        )

    def _hook(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection, which is looked up once for all its renders."""
        if jimeng_conn_id not in self._hooks:
            self._hooks[jimeng_conn_id] = self.hook_for(jimeng_conn_id)
        return self._hooks[jimeng_conn_id]

    def _land(self, hook: JimengHook, wreck: Wreck, ended: RenderEvent) -> RenderManifest:
        """Land a render where its task would have; if another's file is there, under a name of its own."""
        for target in (wreck.target, self.folder):
            try:
                return land_render(
                    hook,
                    wreck.render,
                    target=target,
                    aigc_meta=self.aigc_meta,
                    require_tagged=self.require_tagged,
                    event=ended,
                )
            except TargetTakenError as error:
                log.warning("%s The render is landed in the directory instead.", error)
        raise AssertionError  # a directory is never taken

    def _still_there(self, wreck: Wreck) -> None:
        until = kept_until(wreck.render.submitted_at)
        if wreck.trouble is not None:
            self.summary["problems"].append(
                f"Render {wreck.render.task_id}, kept until {until}, could not be asked for. {wreck.trouble}"
            )
            return
        self.summary["running"].append(
            _listed(wreck, f"It still runs, or has no link yet, and can be landed until {until}.")
        )


def _ask(hook: JimengHook, wreck: Wreck) -> QueryReply:
    try:
        reply = hook.query(wreck.render)
    except JimengError as error:
        wreck.trouble = f"{type(error).__name__}: {error}"
        raise
    wreck.trouble = None
    return reply


def _began(record: Record) -> pendulum.DateTime:
    return parse_time(record.intent_at)


def _listed(wreck: Wreck, message: str) -> dict[str, Any]:
    return {**wreck.render.to_payload(), "message": message}


def _unknown(intent: Record) -> dict[str, Any]:
    request = dict(intent.request or {})
    return {
        "task_instance": intent.key.to_payload(),
        "intent_at": intent.intent_at,
        "jimeng_conn_id": intent.jimeng_conn_id,
        **request,
        "estimated_cost_cny": cost_of(request),
        "message": f"The submit that {owner_of(intent)}, began at {intent.intent_at} was never answered. {CHECK} {found_by_hand(intent)}",
    }


def flattened(values: Any) -> Sequence[Mapping[str, Any]]:
    """Return the dicts of what ``xcom_pull`` gives for one task: a value, or a list of a mapped task's values."""
    if isinstance(values, Mapping):
        return [values]
    if values is None or isinstance(values, str | int | float):
        return []
    return [value for value in values if isinstance(value, Mapping)]
