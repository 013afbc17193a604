# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.cli.commands import COMMANDS, EXIT_CODES, build_parser
from airflow_provider_jimeng.cli.main import exit_code
from airflow_provider_jimeng.core import errors
from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.codes import entry_for
from tests.harness.command_line import (
    ACCESS_KEY,
    SECRET_KEY,
    CommandLine,
    SteppedEmulator,
    in_terminal,
)
from tests.harness.processes import free_port

NO_KEYS = {"VOLC_ACCESSKEY": None, "VOLC_SECRETKEY": None}
T2V = MODELS["t2v_720p"].req_key


def submitted(jimeng: CommandLine) -> str:
    """Pay for a render without waiting for it; return its id."""
    done = jimeng.run("render", "a red fox", "--no-wait", "--json")
    assert done.code == 0, done.err
    return str(done.payload["task_id"])


def test_every_command_explains_itself_without_a_secret(jimeng: CommandLine) -> None:
    overview = jimeng.run("--help")
    assert overview.code == 0
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^ +{code} +{re.escape(meaning)}$", overview.out, re.MULTILINE)
    for name in (*(command.name for command in COMMANDS), "emulator"):
        assert name in overview.out
        done = jimeng.run(name, "--help")
        assert done.code == 0
        assert f"usage: jimeng {name}" in done.out


def test_models_needs_neither_airflow_nor_httpx() -> None:
    program = (
        "import sys\n"
        "from airflow_provider_jimeng.cli.main import main\n"
        "assert main(['models', '--json']) == 0\n"
        "print(sorted({'airflow', 'httpx'} & {name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    listed = json.loads(done.stdout)
    assert [model["name"] for model in listed] == list(MODELS)
    assert listed[0]["price_cny_per_second"] == "0.28"


def test_a_query_with_keys_of_the_environment_imports_little_beside_httpx(jimeng: CommandLine) -> None:
    program = (
        "import sys\n"
        "from airflow_provider_jimeng.cli.main import main\n"
        "assert main(['query', '1', '--model', 't2v_720p', '--json']) == 4\n"
        "print(sorted({'airflow', 'pendulum', 'click'} & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=jimeng.environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_models_in_a_pipe_are_lines_with_tabs(jimeng: CommandLine) -> None:
    lines = jimeng.run("models").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["model", *MODELS]


def test_models_in_a_terminal_are_a_table(jimeng: CommandLine) -> None:
    with in_terminal(jimeng, "models") as terminal:
        terminal.read_until("jimeng_vgfm_i2v_l20")
        assert "│ t2v_720p" in terminal.printed.decode()
        assert terminal.process.wait(60) == 0


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unexpected_error_and_its_traceback_show_no_secret(verbose: bool) -> None:
    program = (
        "from argparse import Namespace\n"
        "from airflow_provider_jimeng.cli import commands, console, main\n"
        "console.hide(['bytearray'])\n"
        "broken = commands.Command(name='broken', help='', handler='commands:read_label')\n"
        f"raise SystemExit(main.run(broken, Namespace(json=True, verbose={verbose})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "TypeError"
    assert "or ***, not Namespace" in done.stderr
    assert "bytearray" not in done.stdout + done.stderr
    assert ("Traceback" in done.stderr) is verbose


def test_the_shell_completes_the_names_of_commands(jimeng: CommandLine, tmp_path: Path) -> None:
    words = tmp_path / "words"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(words),
        "COMP_LINE": "jimeng mod",
        "COMP_POINT": "10",
        "IFS": "\n",
    }
    jimeng.run(env=asked)
    assert words.read_text().strip() == "models"


def test_a_query_tells_the_state_and_hides_the_link(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    task_id = submitted(jimeng)
    emulator.render_seconds = 0
    done = jimeng.run("query", task_id, "--model", "t2v_720p", "--json")
    assert (done.code, done.payload["task_id"]) == (0, task_id)
    assert "video_url" not in done.payload
    shown = jimeng.run("query", task_id, "--model", T2V, "--link", "--json").payload
    assert shown["status"] in ("in_queue", "generating", "done")
    assert "video_url" in shown
    assert jimeng.run("query", "0", "--model", "t2v_720p").code == 4


def test_a_download_saves_a_paid_video_again_and_again(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    emulator.render_seconds = 0
    task_id = submitted(jimeng)
    words = ("download", task_id, "--model", "t2v_720p", "--output", "films/fox.mp4")
    first = jimeng.run(*words)
    assert first.code == 0, first.err
    assert first.out == f"{jimeng.work / 'films' / 'fox.mp4'}\n"
    again = jimeng.run(*words, "--json")
    assert again.payload["uri"] == f"file://{jimeng.work / 'films' / 'fox.mp4'}"
    assert emulator.bill()["media_requests"] == 1


def test_a_render_in_the_queue_is_cancelled_and_another_is_not(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    emulator.render_seconds = 600
    task_id = submitted(jimeng)
    done = jimeng.run("cancel", task_id, "--model", "t2v_720p", "--json")
    assert (done.code, done.payload["cancelled"]) == (0, True)
    refused = jimeng.run("cancel", task_id, "--model", "t2v_720p", "--json")
    assert (refused.code, refused.payload["error"]) == (3, "InputRejectedError")


def test_a_quote_counts_every_row_and_holds_the_cap(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    (jimeng.work / "rows.csv").write_text("prompt,model\na cat,t2v_720p\na dog,t2v_1080p\n")
    done = jimeng.run("quote", "rows.csv", "--json")
    assert (done.code, done.payload["rows"], done.payload["cost_cny"]) == (0, 2, "4.55")
    capped = jimeng.run("quote", "rows.csv", "--max-cost", "4")
    assert capped.code == 2
    assert "over the cap" in capped.err
    (jimeng.work / "rows.csv").write_text("prompt,duration\na cat,6\n,5\n")
    wrong = jimeng.run("quote", "rows.csv")
    assert wrong.code == 2
    assert "duration" in wrong.err
    assert "prompt" in wrong.err
    assert emulator.bill()["submits"] == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--fps", "30"), "does not take a frame rate"),
        (("--duration", "4"), "5 or 10 seconds"),
        (("--duration", "6"), "5 or 10 seconds"),
        (("--duration", "8"), "5 or 10 seconds"),
        (("--model", "jimeng_t2v_v30_pro"), "jimeng_ti2v_v30_pro"),
        (("--image", "https://example.com/a.png"), "first_frame"),
        (("--max-cost", "1"), "max_cost_cny"),
        (("--aigc-meta", "label"), "JSON object"),
        (("--rows", "rows.csv"), "cannot be combined with --rows"),
    ],
    ids=["fps", "4-s", "6-s", "8-s", "wrong-key", "image", "cost", "label", "rows"],
)
def test_what_the_api_does_not_take_is_refused_with_the_reason(
    jimeng: CommandLine, emulator: SteppedEmulator, words: tuple[str, ...], reason: str
) -> None:
    done = jimeng.run("render", "a red fox", *words)
    assert (done.code, reason in done.err) == (2, True), done.err
    assert emulator.bill()["submits"] == 0


def test_without_an_account_every_way_to_give_one_is_named(jimeng: CommandLine) -> None:
    done = jimeng.run("query", "1", "--model", "t2v_720p", env=NO_KEYS)
    assert done.code == 2
    for way in ("VOLC_ACCESSKEY", "VOLC_SECRETKEY", "~/.volc/config", "--conn", "airflow jimeng"):
        assert way in done.err


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_the_file_of_the_official_sdk_is_read(jimeng: CommandLine, name: str) -> None:
    (jimeng.home / ".volc").mkdir()
    content = {
        "config": json.dumps({"ak": ACCESS_KEY, "sk": SECRET_KEY}),
        "credentials": f"[default]\naccess_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\n",
    }
    (jimeng.home / ".volc" / name).write_text(content[name])
    done = jimeng.run("query", "1", "--model", "t2v_720p", "--json", env=NO_KEYS)
    assert done.payload["status"] == "not_found", done.err


@pytest.mark.parametrize("auth", ["json", "uri"])
def test_a_connection_of_the_environment_is_found(
    jimeng: CommandLine, emulator: SteppedEmulator, auth: str
) -> None:
    text = emulator.connection_json() if auth == "json" else emulator.connection_uri()
    env = {**NO_KEYS, "AIRFLOW_CONN_FILMS": text}
    done = jimeng.run("query", "1", "--model", "t2v_720p", "--conn", "films", "--json", env=env)
    assert done.payload["status"] == "not_found", done.err


@pytest.mark.needs("task state store")
def test_a_connection_that_is_saved_in_airflow_is_not_found_and_the_error_names_the_way(
    jimeng: CommandLine,
) -> None:
    done = jimeng.run("query", "1", "--model", "t2v_720p", "--conn", "saved")
    assert done.code == 2
    assert "is read by `airflow jimeng …`" in done.err


def test_a_wrong_secret_is_refused_and_never_shown(jimeng: CommandLine) -> None:
    wrong = "YW5vdGhlcit1cC9zZWNyZXQ+b2YtdGVzdA=="
    for words in (("--json",), ("--verbose",)):
        done = jimeng.run("query", "1", "--model", "t2v_720p", *words, env={"VOLC_SECRETKEY": wrong})
        assert done.code == 3
        assert wrong not in done.out + done.err


def test_an_api_that_is_away_is_another_error(jimeng: CommandLine) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = jimeng.run("query", "1", "--model", "t2v_720p", "--json", env={"JIMENG_VIDEO_API_URL": nobody})
    assert (done.code, done.payload["error"]) == (1, "NotSentError")


def test_a_wrong_number_in_the_environment_is_named(jimeng: CommandLine) -> None:
    done = jimeng.run("render", "a red fox", env={"JIMENG_VIDEO_POLL_INTERVAL": "often"})
    assert done.code == 2
    assert "JIMENG_VIDEO_POLL_INTERVAL" in done.err
    done = jimeng.run("query", "1", "--model", "t2v_720p", env={"JIMENG_VIDEO_API_TIMEOUT": "long"})
    assert done.code == 2
    assert "JIMENG_VIDEO_API_TIMEOUT: " in done.err


def test_the_emulator_is_a_command_too(jimeng: CommandLine) -> None:
    process = jimeng.start("emulator", "--port", "0", "--render-seconds", "0")
    assert process.stdout is not None
    url = process.stdout.readline().split()[4]
    assert httpx.get(f"{url}/_emulator/bill", trust_env=False).json()["submits"] == 0
    process.terminate()
    assert jimeng.end(process).code == 0


def test_completion_prints_a_script_of_the_shell(jimeng: CommandLine) -> None:
    done = jimeng.run("completion", "bash")
    assert done.code == 0
    assert "complete" in done.out
    assert "jimeng" in done.out


EVENT: dict[str, Any] = {"event": None}
CODES = [
    (errors.UnknownSubmitError("…"), False, 5),
    (errors.RenderFailedError("…", **EVENT), True, 4),
    (errors.RenderNotFoundError("…", **EVENT), True, 4),
    (errors.RenderTimedOutError("…", **EVENT), True, 6),
    (errors.LostContactError("…", **EVENT), True, 6),
    (errors.NoLinkError("…"), True, 6),
    (errors.DamagedMediaError("…"), True, 6),
    (errors.TargetTakenError("…"), False, 2),
    (errors.TargetTakenError("…"), True, 6),
    (errors.SlotTimedOutError("…", **EVENT), False, 3),
    (errors.InputModeratedError("…", entry=entry_for("50412")), False, 3),
    (errors.PermissionDeniedError("…"), False, 3),
    (errors.ParameterError("prompt", "…"), False, 2),
    (errors.SettingsError("…"), False, 2),
    (errors.LedgerError("…"), False, 1),
    (errors.NotSentError("…"), False, 1),
]


def test_every_error_has_its_documented_exit_code(subtests: pytest.Subtests) -> None:
    for error, paid, code in CODES:
        with subtests.test(error=repr(error)):
            assert exit_code(error, paid=paid) == code
            assert code in EXIT_CODES


def test_every_option_has_a_help_text(subtests: pytest.Subtests) -> None:
    groups = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for name, parser in groups[0].choices.items():
        with subtests.test(command=repr(name)):
            assert all(action.help for action in parser._actions)
