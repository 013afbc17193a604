# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest

from airflow_provider_jimeng.cli.commands import build_parser
from airflow_provider_jimeng.cli.render import request_arguments
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.web.again import Again, again

PROMPT = 'A red kite, "low" camera; it\'s $HOME `ls`\n第二行：风筝越飞越高'
REQUESTS: dict[str, dict[str, Any]] = {
    "defaults": {"prompt": PROMPT},
    "everything": {
        "prompt": PROMPT,
        "model": "t2v_1080p",
        "duration": 10,
        "aspect_ratio": "9:16",
        "seed": 7,
        "take": 3,
    },
    "leading dash": {"prompt": "--help me, a kite", "take": 2},
    "images": {
        "prompt": PROMPT,
        "model": "i2v_first_tail_1080p",
        "first_frame": "https://example.com/a%20b.png?X-Tos-Signature=secret",
        "last_frame": "https://example.com/c.png",
    },
    "camera": {
        "model": "i2v_recamera_720p",
        "prompt": "A pan",
        "first_frame": "https://example.com/a.png",
        "camera_template": "hitchcock_dolly_in",
        "camera_strength": "strong",
    },
    "template": {"prompt": "A sign that says {{ ds }} and {% if %}"},
    "body": {"prompt": PROMPT, "extra_body": {"new_field": {"a": [1, "{{ x }}"]}}},
}


def payload(request: RenderRequest, **changes: Any) -> dict[str, Any]:
    """What a task leaves of a request."""
    return {
        "task_id": "7001",
        "model": request.spec.name,
        "jimeng_conn_id": "jimeng_default",
        "fingerprint": request.fingerprint,
        "prompt": request.prompt,
        "seed": request.seed,
        "duration": request.duration,
        "aspect_ratio": request.aspect_ratio,
    } | changes


def made(arguments: dict[str, Any], known: dict[str, Any] | None = None, **changes: Any) -> Again:
    request = RenderRequest.build(**arguments)
    found = again(payload(request, **changes), arguments if known is None else known)
    assert found is not None
    return found


def arguments_of(call: str) -> dict[str, Any]:
    """Compile a call, and return its arguments as a task with these templates gets them."""
    tree = ast.parse(call)
    compile(tree, "dag.py", "exec")
    (expression,) = [node for node in tree.body if isinstance(node, ast.Expr)]
    assert isinstance(expression.value, ast.Call)
    return {str(word.arg): rendered(ast.literal_eval(word.value)) for word in expression.value.keywords}


def rendered(value: Any) -> Any:
    import jinja2

    if isinstance(value, dict):
        return {name: rendered(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rendered(one) for one in value]
    if not isinstance(value, str):
        return value
    return jinja2.Environment(autoescape=False).from_string(value).render()  # noqa: S701  as Airflow renders arguments


def test_the_operator_call_gives_the_same_fingerprint() -> None:
    for name, arguments in REQUESTS.items():
        call = arguments_of(made(arguments).call)
        assert (call.pop("task_id"), call.pop("output_path")) == ("render", "generated_videos/")
        assert RenderRequest.build(**call).fingerprint == RenderRequest.build(**arguments).fingerprint, name


def test_the_command_is_one_that_the_real_parser_reads_to_the_same_request() -> None:
    for name, arguments in REQUESTS.items():
        command = made(arguments).command
        if name == "body":
            assert command is None
            continue
        assert command is not None
        program, *words = shlex.split(command)
        assert program == "jimeng"
        parsed = build_parser().parse_args(words)
        given = request_arguments(parsed) | {"prompt": parsed.prompt, "take": parsed.take}
        assert RenderRequest.build(**given).fingerprint == RenderRequest.build(**arguments).fingerprint, name


def test_arguments_that_have_their_defaults_are_left_out() -> None:
    assert made({"prompt": "A kite", "model": "t2v_720p", "seed": -1, "duration": 5, "take": 1}).command == (
        "jimeng render 'A kite'"
    )
    assert set(arguments_of(made({"prompt": "A kite", "aspect_ratio": "16:9"}).call)) == {
        "task_id", "prompt", "output_path",
    }  # fmt: skip


def test_no_signature_of_a_link_is_repeated() -> None:
    found = made(REQUESTS["images"])
    assert "secret" not in f"{found.call}{found.command}"
    assert "https://example.com/a%20b.png" in found.call


def test_connection_label_and_place_belong_to_the_call() -> None:
    label = {"producer_id": "p-1", "content_propagator": "宣传部"}
    task = {"prompt": "A kite", "aigc_meta": label, "output_path": "s3://b/x/", "output_conn_id": "store"}
    request = RenderRequest.build(prompt="A kite")
    found = again(payload(request, jimeng_conn_id="jimeng_ads"), task)
    assert found is not None
    call = arguments_of(found.call)
    assert call["aigc_meta"] == label
    assert (call["jimeng_conn_id"], call["output_path"], call["output_conn_id"]) == (
        "jimeng_ads", "s3://b/x/", "store",
    )  # fmt: skip
    parsed = build_parser().parse_args(shlex.split(found.command or "")[1:])
    assert parsed.conn == "jimeng_ads"
    assert "宣传部" in parsed.aigc_meta
    assert found.cost_cny == "1.40"
    assert found.checked


def test_the_take_is_found_by_the_fingerprint_when_the_arguments_are_gone() -> None:
    request = RenderRequest.build(prompt="A kite", seed=4, take=5)
    found = again(payload(request), None, uri="s3://b/x/kite.mp4")
    assert found is not None
    assert arguments_of(found.call)["take"] == 5
    assert arguments_of(found.call)["output_path"] == "s3://b/x/"
    after_a_clear = again(payload(request), {"prompt": "A kite", "take": 1})
    assert after_a_clear is not None
    assert arguments_of(after_a_clear.call)["take"] == 5


def test_an_image_file_makes_a_call_that_could_not_be_checked() -> None:
    known = {"first_frame": "s3://b/start.png"}
    linked = RenderRequest.build(
        prompt="A kite", model="i2v_first_720p", first_frame="https://example.com/a.png"
    )
    found = again(payload(linked), known)
    assert found is not None
    assert not found.checked
    assert arguments_of(found.call)["first_frame"] == "s3://b/start.png"


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"fingerprint": "0" * 64}, {}),
        ({"fingerprint": None}, {}),
        ({"model": "a model of the connection"}, {}),
        ({"prompt": "Truncated. You can change this behaviour in [core]max_templated_field_length."}, {}),
        ({}, {"extra_body": "not JSON"}),
        ({}, {"extra_body": {"token": "***"}}),
        ({}, {"first_frame": 7}),
    ],
)
def test_nothing_is_offered_that_would_make_another_video(
    changes: dict[str, Any], known: dict[str, Any]
) -> None:
    request = RenderRequest.build(prompt="A kite", extra_body={"unknown": 1} if not changes else None)
    assert again(payload(request, **changes), known) is None
