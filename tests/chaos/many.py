# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.chaos.many 200`: so many mapped renders of 12 s on a real Airflow, one triggerer killed on the way."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.chaos.real import chaos_dags, many, open_site
from tests.harness.lab import Tally


def main(count: int) -> int:
    """Run it and print the figures; 0 if every render was billed once and landed."""
    with tempfile.TemporaryDirectory(prefix="jimeng-many-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another user
        with open_site(home, chaos_dags({"many": count}), triggerers=2) as site:
            result = many(site, count)
    whole = result["tally"] == Tally(accepted=count, billed=count, landed=count, state="success")
    sys.stdout.write(json.dumps({**result, "tally": asdict(result["tally"])}) + "\n")
    return 0 if result["killed"] and not result["failed"] and whole else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
