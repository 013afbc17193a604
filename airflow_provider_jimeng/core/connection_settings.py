# SPDX-License-Identifier: Apache-2.0
"""The fields of a connection of type ``jimeng``, each declared once.

The form in Airflow's UI, the description of the provider, the checks of the values and the tables of the documents
come from here. Airflow reads this module at start-up, so it imports only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "choice", "number", "switch or path", "proxy", "object", "label", "hosts"]

DEFAULT_ENDPOINT = "https://visual.volcengineapi.com"
_JSON_TYPES = {"number": "number", "object": "object", "label": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardField:
    """A field that every Airflow connection has. An empty ``title`` keeps the title of Airflow."""

    name: str
    title: str = ""
    title_zh: str = ""
    placeholder: str = ""
    meaning: str

    @property
    def form_label(self) -> str:
        """The label in both languages."""
        return f"{self.title} · {self.title_zh}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSetting:
    """A field of the connection's extra.

    ``default`` is the value if the field is empty; ``if_empty`` is the text for it, if that is not the value itself.
    ``least`` and ``most`` are the limits of a number in ``unit``; ``options`` are the values of a choice.
    A field that is not ``in_form`` can only be set in the JSON of the extra.
    """

    name: str
    title: str
    kind: Kind
    description: str
    default: Any = None
    if_empty: str = ""
    title_zh: str
    description_zh: str
    if_empty_zh: str = ""
    least: float = 0.0
    most: float = 0.0
    unit: str = ""
    options: tuple[str, ...] = ()
    is_secret: bool = False
    in_form: bool = True

    @property
    def label(self) -> str:
        """The title with the unit, as the form shows it."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def meaning(self) -> str:
        """The description with the limits and the meaning of an empty field."""
        limits = f" From {self.least:g} to {self.most:g}." if self.kind == "number" else ""
        empty = self.if_empty or (f"{self.default:g}" if self.kind == "number" else self.default)
        return f"{self.description}{limits}" + (f" Empty: {empty}." if empty else "")

    @property
    def meaning_zh(self) -> str:
        """The same in Chinese. The description of a number ends with a comma, and the limits follow."""
        limits = f"{self.least:g} 到 {self.most:g}。" if self.kind == "number" else ""
        default = f"{self.default:g}" if self.kind == "number" else self.default
        return self.description_zh + limits + (self.if_empty_zh or (f"留空为 {default}。" if default else ""))

    @property
    def form_label(self) -> str:
        """The label in both languages, because Airflow's form has one text for all readers."""
        return f"{self.label} · {self.title_zh}"

    @property
    def form_description(self) -> str:
        """The meaning in both languages."""
        return f"{self.meaning} {self.meaning_zh}"

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the value, in the words that Airflow's form knows."""
        schema: dict[str, Any] = {"type": [_JSON_TYPES.get(self.kind, "string"), "null"]}
        if self.kind == "choice":
            schema |= {"enum": list(self.options), "default": self.default}
        if self.kind == "number":
            schema |= {"minimum": self.least, "maximum": self.most}
        if self.is_secret:
            schema["format"] = "password"
        return schema


STANDARD_FIELDS = (
    StandardField(
        name="login",
        title="Access Key ID",
        title_zh="访问密钥 ID",
        meaning="The Access Key ID. With auth = bearer it is not used.",
    ),
    StandardField(
        name="password",
        title="Secret Access Key (or bearer token)",
        title_zh="私有密钥（或网关 token）",
        meaning=(
            "The Secret Access Key as the console shows it. Do not decode it; it can end in ==. With auth = bearer, the "
            "token of the gateway."
        ),
    ),
    StandardField(
        name="host",
        title="Endpoint",
        title_zh="接入地址",
        placeholder=DEFAULT_ENDPOINT,
        meaning=f"A host, or a URL, which can have a path. Empty: {DEFAULT_ENDPOINT}.",
    ),
    StandardField(
        name="schema", placeholder="https", meaning="https or http. Leave it empty if host is a URL."
    ),
    StandardField(name="port", placeholder="443", meaning="Empty: the port of the scheme."),
)

CONNECTION_SETTINGS = (
    ConnectionSetting(
        name="auth",
        title="Authentication",
        kind="choice",
        options=("volc", "bearer"),
        default="volc",
        description="volc: sign with Access Key ID and Secret Access Key. bearer: send the password as a token.",
        title_zh="认证方式",
        description_zh="volc：用 Access Key ID 和 Secret Access Key 签名。bearer：把密码作为 token 发送。",
    ),
    ConnectionSetting(
        name="session_token",
        title="Session token",
        kind="text",
        is_secret=True,
        description="Only with temporary (STS) credentials.",
        title_zh="会话令牌",
        description_zh="仅在使用临时（STS）凭证时填写。",
    ),
    ConnectionSetting(
        name="region",
        title="Region",
        kind="text",
        default="cn-north-1",
        description="Part of the signature.",
        title_zh="地域",
        description_zh="签名的一部分。",
    ),
    ConnectionSetting(
        name="service",
        title="Service",
        kind="text",
        default="cv",
        description="Part of the signature.",
        title_zh="服务",
        description_zh="签名的一部分。",
    ),
    ConnectionSetting(
        name="timeout_seconds",
        title="Timeout",
        kind="number",
        unit="seconds",
        least=1,
        most=600,
        default=30.0,
        description="How long one request can wait for an answer.",
        title_zh="超时，秒",
        description_zh="一次请求最多等待响应多久，",
    ),
    ConnectionSetting(
        name="verify",
        title="Verify TLS",
        kind="switch or path",
        default=True,
        if_empty="true",
        if_empty_zh="留空为 true。",
        description="true, false, or the path of a CA bundle.",
        title_zh="校验 TLS",
        description_zh="true、false，或 CA 证书文件的路径。",
    ),
    ConnectionSetting(
        name="proxy",
        title="Proxy",
        kind="proxy",
        is_secret=True,
        if_empty="the proxy that the environment sets",
        if_empty_zh="留空则使用环境变量设置的代理。",
        description="URL of a proxy for this connection.",
        title_zh="代理",
        description_zh="这个连接使用的代理 URL。",
    ),
    ConnectionSetting(
        name="aigc_meta",
        title="AIGC label",
        kind="label",
        description="JSON: producer_id, content_propagator, content_producer, propagate_id of the implicit label.",
        title_zh="AIGC 标识",
        description_zh="JSON：隐式标识的 producer_id、content_propagator、content_producer、propagate_id。",
    ),
    ConnectionSetting(
        name="prices",
        title="Prices",
        kind="object",
        description='JSON: CNY per second by model, e.g. {"t2v_1080p": 0.63}. Overrides the catalogue.',
        title_zh="价格",
        description_zh='JSON：每个模型每秒的价格（元），例如 {"t2v_1080p": 0.63}。覆盖内置目录。',
    ),
    ConnectionSetting(
        name="models",
        title="Models",
        kind="object",
        description='JSON: records merged over the catalogue; a new key needs {"like": "t2v_720p"}.',
        title_zh="模型",
        description_zh='JSON：合并到内置目录的记录；新的 key 需要 {"like": "t2v_720p"}。',
    ),
    ConnectionSetting(
        name="max_requests_per_second",
        title="Requests per second",
        kind="number",
        least=0.1,
        most=10_000,
        default=5.0,
        description="Upper limit of the request rate of triggers.",
        title_zh="每秒请求数",
        description_zh="触发器请求速率的上限，",
    ),
    ConnectionSetting(
        name="media_hosts",
        title="Media hosts",
        kind="hosts",
        default=(),
        if_empty="any public https host",
        if_empty_zh="留空为任何公网 https 主机。",
        description="Hosts that videos can come from, separated by commas.",
        title_zh="媒体主机",
        description_zh="允许下载视频的主机，用逗号分隔。",
    ),
    ConnectionSetting(
        name="transport",
        title="Transport",
        kind="choice",
        options=("httpx", "aiohttp"),
        default="httpx",
        in_form=False,  # It needs an installed extra.
        description=(
            "The library that sends the requests of triggers: httpx, or aiohttp (extra [aiohttp]), which needs less CPU."
        ),
        title_zh="请求库",
        description_zh="触发器发送请求所用的库：httpx，或 CPU 占用更低的 aiohttp（可选依赖 [aiohttp]）。",
    ),
)

SETTINGS_BY_NAME = {setting.name: setting for setting in CONNECTION_SETTINGS}
