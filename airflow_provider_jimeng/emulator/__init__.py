"""The API in a box: a strict double of the Jimeng video API, in this process or behind a socket.

``JimengEmulator().serve()`` gives a socket, ``.transport()`` an httpx transport, ``python -m
airflow_provider_jimeng.emulator`` a server. Every behaviour says in its docstring whether it is documented (H, M) or
guessed (L); nobody has checked it against a live account.
"""

from __future__ import annotations

from airflow_provider_jimeng.emulator.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.faults import Fault, FaultError

__all__ = ["Fault", "FaultError", "JimengEmulator"]
