# SPDX-License-Identifier: Apache-2.0
"""A notifier that tells people about a render, through any other notifier: mail, chat, webhook."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.notifier import BaseNotifier

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["JimengRenderNotifier"]

LANGUAGES = ("en", "zh")


class JimengRenderNotifier(BaseNotifier):
    """Give another notifier the title, meaning, advice, cost and link of a render, as ``jimeng`` in its context.

    Use it as ``on_success_callback``, ``on_failure_callback`` or ``on_retry_callback`` of a task, as a callback of a DAG,
    and as the callback of a deadline (Airflow 3.1 and newer). The templates of the other notifier can contain
    ``{{ jimeng.title }}``, and ``meaning``, ``advice``, ``cost``, ``link``, ``key`` and ``text``; see
    :class:`~airflow_provider_jimeng.notifications.message.RenderMessage`. A function gets the context, with the message as
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
        from airflow_provider_jimeng.notifications.message import message_of

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
