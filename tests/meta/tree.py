# SPDX-License-Identifier: Apache-2.0
"""The project's source as syntax trees, for the tests that watch over house rules."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_jimeng"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module, by its full name."""

    module: str
    line: int
    typing_only: bool

    @property
    def top(self) -> str:
        """The distribution's side of the name: `airflow` of `airflow.sdk`."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Module:
    """One file of the project."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The path inside the repository, as `core/wire.py` for the package and `tests/…` for the rest."""
        relative = self.path.relative_to(ROOT)
        return str(relative.relative_to(PACKAGE)) if relative.parts[0] == PACKAGE else str(relative)

    @property
    def layer(self) -> str:
        """The folder below the package, or the name of a module that lies in the package itself."""
        return Path(self.name).parts[0]

    def imports(self) -> Iterator[Import]:
        """Every import, also those inside functions; those under `TYPE_CHECKING` are marked."""
        typing_only = {id(node) for block in self._typing_blocks() for node in ast.walk(block)}
        for node in ast.walk(self.tree):
            for name in _imported(node):
                line = getattr(node, "lineno", 0)
                yield Import(module=name, line=line, typing_only=id(node) in typing_only)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def docstrings(self) -> set[int]:
        """The ids of the constants that are documentation."""
        bodies = [
            body for node in ast.walk(self.tree) if isinstance(body := getattr(node, "body", None), list)
        ]
        return {
            id(statement.value)
            for body in bodies
            for statement in body
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        }

    def _typing_blocks(self) -> Iterator[ast.If]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield node


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


@cache
def modules(folder: str = PACKAGE) -> tuple[Module, ...]:
    """All Python files below a folder of the repository, in a stable order."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(path=path, text=text, tree=ast.parse(text, str(path))))
    return tuple(found)


def everything() -> tuple[Module, ...]:
    """All Python files that are ours."""
    return tuple(
        module
        for folder in (PACKAGE, "example_dags", "tests", "benchmarks", "docs")
        for module in modules(folder)
    )
