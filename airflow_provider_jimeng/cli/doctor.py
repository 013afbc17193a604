# SPDX-License-Identifier: Apache-2.0
"""``jimeng doctor``: compares what this package assumes with what an account shows.

The checks here are free: they query ids that cannot exist, and submit nothing. :mod:`.paid_checks` has the others.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.cli.account import conn_id_of, settings_for
from airflow_provider_jimeng.cli.console import is_terminal, note, show_json, show_table
from airflow_provider_jimeng.cli.main import INTERRUPTED, OTHER, REFUSED, as_payload, exit_code, report
from airflow_provider_jimeng.client.observer import Observation, Observer, proxy_shown
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.arguments import read_amount
from airflow_provider_jimeng.core.assumptions import ASSUMPTIONS, MAX_REQUESTS_PER_SECOND, MAX_SKEW_SECONDS
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL, find_model
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    JimengError,
    ParameterError,
    PermissionDeniedError,
    RateLimitedError,
)
from airflow_provider_jimeng.core.render import cost_in_words

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_jimeng.client.settings import ClientSettings

YES, NO, OPEN = "yes", "no", "unknown"
NO_SUCH_TASK = "0"
NO_SUCH_KEY = "jimeng_no_such_model"
LATENCY_QUERIES = 10
BURST = 10
ATTEMPTS = 4
PAUSE_SECONDS = 1.1
"""After a burst, the API can refuse requests for a second."""
CLOCK_TOLERANCE_SECONDS = 8.0
"""A smaller difference is not reported, because the date has whole seconds and the network takes time."""


def doctor(args: argparse.Namespace) -> int:
    """Check what is free, and with ``--pay`` one real render too. The report contains no keys and no signed links."""
    settings = settings_for(args)
    if args.pay:
        _consent(args, settings)
    findings = list(FreeChecks(settings=settings).run())
    reached = any(each.name in ("signature", "token") and each.agrees for each in findings)
    problem: JimengError | None = None
    if args.pay and reached:
        from airflow_provider_jimeng.cli.paid_checks import PaidChecks

        checks = PaidChecks(
            settings=settings, conn_id=conn_id_of(args), model=args.pay, max_cost_cny=args.max_cost
        )
        try:
            checks.run()
        except JimengError as error:
            problem = error
        except KeyboardInterrupt:
            paid = f" The render {checks.paid.task_id} is paid." if checks.paid else ""
            note(f"Interrupted.{paid} Run the same command again: it continues with the paid render, free.")
            return INTERRUPTED
        findings += checks.findings
    if args.json:
        show_json(
            {
                "version": 1,
                "package": __version__,
                "endpoint": settings.endpoint,
                "paid": bool(args.pay and reached),
                "findings": [each.to_payload() for each in findings],
                "error": None if problem is None else as_payload(problem, exit_code(problem, paid=True)),
            }
        )
    else:
        show_table(COLUMNS, [each.row() for each in findings])
    if problem is not None:
        return report(problem, as_json=False, paid=True)
    wrong = [each.fact for each in findings if each.agrees is False]
    if wrong and not args.json:
        note(f"{len(wrong)} facts differ from what is assumed: {', '.join(wrong)}.")
    if args.pay and not reached:
        note("Nothing was paid: the account cannot be used.")
    refused = any(each.name in ("signature", "token") and each.agrees is False for each in findings)
    return REFUSED if refused else OTHER if wrong else 0


def _consent(args: argparse.Namespace, settings: ClientSettings) -> None:
    """Ask twice before the payment.

    :raises ParameterError: there is no cap, the render costs more, or the user does not agree.
    """
    spec = find_model(args.pay, settings.catalogue)
    if not args.max_cost:
        raise ParameterError("--max-cost", "is missing: --pay needs a cap in CNY.")
    cap, price = read_amount("--max-cost", args.max_cost), spec.price_cny_per_second
    cost: Decimal | None = None if price is None else price * spec.durations[0]
    if cost is None or cost > cap:
        raise ParameterError(
            "--max-cost", f"one render of {spec.name} costs about {cost_in_words(cost)}. Nothing was paid."
        )
    if args.yes:
        return
    if not is_terminal(sys.stdin):
        raise ParameterError("--yes", "is missing: there is no terminal to ask before the payment.")
    for question in (
        f"This pays for one render of {spec.name}: about {cost_in_words(cost)}. Go on?",
        "This is a real payment by your account. Are you sure?",
    ):
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ParameterError("--pay", "was not confirmed. Nothing was paid.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the report: a fact, what is assumed, what the account shows, and whether both agree.

    ``agrees`` is ``None`` if nothing is assumed, or if nothing can be concluded.
    """

    name: str
    fact: str
    assumed: str = ""
    confidence: str = ""
    source: str = ""
    shown: str
    agrees: bool | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the row as plain JSON data."""
        return {
            "name": self.name,
            "fact": self.fact,
            "assumed": self.assumed,
            "confidence": self.confidence,
            "source": self.source,
            "seen": self.shown,
            "agrees": self.agrees,
        }

    def row(self) -> tuple[str, str, str, str]:
        """Return the row of the table."""
        assumed = f"{self.assumed} ({self.confidence})" if self.confidence else self.assumed
        verdict = OPEN if self.agrees is None else YES if self.agrees else NO
        return self.fact, assumed, self.shown, verdict if self.assumed or self.agrees is not None else ""


COLUMNS = ("fact", "assumed (confidence)", "seen", "agrees?")


def finding(name: str, shown: str, agrees: bool | None, *, assumed: str | None = None) -> Finding:  # noqa: FBT001 - a verdict
    """Return the finding about an assumption.

    :param assumed: what is assumed for this case, if it is more precise than the table.
    """
    known = ASSUMPTIONS[name]
    return Finding(
        name=name,
        fact=known.fact,
        assumed=known.assumed if assumed is None else assumed,
        confidence=known.confidence,
        source=known.source,
        shown=shown,
        agrees=agrees,
    )


def as_assumed(name: str, shown: str) -> Finding:
    """Return the finding about an answer. It agrees if it is the assumed answer."""
    return finding(name, shown, shown == ASSUMPTIONS[name].assumed)


def fact(name: str, text: str, shown: str, agrees: bool | None = None, *, assumed: str = "") -> Finding:  # noqa: FBT001
    """Return a finding about the account or the network. The package assumes nothing about it except ``assumed``."""
    return Finding(name=name, fact=text, assumed=assumed, shown=shown, agrees=agrees)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one query: a status word, or the code of a refusal. Both are ``None`` if there was no answer."""

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
        """Yield one fact after the other. If the API cannot be reached, there are few of them."""
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

    def _clock(self, observation: Observation) -> Finding:
        if observation.ahead_seconds is None:
            return finding("clock", "the API sends no date", None)
        off = -observation.ahead_seconds
        shown = "in step" if abs(off) < CLOCK_TOLERANCE_SECONDS else f"this machine is {off:+.0f} s off"
        return finding("clock", shown, abs(off) < MAX_SKEW_SECONDS)

    def _access(self, first: Answer) -> Iterator[Finding]:
        """Yield whether the keys are accepted, and the answer to a wrong signature."""
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
        """Yield for each model whether the account can use it, as far as a query shows that."""
        closed: list[Answer] = []
        observer = Observer(self.settings)
        with JimengClient(self.settings, transport=observer) as client:
            for spec in self.settings.catalogue.values():
                time.sleep(1 / MAX_REQUESTS_PER_SECOND)
                answer = _patient(partial(_query, client, observer, spec.req_key))
                answered = answer.word is not None
                closed += [] if answered else [answer]
                yield fact(
                    f"model {spec.name}",
                    f"{spec.name} can be used",
                    "a query is answered" if answered else answer.shown,
                )
        if not closed:
            yield finding("closed_model", "every model answers", None)
            return
        shown = sorted({answer.shown for answer in closed})
        yield as_assumed("closed_model", "; ".join(shown))

    def _pace(self) -> Iterator[Finding]:
        """Yield the latency of some queries, and the answers to a burst of queries."""
        spec = self.settings.catalogue[DEFAULT_MODEL]
        observer = Observer(self.settings)
        with JimengClient(self.settings, transport=observer) as client:
            for _ in range(LATENCY_QUERIES):
                time.sleep(1 / MAX_REQUESTS_PER_SECOND)
                _query(client, observer, spec.req_key)
            latencies = [each.seconds * 1000 for each in observer.observations]
            if latencies:
                text = f"median {statistics.median(latencies):.0f} ms, longest {max(latencies):.0f} ms"
                yield fact("latency", f"latency of {len(latencies)} queries", text)
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
    """Ask, and repeat the question after a pause while the API answers that there are too many requests."""
    for _ in range(ATTEMPTS - 1):
        answer = ask()
        if not isinstance(answer.error, RateLimitedError):
            return answer
        time.sleep(PAUSE_SECONDS)
    return ask()
