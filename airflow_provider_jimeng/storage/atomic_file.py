# SPDX-License-Identifier: Apache-2.0
"""A file of a store that appears under its name whole or not at all.

Local files are written under a temporary name and renamed. In object stores an upload appears only when it is complete,
so it gets the final name at once. In all other stores it gets a temporary name first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_jimeng.core.errors import JimengError, LandingError, TargetTakenError
from airflow_provider_jimeng.core.output_path import LONGEST_HIDDEN_STEM, MANIFEST_ENDING, OBJECT_STORES

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

LOCAL_PROTOCOLS = frozenset({"file", "local", ""})
WHOLE_PUT_PROTOCOLS = OBJECT_STORES
PART = ".part"
PENDING = f"json{PART}"
_ASIDE = f"previous{PART}"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomicFile:
    """A file in a store. It need not exist.

    ``path`` is its name in the store, ``uri`` its name in manifests. ``context`` is what Airflow opened, for its lineage.
    """

    fs: AbstractFileSystem = field(repr=False)
    protocol: str
    path: str
    uri: str
    context: ObjectStoragePath = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Is the file on the file system of this machine?"""
        return self.protocol in LOCAL_PROTOCOLS

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path without the name; empty at the root of a store."""
        return self.path.rpartition("/")[0]

    def beside(self, name: str) -> AtomicFile:
        """Return a file of another name in the same directory."""
        return replace(self, path=f"{self.folder}/{name}", uri=f"{self.uri.rpartition('/')[0]}/{name}")

    @property
    def sidecar(self) -> AtomicFile:
        """The file of the manifest: ``<file>.json``."""
        return self.beside(f"{self.name}{MANIFEST_ENDING}")

    def hidden(self, suffix: str) -> AtomicFile:
        """Return a temporary file of this one, beside it."""
        return self.beside(self.hidden_name(suffix))

    @property
    def pending(self) -> AtomicFile:
        """The file of the pending manifest, see :mod:`~airflow_provider_jimeng.storage.output`."""
        return self.hidden(PENDING)

    def below(self, *names: str) -> AtomicFile:
        """Return a file in or below the directory that this name is."""
        below = "/".join(names)
        return replace(self, path=f"{self.path}/{below}", uri=f"{self.uri}/{below}")

    def size(self) -> int | None:
        """Return the size in bytes, ``None`` if there is no such file.

        :raises TargetTakenError: a directory has this name.
        :raises LandingError: the store cannot be read.
        """
        with self._reading():
            self._forget()
            try:
                info = self.fs.info(self.path)
            except FileNotFoundError:
                return None
        if info.get("type") == "directory":
            raise TargetTakenError(f"{self.uri} is a directory. End output_path with / to save files in it.")
        return int(info["size"])

    def sha256(self) -> str:
        """Read the whole file and return its SHA-256, in hexadecimal."""
        digest = hashlib.sha256()
        with self._reading(), self.fs.open(self.path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def copy_to(self, path: Path) -> str:
        """Copy the file to a new local file and return its SHA-256, in hexadecimal."""
        digest = hashlib.sha256()
        with self._reading(), self.fs.open(self.path, "rb") as file, path.open("xb") as copy:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                copy.write(block)
        return digest.hexdigest()

    def content(self) -> bytes | None:
        """Return the bytes of a small file, ``None`` if there is no such file.

        If a replacement was killed half-way (see :func:`_replace`), these are the bytes before it.
        """
        content = self._bytes()
        if content is None and self._replaced_in_steps:
            content = self._aside._bytes()  # noqa: SLF001  another file of this class
            if content is None:
                content = self._bytes()  # It was put back or replaced between the two reads.
        return content

    def siblings(self) -> list[str]:
        """Return the names in the file's directory; an empty list if there is no such directory."""
        names = self._names()
        if not self._replaced_in_steps:
            return names
        end = f".{_ASIDE}"
        return list(dict.fromkeys(name[1 : -len(end)] if name.endswith(end) else name for name in names))

    def remove(self) -> None:
        """Remove the file if it is there."""
        if self._replaced_in_steps:
            self._aside._remove()  # noqa: SLF001  first, or a reader would get the older content
        self._remove()

    def _bytes(self) -> bytes | None:
        with self._reading():
            self._forget()
            try:
                return bytes(self.fs.cat_file(self.path))
            except FileNotFoundError:
                return None

    def _names(self) -> list[str]:
        folder = self.folder or "/"
        with self._reading():
            self._forget(folder)
            try:
                entries = self.fs.ls(folder, detail=False)
            except FileNotFoundError:
                return []
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in entries]

    def _remove(self) -> None:
        with self._writing(), suppress(FileNotFoundError):
            self.fs.rm_file(self.path)

    @property
    def _replaced_in_steps(self) -> bool:
        return not self.is_local and self.protocol not in WHOLE_PUT_PROTOCOLS

    @property
    def _aside(self) -> AtomicFile:
        return self.hidden(_ASIDE)

    def remove_aside(self) -> None:
        """Remove the older content that a replacement put aside. The file itself must be in place."""
        if self._replaced_in_steps:
            self._aside._remove()  # noqa: SLF001  another file of this class

    @contextmanager
    def staged(self, token: str) -> Iterator[tuple[Path, BinaryIO]]:
        """Open a temporary local file for reading and writing, for :meth:`put`. It is removed at the end of the block."""
        with self._writing():
            if self.is_local:
                folder = Path(self.folder or "/")
                folder.mkdir(parents=True, exist_ok=True)
                spool, name = None, self.hidden_name(f"{token}{PART}")
            else:
                spool = tempfile.TemporaryDirectory(prefix="jimeng-")
                # Object stores take the content type from the ending.
                folder, name = Path(spool.name), f"upload{Path(self.name).suffix}"
            path = folder / name
        try:
            with path.open("xb+") as file:
                yield path, file
        except OSError as error:
            raise LandingError(f"Cannot write {self.uri} ({type(error).__name__}: {error}).") from error
        finally:
            path.unlink(missing_ok=True)
            if spool is not None:
                spool.cleanup()

    def put(self, source: Path, token: str, *, may_undo: Callable[[], bool] = lambda: True) -> None:
        """Give a staged file its final name, in place of an older file.

        :param may_undo: called after a failed upload: does the name still belong to the caller?
        :raises LandingError: nothing of it is under the final name then.
        """
        with self._writing():
            if self.is_local:
                source.replace(self.path)
                _sync_directory(Path(self.folder or "/"))
            else:
                self._upload(source, token, may_undo)

    def write(self, content: bytes, token: str) -> None:
        """Write a small file, whole or not at all."""

        def is_half_written() -> bool:  # If not, it is whole or belongs to another writer.
            stored = self._bytes() or b""
            return len(stored) < len(content) and content.startswith(stored)

        with self.staged(token) as (path, file):
            file.write(content)
            sync(file)
            self.put(path, token, may_undo=is_half_written)

    def write_plainly(self, content: bytes) -> None:
        """Write a small file that does no harm if it is half written."""
        with self._writing():
            if self.is_local:
                with Path(self.path).open("wb") as file:
                    file.write(content)
                    sync(file)
            else:
                self._make_folder()
                self.fs.pipe_file(self.path, content)

    def create(self, content: bytes) -> bytes | None:
        """Write a small file if there is none yet, and return its content then.

        Some stores cannot guarantee that. So two writers at the same moment see whose content it has.
        """
        with self._writing():
            if self.is_local:
                Path(self.folder or "/").mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError), Path(self.path).open("xb") as file:
                    file.write(content)
            else:
                self._make_folder()
                try:
                    with self.fs.open(self.path, "xb") as file:
                        file.write(content)
                except Exception:  # noqa: BLE001  the file exists, or the store does not have this mode
                    if self._bytes() is None:
                        self.fs.pipe_file(self.path, content)
        return self.content()

    def _make_folder(self) -> None:
        if self.folder and self.protocol not in WHOLE_PUT_PROTOCOLS:  # object stores have no directories
            self.fs.makedirs(self.folder, exist_ok=True)

    def _upload(self, source: Path, token: str, may_undo: Callable[[], bool]) -> None:
        direct = self.protocol in WHOLE_PUT_PROTOCOLS
        self._make_folder()
        existed, size = self.size() is not None, source.stat().st_size
        existed = existed or (not direct and self._aside.size() is not None)
        upload = self if direct else self.hidden(f"{token}{PART}")
        try:
            self.fs.put_file(str(source), upload.path)
            _expect_size(upload, size)
            if not direct:
                _replace(upload, self, existed=existed)
                _expect_size(self, size)
        except BaseException:
            if not direct:
                with suppress(Exception):
                    upload._remove()  # noqa: SLF001  another file of this class
            with suppress(Exception):
                if not existed and may_undo():  # An older or newer file belongs to others.
                    self._remove()
            raise

    def hidden_name(self, suffix: str) -> str:
        """Return the name of a temporary file of this one, short enough for any file system."""
        stem = self.name
        if len(stem.encode()) > LONGEST_HIDDEN_STEM:
            stem = hashlib.sha256(stem.encode()).hexdigest()[:32]
        return f".{stem}.{suffix}"

    def _forget(self, path: str | None = None) -> None:
        self.fs.invalidate_cache(path or self.path)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _as_landing_error(f"Cannot read {self.uri}"):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _as_landing_error(f"Cannot write {self.uri}"):
            yield


@contextmanager
def _as_landing_error(what: str) -> Iterator[None]:
    """Turn every error of a store into a :class:`LandingError`, because each file system has classes of its own."""
    try:
        yield
    except JimengError:
        raise
    except Exception as error:
        raise LandingError(f"{what} ({type(error).__name__}: {error}).") from error


def sync(file: BinaryIO) -> None:
    """Write buffered data to the disk."""
    file.flush()
    os.fsync(file.fileno())


def _replace(part: AtomicFile, final: AtomicFile, *, existed: bool) -> None:
    """Rename a file over an older one. If the store cannot do that, the older file is put aside first.

    At every moment one of the two is whole, under the final name or aside, where :meth:`AtomicFile.content` reads it.
    Otherwise a kill could remove a record, and the task would pay again.
    """
    try:
        part.fs.mv(part.path, final.path)
    except Exception:
        if not existed or part.size() is None:
            raise
    else:
        if part.size() is None:  # WebHDFS reports a failed rename only in its response.
            return
    aside = final._aside  # noqa: SLF001  another file of this class
    if final.size() is not None:
        aside._remove()  # noqa: SLF001  of an earlier replacement
        part.fs.mv(final.path, aside.path)
    try:
        part.fs.mv(part.path, final.path)
    except BaseException:
        with suppress(Exception):
            part.fs.mv(aside.path, final.path)
        raise
    with suppress(LandingError):  # Nobody reads it while the file is in place.
        aside._remove()  # noqa: SLF001


def _expect_size(file: AtomicFile, size: int) -> None:
    stored = file.size()
    if stored != size:
        raise LandingError(f"{file.uri} has {stored} bytes in the store after an upload of {size}.")


def _sync_directory(folder: Path) -> None:
    """Make a rename survive a power cut, if the file system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def abort_unfinished(fs: Any, path: str) -> None:
    """Abort unfinished uploads in parts that a killed task left on S3. Nobody sees them, and they cost money.

    Other stores remove theirs after some days. If the credentials do not allow the look-up, the download continues.
    """
    if not (hasattr(fs, "call_s3") and hasattr(fs, "split_path")):
        return
    try:
        bucket, key, _ = fs.split_path(path)
        for upload_id in _unfinished(fs, bucket, key):
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
            log.info("Aborted an unfinished upload of %s by an earlier task.", path)
    except Exception as error:  # noqa: BLE001 - each file system has classes of its own
        log.info("Cannot look for unfinished uploads of %s (%s).", path, type(error).__name__)


def _unfinished(fs: Any, bucket: str, key: str) -> Iterator[str]:
    reply = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
    for upload in reply.get("Uploads") or ():
        if upload["Key"] == key:  # The prefix matches longer names too.
            yield upload["UploadId"]
