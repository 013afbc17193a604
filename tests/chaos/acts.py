# SPDX-License-Identifier: Apache-2.0
"""What each row of the chaos table does to its task."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger
from tests.chaos import rows
from tests.harness.fake_airflow import Killed, run_trigger

if TYPE_CHECKING:
    from tests.chaos.rows import Row
    from tests.harness.fake_airflow import FakeTask
    from tests.harness.lab import Lab

Act = Callable[["Lab", "FakeTask"], None]
HALF_DAY = 12.5 * 3600


def _refuse() -> None:
    raise ConnectionResetError("the store hung up")


def _killed(point: str) -> Act:
    return lambda lab, stage: stage.interruptions.at(point)


def _fault(**entry: Any) -> Act:
    def act(lab: Lab, stage: FakeTask) -> None:
        lab.emulator.faults.add(nth=1, **entry)

    return act


def _stands_ready(lab: Lab, stage: FakeTask, *, refused: int, seconds: float) -> None:
    """Refuse the first submits. Then wake the task ahead of the end of a render, and after that as usual."""
    lab.emulator.faults.add(where="submit", what="error_before", code=50430, http_status=429, times=refused)

    def event_of(trigger: Any) -> Any:
        if not isinstance(trigger, JimengSlotTrigger):
            return run_trigger(trigger)
        render: dict[str, Any] = (
            {} if "ahead" in woken else {"task_id": "7", "ready_until": time.time() + seconds}
        )
        woken.append("ahead")
        event = RenderEvent(
            outcome=Outcome.SLOT_FREE, req_key=trigger.req_key, waiting_since=trigger.waiting_since, **render
        )
        return event.to_payload()

    woken: list[str] = []
    stage.run_trigger = event_of


def _killed_while_ready(lab: Lab, stage: FakeTask) -> None:
    _stands_ready(lab, stage, refused=1, seconds=60)
    stage.interruptions.at("log Ready to submit")


def _slot_taken_while_ready(lab: Lab, stage: FakeTask) -> None:
    """The API does not know the render any more, so its slot is free, but refuses three submits."""
    _stands_ready(lab, stage, refused=4, seconds=60)


def _ready_too_long(lab: Lab, stage: FakeTask) -> None:
    """No answer says that the render has ended."""
    _stands_ready(lab, stage, refused=1, seconds=0)
    lab.emulator.faults.add(where="query", what="error_before", code=50500, http_status=500, nth=1)


def _refused(lab: Lab, stage: FakeTask) -> None:
    lab.go_down()
    stage.interruptions.at("store delete", lab.come_up)


def _killed_in_download(lab: Lab, stage: FakeTask) -> None:
    lab.emulator.faults.add(where="media", what="cut", nth=1)
    stage.interruptions.at("log Download interrupted")


def _read_timeout(lab: Lab, stage: FakeTask) -> None:
    lab.connect(timeout_seconds=1)
    lab.emulator.faults.add(where="submit", what="hang_after", seconds=60.0, nth=1)
    stage.interruptions.at("xcom jimeng_intent", lab.connect)


def _store_refuses_id(lab: Lab, stage: FakeTask) -> None:
    stage.interruptions.at("store before submitted", _refuse, times=3)


def _storage_refuses_video(lab: Lab, stage: FakeTask) -> None:
    """The operating system refuses to let any file grow beyond 64 KiB; remote stores refuse a put instead."""
    if lab.remote is not None:
        stage.interruptions.at("resumed", lambda: setattr(lab.remote, "videos_to_refuse", 1))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The emulator writes the video to a file of this process before it sends it, so the limit comes after that.
    lab.emulator.after_media = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    stage.interruptions.at("xcom jimeng_render", lambda: stage.interruptions.at("xcom jimeng_render", lift))


def _storage_refuses_manifest(lab: Lab, stage: FakeTask) -> None:
    """A directory has the manifest's name; remote stores refuse a put instead."""
    _with_full_name(lab, stage)
    if lab.remote is not None:
        lab.remote.manifests_to_refuse = 1
        return
    blocked = lab.videos / "kite.mp4.json"
    blocked.mkdir()
    stage.interruptions.at(
        "xcom jimeng_render", lambda: stage.interruptions.at("xcom jimeng_render", blocked.rmdir)
    )


def _unreadable_once(lab: Lab, stage: FakeTask) -> None:
    def refuse_both() -> None:
        whole = {name: data for name, data in lab.files().items() if name.startswith(".jimeng/tasks/")}

        def answer_next_time() -> None:
            for name, data in whole.items():
                lab.put(name, data)
            _refuse()

        lab.damage_records()
        stage.interruptions.at("store get", answer_next_time)

    stage.interruptions.at("resumed", refuse_both)


def _unreadable_then(lab: Lab, stage: FakeTask) -> None:
    def die_unreadably() -> None:
        stage.interruptions.at("store get", _refuse)
        raise Killed

    stage.retries += 1
    stage.interruptions.at(lab.while_waiting, die_unreadably)


def _damage(lab: Lab, stage: FakeTask) -> None:
    stage.store.values.update(dict.fromkeys(stage.store.values, '{"state": "submitted"}'))
    lab.damage_records()


def _damaged_then(lab: Lab, stage: FakeTask) -> None:
    def die_damaged() -> None:
        _damage(lab, stage)
        raise Killed

    stage.interruptions.at(lab.while_waiting, die_damaged)


def _older_try_in_download(lab: Lab, stage: FakeTask) -> None:
    lab.emulator.faults.add(where="media", what="cut", nth=1)
    stage.interruptions.at("log Download interrupted", stage.next_try)


def _with_full_name(lab: Lab, stage: FakeTask) -> None:
    stage.make_operator = lambda: lab.generate(output_path=f"{lab.output_path}kite.mp4")


def _cleared_in_download(lab: Lab, stage: FakeTask) -> None:
    """While one try is held up in its download, somebody clears the task, which pays anew and lands first."""

    def clear() -> None:
        stage.clear()
        stage.next_try()

    _with_full_name(lab, stage)
    lab.emulator.faults.add(where="media", what="cut", nth=1)
    stage.interruptions.at("log Download interrupted", clear)


def _cleared_in_download_and_killed(lab: Lab, stage: FakeTask) -> None:
    """As before, but the newer try is killed while it waits, so that the older one finds the name free."""

    def clear() -> None:
        stage.clear()
        stage.interruptions.at(lab.while_waiting)
        stage.next_try()

    _with_full_name(lab, stage)
    lab.emulator.faults.add(where="media", what="cut", nth=1)
    stage.interruptions.at("log Download interrupted", clear)


def _six_land(lab: Lab, stage: FakeTask) -> None:
    """The task that paid is killed while it waits; then it goes on beside five that adopt its render."""
    stage.retries = 1
    stage.interruptions.at(lab.while_waiting)
    stage.run_one_try()
    lab.clock.ahead += 100
    others = [lab.task(run_id=f"manual__{number}") for number in range(2, 7)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        states = list(pool.map(lambda each: each.run(), [stage, *others]))
    assert states == ["success"] * 6
    assert lab.emulator.bill()["media_requests"] == 1


def _restored_from_backup(lab: Lab, stage: FakeTask) -> None:
    """The first render fails, the second is under way: then the metadata database is set back to the time between."""
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    stage.retries = 2
    backup: dict[str, str] = {}

    def restore_and_die() -> None:
        stage.store.values.clear()
        stage.store.values.update(backup)
        raise Killed

    def take_backup() -> None:
        backup.update(stage.store.values)
        stage.interruptions.at(lab.while_waiting, restore_and_die)

    stage.interruptions.at(
        "xcom estimated_cost_cny", lambda: stage.interruptions.at("xcom estimated_cost_cny", take_backup)
    )


def _answer_lost(lab: Lab, stage: FakeTask) -> None:
    """The store takes the intent in, the answer is lost, and so is the first attempt to take it back."""
    stage.interruptions.at("store after intent", _refuse)
    stage.interruptions.at("store delete", _refuse)


def _xcom_refuses(lab: Lab, stage: FakeTask) -> None:
    for key in ("estimated_cost_cny", "task_id", "jimeng_render"):
        stage.interruptions.at(f"xcom {key}", _refuse)


def _twin_between(lab: Lab, stage: FakeTask) -> None:
    other = lab.task(run_id="manual__2")
    stage.interruptions.at("xcom estimated_cost_cny", other.next_try)


def _older_try(point: str) -> Act:
    """While one try is held up, the scheduler takes it for dead and the next one runs to its end."""
    return lambda lab, stage: stage.interruptions.at(point, stage.next_try)


def _link_expired(lab: Lab, stage: FakeTask) -> None:
    lab.emulator.before_media = lambda: setattr(lab.clock, "ahead", lab.clock.ahead + 3700)


def _gone(lab: Lab, stage: FakeTask) -> None:
    def sleep_and_die() -> None:
        lab.pass_time(HALF_DAY)
        stage.interruptions.at("now")
        stage.interruptions.reach("now")

    stage.interruptions.at(lab.while_waiting, sleep_and_die)


def _with(lab: Lab, stage: FakeTask, **arguments: Any) -> None:
    stage.make_operator = lambda: lab.generate(**arguments)
    stage.interruptions.at(lab.while_waiting)


def _presigned(lab: Lab, stage: FakeTask) -> None:
    link = "https://images.example.com/kite.jpg?X-Amz-Signature={{ ti.try_number }}"
    _with(lab, stage, model="i2v_first_720p", first_frame=link)


def _template(lab: Lab, stage: FakeTask) -> None:
    _with(lab, stage, prompt="a red kite at {{ ti.try_number }} o'clock")


def _argument_gone(lab: Lab, stage: FakeTask) -> None:
    from PIL import Image

    picture = lab.folder / "kite.png"
    Image.new("RGB", (1280, 720), "red").save(picture)
    _with(lab, stage, model="i2v_first_720p", first_frame=str(picture))
    stage.interruptions.at(
        "xcom estimated_cost_cny", lambda: stage.interruptions.at("xcom task_id", picture.unlink)
    )


def _nothing(lab: Lab, stage: FakeTask) -> None:
    """Let the task succeed."""


ACTS: dict[str, Act] = {
    "killed-before-intent": _killed("xcom estimated_cost_cny"),
    "killed-before-post": _killed("before post"),
    "killed-while-ready": _killed_while_ready,
    "slot-taken-while-ready": _slot_taken_while_ready,
    "ready-too-long": _ready_too_long,
    "refused": _refused,
    "cut-before": _fault(where="submit", what="cut_before"),
    "cut-after": _fault(where="submit", what="cut_after"),
    "read-timeout": _read_timeout,
    "error-after": _fault(where="submit", what="error_after", code=50500),
    "killed-before-record": _killed("after post"),
    "killed-before-defer": _killed("xcom task_id"),
    "killed-while-deferred": lambda lab, stage: stage.interruptions.at(lab.while_waiting),
    "killed-before-landing": _killed("resumed"),
    "killed-in-download": _killed_in_download,
    "killed-before-return": _killed("log Saved"),
    "store-refuses-intent": lambda lab, stage: stage.interruptions.at("store before intent", _refuse),
    "store-refuses-id": _store_refuses_id,
    "store-answer-lost": _answer_lost,
    "database-restored": _restored_from_backup,
    "xcom-refuses": _xcom_refuses,
    "twin-between": _twin_between,
    "storage-refuses-video": _storage_refuses_video,
    "storage-refuses-manifest": _storage_refuses_manifest,
    "ledger-unreadable": _unreadable_once,
    "ledger-unreadable-then": _unreadable_then,
    "ledger-damaged": lambda lab, stage: stage.interruptions.at("resumed", lambda: _damage(lab, stage)),
    "ledger-damaged-then": _damaged_then,
    "older-try-before-intent": _older_try("xcom estimated_cost_cny"),
    "older-try-before-post": _older_try("before post"),
    "older-try-before-record": _older_try("after post"),
    "older-try-before-landing": _older_try("resumed"),
    "older-try-in-download": _older_try_in_download,
    "older-try-in-download-cleared": _cleared_in_download,
    "older-try-in-download-paid": _cleared_in_download_and_killed,
    "link-expired": _link_expired,
    "render-gone": _gone,
    "lapsed": _fault(where="render", what="expire"),
    "moderated-output": _fault(where="render", what="fail", code=50511),
    "moderated-input": _fault(where="render", what="fail", code=50413),
    "presigned-link": _presigned,
    "template-changes": _template,
    "argument-gone": _argument_gone,
    "run-deleted": lambda lab, stage: stage.interruptions.at(lab.while_waiting),
}


def _change_prompt(lab: Lab, stage: FakeTask) -> None:
    stage.make_operator = lambda: lab.generate(prompt="a blue kite")


def _file_gone_late(lab: Lab, stage: FakeTask) -> None:
    lab.lose_videos()
    lab.pass_time(HALF_DAY)


def _die_in_the_new_take(lab: Lab, stage: FakeTask) -> None:
    stage.retries = 1
    stage.interruptions.at(lab.while_waiting)


BETWEEN: dict[str, Act] = {
    "success-changed": _change_prompt,
    "success-render-killed": _die_in_the_new_take,
    "success-file-missing": lambda lab, stage: lab.lose_videos(),
    "success-file-altered": lambda lab, stage: lab.alter_videos(),
    "success-file-gone": _file_gone_late,
    "success-old": lambda lab, stage: lab.pass_time(HALF_DAY),
}
"""What happens after the first life of the task and before it is cleared."""


NEED_A_DEFERRAL = frozenset(
    {
        "killed-while-ready",
        "slot-taken-while-ready",
        "ready-too-long",
        "killed-before-landing",
        "storage-refuses-video",
        "ledger-unreadable",
        "ledger-damaged",
        "older-try-before-landing",
    }
)
"""Rows that strike when a task comes back from the triggerer."""


def play(row: Row, lab: Lab) -> FakeTask:
    """Perform a row: the first life, and the Clear if it has one."""
    lab.options.update(row.policy)
    stage = lab.task(retries=1 if row.then == rows.RETRY else 0)
    ACTS.get(row.slug, _nothing)(lab, stage)
    stage.clear_on_success = row.slug == "clear-on-success"
    if row.slug == "six-land-one-render":
        _six_land(lab, stage)
        return stage
    stage.run()
    if row.slug == "run-deleted":
        stage.forget_run()
        stage.run()
    if row.slug == "same-request-twice":
        lab.task(run_id="manual__2").run()
    if row.then == rows.CLEAR:
        BETWEEN.get(row.slug, _nothing)(lab, stage)
        stage.clear()
        stage.run()
    return stage
