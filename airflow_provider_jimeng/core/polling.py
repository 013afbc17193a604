# SPDX-License-Identifier: Apache-2.0
"""When to query a render next, and when to stop. Decisions are values; ``now`` and the jitter are arguments.

:class:`Cadence` spaces the queries by the durations of earlier renders of the model. A render is queried rarely while
it cannot be done yet, and often while its end is likely. Until enough durations are known, the vendor's 1 to 5 minutes
(confidence M) are used.

:class:`Poller` decides after each answer. Its rules come from the API's documents, or from what they leave open:

* A query's error ends the render only if the code table says so. Rate limits, 5xx, cut connections and unreadable
  replies are waited out until the deadline.
* ``not_found`` ends it when it is repeated, because the API can be slow to know a new id.
* A code without a row, with the number of one that fails a render, ends it when it is repeated.
* Refused credentials end the wait after three refusals over at least a minute. The connection is read anew each time.
* ``done`` without a link is queried again for a quarter of an hour. Then the wait ends and the render is kept.
* An unknown status means: query again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import sqrt
from weakref import WeakSet

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS, TYPICAL_RENDER_SECONDS
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
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent, RenderStatus, measured
from airflow_provider_jimeng.core.wire import QueryReply

LEARNED_FROM = 2
"""Number of durations from which they are used."""
TRUSTED_FROM = 8
"""Number of durations from which they replace the vendor's range, if they lie within it."""
REMEMBERED = 100
CLOSEST = 2.0
"""The shortest step: seconds between two queries when the end is known well."""
WIDEST = 13.0
"""The widest step when the end is known badly and much time is left."""
WIDEST_GUESS = 11.6
"""The widest step while only the vendor's range is known."""
OVERDUE = 8.0
"""The step after the longest known duration."""
FARTHEST = 30.0
"""The widest step of a render that is long overdue."""
BLIND_SECONDS = 120.0
"""The longest time without a query, because durations can change."""
EARLY_LOOKS = (11.0, 33.0)
"""Ages at which a render is queried while nothing is known, because some APIs take less than a minute."""
DRIFT = 1.25
"""The jitter can bring a query this much earlier than planned. It still counts as the planned query."""
EARLY_SHARE = 0.97
"""Queries begin at this share of the shortest duration that is expected."""
GUESSED_EARLIER = 0.7
"""If the first query already finds a render done, its duration is at least this share of its age."""
STEPS_WHEN_DUE = 6
"""The range of likely ends has at least this many steps."""


class Cadence:
    """The known durations of one model: the age at which each render was last seen running, and first seen done."""

    __slots__ = ("_waiters", "durations")

    def __init__(self) -> None:
        self.durations: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._waiters: WeakSet[object] = WeakSet()

    @classmethod
    def of_model(cls, req_key: str) -> Cadence:
        """Return what this process has learnt of a model's durations."""
        return _CADENCES.setdefault(req_key, cls())

    def join(self, waiter: object) -> None:
        """Count an object that waits for a render, until the object is gone."""
        self._waiters.add(waiter)

    def learn(self, *, pending_at: float | None, done_at: float) -> None:
        """Add one render: its age when it was last seen running, and its age when it was first seen done.

        A render that was queried long after its end, such as one that a retry adopts an hour later, is ignored.
        """
        if pending_at is None:
            if not self.known or done_at > 2 * self.longest:
                return
            pending_at = done_at * GUESSED_EARLIER
        elif pending_at < TYPICAL_RENDER_SECONDS[0] <= done_at:
            pending_at = TYPICAL_RENDER_SECONDS[0]  # the duration can lie within the vendor's range
        self.durations.append((pending_at, done_at))

    @property
    def known(self) -> bool:
        """Whether enough durations are known to use them."""
        return len(self.durations) >= LEARNED_FROM

    @property
    def shortest(self) -> float:
        """The age before which no render is expected to be done."""
        return self._expected()[0]

    @property
    def longest(self) -> float:
        """The age at which every known render was done."""
        return max(done for _, done in self.durations) if self.known else TYPICAL_RENDER_SECONDS[1]

    def blind_wait(self, age: float) -> float:
        """Return the seconds until the next query of a render that is too young to be done."""
        due = self.shortest + self._step(self.shortest)
        if not self.known:
            due = next((look for look in EARLY_LOOKS if look > age * DRIFT), due)
        return min(BLIND_SECONDS, max(CLOSEST, due - age))

    def wait_at(self, age: float) -> float:
        """Return the seconds from a query at this age to the next one."""
        if age < self.shortest:
            return self.blind_wait(age)
        overdue = max(self.longest, TYPICAL_RENDER_SECONDS[1])
        if age > overdue:
            return min(FARTHEST, max(OVERDUE, (age - overdue) * 0.2))
        return OVERDUE if age > self.longest and not self._crowded else self._step(age)

    @property
    def _crowded(self) -> bool:
        """Whether more renders are waited for than are known.

        If many renders begin together, the first ones to end are the short ones and say little about the others.
        """
        return len(self.durations) < len(self._waiters)

    def _step(self, age: float) -> float:
        """Return the seconds to the next query of a render whose end is possible now.

        Steps shrink with age. Every render pays for the first steps, only the long ones pay for the last, so this
        takes fewer queries than equal steps with the same mean delay.
        """
        unsure = self._crowded or not self.known
        start, end = TYPICAL_RENDER_SECONDS if unsure else self._expected()
        widest = WIDEST_GUESS if unsure else min(WIDEST, (end - start) / STEPS_WHEN_DUE)
        left = min(1.0, max(0.0, (end - age) / (end - start)))
        return max(CLOSEST, widest * 0.4, widest * sqrt(left))

    def _expected(self) -> tuple[float, float]:
        """Return the ages between which a render is expected to end.

        The range begins before the shortest known duration, the more so the fewer are known. A few durations within
        the vendor's range narrow that range only a little.
        """
        usual = TYPICAL_RENDER_SECONDS
        if not self.known:
            return usual
        earliest = min(pending for pending, _ in self.durations)
        others = len(self.durations) - 1
        start = max(0.0, earliest - (self.longest - earliest) / others) * EARLY_SHARE
        trust = 1.0 if earliest < usual[0] else min(1.0, others / TRUSTED_FROM)
        return usual[0] + (start - usual[0]) * trust, usual[1] + (self.longest - usual[1]) * trust


_CADENCES: dict[str, Cadence] = {}

SHORTEST_WAIT = 0.01
"""The shortest time between two polls, whatever the interval is, so that no loop spins."""
MAX_BACK_OFF = 120.0
CONFIRMATIONS = 3
NOT_FOUND_SPAN = 20.0
REFUSED_SPAN = 60.0
NO_LINK_SPAN = 900.0
"""Seconds from the first ``done`` without a link to the end of the wait. The API makes a link within seconds."""
LINK_FIELD = "data.video_url"
"""Where the API gives the link, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Query again after ``seconds``. ``note`` is a line for the log if something changed.

    ``renew_connection``: read the connection anew first, because its credentials were refused.
    """

    seconds: float
    note: str | None = None
    renew_connection: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Stop, and return ``event`` to the task."""

    event: RenderEvent


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Poller:
    """The state of one wait. Times are epoch seconds.

    ``poll_interval`` is a fixed number of seconds between polls; ``None`` follows the model's ``cadence``, which learns
    from each render. ``longest_pause`` returns the longest pause once the end is possible. After each poll, call
    :meth:`decide` once. No ``Wait`` reaches beyond the deadline or follows it, so a wait ends whatever the API answers.
    """

    task_id: str
    req_key: str
    submitted_at: float
    deadline: float
    poll_interval: float | None = None
    cadence: Cadence = field(default_factory=Cadence)
    longest_pause: Callable[[], float] = lambda: float("inf")
    polls: int = 0
    running_since: float | None = None
    no_link_since: float | None = None
    """When the API first answered ``done`` without a link."""
    pending_at: float | None = None
    _queued_until: float = 0.0
    _last_answer: str | None = None
    _noted_state: str | None = None
    _noted_trouble: str | None = None
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

    def decide(self, answer: QueryReply | JimengError, now: float, jitter: float) -> Wait | Finish:
        """Return what to do after one answer, or after the error in its place."""
        self.polls += 1
        if isinstance(answer, QueryReply):
            decision = self._after_reply(answer, now, jitter)
        else:
            decision = self._after_error(answer, now, jitter)
        if isinstance(decision, Finish) or now < self.deadline:
            return decision
        missing = isinstance(answer, QueryReply) and answer.status is RenderStatus.NOT_FOUND
        outcome = Outcome.NOT_FOUND if missing and not self._kept(now) else Outcome.TIMED_OUT
        return self._finish(outcome, now, message=f"the last answer was: {self._last_answer}")

    def _after_reply(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        self._trouble = self._refused = self._presumed = 0
        if reply.status is not RenderStatus.NOT_FOUND:
            self._missing = 0
        if reply.status is RenderStatus.GENERATING and self.running_since is None:
            self.running_since, self._queued_until = now, self.pending_at or 0.0
        match reply.status:
            case RenderStatus.DONE if reply.video_url:
                self.cadence.learn(pending_at=self.pending_at, done_at=now - self.submitted_at)
                return self._finish(Outcome.SUCCEEDED, now, reply)
            case RenderStatus.FAILED:
                return self._finish(Outcome.FAILED, now, reply)
            case RenderStatus.EXPIRED:
                return self._finish(Outcome.EXPIRED, now, reply)
            case RenderStatus.NOT_FOUND:
                return self._after_not_found(reply, now, jitter)
            case RenderStatus.DONE:
                return self._after_no_link(reply, now, jitter)
            case RenderStatus.UNKNOWN:
                return self._wait(f"unknown status {reply.status_word!r}", now, jitter)
            case _:
                self.pending_at = now - self.submitted_at
                return self._wait(reply.status.value, now, jitter)

    def _after_no_link(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        if self.no_link_since is None:
            self.no_link_since = now
        left = self.no_link_since + NO_LINK_SPAN - now
        if left <= 0:
            no_link = f"the API says {reply.status_word or 'done'!r} and gives no link in {LINK_FIELD}"
            return self._finish(Outcome.NO_LINK, now, reply, message=no_link)
        wait = self._wait("done, but no link yet", now, jitter)
        return replace(wait, seconds=min(wait.seconds, left))

    def _after_not_found(self, reply: QueryReply, now: float, jitter: float) -> Wait | Finish:
        if not self._missing:
            self._missing_since = now
        self._missing += 1
        waited = now - self._missing_since >= NOT_FOUND_SPAN
        if self._missing >= CONFIRMATIONS and (waited or not self._kept(now)):
            return self._finish(Outcome.NOT_FOUND, now, reply)
        return self._wait("not found; asking again to be sure", now, jitter, at_most=NOT_FOUND_SPAN / 2)

    def _kept(self, now: float) -> bool:
        return now - self.submitted_at < RETENTION_SECONDS

    def _after_error(self, error: JimengError, now: float, jitter: float) -> Wait | Finish:
        if isinstance(error, ApiError) and error.entry is not None and error.entry.fails_render:
            return self._finish(Outcome.FAILED, now, error)
        presumed = self._presumed + 1 if isinstance(error, ApiError) and looks_like_failure(error) else 0
        self._presumed = presumed
        if presumed == CONFIRMATIONS:
            return self._finish(Outcome.FAILED, now, error)
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
            return self._finish(Outcome.LOST_CONTACT, now, error)
        return Wait(
            seconds=self._before_deadline(spread(REFUSED_SPAN / (CONFIRMATIONS - 1) * 1.3, jitter), now),
            note=self._new_trouble(
                "access was refused, asking again to be sure", error, "access was refused"
            ),
            renew_connection=True,
        )

    def _interval(self, now: float) -> float:
        if self.poll_interval is None:
            return self._at_most(self.cadence.wait_at(now - self.submitted_at), now)
        return max(SHORTEST_WAIT, self.poll_interval)

    def _at_most(self, seconds: float, now: float) -> float:
        earliest = self.submitted_at + self.cadence.shortest if self.cadence.known else now
        return min(seconds, max(0.0, earliest - now) + self.longest_pause())

    def _wait(self, state: str, now: float, jitter: float, *, at_most: float | None = None) -> Wait:
        interval = self._interval(now)
        if at_most is not None and self.poll_interval is None:
            interval = min(interval, at_most)
        return Wait(seconds=self._before_deadline(spread(interval, jitter), now), note=self._new_state(state))

    def _new_state(self, state: str) -> str | None:
        self._last_answer = state
        if state == self._noted_state:
            return None
        self._noted_state, self._noted_trouble = state, None
        return state

    def _new_trouble(self, what: str, error: JimengError, kind: str) -> str | None:
        """Note a kind of trouble once until the state changes, because a busy account meets it at every other poll."""
        self._last_answer = f"{type(error).__name__}: {error}"
        if kind == self._noted_trouble:
            return None
        self._noted_trouble = kind
        return f"{what}: {self._last_answer}"

    def _before_deadline(self, seconds: float, now: float) -> float:
        return max(0.0, min(seconds, self.deadline - now))

    def _finish(
        self,
        outcome: Outcome,
        now: float,
        answer: QueryReply | JimengError | None = None,
        *,
        message: str | None = None,
    ) -> Finish:
        code = request_id = None
        if isinstance(answer, QueryReply | ApiError):
            code, request_id, message = answer.code, answer.request_id, message or answer.message
        elif answer is not None:
            message = str(answer)
        begin, known = self.submitted_at, (self._queued_until, self.pending_at or 0.0)
        return Finish(
            event=RenderEvent(
                outcome=outcome,
                task_id=self.task_id,
                req_key=self.req_key,
                code=code,
                message=message,
                request_id=request_id,
                polls=self.polls,
                **({} if self.running_since is None else measured(begin, self.running_since, now, *known)),
            )
        )


WAITING_CANNOT_HELP = (
    AuthenticationError,
    PermissionDeniedError,
    SettingsError,
    InputRejectedError,
    RedirectedError,
)
"""A refused key or permission, an unusable connection, or an endpoint that is not the API's."""
