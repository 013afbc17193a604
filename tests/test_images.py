from __future__ import annotations

import io
import random
from pathlib import Path

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
    found = [opened(name).first_frame for name in ("frame.bin", "./frame.bin", "~/frame.bin", path.as_uri())]
    assert {frame.data for frame in found if frame is not None} == {path.read_bytes()}


@pytest.mark.parametrize(
    ("size", "said"),
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
    tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    with pytest.raises(ParameterError, match=f"^first_frame: .*{said}"):
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
    with pytest.raises(
        ParameterError, match=r"^first_frame: .*is no JPEG or PNG, which is what the API takes"
    ):
        opened(path)


@pytest.mark.parametrize("size", [(320, 320), (4096, 1400), (1200, 400)])
def test_the_limits_themselves_pass(tmp_path: Path, size: tuple[int, int]) -> None:
    assert opened(picture(tmp_path, size)).first_frame is not None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
def test_another_format_is_named_and_refused_whatever_the_file_is_called(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ParameterError, match=f"^first_frame: the image is {kind}; the API takes JPEG or PNG"):
        opened(picture(tmp_path, kind=kind, name="frame.png"))


def test_more_than_4_7_megabytes_are_refused_and_no_more_is_read(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.frombytes("RGB", (1300, 1300), random.Random(1).randbytes(1300 * 1300 * 3)).save(path)
    with pytest.raises(
        ParameterError, match=r"^first_frame: the image has more than 4,700,000 bytes .4\.7 MB"
    ):
        opened(path)


def png_head() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE).save(buffer, "PNG")
    return buffer.getvalue()[:20]


@pytest.mark.parametrize("content", [b"", b"<html>no", png_head(), b"\xff\xd8\xff"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"^first_frame: .*is no image; the API takes JPEG or PNG"):
        opened(path)


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
