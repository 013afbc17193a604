# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from tests.harness.videos import video

if TYPE_CHECKING:
    from tests.web.conftest import Reader
    from tests.web.records import Records

PAGES = ["", "render", "compare", "campaign", "costs"]
PER_TASK = ["api/render", "media"]


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(video())
    return path


def test_a_page_is_refused_to_whoever_is_not_signed_in(anonymous: Reader) -> None:
    for page in PAGES:
        assert anonymous.get(page).status_code == 401
        opened_by_a_person = anonymous.get(page, accept="text/html")
        assert opened_by_a_person.status_code == 401
        assert f'../api/v2/auth/login?next=%2Fjimeng%2F{page}"' in opened_by_a_person.text
        assert "default-src 'none'" in opened_by_a_person.headers["content-security-policy"]
        assert "Sign in" in opened_by_a_person.text
        assert "登录" in anonymous.get(page, accept="text/html", accept_language="zh-CN,zh;q=0.9").text


def test_the_sign_in_leads_to_airflows_and_back(anonymous: Reader, viewer: Reader) -> None:
    for page in (*PAGES, "media"):
        text = anonymous.get(page, {"dag_id": "ads", "run_id": "r", "task_id": "t"}, accept="text/html").text
        match = re.search(r'href="([^"]+auth/login[^"]*)"', text)
        assert match is not None
        href = urlsplit(urljoin(f"http://localhost/jimeng/{page}", match.group(1)))
        assert href.path == "/api/v2/auth/login"
        (back,) = parse_qs(href.query)["next"]
        assert urlsplit(back).path == f"/jimeng/{page}"
        assert viewer.get(back.removeprefix("/jimeng/")).status_code == (404 if page == "media" else 200)


def test_data_is_refused_as_json_even_to_a_person(anonymous: Reader) -> None:
    for path, code in {
        "api/renders": 401, "api/render?dag_id=ads&run_id=r&task_id=t": 401, "api/": 404, "nonsense": 404,
    }.items():  # fmt: skip
        reply = anonymous.get(path, accept="text/html,application/xhtml+xml,*/*;q=0.8")
        assert (reply.status_code, reply.headers["content-type"]) == (code, "application/json")


def test_the_way_back_from_the_sign_in_is_a_path_below_airflows_base_path(
    anonymous: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/team/airflow")
    page = anonymous.get("render", {"dag_id": 'a"><script>&b', "run_id": "r"}, accept="text/html").text
    assert "next=%2Fteam%2Fairflow%2Fjimeng%2Frender%3Fdag_id%3Da%2522" in page
    assert "<script>&" not in page


def test_data_and_video_are_refused_to_whoever_is_not_signed_in(
    anonymous: Reader, records: Records, mp4: Path
) -> None:
    ref = records.landed(mp4)
    assert anonymous.get("api/renders").status_code == 401
    for path in PER_TASK:
        assert anonymous.get(path, ref).status_code == 401
        assert anonymous.get(path, ref, authorization="Bearer nonsense").status_code == 403


def test_a_cookie_signs_in_as_a_bearer_token_does(anonymous: Reader, viewer: Reader) -> None:
    assert anonymous.get("api/renders", cookie=f"_token={viewer.token}").status_code == 200


def test_the_gallery_shows_each_reader_the_dags_they_may_read(
    admin: Reader, viewer: Reader, without_xcom: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4, dag_id="ads", render_id="1")
    records.landed(mp4, dag_id="secret_launch", render_id="2")

    assert sorted(admin.ids()) == ["1", "2"]
    assert viewer.ids() == ["1"]
    assert viewer.ids(dag_id="secret_launch") == []
    assert without_xcom.ids() == []
    page = viewer.renders()
    assert page["totals"]["renders"] == 1
    assert [dag["value"] for dag in page["choices"]["dags"]] == ["ads"]


def test_a_dag_of_others_is_forbidden_whether_it_exists_or_not(
    admin: Reader, viewer: Reader, without_xcom: Reader, records: Records, mp4: Path
) -> None:
    secret = records.landed(mp4, dag_id="secret_launch", render_id="2")
    open_to_all = records.landed(mp4, dag_id="ads", render_id="1")

    for path in PER_TASK:
        assert admin.get(path, secret).status_code == 200
        assert viewer.get(path, secret).status_code == 403
        assert viewer.get(path, {**secret, "dag_id": "secret_that_never_was"}).status_code == 403
        assert viewer.get(path, open_to_all).status_code == 200
        assert without_xcom.get(path, open_to_all).status_code == 403


def test_no_spelling_of_the_parameters_reaches_another_dag(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    secret = records.landed(mp4, dag_id="secret_launch")
    rest = [(name, value) for name, value in secret.items() if name != "dag_id"]
    several = [("dag_id", "secret_launch"), ("dag_id", "ads"), *rest]
    for path in PER_TASK:
        # The last one counts, for the right and for the look-up.
        assert viewer.get(path, several).status_code == 404
        assert viewer.get(path, list(reversed(several))).status_code == 403
        assert viewer.get(path, {**secret, "dag_id": "~"}).status_code == 404
        assert viewer.get(path, {**secret, "dag_id": ""}).status_code == 422


def test_takes_of_other_peoples_dags_are_not_shown_beside_a_render(
    admin: Reader, viewer: Reader, records: Records, mp4: Path
) -> None:
    mine = records.landed(mp4, dag_id="ads", render_id="1")
    records.landed(mp4, dag_id="secret_launch", render_id="2")

    assert [take["render_id"] for take in admin.get("api/render", mine).json()["takes"]] == ["2"]
    assert viewer.get("api/render", mine).json()["takes"] == []


def test_the_front_ends_own_files_need_no_sign_in_and_there_are_no_others(anonymous: Reader) -> None:
    for name, kind in (("any/main.js", "text/javascript; charset=utf-8"), ("icon.svg", "image/svg+xml")):
        reply = anonymous.get(f"static/{name}")
        assert reply.status_code == 200
        assert reply.headers["content-type"] == kind
        assert reply.headers["x-content-type-options"] == "nosniff"
    for absent in ("static/any/app.css", "static/any/..%2Fapp.py", "static/main.js", "openapi.json"):
        assert anonymous.get(absent).status_code == 404, absent
