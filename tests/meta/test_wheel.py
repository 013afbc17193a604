# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng import __version__
from docs.reference import PUBLISHER
from hatch_build import long_description, project_urls
from tests.harness.distributions import environment_with, run
from tests.harness.features import lack
from tests.harness.processes import inherited_environment
from tests.meta.tree import PACKAGE, ROOT

INFO = f"airflow_provider_jimeng-{__version__}.dist-info"
IN_THE_SOURCE = {
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "NOTICE", "PKG-INFO", "README.md", "README.zh-CN.md",
    "airflow_provider_jimeng", "benchmarks", "docs", "example_dags", "hatch_build.py", "pyproject.toml",
    "requirements", "tests",
}  # fmt: skip


def build(source: Path, folder: Path, *targets: str, epoch: str = "") -> dict[str, Path]:
    """Build with the project's own backend; return the files by their ending."""
    env = inherited_environment() | ({"SOURCE_DATE_EPOCH": epoch} if epoch else {})
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
        + [word for target in targets for word in ("-t", target)],
        cwd=source,
        env=env,
        check=True,
        capture_output=True,
    )
    return {path.suffix: path for path in folder.iterdir() if path.suffix in (".whl", ".gz")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel (`.whl`) and source distribution (`.gz`)."""
    return build(ROOT, tmp_path_factory.mktemp("dist"), epoch="1767225600")


@pytest.fixture(scope="module")
def wheel(built: dict[str, Path]) -> Path:
    return built[".whl"]


@pytest.fixture(scope="module")
def unpacked(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(built[".gz"]) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel alone, without its extras; pytest is the user's own."""
    return environment_with(wheel, tmp_path_factory.mktemp("environment"), also=["pytest"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as content:
        return email.message_from_bytes(content.read(f"{INFO}/METADATA"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------------------------ contents
def test_the_wheel_holds_the_package_its_types_its_pages_and_its_licence_and_nothing_else(
    wheel: Path,
) -> None:
    package = ROOT / "airflow_provider_jimeng"
    expected = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".py", ".typed", ".js", ".css", ".svg", ".html")
    }
    info = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"}
    assert set(zipfile.ZipFile(wheel).namelist()) == expected | {f"{INFO}/{name}" for name in info}
    assert "airflow_provider_jimeng/py.typed" in expected


def test_the_source_distribution_holds_what_the_project_is_made_of_and_nothing_else(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir()} == IN_THE_SOURCE
    files = [path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert kinds <= {
        "", ".py", ".md", ".toml", ".txt", ".typed", ".js", ".css", ".svg", ".html", ".json", ".png", ".jpg", ".webp", ".whl", ".yml", ".yaml", ".cff", ".po"
    }  # fmt: skip
    assert not [
        path
        for path in files
        if re.search(r"(^|/)(\.(?!ci/|github/|gitignore$|pre-commit-config\.yaml$)|__pycache__)", str(path))
    ]
    assert (unpacked / ".ci" / "run").stat().st_mode & 0o100


def test_two_builds_give_the_same_bytes(built: dict[str, Path], tmp_path: Path) -> None:
    again = build(ROOT, tmp_path, epoch="1767225600")
    assert {kind: digest(path) for kind, path in again.items()} == {
        kind: digest(path) for kind, path in built.items()
    }


def test_the_source_distribution_builds_the_same_wheel(
    built: dict[str, Path], unpacked: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(unpacked, tmp_path / "elsewhere")
    from_source = build(source, tmp_path / "dist", "wheel", epoch="1767225600")
    assert digest(from_source[".whl"]) == digest(built[".whl"])


# ------------------------------------------------------------------------------------------------------------ metadata
def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert sorted(needed) == [
        "apache-airflow-providers-common-compat>=1.23.0",
        "apache-airflow>=2.11.0",
        "httpx>=0.27",
        "pendulum>=3",
        "pillow>=10.1",
    ]
    assert sorted(metadata.get_all("Provides-Extra", [])) == ["aiohttp", "emulator", "excel", "media"]


def test_the_wheel_carries_the_package_page_that_its_settings_make(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert payload.decode() == long_description(readme, PUBLISHER["repository"])
    urls = project_urls(PUBLISHER["repository"])
    assert metadata.get_all("Project-URL", []) == [f"{label}, {url}" for label, url in urls.items()]
    text = payload.decode()
    assert re.findall(r"^#+ .*$", text, re.MULTILINE) == re.findall(r"^#+ .*$", readme, re.MULTILINE)
    assert re.findall(r"^\|.*\|$", text, re.MULTILINE) == re.findall(r"^\|.*\|$", readme, re.MULTILINE)


def test_a_build_names_the_settings_of_the_publisher_that_are_empty(unpacked: Path, tmp_path: Path) -> None:
    source = shutil.copytree(unpacked, tmp_path / "source")
    settings = source / "pyproject.toml"
    filled = re.sub(
        r'^repository = ".*?"',
        'repository = "https://git.example.com/films"',
        settings.read_text(),
        flags=re.MULTILINE,
    )
    settings.write_text(re.sub(r'^(\w+-contact) = ".*?"', r'\1 = ""', filled, flags=re.MULTILINE))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    output = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True).stderr
    assert output.count("conduct-contact, security-contact") == 1
    assert "repository" not in output
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "Issues, https://git.example.com/films/issues" in metadata_of(wheel).get_all("Project-URL", [])


# ----------------------------------------------------------------------------------------------- installed, no extras
def test_the_installed_wheel_is_loaded_apart_from_the_source_tree(installed: Path, home: Path) -> None:
    where = run(installed, "-c", "import airflow_provider_jimeng as p; print(p.__file__)", home=home)
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    assert os.pathsep not in where


@pytest.mark.parametrize("library", ["av", "httpx_aiohttp"])
def test_the_wheel_alone_brings_no_library_of_its_extras(installed: Path, home: Path, library: str) -> None:
    assert f"No module named '{library}'" in run(installed, "-c", f"import {library}", home=home, fails=True)


OF_THE_MEDIA_EXTRA = {f"{PACKAGE}.finishing.{name}" for name in ("derivatives", "sound", "source", "video")}
# Only Airflow's provider of OpenLineage leads to its import.
OF_OPENLINEAGE = f"{PACKAGE}.lineage"


def test_every_other_module_can_be_imported_without_the_extras(
    installed: Path, wheel: Path, home: Path
) -> None:
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in zipfile.ZipFile(wheel).namelist()
        if name.endswith(".py") and not name.endswith("__main__.py")
    ]
    if lack("views of plugins"):  # the pages, which the plugin of such an Airflow leaves alone
        everywhere = {f"{PACKAGE}.web.plugin", f"{PACKAGE}.web.links"}
        names = [name for name in names if ".web." not in name or name in everywhere]
    names = [name for name in names if name not in {*OF_THE_MEDIA_EXTRA, OF_OPENLINEAGE}]
    assert len(names) > 90
    run(installed, "-c", "\n".join(f"import {name}" for name in names), home=home)


def rows(printed: str) -> Any:
    """Return what `--output json` printed; Airflow 3.0 logs to the same stream before it."""
    return json.loads(printed[printed.index("[{") :])


COMMANDS = (
    "providers get airflow-provider-jimeng --output json",
    "providers hooks --output json",
    "providers links --output json",
    "plugins --output json",
)
COMMAND_LINE = """
import sys
from airflow.cli.cli_parser import get_parser
for command in sys.argv[1:]:
    arguments = get_parser().parse_args(command.split())
    arguments.func(arguments)
    print("END OF COMMAND", flush=True)
"""


def test_airflow_lists_provider_hook_link_and_plugin_of_the_installed_wheel(
    installed: Path, home: Path
) -> None:
    printed = run(installed, "-c", COMMAND_LINE, *COMMANDS, home=home)
    provider, hooks, links, plugins, _ = printed.split("END OF COMMAND\n")
    assert rows(provider) == [{"Provider": "airflow-provider-jimeng", "Version": __version__}]
    (hook,) = [row for row in rows(hooks) if row["connection_type"] == "jimeng"]
    assert hook["class"] == "airflow_provider_jimeng.hooks.jimeng.JimengHook"
    assert "airflow_provider_jimeng.links.JimengVideoLink" in links
    (plugin,) = [row for row in rows(plugins) if row["name"] == "jimeng"]
    assert "airflow-provider-jimeng" in plugin["source"]


# --------------------------------------------------------------------------------------- what a missing extra is named by
def test_the_emulators_command_names_its_extra(installed: Path, home: Path) -> None:
    output = run(installed, "-m", "airflow_provider_jimeng.emulator", "--port", "0", home=home, fails=True)
    assert output.count("\n") == 1
    assert "pip install 'airflow-provider-jimeng[emulator]'" in output


def test_the_pytest_fixture_names_its_extra_and_leaves_other_tests_alone(
    installed: Path, tmp_path: Path
) -> None:
    tests = tmp_path / "test_theirs.py"
    tests.write_text("def test_theirs():\n    pass\n\n\ndef test_ours(jimeng_emulator):\n    pass\n")
    (tmp_path / "airflow.db").write_text("not empty")  # the fixture would make a database, in seconds
    output = run(installed, "-m", "pytest", "-p", "no:cacheprovider", str(tests), home=tmp_path, fails=True)
    assert "1 passed, 1 error" in output
    assert "pip install 'airflow-provider-jimeng[emulator]'" in output


WITHOUT_EXTRAS = {
    "aiohttp": """
import asyncio
from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings

async def ask():
    settings = ClientSettings(access_key="AK", secret_key="SK", transport="aiohttp")
    async with AsyncJimengClient(settings) as client:
        await client.query("jimeng_t2v_v30", "0")

asyncio.run(ask())
""",
    "workbook": """
from airflow_provider_jimeng.row_sources import read_rows

read_rows("rows.xlsx")
""",
    "report": """
import logging, pathlib, pendulum, sys
from airflow_provider_jimeng.core.report import Report
from airflow_provider_jimeng.core.report import TaskEnd
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger("report")
log.addHandler(logging.StreamHandler(sys.stdout))
log.setLevel(logging.INFO)

class Logged(JimengReportOperator):
    log = log

folder = pathlib.Path.cwd().as_uri()
operator = Logged(task_id="report")
now = pendulum.now("UTC")
manifest = {"task_id": "1", "uri": folder + "/film.mp4", "landed_at": now.isoformat(), "submitted_at": now.isoformat()}
end = TaskEnd(task="render", manifest=manifest)
report = Report(dag_id="d", run_id="r", generated_at=now, since=now, planned=None, quoted=False, ends=(end,))
print(operator._previews(report, OutputPath(output_path=folder + "/report.html")))
""",
    "finish": """
from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator

JimengFinishVideoOperator(task_id="finish", video="kite.mp4", poster=True).execute({})
""",
}
"""Programs that need an extra."""
ONE_AFTER_THE_OTHER = """
import json, sys
for name, program in json.loads(sys.argv[1]).items():
    print("PROGRAM", name, flush=True)
    try:
        exec(program, {})
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.fixture(scope="module")
def outputs(installed: Path, home: Path) -> dict[str, str]:
    """What each program prints without the extra that it needs, and its error."""
    printed = run(installed, "-c", ONE_AFTER_THE_OTHER, json.dumps(WITHOUT_EXTRAS), home=home)
    parts = [part.partition("\n") for part in printed.split("PROGRAM ")[1:]]
    return {name: text for name, _, text in parts}


def test_the_aiohttp_transport_names_its_extra(outputs: dict[str, str]) -> None:
    last = outputs["aiohttp"].splitlines()[-1]
    assert last.startswith("SettingsError: extra.transport")
    assert "pip install 'airflow-provider-jimeng[aiohttp]'" in last


def test_a_plan_of_a_workbook_names_its_extra(outputs: dict[str, str]) -> None:
    output = outputs["workbook"]
    assert "pip install 'airflow-provider-jimeng[excel]', or save the sheet as “CSV UTF-8”" in output


def test_a_report_without_its_extra_plays_the_videos_and_names_it(outputs: dict[str, str]) -> None:
    assert "pip install 'airflow-provider-jimeng[media]'" in outputs["report"]
    assert "Preview(path='film.mp4', picture=None" in outputs["report"]


def test_a_finish_task_without_its_extra_names_it(outputs: dict[str, str]) -> None:
    last = outputs["finish"].splitlines()[-1]
    assert "ParameterError: video: cannot be finished here" in last
    assert "pip install 'airflow-provider-jimeng[media]'" in last
