# SPDX-License-Identifier: Apache-2.0
"""One file that is made of saved videos: whether it is made already, and how it gets its name and its manifest."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import TargetTakenError
from airflow_provider_jimeng.core.render import format_time

if TYPE_CHECKING:
    from airflow_provider_jimeng.finishing.request import Poster, Preview, Rendition
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

VERSION = 1
_ABANDONED_SECONDS = 3600
"""A temporary file that nobody has written to for so long belongs to a task that was killed."""
_TOKEN = re.compile(r"[0-9a-f]{16}\.part")


@dataclass(slots=True, eq=False, kw_only=True)
class Derivative:
    """A file that is made of originals. ``manifest`` is set when the file is in place.

    :param track: a second file that belongs to it: the WebVTT track of a preview.
    :param source: URI and SHA-256 of each original.
    """

    file: AtomicFile
    version: Rendition | Poster | Preview
    recipe: Mapping[str, Any]
    source: Sequence[Mapping[str, str]]
    track: AtomicFile | None = None
    manifest: dict[str, Any] | None = field(default=None, init=False)

    def find(self) -> None:
        """Look whether the file was already made, in the same way and of the same bytes.

        :raises TargetTakenError: the name belongs to a file that was not made here, or was made of other videos.
        """
        found = {
            "sha256": None if self.file.size() is None else self.file.sha256(),
            "track_sha256": None if self.track is None or self.track.size() is None else self.track.sha256(),
        }
        if not any(found.values()):
            return
        known = [_read_manifest(place) for place in (self.file.sidecar, self.file.pending)]
        for key, file in (("sha256", self.file), ("track_sha256", self.track)):
            if found[key] and file and found[key] not in [manifest.get(key) for manifest in known]:
                raise TargetTakenError(
                    f"{file.uri} exists and was not made here, or was changed afterwards. Nothing was written. "
                    "Rename it, or give the rendition or concat another name."
                )
        for manifest in known:
            if any(found[key] != manifest.get(key) for key in found):
                continue
            self._refuse_other_videos(manifest)
            if (manifest.get("source"), manifest.get("recipe")) == (self.source, self.recipe):
                self.manifest = manifest
                if manifest == known[1]:  # a task was killed before it removed the pending manifest
                    self._commit()
                return

    def _refuse_other_videos(self, manifest: Mapping[str, Any]) -> None:
        uris = [each["uri"] for each in manifest.get("source", ())]
        if uris != [each["uri"] for each in self.source]:
            raise TargetTakenError(
                f"{self.file.uri} was made of other videos. Nothing was written. Give concat another name."
            )

    def make_video(self, encode: Callable[[Path, Any], Mapping[str, Any]]) -> None:
        """Give a large file its name. ``encode`` writes it and returns what the manifest tells of it."""
        self._remove_abandoned()
        token = secrets.token_hex(8)
        with self.file.staged(token) as (path, handle):
            facts = encode(path, handle)
            self._place(lambda: self.file.put(path, token), {**facts, "content_type": "video/mp4"})

    def save(self, content: bytes, content_type: str, *, track: bytes | None = None) -> None:
        """Write a small file and its manifest."""
        facts: dict[str, Any] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "content_type": content_type,
        }
        if self.track is not None and track is not None:
            facts |= {"track_uri": self.track.uri, "track_sha256": hashlib.sha256(track).hexdigest()}

        def put() -> None:
            if self.track is not None and track is not None:
                self.track.write(track, secrets.token_hex(8))
            self.file.write(content, secrets.token_hex(8))

        self._place(put, facts)

    def _place(self, put: Callable[[], None], facts: Mapping[str, Any]) -> None:
        """Give the file its name, between a pending manifest and the manifest. See :mod:`..storage.output`."""
        manifest = {
            "version": VERSION,
            "kind": type(self.version).__name__.lower(),
            "uri": self.file.uri,
            **facts,
            "made_at": format_time(pendulum.now("UTC")),
            "source": self.source,
            "recipe": self.recipe,
        }
        self.file.pending.write_plainly(_encoded(manifest))
        put()
        self.manifest = manifest
        self._commit()

    def _commit(self) -> None:
        self.file.sidecar.write(_encoded(self.manifest), secrets.token_hex(8))
        self.file.pending.remove()

    def _remove_abandoned(self) -> None:
        """Remove the temporary files of this one that killed tasks left on the local disk."""
        if not self.file.is_local:
            return
        start = f".{self.file.name}."
        for path in Path(self.file.folder or "/").iterdir():
            if path.name.startswith(start) and _TOKEN.fullmatch(path.name.removeprefix(start)):
                with suppress(OSError):
                    if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                        path.unlink()


def _read_manifest(file: AtomicFile) -> dict[str, Any]:
    """Return the manifest of a derivative, an empty dict if the file holds none."""
    try:
        manifest = json.loads(file.content() or b"null")
    except (ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) and "recipe" in manifest else {}


def _encoded(manifest: Any) -> bytes:
    return json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n"
