"""Faults as data: what shall go wrong, where and when.

A fault is a JSON object, ``{"where": "submit", "what": "cut_after", "nth": 2}``, or the same as keyword arguments of
:meth:`FaultPlan.add`. :data:`KINDS` is the table of them; the documentation is checked against it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from airflow_provider_jimeng.emulator import codes
from airflow_provider_jimeng.emulator.gateway_refusals import OWN_REFUSALS, REFUSAL_SHAPES

PLACES = ("submit", "query", "cancel", "render", "media")
_CALLS = ("submit", "query", "cancel")
_HTTP = (*_CALLS, "media")


class FaultError(ValueError):
    """A fault that cannot be; the message names the entry, the field and what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One row of the table.

    ``early`` faults strike before anything happens and count every request seen; the others count the requests that
    were answered as asked. ``parameters`` maps a name to its default.
    """

    where: tuple[str, ...]
    meaning: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    early: bool = False


KINDS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "cut_before": FaultKind(
            where=_HTTP, early=True, parameters={"how": "close"},
            meaning="The connection ends before the request is acted on.",
        ),
        "error_before": FaultKind(
            where=_HTTP, early=True, parameters={"http_status": None, "code": None, "message": None},
            meaning="An error answers and nothing was done: a code of the API or its gateway, "
            "or without `code` an HTML page (502).",
        ),
        "hang_before": FaultKind(
            where=_HTTP, early=True, parameters={"seconds": 120.0},
            meaning="Nothing is done and nothing is answered.",
        ),
        "gateway_refuses": FaultKind(
            where=("submit", "query"), early=True, parameters={"reason": "no_channel"},
            meaning="A Bearer gateway refuses by itself and sends nothing on: `no_channel`, `overloaded`, `quota`, "
            "`expired_token`, `group` or `rate_limit`.",
        ),
        "gateway_wraps": FaultKind(
            where=("submit", "query"), early=True,
            parameters={"shape": "code", "code": codes.TEXT_RISK, "http_status": None, "message": None},
            meaning="The API refuses, and a Bearer gateway hands that on in another shape than the usual one: the API's "
            "own (`native`), with the API's `code` and HTTP 500, as an `openai` error, `nested` twice, escaped and with "
            "`words` before it, or `hidden` behind a sentence.",
        ),
        "moderated": FaultKind(
            where=("submit",), early=True, parameters={"code": codes.TEXT_RISK, "message": None},
            meaning="Moderation refuses the input.",
        ),
        "cut_after": FaultKind(
            where=_CALLS, parameters={"how": "close"},
            meaning="The request is acted on, then the connection ends without an answer.",
        ),
        "error_after": FaultKind(
            where=_CALLS, parameters={"http_status": None, "code": None, "message": None},
            meaning="The request is acted on, then an error answers: as `error_before`.",
        ),
        "hang_after": FaultKind(
            where=_CALLS, parameters={"seconds": 120.0},
            meaning="The request is acted on and never answered: a read timeout for the caller.",
        ),
        "slow": FaultKind(
            where=(*_HTTP, "render"), parameters={"seconds": 5.0},
            meaning="The answer comes so many seconds late; in `render`, the render takes so much longer.",
        ),
        "garbage": FaultKind(
            where=_HTTP, parameters={"body": "html", "http_status": 200},
            meaning="The request is acted on; the answer's body is `html`, `half_json` or `empty`.",
        ),
        "status_word": FaultKind(
            where=("query",), parameters={"word": "reviewing"},
            meaning="The reply has a status word that nobody documented.",
        ),
        "not_found": FaultKind(where=("query",), meaning="The reply says `not_found` although the task exists."),
        "expired": FaultKind(where=("query",), meaning="The reply says `expired`."),
        "done_without_url": FaultKind(
            where=("query",), meaning="The render is done and its reply has no link (counts replies of done renders)."
        ),
        "untagged": FaultKind(
            where=("query",), meaning="The label is not written although it was asked for (counts replies with a label)."
        ),
        "fail": FaultKind(
            where=("render",), parameters={"code": codes.OUTPUT_RISK, "message": None},
            meaning="The render ends with this code (output moderation by default); unbilled.",
        ),
        "expire": FaultKind(where=("render",), meaning="The render lapses: status `expired` in place of done; unbilled."),
        "refuse": FaultKind(
            where=("media",), early=True, parameters={"http_status": 403}, meaning="The media host refuses a good link."
        ),
        "cut": FaultKind(
            where=("media",), parameters={"fraction": 0.5}, meaning="The connection ends in the middle of the file."
        ),
        "truncate": FaultKind(
            where=("media",), parameters={"fraction": 0.5},
            meaning="The file is shorter than it should be, and the headers agree with the short one.",
        ),
        "wrong_length": FaultKind(
            where=("media",), parameters={"extra_bytes": 1000},
            meaning="Content-Length promises more bytes than the whole file has.",
        ),
        "no_range": FaultKind(where=("media",), meaning="A Range is ignored: 200 and the whole file."),
    }
)  # fmt: skip

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "how": ("close", "reset"),
    "body": ("html", "half_json", "empty"),
    "reason": OWN_REFUSALS,
    "shape": REFUSAL_SHAPES,
}
_MATCHERS = ("nth", "every", "times", "prompt_contains", "req_key", "per")
_NUMBERS: Mapping[str, tuple[type, float, float, str]] = {
    "http_status": (int, 100, 599, "an HTTP status, 100 to 599"),
    "code": (int, 1, 10**9, "the number of a code"),
    "seconds": (float, 0, 86_400, "seconds, 0 to 86400"),
    "fraction": (float, 0, 1, "a part of the file, 0 to 1"),
    "extra_bytes": (int, 1, 10**9, "a positive number of bytes"),
    "every": (int, 1, 10**9, "a whole number from 1"),
    "times": (int, 1, 10**9, "a whole number from 1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A checked fault; ``parameters`` is complete. ``per`` is what ``nth``, ``every`` and ``times`` count along."""

    where: str
    what: str
    parameters: Mapping[str, Any]
    nth: tuple[int, ...] = ()
    every: int | None = None
    times: int | None = None
    prompt_contains: str | None = None
    req_key: str | None = None
    per: str = "all"

    @property
    def kind(self) -> FaultKind:
        """The row of the table."""
        return KINDS[self.what]

    @classmethod
    def parse(cls, entry: Any, where_it_stands: str = "fault") -> Fault:
        """Check one entry.

        :raises FaultError: naming the entry, the field and what it takes.
        """
        if not isinstance(entry, Mapping):
            raise FaultError(f"{where_it_stands}: expected an object, got {type(entry).__name__}.")
        values = dict(entry)
        where = _choice(values.pop("where", None), PLACES, f"{where_it_stands}.where")
        known = tuple(what for what, kind in KINDS.items() if where in kind.where)
        what = _choice(values.pop("what", None), known, f"{where_it_stands}.what (in {where})")
        defaults = KINDS[what].parameters
        unknown = sorted(set(values) - set(defaults) - set(_MATCHERS))
        if unknown:
            takes = ", ".join((*defaults, *_MATCHERS))
            raise FaultError(
                f"{where_it_stands}: {what} has no field {', '.join(unknown)}. It takes {takes}."
            )
        values = {
            name: value
            for name, value in values.items()
            if value is not None or defaults.get(name) is not None
        }
        for name, value in values.items():
            _check(name, value, f"{where_it_stands}.{name}")
        if "nth" in values and "every" in values:
            raise FaultError(f"{where_it_stands}: nth and every exclude each other.")
        nth = values.get("nth", ())
        return cls(
            where=where,
            what=what,
            parameters={name: values.get(name, default) for name, default in defaults.items()},
            nth=(nth,) if isinstance(nth, int) else tuple(nth),
            every=values.get("every"),
            times=values.get("times"),
            prompt_contains=values.get("prompt_contains"),
            req_key=values.get("req_key"),
            per=values.get("per", "all" if where in ("submit", "render") else "task"),
        )

    def due(self, count: int, fired: int) -> bool:
        """Is it due at the ``count``-th match, having fired so often?"""
        if self.times is not None and fired >= self.times:
            return False
        if self.nth:
            return count in self.nth
        return self.every is None or count % self.every == 0


def _choice(value: Any, choices: Sequence[str], where: str) -> str:
    if value not in choices:
        got = "it is missing" if value is None else f"got {value!r}"
        raise FaultError(f"{where}: {got}; it takes one of {', '.join(choices)}.")
    return str(value)


def _check(name: str, value: Any, where: str) -> None:
    if name in _CHOICES:
        _choice(value, _CHOICES[name], where)
    elif name == "per":
        _choice(value, ("task", "all"), where)
    elif name == "nth":
        numbers = value if isinstance(value, list | tuple) and value else [value]
        for number in numbers:
            _number(number, (int, 1, 10**9, "a whole number from 1, or a list of them"), where)
    elif name in _NUMBERS:
        _number(value, _NUMBERS[name], where)
    elif not isinstance(value, str) or not value:
        raise FaultError(f"{where}: expected text, got {value!r}.")


def _number(value: Any, rule: tuple[type, float, float, str], where: str) -> None:
    kind, lowest, highest, takes = rule
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not lowest <= value <= highest:
        raise FaultError(f"{where}: expected {takes}, got {value!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Something that a fault may strike. ``facts`` are the kinds that only strike under a condition that holds."""

    where: str
    early: bool
    req_key: str = ""
    prompt: str = ""
    task_id: str = ""
    facts: frozenset[str] = frozenset()


CONDITIONAL = frozenset({"done_without_url", "untagged"})


class FaultPlan:
    """The faults of an emulator. One strikes per occasion: the first in the list that is due."""

    def __init__(self, faults: Iterable[Mapping[str, Any] | Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._counts: Counter[tuple[int, str]] = Counter()
        self._fired: Counter[tuple[int, str]] = Counter()
        self.extend(faults)

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, **entry: Any) -> Fault:
        """Add one, given as keyword arguments, and return it."""
        fault = Fault.parse(entry)
        with self._lock:
            self._faults.append(fault)
        return fault

    def extend(self, entries: Iterable[Mapping[str, Any] | Fault]) -> None:
        """Add several; all or none."""
        faults = [
            e if isinstance(e, Fault) else Fault.parse(e, f"faults[{i}]") for i, e in enumerate(entries)
        ]
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Remove all of them."""
        with self._lock:
            self._faults.clear()
        self.restart()

    def restart(self) -> None:
        """Count from one again."""
        with self._lock:
            self._counts.clear()
            self._fired.clear()

    def draw(self, occasion: Occasion) -> Fault | None:
        """Return the fault that strikes here, if any, and count."""
        drawn: Fault | None = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not _matches(fault, occasion):
                    continue
                key = (index, occasion.task_id if fault.per == "task" else "")
                self._counts[key] += 1
                if drawn is None and fault.due(self._counts[key], self._fired[key]):
                    self._fired[key] += 1
                    drawn = fault
        return drawn

    def report(self) -> list[dict[str, Any]]:
        """Return each fault with how often it fired, for the bill."""
        with self._lock:
            fired: Counter[int] = Counter()
            for (index, _), times in self._fired.items():
                fired[index] += times
            return [
                {"where": fault.where, "what": fault.what, "fired": fired[index]}
                for index, fault in enumerate(self._faults)
            ]


def _matches(fault: Fault, occasion: Occasion) -> bool:
    return (
        fault.where == occasion.where
        and fault.kind.early == occasion.early
        and (fault.what not in CONDITIONAL or fault.what in occasion.facts)
        and (fault.req_key is None or fault.req_key == occasion.req_key)
        and (fault.prompt_contains is None or fault.prompt_contains in occasion.prompt)
    )


def load_faults(path: Path) -> list[Fault]:
    """Read a fault file: a JSON list of faults.

    :raises FaultError: naming the file and what is wrong.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultError(f"{path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise FaultError(f"{path}: no JSON: {error}.") from error
    if not isinstance(entries, list):
        raise FaultError(f"{path}: expected a list of faults, got {type(entries).__name__}.")
    return [Fault.parse(entry, f"{path}[{index}]") for index, entry in enumerate(entries)]
