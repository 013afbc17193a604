"""Where the pages are, for the navigation, for DAGs and for the link on the task page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

from airflow_provider_jimeng.web.versions import AIRFLOW_V_3_1_PLUS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

URL_PREFIX = "/jimeng"


def has_views() -> bool:
    """Return whether this Airflow shows the pages at all."""
    return AIRFLOW_V_3_1_PLUS


def base_url() -> str:
    """Return ``[api] base_url`` without a slash at its end, empty if there is none."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def page_path(page: str) -> str:
    """Return a page's path on the API server, with the base path that Airflow runs below."""
    return f"{urlsplit(base_url()).path}{URL_PREFIX}/{page}"


def video_page(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """Return the address of the page that plays what a task instance rendered.

    It holds no link to the video and no secret, so it may be sent to people: the page asks who is looking. Useful
    as a macro: ``DAG(…, user_defined_macros={"video_page": video_page})``.
    """
    query = urlencode({"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index})
    return f"{base_url()}{URL_PREFIX}/render?{query}"


class JimengVideoLink(BaseOperatorLink):
    """The button "Video" on the task page. Nowhere before Airflow 3.1, which has no page to lead to."""

    name = "Video"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the page of a task instance; ``ti_key`` is a key, or on 3.x the running task instance."""
        if not has_views():
            return ""
        return video_page(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)
