# SPDX-License-Identifier: Apache-2.0
"""The report that a task of a run saved, as a page in the reader's language.

The page is made anew from the JSON file of the report, and the saved HTML is not read: any author of a DAG can push any
URI, so the server shows nothing that it did not write itself. The file counts only if it is a report of this run, of the
moment that the task returned. Videos come from the route for videos, which asks for the right and checks the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.core.report import Report
from airflow_provider_jimeng.report_page import Preview, render_page
from airflow_provider_jimeng.web.campaign import report_file
from airflow_provider_jimeng.web.media import MediaGoneError, file_in_store, opened_file
from airflow_provider_jimeng.web.reading import plain

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.store import Stored, TaskRef

_LARGEST = 64 * 1024 * 1024
_GONE = "This task has saved no report that the API server can read."
"""One message for all cases. Different messages would tell which files exist."""


def saved_report(ref: TaskRef, summary: Mapping[str, Any] | None, conn_id: str | None) -> Report:
    """Return the report of a task.

    :param summary: what the task returned.
    :raises MediaGoneError: there is no file, this machine cannot read it, or it is not the report of this task.
    """
    uri = report_file(summary)
    if summary is None or uri is None or not uri.endswith(".json"):
        raise MediaGoneError(_GONE)
    try:
        found = plain(json.loads(_content(uri, conn_id)))
        same = all(found[name] == summary[name] for name in ("dag_id", "run_id", "generated_at"))
        report = Report.from_payload(found)
    except (JimengError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MediaGoneError(_GONE) from error
    if not same or (report.dag_id, report.run_id) != (ref.dag_id, ref.run_id):
        raise MediaGoneError(_GONE)
    return report


def report_as_page(report: Report, saved: Iterable[Stored], language: str) -> str:
    """Return the page.

    :param saved: the renders of the run whose videos are saved. They lead from the URI of a video to its task instance.
    """
    previews = {
        str(stored.manifest["uri"]): _addresses(stored.ref)
        for stored in saved
        if stored.manifest is not None and "uri" in stored.manifest
    }
    return render_page(report, previews, language=language, served=True)


def _addresses(ref: TaskRef) -> Preview:
    query = urlencode(asdict(ref))
    return Preview(
        video_address=f"media?{query}",
        poster_address=f"media?{query}&part=poster",
        page_address=f"render?{query}",
    )


def _content(uri: str, conn_id: str | None) -> bytes:
    """Return the bytes of a file that is not too large. On a disk, no link is followed."""
    file = file_in_store(uri, conn_id)
    if file.is_local:
        with opened_file(file.path, None) as (opened, identity):
            return opened.read(_LARGEST) if identity.size <= _LARGEST else b""
    try:
        return (file.content() or b"") if 0 < (file.size() or 0) <= _LARGEST else b""
    except Exception as error:  # each store has error classes of its own
        raise MediaGoneError(_GONE) from error
