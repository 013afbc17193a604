# SPDX-License-Identifier: Apache-2.0
"""The DAGs whose renders the browser tests look at."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

KITE = "A red kite climbs over a wheat field in strong wind, low camera looking up"
HOSTILE = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"
VIDEOS = Path(__file__).parents[1] / "videos"
RENDER: dict[str, Any] = {
    "task_id": "render",
    "output_path": f"{VIDEOS.as_uri()}/{{{{ dag.dag_id }}}}/{{{{ run_id }}}}/",
    "deferrable": True,
    "retries": 3,  # a busy machine sometimes loses a task
    "retry_delay": timedelta(seconds=2),
}

with DAG("spring_campaign", schedule=None, catchup=False):
    JimengGenerateVideoOperator.partial(**RENDER).expand_kwargs(
        [
            {"prompt": KITE, "seed": 11, "take": 1},
            {"prompt": KITE, "seed": 22, "take": 2},
            {"prompt": KITE, "seed": 33, "take": 3, "model": "t2v_1080p"},
            {"prompt": HOSTILE, "seed": 44},
            {"prompt": "A dragon that the emulator refuses", "seed": 55},
        ]
    )

with DAG("secret_launch", schedule=None, catchup=False):
    JimengGenerateVideoOperator(prompt="A product that nobody may know of yet", **RENDER)

with DAG("slow_study", schedule=None, catchup=False):
    JimengGenerateVideoOperator(
        prompt="Fog lifts from a mountain lake, a slow study", poll_interval=2, **RENDER
    )

HARD_DAY: dict[str, dict[str, Any]] = {
    "saved": {"prompt": "A baker opens the oven before dawn"},
    "waiting": {"prompt": "A queue of barges waits at a lock"},
    "lost": {"prompt": "A letter that nobody answers"},
    "failed": {"prompt": "A glass that breaks while it is drawn", "model": "t2v_1080p"},
    "moderated": {"prompt": "A dragon that the emulator refuses"},
    "too long": {"prompt": "A very long story. " * 50},
    "over the cap": {"prompt": "A film beyond the budget", "max_cost_cny": "0.10"},
    "no connection": {"prompt": "A film of an account that nobody set up", "jimeng_conn_id": "nowhere"},
    "bad image": {
        "prompt": "A picture that is not there",
        "model": "i2v_first_720p",
        "first_frame": "/nowhere/picture.png",
    },
}
HARD_DAY_FAULTS: list[dict[str, Any]] = [
    {"where": "submit", "what": "error_before", "code": 50430, "prompt_contains": "queue of barges"},
    {"where": "submit", "what": "cut_after", "prompt_contains": "nobody answers"},
    {"where": "submit", "what": "moderated", "prompt_contains": "dragon"},
    {"where": "render", "what": "fail", "code": 50412, "prompt_contains": "glass that breaks"},
]
"""The first fault lasts until a test takes it back: the account has no free slot for one prompt."""

with DAG("hard_day", schedule=None, catchup=False):
    JimengGenerateVideoOperator.partial(**RENDER).expand_kwargs(list(HARD_DAY.values()))

with DAG("upright", schedule=None, catchup=False):
    JimengGenerateVideoOperator(prompt="A dancer turns in an alley", aspect_ratio="9:16", **RENDER)

with DAG("studio", schedule=None, catchup=False):
    JimengGenerateVideoOperator.partial(**RENDER).expand_kwargs(
        [
            {"prompt": "Steam rises from a bowl of noodles on a night market counter, close-up", "seed": 101},
            {
                "prompt": "雨滴沿着列车车窗滑落，城市灯光在身后模糊，镜头缓慢推近",
                "model": "t2v_1080p",
                "seed": 102,
            },
            {
                "prompt": "A fox crosses a snowy ridge at sunrise, long lens, slow pan",
                "model": "ti2v_pro",
                "seed": 103,
            },
            {
                "prompt": "A potter's hands shape a bowl on a turning wheel",
                "aspect_ratio": "1:1",
                "seed": 104,
            },
            {"prompt": "Paper lanterns drift over a river at night", "aspect_ratio": "9:16", "seed": 105},
        ]
    )
