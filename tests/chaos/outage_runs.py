# SPDX-License-Identifier: Apache-2.0
"""Performs an outage on a real Airflow and counts what came of the tasks that ran then."""

from __future__ import annotations

import re
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.chaos.outages import ANSWER, API_SERVER, POSTGRES, STORE, STORE_CONNECTION, Group, Outage
from tests.chaos.real import Site, wait_until
from tests.harness.api import task_path
from tests.harness.lab import Tally
from tests.harness.store_servers import S3Server, SftpServer

Store = SftpServer | S3Server
PATIENCE = 1800.0
"""Seconds to wait for the end of a run: the outage, Airflow's own delay before a retry, and a slow machine."""
SOON = 15.0
"""Seconds within which the id of a paid render is kept where that can be done; less than one call that hangs takes."""
CLAIM = re.compile(r"UnknownSubmitError|might be billed")
"""What a task says that takes its render for paid under an id that nobody knows."""

HEARTBEAT = re.compile(r"Failed to send heartbeat\..* ti_id=UUID\('([^']+)'\)")
RAISED = re.compile(r'"exc_type": ?"(\w+)"')


class Victim(Protocol):
    """Processes that can be signalled together."""

    def signal(self, number: signal.Signals) -> None:
        """Send them a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of a group.

    `kept_after`: seconds from the answers until the id of every render lay in a place within reach, for tasks that had
    asked already; nothing if that did not happen during the outage. `named`: ids that stand in the log of a first try.
    `tries`: of each task, in the order of `map_index`. `failed`: the tasks that failed for good, each cleared once then.
    `reasons`: the classes of what was raised. `claims`: the tasks that said their submit is unknown.
    """

    tally: Tally
    kept_after: float | None
    named: int
    tries: tuple[int, ...]
    failed: tuple[int, ...]
    reasons: tuple[str, ...]
    claims: tuple[int, ...]
    seconds: int

    def is_right(self, group: Group) -> bool:
        """Was every render paid once and landed once, was its id kept soon, and did no task claim otherwise?"""
        count = group.count
        right = Tally(accepted=count, billed=count, landed=count, state="success")
        soon = self.kept_after is not None and self.kept_after < SOON and self.named == count
        return self.tally == right and not self.claims and (soon or group.at != ANSWER)


def perform_outage(site: Site, outage: Outage) -> dict[str, Ending]:
    """Let every task come to its point, perform the outage, and return what became of each group, by its slug."""
    site.emulator.render_seconds = outage.render_seconds
    with ExitStack() as stack:
        stores = {group.slug: _open_store(site, group, stack) for group in outage.groups}
        store = next((store for store in stores.values() if store is not None), None)
        _bring_to_their_points(site, outage.groups)
        kept_after = _be_away(site, outage, store)
        return {
            group.slug: _end(site, group, stores[group.slug], kept_after.get(group.slug))
            for group in outage.groups
        }


def _open_store(site: Site, group: Group, stack: ExitStack) -> Store | None:
    if group.store is None:
        return None
    kind = {"sftp": SftpServer, "s3": S3Server}[group.store]
    store: Store = stack.enter_context(kind(home=site.home))
    site.airflow.add_connection(STORE_CONNECTION, **store.connection())
    return store


def _halts(site: Site, group: Group) -> Path:
    return site.home / "halts" / f"chaos_{group.slug}"


def _bring_to_their_points(site: Site, groups: tuple[Group, ...]) -> None:
    """Start all groups, and return when every task stands at its point and no answer was given."""
    site.emulator.hold_answers()
    for group in groups:
        _halts(site, group).mkdir(parents=True)
        site.start(group.slug)

    def there() -> bool:
        held = sum(group.count for group in groups if group.at == ANSWER)
        halted = all(
            len(list(_halts(site, group).iterdir())) == group.count for group in groups if group.at != ANSWER
        )
        accepted = sum(len(site.bill_of(group.slug)) for group in groups)
        return halted and accepted == site.emulator.waiting == held

    wait_until(there, "every task is at its point")


def _be_away(site: Site, outage: Outage, store: Store | None) -> dict[str, float]:
    """End or freeze the victim, let the tasks go on, and bring it back when the time is over.

    Answers come late: when a heartbeat of every task that waits for one has failed, so that its end draws near. Returns
    how soon the ids of a group were kept, if they were during the outage.
    """
    api_server = next(service for service in site.airflow.components if service.name == "api-server")
    victims: dict[str, Victim | None] = {API_SERVER: api_server, POSTGRES: site.postgres, STORE: store}
    victim = victims[outage.victim]
    assert victim is not None
    waiting = [group for group in outage.groups if group.at == ANSWER]
    tasks = {row["id"] for group in waiting for row in site.tasks(group.slug)}
    victim.signal(outage.number)
    began, answered, kept_after = time.monotonic(), 0.0, dict[str, float]()
    try:
        for group in outage.groups:
            (_halts(site, group) / "go").touch()
        while (now := time.monotonic()) < began + outage.seconds:
            if not answered and (victim is store or tasks <= _failed_heartbeats(site)):
                site.emulator.give_answers()
                answered = now
            for group in outage.groups:
                if (
                    group.at == ANSWER
                    and group.slug not in kept_after
                    and answered
                    and _are_kept(site, group)
                ):
                    kept_after[group.slug] = now - answered
            time.sleep(0.5)
    finally:
        victim.signal(signal.SIGCONT)
        site.emulator.give_answers()
    if outage.number is signal.SIGKILL:
        api_server.reap()
        api_server.start()
    site.airflow.wait_healthy()
    return kept_after


def _failed_heartbeats(site: Site) -> set[str]:
    """Return the ids of tasks that had a failed heartbeat; the executor's processes write to the scheduler's output."""
    output = (site.home / "airflow" / "output" / "scheduler.log").read_text(errors="replace")
    return set(HEARTBEAT.findall(output))


def _are_kept(site: Site, group: Group) -> bool:
    """Does the id of every render of a group lie on the disk or, where that is not the store, in Airflow's database?"""
    if group.store is None:
        kept = b"".join(site.files(group.slug).values()).decode(errors="replace")
    else:
        path = task_path(f"chaos_{group.slug}", site.runs[group.slug], "render")
        kept = "".join(
            str(site.airflow.api.call("GET", f"{path}/state-store", params={"map_index": index}))
            for index in range(group.count)
        )
    return all(task_id in kept for task_id in _ids(site, group))


def _ids(site: Site, group: Group) -> list[str]:
    bill = site.emulator.bill()["by_task"].items()
    return [task_id for task_id, line in bill if line["prompt"].startswith(f"{group.slug}:")]


def _end(site: Site, group: Group, store: Store | None, kept_after: float | None) -> Ending:
    """Wait for the end of a run; clear once what has failed for good, and wait again."""
    airflow, dag_id, run_id = site.airflow, f"chaos_{group.slug}", site.runs[group.slug]
    began = time.monotonic()
    state = airflow.wait(dag_id, run_id, timeout=PATIENCE)
    failed = [row["map_index"] for row in site.tasks(group.slug) if row["state"] != "success"]
    if failed:
        airflow.clear(dag_id, run_id, [("render", index) for index in failed])
        state = airflow.wait(dag_id, run_id, timeout=PATIENCE)

    def rendered() -> bool:
        return not any(line["status"] in ("in_queue", "generating") for line in site.bill_of(group.slug))

    wait_until(rendered, "no render is on its way")
    content = None
    if store is not None:
        prefix = f"{group.slug}/"
        found = store.objects().items()
        content = {path.removeprefix(prefix): data for path, data in found if path.startswith(prefix)}
    texts = _logs(site, group)
    first = "".join(_logs(site, group, "attempt=1.log").values())
    return Ending(
        tally=site.tally(group.slug, state, content),
        kept_after=kept_after,
        named=sum(task_id in first for task_id in _ids(site, group)),
        tries=tuple(row["try_number"] for row in site.tasks(group.slug)),
        failed=tuple(failed),
        reasons=tuple(sorted({name for text in texts.values() for name in RAISED.findall(text)})),
        claims=tuple(index for index, text in texts.items() if CLAIM.search(text)),
        seconds=round(time.monotonic() - began),
    )


def _logs(site: Site, group: Group, names: str = "*.log") -> dict[int, str]:
    """Return what was logged of each task of a group, by `map_index`."""
    folder = site.home / "airflow" / "logs" / f"dag_id=chaos_{group.slug}"
    texts: dict[int, str] = {}
    for path in sorted(folder.rglob(names)):
        index = re.search(r"map_index=(\d+)", str(path))
        if index is not None:
            texts[int(index[1])] = texts.get(int(index[1]), "") + path.read_text(errors="replace")
    return texts
