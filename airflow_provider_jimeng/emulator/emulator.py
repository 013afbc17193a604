"""The API in a box: one object that answers requests, whatever carries them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from airflow_provider_jimeng.core.assumptions import MAX_SKEW_SECONDS
from airflow_provider_jimeng.core.catalogue import (
    DEFAULT_ENDPOINT,
    LINK_SECONDS,
    MODELS,
    RETENTION_SECONDS,
    ModelSpec,
)
from airflow_provider_jimeng.emulator import codes
from airflow_provider_jimeng.emulator.admin import answer_admin
from airflow_provider_jimeng.emulator.bill import Counters, make_bill
from airflow_provider_jimeng.emulator.connection import connection_json, connection_uri
from airflow_provider_jimeng.emulator.desk import CALLS, Desk, Visit
from airflow_provider_jimeng.emulator.envelopes import Envelope, Refusal
from airflow_provider_jimeng.emulator.faults import Fault, FaultPlan
from airflow_provider_jimeng.emulator.gateway import GATEWAY_PATH, Gateway, LinkShape, QueryShape, SubmitShape
from airflow_provider_jimeng.emulator.links import MEDIA_PREFIX, Link, LinkMint
from airflow_provider_jimeng.emulator.media import MediaStore, check_libraries
from airflow_provider_jimeng.emulator.media_host import MediaHost
from airflow_provider_jimeng.emulator.messages import Answer, Outcome, Reply, Request
from airflow_provider_jimeng.emulator.server import EmulatorServer
from airflow_provider_jimeng.emulator.state import RateLimit, TaskStore
from airflow_provider_jimeng.emulator.strikes import STRIKES, alter_answer, alter_reply, strike_instead
from airflow_provider_jimeng.emulator.verify import REGION, Keyring, check_signature

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.transport import EmulatorTransport

ADMIN_PREFIX = "/_emulator/"


class JimengEmulator:
    """An honest double of the API, in this process.

    :param access_key: the one account's Access Key ID; ``secret_key`` and ``session_token`` belong to it.
    :param bearer: token of a gateway that is then served below ``/jimeng/`` as well.
    :param render_seconds: time from submit to done, by ``clock``.
    :param max_concurrent: renders in flight per ``req_key`` before a submit is answered 50430; ``None``: any number.
    :param max_qps: submits and queries a second before they are answered 50429; ``None``: any number.
    :param url_lifetime: seconds until a link dies.
    :param faults: what shall go wrong; more with ``emulator.faults.add(where=…, what=…)``.
    :param clock: returns epoch seconds; moving a virtual one on is the caller's business.
    :param unactivated: models, by name or ``req_key``, that the account has not opened (50400).
    :param max_skew_seconds: how far ``X-Date`` may be off; ``None`` takes any.
    :param gateway_submit: shape of the gateway's submit replies: ``native``, ``openai`` or ``bare``.
    :param gateway_query: shape of its query replies: ``native`` or ``wrapped``.
    :param gateway_links: ``direct`` links to the media host, or the gateway's ``own``, which need its token.
    """

    def __init__(
        self,
        *,
        access_key: str = "AKEMULATOR",
        secret_key: str = "SKEMULATOR",  # noqa: S107  the emulator's own, known to all
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
        self.desk = Desk(
            catalogue=catalogue,
            tasks=TaskStore(),
            counters=Counters(),
            links=LinkMint(lifetime_seconds=url_lifetime),
            faults=self.faults,
            rate=RateLimit(max_per_second=max_qps),
            unactivated=frozenset(unactivated),
            render_seconds=render_seconds,
            max_concurrent=max_concurrent,
            retention_seconds=retention_seconds,
        )
        self._media = MediaHost(desk=self.desk, faults=self.faults, files=MediaStore())
        self.url: str | None = None
        """Where the emulator is served, while it is."""

    def handle(self, request: Request) -> Outcome:
        """Answer a request. Nothing is slept and nothing is sent here: that is the carrier's part."""
        started = time.perf_counter()
        if request.path.startswith(ADMIN_PREFIX):
            return answer_admin(self, request)
        if self.gateway is not None and self.gateway.serves(request):
            behind = self.gateway.behind(request, self.clock())
            return behind if isinstance(behind, Reply) else self._media.serve(behind, self.clock())
        if request.path.startswith(MEDIA_PREFIX):
            return self._media.serve(request, self.clock())
        query = dict(parse_qsl(request.query_string))
        action, version = query.get("Action", ""), query.get("Version", "")
        envelope = Envelope(
            now=self.clock(),
            elapsed=lambda: time.perf_counter() - started,
            action=action,
            version=version,
            region=self.keyring.region,
        )
        where = CALLS.get((action, version))
        if self.gateway is not None and request.path.rstrip("/") == GATEWAY_PATH.rstrip("/"):
            return self._through_gateway(self.gateway, request, where, envelope)
        if where is None:
            refusal = self._gate(request, envelope) or Refusal(
                code=codes.INVALID_ACTION, detail=f"Could not find operation {action} for version {version}."
            )
            return envelope.refusal(refusal).reply()
        visit = Visit.read(where, request.body, request.origin, envelope)
        return self._attend(visit, lambda: self._gate(request, envelope), Answer.reply)

    def bill(self) -> dict[str, Any]:
        """Return what was asked, accepted and billed so far; the same as ``GET /_emulator/bill``."""
        desk = self.desk
        return make_bill(
            desk.tasks,
            desk.counters,
            self.faults.report(),
            now=self.clock(),
            retention_seconds=desk.retention_seconds,
        )

    def reset(self) -> None:
        """Forget tasks, counts and the progress of faults; settings and the faults themselves stay."""
        self.desk.tasks.clear()
        self.desk.counters.clear()
        self.desk.rate.clear()
        self.faults.restart()

    def transport(self) -> EmulatorTransport:
        """Return a transport for ``httpx.Client`` and ``httpx.AsyncClient`` that ends here, without a socket."""
        from airflow_provider_jimeng.emulator.transport import (  # noqa: PLC0415  httpx only where it is used
            EmulatorTransport,
        )

        return EmulatorTransport(self)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> EmulatorServer:
        """Return a socket server to be used in a ``with`` block; ``port=0`` takes a free one, see its ``url``.

        :raises ImportError: the extra ``[emulator]`` is not installed, so no video could be made.
        """
        check_libraries()
        return EmulatorServer(self, host, port)

    def connection_json(self, *, url: str | None = None, auth: str = "volc", **extra: Any) -> str:
        """Return the value of ``AIRFLOW_CONN_JIMENG_DEFAULT`` as JSON; ``url`` defaults to where it is served."""
        return connection_json(self, url=url or self.url or DEFAULT_ENDPOINT, auth=auth, extra=extra)

    def connection_uri(self, *, url: str | None = None, auth: str = "volc", **extra: Any) -> str:
        """Return the same as a URI."""
        return connection_uri(self, url=url or self.url or DEFAULT_ENDPOINT, auth=auth, extra=extra)

    @property
    def render_seconds(self) -> float:
        """Time from submit to done; may be changed between submits."""
        return self.desk.render_seconds

    @render_seconds.setter
    def render_seconds(self, value: float) -> None:
        self.desk.render_seconds = value

    @property
    def max_concurrent(self) -> int | None:
        """Renders in flight per ``req_key``; may be changed."""
        return self.desk.max_concurrent

    @max_concurrent.setter
    def max_concurrent(self, value: int | None) -> None:
        self.desk.max_concurrent = value

    @property
    def max_qps(self) -> float | None:
        """Submits and queries a second; may be changed."""
        return self.desk.rate.max_per_second

    @max_qps.setter
    def max_qps(self, value: float | None) -> None:
        self.desk.rate.max_per_second = value

    def _gate(self, request: Request, envelope: Envelope) -> Refusal | None:
        """What the API gateway refuses. Action and Version count in the query string only (H)."""
        if request.path != "/":
            return Refusal(code=codes.INVALID_ACTION, detail=f"There is nothing at {request.path}.")
        if not envelope.action or not envelope.version:
            missing = "Version" if envelope.action else "Action"
            return Refusal(code=codes.MISSING_PARAMETER, detail=f"The query string has no {missing}.")
        if request.method != "POST":
            return Refusal(code=codes.METHOD_NOT_ALLOWED, detail=f"{request.method} is not allowed.")
        return check_signature(request, self.keyring, envelope.now)

    def _through_gateway(
        self, gateway: Gateway, request: Request, where: str | None, envelope: Envelope
    ) -> Outcome:
        refused = gateway.refuse(request, where, envelope.now)
        if refused is not None or where is None:
            if where == "submit":
                self.desk.counters.count("submits")
                self.desk.counters.refuse("submit", "gateway")
            return refused or Reply(status=400)
        visit = gateway.forward(Visit.read(where, request.body, request.origin, envelope))
        return self._attend(visit, lambda: None, partial(gateway.speak, visit))

    def _attend(
        self, visit: Visit, gate: Callable[[], Refusal | None], speak: Callable[[Answer], Reply]
    ) -> Outcome:
        """Serve a visit, with the faults that strike before and after."""
        desk = self.desk
        desk.arrive(visit)
        prompt = desk.prompt_of(visit.text("task_id")) if visit.where != "submit" else None
        early = self.faults.draw(visit.occasion(early=True, prompt=prompt))
        if early is not None:
            struck = strike_instead(early, visit.envelope)
            desk.counters.refuse(visit.where, str(struck.code) if isinstance(struck, Answer) else early.what)
            return speak(struck) if isinstance(struck, Answer) else struck
        refusal = gate()
        answer = desk.serve(visit) if refusal is None else visit.envelope.refusal(refusal)
        if not answer.succeeded:
            desk.counters.refuse(visit.where, str(answer.code))
            return speak(answer)
        late = self.faults.draw(visit.occasion(early=False, prompt=prompt, facts=_facts(answer)))
        if late is None:
            return speak(answer)
        if late.what in STRIKES:
            struck = strike_instead(late, visit.envelope)
            return speak(struck) if isinstance(struck, Answer) else struck
        untagged = Link(task_id=visit.text("task_id"))
        altered = alter_answer(late, answer, lambda: desk.links.mint(visit.origin, untagged, visit.now))
        return alter_reply(late, speak(altered))


def _facts(answer: Answer) -> frozenset[str]:
    """Name the conditional faults that this answer of a query gives occasion to."""
    facts = set()
    if answer.data.get("video_url"):
        facts.add("done_without_url")
    if answer.data.get("aigc_meta_tagged"):
        facts.add("untagged")
    return frozenset(facts)
