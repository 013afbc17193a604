"""Opens image inputs, after the pure checks and before anything is recorded or sent."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.catalogue import MAX_IMAGE_BYTES
from airflow_provider_jimeng.core.errors import ParameterError, UnreadableImageError
from airflow_provider_jimeng.core.frames import Frame

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from airflow_provider_jimeng.core.parameters import RenderRequest

FOR_GOOD = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,
    ImportError,
)
"""What no retry mends; anything else that a store raises may be over by then."""
_PLAIN_FORMATS = {"MPO": "JPEG"}
"""A telephone's JPEG may carry further pictures behind the first; to whoever does not look for them it is a JPEG."""


def open_images(request: RenderRequest) -> RenderRequest:
    """Return the request with every image file read and checked; links stay as they are and are never fetched.

    :raises ParameterError: naming the argument, what is wrong with the file, and the remedy.
    """
    opened = {argument: _open(argument, frame) for argument, frame in request.frames_to_open.items()}
    return request.with_frames(opened) if opened else request


def _open(argument: str, frame: Frame) -> Frame:
    from PIL import Image, UnidentifiedImageError

    try:
        with ObjectStoragePath(_place(frame.reference)).open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except Exception as error:
        said = f"{frame.reference!r} cannot be opened ({type(error).__name__}: {error})."
        if isinstance(error, FOR_GOOD):
            raise ParameterError(argument, said) from error
        raise UnreadableImageError(argument, f"{said} A retry may read it.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        image = _huge(argument, frame, data)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ParameterError(
            argument, f"{frame.reference!r} is no image; the API takes JPEG or PNG."
        ) from None
    return Frame(
        reference=frame.reference,
        data=bytes(data),
        format=_PLAIN_FORMATS.get(str(image.format), image.format),
        width=image.width,
        height=image.height,
    )


def _huge(argument: str, frame: Frame, data: bytes) -> ImageFile:
    """Read the head of an image that is too large for Pillow's comfort, so that its size can be told."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    for kind in (JpegImageFile, PngImageFile):
        with suppress(SyntaxError):  # what Pillow's readers raise for another format
            return kind(io.BytesIO(data))
    raise ParameterError(argument, f"{frame.reference!r} is no JPEG or PNG, which is what the API takes.")


def _place(reference: str) -> str:
    """Return a path that was given without a scheme, made absolute: Airflow 2 takes it from the root."""
    return reference if "://" in reference else str(Path(reference).expanduser().absolute())
