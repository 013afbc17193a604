# SPDX-License-Identifier: Apache-2.0
"""Opens the images of a request, after its other checks and before anything is recorded or sent."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.arguments import shown
from airflow_provider_jimeng.core.catalogue import IMAGE_FORMATS, MAX_IMAGE_BYTES
from airflow_provider_jimeng.core.errors import ParameterError, UnreadableImageError
from airflow_provider_jimeng.core.frames import Frame, check_frame, format_of, viewed_size

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from airflow_provider_jimeng.core.parameters import RenderRequest

PERMANENT_ERRORS = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,
    ImportError,
)
"""Errors of a store that a retry does not solve. Its other errors can be temporary."""
_ORIENTATION = 0x0112


def open_images(request: RenderRequest) -> RenderRequest:
    """Return the request with every image file read, decoded and checked. Links stay as they are, and are not fetched.

    :raises ParameterError: the message names the argument, what is wrong with the file, and the remedy.
    """
    opened = {argument: _open(argument, frame) for argument, frame in request.frames_to_open.items()}
    return request.with_frames(opened) if opened else request


def _open(argument: str, frame: Frame) -> Frame:
    data = _read(argument, frame.reference)
    name, image_format = shown(frame.reference), format_of(data)
    if not data:
        raise ParameterError(argument, f"{name} is empty: it has 0 bytes.")
    if image_format is None:
        raise ParameterError(argument, f"{name} is not an image; the API takes JPEG or PNG.")
    if image_format not in IMAGE_FORMATS:
        raise ParameterError(
            argument,
            f"the image is {image_format}; the API takes JPEG or PNG. Convert {name} to one of them.",
        )
    damaged = ParameterError(
        argument,
        f"{name} is a damaged or incomplete {image_format} image. Copy it again, or save it again in an image editor.",
    )
    try:
        image = _parse(image_format, data)
    except Exception:  # noqa: BLE001 - a damaged file makes the image library raise anything
        raise damaged from None
    width, height = image.size
    measured = replace(frame, data=data, format=image_format, width=width, height=height)
    check_frame(argument, measured)  # before the image is decoded: a small file can contain a huge image
    try:
        orientation = _decode(image, data)
    except Exception:  # noqa: BLE001
        raise damaged from None
    width, height = viewed_size(width, height, orientation)
    return replace(measured, width=width, height=height, orientation=orientation)


def _read(argument: str, reference: str) -> bytes:
    """Read a file, up to one byte more than the API takes."""
    try:
        with ObjectStoragePath(absolute_path(reference)).open("rb") as file:
            return bytes(file.read(MAX_IMAGE_BYTES + 1))
    except Exception as error:
        reason = f"{type(error).__name__}: {shown(str(error))[1:-1]}"
        message = f"{shown(reference)} cannot be opened ({reason})."
        if isinstance(error, PERMANENT_ERRORS):
            raise ParameterError(argument, message) from error
        raise UnreadableImageError(argument, f"{message} A retry might read it.") from error


def _parse(kind: str, data: bytes) -> ImageFile:
    """Read the header of an image. ``Image.open`` would refuse a huge image and not tell its size."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return JpegImageFile(io.BytesIO(data)) if kind == "JPEG" else PngImageFile(io.BytesIO(data))


def _decode(image: ImageFile, data: bytes) -> int:
    """Decode every pixel and return the orientation in EXIF. Any error means that the image is damaged."""
    if image.format == "PNG":
        _parse("PNG", data).verify()  # checks the checksums of the whole file
    elif not _has_end(data):
        raise ValueError("the end is missing")
    else:
        image.draft(
            "L", (max(1, image.width // 8), max(1, image.height // 8))
        )  # reads the whole file, and needs little memory
    image.load()
    return _orientation(image)


def _has_end(data: bytes) -> bool:
    """Return whether a JPEG has its end marker. An incomplete copy can be filled up with zeros, which can be decoded."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # here the pixels begin; a thumbnail before them has an end marker of its own
            return data.find(b"\xff\xd9", at) >= 0
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return True  # the decoder decides


def _orientation(image: ImageFile) -> int:
    from PIL.Image import Exif

    exif = Exif()
    with suppress(Exception):  # damaged EXIF data counts as no rotation
        exif.load(image.info.get("exif") or b"")
        return next(number for number in range(1, 9) if number == exif.get(_ORIENTATION))
    return 1


def absolute_path(reference: str) -> str:
    """Return a path without a scheme as an absolute path, because Airflow 2 reads it from the root. A URI stays."""
    return reference if "://" in reference else str(Path(reference).expanduser().absolute())
