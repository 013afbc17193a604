# SPDX-License-Identifier: Apache-2.0
"""The emulator: one object that answers HTTP requests, whatever carries them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from airflow_provider_jimeng.core.assumptions import MAX_SKEW_SECONDS
from airflow_provider_jimeng.core.catalogue import LINK_SECONDS, MODELS, RETENTION_SECONDS, ModelSpec
from airflow_provider_jimeng.core.connection_settings import DEFAULT_ENDPOINT
from airflow_provider_jimeng.emulator.fault_injection import FaultPlan
from airflow_provider_jimeng.emulator.faults import Fault, FaultError
from airflow_provider_jimeng.emulator.gateway import GATEWAY_PATH, Gateway, LinkShape, QueryShape, SubmitShape
from airflow_provider_jimeng.emulator.messages import (
    OPERATIONS,
    ApiResponse,
    Call,
    Code,
    HttpResult,
    Refusal,
    Request,
    Response,
    ResponseBuilder,
    json_response,
)
from airflow_provider_jimeng.emulator.renders import Counters, RateLimit, RenderStore, make_bill
from airflow_provider_jimeng.emulator.server import EmulatorServer
from airflow_provider_jimeng.emulator.service import MEDIA_PREFIX, Service, VideoLinks
from airflow_provider_jimeng.emulator.verify import REGION, Keyring, check_request
from airflow_provider_jimeng.emulator.videos import check_libraries

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.transport import EmulatorTransport

ADMIN_PREFIX = "/_emulator/"
CONNECTION_TYPE = "jimeng"


class JimengEmulator:
    """An emulator of the API in this process.

    :param access_key: Access Key ID of the one account. ``secret_key`` and ``session_token`` belong to it.
    :param bearer: token of a gateway. If it is set, the gateway is served at ``/jimeng/``.
    :param render_seconds: seconds from the submit until the render is done, by ``clock``.
    :param max_concurrent: renders in flight per ``req_key``. A further submit gets 50430. ``None`` means no limit.
    :param max_qps: submits and queries per second. Further ones get 50429. ``None`` means no limit.
    :param url_lifetime: seconds until a video link expires.
    :param faults: what goes wrong. ``emulator.faults.add(where=…, what=…)`` adds more.
    :param clock: returns epoch seconds. The caller advances a virtual clock.
    :param unactivated: models, by name or ``req_key``, that the account has not activated. They get 50400.
    :param retention_seconds: seconds after the submit until a render is ``not_found``.
    :param max_skew_seconds: how far ``X-Date`` can differ from the clock. ``None`` means no limit.
    :param gateway_submit: shape of the gateway's responses to a submit: ``native``, ``openai`` or ``bare``.
    :param gateway_query: shape of its responses to a query: ``native`` or ``wrapped``.
    :param gateway_links: ``direct`` links lead to the media host, ``own`` links to the gateway. Those need its token.
    :param gateway_forwards_req_json: whether the gateway forwards the request for a label.
    """

    def __init__(
        self,
        *,
        access_key: str = "AKEMULATOR",
        secret_key: str = "SKEMULATOR",  # noqa: S107  the key of the emulator is not a secret
        session_token: str | None = None,
        bearer: str | None = None,
        render_seconds: float = 3.0,
        max_concurrent: int | None = None,
        max_qps: float | None = None,
        url_lifetime: float = LINK_SECONDS,
        faults: Iterable[Mapping[str, Any] | Fault] = (),
        clock: Callable[[], float] = time.time,
        catalogue: Mapping[str, ModelSpec] = MODELS,
        unactivated: Collection[str] = (),
        retention_seconds: float = RETENTION_SECONDS,
        region: str = REGION,
        max_skew_seconds: float | None = MAX_SKEW_SECONDS,
        gateway_submit: SubmitShape = "native",
        gateway_query: QueryShape = "native",
        gateway_links: LinkShape = "direct",
        gateway_forwards_req_json: bool = True,
    ) -> None:
        self.clock = clock
        self.faults = FaultPlan(faults)
        self.keyring = Keyring(
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            region=region,
            max_skew_seconds=max_skew_seconds,
        )
        self.gateway = (
            Gateway(
                token=bearer,
                submit_shape=gateway_submit,
                query_shape=gateway_query,
                link_shape=gateway_links,
                forwards_req_json=gateway_forwards_req_json,
            )
            if bearer
            else None
        )
        self.service = Service(
            catalogue=catalogue,
            renders=RenderStore(),
            counters=Counters(),
            links=VideoLinks(lifetime_seconds=url_lifetime),
            faults=self.faults,
            rate=RateLimit(max_per_second=max_qps),
            unactivated=frozenset(unactivated),
            render_seconds=render_seconds,
            max_concurrent=max_concurrent,
            retention_seconds=retention_seconds,
        )
        self.url: str | None = None
        """The address of the server while it is running."""

    def handle(self, request: Request) -> HttpResult:
        """Answer a request. The caller sends the result, and waits if it is late."""
        started = time.perf_counter()
        if request.path.startswith(ADMIN_PREFIX):
            return self._admin(request)
        if self.gateway is not None and self.gateway.is_own_link(request):
            forwarded = self.gateway.forward_download(request, self.clock())
            if isinstance(forwarded, Response):
                return forwarded
            return self.service.download(forwarded, self.clock())
        if request.path.startswith(MEDIA_PREFIX):
            return self.service.download(request, self.clock())
        query = dict(parse_qsl(request.query_string))
        action, version = query.get("Action", ""), query.get("Version", "")
        responses = ResponseBuilder(
            now=self.clock(),
            elapsed=lambda: time.perf_counter() - started,
            action=action,
            version=version,
            region=self.keyring.region,
        )
        operation = OPERATIONS.get((action, version))
        if self.gateway is not None and request.path.rstrip("/") == GATEWAY_PATH.rstrip("/"):
            return self._handle_gateway(self.gateway, request, operation, responses)
        check = partial(check_request, request, action, version, self.keyring, responses.now)
        if operation is None:
            unknown = f"Could not find operation {action} for version {version}."
            refusal = check() or Refusal(code=Code.INVALID_ACTION, detail=unknown)
            return responses.refusal(refusal).to_http()
        call = Call.read(operation, request.body, request.origin, responses)
        return self.service.handle(call, check, ApiResponse.to_http)

    def _handle_gateway(
        self, gateway: Gateway, request: Request, operation: str | None, responses: ResponseBuilder
    ) -> HttpResult:
        refused = gateway.refuse(request, operation, responses.now)
        if refused is not None or operation is None:
            if operation == "submit":
                self.service.counters.count("submits")
                self.service.counters.count_refusal("submit", "gateway")
            return refused or Response(status=400)
        call = gateway.forward(Call.read(operation, request.body, request.origin, responses))
        return self.service.handle(call, lambda: None, partial(gateway.translate, call))

    def _admin(self, request: Request) -> Response:
        """Answer one of the emulator's own routes. They need no key. A 404 lists them all."""
        match request.method, request.path.removeprefix(ADMIN_PREFIX):
            case "GET", "bill":
                return json_response(200, self.bill())
            case "GET", "health":
                return json_response(200, {"status": "ok", "now": self.clock()})
            case "POST", "reset":
                self.reset()
                return json_response(200, {"status": "ok"})
            case "GET", "faults":
                return json_response(200, self.faults.report())
            case "DELETE", "faults":
                self.faults.clear()
                return json_response(200, {"status": "ok"})
            case "POST", "faults":
                return self._add_faults(request.body)
        return json_response(404, {"error": "GET bill, health, faults; POST reset, faults; DELETE faults"})

    def _add_faults(self, body: bytes) -> Response:
        try:
            entries = json.loads(body)
            self.faults.extend(entries if isinstance(entries, list) else [entries])
        except FaultError as error:
            return json_response(400, {"error": str(error)})
        except ValueError as error:
            return json_response(400, {"error": f"not JSON: {error}"})
        return json_response(200, {"status": "ok", "faults": len(self.faults)})

    def bill(self) -> dict[str, Any]:
        """Return what was submitted, accepted and billed, as ``GET /_emulator/bill`` does."""
        return make_bill(
            self.service.renders,
            self.service.counters,
            self.faults.report(),
            now=self.clock(),
            retention_seconds=self.service.retention_seconds,
        )

    def reset(self) -> None:
        """Remove all renders and set all counts to zero. Settings and faults stay."""
        self.service.renders.clear()
        self.service.counters.clear()
        self.service.rate.clear()
        self.faults.restart()

    def transport(self) -> EmulatorTransport:
        """Return a transport for ``httpx.Client`` and ``httpx.AsyncClient`` that needs no socket."""
        from airflow_provider_jimeng.emulator.transport import (  # noqa: PLC0415  other uses need no httpx
            EmulatorTransport,
        )

        return EmulatorTransport(self)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> EmulatorServer:
        """Return a server for a ``with`` block. ``port=0`` uses a free port; ``url`` of the server has it.

        :raises ImportError: the extra ``[emulator]`` is not installed, so it cannot make videos.
        """
        check_libraries()
        return EmulatorServer(self, host, port)

    def connection_json(self, *, url: str | None = None, auth: str = "volc", **extra: Any) -> str:
        """Return a connection to the emulator as JSON, for ``AIRFLOW_CONN_JIMENG_DEFAULT``.

        :param url: where the emulator is. The default is the address of its running server.
        :param auth: ``volc``, or ``bearer`` for its gateway.
        :param extra: other fields of the connection's Extra.
        """
        login, password, options = self._connection_parts(auth, extra)
        host = (url or self.url or DEFAULT_ENDPOINT).rstrip("/")
        fields = {
            "conn_type": CONNECTION_TYPE,
            "host": host + (GATEWAY_PATH if auth == "bearer" else ""),
            "login": login,
            "password": password,
        }
        return json.dumps({**fields, "extra": options}, ensure_ascii=False)

    def connection_uri(self, *, url: str | None = None, auth: str = "volc", **extra: Any) -> str:
        """Return the connection as a URI. The scheme of ``url`` becomes Airflow's ``schema``.

        The host of a gateway is its whole URL.
        """
        login, password, options = self._connection_parts(auth, extra)
        endpoint = url or self.url or DEFAULT_ENDPOINT
        parts = urlsplit(endpoint)
        query = "?__extra__=" + quote(json.dumps(options), safe="") if options else ""
        location = f"{parts.netloc}/{parts.scheme}"
        if auth == "bearer":
            location = quote(endpoint.rstrip("/") + GATEWAY_PATH, safe="") + "/"
        return f"{CONNECTION_TYPE}://{quote(login, safe='')}:{quote(password, safe='')}@{location}{query}"

    def _connection_parts(self, auth: str, extra: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
        """Return login, password and Extra."""
        options = dict(extra)
        if auth == "bearer":
            if self.gateway is None:
                raise ValueError("This emulator has no gateway: pass bearer=… to it.")
            return "", self.gateway.token, {"auth": "bearer", **options}
        if auth != "volc":
            raise ValueError(f"auth is 'volc' or 'bearer', not {auth!r}.")
        if self.keyring.session_token:
            options.setdefault("session_token", self.keyring.session_token)
        return self.keyring.access_key, self.keyring.secret_key, options

    @property
    def render_seconds(self) -> float:
        """Return the seconds from submit to done. You can change them between submits."""
        return self.service.render_seconds

    @render_seconds.setter
    def render_seconds(self, value: float) -> None:
        self.service.render_seconds = value

    @property
    def max_concurrent(self) -> int | None:
        """Return the limit on renders in flight per ``req_key``. You can change it."""
        return self.service.max_concurrent

    @max_concurrent.setter
    def max_concurrent(self, value: int | None) -> None:
        self.service.max_concurrent = value

    @property
    def max_qps(self) -> float | None:
        """Return the limit on submits and queries per second. You can change it."""
        return self.service.rate.max_per_second

    @max_qps.setter
    def max_qps(self, value: float | None) -> None:
        self.service.rate.max_per_second = value
