# SPDX-License-Identifier: Apache-2.0
"""The facts about the API that this package assumes, because no live account has proved them.

``jimeng doctor`` compares the facts with what an account shows, and a page of the docs lists them. Confidence H is an
official text or two independent sources, M is one good source, and L is a weak source or a conclusion of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from airflow_provider_jimeng.core.catalogue import (
    FPS,
    LINK_SECONDS,
    MAX_SEED,
    RETENTION_SECONDS,
    TYPICAL_RENDER_SECONDS,
)
from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.core.connection_settings import SETTINGS_BY_NAME

MAX_SKEW_SECONDS = 900.0
"""How far the date of a signature can be from the API's clock."""

MAX_REQUESTS_PER_SECOND = float(SETTINGS_BY_NAME["max_requests_per_second"].default)
"""The request rate at the beginning. The vendor does not publish a limit."""

FREE, PAID, NEVER = "free", "paid", "never"
"""Which part of the doctor compares a fact: the free part, the paid part, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One fact. ``name`` is stable; ``seen_by`` says which part of the doctor compares it."""

    name: str
    fact: str
    assumed: str
    confidence: str
    source: str
    seen_by: str = NEVER


def _table(*assumptions: Assumption) -> Mapping[str, Assumption]:
    return MappingProxyType({each.name: each for each in assumptions})


def _answer(name: str) -> str:
    """Return a refusal as the doctor shows it: name or code, and HTTP status, from the code table."""
    (entry,) = {
        id(row): row for row in (*BUSINESS_CODES.values(), *GATEWAY_CODES.values()) if row.name == name
    }.values()
    return f"{entry.name if entry.gateway else entry.code}, HTTP {entry.http_status}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h"


ASSUMPTIONS: Mapping[str, Assumption] = _table(
    Assumption(
        name="clock",
        fact="how wrong a clock can be",
        assumed=f"{MAX_SKEW_SECONDS / 60:g} min",
        confidence="M",
        source="signing documents 6369/67268; the exact limit is not published",
        seen_by=FREE,
    ),
    Assumption(
        name="wrong_signature",
        fact="answer to a wrong signature",
        assumed=_answer("SignatureDoesNotMatch"),
        confidence="M",
        source="gateway error pages 6369/68677, which differ in the HTTP status",
        seen_by=FREE,
    ),
    Assumption(
        name="unknown_id",
        fact="answer to a query of an id that does not exist",
        assumed="not_found, HTTP 200",
        confidence="H",
        source="status table of the product documents 85621/1777001",
        seen_by=FREE,
    ),
    Assumption(
        name="wrong_key",
        fact="answer to a req_key that does not exist",
        assumed=_answer("ECReqInvalidArgs"),
        confidence="M",
        source="public error reports",
        seen_by=FREE,
    ),
    Assumption(
        name="closed_model",
        fact="answer to a query of a model that the account has not opened",
        assumed=_answer("ECAuth"),
        confidence="L",
        source="public error reports about submits; for queries, it is a conclusion",
        seen_by=FREE,
    ),
    Assumption(
        name="request_rate",
        fact="accepted requests a second",
        assumed=f"{MAX_REQUESTS_PER_SECOND:g}",
        confidence="L",
        source="no limit is published; relays send one request every 1 to 3 s",
        seen_by=FREE,
    ),
    Assumption(
        name="limited_status",
        fact="answer to a request above the rate limit",
        assumed=_answer("ECReqLimit"),
        confidence="M",
        source="product pages; the common page 6444/69728 says 404",
        seen_by=FREE,
    ),
    Assumption(
        name="status_words",
        fact="words of data.status",
        assumed="in_queue, generating, done, not_found, expired",
        confidence="H",
        source="status table of the product documents; S2.0 sends no word (M)",
        seen_by=PAID,
    ),
    Assumption(
        name="fresh_id",
        fact="the API knows a new id at once",
        assumed="not always",
        confidence="L",
        source="a conclusion; an id counts as lost only after three answers over 20 s",
        seen_by=PAID,
    ),
    Assumption(
        name="render_seconds",
        fact="time from submit to done",
        assumed=f"{TYPICAL_RENDER_SECONDS[0] / 60:g} to {TYPICAL_RENDER_SECONDS[1] / 60:g} min, up to 10",
        confidence="M",
        source="relays and readmes",
        seen_by=PAID,
    ),
    Assumption(
        name="media_host",
        fact="hosts of the links",
        assumed="vvecloud.yangyi08.com and others; any public https host is allowed",
        confidence="M",
        source="two published links",
        seen_by=PAID,
    ),
    Assumption(
        name="link_life",
        fact="lifetime of a link",
        assumed=_hours(LINK_SECONDS),
        confidence="H",
        source="product documents; the text of two published links agrees (M-H)",
        seen_by=PAID,
    ),
    Assumption(
        name="fresh_link",
        fact="each query makes a new link",
        assumed="yes",
        confidence="M-H",
        source="the creation time in a published link, 12.6 h after the submit",
        seen_by=PAID,
    ),
    Assumption(
        name="ranges",
        fact="a download can continue in the middle",
        assumed="yes",
        confidence="L",
        source="a conclusion; otherwise, a download starts from the beginning",
        seen_by=PAID,
    ),
    Assumption(
        name="container",
        fact="container of the video",
        assumed="mp4",
        confidence="H",
        source="product documents",
        seen_by=PAID,
    ),
    Assumption(
        name="codec",
        fact="codec of the video",
        assumed="avc1 (H.264)",
        confidence="L",
        source="a conclusion; nothing in this package depends on it",
        seen_by=PAID,
    ),
    Assumption(
        name="size",
        fact="picture size",
        assumed="as in the catalogue",
        confidence="Pro and S2.0 H, 1080P M-L, 720P L",
        source="product documents for Pro; other clients and a sibling product for the rest",
        seen_by=PAID,
    ),
    Assumption(
        name="fps",
        fact="frames per second",
        assumed=str(FPS),
        confidence="H",
        source="product documents 85621/1777001",
        seen_by=PAID,
    ),
    Assumption(
        name="duration",
        fact="duration of the video",
        assumed="as requested",
        confidence="H",
        source="product documents: frames is 24 times the seconds, plus one",
        seen_by=PAID,
    ),
    Assumption(
        name="label_echoed",
        fact="the reply says that the AIGC label was written",
        assumed="yes",
        confidence="H",
        source="product documents: aigc_meta_tagged",
        seen_by=PAID,
    ),
    Assumption(
        name="label_in_file",
        fact="the AIGC label is in the file",
        assumed="moov.udta.meta, entry AIGC",
        confidence="M-H",
        source="TC260-PG-20257A, GB 45438-2025",
        seen_by=PAID,
    ),
    Assumption(
        name="cancel_done",
        fact="answer to a cancel of a finished render",
        assumed=_answer("ECReqInvalidArgs"),
        confidence="L",
        source="a guess of the emulator; the FAQ says that only queued renders are cancelled (M)",
        seen_by=PAID,
    ),
    Assumption(
        name="retention",
        fact="how long the API keeps a render",
        assumed=_hours(RETENTION_SECONDS),
        confidence="H",
        source="official status text; the FAQ says 24 h",
    ),
    Assumption(
        name="prices",
        fact="price of a second",
        assumed="0.28 (720P), 0.63 (1080P), 1.00 (Pro), 0.65 (S2.0) CNY",
        confidence="M-H; S2.0 L",
        source="four price lists that agree; one for S2.0",
    ),
    Assumption(
        name="billing",
        fact="what is billed",
        assumed="only renders that succeed",
        confidence="M",
        source="price page 85621/1544715",
    ),
    Assumption(
        name="unknown_submit",
        fact="a submit that was not answered can be billed",
        assumed="yes",
        confidence="M",
        source="a conclusion; the API has no idempotency token",
    ),
    Assumption(
        name="concurrency",
        fact="renders at a time, for each model",
        assumed="1 or 2",
        confidence="M",
        source="console; the limit is on submits",
    ),
    Assumption(
        name="label_needs_every_query",
        fact="each query whose link is used has to ask for the label",
        assumed="yes",
        confidence="M",
        source="a conclusion; the label is written while the query is answered",
    ),
    Assumption(
        name="cancel_queued",
        fact="a queued render can be cancelled",
        assumed="yes; one that is generating cannot",
        confidence="M",
        source="FAQ; the SDKs have the call, but no document names video models for it",
    ),
    Assumption(
        name="seed",
        fact="highest seed",
        assumed=str(MAX_SEED),
        confidence="L",
        source="the highest that every known client sends",
    ),
    Assumption(
        name="unknown_fields",
        fact="unknown fields of a submit",
        assumed="ignored silently",
        confidence="M-L",
        source="one public report",
    ),
    Assumption(
        name="s2",
        fact="the S2.0 models are being withdrawn",
        assumed="yes",
        confidence="M",
        source="product pages 85621/1538636 and 1544774",
    ),
)
