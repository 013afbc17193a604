# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.envelope import any_link, video_link
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import check_links, is_private
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import parse_query

URL = "https://cdn.example.com/a/b.mp4?sign=s&x=1"
ENDPOINT = "https://gateway.example.com/jimeng/"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("url"), inner, max_size=4)
    ),
    max_leaves=20,
)


def link(value: Any, endpoint: str = ENDPOINT) -> str | None:
    return video_link([{"video_url": value}], endpoint)


def test_a_link_is_read_however_it_is_written(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        URL,
        f"  {URL}\n",
        f"\ufeff\u200b{URL}\u3000\xa0",
        f'"{URL}"',
        f"<{URL}>",
        f"`{URL}`",
        URL.replace("mp4", "m\r\n\tp4"),
        URL.replace("&", "&amp;"),
        URL.replace("&", "&#38;"),
        URL.replace("&", "&#x26;"),
        URL.replace("&", "\\u0026"),
        f"{URL},https://cdn.example.com/second.mp4",
        f"{URL}\nhttps://cdn.example.com/second.mp4",
        f"[video]({URL})",
        f"The video: {URL}",
        [URL],
        [None, "", URL],
        [f" {URL} "],
        [{"url": URL}],
        {"url": URL},
        {"urls": [URL]},
        {"video": {"url": URL}},
        {"video_url": [URL]},
        json.dumps([URL]),
        json.dumps({"video_url": URL}),
        json.dumps({"videos": [{"url": URL}]}),
        json.dumps(json.dumps({"url": URL}))[1:-1].replace('\\"', '"'),
    ]
    for written in cases:
        with subtests.test(written=repr(written)):
            assert link(written) == URL


def test_a_link_without_scheme_or_host_is_made_whole(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("//cdn.example.com/1.mp4", "https://cdn.example.com/1.mp4"),
        ("cdn.example.com/1.mp4", "https://cdn.example.com/1.mp4"),
        ("cdn.example.com:8443/1.mp4?a=1", "https://cdn.example.com:8443/1.mp4?a=1"),
        ("HTTPS://cdn.example.com/1.mp4", "HTTPS://cdn.example.com/1.mp4"),
        ("/v1/videos/7/content", "https://gateway.example.com/v1/videos/7/content"),
        (
            "/get?next=https://cdn.example.com/",
            "https://gateway.example.com/get?next=https://cdn.example.com/",
        ),
        ("v1/videos/7/content", "https://gateway.example.com/jimeng/v1/videos/7/content"),
        ("./1.mp4", "https://gateway.example.com/jimeng/1.mp4"),
        ("../1.mp4?a=1", "https://gateway.example.com/1.mp4?a=1"),
        ("1.mp4", "https://gateway.example.com/jimeng/1.mp4"),
    ]
    for written, read in cases:
        with subtests.test(written=repr(written), read=repr(read)):
            assert link(written) == read


def test_a_link_without_scheme_takes_that_of_the_endpoint() -> None:
    assert link("//127.0.0.1:9/1.mp4", "http://127.0.0.1:8787/") == "http://127.0.0.1:9/1.mp4"
    assert link("//cdn.example.com/1.mp4", "") == "https://cdn.example.com/1.mp4"


NO_LINKS: list[Any] = [
    None,
    "",
    " ",
    5,
    True,
    "pending",
    "N/A",
    "-",
    "/",
    "//",
    "./",
    [],
    {},
    [[]],
    {"cover_url": URL},
]
NO_LINKS += [
    "tos://b/k",
    "ftp://a.example/1.mp4",
    "data:video/mp4;base64,AAAA",
    "not yet / soon",
    "/a b",
    "{half",
]
NO_LINKS += ["[" * 10_000, "/" + "a" * 20_000, [[[[[[URL]]]]]]]


def test_what_is_no_link_is_none(subtests: pytest.Subtests) -> None:
    for written in NO_LINKS:
        with subtests.test(written=str(written)[:30]):
            assert link(written) is None


def test_a_relative_link_of_nowhere_is_none() -> None:
    assert link("/1.mp4", "") is None


def test_the_keys_of_the_video_come_before_any_other() -> None:
    layers = [{"url": "https://a.example/page", "result_url": "https://a.example/2"}, {"video_url": URL}]
    assert video_link(layers, ENDPOINT) == URL
    assert any_link(layers, ENDPOINT) == "https://a.example/page"
    assert video_link([{"video_urls": [URL]}], ENDPOINT) == URL
    assert video_link([{"resp_data": json.dumps({"video_url": URL})}], ENDPOINT) == URL


def test_a_reason_for_a_failure_is_a_link_only_as_a_whole() -> None:
    assert video_link([{"fail_reason": f" {URL}"}], ENDPOINT) == URL
    for reason in (f"see {URL}", "/v1/videos", ["a"], None):
        assert video_link([{"fail_reason": reason}], ENDPOINT) is None


def query(data: Any, **more: Any) -> Any:
    return parse_query(200, json.dumps({"code": 10000, "data": data, **more}).encode(), ENDPOINT)


def test_a_finished_render_is_read_wherever_a_person_would_find_the_link(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        {"status": "done", "url": URL},
        {"status": "done", "content": {"video_url": URL}},
        {"status": "done", "output": [URL]},
        {"status": "completed", "metadata": {"url": URL}},
        {"status": "done", "resp_data": json.dumps([{"url": URL}])},
        [{"status": "done", "video_url": URL}],
        json.dumps({"status": "done", "video_url": URL}),
    ]
    for data in cases:
        with subtests.test(data=repr(data)):
            reply = query(data)
            assert (reply.status, reply.video_url) == (RenderStatus.DONE, URL)


def test_other_keys_are_not_read_before_the_render_is_done() -> None:
    assert query({"status": "generating", "url": URL}).video_url is None
    assert query({"status": "simmering", "url": URL}).status is RenderStatus.UNKNOWN


def test_a_flat_answer_with_a_list_of_links_describes_a_render() -> None:
    reply = parse_query(200, json.dumps({"status": "completed", "video_urls": [URL]}).encode())
    assert (reply.status, reply.video_url) == (RenderStatus.DONE, URL)


@given(JSON)
def test_nothing_that_json_can_hold_breaks_the_search(value: Any) -> None:
    found = link(value)
    assert found is None or found.lower().startswith(("http://", "https://"))
    any_link([{"output": value}], ENDPOINT)


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
