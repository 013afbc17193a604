"""Loads what the triggers need without holding up the event loop that all deferred tasks share."""

from __future__ import annotations

from importlib import import_module

from asgiref.sync import sync_to_async

_CLIENTS = "airflow_provider_jimeng.hooks.connections"
_loaded: set[str] = set()


async def load_clients() -> None:
    """Import the clients in a thread, once a process: with httpx that takes longer than a callback may."""
    if _CLIENTS not in _loaded:
        await sync_to_async(import_module, thread_sensitive=False)(_CLIENTS)
        _loaded.add(_CLIENTS)
