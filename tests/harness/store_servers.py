# SPDX-License-Identifier: Apache-2.0
"""Stores for videos in other processes: an S3 that keeps its objects in memory, and SFTP to a folder."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.harness.processes import (
    LOOPBACK,
    Service,
    free_port,
    inherited_environment,
    stop_all,
    wait_for_port,
)

if TYPE_CHECKING:
    from pathlib import Path

REGION = "us-east-1"


@dataclass(slots=True, kw_only=True)
class S3Server:
    """An S3 with one empty bucket."""

    home: Path
    bucket: str = "renders"
    access_key: str = "AKIASTORE"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(default_factory=free_port)
    _service: Service | None = field(default=None, init=False)

    def connection(self, port: int | None = None) -> dict[str, Any]:
        """Return the fields of an Airflow connection to it, or to a relay on another port."""
        return {
            "conn_type": "aws",
            "login": self.access_key,
            "password": self.secret_key,
            "extra": {"endpoint_url": f"http://{LOOPBACK}:{port or self.port}", "region_name": REGION},
        }

    def client(self) -> Any:
        """AWS's own client."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://{LOOPBACK}:{self.port}",
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def objects(self) -> dict[str, bytes]:
        """Every object of the bucket by key."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def unfinished(self) -> list[str]:
        """Return the keys of uploads that were begun, and were not completed or aborted."""
        found = self.client().list_multipart_uploads(Bucket=self.bucket)
        return [upload["Key"] for upload in found.get("Uploads", [])]

    def __enter__(self) -> Self:
        self._service = Service(
            name="s3",
            argv=[sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)],
            env=inherited_environment(),
            log_file=self.home / "output" / "s3.log",
        )
        self._service.start()
        try:
            wait_for_port(self.port, self._service, timeout_seconds=60)
            self.client().create_bucket(Bucket=self.bucket)
        except BaseException:
            self.__exit__()
            raise
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        if self._service is not None:
            self._service.signal(number)

    def __exit__(self, *_: object) -> None:
        if self._service is not None:
            stop_all([self._service])


@dataclass(slots=True, kw_only=True)
class SftpServer:
    """SFTP whose root is `folder`. A plain one has no rename that our file system library can use."""

    home: Path
    plain: bool = False
    user: str = "courier"
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(default_factory=free_port)
    _service: Service | None = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.home / "sftp"

    def connection(self, port: int | None = None) -> dict[str, Any]:
        """Return the fields of an Airflow connection to it, or to a relay on another port."""
        return {
            "conn_type": "sftp",
            "host": LOOPBACK,
            "port": port or self.port,
            "login": self.user,
            "password": self.password,
            "extra": {"no_host_key_check": "true"},
        }

    def objects(self) -> dict[str, bytes]:
        """Every file by its path below the root."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "folder": str(self.folder),
            "user": self.user,
            "password": self.password,
            "plain": self.plain,
        }
        self._service = Service(
            name="sftp",
            argv=[sys.executable, "-m", "tests.harness.sftp_server", json.dumps(options)],
            env=inherited_environment(),
            log_file=self.home / "output" / "sftp.log",
        )
        self._service.start()
        try:
            wait_for_port(self.port, self._service, timeout_seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        if self._service is not None:
            self._service.signal(number)

    def __exit__(self, *_: object) -> None:
        if self._service is not None:
            stop_all([self._service])
