"""What may be paid again: the author's consent, as four arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_jimeng.core.errors import ParameterError

POLICIES: Mapping[str, tuple[str, ...]] = {
    "on_rerun": ("adopt", "render"),
    "on_unknown_submit": ("fail", "resubmit"),
    "on_lost": ("fail", "resubmit"),
    "reuse": ("task", "output_path"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What may be paid again, as the author allows it."""

    on_rerun: str = "adopt"
    on_unknown_submit: str = "fail"
    on_lost: str = "fail"
    reuse: str = "task"

    def __post_init__(self) -> None:
        for name in POLICIES:
            check_policy(name, getattr(self, name))


def check_policy(argument: str, value: Any) -> None:
    """Refuse a value that a policy does not take.

    :raises ParameterError: naming the argument and what it takes.
    """
    takes = POLICIES[argument]
    if value not in takes:
        raise ParameterError(argument, f"{value!r} is refused; it takes {' or '.join(map(repr, takes))}.")
