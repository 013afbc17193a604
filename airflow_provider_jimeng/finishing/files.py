# SPDX-License-Identifier: Apache-2.0
"""The files of a call: the saved videos that it reads and never changes, and the files that it makes of them.

Readers of a folder find the poster and the preview of a video here, too: by their names and by their manifests.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.arguments import is_absent, parse_text, shown
from airflow_provider_jimeng.core.errors import LandingError, ParameterError, TargetTakenError
from airflow_provider_jimeng.core.render import format_time
from airflow_provider_jimeng.storage.output import OutputPath

if TYPE_CHECKING:
    from airflow_provider_jimeng.finishing.request import Poster, Preview, Rendition
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

VERSION = 1
_ABANDONED_SECONDS = 3600
"""If a temporary file has not changed for this long, its task was killed."""
_TOKEN = re.compile(r"[0-9a-f]{16}\.part")
POSTER_ENDINGS = {"jpeg": "poster.jpg", "webp": "poster.webp"}
PREVIEW_ENDING = "preview.jpg"
TRACK_ENDING = "preview.vtt"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TILE = re.compile(r"#xywh=(\d{1,5}),(\d{1,5}),([1-9]\d{0,4}),([1-9]\d{0,4})$", re.ASCII | re.MULTILINE)


@dataclass(slots=True, eq=False)
class Original:
    """A file that derivatives are made of: where it is, and the SHA-256 that its manifest has."""

    file: AtomicFile
    expected_sha256: str | None = None
    _sha256: str | None = None
    _local: Path | None = None
    _state: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, argument: str, value: Any, output_conn_id: str | None) -> Original:
        """Return the file that a manifest or a URI names.

        :raises ParameterError: the value does not name a file.
        """
        sha256 = None
        if isinstance(value, Mapping):
            uri, sha256 = value.get("uri"), value.get("sha256")
            if not isinstance(uri, str) or not uri:
                raise ParameterError(argument, f"is a dict without a uri: {shown(value)}. Give a manifest.")
            value = uri
        if is_absent(value) or isinstance(value, bool | int | float | bytes):
            raise ParameterError(argument, f"expected a manifest or the URI of a file, got {shown(value)}.")
        target = OutputPath.of(value, output_conn_id)
        if target.is_directory:
            raise ParameterError(argument, f"{shown(target.output_path)} is a directory. Name a file in it.")
        return cls(target.file(), sha256)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file as it is now, in hexadecimal.

        :raises LandingError: there is no such file, or it is not what its manifest says.
        """
        if self._sha256 is None:
            if self.file.size() is None:
                raise LandingError(f"{self.file.uri} does not exist. Was it moved, or not saved yet?")
            self._state = self._state_now()
            self._sha256 = self.file.sha256()
            if self.expected_sha256 and self._sha256 != self.expected_sha256:
                raise LandingError(
                    f"{self.file.uri} was changed after it was saved: its SHA-256 is {self._sha256}, and its manifest "
                    f"says {self.expected_sha256}. Give the URI instead of the manifest to finish it as it is."
                )
        return self._sha256

    def local(self, stack: ExitStack) -> Path:
        """Return a local file with the same bytes: the original itself, or a copy until ``stack`` ends.

        :raises LandingError: the file was changed meanwhile, or cannot be read.
        """
        if self.file.is_local:
            return Path(self.file.path)
        if self._local is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-finish-")))
            path = folder / f"source{Path(self.file.name).suffix}"
            if self.file.copy_to(path) != self.sha256:
                raise self._changed()
            self._local = path
        return self._local

    def check_unchanged(self) -> None:
        """Check that a local file is the one whose SHA-256 is known.

        :raises LandingError: it was replaced or written while it was read.
        """
        if self.file.is_local and self._state_now() != self._state:
            raise self._changed()

    def _state_now(self) -> tuple[int, int, int] | None:
        if not self.file.is_local:
            return None
        try:
            state = Path(self.file.path).stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns

    def _changed(self) -> LandingError:
        return LandingError(
            f"{self.file.uri} was changed while it was read. Nothing was made of it. Try again."
        )


def read_originals(video: Any, output_conn_id: str | None) -> list[Original]:
    """Return the files that the argument ``video`` names. A template can have turned it into text.

    :raises ParameterError: it does not name a file.
    """
    if isinstance(video, str) and video.strip().startswith(("{", "[")):
        try:
            video = parse_text(video)
        except ValueError as error:
            raise ParameterError("video", f"{shown(video)} is not a manifest: {error}.") from None
    if isinstance(video, Sequence) and not isinstance(video, str | bytes):
        if not len(video):  # a lazy sequence of XComs has a length but no truth value
            raise ParameterError("video", "is an empty list. Give manifests or URIs.")
        return [Original.of(f"video[{number}]", one, output_conn_id) for number, one in enumerate(video)]
    return [Original.of("video", video, output_conn_id)]


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
        """Set ``manifest`` if the file was already made, with the same recipe and of the same bytes.

        :raises TargetTakenError: a file of this name was not made here, or was made of other videos.
        """
        present = {
            "sha256": None if self.file.size() is None else self.file.sha256(),
            "track_sha256": None if self.track is None or self.track.size() is None else self.track.sha256(),
        }
        if not any(present.values()):
            return
        manifests = [_read_manifest(place) for place in (self.file.sidecar, self.file.pending)]
        for key, file in (("sha256", self.file), ("track_sha256", self.track)):
            if present[key] and file and present[key] not in [manifest.get(key) for manifest in manifests]:
                raise TargetTakenError(
                    f"{file.uri} exists and was not made here, or was changed afterwards. Nothing was written. "
                    "Rename it, or give the rendition or concat another name."
                )
        for manifest in manifests:
            if any(present[key] != manifest.get(key) for key in present):
                continue
            self._refuse_other_videos(manifest)
            if (manifest.get("source"), manifest.get("recipe")) == (self.source, self.recipe):
                self.manifest = manifest
                if manifest == manifests[1]:  # a task was killed before it removed the pending manifest
                    self._commit()
                return

    def _refuse_other_videos(self, manifest: Mapping[str, Any]) -> None:
        uris = [each["uri"] for each in manifest.get("source", ())]
        if uris != [each["uri"] for each in self.source]:
            raise TargetTakenError(
                f"{self.file.uri} was made of other videos. Nothing was written. Give concat another name."
            )

    def make_video(self, encode: Callable[[Path, Any], Mapping[str, Any]]) -> None:
        """Write a large file and its manifest. ``encode`` writes the file and returns what the manifest says about it."""
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
    """Return the manifest of a derivative, an empty dict if the file has none."""
    try:
        manifest = json.loads(file.content() or b"null")
    except (ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) and "recipe" in manifest else {}


def _encoded(manifest: Any) -> bytes:
    return json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n"


# ------------------------------------------------------------------------------------- posters and previews, as found
@dataclass(frozen=True, slots=True, kw_only=True)
class StillManifest:
    """What the manifest of a poster or a preview says. ``track_sha256`` is that of a preview's WebVTT track."""

    sha256: str
    bytes: int
    track_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One frame on the sheet of a preview, in pixels from the upper left."""

    x: int
    y: int
    width: int
    height: int

    def to_payload(self) -> dict[str, int]:
        """Return the tile as plain JSON data."""
        return asdict(self)


def name_beside(video_name: str, ending: str) -> str:
    """Return the file name of a derivative: ``kite.poster.jpg`` for ``kite.mp4`` and ``poster.jpg``."""
    return f"{video_name.removesuffix('.mp4')}.{ending}"


def parse_still(content: bytes, video_sha256: str) -> StillManifest | None:
    """Read the manifest of a poster or a preview.

    Return ``None`` if it is not one, or if the picture was not made of the video with this SHA-256 alone. Such a picture is
    left from an older video of the same name.
    """
    try:
        payload = json.loads(content)
        (source,) = payload["source"]
        made_of, sha256, size = source["sha256"], payload["sha256"], payload["bytes"]
        kind, track = payload["kind"], payload.get("track_sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_still = kind in ("poster", "preview") and isinstance(size, int) and _is_sha256(sha256)
    if not is_still or made_of != video_sha256:
        return None
    return StillManifest(sha256=sha256, bytes=size, track_sha256=track if _is_sha256(track) else None)


def parse_track(content: bytes) -> list[Tile]:
    """Return the frames that the WebVTT track of a preview names, in order."""
    tiles = _TILE.findall(content.decode("utf-8", "replace"))
    return [Tile(x=int(x), y=int(y), width=int(width), height=int(height)) for x, y, width, height in tiles]


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
