"""Where a video goes: the ``output_path`` argument, read once, for any store that ``ObjectStoragePath`` opens."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.errors import LandingError, ParameterError
from airflow_provider_jimeng.storage.stored_file import LOCAL_PROTOCOLS, StoredFile

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_ID = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A directory (``output_path`` ends in ``/``) or one file (it does not), and the storage connection.

    A connection id may also stand in the URL, as Airflow allows: ``s3://my_conn@bucket/videos/``.
    """

    output_path: str
    output_conn_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.output_path, str) or not self.output_path.strip():
            raise ParameterError(
                "output_path", "is empty. Give a directory URI ending in /, or a full file name."
            )

    @property
    def is_directory(self) -> bool:
        """Whether files are named by us, one name per render."""
        return self.output_path.endswith("/")

    @property
    def url_conn_id(self) -> str | None:
        """The connection id that stands in the URL, if one does."""
        _, separator, rest = self.output_path.partition("://")
        return (rest.partition("/")[0].rpartition("@")[0] or None) if separator else None

    def file_for(self, render: Render) -> StoredFile:
        """Return the file that a render lands in; it need not exist."""
        return self.file(f"{render.model}-{safe_name(render.task_id)}.mp4" if self.is_directory else None)

    def file(self, name: str | None = None) -> StoredFile:
        """Return the full file name's file, or the one called ``name`` in the directory.

        :raises ParameterError: no file system is known for the path, or the connection does not fit it.
        :raises LandingError: the store, or Airflow's connection to it, cannot be reached or refuses.
        """
        try:
            options = {"conn_id": self.output_conn_id} if self.output_conn_id else {}
            base = ObjectStoragePath(self._bare_path() or self.output_path, **options)
            path = base / name if name else base
            protocol = str(path.protocol or "file")
            inside = str(path.path)
            return StoredFile(
                fs=path.fs,
                protocol=protocol,
                path=str(Path(inside).absolute()) if protocol in LOCAL_PROTOCOLS else inside,
                uri=self._uri(name),
                context=path,
            )
        except (ValueError, ImportError) as error:
            raise ParameterError(
                "output_path",
                f"{self._uri(name)} cannot be opened ({error}). Is the storage's provider package installed, and does "
                "output_conn_id fit it?",
            ) from error
        except Exception as error:  # no two file systems agree on their classes
            raise LandingError(f"Cannot open {self._uri(name)} ({type(error).__name__}: {error}).") from error

    def _bare_path(self) -> str | None:
        """Return a path that was given without a scheme, made absolute: Airflow 2 takes it from the root."""
        return None if "://" in self.output_path else str(Path(self.output_path).expanduser().absolute())

    def _uri(self, name: str | None) -> str:
        """Return the file's URI: no connection id, and ``file://`` where a bare path was given."""
        bare = self._bare_path()
        if bare:
            return f"file://{Path(bare, name or '')}"
        scheme, _, rest = self.output_path.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{name or ''}"


def safe_name(task_id: str) -> str:
    """Return a vendor id as part of a file name: unchanged if it is plain, else cleaned and made unique again."""
    cleaned = _UNSAFE.sub("_", task_id)[:_LONGEST_ID]
    if cleaned == task_id:
        return task_id
    return f"{cleaned}-{hashlib.sha256(task_id.encode()).hexdigest()[:12]}"
