# SPDX-License-Identifier: Apache-2.0
"""A notifier that tells people about a render, through any other notifier: mail, chat, webhook.

The message is made from the context of the callback and from the XComs of the task.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import uuid
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.notifier import BaseNotifier
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_jimeng.core.messages import explain
from airflow_provider_jimeng.core.outcomes import (
    NOTHING_SUBMITTED,
    UNKNOWN_SUBMIT,
    Billed,
    Explanation,
    Outcome,
    ending_of,
)
from airflow_provider_jimeng.core.render import manifest_or_none
from airflow_provider_jimeng.links import base_url, has_views, video_page
from airflow_provider_jimeng.operators.xcom import INTENT, REFUSAL, RENDER, RETURN_VALUE, pull_own

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["JimengRenderNotifier", "RenderMessage"]

LANGUAGES = ("en", "zh")
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "saved": "Video saved: {name}",
        "saved_meaning": "The video of the render {task_id} ({model}) is saved as {uri}.",
        "succeeded": "Task succeeded: {name}",
        "paid_meaning": "The render {task_id} ({model}) is paid for.",
        "succeeded_meaning": "The task has done its work.",
        "failed": "Task failed: {name}",
        "run_succeeded": "DAG run succeeded: {name}",
        "run_succeeded_meaning": "All tasks of the run are done.",
        "run_failed": "DAG run failed: {name}",
        "run_failed_meaning": "The run failed ({reason}).",
        "run_failed_advice": "Open the run. The page of each failed task says what was paid and what to do.",
        "run_late": "DAG run is late: {name}",
        "run_late_meaning": "The run was not finished at its deadline. Its renders continue, and nothing is paid twice.",
        "run_late_advice": "Open the run, and look for the task that still waits.",
        "some_run": "a run whose name is not known",
        "cost_yes": "{cost} CNY",
        "cost_unknown": "at most {cost} CNY, if it was billed",
        "cost_no": "nothing was billed",
        "cost_yes_unpriced": "unknown",
        "cost_unknown_unpriced": "unknown, if it was billed",
        "cost": "Cost: ",
    },
    "zh": {
        "saved": "视频已保存：{name}",
        "saved_meaning": "生成任务 {task_id}（{model}）的视频已保存为 {uri}。",
        "succeeded": "任务成功：{name}",
        "paid_meaning": "生成任务 {task_id}（{model}）已付费。",
        "succeeded_meaning": "任务已完成。",
        "failed": "任务失败：{name}",
        "run_succeeded": "DAG 运行成功：{name}",
        "run_succeeded_meaning": "该运行的所有任务均已完成。",
        "run_failed": "DAG 运行失败：{name}",
        "run_failed_meaning": "该运行失败（{reason}）。",
        "run_failed_advice": "请打开该运行。每个失败任务的页面会说明已付费用与处理方法。",
        "run_late": "DAG 运行超时：{name}",
        "run_late_meaning": "该运行未在截止时间前完成。其中的生成任务会继续进行，不会重复付费。",
        "run_late_advice": "请打开该运行，查看仍在等待的任务。",
        "some_run": "Airflow 未提供名称的运行",
        "cost_yes": "{cost} 元",
        "cost_unknown": "如已计费，最多 {cost} 元",
        "cost_no": "未计费",
        "cost_yes_unpriced": "未知",
        "cost_unknown_unpriced": "未知（如已计费）",
        "cost": "费用：",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderMessage:
    """The content of a notification. A field that is not known is empty.

    ``cost`` is a text. ``link`` is the page of the video, or of the run; it needs ``[api] base_url``. ``key`` is the same
    for each message about the same event, so that a receiver can drop repetitions.
    """

    title: str
    meaning: str
    advice: str = ""
    cost: str = ""
    link: str = ""
    key: str = ""
    lang: str = "en"

    @property
    def text(self) -> str:
        """The whole message as plain text, without the title."""
        cost = self.cost and _TEXTS[self.lang]["cost"] + self.cost
        return "\n".join(line for line in (self.meaning, self.advice, cost, self.link) if line)


class JimengRenderNotifier(BaseNotifier):
    """Give another notifier the title, meaning, advice, cost and link of a render, as ``jimeng`` in its context.

    Use it as ``on_success_callback``, ``on_failure_callback`` or ``on_retry_callback`` of a task, as a callback of a DAG,
    and as the callback of a deadline (Airflow 3.1 and newer). The templates of the other notifier can contain
    ``{{ jimeng.title }}``, and ``meaning``, ``advice``, ``cost``, ``link``, ``key`` and ``text``; see
    :class:`RenderMessage`. A function gets the context, with the message as
    ``context["jimeng"]``.

    :param notifier: the notifier that sends the message, or a function. For a deadline, which is stored as JSON, the import
        path of a notifier's class.
    :param notifier_kwargs: the arguments of that class, if ``notifier`` is an import path.
    :param lang: language of the message: ``en`` or ``zh``.
    """

    def __init__(
        self,
        notifier: BaseNotifier | Callable[[Context], object] | str,
        *,
        notifier_kwargs: Mapping[str, Any] | None = None,
        lang: str = "en",
        context: Context | None = None,
    ) -> None:
        super().__init__()
        if lang not in LANGUAGES:
            raise ValueError(f"lang is {lang!r}; it takes {' or '.join(map(repr, LANGUAGES))}.")
        if notifier_kwargs and not isinstance(notifier, str):
            raise ValueError(
                "notifier_kwargs are for an import path. Give the notifier its arguments itself."
            )
        self.context = context or {}
        self.notifier = notifier
        self.notifier_kwargs = dict(notifier_kwargs or {})
        self.lang = lang

    def notify(self, context: Context) -> None:
        """Send the message. Airflow calls it on the worker or in the DAG processor."""
        self._sender(context)(context)

    async def async_notify(self, context: Context) -> None:
        """Send the message from the triggerer. A deadline calls it, once per triggerer, with little or no context."""
        from asgiref.sync import sync_to_async

        sender = self._sender(context)
        if _is_asynchronous(sender):
            sender.context = context
            await sender
        elif inspect.iscoroutinefunction(sender):
            await sender(context)
        else:
            await sync_to_async(sender)(context)

    def _sender(self, context: Context) -> Any:
        """Put the message into the context, and return what sends it.

        A notifier overwrites its own templates when it sends, and the DAG processor calls the same object for several runs.
        Therefore, each message gets a copy.
        """
        sender: Any = self.notifier
        if isinstance(sender, str):
            module, _, name = sender.rpartition(".")
            sender = getattr(importlib.import_module(module), name)(**self.notifier_kwargs)
        context["jimeng"] = message_of(context, self.lang)  # type: ignore[typeddict-unknown-key]
        return copy(sender) if isinstance(sender, BaseNotifier) else sender


def _is_asynchronous(sender: Any) -> bool:
    if not isinstance(sender, BaseNotifier) or not hasattr(BaseNotifier, "async_notify"):
        return False
    return type(sender).async_notify is not BaseNotifier.async_notify


# ------------------------------------------------------------------------------------------------------ the message
def message_of(context: Context | Mapping[str, Any], lang: str) -> RenderMessage:
    """Return the message for the context of a callback.

    Callbacks of a DAG get a ``reason``. Some versions of Airflow add the context of the last task, which does not count. A
    deadline gets a few facts about the run, or nothing.
    """
    ti = context.get("ti")
    if ti is None or "reason" in context:
        return _of_run(context, lang)
    return _of_task(context, ti, lang)


def _of_task(context: Mapping[str, Any] | Context, ti: Any, lang: str) -> RenderMessage:
    texts = _TEXTS[lang]
    name = f"{ti.dag_id}.{ti.task_id}" + (f"[{ti.map_index}]" if ti.map_index >= 0 else "")
    result = None if context.get("exception") else pull_own(ti, ti.task_id, RETURN_VALUE)
    succeeded = result is not None or str(getattr(ti, "state", "")) == "success"
    common = {
        "link": _task_link(ti),
        "lang": lang,
        "key": _key(ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number, succeeded),
    }
    if not succeeded:
        explanation, cost = _failure(ti, texts)
        chinese = lang == "zh"
        return RenderMessage(
            title=texts["failed"].format(name=name),
            meaning=explanation.meaning_zh if chinese else explanation.meaning,
            advice=explanation.advice_zh if chinese else explanation.advice,
            cost=cost,
            **common,
        )
    if (manifest := manifest_or_none(result)) is not None:
        return RenderMessage(
            title=texts["saved"].format(name=name),
            meaning=texts["saved_meaning"].format_map(manifest),
            cost=_cost(Billed.YES, manifest.get("cost_cny"), texts),
            **common,
        )
    payload = _mapping(pull_own(ti, ti.task_id, RENDER))
    return RenderMessage(
        title=texts["succeeded"].format(name=name),
        meaning=texts["paid_meaning"].format_map(payload) if payload else texts["succeeded_meaning"],
        cost=_cost(Billed.YES, payload.get("estimated_cost_cny"), texts) if payload else "",
        **common,
    )


def _failure(ti: Any, texts: Mapping[str, str]) -> tuple[Explanation, str]:
    """Return what a failure means, and what it can have cost. The latest of the three XComs of a task counts."""
    for key in (INTENT, REFUSAL, RENDER):
        payload = _mapping(pull_own(ti, ti.task_id, key))
        if not payload:
            continue
        outcome = UNKNOWN_SUBMIT if key == INTENT else str(payload.get("outcome") or "")
        message = str(payload.get("message") or "")
        explained = dict(payload, outcome=outcome)
        if key == RENDER and message and outcome in ("", Outcome.SUCCEEDED):
            explained["meaning"] = (
                message  # our own sentence about a video that could not be saved, or differs
            )
        request = _mapping(payload.get("request")) or payload
        billed = Billed.NO if key == REFUSAL else ending_of(outcome).billed
        return explain(explained), _cost(billed, request.get("estimated_cost_cny"), texts)
    return NOTHING_SUBMITTED, _cost(Billed.NO, None, texts)


def _of_run(context: Mapping[str, Any] | Context, lang: str) -> RenderMessage:
    """Return the text about a whole run: how it ended, or that it is late if the callback knows no reason."""
    texts = _TEXTS[lang]
    dag_id, run_id = _run_of(context)
    reason = context.get("reason")
    kind = "run_late" if reason is None else "run_succeeded" if reason == "success" else "run_failed"
    deadline = _mapping(context.get("deadline"))
    return RenderMessage(
        title=texts[kind].format(name=f"{dag_id} {run_id}".strip() or texts["some_run"]),
        meaning=texts[f"{kind}_meaning"].format(reason=reason),
        advice=texts.get(f"{kind}_advice", ""),
        link=_run_link(dag_id, run_id),
        key=_key(dag_id, run_id, kind, deadline.get("id")) if run_id else uuid.uuid4().hex,
        lang=lang,
    )


def _run_of(context: Mapping[str, Any] | Context) -> tuple[str, str]:
    """Return the ids of the DAG and of the run, empty if they are not known. A deadline describes its run as JSON."""
    run = context.get("dag_run")
    if isinstance(run, Mapping):
        return str(run.get("dag_id") or ""), str(run.get("dag_run_id") or run.get("run_id") or "")
    dag_id = getattr(context.get("dag") or run, "dag_id", "")
    run_id = context.get("run_id") or getattr(run, "run_id", "")
    return str(dag_id), str(run_id)


def _task_link(ti: Any) -> str:
    if has_views():
        return video_page(ti.dag_id, ti.run_id, ti.task_id, ti.map_index) if base_url() else ""
    return str(getattr(ti, "log_url", ""))


def _run_link(dag_id: str, run_id: str) -> str:
    if not (AIRFLOW_V_3_0_PLUS and base_url() and run_id):
        return ""
    return f"{base_url()}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def _cost(billed: Billed, cost: Any, texts: Mapping[str, str]) -> str:
    known = "" if cost or billed is Billed.NO else "_unpriced"
    return texts[f"cost_{billed.value}{known}"].format(cost=cost)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _key(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]
