# SPDX-License-Identifier: Apache-2.0
"""How a wait can end: the outcomes, what follows from each, and what each means for the bill."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Billed(StrEnum):
    """Whether the vendor charges for a render or a submit."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What something means and what to do about it, in English and in Chinese."""

    meaning: str
    meaning_zh: str
    advice: str
    advice_zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending(Explanation):
    """What follows from the way in which a task's work on a render ended.

    ``over``: the render is over, so that only a new one can give a video. If it is not over, a retry or a Clear
    continues with the same render.
    """

    billed: Billed
    over: bool

    @property
    def can_continue(self) -> bool:
        """Whether the API might still be working on the render, so that a retry or a Clear waits for it again."""
        return not self.over and self.billed is Billed.UNKNOWN


_CONTINUE = "Clear the task: it continues with the same render and pays nothing."
_CONTINUE_ZH = "清除任务即可继续使用同一生成任务，无需再次付费。"
_ON_LOST = 'To pay for a new render, set on_lost="resubmit" and clear the task.'
_ON_LOST_ZH = '如需付费重新生成，请设置 on_lost="resubmit" 并清除任务。'


class Outcome(StrEnum):
    """How a wait ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    NOT_FOUND = "not_found"
    NO_LINK = "no_link"
    TIMED_OUT = "timed_out"
    LOST_CONTACT = "lost_contact"
    SLOT_FREE = "slot_free"
    SLOT_TIMED_OUT = "slot_timed_out"

    @property
    def ending(self) -> Ending:
        """What follows from the outcome."""
        return _ENDINGS[self]


UNKNOWN_SUBMIT = "unknown_submit"
"""The outcome of a ``jimeng_intent``: no wait began, because the outcome of the submit is unknown."""
NOT_SUBMITTED = "not_submitted"
"""The outcome of a ``jimeng_refusal`` of a task that stopped before its submit."""
_ENDINGS: Mapping[str, Ending] = {
    Outcome.SUCCEEDED: Ending(
        billed=Billed.YES,
        over=False,
        meaning="The video is done and billed, but it is not saved.",
        meaning_zh="视频已生成并计费，但尚未保存。",
        advice=_CONTINUE,
        advice_zh=_CONTINUE_ZH,
    ),
    Outcome.FAILED: Ending(
        billed=Billed.NO,
        over=True,
        meaning="The render failed. It is not billed.",
        meaning_zh="生成失败，不计费。",
        advice="Read the message and the task's log.",
        advice_zh="请查看 API 消息与任务日志。",
    ),
    Outcome.EXPIRED: Ending(
        billed=Billed.UNKNOWN,
        over=True,
        meaning="The render expired before its video was saved. It might have been billed.",
        meaning_zh="生成任务在视频保存前已过期，可能已计费。",
        advice=_ON_LOST,
        advice_zh=_ON_LOST_ZH,
    ),
    Outcome.NOT_FOUND: Ending(
        billed=Billed.UNKNOWN,
        over=True,
        meaning="The API no longer knows the render. It might have been billed.",
        meaning_zh="API 已不再保留该生成任务，可能已计费。",
        advice=_ON_LOST,
        advice_zh=_ON_LOST_ZH,
    ),
    Outcome.NO_LINK: Ending(
        billed=Billed.UNKNOWN,
        over=False,
        meaning="The API says that the render is done, but it gives no link to the video. It might have been billed.",
        meaning_zh="API 表示生成已完成，但未给出视频链接，可能已计费。",
        advice="Clear the task: it asks for the link again and pays nothing.",
        advice_zh="清除任务即可重新获取链接，无需再次付费。",
    ),
    Outcome.TIMED_OUT: Ending(
        billed=Billed.UNKNOWN,
        over=False,
        meaning="The render was not finished when the task stopped waiting.",
        meaning_zh="任务停止等待时视频尚未生成。",
        advice=_CONTINUE,
        advice_zh=_CONTINUE_ZH,
    ),
    Outcome.LOST_CONTACT: Ending(
        billed=Billed.UNKNOWN,
        over=False,
        meaning="The API refused the connection's credentials while the render was running.",
        meaning_zh="生成期间 API 拒绝了连接的凭证。",
        advice="Repair the connection, then clear the task: it continues with the same render and pays nothing.",
        advice_zh="请修复连接后清除任务：任务会继续使用同一生成任务，无需再次付费。",
    ),
    Outcome.SLOT_FREE: Ending(
        billed=Billed.NO,
        over=True,
        meaning="The account can run another render. Nothing was submitted yet.",
        meaning_zh="账号已有并发空位，尚未提交请求。",
        advice="You need to do nothing: the task submits its request.",
        advice_zh="无需处理，任务会自动提交请求。",
    ),
    Outcome.SLOT_TIMED_OUT: Ending(
        billed=Billed.NO,
        over=True,
        meaning="No render slot came free in time. Nothing was billed.",
        meaning_zh="未能及时等到并发空位，未计费。",
        advice="Clear the task to wait again, raise max_wait_for_slot, or check what else uses the account.",
        advice_zh="请清除任务以继续等待，或增大 max_wait_for_slot，或检查账号还被哪些程序占用。",
    ),
    UNKNOWN_SUBMIT: Ending(
        billed=Billed.UNKNOWN,
        over=False,
        meaning="A submit was sent and its answer was lost. A render might be running, and might be billed, under an unknown id.",
        meaning_zh="提交请求已发出，但未收到响应：生成任务可能正在进行并会计费，但其 ID 未知。",
        advice='Check the task list and the bill in the console. Then set on_unknown_submit="resubmit" and clear the task.',
        advice_zh='请在控制台核对任务列表与账单，然后设置 on_unknown_submit="resubmit" 并清除任务。',
    ),
    NOT_SUBMITTED: Ending(
        billed=Billed.NO,
        over=True,
        meaning="The task stopped before it submitted a request. Nothing was billed for this try.",
        meaning_zh="任务在提交请求之前已停止，本次尝试未计费。",
        advice="Do what the message says, then clear the task.",
        advice_zh="请按消息提示处理，然后清除任务。",
    ),
    "": Ending(
        billed=Billed.UNKNOWN,
        over=False,
        meaning="The render was submitted, and its task ended before the end of the render was known.",
        meaning_zh="生成任务已提交，但 Airflow 任务在得知结果前已结束。",
        advice=_CONTINUE,
        advice_zh=_CONTINUE_ZH,
    ),
}
NOTHING_SUBMITTED = Explanation(
    meaning="The task ended before a render was accepted: an argument or a connection was refused, or the task never ran.",
    meaning_zh="任务在请求被受理之前已结束：参数或连接被拒绝，或任务从未运行。",
    advice="Read the task's log. Nothing was billed, unless the log says that an outcome is unknown.",
    advice_zh="请查看任务日志。除非日志提示结果未知，否则不计费。",
)


def ending_of(outcome: str) -> Ending:
    """Return what follows from an outcome: that of :class:`Outcome`, ``unknown_submit``, or empty if none is known.

    A word of a later version counts as a failure.
    """
    return _ENDINGS.get(outcome, Outcome.FAILED.ending)


def explanations() -> list[Explanation]:
    """Return every explanation of this module."""
    return [*_ENDINGS.values(), NOTHING_SUBMITTED]


class Money(StrEnum):
    """Whether somebody pays for a render.

    ``expected``: the render, or its task, goes on. ``paid_elsewhere``: another run has paid for it.
    """

    PAID = "paid"
    MAY_BE_BILLED = "may_be_billed"
    NOT_BILLED = "not_billed"
    EXPECTED = "expected"
    PAID_ELSEWHERE = "paid_elsewhere"


_BY_BILLED = {Billed.YES: Money.PAID, Billed.NO: Money.NOT_BILLED, Billed.UNKNOWN: Money.MAY_BE_BILLED}
_BY_RECORD = {
    "landed": Money.PAID,
    "submitted": Money.MAY_BE_BILLED,
    "lost": Money.MAY_BE_BILLED,
}


def money_of(*, done: bool, over: bool, outcome: str, refused: bool = False, paid_here: bool = True) -> Money:
    """Return what a render means for the bill.

    :param done: the video is saved, or the API said that the render is done.
    :param over: the task stopped without a video.
    :param outcome: how the render ended, empty if that is not known.
    :param refused: nothing was submitted.
    :param paid_here: false if another run submitted the render.
    """
    if not paid_here:
        return Money.PAID_ELSEWHERE
    if refused:
        return Money.NOT_BILLED
    if done:
        return Money.PAID
    return _BY_BILLED[ending_of(outcome).billed] if over else Money.EXPECTED


def money_of_replaced(state: str) -> Money:
    """Return what a render means for the bill that another one of the same task has replaced.

    :param state: the state of the record when the next render replaced it.
    """
    return _BY_RECORD.get(state, Money.NOT_BILLED)
