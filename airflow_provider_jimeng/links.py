# SPDX-License-Identifier: Apache-2.0
"""Addresses of the UI's pages, for Airflow's navigation, for DAG files and for the link on the task page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from airflow import __version__
from airflow.providers.common.compat.sdk import BaseOperatorLink, conf
from packaging.version import Version

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

URL_PREFIX = "/jimeng"
_AIRFLOW = Version(Version(__version__).base_version)


def has_views() -> bool:
    """Return whether plugins of this Airflow can have views, and so whether there are pages at all."""
    return Version("3.1.0") <= _AIRFLOW


def has_task_tabs() -> bool:
    """Return whether this Airflow can show a tab on the tasks of chosen operators only."""
    return Version("3.4.0") <= _AIRFLOW


def base_url() -> str:
    """Return ``[api] base_url`` without a slash at its end, or an empty string if it is not set."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def page_path(page: str) -> str:
    """Return the path of a page on the API server, including the base path of Airflow."""
    return f"{urlsplit(base_url()).path}{URL_PREFIX}/{page}"


def video_page(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """Return the address of the page that plays the video of a task instance.

    The address contains no link to the video and no secret, so it can be sent to people: the page asks for a sign-in.
    It is useful as a macro: ``DAG(…, user_defined_macros={"video_page": video_page})``.
    """
    query = urlencode({"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index})
    return f"{base_url()}{URL_PREFIX}/render?{query}"


def campaign_page(dag_id: str, run_id: str) -> str:
    """Return the address of the page that shows all renders of a DAG run together. It contains no secret."""
    return f"{base_url()}{URL_PREFIX}/campaign?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"


class JimengVideoLink(BaseOperatorLink):
    """The button "Video" on the task page. It has no address before Airflow 3.1, where there is no page."""

    name = "Video"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the page of a task instance. ``ti_key`` is a key, or on 3.x the running task instance."""
        if not has_views():
            return ""
        return video_page(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)


class JimengCampaignLink(BaseOperatorLink):
    """The button "Campaign" on the task pages of plans and reports. It has no address before Airflow 3.1."""

    name = "Campaign"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the page of the run that a task instance belongs to."""
        return campaign_page(ti_key.dag_id, ti_key.run_id) if has_views() else ""
