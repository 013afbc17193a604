# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from airflow_provider_jimeng.client.settings import endpoint_url
from airflow_provider_jimeng.client.transport import is_local, origin_of
from airflow_provider_jimeng.core.errors import SettingsError

MAPPED = ipaddress.ip_address("::ffff:127.0.0.1")  # Python 3.13 writes it in another way than 3.11


def url(host: str | None = None, schema: str | None = None, port: int | None = None, **options: Any) -> str:
    return endpoint_url(host=host, schema=schema, port=port, **options)


@pytest.mark.parametrize(
    ("host", "schema", "port", "expected"),
    [
        (None, None, None, "https://visual.volcengineapi.com/"),
        ("", "", None, "https://visual.volcengineapi.com/"),
        ("", "http", None, "http://visual.volcengineapi.com/"),
        ("gw.example.com", None, None, "https://gw.example.com/"),
        ("GW.Example.com", None, None, "https://gw.example.com/"),
        ("gw.example.com", "http", None, "http://gw.example.com/"),
        ("gw.example.com", "HTTPS", None, "https://gw.example.com/"),
        ("127.0.0.1:8787", "http", None, "http://127.0.0.1:8787/"),
        ("127.0.0.1", "http", 8787, "http://127.0.0.1:8787/"),
        ("127.0.0.1:8787", "http", 8787, "http://127.0.0.1:8787/"),
        ("gw.example.com", "https", 443, "https://gw.example.com/"),
        ("gw.example.com", "http", 80, "http://gw.example.com/"),
        ("gw.example.com", "http", 443, "http://gw.example.com:443/"),
        ("gw.example.com", None, 0, "https://gw.example.com/"),
        ("https://gw.example.com", None, None, "https://gw.example.com/"),
        ("https://gw.example.com/base/path", None, None, "https://gw.example.com/base/path"),
        ("http://gw.example.com:8080/v1/", None, None, "http://gw.example.com:8080/v1/"),
        ("http://gw.example.com", "http", None, "http://gw.example.com/"),
        ("https://gw.example.com", "base/path", 8443, "https://gw.example.com:8443/base/path"),
        ("gw.example.com/base", None, None, "https://gw.example.com/base"),
        (" gw.example.com ", " https ", None, "https://gw.example.com/"),
        ("[::1]:8787", "http", None, "http://[::1]:8787/"),
        ("http://[::1]", None, 8787, "http://[::1]:8787/"),
        ("::1", "http", 8787, "http://[::1]:8787/"),
        ("2001:db8::1", None, None, "https://[2001:db8::1]/"),
        ("HTTP://[::1]:8787/x", None, None, "http://[::1]:8787/x"),
        ("fe80::1%25eth0", "http", None, "http://[fe80::1%eth0]/"),
        ("[fe80::1%eth0]:8080", "http", None, "http://[fe80::1%eth0]:8080/"),
        ("http://[fe80::1%25eth0]:80/path", None, None, "http://[fe80::1%eth0]/path"),
        ("http://::1", "path", 8787, "http://[::1]:8787/path"),
        ("::1/path", "http", None, "http://[::1]/path"),
        ("::", "http", None, "http://[::]/"),
        ("::ffff:127.0.0.1", "http", 8787, f"http://[{MAPPED}]:8787/"),
        ("//gw.example.com", None, None, "https://gw.example.com/"),
        ("gw.example.com.", None, None, "https://gw.example.com/"),
        ("gw.example.com", "http://", None, "http://gw.example.com/"),
        ("gw.example.com", "HTTP:", None, "http://gw.example.com/"),
        ("gw.example.com", "https/", None, "https://gw.example.com/"),
    ],
)
def test_host_schema_and_port_make_one_url(
    host: str | None, schema: str | None, port: int | None, expected: str
) -> None:
    assert url(host, schema, port) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("https://gw.example.com", "https://gw.example.com/jimeng/"),
        ("https://gw.example.com/", "https://gw.example.com/jimeng/"),
        ("https://gw.example.com/jimeng", "https://gw.example.com/jimeng/"),
        ("https://gw.example.com/team/jimeng/", "https://gw.example.com/team/jimeng/"),
        ("https://gw.example.com/other/", "https://gw.example.com/other/"),
    ],
)
def test_a_bearer_gateway_is_asked_at_its_jimeng_path_unless_a_path_is_given(
    host: str, expected: str
) -> None:
    assert url(host, bearer=True) == expected


@pytest.mark.parametrize(
    ("host", "schema", "port", "field"),
    [
        ("ftp://gw.example.com", None, None, "host"),
        ("https://AK:SK@gw.example.com", None, None, "host"),
        ("https://gw.example.com/?Action=x", None, None, "host"),
        ("https://gw.example.com/#top", None, None, "host"),
        ("gw.example.com:99999", None, None, "host"),
        ("gw.example.com:port", None, None, "host"),
        ("gw example.com", None, None, "host"),
        ("gw\x00.example.com", None, None, "host"),
        ("-gw.example.com", None, None, "host"),
        ("visual..volcengineapi.com", None, None, "host"),
        (f"{'x' * 64}.example.com", None, None, "host"),
        ("即梦.example.com", None, None, "host"),
        ("https://", None, None, "host"),
        ("http://[::1", None, None, "host"),
        ("http://[v1.x]", None, None, "host"),
        ("::1:8787", "http", None, "host"),
        ("http://::1:8787/", None, None, "host"),
        ("fe80::1:2:3:4:5:6:7:8080", None, None, "host"),
        ("http:/gw.example.com", None, None, "host"),
        ("https//gw.example.com", None, None, "host"),
        ("http://https://gw.example.com", None, None, "host"),
        ("'https://gw.example.com'", None, None, "host"),
        ("<gw.example.com>", None, None, "host"),
        ("gw.example.com", "gopher", None, "schema"),
        ("http://gw.example.com", "https", None, "schema"),
        ("http://gw.example.com/base", "other", None, "schema"),
        ("gw.example.com", None, 70000, "port"),
        ("gw.example.com", None, -1, "port"),
        ("gw.example.com:8443", None, 8444, "port"),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_field(
    host: str, schema: str | None, port: int | None, field: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{field}: ") as refusal:
        url(host, schema, port)
    assert "SK" not in str(refusal.value)


@pytest.mark.parametrize(
    ("host", "remedy"),
    [
        ("::1:8787", r"\[::1\]:8787"),
        ("fe80::1:2:3:4:5:6:7:8080", "IPv6 address in brackets"),
        ("http:/gw.example.com", "both slashes"),
        ("即梦.example.com", r"In ASCII the name is 'xn--.*\.example\.com'"),
    ],
)
def test_a_host_that_can_be_understood_is_refused_with_the_way_to_write_it(host: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=remedy):
        url(host)


def test_a_bearer_gateway_needs_a_host() -> None:
    with pytest.raises(SettingsError, match=r"^host: .*gateway"):
        url("", bearer=True)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("emulator.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("visual.volcengineapi.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://gw.example/a", "https://GW.Example:443/b?c", True),
        ("http://gw.example", "http://gw.example:80/", True),
        ("https://gw.example.", "https://gw.example/", True),
        ("https://[2001:DB8::1]/", "https://[2001:db8:0:0:0:0:0:1]:443/", True),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", True),
        ("https://gw.example", "http://gw.example", False),
        ("https://gw.example", "https://gw.example:8443", False),
        ("https://gw.example", "https://gw.example.evil.example", False),
        ("https://gw.example", "https://gw.example@evil.example", False),
        ("https://gw.example", "https://evil.example/gw.example", False),
    ],
)
def test_an_origin_is_scheme_host_and_port_however_they_are_written(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same
