# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4 import MediaInfo, inspect_mp4, inspect_mp4_at
from tests.harness.videos import video

LABEL = {"Label": "1", "ContentProducer": "00119144030008389237", "ProduceID": "dag/run/0"}


def box(kind: bytes, *parts: bytes, size: int | None = None) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


FTYP = box(b"ftyp", b"isom", words(512), b"isommp42")
MDAT = box(b"mdat", b"\0" * 64)
STTS = box(b"stts", words(0, 2, 100, 512, 21, 512))
STCO = box(b"stco", words(0, 1, 40))
MDHD = box(b"mdhd", words(0, 0, 0, 12288, 61952, 0))
HDLR = box(b"hdlr", words(0, 0), b"vide", bytes(13))


def entry(width: int = 1248, height: int = 704) -> bytes:
    return box(b"avc1", bytes(24), struct.pack(">HH", width, height), bytes(50))


def stsd(*entries: bytes) -> bytes:
    return box(b"stsd", words(0, len(entries)), *entries)


def track(*, mdhd: bytes = MDHD, hdlr: bytes = HDLR, tables: bytes | None = None) -> bytes:
    held = stsd(entry()) + STTS + STCO if tables is None else tables
    return box(b"trak", box(b"mdia", mdhd, hdlr, box(b"minf", box(b"stbl", held))))


def movie(*parts: bytes) -> bytes:
    return FTYP + box(b"moov", *(parts or (track(),))) + MDAT


def metadata(
    *, key: bytes = b"AIGC", value: bytes | None = None, number: int = 2, plain: bool = False
) -> bytes:
    text = json.dumps(LABEL).encode() if value is None else value
    keys = box(b"keys", words(0, 2), box(b"mdta", b"title"), box(b"mdta", key))
    item = box(struct.pack(">I", number), box(b"data", words(1, 0), text))
    ilst = box(b"ilst", box(struct.pack(">I", 1), box(b"data", words(1, 0), b"t")), item)
    handler = box(b"hdlr", words(0, 0), b"mdta", bytes(13))
    return box(b"meta", *([] if plain else [words(0)]), handler, keys, ilst)


def look(data: bytes) -> MediaInfo:
    return inspect_mp4(io.BytesIO(data))


def test_a_real_video_is_described_by_its_own_tables() -> None:
    info = look(video(frames=121, width=1920, height=1088))
    assert info == MediaInfo(
        width=1920, height=1088, fps=24.0, frames=121, duration_seconds=5.041667, aigc=None
    )


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_the_frame_rate_is_read_and_not_assumed(fps: int) -> None:
    info = look(video(frames=10, fps=fps))
    assert (info.fps, info.frames, info.duration_seconds) == (fps, 10, round(10 / fps, 6))


@pytest.mark.parametrize("movflags", ["use_metadata_tags", "faststart+use_metadata_tags"])
def test_the_label_that_an_encoder_wrote_is_found(movflags: str) -> None:
    info = look(video(movflags=movflags, metadata=(("AIGC", json.dumps(LABEL)),)))
    assert info.aigc == LABEL


def test_a_label_that_the_encoder_lost_is_not_found() -> None:
    assert look(video(metadata=(("AIGC", json.dumps(LABEL)),))).aigc is None


@pytest.mark.parametrize("movflags", ["", "faststart"])
def test_a_cut_anywhere_in_a_real_video_is_noticed(movflags: str) -> None:
    data = video(movflags=movflags)
    for length in range(0, len(data), 13):
        with pytest.raises(DamagedMediaError):
            look(data[:length])


def test_a_file_on_disk_is_read_through_a_seekable_handle(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(video())
    with path.open("rb") as file:
        assert inspect_mp4(file).frames == 12


def test_a_box_size_of_64_bits_is_understood() -> None:
    large = struct.pack(">I4sQ", 1, b"mdat", 80) + bytes(64)
    assert look(FTYP + box(b"moov", track()) + large).frames == 121


def test_a_last_box_without_size_goes_to_the_end() -> None:
    assert look(FTYP + box(b"moov", track()) + box(b"mdat", bytes(64), size=0)).frames == 121


def test_a_cut_hidden_by_a_box_without_size_is_noticed_by_the_chunk_table() -> None:
    far = track(tables=stsd(entry()) + STTS + box(b"stco", words(0, 2, 40, 100_000)))
    with pytest.raises(DamagedMediaError, match="should begin at byte 100000"):
        look(FTYP + box(b"moov", far) + box(b"mdat", bytes(64), size=0))


@pytest.mark.parametrize(
    ("sizes", "runs", "end"),
    [
        (box(b"stsz", words(0, 0, 3, 20, 20, 60)), box(b"stsc", words(0, 2, 1, 2, 1, 2, 1, 1)), 160),
        (box(b"stsz", words(0, 50, 3)), box(b"stsc", words(0, 1, 1, 2, 1)), 150),
    ],
    ids=["listed", "all the same"],
)
def test_a_cut_within_the_last_chunk_is_noticed_by_the_sizes_of_its_samples(
    sizes: bytes, runs: bytes, end: int
) -> None:
    head = len(FTYP + box(b"moov", track(tables=stsd(entry()) + STTS + STCO + sizes + runs)))
    stco = box(b"stco", words(0, 2, head, head + 100))
    head += len(stco) - len(STCO)
    stco = box(b"stco", words(0, 2, head, head + 100))
    moov = box(b"moov", track(tables=stsd(entry()) + STTS + stco + sizes + runs))
    whole = FTYP + moov + box(b"mdat", bytes(end - 8), size=0)
    assert look(whole).frames == 121
    with pytest.raises(DamagedMediaError, match=f"should end at byte {len(whole)}, and"):
        look(whole[:-1])


def test_the_chunks_of_every_track_are_looked_at() -> None:
    far = box(b"stco", words(0, 1, 100_000))
    audio = track(hdlr=box(b"hdlr", words(0, 0), b"soun", bytes(13)), tables=STTS + far)
    with pytest.raises(DamagedMediaError, match="another track should begin at byte 100000"):
        look(movie(audio, track()))


@pytest.mark.parametrize(
    "odd",
    [
        box(b"stsc", words(0, 1, 1, 1, 1)),
        box(b"stsc", words(0, 1, 1, 1, 1)) + box(b"stsz", words(0)),
        box(b"stsc", words(0, 1, 1, 1, 1)) + box(b"stsz", words(0, 0, 5, 1)),
        box(b"stsc", words(0, 1, 1, 1, 1)) + box(b"stsz", words(0, 0, 2**32 - 1)),
        box(b"stsc", words(0, 9, 1, 1, 1)),
        box(b"stsc", words(0)),
        box(b"stsc", words(0, 1, 1, 2**32 - 1, 1)) + box(b"stsz", words(0, 1, 2)),
    ],
)
def test_odd_tables_of_sizes_are_no_damage(odd: bytes) -> None:
    assert look(movie(track(tables=stsd(entry()) + STTS + STCO + odd))).frames == 121


STRAY = [
    bytes(32),
    b"\0\0\0\x01free\0\0\0\0",
    b"OK\r\n" * 10,
    b"\0",
    b"\0\0\0\x10",
    b"\0\0\0\x10free",
    b"\0\0\x01\x00moo",
    bytes(range(200, 250)),
]


@pytest.mark.parametrize("stray", STRAY, ids=repr)
@pytest.mark.parametrize(
    "movflags", ["", "faststart", "frag_keyframe", "frag_keyframe+empty_moov+global_sidx"]
)
def test_bytes_after_the_last_box_are_counted_and_no_damage(stray: bytes, movflags: str) -> None:
    data = video(movflags=movflags)
    info, plain = look(data + stray), look(data)
    assert info == replace(plain, stray_bytes=len(stray))


def test_a_box_without_size_after_the_last_one_is_stray_unless_it_is_known() -> None:
    assert look(movie() + bytes(8)).stray_bytes == 8
    assert look(movie() + box(b"free", bytes(9), size=0)).stray_bytes == 0


def test_chunk_offsets_of_64_bits_are_read() -> None:
    far = track(tables=stsd(entry()) + STTS + box(b"co64", words(0, 1, 1, 0)))
    with pytest.raises(DamagedMediaError, match="should begin at byte 4294967296"):
        look(movie(far))


@pytest.mark.parametrize("chunks", [b"", box(b"stco", words(0, 0))], ids=["no table", "empty table"])
def test_a_video_without_chunk_offsets_passes(chunks: bytes) -> None:
    assert look(movie(track(tables=stsd(entry()) + STTS + chunks))).frames == 121


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "a web page or XML"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><Error>", "a web page or XML"),
        (b'{"code":50500}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"Not Found", "text"),
        (bytes(range(0, 200, 3)), "something else"),
        (FTYP + MDAT, "no 'moov' box"),
        (FTYP + box(b"moov", track()), "no 'mdat' box"),
        (box(b"moov", track()) + MDAT, "no 'ftyp' box"),
        (FTYP + box(b"moov", track()) + b"\0\0\0", "ends before its fields"),
        (movie() + MDAT[:40], "'mdat' at byte .* lacks 32 of its 72 bytes"),
        (movie()[:-1], "'mdat' at byte .* lacks 1 of its 72 bytes"),
        (FTYP + box(b"moov", track(), size=7) + MDAT, "'moov' at byte 24 has size 7"),
        (movie(box(b"mvhd", bytes(100))), "no video track"),
        (movie(box(b"trak")), "no video track"),
        (movie(box(b"trak", box(b"mdia"))), "no video track"),
        (movie(track(hdlr=box(b"hdlr", words(0, 0), b"soun"))), "no video track"),
        (movie(track(mdhd=b"")), "no 'mdhd' box"),
        (movie(track(mdhd=box(b"mdhd", words(0, 0, 0, 0, 5)))), "no time scale"),
        (movie(track(tables=STTS)), "no 'stsd' box"),
        (movie(track(tables=stsd() + STTS)), "names no codec"),
        (movie(track(tables=stsd(entry(width=0)) + STTS)), "0x704 pixels"),
        (movie(track(tables=stsd(entry()))), "no 'stts' box"),
        (movie(track(tables=stsd(entry()) + box(b"stts", words(0, 0)))), "no frames"),
        (movie(track(tables=stsd(entry()) + box(b"stts", words(0, 9, 1, 1)))), "lists 9 entries"),
        (movie(track(tables=stsd(entry()) + box(b"stts", words(0, 2**32 - 1, 1, 1)))), "lists 4294967295"),
        (movie(box(b"trak", box(b"mdia", MDHD, HDLR))), "no 'stsd' box"),
    ],
)
def test_what_is_not_a_whole_video_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(DamagedMediaError, match=said):
        look(data)


def test_long_times_in_the_media_header_are_read() -> None:
    long_header = box(b"mdhd", words(1 << 24, 0, 0, 0, 0, 12288, 0, 61952, 0))
    assert look(movie(track(mdhd=long_header))).fps == 24.0


def test_the_video_track_is_found_behind_an_audio_track() -> None:
    audio = track(hdlr=box(b"hdlr", words(0, 0), b"soun", bytes(13)))
    assert look(movie(audio, track())).width == 1248


def test_frames_without_duration_give_no_frame_rate() -> None:
    info = look(movie(track(tables=stsd(entry()) + box(b"stts", words(0, 1, 7, 0)) + STCO)))
    assert (info.frames, info.fps, info.duration_seconds) == (7, None, None)


def test_a_long_table_of_frame_times_is_read_in_blocks() -> None:
    times = box(b"stts", words(0, 20_000), words(1, 512) * 20_000)
    assert look(movie(track(tables=stsd(entry()) + times + STCO))).frames == 20_000


@pytest.mark.parametrize("plain", [True, False], ids=["QuickTime", "ISO"])
@pytest.mark.parametrize("below", ["moov", "udta"])
def test_the_label_is_found_in_both_places_and_both_forms(below: str, plain: bool) -> None:
    meta = metadata(plain=plain)
    assert look(movie(track(), meta if below == "moov" else box(b"udta", meta))).aigc == LABEL


@pytest.mark.parametrize(
    "meta",
    [
        metadata(key=b"aigc"),
        metadata(key=b"OTHER"),
        metadata(number=9),
        metadata(value=b"not JSON"),
        metadata(value=b'["a list"]'),
        metadata(value=b"[" * 100_000),
        metadata(value=b" " * 300_000 + b"{}"),
        box(b"meta", words(0)),
        box(b"meta", words(0), box(b"keys", words(0, 0))),
        box(b"meta", words(0), box(b"keys", words(0, 1), box(b"mdta", b"AIGC")), box(b"ilst", words(3))),
        box(
            b"meta",
            words(0),
            box(b"keys", words(0, 1), box(b"mdta", b"AIGC")),
            box(b"ilst", box(words(1), box(b"data", words(1)))),
        ),
        box(b"udta", words(0)),
    ],
)
def test_odd_metadata_is_no_label_and_no_damage(meta: bytes) -> None:
    info = look(movie(track(), meta))
    assert (info.frames, info.aigc) == (121, None)


def test_a_label_below_the_movie_counts_where_the_user_data_holds_another_one() -> None:
    other = box(b"udta", metadata(key=b"note"))
    assert look(movie(track(), other, metadata())).aigc == LABEL


def test_a_file_of_nothing_but_tiny_boxes_is_given_up_soon() -> None:
    with pytest.raises(DamagedMediaError, match="more than 20000 boxes"):
        look(FTYP + box(b"free") * 30_000)


def test_sizes_that_promise_more_than_there_is_cost_no_memory() -> None:
    length = 2**62
    header = FTYP + struct.pack(">I4sQ", 1, b"moov", length - len(FTYP))

    def read_at(offset: int, size: int) -> bytes:
        return header[offset : offset + size].ljust(size, b"\0")

    tracemalloc.start()
    try:
        with pytest.raises(DamagedMediaError):
            inspect_mp4_at(read_at, length)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_file_that_gives_less_than_its_length_is_damaged() -> None:
    data = movie()
    with pytest.raises(DamagedMediaError, match="could not be read at byte"):
        inspect_mp4_at(lambda offset, size: data[:200][offset : offset + size], len(data))


def survives(data: bytes) -> None:
    read = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal read
        assert 0 <= offset <= len(data)
        assert 0 <= size <= 256 * 1024
        read += 1
        return data[offset : offset + size]

    try:
        info = inspect_mp4_at(read_at, len(data))
    except DamagedMediaError:
        info = None
    assert read < 100_000
    assert info is None or (info.width > 0 and info.height > 0)


@given(st.binary(max_size=400))
def test_no_bytes_at_all_do_more_than_be_refused(data: bytes) -> None:
    survives(data)


@given(st.binary(max_size=200))
def test_no_bytes_behind_a_proper_head_do_more_than_be_refused(data: bytes) -> None:
    survives(FTYP + data)


SEEDS = [
    movie(track(), metadata(), box(b"udta", metadata(plain=True))),
    movie(track(hdlr=box(b"hdlr", words(0, 0), b"soun")), track()),
]
PATCHES = st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), PATCHES, st.integers(0, 40))
def test_no_mutation_of_a_proper_file_does_more_than_be_refused(
    seed: bytes, patches: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(seed)
    for at, patch in patches:
        place = at % len(data)
        data[place : place + len(patch)] = patch
    survives(bytes(data[: len(data) - cut]))


@given(st.integers(0, 2**64 - 1), st.sampled_from([b"moov", b"mdat", b"trak", b"free", b"udta"]))
def test_no_box_size_does_more_than_be_refused(size: int, kind: bytes) -> None:
    survives(FTYP + struct.pack(">I4sQ", 1, kind, size) + box(b"moov", track()) + MDAT)
    survives(FTYP + struct.pack(">I4s", size % 2**32, kind) + box(b"moov", track()) + MDAT)
