"""The connection of a hook: its settings, its client, and the form and test in Airflow's UI."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_jimeng.client.auth import auth_for
from airflow_provider_jimeng.client.clients import JimengClient
from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_jimeng.hooks.connection_lookup import look_up_connection
from airflow_provider_jimeng.hooks.connections import mask, settings_of, shared_client
from airflow_provider_jimeng.hooks.probe import probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.hooks.connections import Lease


class JimengConnectionHook(BaseHook):
    """Reads an Airflow connection of type ``jimeng`` once, and shares one client in a ``with`` block."""

    conn_name_attr = "jimeng_conn_id"
    default_conn_name = "jimeng_default"
    conn_type = "jimeng"
    hook_name = "Jimeng AI"

    def __init__(self, jimeng_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jimeng_conn_id = jimeng_conn_id.strip() if jimeng_conn_id else jimeng_conn_id
        self.has_sent = False
        """Did the first byte of a submit leave after :meth:`prepare`? If not, the API cannot have accepted it."""
        self._settings: ClientSettings | None = None
        self._auth: httpx.Auth | None = None
        self._shares = False
        self._client: JimengClient | None = None
        self._clients = ExitStack()
        self._lease: Lease | None = None
        self._leases = AsyncExitStack()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return field_behaviour()

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which is read once per hook."""
        if self._settings is None:
            connection = look_up_connection(self.jimeng_conn_id, self.get_connection)
            settings = settings_of(connection, connection.extra_dejson)
            mask(settings)
            self._settings = settings
        return self._settings

    def renew(self) -> None:
        """Read the connection again at the next call, after its credentials were refused."""
        self._settings = self._auth = self._client = None

    def get_conn(self) -> JimengClient:
        """Return a client of the connection, to be used in a ``with`` block."""
        if self._auth is None:
            self._auth = auth_for(self.settings)
        return JimengClient(self.settings, auth=self._auth)

    def __enter__(self) -> Self:
        """Share one client among the calls of the ``with`` block. The connection is read at the first call."""
        self._shares = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._shares, self._client = False, None
        self._clients.close()

    async def __aenter__(self) -> Self:
        """Share one client among the asynchronous calls of the ``async with`` block."""
        self._lease = await self._leases.enter_async_context(shared_client(self.jimeng_conn_id))
        self._settings = self._lease.client.settings
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._lease = None
        await self._leases.aclose()

    def prepare(self) -> None:
        """Read the connection and open the client, so that the next call sends its request at once."""
        self.has_sent = False
        with self._open_client():
            pass

    def for_render(self, render: Render) -> Self:
        """Return the hook of the connection that pays for a render: this one, or a new one."""
        if render.jimeng_conn_id == self.jimeng_conn_id:
            return self
        return type(self)(jimeng_conn_id=render.jimeng_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection with a free, signed query of a task that cannot exist; return verdict and reason."""
        try:
            with self._open_client() as client:
                return probe(client)
        except JimengError as error:
            return False, str(error)

    @contextmanager
    def _open_client(self) -> Iterator[JimengClient]:
        if not self._shares:
            with self.get_conn() as client:
                yield client
            return
        if self._client is None:
            self._client = self._clients.enter_context(self.get_conn())
        yield self._client

    @asynccontextmanager
    async def _open_lease(self) -> AsyncIterator[Lease]:
        if self._lease is not None:
            yield self._lease
            return
        async with shared_client(self.jimeng_conn_id) as lease:
            yield lease

    def _note_sent(self) -> None:
        self.has_sent = True
