# SPDX-License-Identifier: Apache-2.0
"""The names of ``airflow_provider_jimeng.links`` where 0.1.0 had them.

The documentation of 0.1.0 told authors of DAGs to import ``video_page`` from here, and Airflow 2.11 keeps the path of the
link's class in each serialized DAG.
"""

from __future__ import annotations

from airflow_provider_jimeng.links import JimengVideoLink, has_views, video_page

__all__ = ["JimengVideoLink", "has_views", "video_page"]
