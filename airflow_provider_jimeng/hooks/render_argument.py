"""What names a render in a call of the hook: a render, a finished one, its payload, or its id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.render import Render

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRender:
    """A render that is done. The link lives for an hour and opens the video to whoever has it."""

    task_id: str
    req_key: str
    video_url: str = field(repr=False)
    aigc_meta_tagged: bool | None = None
    request_id: str | None = None
    render: Render


RenderOrId: TypeAlias = "Render | FinishedRender | Mapping[str, Any] | str | int"


def read_payload(payload: Any) -> Render:
    """Return the render that a payload tells of."""
    try:
        return Render.from_payload(payload)
    except ValueError as error:
        raise ParameterError(
            "render_or_id", f"expected a render, its payload or its task_id: {error}."
        ) from None
