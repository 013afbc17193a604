# SPDX-License-Identifier: Apache-2.0
"""The checks of the API's gateway: action, method and signature. Nothing here comes from the provider's signer.

Documented (docs 6369/67268, 6369/67269; H unless another confidence is named): the canonical request, the derivation of
the key, the form of the header, that SignedHeaders are used in their listed order (M), that other unsigned ``X-*``
headers are allowed (M), a validity of 15 minutes or ``X-Expires`` seconds (M). Guesses (L): the order of these checks,
the code for a missing date, and that a permanent key is refused together with a session token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from airflow_provider_jimeng.core.assumptions import MAX_SKEW_SECONDS
from airflow_provider_jimeng.emulator.messages import Code, Refusal

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.messages import Request

SERVICE = "cv"
REGION = "cn-north-1"
_ALGORITHM = "HMAC-SHA256"
_UNRESERVED = "-_.~"
_X_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of the emulator's one account. If ``max_skew_seconds`` is ``None``, every date is valid."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = REGION
    service: str = SERVICE
    max_skew_seconds: float | None = MAX_SKEW_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/request"


def check_request(
    request: Request, action: str, version: str, keyring: Keyring, now: float
) -> Refusal | None:
    """Return why the gateway refuses a request, or ``None``. Only the query string names the action and version (H)."""
    if request.path != "/":
        return Refusal(code=Code.INVALID_ACTION, detail=f"There is nothing at {request.path}.")
    if not action or not version:
        missing = "Version" if action else "Action"
        return Refusal(code=Code.MISSING_PARAMETER, detail=f"The query string has no {missing}.")
    if request.method != "POST":
        return Refusal(code=Code.METHOD_NOT_ALLOWED, detail=f"{request.method} is not allowed.")
    return check_signature(request, keyring, now)


def check_signature(request: Request, keyring: Keyring, now: float) -> Refusal | None:
    """Return why the gateway refuses the signature of a request, or ``None`` if it is valid."""
    signed = _parse_authorization(request.header("authorization"))
    if isinstance(signed, Refusal):
        return signed
    return (
        _check_scope(signed, keyring)
        or _check_date(request, signed, keyring, now)
        or _check_key(request, signed, keyring)
        or _check_hash(request, signed, keyring)
    )


def _parse_authorization(value: str | None) -> _Signed | Refusal:
    if not value or not value.strip():
        return Refusal(code=Code.MISSING_AUTHENTICATION, detail="The request has no Authorization header.")
    algorithm, _, rest = value.strip().partition(" ")
    if algorithm != _ALGORITHM:
        return Refusal(code=Code.INVALID_AUTHORIZATION, detail=f"The algorithm must be {_ALGORITHM}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if not parts.get("Signature"):
        return Refusal(code=Code.MISSING_SIGNATURE, detail="The Authorization header has no Signature.")
    if not parts.get("SignedHeaders"):
        return Refusal(
            code=Code.INVALID_AUTHORIZATION, detail="The Authorization header has no SignedHeaders."
        )
    scope = parts.get("Credential", "").split("/")
    if len(scope) != 5 or not all(scope) or scope[4] != "request":
        return Refusal(
            code=Code.INVALID_CREDENTIAL,
            detail="The Credential must be AccessKey/date/region/service/request.",
        )
    return _Signed(
        access_key=scope[0],
        date=scope[1],
        region=scope[2],
        service=scope[3],
        headers=tuple(name.strip().lower() for name in parts["SignedHeaders"].split(";")),
        signature=parts["Signature"],
    )


def _check_scope(signed: _Signed, keyring: Keyring) -> Refusal | None:
    if signed.service != keyring.service:
        return Refusal(code=Code.SERVICE_NOT_FOUND, detail=f"This service[{signed.service}] not found.")
    return None


def _check_date(request: Request, signed: _Signed, keyring: Keyring, now: float) -> Refusal | None:
    x_date = request.header("x-date")
    if x_date is None:
        return Refusal(code=Code.MISSING_REQUEST_INFO, detail="The X-Date header is missing.")
    if not _X_DATE.fullmatch(x_date):
        return Refusal(code=Code.INVALID_TIMESTAMP, detail="X-Date must be YYYYMMDDTHHMMSSZ in UTC.")
    try:
        sent_at = datetime.strptime(x_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return Refusal(code=Code.INVALID_TIMESTAMP, detail="X-Date is not a date.")
    if x_date[:8] != signed.date:
        return Refusal(
            code=Code.INVALID_CREDENTIAL, detail="The date of the Credential is not that of X-Date."
        )
    if keyring.max_skew_seconds is None:
        return None
    expires = request.header("x-expires") or ""
    validity = float(expires) if expires.isascii() and expires.isdigit() else keyring.max_skew_seconds
    if now - sent_at > validity or sent_at - now > keyring.max_skew_seconds:
        return Refusal(
            code=Code.INVALID_TIMESTAMP, detail="The request has expired, or its X-Date is in the future."
        )
    return None


def _check_key(request: Request, signed: _Signed, keyring: Keyring) -> Refusal | None:
    if not hmac.compare_digest(signed.access_key.encode(), keyring.access_key.encode()):
        return Refusal(code=Code.INVALID_ACCESS_KEY, detail="The access key is unknown.")
    token = request.header("x-security-token") or ""
    if not hmac.compare_digest(token.encode(), (keyring.session_token or "").encode()):
        return Refusal(code=Code.INVALID_TOKEN, detail="The security token is missing, wrong or has expired.")
    return None


def _check_hash(request: Request, signed: _Signed, keyring: Keyring) -> Refusal | None:
    for name in ("host", "x-date"):
        if name not in signed.headers:
            return Refusal(code=Code.WRONG_SIGNATURE, detail=f"{name} is not among the signed headers.")
    for name in signed.headers:
        if request.header(name) is None:
            return Refusal(code=Code.WRONG_SIGNATURE, detail=f"The signed header {name} was not sent.")
    body_hash = hashlib.sha256(request.body).hexdigest()
    claimed = request.header("x-content-sha256")
    if claimed is not None and claimed != body_hash:
        return Refusal(code=Code.WRONG_SIGNATURE, detail="X-Content-Sha256 is not the SHA-256 of the body.")
    if signed.region != keyring.region:
        # The region is checked together with the signature (L): a key derived for another region cannot match.
        return Refusal(
            code=Code.WRONG_SIGNATURE, detail=f"The region of the Credential must be {keyring.region}."
        )
    for path in dict.fromkeys((request.path, quote(unquote(request.path), safe="/" + _UNRESERVED))):
        text = canonical_request(request, path, signed.headers, body_hash)
        if hmac.compare_digest(
            _signature(text, request, signed, keyring).encode(), signed.signature.encode()
        ):
            return None
    return Refusal(
        code=Code.WRONG_SIGNATURE,
        detail="The signature is not the one calculated from the request and the secret key.",
    )


def canonical_request(request: Request, path: str, signed_headers: tuple[str, ...], body_hash: str) -> str:
    """Return the text whose hash is signed. Headers are in the listed order, the host has no ``:80`` or ``:443``."""
    pairs = sorted(parse_qsl(request.query_string, keep_blank_values=True))
    query = "&".join(
        f"{quote(key, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for key, value in pairs
    )
    lines = []
    for name in signed_headers:
        value = request.header(name) or ""
        if name == "host":
            value = re.sub(r":(80|443)$", "", value)
        lines.append(f"{name}:{value}\n")
    return "\n".join((request.method, path, query, "".join(lines), ";".join(signed_headers), body_hash))


def _signature(text: str, request: Request, signed: _Signed, keyring: Keyring) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    to_sign = "\n".join((_ALGORITHM, request.header("x-date") or "", signed.scope, digest))
    key = keyring.secret_key.encode()
    for part in (signed.date, signed.region, signed.service, "request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
