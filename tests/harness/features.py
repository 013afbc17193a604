# SPDX-License-Identifier: Apache-2.0
"""The features of `docs/features.toml` that the installed Airflow has. Tests that need other features are skipped."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((ROOT / "docs" / "features.toml").read_text(encoding="utf-8"))
MARK = "needs"
NEWEST = "3.3"
# What older Airflows and the libraries of their time warn about among themselves. Warnings that name a line of this
# project stay errors everywhere.
OLDER = [
    f"ignore::{category}:(?!airflow_provider_jimeng|tests|example_dags|docs)"
    for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "UserWarning")
] + [
    # Of a mapper of Airflow 3.2, but it names the line that uses the first mapper, whosever that is.
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature that not every Airflow has."""

    name: str
    since: str
    en: str
    zh: str
    without_en: str = ""
    without_zh: str = ""
    not_in: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def works_on(self, airflow: str) -> bool:
        """Return whether a version of Airflow, such as 3.1 or 3.1.8, has it."""
        asked = Version(airflow)
        minor = f"{asked.major}.{asked.minor}"
        return minor not in self.not_in and Version(minor) >= Version(self.since)


@cache
def features() -> dict[str, Feature]:
    """Every feature by name."""
    rows = [
        Feature(**row | {key: tuple(row[key]) for key in ("not_in", "tests") if key in row})
        for row in TABLE["feature"]
    ]
    return {row.name: row for row in rows}


@cache
def installed_airflow() -> str:
    """The version of the Airflow that is installed, without a suffix such as b2."""
    return Version(version("apache-airflow")).base_version


def warnings_to_ignore() -> list[str]:
    """Return filters for warnings that an installed Airflow that is not the newest causes by itself."""
    return OLDER if Version(installed_airflow()) < Version(NEWEST) else []


def lack(name: str) -> str | None:
    """Return a message if the installed Airflow does not have a feature, or None. An unknown name is a KeyError."""
    feature = features()[name]
    if feature.works_on(installed_airflow()):
        return None
    where = f"not in {', '.join(feature.not_in)}" if feature.not_in else f"since {feature.since}"
    return f"Airflow {installed_airflow()} has no {name} ({where})"


class SkippedModule(pytest.Module):
    """A test file that is not imported, because it needs a feature that this Airflow does not have."""

    reason: str

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Skip, with the name of the feature."""
        pytest.skip(self.reason, allow_module_level=True)
        yield from ()


def skipped_module(path: Path, parent: pytest.Collector) -> SkippedModule | None:
    """Return a replacement for a test file whose tests all need a missing feature."""
    for feature in features().values():
        if any(path.is_relative_to(ROOT / home) for home in feature.tests) and (reason := lack(feature.name)):
            module: SkippedModule = SkippedModule.from_parent(parent, path=path)
            module.reason = reason
            return module
    return None


def mark_what_is_lacking(items: list[pytest.Item]) -> None:
    """Turn `needs("…")` into a skip if the feature is missing."""
    for item in items:
        for mark in item.iter_markers(MARK):
            for name in mark.args:
                if reason := lack(name):
                    item.add_marker(pytest.mark.skip(reason=reason))
