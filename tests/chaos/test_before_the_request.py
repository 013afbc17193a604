# SPDX-License-Identifier: Apache-2.0
"""Between the intent and the first byte of the request nothing is paid, whatever fails there, and whatever it raises."""

from __future__ import annotations

import inspect
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowTaskTimeout

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.operators.video import JimengSubmitVideoOperator
from tests.harness.lab import Lab, interruptible, open_lab

Function = tuple[str, str]

FOREIGN = (
    RuntimeError("foreign"),
    KeyError("foreign"),
    OSError(5, "foreign"),
    ssl.SSLError("foreign"),
    MemoryError("foreign"),
    AirflowNotFoundException("foreign"),
    AirflowTaskTimeout("foreign"),
    KeyboardInterrupt("foreign"),
)
NEVER_FAILS = "/httpcore/_synchronization.py"
"""Its locks would stay locked for ever."""
WATCHED = ("/airflow_provider_jimeng/", "/httpx/", "/httpcore/")


@contextmanager
def between_intent_and_request(on_call: Callable[[Function], None]) -> Iterator[None]:
    """Call `on_call` at each call of ours or of the HTTP library from the recorded intent to the first byte."""
    is_open = False

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal is_open
        code = frame.f_code
        name = (code.co_filename, code.co_name)
        if name[1] == "_send_request_headers":
            is_open = False
        if name[0].endswith("/storage/ledger.py") and name[1] == "begin":
            return leave
        is_watched = any(part in name[0] for part in WATCHED) and not name[0].endswith(NEVER_FAILS)
        if is_open and is_watched and not code.co_flags & inspect.CO_GENERATOR:
            on_call(name)
        return None

    def leave(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal is_open
        if event == "return":
            is_open = True
        return leave

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def submit(lab: Lab) -> Any:
    operator = interruptible(JimengSubmitVideoOperator, lab.interruptions)
    return operator(task_id="render", prompt="a red kite", output_path=lab.output_path, reuse="output_path")


def functions_on_the_way(folder: Path) -> list[Function]:
    seen: dict[Function, None] = {}
    for run in ("first", "second"):  # what is imported and cached in the first is not called again
        seen.clear()
        with open_lab(folder / run) as lab, between_intent_and_request(seen.setdefault):
            assert lab.task(partial(submit, lab)).run() == "success"
    return list(seen)


def test_whatever_fails_before_the_request_leaves_takes_the_intent_back(tmp_path: Path) -> None:
    functions = functions_on_the_way(tmp_path)
    assert len(functions) > 40
    for number, function in enumerate(functions):
        error = FOREIGN[number % len(FOREIGN)]
        waiting = [function]

        def fail(called: Function, waiting: list[Function] = waiting, error: BaseException = error) -> None:
            if called in waiting:
                waiting.clear()
                raise error

        with open_lab(tmp_path / str(number)) as lab:
            stage = lab.task(partial(submit, lab), retries=1)
            with between_intent_and_request(fail):
                stage.run()
            assert not waiting, f"{function} was not called"
            said = [str(error) for error in stage.errors if isinstance(error, JimengError)]
            assert not [text for text in said if "might be billed" in text], (function, error, said)
            assert (stage.state, lab.tally().accepted) == ("success", 1), (function, error, stage.errors)
