# SPDX-License-Identifier: Apache-2.0
"""The saved videos, and the file with sound, that a call reads. They are never changed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import is_absent, parse_text, shown
from airflow_provider_jimeng.core.errors import LandingError, ParameterError
from airflow_provider_jimeng.storage.output import OutputPath

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile


@dataclass(slots=True, eq=False)
class Original:
    """A file that derivatives are made of: where it is, and the SHA-256 that its manifest has."""

    file: AtomicFile
    expected_sha256: str | None = None
    _sha256: str | None = None
    _local: Path | None = None
    _state: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, argument: str, value: Any, output_conn_id: str | None) -> Original:
        """Return the file that a manifest or a URI names.

        :raises ParameterError: it names none.
        """
        sha256 = None
        if isinstance(value, Mapping):
            uri, sha256 = value.get("uri"), value.get("sha256")
            if not isinstance(uri, str) or not uri:
                raise ParameterError(argument, f"is a dict without a uri: {shown(value)}. Give a manifest.")
            value = uri
        if is_absent(value) or isinstance(value, bool | int | float | bytes):
            raise ParameterError(argument, f"expected a manifest or the URI of a file, got {shown(value)}.")
        target = OutputPath.of(value, output_conn_id)
        if target.is_directory:
            raise ParameterError(argument, f"{shown(target.output_path)} is a directory. Name a file in it.")
        return cls(target.file(), sha256)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file as it is now, in hexadecimal.

        :raises LandingError: there is no such file, or it is not what its manifest says.
        """
        if self._sha256 is None:
            if self.file.size() is None:
                raise LandingError(f"{self.file.uri} does not exist. Was it moved, or not saved yet?")
            self._state = self._state_now()
            self._sha256 = self.file.sha256()
            if self.expected_sha256 and self._sha256 != self.expected_sha256:
                raise LandingError(
                    f"{self.file.uri} was changed after it was saved: its SHA-256 is {self._sha256}, and its manifest "
                    f"says {self.expected_sha256}. Give the URI instead of the manifest to finish it as it is."
                )
        return self._sha256

    def local(self, stack: ExitStack) -> Path:
        """Return a local file with the same bytes: the original itself, or a copy until ``stack`` ends.

        :raises LandingError: the file was changed meanwhile, or cannot be read.
        """
        if self.file.is_local:
            return Path(self.file.path)
        if self._local is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-finish-")))
            path = folder / f"source{Path(self.file.name).suffix}"
            if self.file.copy_to(path) != self.sha256:
                raise self._changed()
            self._local = path
        return self._local

    def check_unchanged(self) -> None:
        """Check that a local file is the one whose SHA-256 is known.

        :raises LandingError: it was replaced or written while it was read.
        """
        if self.file.is_local and self._state_now() != self._state:
            raise self._changed()

    def _state_now(self) -> tuple[int, int, int] | None:
        if not self.file.is_local:
            return None
        try:
            state = Path(self.file.path).stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns

    def _changed(self) -> LandingError:
        return LandingError(
            f"{self.file.uri} was changed while it was read. Nothing was made of it. Try again."
        )


def read_originals(video: Any, output_conn_id: str | None) -> list[Original]:
    """Return the files that the argument ``video`` names. A template can have turned it into text.

    :raises ParameterError: it names none.
    """
    if isinstance(video, str) and video.strip().startswith(("{", "[")):
        try:
            video = parse_text(video)
        except ValueError as error:
            raise ParameterError("video", f"{shown(video)} is not a manifest: {error}.") from None
    if isinstance(video, Sequence) and not isinstance(video, str | bytes):
        if not len(video):  # a lazy sequence of XComs has a length and no truth value
            raise ParameterError("video", "is an empty list. Give manifests or URIs.")
        return [Original.of(f"video[{number}]", one, output_conn_id) for number, one in enumerate(video)]
    return [Original.of("video", video, output_conn_id)]
