# SPDX-License-Identifier: Apache-2.0
"""Keep the Chinese translations in docs/locale with the messages of the documents.

`make docs-translations` merges new and changed messages into the .po files. A changed message keeps its old translation
and is marked fuzzy. The site shows it in English until a person has looked at it and removed the mark. `make docs` prints
how many messages are untranslated and fuzzy. It fails if a translation lost code or a link of its English text.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from airflow_provider_jimeng.core.messages import explanations

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "build" / "gettext"
TRANSLATED = ROOT / "docs" / "locale" / "zh_CN" / "LC_MESSAGES"
LEFT_IN_ENGLISH = {"docs/api", "sphinx"}
"""Pages without translations: the API reference is made from docstrings."""
WORDS = re.compile(r"[A-Za-z]{2}")
NOT_WORDS = re.compile(
    r"`[^`]*`|<https?://[^>]*>|\b[A-Z][A-Za-z]*[a-z][A-Z][A-Za-z]*\b|\b[A-Z]{2,}[a-z]\w*\b"
)
"""Code, links and the names of classes stay as they are in every language."""
KEPT = re.compile(r"`[^`]+`|\]\([^)\s]+\)")
CHINESE_PICTURE = re.compile(r"(\(images/[\w-]+)\.zh-CN(\.\w+\))")
"""The Chinese form of a picture has the name of the English one with this ending."""


def templates() -> Iterator[tuple[str, Path]]:
    """Return the name and the template of each page that is translated."""
    for path in sorted(TEMPLATES.rglob("*.pot")):
        name = path.relative_to(TEMPLATES).with_suffix("").as_posix()
        if name not in LEFT_IN_ENGLISH:
            yield name, path


def read(path: Path) -> Catalog:
    """Return a catalogue; an empty one if the file does not exist."""
    if not path.exists():
        return Catalog(locale="zh_CN", fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale="zh_CN")


def written(catalogue: Catalog) -> bytes:
    """Return a .po file without dates and line numbers, which would change in every commit."""
    catalogue.header_comment = ""
    catalogue.fuzzy = False
    file = BytesIO()
    write_po(file, catalogue, width=0, no_location=True, omit_header=True, ignore_obsolete=True)
    header = b'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    return header + file.getvalue().lstrip()


def translations_of_the_code() -> dict[str, str]:
    """Return the words that the code and the Chinese README's tables have in both languages."""
    known: dict[str, str] = {}
    for each in explanations():
        known[" ".join(each.meaning.split())] = each.meaning_zh
        known[" ".join(each.advice.split())] = each.advice_zh
    known |= tomllib.loads((ROOT / "docs" / "zh.toml").read_text("utf-8"))["words"]
    for feature in tomllib.loads((ROOT / "docs" / "features.toml").read_text("utf-8"))["feature"]:
        known[feature["en"]] = feature["zh"]
        known[feature.get("without_en", "")] = feature.get("without_zh", "")
    return {english: chinese for english, chinese in known.items() if english and chinese}


def sure(catalogue: Catalog) -> Iterator[tuple[str, str]]:
    """Return each English text that has a translation that is not fuzzy, with this translation."""
    for message in catalogue:
        if message.id and message.string and not message.fuzzy:
            yield str(message.id), str(message.string)


def memory() -> dict[str, str]:
    """Return every translation there is, by its English text."""
    return {
        english: chinese for path in sorted(TRANSLATED.rglob("*.po")) for english, chinese in sure(read(path))
    }


def update() -> None:
    """Merge the messages of all pages into the .po files, and remove the files of pages that do not exist."""
    known, of_the_code = memory(), translations_of_the_code()
    kept = set()
    for name, template in templates():
        path = TRANSLATED / f"{name}.po"
        kept.add(path)
        catalogue = read(path)
        catalogue.update(read(template))
        for message in catalogue:
            english = str(message.id)
            if english and not WORDS.search(NOT_WORDS.sub("", english)):
                text: str | None = english
            elif english in of_the_code or not message.string or message.fuzzy:
                text = of_the_code.get(english) or known.get(english)
            else:
                text = None
            if text:
                message.string = text
                message.flags.discard("fuzzy")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written(catalogue))
    for path in set(TRANSLATED.rglob("*.po")) - kept:
        path.unlink()


def counts() -> list[str]:
    """Return a line for each page that is not complete, and one for all pages."""
    lines = []
    total = untranslated = fuzzy = 0
    for name, template in templates():
        wanted = {message.id for message in read(template) if message.id}
        there = {message.id: message for message in read(TRANSLATED / f"{name}.po") if message.string}
        unsure = sum(there[text].fuzzy for text in wanted & set(there))
        empty = len(wanted - set(there))
        total, untranslated, fuzzy = total + len(wanted), untranslated + empty, fuzzy + unsure
        if empty or unsure:
            lines.append(f"{name}: {len(wanted)} messages, {empty} untranslated, {unsure} fuzzy")
    return [*lines, f"zh_CN: {total} messages, {untranslated} untranslated, {fuzzy} fuzzy"]


def damaged() -> list[str]:
    """Return the translations that lost code or a link of their English text, or that say 您."""
    return [
        f"{path.relative_to(TRANSLATED)}: {english[:70]}"
        for path in sorted(TRANSLATED.rglob("*.po"))
        for english, chinese in sure(read(path))
        if Counter(KEPT.findall(english)) - Counter(KEPT.findall(CHINESE_PICTURE.sub(r"\1\2", chinese)))
        or "您" in chinese
    ]


def main() -> None:
    """Update the .po files; with `--check`, only count what is not translated, and fail if a translation is damaged."""
    if sys.argv[1:] != ["--check"]:
        update()
    print("\n".join(counts()))
    wrong = damaged()
    if wrong:
        sys.exit("\n".join(["these translations lost code or a link, or say 您:", *wrong]))


if __name__ == "__main__":
    main()
