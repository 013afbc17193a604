# SPDX-License-Identifier: Apache-2.0
"""Real Airflows on this machine, for tests, the demo and the benchmarks.

Nothing here imports Airflow: every component is a process of its own, started from this interpreter's `airflow`
command, spoken to by its REST API, bound to 127.0.0.1, and gone when the `with` block is left.
"""

from __future__ import annotations
