# SPDX-License-Identifier: Apache-2.0
"""Which failure is retried, and when. Airflow has retry policies since 3.3."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import JimengError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, RetryDecision, RetryPolicy
else:
    try:
        from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    except ImportError:  # Airflow below 3.3 has no retry policies.
        RetryDecision, RetryPolicy = None, object

__all__ = ["JimengRetryPolicy"]

RETRY_POLICIES_EXIST = RetryPolicy is not object

LONGER_BY = 0.5
"""A delay is lengthened by up to a half, so that tasks that fail in the same second do not retry in the same second."""
_INTERRUPTED = frozenset({"TaskDeferralError", "TaskDeferralTimeout"})
"""With these errors the triggerer failed the wait, not the render."""


class JimengRetryPolicy(RetryPolicy):
    """Fail at once what no retry can solve, and retry the rest after the delay that the error names.

    The operators that submit, download and rescue, and the sensor, have this policy by default; pass ``retry_policy=`` to
    use another one. The policy never exceeds the task's ``retries``. Errors of other packages follow Airflow's own rules.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Return what Airflow does after an error."""
        if type(exception).__name__ in _INTERRUPTED:
            return RetryDecision.retry(
                timedelta(seconds=10), reason="The wait was interrupted; the render continues."
            )
        if not isinstance(exception, JimengError):
            return RetryDecision.default()
        name = type(exception).__name__
        if not exception.retryable:
            return RetryDecision.fail(f"{name}: a retry would fail again.")
        if exception.retry_delay is None:
            return RetryDecision.default()
        delay = timedelta(seconds=exception.retry_delay) * (1 + LONGER_BY * random.random())
        return RetryDecision.retry(delay, reason=f"{name}: trying again.")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as plain data: it has no state."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> JimengRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """Return the policy of :meth:`serialize`."""
        return cls()
