from __future__ import annotations

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.links import check_links, is_private
from airflow_provider_jimeng.core.parameters import RenderRequest

PRIVATE = [
    "http://localhost:8000/a.png",
    "https://LOCALHOST./a.png",
    "http://app.localhost/a.png",
    "http://127.0.0.1/a.png",
    "http://127.1/a.png",
    "http://0x7f.0x0.0x0.0x1/a.png",
    "http://2130706433/a.png",
    "http://10.1.2.3/a.png",
    "http://172.16.0.1/a.png",
    "http://192.168.1.2/a.png",
    "http://169.254.169.254/a.png",
    "http://100.64.0.1/a.png",
    "http://0.0.0.0/a.png",
    "http://224.0.0.1/a.png",
    "http://[::1]/a.png",
    "http://[fe80::1%25eth0]/a.png",
    "http://[fd00::1]/a.png",
    "http://[::ffff:10.0.0.1]/a.png",
    "http://nas.local/a.png",
    "http://minio:9000/a.png",
    "http://minio.default.svc/a.png",
    "http://user:word@host.docker.internal/a.png",
    "http://[broken/a.png",
]
PUBLIC = [
    "https://cdn.example.com/a.png",
    "https://visual.volcengineapi.com/",
    "http://8.8.8.8/a.png",
    "https://[2606:4700:4700::1111]/a.png",
    "https://localhost.example.com/a.png",
    "https://a1.b2.example/a.png",
]


def test_a_host_of_the_own_network_is_known_by_its_name_or_address(subtests: pytest.Subtests) -> None:
    for link in PRIVATE:
        with subtests.test(link=repr(link)):
            assert is_private(link)


def test_a_host_that_may_be_public_is_not_private(subtests: pytest.Subtests) -> None:
    for link in PUBLIC:
        with subtests.test(link=repr(link)):
            assert not is_private(link)


def request(first: str, last: str) -> RenderRequest:
    return RenderRequest.build(model="i2v_first_tail_720p", prompt="x", first_frame=first, last_frame=last)


def test_a_link_into_the_own_network_is_refused_where_the_api_is_public_and_warned_of_elsewhere() -> None:
    asked = request("https://cdn.example.com/a.png", "http://10.0.0.1/a.png?sig=SECRET")
    with pytest.raises(
        ParameterError, match=r"last_frame: 10.0.0.1 is a host in your own network"
    ) as refused:
        check_links(asked, "https://visual.volcengineapi.com/")
    assert "SECRET" not in str(refused.value)
    check_links(asked, "http://127.0.0.1:8787/")
    check_links(asked, "https://gateway.corp/")
    (warning,) = asked.warnings
    assert "open those on 10.0.0.1 only if it runs in your own network" in warning


def test_public_links_and_files_are_neither_refused_nor_warned_of() -> None:
    asked = request("https://cdn.example.com/a.png", "https://cdn.example.com/b.png")
    check_links(asked, "https://visual.volcengineapi.com/")
    check_links(RenderRequest.build(prompt="x"), "https://visual.volcengineapi.com/")
    assert asked.warnings == ()
