# SPDX-License-Identifier: Apache-2.0
"""Real Airflows on this machine, for tests, the demo and the benchmarks.

Nothing here imports Airflow. Each component is a process that the `airflow` command of this interpreter starts. Tests
use its REST API on 127.0.0.1. It ends with the `with` block.
"""

from __future__ import annotations
