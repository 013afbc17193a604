# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import hashlib
import itertools
import zlib
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.errors import (
    DamagedMediaError,
    LandingError,
    LinkRefusedError,
    MediaHostRefusedError,
)
from airflow_provider_jimeng.storage.download import Patience
from tests.harness.media_server import (
    Answer,
    MediaServer,
    Request,
    cut,
    reply,
    stalled,
    whole,
    without_length,
    without_ranges,
)
from tests.harness.videos import video
from tests.storage.conftest import Lander

VIDEO = video(frames=24)
HALF = len(VIDEO) // 2
NAME = "t2v_720p-7392616336519610409.mp4"


def landed(folder: Path) -> bytes:
    return (folder / NAME).read_bytes()


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[cut(VIDEO, after=1000), cut(VIDEO, after=500), whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, "bytes=1000-", "bytes=1500-"]
    assert landed(tmp_path) == VIDEO
    assert manifest.bytes == len(VIDEO)
    assert lander.links == 1


def test_progress_resets_the_pause_and_standstill_doubles_it(tmp_path: Path, lander: Lander) -> None:
    nothing: list[Answer] = [cut(VIDEO, after=0)] * 3
    answers = [cut(VIDEO, after=10), *nothing, cut(VIDEO, after=10), *nothing, whole(VIDEO)]
    with MediaServer(answers=answers) as server:
        lander(server, f"{tmp_path}/")
    assert lander.pauses == [1, 2, 4, 8, 1, 2, 4, 8]
    assert landed(tmp_path) == VIDEO


def test_a_host_without_ranges_is_read_from_the_first_byte_again(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[without_ranges(VIDEO, after=1000), without_ranges(VIDEO)]) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, "bytes=1000-"]
    assert landed(tmp_path) == VIDEO


def test_a_host_that_always_cuts_at_the_same_byte_is_given_up(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[without_ranges(VIDEO, after=1000)]) as server,
        pytest.raises(LandingError, match="failed 6 times in a row"),
    ):
        lander(server, f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_gives_no_length_is_believed_if_the_video_is_whole(
    tmp_path: Path, lander: Lander
) -> None:
    with MediaServer(answers=[without_length(VIDEO[:HALF]), without_length(VIDEO)]) as server:
        lander(server, f"{tmp_path}/")
    assert landed(tmp_path) == VIDEO
    assert lander.links == 2


def test_a_refused_link_is_replaced(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[int] = [401, 403, 404, 410]
    for number, status in enumerate(cases):
        with subtests.test(status=repr(status)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[reply(status), whole(VIDEO)]) as server:
                manifest = lander(server, f"{folder}/")
            assert [seen.path[-1] for seen in server.seen] == ["1", "2"]
            assert manifest.request_id == "request-2"


def test_a_link_that_expires_half_way_is_replaced_and_the_download_goes_on(
    tmp_path: Path, lander: Lander
) -> None:
    with MediaServer(answers=[cut(VIDEO, after=HALF), reply(403), whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert landed(tmp_path) == VIDEO


def test_links_are_not_asked_for_endlessly(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[reply(403)]) as server,
        pytest.raises(LinkRefusedError, match="refused 4 links in all"),
    ):
        lander(server, f"{tmp_path}/")
    assert lander.links == 4
    assert list(tmp_path.iterdir()) == []


def test_a_busy_host_is_waited_for(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[int] = [408, 429, 500, 503]
    for number, status in enumerate(cases):
        with subtests.test(status=repr(status)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[reply(status), reply(status), whole(VIDEO)]) as server:
                lander(server, f"{folder}/")
            assert lander.pauses == [1, 2]
            assert lander.links == 1


def test_an_answer_that_waiting_does_not_help_ends_the_download(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[reply(400)]) as server,
        pytest.raises(LandingError, match=r"/…/video\.mp4 answered HTTP 400"),
    ):
        lander(server, f"{tmp_path}/")
    assert len(server.seen) == 1


def test_a_file_that_changed_meanwhile_is_read_from_its_first_byte(tmp_path: Path, lander: Lander) -> None:
    other = video(frames=10)
    with MediaServer(answers=[cut(other, after=500, etag='"v0"'), whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/")
    assert landed(tmp_path) == VIDEO


def test_another_part_than_the_one_asked_for_is_not_used(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[str] = [
        f"bytes 900-{len(VIDEO) - 1}/{len(VIDEO)}",
        f"bytes 1000-{len(VIDEO)}/{len(VIDEO) + 1}",
        "nonsense",
    ]
    for number, span in enumerate(cases):
        with subtests.test(span=repr(span)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            answers = [cut(VIDEO, after=1000), reply(206, VIDEO[1000:], Content_Range=span), whole(VIDEO)]
            with MediaServer(answers=answers) as server:
                lander(server, f"{folder}/")
            assert server.ranges() == [None, "bytes=1000-", None]
            assert landed(folder) == VIDEO


def test_a_partial_reply_shorter_than_the_rest_is_continued(tmp_path: Path, lander: Lander) -> None:
    span = f"bytes 1000-1099/{len(VIDEO)}"
    answers = [cut(VIDEO, after=1000), reply(206, VIDEO[1000:1100], Content_Range=span), whole(VIDEO)]
    with MediaServer(answers=answers) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, "bytes=1000-", "bytes=1100-"]
    assert landed(tmp_path) == VIDEO


def test_a_range_that_is_refused_is_given_up_and_the_file_read_anew(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[cut(VIDEO, after=1000), reply(416), whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, "bytes=1000-", None]


def test_a_range_that_is_refused_though_none_was_asked_ends_the_download(
    tmp_path: Path, lander: Lander
) -> None:
    with MediaServer(answers=[reply(416)]) as server, pytest.raises(LandingError, match="HTTP 416"):
        lander(server, f"{tmp_path}/")


def test_a_length_that_is_never_reached_ends_the_download(tmp_path: Path, lander: Lander) -> None:
    def lying(request: Request) -> None:
        request.begin(200, Content_Length=len(VIDEO) + 10)
        request.wfile.write(VIDEO)
        request.hang_up()

    with (
        MediaServer(answers=[lying]) as server,
        pytest.raises(LandingError, match="no complete reply came"),
    ):
        lander(server, f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_host_is_given_up_after_its_timeouts(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[stalled(VIDEO, after=0)]) as server:
        settings = ClientSettings(endpoint=server.endpoint, timeout_seconds=0.1)
        with pytest.raises(LandingError, match="failed 3 times in a row"):
            lander(server, f"{tmp_path}/", settings=settings, patience=Patience(failures=2))
    assert lander.pauses == [1, 2]


def test_a_download_that_takes_too_long_ends(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[list[Answer]] = [[whole(VIDEO)], [reply(503)]]
    for number, answers in enumerate(cases):
        with subtests.test(number=repr(number)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            clock = itertools.count(0, 100.0)
            with (
                MediaServer(answers=answers) as server,
                pytest.raises(LandingError, match="not done after 90 s"),
            ):
                lander(server, f"{folder}/", patience=Patience(total_seconds=90), clock=partial(next, clock))
            assert list(folder.iterdir()) == []


def test_a_redirect_to_a_private_host_lands_nothing(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[reply(302, Location="http://169.254.169.254/x")]) as server,
        pytest.raises(MediaHostRefusedError),
    ):
        lander(server, f"{tmp_path}/")
    assert len(server.seen) == 1
    assert list(tmp_path.iterdir()) == []


def packed(body: bytes, *, after: int | None = None, coding: str = "gzip") -> Answer:
    """The packed file, with a length and no ranges; cut after so many bytes."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(body), Content_Encoding=coding, ETag='"v1"')
        request.wfile.write(body[:after])
        if after is not None:
            request.hang_up()

    return answer


def test_a_video_with_a_coding_that_changes_nothing_lands(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[str] = ["aws-chunked", "identity", "Binary", "aws-chunked, "]
    for number, coding in enumerate(cases):
        with subtests.test(coding=repr(coding)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[reply(200, VIDEO, Content_Encoding=coding)]) as server:
                manifest = lander(server, f"{folder}/")
            assert landed(folder) == VIDEO
            assert manifest.bytes == len(VIDEO)


def test_a_packed_video_lands_as_it_was(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[tuple[bytes, str]] = [
        (gzip.compress(VIDEO, mtime=0), "gzip"),
        (gzip.compress(VIDEO, mtime=0), "X-GZip"),
        (zlib.compress(VIDEO), "deflate"),
        (gzip.compress(VIDEO, mtime=0), "aws-chunked, gzip"),
        (gzip.compress(zlib.compress(VIDEO), mtime=0), "deflate,gzip"),
        (VIDEO, "gzip"),
    ]
    for number, (body, coding) in enumerate(cases):
        with subtests.test(coding=repr(coding)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[packed(body, coding=coding)]) as server:
                manifest = lander(server, f"{folder}/")
            assert landed(folder) == VIDEO
            assert manifest.sha256 == hashlib.sha256(VIDEO).hexdigest()


def test_a_packed_video_that_is_cut_is_read_from_its_first_byte(tmp_path: Path, lander: Lander) -> None:
    body = gzip.compress(VIDEO)
    with MediaServer(answers=[packed(body, after=500), packed(body, after=900), packed(body)]) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, None, None]
    assert landed(tmp_path) == VIDEO


def test_a_plain_part_is_not_continued_with_a_packed_one(tmp_path: Path, lander: Lander) -> None:
    body = gzip.compress(VIDEO)
    span = f"bytes 1000-{len(VIDEO) - 1}/{len(VIDEO)}"
    part = reply(206, body[1000:], Content_Range=span, Content_Encoding="gzip")
    with MediaServer(answers=[cut(VIDEO, after=1000), part, packed(body)]) as server:
        lander(server, f"{tmp_path}/")
    assert server.ranges() == [None, "bytes=1000-", None]
    assert landed(tmp_path) == VIDEO
    with MediaServer(answers=[cut(VIDEO, after=1000), packed(body)]) as server:
        lander(server, f"{tmp_path}/again/")
    assert (tmp_path / "again" / NAME).read_bytes() == VIDEO


def test_a_packed_page_in_place_of_the_video_is_refused(tmp_path: Path, lander: Lander) -> None:
    page = gzip.compress(b"<html>Sign in</html>")
    with MediaServer(answers=[packed(page)]) as server, pytest.raises(LandingError, match="a web page"):
        lander(server, f"{tmp_path}/")


def test_an_unknown_coding_is_refused_in_clear_words(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[packed(VIDEO, coding="aws-chunked, zstd")]) as server,
        pytest.raises(LandingError, match=r"Content-Encoding 'zstd'\. No encoding was requested"),
    ):
        lander(server, f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []


FRAGMENTS = video(frames=120, keyframe_every=24, movflags="frag_keyframe+empty_moov")
CUT = FRAGMENTS[: FRAGMENTS.index(b"moof", len(FRAGMENTS) // 2) - 4]


def test_stray_bytes_after_the_last_box_are_a_warning(
    tmp_path: Path, lander: Lander, caplog: pytest.LogCaptureFixture
) -> None:
    with MediaServer(answers=[whole(VIDEO + bytes(32))]) as server:
        manifest = lander(server, f"{tmp_path}/")
    assert manifest.bytes == len(VIDEO) + 32
    assert "has 32 bytes after the last box" in caplog.text
    assert lander.links == 1


def test_a_fragmented_video_that_may_be_cut_and_is_too_short_is_fetched_again(
    tmp_path: Path, lander: Lander
) -> None:
    with MediaServer(answers=[without_length(CUT), without_length(FRAGMENTS)]) as server:
        manifest = lander(server, f"{tmp_path}/")
    assert landed(tmp_path) == FRAGMENTS
    assert (manifest.frames, manifest.fps, manifest.duration_seconds) == (120, 24.0, 5.0)
    assert lander.links == 2


def test_a_fragmented_video_that_stays_too_short_is_refused(tmp_path: Path, lander: Lander) -> None:
    with (
        MediaServer(answers=[without_length(CUT)]) as server,
        pytest.raises(DamagedMediaError, match="5 s were requested, and it holds 2 s"),
    ):
        lander(server, f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []


def test_a_short_fragmented_video_whose_end_the_host_tells_of_lands(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    cases: list[str] = ["length", "chunks"]
    for number, framing in enumerate(cases):
        with subtests.test(framing=repr(framing)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()

            def chunked(request: Request) -> None:
                request.begin(200, Transfer_Encoding="chunked")
                request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CUT), CUT))

            with MediaServer(answers=[whole(CUT) if framing == "length" else chunked]) as server:
                manifest = lander(server, f"{folder}/")
            assert manifest.duration_seconds == 2.0


def test_a_fragmented_video_of_the_length_that_was_asked_for_needs_no_other_proof(
    tmp_path: Path, lander: Lander
) -> None:
    index = FRAGMENTS.index(b"mfra") - 4
    with MediaServer(answers=[without_length(FRAGMENTS[:index])]) as server:
        lander(server, f"{tmp_path}/")
    assert lander.links == 1


def test_where_nothing_tells_the_length_of_a_fragmented_video_the_log_says_so(
    tmp_path: Path, lander: Lander, caplog: pytest.LogCaptureFixture
) -> None:
    with MediaServer(answers=[without_length(CUT)]) as server:
        lander(server, f"{tmp_path}/", lander.render(duration=None))
    assert "It is unknown whether a part is missing" in caplog.text
