"""One task instance's way to a paid render: adopt the recorded one, or record the intent and submit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import ChangedRequestError, JimengError, UnknownSubmitError
from airflow_provider_jimeng.core.polling import Finish
from airflow_provider_jimeng.core.record import Adopt, Record, RecordState, Refuse, Start, decide_start
from airflow_provider_jimeng.core.render import Render, RenderManifest, format_money, format_time
from airflow_provider_jimeng.core.wire import certainly_not_accepted
from airflow_provider_jimeng.hooks.waiting import answer, poller_for
from airflow_provider_jimeng.storage.manifest import read_manifest, refuse_taken, sidecar_of

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.event import RenderEvent
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.policies import Policies
    from airflow_provider_jimeng.storage.ledger import Ledger
    from airflow_provider_jimeng.storage.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A paid render. ``adopted``: paid before this try; ``manifest``: its file, if it was landed already."""

    render: Render
    adopted: bool
    manifest: RenderManifest | None = None


class Checkout:
    """Reads the ledger, decides, submits at most once, and keeps the record up to date.

    :param build_request: checks the arguments and opens the images; called only when something may be submitted.
    """

    def __init__(
        self,
        *,
        ti: Any,
        ledger: Ledger,
        hook: JimengHook,
        build_request: Callable[[], RenderRequest],
        policies: Policies,
        target: Target | None,
        output_path: str | None,
        overwrite: bool = False,
    ) -> None:
        self._ti = ti
        self._ledger = ledger
        self._hook = hook
        self._build_request = build_request
        self._policies = policies
        self._target = target
        self._output_path = output_path
        self._overwrite = overwrite
        self._record: Record | None = None

    @cached_property
    def request(self) -> RenderRequest:
        """The request as the author writes it now."""
        return self._build_request()

    def open(self) -> Purchase:
        """Return the render of this task instance, submitting one only if none is paid.

        :raises ConcurrencyLimitedError, RateLimitedError: no slot is free; nothing is recorded or paid.
        :raises UnknownSubmitError: a submit may have been accepted under an unknown id.
        :raises ChangedRequestError: a retry asks for something else than what is paid.
        :raises LedgerError: what was paid cannot be known.
        """
        record = self._record = self._ledger.read()
        decision = decide_start(
            record,
            asked=self.request.fingerprint(),
            take=self.request.take,
            max_tries=self._ti.max_tries,
            on_rerun=self._policies.on_rerun,
            on_unknown_submit=self._policies.on_unknown_submit,
            on_lost=self._policies.on_lost,
        )
        match decision:
            case Start(take=take):
                return self._reuse(take) or self._submit(take)
            case Adopt(landed=landed) if record is not None and record.render is not None:
                self._save(record.seen_by(max_tries=self._ti.max_tries, try_number=self._ti.try_number))
                return _adopted(record, landed=landed)
            case Refuse(unknown=True) if record is not None:
                raise UnknownSubmitError(self._unknown_message(record))
            case _:
                raise ChangedRequestError(self._changed_message())

    @property
    def target(self) -> Target | None:
        """Where the video goes, ``None`` for a task that only submits."""
        return self._target

    def may_replace(self, target: Target) -> bool:
        """May landing replace the target's file: with the author's leave, or because it is this task's own older one?"""
        if self._overwrite or target.is_directory:
            return True
        if self._record is None:
            return False
        there = read_manifest(sidecar_of(target.file()))
        return there is not None and there.task_id in {
            past["render"]["task_id"] for past in self._record.past()
        }

    def hook_of(self, render: Render) -> JimengHook:
        """Return the hook of the connection that pays for a render."""
        if render.jimeng_conn_id == self._hook.jimeng_conn_id:
            return self._hook
        return type(self._hook)(jimeng_conn_id=render.jimeng_conn_id)

    def ask_once(self, render: Render) -> RenderEvent | None:
        """Ask what became of an adopted render; ``None`` while it runs, or where the answer settles nothing."""
        hook = self.hook_of(render)
        seen = answer(lambda: hook.query(render))
        decision = poller_for(render, deadline=float("inf")).decide(seen, time.time(), 0.5)
        ended = decision.event if isinstance(decision, Finish) else None
        log.info("Adopted render %s: %s.", render.task_id, ended.outcome.value if ended else "it goes on")
        return ended

    def resume(self, task_id: str) -> Render | None:
        """Return the recorded render that a wait was for; ``None`` if no ledger keeps it."""
        self._record = self._ledger.read()
        if self._record is None or self._record.render is None:
            return None
        render = Render.from_payload(self._record.render)
        return render if render.task_id == task_id else None

    def close(self, render: Render, state: RecordState, manifest: RenderManifest | None = None) -> None:
        """Record how a render ended. Without a record of this very render there is nothing to close."""
        record = self._record
        if record is None or record.render is None or record.render.get("task_id") != render.task_id:
            return
        payload = None if manifest is None else manifest.to_payload()
        self._save(replace(record, state=state, manifest=payload))

    @property
    def resubmitted_in_this_try(self) -> bool:
        """Did this try already submit in place of a lost render? It does so once, so that it cannot pay for ever."""
        return self._record is not None and self._record.lost_try == self._ti.try_number

    def _save(self, record: Record) -> None:
        self._record = record
        if self._ledger.keeps:
            self._ledger.write(record)

    def _reuse(self, take: int) -> Purchase | None:
        """Return a render of the same request that another task or run paid for, if the author wants that."""
        if self._policies.reuse != "output_path":
            return None
        for other in self._ledger.others(self._as_take(take).fingerprint()):
            if other.state in (RecordState.SUBMITTED, RecordState.LANDED) and other.render is not None:
                log.info("Adopting the render %s of %s, run %s.", other.render["task_id"], *_owner(other))
                self._save(
                    replace(
                        self._new_record(take),
                        state=other.state,
                        render=other.render,
                        manifest=other.manifest,
                    )
                )
                return _adopted(other, landed=other.state is RecordState.LANDED)
            if other.state is RecordState.INTENT and self._policies.on_unknown_submit != "resubmit":
                raise UnknownSubmitError(self._unknown_message(other))
        return None

    def _as_take(self, take: int) -> RenderRequest:
        return replace(self.request, take=take)

    def _new_record(self, take: int) -> Record:
        before = self._record
        return Record(
            state=RecordState.INTENT,
            key=self._ledger.key,
            asked=self.request.fingerprint(),
            fingerprint=self._as_take(take).fingerprint(),
            take=take,
            max_tries=self._ti.max_tries,
            try_number=self._ti.try_number,
            intent_at=format_time(pendulum.now("UTC")),
            jimeng_conn_id=self._hook.jimeng_conn_id,
            output_path=self._output_path,
            previous=() if before is None else before.past(),
            lost_try=self._ti.try_number if before is not None and before.state is RecordState.LOST else None,
        )

    def _submit(self, take: int) -> Purchase:
        before = self._record
        intent = self._new_record(take)
        self._refuse_taken_target(intent.fingerprint)
        self._announce_cost()
        self._save(intent)
        try:
            render = self._hook.submit(self._as_take(take))
        except JimengError as error:
            if certainly_not_accepted(error):
                self._record = before
                self._ledger.restore(before)
                raise
            raise UnknownSubmitError(
                f"{error} {self._unknown_message(intent)}",
                new_try_may_help=self._policies.on_unknown_submit == "resubmit" and self._ledger.keeps,
            ) from error
        self._save(replace(intent, state=RecordState.SUBMITTED, render=render.to_payload()))
        return Purchase(render=render, adopted=False)

    def _refuse_taken_target(self, fingerprint: str) -> None:
        """Refuse before paying what landing would refuse after it."""
        target = self.target
        if target is not None and not self.may_replace(target):
            refuse_taken(target, fingerprint)

    def _announce_cost(self) -> None:
        cost = format_money(self.request.estimated_cost())
        log.info(
            "Submitting %s, %s s, estimated cost %s.",
            self.request.spec.name,
            self.request.duration,
            "unknown" if cost is None else f"{cost} CNY",
        )

    def _unknown_message(self, record: Record) -> str:
        cost = format_money(self.request.estimated_cost())
        return (
            f"The submit that {_owner(record)[0]} began at {record.intent_at} may have been accepted: the API gives no "
            f"way to ask, and a render may be running, at a cost of {cost or 'an unknown amount of'} CNY. Check the "
            "console's task list and bill. Nothing was submitted now, and neither a retry nor a Clear will submit "
            'while on_unknown_submit="fail". To pay for a new render, set on_unknown_submit="resubmit" and clear '
            "the task."
        )

    def _changed_message(self) -> str:
        record = self._record
        task_id = record.render["task_id"] if record and record.render else "unknown"
        return (
            f"This try asks for another video than the render {task_id} that is paid for already: an argument "
            "changes by itself between tries (a template with the current time, a random value, a file that was "
            "replaced). Nothing was submitted. Make the argument stable, or clear the task to start the changed "
            "request."
        )


def _owner(record: Record) -> tuple[str, str]:
    key = record.key
    index = "" if key.map_index < 0 else f"[{key.map_index}]"
    return f"{key.dag_id}.{key.task_id}{index}", key.run_id


def _adopted(record: Record, *, landed: bool) -> Purchase:
    if record.render is None:
        raise ValueError("the record has no render")
    manifest = RenderManifest.from_payload(record.manifest) if landed and record.manifest else None
    return Purchase(render=Render.from_payload(record.render), adopted=True, manifest=manifest)
