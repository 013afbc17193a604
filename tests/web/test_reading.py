# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from airflow_provider_jimeng.web.reading import amount, moment, number, plain, text, time_text, whole

INFINITE, NONE = float("inf"), float("nan")


def test_a_time_is_one_that_every_browser_reads_or_none() -> None:
    read = {
        "2026-05-04T12:00:00Z": "2026-05-04T12:00:00Z",
        "2026-05-04T20:00:00.5+08:00": "2026-05-04T12:00:00.500000Z",
        "20260504T120000+00": "2026-05-04T12:00:00Z",
    }
    assert {value: time_text(value) for value in read} == read
    strange: list[Any] = [
        "2026-05-04T12:00:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
        "never", "", 1777896000, None, ["2026-05-04T12:00:00Z"],
    ]  # fmt: skip
    assert [moment(value) for value in strange] == [None] * len(strange)


def test_a_number_is_one_that_can_be_added_up_or_none() -> None:
    assert [number(value) for value in (0, 7, 7.5, 10**9)] == [0, 7, 7.5, 10**9]
    strange: list[Any] = [-1, True, INFINITE, NONE, 1e300, 10**400, "7", None, [7]]
    assert [number(value) for value in strange] == [None] * len(strange)


def test_a_whole_number_may_have_a_sign_and_an_end() -> None:
    assert [whole(value) for value in (-1, 0, 2**62)] == [-1, 0, 2**62]
    assert [whole(value) for value in (2**63, 10**400, 1.0, True, "1", None)] == [None] * 6


def test_an_amount_is_a_decimal_that_sums_can_hold() -> None:
    assert [amount(value) for value in ("1.40", 5, "0")] == [Decimal("1.40"), Decimal(5), Decimal(0)]
    strange = ("1e400", "NaN", "sNaN", "-1", "Infinity", "long", "0." + "1" * 60, 10**5000, None, [1])
    assert [amount(value) for value in strange] == [None] * len(strange)


def test_a_text_may_be_a_number_and_holds_whole_characters() -> None:
    assert [text(value) for value in ("a", 50412, "\ud83d")] == ["a", "50412", "?"]
    assert [text(value) for value in (True, 1.5, None, ["a"], {"a": 1}, 10**5000)] == [None] * 6


def test_a_payload_becomes_json_that_can_be_sent_and_keeps_all_else() -> None:
    payload = {"a\ud800": [1, INFINITE, {"b": NONE}], "c": "一只纸船", "d": None, "e": True, "f": 1.5}
    sent = plain(payload)
    assert sent == {"a?": [1, None, {"b": None}], "c": "一只纸船", "d": None, "e": True, "f": 1.5}
    assert json.dumps(sent, allow_nan=False, ensure_ascii=False).encode()
