# SPDX-License-Identifier: Apache-2.0
"""The free part of the doctor: queries of ids that cannot exist. Nothing is submitted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_jimeng.cli.findings import Finding, as_assumed, fact, finding
from airflow_provider_jimeng.client.observer import Observation, Observer, proxy_shown
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.assumptions import MAX_REQUESTS_PER_SECOND, MAX_SKEW_SECONDS
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    JimengError,
    PermissionDeniedError,
    RateLimitedError,
)

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings

NO_SUCH_TASK = "0"
NO_SUCH_KEY = "jimeng_no_such_model"
LATENCY_QUERIES = 10
BURST = 10
ATTEMPTS = 4
PAUSE_SECONDS = 1.1
"""After a burst the API may refuse for a second."""
NOT_ENDED = 8.0
"""A clock that is off by less is not worth a line: the date has whole seconds, and the network takes time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one query brought: a status word, or the code of a refusal; ``None`` for both if no answer came."""

    word: str | None = None
    code: str | None = None
    error: JimengError | None = None
    observation: Observation | None = None

    @property
    def shown(self) -> str:
        """The answer in a few words."""
        if self.observation is None:
            return str(self.error)
        entry = self.error.entry if isinstance(self.error, ApiError) else None
        name = entry.name if entry is not None and entry.gateway else self.code
        what = self.word or name or type(self.error).__name__
        return f"{what}, HTTP {self.observation.http_status}"


@dataclass(slots=True, kw_only=True)
class FreeChecks:
    """Asks an account's API questions that cost nothing."""

    settings: ClientSettings

    def run(self) -> Iterator[Finding]:
        """Yield what is found, one fact after the other. If the API cannot be reached, little is."""
        first = self._ask(self.settings.catalogue[DEFAULT_MODEL].req_key)
        yield fact("endpoint", "endpoint", self.settings.endpoint)
        yield fact(
            "reached",
            "the endpoint answers",
            "yes" if first.observation else first.shown,
            first.observation is not None,
            assumed="yes",
        )
        yield fact("proxy", "proxy", proxy_shown(self.settings) or "none")
        if first.observation is None:
            return
        yield fact("tls", "TLS", first.observation.tls or "none: the endpoint is http")
        yield self._clock(first.observation)
        yield from self._access(first)
        if isinstance(first.error, AuthenticationError):
            return
        if isinstance(first.error, PermissionDeniedError):
            yield finding("unknown_id", first.shown, None)
        else:
            yield as_assumed("unknown_id", first.shown)
        yield as_assumed("wrong_key", self._ask(NO_SUCH_KEY).shown)
        yield from self._models()
        yield from self._pace()

    def _ask(self, req_key: str, settings: ClientSettings | None = None) -> Answer:
        """Query an id that cannot exist, on a connection of its own."""
        observer = Observer(settings or self.settings)
        with JimengClient(settings or self.settings, transport=observer) as client:
            return _patient(lambda: _query(client, observer, req_key))

    def _clock(self, seen: Observation) -> Finding:
        if seen.ahead_seconds is None:
            return finding("clock", "the API sends no date", None)
        off = -seen.ahead_seconds
        shown = "in step" if abs(off) < NOT_ENDED else f"this machine is {off:+.0f} s off"
        return finding("clock", shown, abs(off) < MAX_SKEW_SECONDS)

    def _access(self, first: Answer) -> Iterator[Finding]:
        """Yield whether the keys are accepted, and what a wrong signature brings."""
        refused = isinstance(first.error, AuthenticationError)
        shown = first.shown if refused else "accepted"
        if self.settings.auth == "bearer":
            yield fact("token", "token of the gateway", shown, not refused, assumed="accepted")
            return
        yield fact("signature", "signature", shown, not refused, assumed="accepted")
        if self.settings.session_token:
            yield fact("token", "session token", shown, not refused, assumed="accepted")
        spec = self.settings.catalogue[DEFAULT_MODEL]
        wrong = self._ask(
            spec.req_key, replace(self.settings, secret_key=self.settings.secret_key[::-1] + "x")
        )
        yield as_assumed("wrong_signature", wrong.shown)

    def _models(self) -> Iterator[Finding]:
        """Yield for each model whether the account may use it, as far as a query tells."""
        closed: list[Answer] = []
        observer = Observer(self.settings)
        with JimengClient(self.settings, transport=observer) as client:
            for spec in self.settings.catalogue.values():
                time.sleep(1 / MAX_REQUESTS_PER_SECOND)
                answer = _patient(partial(_query, client, observer, spec.req_key))
                may = answer.word is not None
                closed += [] if may else [answer]
                yield fact(
                    f"model {spec.name}",
                    f"{spec.name} can be used",
                    "a query is answered" if may else answer.shown,
                )
        if not closed:
            yield finding("closed_model", "every model answers", None)
            return
        shown = sorted({answer.shown for answer in closed})
        yield as_assumed("closed_model", "; ".join(shown))

    def _pace(self) -> Iterator[Finding]:
        """Yield the latency of some queries, and what a burst of queries brings."""
        spec = self.settings.catalogue[DEFAULT_MODEL]
        observer = Observer(self.settings)
        with JimengClient(self.settings, transport=observer) as client:
            for _ in range(LATENCY_QUERIES):
                time.sleep(1 / MAX_REQUESTS_PER_SECOND)
                _query(client, observer, spec.req_key)
            took = [each.seconds * 1000 for each in observer.observations]
            if took:
                text = f"median {statistics.median(took):.0f} ms, longest {max(took):.0f} ms"
                yield fact("latency", f"latency of {len(took)} queries", text)
            time.sleep(PAUSE_SECONDS)
            began = time.monotonic()
            answers = [_query(client, observer, spec.req_key) for _ in range(BURST)]
            seconds = time.monotonic() - began
        limited = [answer for answer in answers if isinstance(answer.error, RateLimitedError)]
        granted = len(answers) - len(limited)
        rate = granted / max(seconds, 1.0)
        shown = f"{granted} of {BURST} queries in {seconds:.1f} s"
        enough = rate >= MAX_REQUESTS_PER_SECOND or not limited
        yield finding("request_rate", shown, enough if limited or rate >= MAX_REQUESTS_PER_SECOND else None)
        if not limited:
            yield finding("limited_status", "no query was refused", None)
            return
        yield as_assumed("limited_status", limited[0].shown)


def _query(client: JimengClient, observer: Observer, req_key: str) -> Answer:
    """Query an id that cannot exist."""
    before = len(observer.observations)
    try:
        reply = client.query(req_key, NO_SUCH_TASK)
    except JimengError as error:
        code = error.code if isinstance(error, ApiError) else None
        came = len(observer.observations) > before
        return Answer(code=code, error=error, observation=observer.last if came else None)
    return Answer(word=reply.status_word or reply.status.value, observation=observer.last)


def _patient(ask: Callable[[], Answer]) -> Answer:
    """Ask again after a pause while the API answers that there are too many requests."""
    for _ in range(ATTEMPTS - 1):
        answer = ask()
        if not isinstance(answer.error, RateLimitedError):
            return answer
        time.sleep(PAUSE_SECONDS)
    return ask()
