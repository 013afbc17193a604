# SPDX-License-Identifier: Apache-2.0
"""File systems in memory for `ObjectStoragePath`. They behave like remote stores, and fail if a test wants it."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem


class RemoteStore(MemoryFileSystem):  # type: ignore[misc]
    """A store in which a file that is being written is visible, as with SFTP."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs: list[str] = [""]
        self.puts: list[str] = []
        self.puts_to_fail = 0
        self.bytes_to_lose = 0
        self.moves_to_fail = 0
        self.refuses_to_replace = False

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.puts.append(rpath)
        data = Path(lpath).read_bytes()
        if self.puts_to_fail:
            self.puts_to_fail -= 1
            self.interrupted(rpath, data)
            raise ConnectionResetError("the store hung up")
        self.pipe_file(rpath, data[: len(data) - self.bytes_to_lose])

    def interrupted(self, path: str, data: bytes) -> None:
        """Leave half a file behind."""
        self.pipe_file(path, data[: len(data) // 2])

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if self.refuses_to_replace and self.exists(path2):
            raise FileExistsError(path2)
        if self.moves_to_fail:
            self.moves_to_fail -= 1
            self.interrupted(path2, self.cat_file(path1))
            raise ConnectionResetError("the store hung up")
        super().mv(path1, path2, **options)

    def files(self) -> dict[str, bytes]:
        """Every file by path."""
        return {path: file.getvalue() for path, file in sorted(self.store.items())}


class StepwiseStore(RemoteStore):
    """A store that does not rename over a file, as SFTP and SMB. It can be killed, or cut off, at one rename."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self.refuses_to_replace = True
        self.quiet = quiet
        self.ends_at: list[tuple[str, type[BaseException]]] = []

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if self.exists(path2):
            if self.quiet:  # as WebHDFS, whose answer alone says that nothing was renamed
                return
            raise FileExistsError(path2)
        if self.ends_at and re.search(self.ends_at[0][0], path2):
            raise self.ends_at.pop(0)[1]
        super().mv(path1, path2, **options)


class ObjectStore(RemoteStore):
    """A store in which an upload that fails leaves nothing, as in S3."""

    protocol = "s3"

    def interrupted(self, path: str, data: bytes) -> None:
        """Leave nothing behind."""


def attached(store: RemoteStore) -> str:
    """Register a store with Airflow, and return its connection id."""
    try:
        from airflow.sdk.io import attach
    except ImportError:  # Airflow 2
        from airflow.io.store import attach  # type: ignore[no-redef, import-not-found, unused-ignore]

    conn_id = f"store_{uuid.uuid4().hex[:8]}"
    attach(protocol=str(store.protocol), conn_id=conn_id, fs=store)
    return conn_id
