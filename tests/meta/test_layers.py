# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

from tests.meta.tree import PACKAGE, Module, modules

if TYPE_CHECKING:
    import pytest

# Per layer: what it may import beside the standard library, at run time or for typing alone.
AIRFLOW_LAYERS = {
    "hooks",
    "operators",
    "sensors",
    "triggers",
    "storage",
    "cli",
    "finishing",
    "web",
    "images",
    "lineage",
    "links",
    "notifications",
    "row_sources",
    "pytest_plugin",
    "retry",
}
ALLOWED = {
    "__init__": set(),
    "provider_info": set(),
    "core": {"pendulum"},
    "client": {"pendulum", "httpx", "httpx_aiohttp", "aiohttp"},
    "hooks": {"airflow", "asgiref", "pendulum", "wtforms", "flask_appbuilder", "flask_babel"},
    "operators": {"airflow", "pendulum"},
    "sensors": {"airflow", "pendulum"},
    "triggers": {"airflow", "asgiref", "pendulum"},
    "storage": {"airflow", "fsspec", "pendulum"},
    "cli": {"airflow", "argcomplete", "pendulum", "rich"},
    "finishing": {"PIL", "av", "pendulum"},
    "web": {"airflow", "fastapi", "pendulum", "pydantic", "sqlalchemy", "starlette"},
    "lineage": {"airflow", "attrs"},
    "links": {"airflow", "packaging"},
    "notifications": {"airflow", "asgiref"},
    "tracing": {"opentelemetry"},
    "report_page": {"jinja2"},
    "images": {"airflow", "PIL"},
    "row_sources": {"airflow", "openpyxl"},
    "exceptions": set(),
    "fonts": {"PIL"},
    "pytest_plugin": {"airflow", "pytest"},
    "retry": {"airflow"},
    "emulator": {"PIL", "av", "pendulum"},
}
# What one module of a layer may import on top of its layer.
ALSO = {"emulator/transport.py": {"httpx"}}
# Below a layer, which of our own layers it may know.
KNOWS = {
    "__init__": set(),
    "exceptions": {"core"},
    "provider_info": {"core"},
    "core": {"core"},
    "client": {"core", "client"},
    "emulator": {"core", "emulator", "fonts"},
}
# Part of any layer's world: the package's own version, and a type that stands for "a path".
EVERYBODY = {f"{PACKAGE}.__version__", "os.PathLike"}
# The pure layer computes; it does not reach for the world around it.
IMPURE_MODULES = {
    *("asyncio", "http", "logging", "os", "pathlib", "random", "secrets", "selectors", "shutil"),
    *("signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request"),
}
IMPURE_CALLS = {
    "now",
    "utcnow",
    "today",
    "tomorrow",
    "yesterday",
    "uuid1",
    "uuid4",
    "sleep",
    "urandom",
    "open",
}


def layer_of(module: Module) -> str:
    return module.layer.removesuffix(".py")


def by_name(module: Module) -> str:
    return module.name


def test_every_module_imports_only_what_its_layer_may(subtests: pytest.Subtests) -> None:
    for module in modules():
        with subtests.test(module=by_name(module)):
            layer = layer_of(module)
            assert layer in ALLOWED, (
                f"{module.name}: a new layer needs a line in ALLOWED that says what it may import"
            )
            allowed = ALLOWED[layer] | ALSO.get(module.name, set()) | {PACKAGE}
            if layer in AIRFLOW_LAYERS:
                allowed |= {"httpx"}  # as a type alone; the test below sees to it
            foreign = [
                f"line {found.line}: {found.module}"
                for found in module.imports()
                if found.top not in sys.stdlib_module_names and found.top not in allowed
            ]
            assert not foreign


def test_httpx_is_imported_at_run_time_by_the_client_alone() -> None:
    others = [
        module
        for module in modules()
        if layer_of(module) != "client" and "httpx" not in ALSO.get(module.name, ())
    ]
    assert not [
        f"{module.name} line {found.line}"
        for module in others
        for found in module.imports()
        if found.top == "httpx" and not found.typing_only
    ]


def test_lower_layers_do_not_know_the_ones_above(subtests: pytest.Subtests) -> None:
    cases: list[Module] = [module for module in modules() if layer_of(module) in KNOWS]
    for module in cases:
        with subtests.test(module=by_name(module)):
            known = KNOWS[layer_of(module)]
            above = [
                f"line {found.line}: {found.module}"
                for found in module.imports()
                if found.top == PACKAGE
                and found.module not in EVERYBODY
                and found.module.split(".")[1] not in known
            ]
            assert not above


def test_no_other_layer_imports_the_ui() -> None:
    others = [module for module in modules() if layer_of(module) != "web"]
    assert not [
        f"{module.name} line {found.line}"
        for module in others
        for found in module.imports()
        if f"{found.module}.".startswith(f"{PACKAGE}.web.")
    ]


def test_the_emulator_checks_signatures_with_code_of_its_own(subtests: pytest.Subtests) -> None:
    for module in modules(f"{PACKAGE}/emulator"):
        with subtests.test(module=by_name(module)):
            assert not [
                found.line for found in module.imports() if found.module.startswith(f"{PACKAGE}.client.auth")
            ]


def test_airflow_imports_only_the_table_of_settings_at_start_up() -> None:
    allowed = {
        "__init__.py": ["__future__"],
        "provider_info.py": ["__future__", f"{PACKAGE}.core.connection_settings"],
        "core/connection_settings.py": ["__future__", "dataclasses", "typing"],
    }
    for module in modules():
        if module.name in allowed:
            imported = {found.module.rpartition(".")[0] for found in module.imports()}
            assert sorted(imported) == allowed[module.name], module.name


def test_the_core_has_no_clock_no_randomness_and_no_sleep(subtests: pytest.Subtests) -> None:
    for module in modules(f"{PACKAGE}/core"):
        with subtests.test(module=by_name(module)):
            impure = [
                f"line {found.line}: {found.module}"
                for found in module.imports()
                if found.module not in EVERYBODY
                and any(f"{found.module}.".startswith(f"{name}.") for name in IMPURE_MODULES)
            ]
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call):
                    called = (
                        node.func.attr
                        if isinstance(node.func, ast.Attribute)
                        else getattr(node.func, "id", "")
                    )
                    if called in IMPURE_CALLS:
                        impure.append(f"line {node.lineno}: {ast.unparse(node.func)}()")
            assert not impure
