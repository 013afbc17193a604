# SPDX-License-Identifier: Apache-2.0
"""The environment in which every component of one Airflow runs."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.harness.processes import LOOPBACK, inherited_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user who may log in. The roles of SimpleAuthManager are viewer, user, op and admin."""

    name: str
    password: str = field(repr=False)
    role: str = "admin"


def component_environment(
    *,
    home: Path,
    dags_folder: Path,
    database_url: str,
    executor: str,
    parallelism: int,
    api_port: int,
    users: tuple[User, ...],
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the settings of one Airflow on 127.0.0.1. Each call makes new keys and tokens. `extra` replaces settings."""
    url = f"http://{LOOPBACK}:{api_port}"
    settings = {
        "API__BASE_URL": url,
        "API__HOST": LOOPBACK,
        "API__PORT": str(api_port),
        "API__SECRET_KEY": secrets.token_hex(32),
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "CORE__DAGS_FOLDER": str(dags_folder),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": executor,
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": str(parallelism),
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",  # no file changes, and parsing costs CPU time
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",  # Airflow's 300 s would find a new file minutes late
        "DATABASE__SQL_ALCHEMY_CONN": database_url,
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    if users:
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps({user.name: user.password for user in users}))
        passwords.chmod(0o600)
        settings["CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(f"{user.name}:{user.role}" for user in users)
        settings["CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(passwords)
    else:
        settings["CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "True"
    env = inherited_environment()
    env["AIRFLOW_HOME"] = str(home)
    env |= {f"AIRFLOW__{name}": value for name, value in settings.items()}
    return env | dict(extra)
