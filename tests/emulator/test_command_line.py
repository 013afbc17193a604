# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.emulator.__main__ import build_parser, main

READY = re.compile(r"Jimeng emulator ready on (http://\S+) ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_address_and_a_signal_stops_it(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "airflow_provider_jimeng.emulator",
        "--port",
        "0",
        "--render-seconds",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = READY.match(process.stdout.readline())
        assert ready
        with urllib.request.urlopen(ready.group(1) + "/_emulator/bill") as response:
            assert json.load(response)["submits"] == 0
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_every_documented_option_is_accepted() -> None:
    words = (
        "--host 127.0.0.1 --port 8787 --access-key AK --secret-key SK --bearer TOKEN --session-token T "
        "--render-seconds 3 --max-concurrent 2 --max-qps 5 --url-lifetime 3600 --faults FILE"
    )
    options = build_parser().parse_args(words.split())
    assert (options.port, options.access_key, options.max_concurrent, options.max_qps) == (8787, "AK", 2, 5)
    assert options.faults == Path("FILE")


def test_the_defaults_are_the_documented_ones() -> None:
    options = build_parser().parse_args([])
    assert (options.host, options.port, options.max_concurrent, options.max_qps) == ("127.0.0.1", 8787, 2, 5)
    assert (options.render_seconds, options.url_lifetime) == (3.0, 3600.0)


def test_the_guide_lists_every_option_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    for action in build_parser()._actions:
        if action.dest != "help":
            default = f"`{action.default}`" if action.default not in (None, []) else "none"
            assert f"| `{action.option_strings[0]}` | {default} |" in text


@pytest.mark.parametrize(("text", "limit"), [("0", None), ("none", None), ("NONE", None), ("7", 7)])
def test_zero_and_none_mean_no_limit(text: str, limit: int | None) -> None:
    options = build_parser().parse_args(["--max-concurrent", text, "--max-qps", text])
    assert (options.max_concurrent, options.max_qps) == (limit, limit)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "expected 0 to 65535"),
        (["--render-seconds", "-1"], "expected seconds, 0 or more"),
        (["--url-lifetime", "inf"], "expected seconds, 0 or more"),
        (["--max-qps", "-1"], "expected a whole number"),
        (["--max-concurrent", "some"], "invalid _limit value"),
        (["--gateway-submit", "odd"], "invalid choice"),
    ],
)
def test_an_invalid_value_of_an_option_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(words)
    assert message in capsys.readouterr().err


def test_a_wrong_fault_file_is_reported_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"where": "submit", "what": "vanish"}]')
    assert main(["--faults", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("emulator: ")
    assert "got 'vanish'; it takes one of" in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_reported_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with socket.create_server(("127.0.0.1", 0)) as other:
        try:
            assert main(["--port", str(other.getsockname()[1])]) == 2
        finally:
            restore(before)
    assert "Address already in use" in capsys.readouterr().err


def restore(before: list[Any]) -> None:
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)


def test_the_command_serves_until_a_signal_comes(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def end() -> None:
        time.sleep(0.3)
        signal.raise_signal(signal.SIGTERM)

    killer = threading.Thread(target=end)
    killer.start()
    try:
        assert main(["--port", "0", "--bearer", "sk-x", "--unactivated", "t2v_1080p"]) == 0
    finally:
        killer.join()
        restore(before)
    assert READY.match(capsys.readouterr().out)


def test_without_the_extra_the_command_names_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys, importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'av' else real(name, *a)\n"
        "sys.modules['av'] = None\n"
        "from airflow_provider_jimeng.emulator.__main__ import main\n"
        "from airflow_provider_jimeng.emulator.videos import VideoCache\n"
        "from airflow_provider_jimeng.emulator.picture import Clip\n"
        "print(main([]))\n"
        "clip = Clip(width=64, height=64, duration=5, aspect_ratio='1:1', prompt='', lines=(), tint=0)\n"
        "try:\n"
        "    VideoCache().file(clip)\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2\n")
    for text in (done.stdout, done.stderr):
        assert "pip install 'airflow-provider-jimeng[emulator]'" in text
