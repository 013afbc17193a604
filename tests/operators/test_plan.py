# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import ParameterError, UnreadableImageError, UnreadableRowsError
from tests.harness.dag_runs import FinishedRun, dag_file, run_dag
from tests.harness.fake_airflow import FakeTask
from tests.harness.stores import RemoteStore, attached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_jimeng.emulator import JimengEmulator

DAG_FILE = """
from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("quoted", schedule=None, params={"rows": "", "output": "", "cap": ""}, render_template_as_native_obj=True):
    JimengPlanOperator(
        task_id="plan",
        rows="{{ params.rows }}",
        output_path="{{ params.output }}",
        max_cost_cny="{{ params.cap }}",
        retries=0,
    )

with DAG("campaign", schedule=None, params={"rows": "", "output": "", "cap": "", "overwrite": False}):
    plan = JimengPlanOperator(
        task_id="plan",
        rows="{{ params.rows }}",
        output_path="{{ params.output }}",
        max_cost_cny="{{ params.cap }}",
        overwrite="{{ params.overwrite }}",
        model="t2v_1080p",
        retries=0,
    )
    JimengGenerateVideoOperator.partial(
        task_id="render", deferrable=False, poll_interval=0.2, retries=0
    ).expand_kwargs(plan.output)
"""


@pytest.fixture(scope="module", autouse=True)
def _dags() -> Iterator[None]:
    with dag_file("plans.py", DAG_FILE):
        yield


class Campaign:
    """Runs one campaign again and again into one directory."""

    def __init__(self, tmp_path: Path) -> None:
        self.output = tmp_path / "videos"
        self._day = 0
        self._file = tmp_path / "rows.jsonl"

    def run(self, *rows: dict[str, Any], **conf: Any) -> FinishedRun:
        self._day += 1
        self._file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        conf = {"rows": str(self._file), "output": f"{self.output.as_uri()}/", **conf}
        return run_dag("campaign", conf, day=self._day)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def quote_of(run: FinishedRun) -> dict[str, Any]:
    quote: dict[str, Any] = run.xcom("plan", "quote")
    assert quote.pop("quoted_at").endswith("Z")
    return quote


def test_alone_it_is_a_quote_that_spends_nothing(tmp_path: Path, jimeng_emulator: JimengEmulator) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "kite.png")
    rows = [
        {"prompt": "a kite", "output_name": "kite"},
        {"prompt": "a kite", "model": "i2v_first_1080p", "image": str(tmp_path / "kite.png"), "duration": 10},
    ]
    run = run_dag("quoted", {"rows": rows, "output": f"{tmp_path.as_uri()}/out/", "cap": 7.7})
    assert run.state == "success"
    assert quote_of(run) == {
        "version": 1,
        "rows": 2,
        "new": 2,
        "landed": 0,
        "running": 0,
        "cost_cny": "7.70",
        "at_risk_cny": "0.00",
        "by_model": {
            "i2v_first_1080p": {"rows": 1, "new": 1, "cost_cny": "6.30"},
            "t2v_720p": {"rows": 1, "new": 1, "cost_cny": "1.40"},
        },
    }
    assert [row["model"] for row in run.xcom("plan")] == ["t2v_720p", "i2v_first_1080p"]
    assert jimeng_emulator.bill()["submits"] == 0


def test_the_bill_is_what_was_announced_and_again_pays_only_for_new_changed_and_lost_files(
    campaign: Campaign, jimeng_emulator: JimengEmulator
) -> None:
    kite = {"prompt": "风筝，低机位\r\n仰拍", "output_name": "shots/kite"}
    twin = {"prompt": "a fox", "model": "t2v_720p"}
    first = campaign.run(kite, twin, twin, cap=6)
    assert first.state == "success"
    quote = quote_of(first)
    assert quote["cost_cny"] == jimeng_emulator.bill()["cost_cny"] == "5.95"
    assert [row["take"] for row in first.xcom("plan")] == [1, 1, 2]
    assert jimeng_emulator.bill()["billed"] == 3
    assert (campaign.output / "shots" / "kite.mp4").is_file()

    again = campaign.run(kite, twin, twin, cap="0")
    assert again.state == "success"
    assert quote_of(again) | {"by_model": {}} == {
        "version": 1,
        "rows": 3,
        "new": 0,
        "landed": 3,
        "running": 0,
        "cost_cny": "0.00",
        "at_risk_cny": "0.00",
        "by_model": {},
    }
    assert jimeng_emulator.bill()["submits"] == 3

    (campaign.output / "shots" / "kite.mp4").unlink()
    grown = campaign.run(twin, kite, twin, {"prompt": "rain", "model": "t2v_720p"}, cap="1.4")
    assert grown.state == "success"
    quote = quote_of(grown)
    assert (quote["new"], quote["landed"], quote["running"]) == (1, 2, 1)
    assert jimeng_emulator.bill()["billed"] == 4
    assert (campaign.output / "shots" / "kite.mp4").is_file()


def test_again_pays_for_the_rows_that_failed_or_changed_and_for_no_other(
    campaign: Campaign, jimeng_emulator: JimengEmulator
) -> None:
    jimeng_emulator.faults.add(where="render", what="fail", prompt_contains="ghost")
    kite, fox, ghost = ({"prompt": f"a {what}", "output_name": what} for what in ("kite", "fox", "ghost"))
    first = campaign.run(kite, fox, ghost)
    assert first.states["render[2]"] == "failed"
    assert jimeng_emulator.bill()["billed"] == 2

    jimeng_emulator.faults.clear()
    again = campaign.run(kite, fox, ghost, cap="3.15")
    assert again.state == "success"
    assert (quote_of(again)["new"], jimeng_emulator.bill()["billed"]) == (1, 3)

    changed = campaign.run(kite, {**fox, "duration": 10}, ghost, cap="6.3", overwrite=True)
    assert changed.state == "success"
    assert (quote_of(changed)["new"], jimeng_emulator.bill()["billed"]) == (1, 4)
    assert jimeng_emulator.bill()["submits"] == 5


def test_a_changed_row_does_not_replace_a_file_without_leave(
    campaign: Campaign, jimeng_emulator: JimengEmulator
) -> None:
    assert campaign.run({"prompt": "a kite", "output_name": "kite"}).state == "success"
    refused = campaign.run({"prompt": "a red kite", "output_name": "kite"})
    assert refused.states["plan"] == "failed"
    assert jimeng_emulator.bill()["submits"] == 1
    allowed = campaign.run({"prompt": "a red kite", "output_name": "kite"}, overwrite=True)
    assert allowed.state == "success"
    assert jimeng_emulator.bill()["submits"] == 2
    manifest = json.loads((campaign.output / "kite.mp4.json").read_text())
    assert manifest["prompt"] == "a red kite"


def test_a_plan_that_is_refused_stops_the_run_before_the_first_submit(
    campaign: Campaign, jimeng_emulator: JimengEmulator
) -> None:
    over = campaign.run({"prompt": "a kite"}, {"prompt": "a fox"}, cap=6)
    assert over.states == {"plan": "failed", "render": "upstream_failed"}
    assert Decimal(quote_of(over)["cost_cny"]) == Decimal("6.3")
    assert jimeng_emulator.bill()["submits"] == 0


@pytest.mark.usefixtures("jimeng_emulator")
def test_airflow_skips_what_is_mapped_over_no_rows(campaign: Campaign) -> None:
    run = campaign.run()
    assert run.states == {"plan": "success", "render": "skipped"}
    assert run.xcom("plan") in (None, [])


# ------------------------------------------------------------------------------------------------- what a refusal says
class Task:
    """What the operator uses of a task instance."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def plan(rows: Any, **arguments: Any) -> list[dict[str, Any]]:
    from airflow_provider_jimeng.operators.plan import JimengPlanOperator

    operator = JimengPlanOperator(task_id="plan", rows=rows, **arguments)
    return operator.execute({"ti": Task()})  # type: ignore[typeddict-item]


def refused(rows: Any, **arguments: Any) -> str:
    from airflow.providers.common.compat.sdk import AirflowFailException

    with pytest.raises(AirflowFailException) as failed:
        plan(rows, **arguments)
    return str(failed.value)


@pytest.fixture
def _connection(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"conn_type": "jimeng", "login": "AK", "password": "SK", "host": "http://127.0.0.1:9"}
    extra = {"prices": {"t2v_1080p": None}}
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps({**fields, "extra": extra}))
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))


@pytest.mark.usefixtures("_connection")
def test_every_bad_row_is_named_at_once_images_and_taken_names_included(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "good.png")
    Image.new("RGB", (100, 100)).save(tmp_path / "small.png")
    Image.new("RGB", (480, 480)).save(tmp_path / "square.png")
    (tmp_path / "taken.mp4").write_bytes(b"somebody else's")
    frames = {"model": "i2v_first_tail_720p", "first_frame": str(tmp_path / "good.png")}
    said = refused(
        [
            {"prompt": "fine", **frames, "last_frame": str(tmp_path / "good.png")},
            {"promt": "a kite"},
            {"prompt": "x", "model": "i2v_first_720p", "image": str(tmp_path / "small.png")},
            {"prompt": "x", "model": "i2v_first_720p", "image": str(tmp_path / "missing.png")},
            {"prompt": "x", **frames, "last_frame": str(tmp_path / "square.png")},
            {"prompt": "x", "output_name": "taken"},
            {"prompt": "x", "take": 2},
            {"prompt": "x", "take": 2},
        ],
        output_path=f"{tmp_path.as_uri()}/",
    ).splitlines()
    assert said[0] == "ParameterError: rows: 6 rows are refused, of 8. Nothing was submitted or paid."
    assert [line.strip().split(":")[0] for line in said[1:]] == [
        "row 2, promt",
        "row 2, prompt",
        "row 3, first_frame",
        "row 4, first_frame",
        "row 5, last_frame",
        "row 6, output_name",
        "row 8, take",
    ]
    assert "Did you mean prompt?" in said[1]
    assert "overwrite=True replaces the file" in said[6]


@pytest.mark.usefixtures("_connection")
def test_an_unknown_price_passes_no_cap_and_another_connection_goes_along(tmp_path: Path) -> None:
    rows = [{"prompt": "a kite", "model": "t2v_1080p"}]
    assert "the price of t2v_1080p is unknown" in refused(rows, max_cost_cny=1000)
    (kwargs,) = plan(rows, max_cost_cny=1000, jimeng_conn_id="other")
    assert kwargs["jimeng_conn_id"] == "other"
    assert "output_path" not in kwargs
    assert "reuse" not in kwargs
    (kwargs,) = plan(rows, output_path=f"{tmp_path}/", overwrite="true")
    assert (kwargs["output_path"], kwargs["reuse"], kwargs["overwrite"]) == (
        f"{tmp_path}/",
        "output_path",
        True,
    )


@pytest.mark.usefixtures("_connection")
def test_more_rows_than_airflow_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "3")
    assert "max_map_length" in refused([{"prompt": str(number)} for number in range(4)])
    assert len(plan([{"prompt": str(number)} for number in range(3)])) == 3


@pytest.mark.usefixtures("_connection")
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("/nowhere/rows.csv", "cannot be read (FileNotFoundError"),
        ("ftp9://nowhere/rows.csv", "cannot be read"),
        ({"prompt": "x"}, "expected a list of dicts or the path of a CSV or JSONL file, got dict"),
        (7, "got int"),
        ("[broken", "is text that is not a list"),
    ],
)
def test_rows_that_are_none_are_refused(rows: Any, says: str) -> None:
    assert says in refused(rows)


class Shaky(RemoteStore):
    """A store that hangs up a number of times and answers then."""

    def __init__(self, error: Exception, *, times: int = 1) -> None:
        super().__init__()
        self.error = error
        self.left = times

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" in mode and self.left:
            self.left -= 1
            raise self.error
        return super()._open(path, mode, **options)


def with_retries(make_rows: Any, **arguments: Any) -> FakeTask:
    """A plan of an Airflow task with two retries, run to its end."""
    from airflow_provider_jimeng.operators.plan import JimengPlanOperator

    stage = FakeTask(
        lambda: JimengPlanOperator(task_id="plan", rows=make_rows, **arguments), retries=2, task_id="plan"
    )
    stage.run()
    return stage


@pytest.mark.usefixtures("_connection")
@pytest.mark.parametrize("error", [ConnectionResetError("hung up"), LookupError("of the store's own")])
def test_a_store_of_images_that_hiccups_once_is_asked_again_by_a_retry(error: Exception) -> None:
    store = Shaky(error)
    picture = io.BytesIO()
    Image.new("RGB", (640, 480)).save(picture, "PNG")
    store.pipe_file("/bucket/a.png", picture.getvalue())
    row = {"prompt": "x", "model": "i2v_first_720p", "image": f"memory://{attached(store)}@bucket/a.png"}
    stage = with_retries([row])
    assert (stage.state, stage.try_number) == ("success", 2)
    (failed,) = stage.errors
    assert isinstance(failed, UnreadableImageError)
    assert "1 row is refused, of 1" in str(failed)
    assert "A retry might read it." in str(failed)


@pytest.mark.usefixtures("_connection")
def test_an_image_that_hiccups_beside_a_row_that_is_wrong_for_good_is_no_reason_for_a_retry() -> None:
    url = f"memory://{attached(Shaky(ConnectionResetError('hung up'), times=9))}@bucket/a.png"
    rows = [{"prompt": "x", "model": "i2v_first_720p", "image": url}, {"prompt": ""}]
    said = refused(rows)
    assert said.startswith("ParameterError: rows: 2 rows are refused, of 2.")
    assert "A retry might read it." in said


@pytest.mark.usefixtures("_connection")
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionResetError("hung up"), 2),
        (LookupError("of the store's own"), 2),
        (PermissionError("no"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_rows_file_whose_store_hiccups_once_is_read_by_a_retry(error: Exception, tries: int) -> None:
    store = Shaky(error)
    store.pipe_file("/bucket/rows.csv", b"prompt\na kite\n")
    stage = with_retries(f"memory://{attached(store)}@bucket/rows.csv")
    assert stage.try_number == tries
    failed = stage.errors[0]
    assert isinstance(failed, UnreadableRowsError if tries == 2 else ParameterError)
    assert ("A retry might read it." in str(failed)) == (tries == 2)


@pytest.mark.usefixtures("_connection")
def test_rows_come_as_a_list_as_its_text_or_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,ratio\na kite,1:1\n")
    rows = [{"prompt": "a kite", "ratio": "1:1"}]
    given: list[Any] = [rows, tuple(rows), str(rows), json.dumps(rows), tmp_path / "rows.csv"]
    given += [str(tmp_path / "rows.csv"), (tmp_path / "rows.csv").as_uri()]
    assert [plan(each) for each in given] == [plan(rows)] * len(given)


@pytest.mark.usefixtures("_connection")
def test_a_file_name_is_no_place_for_a_campaign(tmp_path: Path) -> None:
    assert "a campaign needs a directory" in refused([{"prompt": "x"}], output_path=f"{tmp_path}/one.mp4")


@pytest.mark.usefixtures("_connection")
def test_a_record_that_cannot_be_read_stops_the_plan(tmp_path: Path) -> None:
    from airflow_provider_jimeng.core.errors import LedgerError

    (kwargs,) = plan([{"prompt": "x"}], output_path=f"{tmp_path}/")
    from airflow_provider_jimeng.core.parameters import RenderRequest

    request = RenderRequest.build(
        **{name: kwargs[name] for name in ("prompt", "model", "duration", "aspect_ratio")}
    )
    folder = tmp_path / ".jimeng" / "requests" / request.fingerprint
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    tasks = tmp_path / ".jimeng" / "tasks"
    tasks.mkdir()
    (tasks / "a.json").write_text("no record")
    with pytest.raises(LedgerError):
        plan([{"prompt": "x"}], output_path=f"{tmp_path}/")
    shutil.rmtree(tmp_path / ".jimeng")
    assert len(plan([{"prompt": "x"}], output_path=f"{tmp_path}/")) == 1
