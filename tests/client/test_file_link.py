from __future__ import annotations

from airflow_provider_jimeng.client.file_link import fetch_file
from tests.harness.media_server import MediaServer, reply


def test_a_file_is_read_to_one_byte_beyond_the_bound_and_no_key_goes_along() -> None:
    with MediaServer(answers=[reply(200, b"a" * 1_000_000)]) as server:
        assert fetch_file(server.url, 10) == (200, b"a" * 11)
        assert "Authorization" not in server.seen[0].headers


def test_the_content_of_a_refusal_is_not_read() -> None:
    with MediaServer(answers=[reply(403, b"no")]) as server:
        assert fetch_file(server.url, 10) == (403, b"")
