# SPDX-License-Identifier: Apache-2.0
"""The tests mirror the package; `harness` starts real Airflows, `meta` watches over the house rules."""

from __future__ import annotations
