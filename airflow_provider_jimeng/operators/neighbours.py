"""What other task instances have paid for, or are about to: the same request, or the same file name.

They are looked at before the intent of a task is written, and once more after it. Of two tasks that begin at the same
moment at least one then sees the other's intent and pays nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import LedgerError, TargetTakenError
from airflow_provider_jimeng.core.output_path import folder_of, is_below
from airflow_provider_jimeng.core.record import PAID, RecordState
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.operators.refusals import claimed, under_way
from airflow_provider_jimeng.storage.manifest import manifest_in_place
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.storage.ledger import Ledger

LOOKS = 10
"""How often a task looks, a second apart, for the answer to another's submit of its request."""

_SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The other task instances that keep their records in the same directory.

    :param timeout_seconds: the connection's: a submit that began much longer ago is not under way any more.
    """

    ledger: Ledger
    timeout_seconds: float
    sleep: Callable[[float], None] = time.sleep

    def of_request(self, fingerprint: str, *, but: Collection[str]) -> list[Record]:
        """Return who has paid for a request, the best first, but for the renders named; if nobody has, open intents of it.

        :raises LedgerError: a submit of it is under way, and not answered within a few seconds.
        """
        looks_left = LOOKS
        while True:
            found = self._usable(fingerprint, but)
            if paid := [other for other in found if other.state in PAID]:
                return paid
            busy = next((other for other in found if self._is_under_way(other)), None)
            if busy is None:
                return found
            looks_left -= 1
            if not looks_left:
                raise LedgerError(under_way(busy))
            self.sleep(1.0)

    def refuse_twin(self, fingerprint: str, *, but: Collection[str]) -> None:
        """Stop if another task has meanwhile paid for a request, or begun to.

        :raises LedgerError: nothing may be submitted; the next try adopts.
        """
        for other in self._usable(fingerprint, but):
            if other.state in PAID or self._is_under_way(other):
                raise LedgerError(under_way(other))

    def refuse_rival(self, target: Target, *, but: Collection[str] = ()) -> None:
        """Stop if another task instance is yet to land under a full file name, or has in this run.

        :param but: renders that are known to have failed or to be lost, whatever their tasks' records say.
        :raises TargetTakenError: naming that task and the remedy.
        """
        own = self.ledger.key
        for rival in self.ledger.rivals(target.output_path):
            same_run = (rival.key.dag_id, rival.key.run_id) == (own.dag_id, own.run_id)
            if (rival.render or {}).get("task_id") in but:
                continue
            landed_now = same_run and rival.state is RecordState.LANDED
            if landed_now or rival.is_yet_to_land(time.time()):
                raise TargetTakenError(claimed(rival, target.output_path))

    def _usable(self, fingerprint: str, but: Collection[str]) -> list[Record]:
        return [
            other
            for other in self.ledger.others(fingerprint)
            if other.state is RecordState.INTENT
            or (other.state in PAID and (other.render or {}).get("task_id") not in but)
        ]

    def _is_under_way(self, other: Record) -> bool:
        longest = self.timeout_seconds + _SLACK_SECONDS
        return other.state is RecordState.INTENT and other.began_within(longest, time.time())


def landed_by(other: Record, *, output_path: str | None, output_conn_id: str | None) -> dict[str, Any] | None:
    """Return the manifest of another's file that its record does not tell of, as after a rescue.

    :param output_path: this task's; the file of a record beside it is in the same directory, or nowhere.
    """
    if not other.output_path or other.render is None:
        return None
    if not is_below(folder_of(output_path or ""), other.output_path):
        return None
    place = Target(output_path=other.output_path, output_conn_id=output_conn_id)
    found = manifest_in_place(place, Render.from_payload(other.render))
    return None if found is None else found.to_payload()
