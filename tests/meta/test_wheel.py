from __future__ import annotations

import email
import json
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from airflow_provider_jimeng import __version__
from tests.harness.processes import inherited_environment
from tests.meta.tree import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment: the wheel's content, and this environment's libraries behind it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as content:
        content.extractall(packages)
    libraries = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    assert libraries, site.getsitepackages()
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return folder / "bin" / "python"


def run(interpreter: Path, *arguments: str, home: Path) -> str:
    env = inherited_environment() | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(interpreter), *arguments], cwd=home, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_wheel_holds_the_package_its_types_and_its_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"airflow_provider_jimeng-{__version__}.dist-info"
    assert {
        "airflow_provider_jimeng/py.typed",
        f"{info}/licenses/LICENSE",
        f"{info}/entry_points.txt",
    } <= names
    assert {name.partition("/")[0] for name in names} == {"airflow_provider_jimeng", info}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "airflow_provider_jimeng").rglob("*.py")}
    assert sources <= names


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    info = f"airflow_provider_jimeng-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as content:
        metadata = email.message_from_bytes(content.read(f"{info}/METADATA"))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert sorted(needed) == [
        "apache-airflow-providers-common-compat>=1.23.0",
        "apache-airflow>=2.11.0",
        "httpx>=0.27",
        "pendulum>=3",
        "pillow>=10.1",
    ]


def test_the_installed_wheel_is_loaded_apart_from_the_source_tree(installed: Path, tmp_path: Path) -> None:
    where = run(installed, "-c", "import airflow_provider_jimeng as p; print(p.__file__)", home=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    assert os.pathsep not in where


def test_airflow_lists_the_installed_wheel_as_a_provider(installed: Path, tmp_path: Path) -> None:
    command = ("-m", "airflow", "providers", "get", "airflow-provider-jimeng", "--output", "json")
    out = run(installed, *command, home=tmp_path)
    listed = json.loads(out[out.index("[") :])
    assert listed == [{"Provider": "airflow-provider-jimeng", "Version": __version__}]
