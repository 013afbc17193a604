"""What a model takes: each argument of a render against the model's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent, read_reference, read_whole
from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    MAX_SEED,
    MODELS,
    ModelSpec,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import Frame

CAMERA_WORDS: Mapping[str, tuple[str, ...]] = {
    "camera_template": CAMERA_TEMPLATES,
    "camera_strength": CAMERA_STRENGTHS,
}
LONGEST_DURATION = 3600
"""More seconds than any record of a model can name."""


def read_seed(seed: Any) -> int:
    """Return the seed; -1, the default, draws one."""
    return read_whole("seed", seed, -1, lowest=-1, highest=MAX_SEED, remedy="-1 draws a random seed")


def read_take(take: Any) -> int:
    """Return the number of the take."""
    return read_whole("take", take, 1, lowest=1, highest=MAX_SEED, remedy="takes are numbered from 1")


def read_duration(spec: ModelSpec, duration: Any) -> int:
    """Return the seconds of the video; by default the first that the model offers."""
    takes = " or ".join(map(str, spec.durations))
    number = read_whole(
        "duration",
        duration,
        spec.durations[0],
        lowest=1,
        highest=LONGEST_DURATION,
        remedy=f"{spec.name} takes {takes} seconds",
    )
    if number not in spec.durations:
        raise ParameterError("duration", f"{number} is refused: {spec.name} renders {takes} seconds.")
    return number


def read_aspect_ratio(spec: ModelSpec, aspect_ratio: Any, first: Frame | None) -> str | None:
    """Return the ratio to send, ``None`` if the video follows its first frame."""
    given = None if is_absent(aspect_ratio) else str(aspect_ratio).strip()
    if not spec.aspect_ratios:
        if given is not None:
            raise ParameterError(
                "aspect_ratio", f"{spec.name} takes none: the video follows its first frame. Leave it out."
            )
        return None
    if first is not None and spec.min_images == 0:
        if given is not None:
            raise ParameterError(
                "aspect_ratio",
                f"{spec.name} ignores it when there is a first_frame: the listed ratio nearest to the image is "
                "used. Leave it out, or crop the image.",
            )
        return None
    if given is None:
        return spec.aspect_ratios[0]
    ratio = given.replace("：", ":")
    if ratio not in spec.aspect_ratios:
        raise ParameterError(
            "aspect_ratio", f"{given!r} is refused: {spec.name} takes {', '.join(spec.aspect_ratios)}."
        )
    return ratio


def read_frames(spec: ModelSpec, first_frame: Any, last_frame: Any) -> tuple[Frame | None, Frame | None]:
    """Return the first and the last frame; the images are opened later."""
    first, last = _read_frame("first_frame", first_frame), _read_frame("last_frame", last_frame)
    check_frames(spec, first, last)
    if first is None and (spec.min_images >= 1 or last is not None):
        raise ParameterError("first_frame", f"is missing; {spec.name} renders from {spec.inputs}.")
    if last is None and spec.min_images >= 2:
        raise ParameterError("last_frame", f"is missing; {spec.name} renders from {spec.inputs}.")
    return first, last


def check_frames(spec: ModelSpec, first: Frame | None, last: Frame | None) -> None:
    """Refuse frames that the model does not take; one that is missing is not looked for."""
    if first is not None and spec.max_images < 1:
        raise ParameterError("first_frame", f"{spec.name} takes no image; it renders from {spec.inputs}.")
    if last is not None and spec.max_images < 2:
        others = ", ".join(other.name for other in MODELS.values() if other.max_images >= 2)
        raise ParameterError("last_frame", f"{spec.name} takes no last frame. These do: {others}.")
    if first is not None and last is not None and first.is_link != last.is_link:
        raise ParameterError(
            "last_frame", "the API takes both frames as links or both as files. Give both in the same way."
        )


def _read_frame(argument: str, value: Any) -> Frame | None:
    reference = read_reference(argument, value)
    return None if reference is None else Frame(reference=reference)


def read_camera(spec: ModelSpec, template: Any, strength: Any) -> tuple[str | None, str | None]:
    """Return camera movement and strength; a model that takes them needs both."""
    chosen = [None if is_absent(value) else str(value).strip() for value in (template, strength)]
    for (argument, takes), value in zip(CAMERA_WORDS.items(), chosen, strict=True):
        if value is None and spec.camera:
            raise ParameterError(argument, f"is missing; {spec.name} needs one of {', '.join(takes)}.")
        if value is not None:
            check_camera_model(spec, argument)
            check_camera_word(argument, value, spec.name)
    return chosen[0], chosen[1]


def check_camera_model(spec: ModelSpec, argument: str) -> None:
    """Refuse a camera movement for a model that takes none."""
    if not spec.camera:
        others = ", ".join(other.name for other in MODELS.values() if other.camera)
        raise ParameterError(
            argument, f"{spec.name} takes none. Leave it out, or choose a model that does: {others}."
        )


def check_camera_word(argument: str, value: str, taker: str = "it") -> None:
    """Refuse a camera movement or strength that the API does not know."""
    takes = CAMERA_WORDS[argument]
    if value not in takes:
        raise ParameterError(argument, f"{value!r} is refused: {taker} takes {', '.join(takes)}.")
