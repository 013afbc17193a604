# SPDX-License-Identifier: Apache-2.0
"""Property tests judge values, never the speed of the machine they happen to run on."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("values", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("values")
