# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest

from airflow_provider_jimeng.hooks.jimeng import JimengHook
from tests.meta.tree import PACKAGE, modules

RENAMED = {"aclose": "close", "aread": "read", "aiter_bytes": "iter_bytes", "aiter_raw": "iter_raw"}


class _Sync(ast.NodeTransformer):
    """Turns asynchronous code into what its synchronous twin should say."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)  # type: ignore[no-any-return]

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        fields: dict[str, Any] = {name: getattr(node, name) for name in node._fields}
        return self.visit(ast.copy_location(ast.FunctionDef(**fields), node))  # type: ignore[no-any-return]

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.generic_visit(ast.copy_location(ast.With(items=node.items, body=node.body), node))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        plain = ast.For(target=node.target, iter=node.iter, body=node.body, orelse=node.orelse)
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def normalised(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(_Sync().visit(node)))
    text = re.sub(r"\b(_?)Async(?=[A-Z])", r"\1", text)
    text = re.sub(r"__a(enter|exit|iter|next)__", r"__\1__", text)
    return re.sub(r"\b\w+\b", lambda word: RENAMED.get(word[0], word[0]), text)


def methods(name: str) -> dict[str, ast.AST]:
    """Return the methods of a client that its users call."""
    found = {
        node.name: node
        for module in modules(f"{PACKAGE}/client")
        for client in module.tree.body
        if isinstance(client, ast.ClassDef) and client.name == name
        for node in client.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {method: node for method, node in found.items() if not method.startswith("_")}


def test_sync_and_async_clients_differ_by_await_alone() -> None:
    sync, asynchronous = methods("JimengClient"), methods("AsyncJimengClient")
    assert list(sync) == list(asynchronous) == ["submit", "query", "cancel"]
    for name, node in sync.items():
        assert normalised(asynchronous[name]) == normalised(node), name


@pytest.mark.parametrize("name", ["submit", "query"])
def test_sync_and_async_methods_of_the_hook_take_the_same_arguments(name: str) -> None:
    sync, asynchronous = getattr(JimengHook, name), getattr(JimengHook, f"a{name}")
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(sync)
    assert inspect.signature(asynchronous) == inspect.signature(sync)
