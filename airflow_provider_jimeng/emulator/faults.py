# SPDX-License-Identifier: Apache-2.0
"""Faults as data: what goes wrong, where and when.

A fault is a JSON object, ``{"where": "submit", "what": "cut_after", "nth": 2}``, or the same as keyword arguments of
``emulator.faults.add``. :data:`KINDS` is the table of all faults. The documentation is checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from airflow_provider_jimeng.emulator.gateway import OWN_REFUSALS, REFUSAL_SHAPES
from airflow_provider_jimeng.emulator.messages import Code

PLACES = ("submit", "query", "cancel", "render", "media")
_OPERATIONS = ("submit", "query", "cancel")
_HTTP = (*_OPERATIONS, "media")


class FaultError(ValueError):
    """A fault that is not valid. The message names the entry, the field and the values that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One row of the table.

    ``early`` faults happen before the request is acted on, and count all requests. The others count the requests that
    succeed. ``parameters`` maps a name to its default.
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
            meaning="The request is not acted on. The response is an error: a `code` of the API or its gateway, "
            "or an HTML page (502) if there is no `code`.",
        ),
        "hang_before": FaultKind(
            where=_HTTP, early=True, parameters={"seconds": 120.0},
            meaning="The request is not acted on, and there is no response.",
        ),
        "gateway_refuses": FaultKind(
            where=("submit", "query"), early=True, parameters={"reason": "no_channel"},
            meaning="A Bearer gateway refuses the request and does not forward it: `no_channel`, `overloaded`, "
            "`quota`, `expired_token`, `group` or `rate_limit`.",
        ),
        "gateway_wraps": FaultKind(
            where=("submit", "query"), early=True,
            parameters={"shape": "code", "code": Code.TEXT_RISK, "http_status": None, "message": None},
            meaning="The API refuses the request. A Bearer gateway returns the error in another shape than usual: as "
            "the API sends it (`native`), as the API's `code` with HTTP 500, as an `openai` error, wrapped twice "
            "(`nested`), as escaped text after some `words`, or `hidden` behind a general message.",
        ),
        "moderated": FaultKind(
            where=("submit",), early=True, parameters={"code": Code.TEXT_RISK, "message": None},
            meaning="Moderation refuses the input.",
        ),
        "cut_after": FaultKind(
            where=_OPERATIONS, parameters={"how": "close"},
            meaning="The request is acted on, then the connection ends without a response.",
        ),
        "error_after": FaultKind(
            where=_OPERATIONS, parameters={"http_status": None, "code": None, "message": None},
            meaning="The request is acted on, but the response is an error, as in `error_before`.",
        ),
        "hang_after": FaultKind(
            where=_OPERATIONS, parameters={"seconds": 120.0},
            meaning="The request is acted on, but there is no response. The client sees a read timeout.",
        ),
        "slow": FaultKind(
            where=(*_HTTP, "render"), parameters={"seconds": 5.0},
            meaning="The response is `seconds` late. In `render`, the render takes `seconds` longer.",
        ),
        "garbage": FaultKind(
            where=_HTTP, parameters={"body": "html", "http_status": 200},
            meaning="The request is acted on. The body of the response is `html`, `half_json` or `empty`.",
        ),
        "status_word": FaultKind(
            where=("query",), parameters={"word": "reviewing"},
            meaning="The response has a status word that is not documented.",
        ),
        "not_found": FaultKind(
            where=("query",), meaning="The response says `not_found`, although the render exists."
        ),
        "expired": FaultKind(where=("query",), meaning="The response says `expired`."),
        "done_without_url": FaultKind(
            where=("query",),
            meaning="The render is done, but the response has no link. Only responses of done renders count.",
        ),
        "untagged": FaultKind(
            where=("query",),
            meaning="The label is not written, although the query requests it. Only responses with a label count.",
        ),
        "mislabelled": FaultKind(
            where=("query",),
            meaning="The response says that the label is written, and the file has none. Only responses with a label "
            "count.",
        ),
        "fail": FaultKind(
            where=("render",), parameters={"code": Code.OUTPUT_RISK, "message": None},
            meaning="The render fails with this code (by default: moderation of the video). It is not billed.",
        ),
        "expire": FaultKind(
            where=("render",), meaning="The render ends with the status `expired` instead of `done`. It is not billed."
        ),
        "other_video": FaultKind(
            where=("render",), parameters={"width": 640, "height": 480, "duration": 3},
            meaning="The video has this size in pixels and this duration in seconds, whatever was requested.",
        ),
        "refuse": FaultKind(
            where=("media",), early=True, parameters={"http_status": 403},
            meaning="The media host refuses a valid link.",
        ),
        "cut": FaultKind(
            where=("media",), parameters={"fraction": 0.5}, meaning="The connection ends in the middle of the file."
        ),
        "truncate": FaultKind(
            where=("media",), parameters={"fraction": 0.5},
            meaning="The file is shorter than it should be, and the headers match the short file.",
        ),
        "wrong_length": FaultKind(
            where=("media",), parameters={"extra_bytes": 1000},
            meaning="Content-Length is greater than the size of the whole file.",
        ),
        "no_range": FaultKind(
            where=("media",), meaning="The Range header is ignored: the response is 200 with the whole file."
        ),
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
    "width": (int, 16, 4096, "pixels, 16 to 4096"),
    "height": (int, 16, 4096, "pixels, 16 to 4096"),
    "duration": (int, 1, 60, "seconds, 1 to 60"),
    "every": (int, 1, 10**9, "a whole number from 1"),
    "times": (int, 1, 10**9, "a whole number from 1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A checked fault with all its parameters.

    ``per`` is ``task`` or ``all``: ``nth``, ``every`` and ``times`` count the requests of one task, or all requests.
    """

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
        """Return its row of the table."""
        return KINDS[self.what]

    @classmethod
    def parse(cls, entry: Any, location: str = "fault") -> Fault:
        """Check one entry and return the fault.

        :raises FaultError: the message names the entry at ``location``, the field and the values that it takes.
        """
        if not isinstance(entry, Mapping):
            raise FaultError(f"{location}: expected an object, got {type(entry).__name__}.")
        values = dict(entry)
        where = _choice(values.pop("where", None), PLACES, f"{location}.where")
        known = tuple(what for what, kind in KINDS.items() if where in kind.where)
        what = _choice(values.pop("what", None), known, f"{location}.what (in {where})")
        defaults = KINDS[what].parameters
        unknown = sorted(set(values) - set(defaults) - set(_MATCHERS))
        if unknown:
            takes = ", ".join((*defaults, *_MATCHERS))
            raise FaultError(f"{location}: {what} has no field {', '.join(unknown)}. It takes {takes}.")
        values = {
            name: value
            for name, value in values.items()
            if value is not None or defaults.get(name) is not None
        }
        for name, value in values.items():
            _check(name, value, f"{location}.{name}")
        if "nth" in values and "every" in values:
            raise FaultError(f"{location}: nth and every exclude each other.")
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
        """Return whether it happens at the match number ``count``, after it has happened ``fired`` times."""
        if self.times is not None and fired >= self.times:
            return False
        if self.nth:
            return count in self.nth
        return self.every is None or count % self.every == 0


def _choice(value: Any, choices: Sequence[str], location: str) -> str:
    if value not in choices:
        got = "it is missing" if value is None else f"got {value!r}"
        raise FaultError(f"{location}: {got}; it takes one of {', '.join(choices)}.")
    return str(value)


def _check(name: str, value: Any, location: str) -> None:
    if name in _CHOICES:
        _choice(value, _CHOICES[name], location)
    elif name == "per":
        _choice(value, ("task", "all"), location)
    elif name == "nth":
        numbers = value if isinstance(value, list | tuple) and value else [value]
        for number in numbers:
            _number(number, (int, 1, 10**9, "a whole number from 1, or a list of them"), location)
    elif name in _NUMBERS:
        _number(value, _NUMBERS[name], location)
    elif not isinstance(value, str) or not value:
        raise FaultError(f"{location}: expected text, got {value!r}.")


def _number(value: Any, rule: tuple[type, float, float, str], location: str) -> None:
    kind, lowest, highest, takes = rule
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not lowest <= value <= highest:
        raise FaultError(f"{location}: expected {takes}, got {value!r}.")


def load_faults(path: Path) -> list[Fault]:
    """Read a file that holds a JSON list of faults.

    :raises FaultError: the message names the file and the mistake.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultError(f"{path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise FaultError(f"{path}: not JSON: {error}.") from error
    if not isinstance(entries, list):
        raise FaultError(f"{path}: expected a list of faults, got {type(entries).__name__}.")
    return [Fault.parse(entry, f"{path}[{index}]") for index, entry in enumerate(entries)]
