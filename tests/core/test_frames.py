# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.catalogue import MAX_IMAGE_BYTES, MODELS
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import (
    Frame,
    check_frame,
    check_same_ratio,
    format_of,
    is_image_text,
    nearest_aspect_ratio,
    orientation_warnings,
    predict_crop,
    viewed_size,
)

RATIOS = MODELS["ti2v_pro"].aspect_ratios


def opened(
    width: int | None = 1280, height: int | None = 720, *, size: int = 10, kind: str | None = "JPEG"
) -> Frame:
    return Frame(reference="cat.jpg", data=b"x" * size, format=kind, width=width, height=height)


def test_only_http_is_a_link(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, bool]] = [
        ("https://a.example/cat.jpg", True),
        ("HTTP://a.example/cat.jpg", True),
        ("s3://bucket/cat.jpg", False),
        ("/data/https/cat.jpg", False),
        ("httpcat.jpg", False),
    ]
    for reference, is_link in cases:
        with subtests.test(reference=repr(reference), is_link=repr(is_link)):
            assert Frame(reference=reference).is_link is is_link


def test_the_bytes_of_an_image_stay_out_of_its_repr() -> None:
    assert "secret" not in repr(Frame(reference="cat.jpg", data=b"secret"))


def test_a_link_is_the_same_image_whatever_signs_it() -> None:
    one = Frame(reference="https://me:pw@A.example/Cat.jpg?X-Sig=1#top")
    other = Frame(reference="HTTPS://a.example/Cat.jpg?X-Sig=2")

    assert one.identity() == other.identity() == "https://a.example/Cat.jpg"


def test_a_file_is_the_same_image_by_its_bytes() -> None:
    assert Frame(reference="a", data=b"1").identity() == Frame(reference="b", data=b"1").identity()
    assert Frame(reference="a", data=b"1").identity() == "sha256:" + hashlib.sha256(b"1").hexdigest()
    with pytest.raises(ValueError, match="not opened"):
        Frame(reference="a").identity()


def test_an_image_within_the_limits_passes(subtests: pytest.Subtests) -> None:
    cases: list[Frame] = [
        opened(320, 320),
        opened(960, 320),
        opened(4096, 4096),
        opened(kind="PNG"),
        opened(size=MAX_IMAGE_BYTES),
    ]
    for frame in cases:
        with subtests.test(frame=repr(frame)):
            check_frame("first_frame", frame)


def test_an_image_beyond_the_limits_is_refused_with_the_limit(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Frame, str]] = [
        (opened(size=MAX_IMAGE_BYTES + 1), "more than 4,700,000 bytes .4.7 MB"),
        (opened(kind="WEBP"), "WEBP.*JPEG or PNG"),
        (opened(kind=None), "format is unknown.*JPEG or PNG"),
        (opened(4097, 4096), "4097×4096.*at most 4096"),
        (opened(4096, 4097), "4096×4097.*at most 4096"),
        (opened(320, 319), "320×319.*at least 320"),
        (opened(961, 320), r"961×320 pixels.*at most 960 for the longer side, 3 times"),
        (opened(320, 1200), r"320×1200 pixels.*at most 960 for the longer side, 3 times"),
        (opened(None, 720), "not read"),
        (opened(1280, None), "not read"),
        (Frame(reference="cat.jpg", format="JPEG", width=1280, height=720), "not read"),
    ]
    for frame, says in cases:
        with subtests.test(frame=repr(frame), says=repr(says)):
            with pytest.raises(ParameterError, match=f"last_frame: .*{says}"):
                check_frame("last_frame", frame)


def test_a_last_frame_of_another_ratio_is_refused() -> None:
    with pytest.raises(
        ParameterError, match="last_frame: its ratio 720×1280 is not that of first_frame, 1280×720"
    ):
        check_same_ratio(opened(1280, 720), opened(720, 1280))


def test_frames_of_the_same_or_of_an_unknown_ratio_pass(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Frame, Frame]] = [
        (opened(1280, 720), opened(1920, 1080)),
        (opened(1280, 720), opened(1279, 720)),
        (Frame(reference="https://a.example/1.jpg"), Frame(reference="https://a.example/2.jpg")),
        (opened(), Frame(reference="https://a.example/2.jpg")),
    ]
    for first, last in cases:
        with subtests.test(first=repr(first), last=repr(last)):
            check_same_ratio(first, last)


def test_the_nearest_listed_ratio_is_found(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, int, str]] = [
        (1920, 1080, "16:9"),
        (1080, 1920, "9:16"),
        (1000, 1000, "1:1"),
        (1024, 768, "4:3"),
        (600, 800, "3:4"),
        (2560, 1080, "21:9"),
        (3000, 1000, "21:9"),
    ]
    for width, height, ratio in cases:
        with subtests.test(width=repr(width), height=repr(height), ratio=repr(ratio)):
            assert nearest_aspect_ratio(width, height, RATIOS) == ratio


def test_the_crop_is_the_documented_one(subtests: pytest.Subtests) -> None:
    cases: list[tuple[tuple[int, int], str, tuple[int, int]]] = [
        ((1600, 900), "16:9", (1600, 900)),
        ((1000, 1000), "16:9", (1000, 562)),
        ((2000, 1000), "16:9", (1778, 1000)),
        ((500, 1000), "9:16", (500, 889)),
    ]
    for size, ratio, kept in cases:
        with subtests.test(size=repr(size), ratio=repr(ratio), kept=repr(kept)):
            assert predict_crop(*size, ratio) == kept


@given(st.integers(320, 4096), st.integers(320, 4096), st.sampled_from(RATIOS))
def test_a_crop_keeps_one_side_whole_and_never_grows(width: int, height: int, ratio: str) -> None:
    kept_width, kept_height = predict_crop(width, height, ratio)

    assert kept_width == width or kept_height == height
    assert 0 < kept_width <= width
    assert 0 < kept_height <= height


def test_a_format_is_told_by_the_first_bytes(subtests: pytest.Subtests) -> None:
    cases: list[tuple[bytes, str | None]] = [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WEBP"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1", "HEIC"),
        (b"\x00\x00\x00\x18ftypisom", "MP4 or MOV video"),
        (b"II*\x00", "TIFF"),
        (b"MM\x00*", "TIFF"),
        (b"BM\x36\x10\x00\x00\x00\x00\x00\x00", "BMP"),
        (b"\x00\x00\x01\x00\x01\x00", "ICO"),
        (b"8BPS\x00\x01", "PSD"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n", "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg>', "SVG"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"<HTML lang=zh>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b"", None),
        (b"hello", None),
        (b"BMW is a car", None),
    ]
    for head, name in cases:
        with subtests.test(head=repr(head), name=repr(name)):
            assert format_of(head) == name


def test_an_image_in_base64_is_told_from_a_path(subtests: pytest.Subtests) -> None:
    cases: list[bytes] = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x18ftypheic"]
    for head in cases:
        with subtests.test(head=repr(head)):
            data = head + b"\xfb\xff" * 60
            for text in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.encodebytes(data)):
                assert is_image_text(text.decode())


def test_a_path_is_not_taken_for_base64(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "/9j/frame.jpg",
        "/data/" + "x" * 80,
        "iVBORw0KGgo",
        "s3://bucket/" + "x" * 80,
        "图" * 80,
        "",
    ]
    for text in cases:
        with subtests.test(text=repr(text)):
            assert not is_image_text(text)


def test_the_size_is_what_a_viewer_shows(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, tuple[int, int]]] = [
        (n, (4000, 3000) if n < 5 else (3000, 4000)) for n in range(1, 9)
    ]
    for orientation, size in cases:
        with subtests.test(orientation=repr(orientation), size=repr(size)):
            assert viewed_size(4000, 3000, orientation) == size


def test_an_image_that_is_not_stored_upright_is_worth_a_warning() -> None:
    upright, turned = opened(), Frame(reference="b.jpg", orientation=6)
    (warning,) = orientation_warnings({"first_frame": upright, "last_frame": turned})
    assert warning.startswith("last_frame is not stored upright: its EXIF orientation is 6.")
