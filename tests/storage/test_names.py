# SPDX-License-Identifier: Apache-2.0
"""What a file system says of names before a landing needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jimeng.core.errors import LandingError, ParameterError
from airflow_provider_jimeng.storage.output import OutputPath, check_names, safe_model
from tests.harness.stores import RemoteStore, attached

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jimeng.storage.atomic_file import AtomicFile


def refused(output_path: str) -> str:
    with pytest.raises(ParameterError) as caught:
        check_names(OutputPath.of(output_path))
    assert not caught.value.retryable
    return caught.value.reason


def test_a_directory_that_is_not_there_yet_passes_and_is_not_made(tmp_path: Path) -> None:
    check_names(OutputPath.of(f"{tmp_path}/a/b/"))
    check_names(OutputPath.of(f"{tmp_path}/a/b/kite.mp4"))
    assert not list(tmp_path.iterdir())


def test_a_manifest_has_the_name_of_its_file(tmp_path: Path) -> None:
    file = OutputPath.of(f"{tmp_path}/kite.mp4").file()
    assert (file.sidecar.path, file.sidecar.uri) == (f"{file.path}.json", f"{file.uri}.json")


def test_a_file_cannot_hold_files(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[str] = ["kite.mp4/", "kite.mp4/a/b.mp4"]
    for number, below in enumerate(cases):
        with subtests.test(below=repr(below)):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "kite.mp4").touch()
            assert "kite.mp4' is a file, so nothing" in refused(f"{folder}/{below}")


def test_a_directory_is_not_a_file_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "videos")
    for name in ("videos", "link"):
        assert f"{name}' is a directory. End it with /" in refused(f"{tmp_path}/{name}")
        check_names(OutputPath.of(f"{tmp_path}/{name}/"))


def test_a_name_that_is_too_long_is_refused_wherever_it_stands(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    cases: list[str] = ["{long}.mp4", "a/{long}.mp4", "{long}/kite.mp4", "{long}/"]
    for number, below in enumerate(cases):
        with subtests.test(below=repr(below)):
            folder = tmp_path / str(number)
            folder.mkdir()
            assert "Give a shorter name" in refused(f"{folder}/{below.format(long='风' * 90)}")


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "can have at most 4095" in refused(f"{tmp_path}{'/d' * 2040}/kite.mp4")


def test_a_home_that_does_not_exist_is_refused() -> None:
    assert "cannot be found" in refused("~nobody-of-this-name/videos/")


def test_a_store_that_does_not_answer_says_nothing_about_names() -> None:
    class Away(OutputPath):
        def file(self, name: str | None = None) -> AtomicFile:
            raise LandingError(f"Cannot open {name}")

    check_names(Away(output_path="sftp://host/kite.mp4"))


def test_a_name_of_a_store_is_checked_without_asking_it() -> None:
    class Away(RemoteStore):
        def info(self, path: str, **options: object) -> object:
            raise AssertionError(path)

    conn_id = attached(Away())
    check_names(OutputPath.of("memory://bucket/kite.mp4", conn_id))
    with pytest.raises(ParameterError, match="It can have at most 250"):
        check_names(OutputPath.of(f"memory://bucket/{'x' * 250}.mp4", conn_id))


def test_a_models_name_that_no_store_misreads_stays_as_it_is(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["t2v_720p", "my-model", "模型", "own model", "a.b"]
    for name in cases:
        with subtests.test(name=repr(name)):
            assert safe_model(name) == name


def test_any_other_is_cleaned_and_kept_apart(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["", "..", ".x", "a/b", "a\\b", "a:b", "%2e", "a\x00", "x" * 101, " a", "\ud800"]
    for name in cases:
        with subtests.test(name=repr(name)):
            cleaned = safe_model(name)
            assert cleaned.isascii()
            assert not {"/", "\\", "\0", ":", "%"} & set(cleaned)
            assert not cleaned.startswith(".")
            assert len(cleaned) < 120
            assert cleaned != safe_model(f"{name}_")
