from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.limits import (
    SETTLE_SECONDS,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_FULL_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
    Waiter,
    choose,
    pause_between_tries,
)

if TYPE_CHECKING:
    import pytest

NOW = 1_000.0


def waiter(since: float = 0.0, **values: object) -> Waiter:
    return Waiter(**{"since": since, "not_before": since + SETTLE_SECONDS, **values})  # type: ignore[arg-type]


def test_nobody_is_chosen_where_nobody_waits() -> None:
    assert choose([], now=NOW, turns={}) is None


def test_the_longest_wait_goes_first() -> None:
    early, late = waiter(10), waiter(20)

    assert choose([late, early], now=NOW, turns={}) is early


def test_the_heavier_task_goes_before_the_longer_wait() -> None:
    light, heavy = waiter(10), waiter(20, priority_weight=5)

    assert choose([light, heavy], now=NOW, turns={}) is heavy


def test_dags_of_the_same_weight_go_in_turn() -> None:
    first, second = waiter(10, dag_id="a"), waiter(20, dag_id="b")

    assert choose([first, second], now=NOW, turns={"a": 0}) is second
    assert choose([first, second], now=NOW, turns={"a": 0, "b": 1}) is first


def test_who_deferred_a_moment_ago_stands_back_while_there_is_anyone_else() -> None:
    fresh, settled = waiter(0, not_before=NOW + 3, priority_weight=9), waiter(20)

    assert choose([fresh, settled], now=NOW, turns={}) is settled


def test_of_those_who_all_deferred_a_moment_ago_the_first_to_settle_goes() -> None:
    later, sooner = waiter(0, not_before=NOW + 9), waiter(5, not_before=NOW + 2)

    assert choose([later, sooner], now=NOW, turns={}) is sooner


def test_a_waiter_knows_when_its_last_submit_was_refused() -> None:
    assert waiter(50).refused_at == 50


def test_tries_are_rare_while_all_known_slots_are_taken(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, int, bool, float]] = [
        (0, 0, False, TRY_WHEN_FREE_SECONDS),
        (0, 2, False, TRY_WHEN_FREE_SECONDS),
        (1, 2, False, TRY_WHEN_FREE_SECONDS),
        (2, 2, False, TRY_WHEN_FULL_SECONDS),
        (2, 2, True, TRY_WHEN_THROTTLED_SECONDS),
    ]
    for running, peak, throttled, pause in cases:
        with subtests.test(
            running=repr(running), peak=repr(peak), throttled=repr(throttled), pause=repr(pause)
        ):
            assert pause_between_tries(running=running, peak=peak, throttled=throttled) == pause
