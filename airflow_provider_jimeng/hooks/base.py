# SPDX-License-Identifier: Apache-2.0
"""The connection of a hook, its submits, which cost money, and its queries."""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Self

import pendulum
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_jimeng.client.auth import Auth, auth_for
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.arguments import as_mapping
from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS, find_model
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    JimengError,
    LostContactError,
    NoLinkError,
    NotSentError,
    ParameterError,
    RateLimitedError,
    RenderNotFoundError,
    ServerError,
    TransportError,
    UnknownCodeError,
)
from airflow_provider_jimeng.core.frames import check_links
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.parameters import RenderRequest, check_aigc_meta, check_cost
from airflow_provider_jimeng.core.polling import (
    CONFIRMATIONS,
    LINK_FIELD,
    NOT_FOUND_SPAN,
    REFUSED_SPAN,
    WAITING_CANNOT_HELP,
)
from airflow_provider_jimeng.core.render import Render, RenderStatus
from airflow_provider_jimeng.hooks.connection_cache import look_up_settings
from airflow_provider_jimeng.hooks.connection_form import probe
from airflow_provider_jimeng.hooks.render_argument import FinishedRender, RenderOrId, read_payload
from airflow_provider_jimeng.hooks.waiting import unread
from airflow_provider_jimeng.images import open_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal
    from os import PathLike
    from typing import Never

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.wire import QueryReply

log = logging.getLogger(__name__)

_GONE = frozenset({RenderStatus.NOT_FOUND, RenderStatus.EXPIRED})
_PASSES = (RateLimitedError, ConcurrencyLimitedError, ServerError, UnknownCodeError, TransportError)
_PAUSES = (2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between the attempts to get a link."""


class JimengSubmittingHook(BaseHook):
    """Reads an Airflow connection of type ``jimeng`` once, shares one client in a ``with`` block, submits and asks."""

    conn_name_attr = "jimeng_conn_id"
    default_conn_name = "jimeng_default"
    conn_type = "jimeng"
    hook_name = "Jimeng AI"

    def __init__(self, jimeng_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jimeng_conn_id = jimeng_conn_id.strip() if jimeng_conn_id else jimeng_conn_id
        self._sent = Event()
        self._settings: ClientSettings | None = None
        self._auth: Auth | None = None
        self._shares = False
        self._client: JimengClient | None = None
        self._clients = ExitStack()
        self._submitted: dict[str, Render] = {}

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which is read once per hook."""
        if self._settings is None:
            self._settings = look_up_settings(self.jimeng_conn_id, self.get_connection)
            self._auth = auth_for(self._settings)
        return self._settings

    def renew(self) -> None:
        """Read the connection again at the next call, after its credentials were refused."""
        self._settings = self._auth = self._client = None

    def get_conn(self) -> JimengClient:
        """Return a client of the connection. Use it in a ``with`` block."""
        return JimengClient(self.settings, auth=self._auth)

    def __enter__(self) -> Self:
        """Share one client among the calls of the ``with`` block. The connection is read at the first call."""
        self._shares = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._shares, self._client = False, None
        self._clients.close()

    @property
    def has_sent(self) -> bool:
        """Did the first byte of a submit leave after :meth:`prepare`? If not, the API cannot have accepted it."""
        return self._sent.is_set()

    def prepare(self) -> None:
        """Read the connection and open the client, so that the next call sends its request at once."""
        self._sent.clear()
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
        described = without_none(
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
            reply = client.submit(ready, on_sent=self._sent.set)
        return self._accepted(ready, reply.task_id)

    # ------------------------------------------------------------------------------------------------------ query
    def query(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask the API for the state of a render, and return its answer.

        :param render_or_id: a render, its payload, or its ``task_id``. For an id that this hook did not submit, give
            ``model`` too.
        :param aigc_meta: the implicit label; default: the label of the connection.
        """
        settings = self.settings
        render = self._render_of(render_or_id, model, settings)
        label = check_aigc_meta(aigc_meta) if aigc_meta else settings.aigc_meta
        with self._open_client() as client:
            return client.query(render.req_key, render.task_id, aigc_meta=label)

    # ------------------------------------------------------------------------------------------------------ inner
    @contextmanager
    def _open_client(self) -> Iterator[JimengClient]:
        if not self._shares:
            with self.get_conn() as client:
                yield client
            return
        if self._client is None:
            client = JimengClient(self.settings, auth=self._auth)
            self._client = self._clients.enter_context(client)
        yield self._client

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
            estimated_cost_cny=request.estimated_cost,
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


def ask_for(
    hook: JimengSubmittingHook, render: Render, *, aigc_meta: Mapping[str, str] | None = None
) -> QueryReply:
    """Ask what became of a render that is paid for."""
    read_settings(hook)
    return hook.query(render, aigc_meta=aigc_meta)


def links_to(
    hook: JimengSubmittingHook, render: Render, *, aigc_meta: Any = None, require_tagged: bool = False
) -> RenderLinks:
    """Return a source of fresh links to the video of a render.

    :param aigc_meta: the implicit label, which a template can have turned into text.
    :raises ParameterError: ``require_tagged`` is set, and there is no label.
    """
    label = check_aigc_meta(as_mapping("aigc_meta", aigc_meta)) if aigc_meta else None
    settings = read_settings(hook)
    if require_tagged and not (label or settings.aigc_meta):
        raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
    return RenderLinks(
        render=render,
        ask=lambda: ask_for(hook, render, aigc_meta=label),
        renew=hook.renew,
        settings=settings,
        sleep=hook._sleep,  # noqa: SLF001 - a method of this module
    )


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
    if request.first_frame is not None:  # A last frame comes only with a first one.
        check_links(request, settings.endpoint)
        if request.frames_to_open:
            request = open_images(request)
    for warning in request.warnings:
        log.warning("%s", warning)
    return request


def without_none(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that are not ``None``."""
    return {name: value for name, value in arguments.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLinks:
    """Fresh links to a finished render. Each comes from a query of its own, made when the link is needed.

    :param ask: asks what became of the render; ``renew`` reads the connection again.
    """

    render: Render
    ask: Callable[[], QueryReply]
    renew: Callable[[], None]
    settings: ClientSettings
    sleep: Callable[[float], None]

    def fetch(self) -> QueryReply:
        """Ask for a fresh link, again after a temporary failure; believe "gone" or "refused" when it is repeated.

        Many renders can be done, and ask, at the same moment: a throttled one must not fail.
        """
        render = self.render
        gone = refused = 0
        for pause in (*_PAUSES, None):
            try:
                reply = self.ask()
            except WAITING_CANNOT_HELP as error:
                refused += 1
                if isinstance(error, ApiError) and error.entry is not None and error.entry.fails_render:
                    raise  # of the render, not of our access
                if refused == CONFIRMATIONS or pause is None:
                    raise LostContactError(
                        f"No link to the render {render.task_id} can be had: {error}"
                    ) from error
                log.info("No link to the render %s, asking again to be sure: %s", render.task_id, error)
                self.renew()
                self.sleep(REFUSED_SPAN / (CONFIRMATIONS - 1))
                continue
            except _PASSES as error:
                if pause is None:
                    reason = error.said if isinstance(error, ApiError) else error
                    raise NoLinkError(
                        f"No link to the render {render.task_id} could be had: {reason}"
                    ) from error
                log.info("No link to the render %s yet, asking again: %s", render.task_id, error)
                self.sleep(spread(pause, random.random()))
                continue
            if reply.video_url is not None and reply.status is RenderStatus.DONE:
                return reply
            gone += reply.status in _GONE
            if gone == CONFIRMATIONS:
                raise _not_kept(render, reply)
            if pause is None or reply.status not in (*_GONE, RenderStatus.DONE, RenderStatus.UNKNOWN):
                empty = f", nothing in {LINK_FIELD}" if reply.status is RenderStatus.DONE else ""
                raise NoLinkError(
                    f"Render {render.task_id} has no link yet (status {reply.status_word!r}{empty}). "
                    "A retry asks again, free."
                )
            self.sleep(self._pause_when_gone() if gone else spread(pause, random.random()))
        raise AssertionError  # the last round returns or raises

    def _pause_when_gone(self) -> float:
        """Return the seconds until "gone" is confirmed: none if the API need not keep the render any more."""
        kept = time.time() - self.render.submitted_at.timestamp() < RETENTION_SECONDS
        return NOT_FOUND_SPAN / (CONFIRMATIONS - 1) if kept else 0.0


def _not_kept(render: Render, reply: QueryReply) -> RenderNotFoundError:
    return RenderNotFoundError(
        f"Render {render.task_id} cannot be landed: the API no longer keeps it ({reply.status_word}), as it does "
        'for 12 hours only. It might have been billed. To pay for a new one, set on_lost="resubmit" and clear the '
        "task that submitted it."
    )
