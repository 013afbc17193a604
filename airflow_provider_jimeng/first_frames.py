# SPDX-License-Identifier: Apache-2.0
"""The first frame of a landed video as a small JPEG, where the extra ``[media]`` is installed."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

log = logging.getLogger(__name__)

_LONGEST_SIDE = 360
_QUALITY = 72


def can_decode() -> bool:
    """Whether videos can be opened here."""
    try:
        import av  # noqa: F401  only asked for
    except ImportError:
        return False
    return True


def first_frame(file: AtomicFile) -> bytes | None:
    """Return the first frame as JPEG, at most 360 pixels a side; ``None`` if the file gives none.

    A picture is a convenience: whatever is wrong with one video is logged and does not end a report.
    """
    import av

    try:
        with file.fs.open(file.path, "rb") as source, av.open(source, mode="r", format="mp4") as media:
            return _jpeg(next(media.decode(video=0)))
    except Exception as error:  # noqa: BLE001 - no two file systems, and no two broken videos, agree on their classes
        log.warning("No first frame of %s (%s: %s).", file.uri, type(error).__name__, error)
        return None


def _jpeg(frame: Any) -> bytes:
    image = frame.to_image()
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    target = io.BytesIO()
    image.convert("RGB").save(target, format="JPEG", quality=_QUALITY, optimize=True)
    return target.getvalue()
