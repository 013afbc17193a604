"""The emulator's own routes, below ``/_emulator/``: bill, health, reset, faults. They need no key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_jimeng.emulator.faults import FaultError
from airflow_provider_jimeng.emulator.messages import Reply, Request, json_reply

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.emulator import JimengEmulator


def answer_admin(emulator: JimengEmulator, request: Request) -> Reply:
    """Answer one of the routes; 404 names them all."""
    route = (request.method, request.path)
    if route == ("GET", "/_emulator/bill"):
        return json_reply(200, emulator.bill())
    if route == ("GET", "/_emulator/health"):
        return json_reply(200, {"status": "ok", "now": emulator.clock()})
    if route == ("POST", "/_emulator/reset"):
        emulator.reset()
        return json_reply(200, {"status": "ok"})
    if route == ("GET", "/_emulator/faults"):
        return json_reply(200, emulator.faults.report())
    if route == ("DELETE", "/_emulator/faults"):
        emulator.faults.clear()
        return json_reply(200, {"status": "ok"})
    if route == ("POST", "/_emulator/faults"):
        return _add_faults(emulator, request.body)
    return json_reply(404, {"error": "GET bill, health, faults; POST reset, faults; DELETE faults"})


def _add_faults(emulator: JimengEmulator, body: bytes) -> Reply:
    try:
        entries = json.loads(body)
        emulator.faults.extend(entries if isinstance(entries, list) else [entries])
    except FaultError as error:
        return json_reply(400, {"error": str(error)})
    except ValueError as error:
        return json_reply(400, {"error": f"no JSON: {error}"})
    return json_reply(200, {"status": "ok", "faults": len(emulator.faults)})
