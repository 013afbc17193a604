# SPDX-License-Identifier: Apache-2.0
"""The code table: what each code of the API and its gateway means, and what to do about it.

Sources: product pages of library 85621 and the common return codes (docs 6444/69728) for business codes, the
gateway's public error pages (docs 6369/68677, 6469/1126806) for the others. The class of an error depends on the number,
or on the name that the gateway uses, and never on the text of a message. Only code 10000 with status ``done`` is billed
(confidence M).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    InputRejectedError,
    OutputModeratedError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnknownCodeError,
)
from airflow_provider_jimeng.core.outcomes import Explanation

if TYPE_CHECKING:
    from collections.abc import Mapping

SUCCESS = 10000
MISSING_TASK_STATUSES = frozenset({"task_not_exist", "tasknotfound"})
"""Names that gateways and tutorials use for "no such task", in lower case."""


class ErrorKind(Enum):
    """The error class that a code stands for."""

    INPUT_REJECTED = InputRejectedError
    INPUT_MODERATED = InputModeratedError
    OUTPUT_MODERATED = OutputModeratedError
    RATE_LIMITED = RateLimitedError
    BUSY = ConcurrencyLimitedError
    AUTHENTICATION = AuthenticationError
    PERMISSION = PermissionDeniedError
    SERVER = ServerError
    UNKNOWN = UnknownCodeError

    @property
    def error_class(self) -> type[ApiError]:
        """The class that an answer of this kind raises."""
        error_class: type[ApiError] = self.value
        return error_class

    @property
    def fails_render(self) -> bool:
        """Whether an answer of this kind to a query ends the render, and not only the query."""
        return self in (ErrorKind.INPUT_REJECTED, ErrorKind.INPUT_MODERATED, ErrorKind.OUTPUT_MODERATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeEntry(Explanation):
    """One row.

    ``name`` and ``message`` are the vendor's own. ``gateway``: the code comes from the gateway before the API, so it
    concerns the request and never the render. ``confidence`` is that of the public sources: H, M or L.
    """

    code: int
    kind: ErrorKind
    http_status: int
    name: str = ""
    message: str = ""
    gateway: bool = False
    confidence: str = "H"

    @property
    def retryable(self) -> bool:
        """Whether a new submit of the same request can succeed."""
        return self.kind.error_class.retryable

    @property
    def fails_render(self) -> bool:
        """Whether an answer with this code to a query ends the render, and not only the query."""
        return self.kind.fails_render and not self.gateway


def _business(
    code: int,
    http: int,
    message: str,
    kind: ErrorKind,
    meaning: str,
    meaning_zh: str,
    advice: tuple[str, str],
    *,
    name: str = "",
    confidence: str = "H",
) -> CodeEntry:
    return CodeEntry(
        code=code, name=name, http_status=http, message=message, kind=kind, confidence=confidence,
        meaning=meaning, meaning_zh=meaning_zh, advice=advice[0], advice_zh=advice[1],
    )  # fmt: skip


def _gateway(
    code: int, name: str, http: int, kind: ErrorKind, meaning: str, meaning_zh: str, advice: tuple[str, str]
) -> CodeEntry:
    row = _business(code, http, name, kind, meaning, meaning_zh, advice, name=name)
    return replace(row, gateway=True)


_CHANGE_PROMPT = ("Change the prompt.", "请修改提示词。")
_CHANGE_IMAGE = ("Use another input image.", "请更换输入图片。")
_CHANGE_ARGS = ("Compare the arguments with what the model accepts.", "请对照模型支持的参数检查请求。")
_NEW_SEED = (
    "A new render with another seed or prompt might pass.",
    "更换种子或提示词后重新生成，可能会通过。",
)
_WAIT = ("You need to do nothing: the task tries again.", "无需处理，会自动重试。")
_BROKE = (
    "While a task waits, you need to do nothing. After a submit, the outcome is unknown.",
    "等待期间出现时无需处理；提交后出现时，结果未知。",
)
_KEY = (
    "Check the access key, the secret and the session token of the connection.",
    "请检查连接中的 Access Key ID、Secret Access Key 与会话令牌。",
)
_ADDRESS = (
    "Check host, path, region and service of the connection.",
    "请检查连接的主机、路径、region 与 service。",
)
_POLICY = ("Attach CVFullAccess to the key's user.", "请为该密钥所属用户授予 CVFullAccess 权限。")

_K = ErrorKind
_BUSINESS_ROWS = (
    _business(50411, 400, "Pre Img Risk Not Pass", _K.INPUT_MODERATED,
              "Moderation refused the input image.", "输入图片未通过审核。", _CHANGE_IMAGE),
    _business(50511, 400, "Post Img Risk Not Pass", _K.OUTPUT_MODERATED,
              "Moderation refused the finished picture.", "生成的图片未通过审核。", _NEW_SEED),
    _business(50412, 400, "Text Risk Not Pass", _K.INPUT_MODERATED,
              "Moderation refused the prompt.", "提示词未通过审核。", _CHANGE_PROMPT),
    _business(50512, 400, "Post Text Risk Not Pass", _K.INPUT_MODERATED,
              "Moderation refused the text of the result.", "生成结果中的文字未通过审核。", _CHANGE_PROMPT),
    _business(50413, 400, "Post Text Risk Not Pass", _K.INPUT_MODERATED,
              "The prompt contains sensitive or copyrighted words.", "提示词含有敏感词或受版权保护的内容。",
              _CHANGE_PROMPT),
    _business(50513, 400, "Pre Video Risk Not Pass", _K.INPUT_MODERATED,
              "Moderation refused the input video.", "输入视频未通过审核。",
              ("Use another input video.", "请更换输入视频。")),
    _business(50514, 400, "Pre Audio Risk Not Pass", _K.INPUT_MODERATED,
              "Moderation refused the input audio.", "输入音频未通过审核。",
              ("Use other input audio.", "请更换输入音频。")),
    _business(50516, 400, "Post Video Risk Not Pass", _K.OUTPUT_MODERATED,
              "Moderation refused the finished video.", "生成的视频未通过审核。", _NEW_SEED),
    _business(50517, 400, "Post Audio Risk Not Pass", _K.OUTPUT_MODERATED,
              "Moderation refused the finished audio.", "生成的音频未通过审核。", _NEW_SEED),
    _business(50518, 400, "Pre Img Risk Not Pass: Copyright", _K.INPUT_MODERATED,
              "The input image is protected by copyright.", "输入图片受版权保护。", _CHANGE_IMAGE),
    _business(50519, 400, "Post Img Risk Not Pass: Copyright", _K.OUTPUT_MODERATED,
              "The finished picture resembles protected work.", "生成的图片与受版权保护的作品相似。", _NEW_SEED),
    _business(50520, 400, "Risk Internal Error", _K.INPUT_MODERATED,
              "The moderation service failed on this request.", "审核服务处理该请求时出错。",
              ("The vendor says that a retry does not help. Change the input, or clear the task later.", "官方文档称重试无效；请修改输入，或稍后清除任务。")),
    _business(50521, 400, "Antidirt Internal Error", _K.INPUT_MODERATED,
              "The text moderation service failed on this request.", "文本审核服务处理该请求时出错。",
              ("The vendor says that a retry does not help. Change the prompt, or clear the task later.", "官方文档称重试无效；请修改提示词，或稍后清除任务。")),
    _business(50522, 400, "Image Copyright Internal Error", _K.INPUT_MODERATED,
              "The copyright check failed on this request.", "版权检测服务处理该请求时出错。",
              ("The vendor says that a retry does not help. Change the image, or clear the task later.", "官方文档称重试无效；请更换图片，或稍后清除任务。")),
    _business(50429, 429, "Request Has Reached API Limit, Please Try Later", _K.RATE_LIMITED,
              "There are too many requests per second.", "每秒请求数过多。", _WAIT, name="ECReqLimit"),
    _business(50430, 429, "Request Has Reached API Concurrent Limit, Please Try Later", _K.BUSY,
              "The account has reached its concurrency limit for this model.", "账号在该模型上的并发生成任务数已达上限。",
              _WAIT),
    _business(50500, 500, "Internal Error", _K.SERVER,
              "The API had an internal error.", "API 内部出错。", _BROKE, name="ECInternal"),
    _business(50501, 500, "Internal RPC Error", _K.SERVER,
              "The API had an internal error.", "API 内部出错。", _BROKE, name="ECRPCInternal"),
    _business(50200, 400, "Invalid Request Args", _K.INPUT_REJECTED,
              "An argument, or the model key, is invalid.", "某个参数或模型键（req_key）无效。",
              _CHANGE_ARGS, name="ECReqInvalidArgs"),
    _business(50201, 400, "Missing Request Args", _K.INPUT_REJECTED,
              "An argument is missing.", "缺少参数。", _CHANGE_ARGS, name="ECReqMissingArgs"),
    _business(50204, 400, "Parse Args Failed", _K.INPUT_REJECTED,
              "An argument has the wrong type or cannot be parsed.", "某个参数类型错误或无法解析。",
              _CHANGE_ARGS, name="ECParseArgs"),
    _business(50205, 400, "Image Size Limited", _K.INPUT_REJECTED,
              "The image is too large.", "图片过大。", ("Send a smaller image.", "请使用更小的图片。")),
    _business(50206, 400, "Image Empty", _K.INPUT_REJECTED,
              "The image is missing.", "缺少图片。", _CHANGE_IMAGE),
    _business(50207, 400, "Image Decode Error", _K.INPUT_REJECTED,
              "The image cannot be decoded.", "图片无法解码。", ("Send a JPEG or PNG.", "请使用 JPEG 或 PNG 图片。")),
    _business(50209, 400, "Video Empty", _K.INPUT_REJECTED,
              "The input video is missing.", "缺少输入视频。", _CHANGE_ARGS),
    _business(50210, 400, "Video Decode Error", _K.INPUT_REJECTED,
              "The input video cannot be decoded.", "输入视频无法解码。", _CHANGE_ARGS),
    _business(50211, 400, "Video Size Limited", _K.INPUT_REJECTED,
              "The input video is too large.", "输入视频文件过大。", _CHANGE_ARGS),
    _business(50213, 400, "Request Body Size Limited", _K.INPUT_REJECTED,
              "The request is too large.", "请求体过大。",
              ("Send smaller images or links to them.", "请使用更小的图片，或改用图片链接。"), name="ECReqBodySizeLimited"),
    _business(50214, 400, "Video Time Limited", _K.INPUT_REJECTED,
              "The input video is too long.", "输入视频时长过长。", _CHANGE_ARGS),
    _business(50215, 400, "Input invalid for this service.", _K.INPUT_REJECTED,
              "The image or an argument does not suit the model.", "图片或某个参数不符合该模型的要求。",
              _CHANGE_ARGS),
    _business(60102, 400, "Face Not Detected", _K.INPUT_REJECTED,
              "No face was found in the image.", "图片中未检测到人脸。", _CHANGE_IMAGE),
    _business(60208, 400, "Image Sensitive", _K.INPUT_MODERATED,
              "The input image is sensitive.", "输入图片含有敏感内容。", _CHANGE_IMAGE),
    _business(50400, 401, "Access Denied: Internal Error", _K.PERMISSION,
              "The capability is not opened, the policy lacks CVFullAccess, or the account is in arrears.",
              "该能力未开通、策略缺少 CVFullAccess，或账号已欠费。",
              ("Open the model in the Volcengine console, check the policy and the balance.", "请在火山引擎控制台开通该模型，并检查策略与余额。"), name="ECAuth"),
    _business(50402, 404, "Invalid Request Method", _K.PERMISSION,
              "The endpoint has no such API.", "该接入地址上没有这个 API。",
              ("Check host and path of the connection.", "请检查连接的主机与路径。"), name="ECReqMethod"),
    _business(30403, 200, "NoFeatAuth", _K.PERMISSION,
              "The capability is not opened.", "该能力未开通。",
              ("Open the model in the Volcengine console.", "请在火山引擎控制台开通该模型。"), name="NoFeatAuth", confidence="L"),
    _business(30404, 200, "FeatNotFound", _K.PERMISSION,
              "The capability does not exist for this account.", "该账号下不存在此能力。",
              ("Check the model key of the connection.", "请检查连接中的模型键（req_key）。"), name="FeatNotFound", confidence="L"),
)  # fmt: skip
_GATEWAY_ROWS = (
    _gateway(100001, "UndefinedError", 500, _K.SERVER,
             "The gateway had an internal error.", "网关出错。", _BROKE),
    _gateway(100002, "MissingParameter", 400, _K.INPUT_REJECTED,
             "Action or Version is missing.", "请求缺少 Action 或 Version。", _ADDRESS),
    _gateway(100003, "MissingAuthenticationToken", 401, _K.AUTHENTICATION,
             "No key was sent.", "请求中没有密钥。", _KEY),
    _gateway(100004, "MissingRequestInfo", 400, _K.INPUT_REJECTED,
             "The gateway found the request incomplete or malformed.", "网关认为请求不完整或格式错误。", _ADDRESS),
    _gateway(100005, "MissingSignature", 401, _K.AUTHENTICATION,
             "No signature was sent.", "请求中没有签名。", _KEY),
    _gateway(100006, "InvalidTimestamp", 400, _K.AUTHENTICATION,
             "The time of the signature is too old or too new.", "签名时间过早或过晚。",
             ("Correct the clock of this machine.", "请校准本机时钟。")),
    _gateway(100007, "ServiceNotFound", 404, _K.INPUT_REJECTED,
             "The gateway has no such service.", "网关上没有该服务。", _ADDRESS),
    _gateway(100008, "InvalidActionOrVersion", 404, _K.INPUT_REJECTED,
             "The gateway has no such action.", "网关上没有该 Action。", _ADDRESS),
    _gateway(100009, "InvalidAccessKey", 401, _K.AUTHENTICATION,
             "The access key is unknown.", "Access Key ID 不存在。", _KEY),
    _gateway(100010, "SignatureDoesNotMatch", 401, _K.AUTHENTICATION,
             "The signature is wrong. Usually the secret key is wrong.",
             "签名错误：通常是 Secret Access Key 有误。",
             _KEY),
    _gateway(100012, "LackPolicy", 403, _K.PERMISSION,
             "The key's policy does not allow this.", "该密钥的策略不允许此操作。", _POLICY),
    _gateway(100013, "AccessDenied", 403, _K.PERMISSION,
             "Access is denied.", "访问被拒绝。", _POLICY),
    _gateway(100014, "InternalError", 500, _K.SERVER,
             "The gateway had an internal error.", "网关出错。", _BROKE),
    _gateway(100015, "FailToConnect", 502, _K.SERVER,
             "The gateway cannot reach the service.", "网关无法连接到服务。", _BROKE),
    _gateway(100016, "InternalServiceTimeout", 504, _K.SERVER,
             "The service did not answer the gateway.", "服务未响应网关。", _BROKE),
    _gateway(100018, "FlowLimitExceeded", 429, _K.RATE_LIMITED,
             "There are too many requests per second.", "每秒请求数过多。", _WAIT),
    _gateway(100019, "ServiceUnavailableTemp", 503, _K.SERVER,
             "The service is temporarily unavailable.", "服务暂时不可用。", _BROKE),
    _gateway(100020, "MethodNotAllowed", 405, _K.INPUT_REJECTED,
             "The gateway expects another HTTP method.", "网关要求使用其他 HTTP 方法。", _ADDRESS),
    _gateway(100024, "InvalidAuthorization", 400, _K.AUTHENTICATION,
             "The signature is malformed.", "签名格式错误。", _KEY),
    _gateway(100025, "InvalidCredential", 400, _K.AUTHENTICATION,
             "The signature's scope is malformed.", "签名的凭证范围格式错误。", _ADDRESS),
    _gateway(100026, "InvalidSecretToken", 401, _K.AUTHENTICATION,
             "The session token is wrong or has expired.", "会话令牌错误或已过期。",
             ("Renew the session token of the connection.", "请更新连接中的会话令牌。")),
)  # fmt: skip
BUSINESS_CODES: Mapping[int, CodeEntry] = MappingProxyType({row.code: row for row in _BUSINESS_ROWS})
GATEWAY_CODES: Mapping[int, CodeEntry] = MappingProxyType({row.code: row for row in _GATEWAY_ROWS})

OTHER_NAMES: Mapping[str, int] = MappingProxyType(
    {
        # Older pages and tutorials of the vendor use these names.
        "InvalidClientTokenId": 100009,
        "LackProjectPolicy": 100012,
        "InternalServiceError": 100014,
        "AccountFlowLimitExceeded": 100018,
        "InvalidSignature": 100010,
        "InvalidParameter": 50200,
        "QuotaExceeded": 50430,
        "ContentFiltered": 50412,
        # Bearer gateways use these names. They refuse the request, so none of them ends a render.
        "invalid_signature": 100010,
        "auth_failed": 100009,
        "key_expired": 100009,
        "key_revoked": 100009,
        "invalid_request": 100004,
        "validation_failed": 100004,
        "rate_limited": 100018,
        "insufficient_quota": 50400,
        "insufficient_user_quota": 50400,
        "pre_consume_token_quota_failed": 50400,
        "upstream_failed": 100015,
        "database_error": 100014,
        "audit_failed": 100014,
        "internal_error": 100014,
        "fail_to_fetch_task": 100014,
    }
)
"""Other names for the codes of the table."""

_NAMES: Mapping[str, int] = MappingProxyType(
    {entry.name.lower(): code for code, entry in GATEWAY_CODES.items()}
    | {entry.name.lower(): code for code, entry in BUSINESS_CODES.items() if entry.name}
    | {name.lower(): code for name, code in OTHER_NAMES.items()}
)

_QUOTA = (
    "The balance or the quota at the gateway is used up.", "网关上的余额或额度已用完。",
    "Top up the account, or raise the token's quota, at the gateway.", "请在网关充值，或提高该令牌的额度。",
)  # fmt: skip
_RENEW = (
    "Put a valid token of the gateway into the connection's password.", "请将有效的网关令牌填入连接的密码。",
)  # fmt: skip
_MALFORMED = (
    "The gateway found the request incomplete or malformed.", "网关认为请求不完整或格式错误。",
    "Compare the arguments with what the model accepts, and host and path of the connection with the gateway's pages.",
    "请对照模型支持的参数检查请求，并对照网关文档检查连接的主机与路径。",
)  # fmt: skip
GATEWAY_WORDS: Mapping[str, CodeEntry] = MappingProxyType(
    {
        word: replace(
            row, meaning=meaning, meaning_zh=meaning_zh, advice=advice, advice_zh=advice_zh, gateway=True
        )
        for word, (meaning, meaning_zh, advice, advice_zh) in {
            "insufficient_quota": _QUOTA,
            "insufficient_user_quota": _QUOTA,
            "pre_consume_token_quota_failed": _QUOTA,
            "auth_failed": ("The gateway does not know the token.", "网关不认识该令牌。", *_RENEW),
            "key_expired": ("The token has expired at the gateway.", "该令牌在网关已过期。", *_RENEW),
            "key_revoked": ("The token was revoked at the gateway.", "该令牌已被网关吊销。", *_RENEW),
            "invalid_request": _MALFORMED,
            "validation_failed": _MALFORMED,
        }.items()
        for row in [{**BUSINESS_CODES, **GATEWAY_CODES}[OTHER_NAMES[word]]]
    }
)
"""Refusals that only Bearer gateways send. The advice concerns the gateway, not the vendor."""

FAILURE_RANGES = (range(50200, 50300), range(50400, 50600))
"""Numbers of inputs and of moderation, which the API uses to say that a render failed (docs 85621)."""
_LONGEST_NUMBER = 9
"""No code has more digits. A longer text of digits is not read as a number."""


def lookup(code: int | str | None) -> CodeEntry | None:
    """Return the row for a number, the same number as text, or a name; ``None`` if no row has it."""
    if code is None or isinstance(code, bool):
        return None
    if isinstance(code, int):
        return BUSINESS_CODES.get(code) or GATEWAY_CODES.get(code)
    text = code.strip()
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        number = int(text)
    else:
        number = _NAMES.get(text.lower(), 0)
    return BUSINESS_CODES.get(number) or GATEWAY_CODES.get(number)


def entry_for(code: int | str | None) -> CodeEntry | None:
    """Return the row for a code as :func:`lookup` does, but a gateway's own word has the gateway's advice."""
    own = GATEWAY_WORDS.get(code.strip().lower()) if isinstance(code, str) else None
    return own or lookup(code)
