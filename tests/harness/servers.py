# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and Redis from the packages of the system, on 127.0.0.1, in a folder of the caller."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.harness.processes import (
    LOOPBACK,
    Service,
    free_port,
    inherited_environment,
    stop_all,
    wait_for_port,
)


class MissingProgramError(RuntimeError):
    """A program of the system is not installed. The message names the package."""


def find_program(names: tuple[str, ...], package: str) -> Path:
    """Return the first of `names` on PATH, or in the folders of Debian's PostgreSQL. If there is none, the test fails."""
    folders = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    for name in names:
        for folder in folders:
            found = shutil.which(name, path=str(folder) if folder else None)
            if found:
                return Path(found)
    raise MissingProgramError(f"None of {', '.join(names)} is installed: apt-get install {package}")


@dataclass(slots=True, kw_only=True)
class PostgresServer:
    """An empty PostgreSQL with one database, `airflow`.

    It refuses to run as root, so root starts it as the user `postgres`. Its data are in a temporary folder that this
    user can read, and `home` has only the log.
    """

    home: Path
    port: int = field(default_factory=free_port)
    _data: Path | None = field(default=None, init=False)
    _service: Service | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The SQLAlchemy URL. It names psycopg2, because SQLAlchemy 2.1 uses psycopg 3 otherwise."""
        return f"postgresql+psycopg2://airflow@{LOOPBACK}:{self.port}/airflow"

    def __enter__(self) -> Self:
        initdb = find_program(("initdb",), "postgresql")
        self._data = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            self._start(initdb, self._data)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, initdb: Path, data: Path) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(data, pwd.getpwnam(user).pw_uid, -1)
        _run([initdb, "-D", data, "-A", "trust", "-U", "airflow", "-E", "UTF8", "--no-sync"], user=user)
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        argv = [str(initdb.with_name("postgres")), "-D", str(data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        self._service = Service(
            name="postgres",
            argv=argv,
            env=inherited_environment(),
            log_file=self.home / "output" / "postgres.log",
            user=user,
        )
        self._service.start()
        wait_for_port(self.port, self._service)
        _run(
            [
                find_program(("createdb",), "postgresql"),
                *("-h", LOOPBACK, "-p", str(self.port), "-U", "airflow", "airflow"),
            ]
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to the process that it has for each connection."""
        if self._service is not None:
            leader = psutil.Process(self._service.pid)
            for process in (leader, *leader.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def __exit__(self, *_: object) -> None:
        if self._service is not None:
            stop_all([self._service])
        if self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)


def _run(argv: list[str | Path], user: str | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, user=user, cwd="/", check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed:\n{done.stdout}\n{done.stderr}")


@dataclass(slots=True, kw_only=True)
class RedisServer:
    """A Redis that keeps nothing on disk."""

    home: Path
    port: int = field(default_factory=free_port)
    _service: Service | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The broker URL of database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def __enter__(self) -> Self:
        program = find_program(("redis-server", "valkey-server"), "redis-server")
        self._service = Service(
            name="redis",
            argv=[
                str(program),
                "--port",
                str(self.port),
                "--bind",
                LOOPBACK,
                "--save",
                "",
                "--appendonly",
                "no",
            ],
            env=inherited_environment(),
            log_file=self.home / "output" / "redis.log",
        )
        self._service.start()
        try:
            wait_for_port(self.port, self._service)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._service is not None:
            stop_all([self._service])
