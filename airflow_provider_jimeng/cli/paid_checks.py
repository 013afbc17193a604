# SPDX-License-Identifier: Apache-2.0
"""The paid part of the doctor: one real render, watched from its submit to its file.

It is paid once, as each render of the command line. If the doctor runs again, it looks at the paid render.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from airflow_provider_jimeng.cli.board import Board
from airflow_provider_jimeng.cli.commands import DEFAULT_OUTPUT, output_path_of
from airflow_provider_jimeng.cli.doctor import Finding, as_assumed, fact, finding
from airflow_provider_jimeng.cli.operators import CommandHook, CommandRender, Gate
from airflow_provider_jimeng.cli.render import Job, Work
from airflow_provider_jimeng.client.media import open_media
from airflow_provider_jimeng.client.observer import Observer
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.assumptions import ASSUMPTIONS
from airflow_provider_jimeng.core.catalogue import FPS, LINK_SECONDS, TYPICAL_RENDER_SECONDS, find_model
from airflow_provider_jimeng.core.errors import ApiError, DamagedMediaError, JimengError, RenderFailedError
from airflow_provider_jimeng.core.mp4 import inspect_mp4
from airflow_provider_jimeng.core.render import Render, RenderStatus, cost_in_words

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.core.render import RenderManifest
    from airflow_provider_jimeng.core.wire import QueryReply

PROMPT = "A paper boat on a quiet lake, morning light"
LONGEST_SECONDS = 3600.0
ASK_EVERY_SECONDS = 1.0
ASK_LATER_SECONDS = 5.0
FAST_FOR_SECONDS = 60.0
_LIFE_TOLERANCE_SECONDS = 60.0
_KNOWN_WORDS = frozenset(ASSUMPTIONS["status_words"].assumed.split(", "))
_HEX_TIME = re.compile(r"[0-9a-f]{8}")
_CODECS = {"avc1": "avc1 (H.264)", "avc3": "avc3 (H.264)", "hvc1": "hvc1 (H.265)", "hev1": "hev1 (H.265)"}
_HEAD_BYTES = 4 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Watched:
    """The answers to the queries of one render. Times are in seconds since the submit."""

    words: list[str] = field(default_factory=list)
    first_word: str | None = None
    worked_from: float | None = None
    done_at: float | None = None
    link: str | None = None
    tagged: bool | None = None


@dataclass(slots=True, kw_only=True)
class PaidChecks:
    """Pays for one render, unless an earlier run has paid, and compares its facts with what is assumed."""

    settings: ClientSettings
    conn_id: str
    model: str
    max_cost_cny: str
    findings: list[Finding] = field(default_factory=list)
    paid: Render | None = None

    def run(self) -> None:
        """Collect the findings.

        :raises JimengError: the render was refused or failed, or its video cannot be saved. The findings until then stay.
        """
        for each in self._findings():
            self.findings.append(each)

    def _findings(self) -> Iterator[Finding]:
        spec = find_model(self.model, self.settings.catalogue)
        render, adopted = self._pay(spec)
        yield fact(
            "paid_render",
            "render",
            f"{render.task_id}, {'paid before' if adopted else cost_in_words(render.estimated_cost_cny)}",
        )
        observer = Observer(self.settings)
        with JimengClient(self.settings, transport=observer) as client:
            watched = self._watch(client, render)
            yield from self._states(watched, adopted=adopted)
            again = client.query(render.req_key, render.task_id, aigc_meta=self.settings.aigc_meta)
            yield from self._link(watched, again)
            try:
                manifest = self._save(render)
            except DamagedMediaError as error:
                yield finding("container", str(error), agrees=False)
            else:
                yield from self._file(spec, manifest, watched)
            yield self._cancel(client, observer, render)

    def _pay(self, spec: ModelSpec) -> tuple[Render, bool]:
        gate, line = Gate(), Board(quiet=True).add(PROMPT)
        operator = CommandRender.of(
            line,
            gate,
            prompt=PROMPT,
            model=spec.name,
            duration=spec.durations[0],
            output_path=output_path_of(DEFAULT_OUTPUT),
            jimeng_conn_id=self.conn_id,
            max_cost_cny=self.max_cost_cny,
        )
        job = Job(operator=operator, line=line)
        Work(jobs=[job], gate=gate, board=line.board, wait=False, parallel=1).run()
        if (problem := job.error or job.crash) is not None:
            raise problem
        self.paid = Render.from_payload(job.result or {})
        return self.paid, line.adopted

    def _watch(self, client: JimengClient, render: Render) -> Watched:
        """Query until the render is done."""
        watched = Watched()
        submitted_at = render.submitted_at.timestamp()
        while True:
            age = time.time() - submitted_at
            try:
                reply = client.query(render.req_key, render.task_id, aigc_meta=self.settings.aigc_meta)
            except ApiError as error:
                if error.entry is not None and error.entry.fails_render:
                    raise RenderFailedError(f"The render {render.task_id} failed: {error}") from error
                reply = None
            except JimengError:
                reply = None
            if reply is not None:
                word = reply.status_word or "none"
                watched.first_word = watched.first_word or word
                if word not in watched.words:
                    watched.words.append(word)
                if watched.worked_from is None and reply.status not in (
                    RenderStatus.IN_QUEUE,
                    RenderStatus.NOT_FOUND,
                ):
                    watched.worked_from = age
                if reply.status is RenderStatus.DONE and reply.video_url:
                    watched.done_at, watched.link, watched.tagged = (
                        age,
                        reply.video_url,
                        reply.aigc_meta_tagged,
                    )
                    return watched
            if age > LONGEST_SECONDS:
                raise RenderFailedError(
                    f"The render {render.task_id} was not done after an hour. Words: {', '.join(watched.words)}."
                )
            time.sleep(ASK_EVERY_SECONDS if age < FAST_FOR_SECONDS else ASK_LATER_SECONDS)

    def _states(self, watched: Watched, *, adopted: bool) -> Iterator[Finding]:
        yield finding("status_words", ", ".join(watched.words), set(watched.words) <= _KNOWN_WORDS)
        if adopted:
            yield finding("fresh_id", "the render was paid before", None)
            yield finding("render_seconds", "the render was paid before", None)
            return
        lag = watched.first_word == RenderStatus.NOT_FOUND.value
        yield finding(
            "fresh_id", "unknown at first" if lag else "known at the first query", True if lag else None
        )
        queued, done = watched.worked_from or 0.0, watched.done_at or 0.0
        least, most = TYPICAL_RENDER_SECONDS
        yield finding(
            "render_seconds",
            f"{queued:.0f} s in the queue, {done - queued:.0f} s in work",
            least <= done <= 2 * most,
        )

    def _link(self, watched: Watched, again: QueryReply) -> Iterator[Finding]:
        link = watched.link or ""
        host = urlsplit(link).hostname or "none"
        yield finding("media_host", host, host.endswith("yangyi08.com"))
        life = life_of(link)
        yield finding(
            "link_life",
            "the link does not say" if life is None else f"{life / 3600:.2f} h",
            None if life is None else abs(life - LINK_SECONDS) < _LIFE_TOLERANCE_SECONDS,
        )
        other = again.video_url
        yield finding("fresh_link", "yes" if other and other != link else "no", bool(other and other != link))
        yield self._ranges(other or link)

    def _ranges(self, link: str) -> Finding:
        try:
            with open_media(link, settings=self.settings, start=100) as stream:
                partial = stream.status == 206 and stream.start == 100
                return finding("ranges", f"HTTP {stream.status}", partial)
        except JimengError as error:
            return finding("ranges", f"{type(error).__name__}: {error}", agrees=False)

    def _save(self, render: Render) -> RenderManifest:
        with CommandHook(jimeng_conn_id=self.conn_id) as hook:
            return hook.download(render, output_path_of(DEFAULT_OUTPUT))

    def _file(self, spec: ModelSpec, manifest: RenderManifest, watched: Watched) -> Iterator[Finding]:
        path = Path(manifest.uri.removeprefix("file://"))
        with path.open("rb") as file:
            media = inspect_mp4(file)
            file.seek(0)
            codec = codec_of(file.read(_HEAD_BYTES)) or codec_of(path.read_bytes()[-_HEAD_BYTES:])
        yield finding("container", "mp4", agrees=True)
        yield finding(
            "codec", codec or "unknown", None if codec is None else codec == ASSUMPTIONS["codec"].assumed
        )
        ratio = manifest.aspect_ratio or (spec.aspect_ratios[0] if spec.aspect_ratios else "")
        size = spec.sizes.get(ratio)
        yield finding(
            "size",
            f"{media.width}×{media.height}",
            None if size is None else size == (media.width, media.height),
            assumed=None if size is None else f"{size[0]}×{size[1]}",
        )
        yield finding(
            "fps",
            "unknown" if media.fps is None else f"{media.fps:g}",
            None if media.fps is None else round(media.fps) == FPS,
        )
        seconds, wanted = media.duration_seconds, manifest.duration or 0
        yield finding(
            "duration",
            "unknown" if seconds is None else f"{seconds:.2f} s",
            None if seconds is None else abs(seconds - wanted) < 0.5,
            assumed=f"{wanted} s",
        )
        requested = bool(self.settings.aigc_meta)
        nothing = "no label was requested: set aigc_meta in the connection"
        yield finding(
            "label_echoed",
            str(watched.tagged) if requested else nothing,
            watched.tagged is True if requested else None,
        )
        labelled = media.aigc is not None
        yield finding(
            "label_in_file",
            ("in the file" if labelled else "not in the file") if requested else nothing,
            labelled if requested else None,
        )

    def _cancel(self, client: JimengClient, observer: Observer, render: Render) -> Finding:
        try:
            client.cancel(render.req_key, render.task_id)
        except JimengError as error:
            status = observer.last.http_status if observer.last else None
            code = error.code if isinstance(error, ApiError) else type(error).__name__
            return as_assumed("cancel_done", f"{code}, HTTP {status}")
        return finding("cancel_done", "cancelled", agrees=False)


def life_of(link: str) -> float | None:
    """Return the lifetime of a link in seconds, as its text says; ``None`` if the text does not say it.

    The second part of the path, or a part near it, is the expiry in hexadecimal. ``dy_q`` is the time of the creation.
    """
    parts = urlsplit(link)
    try:
        made = int(parse_qs(parts.query)["dy_q"][0])
    except (KeyError, ValueError):
        return None
    times = [int(part, 16) for part in parts.path.split("/") if _HEX_TIME.fullmatch(part)]
    return next((float(end - made) for end in times if 0 < end - made < 30 * 86400), None)


def codec_of(data: bytes) -> str | None:
    """Return the codec in the sample description of an MP4 file; ``None`` if it is not in these bytes."""
    at = data.find(b"stsd")
    name = data[at + 16 : at + 20].decode("ascii", errors="replace") if at >= 0 else ""
    return _CODECS.get(name, name) or None
