# SPDX-License-Identifier: Apache-2.0
"""A small JPEG of a saved video, where the extra ``[media]`` is installed: its poster, or its first frame."""

from __future__ import annotations

import hashlib
import io
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.finishing.stills import POSTER_ENDINGS, name_beside, parse_still

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


def poster(file: AtomicFile, sha256: str) -> bytes | None:
    """Return the poster beside a video as JPEG, at most 360 pixels a side; ``None`` if there is none.

    :param sha256: that of the video. The poster of an older video of the same name does not count.
    """
    from PIL import Image

    try:
        for ending in POSTER_ENDINGS.values():
            found = file.beside(name_beside(file.name, ending))
            manifest = parse_still(found.sidecar.content() or b"", sha256)
            content = None if manifest is None else found.content()
            if manifest and content and hashlib.sha256(content).hexdigest() == manifest.sha256:
                return _small(Image.open(io.BytesIO(content)))
    except Exception as error:  # noqa: BLE001 - as below
        log.warning("No poster of %s (%s: %s).", file.uri, type(error).__name__, error)
    return None


def first_frame(file: AtomicFile) -> bytes | None:
    """Return the first frame as JPEG, at most 360 pixels a side; ``None`` if the file gives none.

    A picture is a convenience: whatever is wrong with one video is logged and does not end a report.
    """
    import av

    try:
        with file.fs.open(file.path, "rb") as source, av.open(source, mode="r", format="mp4") as media:
            return _small(next(media.decode(video=0)).to_image())
    except Exception as error:  # noqa: BLE001 - no two file systems, and no two broken videos, agree on their classes
        log.warning("No first frame of %s (%s: %s).", file.uri, type(error).__name__, error)
        return None


def _small(image: Any) -> bytes:
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    target = io.BytesIO()
    image.convert("RGB").save(target, format="JPEG", quality=_QUALITY, optimize=True)
    return target.getvalue()
