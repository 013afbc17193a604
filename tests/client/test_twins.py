"""The sync and the async client are one text: taking `async` and `await` away leaves no difference."""

from __future__ import annotations

import ast
from pathlib import Path

from airflow_provider_jimeng.client import clients

NAMES = {
    "AsyncJimengClient": "JimengClient",
    "AsyncChannel": "Channel",
    "AsyncBaseTransport": "BaseTransport",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
}


class _Strip(ast.NodeTransformer):
    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        plain = ast.FunctionDef(
            **{name: getattr(node, name) for name in ast.FunctionDef._fields if hasattr(node, name)}
        )
        plain.name = NAMES.get(node.name, node.name)
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        stripped: ast.AST = self.visit(node.value)
        return stripped

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(NAMES.get(node.id, node.id), node.ctx), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = NAMES.get(node.attr, node.attr)
        return node


def body_of(name: str) -> list[str]:
    tree = ast.parse(Path(clients.__file__).read_text(encoding="utf-8"))
    (twin,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = [node for node in twin.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [ast.unparse(_Strip().visit(method)) for method in methods]


def test_the_twins_differ_by_await_only() -> None:
    assert body_of("AsyncJimengClient") == body_of("JimengClient")
