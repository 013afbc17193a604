"""Which Airflow this is, as far as the UI cares."""

from __future__ import annotations

from airflow import __version__
from packaging.version import Version

_INSTALLED = Version(Version(__version__).base_version)

AIRFLOW_V_3_1_PLUS = Version("3.1.0") <= _INSTALLED
"""Plugins may have views (`external_views`)."""
AIRFLOW_V_3_4_PLUS = Version("3.4.0") <= _INSTALLED
"""A view may say which operators it applies to."""
