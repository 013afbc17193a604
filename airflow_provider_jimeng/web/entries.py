# SPDX-License-Identifier: Apache-2.0
"""The render of a task instance, as its XComs describe it, and its short form in the index. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_jimeng.core.catalogue import MODELS, find_model
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.outcomes import NOT_SUBMITTED, UNKNOWN_SUBMIT, Money, Outcome, money_of
from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.operators import xcom
from airflow_provider_jimeng.web.reading import amount, moment, number, seconds_between, text, whole

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.tables import ActiveTask, Identity, TaskRef, XComRow

STATES = ("waiting", "running", "landed", "failed", "submitted")
"""``waiting``: nothing is submitted yet. ``submitted``: the task is done and passed the render on, but no task of this run
has saved the video."""
_FAILED_OUTCOMES = frozenset(
    {NOT_SUBMITTED, *(o.value for o in Outcome if o not in (Outcome.SUCCEEDED, Outcome.SLOT_FREE))}
)
_FAILED_TASKS = ("failed", "upstream_failed", "removed", "skipped")
_TRIES_OVER = ("success", "up_for_retry")
"""Task states beside those of failed tasks. In these states a submit without a response does not get one any more."""
_RATIOS = {"21:9": 21 / 9, "16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16}
_RATIO_TOLERANCE = 0.03
"""Sides are multiples of 8 or 16 pixels, so that sizes miss their ratios a little."""


Pushes = tuple[tuple[str, datetime], ...]
"""The keys of our XComs of a task instance, in order, and when each was pushed."""


class Replaced(NamedTuple):
    """A render that a task instance paid for before its last one."""

    render_id: str
    state: str
    cost: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One render as Airflow stores it.

    ``paid_here`` is false if another run paid for it; ``billed`` is true if the API told a task of this run that the render
    is done. ``refused``: nothing was submitted. ``elsewhere``: an XCom back end keeps the payload, and this page cannot
    read it. ``tasks`` are the task instances of the run that have the render, such as those that submit, wait and download.
    """

    ref: TaskRef
    state: str
    task_state: str | None
    try_number: int
    pushed_at: datetime
    render: dict[str, Any]
    manifest: dict[str, Any] | None
    paid_here: bool = True
    billed: bool = False
    refused: bool = False
    elsewhere: bool = False
    replaced: tuple[Replaced, ...] = ()
    tasks: tuple[TaskRef, ...] = ()

    @property
    def money(self) -> Money:
        """What the render means for the bill."""
        return money_of(
            done=self.state == "landed" or self.billed,
            over=self.state == "failed",
            outcome=text(self.render.get("outcome")) or "",
            refused=self.refused,
            paid_here=self.paid_here,
        )

    @property
    def amount(self) -> Decimal | None:
        """The price in CNY: the cost of the saved video, or else the estimate."""
        source = (self.manifest or {}).get("cost_cny") if self.state == "landed" else None
        return amount(source if self.state == "landed" else self.render.get("estimated_cost_cny"))

    @property
    def ratio(self) -> str | None:
        """The aspect ratio: the requested one, or else that of the file."""
        requested = text(self.render.get("aspect_ratio"))
        manifest = self.manifest or {}
        width, height = whole(manifest.get("width")), whole(manifest.get("height"))
        if requested or not width or not height or height < 0:
            return requested
        shape = width / height
        near = (name for name, ratio in _RATIOS.items() if abs(shape - ratio) <= ratio * _RATIO_TOLERANCE)
        return next(near, None)

    @property
    def model(self) -> str | None:
        """The short name of the model."""
        return text(self.render.get("model"))

    @property
    def moment(self) -> datetime:
        """When the render was submitted or refused, or else when the task pushed its XCom."""
        at = moment(self.render.get("submitted_at")) or moment(self.render.get("refused_at"))
        return at or self.pushed_at


class Entry(NamedTuple):
    """The entry of one task instance in the index.

    ``text`` is searched. It is casefolded, and contains the prompt, and from ``names_at`` on the names and ids.
    """

    ref: TaskRef
    identity: Identity
    pushes: Pushes
    replaced: tuple[Replaced, ...]
    shown: bool
    state: str
    task_state: str | None
    try_number: int
    pushed_at: datetime
    moment: datetime
    render_id: str | None
    outcome: str
    billed: bool
    refused: bool
    model: str | None
    ratio: str | None
    conn_id: str | None
    amount: Decimal | None
    seconds: Decimal
    length: float
    took: float | None
    prompt: int | None
    text: str
    names_at: int


def stored_of(rows: Sequence[XComRow]) -> Stored | None:
    """Return the render of one task instance from all of our XComs that it has; ``None`` if there is none."""
    payloads = {row.key: mapping(row.value) for row in rows}
    last, manifest = rows[-1], mapping(rows[-1].manifest)
    landed = manifest is not None and manifest.get("uri") is not None
    key = _deciding_key(payloads, landed=landed)
    if key is None:
        return None
    payload = payloads[key]
    known = _unanswered(payload or {}) if key == xcom.INTENT else payload or {}
    state = _state(key, known, last.task_state, landed=landed)
    if key == xcom.INTENT:
        known["outcome"] = UNKNOWN_SUBMIT if state == "failed" else None
    return Stored(
        ref=last.ref,
        state=state,
        task_state=last.task_state,
        try_number=last.try_number,
        pushed_at=next(row.pushed_at for row in rows if row.key == key),
        render=known,
        manifest=manifest if landed else None,
        billed=text(known.get("outcome")) == Outcome.SUCCEEDED,
        refused=key == xcom.REFUSAL,
        elsewhere=payload is None,
        replaced=_replaced(payloads.get(xcom.EARLIER)),
    )


def waiting_render(ref: TaskRef, now: ActiveTask, arguments: Mapping[str, Any], seen_at: datetime) -> Stored:
    """Return the render that a task is about to submit, from its rendered arguments."""
    texts = {name: arguments.get(name) for name in ("prompt", "aspect_ratio", "jimeng_conn_id")}
    try:
        spec = find_model(arguments.get("model"))
    except ParameterError:
        spec = None
    numbers = {name: _whole(arguments.get(name)) for name in ("duration", "seed", "take")}
    cost = amount(arguments.get(xcom.ESTIMATED_COST))
    if cost is None and spec is not None and spec.price_cny_per_second is not None and numbers["duration"]:
        cost = spec.price_cny_per_second * numbers["duration"]
    payload = {
        **texts,
        **numbers,
        "model": arguments.get("model") if spec is None else spec.name,
        "estimated_cost_cny": format_money(cost),
    }
    return Stored(
        ref=ref,
        state="waiting",
        task_state=now.state,
        try_number=now.try_number,
        pushed_at=seen_at,
        render=payload,
        manifest=None,
    )


def entry_of(rows: Sequence[XComRow]) -> Entry:
    """Return the short form of the render of one task instance."""
    stored = stored_of(rows)
    pushes = tuple(sorted((row.key, row.pushed_at) for row in rows))
    if stored is not None:
        return entry_of_stored(stored, identity=rows[-1].identity, pushes=pushes)
    row = rows[-1]
    bare = Stored(
        ref=row.ref,
        state="failed",
        task_state=row.task_state,
        try_number=row.try_number,
        pushed_at=row.pushed_at,
        render={},
        manifest=None,
        refused=True,
        replaced=_replaced(mapping(row.value)),
    )
    return entry_of_stored(bare, identity=row.identity, pushes=pushes)._replace(shown=False)


def entry_of_stored(stored: Stored, *, identity: Identity, pushes: Pushes = ()) -> Entry:
    """Return the short form of a render."""
    render, manifest = stored.render, stored.manifest or {}
    model, prompt, seed = text(render.get("model")), text(render.get("prompt")), whole(render.get("seed"))
    seconds = amount(render.get("duration")) or Decimal(0)
    spec = MODELS.get(model or "")
    file = (text(manifest.get("uri")) or "").rpartition("/")[2]
    render_id = text(render.get("task_id"))
    ref = stored.ref
    known = (
        *(ref.dag_id, ref.run_id, ref.task_id, model, None if spec is None else spec.title, file, render_id),
        None if seed is None or seed < 0 else str(seed),
    )
    words, names = f"{prompt or ''}\n".casefold(), "\n".join(filter(None, known)).casefold()
    return Entry(
        ref=ref,
        identity=identity,
        pushes=pushes,
        replaced=stored.replaced,
        shown=True,
        state=stored.state,
        task_state=stored.task_state,
        try_number=stored.try_number,
        pushed_at=stored.pushed_at,
        moment=stored.moment,
        render_id=render_id,
        outcome=text(render.get("outcome")) or "",
        billed=stored.billed,
        refused=stored.refused,
        model=model,
        ratio=stored.ratio,
        conn_id=text(render.get("jimeng_conn_id")),
        amount=stored.amount,
        seconds=seconds,
        length=float(number(manifest.get("duration_seconds")) or seconds),
        took=seconds_between(manifest.get("submitted_at"), manifest.get("landed_at")),
        prompt=None if prompt is None else hash(prompt),
        text=words + names,
        names_at=len(words),
    )


def mapping(value: Any) -> dict[str, Any] | None:
    """Return a payload, ``None`` if it is not one, for example because an XCom back end keeps it elsewhere."""
    for _ in range(2):  # the column holds JSON, and an older Airflow wrote JSON as text into it
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
    return value if isinstance(value, dict) else None


def _deciding_key(payloads: Mapping[str, dict[str, Any] | None], *, landed: bool) -> str | None:
    """Return the key of the XCom that says what became of the render: the last one, or the render of a saved video."""
    if xcom.RENDER in payloads and not landed:
        submitted = moment((payloads[xcom.RENDER] or {}).get("submitted_at"))
        for key, name in ((xcom.REFUSAL, "refused_at"), (xcom.INTENT, "intent_at")):
            at = moment((payloads.get(key) or {}).get(name))
            if submitted is not None and at is not None and at > submitted:
                return key
    return next((key for key in (xcom.RENDER, xcom.REFUSAL, xcom.INTENT) if key in payloads), None)


def _state(key: str, payload: Mapping[str, Any], task_state: str | None, *, landed: bool) -> str:
    if landed:
        return "landed"
    if (
        text(payload.get("outcome")) in _FAILED_OUTCOMES
        or task_state in _FAILED_TASKS
        or (key == xcom.INTENT and task_state in _TRIES_OVER)
    ):
        return "failed"
    return "submitted" if task_state == "success" else "running"


def _unanswered(intent: Mapping[str, Any]) -> dict[str, Any]:
    """Return an intent in the form of a render: the request, and what is known of its submit."""
    request = mapping(intent.get("request")) or {}
    known = {name: intent.get(name) for name in ("intent_at", "jimeng_conn_id", "fingerprint", "message")}
    return {**request, **known}


def _replaced(earlier: Mapping[str, Any] | None) -> tuple[Replaced, ...]:
    renders = (earlier or {}).get("renders")
    items = renders if isinstance(renders, list) else []
    return tuple(
        Replaced(text(item["task_id"]) or "", text(item.get("state")) or "", amount(item.get("cost_cny")))
        for item in items
        if isinstance(item, Mapping) and text(item.get("task_id"))
    )


def _whole(value: Any) -> int | None:
    """Return a whole number, which a template gives as text."""
    try:
        return whole(int(value) if isinstance(value, str) and len(value) < 20 else value)
    except ValueError:
        return None
