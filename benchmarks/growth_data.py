# SPDX-License-Identifier: Apache-2.0
"""The rows, records, videos and XComs that ``growth.py`` measures with."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum

from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.store_servers import S3Server

REQUEST = "a" * 64
WRITTEN_WHOLE = 50
"""The number of records that are written with their pointers. Older records have none, as after their removal."""
VIDEO = b"\0" * 1024
PICTURES = 20
PAID = "paid and saved before"

Place = Callable[[str], OutputPath]
"""Returns an empty directory of a store, by name."""


def stores(home: Path, names: list[str]) -> Iterator[tuple[str, Place]]:
    """Yield the name of each store and a function that returns a directory in it."""
    if "files" in names:
        yield "files", lambda name: OutputPath(output_path=f"{home / name}/")
    if "S3" in names:
        with ExitStack() as stack:
            server = stack.enter_context(S3Server(home=home / "s3"))
            os.environ["AIRFLOW_CONN_GROWTH"] = json.dumps(server.connection())
            yield (
                "S3",
                lambda name: OutputPath(output_path=f"s3://{server.bucket}/{name}/", output_conn_id="growth"),
            )


# --- records and videos -------------------------------------------------------------------------------------------------


def record(
    number: int, path: str, *, key: TaskKey | None = None, state: RecordState = RecordState.LANDED
) -> Record:
    """Return a record of the same request as all others. By default it is that of an hourly run that has saved it."""
    at = f"2026-{number // 24 // 28 % 12 + 1:02}-{number // 24 % 28 + 1:02}T{number % 24:02}:00:00Z"
    render = {
        "task_id": str(7_000_000_000 + number),
        "req_key": "key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": at,
    }
    return Record(
        state=state,
        key=key or TaskKey(dag_id="ads", run_id=f"scheduled__{number}", task_id="render"),
        requested=REQUEST,
        fingerprint=REQUEST,
        take=1,
        max_tries=1,
        intent_at=at,
        output_path=path,
        render=None if state is RecordState.INTENT else render,
    )


def write_records(folder: OutputPath, numbers: range) -> None:
    """Write records of the same request and file name. The last ones get their pointers as a task writes them."""
    objects, path = RecordObjects(folder), f"{folder.output_path}kite.mp4"
    plain = [number for number in numbers if number < numbers.stop - WRITTEN_WHOLE]
    put_all(folder, {f".jimeng/tasks/{n:032}.json": encoded(record(n, path).to_payload()) for n in plain})
    for number in numbers[len(plain) :]:
        objects.write(record(number, path))


def write_paid(folder: OutputPath, count: int) -> None:
    """Write records, videos and manifests of ``count`` saved renders, one for each row ``a kite NUMBER``."""
    files: dict[str, bytes] = {}
    for number in range(count):
        manifest = manifest_of(folder, number)
        made = Record(
            state=RecordState.LANDED,
            key=TaskKey(dag_id="ads", run_id="before", task_id="render", map_index=number),
            requested=manifest.fingerprint,
            fingerprint=manifest.fingerprint,
            take=1,
            max_tries=1,
            intent_at="2026-01-01T00:00:00Z",
            output_path=folder.output_path,
            render=Render.from_payload(manifest.to_payload()).to_payload(),
            manifest=manifest.to_payload(),
        )
        name = f"{hashlib.sha256(str(number).encode()).hexdigest()[:32]}.json"
        video = manifest.uri.rpartition("/")[2]
        files[video] = VIDEO
        files[f"{video}.json"] = encoded(manifest.to_payload())
        files[f".jimeng/tasks/{name}"] = encoded(made.to_payload())
        files[f".jimeng/requests/{manifest.fingerprint}/{name}"] = encoded(
            {"task_instance": made.key.to_payload()}
        )
    put_all(folder, files)


def manifest_of(folder: OutputPath, number: int) -> RenderManifest:
    """Return the manifest of a saved render of the row ``a kite NUMBER``."""
    request = RenderRequest.build(prompt=f"a kite {number}")
    at = pendulum.datetime(2026, 1, 1)
    render = Render(
        task_id=str(7_000_000_000 + number),
        req_key=request.spec.req_key,
        model=request.spec.name,
        jimeng_conn_id="jimeng_default",
        submitted_at=at,
        fingerprint=request.fingerprint,
        prompt=request.prompt,
        seed=request.seed,
        duration=request.duration,
        aspect_ratio=request.aspect_ratio,
    )
    landed = {
        "uri": folder.file_for(render).uri,
        "bytes": len(VIDEO),
        "sha256": hashlib.sha256(VIDEO).hexdigest(),
        "landed_at": "2026-01-01T00:05:00Z",
        "differs": [],
    }
    return RenderManifest.from_payload({**render.to_payload(), **landed})


def encoded(payload: Any) -> bytes:
    """Return JSON data as bytes."""
    return json.dumps(payload).encode()


def put_all(folder: OutputPath, files: dict[str, bytes]) -> None:
    """Write many small files, on an object store several at a time."""
    if "://" not in folder.output_path:
        for name, content in files.items():
            path = Path(folder.output_path) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return
    fs = folder.file("any").fs
    root = folder.output_path.partition("://")[2]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: fs.pipe_file(root + item[0], item[1]), files.items()))


# --- rows -------------------------------------------------------------------------------------------------------------


def kinds_of_rows(place: Place) -> dict[str, tuple[Callable[[int], Any], bool]]:
    """Return, by kind, a function from a number to that many rows, and whether the plan has an output path."""
    pictures = _pictures() if "://" not in place("pictures").output_path else []
    image = {"model": "i2v_first_720p"}
    kinds: dict[str, tuple[Callable[[int], dict[str, Any]], bool]] = {
        "identical": (lambda _: {"prompt": "a kite"}, False),
        "all different": (lambda n: {"prompt": f"a kite {n}"}, False),
        "half with a take": (lambda n: {"prompt": "a kite", **({"take": n + 1} if n % 2 else {})}, False),
        "long": (lambda n: {"prompt": f"{n} " + "a kite over the sea, " * 35}, False),
        "Chinese": (lambda n: {"提示词": f"{n} " + "一只风筝在海上飞，" * 44}, False),
        "pictures": (lambda n: {"prompt": f"{n}", **image, "first_frame": pictures[n % PICTURES]}, False),
        "an error in each": (lambda n: {"prompt": f"a kite {n}", "seed": f"x{n}"}, False),
        "a missing picture in each": (
            lambda n: {"prompt": f"{n}", **image, "first_frame": f"/no/{n}.png"},
            False,
        ),
        "an unknown column in each": (lambda n: {"prompt": f"{n}", f"column {n}": 1}, False),
        "new, in a directory": (lambda n: {"prompt": f"a kite {n}"}, True),
        "new, with file names": (lambda n: {"prompt": f"a kite {n}", "output_name": f"kite {n}"}, True),
        PAID: (lambda n: {"prompt": f"a kite {n}"}, True),
    }
    return {
        kind: (lambda count, row=row: [row(n) for n in range(count)], into)
        for kind, (row, into) in kinds.items()
    }  # type: ignore[misc]


def _pictures() -> list[str]:
    import tempfile

    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="jimeng-growth-pictures-"))
    for number in range(PICTURES):
        Image.effect_noise((1248, 704), 50 + number).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(PICTURES)]


# --- a run ------------------------------------------------------------------------------------------------------------


class Instance:
    """A task instance whose pushes are dropped."""

    map_index = -1

    def xcom_push(self, key: str, value: Any) -> None:
        """Drop a value."""


class MappedTask:
    """A mapped generate task, as a report sees it."""

    task_id = "render"
    operator_class = JimengGenerateVideoOperator
    partial_kwargs: dict[str, Any] = {}  # noqa: RUF012

    def iter_mapped_dependencies(self) -> list[Any]:
        """Return nothing: it is not mapped over a plan."""
        return []


@dataclass
class Run:
    """A run with one mapped task. It answers what the API server answers, and counts the calls."""

    count: int
    fails: Callable[[int, int], bool]
    calls: Counter[str] = field(default_factory=Counter)
    dag_id: str = "ads"
    run_id: str = "run"

    def context(self) -> Any:
        """Return the context of a task of the run."""
        return {"ti": self, "dag_run": SimpleNamespace()}

    def get_ti_count(self, **_: Any) -> int:
        """Count the instances."""
        self.calls["get_ti_count"] += 1
        return self.count

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        """Return the state of each instance."""
        self.calls["get_task_states"] += 1
        states = {n: "failed" if self.fails(n, self.count) else "success" for n in range(self.count)}
        return {self.run_id: {f"render_{n}": state for n, state in states.items()}}

    def xcom_pull(self, *, task_ids: Any, key: str, map_indexes: Any = None) -> Any:
        """Return one value, or those of all instances that have one."""
        self.calls["xcom_pull"] += 1
        if map_indexes is not None:
            return self._value(map_indexes, key)
        values = (self._value(number, key) for number in range(self.count))
        return [value for value in values if value is not None]

    def _value(self, number: int, key: str) -> Any:
        at = "2026-01-01T00:00:00Z"
        failed = self.fails(number, self.count)
        render = {
            "task_id": str(number),
            "req_key": "key",
            "submitted_at": at,
            "model": "t2v_720p",
            "map_index": number,
        }
        if key == "jimeng_refusal" and failed:
            return {
                "refused_at": at,
                "outcome": "failed",
                "code": "50411",
                "message": "no",
                "map_index": number,
            }
        if key == "jimeng_render" and not failed:
            return render
        if key == "return_value" and not failed:
            landed = {"uri": f"s3://b/{number}.mp4", "bytes": 1, "sha256": "0" * 64, "landed_at": at}
            return {name: value for name, value in {**render, **landed}.items() if name != "map_index"}
        return None


def running_renders(renders: list[Render], rounds: int, folder: OutputPath) -> int:
    """Return how often a rescue looks the connection up while renders run, in some rounds."""
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders

    looked_up: list[str] = []

    class Counted(JimengHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            looked_up.append(conn_id)
            return super().get_connection(conn_id)

    waits: list[float] = []
    unsaved = UnsavedRenders(
        folder=folder,
        hook_for=lambda conn_id: Counted(jimeng_conn_id=conn_id),
        now=lambda: float(len(waits)),
        sleep=waits.append,
    )
    for render in renders:
        unsaved.add_payload(render.to_payload(), owner=("ads", "run", "render"))
    unsaved.run(deadline=float(rounds - 1))
    return len(looked_up)
