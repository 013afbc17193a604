# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4 import MediaInfo, inspect_mp4
from tests.core.test_mp4 import FTYP, HDLR, MDHD, box, entry, stsd, words
from tests.harness.videos import video

FRAGMENTED = [
    "frag_keyframe",
    "frag_keyframe+empty_moov",
    "frag_keyframe+empty_moov+default_base_moof",
    "frag_keyframe+empty_moov+omit_tfhd_offset",
    "frag_keyframe+delay_moov",
    "frag_every_frame+empty_moov",
    "frag_keyframe+dash",
    "frag_keyframe+empty_moov+global_sidx",
    "frag_keyframe+empty_moov+skip_trailer",
    "frag_keyframe+cmaf",
]
SAYS_ITS_LENGTH = [
    "frag_keyframe+empty_moov+global_sidx",
    "frag_keyframe+empty_moov+global_sidx+skip_trailer",
]


def look(data: bytes) -> MediaInfo:
    return inspect_mp4(io.BytesIO(data))


def made(movflags: str, frames: int = 30) -> bytes:
    return video(frames=frames, keyframe_every=6, movflags=movflags)


def cut(movflags: str) -> bytes:
    """Return a file with a first, a middle and a last fragment, for tests that cut it at each byte."""
    return made(movflags, frames=3 if "frag_every_frame" in movflags else 18)


def starts(data: bytes) -> dict[int, bytes]:
    """Return the type of each top-level box by its offset."""
    found, at = {}, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found[at], at = kind, at + size
    return found


@pytest.mark.parametrize("movflags", FRAGMENTED)
def test_frames_and_duration_count_all_fragments(movflags: str) -> None:
    info = look(made(movflags))
    assert (info.frames, info.fps, info.duration_seconds) == (30, 24.0, 1.25)
    assert info.open_ended is ("skip_trailer" in movflags)


@pytest.mark.parametrize("movflags", FRAGMENTED)
def test_a_cut_within_a_fragment_is_noticed(movflags: str) -> None:
    data = cut(movflags)
    boxes = starts(data)
    index = next((at for at, kind in boxes.items() if kind == b"mfra"), len(data))
    ends = {*boxes, len(data)}
    for length in range(1, index):
        if length not in ends:
            with pytest.raises(DamagedMediaError):
                look(data[:length])


@pytest.mark.parametrize("movflags", [flags for flags in FRAGMENTED if "global_sidx" not in flags])
def test_a_cut_between_fragments_that_nothing_tells_of_is_said_to_be_possible(movflags: str) -> None:
    data = made(movflags)
    begins = b"sidx" if "dash" in movflags else b"moof"
    for at, kind in starts(data).items():
        if kind in (begins, b"mfra") and at > data.index(b"mdat"):
            assert look(data[:at]).open_ended


@pytest.mark.parametrize("movflags", SAYS_ITS_LENGTH)
def test_an_index_of_all_segments_tells_of_every_cut(movflags: str) -> None:
    data = cut(movflags)
    end = next((at for at, kind in starts(data).items() if kind == b"mfra"), len(data))
    assert not look(data).open_ended
    for length in range(end):
        with pytest.raises(DamagedMediaError):
            look(data[:length])


def test_a_cut_within_the_index_at_the_end_leaves_the_fragments_whole() -> None:
    data = made("frag_keyframe+empty_moov")
    index = next(at for at, kind in starts(data).items() if kind == b"mfra")
    info = look(data[: index + 20])
    assert info == replace(look(data), stray_bytes=20)


# --- by hand: what encoders leave to defaults -------------------------------------------------------------------------

TREX = box(b"trex", words(0, 1, 1, 512, 100, 0))


def head(*, mehd: bytes = b"", trex: bytes = TREX, long_times: bool = False) -> bytes:
    times = (1 << 24, 0, 0, 0, 0) if long_times else (0, 0, 0)
    mvhd = box(b"mvhd", words(*times, 1000, 0), bytes(80))
    tkhd = box(b"tkhd", words(*times, 1, 0), bytes(60))
    tables = stsd(entry()) + box(b"stts", words(0, 0)) + box(b"stco", words(0, 0))
    trak = box(b"trak", tkhd, box(b"mdia", MDHD, HDLR, box(b"minf", box(b"stbl", tables))))
    return FTYP + box(b"moov", mvhd, trak, box(b"mvex", mehd, trex))


def fragment(*trafs: bytes, data: int = 400) -> bytes:
    return box(b"moof", box(b"mfhd", words(0, 1)), *trafs) + box(b"mdat", bytes(data))


def run(count: int = 4, *, track: int = 1) -> bytes:
    return box(b"traf", box(b"tfhd", words(0x20000, track)), box(b"trun", words(0, count)))


def test_durations_and_sizes_come_from_the_defaults_of_the_movie() -> None:
    info = look(head() + fragment(run(4), data=1000) + fragment(run(4), data=1000))
    assert (info.frames, info.fps, info.duration_seconds) == (8, 24.0, round(8 * 512 / 12288, 6))


def test_the_defaults_of_a_fragment_come_before_those_of_the_movie() -> None:
    header = box(b"tfhd", words(0x2001A, 1, 7, 1024, 50))
    info = look(head() + fragment(box(b"traf", header, box(b"trun", words(0, 4)))))
    assert (info.frames, info.fps) == (4, 12.0)


def test_the_numbers_of_each_sample_come_before_every_default() -> None:
    header = box(b"tfhd", words(0x20000, 1))
    samples = box(b"trun", words(0xF05, 2, 0, 9, 100, 10, 0, 0, 300, 20, 0, 0))
    info = look(head() + fragment(box(b"traf", header, samples)))
    assert (info.frames, info.duration_seconds) == (2, round(400 / 12288, 6))


def test_samples_beyond_the_boxes_tell_of_a_cut_whichever_offset_they_start_from() -> None:
    start = len(head())
    for header, samples in (
        (words(0x20000, 1), words(0, 9)),
        (words(0, 1), words(0, 9)),
        (words(0x1, 1, 0, start), words(0, 9)),
        (words(0x20000, 1), words(0x1, 4, 200)),
    ):
        data = head() + fragment(box(b"traf", box(b"tfhd", header), box(b"trun", samples)))
        with pytest.raises(DamagedMediaError, match=f"fragment at byte {start} should end at byte"):
            look(data)


def test_an_offset_may_point_backwards() -> None:
    samples = box(b"trun", words(0x1, 4, 2**32 - 100))
    assert look(head() + fragment(box(b"traf", box(b"tfhd", words(0x20000, 1)), samples))).frames == 4


def test_runs_and_tracks_of_a_fragment_follow_each_other() -> None:
    two = box(b"traf", box(b"tfhd", words(0, 1)), box(b"trun", words(0, 2)), box(b"trun", words(0, 1)))
    other = box(b"traf", box(b"tfhd", words(0x10, 2, 150)), box(b"trun", words(0, 1)))
    data = head() + fragment(two, other)
    assert look(data).frames == 3
    with pytest.raises(DamagedMediaError, match="should end at byte"):
        look(
            head() + fragment(two, box(b"traf", box(b"tfhd", words(0x10, 2, 400)), box(b"trun", words(0, 1))))
        )


@pytest.mark.parametrize("long_times", [False, True])
@pytest.mark.parametrize("long_duration", [False, True])
def test_a_promised_duration_tells_of_a_missing_fragment(*, long_times: bool, long_duration: bool) -> None:
    seconds = 8 * 512 * 1000 // 12288
    mehd = box(b"mehd", words(1 << 24, 0, seconds) if long_duration else words(0, seconds))
    first, second = (fragment(run(4), data=1000) for _ in range(2))
    data = head(mehd=mehd, long_times=long_times)
    assert not look(data + first + second).open_ended
    assert look(data + first + second + b"\0\0\0\x20moof").stray_bytes == 8
    with pytest.raises(DamagedMediaError, match=r"promises 0\.333 s, and its fragments last 0\.167 s"):
        look(data + first)


def test_a_track_that_cannot_be_read_adds_nothing_to_what_was_promised() -> None:
    data = head(mehd=box(b"mehd", words(0, 900)))
    bare = box(b"trak")
    moov = data[len(FTYP) + 8 :] + bare
    with pytest.raises(DamagedMediaError, match=r"promises 0\.900 s"):
        look(FTYP + box(b"moov", moov) + fragment(run()))


def test_a_promise_of_nothing_is_none() -> None:
    assert look(head(mehd=box(b"mehd", words(0, 0))) + fragment(run())).open_ended


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (head() + box(b"mdat", bytes(8)), "no frames"),
        (head() + fragment(run(track=2)), "no frames"),
        (head() + fragment(box(b"traf")), "no 'tfhd' box"),
        (
            head() + fragment(box(b"traf", box(b"tfhd", words(0, 1)), box(b"trun", words(0x100, 9)))),
            "lists 9 samples",
        ),
        (head() + fragment(run()) + b"\0\0\0\x20moof" + bytes(8), "'moof' at byte .* lacks 16"),
        (head() + fragment(run()) + b"\0\0\0\x20mo", "ends before its fields"),
        (head() + fragment(run()) + b"\0\0", "ends before its fields"),
        (head() + fragment(run()) + b"\0\0\0\x20", "ends before its fields"),
    ],
)
def test_what_is_no_whole_fragmented_video_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(DamagedMediaError, match=said):
        look(data)


@pytest.mark.parametrize("stray", [bytes(4), bytes(32), b"\r\n", b"The end.", b"OK"])
def test_bytes_that_begin_no_box_are_stray_in_an_open_ended_file(stray: bytes) -> None:
    assert look(head() + fragment(run()) + stray).stray_bytes == len(stray)


def test_a_run_without_a_byte_for_each_sample_costs_nothing() -> None:
    sizeless = box(b"trex", words(0, 1, 1, 1, 0, 0))
    assert look(head(trex=sizeless) + fragment(run(2**32 - 1))).frames == 2**32 - 1


def seeds() -> st.SearchStrategy[bytes]:
    """Return whole files, which are made when the first of them is drawn."""
    files = [made(movflags) for movflags in ("frag_keyframe+dash", "frag_keyframe+empty_moov+global_sidx")]
    return st.sampled_from([*files, head(mehd=box(b"mehd", words(0, 300))) + fragment(run()) * 2])


@settings(max_examples=300)
@given(
    st.deferred(seeds),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_no_mutation_of_a_fragmented_file_does_more_than_be_refused(
    seed: bytes, patches: list[tuple[int, bytes]]
) -> None:
    data = bytearray(seed)
    for at, patch in patches:
        place = at % len(data)
        data[place : place + len(patch)] = patch
    try:
        info = look(bytes(data))
    except DamagedMediaError:
        return
    assert info.frames
