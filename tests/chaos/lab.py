"""An emulator whose clock can be moved, a directory for videos, and the count of what was paid and landed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.links import MEDIA_PREFIX
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.base import JimengSubmittingOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator, JimengSubmitVideoOperator
from tests.chaos.chain import Chain
from tests.chaos.stage import Blows, Stage
from tests.harness.stores import ObjectStore, attached

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.emulator.messages import Outcome, Request

Operator = TypeVar("Operator", bound=JimengSubmittingOperator)

CONNECTION = "AIRFLOW_CONN_JIMENG_DEFAULT"


@dataclass(slots=True)
class Clock:
    """Real time and what a test adds to it."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class WatchedEmulator(JimengEmulator):
    """The emulator, which lets something happen right before it answers the next request for a video."""

    before_media: Callable[[], None] | None = None

    def handle(self, request: Request) -> Outcome:
        """Answer a request."""
        if request.path.startswith(MEDIA_PREFIX) and self.before_media is not None:
            happen, self.before_media = self.before_media, None
            happen()
        return super().handle(request)


class HoldingEmulator(JimengEmulator):
    """The emulator, which can accept submits and keep their answers until it is told to give them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answers = threading.Event()
        self._answers.set()
        self._lock = threading.Lock()
        self.waiting = 0
        """How many callers wait for the answer to a submit."""

    def hold_answers(self) -> None:
        """Keep the answers of submits from now on."""
        self._answers.clear()

    def give_answers(self) -> None:
        """Give every answer that was kept, and keep none from now on."""
        self._answers.set()

    def handle(self, request: Request) -> Outcome:
        """Answer a request."""
        outcome = super().handle(request)
        if "Action=CVSync2AsyncSubmitTask" in request.query_string and not self._answers.is_set():
            with self._lock:
                self.waiting += 1
            self._answers.wait()
            with self._lock:
                self.waiting -= 1
        return outcome


class PointedHook(JimengHook):
    """A hook with points right before the POST of a submit and right after its answer."""

    blows: ClassVar[Blows] = Blows()

    def submit(self, request: RenderRequest | None = None, **arguments: Any) -> Render:
        """Ask for a render."""
        self.blows.pass_by("before post")
        render = super().submit(request, **arguments)
        self.blows.pass_by("after post")
        return render

    def query(self, *arguments: Any, **options: Any) -> QueryReply:
        """Ask what became of a render."""
        self.blows.pass_by("query")
        return super().query(*arguments, **options)


def with_points(operator: type[Operator], blows: Blows) -> type[Operator]:
    """Return a task class whose hook has points."""
    hook = type("Hook", (PointedHook,), {"blows": blows})

    def hook_for(self: Any, jimeng_conn_id: str) -> JimengHook:
        return cast("JimengHook", hook(jimeng_conn_id=jimeng_conn_id))

    return cast("type[Operator]", type(operator.__name__, (operator,), {"hook_for": hook_for}))


@dataclass(frozen=True, slots=True)
class Tally:
    """What the money rule is about."""

    accepted: int
    billed: int
    landed: int
    state: str


@dataclass(slots=True)
class Lab:
    """Where one experiment takes place; tasks made here render videos of 0.2 s of waiting."""

    folder: Path
    emulator: WatchedEmulator
    clock: Clock
    options: dict[str, Any] = field(default_factory=dict)
    has_store: bool = True
    chained: bool = False
    remote: RemoteRecords | None = None
    blows: Blows = field(default_factory=Blows)
    stages: list[Stage] = field(default_factory=list)
    _server: ExitStack = field(default_factory=ExitStack)
    _port: int = 0

    @property
    def videos(self) -> Path:
        """The directory that videos go to."""
        return self.folder / "videos"

    @property
    def while_waiting(self) -> str:
        """The point that a task passes while it waits: in the triggerer, or on its worker."""
        return "deferred" if self.options.get("deferrable", True) else "query"

    @property
    def output_path(self) -> str:
        """Where tasks land their videos."""
        return f"{self.videos}/" if self.remote is None else "s3://bucket/videos/"

    @property
    def output_conn_id(self) -> str | None:
        """The connection to open it with."""
        return None if self.remote is None else self.remote.conn_id

    def generate(self, **changes: Any) -> Any:
        """A task as a DAG file has it; in a chain, the first of three."""
        given: dict[str, Any] = {
            "task_id": "render",
            "prompt": "a red kite",
            "output_path": self.output_path,
            "output_conn_id": self.output_conn_id,
            "deferrable": True,
        }
        if self.chained:
            submit = with_points(JimengSubmitVideoOperator, self.blows)
            return submit(**{**given, **self.options, **changes})
        operator = with_points(JimengGenerateVideoOperator, self.blows)
        return operator(**{"poll_interval": 0.03, **given, **self.options, **changes})

    def stage(self, make: Callable[[], Any] | None = None, **options: Any) -> Stage:
        """A task instance that is about to run."""
        given = {"has_store": self.has_store, "blows": self.blows, **options}
        stage = (
            Chain(make or self.generate, lab=self, **given)
            if self.chained
            else Stage(make or self.generate, **given)
        )
        self.stages.append(stage)
        return stage

    def go_down(self) -> None:
        """Stop serving the API: connections are refused."""
        self._port = int(str(self.emulator.url).rpartition(":")[2])
        self._server.close()

    def come_up(self) -> None:
        """Serve the API, at the same place as before."""
        self._server.enter_context(self.emulator.serve(port=self._port))
        self.connect()

    def connect(self, timeout_seconds: float = 30) -> None:
        """Lead `jimeng_default` to the emulator."""
        os.environ[CONNECTION] = self.emulator.connection_json(
            timeout_seconds=timeout_seconds, max_requests_per_second=1000
        )

    def pass_time(self, seconds: float) -> None:
        """Let time go by: the API's clock moves on, and what we noted of the past moves back."""
        self.clock.ahead += seconds
        for stage in self.stages:
            for kept in (stage.store.values, stage.xcoms):
                for key, text in kept.items():
                    kept[key] = json.dumps(_older(json.loads(text), seconds))
        for name, content in self.files().items():
            if name.endswith(".json"):
                self.put(name, json.dumps(_older(json.loads(content), seconds)).encode())

    def files(self) -> dict[str, bytes]:
        """Every file under the output directory, by its path there."""
        if self.remote is not None:
            return {path.removeprefix("/bucket/videos/"): data for path, data in self.remote.files().items()}
        found = (path for path in self.videos.rglob("*") if path.is_file())
        return {str(path.relative_to(self.videos)): path.read_bytes() for path in found}

    def put(self, name: str, content: bytes) -> None:
        """Replace a file behind everybody's back."""
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

    def tally(self) -> Tally:
        """Count, once every render that still runs has ended; a file without its manifest fails the test."""
        assert not self.blows.waiting, "this never happened"
        self.clock.ahead += 3600
        bill = self.emulator.bill()
        return Tally(
            accepted=bill["accepted"],
            billed=bill["billed"],
            landed=len(landed_files(self.files())),
            state=str(self.stages[0].state),
        )


def landed_files(files: dict[str, bytes]) -> list[str]:
    """Return every video; raise if one is not what its manifest says, or a manifest has no video."""
    seen = {name: content for name, content in files.items() if "/.jimeng/" not in f"/{name}"}
    manifests = {
        name.removesuffix(".json"): data for name, data in seen.items() if name.endswith(".mp4.json")
    }
    videos = {name: content for name, content in seen.items() if name.endswith(".mp4")}
    assert set(seen) == {*videos, *(f"{name}.json" for name in manifests)}, "something was left behind"
    assert set(manifests) == set(videos)
    for name, content in videos.items():
        manifest = json.loads(manifests[name])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (manifest["bytes"], manifest["sha256"])
    return sorted(videos)


class RemoteRecords(ObjectStore):
    """An object store whose requests for records are points, as those of the state store are."""

    def __init__(self, blows: Blows) -> None:
        super().__init__()
        self.blows = blows
        self.videos_to_refuse = 0
        self.manifests_to_refuse = 0
        self.conn_id = attached(self)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        """Read a small file."""
        if "/tasks/" in path:
            self.blows.pass_by("store get")
        return super().cat_file(path, *arguments, **options)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        if "/tasks/" in path:
            self.blows.pass_by("store delete")
        super().rm_file(path)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        """Upload a file."""
        if rpath.endswith(".mp4") and self.videos_to_refuse:
            self.videos_to_refuse -= 1
            raise ConnectionResetError("the store hung up")
        if rpath.endswith(".mp4.json") and self.manifests_to_refuse:
            self.manifests_to_refuse -= 1
            raise ConnectionResetError("the store hung up")
        state = json.loads(Path(lpath).read_bytes())["state"] if "/tasks/" in rpath else None
        if state:
            self.blows.pass_by(f"store before {state}")
        super().put_file(lpath, rpath, **options)
        if state:
            self.blows.pass_by(f"store after {state}")


@contextmanager
def open_lab(folder: Path, *, below_3_3: bool = False, **options: Any) -> Iterator[Lab]:
    """Start an emulator and lead `jimeng_default` to it."""
    clock = Clock()
    emulator = WatchedEmulator(**{"render_seconds": 0.2, "clock": clock, "max_skew_seconds": None, **options})
    before = os.environ.get(CONNECTION)
    lab = Lab(folder=folder, emulator=emulator, clock=clock, has_store=not below_3_3)
    lab.remote = RemoteRecords(lab.blows) if below_3_3 else None
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
