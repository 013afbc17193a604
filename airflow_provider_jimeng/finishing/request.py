# SPDX-License-Identifier: Apache-2.0
"""The request of a finish: labels, poster, preview, renditions, concatenation and sound. It is checked once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass
from typing import Any, ClassVar, Self

from airflow_provider_jimeng.core.arguments import as_bool, is_absent, parse_text, read_whole, shown
from airflow_provider_jimeng.core.errors import ParameterError

DEFAULT_THREADS = 2
DEFAULT_TEXT = "AI生成"
MIN_OPENING_SECONDS = 2.0
MIN_TEXT_SIZE = 0.05
"""Limits of the visible label of a video: GB 45438-2025, section 5.4."""
MAX_TEXT_SIZE = 0.3
POSITIONS = ("top-left", "top", "top-right", "center", "bottom-left", "bottom", "bottom-right")
_RATIO = re.compile(r"([1-9]\d?):([1-9]\d?)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class _Part:
    """A part of the request that a DAG author writes as a dict, or as an object of the class."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def of(cls, argument: str, value: Any) -> Self | None:
        """Return the part that a value describes, ``None`` if it is absent or false.

        :param value: an object of this class, a dict of its fields, or true for all defaults. A template can have turned
            the dict into text.
        :raises ParameterError: the message names the argument, the limit and the remedy.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value.strip().startswith("{"):
            try:
                value = parse_text(value)
            except ValueError as error:
                raise ParameterError(argument, f"{shown(value)} is not a dict: {error}.") from None
        if isinstance(value, Mapping):
            return cls._from(argument, value)
        if is_absent(value) or not as_bool(argument, value):
            return None
        return cls._from(argument, {})

    @classmethod
    def _from(cls, argument: str, values: Mapping[str, Any]) -> Self:
        known = list(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                raise ParameterError(f"{argument}.{name}", f"is not known. Known fields: {', '.join(known)}.")
        try:
            return cls(**{name: cls._read(name, value) for name, value in values.items()})
        except ParameterError as error:
            raise ParameterError(f"{argument}.{error.argument}", error.reason) from None

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        """Return the value of a field. A template can have turned a number into text."""
        kind = str(cls.__dataclass_fields__[name].type)
        if not isinstance(value, str) or ("str" in kind and value.strip() != "None"):
            return value
        try:
            return parse_text(value.strip().lower() if "bool" in kind else value)
        except ValueError:
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleLabel(_Part):
    """A text on the picture that says that the video is generated (GB 45438-2025, section 5.4).

    :param text: text of the label. Chinese characters need a font that has them.
    :param position: one of :data:`POSITIONS`.
    :param show: ``opening`` (the first ``seconds``) or ``throughout``.
    :param seconds: how long an opening label is shown, at least 2. A shorter video shows it throughout.
    :param size: height of the text as a share of the picture's shortest side, at least 0.05.
    :param font: path of a font file. The default is a font that has all characters.
    """

    text: str = DEFAULT_TEXT
    position: str = "bottom-right"
    show: str = "opening"
    seconds: float = MIN_OPENING_SECONDS
    size: float = MIN_TEXT_SIZE
    font: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip() or "\n" in self.text.strip():
            raise ParameterError("text", f"expected one line of text, got {shown(self.text)}.")
        _one_of("position", self.position, POSITIONS)
        _one_of("show", self.show, ("opening", "throughout"))
        _number("seconds", self.seconds, MIN_OPENING_SECONDS, 3600, "GB 45438-2025 asks for 2 seconds")
        _number(
            "size", self.size, MIN_TEXT_SIZE, MAX_TEXT_SIZE, "GB 45438-2025 asks for 5 % of the shortest side"
        )
        if self.font is not None and not isinstance(self.font, str):
            raise ParameterError("font", f"expected the path of a font file, got {shown(self.font)}.")

    @classmethod
    def of(cls, argument: str, value: Any) -> Self | None:
        """Return the label that a value describes; a plain text is the text of the label."""
        text = "" if is_absent(value) or not isinstance(value, str) else value.strip()
        if text and not text.startswith("{") and text.lower() not in ("true", "false"):
            return cls._from(argument, {"text": text})
        return super(VisibleLabel, cls).of(argument, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster(_Part):
    """One frame as a picture.

    :param at: seconds from the start. ``None`` uses the sharpest frame of the first second.
    :param format: ``jpeg`` or ``webp``.
    """

    at: float | None = None
    format: str = "jpeg"

    def __post_init__(self) -> None:
        if self.at is not None:
            _number("at", self.at, 0, 86_400, "seconds from the start")
        _one_of("format", self.format, ("jpeg", "webp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(_Part):
    """A sheet of small frames and a WebVTT track that names them, for scrubbing.

    :param seconds: time between two frames. It grows for a long video, so that a sheet has at most 100 frames.
    :param width: width of a frame in pixels.
    """

    seconds: float = 0.5
    width: int = 160

    def __post_init__(self) -> None:
        _number("seconds", self.seconds, 0.04, 3600, "time between two frames")
        _whole("width", self.width, 16, 640, "pixels of one frame")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition(_Part):
    """One version of the video.

    :param name: part of the file name, ``kite.<name>.mp4``. The default consists of ratio and size.
    :param aspect_ratio: such as ``9:16``; ``None`` keeps that of the source.
    :param size: shortest side in pixels. By default nothing is enlarged.
    :param fit: how a picture of another ratio is fitted: ``crop``, or ``blur`` for a blurred copy behind the whole picture.
    :param focus: the point that a crop keeps in the picture, as shares of width and height from the upper left.
    :param max_bitrate_kbps: limit of the bit rate of the picture. ``None`` sets no limit.
    :param crf: quality of H.264, 0 (best) to 51.
    :param preset: how long x264 searches for a smaller file, ``ultrafast`` to ``veryslow``.
    :param faststart: whether players can start before they have the whole file.
    """

    name: str | None = None
    aspect_ratio: str | None = None
    size: int | None = None
    fit: str = "crop"
    focus: tuple[float, float] = (0.5, 0.5)
    max_bitrate_kbps: int | None = None
    crf: int = 20
    preset: str = "medium"
    faststart: bool = True

    def __post_init__(self) -> None:
        if self.name is not None:
            _file_name(self.name)
        if self.aspect_ratio is not None and not (
            isinstance(self.aspect_ratio, str) and _RATIO.fullmatch(self.aspect_ratio)
        ):
            raise ParameterError(
                "aspect_ratio", f"expected a ratio such as 9:16, got {shown(self.aspect_ratio)}."
            )
        if self.size is not None:
            _whole("size", self.size, 64, 4320, "the shortest side in pixels")
        _one_of("fit", self.fit, ("crop", "blur"))
        focus = self.focus
        if not isinstance(focus, Sequence) or isinstance(focus, str) or len(focus) != len("xy"):
            raise ParameterError("focus", f"expected two shares such as [0.5, 0.3], got {shown(focus)}.")
        for share in focus:
            _number("focus", share, 0, 1, "a share of width or height")
        object.__setattr__(self, "focus", tuple(float(share) for share in focus))
        if self.max_bitrate_kbps is not None:
            _whole("max_bitrate_kbps", self.max_bitrate_kbps, 100, 200_000, "kilobits a second")
        _whole("crf", self.crf, 0, 51, "18 to 23 is usual")
        _one_of(
            "preset",
            self.preset,
            ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"),
        )
        if not isinstance(self.faststart, bool):
            raise ParameterError("faststart", f"expected true or false, got {shown(self.faststart)}.")

    @property
    def suffix(self) -> str:
        """The part of the file name that tells this rendition from others."""
        if self.name:
            return self.name
        parts = [self.aspect_ratio.replace(":", "x")] if self.aspect_ratio else []
        parts += [f"{self.size}p"] if self.size else []
        parts += ["blur"] if self.fit == "blur" else []
        return "-".join(parts) or "finished"

    def picture_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the finished picture in pixels, both even, from those of the source."""
        across, down = map(int, self.aspect_ratio.split(":")) if self.aspect_ratio else (width, height)
        if self.size:
            shortest: float = self.size
        elif self.fit == "blur":
            shortest = min(width, height)
        else:  # the largest window of the source
            scale = min(width / across, height / down)
            shortest = min(across, down) * scale
        scale = shortest / min(across, down)
        return _even(across * scale), _even(down * scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(_Part):
    """Joins several sources into one video.

    :param name: name of the file, without ``.mp4``.
    :param cross_fade: seconds in which a source fades into the next one. 0 is a cut.
    """

    name: str = "concat"
    cross_fade: float = 0.0

    def __post_init__(self) -> None:
        _file_name(self.name)
        _number("cross_fade", self.cross_fade, 0, 10, "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio(_Part):
    """A track of sound. A longer track than the video is cut. After a shorter track, there is silence.

    :param uri: file with the sound: MP3, WAV, AAC, FLAC, Ogg, or the sound of a video.
    :param start: seconds to leave out at the beginning of the track.
    :param fade_in: seconds at the beginning of the video.
    :param fade_out: seconds at the end of the video.
    :param volume: factor. 1 does not change the volume.
    """

    uri: str = ""
    start: float = 0.0
    fade_in: float = 0.0
    fade_out: float = 0.0
    volume: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.uri, str) or not self.uri.strip():
            raise ParameterError("uri", "is empty. Give the path or URI of a file with sound.")
        _number("start", self.start, 0, 86_400, "seconds")
        _number("fade_in", self.fade_in, 0, 600, "seconds")
        _number("fade_out", self.fade_out, 0, 600, "seconds")
        _number("volume", self.volume, 0, 10, "a factor")

    @classmethod
    def of(cls, argument: str, value: Any) -> Self | None:
        """Return the track that a value describes; a plain text is its path or URI."""
        if isinstance(value, str) and not is_absent(value) and not value.strip().startswith("{"):
            return cls._from(argument, {"uri": value.strip()})
        return super(Audio, cls).of(argument, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRequest:
    """Everything that is made of one video, or of several that are concatenated."""

    visible_label: VisibleLabel | None = None
    poster: Poster | None = None
    preview: Preview | None = None
    renditions: tuple[Rendition, ...] = ()
    concat: Concat | None = None
    audio: Audio | None = None
    require_implicit: bool = False

    @classmethod
    def of(
        cls,
        *,
        visible_label: Any = None,
        poster: Any = None,
        preview: Any = None,
        renditions: Any = None,
        concat: Any = None,
        audio: Any = None,
        require_implicit: Any = False,
        is_complete: bool = True,
    ) -> FinishRequest:
        """Return the request that the arguments describe, as templates leave them.

        :param is_complete: false if other arguments are not known yet.
        :raises ParameterError: an argument is wrong, or nothing is requested.
        """
        if isinstance(renditions, str) and not is_absent(renditions):
            try:
                renditions = parse_text(renditions)
            except ValueError as error:
                raise ParameterError("renditions", f"{shown(renditions)} is not a list: {error}.") from None
        if isinstance(renditions, Mapping | Rendition):
            renditions = [renditions]
        if renditions is not None and not isinstance(renditions, Sequence):
            raise ParameterError("renditions", f"expected a list of dicts, got {shown(renditions)}.")
        versions = [
            version
            for number, value in enumerate(renditions or ())
            if (version := Rendition.of(f"renditions[{number}]", value)) is not None
        ]
        request = cls(
            visible_label=VisibleLabel.of("visible_label", visible_label),
            poster=Poster.of("poster", poster),
            preview=Preview.of("preview", preview),
            renditions=tuple(versions),
            concat=Concat.of("concat", concat),
            audio=Audio.of("audio", audio),
            require_implicit=as_bool("require_implicit", require_implicit),
        )
        request._check(is_complete=is_complete)
        return request

    @property
    def versions(self) -> tuple[Rendition, ...]:
        """The videos to encode. For a label, a track or a concatenation without renditions, it is one of the source's size."""
        if self.renditions or not (self.visible_label or self.audio or self.concat):
            return self.renditions
        name = "labelled" if self.visible_label else "finished"
        return (Rendition(name=name),)

    def _check(self, *, is_complete: bool) -> None:
        if is_complete and not (self.versions or self.poster or self.preview):
            raise ParameterError(
                "visible_label",
                "nothing is requested. Give visible_label, poster, preview, renditions, concat or audio.",
            )
        names = [version.suffix for version in self.versions]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(
                    "renditions", f"two of them would be named {name!r}. Give each of them another name."
                )

    def recipe_of(self, version: Rendition | Poster | Preview) -> dict[str, Any]:
        """Return the recipe of a derivative as JSON. Equal recipes of equal sources give equal files."""
        recipe: dict[str, Any] = {type(version).__name__.lower(): asdict(version)}
        if isinstance(version, Rendition):
            recipe["rendition"]["focus"] = list(version.focus)
            recipe["audio"] = None if self.audio is None else asdict(self.audio)
        if not isinstance(version, Preview):
            recipe["visible_label"] = None if self.visible_label is None else asdict(self.visible_label)
        recipe["concat"] = None if self.concat is None else asdict(self.concat)
        return recipe


def read_threads(value: Any) -> int:
    """Return the number of threads.

    :raises ParameterError: it is not a whole number from 1 to 64.
    """
    return read_whole("threads", value, DEFAULT_THREADS, lowest=1, highest=64, remedy="2 suits most workers")


def _even(pixels: float) -> int:
    """Return a side that H.264 with halved colour can have."""
    return max(2, math.ceil(pixels / 2 - 0.5) * 2)


def _file_name(value: Any) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ParameterError("name", f"expected at most 40 letters, digits, - and _, got {shown(value)}.")


def _number(name: str, value: Any, lowest: float, highest: float, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise ParameterError(
            name, f"expected a number from {lowest:g} to {highest:g} ({remedy}), got {shown(value)}."
        )


def _whole(name: str, value: Any, lowest: int, highest: int, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ParameterError(
            name, f"expected a whole number from {lowest} to {highest} ({remedy}), got {shown(value)}."
        )


def _one_of(name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise ParameterError(name, f"expected one of {', '.join(known)}, got {shown(value)}.")
