"""Cancels the render of a task that a person ended (Airflow 3.3 and newer).

Airflow calls ``on_kill`` of a trigger also if another triggerer takes it over. So the state of the task instance
decides: the render is cancelled only if the task has ended.
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
_GOES_ON = "If it continues, it can be billed, and a task can adopt it within 11.5 hours after its submit."
TERMINAL_STATES = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})


async def really_ended(task_instance: Any) -> bool:
    """Return whether the task instance is in a terminal state. It is not if it was moved, or cleared and runs again."""
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
    """Ask the API to cancel a render; return the result in words."""
    try:
        await lease.client.cancel(req_key, render_id)
    except _NOT_OF_THE_RENDER as error:
        return not_cancelled(render_id, str(error))
    except ApiError as error:
        return f"The API refused to cancel the render {render_id} ({error.said}). A render that has begun cannot be stopped. {_GOES_ON}"
    except JimengError as error:
        return f"The API did not say whether the render {render_id} is cancelled ({error}). {_GOES_ON}"
    return f"The render {render_id} is cancelled."


def not_cancelled(render_id: str, why: str) -> str:
    """Return the message that a render was not cancelled, and what that means."""
    return f"The render {render_id} was not cancelled: {why} {_GOES_ON}"
