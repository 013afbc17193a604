"""The manifest beside a landed file: proof of what the file is, written after it.

While a file takes its final name, the manifest-to-be lies beside it under a temporary name. A landing that was killed
between file and manifest is therefore completed by the next one instead of being taken for a stranger's file.
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
    """Return the manifest's place: ``<file>.json``."""
    return file.beside(f"{file.name}{SUFFIX}")


def pending_of(file: AtomicFile) -> AtomicFile:
    """Return the place of the manifest of a landing under way."""
    return file.beside(file.hidden_name(f"json{PART}"))


def read_manifest(file: AtomicFile) -> RenderManifest | None:
    """Read a manifest; ``None`` if there is none or it is not one.

    :raises LandingError: the store cannot be read, which says nothing about whether there is one.
    """
    content = file.content()
    return None if content is None else parse_manifest(content)


def parse_manifest(content: bytes) -> RenderManifest | None:
    """Read the bytes of a manifest; ``None`` if they are none."""
    try:
        return RenderManifest.from_payload(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def manifest_in_place(
    target: OutputPath, render: Render, *, completed: bool = False
) -> RenderManifest | None:
    """Return the manifest of a render's file, or the one that a landing killed at the end left, if its size is right.

    :param completed: leave out what a landing left that was killed at the end.
    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    file = target.file_for(render)
    size = file.size()
    if size is None:
        return None
    for place in (sidecar_of,) if completed else (sidecar_of, pending_of):
        manifest = read_manifest(place(file))
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
    """Write the sidecar of a file that has its final name, and drop the pending one."""
    sidecar_of(file).write(_encode(manifest), token)
    pending_of(file).remove()


def drop_pending(file: AtomicFile) -> None:
    """Remove the pending manifest that a landing left which was killed as the last thing it did."""
    if pending_of(file).size() is not None:
        pending_of(file).remove()


def matches(file: AtomicFile, manifest: RenderManifest) -> bool:
    """Whether a file is, byte for byte, what a manifest says. Reads all of it."""
    return file.size() == manifest.bytes and file.sha256() == manifest.sha256


def landed_manifest(
    file: AtomicFile, render: Render, place: Callable[[AtomicFile], AtomicFile] = sidecar_of
) -> RenderManifest | None:
    """Return the manifest of a file that is landed and unaltered.

    :param render: the file must be this render's.
    :param place: where the manifest is; ``pending_of`` finds the one of a task that was killed before its end.
    """
    if file.size() is None:
        return None
    manifest = read_manifest(place(file))
    if manifest is None or not _is_of(manifest, render, same_render=True) or not matches(file, manifest):
        return None
    return replace(manifest, uri=file.uri)


def refuse_taken(target: OutputPath, *asked: Render | str) -> None:
    """Refuse a full file name that holds another request's file, or a file of unknown origin.

    Costs up to three small reads; a directory costs none, since every render has a name of its own there. Call it
    before paying, too.

    :param asked: the render, or the fingerprint of the request; any of several.
    :raises TargetTakenError: naming the file and the remedy.
    """
    if target.is_directory:
        return
    file = target.file()
    if file.size() is None:
        return
    found = [read_manifest(place) for place in (sidecar_of(file), pending_of(file))]
    if any(_is_of(manifest, each, same_render=False) for manifest in found if manifest for each in asked):
        return
    whose = f"the render {found[0].task_id}" if found[0] else "something that has no manifest"
    raise TargetTakenError(
        f"{file.uri} already holds {whose}. Nothing was written. Give another output_path, or a directory ending in "
        "/, in which every render has its own name; overwrite=True replaces the file."
    )


def _encode(manifest: RenderManifest) -> bytes:
    return json.dumps(manifest.to_payload(), ensure_ascii=False, indent=2).encode() + b"\n"


def _is_of(manifest: RenderManifest, asked: Render | str, *, same_render: bool) -> bool:
    if isinstance(asked, str):
        return manifest.fingerprint == asked
    if same_render or not (manifest.fingerprint and asked.fingerprint):
        return (manifest.task_id, manifest.req_key) == (asked.task_id, asked.req_key)
    return manifest.fingerprint == asked.fingerprint
