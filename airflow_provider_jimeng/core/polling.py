"""When to ask next, and when to stop: decisions as values, with ``now`` and the jitter as arguments.

Rules, each from the API's documents or from what it leaves open:

* a query's error ends the render only if the code table says so; throttling, 5xx, cut connections and
  unreadable replies are waited out until the deadline;
* ``not_found`` ends it when it is repeated, for the API may be slow to know a new id;
* a code that no table lists, with the number of one that fails a render, ends it when it is repeated;
* refused access ends the wait after three refusals over at least a minute, with the connection read anew each time;
* ``done`` without a link is asked again for a quarter of an hour, then the wait ends and the render is kept;
* a word nobody knows means: ask again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from airflow_provider_jimeng.core.cadence import CLOSEST, Cadence
from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS
from airflow_provider_jimeng.core.deadlines import spread
from airflow_provider_jimeng.core.envelope import looks_like_failure
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    InputRejectedError,
    JimengError,
    PermissionDeniedError,
    RedirectedError,
    SettingsError,
)
from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

SHORTEST_WAIT = 0.01
"""No two polls follow each other faster, whatever interval is asked for: a loop never spins."""
MAX_BACK_OFF = 120.0
CONFIRMATIONS = 3
NOT_FOUND_SPAN = 20.0
REFUSED_SPAN = 60.0
NO_LINK_SPAN = 900.0
"""Seconds from the first ``done`` without a link to the end of the wait: a link is made in seconds, so none will come."""
LINK_FIELD = "data.video_url"
"""Where the API gives the link, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Ask again after ``seconds``. ``note`` is set when something changed and is worth one log line.

    ``renew_connection``: read the connection anew first, for its credentials were refused.
    """

    seconds: float
    note: str | None = None
    renew_connection: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Stop, and tell the task ``event``."""

    event: RenderEvent


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Poller:
    """The state of one wait. Times are epoch seconds.

    ``poll_interval`` fixes the pace; ``None`` follows the model's ``cadence``, which learns from each render. Every
    poll is answered by one :meth:`decide`. A ``Wait`` never reaches beyond the deadline, and from the deadline on there
    is none, so a wait ends whatever the API says.
    """

    task_id: str
    req_key: str
    submitted_at: float
    deadline: float
    poll_interval: float | None = None
    cadence: Cadence = field(default_factory=Cadence)
    polls: int = 0
    running_since: float | None = None
    no_link_since: float | None = None
    """When this wait first saw the render done without a link."""
    _pending_at: float | None = None
    _last_seen: str | None = None
    _told_state: str | None = None
    _told_trouble: str | None = None
    _trouble: int = 0
    _missing: int = 0
    _missing_since: float = 0.0
    _presumed: int = 0
    _refused: int = 0
    _refused_since: float = 0.0

    def __post_init__(self) -> None:
        self.cadence.join(self)

    def first_wait(self, now: float, jitter: float, *, not_before: float) -> float:
        """Return the seconds until the first poll: not before a time, and none while nothing can be ready."""
        wait = not_before - now
        if self.poll_interval is None:
            wait = max(wait, self.cadence.blind_wait(now - self.submitted_at) + CLOSEST * jitter)
        return self._before_deadline(wait, now)

    def decide(self, seen: QueryReply | JimengError, now: float, jitter: float) -> Wait | Finish:
        """Take in one answer, or the error in its place, and say what to do."""
        self.polls += 1
        if isinstance(seen, QueryReply):
            decision = self._after_reply(seen, now, jitter)
        else:
            decision = self._after_error(seen, now, jitter)
        if isinstance(decision, Finish) or now < self.deadline:
            return decision
        gone = isinstance(seen, QueryReply) and seen.status is RenderStatus.NOT_FOUND and not self._kept(now)
        outcome = Outcome.NOT_FOUND if gone else Outcome.TIMED_OUT
        return self._finish(outcome, now, message=f"the last answer was: {self._last_seen}")

    def _after_reply(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        self._trouble = self._refused = self._presumed = 0
        if reply.status is not RenderStatus.NOT_FOUND:
            self._missing = 0
        if reply.status is RenderStatus.GENERATING and self.running_since is None:
            self.running_since = now
        match reply.status:
            case RenderStatus.DONE if reply.video_url:
                self.cadence.learn(pending_at=self._pending_at, done_at=now - self.submitted_at)
                return self._finish(Outcome.SUCCEEDED, now, request_id=reply.request_id)
            case RenderStatus.FAILED:
                return self._finish(
                    Outcome.FAILED, now, code=reply.code, message=reply.message, request_id=reply.request_id
                )
            case RenderStatus.EXPIRED:
                return self._finish(Outcome.EXPIRED, now, request_id=reply.request_id)
            case RenderStatus.NOT_FOUND:
                return self._after_not_found(reply, now, jitter)
            case RenderStatus.DONE:
                return self._after_no_link(reply, now, jitter)
            case RenderStatus.UNKNOWN:
                return self._wait(f"unknown status {reply.status_word!r}", now, jitter)
            case _:
                self._pending_at = now - self.submitted_at
                return self._wait(reply.status.value, now, jitter)

    def _after_no_link(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        if self.no_link_since is None:
            self.no_link_since = now
        left = self.no_link_since + NO_LINK_SPAN - now
        if left <= 0:
            return self._finish(
                Outcome.NO_LINK,
                now,
                message=f"the API says {reply.status_word or 'done'!r} and gives no link in {LINK_FIELD}",
                request_id=reply.request_id,
            )
        wait = self._wait("done, but no link yet", now, jitter)
        return replace(wait, seconds=min(wait.seconds, left))

    def _after_not_found(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        if not self._missing:
            self._missing_since = now
        self._missing += 1
        waited = now - self._missing_since >= NOT_FOUND_SPAN
        if self._missing >= CONFIRMATIONS and (waited or not self._kept(now)):
            return self._finish(Outcome.NOT_FOUND, now, request_id=reply.request_id)
        return self._wait("not found; asking again to be sure", now, jitter, at_most=NOT_FOUND_SPAN / 2)

    def _kept(self, now: float) -> bool:
        return now - self.submitted_at < RETENTION_SECONDS

    def _after_error(self, error: JimengError, now: float, jitter: float) -> Wait | Finish:
        if isinstance(error, ApiError) and error.entry is not None and error.entry.fails_render:
            return self._finish_by(error, Outcome.FAILED, now)
        presumed = self._presumed + 1 if isinstance(error, ApiError) and looks_like_failure(error) else 0
        self._presumed = presumed
        if presumed == CONFIRMATIONS:
            return self._finish_by(error, Outcome.FAILED, now)
        if isinstance(error, WAITING_CANNOT_HELP):
            return self._after_refusal(error, now, jitter)
        self._refused = 0
        self._trouble += 1
        base = self._interval(now)
        back_off = min(max(MAX_BACK_OFF, base), max(base, 1.0) * 2 ** min(self._trouble - 1, 6))
        kind = type(error).__name__
        return Wait(
            seconds=self._before_deadline(spread(back_off, jitter), now),
            note=self._new_trouble("no usable answer, asking again", error, kind),
        )

    def _after_refusal(self, error: JimengError, now: float, jitter: float) -> Wait | Finish:
        if not self._refused:
            self._refused_since = now
        self._refused += 1
        if self._refused >= CONFIRMATIONS and now - self._refused_since >= REFUSED_SPAN:
            return self._finish_by(error, Outcome.LOST_CONTACT, now)
        return Wait(
            seconds=self._before_deadline(spread(REFUSED_SPAN / (CONFIRMATIONS - 1) * 1.3, jitter), now),
            note=self._new_trouble(
                "access was refused, asking again to be sure", error, "access was refused"
            ),
            renew_connection=True,
        )

    def _interval(self, now: float) -> float:
        if self.poll_interval is None:
            return self.cadence.wait_at(now - self.submitted_at)
        return max(SHORTEST_WAIT, self.poll_interval)

    def _wait(self, seen: str, now: float, jitter: float, *, at_most: float | None = None) -> Wait:
        interval = self._interval(now)
        if at_most is not None and self.poll_interval is None:
            interval = min(interval, at_most)
        return Wait(seconds=self._before_deadline(spread(interval, jitter), now), note=self._new_state(seen))

    def _new_state(self, seen: str) -> str | None:
        self._last_seen = seen
        if seen == self._told_state:
            return None
        self._told_state, self._told_trouble = seen, None
        return seen

    def _new_trouble(self, what: str, error: JimengError, kind: str) -> str | None:
        """Tell a kind of trouble once, until the state changes: a throttled account meets it at every other poll."""
        self._last_seen = f"{type(error).__name__}: {error}"
        if kind == self._told_trouble:
            return None
        self._told_trouble = kind
        return f"{what}: {self._last_seen}"

    def _before_deadline(self, seconds: float, now: float) -> float:
        return max(0.0, min(seconds, self.deadline - now))

    def _finish_by(self, error: JimengError, outcome: Outcome, now: float) -> Finish:
        if isinstance(error, ApiError):
            return self._finish(
                outcome, now, code=error.code, message=error.message, request_id=error.request_id
            )
        return self._finish(outcome, now, message=str(error))

    def _finish(
        self,
        outcome: Outcome,
        now: float,
        *,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
    ) -> Finish:
        since = self.running_since
        return Finish(
            event=RenderEvent(
                outcome=outcome,
                task_id=self.task_id,
                req_key=self.req_key,
                code=code,
                message=message,
                request_id=request_id,
                polls=self.polls,
                queued_seconds=None if since is None else round(max(0.0, since - self.submitted_at), 3),
                render_seconds=None if since is None else round(max(0.0, now - since), 3),
            )
        )


WAITING_CANNOT_HELP = (
    AuthenticationError,
    PermissionDeniedError,
    SettingsError,
    InputRejectedError,
    RedirectedError,
)
"""A refused key or permission, an unusable connection, or an endpoint that is not the API's: unless it passes."""
