# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pandas as pd
import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import ParameterError, UnreadableRowsError
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.row_sources import read_rows
from tests.harness.media_server import MediaServer, reply, without_length
from tests.harness.stores import RemoteStore, attached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jimeng.core.rows import Row

PUBLIC = {"conn_type": "jimeng", "login": "AK", "password": "made-up"}


@pytest.fixture(autouse=True)
def _connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps(PUBLIC))
    monkeypatch.setenv("AIRFLOW_CONN_NEAR", json.dumps({**PUBLIC, "host": "http://127.0.0.1:9"}))


class Task:
    """What the operator uses of a task instance."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Drop it."""


class LoggedPlan(JimengPlanOperator):
    """The operator with a log that is read back in the same way on every Airflow."""

    log = logging.getLogger("plan")  # type: ignore[assignment]


def plan(rows: Any, **arguments: Any) -> list[dict[str, Any]]:
    operator = LoggedPlan(task_id="plan", rows=rows, **arguments)
    return operator.execute({"ti": Task()})  # type: ignore[typeddict-item]


def refused(rows: Any, **arguments: Any) -> str:
    from airflow.providers.common.compat.sdk import AirflowFailException

    with pytest.raises(AirflowFailException) as failed:
        plan(rows, **arguments)
    assert len(str(failed.value)) < 4000
    assert "SECRET" not in str(failed.value)
    return str(failed.value)


def values(rows: list[Row]) -> list[dict[str, Any]]:
    assert [problem for row in rows for problem in row.problems] == []
    return [dict(row.values) for row in rows]


# ---------------------------------------------------------------------------------------------------------- workbooks
@pytest.fixture
def workbook(tmp_path: Path) -> Callable[..., Path]:
    def make(*lines: list[Any], change: Callable[[openpyxl.Workbook], None] = lambda _: None) -> Path:
        book = openpyxl.Workbook()
        for line in lines:
            book.worksheets[0].append(line)
        change(book)
        path = tmp_path / "rows.xlsx"
        book.save(path)
        return path

    return make


def repacked(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> Path:
    """Change the parts of a workbook as other programs write them."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**parts, **more}.items():
            archive.writestr(name, content)
    return path


def test_a_workbook_is_read_as_excel_shows_it(workbook: Callable[..., Path]) -> None:
    path = workbook(
        ["提示词", "比例", "时长", "种子", "文件名", None, None],
        ["一只风筝", time(16, 9), 5, 7.0, 1001],
        [None, None],
        ["一只狐狸", datetime(1899, 12, 30, 9, 16), "10", None, "  "],  # noqa: DTZ001  Excel knows no time zones
    )
    rows = read_rows(str(path))
    assert values(rows) == [
        {"prompt": "一只风筝", "aspect_ratio": "16:9", "duration": 5, "seed": 7, "output_name": "1001"},
        {"prompt": "一只狐狸", "aspect_ratio": "9:16", "duration": "10"},
    ]
    assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 4)]
    assert [row["aspect_ratio"] for row in plan(path, output_path=path.parent)] == ["16:9", "9:16"]


def test_a_workbook_of_pandas_is_read(tmp_path: Path) -> None:
    pd.DataFrame({"prompt": ["a", "b"], "seed": [1, None]}).to_excel(tmp_path / "rows.xlsx", index=False)
    assert values(read_rows(tmp_path / "rows.xlsx")) == [{"prompt": "a", "seed": 1}, {"prompt": "b"}]


def test_merged_cells_hold_for_every_row_that_they_stand_beside(workbook: Callable[..., Path]) -> None:
    path = workbook(
        ["model", "prompt"],
        ["t2v_1080p", "a"],
        [None, "b"],
        [None, None],
        [None, "c"],
        change=lambda book: book.worksheets[0].merge_cells("A2:A4"),
    )
    assert [row.values.get("model") for row in read_rows(str(path))] == ["t2v_1080p", "t2v_1080p", None]


def test_merged_cells_beside_a_short_line_are_filled_in(workbook: Callable[..., Path]) -> None:
    path = workbook(["prompt", "seed", "model"], ["a", 1, "t2v_1080p"], ["b"], ["c"])

    def merge(name: str, content: bytes) -> bytes:
        merged = (
            b'</sheetData><mergeCells count="2"><mergeCell ref="C2:C3"/><mergeCell ref="F3:G4"/></mergeCells>'
        )
        return content.replace(b"</sheetData>", merged) if name.endswith("sheet1.xml") else content

    rows = read_rows(str(repacked(path, merge)))
    assert [row.values.get("model") for row in rows] == ["t2v_1080p", "t2v_1080p", None]


def test_a_formula_counts_with_its_saved_result_and_is_refused_without(workbook: Callable[..., Path]) -> None:
    path = workbook(["prompt", "seed"], ["a", "=3+4"])
    with pytest.raises(ParameterError, match="line 2: the result of the formula '=3"):
        read_rows(str(path))
    repacked(path, lambda _, content: content.replace(b"<v />", b"<v>7</v>").replace(b"<v></v>", b"<v>7</v>"))
    assert values(read_rows(str(path))) == [{"prompt": "a", "seed": 7}]


def test_the_first_sheet_that_is_not_hidden_is_read_unless_another_is_named(
    workbook: Callable[..., Path],
) -> None:
    def add(book: openpyxl.Workbook) -> None:
        book.worksheets[0].sheet_state = "hidden"
        for name in ("春季", "summer"):
            sheet = book.create_sheet(name)
            sheet.append(["prompt"])
            sheet.append([name])

    path = workbook(["prompt"], ["hidden"], change=add)
    assert values(read_rows(path)) == [{"prompt": "春季"}]
    assert [row["prompt"] for row in plan(path, rows_sheet=" summer ")] == ["summer"]
    assert "rows_sheet: rows.xlsx has no sheet 'autumn'. Its sheets are: 'Sheet', '春季'" in refused(
        path, rows_sheet="autumn"
    )


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_does(workbook: Callable[..., Path]) -> None:
    path = repacked(workbook(["prompt"], ["a"]), lambda _, content: content, **{"xl/x.xml": bytes(130 << 20)})
    with pytest.raises(ParameterError, match=r"unpacks to 136,\d{3},\d{3} bytes"):
        read_rows(path)


def test_a_workbook_that_defines_entities_is_refused(workbook: Callable[..., Path]) -> None:
    def define(name: str, content: bytes) -> bytes:
        return b'<!DOCTYPE a [<!ENTITY b "c">]>' + content if name == "xl/workbook.xml" else content

    with pytest.raises(ParameterError, match="its XML defines entities"):
        read_rows(repacked(workbook(["prompt"], ["a"]), define))


def test_a_row_beyond_the_end_of_every_sheet_is_not_waited_for(workbook: Callable[..., Path]) -> None:
    far = b'<row r="999999999"><c r="A999999999" t="inlineStr"><is><t>far</t></is></c></row></sheetData>'
    path = repacked(workbook(["prompt"], ["a"]), lambda _, content: content.replace(b"</sheetData>", far))
    assert values(read_rows(path)) == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>log in</html>", "is not an Excel workbook"),
        (b"prompt\na\n", "is not an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "has a password, or an old version of Excel saved it"),
        (b"PK\x03\x04", "cannot be read as an Excel workbook"),
    ],
)
def test_what_is_no_workbook_is_refused_with_the_cause(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "rows.xlsx").write_bytes(content)
    assert says in refused(tmp_path / "rows.xlsx")


def test_other_spreadsheets_are_refused_with_how_to_export_them(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["xls", "xlsb", "ods", "numbers", "et"]
    for ending in cases:
        with subtests.test(ending=repr(ending)):
            assert f".{ending} files are not read. Save the sheet as .xlsx" in refused(
                f"/nowhere/rows.{ending}"
            )


# --------------------------------------------------------------------------------------------------------- data frames
class Frame:
    """A data frame as polars and Arrow have them."""

    def __init__(self, method: str, rows: list[dict[str, Any]]) -> None:
        self.columns = list(rows[0])
        setattr(self, method, lambda: rows)


def test_a_data_frame_is_a_list_of_rows_and_its_missing_values_are_absent() -> None:
    rows = {
        "prompt": ["a", None, "c"],
        "seed": [1, None, 3],
        "when": [pd.NaT] * 3,
        "duration": [5.0, None, 10.0],
    }
    frame = pd.DataFrame(rows)
    expected = [{"prompt": "a", "seed": 1, "duration": 5}, {"prompt": "c", "seed": 3, "duration": 10}]
    for value in (
        frame,
        frame.convert_dtypes(),
        frame.to_dict("records"),
        frame.convert_dtypes().to_dict("records"),
    ):
        assert values(read_rows(value)) == expected
    assert [row["seed"] for row in plan(frame)] == [1, 3]
    assert json.dumps(plan(frame))


@pytest.mark.parametrize("method", ["to_dicts", "to_pylist"])
def test_data_frames_of_other_libraries_are_taken_by_their_own_way_to_dicts(method: str) -> None:
    assert values(read_rows(Frame(method, [{"prompt": "a", "seed": None}]))) == [{"prompt": "a"}]


def test_a_data_frame_with_a_column_twice_is_refused() -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"])
    assert "has the column 'prompt' twice" in refused(frame)


def test_what_is_no_list_of_rows_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [pd.Series([1]), 7, b"prompt", {"prompt": "a"}]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert "expected a" in refused(value)


# ----------------------------------------------------------------------------------------------------- paths and links
def test_rows_that_are_left_out_are_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["", "  ", None, "None"]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert "rows: is empty. Give a list of dicts, or the path of a file." in refused(value)


def test_the_home_directory_is_known_in_texts_and_in_path_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.csv").write_text("prompt\na\n")
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    stored = ObjectStoragePath(f"file://{tmp_path}/rows.csv")
    for value in ("~/rows.csv", " ~/rows.csv\n", Path("~/rows.csv"), tmp_path / "rows.csv", stored):
        assert values(read_rows(value)) == [{"prompt": "a"}]


def test_what_is_no_file_of_rows_is_refused_for_good(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "IsADirectoryError" in refused(tmp_path / "folder.csv")
    assert "is not a file of rows" in refused(f"{tmp_path}/")
    assert "one slash after the scheme" in refused(Path("s3://bucket/rows.csv"))
    assert "text of several lines" in refused("prompt\na kite\n")
    assert "is text that is not a list" in refused("[" * 3)
    assert "has more than" not in refused(str(tmp_path / "missing.csv"))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert "has more than 67,108,864 bytes" in refused(tmp_path / "rows.csv")


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with MediaServer(answers=[reply(200, b"prompt\na kite\n")]) as running:
        yield running


def link(server: MediaServer, name: str = "rows.csv") -> str:
    return f"{server.endpoint}/lists/{name}?X-Signature=SECRET&name=/a.b"


def test_a_presigned_link_is_read_and_stays_a_secret(
    server: MediaServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert values(read_rows(link(server))) == [{"prompt": "a kite"}]
    assert server.seen[0].path.endswith("?X-Signature=SECRET&name=/a.b")
    server.answers = [without_length("提示词\n风筝\n".encode("gbk"))]
    assert values(read_rows(link(server))) == [{"prompt": "风筝"}]
    assert "SECRET" not in caplog.text


def test_an_ending_that_is_not_read_is_refused_before_a_link_is_opened(
    server: MediaServer, subtests: pytest.Subtests
) -> None:
    cases: list[str] = ["export", "rows.xls", "rows.pdf", "rows.csv.gz", ""]
    for name in cases:
        with subtests.test(name=repr(name)):
            assert re.search("must end in|are not read", refused(link(server, name)))
            assert server.seen == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_link_that_is_refused_fails_for_good(server: MediaServer, status: int) -> None:
    server.answers = [reply(status)]
    assert f"/lists/rows.csv?… cannot be read: the server answers HTTP {status}" in refused(link(server))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_link_whose_server_is_busy_is_read_by_a_retry(server: MediaServer, status: int) -> None:
    server.answers = [reply(status)]
    with pytest.raises(UnreadableRowsError, match=f"HTTP {status}. A retry might read it") as failed:
        plan(link(server))
    assert "SECRET" not in str(failed.value)


def test_a_link_whose_server_cannot_be_reached_is_read_by_a_retry() -> None:
    with pytest.raises(UnreadableRowsError, match=r"Cannot reach 127.0.0.1") as failed:
        plan("http://127.0.0.1:9/rows.csv?X=SECRET")
    assert "SECRET" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


def test_a_link_that_leads_to_a_login_page_is_no_campaign_without_rows(server: MediaServer) -> None:
    server.answers = [reply(302, Location="/login?next=SECRET"), reply(200, b"<!doctype html><p>Log in")]
    assert "web page" in refused(link(server))
    server.answers = [reply(200, b"<!doctype html><p>Log in")]
    assert "is not an Excel workbook" in refused(link(server, "rows.xlsx"))


def test_a_broken_link_and_one_without_a_store_are_refused_without_their_query(server: MediaServer) -> None:
    assert "is not a complete link" in refused("https:///rows.csv?X=SECRET")
    assert "cannot be read" in refused("ftp9://nowhere/rows.csv?X=SECRET")


def test_the_query_of_a_link_is_masked_where_airflow_shows_rendered_arguments(server: MediaServer) -> None:
    from airflow.providers.common.compat.sdk import redact

    operator = JimengPlanOperator(task_id="plan", rows=link(server))
    operator.render_template_fields({})
    assert "SECRET" not in str(redact({"rows": operator.rows}))


# --------------------------------------------------------------------------------------------------- what rows come to
def test_columns_that_are_not_for_us_are_refused_once_and_can_be_ignored(tmp_path: Path) -> None:
    lines = "".join(f"kite {number},n{number},s,b\n" for number in range(1000))
    (tmp_path / "rows.csv").write_text(f"prompt,note,sku,备注\n{lines}")
    message = refused(tmp_path / "rows.csv")
    assert [message.count(f", {name}: is not a column") for name in ("note", "sku", "备注")] == [1, 1, 1]
    assert len(plan(tmp_path / "rows.csv", ignore_columns="note, SKU，备注")) == 1000
    assert len(plan(tmp_path / "rows.csv", ignore_columns=["note", "sku", "备注"])) == 1000


def test_what_an_error_has_no_room_for_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": "a", "seed": f"x{number}" * 20} for number in range(500)]
    with caplog.at_level(logging.ERROR):
        assert "more problems, which the task's log lists." in refused(rows)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("seed: expected a whole number" in line for line in lines) == 500


def test_a_name_that_no_store_takes_is_the_fault_of_its_row_beside_all_others(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "output_name": "x" * 300},
        {"prompt": ""},
        {"prompt": "b", "seed": "x"},
        {"prompt": "c", "output_name": "风" * 90},
        {"prompt": "d"},
    ]
    message = refused(rows, output_path=f"{tmp_path}/").splitlines()
    assert message[0].endswith("4 rows are refused, of 5. Nothing was submitted or paid.")
    assert [line.strip().split(",")[0] for line in message[1:]] == ["row 1", "row 2", "row 3", "row 4"]


def test_a_store_that_fails_for_row_after_row_is_left_alone() -> None:
    class Away(RemoteStore):
        def info(self, path: str, **options: Any) -> Any:
            if path.endswith(".mp4"):
                self.puts.append(path)
                raise ConnectionResetError("the store hung up")
            return super().info(path, **options)

    store = Away()
    rows = [{"prompt": f"kite {number}", "output_name": f"kite-{number}"} for number in range(20)]
    with pytest.raises(ParameterError, match="3 rows are refused, of 20") as failed:
        plan(rows, output_path=f"memory://{attached(store)}@bucket/out/")
    assert failed.value.retryable
    assert len(set(store.puts)) == 3


def test_records_that_cannot_be_read_beside_a_bad_row_are_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (kwargs,) = plan([{"prompt": "x"}], output_path=f"{tmp_path}/")
    from airflow_provider_jimeng.core.parameters import RenderRequest

    asked = {name: kwargs[name] for name in ("prompt", "model", "duration", "aspect_ratio")}
    folder = tmp_path / ".jimeng" / "requests" / RenderRequest.build(**asked).fingerprint
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (tmp_path / ".jimeng" / "tasks").mkdir()
    (tmp_path / ".jimeng" / "tasks" / "a.json").write_text("no record")
    message = refused([{"prompt": "x"}, {"prompt": ""}], output_path=f"{tmp_path}/")
    assert "1 row is refused, of 2" in message
    assert "The records cannot be read" in caplog.text


def test_an_image_that_many_rows_share_is_opened_once_also_if_it_is_refused(tmp_path: Path) -> None:
    store = RemoteStore()
    picture = io.BytesIO()
    Image.new("RGB", (100, 100)).save(picture, "PNG")
    store.pipe_file("/bucket/small.png", picture.getvalue())
    image = f"memory://{attached(store)}@bucket/small.png"
    rows = [{"prompt": f"kite {number}", "model": "i2v_first_720p", "image": image} for number in range(50)]
    message = refused(rows)
    assert message.count("first_frame") == 1
    assert "(The same in 49 more rows: 2, 3," in message


def test_a_link_into_the_own_network_is_refused_unless_the_api_is_there_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [{"prompt": "a", "model": "i2v_first_720p", "image": "http://localhost:9000/a.png?sig=SECRET"}]
    assert "row 1, first_frame: localhost is a host in your own network" in refused(rows)
    (kwargs,) = plan(rows, jimeng_conn_id="near")
    assert kwargs["first_frame"] == "http://localhost:9000/a.png?sig=SECRET"
    assert "open those on localhost only if" in caplog.text


def test_the_hook_refuses_a_link_that_the_api_cannot_fetch_before_it_sends_anything() -> None:
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

    with pytest.raises(ParameterError, match=r"first_frame: 10.0.0.1 is a host in your own network"):
        JimengHook().submit(model="i2v_first_720p", prompt="a", first_frame="http://10.0.0.1/a.png")


def test_a_directory_for_all_rows_may_be_a_path_object(tmp_path: Path) -> None:
    (kwargs,) = plan([{"prompt": "a"}], output_path=tmp_path / "videos")
    assert kwargs["output_path"] == f"{tmp_path}/videos/"
