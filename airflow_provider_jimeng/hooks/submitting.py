"""The submits of the hook: they cost money."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.links import check_links
from airflow_provider_jimeng.core.parameters import RenderRequest, check_cost
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.hooks.base import JimengConnectionHook
from airflow_provider_jimeng.images import open_images

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal
    from os import PathLike
    from typing import Never

    from airflow_provider_jimeng.client.settings import ClientSettings

log = logging.getLogger(__name__)


class JimengSubmittingHook(JimengConnectionHook):
    """Submits renders, and remembers them, so that their ids can be used without a model."""

    def __init__(self, jimeng_conn_id: str = JimengConnectionHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(jimeng_conn_id=jimeng_conn_id, **kwargs)
        self._submitted: dict[str, Render] = {}

    def submit(
        self,
        request: RenderRequest | None = None,
        *,
        prompt: str | None = None,
        model: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a render, which costs money, and return it as accepted.

        :param request: a checked request; without one, the other arguments describe the video as those of the submitting
            operators do. The label is an argument of :meth:`download`.
        :param max_cost_cny: refuse a render if its estimated cost is higher or unknown; it limits a ``request``, too.
        """
        described = _given(
            prompt=prompt,
            model=model,
            duration=duration,
            aspect_ratio=aspect_ratio,
            seed=seed,
            first_frame=first_frame,
            last_frame=last_frame,
            camera_template=camera_template,
            camera_strength=camera_strength,
            take=take,
            extra_body=extra_body,
            **unknown,
        )
        ready = self._ready(request, self.settings, described, max_cost_cny)
        with self._open_client() as client:
            reply = client.submit(ready, on_sent=self._note_sent)
        return self._accepted(ready, reply.task_id)

    async def asubmit(
        self,
        request: RenderRequest | None = None,
        *,
        prompt: str | None = None,
        model: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a render from an event loop; see :meth:`submit`."""
        described = _given(
            prompt=prompt,
            model=model,
            duration=duration,
            aspect_ratio=aspect_ratio,
            seed=seed,
            first_frame=first_frame,
            last_frame=last_frame,
            camera_template=camera_template,
            camera_strength=camera_strength,
            take=take,
            extra_body=extra_body,
            **unknown,
        )
        async with self._open_lease() as lease:
            settings = lease.client.settings
            ready = await asyncio.to_thread(self._ready, request, settings, described, max_cost_cny)
            reply = await lease.client.submit(ready, on_sent=self._note_sent)
        return self._accepted(ready, reply.task_id)

    def submit_text_to_video(
        self,
        *,
        prompt: str,
        duration: int | str | None = None,
        model: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a video from a text; see :meth:`submit`."""
        return self.submit(
            prompt=prompt,
            duration=duration,
            model=model,
            aspect_ratio=aspect_ratio,
            seed=seed,
            take=take,
            extra_body=extra_body,
            max_cost_cny=max_cost_cny,
            **unknown,
        )

    def submit_image_to_video(
        self,
        *,
        image_url: str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        prompt: str | None = None,
        duration: int | str | None = None,
        model: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a video from an image, or from a first and a last one; see :meth:`submit`.

        ``image_url`` and ``first_frame`` are two names of the same argument.
        """
        if image_url and first_frame and image_url != first_frame:
            raise ParameterError("image_url", "is another name of first_frame; give one of them.")
        return self.submit(
            prompt=prompt,
            duration=duration,
            model=model or ("i2v_first_tail_720p" if last_frame else "i2v_first_720p"),
            first_frame=first_frame or image_url,
            last_frame=last_frame,
            aspect_ratio=aspect_ratio,
            seed=seed,
            camera_template=camera_template,
            camera_strength=camera_strength,
            take=take,
            extra_body=extra_body,
            max_cost_cny=max_cost_cny,
            **unknown,
        )

    def _now(self) -> float:
        return time.time()

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _ready(
        self,
        request: RenderRequest | None,
        settings: ClientSettings,
        described: Mapping[str, Any],
        max_cost_cny: float | Decimal | str | None,
    ) -> RenderRequest:
        if request is None:
            request = RenderRequest.build(**described, catalogue=settings.catalogue)
        elif described:
            raise ParameterError(next(iter(described)), "give either a request or its arguments.")
        check_cost(request, max_cost_cny)
        check_links(request, settings.endpoint)
        ready = open_images(request)
        for warning in ready.warnings:
            log.warning("%s", warning)
        return ready

    def _accepted(self, request: RenderRequest, task_id: str) -> Render:
        log.info("The API accepted the render %s.", task_id)
        render = Render(
            task_id=task_id,
            req_key=request.spec.req_key,
            model=request.spec.name,
            jimeng_conn_id=self.jimeng_conn_id,
            submitted_at=pendulum.from_timestamp(self._now()),
            fingerprint=request.fingerprint(),
            prompt=request.prompt,
            seed=request.seed,
            duration=request.duration,
            aspect_ratio=request.aspect_ratio,
            estimated_cost_cny=request.estimated_cost(),
        )
        self._submitted[task_id] = render
        return render


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
