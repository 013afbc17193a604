"""The fixture ``jimeng_emulator``, for the tests of DAG authors. Nothing heavy is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.emulator import JimengEmulator


@pytest.fixture
def jimeng_emulator_options() -> dict[str, Any]:
    """Arguments of the emulator that ``jimeng_emulator`` serves; override it in a test module or conftest."""
    return {}


@pytest.fixture
def jimeng_emulator(
    jimeng_emulator_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[JimengEmulator]:
    """A served emulator whose renders take half a second, with ``jimeng_default`` leading to it."""
    from airflow_provider_jimeng.emulator import JimengEmulator  # noqa: PLC0415  only for those who ask

    emulator = JimengEmulator(**{"render_seconds": 0.5, **jimeng_emulator_options})
    with emulator.serve():
        monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", emulator.connection_json())
        yield emulator
