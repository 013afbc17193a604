# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast

from airflow_provider_jimeng.operators import xcom
from tests.meta.tree import modules

# Keys that mean nothing else. `task_id`, `quote`, `return_value` and `estimated_cost_cny` are fields of payloads, too.
OWN_KEYS = {xcom.RENDER, xcom.REFUSAL, xcom.INTENT, xcom.EARLIER, xcom.RESCUE}
# The record in Airflow's task state store has the same name as the XCom of the render.
NOT_XCOM = {("storage/ledger.py", xcom.RENDER)}


def test_xcom_is_written_and_read_in_one_module_which_has_every_key() -> None:
    offenders = []
    for module in modules():
        if module.name == "operators/xcom.py":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in {"xcom_push", "xcom_pull"}:
                offenders.append(f"{module.name}:{node.lineno}: {node.attr}")
            if not isinstance(node, ast.Constant) or node.value not in OWN_KEYS:
                continue
            if (module.name, node.value) not in NOT_XCOM:
                offenders.append(f"{module.name}:{node.lineno}: {node.value!r}")
    assert offenders == []
