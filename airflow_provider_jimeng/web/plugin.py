"""What Airflow loads of the UI: one page in the navigation, the app behind it, a tab where tabs can be narrowed.

Every Airflow process loads its plugins, workers at each task start: the app, and FastAPI with it, is built by the
first request that reaches it. Views of this kind exist from Airflow 3.1 on; before, the plugin has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_jimeng.web.links import URL_PREFIX, has_views, page_path
from airflow_provider_jimeng.web.versions import AIRFLOW_V_3_4_PLUS

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
    """An ASGI app that is built when it is first called."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if self._app is None:
            from airflow_provider_jimeng.web.app import build_app  # noqa: PLC0415  FastAPI only where it serves

            self._app = build_app()
        await self._app(scope, receive, send)


def external_views() -> list[dict[str, Any]]:
    """Return the views for the Airflow that is installed."""
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
    if AIRFLOW_V_3_4_PLUS:  # before, a tab would show on every task instance of every DAG
        here = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
        views.append(
            {
                "name": "Video",
                "href": page_path(f"render?{here}"),
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
