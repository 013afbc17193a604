"""Makes the derivatives of saved videos beside them, each once, and each with a manifest of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.arguments import as_mapping, is_absent, shown
from airflow_provider_jimeng.core.errors import (
    LandingError,
    MissingLabelError,
    ParameterError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.mp4 import inspect_mp4, read_label
from airflow_provider_jimeng.core.render import format_time
from airflow_provider_jimeng.finishing.pictures import draw_poster, draw_preview
from airflow_provider_jimeng.finishing.request import FinishRequest, Poster, Preview, Rendition
from airflow_provider_jimeng.finishing.source import Source
from airflow_provider_jimeng.finishing.video import Film, encode, label_duration
from airflow_provider_jimeng.finishing.visible_label import draw_label, find_font
from airflow_provider_jimeng.storage.atomic_file import AtomicFile, sync
from airflow_provider_jimeng.storage.manifest import pending_of, sidecar_of
from airflow_provider_jimeng.storage.output import OutputPath

if TYPE_CHECKING:
    from os import PathLike

log = logging.getLogger(__name__)

VERSION = 1
DEFAULT_THREADS = 2
_BLOCK_BYTES = 1024 * 1024
_LOG_STEP = 0.1


def finish(
    video: Mapping[str, Any] | str | PathLike[str] | Sequence[Any],
    *,
    visible_label: Any = None,
    poster: Any = None,
    preview: Any = None,
    renditions: Any = None,
    concat: Any = None,
    audio: Any = None,
    require_implicit: bool = False,
    output_conn_id: str | None = None,
    threads: int = DEFAULT_THREADS,
) -> list[dict[str, Any]]:
    """Make the derivatives of a saved video, or of several, beside it. Return their manifests.

    The original is never changed. What exists already, made in the same way of the same bytes, is not made again.

    :param video: a manifest, the URI of a video, or a list of them.
    :param visible_label: true, a text, a dict, or a :class:`~.request.VisibleLabel`.
    :param poster: true, a dict, or a :class:`~.request.Poster`.
    :param preview: true, a dict, or a :class:`~.request.Preview`.
    :param renditions: a list of dicts or of :class:`~.request.Rendition`.
    :param concat: true, a dict, or a :class:`~.request.Concat`: all videos become one, beside the first.
    :param audio: the URI of a file with sound, a dict, or a :class:`~.request.Audio`.
    :param require_implicit: refuse a source without an implicit label.
    :param output_conn_id: Airflow connection of the storage.
    :param threads: how many CPU cores decoding and encoding may use.
    :raises ParameterError: an argument is wrong; nothing was made.
    :raises MissingLabelError: a source has no implicit label, and ``require_implicit`` is set.
    :raises LandingError: a file cannot be read or written, or is not what its manifest says.
    """
    request = FinishRequest.of(
        visible_label=visible_label,
        poster=poster,
        preview=preview,
        renditions=renditions,
        concat=concat,
        audio=audio,
        require_implicit=require_implicit,
    )
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 64:
        raise ParameterError("threads", f"expected 1 to 64, got {shown(threads)}.")
    originals = _originals(video, output_conn_id)
    if request.concat and len(originals) < 2:
        raise ParameterError("concat", "needs two videos at least. Give a list of manifests or URIs.")
    font = None if request.visible_label is None else find_font(request.visible_label)
    with ExitStack() as stack:
        track = None if request.audio is None else _Original.of(request.audio.uri, output_conn_id)
        job = _Job(request=request, font=font, track=track, threads=threads, stack=stack)
        groups = [originals] if request.concat else [[original] for original in originals]
        return [manifest for group in groups for manifest in job.run(group)]


# ------------------------------------------------------------------------------------------------------ the originals
@dataclass(slots=True, eq=False)
class _Original:
    """A saved video, or a file with sound: where it is, and the SHA-256 that its manifest tells."""

    file: AtomicFile
    expected_sha256: str | None = None
    _sha256: str | None = None
    _local: Path | None = None

    @classmethod
    def of(cls, value: Any, output_conn_id: str | None) -> _Original:
        """Return the original that a manifest or a URI names.

        :raises ParameterError: it names none.
        """
        if isinstance(value, str) and value.strip().startswith("{"):
            value = as_mapping("video", value)
        if isinstance(value, Mapping):
            uri, sha256 = value.get("uri"), value.get("sha256")
            if not isinstance(uri, str) or not uri:
                raise ParameterError("video", f"is a dict without a uri: {shown(value)}. Give a manifest.")
            return cls(OutputPath.of(uri, output_conn_id).file(), sha256)
        target = OutputPath.of(value, output_conn_id)
        if target.is_directory:
            raise ParameterError("video", f"{shown(target.output_path)} is a directory. Name a file in it.")
        return cls(target.file())

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file as it is now, in hexadecimal.

        :raises LandingError: there is no such file, or it is not what its manifest says.
        """
        if self._sha256 is None:
            if self.file.size() is None:
                raise LandingError(f"{self.file.uri} does not exist.")
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
                raise LandingError(f"{self.file.uri} was changed while it was read. Try again.")
            self._local = path
        return self._local


def _originals(video: Any, output_conn_id: str | None) -> list[_Original]:
    if isinstance(video, Sequence) and not isinstance(video, str):
        if not video:
            raise ParameterError("video", "is an empty list. Give manifests or URIs.")
        return [_Original.of(one, output_conn_id) for one in video]
    if is_absent(video):
        raise ParameterError("video", "is empty. Give a manifest or the URI of a video.")
    return [_Original.of(video, output_conn_id)]


# ------------------------------------------------------------------------------------------------------------ the job
@dataclass(slots=True, eq=False, kw_only=True)
class _Job:
    """One call of :func:`finish`."""

    request: FinishRequest
    font: Path | None
    track: _Original | None
    threads: int
    stack: ExitStack

    def run(self, originals: Sequence[_Original]) -> list[dict[str, Any]]:
        """Return the manifests of everything that is made of one video, or of one concatenation."""
        derivatives = [self._derivative(originals, version) for version in self._versions()]
        paths = [original.file.path for original in originals]
        for each in derivatives:
            if each.file.path in paths:
                raise ParameterError("video", f"{each.file.uri} would be replaced by its own derivative.")
        due = [each for each in derivatives if each.manifest is None]
        if due:
            sources = [Source.open(original.local(self.stack)) for original in originals]
            label = self._implicit_label(originals, sources)
            for work in [self._work(each, sources, label) for each in due]:  # all is checked before the first
                work()
        for each in derivatives:
            log.info("%s %s.", "Made" if each in due else "Already made:", each.file.uri)
        return [each.manifest for each in derivatives if each.manifest is not None]

    def _versions(self) -> list[Rendition | Poster | Preview]:
        extras = [each for each in (self.request.poster, self.request.preview) if each is not None]
        return [*self.request.versions, *extras]

    def _derivative(
        self, originals: Sequence[_Original], version: Rendition | Poster | Preview
    ) -> _Derivative:
        first = originals[0].file
        stem = first.name.removesuffix(".mp4") if self.request.concat is None else self.request.concat.name
        recipe = self.request.recipe_of(version)
        if recipe.get("visible_label"):
            recipe["visible_label"]["font"] = _fingerprint_of(self.font)
        if self.track is not None and isinstance(version, Rendition):
            recipe["audio"]["sha256"] = self.track.sha256
        derivative = _Derivative(
            file=first.beside(f"{stem}.{_ending(version)}"),
            version=version,
            recipe=recipe,
            source=[{"uri": each.file.uri, "sha256": each.sha256} for each in originals],
        )
        derivative.find()
        return derivative

    def _implicit_label(self, originals: Sequence[_Original], sources: Sequence[Source]) -> bytes | None:
        """Return the implicit label that the derivatives carry.

        :raises MissingLabelError: a source has none, and the request requires one.
        :raises ParameterError: the sources of a concatenation have different ones.
        """
        for original, source in zip(originals, sources, strict=True):
            if source.label is not None:
                continue
            if self.request.require_implicit:
                raise MissingLabelError(
                    f"{original.file.uri} has no implicit label (AIGC), and require_implicit is set. Nothing was made. "
                    "Render it with aigc_meta, or download it again with aigc_meta and require_tagged."
                )
            log.warning(
                "%s has no implicit label (AIGC). Its derivatives have none either.", original.file.uri
            )
        labels = {source.label for source in sources if source.label is not None}
        if len(labels) > 1:
            raise ParameterError(
                "concat",
                f"the videos have {len(labels)} different implicit labels, and a file can hold one. Render them with "
                "the same aigc_meta, or finish them one by one.",
            )
        label = next(iter(labels), None)
        if label is not None and not _is_text(label):
            raise LandingError(
                f"The implicit label of {originals[0].file.uri} is not text, so it cannot be copied. Nothing was made."
            )
        return label

    def _work(
        self, derivative: _Derivative, sources: Sequence[Source], label: bytes | None
    ) -> Callable[[], None]:
        """Check a derivative and return what makes it."""
        version = derivative.version
        if isinstance(version, Rendition):
            film = self._film(version, sources, label)
            return lambda: self._make_video(derivative, film)
        source = sources[0]
        if isinstance(version, Poster):
            overlay = self._drawn_label(source.width, source.height)
            return lambda: derivative.save(
                draw_poster(source, version, label=overlay, threads=self.threads), f"image/{version.format}"
            )
        return lambda: self._make_preview(derivative, source, version)

    def _film(self, rendition: Rendition, sources: Sequence[Source], label: bytes | None) -> Film:
        width, height = rendition.picture_size(sources[0].width, sources[0].height)
        fade = self.request.concat.cross_fade if self.request.concat else 0.0
        shortest = min(source.seconds for source in sources)
        if fade >= shortest:
            raise ParameterError(
                "concat.cross_fade", f"is {fade:g} s, and the shortest video {shortest:g} s. Give less."
            )
        if len(sources) > 1 and any(source.has_audio for source in sources) and self.track is None:
            log.warning("The sound of the videos is left out of the concatenation. Give audio for a track.")
        film = Film(
            sources=sources,
            rendition=rendition,
            width=width,
            height=height,
            cross_fade=fade,
            label=self._drawn_label(width, height),
            implicit_label=label,
            audio=self.request.audio,
            audio_file=None if self.track is None else self.track.local(self.stack),
            threads=self.threads,
        )
        if self.request.visible_label is None:
            return film
        return replace(film, label_seconds=label_duration(self.request.visible_label, film.seconds))

    def _drawn_label(self, width: int, height: int) -> Any:
        if self.request.visible_label is None:
            return None
        return draw_label(self.request.visible_label, self.font, width, height)

    def _make_video(self, derivative: _Derivative, film: Film) -> None:
        token = secrets.token_hex(8)
        with derivative.file.staged(token) as (path, handle):
            encode(film, path, _Progress(derivative.file.name))
            handle.seek(0)
            info = inspect_mp4(handle)
            found = read_label(handle)
            if found != film.implicit_label:
                raise LandingError(
                    f"The implicit label could not be written into {derivative.file.uri}: it reads {found!r}."
                )
            sync(handle)
            digest, size = _digest_of(handle)
            facts = {
                "sha256": digest,
                "bytes": size,
                "content_type": "video/mp4",
                "width": info.width,
                "height": info.height,
                "fps": info.fps,
                "frames": info.frames,
                "duration_seconds": info.duration_seconds,
                "aigc_label": info.aigc,
            }
            derivative.place(lambda: derivative.file.put(path, token), facts)

    def _make_preview(self, derivative: _Derivative, source: Source, preview: Preview) -> None:
        sheet, track = draw_preview(source, preview, derivative.file.name, threads=self.threads)
        track_file = derivative.file.beside(f"{derivative.file.name.removesuffix('.jpg')}.vtt")
        track_file.write(track, secrets.token_hex(8))
        derivative.save(sheet, "image/jpeg", track_uri=track_file.uri)


@dataclass(slots=True, eq=False, kw_only=True)
class _Derivative:
    """One file that is made of originals. ``manifest`` is there when the file is."""

    file: AtomicFile
    version: Rendition | Poster | Preview
    recipe: Mapping[str, Any]
    source: Sequence[Mapping[str, str]]
    manifest: dict[str, Any] | None = None

    def find(self) -> None:
        """Look whether the file was already made, in the same way and of the same bytes.

        :raises TargetTakenError: the name belongs to a file that was not made here.
        """
        size = self.file.size()
        if size is None:
            return
        known = [_read_manifest(of(self.file)) for of in (sidecar_of, pending_of)]
        for manifest in known:
            if manifest and [manifest.get(key) for key in ("source", "recipe", "bytes")] == [
                self.source,
                self.recipe,
                size,
            ]:
                self.manifest = manifest
                break
        if not any(known):
            raise TargetTakenError(
                f"{self.file.uri} exists and was not made here. Nothing was written. Rename it, or give the rendition "
                "or concat another name."
            )
        if (
            self.manifest is not None and self.manifest is known[1]
        ):  # killed between the file and its manifest
            self._commit()

    def save(self, content: bytes, content_type: str, **facts: Any) -> None:
        """Write a small file and its manifest."""
        facts |= {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "content_type": content_type,
        }
        self.place(lambda: self.file.write(content, secrets.token_hex(8)), facts)

    def place(self, put: Callable[[], None], facts: Mapping[str, Any]) -> None:
        """Give the file its name, between a pending manifest and the manifest. See :mod:`..storage.manifest`."""
        self.manifest = {
            "version": VERSION,
            "kind": type(self.version).__name__.lower(),
            "uri": self.file.uri,
            **facts,
            "made_at": format_time(pendulum.now("UTC")),
            "source": self.source,
            "recipe": self.recipe,
        }
        pending_of(self.file).write_plainly(self._encoded())
        put()
        self._commit()

    def _commit(self) -> None:
        sidecar_of(self.file).write(self._encoded(), secrets.token_hex(8))
        pending_of(self.file).remove()

    def _encoded(self) -> bytes:
        return json.dumps(self.manifest, ensure_ascii=False, indent=2).encode() + b"\n"


def _read_manifest(file: AtomicFile) -> dict[str, Any] | None:
    """Return the manifest of a derivative, ``None`` if the file holds none."""
    try:
        manifest = json.loads(file.content() or b"null")
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and "recipe" in manifest else None


def _ending(version: Rendition | Poster | Preview) -> str:
    if isinstance(version, Rendition):
        return f"{version.suffix}.mp4"
    if isinstance(version, Poster):
        return "poster.jpg" if version.format == "jpeg" else "poster.webp"
    return "preview.jpg"


def _is_text(label: bytes) -> bool:
    """Return whether FFmpeg can write a label as it is."""
    try:
        return "\0" not in label.decode()
    except UnicodeDecodeError:
        return False


def _fingerprint_of(font: Path | None) -> str:
    return "Pillow" if font is None else hashlib.sha256(font.read_bytes()).hexdigest()


def _digest_of(handle: Any) -> tuple[str, int]:
    handle.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := handle.read(_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


class _Progress:
    """Logs a line each 10 %."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = _LOG_STEP

    def __call__(self, share: float) -> None:
        if share + 1e-9 < self.next:
            return
        log.info("%s: %d %% done.", self.name, round(share * 100))
        while self.next <= share + 1e-9:
            self.next += _LOG_STEP
