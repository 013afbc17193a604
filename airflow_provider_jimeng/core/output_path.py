# SPDX-License-Identifier: Apache-2.0
"""Reads ``output_path`` before anything is paid, and checks whether a store can take the file names.

Everything here works on text. The checks that need a file system are in :mod:`airflow_provider_jimeng.storage.output`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import unquote

from airflow_provider_jimeng.core.arguments import read_text, shown
from airflow_provider_jimeng.core.errors import ParameterError

OBJECT_STORES = frozenset(
    {
        "s3",
        "s3a",
        "s3n",
        "gs",
        "gcs",
        "abfs",
        "abfss",
        "az",
        "wasb",
        "wasbs",
        "oss",
        "tos",
        "obs",
        "cos",
        "oci",
        "r2",
    }
)
"""Stores in which an object appears only when its upload is complete. They have no directories."""

_FILE_SCHEMES = frozenset({"file", "local"})
_SCHEMES = (
    OBJECT_STORES
    | _FILE_SCHEMES
    | {"sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs", "memory", "http", "https"}
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)(.*)", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:/")
_INVISIBLE = frozenset("\u200b\u2028\u2029\u2060\ufeff")
_HOW = "Give a directory ending in /, or a full file name such as /data/kite.mp4 or s3://bucket/kite.mp4."

MANIFEST_ENDING = ".json"
LONGEST_NAME = 255
"""Bytes of one name on the file systems in use."""
_LONGEST_PATH = 4095
_LONGEST_KEY = 1024
_LONGEST_KEYS = {"oss": 1023, "cos": 850, "tos": 696}
_RECORDS_BYTES = 160
"""Bytes that the path of a record, with its temporary file, adds to the directory."""
LONGEST_HIDDEN_STEM = 180
"""Bytes of a file's name that the name of its temporary file repeats. A longer name is replaced by its hash."""
_HASH_LENGTH = 32
_HIDDEN_BYTES = 39
"""Bytes that the name of a temporary file adds: two dots, a token and an ending."""


def path_as_text(value: Any, *, ending: str = ".mp4") -> Any:
    """Return a path object as text, and any other value unchanged.

    A path object never ends in a slash. So it is a file if it ends in ``ending``, and a directory otherwise.
    """
    if isinstance(value, str) or not (hasattr(value, "__fspath__") or hasattr(value, "open")):
        return value
    text = str(value)
    return text if text.endswith("/") or text.lower().endswith(ending) else f"{text}/"


def read_output_path(value: Any, *, ending: str = ".mp4") -> str | None:
    """Return ``output_path`` as text without white space around it, ``None`` if it is absent.

    :param ending: how the name of a file ends, for path objects.
    :raises ParameterError: the text is misspelled or has no clear meaning. The message shows the right spelling.
    """
    text = read_text("output_path", path_as_text(value, ending=ending))
    if text is None:
        return None
    _refuse_characters(text)
    if text.rpartition("/")[2] in (".", ".."):
        raise ParameterError("output_path", f"{shown(text)} is a directory. End it with /.")
    match = _SCHEME.match(text)
    if match is None or (len(match[2]) < 2 and not _is_scheme(match[1], match[2])):
        if "://" in text:
            raise ParameterError("output_path", f"{shown(text)} has a scheme in the middle. {_HOW}")
        return re.sub("^//+", "/", text)  # A URI without a scheme begins with //.
    scheme, slashes, rest = match.groups()
    if _DRIVE.match(text):
        raise ParameterError(
            "output_path", f"{shown(text)} is a Windows path. Workers need a path such as /data/videos/."
        )
    if scheme.lower() in ("http", "https"):
        raise ParameterError("output_path", f"is an http(s) link, and nothing can be saved there. {_HOW}")
    if scheme.lower() in _FILE_SCHEMES:
        return _file_uri(scheme.lower(), slashes, rest)
    if len(slashes) < 2 or scheme != scheme.lower():
        why = " A pathlib.Path drops a slash: give text or an ObjectStoragePath." if len(slashes) == 1 else ""
        raise ParameterError(
            "output_path", f"{shown(text)} is misspelled. Write {shown(f'{scheme.lower()}://{rest}')}.{why}"
        )
    return _store_uri(text, scheme, slashes[2:] + rest)


def warning_of(output_path: str | None) -> str | None:
    """Return a warning if a full file name was probably meant as a directory."""
    if output_path is None or output_path.endswith("/") or output_path.lower().endswith(".mp4"):
        return None
    return (
        f"output_path {shown(output_path)} ends neither in / nor in .mp4: the video is saved as a file of that name. For "
        "a directory, end it with /."
    )


def split_uri(output_path: str) -> tuple[str, str]:
    """Return the scheme of an ``output_path``, empty if there is none, and its path with the bucket."""
    scheme, separator, path = output_path.partition("://")
    return (scheme, path) if separator else ("", output_path)


def folder_of(output_path: str) -> str:
    """Return the directory of an ``output_path``: itself, or the one that its file is in."""
    return output_path[: output_path.rfind("/") + 1] or "./"


def is_inside(name: str) -> bool:
    """Return whether a relative name stays below its directory in every store.

    Hidden names are refused, because records and temporary files have hidden names.
    """
    for text in (name, unquote(name)):
        parts = text.split("/")
        if (
            "\\" in text
            or "://" in text
            or _DRIVE.match(text)
            or any(part[:1] in ("", ".") for part in parts)
        ):
            return False
        if any(_is_unseen(character) for character in text):
            return False
    return True


def is_below(folder: str, output_path: str) -> bool:
    """Return whether an ``output_path`` is the directory ``folder``, or is in or below it."""
    name = output_path.removeprefix(folder).removesuffix("/")
    return output_path.startswith(folder) and (not name or is_inside(name))


def check_lengths(argument: str, protocol: str, path: str) -> None:
    """Refuse a path that is too long for its store, with its manifest, temporary files and records.

    :param path: the path of a file in its store.
    :raises ParameterError: it is too long. The message names the limit in bytes and the remedy.
    """
    folder, _, name = path.rpartition("/")
    what, limit = "a path", _LONGEST_PATH
    if protocol in OBJECT_STORES:
        what, limit = "a key of this store", _LONGEST_KEYS.get(protocol, _LONGEST_KEY)
        folder = folder.lstrip("/").partition("/")[2]  # The bucket is not a part of the key.
    else:
        for part in (*folder.split("/"), f"{name}{MANIFEST_ENDING}"):
            if len(part.encode()) > LONGEST_NAME:
                raise ParameterError(argument, _too_long(part, name))
    length = len(name.encode())
    stem = length if length <= LONGEST_HIDDEN_STEM else _HASH_LENGTH
    longest_name = max(_RECORDS_BYTES, length + len(MANIFEST_ENDING), stem + _HIDDEN_BYTES)
    needed = len(f"{folder}/".encode()) + longest_name
    if needed > limit:
        raise ParameterError(
            argument,
            f"is too long. With the manifest, temporary files and records beside the video it needs {needed} bytes; {what} "
            f"can have at most {limit}. Give a shorter path.",
        )


def _too_long(part: str, name: str) -> str:
    """Return the message that names the part that is too long, and its limit with room for the manifest's name."""
    spare = len(MANIFEST_ENDING) if part == f"{name}{MANIFEST_ENDING}" else 0
    why = f", because its manifest is named {MANIFEST_ENDING} after it" if spare else ""
    return (
        f"the name {shown(part[:-spare] if spare else part)} has {len(part.encode()) - spare} bytes. It can have at most "
        f"{LONGEST_NAME - spare}{why}. A Chinese character has 3 bytes. Give a shorter name."
    )


def _is_unseen(character: str) -> bool:
    return character in _INVISIBLE or unicodedata.category(character) == "Cc"


def _refuse_characters(text: str) -> None:
    for position, character in enumerate(text):
        if _is_unseen(character):
            raise ParameterError(
                "output_path",
                f"has the invisible character U+{ord(character):04X} at position {position}. Remove it.",
            )
    if "\\" in text:
        raise ParameterError(
            "output_path", f"{shown(text)} contains a backslash. Write / between directories."
        )


def _is_scheme(word: str, slashes: str) -> bool:
    """Return whether the text before a colon is meant as a scheme. A file name can contain a colon too."""
    return bool(slashes) or word.lower() in _SCHEMES


def _file_uri(scheme: str, slashes: str, rest: str) -> str:
    """Return a ``file:`` URI with an absolute path. Other forms have no common meaning."""
    if len(slashes) == 2:
        host, slash, below = rest.partition("/")
        conn_id, at, host = host.rpartition("@")
        if host in ("", "localhost") and slash:
            return f"{scheme}://{conn_id}{at}/{below}"
    elif slashes:
        return f"{scheme}:///{rest}"
    written, right = f"{scheme}:{slashes}{rest}", f"{scheme}:///{rest}"
    raise ParameterError("output_path", f"{shown(written)} has no absolute path. Write {shown(right)}.")


def _store_uri(text: str, scheme: str, rest: str) -> str:
    authority, slash, _ = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if ":" in user:
        raise ParameterError(
            "output_path",
            "contains a password. Put it into an Airflow connection, and give its id as output_conn_id.",
        )
    if scheme in OBJECT_STORES and not host:
        raise ParameterError(
            "output_path", f"{shown(text)} names no bucket. Write {scheme}://bucket/videos/."
        )
    if not slash:
        raise ParameterError(
            "output_path", f"{shown(text)} has no path. End it with / for a directory, or name a file in it."
        )
    if "://" in rest:
        raise ParameterError("output_path", f"{shown(text)} has a scheme in the middle. {_HOW}")
    return text
