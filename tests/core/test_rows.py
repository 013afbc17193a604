# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_jimeng.core.columns import (
    COLUMNS,
    check_header,
    column_of,
    read_ignored,
    unknown_column,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.rows import Row, rows_of_file, rows_of_list


def read(name: str, text: str) -> list[Row]:
    return rows_of_file(name, text.encode())


def said(rows: list[Row]) -> list[str]:
    return [str(problem) for row in rows for problem in row.problems]


def test_a_list_of_dicts_is_read_with_the_other_names_of_columns() -> None:
    rows = rows_of_list([{"prompt": "a kite", "Ratio": "1:1", "Output Name": "kite"}, {"image": "k.png"}])
    assert [dict(row.values) for row in rows] == [
        {"prompt": "a kite", "aspect_ratio": "1:1", "output_name": "kite"},
        {"first_frame": "k.png"},
    ]
    assert [row.number for row in rows] == [1, 2]
    assert said(rows) == []


def test_absent_values_are_left_out() -> None:
    (row,) = rows_of_list([{"prompt": "a kite", "seed": None, "duration": " ", "model": "None"}])
    assert row.values == {"prompt": "a kite"}


def test_an_unknown_column_is_refused_with_the_nearest_known_name() -> None:
    (row,) = rows_of_list([{"prompt": "x", "aspect_rato": "1:1", "fps": 24, "colour": "red"}])
    near, fps, far = said([row])
    assert near.startswith("row 1, aspect_rato: is not a column. Did you mean aspect_ratio?")
    assert "24 frames a second" in fps
    assert all(column in far for column in COLUMNS)


def test_a_column_given_by_two_names_is_refused() -> None:
    assert "under the other name ratio" in said(rows_of_list([{"aspect_ratio": "1:1", "ratio": "4:3"}]))[0]


def test_what_is_no_dict_is_refused_as_a_row() -> None:
    assert said(rows_of_list(["a kite"])) == ["row 1, row: expected a dict such as {'prompt': '…'}, got str."]


def test_a_csv_file_is_read_with_its_own_delimiter(subtests: pytest.Subtests) -> None:
    cases: list[str] = [",", ";", "\t"]
    for delimiter in cases:
        with subtests.test(delimiter=repr(delimiter)):
            text = f"prompt{delimiter}ratio{delimiter}output_name\r\n"
            text += f'"one, two; three"{delimiter}1:1{delimiter}a\r\n\r\nfour{delimiter}{delimiter}b\r\n'
            rows = read("rows.csv", text)
            assert [dict(row.values) for row in rows] == [
                {"prompt": "one, two; three", "aspect_ratio": "1:1", "output_name": "a"},
                {"prompt": "four", "output_name": "b"},
            ]
            assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 4)]


def test_a_prompt_of_several_lines_keeps_the_line_numbers_right() -> None:
    rows = read("rows.csv", 'prompt,fps\n"one\ntwo",\nthree,24\n')
    assert [row.line for row in rows] == [2, 4]
    assert rows[0].values["prompt"] == "one\ntwo"
    assert said(rows)[0].startswith("row 2 (line 4), fps: is refused")


def test_an_unknown_csv_column_is_named_in_every_row_that_fills_it() -> None:
    rows = read("rows.csv", "prompt,promt\na,\nb,c\n")
    (problem,) = said(rows)
    assert problem.startswith("row 2 (line 3), promt: is not a column. Did you mean prompt?")


def test_a_row_with_too_many_cells_is_refused() -> None:
    (problem,) = said(read("rows.csv", "prompt,seed\nrain, wind,7\n"))
    assert problem == (
        "row 1 (line 2), cells: has 3 cells, and the header has 2. Put texts that contain the delimiter in quotation marks."
    )
    assert said(read("rows.csv", "prompt,seed\nrain,7,,\n")) == []


def test_a_header_with_a_column_twice_is_refused() -> None:
    assert said(read("rows.csv", "prompt,seed,seed\nrain,1,2\n")) == [
        "row 1 (line 2), seed: is in the header twice. Keep one of them."
    ]


def test_an_empty_csv_file_has_no_rows() -> None:
    assert read("rows.csv", "") == []
    assert read("rows.csv", "prompt,seed\n\n") == []


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    (row,) = rows_of_file("rows.CSV", "\ufeffprompt\n风筝\n".encode())
    assert row.values == {"prompt": "风筝"}


def test_json_lines_are_read_and_a_broken_one_is_named() -> None:
    rows = read("rows.jsonl", '{"prompt": "a", "seed": 7}\n\n{"prompt": \n["b"]\n')
    assert rows[0].values == {"prompt": "a", "seed": 7}
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 3), (3, 4)]
    broken, no_dict = said(rows)
    assert broken.startswith("row 2 (line 3), row: is not JSON")
    assert no_dict.endswith("got list.")


def test_a_json_list_is_read() -> None:
    assert read("rows.json", '[{"prompt": "a"}]')[0].values == {"prompt": "a"}


def test_a_file_that_cannot_be_read_is_refused_as_a_whole(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, bytes, str]] = [
        ("rows.xlsx", b"", "Its name must end in one of .csv, .tsv"),
        ("rows", b"", "is not a file of rows"),
        ("rows.csv", b'prompt,seed\na,1\n"b\nc,"2\n', "cannot be read from line 3 on"),
        ("rows.csv", b'prompt\na\n"b "big" c"\nd\n', "cannot be read from line 3 on"),
        ("rows.json", b'[\n{"prompt": }]', "cannot be read: Expecting value in line 2, column 12"),
        ("rows.json", b"[" * 200_000, "cannot be read"),
        ("rows.json", b'{"prompt": "a"}', "expected a JSON list of objects, got dict"),
    ]
    for name, content, says in cases:
        with subtests.test(name=repr(name), content=repr(content), says=repr(says)):
            with pytest.raises(ParameterError, match="rows") as refused:
                rows_of_file(name, content)
            assert says in str(refused.value)


CHINESE = "提示词;比例;文件名\r\n一只红色的风筝，在海边升起;16:09;风筝\r\n"
VALUES = {"prompt": "一只红色的风筝，在海边升起", "aspect_ratio": "16:9", "output_name": "风筝"}


def test_a_table_is_read_in_every_encoding_that_excel_saves(subtests: pytest.Subtests) -> None:
    encodings: list[str] = [
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "gbk",
        "gb18030",
    ]
    delimiters: list[str] = [",", ";", "\t", "|"]
    for encoding in encodings:
        for delimiter in delimiters:
            with subtests.test(encoding=repr(encoding), delimiter=repr(delimiter)):
                warnings: list[str] = []
                content = CHINESE.replace(";", delimiter).encode(encoding)
                (row,) = rows_of_file("rows.txt", content, warn=warnings.append)
                assert row.values == VALUES
                assert [warning for warning in warnings if "GB 18030" in warning] == warnings
                assert bool(warnings) == (encoding in ("gbk", "gb18030"))


def test_json_is_read_in_the_same_encodings_and_nan_is_absent(subtests: pytest.Subtests) -> None:
    endings: list[str] = ["json", "jsonl"]
    encodings: list[str] = ["utf-8-sig", "utf-16", "gbk"]
    for ending in endings:
        for encoding in encodings:
            with subtests.test(ending=repr(ending), encoding=repr(encoding)):
                text = '{"提示词": "一只红色的风筝", "seed": NaN, "duration": null}'
                (row,) = rows_of_file(
                    f"rows.{ending}", (f"[{text}]" if ending == "json" else text).encode(encoding)
                )
                assert row.values == {"prompt": "一只红色的风筝"}


def test_text_of_another_encoding_is_refused_and_never_read_as_wrong_characters(
    subtests: pytest.Subtests,
) -> None:
    cases: list[tuple[str, str]] = [
        ("big5", "一隻紅色的風箏在海邊升起，鏡頭慢慢拉遠"),
        ("shift_jis", "赤い凧が海辺に上がる"),
        ("euc_jp", "赤い凧が海辺に上がる"),
        ("euc_kr", "빨간 연이 바닷가에 떠오른다"),
        ("cp1252", "Un été à la plage, élève près"),
        ("cp1251", "Красный змей поднимается над морем"),
        ("koi8-r", "Красный змей поднимается над морем"),
    ]
    for encoding, text in cases:
        with subtests.test(encoding=repr(encoding), text=repr(text)):
            with pytest.raises(ParameterError, match=r"not UTF-8 .* not clearly GBK. .*CSV UTF-8"):
                rows_of_file("rows.csv", f"prompt\n{text}\n".encode(encoding))


@pytest.mark.parametrize("cut", [1, 2])
def test_damaged_utf_8_is_not_taken_for_gbk(cut: int) -> None:
    with pytest.raises(ParameterError, match="not UTF-8"):
        rows_of_file("rows.csv", "prompt\n一只红色的风筝在海边升起".encode()[:-cut])


def test_a_file_that_breaks_its_own_encoding_is_refused_or_has_no_header(subtests: pytest.Subtests) -> None:
    cases: list[bytes] = [b"\xff\xfep\x00r", "\ufeffprompt".encode("utf-16")[:-1], b"\xef\xbb\xbfa\xff"]
    for content in cases:
        with subtests.test(content=repr(content)), pytest.raises(ParameterError, match="rows: "):
            rows_of_file("rows.csv", content)


def test_what_is_not_what_its_ending_says_is_refused_with_the_cause(subtests: pytest.Subtests) -> None:
    contents: list[tuple[bytes, str]] = [
        (b"<!DOCTYPE html><html>log in</html>", "web page"),
        ("\r\n  <html>".encode("utf-16"), "web page"),
        (b'<?xml version="1.0"?><Error/>', "web page or an XML file"),
        (b"%PDF-1.4", "a PDF document"),
        (b"PK\x03\x04", "ends in .xlsx"),
        (b"\xd0\xcf\x11\xe0", "old or an encrypted Office document"),
        (b"\x1f\x8b", "gzip"),
    ]
    endings: list[str] = ["csv", "txt", "jsonl", "json"]
    for content, says in contents:
        for ending in endings:
            with subtests.test(content=repr(content), says=repr(says), ending=repr(ending)):
                with pytest.raises(ParameterError, match=rf"rows: rows\.{ending} (is|does) .*{says}"):
                    rows_of_file(f"rows.{ending}", content)


def test_a_text_without_any_column_is_no_table() -> None:
    with pytest.raises(
        ParameterError,
        match=r"no column is in the first line that is not blank. The line is: 'Access denied'",
    ):
        read("rows.csv", "Access denied\nLog in first\n")


def test_blank_columns_and_blank_lines_are_none_wherever_they_stand() -> None:
    rows = read("rows.csv", ",prompt,,seed,,\n,a,,7,,\n,,,,,\n,b, ,,,\n,,,,,\n")
    assert [dict(row.values) for row in rows] == [{"prompt": "a", "seed": "7"}, {"prompt": "b"}]
    assert said(rows) == []


def test_a_value_below_no_name_is_refused_for_a_text_may_have_run_over() -> None:
    assert said(read("rows.csv", "prompt,,seed,\nrain, wind,7,\n")) == [
        "row 1 (line 2), cells: column 2 has a value but no name in the header. Give the column a name, or clear the cell."
    ]


def test_columns_that_are_not_for_us_are_left_out_also_those_of_a_known_name() -> None:
    rows = rows_of_file("rows.csv", b"prompt,note,Name\na kite,x,y\n", frozenset({"note", "name"}))
    assert rows[0].values == {"prompt": "a kite"}
    assert said(rows) == []


def test_an_unknown_column_that_holds_nothing_is_none() -> None:
    assert said(rows_of_list([{"prompt": "a", "Unnamed: 2": None, "note": float("nan")}])) == []


def test_a_row_of_missing_values_is_none_and_one_of_blank_text_is_a_row() -> None:
    rows = rows_of_list([{"prompt": None, "seed": float("nan")}, {"prompt": ""}, {}])
    assert [row.number for row in rows] == [2, 3]


def test_the_line_that_names_the_delimiter_for_excel_is_no_row() -> None:
    (row,) = read("rows.csv", "sep=;\r\nprompt;seed\r\na, b;7\r\n")
    assert row.values == {"prompt": "a, b", "seed": "7"}
    assert row.line == 3


def test_lines_may_end_as_on_old_computers() -> None:
    assert [row.values["prompt"] for row in read("rows.csv", "prompt;seed\ra;1\rb;2\r")] == ["a", "b"]
    assert [row.values["prompt"] for row in read("rows.jsonl", '{"prompt": "a"}\r{"prompt": "b"}')] == [
        "a",
        "b",
    ]


def test_a_delimiter_in_a_quoted_name_does_not_count() -> None:
    (row,) = rows_of_file("rows.csv", b'"note, more, and more";prompt\n;a\n', frozenset())
    assert row.values == {"prompt": "a"}


def test_what_excel_put_into_a_cell_is_the_problem_of_that_row() -> None:
    (problem,) = said(read("rows.csv", "prompt,seed\na,\nb,1.2E+10\n"))
    assert problem.startswith("row 2 (line 3), seed: 1.2E+10 is a long number that Excel has rounded")


def test_every_column_is_known_by_all_its_names_and_has_a_chinese_one() -> None:
    for column, aliases in COLUMNS.items():
        assert {column_of(name) for name in (column, *aliases)} == {column}
        assert any(not alias.isascii() for alias in aliases)


def test_a_name_is_known_with_what_people_put_around_it(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str | None]] = [
        (" Output Name ", "output_name"),
        ("first-frame", "first_frame"),
        ("\ufeffPROMPT\u200b", "prompt"),
        ("时长（秒）", "duration"),
        ("duration [s]", "duration"),
        ("*提示词", "prompt"),
        ("提示词：", "prompt"),
        ("提示词*（必填）", "prompt"),
        ("ｓｅｅｄ", "seed"),
        ("", None),
        ("备注", None),
        (7, None),
    ]
    for name, column in cases:
        with subtests.test(name=repr(name), column=repr(column)):
            assert column_of(name) == column


def test_an_unknown_name_is_told_with_the_nearest_one_or_with_all() -> None:
    assert unknown_column("aspect_rato").startswith("is not a column. Did you mean aspect_ratio?")
    assert "视频描述" in unknown_column("视频描叙")
    assert "24 frames a second" in unknown_column("FPS")
    assert all(column in unknown_column("x" * 5000) for column in COLUMNS)
    assert len(unknown_column("x" * 5000)) < 400


def test_ignored_columns_come_as_text_or_as_a_list(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, set[str]]] = [
        (None, set()),
        ("", set()),
        ("None", set()),
        ("note, SKU，备注", {"note", "sku", "备注"}),
        ('["Note 1", "sku"]', {"note_1", "sku"}),
        (("note", "sku "), {"note", "sku"}),
        ({"note"}, {"note"}),
    ]
    for given, names in cases:
        with subtests.test(given=repr(given), names=repr(names)):
            assert read_ignored(given) == names


def test_what_is_no_list_of_names_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [7, {"note": 1}, b"note"]
    for given in cases:
        with subtests.test(given=repr(given)):
            with pytest.raises(ParameterError, match="ignore_columns: expected names of columns"):
                read_ignored(given)


def test_a_header_without_any_column_is_refused_as_it_was_read() -> None:
    check_header(["备注", "prompt"])
    with pytest.raises(
        ParameterError,
        match=r"no column is in the first line that is not blank. The line is: 'Access denied', 'x",
    ):
        check_header(["Access denied", "", "x" * 100_000])
