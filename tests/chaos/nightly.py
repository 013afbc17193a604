# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.chaos.nightly`: every outage, one after the other, on one Airflow with PostgreSQL and its own heartbeats.

It prints a table. Names of outages as arguments perform these alone.
"""

from __future__ import annotations

import shutil
import sys

from tests.chaos.outage_runs import Ending, perform_outage
from tests.chaos.outages import OUTAGES, Group, Outage, outage_dags
from tests.chaos.real import open_site
from tests.meta.tree import ROOT

HOME = ROOT / "build" / "outages"
"""Where the processes write their logs; they stay until the next run."""
HEADER = (
    *("outage", "tasks", "accepted", "billed", "landed", "ids kept after s", "ids in the first log"),
    *("tries", "cleared", "claims", "state", "raised", "s"),
)


def table(endings: list[tuple[Outage, Group, Ending]]) -> str:
    """Return one line for each group, in Markdown."""
    lines = [list(HEADER), ["---"] * len(HEADER)]
    for outage, group, ending in endings:
        tally = ending.tally
        where = f", videos on {group.store}" if group.store else ""
        counts = (group.count, tally.accepted, tally.billed, tally.landed)
        lines.append(
            [
                f"{outage.what}, tasks at: {group.at}{where}",
                *map(str, counts),
                "–" if ending.kept_after is None else f"{ending.kept_after:.0f}",
                str(ending.named),
                " ".join(map(str, ending.tries)),
                " ".join(map(str, ending.failed)) or "none",
                str(len(ending.claims)),
                tally.state,
                " ".join(ending.reasons) or "–",
                str(ending.seconds),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(names: list[str]) -> int:
    """Perform outages and print the table; 0 if every render was billed once and landed."""
    outages = [OUTAGES[name] for name in names or OUTAGES]
    endings: list[tuple[Outage, Group, Ending]] = []
    shutil.rmtree(HOME, ignore_errors=True)
    with open_site(HOME, outage_dags(*outages), triggerers=1, settings={}) as site:
        for outage in outages:
            found = perform_outage(site, outage)
            endings += [(outage, group, found[group.slug]) for group in outage.groups]
            sys.stdout.write(table(endings) + "\n")
            sys.stdout.flush()
    return 0 if all(ending.is_right(group) for _, group, ending in endings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
