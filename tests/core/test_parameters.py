# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    MAX_SEED,
    MODELS,
    REFUSED_ARGUMENTS,
    ModelSpec,
    merged_catalogue,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import Frame
from airflow_provider_jimeng.core.parameters import (
    ARGUMENTS_ELSEWHERE,
    RenderRequest,
    check_aigc_meta,
    check_cost,
    refuse_arguments,
)

LINK, OTHER_LINK = "https://a.example/first.jpg", "https://a.example/last.jpg"
SPECS = list(MODELS.values())
WITH_RATIO = [spec for spec in SPECS if spec.aspect_ratios]
WITHOUT_RATIO = [spec for spec in SPECS if not spec.aspect_ratios]


def name_of(spec: ModelSpec) -> str:
    return spec.name


def arguments_for(spec: ModelSpec) -> dict[str, Any]:
    """The least that a model asks for."""
    arguments: dict[str, Any] = {"model": spec.name, "prompt": "a cat"}
    if spec.min_images >= 1:
        arguments["first_frame"] = LINK
    if spec.min_images >= 2:
        arguments["last_frame"] = OTHER_LINK
    if spec.camera:
        arguments |= {"camera_template": "crane_push", "camera_strength": "medium"}
    return arguments


def build(spec: ModelSpec | str = "t2v_720p", /, **more: Any) -> RenderRequest:
    spec = MODELS[spec] if isinstance(spec, str) else spec
    return RenderRequest.build(**(arguments_for(spec) | more))


def opened(width: int = 1280, height: int = 720, data: bytes = b"picture") -> Frame:
    return Frame(reference="/data/cat.jpg", data=data, format="JPEG", width=width, height=height)


def test_the_least_request_of_every_model_sends_what_the_model_takes_and_no_more(
    subtests: pytest.Subtests,
) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            body = build(spec).body()

            expected: dict[str, Any] = {"req_key": spec.req_key, "prompt": "a cat", "seed": -1}
            if spec.takes_frames:
                expected["frames"] = 121
            if spec.aspect_ratios:
                expected["aspect_ratio"] = "16:9"
            if spec.min_images:
                expected["image_urls"] = [LINK, OTHER_LINK][: spec.min_images]
            if spec.camera:
                expected |= {"template_id": "crane_push", "camera_strength": "medium"}
            assert body == expected


def test_the_default_is_five_seconds_of_720p_text_to_video() -> None:
    request = RenderRequest.build(prompt="a cat")

    assert (request.spec.name, request.duration, request.seed, request.take) == ("t2v_720p", 5, -1, 1)
    assert request.warnings == ()


def test_every_documented_duration_is_taken_as_number_or_rendered_text(subtests: pytest.Subtests) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            for seconds in spec.durations:
                for value in (seconds, str(seconds), f"{seconds}.0"):
                    request = build(spec, duration=value)
                    assert request.duration == seconds
                    assert request.body().get("frames") == (24 * seconds + 1 if spec.takes_frames else None)


def test_a_duration_that_circulates_and_does_not_exist_is_refused(subtests: pytest.Subtests) -> None:
    durations: list[Any] = [1, 4, 6, 8, 12, "4", "8"]
    for spec in SPECS:
        for duration in durations:
            with subtests.test(spec=name_of(spec), duration=duration):
                takes = " or ".join(map(str, spec.durations))

                with pytest.raises(
                    ParameterError,
                    match=f"duration: {duration} is refused: {spec.name} renders {takes} seconds",
                ):
                    build(spec, duration=duration)


@pytest.mark.parametrize("name", ["t2v_s2_pro", "i2v_s2_pro"])
def test_s2_renders_no_ten_seconds(name: str) -> None:
    with pytest.raises(ParameterError, match="renders 5 seconds"):
        build(name, duration=10)


def test_what_is_no_duration_is_refused_with_the_durations(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["long", 0, -5, 5.5, True]
    for duration in cases:
        with (
            subtests.test(duration=repr(duration)),
            pytest.raises(ParameterError, match=r"duration: expected a whole number.*takes 5 or 10 seconds"),
        ):
            build(duration=duration)


def test_every_listed_ratio_is_taken(subtests: pytest.Subtests) -> None:
    for spec in WITH_RATIO:
        with subtests.test(spec=name_of(spec)):
            for ratio in spec.aspect_ratios:
                assert build(spec, aspect_ratio=ratio).body()["aspect_ratio"] == ratio


def test_a_prompt_that_nobody_can_see_is_refused_also_where_none_is_needed(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["\u200b", "\ufeff\u2060 \u200d", "\u3164", "\u2800\u2800"]
    for prompt in cases:
        with subtests.test(prompt=repr(prompt)):
            with pytest.raises(ParameterError, match="prompt: contains only invisible characters"):
                build(prompt=prompt)
            with pytest.raises(ParameterError, match="prompt: contains only invisible characters"):
                RenderRequest.build(model="ti2v_pro", prompt=prompt, first_frame="https://a.example/1.png")


def test_a_control_character_anywhere_in_the_extra_body_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ({"a": "x\0"}, r"extra_body\.a: has the control character U\+0000 at position 1"),
        ({"a": {"b": [1, "x\0"]}}, r"extra_body\.a\.b\[1\]: "),
        ({"a\0": 1}, "extra_body: has the control character"),
    ]
    for extra_body, place in cases:
        with subtests.test(extra_body=repr(extra_body), place=repr(place)):
            with pytest.raises(ParameterError, match=place):
                build(extra_body=extra_body)


def test_a_control_character_in_the_label_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"aigc_meta\.producer_id: has the control character"):
        check_aigc_meta({"producer_id": "a\0", "content_propagator": "b"})


def test_a_ratio_typed_with_a_chinese_keyboard_is_understood() -> None:
    assert build(aspect_ratio="9：16").aspect_ratio == "9:16"


def test_a_ratio_that_a_model_lacks_is_refused_with_those_it_has(subtests: pytest.Subtests) -> None:
    ratios: list[str] = ["9:21", "2:1", "16x9", "1.78"]
    for spec in WITH_RATIO:
        for ratio in ratios:
            with (
                subtests.test(spec=name_of(spec), ratio=ratio),
                pytest.raises(
                    ParameterError, match=f"aspect_ratio: '{ratio}' is refused: {spec.name} takes 16:9, "
                ),
            ):
                build(spec, aspect_ratio=ratio)


def test_a_ratio_that_yaml_made_a_number_is_refused() -> None:
    with pytest.raises(ParameterError, match="aspect_ratio: '969' is refused: t2v_720p takes 16:9"):
        build(aspect_ratio=969)


def test_a_ratio_for_a_model_that_follows_its_first_frame_is_refused(subtests: pytest.Subtests) -> None:
    for spec in WITHOUT_RATIO:
        with subtests.test(spec=name_of(spec)):
            with pytest.raises(
                ParameterError, match=f"aspect_ratio: {spec.name} does not take it.*first frame"
            ):
                build(spec, aspect_ratio="16:9")


def test_a_ratio_that_pro_would_ignore_is_refused() -> None:
    with pytest.raises(ParameterError, match="aspect_ratio: ti2v_pro ignores it when there is a first_frame"):
        build("ti2v_pro", first_frame=LINK, aspect_ratio="16:9")


def test_pro_with_an_image_sends_no_ratio_and_may_do_without_a_prompt() -> None:
    body = build("ti2v_pro", first_frame=LINK, prompt=None).body()

    assert body == {"req_key": "jimeng_ti2v_v30_pro", "seed": -1, "frames": 121, "image_urls": [LINK]}


def test_an_empty_prompt_is_refused(subtests: pytest.Subtests) -> None:
    prompts: list[str | None] = [None, "", "   ", "None"]
    for spec in SPECS:
        for prompt in prompts:
            with subtests.test(spec=name_of(spec), prompt=prompt):
                with pytest.raises(ParameterError, match=f"prompt: is empty; {spec.name} needs a prompt"):
                    build(spec, prompt=prompt)


def test_a_prompt_is_counted_in_characters(subtests: pytest.Subtests) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            assert len(build(spec, prompt="猫" * spec.prompt_max).prompt) == spec.prompt_max
            with pytest.raises(
                ParameterError,
                match=f"prompt: has {spec.prompt_max + 1} characters; {spec.name} takes at most {spec.prompt_max}",
            ):
                build(spec, prompt="猫" * (spec.prompt_max + 1))


def test_a_prompt_longer_than_advised_is_sent_with_a_warning() -> None:
    assert build(prompt="猫" * 400).warnings == ()
    assert build(prompt="猫" * 401).warnings == (
        "prompt has 401 characters; the vendor advises at most 400.",
    )


def test_a_prompt_that_is_no_text_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [5, ["a cat"], b"a cat"]
    for prompt in cases:
        with subtests.test(prompt=repr(prompt)):
            with pytest.raises(ParameterError, match="prompt: expected text"):
                build(prompt=prompt)


def test_a_seed_within_range_is_sent(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, int]] = [(None, -1), (-1, -1), (0, 0), ("42", 42), (MAX_SEED, MAX_SEED), ("", -1)]
    for seed, sent in cases:
        with subtests.test(seed=repr(seed), sent=repr(sent)):
            assert build(seed=seed).body()["seed"] == sent


def test_a_seed_out_of_range_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [-2, MAX_SEED + 1, "many", 1.5]
    for seed in cases:
        with (
            subtests.test(seed=repr(seed)),
            pytest.raises(
                ParameterError, match=r"seed: expected a whole number from -1 to 2147483647.*-1 draws"
            ),
        ):
            build(seed=seed)


def test_takes_are_numbered_from_one(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [0, -1, "x"]
    for take in cases:
        with subtests.test(take=repr(take)):
            with pytest.raises(ParameterError, match=r"take: .*numbered from 1"):
                build(take=take)


def test_an_image_for_a_text_model_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["t2v_720p", "t2v_1080p", "t2v_s2_pro"]
    for name in cases:
        with (
            subtests.test(name=repr(name)),
            pytest.raises(
                ParameterError, match=f"first_frame: {name} does not take an image. It renders from text"
            ),
        ):
            build(name, first_frame=LINK)


def test_a_last_frame_for_a_model_without_one_is_refused_with_those_that_take_it(
    subtests: pytest.Subtests,
) -> None:
    cases: list[ModelSpec] = [spec for spec in SPECS if spec.max_images < 2]
    for spec in cases:
        with subtests.test(spec=name_of(spec)):
            with pytest.raises(
                ParameterError,
                match=f"last_frame: {spec.name} does not take a last frame. These models do: i2v_first_tail_720p, i2v_first_tail_1080p",
            ):
                build(spec, last_frame=OTHER_LINK)


def test_a_missing_first_frame_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[ModelSpec] = [spec for spec in SPECS if spec.min_images >= 1]
    for spec in cases:
        with subtests.test(spec=name_of(spec)):
            with pytest.raises(ParameterError, match=f"first_frame: is missing; {spec.name} renders from"):
                build(spec, first_frame=None)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.min_images >= 2], ids=name_of)
def test_a_missing_last_frame_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(
        ParameterError, match=f"last_frame: is missing; {spec.name} renders from text \\+ 2 images"
    ):
        build(spec, last_frame="")


def test_a_last_frame_alone_is_refused_even_where_both_are_optional() -> None:
    catalogue = merged_catalogue({"t2v_720p": {"max_images": 2}})

    with pytest.raises(ParameterError, match="first_frame: is missing"):
        RenderRequest.build(prompt="a cat", last_frame=LINK, catalogue=catalogue)


def test_a_link_and_a_file_cannot_be_mixed() -> None:
    with pytest.raises(
        ParameterError, match="last_frame: the API takes both frames as links or both as files"
    ):
        build("i2v_first_tail_720p", last_frame="/data/last.jpg")


def test_a_camera_on_another_model_is_refused(subtests: pytest.Subtests) -> None:
    specs: list[ModelSpec] = [spec for spec in SPECS if not spec.camera]
    arguments: list[str] = ["camera_template", "camera_strength"]
    for spec in specs:
        for argument in arguments:
            with (
                subtests.test(spec=name_of(spec), argument=argument),
                pytest.raises(
                    ParameterError, match=f"{argument}: {spec.name} does not take it.*: i2v_recamera_720p"
                ),
            ):
                build(spec, **{argument: "medium"})


def test_every_camera_movement_is_sent(subtests: pytest.Subtests) -> None:
    for template in CAMERA_TEMPLATES:
        for strength in CAMERA_STRENGTHS:
            with subtests.test(template=repr(template), strength=repr(strength)):
                body = build("i2v_recamera_720p", camera_template=template, camera_strength=strength).body()

                assert (body["template_id"], body["camera_strength"]) == (template, strength)


@pytest.mark.parametrize("argument", ["camera_template", "camera_strength"])
def test_a_camera_argument_that_is_missing_or_unknown_is_refused_with_the_known_ones(argument: str) -> None:
    with pytest.raises(ParameterError, match=f"{argument}: is missing; i2v_recamera_720p needs one of "):
        build("i2v_recamera_720p", **{argument: "None"})
    with pytest.raises(ParameterError, match=f"{argument}: 'spin' is refused: i2v_recamera_720p takes "):
        build("i2v_recamera_720p", **{argument: "spin"})


def test_an_argument_that_circulates_and_does_not_exist_is_refused(subtests: pytest.Subtests) -> None:
    for argument in REFUSED_ARGUMENTS:
        with subtests.test(argument=repr(argument)):
            with pytest.raises(ParameterError, match=f"{argument}: is refused: ") as caught:
                refuse_arguments({argument: 24})

            assert caught.value.argument == argument
            with pytest.raises(ParameterError, match="is refused"):
                build(extra_body={argument: 24})


def test_any_other_argument_is_refused_by_name() -> None:
    refuse_arguments({})
    with pytest.raises(ParameterError, match=r"cfg_scale: is not an argument of a render\. .*extra_body"):
        build(cfg_scale=7)


def test_an_argument_of_another_place_is_refused_with_the_right_one(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("image_urls", "give first_frame, and last_frame"),
        ("image_url", "give first_frame"),
        ("binary_data_base64", "give first_frame as the path"),
        ("template_id", "give camera_template"),
        ("resolution", "the model decides it"),
        ("max_cost_cny", "JimengHook.submit"),
        ("aigc_meta", "JimengHook.download, or set it in the connection"),
        ("require_tagged", "JimengHook.download"),
        ("wait_timeout", "JimengHook.wait_for_completion"),
        ("jimeng_conn_id", "JimengHook itself"),
        ("on_lost", "only the operators"),
    ]
    for argument, instead in cases:
        with subtests.test(argument=repr(argument), instead=repr(instead)):
            with pytest.raises(ParameterError, match=f"^{argument}: is refused: .*{instead}") as caught:
                build(**{argument: "x"})

            assert "extra_body" not in str(caught.value)


def test_the_body_takes_nothing_that_is_an_argument_and_no_field(subtests: pytest.Subtests) -> None:
    cases: list[str] = [*REFUSED_ARGUMENTS, *ARGUMENTS_ELSEWHERE, "model", "duration", "first_frame", "take"]
    for argument in cases:
        with subtests.test(argument=repr(argument)):
            with pytest.raises(ParameterError, match=f"^extra_body: '{argument}' is refused: "):
                build(extra_body={argument: "x"})


def test_a_wrong_key_is_refused_before_anything_else_is_looked_at() -> None:
    with pytest.raises(ParameterError, match="Use 'jimeng_ti2v_v30_pro'"):
        RenderRequest.build(model="jimeng_v30_pro", prompt="", duration=99)


def test_what_the_vendor_adds_is_merged_last_with_a_warning() -> None:
    request = build(extra_body={"watermark": False, "prompt": "a dog"})

    assert request.body()["watermark"] is False
    assert request.body()["prompt"] == "a dog"
    assert request.warnings == (
        "extra_body sends watermark, prompt unchecked: the API can ignore or refuse it.",
    )


def test_no_extra_body_is_no_extra_body(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, {}, "", "None"]
    for nothing in cases:
        with subtests.test(nothing=repr(nothing)):
            assert build(extra_body=nothing) == build()


def test_an_extra_body_that_cannot_be_sent_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ({"req_key": "x"}, "'req_key' is refused: choose the model"),
        ({"req_json": "{}"}, "'req_json' is refused: .*aigc_meta"),
        ("text", "expected a dict of body fields, got str"),
        ({"a": object()}, "is not JSON"),
        ({"a": float("nan")}, "is not JSON"),
        ({"a": "\ud83d"}, "is not JSON"),
    ]
    for extra, says in cases:
        with subtests.test(extra=repr(extra), says=repr(says)):
            with pytest.raises(ParameterError, match=f"extra_body: .*{says}"):
                build(extra_body=extra)


def test_an_endless_extra_body_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(ParameterError, match="extra_body: is not JSON"):
        build(extra_body={"a": deep})


def test_files_are_named_first_and_opened_later() -> None:
    request = build("i2v_first_tail_720p", first_frame="/data/1.jpg", last_frame="s3://b/2.jpg")

    assert {name: frame.reference for name, frame in request.frames_to_open.items()} == {
        "first_frame": "/data/1.jpg",
        "last_frame": "s3://b/2.jpg",
    }
    with pytest.raises(ValueError, match="was not opened"):
        request.body()
    with pytest.raises(ValueError, match="was not opened"):
        assert request.fingerprint


def test_links_are_never_opened() -> None:
    assert build("i2v_first_tail_720p").frames_to_open == {}


def test_opened_files_are_sent_as_plain_base64_in_order() -> None:
    request = build("i2v_first_tail_720p", first_frame="/data/1.jpg", last_frame="/data/2.jpg")
    request = request.with_frames({"first_frame": opened(data=b"one"), "last_frame": opened(data=b"two")})

    assert request.frames_to_open == {}
    assert [base64.b64decode(text) for text in request.body()["binary_data_base64"]] == [b"one", b"two"]
    assert "image_urls" not in request.body()


def test_opened_files_are_checked() -> None:
    request = build("i2v_first_tail_720p", first_frame="/data/1.jpg", last_frame="/data/2.jpg")

    with pytest.raises(ParameterError, match="last_frame: the image has 319×320"):
        request.with_frames({"first_frame": opened(), "last_frame": opened(319, 320)})
    with pytest.raises(ParameterError, match="last_frame: its ratio"):
        request.with_frames({"first_frame": opened(), "last_frame": opened(720, 1280)})


def test_pro_warns_of_the_crop_it_will_make() -> None:
    request = build("ti2v_pro", first_frame="/data/1.jpg")

    assert request.with_frames({"first_frame": opened(1000, 1100)}).warnings == (
        "first_frame of 1000×1100 will be cropped in the centre to 1000×1000 for 1:1: 9.1% is cut.",
    )
    assert request.with_frames({"first_frame": opened(1600, 900)}).warnings == ()


@pytest.mark.parametrize("name", ["i2v_first_720p", "i2v_s2_pro"])
def test_a_model_whose_crop_is_undocumented_warns_of_none(name: str) -> None:
    request = build(name, first_frame="/data/1.jpg")

    assert request.with_frames({"first_frame": opened(1000, 1100)}).warnings == ()


BASE = build("ti2v_pro")


def test_whatever_makes_another_video_makes_another_fingerprint(subtests: pytest.Subtests) -> None:
    cases: list[dict[str, Any]] = [
        {"prompt": "a dog"},
        {"duration": 10},
        {"aspect_ratio": "1:1"},
        {"seed": 1},
        {"take": 2},
        {"extra_body": {"a": 1}},
        {"model": "t2v_1080p"},
        {"first_frame": LINK},
    ]
    for changed in cases:
        with subtests.test(changed=next(iter(changed))):
            assert build("ti2v_pro", **changed).fingerprint != BASE.fingerprint


@pytest.mark.parametrize("argument", ["camera_template", "camera_strength"])
def test_the_camera_is_in_the_fingerprint(argument: str) -> None:
    one, other = build("i2v_recamera_720p"), build("i2v_recamera_720p", camera_template="handheld")

    assert one.fingerprint != other.fingerprint
    assert one.fingerprint != build("i2v_recamera_720p", camera_strength="weak").fingerprint


def test_the_bytes_of_an_image_are_in_the_fingerprint_and_its_path_is_not() -> None:
    def with_file(path: str, data: bytes) -> str:
        request = build("i2v_first_720p", first_frame=path)
        return request.with_frames({"first_frame": replace(opened(data=data), reference=path)}).fingerprint

    assert with_file("/a/1.jpg", b"one") == with_file("/b/2.jpg", b"one")
    assert with_file("/a/1.jpg", b"one") != with_file("/a/1.jpg", b"two")


def test_a_link_signed_anew_and_a_default_said_aloud_change_no_fingerprint() -> None:
    one = build("i2v_first_720p", first_frame=f"{LINK}?sig=1")

    assert one.fingerprint == build("i2v_first_720p", first_frame=f"{LINK}?sig=2").fingerprint
    assert BASE.fingerprint == build("ti2v_pro", aspect_ratio="16:9", duration="5", seed="-1").fingerprint


def test_the_order_of_an_extra_body_changes_no_fingerprint() -> None:
    one = build(extra_body={"a": 1, "b": {"c": 2, "d": 3}})

    assert one.fingerprint == build(extra_body={"b": {"d": 3, "c": 2}, "a": 1}).fingerprint


def test_a_fingerprint_of_the_first_version_is_still_the_same() -> None:
    assert build(prompt="一只猫", seed=7).fingerprint == (
        "ffda65dd78800734f3a65344daad2dd8b6866ad85999a736e821d793396aad93"
    )


def test_the_cost_is_the_price_of_the_seconds_asked_for(subtests: pytest.Subtests) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            assert spec.price_cny_per_second is not None
            assert build(spec).estimated_cost == spec.price_cny_per_second * 5


def test_an_unknown_price_is_no_price_and_never_zero() -> None:
    catalogue = merged_catalogue(prices={"t2v_720p": None})
    request = RenderRequest.build(prompt="a cat", catalogue=catalogue)

    assert request.estimated_cost is None
    check_cost(request, None)
    with pytest.raises(ParameterError, match=r"max_cost_cny: the price of t2v_720p is unknown.*prices"):
        check_cost(request, 100)


def test_a_cost_up_to_the_cap_passes(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", "None", "1.40", 1.4, 1000, Decimal("1.4")]
    for cap in cases:
        with subtests.test(cap=repr(cap)):
            check_cost(build(), cap)


def test_a_cost_over_the_cap_is_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"max_cost_cny: the render costs about 1\.40 CNY, over the cap of 1\.39"
    ):
        check_cost(build(), "1.39")


META = {"producer_id": "dag-run-1", "content_propagator": "me"}


def test_no_label_is_no_label(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, {}, ""]
    for nothing in cases:
        with subtests.test(nothing=repr(nothing)):
            assert check_aigc_meta(nothing) is None


def test_a_whole_label_passes_without_what_a_template_left_empty() -> None:
    assert check_aigc_meta(META | {"content_producer": "c" * 256, "propagate_id": None}) == (
        META | {"content_producer": "c" * 256}
    )


def test_a_label_without_what_a_video_needs_is_refused(subtests: pytest.Subtests) -> None:
    missings: list[str] = ["producer_id", "content_propagator"]
    values: list[str | None] = [None, "", "  ", "None"]
    for missing in missings:
        for value in values:
            with subtests.test(missing=repr(missing), value=repr(value)):
                with pytest.raises(ParameterError, match=f"aigc_meta: '{missing}' is required for a video"):
                    check_aigc_meta(META | {missing: value})
                with pytest.raises(ParameterError, match=f"aigc_meta: '{missing}' is required for a video"):
                    check_aigc_meta({key: text for key, text in META.items() if key != missing})


def test_a_label_that_cannot_be_written_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ("producer", "aigc_meta: expected a dict with content_producer, producer_id"),
        (META | {"label": "1"}, "aigc_meta: 'label' is unknown; it takes"),
        (META | {"producer_id": "p" * 257}, "aigc_meta: 'producer_id' must be text of at most 256"),
        (META | {"producer_id": 7}, "aigc_meta.producer_id: expected text, got 7"),
    ]
    for meta, says in cases:
        with subtests.test(meta=repr(meta), says=repr(says)), pytest.raises(ParameterError, match=says):
            check_aigc_meta(meta)


ARGUMENTS = (
    "prompt",
    "model",
    "duration",
    "aspect_ratio",
    "seed",
    "first_frame",
    "last_frame",
    "camera_template",
    "camera_strength",
    "take",
    "extra_body",
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 20),
    st.text(max_size=10),
    st.sampled_from([LINK, "/data/cat.jpg", "16:9", "5", "10", "crane_push", "medium", *MODELS]),
)


@given(
    st.dictionaries(
        st.sampled_from(ARGUMENTS),
        VALUES,
    )
)
def test_any_arguments_make_a_request_that_can_be_sent_or_are_refused_by_name(
    arguments: dict[str, Any],
) -> None:
    made: RenderRequest | None = None
    refused: str | None = None
    try:
        made = RenderRequest.build(**arguments)
    except ParameterError as error:
        refused = error.argument
    if made is None:
        assert refused in ARGUMENTS
    elif not made.frames_to_open:
        assert json.dumps(made.body(), ensure_ascii=False).encode()
        assert len(made.fingerprint) == 64
