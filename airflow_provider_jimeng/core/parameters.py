# SPDX-License-Identifier: Apache-2.0
"""The request of a render. Every argument is checked against the catalogue before anything is sent or paid."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import (
    CAMERA_WORDS,
    check_camera_model,
    check_camera_word,
    check_texts,
    is_absent,
    read_amount,
    read_aspect_ratio,
    read_duration,
    read_seed,
    read_take,
    read_text,
)
from airflow_provider_jimeng.core.catalogue import (
    ADVISED_PROMPT_LENGTH,
    AIGC_META_KEYS,
    AIGC_META_REQUIRED,
    DEFAULT_MODEL,
    FPS,
    MAX_AIGC_META_LENGTH,
    MODELS,
    REFUSED_ARGUMENTS,
    ModelSpec,
    find_model,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import (
    Frame,
    check_frame,
    check_same_ratio,
    link_warnings,
    nearest_aspect_ratio,
    orientation_warnings,
    predict_crop,
    read_frames,
)
from airflow_provider_jimeng.core.render import format_money

if TYPE_CHECKING:
    from decimal import Decimal
    from os import PathLike

_AT_LANDING = "it counts when the video is landed. Give it to JimengHook.download."
_WHILE_WAITING = "give it to JimengHook.wait_for_completion."
_OPERATORS_ONLY = "only the operators take it: the hook remembers nothing that it submitted."
ARGUMENTS_ELSEWHERE: Mapping[str, str] = {
    "max_cost_cny": "it is not a part of a request. Give it to JimengHook.submit.",
    "aigc_meta": "it counts when the video is landed. Give it to JimengHook.download, or set it in the connection's extra.",
    "require_tagged": _AT_LANDING,
    "output_path": _AT_LANDING,
    "output_conn_id": _AT_LANDING,
    "overwrite": _AT_LANDING,
    "poll_interval": _WHILE_WAITING,
    "wait_timeout": _WHILE_WAITING,
    "jimeng_conn_id": "give it to JimengHook itself.",
    "on_rerun": _OPERATORS_ONLY,
    "on_unknown_submit": _OPERATORS_ONLY,
    "on_lost": _OPERATORS_ONLY,
    "on_difference": "only the operators take it. The manifest of JimengHook.download has the differences.",
    "reuse": _OPERATORS_ONLY,
    "max_wait_for_slot": "only the operators wait for a slot.",
    "deferrable": "only operators and sensors defer.",
}
"""Arguments of the submitting operators that are not a part of the request, with what takes them instead."""
_ARGUMENTS_OF_OURS = (
    "model",
    "duration",
    "first_frame",
    "last_frame",
    "camera_template",
    "take",
    *ARGUMENTS_ELSEWHERE,
)
"""The API knows no field of these names, and ignores fields that it does not know."""
_REFUSED_IN_BODY: Mapping[str, str] = {
    **dict.fromkeys(
        _ARGUMENTS_OF_OURS, "it is an argument, and the API would ignore it. Give it beside extra_body."
    ),
    **REFUSED_ARGUMENTS,
    "req_key": "choose the model by the argument model.",
    "req_json": "it belongs to queries, never to a submit. For the label give aigc_meta.",
}


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """A checked request. ``duration`` is in seconds; a ``seed`` of −1 is random; ``take`` is the version number."""

    spec: ModelSpec
    prompt: str
    duration: int
    aspect_ratio: str | None = None
    seed: int = -1
    first_frame: Frame | None = None
    last_frame: Frame | None = None
    camera_template: str | None = None
    camera_strength: str | None = None
    take: int = 1
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    estimated_cost: Decimal | None = field(init=False, compare=False)
    """The price in CNY of a successful render; ``None`` if it is unknown."""

    def __post_init__(self) -> None:
        price = self.spec.price_cny_per_second
        cost = None if price is None else price * self.duration
        object.__setattr__(self, "estimated_cost", cost)  # The class is frozen.

    @classmethod
    def build(
        cls,
        *,
        prompt: str | None = None,
        model: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        catalogue: Mapping[str, ModelSpec] = MODELS,
        **others: Any,
    ) -> RenderRequest:
        """Check every argument and return the request. Image files are opened later.

        Templates can leave text in place of a number, and a blank or ``"None"`` in place of an absent value.

        :raises ParameterError: an argument is wrong. The message names it, the limit and the remedy.
        """
        if others:
            refuse_arguments(others)
        spec = find_model(DEFAULT_MODEL if is_absent(model) else model, catalogue)
        first = last = None
        if spec.max_images or not (is_absent(first_frame) and is_absent(last_frame)):
            first, last = read_frames(spec, first_frame, last_frame)
        text = read_text("prompt", prompt, visible=True) or ""
        warnings = _check_prompt(spec, text, first)
        template, strength = _read_camera(spec, camera_template, camera_strength)
        extra, extra_warnings = read_extra_body(extra_body)
        return cls(
            spec=spec,
            prompt=text,
            duration=read_duration(spec, duration),
            aspect_ratio=read_aspect_ratio(spec, aspect_ratio, has_frame=first is not None),
            seed=read_seed(seed),
            take=read_take(take),
            first_frame=first,
            last_frame=last,
            camera_template=template,
            camera_strength=strength,
            extra_body=extra,
            warnings=(*warnings, *extra_warnings, *(link_warnings(first, last) if first else ())),
        )

    @property
    def frames_to_open(self) -> dict[str, Frame]:
        """The image files whose bytes are not read yet, by argument."""
        named = {"first_frame": self.first_frame, "last_frame": self.last_frame}
        return {name: f for name, f in named.items() if f is not None and not f.is_link and f.data is None}

    def with_frames(self, opened: Mapping[str, Frame]) -> RenderRequest:
        """Check opened image files and return the request with them. A warning is added if the API will crop one."""
        for argument, frame in opened.items():
            check_frame(argument, frame)
        first, last = opened.get("first_frame", self.first_frame), opened.get("last_frame", self.last_frame)
        if first is not None and last is not None:
            check_same_ratio(first, last)
        return replace(
            self,
            first_frame=first,
            last_frame=last,
            warnings=(*self.warnings, *orientation_warnings(opened), *_crop_warning(self.spec, first)),
        )

    def as_take(self, take: int) -> RenderRequest:
        """Return the same request with another version number."""
        return replace(self, take=take)

    def body(self) -> dict[str, Any]:
        """Return the JSON object that a submit sends (docs 85621, the page on each model)."""
        body: dict[str, Any] = {"req_key": self.spec.req_key}
        if self.prompt:
            body["prompt"] = self.prompt
        body["seed"] = self.seed
        if self.spec.takes_frames:
            body["frames"] = self.duration * FPS + 1
        if self.aspect_ratio is not None:
            body["aspect_ratio"] = self.aspect_ratio
        images = [frame for frame in (self.first_frame, self.last_frame) if frame is not None]
        if images and images[0].is_link:
            body["image_urls"] = [frame.reference for frame in images]
        elif images:
            body["binary_data_base64"] = [base64.b64encode(_bytes_of(frame)).decode() for frame in images]
        if self.camera_template is not None:
            body["template_id"] = self.camera_template
            body["camera_strength"] = self.camera_strength
        return {**body, **self.extra_body}

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of all that decides what the video shows. Account and place do not count."""
        # It is kept, because an image of 4.7 MB takes a while to hash.
        images = [frame.identity() for frame in (self.first_frame, self.last_frame) if frame is not None]
        parts = {
            "req_key": self.spec.req_key,
            "prompt": self.prompt,
            "frames": self.duration * FPS + 1,
            "aspect_ratio": self.aspect_ratio,
            "seed": self.seed,
            "camera": [self.camera_template, self.camera_strength],
            "take": self.take,
            "extra_body": dict(self.extra_body),
            "images": images,
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return what an intent keeps of its request: enough to find the render in the vendor's console."""
        return {
            "model": self.spec.name,
            "req_key": self.spec.req_key,
            "prompt": self.prompt,
            "seed": self.seed,
            "duration": self.duration,
            "aspect_ratio": self.aspect_ratio,
            "take": self.take,
            "estimated_cost_cny": format_money(self.estimated_cost),
        }


def _check_prompt(spec: ModelSpec, text: str, first: Frame | None) -> list[str]:
    """Check the prompt, which is empty if the video needs none, and return the warnings about it."""
    if not text and (spec.prompt_required or first is None):
        other = "" if spec.prompt_required else " or a first_frame"
        raise ParameterError("prompt", f"is empty; {spec.name} needs a prompt{other}.")
    if len(text) > spec.prompt_max:
        raise ParameterError(
            "prompt", f"has {len(text)} characters; {spec.name} takes at most {spec.prompt_max}. Shorten it."
        )
    if len(text) > ADVISED_PROMPT_LENGTH:
        return [f"prompt has {len(text)} characters; the vendor advises at most {ADVISED_PROMPT_LENGTH}."]
    return []


def _read_camera(spec: ModelSpec, template: Any, strength: Any) -> tuple[str | None, str | None]:
    """Return camera movement and strength. A model that takes them needs both."""
    if template is None and strength is None and not spec.camera:
        return None, None
    chosen = [None if is_absent(value) else str(value).strip() for value in (template, strength)]
    for (argument, takes), value in zip(CAMERA_WORDS.items(), chosen, strict=True):
        if value is None and spec.camera:
            raise ParameterError(argument, f"is missing; {spec.name} needs one of {', '.join(takes)}.")
        if value is not None:
            check_camera_model(spec, argument)
            check_camera_word(argument, value, spec.name)
    return chosen[0], chosen[1]


def refuse_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse names that are not arguments of a request. The error names the argument or method to use instead."""
    for name in arguments:
        remedy = REFUSED_ARGUMENTS.get(name) or ARGUMENTS_ELSEWHERE.get(name)
        if remedy is not None:
            raise ParameterError(name, f"is refused: {remedy}")
        raise ParameterError(
            name, "is not an argument of a render. Put new fields of the vendor into extra_body."
        )


def check_aigc_meta(meta: Any) -> dict[str, str] | None:
    """Return the checked implicit label of GB 45438-2025; ``producer_id`` and ``content_propagator`` are required."""
    if not meta:
        return None
    if not isinstance(meta, Mapping):
        raise ParameterError("aigc_meta", f"expected a dict with {', '.join(AIGC_META_KEYS)}, got {meta!r}.")
    label: dict[str, str] = {}
    for key, value in meta.items():
        if key not in AIGC_META_KEYS:
            raise ParameterError("aigc_meta", f"{key!r} is unknown; it takes {', '.join(AIGC_META_KEYS)}.")
        text = read_text(f"aigc_meta.{key}", value)
        if text is not None:
            label[key] = text
        if len(text or "") > MAX_AIGC_META_LENGTH:
            raise ParameterError(
                "aigc_meta", f"{key!r} must be text of at most {MAX_AIGC_META_LENGTH} characters."
            )
    for key in AIGC_META_REQUIRED:
        if key not in label:
            raise ParameterError(
                "aigc_meta", f"{key!r} is required for a video; add it, or leave aigc_meta out."
            )
    return label


def check_cost(request: RenderRequest, max_cost_cny: Any) -> None:
    """Refuse a request whose estimated cost is over the cap, or unknown."""
    if is_absent(max_cost_cny):
        return
    cap = read_amount("max_cost_cny", max_cost_cny)
    cost = request.estimated_cost
    if cost is None:
        raise ParameterError(
            "max_cost_cny",
            f"the price of {request.spec.name} is unknown, so the cap cannot be checked. "
            "Set it in the connection extra under prices, or remove the cap.",
        )
    if cost > cap:
        raise ParameterError(
            "max_cost_cny",
            f"the render costs about {cost} CNY, over the cap of {cap}. Raise the cap or shorten it.",
        )


def _bytes_of(frame: Frame) -> bytes:
    if frame.data is None:
        raise ValueError(f"the image {frame.reference!r} was not opened")
    return frame.data


def read_extra_body(extra_body: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the fields to merge into the body, and the warnings about them."""
    if not extra_body or is_absent(extra_body):
        return {}, []
    if not isinstance(extra_body, Mapping):
        raise ParameterError(
            "extra_body", f"expected a dict of body fields, got {type(extra_body).__name__}."
        )
    for name, remedy in _REFUSED_IN_BODY.items():
        if name in extra_body:
            raise ParameterError("extra_body", f"{name!r} is refused: {remedy}")
    try:
        extra = json.loads(json.dumps(dict(extra_body), allow_nan=False, ensure_ascii=False).encode())
        check_texts("extra_body", extra)
    except ParameterError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError("extra_body", f"is not JSON: {error}.") from None
    return extra, [
        f"extra_body sends {', '.join(map(str, extra))} unchecked: the API can ignore or refuse it."
    ]


def _crop_warning(spec: ModelSpec, first: Frame | None) -> list[str]:
    """Return a warning of the centre crop, which is documented for the models that choose the nearest ratio."""
    if first is None or not first.width or not first.height or not spec.aspect_ratios or spec.min_images:
        return []
    ratio = nearest_aspect_ratio(first.width, first.height, spec.aspect_ratios)
    width, height = predict_crop(first.width, first.height, ratio)
    lost = 1 - (width * height) / (first.width * first.height)
    if (width, height) == (first.width, first.height):
        return []
    size = f"{first.width}×{first.height}"
    return [
        f"first_frame of {size} will be cropped in the centre to {width}×{height} for {ratio}: {lost:.1%} is cut."
    ]
