# SPDX-License-Identifier: Apache-2.0
"""The fields of a connection in both languages."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS, STANDARD_FIELDS

ROOT = Path(__file__).parents[2]


def test_the_chinese_of_the_form_is_that_of_the_chinese_documents() -> None:
    translations = ROOT / "docs" / "locale" / "zh_CN" / "LC_MESSAGES" / "docs" / "connection.po"
    page = translations.read_text(encoding="utf-8").replace("`", "").replace('\\"', '"')
    assert [setting.name for setting in CONNECTION_SETTINGS if setting.meaning_zh not in page] == []


def test_every_field_of_the_form_has_both_languages() -> None:
    for setting in CONNECTION_SETTINGS:
        assert setting.form_label == f"{setting.label} · {setting.title_zh}"
        assert setting.form_description == f"{setting.meaning} {setting.meaning_zh}"
    titled = [field for field in STANDARD_FIELDS if field.title]
    assert [field.form_label for field in titled] == [f"{field.title} · {field.title_zh}" for field in titled]
    assert all(field.title_zh for field in titled)
