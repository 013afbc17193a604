from __future__ import annotations

import ast
import re

import pytest

from tests.meta.tree import PACKAGE, ROOT, Module, everything, modules

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
SHAPELESS = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
TESTS = [module for module in modules("tests") if module.path.name.startswith("test_")]


def by_name(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", everything(), ids=by_name)
def test_modules_stay_below_four_hundred_lines(module: Module) -> None:
    assert len(module.text.splitlines()) < MAX_MODULE_LINES
    assert module.path.name not in SHAPELESS


@pytest.mark.parametrize("module", modules(), ids=by_name)
def test_functions_stay_below_sixty_lines(module: Module) -> None:
    long = {
        node.name: lines
        for node in module.functions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) >= MAX_FUNCTION_LINES
    }
    assert not long


@pytest.mark.parametrize("module", TESTS, ids=by_name)
def test_the_names_of_tests_are_sentences(module: Module) -> None:
    names = [node.name for node in module.functions() if node.name.startswith("test_")]
    assert not [name for name in names if len(name.split("_")) < 5]


@pytest.mark.parametrize("module", modules("tests"), ids=by_name)
def test_nothing_of_ours_is_patched_or_skipped(module: Module) -> None:
    offences = [f"line {found.line}" for found in module.imports() if found.module.startswith("unittest")]
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
