# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.images import open_images

SIZE = (640, 360)


def opened(path: Path | str, model: str = "i2v_first_720p") -> RenderRequest:
    return open_images(RenderRequest.build(prompt="a kite", model=model, first_frame=str(path)))


def picture(folder: Path, size: tuple[int, int] = SIZE, kind: str = "PNG", name: str = "frame.bin") -> Path:
    path = folder / name
    Image.new("RGB", size, "red").save(path, kind)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_is_known_by_its_content_and_not_by_its_name(tmp_path: Path, kind: str) -> None:
    path = picture(tmp_path, kind=kind, name="frame.gif")
    frame = opened(path).first_frame
    assert frame is not None
    assert (frame.format, frame.width, frame.height) == (kind, *SIZE)
    assert frame.data == path.read_bytes()


def test_a_telephones_picture_with_more_behind_the_first_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", SIZE).save(path, "MPO", save_all=True, append_images=[Image.new("RGB", SIZE)])
    frame = opened(path).first_frame
    assert frame is not None
    assert frame.format == "JPEG"


def test_a_path_may_be_relative_or_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    frames = [opened(name).first_frame for name in ("frame.bin", "./frame.bin", "~/frame.bin", path.as_uri())]
    assert {frame.data for frame in frames if frame is not None} == {path.read_bytes()}


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (
            (319, 400),
            r"319×400 pixels; the API takes at least 320 a side\. Use a larger one, or scale it up\.",
        ),
        ((4097, 2000), r"4097×2000 pixels; the API takes at most 4096 a side\. Scale it down\."),
        (
            (1201, 400),
            r"1201×400 pixels; the API takes at most 1200 for the longer side, 3 times the shorter\. Crop it",
        ),
        ((400, 1201), r"400×1201 pixels; the API takes at most 1200 for the longer side"),
    ],
)
def test_a_size_that_the_api_refuses_is_refused_here(
    tmp_path: Path, size: tuple[int, int], reason: str
) -> None:
    with pytest.raises(ParameterError, match=f"^first_frame: .*{reason}"):
        opened(picture(tmp_path, size))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_huge_image_is_refused_for_its_size_and_not_as_no_image(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "huge.bin"
    Image.new("L", (20_000, 20_000)).save(path, kind)
    with pytest.raises(
        ParameterError, match=r"^first_frame: the image has (?s:.*)at most 4096 a side"
    ) as caught:
        opened(path)
    assert "20000×20000 pixels" in str(caught.value)


def test_a_huge_image_of_another_format_is_refused_for_its_format(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("P", (20_000, 20_000)).save(path, "GIF")
    with pytest.raises(ParameterError, match=r"^first_frame: the image is GIF; the API takes JPEG or PNG"):
        opened(path)


@pytest.mark.parametrize("size", [(320, 320), (4096, 1400), (1200, 400)])
def test_the_limits_themselves_pass(tmp_path: Path, size: tuple[int, int]) -> None:
    assert opened(picture(tmp_path, size)).first_frame is not None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
def test_another_format_is_named_and_refused_whatever_the_file_is_called(tmp_path: Path, kind: str) -> None:
    with pytest.raises(
        ParameterError,
        match=f"^first_frame: the image is {kind}; the API takes JPEG or PNG. Convert '.*frame.png'",
    ):
        opened(picture(tmp_path, kind=kind, name="frame.png"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(900), "HEIC"),
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00" + bytes(900), "AVIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='640' height='360'/>", "SVG"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "HTML"),
        (b"%PDF-1.7\n", "PDF"),
    ],
)
def test_a_format_that_nothing_here_can_open_is_named_all_the_same(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=f"^first_frame: the image is {kind}; the API takes JPEG or PNG"):
        opened(path)


def test_more_than_4_7_megabytes_are_refused_and_no_more_is_read(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.frombytes("RGB", (1300, 1300), random.Random(1).randbytes(1300 * 1300 * 3)).save(path)
    with pytest.raises(
        ParameterError, match=r"^first_frame: the image has more than 4,700,000 bytes .4\.7 MB"
    ):
        opened(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty: it has 0 bytes"), (b"hello", "is not an image; the API takes JPEG or PNG")],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=f"^first_frame: .*{says}"):
        opened(path)


def encoded(kind: str, **options: Any) -> bytes:
    image = Image.frombytes("RGB", SIZE, random.Random(1).randbytes(SIZE[0] * SIZE[1] * 3))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


WHOLE = {
    "JPEG": encoded("JPEG"),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "PNG": encoded("PNG"),
}


def flipped(data: bytes) -> bytes:
    """A copy with one byte in the middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, share) for kind in WHOLE for share in (0.0005, 0.02, 0.5, 0.9, 0.98)),
        *((kind, -share) for kind in WHOLE for share in (0.02, 0.5, 0.9)),
        ("PNG", None),
    ],
)
def test_half_an_image_is_refused_before_paying(tmp_path: Path, kind: str, damage: float | None) -> None:
    """A negative share is kept and the rest is zeros, as an unfinished copy into a file of full size leaves it."""
    data = WHOLE[kind]
    kept = data[: int(len(data) * abs(damage or 0))]
    path = tmp_path / "frame.jpg"
    path.write_bytes(
        flipped(data) if damage is None else kept if damage > 0 else kept.ljust(len(data), b"\0")
    )
    with pytest.raises(
        ParameterError,
        match=rf"^first_frame: .*frame\.jpg' is a damaged or incomplete {kind.removeprefix('progressive ')} image",
    ) as caught:
        opened(path)
    assert not caught.value.retryable


def test_a_header_that_promises_too_much_is_damage_and_nothing_else(tmp_path: Path) -> None:
    data = bytearray(WHOLE["PNG"])
    data[16:20] = (0).to_bytes(4)  # a width of 0
    path = tmp_path / "frame.png"
    for content in (bytes(data), WHOLE["JPEG"][:3], WHOLE["JPEG"][:20] + b"\xff" * 500):
        path.write_bytes(content)
        with pytest.raises(ParameterError, match="is a damaged or incomplete"):
            opened(path)


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("CMYK", "JPEG", {}),
        ("L", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"comment": b"\xff\xd9 \xff\xda"}),
        ("I;16", "PNG", {}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("1", "PNG", {}),
        ("RGB", "PNG", {"save_all": True, "append_images": [Image.new("RGB", SIZE)]}),
    ],
)
def test_every_kind_of_jpeg_and_png_passes(
    tmp_path: Path, mode: str, kind: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "frame.bin"
    Image.new(mode, SIZE).save(path, kind, **options)
    frame = opened(path).first_frame
    assert frame is not None
    assert (frame.format, frame.width, frame.height) == (kind, *SIZE)
    assert frame.data == path.read_bytes()


def test_what_follows_the_end_of_a_jpeg_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "motion.jpg"
    path.write_bytes(WHOLE["JPEG"] + b"\0" * 100 + b"ftypmp42" + b"\xff\xda" + b"\0" * 100)
    assert opened(path).first_frame is not None


def turned(path: Path, orientation: Any, kind: str = "JPEG", size: tuple[int, int] = (1280, 720)) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "red").save(path, kind, exif=exif)
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_measured_as_a_viewer_shows_it(tmp_path: Path, kind: str, orientation: int) -> None:
    path = turned(tmp_path / "frame.bin", orientation, kind)
    request = opened(path)
    frame = request.first_frame
    assert frame is not None
    assert (frame.width, frame.height) == ((1280, 720) if orientation < 5 else (720, 1280))
    assert frame.data == path.read_bytes()
    assert [f"EXIF orientation is {orientation}" in warning for warning in request.warnings] == [True] * (
        orientation > 1
    )


def test_an_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    path = turned(tmp_path / "frame.png", 6, "PNG")
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    frame = opened(path).first_frame
    assert frame is not None
    assert (frame.width, frame.height) == (720, 1280)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*", b"Exif\0\0" + b"\xff" * 40, b"nonsense"])
def test_a_damaged_note_of_the_orientation_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "frame.jpg"
    Image.new("RGB", SIZE).save(path, "JPEG", exif=exif)
    frame = opened(path).first_frame
    assert frame is not None
    assert (frame.width, frame.orientation) == (SIZE[0], 1)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, orientation: int) -> None:
    frame = opened(turned(tmp_path / "frame.jpg", orientation)).first_frame
    assert frame is not None
    assert (frame.width, frame.orientation) == (1280, 1)


def test_the_crop_is_that_of_the_turned_image(tmp_path: Path) -> None:
    *_, crop = opened(turned(tmp_path / "frame.jpg", 6, size=(1000, 700)), "ti2v_pro").warnings
    assert "first_frame of 700×1000 will be cropped in the centre to 700×933 for 3:4" in crop


def test_first_and_last_frame_are_compared_as_they_are_seen(tmp_path: Path) -> None:
    def asked(last: Path) -> RenderRequest:
        return open_images(
            RenderRequest.build(
                prompt="a kite", model="i2v_first_tail_720p", first_frame=upright, last_frame=last
            )
        )

    upright = picture(tmp_path, (720, 1280))
    assert asked(turned(tmp_path / "a.jpg", 8)).last_frame is not None
    with pytest.raises(ParameterError, match=r"^last_frame: its ratio 1280×720 is not that of first_frame"):
        asked(turned(tmp_path / "b.jpg", 1))


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_what_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=r"^first_frame: .*cannot be opened"):
        opened(tmp_path / name)


def test_a_scheme_that_nothing_opens_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"^first_frame: .*cannot be opened"):
        opened("nowhere://bucket/frame.png")


def test_the_centre_crop_of_the_model_that_crops_is_told(tmp_path: Path) -> None:
    path = picture(tmp_path, (1000, 700))
    (warning,) = opened(path, "ti2v_pro").warnings
    assert "cropped in the centre to 933×700 for 4:3: 6.7% is cut" in warning
    assert not opened(path).warnings
