"""The manifest beside a saved file. It proves what the file is and is written after it.

While a file gets its final name, its manifest is stored beside it under a temporary name, as a pending manifest. If the
task is killed between file and manifest, the next one completes the manifest. Without it, the file would look unknown.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.errors import LandingError, TargetTakenError
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.storage.atomic_file import PART, AtomicFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jimeng.storage.output import OutputPath

SUFFIX = ".json"


def sidecar_of(file: AtomicFile) -> AtomicFile:
    """Return the file of the manifest: ``<file>.json``."""
    return file.beside(f"{file.name}{SUFFIX}")


def pending_of(file: AtomicFile) -> AtomicFile:
    """Return the file of the pending manifest."""
    return file.beside(file.hidden_name(f"json{PART}"))


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
    for manifest_of in (sidecar_of,) if completed else (sidecar_of, pending_of):
        manifest = read_manifest(manifest_of(file))
        if manifest is not None and _is_of(manifest, render, same_render=True) and manifest.bytes == size:
            return replace(manifest, uri=file.uri)
    return None


def announce(file: AtomicFile, manifest: RenderManifest) -> None:
    """Write the pending manifest of a file that is about to get its final name."""
    pending_of(file).write_plainly(_encode(manifest))


def withdraw(file: AtomicFile, manifest: RenderManifest) -> None:
    """Remove the pending manifest of a file that did not get its final name."""
    with suppress(LandingError):
        if file.size() != manifest.bytes:
            pending_of(file).remove()


def commit(file: AtomicFile, manifest: RenderManifest, token: str) -> None:
    """Write the manifest of a file that has its final name, and remove the pending one."""
    sidecar_of(file).write(_encode(manifest), token)
    pending_of(file).remove()


def drop_pending(file: AtomicFile) -> None:
    """Remove the pending manifest that a task left which was killed at its very end."""
    if pending_of(file).size() is not None:
        pending_of(file).remove()


def matches(file: AtomicFile, manifest: RenderManifest) -> bool:
    """Return whether a file is, byte for byte, what a manifest says. Reads the whole file."""
    return file.size() == manifest.bytes and file.sha256() == manifest.sha256


def landed_manifest(
    file: AtomicFile, render: Render, manifest_of: Callable[[AtomicFile], AtomicFile] = sidecar_of
) -> RenderManifest | None:
    """Return the manifest of a file that is saved and unaltered.

    :param render: the file must be this render's.
    :param manifest_of: ``pending_of`` finds the manifest of a task that was killed before its end.
    """
    if file.size() is None:
        return None
    manifest = read_manifest(manifest_of(file))
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
    manifests = [read_manifest(each) for each in (sidecar_of(file), pending_of(file))]
    if any(_is_of(one, owner, same_render=False) for one in manifests if one for owner in owners):
        return
    whose = f"the render {manifests[0].task_id}" if manifests[0] else "something that has no manifest"
    raise TargetTakenError(
        f"{file.uri} already holds {whose}. Nothing was written. Give another output_path, or a directory ending in "
        "/, in which every render has its own name; overwrite=True replaces the file."
    )


def _encode(manifest: RenderManifest) -> bytes:
    return json.dumps(manifest.to_payload(), ensure_ascii=False, indent=2).encode() + b"\n"


def _is_of(manifest: RenderManifest, owner: Render | str, *, same_render: bool) -> bool:
    if isinstance(owner, str):
        return manifest.fingerprint == owner
    if same_render or not (manifest.fingerprint and owner.fingerprint):
        return (manifest.task_id, manifest.req_key) == (owner.task_id, owner.req_key)
    return manifest.fingerprint == owner.fingerprint
