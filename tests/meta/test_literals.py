# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from tests.meta.tree import Module, modules

if TYPE_CHECKING:
    import pytest

DECLARING = {"core/catalogue.py", "core/codes.py"}
REQ_KEYS = frozenset(spec.req_key for spec in MODELS.values())
CODES = frozenset(str(code) for code in (*BUSINESS_CODES, *GATEWAY_CODES))
CODE = re.compile(r"(?<![\d.])\d{5,6}(?![\d.])")


def offences(module: Module) -> list[str]:
    found = []
    documentation = module.docstrings()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Constant) or id(node) in documentation:
            continue
        if isinstance(node.value, str):
            named = {key for key in REQ_KEYS if key in node.value} | (set(CODE.findall(node.value)) & CODES)
        elif isinstance(node.value, int) and not isinstance(node.value, bool):
            named = {str(node.value)} & CODES
        else:
            continue
        found += [f"line {node.lineno}: {name}" for name in sorted(named)]
    return found


def test_model_keys_and_code_numbers_stand_in_their_tables_only(subtests: pytest.Subtests) -> None:
    cases: list[Module] = [module for module in modules() if module.name not in DECLARING]
    for module in cases:
        with subtests.test(module=module.name):
            assert not offences(module)


def test_the_tables_themselves_would_be_caught() -> None:
    declaring = [module for module in modules() if module.name in DECLARING]
    assert len(declaring) == len(DECLARING)
    assert all(offences(module) for module in declaring)
