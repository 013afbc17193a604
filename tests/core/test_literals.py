# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_jimeng.core.arguments import check_defaults, check_known_wrong, check_request, is_final
from airflow_provider_jimeng.core.errors import ParameterError

NO_CONNECTION_ALLOWS = {
    "seed": 2**31,
    "take": 0,
    "duration": "long",
    "aspect_ratio": "wide",
    "camera_template": "spin",
    "camera_strength": "huge",
}
THE_CATALOGUE_REFUSES: list[dict[str, Any]] = [
    {"duration": 7},
    {"duration": "10", "model": "t2v_s2_pro"},
    {"aspect_ratio": "2:1"},
    {"aspect_ratio": "16:9", "model": "i2v_first_720p"},
    {"camera_template": "handheld"},
    {"first_frame": "/data/a.png"},
    {"first_frame": "https://cdn.example.com/a.png", "model": "jimeng_t2v_v30_1080p"},
    {"last_frame": "/data/a.png", "model": "i2v_first_720p"},
]


def test_plain_data_is_final(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["t2v_720p", 5, 0.5, True, None, {"a": ["b", 1]}, ("x",)]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert is_final(value)


def test_templates_and_objects_are_not_final(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        "{{ x }}",
        "{% if x %}a{% endif %}",
        "a{# b #}",
        {"a": "{{ x }}"},
        ["{{ x }}"],
        timedelta(1),
    ]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert not is_final(value)


def test_what_no_connection_allows_is_always_refused(subtests: pytest.Subtests) -> None:
    checks: list[Any] = [check_request, check_defaults]
    default_connections: list[bool] = [True, False]
    for argument, value in NO_CONNECTION_ALLOWS.items():
        for check in checks:
            for default_connection in default_connections:
                with subtests.test(
                    argument=repr(argument), check=repr(check), default_connection=repr(default_connection)
                ):
                    with pytest.raises(ParameterError) as refused:
                        check({argument: value}, default_connection=default_connection)
                    assert refused.value.argument == argument


def test_limits_of_the_catalogue_hold_for_the_default_connection_only(subtests: pytest.Subtests) -> None:
    for arguments in THE_CATALOGUE_REFUSES:
        with subtests.test(arguments=repr(arguments)):
            request = {"model": "t2v_720p", **arguments}
            with pytest.raises(
                ParameterError, match="give that connection another id than 'jimeng_default'"
            ) as refused:
                check_request(request, default_connection=True)
            assert refused.value.argument in request
            check_request(request, default_connection=False)


@pytest.mark.parametrize("model", ["nope", "t2v_1080", "T2V-720P", 5, ""])
@pytest.mark.parametrize("check", [check_request, check_defaults])
def test_a_model_that_nobody_knows_is_refused_for_the_default_connection(model: Any, check: Any) -> None:
    arguments = {"model": model, "duration": 7}
    check({"model": model}, default_connection=False)
    if model == "":
        return
    with pytest.raises(ParameterError, match="model: ") as refused:
        check(arguments, default_connection=True)
    assert "t2v_720p" in str(refused.value)


def test_a_key_that_only_a_connection_knows_passes_with_any_limit(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["jimeng_t2v_v99", " jimeng_t2v_v99 ", "own model", "厂商/模型"]
    for model in cases:
        with subtests.test(model=repr(model)):
            check_request({"model": model, "duration": 7, "first_frame": "/a.png"}, default_connection=True)


@pytest.mark.parametrize("key", ["jimeng_t2v_v30_pro", " jimeng_dreamactor_m20_gen_video "])
def test_a_key_that_is_known_to_be_wrong_is_refused(key: str) -> None:
    with pytest.raises(ParameterError, match="model: "):
        check_known_wrong(key)
    with pytest.raises(ParameterError, match="model: "):
        check_request({"model": key}, default_connection=True)
    check_known_wrong("house_style")
    check_known_wrong(None)


def test_defaults_of_a_campaign_suit_one_model_at_least() -> None:
    check_defaults(
        {"model": "i2v_first_720p", "aspect_ratio": "16：9", "camera_template": "handheld", "duration": 10},
        default_connection=True,
    )
    check_defaults({"last_frame": "/data/b.png"}, default_connection=True)
    check_defaults({"duration": 7}, default_connection=False)
    for argument, value in (("duration", 7), ("aspect_ratio", "2:1")):
        with pytest.raises(ParameterError, match=f"{argument}: "):
            check_defaults({argument: value}, default_connection=True)


def test_what_is_missing_may_still_come() -> None:
    check_request({"model": "i2v_recamera_720p", "camera_strength": "weak"}, default_connection=True)
    check_request({"prompt": None, "duration": "None"}, default_connection=True)
