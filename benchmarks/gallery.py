# SPDX-License-Identifier: Apache-2.0
"""Measure what the gallery costs with 500, 5,000 and 50,000 renders, among a million tasks of other operators.

    python -m benchmarks.gallery [--renders 500 5000 50000] [--others 1000000] [--older 0] [--per-run 25] [--rounds 5]
                                 [--postgres] [--plans]

The script fills a database, and prints for each number of renders, all of them in the default period:

- first: the first page after the API server has started, which reads all renders of the period
- page: the data of a page of 50, when nothing changed since the last request
- changed: the same after one task ended
- search: a page of a search for two words that nobody searched for before
- filter: a page, the totals and the choices of a filter that nobody used before
- news: the question "anything new?", which the answer 304 follows
- day: the first page after the period has moved by a day

Each figure is the median of some rounds in milliseconds, with all queries and without HTTP; behind it is the CPU time of this
process, which depends less on other work on the machine. SQLite is a part of the process, PostgreSQL is not. With --postgres the script
starts its own PostgreSQL server (this needs the Debian package). Otherwise it uses SQLite. --older adds renders from
before the period. --plans prints how the database executes each query of the parts, and which indexes it uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

MOST_SECONDS = 0.5
MOST_RATIO = 2.0
GROW = ("page", "search", "filter", "news")
"""The parts whose growth from the last but one number of renders to the last is limited."""
DAGS, PAGE = 20, 50
SECONDS_APART = 40
"""50,000 renders lie within 24 days, and so in the default period."""
OLDER_DAYS = 40
TASKS_OF_RUN = 500
"""So many tasks of other operators are in one run. One of them goes on."""
WORDS = ("kite", "fox", "river", "lantern", "bridge", "snow", "market", "crane", "harbour", "orchard")


class Took(NamedTuple):
    """Seconds, and those on the CPU in this process."""

    seconds: float
    cpu: float


def main() -> int:
    """Measure, print, and return 1 if a part takes too long or grows too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--renders", type=int, nargs="+", default=[500, 5_000, 50_000])
    parser.add_argument("--others", type=int, default=1_000_000)
    parser.add_argument("--older", type=int, default=0)
    parser.add_argument("--per-run", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--plans", action="store_true")
    asked = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-gallery-")))
        configure(home, stack, postgres=asked.postgres)
        from airflow.utils.session import create_session

        with create_session(scoped=False) as session:
            add_others(session, asked.others)
            add_renders(session, range(-asked.older, 0), asked.per_run)
            done, found = 0, []
            for count in asked.renders:
                add_renders(session, range(done, count), asked.per_run)
                found.append(measure(count, asked.rounds))
                done = count
            if asked.plans:
                print_plans(session)
    return judge(asked.renders, found)


def judge(counts: list[int], measured: list[dict[str, Took]]) -> int:
    """Print the growth from the last but one number of renders to the last; return 1 beyond a limit."""
    found = [{part: took.seconds for part, took in parts.items()} for parts in measured]
    parts = [part for part in found[-1] if part != "first"]
    slow = [part for part in parts if found[-1][part] > MOST_SECONDS]
    print(f"over {MOST_SECONDS * 1000:.0f} ms at {counts[-1]}: {', '.join(slow) or 'none'}")
    if len(found) > 1:
        growth = {part: found[-1][part] / found[-2][part] for part in parts}
        print("growth: " + "  ".join(f"{part} {times:.1f}" for part, times in growth.items()))
        slow += [part for part in GROW if growth[part] > MOST_RATIO]
    return int(bool(slow))


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


def add_renders(session: Session, numbers: range, per_run: int) -> None:
    """Add saved renders, as their tasks store them. Those with negative numbers are from before the period."""
    import pendulum
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import insert

    from tests.web.records import Records, manifest_payload, render_payload

    records, now = Records(session), pendulum.now("UTC")
    tasks: list[dict[str, Any]] = []
    pushed: list[dict[str, Any]] = []
    for number in numbers:
        age = {"days": OLDER_DAYS, "seconds": -number} if number < 0 else {"seconds": number * SECONDS_APART}
        at = now.subtract(**age)
        words = " ".join(WORDS[(number // 10**place) % 10] for place in range(4))
        prompt = f"Take {number} of {words}, in a campaign whose prompts are all as long as prompts are. " * 3
        known = {"task_id": f"render-{number}", "submitted_at": at, "prompt": prompt}
        ref: dict[str, Any] = {
            "dag_id": f"dag_{number % DAGS}",
            "run_id": f"run_{number // DAGS // per_run:06}",
            "task_id": "render",
        }
        ref["map_index"] = number // DAGS % per_run
        run = records.run(ref["dag_id"], ref["run_id"], at)
        tasks.append(
            {
                **ref,
                "state": "success",
                "pool": "default_pool",
                "try_number": 1,
                "operator": "Any",
                "start_date": at,
            }
        )
        payload, manifest = render_payload(**known), manifest_payload(f"s3://videos/{number}.mp4", **known)
        pushed += [
            {**ref, "dag_run_id": run, "key": key, "value": value, "timestamp": at}
            for key, value in (("jimeng_render", payload), ("return_value", manifest))
        ]
    if tasks:
        session.execute(insert(TaskInstance.__table__), tasks)  # type: ignore[arg-type]
        session.execute(insert(XComModel.__table__), pushed)  # type: ignore[arg-type]
    session.commit()
    analyse(session)


def add_others(session: Session, count: int) -> None:
    """Add task instances of other operators, in our DAGs and in others, each with a return value."""
    import pendulum
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import String, case, cast, func, insert, literal, select

    from tests.web.records import Records

    records, now = Records(session), pendulum.now("UTC")
    for run in range(count // TASKS_OF_RUN):
        records.run(f"dag_{run % (5 * DAGS)}", f"other_{run:06}", now)
    first = select(literal(0).label("number")).cte("numbers", recursive=True)
    numbers = first.union_all(select(first.c.number + 1).where(first.c.number < TASKS_OF_RUN - 1))
    postgres = session.get_bind().dialect.name == "postgresql"
    new_id = func.gen_random_uuid() if postgres else func.lower(func.hex(func.randomblob(16)))
    task_id = literal("task_").concat(cast(numbers.c.number, String))
    ref = {"dag_id": DagRun.dag_id, "run_id": DagRun.run_id, "task_id": task_id, "map_index": literal(-1)}
    task = {
        **ref,
        "id": new_id,
        "state": case((numbers.c.number == 0, "queued"), else_="success"),
        "operator": literal("PythonOperator"),
        "pool": literal("default_pool"),
        "pool_slots": literal(1),
        "try_number": literal(1),
    }
    value = literal({"text": "x" * 200}, type_=XComModel.value.type)
    pushed = {
        **ref,
        "dag_run_id": DagRun.id,
        "key": literal("return_value"),
        "value": value,
        "timestamp": literal(now),
    }
    for model, values in ((TaskInstance, task), (XComModel, pushed)):
        rows = select(*values.values()).select_from(DagRun).join(numbers, DagRun.run_id.like("other_%"))
        session.execute(insert(model.__table__).from_select(list(values), rows, include_defaults=False))  # type: ignore[arg-type]
    session.commit()
    analyse(session)


def analyse(session: Session) -> None:
    """Update the statistics of the query planner, as a database in use does by itself."""
    engine = session.get_bind()
    statement = "VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"
    session.commit()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:  # type: ignore[union-attr]
        connection.exec_driver_sql(statement)


def measure(count: int, rounds: int) -> dict[str, Took]:
    """Return how long each part took, and print it."""
    from airflow_provider_jimeng.web import store
    from airflow_provider_jimeng.web.index import Index

    store._index = Index()  # noqa: SLF001 - as after a start of the API server
    searches = itertools.product(WORDS, WORDS, WORDS)
    filters = itertools.count()
    parts: dict[str, Callable[[], Any]] = {
        "page": page,
        "changed": page,
        "search": lambda: page(text=" ".join(next(searches))),
        "filter": lambda: page(text="campaign", dag_ids=(f"dag_{next(filters) % DAGS}",)),
        "news": page,
    }
    found = {"first": timed(page)}
    for name, part in parts.items():
        took = []
        for number in range(rounds):
            if name == "changed":
                end_one(number)
            took.append(timed(part))
        found[name] = Took(*map(statistics.median, zip(*took, strict=True)))
    end_one(rounds, days=1)
    found["day"] = timed(page)
    remove_newest()
    shown = "  ".join(
        f"{name} {took.seconds * 1000:.0f} ({took.cpu * 1000:.0f})" for name, took in found.items()
    )
    print(f"{count:7} renders, load {os.getloadavg()[0]:.0f}, ms: {shown}", flush=True)
    return found


def page(**wanted: Any) -> str:
    """Make the data of one page of the gallery, as the route does."""
    from airflow.utils.session import create_session

    from airflow_provider_jimeng.web import cards, store

    with create_session(scoped=False) as session:
        filters = store.Filters(readable=frozenset(store.dag_ids(session)), **wanted)
        results, page_of_renders = store.find_page(session, filters, limit=PAGE, offset=0)
        return json.dumps(
            [
                *(cards.card(stored, {}) for stored in page_of_renders),
                results.totals,
                results.choices,
            ]
        )


def end_one(number: int, days: int = 0) -> None:
    """End one more render, now or later."""
    import pendulum
    from airflow.utils.session import create_session

    from tests.web.records import Records

    with create_session(scoped=False) as session:
        at = pendulum.now("UTC").add(days=days)
        Records(session).landed(
            "s3://videos/new.mp4",
            dag_id="dag_0",
            run_id=f"new_{at.timestamp()}",
            render_id=f"new-{at.timestamp()}-{number}",
            at=at,
            submitted_at=at,
        )


def remove_newest() -> None:
    """Remove the renders that were added later than now."""
    import pendulum
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session(scoped=False) as session:
        session.execute(delete(XComModel).where(XComModel.timestamp > pendulum.now("UTC")))


def print_plans(session: Session) -> None:
    """Print how the database executes each query of a first page and of one after a change."""
    from airflow import settings
    from sqlalchemy import event

    from airflow_provider_jimeng.web import store
    from airflow_provider_jimeng.web.index import Index

    statements: dict[str, Any] = {}

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            statements.setdefault(statement, parameters)

    store._index = Index()  # noqa: SLF001 - as after a start of the API server
    event.listen(settings.engine, "before_cursor_execute", remember)
    page()
    end_one(-1)
    page()
    event.remove(settings.engine, "before_cursor_execute", remember)
    postgres = session.get_bind().dialect.name == "postgresql"
    explain = "EXPLAIN (ANALYZE, BUFFERS) " if postgres else "EXPLAIN QUERY PLAN "
    for statement, parameters in statements.items():
        rows = session.connection().exec_driver_sql(explain + statement, parameters).all()
        steps = dict.fromkeys(str(row[-1])[:150] for row in rows)
        print("", " ".join(statement.split())[:300], *(f"    {step}" for step in steps), sep="\n")


def timed(call: Callable[[], Any]) -> Took:
    """Return how long a call takes."""
    started, cpu = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    sys.exit(main())
