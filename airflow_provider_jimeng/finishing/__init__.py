# SPDX-License-Identifier: Apache-2.0
"""Makes a saved video fit to publish: labels, posters, previews, renditions. Needs the extra ``[media]``.

:func:`~airflow_provider_jimeng.finishing.derivatives.finish` does in Python what ``JimengFinishVideoOperator`` does in a DAG.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_jimeng.finishing.request import (
    Audio,
    Concat,
    FinishRequest,
    Poster,
    Preview,
    Rendition,
    VisibleLabel,
)

__all__ = ["Audio", "Concat", "FinishRequest", "Poster", "Preview", "Rendition", "VisibleLabel", "finish"]


def __getattr__(name: str) -> Any:
    """Import ``finish`` at its first use, because it needs PyAV, and a DAG file only needs the classes."""
    if name == "finish":
        from airflow_provider_jimeng.finishing.derivatives import finish

        return finish
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
