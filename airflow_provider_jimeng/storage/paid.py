"""What a campaign need not pay again: the answer that a task with ``reuse="output_path"`` will find, without adopting.

It follows the same records: paid ones, oldest first, then intents. A landed file counts when it is there in its recorded size; the task that
adopts it compares every byte, and lands it again, free, while the API keeps the render.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.deadlines import SAFE_RETENTION_SECONDS
from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.core.record import RecordState
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.storage.ledger import RecordObjects
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.record import Record

_UNKNOWN = (
    "an earlier submit of it may have been accepted, nobody can know. Its task stops before paying, unless "
    'on_unknown_submit="resubmit".'
)
_GONE = (
    "it was paid for, its file is missing, and the API no longer keeps the render. Its task stops before paying, unless "
    'on_lost="resubmit".'
)


class PaidRenders:
    """Looks rows up under their output path; ``now`` decides what the API still keeps."""

    def __init__(self, *, output_conn_id: str | None, now: pendulum.DateTime) -> None:
        self._output_conn_id = output_conn_id
        self._now = now
        self._folders: dict[str, RecordObjects] = {}

    def state_of(self, fingerprint: str, output_path: str) -> tuple[RowState, str | None]:
        """Return what a row costs, and what somebody should know of it beforehand.

        :raises LedgerError, LandingError: the store cannot be read, which never means "not paid".
        """
        found = [
            record
            for record in self._records(output_path).find(fingerprint)
            if record.fingerprint == fingerprint
        ]
        for record in sorted(found, key=lambda record: record.intent_at):
            if record.state in (RecordState.SUBMITTED, RecordState.LANDED) and record.render is not None:
                return self._judge(record)
        unknown = any(record.state is RecordState.INTENT for record in found)
        return RowState.NEW, _UNKNOWN if unknown else None

    def _judge(self, record: Record) -> tuple[RowState, str | None]:
        if record.state is RecordState.LANDED and record.manifest is not None:
            manifest = RenderManifest.from_payload(record.manifest)
            conn_id = self._output_conn_id
            if conn_id is None and record.output_path:
                conn_id = Target(output_path=record.output_path).url_conn_id
            if Target(output_path=manifest.uri, output_conn_id=conn_id).file().size() == manifest.bytes:
                return RowState.LANDED, None
        submitted_at = Render.from_payload(record.render or {}).submitted_at
        if (self._now - submitted_at).total_seconds() < SAFE_RETENTION_SECONDS:
            return RowState.RUNNING, None
        return RowState.NEW, _GONE

    def _records(self, output_path: str) -> RecordObjects:
        folder = output_path[: output_path.rfind("/") + 1] or "./"
        if folder not in self._folders:
            self._folders[folder] = RecordObjects(
                Target(output_path=folder, output_conn_id=self._output_conn_id)
            )
        return self._folders[folder]
