# SPDX-License-Identifier: Apache-2.0
"""Fault injection: picks the fault that is due for a request, and changes the response as the fault says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.emulator.faults import Fault
from airflow_provider_jimeng.emulator.gateway import own_refusal, wrap_refusal
from airflow_provider_jimeng.emulator.messages import (
    ApiResponse,
    ConnectionCut,
    HttpResult,
    NoResponse,
    Refusal,
    Response,
    ResponseBuilder,
    html_page,
    status_data,
)

CONDITIONAL = frozenset({"done_without_url", "mislabelled", "untagged"})
"""Faults that need a certain response: one with a link, or one with a label."""
REPLACING = frozenset({"cut_after", "hang_after", "error_after"})
"""Late faults that replace the response. The other late faults alter it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultContext:
    """What a fault is matched with: a request before it is acted on (``early``) or after, or a new render.

    ``possible`` names the :data:`CONDITIONAL` faults that the response allows.
    """

    where: str
    early: bool
    req_key: str = ""
    prompt: str = ""
    task_id: str = ""
    possible: frozenset[str] = frozenset()


class FaultPlan:
    """The faults of an emulator. Of several faults that are due, the first in the list happens."""

    def __init__(self, faults: Iterable[Mapping[str, Any] | Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._matches: Counter[tuple[int, str]] = Counter()
        self._fired: Counter[tuple[int, str]] = Counter()
        self.extend(faults)

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, **entry: Any) -> Fault:
        """Add a fault, written as keyword arguments, and return it."""
        fault = Fault.parse(entry)
        with self._lock:
            self._faults.append(fault)
        return fault

    def extend(self, entries: Iterable[Mapping[str, Any] | Fault]) -> None:
        """Add several faults. If one is not valid, none is added."""
        faults = [
            e if isinstance(e, Fault) else Fault.parse(e, f"faults[{i}]") for i, e in enumerate(entries)
        ]
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
        self.restart()

    def restart(self) -> None:
        """Count the requests from one again."""
        with self._lock:
            self._matches.clear()
            self._fired.clear()

    def pick(self, context: FaultContext) -> Fault | None:
        """Count a request, and return the fault that is due for it, if any."""
        picked: Fault | None = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not _matches(fault, context):
                    continue
                key = (index, context.task_id if fault.per == "task" else "")
                self._matches[key] += 1
                if picked is None and fault.due(self._matches[key], self._fired[key]):
                    self._fired[key] += 1
                    picked = fault
        return picked

    def report(self) -> list[dict[str, Any]]:
        """Return each fault and how often it has happened, for the bill."""
        with self._lock:
            fired: Counter[int] = Counter()
            for (index, _), times in self._fired.items():
                fired[index] += times
            return [
                {"where": fault.where, "what": fault.what, "fired": fired[index]}
                for index, fault in enumerate(self._faults)
            ]


def _matches(fault: Fault, context: FaultContext) -> bool:
    return (
        fault.where == context.where
        and fault.kind.early == context.early
        and (fault.what not in CONDITIONAL or fault.what in context.possible)
        and (fault.req_key is None or fault.req_key == context.req_key)
        and (fault.prompt_contains is None or fault.prompt_contains in context.prompt)
    )


def replace_response(fault: Fault, responses: ResponseBuilder) -> HttpResult | ApiResponse:
    """Return what the client receives instead of the response, for early faults and those in :data:`REPLACING`."""
    values = fault.parameters
    if fault.what in ("cut_before", "cut_after"):
        return ConnectionCut(how=values["how"])
    if fault.what in ("hang_before", "hang_after"):
        return NoResponse(seconds=values["seconds"])
    if fault.what == "refuse":
        return html_page(values["http_status"])
    if fault.what == "gateway_refuses":
        return own_refusal(values["reason"], responses.now)
    error = _error(values, responses)
    if fault.what == "gateway_wraps" and isinstance(error, ApiResponse):
        return wrap_refusal(error, values["shape"])
    return error


def _error(values: Mapping[str, Any], responses: ResponseBuilder) -> Response | ApiResponse:
    code, http_status = values["code"], values.get("http_status")
    if code is None:
        return html_page(http_status or 502)
    if code not in GATEWAY_CODES and code not in BUSINESS_CODES and http_status is None:
        http_status = 500
    return responses.refusal(Refusal(code=code), http_status=http_status, message=values["message"])


def alter_api_response(fault: Fault, response: ApiResponse, unlabelled_url: Callable[[], str]) -> ApiResponse:
    """Return a query's response with another status, without its link or without its label.

    ``unlabelled_url`` returns a link to the file without the label.
    """
    data = dict(response.data)
    if fault.what == "done_without_url":
        data["video_url"] = ""
    elif fault.what == "untagged":
        data |= {"aigc_meta_tagged": False, "video_url": unlabelled_url()}
    elif fault.what == "mislabelled":
        data["video_url"] = unlabelled_url()
    elif fault.what in ("status_word", "not_found", "expired"):
        data = status_data(fault.parameters.get("word", fault.what))
    else:
        return response
    return replace(response, payload={**response.payload, "data": data})


def alter_response(fault: Fault, response: Response) -> Response:
    """Return a response that is late, or that has another body."""
    values = fault.parameters
    if fault.what == "slow":
        return replace(response, delay_seconds=values["seconds"])
    if fault.what == "garbage":
        if values["body"] == "html":
            return html_page(values["http_status"])
        body = response.body[: len(response.body) // 2] if values["body"] == "half_json" else b""
        return replace(response, status=values["http_status"], body=body)
    return response
