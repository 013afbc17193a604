# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from airflow_provider_jimeng import __version__
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    import pytest

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_lock_files_pin_by_hash_and_name_no_host(subtests: pytest.Subtests) -> None:
    for lock in LOCKS:
        with subtests.test(lock=lock.name):
            text = lock.read_text(encoding="utf-8")
            pins = re.findall(r"^[A-Za-z0-9][\w.-]*(?:\[[\w,-]+\])?==", text, re.MULTILINE)
            assert pins
            assert len(re.findall(r"^[A-Za-z0-9].*\\$", text, re.MULTILINE)) == len(pins)
            assert not re.findall(r"://|--index-url|--find-links|--extra-index-url", text)


def test_everything_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads(PYPROJECT)
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    locked = set(
        re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    )
    names = {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in wanted}
    assert not names - locked, "run `make lock`"


def test_what_makes_the_pages_is_locked_in_a_file_of_its_own() -> None:
    wanted = tomllib.loads(PYPROJECT)["dependency-groups"]["docs"]
    locked = (ROOT / "requirements" / "docs.txt").read_text(encoding="utf-8")
    assert all(f"\n{requirement.partition('>=')[0]}==" in locked for requirement in wanted)


def test_the_version_stands_in_one_place() -> None:
    assert "version" in tomllib.loads(PYPROJECT)["project"]["dynamic"]
    assert f'"{__version__}"' not in PYPROJECT
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_each_lint_exception_has_its_reason() -> None:
    ruff = PYPROJECT[PYPROJECT.index("[tool.ruff.lint]") : PYPROJECT.index("[tool.mypy]")]
    ignored = ruff[ruff.index("ignore = [") : ruff.index("[tool.ruff.lint.flake8-tidy-imports]")]
    exceptions = re.findall(r'^\s+"[A-Z]+\d*",.*$', ignored, re.MULTILINE)
    assert exceptions
    assert not [line for line in exceptions if "# " not in line]


def test_the_workflows_call_targets_and_environments_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    workflows = "\n".join(path.read_text("utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    named = set(re.findall(r"\bmake ([a-z-]+)", re.sub(r"#.*", "", workflows)))
    for targets in re.findall(r"target: \[(.*)\]", workflows):
        named |= set(targets.split(", "))
    assert {"lint", "typecheck", "test", "matrix", "cluster-test"} <= named
    assert not [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)]
    matrix = tomllib.loads((ROOT / "requirements" / "matrix.toml").read_text(encoding="utf-8"))
    rows = dict(re.findall(r'environment: (\S+)\n +python: "(\S+)"', workflows))
    first, *_, last = matrix["environments"]
    assert rows == {name: matrix["environments"][name]["python"] for name in (first, last)}


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {
        "demo",
        "test",
        "test-real",
        "lint",
        "typecheck",
        "docs",
        "docs-tables",
        "build",
        "clean",
        "lock",
    } <= targets
    assert not [name for name in targets if not re.search(rf"^{name}:.*## \S", makefile, re.MULTILINE)]
