# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render


def submitted() -> Render:
    return JimengHook().submit(prompt="a red kite")


def waiting_for(render: Render, **changes: Any) -> JimengRenderTrigger:
    given: dict[str, Any] = {"deadline": time.time() + 60, "poll_interval": 0.03, "now": time.time()}
    return JimengRenderTrigger.after_deferring(render, **{**given, **changes})
