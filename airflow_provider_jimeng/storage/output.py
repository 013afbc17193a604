"""Where a video goes: the ``output_path`` argument, read once, for any store that ``ObjectStoragePath`` opens."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.arguments import read_text, shown
from airflow_provider_jimeng.core.errors import LandingError, ParameterError
from airflow_provider_jimeng.core.output_path import check_lengths, read_output_path
from airflow_provider_jimeng.storage.atomic_file import LOCAL_PROTOCOLS, PART, AtomicFile
from airflow_provider_jimeng.storage.manifest import pending_of, sidecar_of

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_UNSAFE_IN_MODEL = re.compile(r"""[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:%?#*"<>|]|^[.\s]|\s$""")
_LONGEST_ID = 100
_PACKAGES = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    "gcs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "sftp": "apache-airflow-providers-sftp[sshfs]",
    "ssh": "apache-airflow-providers-sftp[sshfs]",
}
"""What brings the file system of a scheme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPath:
    """A directory (``output_path`` ends in ``/``) or one file (it does not), and the storage connection.

    A connection id may also stand in the URL, as Airflow allows: ``s3://my_conn@bucket/videos/``.
    """

    output_path: str
    output_conn_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.output_path, str) or not self.output_path.strip():
            raise ParameterError(
                "output_path", "is empty. Give a directory URI ending in /, or a full file name."
            )

    @classmethod
    def of(cls, output_path: Any, output_conn_id: Any = None) -> OutputPath:
        """Return the target that arguments, as templates leave them, stand for; path objects are read too.

        :raises ParameterError: naming the argument and the right spelling.
        """
        text = read_output_path(output_path) or ""
        try:
            Path(text).expanduser()
        except RuntimeError as error:
            raise ParameterError("output_path", f"{shown(text)} cannot be found: {error}") from None
        return cls(output_path=text, output_conn_id=read_text("output_conn_id", output_conn_id))

    @property
    def is_directory(self) -> bool:
        """Whether files are named by us, one name per render."""
        return self.output_path.endswith("/")

    @property
    def url_conn_id(self) -> str | None:
        """The connection id that stands in the URL, if one does."""
        _, separator, rest = self.output_path.partition("://")
        return (rest.partition("/")[0].rpartition("@")[0] or None) if separator else None

    def file_for(self, render: Render) -> AtomicFile:
        """Return the file that a render lands in; it need not exist. Whatever the render is called, it is in here."""
        return self.file(
            f"{safe_model(render.model)}-{safe_name(render.task_id)}.mp4" if self.is_directory else None
        )

    def file(self, name: str | None = None) -> AtomicFile:
        """Return the full file name's file, or the one called ``name`` in the directory.

        :raises ParameterError: no file system is known for the path, or the connection does not fit it.
        :raises LandingError: the store, or Airflow's connection to it, cannot be reached or refuses.
        """
        try:
            options = {"conn_id": self.output_conn_id} if self.output_conn_id else {}
            base = ObjectStoragePath(self._bare_path() or self.output_path, **options)
            path = base / name if name else base
            protocol = str(path.protocol or "file")
            inside = str(path.path)
            return AtomicFile(
                fs=path.fs,
                protocol=protocol,
                path=str(Path(inside).absolute()) if protocol in LOCAL_PROTOCOLS else inside,
                uri=self._uri(name),
                context=path,
            )
        except (ValueError, ImportError, TypeError) as error:  # TypeError: it lacks a host, or an argument
            uri = shown(self._uri(name))[1:-1]  # without quotes
            raise ParameterError(
                "output_path",
                f"{uri} cannot be opened ({shown(str(error))}). {self._remedy()}",
            ) from error
        except Exception as error:  # no two file systems agree on their classes
            raise LandingError(f"Cannot open {self._uri(name)} ({type(error).__name__}: {error}).") from error

    def _remedy(self) -> str:
        package = _PACKAGES.get(self.output_path.partition("://")[0])
        if package is None:
            return "Is the storage's provider package installed, and does output_conn_id fit it?"
        return f"On the workers run pip install '{package}', and check that output_conn_id fits it."

    def _bare_path(self) -> str | None:
        """Return a path that was given without a scheme, made absolute: Airflow 2 takes it from the root."""
        return None if "://" in self.output_path else str(Path(self.output_path).expanduser().absolute())

    def _uri(self, name: str | None) -> str:
        """Return the file's URI: no connection id, and ``file://`` where a bare path was given."""
        bare = self._bare_path()
        if bare:
            return f"file://{Path(bare, name or '')}"
        scheme, _, rest = self.output_path.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{name or ''}"


def safe_model(model: str) -> str:
    """Return a model's name as the beginning of a file name: unchanged if no store reads more into it."""
    if _UNSAFE_IN_MODEL.search(model) is None and 0 < len(model.encode()) <= _LONGEST_ID:
        return model
    return _cleaned(model)


def safe_name(task_id: str) -> str:
    """Return a vendor id as part of a file name: unchanged if it is plain, else cleaned and made unique again."""
    plain = len(task_id) <= _LONGEST_ID and _UNSAFE.search(task_id) is None
    return task_id if plain else _cleaned(task_id)


def _cleaned(text: str) -> str:
    cleaned = _UNSAFE.sub("_", text)[:_LONGEST_ID].lstrip(".")
    return f"{cleaned}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"


_SAMPLE_NAME = f"{'x' * 60}.mp4"
"""About as long as the name of a render in a directory."""
_TOKEN = "x" * 32
_IMPOSSIBLE = {
    errno.ENAMETOOLONG: "is too long for this file system, which counts bytes. A Chinese character has 3. Give a shorter name.",
    errno.EINVAL: "has characters that this file system does not take. Give another name.",
    errno.EILSEQ: "has characters that this file system does not take. Give another name.",
}


def check_names(target: OutputPath) -> None:
    """Refuse a target whose names a landing could not write. Of the stores, only the local file system is asked.

    :raises ParameterError: the scheme cannot be opened, or a name is impossible, naming the limit and the remedy.
    """
    try:
        file = target.file(_SAMPLE_NAME if target.is_directory else None)
    except LandingError:
        return  # the store does not answer now, which says nothing about names
    check_lengths("output_path", file.protocol, file.path)
    if not file.is_local:
        return
    folder = _nearest_folder(Path(file.folder or "/"))
    if folder is not None:
        for needed in _names_of(file):
            _try_name(folder / needed.name)
    if not target.is_directory and os.path.isdir(file.path):  # noqa: PTH112  a path that was tried above
        raise ParameterError(
            "output_path", f"{shown(file.path)} is a directory. End it with / to save files in it."
        )


def _names_of(file: AtomicFile) -> tuple[AtomicFile, ...]:
    """Return every file that the landing of one file writes."""
    sidecar = sidecar_of(file)
    parts = [each.beside(each.hidden_name(f"{_TOKEN}{PART}")) for each in (file, sidecar)]
    return file, sidecar, pending_of(file), *parts


def _nearest_folder(folder: Path) -> Path | None:
    """Return the directory itself, or the nearest above it that exists; ``None`` where nobody may look.

    :raises ParameterError: it cannot be made: a file is in its way, or a name on the way is impossible.
    """
    missing: list[str] = []
    for place in (folder, *folder.parents):
        try:
            mode = place.stat().st_mode
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, *_IMPOSSIBLE):
                return None
            missing.append(place.name)
            continue
        if not stat.S_ISDIR(mode):
            raise ParameterError(
                "output_path", f"{shown(str(place))} is a file, so nothing can be saved below it."
            )
        for name in missing:
            _try_name(place / name)
        return place
    return None


def _try_name(path: Path) -> None:
    """Let the file system look a name up."""
    try:
        path.lstat()
    except OSError as error:
        if (why := _IMPOSSIBLE.get(error.errno or 0)) is not None:
            raise ParameterError("output_path", f"the name {shown(path.name)} {why}") from None
