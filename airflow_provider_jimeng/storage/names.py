"""Tries every name that a landing needs before anything is paid: the file's, its manifest's, temporary ones, records'."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.arguments import shown
from airflow_provider_jimeng.core.errors import LandingError, ParameterError
from airflow_provider_jimeng.core.output_path import check_lengths
from airflow_provider_jimeng.storage.atomic_file import PART
from airflow_provider_jimeng.storage.manifest import pending_of, sidecar_of

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile
    from airflow_provider_jimeng.storage.output import OutputPath

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
