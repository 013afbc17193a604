# SPDX-License-Identifier: Apache-2.0
"""The connection of a hook, and its submits: they cost money."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pendulum
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_jimeng.client.exchange import auth_for
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.catalogue import find_model
from airflow_provider_jimeng.core.errors import JimengError, NotSentError, ParameterError
from airflow_provider_jimeng.core.links import check_links
from airflow_provider_jimeng.core.parameters import RenderRequest, check_cost
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.hooks.connection_cache import look_up_settings, shared_client
from airflow_provider_jimeng.hooks.connection_form import probe
from airflow_provider_jimeng.hooks.render_argument import FinishedRender, RenderOrId, read_payload
from airflow_provider_jimeng.hooks.waiting import unread
from airflow_provider_jimeng.images import open_images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from decimal import Decimal
    from os import PathLike
    from typing import Never

    import httpx

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.hooks.connection_cache import Lease

log = logging.getLogger(__name__)


class JimengSubmittingHook(BaseHook):
    """Reads an Airflow connection of type ``jimeng`` once, shares one client in a ``with`` block, and submits renders."""

    conn_name_attr = "jimeng_conn_id"
    default_conn_name = "jimeng_default"
    conn_type = "jimeng"
    hook_name = "Jimeng AI"

    def __init__(self, jimeng_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jimeng_conn_id = jimeng_conn_id.strip() if jimeng_conn_id else jimeng_conn_id
        self.has_sent = False
        """Did the first byte of a submit leave after :meth:`prepare`? If not, the API cannot have accepted it."""
        self._settings: ClientSettings | None = None
        self._auth: httpx.Auth | None = None
        self._shares = False
        self._client: JimengClient | None = None
        self._clients = ExitStack()
        self._lease: Lease | None = None
        self._leases = AsyncExitStack()
        self._submitted: dict[str, Render] = {}

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which is read once per hook."""
        if self._settings is None:
            self._settings = look_up_settings(self.jimeng_conn_id, self.get_connection)
        return self._settings

    def renew(self) -> None:
        """Read the connection again at the next call, after its credentials were refused."""
        self._settings = self._auth = self._client = None

    def get_conn(self) -> JimengClient:
        """Return a client of the connection. Use it in a ``with`` block."""
        settings = self.settings
        if self._auth is None:
            self._auth = auth_for(settings)
        return JimengClient(settings, auth=self._auth)

    def __enter__(self) -> Self:
        """Share one client among the calls of the ``with`` block. The connection is read at the first call."""
        self._shares = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._shares, self._client = False, None
        self._clients.close()

    async def __aenter__(self) -> Self:
        """Share one client among the asynchronous calls of the ``async with`` block."""
        self._lease = await self._leases.enter_async_context(shared_client(self.jimeng_conn_id))
        self._settings = self._lease.client.settings
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._lease = None
        await self._leases.aclose()

    def prepare(self) -> None:
        """Read the connection and open the client, so that the next call sends its request at once."""
        self.has_sent = False
        with self._open_client():
            pass

    def for_render(self, render: Render) -> Self:
        """Return the hook of the connection that pays for a render: this one, or a new one."""
        if render.jimeng_conn_id == self.jimeng_conn_id:
            return self
        return type(self)(jimeng_conn_id=render.jimeng_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection with a free, signed query of a task that cannot exist; return verdict and reason."""
        try:
            with self._open_client() as client:
                return probe(client)
        except JimengError as error:
            return False, str(error)

    # ----------------------------------------------------------------------------------------------------- submit
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

    # ------------------------------------------------------------------------------------------------------ inner
    @contextmanager
    def _open_client(self) -> Iterator[JimengClient]:
        if not self._shares:
            with self.get_conn() as client:
                yield client
            return
        if self._client is None:
            self._client = self._clients.enter_context(self.get_conn())
        yield self._client

    @asynccontextmanager
    async def _open_lease(self) -> AsyncIterator[Lease]:
        if self._lease is not None:
            yield self._lease
            return
        async with shared_client(self.jimeng_conn_id) as lease:
            yield lease

    def _note_sent(self) -> None:
        self.has_sent = True

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
        return make_ready(request, settings, max_cost_cny)

    def _accepted(self, request: RenderRequest, task_id: str) -> Render:
        log.info("The API accepted the render %s.", task_id)
        render = Render(
            task_id=task_id,
            req_key=request.spec.req_key,
            model=request.spec.name,
            jimeng_conn_id=self.jimeng_conn_id,
            submitted_at=pendulum.from_timestamp(self._now()),
            fingerprint=request.fingerprint,
            prompt=request.prompt,
            seed=request.seed,
            duration=request.duration,
            aspect_ratio=request.aspect_ratio,
            estimated_cost_cny=request.estimated_cost(),
            take=request.take,
        )
        self._submitted[task_id] = render
        return render

    def _render_of(self, render_or_id: RenderOrId, model: str | None, settings: ClientSettings) -> Render:
        """Return the render that is meant. A bare id gives id and model only."""
        if isinstance(render_or_id, FinishedRender):
            return render_or_id.render
        if isinstance(render_or_id, Render):
            return render_or_id
        if not isinstance(render_or_id, str | int):
            return read_payload(render_or_id)
        task_id = str(render_or_id).strip()
        if not task_id:
            raise ParameterError("render_or_id", "is empty; give a render or its task_id.")
        if model:
            spec = find_model(model, settings.catalogue)
            return Render(
                task_id=task_id,
                req_key=spec.req_key,
                model=spec.name,
                jimeng_conn_id=self.jimeng_conn_id,
                submitted_at=pendulum.from_timestamp(self._now()),
            )
        if task_id not in self._submitted:
            raise ParameterError(
                "model", f"is missing: the render {task_id} was not submitted by this hook. Name its model."
            )
        return self._submitted[task_id]


def read_settings(hook: JimengSubmittingHook) -> ClientSettings:
    """Return a hook's settings; raise one of our errors if the connection cannot be read now, see :func:`unread`."""
    try:
        return hook.settings
    except Exception as error:
        raise unread(hook.jimeng_conn_id, error) from error


def need_connection(hook: JimengSubmittingHook) -> None:
    """Fail at once if the connection certainly does not exist. During an outage, the wait that follows asks again.

    :raises MissingConnectionError: saying how to add it.
    """
    with suppress(NotSentError):
        _ = hook.settings


def make_ready(request: RenderRequest, settings: ClientSettings, max_cost_cny: Any) -> RenderRequest:
    """Check the cost and the links of a request, open its images, and return it. Nothing is sent.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    if max_cost_cny is not None:
        check_cost(request, max_cost_cny)
    check_links(request, settings.endpoint)
    if request.frames_to_open:
        request = open_images(request)
    for warning in request.warnings:
        log.warning("%s", warning)
    return request


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
