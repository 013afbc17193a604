# SPDX-License-Identifier: Apache-2.0
"""The hook of the command line: it reads the environment too, and reports each answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.cli.account import ENVIRONMENT, environment_settings, is_inside_airflow
from airflow_provider_jimeng.cli.console import hide
from airflow_provider_jimeng.core.errors import MissingConnectionError
from airflow_provider_jimeng.hooks.connection_cache import mask
from airflow_provider_jimeng.hooks.jimeng import JimengHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import RenderOrId


class CommandHook(JimengHook):
    """A hook whose connection can be the environment.

    ``on_reply`` is called with each answer to a query.
    """

    on_reply: Callable[[QueryReply], None] | None = None

    @property
    def settings(self) -> ClientSettings:
        """The settings of the environment, or of the Airflow connection."""
        if self._settings is None and self.jimeng_conn_id == ENVIRONMENT:
            self._settings = environment_settings()
            mask(self._settings)
        try:
            settings = super().settings
        except MissingConnectionError as error:
            if is_inside_airflow():
                raise
            raise MissingConnectionError(
                f"{error} `jimeng` finds connections in the environment and in secrets back ends. One that was saved in "
                "Airflow's UI is read by `airflow jimeng …` (Airflow 3.2 and newer)."
            ) from None
        hide(settings.secrets)
        return settings

    def query(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask what became of a render, and report the answer."""
        reply = super().query(render_or_id, model, aigc_meta=aigc_meta)
        if self.on_reply is not None:
            self.on_reply(reply)
        return reply

    def for_render(self, render: Any) -> CommandHook:
        """Return the hook of the connection that pays for a render. It reports to the same receiver."""
        hook = super().for_render(render)
        hook.on_reply = self.on_reply
        return hook
