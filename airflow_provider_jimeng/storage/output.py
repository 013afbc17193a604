# SPDX-License-Identifier: Apache-2.0
"""Where a video goes, and the manifest beside it.

``output_path`` can be in any store that ``ObjectStoragePath`` opens. A manifest proves what a file is and is written after
it. While a file gets its final name, its manifest is stored beside it under a temporary name, as a pending manifest. If
the task is killed between file and manifest, the next one completes the manifest. Without it, the file would look
unknown.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.arguments import read_text, shown
from airflow_provider_jimeng.core.errors import LandingError, ParameterError, TargetTakenError
from airflow_provider_jimeng.core.output_path import (
    check_lengths,
    folder_of,
    read_output_path,
)
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.storage.atomic_file import LOCAL_PROTOCOLS, PART, PENDING, AtomicFile

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
"""The package that contains the file system of a scheme."""
_SAMPLE_NAME = f"{'x' * 60}.mp4"
"""A name about as long as that of a render in a directory."""
_SAMPLE_TOKEN = "x" * 32
_IMPOSSIBLE = {
    errno.ENAMETOOLONG: "is too long for this file system, which counts bytes. A Chinese character has 3. Give a shorter name.",
    errno.EINVAL: "has characters that this file system does not take. Give another name.",
    errno.EILSEQ: "has characters that this file system does not take. Give another name.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPath:
    """A directory (``output_path`` ends in ``/``) or one file (it does not), and the connection of its store.

    A connection id can also stand in the URL, as Airflow allows: ``s3://my_conn@bucket/videos/``.
    """

    output_path: str
    output_conn_id: str | None = None
    is_directory: bool = field(init=False, repr=False, compare=False)
    """Whether this is a directory, in which each render has a file name of its own."""

    def __post_init__(self) -> None:
        if not isinstance(self.output_path, str) or not self.output_path.strip():
            raise ParameterError(
                "output_path", "is empty. Give a directory URI ending in /, or a full file name."
            )
        object.__setattr__(self, "is_directory", self.output_path.endswith("/"))  # The class is frozen.

    @classmethod
    def of(cls, output_path: Any, output_conn_id: Any = None) -> OutputPath:
        """Return the output path of two arguments, as templates leave them. Path objects are read too.

        :raises ParameterError: an argument is wrong. The message names it and the right spelling.
        """
        path = read_output_path(output_path) or ""
        try:
            Path(path).expanduser()
        except RuntimeError as error:
            raise ParameterError("output_path", f"{shown(path)} cannot be found: {error}") from None
        conn_id = None if output_conn_id is None else read_text("output_conn_id", output_conn_id)
        return cls(output_path=path, output_conn_id=conn_id)

    @property
    def folder(self) -> OutputPath:
        """The directory: this one, or that of the file."""
        return self if self.is_directory else replace(self, output_path=folder_of(self.output_path))

    @property
    def url_conn_id(self) -> str | None:
        """The connection id in the URL, ``None`` if there is none."""
        _, separator, rest = self.output_path.partition("://")
        return (rest.partition("/")[0].rpartition("@")[0] or None) if separator else None

    def file_for(self, render: Render) -> AtomicFile:
        """Return the file for a render, which need not exist. Its name never leads out of the directory."""
        name = f"{safe_model(render.model)}-{safe_name(render.task_id)}.mp4" if self.is_directory else None
        return self.file(name)

    def file(self, name: str | None = None) -> AtomicFile:
        """Return the file of a full file name, or the file ``name`` in the directory.

        :raises ParameterError: no file system is known for the path, or the connection does not fit it.
        :raises LandingError: the store or Airflow's connection to it cannot be reached, or refuses.
        """
        try:
            options = {"conn_id": self.output_conn_id} if self.output_conn_id else {}
            base = ObjectStoragePath(self._absolute_path() or self.output_path, **options)
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
        except (ValueError, ImportError, TypeError) as error:  # A TypeError means a missing host or argument.
            uri = shown(self._uri(name))[1:-1]  # without quotes
            raise ParameterError(
                "output_path",
                f"{uri} cannot be opened ({shown(str(error))}). {self._remedy()}",
            ) from error
        except Exception as error:  # Each file system raises classes of its own.
            raise LandingError(f"Cannot open {self._uri(name)} ({type(error).__name__}: {error}).") from error

    def _remedy(self) -> str:
        package = _PACKAGES.get(self.output_path.partition("://")[0])
        if package is None:
            return "Is the storage's provider package installed, and does output_conn_id fit it?"
        return f"On the workers run pip install '{package}', and check that output_conn_id fits it."

    def _absolute_path(self) -> str | None:
        """Return a path without a scheme as an absolute one: Airflow 2 would take it from the root directory."""
        return None if "://" in self.output_path else str(Path(self.output_path).expanduser().absolute())

    def _uri(self, name: str | None) -> str:
        """Return the file's URI without a connection id. A path without a scheme gets ``file://``."""
        local = self._absolute_path()
        if local:
            return f"file://{Path(local, name or '')}"
        scheme, _, rest = self.output_path.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{name or ''}"


def safe_model(model: str) -> str:
    """Return a model's name for use in a file name. It is unchanged if no store gives its characters a meaning."""
    if _UNSAFE_IN_MODEL.search(model) is None and 0 < len(model.encode()) <= _LONGEST_ID:
        return model
    return _cleaned(model)


def safe_name(task_id: str) -> str:
    """Return a vendor id for use in a file name. It is unchanged if it is plain, else cleaned and still unique."""
    plain = len(task_id) <= _LONGEST_ID and _UNSAFE.search(task_id) is None
    return task_id if plain else _cleaned(task_id)


def _cleaned(text: str) -> str:
    cleaned = _UNSAFE.sub("_", text)[:_LONGEST_ID].lstrip(".")
    return f"{cleaned}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"


# ---------------------------------------------------------------------------------------------------- manifests
def read_manifest(file: AtomicFile) -> RenderManifest | None:
    """Read a manifest. Return ``None`` if there is no file or it does not hold a manifest.

    :raises LandingError: the store cannot be read, which says nothing about whether there is one.
    """
    content = file.content()
    return None if content is None else parse_manifest(content)


def parse_manifest(content: bytes) -> RenderManifest | None:
    """Read the bytes of a manifest. Return ``None`` if they are not a manifest."""
    try:
        return RenderManifest.from_payload(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def manifest_in_place(
    target: OutputPath, render: Render, *, completed: bool = False
) -> RenderManifest | None:
    """Return the manifest of a render's file if the file has the right size. A pending manifest counts too.

    :param completed: a pending manifest does not count.
    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    file = target.file_for(render)
    size = file.size()
    if size is None:
        return None
    for place in (file.sidecar,) if completed else (file.sidecar, file.pending):
        manifest = read_manifest(place)
        if manifest is not None and _is_of(manifest, render, same_render=True) and manifest.bytes == size:
            return replace(manifest, uri=file.uri)
    return None


def matches(file: AtomicFile, manifest: RenderManifest) -> bool:
    """Return whether a file is, byte for byte, what a manifest says. Reads the whole file."""
    return file.size() == manifest.bytes and file.sha256() == manifest.sha256


def landed_manifest(file: AtomicFile, render: Render, *, pending: bool = False) -> RenderManifest | None:
    """Return the manifest of a file that is saved and unaltered.

    :param render: the file must be this render's.
    :param pending: find the manifest of a task that was killed before its end.
    """
    manifest = read_manifest(file.pending if pending else file.sidecar)
    if manifest is None or not _is_of(manifest, render, same_render=True) or not matches(file, manifest):
        return None
    return replace(manifest, uri=file.uri)


def refuse_taken(target: OutputPath, *owners: Render | str) -> None:
    """Refuse a full file name that holds the file of another request, or a file of unknown origin.

    This takes up to three small reads. A directory takes none, because each render has a file name of its own there.

    :param owners: renders or fingerprints of requests. The file of any of them is accepted.
    :raises TargetTakenError: the name is taken. The message names the file and the remedy.
    """
    if target.is_directory:
        return
    file = target.file()
    if file.size() is None:
        return
    manifests = [read_manifest(each) for each in (file.sidecar, file.pending)]
    if any(_is_of(one, owner, same_render=False) for one in manifests if one for owner in owners):
        return
    whose = f"the render {manifests[0].task_id}" if manifests[0] else "something that has no manifest"
    raise TargetTakenError(
        f"{file.uri} already holds {whose}. Nothing was written. Give another output_path, or a directory ending in "
        "/, in which every render has its own name; overwrite=True replaces the file."
    )


def _is_of(manifest: RenderManifest, owner: Render | str, *, same_render: bool) -> bool:
    if isinstance(owner, str):
        return manifest.fingerprint == owner
    if same_render or not (manifest.fingerprint and owner.fingerprint):
        return (manifest.task_id, manifest.req_key) == (owner.task_id, owner.req_key)
    return manifest.fingerprint == owner.fingerprint


# ------------------------------------------------------------------------------------------- checks before paying
def check_names(target: OutputPath) -> None:
    """Check every file name that saving a video needs, before anything is paid. Only a local file system is asked.

    :raises ParameterError: the scheme cannot be opened, or a name is impossible. The message names limit and remedy.
    """
    try:
        file = target.file(_SAMPLE_NAME if target.is_directory else None)
    except LandingError:
        return  # The store does not answer now, which says nothing about names.
    check_lengths("output_path", file.protocol, file.path)
    if not file.is_local:
        return
    sidecar, part = file.sidecar, f"{_SAMPLE_TOKEN}{PART}"
    hidden = file.hidden_name(PENDING), file.hidden_name(part), sidecar.hidden_name(part)
    names = (file.name, sidecar.name, *hidden)
    folder = _nearest_folder(Path(file.folder or "/"))
    if folder is not None:
        for name in names:
            _look_up(folder / name)
    if not target.is_directory and os.path.isdir(file.path):  # noqa: PTH112  the path was looked up above
        raise ParameterError(
            "output_path", f"{shown(file.path)} is a directory. End it with / to save files in it."
        )


def _nearest_folder(folder: Path) -> Path | None:
    """Return the directory, or the nearest one above it that exists; ``None`` if it may not be looked at.

    :raises ParameterError: it cannot be made, because a file is in its way or a name on the way is impossible.
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
            _look_up(place / name)
        return place
    return None


def _look_up(path: Path) -> None:
    """Make the file system look up a name, so that it refuses an impossible one."""
    try:
        path.lstat()
    except OSError as error:
        if (why := _IMPOSSIBLE.get(error.errno or 0)) is not None:
            raise ParameterError("output_path", f"the name {shown(path.name)} {why}") from None
