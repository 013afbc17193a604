"""The connection of a hook: its settings, its client, and the form and test in Airflow's UI."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_jimeng.client.exchange import VolcAuth, auth_for
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS
from airflow_provider_jimeng.core.errors import (
    AuthenticationError,
    ConcurrencyLimitedError,
    InputRejectedError,
    JimengError,
    NoReplyError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.hooks.connection_cache import look_up_settings, shared_client
from airflow_provider_jimeng.provider_info import UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.hooks.connection_cache import Lease


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

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which is read once per hook."""
        if self._settings is None:
            self._settings = look_up_settings(self.jimeng_conn_id, self.get_connection)
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


def form_widgets() -> dict[str, Any]:
    """Return one WTForms field for each field of the extra. Airflow's web server, which calls this, has the libraries."""
    wtforms, validators = import_module("wtforms"), import_module("wtforms.validators")
    appearance = import_module("flask_appbuilder.fieldwidgets")
    translated = import_module("flask_babel").lazy_gettext
    widgets: dict[str, Any] = {}
    for setting in CONNECTION_SETTINGS:
        if not setting.in_form:
            continue
        checks = [validators.Optional()]
        if setting.options:
            checks.append(validators.any_of(list(setting.options)))
        field = wtforms.PasswordField if setting.is_secret else wtforms.StringField
        look = appearance.BS3PasswordFieldWidget if setting.is_secret else appearance.BS3TextFieldWidget
        widgets[setting.name] = field(
            translated(setting.label),
            validators=checks,
            description=setting.meaning,
            default=setting.schema.get("default"),
            widget=look(),
        )
    return widgets


def field_behaviour() -> dict[str, Any]:
    """Return titles and placeholders of the standard fields, with the keys that the method of the hook uses."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


NO_SUCH_TASK = "0"
"""Real ids are decimal text of 19 to 20 digits."""
CLOCK_TOLERANCE_SECONDS = 60.0


def probe(client: JimengClient) -> tuple[bool, str]:
    """Return whether the connection works, and why not or under which reservation."""
    settings = client.settings
    spec = settings.catalogue[DEFAULT_MODEL]
    try:
        client.query(spec.req_key, NO_SUCH_TASK)
    except JimengError as error:
        works, said = _meaning(error, settings.host, bearer=settings.auth == "bearer")
    else:
        works, said = True, f"{settings.host} accepted the credentials. Nothing was submitted or billed."
    return works, said + _clock_note(client)


def _meaning(error: JimengError, host: str, *, bearer: bool) -> tuple[bool, str]:
    accepted = f"{host} accepted the credentials"
    if isinstance(error, RateLimitedError | ConcurrencyLimitedError):
        return True, f"{accepted}, and is busy just now: {error}"
    if isinstance(error, InputRejectedError) and error.entry is not None and not error.entry.gateway:
        return True, f"{accepted}. Nothing was submitted or billed."
    match error:
        case NotSentError():
            said = f"Unreachable host: {error} Check host, port, schema, verify and proxy."
        case NoReplyError():
            said = f"No answer: {error} Check host, port, schema and timeout_seconds."
        case UnreadableReplyError():
            said = f"Not the API: {error} Check host, path and proxy."
        case AuthenticationError():
            said = _credentials(error, bearer=bearer)
        case PermissionDeniedError():
            said = f"The service is not opened for this account: {error}"
        case _:
            said = f"{host} answered with an error: {error}"
    return False, said


def _credentials(error: AuthenticationError, *, bearer: bool) -> str:
    if bearer:
        return f"The gateway refused the token in password: {error}"
    kinds = {
        "InvalidAccessKey": "Unknown access key: check the login.",
        "SignatureDoesNotMatch": "Wrong secret: check the password. It belongs to another access key, or is cut.",
        "InvalidTimestamp": "Skewed clock: set the clock of this machine.",
        "InvalidSecretToken": "Session token: it is wrong or has expired.",
    }
    kind = kinds.get(error.entry.name) if error.entry is not None else None
    return f"{kind or 'The credentials were refused.'} {error}"


def _clock_note(client: JimengClient) -> str:
    offset = client.auth.offset_seconds if isinstance(client.auth, VolcAuth) else 0.0
    if abs(offset) < CLOCK_TOLERANCE_SECONDS:
        return ""
    return (
        f" Skewed clock: this machine's clock is {-offset:+.0f} s off the API's. Requests are signed with the "
        "API's time; set the clock."
    )
