# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.meta.tree import PACKAGE, modules

if TYPE_CHECKING:
    import pytest

# Each of these waits for something on the thread that runs every deferred task of the triggerer.
BLOCKING_IMPORTS = ("time.sleep", "subprocess", "requests", "urllib.request", "socket", "sqlite3")
BLOCKING_CALLS = re.compile(
    r"""(^|\.)(
        sleep | get_connection | get_conn | extra_dejson | open | read_bytes | read_text | write_bytes | write_text
        | run_until_complete | result | to_thread
    )$""",
    re.VERBOSE,
)
AWAITED = {"asyncio.sleep"}
# The client of workers, and everything that moves the bytes of a video.
WORKER_ONLY = (f"{PACKAGE}.storage", f"{PACKAGE}.images", f"{PACKAGE}.client.media", f"{PACKAGE}.operators")


def awaited(tree: ast.AST) -> set[int]:
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}


def test_nothing_in_a_trigger_waits_without_await(subtests: pytest.Subtests) -> None:
    for module in modules(f"{PACKAGE}/triggers"):
        with subtests.test(module=module.name):
            waiting = awaited(module.tree)
            offences = [
                f"line {found.line}: {found.module}" for found in module.imports() if _blocks(found.module)
            ]
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call) and BLOCKING_CALLS.search(called := ast.unparse(node.func)):
                    if called in AWAITED and id(node) in waiting:
                        continue
                    offences.append(f"line {node.lineno}: {called}()")
            assert not offences


def test_triggers_neither_submit_nor_download(subtests: pytest.Subtests) -> None:
    for module in modules(f"{PACKAGE}/triggers"):
        with subtests.test(module=module.name):
            offences = [found.module for found in module.imports() if found.module.startswith(WORKER_ONLY)]
            offences += [
                ast.unparse(node.func)
                for node in ast.walk(module.tree)
                if isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith(("submit", "download", "stream"))
            ]
            assert not offences


def _blocks(module: str) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in BLOCKING_IMPORTS)
