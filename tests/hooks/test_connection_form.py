# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.connection_settings import SETTINGS_BY_NAME
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR

FIELDS: dict[str, Any] = dict(CONN_FIELDS)
AIRFLOW = Path(airflow.__file__).parent


class Field:
    def __init__(self, label: str, **options: Any) -> None:
        self.label = label
        self.options = options


class PasswordField(Field):
    pass


class StringField(Field):
    pass


@pytest.fixture
def web_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the web servers of Airflow 3.1 and older bring along, and newer ones do not."""

    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module("wtforms", PasswordField=PasswordField, StringField=StringField)
    module("wtforms.validators", Optional=lambda: "optional", any_of=tuple)
    module("flask_appbuilder")
    module(
        "flask_appbuilder.fieldwidgets",
        BS3PasswordFieldWidget=lambda: "dots",
        BS3TextFieldWidget=lambda: "text",
    )
    module("flask_babel", lazy_gettext=lambda text: text)


def test_the_form_offers_what_a_connection_may_hold_but_for_the_transport_that_an_extra_brings() -> None:
    assert [*FIELDS, "transport"] == list(SETTINGS_BY_NAME)


@pytest.mark.usefixtures("web_libraries")
def test_the_form_of_older_airflows_is_made_from_the_same_declaration() -> None:
    widgets = JimengHook.get_connection_form_widgets()
    assert list(widgets) == list(FIELDS)
    for name, widget in widgets.items():
        declared = FIELDS[name]
        secret = declared["schema"].get("format") == "password"
        assert isinstance(widget, PasswordField if secret else StringField)
        assert widget.label == declared["label"]
        assert widget.options["description"] == declared["description"]
        assert widget.options["default"] == declared["schema"].get("default")
        assert widget.options["widget"] == ("dots" if secret else "text")
    assert widgets["auth"].options["validators"] == ["optional", ("volc", "bearer")]
    assert widgets["region"].options["validators"] == ["optional"]


def test_the_behaviour_of_older_airflows_is_made_from_the_same_declaration() -> None:
    behaviour = JimengHook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    assert behaviour["relabeling"] == UI_FIELD_BEHAVIOUR["relabeling"]
    schema = json.loads((AIRFLOW / "customized_form_field_behaviours.schema.json").read_text())
    jsonschema.validate(behaviour, schema)


@pytest.mark.parametrize("name", ["session_token", "proxy"])
def test_what_may_hold_a_secret_is_masked_in_the_form(name: str) -> None:
    assert FIELDS[name]["schema"]["format"] == "password"


def test_the_defaults_of_the_form_are_those_of_the_settings() -> None:
    keys: dict[str, Any] = {"login": "AK", "password": "SK"}
    filled = {name: field["schema"].get("default") for name, field in FIELDS.items()}
    assert ClientSettings.from_connection_fields(
        **keys, extra=filled
    ) == ClientSettings.from_connection_fields(**keys)
