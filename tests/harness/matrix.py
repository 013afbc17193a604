# SPDX-License-Identifier: Apache-2.0
"""Runs the test suite on every Airflow of `requirements/matrix.toml`, each in an environment of its own.

The Makefile calls `python -m tests.harness.matrix run [--fast | --browser] [NAME …]` and `… lock [NAME …]`. The
environments are kept in `build/matrix/`, and are made again if their lock file changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
HOME = ROOT / "build" / "matrix"
WHEEL = ROOT / "build" / "wheel"  # `make` builds and unpacks it
GROUP = "matrix"  # of pyproject.toml: what the suite needs beside the package and Airflow
EXTRAS = ("emulator", "aiohttp", "excel", "media")


class MatrixError(RuntimeError):
    """An environment cannot be made. The message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One Airflow on one Python."""

    name: str
    airflow: str
    python: str
    resolution: str
    lock: str
    caps: tuple[str, ...]
    fast: bool = False
    browser: bool = False

    @property
    def lock_file(self) -> Path:
        """The hashed requirements."""
        return REQUIREMENTS / self.lock

    @property
    def owns_lock(self) -> bool:
        """Whether the lock file is written for this environment, and is not that of `make test`."""
        return self.lock.startswith("airflow-")

    @property
    def interpreter(self) -> Path:
        """Python inside the environment."""
        return HOME / self.name / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of the suite in one environment. Counts are None if pytest did not end."""

    environment: Environment
    code: int
    seconds: float
    passed: int | None = None
    failed: int | None = None
    skipped: int | None = None

    @property
    def line(self) -> tuple[str, ...]:
        """A row of the final table."""
        ran = self.environment
        counts = ("?" if count is None else str(count) for count in (self.passed, self.failed, self.skipped))
        outcome = "ok" if self.code == 0 else f"exit {self.code}"
        return (ran.name, ran.airflow, ran.python, *counts, f"{self.seconds / 60:.1f}", outcome)


HEADER = ("environment", "Airflow", "Python", "passed", "failed", "skipped", "minutes", "result")


def _table() -> dict[str, Any]:
    return tomllib.loads((REQUIREMENTS / "matrix.toml").read_text(encoding="utf-8"))


def environments() -> list[Environment]:
    """Return every environment of the table, in its order."""
    table = _table()
    return [
        Environment(name=name, caps=tuple(table["caps"].get(row["airflow"].rpartition(".")[0], ())), **row)
        for name, row in table["environments"].items()
    ]


def fast_tests() -> list[str]:
    """Return the tests whose outcome depends on the Airflow and the libraries that are installed."""
    return [str(path) for path in _table()["fast_tests"]]


def browser_tests() -> list[str]:
    """Return the browser tests whose outcome depends on the Airflow."""
    return [str(path) for path in _table()["browser_tests"]]


def lock(environment: Environment) -> None:
    """Resolve the requirements of one environment and write them with their hashes."""
    wanted = [f"apache-airflow=={environment.airflow}", *environment.caps]
    groups = (GROUP, "browser") if environment.browser else (GROUP,)
    command = [
        *(_uv(), "pip", "compile", "--quiet", "--generate-hashes", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock-matrix"),
        *("--python", str(find_python(environment.python)), "--resolution", environment.resolution),
        *(part for extra in EXTRAS for part in ("--extra", extra)),
        *(part for group in groups for part in ("--group", group)),
        *("--output-file", str(environment.lock_file), "pyproject.toml", "-"),
    ]
    subprocess.run(command, cwd=ROOT, input="\n".join(wanted), text=True, check=True)


def prepare(environment: Environment) -> None:
    """Install the locked requirements, and link the source tree in for the tests. Do nothing if both are up to date."""
    stamp = environment.interpreter.parents[1] / "ready"
    content = environment.lock_file.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    if not environment.interpreter.exists():
        python = str(find_python(environment.python))
        _call(_uv(), "venv", "--quiet", "--python", python, str(stamp.parent))
    into = ("--quiet", "--python", str(environment.interpreter))
    _call(_uv(), "pip", "sync", *into, "--require-hashes", str(environment.lock_file))
    _call(_uv(), "pip", "install", *into, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    stamp.write_text(digest)


def run(environment: Environment, options: list[str]) -> Result:
    """Run pytest with these options in one environment. Its output goes to the terminal."""
    started = time.monotonic()
    prepare(environment)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    env |= {
        "PATH": f"{environment.interpreter.parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": str(WHEEL),  # the wheel comes before the source tree
        "PYTHONSAFEPATH": "1",  # the working directory, which holds the source tree, does not come before it
    }
    report = HOME / f"{environment.name}.xml"
    report.unlink(missing_ok=True)
    command = [str(environment.interpreter), "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += options
    code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    return Result(environment=environment, code=code, seconds=time.monotonic() - started, **_counts(report))


def _counts(report: Path) -> dict[str, int]:
    if not report.exists():
        return {}
    suite = next(ET.parse(report).iter("testsuite"))  # noqa: S314  pytest wrote it a moment ago
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return {"passed": total - skipped - failed, "failed": failed, "skipped": skipped}


def find_python(version: str) -> Path:
    """Return an interpreter of a version such as 3.12, from PATH or from pyenv."""
    candidates = [Path(found)] if (found := shutil.which(f"python{version}")) else []
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    for candidate in candidates:
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([str(candidate), "-c", script], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    raise MatrixError(f"Python {version} is needed: neither python{version} on PATH nor pyenv has it.")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise MatrixError("uv is needed: run through `make`, which installs it.")
    return found


def _call(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> int:
    """Lock or run the environments of the command line. The exit code is 1 if any suite failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.matrix")
    parser.add_argument("action", choices=("lock", "run"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--fast", action="store_true", help="only the lowest and the newest")
    parser.add_argument("--browser", action="store_true", help="the browser tests, where `browser` is set")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--pytest", default="", help="further arguments of pytest")
    options = parser.parse_intermixed_args()  # names may follow the options, as in the Makefile
    known = {environment.name: environment for environment in environments()}
    if unknown := set(options.names) - set(known):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(known.values())
    spread = ["-n", options.jobs, "--dist", "worksteal", "--ignore=tests/browser"]
    if options.fast:
        chosen = _runnable([environment for environment in chosen if environment.fast])
        spread += fast_tests()
    elif options.browser:
        chosen = [environment for environment in chosen if environment.browser]
        spread = ["-m", "real and not nightly", *browser_tests()]  # playwright needs a process of its own
    if options.action == "lock":
        for environment in chosen:
            if environment.owns_lock:
                lock(environment)
        return 0
    return _run_all(chosen, [*spread, *options.pytest.split()])


def _runnable(chosen: list[Environment]) -> list[Environment]:
    """Leave out each environment whose Python is not on this machine, and print its name."""
    found = []
    for environment in chosen:
        try:
            find_python(environment.python)
        except MatrixError as error:
            print(f"not run: {environment.name}. {error}")
        else:
            found.append(environment)
    return found


def _run_all(chosen: list[Environment], options: list[str]) -> int:
    results = []
    for environment in chosen:
        print(
            f"=== Airflow {environment.airflow} on Python {environment.python} ({environment.name})",
            flush=True,
        )
        try:
            results.append(run(environment, options))
        except (MatrixError, subprocess.CalledProcessError) as error:
            print(f"{environment.name} could not be set up: {error}", file=sys.stderr)
            results.append(Result(environment=environment, code=1, seconds=0))
    rows = [HEADER, *(result.line for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
