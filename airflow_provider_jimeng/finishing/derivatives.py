# SPDX-License-Identifier: Apache-2.0
"""Makes the derivatives of saved videos beside them, each once, and each with a manifest of its own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import LandingError, MissingLabelError, ParameterError
from airflow_provider_jimeng.core.mp4 import inspect_mp4, read_label
from airflow_provider_jimeng.core.output_path import check_lengths
from airflow_provider_jimeng.core.texts import without_queries
from airflow_provider_jimeng.finishing.files import (
    POSTER_ENDINGS,
    PREVIEW_ENDING,
    TRACK_ENDING,
    Derivative,
    Original,
    read_originals,
)
from airflow_provider_jimeng.finishing.pictures import draw_label, draw_poster, draw_preview, find_font
from airflow_provider_jimeng.finishing.request import (
    DEFAULT_THREADS,
    FinishRequest,
    Poster,
    Preview,
    Rendition,
    read_threads,
)
from airflow_provider_jimeng.finishing.source import Source, check_track
from airflow_provider_jimeng.finishing.video import Film, encode, label_duration
from airflow_provider_jimeng.storage.atomic_file import sync

if TYPE_CHECKING:
    from os import PathLike

log = logging.getLogger(__name__)

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
    require_implicit: bool | str = False,
    output_conn_id: str | None = None,
    threads: int | str | None = DEFAULT_THREADS,
) -> list[dict[str, Any]]:
    """Make the derivatives of a saved video, or of several, beside it. Return their manifests.

    The original is never changed. A file that exists already, with the same recipe and source, is not made again.

    :param video: a manifest, the URI of a video, or a list of them.
    :param visible_label: true, a text, a dict, or a :class:`~.request.VisibleLabel`.
    :param poster: true, a dict, or a :class:`~.request.Poster`.
    :param preview: true, a dict, or a :class:`~.request.Preview`.
    :param renditions: a list of dicts or of :class:`~.request.Rendition`.
    :param concat: true, a dict, or a :class:`~.request.Concat`: all videos become one, beside the first.
    :param audio: the URI of a file with sound, a dict, or a :class:`~.request.Audio`.
    :param require_implicit: refuse a source without an implicit label.
    :param output_conn_id: Airflow connection of the storage.
    :param threads: number of threads for the decoder, and for the encoder.
    :raises ParameterError: an argument is wrong; nothing was made.
    :raises MissingLabelError: a source has no implicit label, and ``require_implicit`` is set.
    :raises LandingError: a file cannot be read or written, or differs from its manifest.
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
    count = read_threads(threads)
    originals = read_originals(video, output_conn_id)
    if request.concat and len(originals) < 2:
        raise ParameterError("concat", "needs at least two videos. Give a list of manifests or URIs.")
    with ExitStack() as stack:
        job = _Job(
            request=request,
            font=None if request.visible_label is None else find_font(request.visible_label),
            track=None
            if request.audio is None
            else Original.of("audio.uri", request.audio.uri, output_conn_id),
            threads=count,
            stack=stack,
        )
        once = {original.file.path: original for original in originals}.values()
        groups = [originals] if request.concat else [[original] for original in once]
        made = [job.derivatives_of(group) for group in groups]
        # Everything is checked before the first file is made.
        work = [
            step
            for group, derivatives in zip(groups, made, strict=True)
            for step in job.plan(group, derivatives)
        ]
        for step in work:
            step()
        return [each.manifest for derivatives in made for each in derivatives if each.manifest is not None]


@dataclass(slots=True, eq=False, kw_only=True)
class _Job:
    """One call of :func:`finish`."""

    request: FinishRequest
    font: Path | None
    track: Original | None
    threads: int
    stack: ExitStack

    def derivatives_of(self, originals: Sequence[Original]) -> list[Derivative]:
        """Return everything that is made of one video, or of one concatenation. Some files can exist already."""
        extras = [each for each in (self.request.poster, self.request.preview) if each is not None]
        derivatives = [self._derivative(originals, version) for version in (*self.request.versions, *extras)]
        paths = [original.file.path for original in originals]
        for each in derivatives:
            if each.file.path in paths:
                raise ParameterError("video", f"{each.file.uri} would be replaced by its own derivative.")
            check_lengths("video", each.file.protocol, each.file.path)
            each.find()
            if each.manifest is not None:
                log.info("%s is already made.", each.file.uri)
        return derivatives

    def plan(
        self, originals: Sequence[Original], derivatives: Sequence[Derivative]
    ) -> list[Callable[[], None]]:
        """Check what is not made yet, and return what makes it, step by step."""
        due = [each for each in derivatives if each.manifest is None]
        if not due and not self.request.require_implicit:
            return []
        sources = [Source.open(original.local(self.stack)) for original in originals]
        label = self._implicit_label(originals, sources)
        return [self._step(each, originals, sources, label) for each in due]

    def _derivative(self, originals: Sequence[Original], version: Rendition | Poster | Preview) -> Derivative:
        first = originals[0].file
        stem = first.name.removesuffix(".mp4") if self.request.concat is None else self.request.concat.name
        recipe = self.request.recipe_of(version)
        if recipe.get("visible_label"):
            recipe["visible_label"]["font"] = _fingerprint_of(self.font)
        if self.track is not None and isinstance(version, Rendition):
            recipe["audio"] |= {"uri": without_queries(self.track.file.uri), "sha256": self.track.sha256}
        return Derivative(
            file=first.beside(f"{stem}.{_ending(version)}"),
            track=first.beside(f"{stem}.{TRACK_ENDING}") if isinstance(version, Preview) else None,
            version=version,
            recipe=recipe,
            source=[{"uri": each.file.uri, "sha256": each.sha256} for each in originals],
        )

    def _implicit_label(self, originals: Sequence[Original], sources: Sequence[Source]) -> bytes | None:
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
            log.warning("%s has no implicit label (AIGC), so nothing of it is copied.", original.file.uri)
        labels = {source.label for source in sources if source.label is not None}
        if len(labels) > 1:
            raise ParameterError(
                "concat",
                f"the videos have {len(labels)} different implicit labels, and a file can have only one. Render them with "
                "the same aigc_meta, or finish them one by one.",
            )
        label = next(iter(labels), None)
        if label is not None and not _is_text(label):
            raise LandingError(
                f"The implicit label of {originals[0].file.uri} is not text, so it cannot be copied. Nothing was made."
            )
        return label

    def _step(
        self,
        derivative: Derivative,
        originals: Sequence[Original],
        sources: Sequence[Source],
        label: bytes | None,
    ) -> Callable[[], None]:
        """Check a derivative and return what makes it."""
        version, source = derivative.version, sources[0]
        if isinstance(version, Rendition):
            film = self._film(version, sources, label)
            make = self._video_maker(derivative, film, originals)
        elif isinstance(version, Poster):
            if version.at is not None and version.at >= source.seconds:
                raise ParameterError(
                    "poster.at",
                    f"is {version.at:g} s, and the video ends at {source.seconds:g} s. Give a smaller number.",
                )
            overlay = self._drawn_label(source.width, source.height)
            make = self._poster_maker(derivative, source, version, overlay)
        else:
            make = self._preview_maker(derivative, source, version)

        def step() -> None:
            make()
            log.info("Made %s.", derivative.file.uri)

        return step

    def _film(self, rendition: Rendition, sources: Sequence[Source], label: bytes | None) -> Film:
        width, height = rendition.picture_size(sources[0].width, sources[0].height)
        fade = self.request.concat.cross_fade if self.request.concat else 0.0
        shortest = min(source.seconds for source in sources)
        if fade >= shortest:
            raise ParameterError(
                "concat.cross_fade",
                f"is {fade:g} s, and the shortest video has {shortest:g} s. Give a smaller number.",
            )
        if len(sources) > 1 and any(source.has_audio for source in sources) and self.track is None:
            log.warning("The sound of the videos is left out of the concatenation. Give audio for a track.")
        track = None if self.track is None else self.track.local(self.stack)
        if track is not None and self.request.audio is not None:
            check_track(track, self.request.audio)
        film = Film(
            sources=sources,
            rendition=rendition,
            width=width,
            height=height,
            cross_fade=fade,
            label=self._drawn_label(width, height),
            implicit_label=label,
            audio=self.request.audio,
            audio_file=track,
            threads=self.threads,
        )
        if self.request.visible_label is None:
            return film
        return replace(film, label_seconds=label_duration(self.request.visible_label, film.seconds))

    def _drawn_label(self, width: int, height: int) -> Any:
        if self.request.visible_label is None:
            return None
        return draw_label(self.request.visible_label, self.font, width, height)

    def _video_maker(
        self, derivative: Derivative, film: Film, originals: Sequence[Original]
    ) -> Callable[[], None]:
        def write(path: Path, handle: Any) -> dict[str, Any]:
            encode(film, path, _Progress(derivative.file.name))
            for original in originals:
                original.check_unchanged()
            facts = _facts_of(handle)
            written = read_label(handle)
            if written != film.implicit_label:
                raise LandingError(
                    f"The implicit label could not be written into {derivative.file.uri}: it is {written!r}."
                )
            sync(handle)
            return facts

        return lambda: derivative.make_video(write)

    def _poster_maker(
        self, derivative: Derivative, source: Source, poster: Poster, overlay: Any
    ) -> Callable[[], None]:
        def make() -> None:
            picture = draw_poster(source, poster, label=overlay, threads=self.threads)
            derivative.save(picture, f"image/{poster.format}")

        return make

    def _preview_maker(self, derivative: Derivative, source: Source, preview: Preview) -> Callable[[], None]:
        def make() -> None:
            sheet, track = draw_preview(source, preview, derivative.file.name, threads=self.threads)
            derivative.save(sheet, "image/jpeg", track=track)

        return make


def _ending(version: Rendition | Poster | Preview) -> str:
    if isinstance(version, Rendition):
        return f"{version.suffix}.mp4"
    return POSTER_ENDINGS[version.format] if isinstance(version, Poster) else PREVIEW_ENDING


def _is_text(label: bytes) -> bool:
    """Return whether FFmpeg can write a label as it is."""
    try:
        return bool(label) and "\0" not in label.decode()
    except UnicodeDecodeError:
        return False


def _fingerprint_of(font: Path | None) -> str:
    return "Pillow" if font is None else hashlib.sha256(font.read_bytes()).hexdigest()


def _facts_of(handle: Any) -> dict[str, Any]:
    """Return what a manifest says about a video file."""
    info = inspect_mp4(handle)
    handle.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := handle.read(_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return {
        "sha256": digest.hexdigest(),
        "bytes": size,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "frames": info.frames,
        "duration_seconds": info.duration_seconds,
        "aigc_label": info.aigc,
    }


class _Progress:
    """Logs a line for each 10 %."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = _LOG_STEP

    def __call__(self, share: float) -> None:
        if share + 1e-9 < self.next:
            return
        log.info("%s: %d %% done.", self.name, round(share * 100))
        while self.next <= share + 1e-9:
            self.next += _LOG_STEP
