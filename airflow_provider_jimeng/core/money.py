# SPDX-License-Identifier: Apache-2.0
"""What one render means for the bill. The table of outcomes decides; the pages and their totals take it from here."""

from __future__ import annotations

from enum import StrEnum

from airflow_provider_jimeng.core.outcomes import Billed, ending_of


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
