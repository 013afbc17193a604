"""The one mapping of our errors to Airflow's: what no retry can mend fails the task at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_jimeng.core.errors import JimengError, SettingsError


def a_retry_may_help(error: JimengError) -> bool:
    """Would Airflow's next try, unchanged, have a chance?"""
    decided: bool | None = getattr(error, "new_try_may_help", None)
    return error.retryable if decided is None else decided


@contextmanager
def airflow_errors(operator: Any) -> Iterator[None]:
    """Leave errors to the operator's retry policy; without one, turn what no retry mends into a final failure.

    An ``AirflowFailException`` would bypass a retry policy, so it is only raised where there is none.
    """
    try:
        yield
    except SettingsError as error:
        plain = copy(error)  # without the frames below: the text says what to do, not where it was noticed
        if getattr(operator, "retry_policy", None) is not None:
            raise plain from None
        raise AirflowFailException(f"{type(error).__name__}: {error}") from plain
    except JimengError as error:
        if getattr(operator, "retry_policy", None) is not None or a_retry_may_help(error):
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
