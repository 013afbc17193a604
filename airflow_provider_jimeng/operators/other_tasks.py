"""What other task instances have paid for, or are about to pay for: the same request, or the same file name.

A task looks at them before it writes its intent, and once more after that. So, if two tasks begin at the same moment, at
least one of them sees the intent of the other and pays nothing. No clock decides: an intent that is new at the second
look counts, whatever its time is. An intent that is there at the first look is watched until it is answered, or until a
submit cannot take that long, measured by the clock of the task that watches.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.deadlines import spread
from airflow_provider_jimeng.core.errors import TargetTakenError
from airflow_provider_jimeng.core.output_path import is_below
from airflow_provider_jimeng.core.record import PAID, RecordState
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.core.submit_messages import claimed
from airflow_provider_jimeng.storage.manifest import manifest_in_place
from airflow_provider_jimeng.storage.output import OutputPath

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_jimeng.core.record import Record, TaskKey
    from airflow_provider_jimeng.storage.ledger import Ledger

LOOK_PAUSE_SECONDS = 1.0
"""The pause between two looks for the answer to the submit of another task."""
ABANDONED_SECONDS = 15 * 60.0
"""An intent that is recorded as older than this is not watched. Clocks differ by less."""

_SLACK_SECONDS = 60.0


class OtherTasks:
    """The other task instances that keep their records in the same directory.

    :param timeout_seconds: of the connection. A submit that began much longer ago has ended.
    ``has_ended`` says of an intent that its process has certainly ended, so that it is not waited for.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        timeout_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._longest = timeout_seconds + _SLACK_SECONDS
        self.has_ended: Callable[[Record], bool] = lambda _: False
        self._sleep = sleep
        self._clock = clock
        self._first_seen: dict[tuple[TaskKey, str], float] = {}
        self._has_looked = False

    def of_request(self, fingerprint: str, *, except_ids: Collection[str]) -> list[Record]:
        """Return who has paid for a request, the best first; if nobody has, return open intents of it.

        A submit of it that is under way is waited for.

        :param except_ids: ids of renders that do not count.
        """
        while True:
            found = self._look(fingerprint, except_ids)
            if paid := [other for other in found if other.state in PAID]:
                return paid
            if not any(self._is_under_way(other) for other in found):
                return found
            self._sleep(spread(LOOK_PAUSE_SECONDS, random.random()))

    def twin(self, fingerprint: str, *, except_ids: Collection[str]) -> Record | None:
        """Return another task that has paid for a request, or has begun to, since the looks before."""
        found = self._look(fingerprint, except_ids)
        return next((other for other in found if other.state in PAID or self._is_under_way(other)), None)

    def refuse_rival(self, target: OutputPath, *, except_ids: Collection[str] = ()) -> None:
        """Stop if another task instance is yet to land under a full file name, or has in this run.

        :param except_ids: renders that are known to have failed or to be lost, whatever their tasks' records say.
        :raises TargetTakenError: naming that task and the remedy.
        """
        own = self._ledger.key
        for rival in self._ledger.rivals(target.output_path):
            same_run = (rival.key.dag_id, rival.key.run_id) == (own.dag_id, own.run_id)
            if (rival.render or {}).get("task_id") in except_ids:
                continue
            landed_now = same_run and rival.state is RecordState.LANDED
            if landed_now or rival.is_yet_to_land(time.time()):
                raise TargetTakenError(claimed(rival, target.output_path))

    def _look(self, fingerprint: str, except_ids: Collection[str]) -> list[Record]:
        found = [
            other
            for other in self._ledger.others(fingerprint)
            if other.state is RecordState.INTENT
            or (other.state in PAID and (other.render or {}).get("task_id") not in except_ids)
        ]
        first_look, self._has_looked = not self._has_looked, True
        for other in found:
            abandoned = first_look and not other.began_within(ABANDONED_SECONDS, time.time())
            self._first_seen.setdefault(
                (other.key, other.submit_name), -math.inf if abandoned else self._clock()
            )
        return found

    def _is_under_way(self, other: Record) -> bool:
        """Can the submit of an intent still be answered?"""
        if other.state is not RecordState.INTENT or self.has_ended(other):
            return False
        return self._clock() - self._first_seen[(other.key, other.submit_name)] < self._longest


def saved_by(other: Record, folder: OutputPath | None) -> dict[str, Any] | None:
    """Return the manifest of another's file that its record does not tell of, as after a rescue.

    :param folder: the directory of this task's records: the other's file is there too, or it is not found.
    """
    if not other.output_path or other.render is None or folder is None:
        return None
    if not is_below(folder.output_path, other.output_path):
        return None
    place = OutputPath(output_path=other.output_path, output_conn_id=folder.output_conn_id)
    saved = manifest_in_place(place, Render.from_payload(other.render))
    return None if saved is None else saved.to_payload()
