from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import tables
from tests.meta.tree import ROOT

LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
DOCUMENTS = [*tables.documents(), ROOT / "CHANGELOG.md"]


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", tables.documents(), ids=by_name)
def test_generated_blocks_agree_with_the_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == tables.filled(text), "run `make docs-tables`"


def test_the_readme_shows_models_parameters_prices_and_the_first_example() -> None:
    shown = {
        block["name"] for block in tables.BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
    }
    assert {"models", "parameters", "prices", "example"} <= shown


def test_the_readmes_dag_has_ten_lines_and_is_the_example() -> None:
    block = tables.example().splitlines()[1:-1]
    assert "\n".join(block) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len([line for line in block if line.strip()]) == 10


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    targets = LINK.findall(path.read_text(encoding="utf-8"))
    assert not [target for target in targets if "{{" not in target and not (path.parent / target).exists()]


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        path = queue.pop().resolve()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".md":
            targets = LINK.findall(path.read_text(encoding="utf-8"))
            queue += [path.parent / target for target in targets if target.endswith(".md")]
    assert set(tables.documents()) <= reached
