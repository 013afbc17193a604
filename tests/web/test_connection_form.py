# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from tests.web.conftest import Reader

FIELDS: dict[str, Any] = dict(CONN_FIELDS)
BEHAVIOUR: dict[str, Any] = dict(UI_FIELD_BEHAVIOUR)


def test_the_ui_gets_every_field_of_the_connection_form(admin: Reader) -> None:
    reply = admin.client.get("/ui/connections/hook_meta", headers={"Authorization": f"Bearer {admin.token}"})
    assert reply.status_code == 200, reply.text
    (form,) = [one for one in reply.json() if one["connection_type"] == "jimeng"]
    assert form["hook_name"] == "Jimeng AI"
    assert set(form["extra_fields"]) == set(FIELDS)
    for name, field in form["extra_fields"].items():
        declared = FIELDS[name]["schema"]
        assert field["schema"]["title"] == FIELDS[name]["label"]
        assert field["schema"].get("format") == declared.get("format")
        assert field["value"] == declared.get("default")
    standard = form["standard_fields"]
    assert standard["login"]["title"] == BEHAVIOUR["relabeling"]["login"]
    assert standard["host"]["placeholder"] == BEHAVIOUR["placeholders"]["host"]
