# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the documents (models, prices, codes, arguments) and the examples from the code.

`python docs/tables.py` (or `make docs-tables`) fills every block `<!-- begin NAME -->` … `<!-- end NAME -->` of the
READMEs, docs/*.md and .github/*.md. `--check` only names the documents that are stale. Some blocks name what they describe:
`<!-- begin arguments JimengVideoSensor -->`. A test fails if the documents differ from the code. README.zh-CN.md gets
the same tables with the words of docs/zh.toml.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # A script starts in its own folder.
from airflow_provider_jimeng.cli import commands
from airflow_provider_jimeng.core import assumptions, catalogue, codes
from airflow_provider_jimeng.core.outcomes import Billed
from airflow_provider_jimeng.emulator import faults
from docs import fact_tables, reference
from tests.chaos import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    Say = Callable[[str], str]

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(<!-- begin (?P<name>[a-z-]+)(?: (?P<about>\w+))? -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL
)
CHINESE: dict[str, str] = tomllib.loads((ROOT / "docs" / "zh.toml").read_text(encoding="utf-8"))["words"]


def documents() -> list[Path]:
    """Return every document that can contain generated blocks."""
    readmes = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "example_dags" / "README.md"]
    return [*readmes, *sorted((ROOT / "docs").glob("*.md")), *community_files()]


def community_files() -> list[Path]:
    """Return the documents that a git host finds in .github, without the template of pull requests."""
    return [path for path in sorted((ROOT / ".github").glob("*.md")) if "TEMPLATE" not in path.name]


def is_chinese(path: Path) -> bool:
    """Return whether a document is in Chinese."""
    return path.stem.endswith(".zh-CN")


def filled(path: Path) -> str:
    """Return a document with every block made again. An unknown block name or word is a KeyError."""
    say: Say = CHINESE.__getitem__ if is_chinese(path) else str
    return BLOCK.sub(
        lambda block: f"{block[1]}{content(block['name'], block['about'], say)}\n{block['end']}",
        path.read_text(encoding="utf-8"),
    )


def content(name: str, about: str | None = None, say: Say = str) -> str:
    """Return the content of a block."""
    if about is not None:
        return ABOUT[name](about)
    return BILINGUAL[name](say) if name in BILINGUAL else BLOCKS[name]()


def models(say: Say) -> str:
    """Return one row per model: its input and its output."""
    rows = [
        (
            f"`{spec.name}`",
            f"`{spec.req_key}`",
            say(spec.inputs) + (say(" + camera") if spec.camera else ""),
            f" {say('or')} ".join(str(seconds) for seconds in spec.durations) + f" {say('s')}",
            _sizes(spec),
            say(spec.note),
        )
        for spec in catalogue.MODELS.values()
    ]
    header = ("model", "`req_key`", "input", "length", "16:9 picture", "note")
    return _table([say(word) for word in header], rows)


def parameters(say: Say) -> str:
    """Return one row per model: the arguments that it accepts."""
    rows = [
        (
            f"`{spec.name}`",
            say("required" if spec.prompt_required else "optional") + say(", ") + f"≤ {spec.prompt_max}",
            ", ".join(f"`{seconds}`" for seconds in spec.durations),
            " ".join(f"`{ratio}`" for ratio in spec.aspect_ratios) or say("as the first frame"),
            say(_frames(spec)),
            say("required") if spec.camera else "–",
        )
        for spec in catalogue.MODELS.values()
    ]
    header = ("model", "`prompt` (characters)", "`duration`", "`aspect_ratio`", "frames", "`camera_…`")
    return _table([say(word) for word in header], rows)


def prices(say: Say) -> str:
    """Return one row per model: its price per second and for each length."""
    rows = []
    for spec in catalogue.MODELS.values():
        price = spec.price_cny_per_second
        lengths = [_cny(price, seconds) if seconds in spec.durations else "–" for seconds in (5, 10)]
        cells = [say(cell) if cell == "unknown" else cell for cell in (_cny(price, 1), *lengths)]
        rows.append((f"`{spec.name}`", *cells, say(fact_tables.SURE[spec.price_confidence])))
    header = ("model", "CNY per second", "5 s", "10 s", "how sure")
    return _table([say(word) for word in header], rows)


BILLED = {Billed.NO: "no", Billed.UNKNOWN: "unknown after a submit"}


def error_codes() -> str:
    """Return one row per code: what it means, whether it is tried again and billed, and what to do."""
    entries = [*codes.BUSINESS_CODES.values(), *codes.GATEWAY_CODES.values()]
    rows = [
        (
            f"`{entry.code}` {entry.name}".rstrip(),
            entry.kind.error_class.__name__,
            _sentence(entry.meaning),
            _tried_again(entry),
            BILLED[entry.kind.error_class.billed],
            _sentence(entry.advice),
        )
        for entry in entries
    ]
    return _table(("code", "error", "meaning", "tried again", "billed", "what to do"), rows)


def _tried_again(entry: codes.CodeEntry) -> str:
    if not entry.retryable:
        return "no"
    if entry.fails_render:
        return "by a retry, as a new render"
    unknown = entry.kind.error_class.billed is Billed.UNKNOWN
    return "a query: by itself; a submit: never" if unknown else "by itself"


def error_names() -> str:
    """Return one row per further name of an error: the code that it stands for, and its meaning."""
    found = [(name, codes.lookup(code)) for name, code in codes.OTHER_NAMES.items()]
    rows = [
        (
            f"`{name}`",
            f"`{entry.code}`",
            entry.kind.error_class.__name__,
            _sentence(entry.meaning),
            _of_gateway(name, entry),
        )
        for name, entry in found
        if entry is not None
    ]
    return _table(("name", "read as", "error", "meaning", "from a gateway"), rows)


def _of_gateway(name: str, entry: codes.CodeEntry) -> str:
    """Return the meaning of a name that only gateways use."""
    own = codes.entry_for(name)
    return "–" if own is None or own is entry else _sentence(f"{own.meaning} {own.advice}")


def fault_kinds() -> str:
    """Return one row per fault of the emulator: where it can happen, its parameters, its meaning."""
    rows = [
        (
            f"`{name}`" + (" (early)" if kind.early else ""),
            ", ".join(kind.where),
            ", ".join(f"`{key}` ({json.dumps(value)})" for key, value in kind.parameters.items()) or "–",
            _sentence(kind.meaning),
        )
        for name, kind in faults.KINDS.items()
    ]
    return _table(("what", "where", "parameters (default)", "meaning"), rows)


def example() -> str:
    """Return the smallest example DAG, without its docstring."""
    return dag("text_to_video")


def dag(name: str) -> str:
    """Return an example DAG without its docstring. All examples run in CI."""
    source = (ROOT / "example_dags" / f"example_{name}.py").read_text(encoding="utf-8")
    code = source.split('"""', 2)[2].strip()
    return f"```python\n{code}\n```"


def examples() -> str:
    """Return one row per example DAG file: the first paragraph of its docstring."""
    rows = []
    for path in sorted((ROOT / "example_dags").glob("*.py")):
        summary = path.read_text(encoding="utf-8").split('"""', 2)[1].partition("\n\n")[0]
        rows.append((f"[{path.name}]({path.name})", _sentence(summary)))
    return _table(("file", "what it shows"), rows)


def manifest() -> str:
    """Return a manifest, as it is beside a video and in XCom."""
    return f"```json\n{json.dumps(reference.manifest(), ensure_ascii=False, indent=2)}\n```"


def chaos_table() -> str:
    """Return one row per experiment that a test performs in one process. The test fails if its result differs."""
    return _chaos(rows.ROWS)


def process_table() -> str:
    """Return the same table for the experiments on a real Airflow."""
    return _chaos(rows.PROCESS_ROWS)


def chaos_line(row: rows.Row) -> str:
    """Return the line of docs/reliability.md for a row."""
    return _chaos([row]).splitlines()[-1]


def _chaos(table: Iterable[rows.Row]) -> str:
    lines = [
        (
            row.what,
            row.then,
            ", ".join(f'`{name}="{value}"`' for name, value in row.policy.items()) or "default",
            str(row.accepted),
            str(row.billed),
            str(row.landed),
            row.state,
        )
        for row in table
    ]
    header = (
        "what happens",
        "then",
        "policy",
        "accepted submits",
        "billed",
        "saved files",
        "final task state",
    )
    return _table(header, lines)


def airflow_versions(say: Say) -> str:
    """Return one row per feature: the versions of Airflow that have it, and what happens on the others."""
    from tests.harness.features import TABLE, features  # noqa: PLC0415  it imports pytest

    versions = [str(version) for version in TABLE["airflow"]]
    chinese = say is not str
    rows = [
        (
            feature.zh if chinese else feature.en,
            *("✓" if feature.works_on(version) else "–" for version in versions),
            feature.without_zh if chinese else feature.without_en,
        )
        for feature in features().values()
    ]
    return _table(("", *versions, say("where it is missing")), rows)


def exit_codes() -> str:
    """One row per exit code of the command line."""
    return _table(
        ("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in commands.EXIT_CODES.items()]
    )


def command_options(name: str) -> str:
    """One row per argument of a command."""
    (command,) = [each for each in commands.COMMANDS if each.name == name]
    rows = []
    for each in command.options:
        flags = ", ".join(f"`{flag}`" for flag in each.flags)
        metavar = each.settings.get("metavar") if each.flags[0].startswith("-") else None
        text = str(each.settings["help"]).replace("%(default)s", str(each.settings.get("default")))
        rows.append((flags + (f" `{metavar}`" if metavar else ""), text))
    return _table(("argument", "meaning"), rows)


def assumption_table() -> str:
    """One row per fact that the package assumes of the API."""
    who = {
        assumptions.FREE: "`jimeng doctor`",
        assumptions.PAID: "`jimeng doctor --pay`",
        assumptions.NEVER: "–",
    }
    rows = [
        (each.fact, each.assumed, each.confidence, each.source, who[each.seen_by])
        for each in assumptions.ASSUMPTIONS.values()
    ]
    return _table(("fact", "assumed", "confidence", "source", "compared by"), rows)


def contact(setting: str) -> str:
    """Return a line with a contact of the publisher, or a line that says that it is not set."""
    address = reference.PUBLISHER[setting]
    if not address:
        return f"The publisher has not set an address yet (`{setting}` in `pyproject.toml`)."
    return f"Address: <{address}>"


BLOCKS: dict[str, Callable[[], str]] = {
    "assumptions": assumption_table,
    "conduct-contact": lambda: contact("conduct-contact"),
    "security-contact": lambda: contact("security-contact"),
    "exit-codes": exit_codes,
    "error-codes": error_codes,
    "error-names": error_names,
    "example": example,
    "examples": examples,
    "manifest": manifest,
    "faults": fault_kinds,
    "chaos": chaos_table,
    "chaos-processes": process_table,
    "connection-fields": lambda: _table(*reference.connection_fields()),
    "connection-extra": lambda: _table(*reference.connection_extra()),
    "dependencies": lambda: _table(*reference.dependencies()),
    "caps": lambda: _table(*reference.caps()),
    "extras": lambda: _table(*reference.extras()),
    "columns": lambda: _table(*reference.columns()),
    "error-classes": lambda: _table(*reference.error_classes()),
    "hook-methods": lambda: _table(*reference.hook_methods()),
    "limits": lambda: _table(*fact_tables.limits()),
    "image-limits": lambda: _table(*fact_tables.image_limits()),
    "sizes": lambda: _table(*fact_tables.sizes()),
    "times": lambda: _table(*fact_tables.times()),
    "wrong-keys": lambda: _table(*fact_tables.wrong_keys()),
    "vendor-pages": lambda: _table(*fact_tables.vendor_pages()),
}
BILINGUAL: dict[str, Callable[[Say], str]] = {
    "airflow-versions": airflow_versions,
    "models": models,
    "parameters": parameters,
    "prices": prices,
}
ABOUT: dict[str, Callable[[str], str]] = {
    "command": command_options,
    "dag": dag,
    "arguments": lambda operator: _table(*reference.arguments(operator)),
}


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _frames(spec: catalogue.ModelSpec) -> str:
    return {
        (0, 0): "–",
        (0, 1): "`first_frame` optional",
        (1, 1): "`first_frame` required",
        (2, 2): "`first_frame` and `last_frame` required",
    }[spec.min_images, spec.max_images]


def _sizes(spec: catalogue.ModelSpec) -> str:
    width, height = spec.sizes.get("16:9", (0, 0))
    return f"{width}×{height}" if width else "–"


def _cny(price: Decimal | None, seconds: int) -> str:
    return "unknown" if price is None else f"{price * seconds:.2f}"


def _sentence(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    """Write every block of every document, or name the stale documents."""
    stale = {path: new for path in documents() if (new := filled(path)) != path.read_text(encoding="utf-8")}
    if sys.argv[1:] == ["--check"]:
        if stale:
            names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
            sys.exit(f"stale: {names}; run `make docs-tables`")
        return
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
