# SPDX-License-Identifier: Apache-2.0
"""Arguments of the command line as the operators read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_jimeng.core.errors import ParameterError

VIDEO = ".mp4"


def output_path_of(text: str) -> str:
    """Return an output path: a path is made absolute, and ends in / unless it names an .mp4 file; a URI stays."""
    if "://" in text:
        return text
    is_file = text.lower().endswith(VIDEO) and not Path(text).expanduser().is_dir()
    absolute = str(Path(text).expanduser().absolute())
    return absolute if is_file else f"{absolute.rstrip('/')}/"


def folder_path_of(text: str) -> str:
    """Return the path or URI of a directory, ending in /."""
    return f"{(text if '://' in text else str(Path(text).expanduser().absolute())).rstrip('/')}/"


def place_of(text: str | None) -> str | None:
    """Return the path of a file to read, made absolute; a link or a URI stays as it is."""
    if not text or "://" in text:
        return text or None
    return str(Path(text).expanduser().absolute())


def read_label(text: str | None) -> dict[str, Any] | None:
    """Return the implicit label of ``--aigc-meta``."""
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ParameterError(
            "--aigc-meta", 'expected a JSON object such as {"producer_id": "…", "content_propagator": "…"}.'
        )
    return found
