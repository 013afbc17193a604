# SPDX-License-Identifier: Apache-2.0
"""The form of a connection in Airflow's UI, and its button "Test"."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.client.auth import VolcAuth
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS
from airflow_provider_jimeng.core.errors import (
    AuthenticationError,
    ConcurrencyLimitedError,
    InputRejectedError,
    JimengError,
    NoReplyError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.provider_info import UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.sync_client import JimengClient


def form_widgets() -> dict[str, Any]:
    """Return one WTForms field for each field of the extra, for Airflow 3.1 and older, whose web server has the libraries."""
    wtforms, validators = import_module("wtforms"), import_module("wtforms.validators")
    appearance = import_module("flask_appbuilder.fieldwidgets")
    translated = import_module("flask_babel").lazy_gettext
    widgets: dict[str, Any] = {}
    for setting in CONNECTION_SETTINGS:
        if not setting.in_form:
            continue
        checks = [validators.Optional()]
        if setting.options:
            checks.append(validators.any_of(list(setting.options)))
        field = wtforms.PasswordField if setting.is_secret else wtforms.StringField
        look = appearance.BS3PasswordFieldWidget if setting.is_secret else appearance.BS3TextFieldWidget
        widgets[setting.name] = field(
            translated(setting.form_label),
            validators=checks,
            description=setting.form_description,
            default=setting.schema.get("default"),
            widget=look(),
        )
    return widgets


def field_behaviour() -> dict[str, Any]:
    """Return titles and placeholders of the standard fields, for Airflow 3.1 and older."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


NO_SUCH_TASK = "0"
"""Real ids are decimal text of 19 to 20 digits."""
CLOCK_TOLERANCE_SECONDS = 60.0


def probe(client: JimengClient) -> tuple[bool, str]:
    """Return whether the connection works, and a text that says why not or what to know about it.

    It sends a free query of a task that cannot exist.
    """
    settings = client.settings
    spec = settings.catalogue[DEFAULT_MODEL]
    try:
        client.query(spec.req_key, NO_SUCH_TASK)
    except JimengError as error:
        works, text = _meaning(error, settings.host, bearer=settings.auth == "bearer")
    else:
        works, text = True, f"{settings.host} accepted the credentials. Nothing was submitted or billed."
    return works, text + _clock_note(client)


def _meaning(error: JimengError, host: str, *, bearer: bool) -> tuple[bool, str]:
    accepted = f"{host} accepted the credentials"
    if isinstance(error, RateLimitedError | ConcurrencyLimitedError):
        return True, f"{accepted}. It is busy at the moment: {error}"
    if isinstance(error, InputRejectedError) and error.entry is not None and not error.entry.gateway:
        return True, f"{accepted}. Nothing was submitted or billed."
    match error:
        case NotSentError():
            text = f"Unreachable host: {error} Check host, port, schema, verify and proxy."
        case NoReplyError():
            text = f"No answer: {error} Check host, port, schema and timeout_seconds."
        case UnreadableReplyError():
            text = f"Not the API: {error} Check host, path and proxy."
        case AuthenticationError():
            text = _credentials(error, bearer=bearer)
        case PermissionDeniedError():
            text = f"The service is not opened for this account: {error}"
        case _:
            text = f"{host} answered with an error: {error}"
    return False, text


def _credentials(error: AuthenticationError, *, bearer: bool) -> str:
    if bearer:
        return f"The gateway refused the token in password: {error}"
    kinds = {
        "InvalidAccessKey": "Unknown access key: check the login.",
        "SignatureDoesNotMatch": "Wrong secret: check the password. It belongs to another access key, or a part of it is missing.",
        "InvalidTimestamp": "Skewed clock: set the clock of this machine.",
        "InvalidSecretToken": "Session token: it is wrong, or it has expired.",
    }
    kind = kinds.get(error.entry.name) if error.entry is not None else None
    return f"{kind or 'The credentials were refused.'} {error}"


def _clock_note(client: JimengClient) -> str:
    offset = client.auth.offset_seconds if isinstance(client.auth, VolcAuth) else 0.0
    if abs(offset) < CLOCK_TOLERANCE_SECONDS:
        return ""
    return (
        f" Skewed clock: the clock of this machine differs from the clock of the API by {-offset:+.0f} s. Requests are "
        "signed with the time of the API. Set the clock."
    )
