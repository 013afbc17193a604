# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import (
    ApiError,
    InputRejectedError,
    LostContactError,
    NoLinkError,
    NotSentError,
    ParameterError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
    SettingsError,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.render import Render, RenderManifest, RenderStatus
from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.hooks.base import links_to
from airflow_provider_jimeng.hooks.jimeng import FinishedRender, JimengHook
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPT = "a red kite over the sea"
IMAGE = "https://img.example.com/first.jpg"


class World:
    """An emulator, the connection that leads to it, and hooks whose sleep moves its clock on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.ahead = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.emulator = JimengEmulator(render_seconds=100.0, clock=self.now)

    def now(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += seconds
        self.on_sleep()

    def connect(self, **changes: Any) -> None:
        connection = json.loads(self.emulator.connection_json())
        connection["extra"] |= changes.pop("extra", {})
        self._monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps({**connection, **changes}))

    def hook(self) -> JimengHook:
        return HookOf(self)


class HookOf(JimengHook):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def _now(self) -> float:
        return self._world.now()

    def _sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    with world.emulator.serve():
        world.connect()
        yield world


def test_constructing_a_hook_reads_nothing() -> None:
    hook = JimengHook(jimeng_conn_id="there_is_no_such_connection")
    assert hook.jimeng_conn_id == "there_is_no_such_connection"
    assert JimengHook().jimeng_conn_id == "jimeng_default"


def test_airflow_finds_the_hook_of_a_connection(world: World) -> None:
    from airflow_provider_jimeng.provider_info import get_provider_info

    info: Any = get_provider_info()
    (declared,) = info["connection-types"]
    assert declared["connection-type"] == JimengHook.conn_type
    assert declared["hook-class-name"] == f"{JimengHook.__module__}.{JimengHook.__name__}"
    assert declared["hook-name"] == JimengHook.hook_name
    assert JimengHook.conn_name_attr == "jimeng_conn_id"


def test_a_render_is_submitted_with_the_arguments_of_the_operators(world: World) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT, model="t2v_1080p", duration="10", aspect_ratio="9:16", seed=7)
    assert (render.model, render.req_key) == ("t2v_1080p", MODELS["t2v_1080p"].req_key)
    assert (render.duration, render.aspect_ratio, render.seed, render.prompt) == (10, "9:16", 7, PROMPT)
    assert str(render.estimated_cost_cny) == "6.30"
    assert render.jimeng_conn_id == "jimeng_default"
    assert abs(render.submitted_at.timestamp() - world.now()) < 5
    assert Render.from_payload(render.to_payload()) == render
    assert world.emulator.bill()["accepted"] == 1


def test_a_checked_request_is_submitted_as_it_is(world: World) -> None:
    request = RenderRequest.build(prompt=PROMPT, take=2)
    assert world.hook().submit(request).fingerprint == request.fingerprint
    with pytest.raises(ParameterError, match="prompt: give either"):
        world.hook().submit(request, prompt=PROMPT)


def test_a_bad_argument_is_refused_before_anything_is_sent(world: World) -> None:
    with pytest.raises(ParameterError, match=r"^duration: "):
        world.hook().submit(prompt=PROMPT, duration=7)
    assert world.emulator.bill()["submits"] == 0


def test_a_render_over_the_cap_is_refused_before_anything_is_sent(world: World) -> None:
    hook = world.hook()
    request = RenderRequest.build(prompt=PROMPT)
    for cap in (1, "1.39"):
        with pytest.raises(ParameterError, match=r"^max_cost_cny: the render costs about 1.40 CNY"):
            hook.submit_text_to_video(prompt=PROMPT, max_cost_cny=cap)
        with pytest.raises(ParameterError, match=r"^max_cost_cny: "):
            hook.submit(request, max_cost_cny=cap)
        with pytest.raises(ParameterError, match=r"^max_cost_cny: "):
            asyncio.run(hook.asubmit(request, max_cost_cny=cap))
    assert world.emulator.bill()["submits"] == 0
    assert hook.submit(prompt=PROMPT, max_cost_cny="1.40").duration == 5


def test_every_argument_of_the_operators_is_taken_or_sent_to_the_right_place(world: World) -> None:
    hook = world.hook()
    misled = []
    for name in (*JimengGenerateVideoOperator.template_fields, "deferrable"):
        arguments: dict[str, Any] = {"model": "ti2v_pro", name: object()}
        try:
            hook.submit(**arguments)
        except ParameterError as error:
            if "extra_body" in str(error) and name != "extra_body":
                misled.append(name)
    assert not misled
    assert world.emulator.bill()["submits"] == 0


def test_warnings_of_a_request_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        world.hook().submit(prompt=PROMPT, extra_body={"new_field": 1})
    assert "extra_body sends new_field unchecked" in caplog.text


def test_image_files_are_opened_and_sent(world: World, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (640, 480), "red").save(tmp_path / "first.png")
    render = world.hook().submit_image_to_video(first_frame=f"file://{tmp_path}/first.png", prompt=PROMPT)
    assert render.model == "i2v_first_720p"
    (accepted,) = world.emulator.service.renders
    assert accepted.request.images[0].data == (tmp_path / "first.png").read_bytes()


def test_the_friendly_forms_choose_a_model_that_fits(world: World) -> None:
    hook = world.hook()
    text = hook.submit_text_to_video(prompt=PROMPT, duration=5, aspect_ratio="1:1")
    assert (text.model, text.aspect_ratio) == ("t2v_720p", "1:1")
    assert hook.submit_image_to_video(image_url=IMAGE, prompt=PROMPT).model == "i2v_first_720p"
    both = hook.submit_image_to_video(first_frame=IMAGE, last_frame=IMAGE, prompt=PROMPT)
    assert both.model == "i2v_first_tail_720p"
    assert hook.submit_image_to_video(image_url=IMAGE, model="ti2v_pro").model == "ti2v_pro"
    with pytest.raises(ParameterError, match=r"^image_url: is another name of first_frame"):
        hook.submit_image_to_video(image_url=IMAGE, first_frame=f"{IMAGE}2", prompt=PROMPT)


def as_render(render: Render) -> Any:
    return render


def as_payload(render: Render) -> Any:
    return render.to_payload()


def as_id(render: Render) -> Any:
    return render.task_id


def as_number(render: Render) -> Any:
    return int(render.task_id)


def test_a_render_may_be_named_in_every_way(world: World, subtests: pytest.Subtests) -> None:
    cases: list[Callable[[Render], Any]] = [as_render, as_payload, as_id, as_number]
    for given in cases:
        with subtests.test(given=repr(given)):
            hook = world.hook()
            render = hook.submit(prompt=PROMPT)
            assert hook.query(given(render)).status is RenderStatus.IN_QUEUE
            done = hook.wait_for_completion(given(render))
            assert (done.task_id, done.req_key) == (render.task_id, render.req_key)
            assert hook.query(done).status is RenderStatus.DONE


def test_an_id_from_elsewhere_needs_its_model(world: World) -> None:
    task_id = world.hook().submit(prompt=PROMPT).task_id
    hook = world.hook()
    with pytest.raises(ParameterError, match=r"^model: is missing"):
        hook.query(task_id)
    with pytest.raises(ParameterError, match=r"^render_or_id: is empty"):
        hook.query(" ")
    for nothing in ({}, {"task_id": task_id}, [task_id], None, 7.5):
        with pytest.raises(
            ParameterError, match=r"^render_or_id: expected a render, its payload or its task_id"
        ):
            hook.query(nothing)  # type: ignore[arg-type]
    assert hook.query(task_id, model="t2v_720p").status is RenderStatus.IN_QUEUE
    assert hook.query(task_id, MODELS["t2v_720p"].req_key).status is RenderStatus.IN_QUEUE


def test_waiting_ends_with_a_link_that_its_repr_hides(world: World) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    done = hook.wait_for_completion(render)
    assert isinstance(done, FinishedRender)
    assert done.video_url.startswith(str(world.emulator.url))
    assert done.video_url not in repr(done)
    assert done.render == render
    assert world.slept


def test_a_script_waits_in_real_time(world: World) -> None:
    world.emulator.render_seconds = 0.2
    hook = JimengHook()
    assert hook.wait_for_completion(hook.submit(prompt=PROMPT), poll_interval=0.1).video_url


def test_a_fixed_interval_is_kept_within_its_jitter(world: World) -> None:
    hook = world.hook()
    hook.wait_for_completion(hook.submit(prompt=PROMPT), poll_interval=20)
    assert all(16 <= seconds <= 24 for seconds in world.slept)


@pytest.mark.parametrize(
    "wait",
    [
        lambda hook, render: hook.wait_for_completion(render, wait_timeout=30),
        lambda hook, render: hook.wait_for_completion(render, timeout=30),
    ],
    ids=["wait_timeout", "timeout"],
)
def test_waiting_ends_at_its_timeout_and_the_render_goes_on(world: World, wait: Callable[..., Any]) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    with pytest.raises(RenderTimedOutError, match="nothing is paid twice"):
        wait(hook, render)
    assert hook.wait_for_completion(render).video_url


def test_a_render_that_stays_without_a_link_ends_the_wait_and_a_later_wait_asks_again(world: World) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.emulator.faults.add(where="query", what="done_without_url", per="task")
    began = world.now()
    with pytest.raises(NoLinkError, match=r"might have been billed.*data\.video_url") as raised:
        hook.wait_for_completion(render)
    assert raised.value.event is not None
    assert raised.value.event.outcome is Outcome.NO_LINK
    assert 900 < world.now() - began < 1100
    world.emulator.faults.clear()
    assert hook.wait_for_completion(render).video_url


def test_a_connection_that_cannot_be_read_for_minutes_does_not_end_the_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.emulator.faults.add(where="query", what="error_before", code=100010, nth=1)

    def outage() -> None:
        if world.ahead < 600:
            monkeypatch.delenv("AIRFLOW_CONN_JIMENG_DEFAULT", raising=False)
        else:
            world.connect()

    world.on_sleep = outage
    assert hook.wait_for_completion(render).video_url
    assert world.ahead >= 600


def test_a_failed_render_says_why_and_what_may_help(world: World) -> None:
    world.emulator.faults.add(where="render", what="fail", code=50511)
    hook = world.hook()
    with pytest.raises(RenderFailedError, match="Moderation refused the finished picture") as failed:
        hook.wait_for_completion(hook.submit(prompt=PROMPT))
    assert failed.value.retryable
    assert failed.value.event is not None
    assert failed.value.event.code == "50511"
    assert isinstance(failed.value.__cause__, ApiError)


def test_an_expired_render_may_have_been_billed(world: World) -> None:
    world.emulator.faults.add(where="render", what="expire")
    hook = world.hook()
    with pytest.raises(RenderExpiredError, match="might have been billed"):
        hook.wait_for_completion(hook.submit(prompt=PROMPT))


def test_an_unknown_id_is_not_found_after_it_was_asked_for_repeatedly(world: World) -> None:
    with pytest.raises(RenderNotFoundError, match="id or model is wrong"):
        world.hook().wait_for_completion("7392616336519610409", model="t2v_720p")
    assert world.emulator.bill()["queries"] >= 3


def test_refused_credentials_end_the_wait_after_they_were_read_again(world: World) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.connect(password="SKWRONG")
    hook.renew()
    with pytest.raises(LostContactError, match="credentials"):
        hook.wait_for_completion(render)
    assert world.emulator.bill()["queries"] == 3


def test_credentials_that_were_repaired_meanwhile_go_on(world: World) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.connect(password="SKWRONG")
    hook.renew()

    class Repairing(HookOf):
        def _sleep(self, seconds: float) -> None:
            world.connect()
            super()._sleep(seconds)

    patient = Repairing(world)
    assert patient.wait_for_completion(render).video_url


def test_trouble_on_the_way_is_waited_out(world: World) -> None:
    world.emulator.faults.add(where="query", what="error_before", code=50429, nth=1)
    world.emulator.faults.add(where="query", what="cut_after", nth=2)
    world.emulator.faults.add(where="query", what="garbage", nth=3)
    hook = world.hook()
    assert hook.wait_for_completion(hook.submit(prompt=PROMPT)).video_url


def test_the_label_of_the_connection_goes_with_every_link(world: World) -> None:
    world.connect(extra={"aigc_meta": {"producer_id": "dag-1", "content_propagator": "us"}})
    hook = world.hook()
    assert hook.wait_for_completion(hook.submit(prompt=PROMPT)).aigc_meta_tagged is True


def test_a_finished_render_is_landed_and_landing_it_again_is_free(world: World, tmp_path: Path) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    hook.wait_for_completion(render)
    manifest = hook.download(render, f"file://{tmp_path}/")
    landed = tmp_path / f"t2v_720p-{render.task_id}.mp4"
    assert landed.stat().st_size == manifest.bytes
    queries = world.emulator.bill()["queries"]
    assert hook.download(render, f"file://{tmp_path}/") == manifest
    assert world.emulator.bill()["queries"] == queries


def test_a_queued_render_is_cancelled_and_a_running_one_refused(world: World) -> None:
    hook = world.hook()
    first, second = (hook.submit(prompt=PROMPT, take=take) for take in (1, 2))
    assert hook.cancel(first).request_id
    world.ahead += 50
    with pytest.raises(InputRejectedError):
        hook.cancel(second.task_id)


def test_models_are_listed_with_what_the_connection_changed(world: World) -> None:
    world.connect(extra={"prices": {"t2v_720p": 0.5}, "models": {"jimeng_new": {"like": "t2v_720p"}}})
    listed = {model["name"]: model for model in world.hook().list_models()}
    assert set(listed) == {*MODELS, "jimeng_new"}
    assert listed["t2v_720p"]["price_cny_per_second"] == "0.50"
    assert listed["jimeng_new"]["req_key"] == "jimeng_new"
    for name, spec in MODELS.items():
        assert listed[name]["req_key"] == spec.req_key
        assert listed[name]["durations"] == list(spec.durations)
    json.dumps(list(listed.values()))


def test_models_can_be_looked_at_without_a_connection() -> None:
    assert [model["name"] for model in JimengHook("there_is_no_such_connection").list_models()] == [*MODELS]


def test_a_bad_argument_of_a_later_step_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    folder = f"{tmp_path.as_uri()}/"
    cases: list[tuple[Callable[..., Any], str]] = [
        (lambda hook, meta: hook.query("7", "t2v_720p", aigc_meta=meta), "aigc_meta"),
        (lambda hook, meta: asyncio.run(hook.aquery("7", "t2v_720p", aigc_meta=meta)), "aigc_meta"),
        (lambda hook, meta: hook.download("7", folder, "t2v_720p", aigc_meta=meta), "aigc_meta"),
        (
            lambda hook, _: hook.download("7", folder, "t2v_720p", require_tagged=True),
            "require_tagged",
        ),
        (lambda hook, _: hook.wait_for_completion("7", "t2v_720p", timeout="soon"), "timeout"),
        (lambda hook, _: hook.wait_for_completion("7", "t2v_720p", wait_timeout=-1), "wait_timeout"),
        (lambda hook, _: hook.wait_for_completion("7", "t2v_720p", poll_interval="nan"), "poll_interval"),
        (lambda hook, _: hook.wait_for_completion("7", "jimeng_t2v_v30_pro"), "model"),
    ]
    for ask, argument in cases:
        with subtests.test(ask=repr(ask), argument=repr(argument)):
            with pytest.raises(ParameterError) as refused:
                ask(world.hook(), {"producer_id": "dag-1"})
            assert refused.value.argument == argument
            assert world.emulator.bill()["queries"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"what": "error_before", "code": 50429},
        {"what": "error_before", "code": 50500},
        {"what": "cut_after"},
        {"what": "garbage"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_landing_waits_out_trouble_with_its_link(world: World, tmp_path: Path, fault: dict[str, Any]) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.ahead += 101
    for nth in (1, 2):
        world.emulator.faults.add(where="query", nth=nth, **fault)
    assert hook.download(render, f"file://{tmp_path}/").bytes
    assert len(world.slept) == 2


def test_landing_gives_up_a_link_that_never_comes(world: World, tmp_path: Path) -> None:
    world.emulator.faults.add(where="query", what="error_before", code=50429)
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    with pytest.raises(
        NoLinkError, match=f"No link to the render {render.task_id} could be had: .*50429"
    ) as raised:
        hook.download(render, f"file://{tmp_path}/")
    assert raised.value.retryable
    assert len(world.slept) == 5


@pytest.mark.parametrize("code", [50400, 100010])
def test_one_refusal_does_not_end_a_landing(world: World, tmp_path: Path, code: int) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.ahead += 1000
    world.emulator.faults.add(where="query", what="error_before", code=code, nth=1)
    assert hook.download(render, f"file://{tmp_path}/").task_id == render.task_id
    assert world.slept == [30.0]


def test_a_key_that_was_replaced_meanwhile_is_taken_up_by_a_landing(world: World, tmp_path: Path) -> None:
    render = world.hook().submit(prompt=PROMPT)
    world.ahead += 1000
    world.connect(password="SKSTALE")
    world.on_sleep = world.connect
    assert world.hook().download(render, f"file://{tmp_path}/").task_id == render.task_id


def test_access_that_stays_refused_ends_a_landing_after_a_minute_and_what_it_leaves_is_said(
    world: World, tmp_path: Path
) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.emulator.faults.add(where="query", what="error_before", code=50400)
    with pytest.raises(LostContactError, match=f"No link to the render {render.task_id} can be had: .*50400"):
        hook.download(render, f"file://{tmp_path}/")
    assert world.slept == [30.0, 30.0]


def test_a_code_of_the_render_itself_ends_a_landing_at_once(world: World, tmp_path: Path) -> None:
    hook = world.hook()
    render = hook.submit(prompt=PROMPT)
    world.emulator.faults.add(where="query", what="error_before", code=50200)
    with pytest.raises(InputRejectedError):
        hook.download(render, f"file://{tmp_path}/")
    assert not world.slept


def test_a_connection_that_cannot_be_read_is_worth_another_landing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = world.hook().submit(prompt=PROMPT)
    monkeypatch.delenv("AIRFLOW_CONN_JIMENG_DEFAULT")
    with pytest.raises(NotSentError, match="'jimeng_default' cannot be read") as raised:
        links_to(world.hook(), render)
    assert raised.value.retryable


def test_a_render_that_still_runs_is_not_landed_and_not_waited_for(world: World, tmp_path: Path) -> None:
    hook = world.hook()
    with pytest.raises(NoLinkError, match=r"no link yet \(status 'in_queue'\)"):
        hook.download(hook.submit(prompt=PROMPT), f"file://{tmp_path}/")
    assert not world.slept


def test_a_connection_may_be_a_uri(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = world.emulator.connection_uri(timeout_seconds=7, prices={"t2v_720p": 0.5})
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", uri)
    hook = world.hook()
    assert hook.settings.timeout_seconds == 7.0
    assert str(hook.submit(prompt=PROMPT).estimated_cost_cny) == "2.5"


def test_plain_parameters_of_a_uri_are_read_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_JIMENG_DEFAULT",
        "jimeng://AK:SK%2F%3D%3D@gw.example.com:8443/https?timeout_seconds=7&verify=false&media_hosts=a.example,b.example",
    )
    settings = JimengHook().settings
    assert settings.endpoint == "https://gw.example.com:8443/"
    assert (settings.access_key, settings.secret_key) == ("AK", "SK/==")
    assert (settings.timeout_seconds, settings.verify) == (7.0, False)
    assert settings.media_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("jimeng://AK:SK@", "https://visual.volcengineapi.com/"),
        ("jimeng://AK:SK@gw.example.com", "https://gw.example.com/"),
        ("jimeng://AK:SK@https%3A%2F%2Fgw.example.com%2Fbase", "https://gw.example.com/base"),
        ("jimeng://:token@https%3A%2F%2Fgw.example.com?auth=bearer", "https://gw.example.com/jimeng/"),
        ("jimeng://https://AK:SK@gw.example.com:8443/base", "https://gw.example.com:8443/base"),
    ],
)
def test_the_host_of_a_uri_may_be_a_url(monkeypatch: pytest.MonkeyPatch, uri: str, endpoint: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", uri)
    assert JimengHook().settings.endpoint == endpoint


def test_an_unusable_connection_is_named(world: World) -> None:
    world.connect(login="")
    with pytest.raises(SettingsError, match="'jimeng_default': login"):
        world.hook().submit(prompt=PROMPT)


def test_from_an_event_loop_the_same_is_asked(world: World) -> None:
    async def story() -> None:
        hook = world.hook()
        render = await hook.asubmit(prompt=PROMPT)
        assert render.model == "t2v_720p"
        world.ahead += 101
        reply = await hook.aquery(render.task_id)
        assert reply.status is RenderStatus.DONE
        assert hook.jimeng_conn_id == render.jimeng_conn_id

    asyncio.run(story())


def test_all_secrets_of_a_connection_are_masked(world: World) -> None:
    from airflow.providers.common.compat.sdk import redact

    world.connect(
        password="Quux-to-be-masked",
        extra={
            "session_token": "Corge-to-be-masked",
            "proxy": "http://u:Grault-to-be-masked@p.example.com:1",
        },
    )
    assert world.hook().settings.secrets == ("Quux-to-be-masked", "Corge-to-be-masked", "Grault-to-be-masked")
    shown = str(redact("text with Quux-to-be-masked, Corge-to-be-masked and Grault-to-be-masked"))
    assert "to-be-masked" not in shown


def test_the_asynchronous_half_submits_waits_and_downloads_over_one_client(
    world: World, tmp_path: Path
) -> None:
    world.ahead = 3600

    async def story() -> RenderManifest:
        async with world.hook() as hook:
            render = await hook.asubmit(prompt=PROMPT)
            world.ahead += 200
            finished = await hook.await_for_completion(render, poll_interval=0.05)
            return await hook.adownload(finished, f"{tmp_path}/")

    manifest = asyncio.run(story())
    assert (tmp_path / f"t2v_720p-{manifest.task_id}.mp4").stat().st_size == manifest.bytes
    assert world.emulator.bill()["billed"] == 1


def test_an_asynchronous_wait_ends_as_its_twin_does(world: World) -> None:
    world.emulator.faults.add(where="render", what="fail", code=50511)

    async def story() -> None:
        hook = world.hook()
        render = await hook.asubmit(prompt=PROMPT)
        world.ahead += 200
        await hook.await_for_completion(render, poll_interval=0.05)

    with pytest.raises(RenderFailedError):
        asyncio.run(story())


def test_an_asynchronous_cancel_is_refused_for_a_render_that_runs(world: World) -> None:
    async def story() -> None:
        async with world.hook() as hook:
            render = await hook.asubmit(prompt=PROMPT)
            world.ahead += 200
            await hook.acancel(render)

    with pytest.raises(ApiError):
        asyncio.run(story())


def test_the_calls_in_a_with_block_share_one_look_up_and_one_client(world: World) -> None:
    looked_up: list[str] = []

    class Counting(HookOf):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            looked_up.append(conn_id)
            return super().get_connection(conn_id)

    with Counting(world) as hook:
        render = hook.submit(prompt=PROMPT)
        with hook._open_client() as first:
            assert hook.query(render).status is not RenderStatus.DONE
            with hook._open_client() as second:
                assert first is second
    assert looked_up == ["jimeng_default"]
