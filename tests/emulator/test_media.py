# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import json
import threading
from fractions import Fraction
from typing import Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.emulator.messages import Response
from airflow_provider_jimeng.emulator.picture import Clip
from airflow_provider_jimeng.emulator.videos import VideoCache, aigc_label, choose_encoder, clip_of, encode
from tests.emulator.support import NOON, Account, make_account

SMALL = Clip(width=160, height=96, duration=5, aspect_ratio="16:9", prompt="a kite", lines=("t2v",), tint=1)


def image(width: int, height: int, colour: tuple[int, int, int]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(data: bytes) -> tuple[Any, list[Any]]:
    import av

    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        facts = {
            "codec": stream.codec_context.name,
            "pix_fmt": stream.codec_context.pix_fmt,
            "size": (stream.codec_context.width, stream.codec_context.height),
            "fps": stream.average_rate,
            "frames": stream.frames,
            "metadata": dict(container.metadata),
        }
        return facts, list(container.decode(video=0))


def rendered(account: Account, **body: Any) -> bytes:
    task_id = account.submit(**body)
    account.clock.advance(10)
    link = account.link(task_id, body.get("req_key", "jimeng_t2v_v30"))
    outcome = account.fetch(link)
    assert isinstance(outcome, Response)
    assert outcome.status == 200
    return outcome.body


@pytest.mark.parametrize(
    ("body", "size", "frames"),
    [
        ({}, (1248, 704), 121),
        ({"frames": 241, "aspect_ratio": "9:16"}, (704, 1248), 241),
        ({"req_key": "jimeng_t2v_v30_1080p", "aspect_ratio": "21:9"}, (2176, 928), 121),
        ({"req_key": "jimeng_vgfm_t2v_l20", "aspect_ratio": "1:1"}, (960, 960), 121),
        ({"req_key": "jimeng_i2v_first_v30", "binary_data_base64": [image(640, 480, (255, 0, 0))]}, (1120, 832), 121),
        ({"req_key": "jimeng_ti2v_v30_pro", "prompt": ""}, (1440, 1440), 121),
        ({"req_key": "jimeng_i2v_first_v30", "image_urls": ["https://example.com/a.png"]}, (1248, 704), 121),
    ],
    ids=["720p", "720p-10s", "1080p", "s2", "first-frame", "pro-image", "link"],
)  # fmt: skip
def test_a_video_has_the_size_and_length_of_its_request(
    body: dict[str, Any], size: tuple[int, int], frames: int
) -> None:
    if body.get("prompt") == "":
        body = {**body, "binary_data_base64": [image(500, 510, (0, 0, 255))]}
    facts, decoded_frames = decoded(rendered(make_account(), **body))
    assert facts == {
        "codec": "h264",
        "pix_fmt": "yuv420p",
        "size": size,
        "fps": Fraction(24),
        "frames": frames,
        "metadata": facts["metadata"],
    }
    assert len(decoded_frames) == frames
    assert "AIGC" not in facts["metadata"]


def test_the_picture_moves_and_shows_the_prompt() -> None:
    _, frames = decoded(encode(SMALL))
    strip = (0, SMALL.height - SMALL.strip_height, SMALL.width, SMALL.height)
    assert len({frame.to_image().crop(strip).tobytes() for frame in frames[:24]}) == 24
    _, others = decoded(encode(Clip(**{**clip_fields(SMALL), "prompt": ""})))
    assert bytes(frames[0].planes[0]) != bytes(others[0].planes[0])


def clip_fields(clip: Clip) -> dict[str, Any]:
    return {name: getattr(clip, name) for name in clip.__dataclass_fields__}


def test_the_picture_shows_the_input_image() -> None:
    body = {"req_key": "jimeng_i2v_first_v30", "binary_data_base64": [image(640, 360, (250, 20, 20))]}
    _, frames = decoded(rendered(make_account(), **body))
    red, green, _ = frames[0].to_image().getpixel((600, 40))
    assert red > 200
    assert green < 60


def test_the_picture_shows_the_tail_frame_too() -> None:
    frames = [image(640, 640, (250, 20, 20)), image(640, 640, (20, 250, 20))]
    body = {"req_key": "jimeng_i2v_first_tail_v30", "binary_data_base64": frames}
    picture = decoded(rendered(make_account(), **body))[1][0].to_image()
    assert picture.getpixel((860, 100))[1] > 200
    assert picture.getpixel((100, 100))[0] > 200


def test_the_picture_names_the_camera_movement() -> None:
    account = make_account()
    task_id = account.submit(
        req_key="jimeng_i2v_recamera_v30",
        image_urls=["https://example.com/a.png"],
        template_id="handheld",
        camera_strength="weak",
    )
    task = account.emulator.service.renders.get(task_id)
    assert task is not None
    assert {"camera handheld weak", "image https://example.com/a.png"} <= set(clip_of(task).lines)


def test_the_label_does_not_change_the_frames() -> None:
    account = make_account()
    task_id = account.submit(seed=5)
    account.clock.advance(10)
    meta = {
        "content_producer": "我们",
        "producer_id": "dag/run",
        "content_propagator": "us",
        "propagate_id": "7",
    }
    labelled = account.fetch(account.link(task_id, req_json=json.dumps({"aigc_meta": meta})))
    plain = account.fetch(account.link(task_id))
    assert isinstance(labelled, Response)
    assert isinstance(plain, Response)
    facts, frames = decoded(labelled.body)
    assert json.loads(facts["metadata"]["AIGC"]) == {
        "Label": "1",
        "ContentProducer": "我们",
        "ProduceID": "dag/run",
        "ReservedCode1": "",
        "ContentPropagator": "us",
        "PropagateID": "7",
        "ReservedCode2": "",
    }
    plain_facts, plain_frames = decoded(plain.body)
    assert "AIGC" not in plain_facts["metadata"]
    assert [bytes(frame.planes[0]) for frame in frames] == [bytes(frame.planes[0]) for frame in plain_frames]
    assert facts["fps"] == Fraction(24)


def boxes(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    boxes_by_kind, at = {}, start
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        boxes_by_kind[data[at + 4 : at + 8]] = (at + 8, at + size)
        at += size
    return boxes_by_kind


def test_the_label_is_where_the_standard_requires() -> None:
    data = VideoCache().file(SMALL, {"producer_id": "p", "content_propagator": "c"})
    top = boxes(data, 0, len(data))
    assert list(top).index(b"moov") < list(top).index(b"mdat")
    udta = boxes(data, *boxes(data, *top[b"moov"])[b"udta"])
    meta = boxes(data, udta[b"meta"][0] + 4, udta[b"meta"][1])
    assert b"mdtaAIGC" in data[slice(*meta[b"keys"])]
    assert aigc_label({"producer_id": "p", "content_propagator": "c"}).encode() in data[slice(*meta[b"ilst"])]


def test_the_same_seed_gives_the_same_file_and_a_random_one_another() -> None:
    account = make_account()
    assert rendered(account, seed=7) == rendered(account, seed=7)
    assert rendered(account) != rendered(account)
    assert rendered(account, seed=7) == rendered(make_account(), seed=7)


def test_a_file_is_encoded_once_for_many_downloads() -> None:
    store = VideoCache()
    files: list[bytes] = []
    threads = [threading.Thread(target=lambda: files.append(store.file(SMALL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.encoded == 1
    assert len(files) == 8
    assert len(set(files)) == 1


def test_a_full_cache_removes_old_files() -> None:
    store = VideoCache(max_bytes=1)
    other = Clip(**{**clip_fields(SMALL), "prompt": "another"})
    for clip in (SMALL, other, other, SMALL):
        store.file(clip)
    assert store.encoded == 3


def test_another_encoder_is_used_and_no_encoder_is_an_error() -> None:
    assert choose_encoder() == "libx264"
    assert choose_encoder({"no_such_encoder": {}, "mpeg4": {}}) == "mpeg4"
    with pytest.raises(RuntimeError, match="none of the encoders no_such_encoder"):
        choose_encoder({"no_such_encoder": {}})
    facts, frames = decoded(encode(SMALL, {"mpeg4": {}}))
    assert (facts["codec"], len(frames)) == ("mpeg4", 121)


def test_one_second_is_encoded_and_its_packets_repeated() -> None:
    import av

    with av.open(io.BytesIO(encode(SMALL)), "r") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert len(packets) == 121
    assert packets[24:] == packets[:97]
    assert len(set(packets[:24])) == 24


def test_sizes_are_even_and_known_for_any_ratio() -> None:
    from dataclasses import replace

    for sizes, expected in (({"16:9": (101, 51)}, (100, 50)), ({}, (1248, 704))):
        account = make_account(catalogue={"x": replace(MODELS["t2v_720p"], sizes=sizes)})
        task = account.emulator.service.renders.get(account.submit(aspect_ratio="1:1"))
        assert task is not None
        clip = clip_of(task)
        assert (clip.width, clip.height) == expected


@pytest.fixture(scope="module")
def served() -> tuple[Account, str, bytes]:
    account = make_account()
    task_id = account.submit(seed=1)
    account.clock.advance(10)
    link = account.link(task_id)
    outcome = account.fetch(link)
    assert isinstance(outcome, Response)
    return account, link, outcome.body


def fetch(
    served: tuple[Account, str, bytes], method: str = "GET", **headers: str
) -> tuple[Response, dict[str, str]]:
    outcome = served[0].fetch(served[1], method, **headers)
    assert isinstance(outcome, Response)
    return outcome, dict(outcome.headers)


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=10-99999999", 10, None),
    ],
)
def test_a_range_of_the_file_is_served(
    served: tuple[Account, str, bytes], value: str, start: int, end: int | None
) -> None:
    response, headers = fetch(served, Range=value)
    part = served[2][start:end]
    first = start % len(served[2])
    assert (response.status, response.body) == (206, part)
    assert headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(served[2])}"
    assert headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize("value", ["bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_file_is_refused(served: tuple[Account, str, bytes], value: str) -> None:
    response, headers = fetch(served, Range=value)
    assert (response.status, response.body, headers["Content-Range"]) == (
        416,
        b"",
        f"bytes */{len(served[2])}",
    )


@pytest.mark.parametrize(
    "value",
    ["bytes=9-0", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=" + "9" * 5000 + "-", ""],
    ids=lambda value: value[:12],
)
def test_all_but_a_single_range_gets_the_whole_file(served: tuple[Account, str, bytes], value: str) -> None:
    response, headers = fetch(served, Range=value)
    assert (response.status, len(response.body), headers["Accept-Ranges"]) == (200, len(served[2]), "bytes")


def test_a_range_is_only_served_for_the_same_file(served: tuple[Account, str, bytes]) -> None:
    _, headers = fetch(served)
    assert fetch(served, Range="bytes=0-1", If_Range=headers["ETag"])[0].status == 206
    assert fetch(served, Range="bytes=0-1", If_Range='"other"')[0].status == 200


def test_only_get_and_head_return_a_file(served: tuple[Account, str, bytes]) -> None:
    before = served[0].emulator.bill()["media_bytes"]
    assert fetch(served, "HEAD")[0].content_length == len(served[2])
    assert fetch(served, "POST")[0].status == 405
    assert served[0].emulator.bill()["media_bytes"] == before


def test_a_link_expires_and_a_new_query_gives_a_valid_one() -> None:
    account = make_account(url_lifetime=60)
    task_id = account.submit(seed=1)
    account.clock.advance(10)
    old = account.link(task_id)
    account.clock.advance(59)
    assert isinstance(first := account.fetch(old), Response)
    account.clock.advance(1)
    assert isinstance(second := account.fetch(old), Response)
    assert isinstance(third := account.fetch(account.link(task_id)), Response)
    assert (first.status, second.status, third.status) == (200, 403, 200)


@pytest.mark.parametrize("second_of_minting", [0.0, 0.25, 0.999])
def test_a_link_expires_to_the_millisecond(second_of_minting: float) -> None:
    account = make_account(url_lifetime=0.5, render_seconds=0)
    account.clock.advance(second_of_minting)
    link = account.link(account.submit(seed=1))
    statuses = []
    for _ in range(3):
        response = account.fetch(link)
        assert isinstance(response, Response)
        statuses.append(response.status)
        account.clock.advance(0.2505)
    assert statuses == [200, 200, 403]


def test_a_link_has_the_form_of_the_published_ones() -> None:
    account = make_account()
    task_id = account.submit()
    account.clock.advance(10)
    link = account.link(task_id)
    assert link.startswith("http://emulator.test/media/")
    expiry = int(link.split("/")[4], 16)
    assert expiry == NOON + 10 + 3600
    assert f"dy_q={int(NOON + 10)}&" in link


@pytest.mark.parametrize("change", ["sign", "path", "expiry", "short"])
def test_a_changed_link_is_refused_with_403(change: str) -> None:
    account = make_account()
    first, second = account.submit(), account.submit()
    account.clock.advance(10)
    link = account.link(first)
    tampered = {
        "sign": link[:-1] + ("0" if link[-1] != "0" else "1"),
        "path": link.replace(first, second),
        "expiry": link.replace("/media/", "/media/f"),
        "short": "http://emulator.test/media/1?sign=é",
    }[change]
    outcome = account.fetch(tampered)
    assert isinstance(outcome, Response)
    assert outcome.status == 403
    assert account.emulator.bill()["media_requests"] == 1


def test_a_reset_makes_all_links_invalid() -> None:
    account = make_account(render_seconds=0)
    link = account.link(account.submit())
    account.emulator.reset()
    outcome = account.fetch(link)
    assert isinstance(outcome, Response)
    assert outcome.status == 403
