from __future__ import annotations

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.rows import COLUMNS, Row, rows_of_file, rows_of_list


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
    assert near == "row 1, aspect_rato: is no column. Did you mean aspect_ratio?"
    assert "24 frames a second" in fps
    assert all(column in far for column in COLUMNS)


def test_a_column_given_by_two_names_is_refused() -> None:
    assert "by another name (ratio)" in said(rows_of_list([{"aspect_ratio": "1:1", "ratio": "4:3"}]))[0]


def test_what_is_no_dict_is_refused_as_a_row() -> None:
    assert said(rows_of_list(["a kite"])) == ["row 1, row: expected a dict such as {'prompt': '…'}, got str."]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_is_read_with_its_own_delimiter(delimiter: str) -> None:
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
    assert said(rows) == ["row 2 (line 3), promt: is no column. Did you mean prompt?"]


def test_a_row_with_too_many_cells_is_refused() -> None:
    (problem,) = said(read("rows.csv", "prompt,seed\nrain, wind,7\n"))
    assert problem == (
        "row 1 (line 2), cells: has 3 cells, the header 2. Quote texts that hold the delimiter."
    )
    assert said(read("rows.csv", "prompt,seed\nrain,7,,\n")) == []


def test_a_header_with_a_column_twice_is_refused() -> None:
    assert said(read("rows.csv", "prompt,seed,seed\nrain,1,2\n")) == [
        "row 1 (line 2), seed: stands twice in the header. Keep one."
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
    assert broken.startswith("row 2 (line 3), row: is no JSON")
    assert no_dict.endswith("got list.")


def test_a_json_list_is_read() -> None:
    assert read("rows.json", '[{"prompt": "a"}]')[0].values == {"prompt": "a"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.xlsx", b"", "none of the endings that are read: .csv, .tsv"),
        ("rows", b"", "none of the endings"),
        ("rows.csv", "prompt\n风筝\n".encode("gbk"), "CSV UTF-8"),
        ("rows.csv", b'prompt\n"open\n', "cannot be read"),
        ("rows.json", b"{", "cannot be read"),
        ("rows.json", b'{"prompt": "a"}', "expected a JSON list of objects, got dict"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(name: str, content: bytes, says: str) -> None:
    with pytest.raises(ParameterError, match="rows") as refused:
        rows_of_file(name, content)
    assert says in str(refused.value)
