# SPDX-License-Identifier: Apache-2.0
"""Finds the account that pays: an Airflow connection, or the environment variables and files that other clients use."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jimeng.cli.console import hide
from airflow_provider_jimeng.core.errors import MissingConnectionError, SettingsError

if TYPE_CHECKING:
    import argparse

    from airflow_provider_jimeng.client.settings import ClientSettings

ENVIRONMENT = "environment"
"""The name of the environment in records and manifests, where others have the id of an Airflow connection."""
DEFAULT_CONNECTION = "jimeng_default"
ACCESS_KEY, SECRET_KEY, TOKEN = "VOLC_ACCESSKEY", "VOLC_SECRETKEY", "VOLC_SESSION_TOKEN"
URL, TIMEOUT = "JIMENG_VIDEO_API_URL", "JIMENG_VIDEO_API_TIMEOUT"
POLL_INTERVAL, POLL_ATTEMPTS = "JIMENG_VIDEO_POLL_INTERVAL", "JIMENG_VIDEO_MAX_POLL_ATTEMPTS"
VARIABLES = (ACCESS_KEY, SECRET_KEY, TOKEN, URL, TIMEOUT, POLL_INTERVAL, POLL_ATTEMPTS)
ATTEMPT_SECONDS = 10.0
"""The seconds of one attempt, if only the number of attempts is set."""
_NAMES = {
    "login": ACCESS_KEY,
    "password": SECRET_KEY,
    "host": URL,
    "extra.session_token": TOKEN,
    "extra.timeout_seconds": TIMEOUT,
}
"""The variable in place of a field of a connection."""

_in_airflow = False


def inside_airflow() -> None:
    """Remember that this process is ``airflow jimeng …``, which also reads connections from Airflow's database."""
    global _in_airflow  # noqa: PLW0603 - a process is one or the other
    _in_airflow = True
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"  # as Airflow's own `connections` commands do


def is_inside_airflow() -> bool:
    """Return whether this process is ``airflow jimeng …``."""
    return _in_airflow


def conn_id_of(args: argparse.Namespace) -> str:
    """Return the id of the connection to use; :data:`ENVIRONMENT` for the environment.

    :raises MissingConnectionError: nothing is configured. The message names every way to configure an account.
    """
    if args.conn:
        return str(args.conn)
    if os.environ.get(f"AIRFLOW_CONN_{DEFAULT_CONNECTION.upper()}"):
        return DEFAULT_CONNECTION
    if _keys() is not None:
        return ENVIRONMENT
    if _in_airflow:
        return DEFAULT_CONNECTION
    raise MissingConnectionError(
        f"No account is configured. Set {ACCESS_KEY} and {SECRET_KEY}, or write ~/.volc/config, or name an Airflow "
        "connection with --conn. A connection that was saved in Airflow's UI is read by `airflow jimeng …`."
    )


def environment_settings() -> ClientSettings:
    """Return the settings that the environment describes.

    :raises SettingsError: the message names the variable and the remedy, never its value.
    """
    from airflow_provider_jimeng.client.settings import ClientSettings

    keys = _keys()
    if keys is None:
        raise MissingConnectionError(
            f"{ACCESS_KEY} and {SECRET_KEY} are not set, and there is no ~/.volc/config."
        )
    extra = {
        "session_token": keys.session_token,
        "timeout_seconds": os.environ.get(TIMEOUT) or None,
    }
    try:
        settings = ClientSettings.from_connection_fields(
            login=keys.access_key,
            password=keys.secret_key,
            host=os.environ.get(URL) or None,
            extra={name: value for name, value in extra.items() if value is not None},
        )
    except SettingsError as error:
        name, colon, reason = str(error).partition(":")
        raise SettingsError(f"{_NAMES.get(name, name)}{colon}{reason}") from None
    hide(settings.secrets)
    return settings


def settings_for(args: argparse.Namespace) -> ClientSettings:
    """Return the settings of the connection to use. Airflow is imported for an Airflow connection only."""
    conn_id = conn_id_of(args)
    if conn_id == ENVIRONMENT:
        return environment_settings()
    from airflow_provider_jimeng.cli.operators import CommandHook

    return CommandHook(jimeng_conn_id=conn_id).settings


def poll_interval() -> float | None:
    """Return the seconds between two queries that the environment sets, or ``None`` for the usual schedule."""
    return _number(POLL_INTERVAL)


def wait_timeout() -> float | None:
    """Return the longest wait for a render in seconds that the environment sets, or ``None`` for the usual time."""
    attempts = _number(POLL_ATTEMPTS)
    return None if attempts is None else attempts * (poll_interval() or ATTEMPT_SECONDS)


def _number(name: str) -> float | None:
    text = (os.environ.get(name) or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"{name}: expected a number above 0.")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    access_key: str
    secret_key: str
    session_token: str | None = None


def _keys() -> _Keys | None:
    """Return the keys of the variables, else those of the files of the vendor's SDK, in its order."""
    access_key, secret_key = os.environ.get(ACCESS_KEY), os.environ.get(SECRET_KEY)
    if access_key or secret_key:
        if not (access_key and secret_key):
            raise SettingsError(
                f"{SECRET_KEY if access_key else ACCESS_KEY} is not set. Both keys are needed."
            )
        return _Keys(
            access_key=access_key, secret_key=secret_key, session_token=os.environ.get(TOKEN) or None
        )
    home = os.environ.get("HOME")
    if not home:
        return None
    folder = Path(home, ".volc")
    keys = _ini(folder / "credentials") if (folder / "credentials").is_file() else _json(folder / "config")
    access_key, secret_key, session_token = keys
    if not (access_key and secret_key):
        return None
    return _Keys(access_key=access_key, secret_key=secret_key, session_token=session_token)


def _ini(path: Path) -> tuple[str | None, str | None, str | None]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, ValueError):
        raise SettingsError(f"{path} cannot be read: it is not an ini file.") from None
    if not parser.has_section("default"):
        return None, None, None
    section = parser["default"]
    return section.get("access_key_id"), section.get("secret_access_key"), section.get("session_token")


def _json(path: Path) -> tuple[str | None, str | None, str | None]:
    if not path.is_file():
        return None, None, None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise SettingsError(f"{path} cannot be read: it is not JSON.") from None
    if not isinstance(content, dict):
        raise SettingsError(f'{path}: expected {{"ak": …, "sk": …}}.')
    texts = [
        None if content.get(name) is None else str(content[name]) for name in ("ak", "sk", "session_token")
    ]
    return texts[0], texts[1], texts[2]
