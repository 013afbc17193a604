"""The connection form of Airflow 3.1 and older, built from the declaration in ``provider_info``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow_provider_jimeng.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


def form_widgets() -> dict[str, Any]:
    """Return one WTForms field per extra field; called by Airflow's web server, which brings the libraries."""
    wtforms, validators = import_module("wtforms"), import_module("wtforms.validators")
    appearance = import_module("flask_appbuilder.fieldwidgets")
    translated = import_module("flask_babel").lazy_gettext
    widgets: dict[str, Any] = {}
    declarations: dict[str, Any] = dict(CONN_FIELDS)
    for name, declared in declarations.items():
        schema = declared["schema"]
        secret = schema.get("format") == "password"
        checks = [validators.Optional()]
        if "enum" in schema:
            checks.append(validators.any_of(list(schema["enum"])))
        field = wtforms.PasswordField if secret else wtforms.StringField
        look = appearance.BS3PasswordFieldWidget if secret else appearance.BS3TextFieldWidget
        widgets[name] = field(
            translated(declared["label"]),
            validators=checks,
            description=declared["description"],
            default=schema.get("default"),
            widget=look(),
        )
    return widgets


def field_behaviour() -> dict[str, Any]:
    """Return what becomes of the standard fields, in the spelling of the Python method."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}
