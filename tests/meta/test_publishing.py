# SPDX-License-Identifier: Apache-2.0
"""What a stranger sees first: licence lines, supported versions, the package page, community files, next commands."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider_jimeng.cli.commands import COMMANDS
from docs import reference, tables
from hatch_build import long_description, project_urls
from tests.harness.demo_report import next_commands, next_commands_while_kept
from tests.harness.features import TABLE
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROJECT = reference.PROJECT
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
GITHUB = ROOT / ".github"
SOURCE_FOLDERS = ("airflow_provider_jimeng", "benchmarks", "docs", "example_dags", "tests")
REPOSITORY = "https://git.example.com/films/jimeng"


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------- licence
def test_every_source_file_begins_with_its_licence() -> None:
    files = [ROOT / "Makefile", ROOT / "hatch_build.py", ROOT / ".ci" / "run"]
    for folder in SOURCE_FOLDERS:
        for ending in ("py", "js", "css", "html"):
            files += sorted((ROOT / folder).rglob(f"*.{ending}"))
    line = f"SPDX-License-Identifier: {PROJECT['license']}"
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    missing = [path for path, text in texts.items() if text and line not in "".join(text.splitlines()[:2])]
    assert len(files) > 350
    assert not [str(path.relative_to(ROOT)) for path in missing]


# -------------------------------------------------------------------------------------------------- supported versions
def pythons() -> list[str]:
    """The supported versions of Python: the classifiers are where this fact is written."""
    found = [re.fullmatch(r".* :: Python :: (3\.\d+)", each) for each in PROJECT["classifiers"]]
    return [match[1] for match in found if match]


def test_the_tests_run_on_every_supported_python_and_no_other() -> None:
    matrix = tomllib.loads((ROOT / "requirements" / "matrix.toml").read_text(encoding="utf-8"))
    assert {each["python"] for each in matrix["environments"].values()} == set(pythons())
    nightly = (GITHUB / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"^ {12}(3\.\d+)$", nightly, re.MULTILINE)) == set(pythons())


def test_the_oldest_supported_python_is_what_packaging_and_tools_name() -> None:
    oldest = pythons()[0]
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert tools["mypy"]["python_version"] == oldest
    assert tools["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"--python-version {oldest} " in MAKEFILE


def test_make_looks_for_the_supported_pythons() -> None:
    assert re.findall(r"python(3\.\d+)", MAKEFILE.partition("; do")[0]) == pythons()[::-1]
    first, last = (tuple(map(int, version.split("."))) for version in (pythons()[0], pythons()[-1]))
    assert f"not {first} <= sys.version_info < {(last[0], last[1] + 1)}" in MAKEFILE


def test_documents_name_the_supported_pythons_in_the_same_words(subtests: pytest.Subtests) -> None:
    *others, last = pythons()
    sentences = {f"{', '.join(others)} or {last}", f"{'、'.join(others)} 或 {last}"}
    about = re.compile(r"Python (?:>= ?)?(3\.\d+(?:(?:, |、| or | 或 )3\.\d+)*)")
    texts = [*tables.documents(), ROOT / "CONTRIBUTING.md", ROOT / "Makefile", ROOT / ".ci" / "run"]
    for path in texts:
        with subtests.test(path=str(path.relative_to(ROOT))):
            assert set(about.findall(path.read_text(encoding="utf-8"))) <= sentences | {others[0]}
            assert not re.search(r"Python 3\.\d+ (or newer|或更高)", path.read_text(encoding="utf-8"))


def test_the_support_policy_names_the_airflows_that_are_tested() -> None:
    text = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"^\| a minor version of Airflow .*Today: (.*) \|$", text, re.MULTILINE)
    assert named == ", ".join(str(version) for version in TABLE["airflow"])


# -------------------------------------------------------------------------------------------------------- package page
def test_the_package_page_without_a_repository_names_nothing_that_needs_one() -> None:
    page = long_description(README, "")
    assert not re.findall(r"\]\((?!https://)", page)
    assert "](docs/install.md)" in README
    assert "- Install (`docs/install.md`) · Connection (`docs/connection.md`)" in page
    assert "![" not in page
    assert "<!--" not in page
    assert "make demo" in README
    assert "make demo" not in page
    assert "\npip install " in page


def test_the_package_page_with_a_repository_links_to_its_files() -> None:
    page = long_description(README, REPOSITORY)
    targets = re.findall(r"\]\(([^)]*)\)", page)
    assert not [target for target in targets if not target.startswith("https://")]
    assert f"]({REPOSITORY}/blob/HEAD/docs/glossary.md#slot)" in page
    assert f"]({REPOSITORY}/raw/HEAD/docs/images/film.webp)" in page
    assert "make demo" in page
    assert "<!--" not in page


def test_the_project_urls_follow_from_one_setting() -> None:
    urls = project_urls(REPOSITORY)
    assert list(urls) == ["Documentation", "Source", "Issues", "Changelog"]
    assert all(url.startswith(REPOSITORY) for url in urls.values())
    assert all((ROOT / url.partition("/blob/HEAD/")[2]).exists() for url in urls.values())
    assert project_urls("") == {}


def test_both_readmes_name_every_extra(subtests: pytest.Subtests) -> None:
    for name in ("README.md", "README.zh-CN.md"):
        with subtests.test(name=name):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert set(re.findall(r"\[(\w+)\][`']", text)) == set(PROJECT["optional-dependencies"])


def test_the_authors_are_those_of_the_notice_and_have_no_address() -> None:
    (author,) = PROJECT["authors"]
    assert author == {"name": "The authors of airflow-provider-jimeng"}
    assert author["name"].removeprefix("The ") in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_the_citation_agrees_with_the_package() -> None:
    citation = yaml_of(ROOT / "docs" / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["abstract"] == PROJECT["description"]
    assert citation["authors"] == PROJECT["authors"]
    assert set(citation["keywords"]) <= set(PROJECT["keywords"])
    assert "version" not in citation, "the version stands in one place"


# ----------------------------------------------------------------------------------------------------- community files
def test_the_contacts_are_settings_of_the_publisher() -> None:
    for name, setting in (("CODE_OF_CONDUCT", "conduct-contact"), ("SECURITY", "security-contact")):
        text = (GITHUB / f"{name}.md").read_text(encoding="utf-8")
        assert f"<!-- begin {setting} -->\n{tables.contact(setting)}\n" in text
        assert not re.findall(r"\S+@\S+\.\w+", text.replace(reference.PUBLISHER[setting] or "\0", ""))


def test_templates_of_problems_ask_for_what_the_doctor_prints() -> None:
    for name in ("problem", "vendor"):
        form = yaml_of(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")
        (doctor,) = [part for part in form["body"] if part.get("id") == "doctor"]
        assert "`jimeng doctor --json`" in doctor["attributes"]["label"]
        assert doctor["validations"] == {"required": True}
    assert "jimeng doctor --json" in (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    (command,) = [each for each in COMMANDS if each.name == "doctor"]
    assert "--json" in [flag for option in command.options for flag in option.flags]


def test_forms_of_issues_have_what_a_git_host_requires(subtests: pytest.Subtests) -> None:
    for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")):
        with subtests.test(path=path.name):
            form = yaml_of(path)
            assert {"name", "description", "body"} <= set(form)
            parts = [part for part in form["body"] if part["type"] != "markdown"]
            assert len({part["id"] for part in parts}) == len(parts) > 0
            assert all(part["attributes"]["label"] for part in parts)


def test_hooks_of_git_run_tools_that_are_locked_in_the_projects_own_environment() -> None:
    (repo,) = yaml_of(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    programs = [hook["entry"].split()[0] for hook in repo["hooks"]]
    assert all(hook["language"] == "system" for hook in repo["hooks"])
    assert set(programs) == {f".venv/bin/{name}" for name in ("ruff", "codespell", "mypy", "python")}
    locked = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in locked for name in ("ruff", "codespell", "mypy"))
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repo["hooks"]]
    lint = re.findall(
        r"^\t\$\(BIN\)/ruff (.*?)(?: --check)? \.$", MAKEFILE.partition(".PHONY: format")[0], re.MULTILINE
    )
    assert len(lint) == 3
    assert [f".venv/bin/ruff {arguments}" for arguments in lint] == entries[:3]


def test_the_steps_of_a_release_name_what_exists() -> None:
    steps = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Release a version")[2]
    assert [set(reference.PUBLISHER)] == [set(re.findall(r"`([a-z-]+)`", steps)) & set(reference.PUBLISHER)]
    for word in ("airflow_provider_jimeng/__init__.py", "CHANGELOG.md", "make build", "attests"):
        assert word in steps
    release = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert ".github/workflows/release.yml" in steps
    assert "run: make build\n" in release
    assert "attest-build-provenance" in release


# --------------------------------------------------------------------------------------------------- after `make demo`
def test_the_demo_ends_with_three_commands_that_exist() -> None:
    connection = {"host": "http://127.0.0.1:8787", "login": "AK", "password": "SK"}
    for lines in (next_commands(), next_commands_while_kept(connection)):
        commands = [line.strip() for line in lines if not line.strip().startswith("#")]
        assert len(commands) == 3
        for command in commands:
            subprocess.run(["bash", "-n", "-c", command], check=True)
            ours = re.search(r"\.venv/bin/jimeng (\w+)", command)
            if ours:
                assert ours[1] in {each.name for each in COMMANDS}
            else:
                assert command == "make demo KEEP=1"
                assert "\nexport KEEP\n" in MAKEFILE
