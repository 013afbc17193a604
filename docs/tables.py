"""Writes what the documents say about models, prices, codes and the first example from the source itself.

`python docs/tables.py` (or `make docs-tables`) fills every block `<!-- begin NAME -->` … `<!-- end NAME -->` of
README.md and docs/*.md. A test compares, so that the documents cannot drift from the code.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core import catalogue, codes
from airflow_provider_jimeng.emulator import faults

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, it starts in its own folder
from tests.chaos import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- begin (?P<name>[a-z-]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every document that may hold generated blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """Return a document with every block made anew; an unknown block name is a KeyError."""
    return BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block['name']]()}\n{block[3]}", text)


def models() -> str:
    """One row per model: what goes in, and what comes out."""
    rows = [
        (
            f"`{spec.name}`",
            f"`{spec.req_key}`",
            spec.inputs + (" + camera" if spec.camera else ""),
            " or ".join(str(seconds) for seconds in spec.durations) + " s",
            _sizes(spec),
            spec.note,
        )
        for spec in catalogue.MODELS.values()
    ]
    return _table(("model", "`req_key`", "input", "length", "16:9 picture", "note"), rows)


def parameters() -> str:
    """One row per model: which arguments it takes."""
    rows = [
        (
            f"`{spec.name}`",
            f"{'required' if spec.prompt_required else 'optional'}, ≤ {spec.prompt_max}",
            ", ".join(f"`{seconds}`" for seconds in spec.durations),
            " ".join(f"`{ratio}`" for ratio in spec.aspect_ratios) or "as the first frame",
            _frames(spec),
            "required" if spec.camera else "–",
        )
        for spec in catalogue.MODELS.values()
    ]
    header = ("model", "`prompt` (characters)", "`duration`", "`aspect_ratio`", "frames", "`camera_…`")
    return _table(header, rows)


def prices() -> str:
    """One row per price: per second, and for each length."""
    rows = []
    for spec in catalogue.MODELS.values():
        price = spec.price_cny_per_second
        lengths = [_cny(price, seconds) if seconds in spec.durations else "–" for seconds in (5, 10)]
        rows.append((f"`{spec.name}`", _cny(price, 1), *lengths, spec.price_confidence))
    return _table(("model", "CNY per second", "5 s", "10 s", "confidence"), rows)


def error_codes() -> str:
    """One row per code: what it means and what to do."""
    entries = [*codes.BUSINESS_CODES.values(), *codes.GATEWAY_CODES.values()]
    rows = [
        (
            f"`{entry.code}`",
            entry.name,
            entry.kind.error_class.__name__,
            "yes" if entry.retryable else "no",
            _sentence(entry.meaning),
            _sentence(entry.advice),
        )
        for entry in entries
    ]
    return _table(("code", "name", "error", "tried again", "meaning", "what to do"), rows)


def fault_kinds() -> str:
    """One row per fault of the emulator: where it may strike, what it takes, what it does."""
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
    """The smallest example DAG, without its docstring."""
    source = (ROOT / "example_dags" / "example_text_to_video.py").read_text(encoding="utf-8")
    code = source.split('"""', 2)[2].strip()
    return f"```python\n{code}\n```"


def chaos_table() -> str:
    """One row per experiment that a test performs in this process; the test fails if it comes to anything else."""
    return _chaos(rows.ROWS)


def process_table() -> str:
    """The same on a real Airflow."""
    return _chaos(rows.PROCESS_ROWS)


def chaos_line(row: rows.Row) -> str:
    """Return the line of a table for a row, as it stands in docs/reliability.md."""
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
        "landed files",
        "final task state",
    )
    return _table(header, lines)


def airflow_versions() -> str:
    """One row per feature that not every Airflow has: where it works, and what happens elsewhere."""
    from tests.harness.features import TABLE, features  # noqa: PLC0415  it brings pytest along

    versions = [str(version) for version in TABLE["airflow"]]
    rows = [
        (
            feature.en,
            *("✓" if feature.works_on(version) else "–" for version in versions),
            feature.without_en,
        )
        for feature in features().values()
    ]
    return _table(("", *versions, "where it is missing"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "airflow-versions": airflow_versions,
    "models": models,
    "parameters": parameters,
    "prices": prices,
    "error-codes": error_codes,
    "example": example,
    "faults": fault_kinds,
    "chaos": chaos_table,
    "chaos-processes": process_table,
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
    """Write every block of every document."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
