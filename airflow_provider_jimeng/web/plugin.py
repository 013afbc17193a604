# SPDX-License-Identifier: Apache-2.0
"""The parts of the UI that Airflow loads: the app with the pages, a view in the navigation, and a tab on tasks.

Every Airflow process loads its plugins, and a worker does so at the start of each task. So the first request builds the
app and imports FastAPI. Views of this kind exist from Airflow 3.1 on; on an older Airflow the plugin has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_jimeng.links import URL_PREFIX, has_task_tabs, has_views, page_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

RENDERS = "Renders"
VIDEO_OPERATORS = [
    "JimengGenerateVideoOperator",
    "JimengSubmitVideoOperator",
    "JimengVideoSensor",
    "JimengDownloadVideoOperator",
]


class LazyApp:
    """An ASGI app that the first request builds."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request to the app."""
        if self._app is None:
            from airflow_provider_jimeng.web.app import build_app  # noqa: PLC0415  FastAPI only where it serves

            self._app = build_app()
        await self._app(scope, receive, send)


def external_views() -> list[dict[str, Any]]:
    """Return the views for the installed Airflow."""
    if not has_views():
        return []
    views: list[dict[str, Any]] = [
        {
            "name": RENDERS,
            "href": page_path(""),
            "destination": "nav",
            "url_route": "jimeng-renders",
            "icon": page_path("static/icon.svg"),
        }
    ]
    if has_task_tabs():  # an older Airflow would show the tab on every task of every DAG
        query = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
        views.append(
            {
                "name": "Video",
                "href": page_path(f"render?{query}"),
                "destination": "task_instance",
                "url_route": "jimeng-video",
                "applies_to": {"operator_name": VIDEO_OPERATORS},
            }
        )
    return views


class JimengPlugin(AirflowPlugin):
    """The package's Airflow plugin."""

    name = "jimeng"
    fastapi_apps = (
        [{"name": "Jimeng renders", "app": LazyApp(), "url_prefix": URL_PREFIX}] if has_views() else []
    )
    external_views = external_views()
