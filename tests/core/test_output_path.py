# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.output_path import (
    check_lengths,
    folder_of,
    is_below,
    is_inside,
    path_as_text,
    read_output_path,
    split_uri,
    warning_of,
)


class StorePath:
    """As an ``ObjectStoragePath``: no path of this machine, but it can be opened."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def open(self) -> None:
        """Open it."""


def test_an_output_path_is_read_without_white_space_round_it(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str | None]] = [
        ("/d/videos/", "/d/videos/"),
        ("  /d/kite.mp4\n", "/d/kite.mp4"),
        ("\t s3://bucket/x/\r\n", "s3://bucket/x/"),
        ("\u3000/d/videos/\u00a0", "/d/videos/"),
        ("//d/videos/", "/d/videos/"),
        ("videos/", "videos/"),
        ("kite.mp4", "kite.mp4"),
        ("~/videos/", "~/videos/"),
        ("../videos/", "../videos/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://conn@bucket/a b/风筝.mp4", "s3://conn@bucket/a b/风筝.mp4"),
        ("abfs://videos@account.dfs.core.windows.net/x/", "abfs://videos@account.dfs.core.windows.net/x/"),
        ("memory:///x/", "memory:///x/"),
        ("sftp://conn@/x/", "sftp://conn@/x/"),
        ("file:/d/x/", "file:///d/x/"),
        ("file:///d/x/", "file:///d/x/"),
        ("file:////d/x/", "file:///d/x/"),
        ("FILE:///d/x/", "file:///d/x/"),
        ("file://localhost/d/x/", "file:///d/x/"),
        ("file://conn@/d/x/", "file://conn@/d/x/"),
        ("local:///d/x/", "local:///d/x/"),
        ("scheduled__2026-01-01T00:00:00+00:00/", "scheduled__2026-01-01T00:00:00+00:00/"),
        ("2026-01-01T00:00:00/kite.mp4", "2026-01-01T00:00:00/kite.mp4"),
        ("take:2.mp4", "take:2.mp4"),
        (None, None),
        ("", None),
        (" \n", None),
        ("None", None),
    ]
    for given, read in cases:
        with subtests.test(given=repr(given), read=repr(read)):
            assert read_output_path(given) == read
            assert read is None or read_output_path(read) == read


def test_a_path_object_is_a_directory_unless_it_ends_as_a_video(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        (Path("/d/videos"), "/d/videos/"),
        (Path("/d/videos/"), "/d/videos/"),
        (Path("videos"), "videos/"),
        (Path("/d/v1.0"), "/d/v1.0/"),
        (Path("/d/kite.mp4"), "/d/kite.mp4"),
        (Path("/d/KITE.MP4"), "/d/KITE.MP4"),
        (PurePosixPath("/d/{{ ds }}/kite.mp4"), "/d/{{ ds }}/kite.mp4"),
        (Path(), "./"),
        (Path("/"), "/"),
        (StorePath("s3://conn@bucket/x"), "s3://conn@bucket/x/"),
        (StorePath("s3://bucket/x.mp4"), "s3://bucket/x.mp4"),
        (StorePath("s3://bucket/"), "s3://bucket/"),
    ]
    for given, read in cases:
        with subtests.test(given=repr(given), read=repr(read)):
            assert read_output_path(given) == read


def test_the_ending_of_a_file_is_that_of_what_is_written() -> None:
    assert read_output_path(Path("/d/page.html"), ending=".html") == "/d/page.html"
    assert read_output_path(Path("/d/page.mp4"), ending=".html") == "/d/page.mp4/"
    assert path_as_text("/d/page") == "/d/page"
    assert path_as_text(None) is None


def test_what_cannot_be_meant_is_refused_with_the_right_spelling(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ("s3:/bucket/x/", r"misspelled\. Write 's3://bucket/x/'\. A pathlib\.Path drops a slash"),
        (Path("s3://bucket/x"), r"Write 's3://bucket/x/'"),
        (Path("gs://bucket/x.mp4"), r"Write 'gs://bucket/x\.mp4'"),
        ("s3:bucket", r"misspelled\. Write 's3://bucket'\.$"),
        ("S3://bucket/x/", r"Write 's3://bucket/x/'"),
        ("S3:/bucket/x/", r"Write 's3://bucket/x/'"),
        ("Sftp:host/x/", r"Write 'sftp://host/x/'"),
        ("nowhere:/x/", r"Write 'nowhere://x/'"),
        ("s3:///x/", "names no bucket"),
        ("s3://conn@/x/", "names no bucket"),
        ("s3://bucket", r"has no path\. End it with / for a directory"),
        ("memory://bucket", "has no path"),
        ("file:videos/", r"has no absolute path\. Write 'file:///videos/'"),
        ("file://videos/x/", r"has no absolute path\. Write 'file:///videos/x/'"),
        ("file://localhost", "has no absolute path"),
        ("C:/videos/", "is a Windows path"),
        ("c:\\videos\\x.mp4", "contains a backslash"),
        ("\\\\server\\videos\\", "contains a backslash"),
        (PureWindowsPath("C:/videos"), "contains a backslash"),
        ("https://host/x.mp4", r"is an http\(s\) link"),
        ("HTTP://host/x/", r"is an http\(s\) link"),
        ("https:/host/x/", r"is an http\(s\) link"),
        ("simplecache::s3://bucket/x/", "has a scheme in the middle"),
        ("videos/s3://bucket/x/", "has a scheme in the middle"),
        ("s3://bucket/s3://bucket/x/", "has a scheme in the middle"),
        ("/d/..", "is a directory. End it with /"),
        ("s3://bucket/.", "is a directory. End it with /"),
        ("/d/a\nb.mp4", r"invisible character U\+000A at position 4"),
        ("/d/a\x00b/", r"U\+0000"),
        ("/d/a\x85b/", r"U\+0085"),
        ("/d/videos/\u200b", r"U\+200B"),
        ("\ufeff/d/videos/", r"U\+FEFF at position 0"),
        ("/d/\ud800.mp4", "half a character"),
        ("sftp://user:pass@host/x/", r"contains a password.*output_conn_id"),
        (5, "expected text, got 5"),
        (["/d/"], "expected text"),
        (b"/d/", "expected text"),
    ]
    for given, says in cases:
        with subtests.test(given=repr(given), says=repr(says)):
            with pytest.raises(ParameterError, match=f"^output_path: .*{says}"):
                read_output_path(given)


def test_a_refusal_is_short_and_holds_no_secret(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "https://host/x.mp4?X-Signature=abc",
        "S3://bucket/x/?X-Signature=abc",
        "sftp://user:abc@host/x/",
        "s3:/bucket/" + "abc/" * 10_000,
    ]
    for given in cases:
        with subtests.test(given=repr(given)):
            with pytest.raises(ParameterError) as caught:
                read_output_path(given)
            assert len(str(caught.value)) < 600
            assert "Signature" not in str(caught.value)
            assert ":abc@" not in str(caught.value)


def test_the_directory_of_an_output_path_is_found(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("/d/x.mp4", "/d/"),
        ("/d/", "/d/"),
        ("x.mp4", "./"),
        ("s3://b/x/y.mp4", "s3://b/x/"),
    ]
    for output_path, folder in cases:
        with subtests.test(output_path=repr(output_path), folder=repr(folder)):
            assert folder_of(output_path) == folder


def test_a_uri_is_split_from_its_scheme() -> None:
    assert split_uri("s3://bucket/x/") == ("s3", "bucket/x/")
    assert split_uri("/d/x/") == ("", "/d/x/")


def test_a_file_that_does_not_end_as_a_video_is_worth_a_warning(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["/d/videos", "/d/v1.0", "s3://bucket/kite.mov"]
    for output_path in cases:
        with subtests.test(output_path=repr(output_path)):
            assert "For a directory, end it with /" in str(warning_of(output_path))


def test_a_directory_and_a_video_are_worth_no_warning(subtests: pytest.Subtests) -> None:
    cases: list[str | None] = [None, "/d/videos/", "/d/kite.mp4", "/d/kite.MP4"]
    for output_path in cases:
        with subtests.test(output_path=repr(output_path)):
            assert warning_of(output_path) is None


def test_a_plain_name_stays_inside(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["kite.mp4", "shots/kite.mp4", "风筝.mp4", "a..b/c.mp4", "100%.mp4", "t:1.mp4"]
    for name in cases:
        with subtests.test(name=repr(name)):
            assert is_inside(name)


def test_a_name_that_may_lead_out_is_not_inside(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "",
        ".",
        "..",
        "../x.mp4",
        "a/../../x.mp4",
        "/etc/x.mp4",
        "a//x.mp4",
        "a/",
        ".jimeng/tasks/x.json",
        "..\\x.mp4",
        "a\\..\\x.mp4",
        "%2e%2e/x.mp4",
        "%2E%2E%2Fx.mp4",
        "a/%2e%2e/%2e%2e/x.mp4",
        "%2fetc/x.mp4",
        "%5c..%5cx.mp4",
        "a\x00.mp4",
        "a%00.mp4",
        "a\n.mp4",
        "C:/x.mp4",
        "s3://bucket/x.mp4",
    ]
    for name in cases:
        with subtests.test(name=repr(name)):
            assert not is_inside(name)


def test_only_what_is_below_a_directory_counts(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, bool]] = [
        ("/d/videos/", True),
        ("/d/videos/kite.mp4", True),
        ("/d/videos/shots/", True),
        ("/d/videos/shots/kite.mp4", True),
        ("/d/videos/../kite.mp4", False),
        ("/d/videos/shots/../../kite.mp4", False),
        ("/d/videos//kite.mp4", False),
        ("/d/videos/.jimeng/tasks/x.json", False),
        ("/d/videos2/kite.mp4", False),
        ("/elsewhere/kite.mp4", False),
        ("kite.mp4", False),
    ]
    for output_path, below in cases:
        with subtests.test(output_path=repr(output_path), below=repr(below)):
            assert is_below("/d/videos/", output_path) is below


def test_names_that_fit_pass(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("", f"/d/{'x' * 246}.mp4"),
        ("file", f"/d/{'风' * 82}.mp4"),
        ("sftp", f"/d/{'x' * 246}.mp4"),
        ("", "/d/" + "x" * 255 + "/kite.mp4"),
        ("", "/d" * 1950 + "/kite.mp4"),
        ("s3", f"bucket/{'x' * 900}.mp4"),
        ("s3", f"{'b' * 60}/" + "x/" * 430 + "kite.mp4"),
    ]
    for protocol, path in cases:
        with subtests.test(protocol=repr(protocol), path=repr(path)):
            check_lengths("output_path", protocol, path)


def test_names_that_leave_no_room_for_what_lies_beside_are_refused(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str, str]] = [
        ("", f"/d/{'x' * 247}.mp4", r"has 251 bytes\. It can have at most 250, because its manifest"),
        (
            "file",
            f"/d/{'风' * 83}.mp4",
            r"has 253 bytes\. It can have at most 250.*A Chinese character has 3",
        ),
        ("sftp", f"/d/{'x' * 251}.mp4", r"has 255 bytes\. It can have at most 250"),
        ("", f"/d/{'x' * 252}.mp4", r"has 256 bytes\. It can have at most 250"),
        ("", f"/d/{'x' * 256}/kite.mp4", r"has 256 bytes\. It can have at most 255\."),
        ("", "/d" * 2040 + "/kite.mp4", r"needs 42\d\d bytes; a path can have at most 4095"),
        ("s3", f"bucket/{'x' * 1015}.mp4", "needs 1025 bytes; a key of this store can have at most 1024"),
        ("s3", "bucket/" + "x/" * 450 + "k.mp4", r"a key of this store can have at most 1024"),
        ("cos", f"bucket/{'x' * 900}.mp4", "at most 850"),
    ]
    for protocol, path, says in cases:
        with subtests.test(protocol=repr(protocol), path=repr(path), says=repr(says)):
            with pytest.raises(ParameterError, match=f"^output_path: .*{says}"):
                check_lengths("output_path", protocol, path)
