# SPDX-License-Identifier: Apache-2.0
"""Make the tables of docs/facts.md from the catalogue: limits, times, sizes, wrong keys, pages of the vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core import catalogue
from airflow_provider_jimeng.core.frames import RATIO_TOLERANCE
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS
from airflow_provider_jimeng.operators.video import DEFAULT_WAIT_TIMEOUT

if TYPE_CHECKING:
    from docs.reference import Table

CERTAIN, LIKELY, UNCERTAIN = "certain", "likely", "uncertain"
SURE = {"H": CERTAIN, "M-H": LIKELY, "M": LIKELY, "M-L": UNCERTAIN, "L": UNCERTAIN}
"""The letters of the catalogue in words."""
VENDOR_PAGE = "https://www.volcengine.com/docs/85621/"
_OTHER_PAGES = {
    "Prices of videos": f"{VENDOR_PAGE}1544715",
    "Codes that all products share": "https://www.volcengine.com/docs/6444/69728",
    "How requests are signed": "https://www.volcengine.com/docs/6369/67269",
}


def limits() -> Table:
    """Return one row per limit of a request."""
    prompts: dict[int, list[str]] = {}
    for spec in catalogue.MODELS.values():
        prompts.setdefault(spec.prompt_max, []).append(f"`{spec.name}`")
    longest, *shorter = sorted(prompts, reverse=True)
    less = "".join(f"; {at_most} for {', '.join(prompts[at_most])}" for at_most in shorter)
    frames = " or ".join(f"{catalogue.FPS * seconds + 1} frames" for seconds in (5, 10))
    required = " and ".join(f"`{name}`" for name in catalogue.AIGC_META_REQUIRED)
    rows = [
        ("`prompt`", f"at most {longest} characters{less}; in Chinese or English", CERTAIN),
        ("`prompt`, advised", f"at most {catalogue.ADVISED_PROMPT_LENGTH} characters", CERTAIN),
        ("`duration`", f"5 or 10 seconds, which are {frames}; only 5 for S2.0", CERTAIN),
        ("frames per second", str(catalogue.FPS), CERTAIN),
        (
            "`seed`",
            f"-1 (random, the default) to {catalogue.MAX_SEED:,}. The vendor names no upper limit",
            UNCERTAIN,
        ),
        ("the same `seed` again", "the same request gives nearly the same video", CERTAIN),
        ("`camera_template`", ", ".join(f"`{name}`" for name in catalogue.CAMERA_TEMPLATES), CERTAIN),
        ("`camera_strength`", ", ".join(f"`{name}`" for name in catalogue.CAMERA_STRENGTHS), CERTAIN),
        (
            "`aigc_meta`",
            f"{required} are required; each value has at most {catalogue.MAX_AIGC_META_LENGTH} characters",
            CERTAIN,
        ),
    ]
    return ("what", "limit", "how sure"), rows


def image_limits() -> Table:
    """Return one row per limit of an image."""
    side = f"{catalogue.MAX_IMAGE_SIDE}"
    rows = [
        ("format", " or ".join(catalogue.IMAGE_FORMATS), CERTAIN),
        ("size of the file", f"at most {catalogue.MAX_IMAGE_BYTES / 1e6:g} MB", CERTAIN),
        ("width and height", f"at most {side}×{side} pixels", CERTAIN),
        ("shorter side", f"at least {catalogue.MIN_IMAGE_SIDE} pixels", CERTAIN),
        ("longer side", f"at most {catalogue.MAX_IMAGE_RATIO} times the shorter side", CERTAIN),
        ("last frame", "has the ratio of the first frame", CERTAIN),
        (
            "difference of both ratios",
            f"at most {RATIO_TOLERANCE:.0%}; the vendor names no number",
            UNCERTAIN,
        ),
    ]
    return ("image", "limit", "how sure"), rows


def sizes() -> Table:
    """Return one row per family of models: the size of the picture in pixels by ratio."""
    families: dict[tuple[tuple[tuple[str, tuple[int, int]], ...], str], list[str]] = {}
    for spec in catalogue.MODELS.values():
        families.setdefault((tuple(spec.sizes.items()), spec.sizes_confidence), []).append(f"`{spec.name}`")
    ratios = list(next(iter(catalogue.MODELS.values())).sizes)
    rows = [
        (
            ", ".join(names),
            *(f"{dict(by_ratio)[ratio][0]}×{dict(by_ratio)[ratio][1]}" for ratio in ratios),
            SURE[sure],
        )
        for (by_ratio, sure), names in families.items()
    ]
    return ("models", *ratios, "how sure"), rows


def times() -> Table:
    """Return one row per time: how long a render takes, and how long the API keeps things."""
    fast, slow = (round(seconds / 60) for seconds in catalogue.TYPICAL_RENDER_SECONDS)
    rows = [
        ("a render takes", f"usually {fast} to {slow} minutes, and up to {2 * slow}", LIKELY),
        (
            "a link to a video works for",
            f"{catalogue.LINK_SECONDS // 3600} hour; each query makes a new link",
            CERTAIN,
        ),
        ("the API keeps a render for", f"{catalogue.RETENTION_SECONDS // 3600} hours", CERTAIN),
        ("a task waits at most for", f"{DEFAULT_WAIT_TIMEOUT // 3600} hours (`wait_timeout`)", CERTAIN),
        (
            "no wait lasts beyond",
            f"{SAFE_RETENTION_SECONDS / 3600:g} hours after the submit, so that time is left to save the video",
            CERTAIN,
        ),
    ]
    return ("what", "time", "how sure"), rows


def wrong_keys() -> Table:
    """Return one row per key that circulates and does not exist, with the right one."""
    rows = [(f"`{wrong}`", f"`{right}`") for wrong, right in catalogue.WRONG_KEYS.items()]
    return ("wrong", "right"), rows


def vendor_pages() -> Table:
    """Return one row per page of the vendor."""
    rows = [
        (f"`{spec.name}`", f"<{VENDOR_PAGE}{spec.doc_page}>")
        for spec in catalogue.MODELS.values()
        if spec.doc_page
    ]
    return ("about", "page"), rows + [(about, f"<{page}>") for about, page in _OTHER_PAGES.items()]
