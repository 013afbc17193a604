# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pkgutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng import links
from airflow_provider_jimeng.web.plugin import VIDEO_OPERATORS, JimengPlugin, external_views
from tests.harness.processes import inherited_environment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.web.conftest import Reader

RUNNING = SimpleNamespace(
    dag_id="ads & more", run_id="manual__2026-05-04T12:00:00+00:00", task_id="g.render", map_index=2
)


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    from airflow import plugins_manager

    if hasattr(plugins_manager, "get_plugin_info"):
        found = {plugin["name"]: plugin for plugin in plugins_manager.get_plugin_info()}
        assert [view["name"] for view in found["jimeng"]["external_views"]][:1] == ["Renders"]


def test_the_navigation_leads_to_the_gallery() -> None:
    assert [app["url_prefix"] for app in JimengPlugin.fastapi_apps] == ["/jimeng"]
    (view, *others) = external_views()
    assert view["destination"] == "nav"
    assert view["href"] == "/jimeng/"
    assert [other["destination"] for other in others] == ["task_instance"] * links.has_task_tabs()


def test_the_plugin_can_be_read_over_airflows_api(viewer: Reader) -> None:
    reply = viewer.client.get("/api/v2/plugins", headers={"Authorization": f"Bearer {viewer.token}"})
    (plugin,) = [one for one in reply.json()["plugins"] if one["name"] == "jimeng"]
    assert plugin["fastapi_apps"][0]["url_prefix"] == "/jimeng"
    assert plugin["external_views"][0]["url_route"] == "jimeng-renders"


def test_addresses_are_below_the_base_path_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for base_url, page, link in (
        ("", "/jimeng/", "/jimeng/render?"),
        ("http://airflow.example:8080/", "/jimeng/", "http://airflow.example:8080/jimeng/render?"),
        ("https://a.example/team/flow", "/team/flow/jimeng/", "https://a.example/team/flow/jimeng/render?"),
    ):
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
        assert external_views()[0]["href"] == page
        assert links.video_page("d", "r", "t").startswith(link)


def test_the_button_on_the_task_page_leads_to_the_video_of_that_task_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://localhost:8080")
    button: Any = links.JimengVideoLink()
    assert button.name == "Video"
    assert button.get_link(None, ti_key=RUNNING) == (
        "http://localhost:8080/jimeng/render?dag_id=ads+%26+more&run_id=manual__2026-05-04T12%3A00%3A00%2B00%3A00"
        "&task_id=g.render&map_index=2"
    )


def test_every_operator_that_has_a_video_has_the_button() -> None:
    from airflow_provider_jimeng.operators import video as operators
    from airflow_provider_jimeng.provider_info import get_provider_info
    from airflow_provider_jimeng.sensors.video import JimengVideoSensor

    for name in VIDEO_OPERATORS:
        operator = JimengVideoSensor if name == JimengVideoSensor.__name__ else getattr(operators, name)
        assert [type(link) for link in operator.operator_extra_links] == [links.JimengVideoLink]
    listed: Any = get_provider_info()["extra-links"]
    assert f"{links.JimengVideoLink.__module__}.{links.JimengVideoLink.__qualname__}" in listed


def test_what_0_1_0_called_the_link_and_the_page_still_works() -> None:
    from airflow_provider_jimeng.links import video_page
    from airflow_provider_jimeng.provider_info import get_provider_info

    old = "airflow_provider_jimeng.web.links.JimengVideoLink"  # in the DAGs that Airflow 2.11 keeps
    listed: Any = get_provider_info()["extra-links"]
    assert old in listed
    assert pkgutil.resolve_name(old.replace(".Jimeng", ":Jimeng")) is links.JimengVideoLink
    assert video_page is links.video_page


def test_loading_the_plugin_does_not_load_the_web_framework(tmp_path: Path) -> None:
    env = inherited_environment() | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules);"
        "import airflow_provider_jimeng.web.plugin;"
        "print('loaded:', *({'fastapi', 'sqlalchemy.orm', 'httpx', 'airflow.models.xcom'} & {*sys.modules} - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
