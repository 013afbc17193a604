# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from airflow_provider_jimeng.core.catalogue import (
    ADVISED_PROMPT_LENGTH,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_SIDE,
    MIN_IMAGE_SIDE,
    MODELS,
)
from airflow_provider_jimeng.core.codes import OTHER_NAMES, lookup
from docs import conf, reference, tables
from tests.meta.tree import PACKAGE, ROOT, modules

LINK = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#{1,6}) (.*)$", re.MULTILINE)
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
START = ROOT / "docs" / "index.md"
DOCUMENTS = [*tables.documents(), ROOT / "CHANGELOG.md", CONTRIBUTING]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The names that git hosts, and Sphinx, give to a document's headings."""
    titles = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for _, title in HEADING.findall(prose(path))]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def test_generated_blocks_agree_with_the_source(subtests: pytest.Subtests) -> None:
    for path in tables.documents():
        with subtests.test(path=by_name(path)):
            assert path.read_text(encoding="utf-8") == tables.filled(path), "run `make docs-tables`"


def test_a_block_that_nobody_makes_stops_the_writing_of_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin nothing -->\n<!-- end nothing -->")
    with pytest.raises(KeyError, match="nothing"):
        tables.filled(page)


def test_the_readme_shows_the_models_and_the_first_example() -> None:
    shown = [block["name"] for block in tables.BLOCK.finditer(ENGLISH.read_text(encoding="utf-8"))]
    assert shown == ["example", "models"]


def test_the_readmes_are_short_enough_to_be_read() -> None:
    english, chinese = (
        re.sub(
            r"\]\([^)]*\)", "]", re.sub(r"^\|.*$", "", tables.BLOCK.sub("", prose(path)), flags=re.MULTILINE)
        )
        for path in (ENGLISH, CHINESE)
    )
    assert len(english.split()) <= 900
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) <= 1600


def test_every_name_of_an_error_is_told_with_what_it_is_read_as(subtests: pytest.Subtests) -> None:
    for name in OTHER_NAMES:
        with subtests.test(name=repr(name)):
            entry = lookup(name)
            assert entry is not None
            (row,) = re.findall(
                rf"^\| `{name}` \|.*", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE
            )
            assert f"| `{entry.code}` | {entry.kind.error_class.__name__} | {entry.meaning}" in row


def test_the_readmes_dag_has_ten_lines_and_is_the_example() -> None:
    block = tables.example().splitlines()[1:-1]
    assert "\n".join(block) in ENGLISH.read_text(encoding="utf-8")
    assert len([line for line in block if line.strip()]) == 10


def test_the_prices_and_limits_of_the_readmes_follow_from_the_catalogue() -> None:
    for path, per_second in ((ENGLISH, "CNY {}"), (CHINESE, "{} 元")):
        text = prose(path)
        for model in ("t2v_720p", "t2v_1080p", "ti2v_pro"):
            price = MODELS[model].price_cny_per_second
            assert price is not None
            assert per_second.format(f"{price:.2f}") in text
            assert per_second.format(f"{price * 5:.2f}") in text
        limits = (MAX_IMAGE_SIDE, MIN_IMAGE_SIDE, ADVISED_PROMPT_LENGTH, MAX_IMAGE_BYTES / 1_000_000)
        assert all(f"{limit}" in text for limit in limits)


def test_every_link_inside_the_repository_leads_somewhere(subtests: pytest.Subtests) -> None:
    for path in DOCUMENTS:
        with subtests.test(path=by_name(path)):
            dead = []
            for target in LINK.findall(prose(path)):
                name, _, anchor = target.partition("#")
                home = path.parent / name if name else path
                if not home.is_file() or (anchor and anchor not in anchors(home)):
                    dead.append(target)
            assert not dead


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [ENGLISH]
    while queue:
        path = queue.pop().resolve()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".md":
            targets = [target.partition("#")[0] for target in LINK.findall(prose(path))]
            queue += [path.parent / target for target in targets if target.endswith(".md")]
    assert set(tables.documents()) <= reached


def test_json_in_the_documents_is_json(subtests: pytest.Subtests) -> None:
    for path in DOCUMENTS:
        with subtests.test(path=by_name(path)):
            for kind, code in FENCE.findall(path.read_text(encoding="utf-8")):
                if kind == "json":
                    json.loads(code)


def test_the_make_targets_that_documents_name_exist(subtests: pytest.Subtests) -> None:
    for path in DOCUMENTS:
        with subtests.test(path=by_name(path)):
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            code = "\n".join(
                code for kind, code in FENCE.findall(path.read_text(encoding="utf-8")) if kind == "sh"
            )
            named = re.findall(r"`make ([a-z-]+)", prose(path)) + re.findall(
                r"^make ([a-z-]+)", code, re.MULTILINE
            )
            assert not [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)]


def test_every_path_that_the_guide_for_contributors_names_exists() -> None:
    named = re.findall(r"`((?:\w[\w-]*|\.ci)/[\w./-]*)`", CONTRIBUTING.read_text(encoding="utf-8"))
    homes = (ROOT, ROOT / "airflow_provider_jimeng")
    assert named
    assert not [path for path in named if not any((home / path).exists() for home in homes)]


def test_every_name_on_the_page_about_the_architecture_exists() -> None:
    layers = {module.layer.removesuffix(".py") for module in modules()}
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    names = {name for name in re.findall(r"`([a-z_]+(?:\.\w+)*)`", text) if name.split(".")[0] in layers}
    assert len(names) > 40
    assert not [name for name in sorted(names) if not _exists(name)]


def _exists(name: str) -> bool:
    """Return whether a dotted name below the package is a module, or an attribute of one."""
    found: object = importlib.import_module(PACKAGE)
    path = PACKAGE
    for part in name.split("."):
        path = f"{path}.{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part) and importlib.util.find_spec(path):
            importlib.import_module(path)
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_both_readmes_have_the_same_sections_in_the_same_order() -> None:
    levels = [[len(marks) for marks, _ in HEADING.findall(prose(path))] for path in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    blocks = [
        [block["name"] for block in tables.BLOCK.finditer(path.read_text(encoding="utf-8"))]
        for path in (ENGLISH, CHINESE)
    ]
    assert blocks[0] == blocks[1]


def test_both_readmes_have_the_same_commands_and_code() -> None:
    english, chinese = (
        [(kind, re.sub(r" +# .*", "", code)) for kind, code in FENCE.findall(path.read_text("utf-8"))]
        for path in (ENGLISH, CHINESE)
    )
    assert english == chinese


def test_both_readmes_link_to_the_same_places_and_to_each_other() -> None:
    english, chinese = (
        sorted(target for target in LINK.findall(prose(path)) if not target.startswith("#"))
        for path in (ENGLISH, CHINESE)
    )
    assert [target.replace("README.md", "README.zh-CN.md") for target in english] == sorted(
        re.sub(r"(/images/[\w-]+)\.zh-CN\.", r"\1.", target.replace("README.md", "README.zh-CN.md"))
        for target in chinese
    )
    for path, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other.name})" in "\n".join(path.read_text(encoding="utf-8").splitlines()[:5])


def test_both_readmes_say_the_same_numbers() -> None:
    english, chinese = (
        sorted(re.findall(r"\d+(?:\.\d+)+|\d{3,}", tables.BLOCK.sub("", prose(path))))
        for path in (ENGLISH, CHINESE)
    )
    assert english == chinese


def test_both_pictures_of_the_flow_differ_in_words_only() -> None:
    english, chinese = (
        re.sub(r">[^<]*<", "><", (ROOT / "docs" / "images" / name).read_text(encoding="utf-8"))
        for name in ("flow.svg", "flow.zh-CN.svg")
    )
    assert english == chinese


def test_the_chinese_tables_use_every_word_of_the_dictionary() -> None:
    asked: set[str] = set()

    def say(word: str) -> str:
        asked.add(word)
        return tables.CHINESE[word]

    for name in tables.BILINGUAL:
        tables.content(name, say=say)
    assert set(tables.CHINESE) - asked <= {"unknown"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<script src="https://cdn.example.com/x.js"></script>'),
        ("page.html", "<link rel='stylesheet' href='//fonts.example.com/css'>"),
        ("style.css", "@import url(https://fonts.example.com/css);"),
    ],
)
def test_what_pages_would_load_from_other_hosts_is_found(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [found.partition(":")[0] for found in conf.loaded_from_elsewhere(tmp_path)] == [name]


def test_pages_may_link_to_other_hosts(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<a href="https://airflow.apache.org">Airflow</a><img src="a.png">')
    assert conf.loaded_from_elsewhere(tmp_path) == []


def test_arguments_are_templated_where_the_guide_says_so(subtests: pytest.Subtests) -> None:
    for name in reference.OPERATORS:
        with subtests.test(name=repr(name)):
            operator = getattr(
                importlib.import_module(f"airflow_provider_jimeng.{reference.OPERATORS[name]}"), name
            )
            told = {row[0].strip("`") for row in reference.arguments(name)[1]}
            templated = {field.removeprefix("source_") for field in operator.template_fields}
            assert told - templated <= {"deferrable", "poke_interval"}


def test_every_guide_has_its_place_in_the_contents() -> None:
    guides = {path.stem for path in (ROOT / "docs").glob("*.md")} - {START.stem}
    assert guides == {page for page in conf.PAGES if not page.startswith("../")}
    assert all((START.parent / f"{page}.md").is_file() for page in conf.PAGES)
    assert all(f"\n{page}\n" in conf.CONTENTS for page in conf.PAGES)


def test_each_tutorial_ends_with_a_link_to_the_next_one() -> None:
    tutorials = conf.PARTS["Learn"]
    for page, following in pairwise(tutorials):
        last = (START.parent / f"{page}.md").read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert re.fullmatch(rf"Next: \[[^]]+\]\({following}\.md\)\.", last)
