# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS, ModelSpec
from airflow_provider_jimeng.core.codes import BUSINESS_CODES
from airflow_provider_jimeng.emulator.messages import code_of
from airflow_provider_jimeng.emulator.request_checks import MAX_BODY_BYTES, known_fields
from tests.emulator.support import QUERY, SUBMIT, T2V, Account, make_account

LINK = "https://example.com/image.png"


def body_of(spec: ModelSpec) -> dict[str, Any]:
    body: dict[str, Any] = {"req_key": spec.req_key, "prompt": "a kite"}
    if spec.min_images:
        body["image_urls"] = [LINK] * spec.min_images
    if spec.camera:
        body |= {"template_id": "handheld", "camera_strength": "weak"}
    return body


def refused(account: Account, body: Any) -> tuple[int, int]:
    status, payload = account.response(SUBMIT, body)
    assert payload["data"] is None
    assert payload["status"] == payload["code"]
    assert payload["request_id"]
    assert payload["time_elapsed"]
    assert account.emulator.bill()["accepted"] == 0
    return status, payload["code"]


@pytest.fixture
def account() -> Account:
    return make_account()


def test_every_model_accepts_its_smallest_request(subtests: pytest.Subtests) -> None:
    for name, spec in MODELS.items():
        with subtests.test(model=name):
            status, payload = make_account().response(SUBMIT, body_of(spec))
            assert (status, payload["code"], payload["message"]) == (200, 10000, "Success")
            assert 19 <= len(payload["data"]["task_id"]) <= 20
            assert payload["data"]["task_id"].isdigit()


def test_a_prompt_that_is_too_long_is_refused(subtests: pytest.Subtests) -> None:
    for name, spec in MODELS.items():
        with subtests.test(model=name):
            longest = {**body_of(spec), "prompt": "猫" * spec.prompt_max}
            assert make_account().response(SUBMIT, longest)[1]["code"] == 10000
            too_long = {**longest, "prompt": "猫" * (spec.prompt_max + 1)}
            assert refused(make_account(), too_long) == (400, 50200)


def test_a_missing_prompt_is_refused_if_it_is_required(subtests: pytest.Subtests) -> None:
    for (name, spec), prompt in itertools.product(MODELS.items(), (None, "")):
        with subtests.test(model=name, prompt=repr(prompt)):
            body = {**body_of(spec), "prompt": prompt}
            if not spec.prompt_required and spec.max_images:
                with_image = {**body, "image_urls": [LINK]}
                assert make_account().response(SUBMIT, with_image)[1]["code"] == 10000
            assert refused(make_account(), body) == (400, 50201)


def test_a_field_of_the_wrong_type_is_refused(subtests: pytest.Subtests) -> None:
    wrong = [("prompt", 5), ("seed", "7"), ("seed", True), ("seed", 1.5)]
    for (name, spec), (field, value) in itertools.product(MODELS.items(), wrong):
        with subtests.test(model=name, field=field, value=repr(value)):
            assert refused(make_account(), {**body_of(spec), field: value}) == (400, 50204)


def test_a_seed_out_of_range_is_refused(subtests: pytest.Subtests) -> None:
    for (name, spec), seed in itertools.product(MODELS.items(), (-2, 2**32)):
        with subtests.test(model=name, seed=seed):
            assert refused(make_account(), {**body_of(spec), "seed": seed}) == (400, 50200)


def test_frames_are_checked_if_the_model_takes_them(subtests: pytest.Subtests) -> None:
    for name, spec in MODELS.items():
        with subtests.test(model=name):
            account = make_account()
            status, payload = account.response(SUBMIT, {**body_of(spec), "frames": 97})
            if spec.takes_frames:
                assert (status, payload["code"]) == (400, 50200)
                assert "121 or 241" in payload["message"]
                assert refused(account, {**body_of(spec), "frames": "121"}) == (400, 50204)
            else:
                assert ignored(account) == ["frames"]


def test_the_aspect_ratio_is_checked_if_the_model_takes_it(subtests: pytest.Subtests) -> None:
    for name, spec in MODELS.items():
        with subtests.test(model=name):
            account = make_account()
            status, payload = account.response(SUBMIT, {**body_of(spec), "aspect_ratio": "9:21"})
            if spec.aspect_ratios:
                assert (status, payload["code"]) == (400, 50200)
                assert refused(account, {**body_of(spec), "aspect_ratio": 1.5}) == (400, 50204)
            else:
                assert ignored(account) == ["aspect_ratio"]


def test_images_are_counted_and_ignored_by_text_models(subtests: pytest.Subtests) -> None:
    for name, spec in MODELS.items():
        with subtests.test(model=name):
            account = make_account()
            status, payload = account.response(SUBMIT, {**body_of(spec), "image_urls": [LINK] * 3})
            if spec.max_images:
                assert (status, payload["code"]) == (400, 50200)
            else:
                assert ignored(account) == ["image_urls"]
            if spec.min_images:
                assert refused(account, {**body_of(spec), "image_urls": []}) == (400, 50206)


@pytest.mark.parametrize("field", ["template_id", "camera_strength"])
def test_the_camera_model_needs_both_of_its_fields(account: Account, field: str) -> None:
    body = body_of(MODELS["i2v_recamera_720p"])
    assert refused(account, {**body, field: None}) == (400, 50201)
    assert refused(account, {**body, field: "upside_down"}) == (400, 50200)
    assert refused(account, {**body, field: 3}) == (400, 50204)


def test_unknown_fields_are_ignored_and_on_the_bill(account: Account) -> None:
    account.submit(fps=30, image_url=LINK, req_json="{}", callback_url="https://example.com")
    assert ignored(account) == ["callback_url", "fps", "image_url", "req_json"]


def ignored(account: Account) -> list[str]:
    (line,) = account.emulator.bill()["by_task"].values()
    return list(line["ignored_fields"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"not json", (400, 50204)),
        (b"[1]", (400, 50204)),
        (b"", (400, 50204)),
        (b"\xff\xfe", (400, 50204)),
        (b"[" * 100_000, (400, 50204)),
        ({"prompt": "no key"}, (400, 50201)),
        ({"req_key": "", "prompt": "no key"}, (400, 50201)),
        ({"req_key": 5}, (400, 50204)),
        ({"req_key": "jimeng_t2v_v30_720p", "prompt": "a wrong key that circulates"}, (400, 50200)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_without_a_known_key_is_refused(
    account: Account, body: Any, expected: tuple[int, int]
) -> None:
    assert refused(account, body) == expected
    assert account.code(QUERY, body) == expected


def test_a_body_over_the_limit_is_refused(account: Account) -> None:
    assert refused(account, json.dumps({**T2V, "x": "y" * MAX_BODY_BYTES}).encode()) == (400, 50213)


@pytest.mark.parametrize("named", ["t2v_720p", "jimeng_t2v_v30"])
def test_a_model_that_is_not_activated_is_refused(named: str) -> None:
    account = make_account(unactivated=[named])
    status, payload = account.response(SUBMIT, T2V)
    assert (status, payload["code"]) == (401, 50400)
    assert payload["message"] == "Access Denied: Internal Error"
    assert account.code(QUERY, {"req_key": "jimeng_t2v_v30", "task_id": "1"}) == (401, 50400)


def test_only_fields_of_a_model_are_known() -> None:
    assert known_fields(MODELS["t2v_s2_pro"]) == {"req_key", "prompt", "seed", "aspect_ratio"}
    assert "template_id" in known_fields(MODELS["i2v_recamera_720p"])


def test_a_code_is_found_by_its_only_name() -> None:
    assert code_of("ECAuth") == 50400
    for name in ("no such name", "Post Text Risk Not Pass"):
        with pytest.raises(LookupError, match=name):
            code_of(name)


def test_every_refusal_begins_with_the_message_of_the_vendor(account: Account) -> None:
    _, payload = account.response(SUBMIT, {**T2V, "seed": -5})
    assert payload["message"].startswith(BUSINESS_CODES[payload["code"]].message + ": ")
