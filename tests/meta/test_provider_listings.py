# SPDX-License-Identifier: Apache-2.0
"""What `airflow providers …` says of this package, by Airflow's own commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.provider_info import CONFIG, CONN_FIELDS

PACKAGE = "airflow-provider-jimeng"
HOOK = "airflow_provider_jimeng.hooks.jimeng.JimengHook"


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the rows of a listing that are about this package."""
    from airflow.cli.cli_parser import get_parser

    def rows(*command: str) -> list[dict[str, Any]]:
        arguments = get_parser().parse_args(["providers", *command, "--output", "json"])
        capsys.readouterr()
        arguments.func(arguments)
        printed = capsys.readouterr().out
        found = json.loads(printed[printed.index("[") :])
        return [row for row in found if "jimeng" in json.dumps(row)]

    return rows


def test_get_names_package_and_version(listed: Any) -> None:
    assert listed("get", PACKAGE) == [{"Provider": PACKAGE, "Version": __version__}]


def test_hooks_name_the_connection_type_and_its_hook(listed: Any) -> None:
    (row,) = listed("hooks")
    assert (row["connection_type"], row["class"], row["hook_name"]) == ("jimeng", HOOK, "Jimeng AI")
    assert (row["conn_id_attribute_name"], row["package_name"]) == ("jimeng_conn_id", PACKAGE)


@pytest.mark.needs("lists of the form")
def test_behaviours_name_the_connection_type(listed: Any) -> None:
    assert listed("behaviours") == [{"field_behaviours": "jimeng"}]


@pytest.mark.needs("lists of the form")
def test_widgets_are_those_of_the_form(listed: Any) -> None:
    names = {row["connection_parameter_name"] for row in listed("widgets")}
    assert names == {f"extra__jimeng__{field}" for field in CONN_FIELDS}


def test_links_triggers_and_configuration_are_listed(listed: Any) -> None:
    assert listed("links") == [
        {"extra_link_class_name": "airflow_provider_jimeng.links.JimengCampaignLink"},
        {"extra_link_class_name": "airflow_provider_jimeng.links.JimengVideoLink"},
        {"extra_link_class_name": "airflow_provider_jimeng.web.links.JimengVideoLink"},
    ]
    modules = {row["class"] for row in listed("triggers")}
    assert modules == {"airflow_provider_jimeng.triggers.render", "airflow_provider_jimeng.triggers.slot"}
    assert listed("configs") == [{"provider_config": [PACKAGE, CONFIG]}]
