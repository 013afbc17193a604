"""The hook: the Jimeng API behind an Airflow connection, for operators, triggers and scripts."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Self

import pendulum
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_jimeng.client.auth import auth_for
from airflow_provider_jimeng.client.clients import JimengClient
from airflow_provider_jimeng.core.arguments import read_seconds
from airflow_provider_jimeng.core.catalogue import MODELS, find_model
from airflow_provider_jimeng.core.deadlines import deadline_for
from airflow_provider_jimeng.core.errors import JimengError, MissingConnectionError, ParameterError
from airflow_provider_jimeng.core.event import Outcome
from airflow_provider_jimeng.core.link_hosts import check_links
from airflow_provider_jimeng.core.messages import wait_error
from airflow_provider_jimeng.core.parameters import RenderRequest, check_aigc_meta, check_cost
from airflow_provider_jimeng.core.render import Render, RenderManifest, format_money
from airflow_provider_jimeng.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_jimeng.hooks.connection_lookup import look_up_connection
from airflow_provider_jimeng.hooks.connections import mask, settings_of, shared_client
from airflow_provider_jimeng.hooks.landing import land_render
from airflow_provider_jimeng.hooks.probe import probe
from airflow_provider_jimeng.hooks.render_argument import FinishedRender, RenderOrId, read_payload
from airflow_provider_jimeng.hooks.waiting import ask_for, poller_for, wait_until_finished
from airflow_provider_jimeng.images import open_images
from airflow_provider_jimeng.storage.names import check_names
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import httpx

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.wire import CancelReply, QueryReply
    from airflow_provider_jimeng.storage.target import OutputPath

__all__ = ["FinishedRender", "JimengHook", "RenderOrId"]

log = logging.getLogger(__name__)

DEFAULT_WAIT_TIMEOUT = 21600.0


class JimengHook(BaseHook):
    """Talks to the Jimeng API as an Airflow connection of type ``jimeng`` says; constructing it does no I/O.

    Every call raises ``SettingsError`` for an unusable connection, ``ParameterError`` for a bad argument before
    anything is sent, the ``ApiError`` family by the code of the reply, and ``TransportError``.

    :param jimeng_conn_id: the connection; its secrets are masked in Airflow's logs when it is read.
    """

    conn_name_attr = "jimeng_conn_id"
    default_conn_name = "jimeng_default"
    conn_type = "jimeng"
    hook_name = "Jimeng AI"

    def __init__(self, jimeng_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jimeng_conn_id = jimeng_conn_id.strip() if jimeng_conn_id else jimeng_conn_id
        self._settings: ClientSettings | None = None
        self._auth: httpx.Auth | None = None
        self._submitted: dict[str, Render] = {}
        self._open: JimengClient | None = None
        self.has_sent = False
        """Has the first byte of a submit left since the hook was entered? What fails before that was not accepted."""
        self._clients = ExitStack()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return field_behaviour()

    # ------------------------------------------------------------------------------------------------- connection
    @property
    def settings(self) -> ClientSettings:
        """The connection's settings, read once per hook."""
        if self._settings is None:
            connection = look_up_connection(self.jimeng_conn_id, self.get_connection)
            settings = settings_of(connection, connection.extra_dejson)
            mask(settings)
            self._settings = settings
        return self._settings

    def renew(self) -> None:
        """Read the connection anew at the next call, after its credentials were refused."""
        self._settings = self._auth = self._open = None

    def get_conn(self) -> JimengClient:
        """Return a client of the connection, to be used in a ``with`` block."""
        if self._auth is None:
            self._auth = auth_for(self.settings)
        return JimengClient(self.settings, auth=self._auth)

    def __enter__(self) -> Self:
        """Read the connection and open a client; the calls within the ``with`` block share it."""
        self.has_sent = False
        self._open = self._clients.enter_context(self.get_conn())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open = None
        self._clients.close()

    def _client(self) -> AbstractContextManager[JimengClient]:
        return self.get_conn() if self._open is None else nullcontext(self._open)

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection with a free, signed query of a task that cannot exist; return verdict and reason."""
        try:
            with self._client() as client:
                return probe(client)
        except JimengError as error:
            return False, str(error)

    # ------------------------------------------------------------------------------------------------------ submit
    def submit(self, request: RenderRequest | None = None, **arguments: Any) -> Render:
        """Ask for a render, which costs money, and return it as accepted.

        :param request: a checked request; without one, ``arguments`` describe the video as those of the submitting
            operators do. Its label is an argument of :meth:`download`.
        :param arguments: ``max_cost_cny``, with a checked request too: refuse what costs more, or nobody knows how much.
        """
        ready = self._ready(request, self.settings, arguments)
        with self._client() as client:
            reply = client.submit(ready, on_sent=self._note_sent)
        log.info("The API accepted the render %s.", reply.task_id)
        return self._accepted(ready, reply.task_id)

    async def asubmit(self, request: RenderRequest | None = None, **arguments: Any) -> Render:
        """Ask for a render from an event loop; see :meth:`submit`."""
        async with shared_client(self.jimeng_conn_id) as lease:
            ready = await asyncio.to_thread(self._ready, request, lease.client.settings, arguments)
            reply = await lease.client.submit(ready, on_sent=self._note_sent)
        log.info("The API accepted the render %s.", reply.task_id)
        return self._accepted(ready, reply.task_id)

    def submit_text_to_video(
        self,
        *,
        prompt: str,
        duration: int | None = None,
        model: str | None = None,
        aspect_ratio: str | None = None,
        **arguments: Any,
    ) -> Render:
        """Ask for a video from a text; see :meth:`submit`."""
        return self.submit(
            prompt=prompt, duration=duration, model=model, aspect_ratio=aspect_ratio, **arguments
        )

    def submit_image_to_video(
        self,
        *,
        image_url: str | None = None,
        first_frame: str | None = None,
        last_frame: str | None = None,
        prompt: str | None = None,
        duration: int | None = None,
        model: str | None = None,
        **arguments: Any,
    ) -> Render:
        """Ask for a video from an image, or from a first and a last one; see :meth:`submit`.

        ``image_url`` and ``first_frame`` are two names of the same argument.
        """
        if image_url and first_frame and image_url != first_frame:
            raise ParameterError("image_url", "is another name of first_frame; give one of them.")
        default = "i2v_first_tail_720p" if last_frame else "i2v_first_720p"
        return self.submit(
            prompt=prompt,
            duration=duration,
            model=model or default,
            first_frame=first_frame or image_url,
            last_frame=last_frame,
            **arguments,
        )

    # ------------------------------------------------------------------------------------------------------- query
    def query(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask what became of a render.

        :param render_or_id: a render, its payload, or its ``task_id``; an id that this hook did not submit
            needs ``model`` too.
        :param aigc_meta: the implicit label; without it the connection's, if it has one.
        """
        settings = self.settings
        render = self._render_of(render_or_id, model, settings)
        label = check_aigc_meta(aigc_meta) or settings.aigc_meta
        with self._client() as client:
            return client.query(render.req_key, render.task_id, aigc_meta=label)

    async def aquery(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask what became of a render from an event loop; see :meth:`query`."""
        async with shared_client(self.jimeng_conn_id) as lease:
            settings = lease.client.settings
            render = self._render_of(render_or_id, model, settings)
            label = check_aigc_meta(aigc_meta) or settings.aigc_meta
            return await lease.client.query(render.req_key, render.task_id, aigc_meta=label)

    def wait_for_completion(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        wait_timeout: float | None = None,
        timeout: float | None = None,
        poll_interval: float | None = None,
    ) -> FinishedRender:
        """Poll until a render is done and return it with its link.

        :param wait_timeout: seconds to wait at most, 21600 by default; ``timeout`` is another name for it.
        :param poll_interval: seconds between two polls; by default it grows with the render's age.
        :raises RenderError: the render failed, expired, is not found, has no link, or did not finish in time.
        """
        render = self._render_of(render_or_id, model, self.settings)
        given = [(n, v) for n, v in (("wait_timeout", wait_timeout), ("timeout", timeout)) if v is not None]
        longest = read_seconds(*given[0]) if given else DEFAULT_WAIT_TIMEOUT
        interval = None if poll_interval is None else read_seconds("poll_interval", poll_interval)
        deadline = deadline_for(
            now=self._now(), wait_timeout=longest, submitted_at=render.submitted_at.timestamp()
        )
        event, seen = wait_until_finished(
            lambda: ask_for(self, render),
            poller_for(render, deadline=deadline, poll_interval=interval),
            log,
            renew=self.renew,
            now=self._now,
            sleep=self._sleep,
        )
        if event.outcome is not Outcome.SUCCEEDED or isinstance(seen, JimengError) or seen.video_url is None:
            raise wait_error(event) from (seen if isinstance(seen, JimengError) else None)
        return FinishedRender(
            task_id=render.task_id,
            req_key=render.req_key,
            video_url=seen.video_url,
            aigc_meta_tagged=seen.aigc_meta_tagged,
            request_id=seen.request_id,
            render=render,
        )

    def download(
        self,
        render_or_id: RenderOrId,
        output_path: OutputPath,
        model: str | None = None,
        *,
        output_conn_id: str | None = None,
        overwrite: bool = False,
        aigc_meta: Mapping[str, str] | None = None,
        require_tagged: bool = False,
    ) -> RenderManifest:
        """Land the video of a finished render over a fresh link; doing it again is free.

        :param output_path: a directory URI ending in ``/``, or a full file name; a path object is a file if it ends
            in ``.mp4``, else a directory.
        :param overwrite: replace a full file name that holds another request's file.
        :param require_tagged: land nothing unless the API wrote the implicit AIGC label.
        :raises LandingError: or one of its kin; nothing new is under the final name then.
        """
        target = Target.of(output_path, output_conn_id)
        check_names(target)
        return land_render(
            self,
            self._render_of(render_or_id, model, self.settings),
            target=target,
            overwrite=overwrite,
            aigc_meta=aigc_meta,
            require_tagged=require_tagged,
            sleep=self._sleep,
        )

    def cancel(self, render_or_id: RenderOrId, model: str | None = None) -> CancelReply:
        """Ask to cancel a render. The API cancels queued ones only and refuses others by an ``ApiError``."""
        render = self._render_of(render_or_id, model, self.settings)
        with self._client() as client:
            return client.cancel(render.req_key, render.task_id)

    # ------------------------------------------------------------------------------------------------------ models
    def list_models(self) -> list[dict[str, Any]]:
        """Return the models of the catalogue, with the connection's ``models`` and ``prices`` merged over it.

        Without a connection it is the catalogue as it comes, so that one may look before there is an account.
        """
        try:
            catalogue = self.settings.catalogue
        except MissingConnectionError:
            catalogue = MODELS
        return [
            {**spec.to_payload(), "price_cny_per_second": format_money(spec.price_cny_per_second)}
            for spec in catalogue.values()
        ]

    # ------------------------------------------------------------------------------------------------------- inner
    def _note_sent(self) -> None:
        self.has_sent = True

    def _now(self) -> float:
        return time.time()

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _ready(
        self, request: RenderRequest | None, settings: ClientSettings, arguments: Mapping[str, Any]
    ) -> RenderRequest:
        described = {name: value for name, value in arguments.items() if name != "max_cost_cny"}
        if request is None:
            request = RenderRequest.build(**{**described, "catalogue": settings.catalogue})
        elif described:
            raise ParameterError(next(iter(described)), "give either a request or its arguments.")
        check_cost(request, arguments.get("max_cost_cny"))
        check_links(request, settings.endpoint)
        ready = open_images(request)
        for warning in ready.warnings:
            log.warning("%s", warning)
        return ready

    def _accepted(self, request: RenderRequest, task_id: str) -> Render:
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

    def _render_of(self, given: RenderOrId, model: str | None, settings: ClientSettings) -> Render:
        """Return the render that is meant; of a bare id only id and model are known."""
        if isinstance(given, FinishedRender):
            return given.render
        if isinstance(given, Render):
            return given
        if not isinstance(given, str | int):
            return read_payload(given)
        task_id = str(given).strip()
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
