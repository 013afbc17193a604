# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.cli.paid_checks import codec_of, life_of
from airflow_provider_jimeng.core.assumptions import ASSUMPTIONS, FREE, NEVER, PAID
from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.messages import HttpResult, Request, Response
from airflow_provider_jimeng.emulator.service import MEDIA_PREFIX
from tests.harness.command_line import ACCESS_KEY, SECRET_KEY, CommandLine
from tests.harness.processes import free_port

if TYPE_CHECKING:
    from tests.harness.warm_command import WarmCommand

PAY = ("doctor", "--json", "--pay", "t2v_720p", "--max-cost", "1.40", "--yes")
OF_EVERY_EMULATOR = {"render_seconds", "media_host"}
"""An emulator renders in no time, and its links lead to this machine."""
LABEL = {"producer_id": "doctor-1", "content_propagator": "tests"}

Rewrite = Callable[[Request, Response], Response]


class LyingEmulator(JimengEmulator):
    """An emulator whose replies are rewritten before they leave."""

    rewrites: tuple[Rewrite, ...] = ()
    forgets_ranges = False

    def handle(self, request: Request) -> HttpResult:
        """Answer a request."""
        if self.forgets_ranges:
            kept = tuple(pair for pair in request.headers if pair[0].lower() not in ("range", "if-range"))
            request = replace(request, headers=kept)
        outcome = super().handle(request)
        for rewrite in self.rewrites:
            if isinstance(outcome, Response):
                outcome = rewrite(request, outcome)
        return outcome


def says(text: str, instead: str, *, status: int | None = None) -> Rewrite:
    """Return a rewrite of every reply that holds a text."""

    def rewrite(request: Request, reply: Response) -> Response:
        if request.path.startswith(MEDIA_PREFIX) or text.encode() not in reply.body:
            return reply
        return replace(
            reply, body=reply.body.replace(text.encode(), instead.encode()), status=status or reply.status
        )

    return rewrite


@contextmanager
def account(
    home: Path, warm: WarmCommand, *rewrites: Rewrite, **options: Any
) -> Iterator[tuple[CommandLine, LyingEmulator]]:
    """Serve an emulator; its command line has a connection with a label."""
    emulator = LyingEmulator(
        **{"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "render_seconds": 2, "max_qps": 8, **options}
    )
    emulator.rewrites = rewrites
    with emulator.serve() as server:
        connection = emulator.connection_json(aigc_meta=LABEL)
        settings = {"AIRFLOW_CONN_JIMENG_DEFAULT": connection}
        yield CommandLine(home=home, url=server.url, warm=warm, settings=settings), emulator


def verdicts(payload: Any) -> dict[str, bool | None]:
    """Return what the doctor says of each fact."""
    return {each["name"]: each["agrees"] for each in payload["findings"]}


def wrong(payload: Any) -> set[str]:
    """Return the facts that the doctor says are not as assumed."""
    return {name for name, agrees in verdicts(payload).items() if agrees is False}


def test_every_assumption_of_the_free_part_is_compared_and_agrees_with_the_emulator(
    tmp_path: Path, warm: WarmCommand
) -> None:
    with account(tmp_path, warm, unactivated=("t2v_1080p",)) as (jimeng, emulator):
        done = jimeng.run("doctor", "--json")
        assert (done.code, wrong(done.payload)) == (0, set()), done.out
        found = verdicts(done.payload)
        assert {name for name, each in ASSUMPTIONS.items() if each.seen_by == FREE} <= set(found)
        assert found["closed_model"] is True
        assert {f"model {name}" for name in MODELS} <= set(found)
        assert emulator.bill()["submits"] == 0


def test_the_free_part_names_each_fact_that_is_wrong(tmp_path: Path, warm: WarmCommand) -> None:
    lies = (
        says('"SignatureDoesNotMatch"', '"SignatureDoesNotMatch"', status=403),
        says('"not_found"', '"no_such_task"'),
        says("50200", "50201"),
        says("50400", "50400", status=403),
        says("50429", "50429", status=404),
    )
    options = {"unactivated": ("t2v_1080p",), "max_qps": 3, "clock": lambda: time.time() + 3600}
    with account(tmp_path, warm, *lies, **options, max_skew_seconds=None) as (jimeng, _):
        done = jimeng.run("doctor", "--json")
        assert done.code == 1
        assert wrong(done.payload) == {name for name, each in ASSUMPTIONS.items() if each.seen_by == FREE}


def test_the_paid_part_pays_once_and_its_report_can_be_sent_around(tmp_path: Path, warm: WarmCommand) -> None:
    with account(tmp_path, warm) as (jimeng, emulator):
        done = jimeng.run(*PAY)
        assert wrong(done.payload) == OF_EVERY_EMULATOR, done.out
        assert {name for name, each in ASSUMPTIONS.items() if each.seen_by == PAID} <= set(
            verdicts(done.payload)
        )
        for secret in (SECRET_KEY, ACCESS_KEY, "sign=", "dy_q", MEDIA_PREFIX):
            assert secret not in done.out + done.err
        again = jimeng.run(*PAY)
        assert wrong(again.payload) == {"media_host"}
        bill = emulator.bill()
        assert (bill["accepted"], len(jimeng.videos())) == (1, 1)


def twice_as_fast(request: Request, reply: Response) -> Response:
    """Play the video twice as fast, in another codec."""
    if not request.path.startswith(MEDIA_PREFIX):
        return reply
    body = bytearray(reply.body)
    for box in (b"mvhd", b"mdhd"):
        at = body.find(box) + 16
        body[at : at + 4] = struct.pack(">I", 2 * struct.unpack(">I", body[at : at + 4])[0])
    return replace(reply, body=bytes(body).replace(b"avc1", b"hvc1"))


class OneLink:
    """Repeats the first link in every reply."""

    link: bytes | None = None

    def __call__(self, request: Request, reply: Response) -> Response:
        found = re.search(rb'"video_url": *"([^"]+)"', reply.body)
        if found is None:
            return reply
        self.link = self.link or found[1]
        return replace(reply, body=reply.body.replace(found[1], self.link))


def no_cancel(request: Request, reply: Response) -> Response:
    """Accept every cancel."""
    if "Action=CVCancelTask" not in request.query_string:
        return reply
    return replace(reply, status=200, body=json.dumps({"code": 10000, "data": {}}).encode())


@pytest.mark.real
def test_the_paid_part_names_each_fact_that_is_wrong(tmp_path: Path, warm: WarmCommand) -> None:
    spec = replace(MODELS["t2v_720p"], sizes={"16:9": (1280, 720)})
    lies = (says('"generating"', '"drawing"'), twice_as_fast, OneLink(), no_cancel)
    options: dict[str, Any] = {"catalogue": {**MODELS, "t2v_720p": spec}, "url_lifetime": 7200}
    with account(tmp_path, warm, *lies, **options) as (jimeng, emulator):
        emulator.forgets_ranges = True
        emulator.faults.add(where="query", what="untagged", times=100)
        done = jimeng.run(*PAY)
        assert done.code == 1, done.err
        paid = {name for name, each in ASSUMPTIONS.items() if each.seen_by == PAID}
        assert wrong(done.payload) == paid - {"container", "fresh_id"}


@pytest.mark.real
@pytest.mark.nightly
def test_a_fresh_id_that_is_unknown_at_first_is_said(tmp_path: Path, warm: WarmCommand) -> None:
    with account(tmp_path, warm) as (jimeng, emulator):
        emulator.faults.add(where="query", what="not_found", nth=1, prompt_contains="paper boat")
        (finding,) = [each for each in jimeng.run(*PAY).payload["findings"] if each["name"] == "fresh_id"]
        assert (finding["seen"], finding["agrees"]) == ("unknown at first", True)


@pytest.mark.real
@pytest.mark.nightly
def test_a_paid_render_that_fails_is_said_after_what_was_found(tmp_path: Path, warm: WarmCommand) -> None:
    with account(tmp_path, warm) as (jimeng, emulator):
        emulator.faults.add(where="render", what="fail", code=50412)
        done = jimeng.run(*PAY)
        assert (done.code, done.payload["error"]["error"]) == (4, "RenderFailedError")
        assert "paid_render" in verdicts(done.payload)


@pytest.mark.real
@pytest.mark.nightly
def test_a_file_that_is_no_mp4_is_said(tmp_path: Path, warm: WarmCommand) -> None:
    def webm(request: Request, reply: Response) -> Response:
        is_media = request.path.startswith(MEDIA_PREFIX)
        return replace(reply, body=b"\x1a\x45\xdf\xa3" + bytes(len(reply.body) - 4)) if is_media else reply

    with account(tmp_path, warm, webm) as (jimeng, _):
        assert "container" in wrong(jimeng.run(*PAY).payload)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--pay", "t2v_720p"), "--max-cost: is missing"),
        (("--pay", "t2v_720p", "--max-cost", "1"), "about 1.40 CNY"),
        (("--pay", "t2v_720p", "--max-cost", "2"), "no terminal to ask"),
        (("--pay", "t2v_72p", "--max-cost", "2", "--yes"), "t2v_720p"),
    ],
    ids=["no-cap", "over-the-cap", "not-asked", "no-model"],
)
def test_nothing_is_paid_without_cap_and_consent(
    tmp_path: Path, warm: WarmCommand, words: tuple[str, ...], reason: str
) -> None:
    with account(tmp_path, warm) as (jimeng, emulator):
        done = jimeng.run("doctor", *words)
        assert (done.code, reason in done.err) == (2, True), done.err
        assert emulator.bill()["submits"] == 0


def test_refused_keys_and_an_endpoint_that_is_away_are_said(tmp_path: Path, warm: WarmCommand) -> None:
    with account(tmp_path, warm) as (jimeng, _):
        jimeng.settings.pop("AIRFLOW_CONN_JIMENG_DEFAULT")
        refused = jimeng.run("doctor", "--json", env={"VOLC_ACCESSKEY": "AKLTanother"})
        assert (refused.code, wrong(refused.payload) & {"signature"}) == (3, {"signature"})
        away = jimeng.run("doctor", "--json", env={"JIMENG_VIDEO_API_URL": f"http://127.0.0.1:{free_port()}"})
        assert (away.code, wrong(away.payload)) == (1, {"reached"})


def test_the_life_of_a_link_is_read_from_its_text() -> None:
    made, end = 1_767_355_200, 1_767_355_200 + 3604
    link = f"https://v26.example.com/0123456789abcdef0123456789abcdef/{end:x}/video/tos/?dy_q={made}&l=1"
    assert life_of(link) == 3604
    assert life_of("https://v26.example.com/video.mp4?dy_q=x") is None
    assert life_of("https://v26.example.com/video.mp4") is None


def test_the_codec_is_read_from_the_sample_description() -> None:
    assert codec_of(b"....stsd" + bytes(12) + b"av01....") == "av01"
    assert codec_of(b"no such box") is None


def test_every_assumption_has_a_confidence_and_a_source(subtests: pytest.Subtests) -> None:
    for name, each in ASSUMPTIONS.items():
        with subtests.test(name=repr(name)):
            assert each.name == name
            assert re.search(r"\b[HML]\b", each.confidence)
            assert each.source
            assert each.seen_by in (FREE, PAID, NEVER)
