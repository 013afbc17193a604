# SPDX-License-Identifier: Apache-2.0
"""Environments that have a built wheel and only the libraries that its metadata requires."""

from __future__ import annotations

import compileall
import subprocess
import venv
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from tests.harness.processes import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def environment_with(
    wheel: Path, folder: Path, *, extras: Iterable[str] = (), also: Iterable[str] = ()
) -> Path:
    """Return the interpreter of a new environment with a wheel and links to the libraries that it requires.

    :param also: other requirements, which a user would have installed.
    """
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as content:
        content.extractall(packages)
        compileall.compile_dir(packages, quiet=1)  # once, not in each process that uses the environment
        metadata = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = [
            line.removeprefix("Requires-Dist: ")
            for line in content.read(metadata).decode().partition("\n\n")[0].splitlines()
            if line.startswith("Requires-Dist: ")
        ]
    wanted = [Requirement(line) for line in (*requirements, *also)]
    for found in _closure(wanted, frozenset(extras)).values():
        for name in {
            path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")
        }:
            link = packages / name
            if not link.exists():
                link.symlink_to(str(found.locate_file(name)))
    return folder / "bin" / "python"


def run(interpreter: Path, *arguments: str, home: Path, fails: bool = False) -> str:
    """Run an interpreter with its own Airflow home. Return its output, or its error."""
    env = inherited_environment() | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONDONTWRITEBYTECODE": "1",  # the libraries are those of other environments
    }
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(interpreter), *arguments], cwd=home, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr if fails else done.stdout


def _closure(wanted: list[Requirement], extras: frozenset[str]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements need, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(requirement, extras) for requirement in wanted]
    while queue:
        requirement, asked = queue.pop()
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *asked)
        ):
            continue
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found[key[0]] = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # an extra of somebody else's that nobody installed
        queue += [(Requirement(line), key[1]) for line in found[key[0]].requires or ()]
    return found
