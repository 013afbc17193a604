# SPDX-License-Identifier: Apache-2.0
"""The ten video models: keys, parameters, limits, prices, output sizes. A connection can change each of these facts.

The facts come from the public product documents (library 85621; each record names its page). Uncertain facts are data
here and not checks in the code, so that users need no new version when the vendor changes something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import ParameterError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable


FPS = 24
"""Frames per second of every model (docs 85621/1777001)."""
RETENTION_SECONDS = 12 * 3600
"""How long the API answers for a task, by its status text. The FAQ says 24 h; the shorter time is safe."""
LINK_SECONDS = 3600
"""How long a link to a video works. Each query returns a new link."""
TYPICAL_RENDER_SECONDS = (60.0, 300.0)
"""A render typically takes 1 to 5 minutes, up to 10 (confidence M)."""

MAX_SEED = 2_147_483_647
"""The highest seed that known clients use. The vendor does not publish a limit."""
ADVISED_PROMPT_LENGTH = 400
MAX_IMAGE_BYTES = 4_700_000
"""The vendor says 4.7 MB for each image. Decimal megabytes are the stricter reading."""
MAX_IMAGE_SIDE = 4096
MIN_IMAGE_SIDE = 320
MAX_IMAGE_RATIO = 3
IMAGE_FORMATS = ("JPEG", "PNG")
AIGC_META_KEYS = ("content_producer", "producer_id", "content_propagator", "propagate_id")
AIGC_META_REQUIRED = ("producer_id", "content_propagator")
MAX_AIGC_META_LENGTH = 256

CAMERA_STRENGTHS = ("weak", "medium", "strong")
CAMERA_TEMPLATES = (
    "hitchcock_dolly_in",
    "hitchcock_dolly_out",
    "robo_arm",
    "dynamic_orbit",
    "central_orbit",
    "crane_push",
    "quick_pull_back",
    "counterclockwise_swivel",
    "clockwise_swivel",
    "handheld",
    "rapid_push_pull",
)

_RATIOS_V30 = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")
_SIZES_1080P = {
    "21:9": (2176, 928), "16:9": (1920, 1088), "4:3": (1664, 1248),
    "1:1": (1440, 1440), "3:4": (1248, 1664), "9:16": (1088, 1920),
}  # fmt: skip
_SIZES_720P = {
    "21:9": (1504, 640), "16:9": (1248, 704), "4:3": (1120, 832),
    "1:1": (960, 960), "3:4": (832, 1120), "9:16": (704, 1248),
}  # fmt: skip
_SIZES_S2 = {
    "21:9": (1680, 720), "16:9": (1280, 720), "4:3": (960, 720),
    "1:1": (960, 960), "3:4": (720, 960), "9:16": (720, 1280),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One video model.

    ``aspect_ratios`` is empty for a model whose ratio follows its first frame. ``sizes`` maps a ratio to
    (width, height) in pixels. It is a prediction: no video is refused by it. ``price_cny_per_second`` is per second of
    requested duration; ``None`` means unknown, never free.
    """

    name: str
    req_key: str
    title: str
    doc_page: str | None = None
    prompt_max: int = 800
    prompt_required: bool = True
    durations: tuple[int, ...] = (5, 10)
    takes_frames: bool = True
    aspect_ratios: tuple[str, ...] = ()
    min_images: int = 0
    max_images: int = 0
    camera: bool = False
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sizes_confidence: str = "L"
    price_cny_per_second: Decimal | None = None
    price_confidence: str = "M-H"
    note: str = ""

    def to_payload(self) -> dict[str, Any]:
        """Return what users want to know of the model, except its price, as plain JSON data."""
        return {
            "name": self.name,
            "req_key": self.req_key,
            "title": self.title,
            "inputs": self.inputs,
            "durations": list(self.durations),
            "aspect_ratios": list(self.aspect_ratios),
            "prompt_max": self.prompt_max,
            "prompt_required": self.prompt_required,
            "min_images": self.min_images,
            "max_images": self.max_images,
            "camera": self.camera,
            "note": self.note,
        }

    @property
    def inputs(self) -> str:
        """What the model renders from, in words: ``text``, ``text + 1 image``, ``text and/or 1 image``, ``text + 2 images``."""
        if not self.max_images:
            return "text"
        images = "1 image" if self.max_images == 1 else f"{self.max_images} images"
        return f"text {'+' if self.min_images else 'and/or'} {images}"


_FAMILY_720P: dict[str, Any] = {"sizes": _SIZES_720P, "price_cny_per_second": Decimal("0.28")}
_FAMILY_1080P: dict[str, Any] = {
    "sizes": _SIZES_1080P,
    "sizes_confidence": "M-L",
    "price_cny_per_second": Decimal("0.63"),
}
_FAMILY_S2: dict[str, Any] = {
    "prompt_max": 150,
    "durations": (5,),
    "takes_frames": False,
    "aspect_ratios": ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9"),
    "sizes": _SIZES_S2,
    "sizes_confidence": "H",
    "price_cny_per_second": Decimal("0.65"),
    "price_confidence": "L",
    "note": "the vendor is withdrawing it (confidence M)",
}


_ONE_IMAGE: dict[str, Any] = {"min_images": 1, "max_images": 1}
_TWO_IMAGES: dict[str, Any] = {"min_images": 2, "max_images": 2}
_MODELS = (
    ModelSpec(name="t2v_720p", req_key="jimeng_t2v_v30", title="3.0 720P text to video",
              doc_page="1792704", aspect_ratios=_RATIOS_V30, **_FAMILY_720P),
    ModelSpec(name="i2v_first_720p", req_key="jimeng_i2v_first_v30", title="3.0 720P first frame to video",
              doc_page="1785204", **_ONE_IMAGE, **_FAMILY_720P),
    ModelSpec(name="i2v_first_tail_720p", req_key="jimeng_i2v_first_tail_v30",
              title="3.0 720P first and last frame to video", doc_page="1791184", **_TWO_IMAGES, **_FAMILY_720P),
    ModelSpec(name="i2v_recamera_720p", req_key="jimeng_i2v_recamera_v30",
              title="3.0 720P camera movement from an image", doc_page="1785201", camera=True, note="there is no 1080P version",
              **_ONE_IMAGE, **_FAMILY_720P),
    ModelSpec(name="t2v_1080p", req_key="jimeng_t2v_v30_1080p", title="3.0 1080P text to video",
              aspect_ratios=_RATIOS_V30, note="key ends in p", **_FAMILY_1080P),
    ModelSpec(name="i2v_first_1080p", req_key="jimeng_i2v_first_v30_1080", title="3.0 1080P first frame to video",
              note="key without p", **_ONE_IMAGE, **_FAMILY_1080P),
    ModelSpec(name="i2v_first_tail_1080p", req_key="jimeng_i2v_first_tail_v30_1080",
              title="3.0 1080P first and last frame to video", doc_page="1802721", note="key without p",
              **_TWO_IMAGES, **_FAMILY_1080P),
    ModelSpec(name="ti2v_pro", req_key="jimeng_ti2v_v30_pro", title="3.0 Pro text or first frame to video",
              doc_page="1777001", prompt_required=False, aspect_ratios=_RATIOS_V30, max_images=1, sizes=_SIZES_1080P,
              sizes_confidence="H", price_cny_per_second=Decimal("1.00"),
              note="with an image, the listed ratio nearest to it is used"),
    ModelSpec(name="t2v_s2_pro", req_key="jimeng_vgfm_t2v_l20", title="S2.0 Pro text to video",
              doc_page="1538636", **_FAMILY_S2),
    ModelSpec(name="i2v_s2_pro", req_key="jimeng_vgfm_i2v_l20", title="S2.0 Pro image to video",
              doc_page="1544774", **_ONE_IMAGE, **_FAMILY_S2),
)  # fmt: skip
MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _MODELS})
DEFAULT_MODEL = "t2v_720p"
VENDOR_PREFIX = "jimeng_"
"""The beginning of every key of the vendor."""

WRONG_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "jimeng_t2v_v30_pro": "jimeng_ti2v_v30_pro",
        "jimeng_t2v_v30_720p": "jimeng_t2v_v30",
        "jimeng_i2v_first_v30_1080p": "jimeng_i2v_first_v30_1080",
        "jimeng_i2v_first_tail_v30_1080p": "jimeng_i2v_first_tail_v30_1080",
        "jimeng_i2v_first_frame": "jimeng_i2v_first_v30",
        "jimeng_v30": "jimeng_t2v_v30",
        "jimeng_v30_1080p": "jimeng_t2v_v30_1080p",
        "jimeng_v30_pro": "jimeng_ti2v_v30_pro",
    }
)
"""Keys that tutorials, clients and one gateway use but the API does not know, with the right ones."""

REFUSED_ARGUMENTS: Mapping[str, str] = {
    "fps": f"the API does not take a frame rate: every model renders {FPS} frames a second. Leave it out.",
    "frames": "give duration instead: 5 or 10 seconds (121 or 241 frames).",
    "image_urls": "give first_frame, and last_frame to a model that takes two images.",
    "image_url": "give first_frame.",
    "binary_data_base64": "give first_frame as the path of the file, and last_frame to a model that takes two images.",
    "template_id": "give camera_template.",
    "resolution": "the model decides it: choose one whose name ends in 720p or 1080p.",
}
"""Arguments that tutorials and other clients use but do not exist, with what to do instead."""

OTHER_PRODUCTS: Mapping[str, str] = MappingProxyType(
    {
        "jimeng_motion_imitation_v2": "action imitation, whose key is jimeng_dreamactor_m20_gen_video",
        "jimeng_dream_actor_m1_gen_video_cv": "action imitation 1.0",
        "jimeng_dreamactor_m20_gen_video": "action imitation 2.0",
        "video_translate_v2_cvtob": "video translation",
        "jimeng_realman_avatar_picture_omni_v2": "OmniHuman 1.0",
        "jimeng_realman_avatar_picture_omni_v15": "OmniHuman 1.5",
    }
)
"""Keys of products that this provider does not cover, so that the error can name the product."""


def find_model(model: Any, catalogue: Mapping[str, ModelSpec] = MODELS) -> ModelSpec:
    """Return the record of a short name or a ``req_key``.

    :raises ParameterError: it is neither. The message names the right key, if it is known.
    """
    if not isinstance(model, str) or not model.strip():
        raise ParameterError(
            "model", f"expected a model name, got {model!r}. Known models: {', '.join(catalogue)}."
        )
    wanted = model.strip()
    if wanted in catalogue:
        return catalogue[wanted]
    for spec in catalogue.values():
        if spec.req_key == wanted:
            return spec
    if wanted in WRONG_KEYS:
        right = WRONG_KEYS[wanted]
        name = next((spec.name for spec in catalogue.values() if spec.req_key == right), right)
        raise ParameterError(
            "model",
            f"{wanted!r} is in use, but the API does not know it. Use {right!r} (short name {name!r}).",
        )
    if wanted in OTHER_PRODUCTS:
        raise ParameterError(
            "model",
            f"{wanted!r} belongs to {OTHER_PRODUCTS[wanted]}, a product that this provider does not cover.",
        )
    raise ParameterError(
        "model",
        f"{wanted!r} is unknown. Known models: {', '.join(catalogue)}. A new key of the vendor can be "
        'described in the connection extra, e.g. {"models": {"' + wanted + '": {"like": "t2v_720p"}}}.',
    )


def merged_catalogue(
    models: Mapping[str, Any] | None = None, prices: Mapping[str, Any] | None = None
) -> Mapping[str, ModelSpec]:
    """Return the catalogue with the changes of a connection: its ``models`` and ``prices``.

    :param models: records by short name or ``req_key``; a new key needs ``like``, the model it resembles.
    :param prices: CNY per second by short name or ``req_key``; ``None`` makes a price unknown.
    :raises SettingsError: a field is wrong. The message names the record, the field and what it takes.
    """
    merged = dict(MODELS)
    for key, record in (models or {}).items():
        name, spec = _merge_record(key, record, merged)
        merged[name] = spec
    for key, price in (prices or {}).items():
        known = _existing(key, merged)
        if known is None:
            raise SettingsError(
                f"extra.prices: {key!r} is not a known model. Known models: {', '.join(merged)}."
            )
        merged[known] = replace(merged[known], price_cny_per_second=read_price(f"prices.{key}", price))
    return MappingProxyType(merged)


def _existing(key: str, catalogue: Mapping[str, ModelSpec]) -> str | None:
    if key in catalogue:
        return key
    return next((name for name, spec in catalogue.items() if spec.req_key == key), None)


def _merge_record(key: str, record: Any, catalogue: Mapping[str, ModelSpec]) -> tuple[str, ModelSpec]:
    where = f"extra.models.{key}"
    if not isinstance(record, Mapping):
        raise SettingsError(
            f"{where}: expected an object with fields of a model, got {type(record).__name__}."
        )
    values = dict(record)
    like = values.pop("like", None)
    name = _existing(key, catalogue)
    base_name = _existing(str(like), catalogue) if like is not None else name
    if base_name is None:
        raise SettingsError(
            f'{where}: a new model needs "like", the known model it resembles. Known models: {", ".join(catalogue)}.'
        )
    allowed = {f.name for f in fields(ModelSpec)} - {"name"}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise SettingsError(
            f"{where}: unknown field {', '.join(unknown)}. A record takes {', '.join(sorted(allowed))}."
        )
    changes = {
        field_name: read_field(f"models.{key}.{field_name}", field_name, v)
        for field_name, v in values.items()
    }
    if name is None:
        changes = {"req_key": key, "title": key, **changes, "name": key}
    elif like is not None:
        changes = {"name": name, "req_key": catalogue[name].req_key, **changes}
    spec = replace(catalogue[base_name], **changes)
    if spec.min_images > spec.max_images:
        raise SettingsError(
            f"{where}: min_images {spec.min_images} is more than max_images {spec.max_images}."
        )
    return spec.name, spec


RATIO = re.compile(r"([1-9]\d*):([1-9]\d*)", re.ASCII)
"""How a ratio is written, such as ``16:9``."""
_WHOLE_FIELDS = {"prompt_max": (1, 100_000), "min_images": (0, 2), "max_images": (0, 2)}
"""The lowest and the highest value. A request has a first and a last frame, so two images are the most."""
_TRUTH_FIELDS = ("prompt_required", "takes_frames", "camera")


def read_field(where: str, name: str, value: Any) -> Any:
    """Return the value of one field of a connection's record, in the type of :class:`ModelSpec`.

    :param where: the name of the field in an error, e.g. ``models.t2v_720p.durations``.
    :raises SettingsError: it is wrong. The message names the field and what it takes.
    """
    if name == "price_cny_per_second":
        return read_price(where, value)
    good, expected = _judge(name, value)
    if not good:
        raise SettingsError(f"extra.{where}: expected {expected}, got {value!r}.")
    if name == "sizes":
        return {ratio: (size[0], size[1]) for ratio, size in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _judge(name: str, value: Any) -> tuple[bool, str]:
    if name == "durations":
        good = _is_list(value, lambda seconds: _is_whole(seconds, 1, 3600)) and bool(value)
        return good, "a list of whole seconds such as [5, 10]"
    if name == "aspect_ratios":
        return _is_list(value, is_ratio), 'a list such as ["16:9", "1:1"]'
    if name == "sizes":
        good = isinstance(value, Mapping) and all(is_ratio(k) and _is_size(v) for k, v in value.items())
        return good, 'an object such as {"16:9": [1248, 704]}'
    if name in _WHOLE_FIELDS:
        lowest, highest = _WHOLE_FIELDS[name]
        return _is_whole(value, lowest, highest), f"a whole number from {lowest} to {highest}"
    if name in _TRUTH_FIELDS:
        return isinstance(value, bool), "true or false"
    return isinstance(value, str) and bool(value.strip()), "text"


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(is_item(item) for item in value)


def is_ratio(value: Any) -> bool:
    """Return whether a value is written as a ratio, such as ``16:9``."""
    return isinstance(value, str) and RATIO.fullmatch(value) is not None


def _is_size(value: Any) -> bool:
    return _is_list(value, lambda side: _is_whole(side, 1, 100_000)) and len(value) == 2


def read_price(where: str, value: Any) -> Decimal | None:
    """Return a price in CNY per second; ``None`` means unknown, which is never free.

    :raises SettingsError: it is not an amount.
    """
    if value is None:
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0:
        raise SettingsError(f"extra.{where}: expected CNY per second such as 0.28, or null, got {value!r}.")
    return price
