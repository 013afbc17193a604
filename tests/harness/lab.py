# SPDX-License-Identifier: Apache-2.0
"""A lab for one experiment: an emulator, a directory for videos, fake tasks, and a count of renders and files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.base import JimengSubmittingOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.harness.emulator import Clock, WatchedEmulator
from tests.harness.fake_airflow import FakeTask, Interruptions
from tests.harness.stores import ObjectStore, attached

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.core.wire import QueryReply

Operator = TypeVar("Operator", bound=JimengSubmittingOperator)

CONNECTION = "AIRFLOW_CONN_JIMENG_DEFAULT"


class InterruptibleHook(JimengHook):
    """A hook that reaches a point before and after the POST of a submit, and before each query."""

    interruptions: ClassVar[Interruptions] = Interruptions()

    def submit(self, request: RenderRequest | None = None, **arguments: Any) -> Render:
        """Ask for a render."""
        self.interruptions.reach("before post")
        render = super().submit(request, **arguments)
        self.interruptions.reach("after post")
        return render

    def query(self, *arguments: Any, **options: Any) -> QueryReply:
        """Ask what became of a render."""
        self.interruptions.reach("query")
        return super().query(*arguments, **options)


def interruptible(operator: type[Operator], interruptions: Interruptions) -> type[Operator]:
    """Return a subclass of `operator` whose hook can be interrupted."""
    hook = type("Hook", (InterruptibleHook,), {"interruptions": interruptions})

    def hook_for(self: Any, jimeng_conn_id: str) -> JimengHook:
        return cast("JimengHook", hook(jimeng_conn_id=jimeng_conn_id))

    return cast("type[Operator]", type(operator.__name__, (operator,), {"hook_for": hook_for}))


@dataclass(frozen=True, slots=True)
class Tally:
    """The cost and the files of an experiment, and the last state of its first task."""

    accepted: int
    billed: int
    landed: int
    state: str


@dataclass(slots=True)
class Lab:
    """The place of one experiment. A render takes 0.2 s here, or ends at once when its task is deferred."""

    folder: Path
    emulator: WatchedEmulator
    clock: Clock
    render_seconds: float
    options: dict[str, Any] = field(default_factory=dict)
    has_store: bool = True
    chained: bool = False
    remote: RemoteRecords | None = None
    interruptions: Interruptions = field(default_factory=Interruptions)
    tasks: list[FakeTask] = field(default_factory=list)
    _server: ExitStack = field(default_factory=ExitStack)
    _port: int = 0

    @property
    def videos(self) -> Path:
        """The directory that videos go to."""
        return self.folder / "videos"

    @property
    def while_waiting(self) -> str:
        """The point that a task reaches while it waits in the triggerer, or on its worker."""
        return "deferred" if self.options.get("deferrable", True) else "query"

    @property
    def output_path(self) -> str:
        """The `output_path` of the tasks."""
        return f"{self.videos}/" if self.remote is None else "s3://bucket/videos/"

    @property
    def output_conn_id(self) -> str | None:
        """The `output_conn_id` of the tasks."""
        return None if self.remote is None else self.remote.conn_id

    def generate(self, **changes: Any) -> Any:
        """Return the operator of the DAG file; in a chain, the first of three."""
        arguments: dict[str, Any] = {
            "task_id": "render",
            "prompt": "a red kite",
            "output_path": self.output_path,
            "output_conn_id": self.output_conn_id,
            "deferrable": True,
        }
        if self.chained:
            submit = interruptible(JimengSubmitVideoOperator, self.interruptions)
            return submit(**{**arguments, **self.options, **changes})
        operator = interruptible(JimengGenerateVideoOperator, self.interruptions)
        return operator(**{"poll_interval": 0.03, **arguments, **self.options, **changes})

    def task(self, make: Callable[[], Any] | None = None, **options: Any) -> FakeTask:
        """Return a fake task that has not run yet."""
        settings = {
            "has_store": self.has_store,
            "interruptions": self.interruptions,
            "on_deferral": self._let_render_end,
            **options,
        }
        task = (
            TaskChain(make or self.generate, lab=self, **settings)
            if self.chained
            else FakeTask(make or self.generate, **settings)
        )
        self.tasks.append(task)
        return task

    def _let_render_end(self) -> None:
        self.clock.ahead += self.render_seconds

    def go_down(self) -> None:
        """Stop the API server, so that connections are refused."""
        self._port = int(str(self.emulator.url).rpartition(":")[2])
        self._server.close()

    def come_up(self) -> None:
        """Start the API server on the same port as before."""
        self._server.enter_context(self.emulator.serve(port=self._port))
        self.connect()

    def connect(self, timeout_seconds: float = 30) -> None:
        """Point the connection `jimeng_default` to the emulator."""
        os.environ[CONNECTION] = self.emulator.connection_json(
            timeout_seconds=timeout_seconds, max_requests_per_second=1000
        )

    def pass_time(self, seconds: float) -> None:
        """Move the clock of the API forward, and every time in records, XComs and files back."""
        self.clock.ahead += seconds
        for task in self.tasks:
            for kept in (task.store.values, task.xcoms):
                for key, text in kept.items():
                    kept[key] = json.dumps(_older(json.loads(text), seconds))
        for name, content in self.files().items():
            if name.endswith(".json"):
                self.put(name, json.dumps(_older(json.loads(content), seconds)).encode())

    def files(self) -> dict[str, bytes]:
        """Return the content of every file under the output directory, by its relative path."""
        if self.remote is not None:
            return {path.removeprefix("/bucket/videos/"): data for path, data in self.remote.files().items()}
        files = (path for path in self.videos.rglob("*") if path.is_file())
        return {str(path.relative_to(self.videos)): path.read_bytes() for path in files}

    def put(self, name: str, content: bytes) -> None:
        """Replace a file without changing its manifest."""
        if self.remote is not None:
            self.remote.pipe_file(f"/bucket/videos/{name}", content)
        else:
            (self.videos / name).write_bytes(content)

    def lose_videos(self) -> None:
        """Remove every video and its manifest."""
        for name in self.files():
            if not name.startswith("."):
                if self.remote is not None:
                    self.remote.store.pop(f"/bucket/videos/{name}")
                else:
                    (self.videos / name).unlink()

    def alter_videos(self) -> None:
        """Change a byte of every video."""
        for name, content in self.files().items():
            if name.endswith(".mp4"):
                self.put(name, content[:-1] + bytes([content[-1] ^ 1]))

    def damage_records(self) -> None:
        """Cut every record object in half."""
        for name, content in self.files().items():
            if name.startswith(".jimeng/tasks/"):
                self.put(name, content[: len(content) // 2])

    def records(self) -> list[dict[str, Any]]:
        """Return every record in the output directory."""
        return [json.loads(data) for name, data in self.files().items() if name.startswith(".jimeng/tasks/")]

    def tally(self) -> Tally:
        """Count renders and files after every render has ended. A video without a manifest fails the test."""
        assert not self.interruptions.waiting, "this never happened"
        self.clock.ahead += 3600
        bill = self.emulator.bill()
        return Tally(
            accepted=bill["accepted"],
            billed=bill["billed"],
            landed=len(landed_files(self.files())),
            state=str(self.tasks[0].state),
        )


@dataclass(slots=True)
class TaskChain(FakeTask):
    """Three tasks with the interface of one: submit, wait, download. Each is retried by itself, as in a DAG."""

    lab: Lab | None = None
    followers: list[FakeTask] = field(default_factory=list)

    def run(self) -> str:
        """Run the tasks one after the other. The state is the state of the last task that ran."""
        state = FakeTask.run(self)  # a bare super() does not know a slotted class
        for name, make in (("wait", self._wait), ("download", self._download)):
            if state != "success":
                break
            follower = self._follower(name)
            follower.make_operator = make
            follower.retries = self.retries
            state = follower.run()
        self.state = state
        return state

    def clear(self) -> None:
        """Clear all three tasks."""
        FakeTask.clear(self)
        for follower in self.followers:
            follower.retries = self.retries
            follower.clear()

    def _follower(self, name: str) -> FakeTask:
        for follower in self.followers:
            if follower.task_id == name:
                return follower
        made = FakeTask(
            self.make_operator,
            task_id=name,
            has_store=self.has_store,
            interruptions=self.interruptions,
            on_deferral=self.on_deferral,
            run_id=self.run_id,
        )
        self.followers.append(made)
        return made

    def _wait(self) -> Any:
        lab = self._lab()
        deferrable = lab.options.get("deferrable", True)
        return JimengVideoSensor(
            task_id="wait", render=self.result, poll_interval=0.03, poke_interval=0.05, deferrable=deferrable
        )

    def _download(self) -> Any:
        lab = self._lab()
        return JimengDownloadVideoOperator(
            task_id="download",
            render=self.result,
            output_path=lab.output_path,
            output_conn_id=lab.output_conn_id,
        )

    def _lab(self) -> Lab:
        assert self.lab is not None
        return self.lab


def landed_files(files: dict[str, bytes]) -> list[str]:
    """Return every video. Raise an error if a video differs from its manifest, or a manifest has no video."""
    public = {name: content for name, content in files.items() if "/.jimeng/" not in f"/{name}"}
    manifests = {
        name.removesuffix(".json"): data for name, data in public.items() if name.endswith(".mp4.json")
    }
    videos = {name: content for name, content in public.items() if name.endswith(".mp4")}
    assert set(public) == {*videos, *(f"{name}.json" for name in manifests)}, "something was left behind"
    assert set(manifests) == set(videos)
    for name, content in videos.items():
        manifest = json.loads(manifests[name])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (manifest["bytes"], manifest["sha256"])
    return sorted(videos)


class RemoteRecords(ObjectStore):
    """An object store that can be interrupted at each request for a record, as the state store can."""

    def __init__(self, interruptions: Interruptions) -> None:
        super().__init__()
        self.interruptions = interruptions
        self.videos_to_refuse = 0
        self.manifests_to_refuse = 0
        self.conn_id = attached(self)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        """Read a small file."""
        if "/tasks/" in path:
            self.interruptions.reach("store get")
        return super().cat_file(path, *arguments, **options)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        if "/tasks/" in path:
            self.interruptions.reach("store delete")
        super().rm_file(path)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        """Upload a file."""
        if rpath.endswith(".mp4") and self.videos_to_refuse:
            self.videos_to_refuse -= 1
            raise ConnectionResetError("the store closed the connection")
        if rpath.endswith(".mp4.json") and self.manifests_to_refuse:
            self.manifests_to_refuse -= 1
            raise ConnectionResetError("the store closed the connection")
        state = json.loads(Path(lpath).read_bytes())["state"] if "/tasks/" in rpath else None
        if state:
            self.interruptions.reach(f"store before {state}")
        super().put_file(lpath, rpath, **options)
        if state:
            self.interruptions.reach(f"store after {state}")


@contextmanager
def open_lab(
    folder: Path, *, below_3_3: bool = False, render_seconds: float = 0.2, **options: Any
) -> Iterator[Lab]:
    """Start an emulator and point the connection `jimeng_default` to it."""
    clock = Clock()
    given = {"clock": clock, "max_skew_seconds": None, **options}
    emulator = WatchedEmulator(render_seconds=render_seconds, **given)
    before = os.environ.get(CONNECTION)
    lab = Lab(
        folder=folder,
        emulator=emulator,
        clock=clock,
        render_seconds=render_seconds,
        has_store=not below_3_3,
    )
    lab.remote = RemoteRecords(lab.interruptions) if below_3_3 else None
    lab.videos.mkdir(parents=True)
    try:
        lab.come_up()
        yield lab
    finally:
        lab._server.close()
        os.environ.pop(CONNECTION, None)
        if before is not None:
            os.environ[CONNECTION] = before


def _older(value: Any, seconds: float) -> Any:
    if isinstance(value, dict):
        return {
            key: _earlier(item, seconds) if key in ("submitted_at", "intent_at") else _older(item, seconds)
            for key, item in value.items()
        }
    return [_older(item, seconds) for item in value] if isinstance(value, list) else value


def _earlier(text: str, seconds: float) -> str:
    moment = datetime.fromisoformat(text) - timedelta(seconds=seconds)
    return moment.astimezone(UTC).isoformat()
