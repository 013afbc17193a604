"""Reads the two keys of a connection, and refuses what was pasted with, or instead of, a key. It never shows one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_jimeng.client import fields
from airflow_provider_jimeng.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = re.compile(r"(?:authorization\s*[:=]|bearer(?:[\s:=]|$)|token[\s:=])", re.IGNORECASE)
_PERCENT = re.compile(r"%[0-9A-F]{2}", re.IGNORECASE)
_TWO_KEYS = re.compile(r"[|:;,\s]|=[^=]")
_GATEWAY_TOKEN = re.compile(r"sk-|eyJ[\w-]+\.[\w-]+\.")
_ACCESS_KEY_ID = re.compile(r"AK[LT][TP]\w{8}")
"""How the ids of the vendor begin; a Secret Access Key is the base64 text of letters and digits and never does."""


def read_keys(auth: str, login: str | None, password: str | None) -> tuple[str, str]:
    """Return Access Key ID and Secret Access Key; with ``auth="bearer"`` the second is the gateway's token.

    :raises SettingsError: naming the field and the remedy, never what the field holds.
    """
    pasted = [(name, (value or "").strip()) for name, value in (("login", login), ("password", password))]
    for name, text in pasted:
        if problem := next(_around(text, bearer=auth == "bearer"), None):
            raise SettingsError(f"{name}: {problem}")
    if auth == "volc":
        _refuse_other_keys(*(text for _, text in pasted))
    access_key = fields.text("login", login, secret=True) or ""
    secret_key = fields.text("password", password, secret=True) or ""
    if auth == "bearer":
        if not secret_key:
            raise SettingsError("password: bearer authentication needs the gateway's token here.")
        return access_key, secret_key
    if not access_key:
        raise SettingsError(
            "login: the Access Key ID is missing. The Volcengine console lists it under API keys."
        )
    if not secret_key:
        raise SettingsError("password: the Secret Access Key that belongs to the Access Key ID is missing.")
    if "/" in access_key or "," in access_key:
        raise SettingsError("login: an Access Key ID has no slash and no comma. Copy it again.")
    return access_key, secret_key


def _around(text: str, *, bearer: bool) -> Iterator[str]:
    """Tell what stands round a key or token that does not belong to it."""
    if fields.is_wrapped(text):
        yield "quotation marks or brackets stand round it. Remove them."
    if _HEADER.match(text):
        remedy = "" if bearer else " and set auth to bearer in the extra"
        yield f"it begins with a word of an HTTP header (Bearer). Give the token alone, in password{remedy}."
    if text and not text.strip("*•"):
        yield "it is the mask that stands in place of a saved key. Enter the key itself."
    if bearer and "|" in text:
        yield (
            "this looks like both keys of Volcengine. A gateway takes its own token in password; to call Volcengine itself, "
            "set auth to volc, and put the Access Key ID into login and the Secret Access Key into password."
        )


def _refuse_other_keys(key: str, secret: str) -> None:
    """Refuse a gateway's token, both keys in one field, and keys in each other's field."""
    if _GATEWAY_TOKEN.match(secret) or _GATEWAY_TOKEN.match(key):
        raise SettingsError(
            "password: this looks like the token of a gateway (sk-…). For a gateway, set auth to bearer in the extra and "
            "its address in host; for Volcengine, give the Secret Access Key."
        )
    for name, text in (("login", key), ("password", secret)):
        if _TWO_KEYS.search(text) or (name == "password" and key and text.startswith(f"{key}/")):
            raise SettingsError(
                f"{name}: this looks like both keys in one field, or like a key with its name. Put the Access Key ID into "
                "login and the Secret Access Key into password, each alone."
            )
        if _PERCENT.search(text):
            raise SettingsError(
                f"{name}: it is percent-encoded, as only a connection URI wants it. Enter it as the console shows it."
            )
    if _ACCESS_KEY_ID.match(secret):
        raise SettingsError(
            "password: this looks like an Access Key ID. Put that into login and the Secret Access Key into password."
        )
