# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jimeng.cli.commands import COMMANDS
from airflow_provider_jimeng.finishing.request import DEFAULT_TEXT, DEFAULT_THREADS, POSITIONS, VisibleLabel
from tests.finishing.clips import LABEL, clip, sha256
from tests.harness.command_line import CommandLine

if TYPE_CHECKING:
    from tests.harness.warm_command import WarmCommand

NO_KEYS = {"VOLC_ACCESSKEY": None, "VOLC_SECRETKEY": None}
VISIBLE = {"text": DEFAULT_TEXT, "position": "bottom-right", "show": "opening"}


@pytest.fixture
def jimeng(tmp_path: Path, warm: WarmCommand) -> CommandLine:
    """The command line in a directory with two saved videos, without a key: nothing is sent."""
    found = CommandLine(home=tmp_path, url="http://127.0.0.1:9", warm=warm)
    (found.work / "kite.mp4").write_bytes(clip(frames=24, label=LABEL))
    (found.work / "fox.mp4").write_bytes(clip(frames=16))
    return found


def names(jimeng: CommandLine) -> set[str]:
    return {path.name for path in jimeng.work.iterdir()}


def test_a_video_alone_gets_a_visible_label_and_is_not_made_twice(jimeng: CommandLine) -> None:
    before = sha256(jimeng.work / "kite.mp4")
    made = jimeng.run("finish", "kite.mp4", env=NO_KEYS)
    assert (made.code, made.out) == (0, f"{jimeng.work / 'kite.labelled.mp4'}\n"), made.err
    assert "kite.labelled.mp4: 100 % done." in made.err
    again = jimeng.run("finish", "kite.mp4", "--json", env=NO_KEYS)
    (manifest,) = again.payload
    assert manifest == json.loads((jimeng.work / "kite.labelled.mp4.json").read_text())
    assert manifest["recipe"]["visible_label"] | VISIBLE == manifest["recipe"]["visible_label"]
    assert manifest["aigc_label"] == json.loads(LABEL)
    assert (again.err, sha256(jimeng.work / "kite.mp4")) == ("", before)


def test_every_option_reaches_what_is_made(jimeng: CommandLine) -> None:
    label = ("--label", "AI", "--position", "top-left", "--throughout")
    pictures = ("--poster", "--preview", "--threads", "1")
    tall = ("--rendition", "ratio=9:16, size=64,fit=blur,kbps=900,crf=30,preset=ultrafast,name=tall")
    wide = ("--rendition", "ratio=16:9,focus=0.3/1,faststart=false")
    done = jimeng.run("finish", "kite.mp4", *label, *pictures, *tall, *wide, "--json")
    assert done.code == 0, done.err
    by_name = {manifest["uri"].rpartition("/")[2]: manifest["recipe"] for manifest in done.payload}
    assert list(by_name) == ["kite.tall.mp4", "kite.16x9.mp4", "kite.poster.jpg", "kite.preview.jpg"]
    shown = by_name["kite.poster.jpg"]["visible_label"]
    assert (shown["text"], shown["position"], shown["show"]) == ("AI", "top-left", "throughout")
    first, second = by_name["kite.tall.mp4"]["rendition"], by_name["kite.16x9.mp4"]["rendition"]
    assert first == {
        "name": "tall", "aspect_ratio": "9:16", "size": 64, "fit": "blur", "focus": [0.5, 0.5],
        "max_bitrate_kbps": 900, "crf": 30, "preset": "ultrafast", "faststart": True,
    }  # fmt: skip
    assert (second["focus"], second["faststart"]) == ([0.3, 1.0], False)


def test_several_videos_become_one_with_sound(jimeng: CommandLine) -> None:
    (jimeng.work / "music.mp4").write_bytes(clip(tone=440))
    words = ("--concat", "spring", "--cross-fade", "0.5", "--audio", "music.mp4", "--no-label", "--json")
    done = jimeng.run("finish", "kite.mp4", "fox.mp4", *words)
    assert done.code == 0, done.err
    (manifest,) = done.payload
    assert manifest["uri"] == f"file://{jimeng.work / 'spring.finished.mp4'}"
    assert manifest["recipe"]["concat"] == {"name": "spring", "cross_fade": 0.5}
    assert manifest["recipe"]["audio"]["uri"] == f"file://{jimeng.work / 'music.mp4'}"
    assert len(manifest["source"]) == 2


def test_what_cannot_be_finished_is_refused_with_the_exit_code_of_its_kind(
    jimeng: CommandLine, subtests: pytest.Subtests
) -> None:
    before = names(jimeng)
    cases = [
        (("kite.mp4", "--no-label"), 2, "nothing is requested"),
        (("kite.mp4", "--rendition", "ratio"), 2, "ratio=9:16,size=1080"),
        (("kite.mp4", "--rendition", "focus=left"), 2, "focus=0.3/0.5"),
        (("kite.mp4", "--cross-fade", "1"), 2, "needs --concat"),
        (("fox.mp4", "--require-implicit"), 2, "has no implicit label"),
        (("owl.mp4",), 1, "does not exist"),
    ]
    for words, code, reason in cases:
        with subtests.test(words=repr(words)):
            done = jimeng.run("finish", *words, "--json")
            assert (done.code, done.payload["exit_code"]) == (code, code)
            assert reason in done.payload["message"]
    assert names(jimeng) == before


def test_without_the_extra_the_command_names_it(jimeng: CommandLine) -> None:
    program = (
        "import sys\n"
        "sys.modules['av'] = None\n"
        "from airflow_provider_jimeng.cli.main import main\n"
        "sys.exit(main(['finish', 'kite.mp4']))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=jimeng.environment(), cwd=jimeng.work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "airflow-provider-jimeng[media]" in done.stderr


def test_the_help_has_the_defaults_of_the_operator() -> None:
    (command,) = [each for each in COMMANDS if each.name == "finish"]
    texts = {each.flags[0]: each.settings["help"] for each in command.options}
    assert f"(default {DEFAULT_TEXT})" in texts["--label"]
    assert f"(default {DEFAULT_THREADS})" in texts["--threads"]
    assert all(position in texts["--position"] for position in POSITIONS)
    assert texts["--position"].endswith(f"{VisibleLabel().position} (default)")
