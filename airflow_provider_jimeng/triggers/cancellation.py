"""What to do with a render whose task was ended by a person (Airflow 3.3 and newer).

Airflow calls ``on_kill`` of a trigger also when another triggerer has merely taken it over, so the task instance's
own state decides: only a task that really ended gives up its render.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    JimengError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
)

_NOT_OF_THE_RENDER = (AuthenticationError, PermissionDeniedError, RateLimitedError, NotSentError)
_GOES_ON = "If it goes on, it may be billed, and can be adopted within 11.5 hours of its submit."
TERMINAL_STATES = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})


async def really_ended(task_instance: Any) -> bool:
    """Is the task instance in a terminal state, rather than moved, or cleared and running again?"""
    if task_instance is None:
        return False
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    mapped = task_instance.map_index is not None and task_instance.map_index >= 0
    key = f"{task_instance.task_id}_{task_instance.map_index}" if mapped else task_instance.task_id
    return states.get(task_instance.run_id, {}).get(key) in TERMINAL_STATES


async def cancel(lease: Any, *, req_key: str, render_id: str) -> str:
    """Ask the API to cancel a render and return, in words, what became of it."""
    try:
        await lease.client.cancel(req_key, render_id)
    except _NOT_OF_THE_RENDER as error:
        return not_cancelled(render_id, str(error))
    except ApiError as error:
        return f"The API refused to cancel the render {render_id} ({error.said}): one that has begun cannot be stopped. {_GOES_ON}"
    except JimengError as error:
        return f"The API did not say whether the render {render_id} is cancelled ({error}). {_GOES_ON}"
    return f"The render {render_id} is cancelled."


def not_cancelled(render_id: str, why: str) -> str:
    """Say that a render was left alone, and what that means."""
    return f"The render {render_id} was not cancelled: {why} {_GOES_ON}"
