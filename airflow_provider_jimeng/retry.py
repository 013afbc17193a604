"""Which failure Airflow tries again, and when (Airflow 3.3 and newer; older ones get the first half only)."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import (
    ConcurrencyLimitedError,
    JimengError,
    LandingError,
    LedgerError,
    RateLimitedError,
    RenderTimedOutError,
    TransportError,
)
from airflow_provider_jimeng.failure import a_retry_may_help

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context, RetryDecision, RetryPolicy
else:
    try:
        from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    except ImportError:  # Airflow below 3.3 has no retry policies.
        RetryDecision, RetryPolicy = None, object

__all__ = ["JimengRetryPolicy"]

RETRY_POLICIES_EXIST = RetryPolicy is not object

_DELAYS: tuple[tuple[type[JimengError], timedelta], ...] = (
    (RenderTimedOutError, timedelta(seconds=0)),
    (RateLimitedError, timedelta(seconds=30)),
    (ConcurrencyLimitedError, timedelta(seconds=60)),
    (TransportError, timedelta(seconds=30)),
    (LandingError, timedelta(seconds=30)),
    (LedgerError, timedelta(seconds=30)),
)
LONGER_BY = 0.5
"""A delay is lengthened by up to a half, so that tasks which fail in the same second do not retry in the same second."""
_INTERRUPTED = frozenset({"TaskDeferralError", "TaskDeferralTimeout"})
"""The triggerer failed the wait, not the render: the next try goes on with it at once."""


class JimengRetryPolicy(RetryPolicy):
    """Fails at once what no retry can mend and tries the rest again after a delay that suits the cause.

    The default of every operator and sensor of this package; give ``retry_policy=`` to use another. It never goes
    beyond the task's ``retries``. Errors of other kinds follow Airflow's own rules.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the class of the error."""
        if type(exception).__name__ in _INTERRUPTED:
            return RetryDecision.retry(
                timedelta(seconds=10), reason="The wait was interrupted; the render goes on."
            )
        if not isinstance(exception, JimengError):
            return RetryDecision.default()
        if not a_retry_may_help(exception):
            return RetryDecision.fail(f"{type(exception).__name__}: a retry would fail again.")
        for kind, delay in _DELAYS:
            if isinstance(exception, kind):
                apart = delay * (1 + LONGER_BY * random.random())
                return RetryDecision.retry(apart, reason=f"{kind.__name__}: trying again.")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return the policy as plain data: it has no state."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> JimengRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """Return the policy of :meth:`serialize`."""
        return cls()


def with_default_policy(arguments: Mapping[str, Any], retry_policy: Any) -> dict[str, Any]:
    """Return an operator's arguments with its retry policy, ours where the author gave none."""
    if not RETRY_POLICIES_EXIST:
        return dict(arguments)
    return {**arguments, "retry_policy": JimengRetryPolicy() if retry_policy is None else retry_policy}
