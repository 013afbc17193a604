# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from airflow_provider_jimeng.emulator.picture import (
    Clip,
    Typeface,
    draw_background,
    draw_strip,
    load_typeface,
    shorten,
    showable,
    wrap,
)
from airflow_provider_jimeng.fonts import (
    best_font_file,
    can_show,
    find_font_file,
    font_directories,
    load_font,
)


def clip(prompt: str, width: int = 640, height: int = 360) -> Clip:
    return Clip(
        width=width, height=height, duration=5, aspect_ratio="16:9", prompt=prompt, lines=("a", "b"), tint=3
    )


def test_characters_without_a_glyph_are_shown_as_code_points() -> None:
    font = load_font(20, None)
    assert can_show(font, "a")
    assert can_show(font, " ")
    assert not can_show(font, "猫")
    assert showable(Typeface(font), "a 猫") == "a <732B>"


def test_a_character_uses_the_first_font_that_has_it() -> None:
    known = {"猫": "cat", "a": "latin"}

    class PartialFont:
        """A font that has only one of the characters."""

        def __init__(self, name: str) -> None:
            self.name = name

        def getmask(self, character: str) -> bytes:
            return b"glyph" if known.get(character) == self.name else b"none"

        def getlength(self, text: str) -> float:
            return 10.0 * len(text)

        def getmetrics(self) -> tuple[int, int]:
            return (12, 4) if self.name == "cat" else (10, 4)

    class FakeDraw:
        """Records what is drawn, with which font, and at which position."""

        def __init__(self) -> None:
            self.drawn: list[tuple[str, str, tuple[float, float]]] = []

        def text(self, position: tuple[float, float], text: str, *, font: PartialFont, fill: object) -> None:
            self.drawn.append((text, font.name, position))

    cat, latin, draw = PartialFont("cat"), PartialFont("latin"), FakeDraw()
    face = Typeface(cat, latin)  # type: ignore[arg-type]
    assert showable(face, "a猫犬") == "a猫<72AC>"
    assert face.getlength("aa猫") == 30
    face.write(draw, (5, 7), "aa猫", (255, 255, 255))  # type: ignore[arg-type]
    assert draw.drawn == [("aa", "latin", (5, 9)), ("猫", "cat", (25, 7))]


def test_the_best_font_can_show_latin_letters() -> None:
    assert load_typeface(23, best_font_file()).shows("A")


def test_fonts_are_found_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("Other.ttf", "deep/NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "notes.txt"):
        (tmp_path / name).touch()
    directories = (tmp_path, tmp_path / "absent")
    path = find_font_file(("wanted", "notosanscjk", "wqy-zenhei"), directories)
    assert path == tmp_path / "deep" / "NotoSansCJK-Regular.ttc"
    assert find_font_file(("wanted",), directories) is None


def test_an_unreadable_font_is_replaced_by_pillows_font(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    assert can_show(load_font(21, broken), "a")


def test_the_usual_font_directories_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Path("/data/fonts") in font_directories()
    assert best_font_file() is best_font_file()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("one two three", ["one two", "three"]),
        ("猫" * 9, None),
        ("first\nsecond", ["first", "second"]),
        ("aaaaaaaaaaaaaaaaaaaaaa", None),
    ],
)
def test_text_is_broken_at_spaces_if_it_has_any(text: str, rows: list[str] | None) -> None:
    font = load_typeface(20, None)
    width = int(font.getlength("one two th"))
    broken = wrap(text, font, width)
    if rows is not None:
        assert broken == rows
    assert "".join(broken).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    assert all(font.getlength(row) <= width for row in broken)


def test_a_row_never_begins_with_a_space() -> None:
    font = load_typeface(20, None)
    assert wrap("aaaa bbbb", font, int(max(map(font.getlength, ("aaaa", "bbbb")))) + 1) == ["aaaa", "bbbb"]


@pytest.mark.parametrize("prompt", ["", "word " * 160, "猫" * 800, "🌙\n" * 30, "\x00\u202e\t"])
@pytest.mark.parametrize("size", [(640, 360), (64, 64), (704, 1248)])
def test_any_prompt_fits_into_any_picture(prompt: str, size: tuple[int, int]) -> None:
    assert draw_background(clip(prompt, *size)).size == size


def test_a_line_that_is_too_long_ends_in_dots() -> None:
    font = load_typeface(20, None)
    assert shorten("a kite", font, 1000) == "a kite"
    cut = shorten("a kite " * 50, font, 300)
    assert cut.startswith("a kite a kite")
    assert cut.endswith("...")
    assert font.getlength(cut) <= 300
    assert shorten("a kite", font, 1) == "..."


def test_a_short_prompt_covers_little_of_the_input_image() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 360), (250, 20, 20)).save(buffer, "PNG")

    def visible_rows(prompt: str) -> int:
        picture = draw_background(replace(clip(prompt), images=(buffer.getvalue(),)))
        return sum(
            picture.getpixel((2 * picture.width // 3, y)) == (250, 20, 20) for y in range(picture.height)
        )

    assert visible_rows("a kite") > 0.6 * 360
    assert 0.4 * 360 < visible_rows("a kite over the sea " * 40) < visible_rows("a kite")


def test_the_strip_grows_with_each_step() -> None:
    one = clip("x")
    steps = [draw_strip(one, index, 24) for index in range(24)]
    assert {len(step) for step in steps} == {one.width * one.strip_height}
    assert len(set(steps)) == 24
    assert min(steps[0]) >= 16
    assert max(steps[-1]) <= 235


def test_clips_that_differ_have_different_keys() -> None:
    keys = {clip("a").key, clip("b").key, clip("a", 320).key, clip("a", 640, 352).key}
    assert len(keys) == 4
    assert clip("a").key == clip("a").key
