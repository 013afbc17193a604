# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress

import httpx
import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.client.transport import READABLE, codings_of, unpacked

DATA = b"\0\0\0\x18ftypisom" + random.Random(7).randbytes(200_000) + bytes(100_000)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def undone(data: bytes, *codings: str, size: int = 1000) -> bytes:
    return b"".join(unpacked(pieces(data, size), codings))


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        (None, []),
        ("", []),
        ("identity", []),
        ("aws-chunked", []),
        ("Binary", []),
        ("aws-chunked,", []),
        (" AWS-Chunked , GZIP ", ["gzip"]),
        ("gzip;q=1.0", ["gzip"]),
        ('"gzip"', ["gzip"]),
        ("deflate, gzip", ["deflate", "gzip"]),
        ("br", ["br"]),
    ],
)
def test_a_header_names_the_codings_that_change_bytes(header: str | None, codings: list[str]) -> None:
    assert codings_of(header) == codings


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_a_packed_body_is_unpacked_whatever_its_pieces(coding: str, size: int) -> None:
    data = DATA[-101_000:-99_000]
    assert undone(PACKERS[coding](data), coding, size=size) == data


def test_every_readable_coding_is_tried_here() -> None:
    assert set(PACKERS) == READABLE


def test_other_forms_of_the_same_codings_are_read() -> None:
    assert undone(raw_deflate(DATA), "deflate") == DATA
    assert undone(gzip.compress(DATA), "deflate") == DATA
    assert undone(gzip.compress(DATA[:5000]) + gzip.compress(DATA[5000:]), "gzip") == DATA
    assert undone(gzip.compress(DATA) + bytes(64), "gzip") == DATA
    assert undone(zlib.compress(DATA) + b"more", "deflate") == DATA


def test_codings_are_undone_in_the_order_against_which_they_were_applied() -> None:
    assert undone(gzip.compress(zlib.compress(DATA)), "deflate", "gzip") == DATA


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("plain", [DATA, b'{"code": 10000}', b" [1]", b"", b"\0"])
def test_a_body_that_is_not_packed_passes_as_it_is(coding: str, plain: bytes) -> None:
    if (coding, plain) != ("deflate", b"\0"):
        assert undone(plain, coding) == plain


@pytest.mark.parametrize("coding", PACKERS)
def test_a_cut_or_broken_body_is_told_from_a_whole_one(coding: str) -> None:
    packed = PACKERS[coding](DATA)
    for length in (10, len(packed) // 2, len(packed) - 1):
        with pytest.raises(httpx.DecodingError, match="cut"):
            undone(packed[:length], coding)
    with pytest.raises(httpx.DecodingError, match="broken"):
        undone(packed[:5000] + bytes(500) + packed[5500:], coding)


def test_a_body_that_grows_without_measure_is_given_up_within_bounded_memory() -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)
    tracemalloc.start()
    try:
        with pytest.raises(httpx.DecodingError, match="100 times its size"):
            max(len(piece) for piece in unpacked(pieces(bomb, 65_536), ["gzip"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_body_that_is_packed_too_often_is_not_unpacked() -> None:
    with pytest.raises(httpx.DecodingError, match="packed 4 times"):
        undone(b"x", *["gzip"] * 4)


@given(st.binary(max_size=300), st.sampled_from(sorted(READABLE)), st.integers(1, 50))
def test_no_bytes_do_more_than_be_refused(data: bytes, coding: str, size: int) -> None:
    with suppress(httpx.DecodingError):
        undone(data, coding, size=size)


@given(st.binary(max_size=3000), st.sampled_from(sorted(READABLE)), st.integers(1, 500))
def test_what_was_packed_comes_back(data: bytes, coding: str, size: int) -> None:
    assert undone(PACKERS[coding](data), coding, size=size) == data
