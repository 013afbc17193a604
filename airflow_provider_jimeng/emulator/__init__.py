# SPDX-License-Identifier: Apache-2.0
"""A strict emulator of the Jimeng video API, in this process or behind a socket.

``JimengEmulator().serve()`` returns a server, ``.transport()`` an httpx transport, and ``python -m
airflow_provider_jimeng.emulator`` runs a server. The docstrings say of each behaviour whether it is documented (H, M) or
a guess (L). It was never compared with a live account.
"""

from __future__ import annotations

from airflow_provider_jimeng.emulator.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.faults import Fault, FaultError

__all__ = ["Fault", "FaultError", "JimengEmulator"]
