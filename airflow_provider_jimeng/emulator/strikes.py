"""What a fault makes of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.emulator.envelopes import Envelope, Refusal, progress
from airflow_provider_jimeng.emulator.gateway_refusals import own_refusal, refused
from airflow_provider_jimeng.emulator.messages import Answer, Cut, Outcome, Reply, Silence

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.faults import Fault

_HTML = b"<html><head><title>%(status)d</title></head><body><center><h1>%(status)d</h1></center><hr></body></html>\n"


STRIKES = frozenset({"cut_after", "hang_after", "error_after"})
"""Late faults that put something else in the answer's place; the other late ones alter the answer."""


def strike_instead(fault: Fault, envelope: Envelope) -> Outcome | Answer:
    """Return what answers in place of the answer, for early faults and those of :data:`STRIKES`."""
    values = fault.parameters
    if fault.what in ("cut_before", "cut_after"):
        return Cut(how=values["how"])
    if fault.what in ("hang_before", "hang_after"):
        return Silence(seconds=values["seconds"])
    if fault.what == "refuse":
        return html_page(values["http_status"])
    if fault.what == "gateway_refuses":
        return own_refusal(values["reason"], envelope.now)
    if fault.what == "gateway_wraps":
        return _wrapped(values, envelope)
    return _error(values, envelope)


def _error(values: Mapping[str, Any], envelope: Envelope) -> Outcome | Answer:
    code, http_status = values["code"], values.get("http_status")
    if code is None:
        return html_page(http_status or 502)
    if code not in GATEWAY_CODES and code not in BUSINESS_CODES and http_status is None:
        http_status = 500
    return envelope.refusal(Refusal(code=code), http_status=http_status, message=values["message"])


def _wrapped(values: Mapping[str, Any], envelope: Envelope) -> Outcome:
    answer = _error(values, envelope)
    return refused(answer, values["shape"]) if isinstance(answer, Answer) else answer


def html_page(status: int) -> Reply:
    """Return what a proxy or CDN would say of an error."""
    return Reply(status=status, body=_HTML % {b"status": status}, headers=(("Content-Type", "text/html"),))


def alter_answer(fault: Fault, answer: Answer, untagged_url: Callable[[], str]) -> Answer:
    """Return a query's answer with another status, without its link or its label."""
    data = dict(answer.data)
    if fault.what == "done_without_url":
        data["video_url"] = ""
    elif fault.what == "untagged":
        data |= {"aigc_meta_tagged": False, "video_url": untagged_url()}
    elif fault.what in ("status_word", "not_found", "expired"):
        data = progress(fault.parameters.get("word", fault.what))
    else:
        return answer
    return replace(answer, payload={**answer.payload, "data": data})


def alter_reply(fault: Fault, reply: Reply) -> Reply:
    """Return a reply that is late, or whose body is something else."""
    values = fault.parameters
    if fault.what == "slow":
        return replace(reply, delay_seconds=values["seconds"])
    if fault.what == "garbage":
        if values["body"] == "html":
            return html_page(values["http_status"])
        body = reply.body[: len(reply.body) // 2] if values["body"] == "half_json" else b""
        return replace(reply, status=values["http_status"], body=body)
    return reply
