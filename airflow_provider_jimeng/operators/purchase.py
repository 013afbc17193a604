"""What was paid, and one submit: an intent is recorded, the request leaves at most once, the id of the render is recorded.

Whatever can fail before the request leaves happens before the intent is recorded, or takes the intent back. After the
answer nothing stands between it and the record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_jimeng.core.errors import (
    ApiError,
    LedgerError,
    TransportError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.record import Record, RecordState
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.core.submit_messages import under_way, unknown_now
from airflow_provider_jimeng.core.wire import certainly_not_accepted

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.storage.ledger import Ledger

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""How old the last look at the others may be when a request leaves. A process can be stopped for a while."""
MAX_LOOKS = 5

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, AirflowTaskTimeout)
"""What may end a task at any line without being an ``Exception``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A paid render. ``adopted``: paid before this try; ``manifest``: its file, if it was landed already."""

    render: Render
    record: Record
    adopted: bool
    manifest: RenderManifest | None = None

    @classmethod
    def of(cls, record: Record, *, landed: bool) -> Purchase:
        """Return what an earlier try, or another task, has paid for."""
        if record.render is None:
            raise ValueError("the record has no render")
        manifest = RenderManifest.from_payload(record.manifest) if landed and record.manifest else None
        return cls(render=Render.from_payload(record.render), record=record, adopted=True, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOnce:
    """The way of one request to the API.

    :param look_again: looks, once the intent is recorded, for others that have begun at the same moment; returns the
        record of one that submits the same request, and raises if one has taken the file name.
    """

    ledger: Ledger
    hook: JimengHook
    look_again: Callable[[], Record | None]
    on_unknown_submit: str

    def run(self, request: RenderRequest, intent: Record, before: Record | None) -> Purchase | Record:
        """Pay for a request. Return the record of another task instead, if that one submits it at this moment.

        :raises UnknownSubmitError: the request left, and nobody knows whether it was accepted; the intent stands.
        """
        with self.hook:  # its connection, authentication and client are ready before the intent
            self._begin(intent, before)
            try:
                answer = self._look() or self.hook.submit(request)
            except (Exception, *_INTERRUPTIONS) as error:
                if _left_nothing(error, sent=self.hook.has_sent):
                    self.ledger.withdraw(intent, before, cause=error)
                    raise
                if not isinstance(error, Exception):
                    raise
                raise UnknownSubmitError(
                    unknown_now(intent, error, on_unknown_submit=self.on_unknown_submit),
                    retryable=self.on_unknown_submit == "resubmit",
                ) from error
            if isinstance(answer, Record):
                self.ledger.withdraw(intent, before, cause=LedgerError(under_way(answer)))
                return answer
            return self._paid(intent, answer)

    def _begin(self, intent: Record, before: Record | None) -> None:
        try:
            self.ledger.begin(intent, before)
        except LedgerError as error:
            raise LedgerError(
                f"{error} Nothing was submitted, because the intent could not be recorded."
            ) from error

    def _look(self) -> Record | None:
        for _ in range(MAX_LOOKS):
            began = time.monotonic()
            twin = self.look_again()
            if twin is not None or time.monotonic() - began < FRESH_SECONDS:
                return twin
        return None

    def _paid(self, intent: Record, render: Render) -> Purchase:
        """Record the id of a paid render. If no place takes it, this try goes on with it: nothing else knows it."""
        record = replace(intent, state=RecordState.SUBMITTED, render=render.to_payload())
        try:
            self.ledger.settle(record)
        except LedgerError as error:
            log.error(  # noqa: TRY400 - the trace says nothing that the message does not
                "The render %s is paid for and could not be recorded (%s). This try goes on with it. If this try ends "
                "now, no later one finds it. Save it then by JimengDownloadVideoOperator(render_id=%r, model=%r).",
                *(render.task_id, error, render.task_id, render.model),
            )
        return Purchase(render=render, record=record, adopted=False)


def _left_nothing(error: BaseException, *, sent: bool) -> bool:
    """After a failed submit: is it certain that the API accepted nothing?

    An answer, or its absence, tells by its class. Anything else tells nothing, and then it counts whether the request
    had left.
    """
    if isinstance(error, ApiError | TransportError):
        return certainly_not_accepted(error)
    return not sent
