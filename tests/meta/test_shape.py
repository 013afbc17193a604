# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.meta.tree import PACKAGE, ROOT, Module, everything, modules

if TYPE_CHECKING:
    import pytest

MAX_MODULE_LINES = {"package": 450, "tests": 800}
"""A module of tests may be longer: one case after another, read one at a time."""
MAX_FUNCTION_LINES = 60
SHAPELESS = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}


def by_name(module: Module) -> str:
    return module.name


def test_modules_stay_short_enough_to_read(subtests: pytest.Subtests) -> None:
    for module in everything():
        with subtests.test(module=by_name(module)):
            limit = MAX_MODULE_LINES["tests" if module.name.startswith("tests/") else "package"]
            assert len(module.text.splitlines()) < limit
            assert module.path.name not in SHAPELESS


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body: its arguments and its docstring are documentation."""
    docstring = ast.get_docstring(node, clean=False)
    lines = (node.end_lineno or 0) - node.body[0].lineno + 1
    return lines - (len(docstring.splitlines()) if docstring else 0)


def test_functions_stay_below_sixty_lines(subtests: pytest.Subtests) -> None:
    for module in modules():
        with subtests.test(module=by_name(module)):
            long = {
                node.name: lines
                for node in module.functions()
                if (lines := code_lines(node)) >= MAX_FUNCTION_LINES
            }
            assert not long


def test_the_names_of_tests_are_sentences(subtests: pytest.Subtests) -> None:
    for module in modules("tests"):
        if not module.path.name.startswith("test_"):
            continue
        with subtests.test(module=by_name(module)):
            names = [node.name for node in module.functions() if node.name.startswith("test_")]
            assert not [name for name in names if len(name.split("_")) < 5]


# The one place that may skip, by the name of a feature that an older Airflow lacks.
MAY_SKIP = {"tests/harness/features.py"}


def test_nothing_of_ours_is_patched_or_skipped(subtests: pytest.Subtests) -> None:
    cases: list[Module] = [m for m in modules("tests") if m.name not in MAY_SKIP]
    for module in cases:
        with subtests.test(module=by_name(module)):
            offences = [
                f"line {found.line}" for found in module.imports() if found.module.startswith("unittest")
            ]
            for node in ast.walk(module.tree):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                if re.search(r"(^|\.)patch(\.|$)|\.(skip|skipif|xfail|importorskip)$", called):
                    offences.append(f"line {node.lineno}: {called}")
                if called.endswith("monkeypatch.setattr") and PACKAGE in ast.unparse(node):
                    offences.append(f"line {node.lineno}: {ast.unparse(node)}")
            assert not offences


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {module.path.parent for module in modules()}
    assert not [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()]
