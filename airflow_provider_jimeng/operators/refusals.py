# SPDX-License-Identifier: Apache-2.0
"""What a task leaves in XCom if it stops before its submit: its arguments, and why nothing was submitted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.core.submit_messages import not_submitted
from airflow_provider_jimeng.core.texts import shorten
from airflow_provider_jimeng.operators.xcom import REFUSAL, push

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_TEXTS = ("model", "prompt", "aspect_ratio", "jimeng_conn_id")
_NUMBERS = ("duration", "seed", "take")
_LONGEST_TEXT = 2000
_WHOLE = re.compile(r"-?[0-9]{1,10}")


def push_refusal(task: Any, ti: Any, error: JimengError) -> None:
    """Push why a task stopped before its submit."""
    push(ti, REFUSAL, not_submitted(_asked(task), error, pendulum.now("UTC")))


@contextmanager
def announced(task: Any, context: Context) -> Iterator[None]:
    """Push any error of the block: it comes before the submit."""
    try:
        yield
    except JimengError as error:
        push_refusal(task, context["ti"], error)
        raise


def _asked(task: Any) -> dict[str, Any]:
    """Return the arguments of a task as far as they can be read: one of them can be what was refused."""
    asked: dict[str, Any] = {}
    for name in _TEXTS:
        value = getattr(task, name)
        asked[name] = shorten(value, _LONGEST_TEXT) if isinstance(value, str) else None
    for name in _NUMBERS:
        written = str(getattr(task, name)).strip()
        asked[name] = int(written) if _WHOLE.fullmatch(written) else None
    return asked
