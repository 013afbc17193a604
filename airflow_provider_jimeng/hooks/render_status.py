# SPDX-License-Identifier: Apache-2.0
"""What became of the renders that rows of a plan would continue with. The API is asked once for each render."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.core.polling import Finish
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply
from airflow_provider_jimeng.hooks.waiting import answer, poller_for
from airflow_provider_jimeng.storage.paid import GONE

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

ENOUGH_FAILURES = 3
"""After so many failures a connection is not asked any more."""
LONGEST_SECONDS = 180.0
"""How long a plan asks at most, for all its rows together."""

_FAILED = "its render failed and was not billed. Its task starts a new one, if the failure allows it."
_GOES_ON = "The plan counts it as running, and its cost counts towards max_cost_cny."


@dataclass(slots=True, kw_only=True)
class RenderStatusLookUp:
    """Ask at the rate of the connection, and stop asking a connection that does not answer.

    :param hook_for: returns the hook of the connection that paid for a render.
    """

    hook_for: Callable[[str], JimengHook]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _hooks: dict[str, JimengHook] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)

    def of(self, render: Render) -> tuple[RowState, str | None]:
        """Return the state of a row that continues with a render, and a warning if there is one."""
        conn_id = render.jimeng_conn_id
        if self._failures[conn_id] >= ENOUGH_FAILURES or self._late():
            return (
                RowState.RUNNING,
                f"the API was not asked for its render {render.task_id} any more. {_GOES_ON}",
            )
        reply = self._ask(render)
        if isinstance(reply, Exception) and not isinstance(reply, JimengError):
            return self._unanswered(render, reply)
        decision = poller_for(render, deadline=float("inf")).decide(reply, time.time(), random.random())
        outcome = decision.event.outcome if isinstance(decision, Finish) else None
        if outcome is None and isinstance(reply, JimengError):
            return self._unanswered(render, reply)
        self._failures[conn_id] = 0
        if outcome is Outcome.SUCCEEDED:
            return RowState.DONE, None
        if outcome is Outcome.FAILED:
            return RowState.NEW, _FAILED
        if outcome is not None or (isinstance(reply, QueryReply) and reply.status is RenderStatus.NOT_FOUND):
            return RowState.NEW, GONE
        return RowState.RUNNING, None

    def _ask(self, render: Render) -> QueryReply | Exception:
        conn_id = render.jimeng_conn_id
        try:
            if conn_id not in self._hooks:
                self._hooks[conn_id] = self.hook_for(conn_id)
            hook = self._hooks[conn_id]
            self.sleep(1 / hook.settings.max_requests_per_second)
            return answer(lambda: hook.query(render))
        except Exception as error:  # noqa: BLE001 - without its connection nothing is known about the render
            return error

    def _unanswered(self, render: Render, error: Exception) -> tuple[RowState, str]:
        self._failures[render.jimeng_conn_id] += 1
        return (
            RowState.RUNNING,
            f"what became of its render {render.task_id} cannot be known now ({type(error).__name__}: {error}). {_GOES_ON}",
        )

    def _late(self) -> bool:
        if self._began is None:
            self._began = self.clock()
        return self.clock() - self._began > LONGEST_SECONDS
