# SPDX-License-Identifier: Apache-2.0
"""The chaos table: what is done to a render's task, and what it must come to. Pure data, for tests and documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RETRY, CLEAR, NOTHING = "retry", "Clear", "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One experiment: `slug` names what is done, `then` how it goes on; the rest is what must be true at the end.

    `billed` and `landed` count renders and files, `accepted` the submits that the API accepted.
    """

    slug: str
    what: str
    then: str = RETRY
    policy: dict[str, Any] = field(default_factory=dict)
    accepted: int = 1
    billed: int = 1
    landed: int = 1
    state: str = "success"
    asked_again: bool = False

    @property
    def name(self) -> str:
        """What a test report calls it."""
        parts = [self.slug, self.then.lower().replace("–", "")]
        parts += [f"{key}={value}" for key, value in self.policy.items()]
        return "-".join(part for part in parts if part)

    @property
    def renders_allowed(self) -> int:
        """How many renders the row's policy, or the person who clears, has asked for."""
        return 2 if self.asked_again else 1


def _both(slug: str, what: str, **expected: Any) -> list[Row]:
    return [Row(slug=slug, what=what, then=then, **expected) for then in (RETRY, CLEAR)]


def _unknown(slug: str, what: str, accepted: int) -> list[Row]:
    """A submit whose outcome nobody can know: refused by default, paid again where the author allows it."""
    allowed: dict[str, Any] = {"policy": {"on_unknown_submit": "resubmit"}, "asked_again": True}
    stops = {"accepted": accepted, "billed": accepted, "landed": 0, "state": "failed"}
    goes_on = {"accepted": accepted + 1, "billed": accepted + 1, **allowed}
    return [*_both(slug, what, **stops), *_both(slug, what, **goes_on)]


LOST: dict[str, Any] = {"landed": 0, "state": "failed"}
RESUBMIT_LOST: dict[str, Any] = {"policy": {"on_lost": "resubmit"}, "accepted": 2, "asked_again": True}
TWO: dict[str, Any] = {"accepted": 2, "billed": 2, "asked_again": True}

ROWS: tuple[Row, ...] = (
    *_both("killed-before-intent", "killed before the POST, before anything is recorded"),
    *_unknown("killed-before-post", "killed before the POST, the intent just recorded", 0),
    *_both("killed-while-ready", "killed while it stands ready for a slot that is about to come free"),
    Row(
        slug="slot-taken-while-ready",
        what="another client takes the slot that a task stands ready for",
        then=NOTHING,
    ),
    Row(slug="ready-too-long", what="no slot comes free while a task stands ready", then=NOTHING),
    *_both("refused", "connection refused"),
    *_unknown("cut-before", "request sent, connection cut, not accepted", 0),
    *_unknown("cut-after", "request sent, connection cut, accepted", 1),
    *_unknown("read-timeout", "request sent, read timeout, accepted", 1),
    *_unknown("error-after", "500 after acceptance", 1),
    *_unknown("killed-before-record", "answer received, killed before the record", 1),
    *_both("killed-before-defer", "record written, killed before defer"),
    *_both("killed-while-deferred", "killed while deferred (the trigger is lost)"),
    *_both("killed-before-landing", "killed after the event, before landing"),
    *_both("killed-in-download", "killed in the middle of the download"),
    *_both("killed-before-return", "file complete, killed before the return"),
    *_both("store-refuses-intent", "the record's store refuses the intent once"),
    Row(
        slug="store-refuses-id",
        what="the record's store refuses the id of the paid render for good",
        then=NOTHING,
    ),
    *_both("store-answer-lost", "the record's store takes the intent in, and its answer is lost"),
    *_both(
        "database-restored",
        "the metadata database is restored from a backup that is older than the submit",
        accepted=2,
    ),
    Row(slug="xcom-refuses", what="XCom takes nothing that the task pushes", then=NOTHING),
    Row(
        slug="twin-between",
        what="another run submits the same request between this one's look and its intent",
        then=NOTHING,
        policy={"reuse": "output_path"},
    ),
    *_both("storage-refuses-video", "storage refuses the video once"),
    *_both("storage-refuses-manifest", "storage refuses the manifest once, after the video"),
    *_both("ledger-unreadable", "ledger unreadable once, when the render is done"),
    *_both("ledger-unreadable-then", "killed while deferred, ledger unreadable once at the next try"),
    Row(slug="ledger-damaged", what="ledger damaged for good, when the render is done"),
    Row(
        slug="ledger-damaged",
        what="ledger damaged for good, when the render is done",
        then=CLEAR,
        state="failed",
    ),
    *_both("ledger-damaged-then", "killed while deferred, ledger damaged for good", **LOST),
    *_both("older-try-before-intent", "an older try wakes up before its intent, the new try has landed"),
    Row(
        slug="older-try-before-post",
        what="an older try wakes up between intent and POST, the new try has refused",
        **LOST,
    ),
    Row(
        slug="older-try-before-post",
        what="an older try wakes up between intent and POST, the new try has refused",
        then=CLEAR,
    ),
    Row(
        slug="older-try-before-post",
        what="an older try wakes up between intent and POST, the new try has paid",
        policy={"on_unknown_submit": "resubmit"},
        **TWO,
    ),
    Row(
        slug="older-try-before-record",
        what="an older try wakes up with the answer to its POST, the new try has refused",
        **LOST,
    ),
    Row(
        slug="older-try-before-record",
        what="an older try wakes up with the answer to its POST, the new try has refused",
        then=CLEAR,
    ),
    Row(
        slug="older-try-before-record",
        what="an older try wakes up with the answer to its POST, the new try has paid",
        policy={"on_unknown_submit": "resubmit"},
        **TWO,
    ),
    *_both("older-try-before-landing", "an older try wakes up before landing, the new try has landed"),
    *_both("older-try-in-download", "an older try wakes up in its download, the new try has landed"),
    Row(
        slug="older-try-in-download-cleared",
        what="an older try wakes up in its download, a Clear has paid anew and landed under the same full name",
        policy={"on_rerun": "render"},
        then=NOTHING,
        **TWO,
    ),
    Row(
        slug="older-try-in-download-paid",
        what="an older try wakes up in its download, a Clear has paid anew for the same full name and is killed",
        policy={"on_rerun": "render"},
        **TWO,
    ),
    Row(
        slug="six-land-one-render",
        what="six tasks adopt one render and land it at the same moment",
        then=NOTHING,
        policy={"reuse": "output_path"},
    ),
    *_both("link-expired", "link older than an hour when it is used"),
    *_both("render-gone", "render older than twelve hours", **LOST),
    *_both("render-gone", "render older than twelve hours", **{**RESUBMIT_LOST, "billed": 2}),
    Row(slug="lapsed", what="the API says `expired`", then=NOTHING, **{**LOST, "billed": 0}),
    Row(slug="lapsed", what="the API says `expired`", then=NOTHING, **RESUBMIT_LOST),
    Row(
        slug="moderated-output",
        what="the finished picture is refused by moderation (50511), unbilled",
        accepted=2,
    ),
    Row(
        slug="moderated-input",
        what="the prompt is refused by moderation during the render (50413), unbilled",
        billed=0,
        landed=0,
        state="failed",
    ),
    *_both("presigned-link", "a presigned image link changes between tries"),
    Row(slug="template-changes", what="a template changes the prompt between tries", **LOST),
    Row(
        slug="template-changes",
        what="a template changes the prompt between tries",
        then=CLEAR,
        **{**TWO, "landed": 1},
    ),
    Row(slug="argument-gone", what="an image file is gone at the next try"),
    Row(slug="argument-gone", what="an image file is gone at the next try", then=CLEAR, **LOST),
    Row(slug="success", what="Clear of a success, same request", then=CLEAR),
    Row(
        slug="success-changed",
        what="Clear of a success, changed prompt",
        then=CLEAR,
        **{**TWO, "landed": 2},
    ),
    Row(
        slug="success",
        what="Clear of a success, same request",
        then=CLEAR,
        policy={"on_rerun": "render"},
        **{**TWO, "landed": 2},
    ),
    Row(
        slug="success-render-killed",
        what="Clear of a success, its new take killed while deferred, retried",
        then=CLEAR,
        policy={"on_rerun": "render"},
        **{**TWO, "landed": 2},
    ),
    Row(
        slug="success-file-missing",
        what="Clear of a success whose file is missing, within twelve hours",
        then=CLEAR,
    ),
    Row(
        slug="success-file-altered",
        what="Clear of a success whose file was altered, within twelve hours",
        then=CLEAR,
    ),
    Row(
        slug="success-file-gone",
        what="Clear of a success whose file is missing, after twelve hours",
        then=CLEAR,
        **LOST,
    ),
    Row(slug="success-old", what="Clear of a success after twelve hours, file there", then=CLEAR),
    Row(slug="clear-on-success", what="Clear of a success under `clear_on_success`", then=CLEAR),
    Row(slug="run-deleted", what="DAG run deleted while deferred, run again under its id", then=NOTHING),
    Row(
        slug="same-request-twice",
        what="the same request in another run",
        then=NOTHING,
        policy={"reuse": "output_path"},
    ),
    Row(
        slug="same-request-twice",
        what="the same request in another run",
        then=NOTHING,
        **{**TWO, "landed": 2},
    ),
)


def _process(slug: str, what: str, **expected: Any) -> Row:
    return Row(slug=slug, what=what, **{"then": NOTHING, **expected})


def _renders(count: int) -> dict[str, Any]:
    return dict.fromkeys(("accepted", "billed", "landed"), count)


PROCESS_ROWS: tuple[Row, ...] = (
    _process("marked_failed", "marked failed while deferred", **LOST),
    _process("marked_failed_cleared", "marked failed while deferred", then=CLEAR),
    _process("marked_success", "marked success while deferred", **{**LOST, "state": "success"}),
    _process("marked_success_cleared", "marked success while deferred", then=CLEAR),
    _process(
        "marked_queued",
        "marked failed while its render is still queued, which cancels it",
        **{**LOST, "billed": 0},
    ),
    _process(
        "marked_queued_cleared",
        "marked failed while its render is still queued, which cancels it",
        then=CLEAR,
        **{**LOST, "billed": 0},
    ),
    _process("cleared", "cleared while deferred"),
    _process("run_deleted", "DAG run deleted while deferred", **{**LOST, "state": "–"}),
    _process("run_deleted_rescued", "DAG run deleted while deferred", then="JimengRescueOperator"),
    _process("exit_before_record", "process ends (`os._exit`) between answer and record", then=RETRY, **LOST),
    _process("exit_after_record", "process ends (`os._exit`) between record and deferral", then=RETRY),
    _process("worker_killed", "worker SIGKILL while it waits (`deferrable=False`)", then=RETRY),
    _process("triggerer_terminated", "triggerer SIGTERM, 4 mapped renders", **_renders(4)),
    _process("triggerer_killed", "triggerer SIGKILL, 4 mapped renders", **_renders(4)),
    _process(
        "triggerer_stopped",
        "triggerer SIGSTOP until another took over, then SIGCONT, 4 mapped renders",
        **_renders(4),
    ),
    _process(
        "away_at_answer",
        "API server SIGKILL while 3 submits wait for their answer, back after 40 s",
        then=RETRY,
        **_renders(3),
    ),
    _process(
        "away_at_look_up",
        "API server SIGKILL before 2 tasks look up their connection, back after 40 s",
        then=RETRY,
        **_renders(2),
    ),
    _process(
        "away_at_post",
        "API server SIGKILL while 2 tasks are between intent and POST, back after 40 s",
        then=RETRY,
        **_renders(2),
    ),
)

ONE_TASK_ONLY = frozenset(
    {
        # Another task is tried again than the one whose arguments change.
        "template-changes",
        "argument-gone",
        # A retry of the sensor cannot pay again for what the submit task lost.
        "render-gone",
        "lapsed",
        "moderated-output",
        # What only a task does that submits and lands: it reads the record when the render is done.
        "ledger-unreadable",
        "ledger-damaged",
        "ledger-unreadable-then",
        "ledger-damaged-then",
        "storage-refuses-video",
        "storage-refuses-manifest",
        "store-refuses-id",
        "database-restored",
        "xcom-refuses",
        "twin-between",
        # Only the submit task has a record, and it does not say that the file is home: the API is asked.
        "success-old",
        "same-request-twice",
        "run-deleted",
        # The tries that overlap are those of one task.
        "older-try-before-landing",
        "older-try-in-download",
        "older-try-in-download-cleared",
        "older-try-in-download-paid",
        "six-land-one-render",
    }
)
"""Rows that come to something else, or make no sense, where the work is divided; tests of the operators tell how."""
