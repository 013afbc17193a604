# SPDX-License-Identifier: Apache-2.0
"""Measure what one page of the gallery costs Airflow's database.

    python -m benchmarks.gallery [--renders 500] [--others 100000] [--rounds 5] [--postgres]

The script measures 500 renders alone, the same renders among many XComs of other tasks, and ten times as many renders.
It prints the time of all queries of a page of 50, the time of each part, and the ratios to 500 renders alone. With
--postgres it starts its own PostgreSQL server (this needs the Debian package). Otherwise it uses SQLite.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

MOST_SECONDS = 0.5
MOST_RATIO_AMONG_OTHERS = 2.0
DAGS, PAGE = 20, 50


def main() -> int:
    """Measure, print, and return 1 if a page takes too long or if other XComs make it slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--renders", type=int, default=500)
    parser.add_argument("--others", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", action="store_true")
    asked = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-gallery-")))
        configure(home, stack, postgres=asked.postgres)
        from airflow.utils.session import create_session

        with create_session(scoped=False) as session:
            add_renders(session, 0, asked.renders)
            alone = measure(session, f"{asked.renders} renders", asked.rounds)
            add_others(session, asked.others)
            among = measure(session, f"… among {asked.others} other XComs", asked.rounds)
            add_renders(session, asked.renders, 10 * asked.renders)
            more = measure(session, f"{10 * asked.renders} renders among them", asked.rounds)
    print(f"ratio among others {among / alone:.2f} (at most {MOST_RATIO_AMONG_OTHERS})")
    print(f"ratio ten times the renders {more / alone:.2f}")
    return int(alone > MOST_SECONDS or among / alone > MOST_RATIO_AMONG_OTHERS)


def configure(home: Path, stack: ExitStack, *, postgres: bool) -> None:
    """Make Airflow use an empty database. Call this before Airflow is imported."""
    from tests.harness.database import migrate, place_sqlite
    from tests.harness.servers import PostgresServer

    os.environ |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    if postgres:
        url = stack.enter_context(PostgresServer(home=home / "postgres")).url
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
        migrate(dict(os.environ))
    else:
        place_sqlite(home / "airflow.db")


def add_renders(session: Session, first: int, last: int) -> None:
    """Add saved renders, as their tasks store them."""
    import pendulum

    from tests.web.records import Records

    records, now = Records(session), pendulum.now("UTC")
    for number in range(first, last):
        at = now.subtract(minutes=number)
        records.landed(
            f"s3://videos/{number}.mp4",
            dag_id=f"dag_{number % DAGS}",
            run_id=f"run_{number:06}",
            render_id=f"render-{number}",
            at=at,
            submitted_at=at,
            prompt=f"Take {number} of a long campaign in which every prompt is as long as prompts are " * 3,
            commit=False,
        )
    session.commit()
    analyse(session)


def add_others(session: Session, count: int) -> None:
    """Add XComs of other tasks, four for each task instance."""
    import pendulum
    from airflow.models.xcom import XComModel
    from sqlalchemy import insert

    from tests.web.records import Records

    records, now = Records(session), pendulum.now("UTC")
    rows: list[dict[str, Any]] = []
    for number in range(count // 4):
        dag_id, run_id = f"dag_{number % (2 * DAGS)}", f"other_{number // 50:06}"
        ref = records.add(dag_id=dag_id, run_id=run_id, task_id=f"task_{number % 50}", commit=False)
        run = records.run(dag_id, run_id, now)
        rows += [
            {
                **ref,
                "dag_run_id": run,
                "key": key,
                "value": {"rows": number, "text": "x" * 200},
                "timestamp": now,
            }
            for key in ("return_value", "rows", "schema", "statistics")
        ]
    session.execute(insert(XComModel.__table__), rows)  # type: ignore[arg-type]
    session.commit()
    analyse(session)


def analyse(session: Session) -> None:
    """Update the statistics of the query planner, as a database in use does by itself."""
    from sqlalchemy import text

    session.execute(text("ANALYZE"))
    session.commit()


def measure(session: Session, what: str, rounds: int) -> float:
    """Return the median time of the queries of one page, in seconds, and print the time of each part."""
    from airflow_provider_jimeng.web import store

    dags = frozenset(store.dag_ids(session))
    everything = store.Filters(readable=dags)
    words = store.Filters(readable=dags, text="campaign")
    parts: dict[str, Callable[[], Any]] = {
        "DAGs": lambda: store.dag_ids(session),
        "totals": lambda: store.groups(session, everything),
        "page": lambda: store.page(session, everything, limit=PAGE, offset=0),
        "estimate": lambda: store.usual_seconds(session, dags, ["t2v_720p"]),
    }
    seconds = {name: median_seconds(part, rounds) for name, part in parts.items()}
    found = median_seconds(lambda: store.page(session, words, limit=PAGE, offset=0), rounds)
    shown = "  ".join(f"{name} {value * 1000:.0f}" for name, value in {**seconds, "(search)": found}.items())
    print(f"{what:36} {sum(seconds.values()) * 1000:6.0f} ms   {shown}", flush=True)
    return sum(seconds.values())


def median_seconds(call: Callable[[], Any], rounds: int) -> float:
    """Return the median time of several calls, in seconds."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


if __name__ == "__main__":
    sys.exit(main())
