# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import airflow
import jsonschema
from airflow.providers_manager import ProvidersManager

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.provider_info import get_provider_info
from tests.harness.features import features
from tests.meta.tree import ROOT

AIRFLOW = Path(str(airflow.__file__)).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((AIRFLOW / name).read_text()))


def test_airflows_run_time_schema_accepts_the_provider_info() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_airflows_strict_schema_accepts_the_connection_type() -> None:
    strict = schema("provider.yaml.schema.json")
    connection_types = {
        "definitions": strict.get("definitions", {}),
        **strict["properties"]["connection-types"],
    }
    jsonschema.validate(get_provider_info()["connection-types"], connection_types)


def test_no_key_is_one_that_airflow_would_silently_ignore() -> None:
    known = set(schema("provider_info.schema.json")["properties"]) | {"package-name", "dataset-uris"}
    known |= set(schema("provider.yaml.schema.json")["properties"])
    if not features()["commands of providers"].works_on(version("apache-airflow")):
        known.add("cli")  # older ones ignore it, and docs/features.toml says so
    assert not set(get_provider_info()) - known


def test_every_class_and_module_it_names_can_be_imported() -> None:
    info: dict[str, Any] = get_provider_info()
    for entry in info["connection-types"]:
        _import(entry["hook-class-name"])
    for group in ("hooks", "operators", "sensors", "triggers"):
        for entry in info.get(group, []):
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for path in info.get("extra-links", []) + info.get("notifications", []):
        _import(path)
    for entry in info.get("plugins", []):
        _import(entry["plugin-class"])


def test_airflow_finds_the_provider_under_the_name_of_the_distribution() -> None:
    found = ProvidersManager().providers[PROJECT["name"]]
    assert found.version == __version__
    assert get_provider_info()["package-name"] == PROJECT["name"]


def test_airflow_offers_the_hook_for_the_connection_type() -> None:
    hooks: Any
    try:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
    except ImportError:  # Airflow 3.1 and older
        hooks = ProvidersManager().hooks
    else:
        hooks = ProvidersManagerTaskRuntime().hooks
    assert hooks["jimeng"].hook_class_name == "airflow_provider_jimeng.hooks.jimeng.JimengHook"


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
