# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS, SETTINGS_BY_NAME
from airflow_provider_jimeng.core.errors import SettingsError

KEYS: dict[str, Any] = {"login": "AKTEST", "password": "SKTEST=="}
META = {"producer_id": "dag-1", "content_propagator": "us", "content_producer": "即梦"}


def settings(**fields: Any) -> ClientSettings:
    return ClientSettings.from_connection_fields(**{**KEYS, **fields})


def with_extra(**extra: Any) -> ClientSettings:
    return settings(extra=extra)


def test_keys_alone_are_enough() -> None:
    plain = settings()
    assert plain.endpoint == "https://visual.volcengineapi.com/"
    assert plain.host == "visual.volcengineapi.com"
    assert (plain.auth, plain.region, plain.service) == ("volc", "cn-north-1", "cv")
    assert (plain.access_key, plain.secret_key, plain.session_token) == ("AKTEST", "SKTEST==", None)
    assert (plain.timeout_seconds, plain.max_requests_per_second) == (30.0, 5.0)
    assert (plain.verify, plain.proxy, plain.media_hosts, plain.aigc_meta) == (True, None, (), None)
    assert plain.catalogue == MODELS


def test_typed_values_and_the_text_of_a_form_mean_the_same() -> None:
    typed = with_extra(
        auth="volc",
        session_token="STS",
        region="cn-beijing",
        service="cv2",
        timeout_seconds=12,
        verify=False,
        proxy="http://proxy.example.com:3128",
        aigc_meta=META,
        prices={"t2v_720p": 0.3},
        models={"jimeng_new": {"like": "t2v_720p"}},
        max_requests_per_second=2.5,
        media_hosts=["cdn.example.com", "10.0.0.7"],
    )
    text = with_extra(
        auth=" VOLC ",
        session_token=" STS ",
        region="cn-beijing",
        service="cv2",
        timeout_seconds="12",
        verify="False",
        proxy="http://proxy.example.com:3128",
        aigc_meta=json.dumps(META),
        prices='{"t2v_720p": 0.3}',
        models='{"jimeng_new": {"like": "t2v_720p"}}',
        max_requests_per_second="2.5",
        media_hosts="CDN.example.com, 10.0.0.7",
    )
    assert typed == text
    assert typed.catalogue["t2v_720p"].price_cny_per_second == Decimal("0.3")
    assert typed.catalogue["jimeng_new"].req_key == "jimeng_new"
    assert typed.aigc_meta == META


def test_an_empty_connection_has_the_declared_default_of_each_setting() -> None:
    read = settings()
    assert read == ClientSettings(access_key=read.access_key, secret_key=read.secret_key)
    for setting in CONNECTION_SETTINGS:
        assert getattr(read, setting.name) == (setting.default if setting.kind != "object" else {})


def test_the_limits_of_a_number_are_allowed_and_nothing_beyond_them() -> None:
    for setting in CONNECTION_SETTINGS:
        if setting.kind != "number":
            continue
        for number in (setting.least, setting.most):
            assert getattr(with_extra(**{setting.name: number}), setting.name) == number
        for number in (setting.least - 0.01, setting.most + 0.01):
            with pytest.raises(SettingsError, match=rf"from {setting.least:g} to {setting.most:g}, got"):
                with_extra(**{setting.name: number})


@pytest.mark.parametrize("empty", [None, "", "  "])
@pytest.mark.parametrize("name", SETTINGS_BY_NAME)
def test_a_field_left_empty_in_the_form_keeps_its_default(name: str, empty: str | None) -> None:
    assert with_extra(**{name: empty}) == settings()


def test_the_json_text_null_leaves_an_object_empty() -> None:
    assert with_extra(prices="null", models="null", aigc_meta="null") == settings()


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        ("true", True),
        ("YES", True),
        ("1", True),
        ("off", False),
        ("0", False),
        (True, True),
        ("/etc/ca.pem", "/etc/ca.pem"),
    ],
)
def test_verify_is_a_switch_or_a_path(verify: Any, expected: bool | str) -> None:
    assert with_extra(verify=verify).verify == expected


@pytest.mark.parametrize(
    "hosts", ['["a.example", "b.example"]', "a.example b.example", ("a.example", "b.example")]
)
def test_media_hosts_may_come_as_json_or_words(hosts: Any) -> None:
    assert with_extra(media_hosts=hosts).media_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth", "basic"),
        ("auth", 1),
        ("session_token", 5),
        ("session_token", "two words"),
        ("region", "cn north"),
        ("service", "即梦"),
        ("timeout_seconds", 0),
        ("timeout_seconds", -1),
        ("timeout_seconds", 601),
        ("timeout_seconds", "soon"),
        ("timeout_seconds", "nan"),
        ("timeout_seconds", "inf"),
        ("timeout_seconds", True),
        ("timeout_seconds", []),
        ("verify", 3),
        ("proxy", "proxy.example.com"),
        ("proxy", "ftp://proxy.example.com"),
        ("proxy", "http://user:pass@[::1"),
        ("proxy", "http://proxy..example.com:3128"),
        ("proxy", f"http://{'x' * 64}.example.com:3128"),
        ("proxy", "http://proxy.example.com:99999"),
        ("proxy", "http://proxy.example.com:port"),
        ("aigc_meta", "{"),
        ("aigc_meta", "[]"),
        ("aigc_meta", {"producer": "x"}),
        ("aigc_meta", {"producer_id": 1}),
        ("aigc_meta", {"producer_id": "x" * 257}),
        ("aigc_meta", {"producer_id": "dag-1"}),
        ("aigc_meta", {"content_propagator": "us"}),
        ("prices", {"no_such_model": 1}),
        ("prices", {"t2v_720p": -1}),
        ("prices", "0.28"),
        ("models", {"t2v_720p": {"no_such_field": 1}}),
        ("models", {"new": {}}),
        ("max_requests_per_second", 0),
        ("max_requests_per_second", "many"),
        ("transport", "requests"),
        ("media_hosts", "[1"),
        ("media_hosts", 7),
        ("media_hosts", ["a.example", ""]),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_connection_and_the_field(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^Connection 'jimeng_x': extra\.{name}"):
        settings(extra={name: value}, conn_id="jimeng_x")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"login": None}, "login"),
        ({"login": "AK/TEST"}, "login"),
        ({"login": "AK TEST"}, "login"),
        ({"password": ""}, "password"),
        ({"password": "SK\nTEST"}, "password"),
    ],
)
def test_missing_or_broken_keys_are_refused_without_showing_them(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=f"^{field}: ") as refusal:
        settings(**fields)
    assert "SK\nTEST" not in str(refusal.value)
    assert "SKTEST" not in str(refusal.value)


@pytest.mark.parametrize(
    ("login", "password", "auth", "remedy"),
    [
        ("AKLT", '"c2VjcmV0"', "volc", "password: quotation marks"),
        ("AKLT", "`c2VjcmV0`", "volc", "password: quotation marks"),
        ("AKLT", "\u300cc2VjcmV0\u300d", "volc", "password: quotation marks"),
        ("AKLT", "'c2VjcmV0", "volc", "password: quotation marks"),
        ("AKLT", "<c2VjcmV0>", "volc", "password: quotation marks or brackets"),
        (None, "[c2VjcmV0]", "bearer", "password: quotation marks or brackets"),
        ("AKLT", "AKLT,c2VjcmV0", "volc", "password: this looks like both keys"),
        ("AKLT", "AKLT/c2VjcmV0", "volc", "password: this looks like both keys"),
        ("AKLT", "AKLT\nc2VjcmV0", "volc", "password: this looks like both keys"),
        ("AKLT c2VjcmV0", "x", "volc", "login: this looks like both keys"),
        (None, "AKLT|c2VjcmV0", "bearer", "set auth to volc"),
        ("AKLT", "SecretAccessKey=c2VjcmV0", "volc", "a key with its name"),
        ("AccessKeyId: c2VjcmV0", "x", "volc", "login: this looks like both keys"),
        ("AKLT", "c2VjcmV0%3D%3D", "volc", "password: it is percent-encoded"),
        ("c2VjcmV0", "AKLTMjAyNi0xMS0yNg", "volc", "password: this looks like an Access Key ID"),
        ("AKLT", "eyJhbGciOiJI.c2VjcmV0.c2ln", "volc", "set auth to bearer"),
        (None, "BEARER:sk-c2VjcmV0", "bearer", "Enter the token alone"),
        (None, "Authorization: Bearer sk-c2VjcmV0", "bearer", "Enter the token alone"),
        (None, "Token sk-c2VjcmV0", "bearer", "Enter the token alone"),
        (None, "Bearer", "bearer", "Enter the token alone"),
        ("AKLT", "***", "volc", "the mask that a form shows in place of a saved key"),
        (None, "c2VjcmV0\ufeff", "bearer", "plain ASCII text"),
        ("'AKLT'", "c2VjcmV0", "volc", "login: quotation marks"),
        ("AKLT", "\u201cc2VjcmV0\u201d", "volc", "password: quotation marks"),
        ("AKLT", "AKLT|c2VjcmV0", "volc", "password: this looks like both keys"),
        ("AKLT", "AKLT:c2VjcmV0", "volc", "password: this looks like both keys"),
        ("AKLT:c2VjcmV0", "c2VjcmV0", "volc", "login: this looks like both keys"),
        ("AKLT|c2VjcmV0", None, "volc", "login: this looks like both keys"),
        ("AKLT", "sk-c2VjcmV0", "volc", "set auth to bearer"),
        (None, "Bearer sk-c2VjcmV0", "volc", "set auth to bearer"),
        (None, "bearer  sk-c2VjcmV0", "bearer", "Enter the token alone"),
        (None, " 'sk-c2VjcmV0'\n", "bearer", "password: quotation marks"),
    ],
)
def test_what_was_pasted_wrong_is_refused_with_the_remedy_and_never_shown(
    login: str | None, password: str | None, auth: str, remedy: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        ClientSettings.from_connection_fields(
            login=login, password=password, host="gw.example.com", extra={"auth": auth}
        )
    assert remedy in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("around", [" ", "\n", "\t", "\r\n", "\u00a0", "\u3000"])
def test_white_space_around_a_pasted_key_is_dropped(around: str) -> None:
    assert settings(login=f"{around}AKTEST{around}", password=f"{around}SKTEST=={around}") == settings()


@pytest.mark.parametrize(
    "secret",
    [
        "TVRJek5EVTJOemc1TURFeU16UTFOamM0T1RBeE1qTTBOVFk=",
        "a/b+c==",
        "bearers-x",
        "tokenless",
        "skeleton",
        "eyJhbGciOiJI",
    ],
)
def test_a_secret_that_only_resembles_something_else_is_taken(secret: str) -> None:
    assert settings(password=secret).secret_key == secret


def test_a_region_with_quotation_marks_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match=r"^extra\.region: quotation marks or brackets"):
        with_extra(region='"cn-north-1"')


@pytest.mark.parametrize("host", ['"gw.example.com"', "<https://gw.example.com>"])
def test_a_host_with_quotation_marks_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^host: .* Remove them"):
        settings(host=host)


def test_a_bearer_token_is_the_password_and_needs_no_login() -> None:
    gateway = settings(
        login=None, password="sk-token", host="https://gw.example.com", extra={"auth": "bearer"}
    )
    assert gateway.endpoint == "https://gw.example.com/jimeng/"
    assert gateway.secret_key == "sk-token"
    with pytest.raises(SettingsError, match=r"^password: .*token"):
        settings(login=None, password=None, host="https://gw.example.com", extra={"auth": "bearer"})


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(settings(extra={"session_token": "STS", "proxy": "http://user:pass@proxy.example.com"}))
    for secret in ("SKTEST", "STS", "pass"):
        assert secret not in shown


def test_everything_secret_is_listed_for_masking() -> None:
    rich = settings(extra={"session_token": "STS", "proxy": "http://user:pass@proxy.example.com"})
    assert rich.secrets == ("SKTEST==", "STS", "pass")
    assert settings().secrets == ("SKTEST==",)


def test_the_account_is_the_endpoint_and_the_key() -> None:
    account = settings().account
    assert len(account) == 12
    assert settings(password="another").account == account
    assert settings(login="AKOTHER").account != account
    assert settings(host="gw.example.com").account != account


def test_two_tokens_of_a_gateway_are_two_accounts() -> None:
    first, second = (
        settings(login=None, password=token, host="https://gw.example.com", extra={"auth": "bearer"}).account
        for token in ("sk-1", "sk-2")
    )
    assert first != second


def test_an_unknown_extra_field_is_a_warning_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        with_extra(timeout_second=5)
        with_extra(colour="red")
    assert "'timeout_second' is unknown and has no effect. Did you mean 'timeout_seconds'?" in caplog.text
    assert "'colour' is unknown and has no effect. Known: auth" in caplog.text
