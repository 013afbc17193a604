# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.messages import explanations
from airflow_provider_jimeng.web import pages
from airflow_provider_jimeng.web.entries import STATES

if TYPE_CHECKING:
    from tests.web.conftest import Reader

PAGES = ("", "render", "compare", "campaign", "costs")
SOURCES = {name: source.decode() for name, source in pages.modules().items()}
IMPORTED = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', re.MULTILINE)
EXPORTED = re.compile(r"^export (?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
MARKUP_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function"
)


def messages(language: str) -> dict[str, str]:
    source = SOURCES[f"{language.lower()}.js"]
    return dict(re.findall(r'^  (\w+): "((?:[^"\\]|\\.)*)",$', source, re.MULTILINE))


def test_a_page_allows_only_its_own_scripts_and_style_and_is_not_kept(viewer: Reader) -> None:
    for page in PAGES:
        reply = viewer.get(page)
        policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
        style = reply.text.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": f"'sha256-{digest}'",
            "img-src": "'self' data:",
            "media-src": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'self'",
            "frame-ancestors": "'self'",
            "require-trusted-types-for": "'script'",
        }
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["content-type"] == "text/html; charset=utf-8"


def test_every_address_in_a_page_is_relative_and_names_no_other_host() -> None:
    for page in ("gallery", "render", "compare", "campaign", "costs"):
        addresses = re.findall(r'(?:src|href)="([^"]*)"', pages.page(page))
        assert len(addresses) == len(SOURCES) + 2
        assert all(
            address.startswith((f"static/{pages.version()}/", "data:image/svg+xml;")) for address in addresses
        )
    for source in (*SOURCES.values(), pages.style()):
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)", source))
        assert hosts <= {"www.w3.org"}  # the name of a namespace


def test_the_modules_are_served_as_they_are_and_kept_for_ever_under_the_hash_of_their_content(
    viewer: Reader,
) -> None:
    for name, content in pages.modules().items():
        current = viewer.get(f"static/{pages.version()}/{name}")
        assert current.content == content == (pages.STATIC / name).read_bytes()
        assert current.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert current.headers["content-type"] == "text/javascript; charset=utf-8"
    older = viewer.get("static/of-an-older-release/main.js")
    assert (older.status_code, older.headers["cache-control"]) == (200, "no-cache")
    assert f'<script type="module" src="static/{pages.version()}/main.js">' in viewer.get("").text


def test_every_module_imports_only_what_others_export_and_every_module_is_imported() -> None:
    imported = set()
    for source in SOURCES.values():
        statements = IMPORTED.findall(source)
        assert len(statements) == len(re.findall(r"\bimport\b", source))
        for names, origin in statements:
            imported.add(origin)
            assert {name.strip() for name in names.split(",")} <= set(EXPORTED.findall(SOURCES[origin]))
    assert imported | {"main.js"} == set(SOURCES)


def test_no_module_makes_markup_of_text() -> None:
    assert not [name for name, source in SOURCES.items() if MARKUP_SINKS.search(source)]


def test_both_languages_have_the_same_texts_with_the_same_values() -> None:
    english, chinese = messages("EN"), messages("ZH")
    assert len(english) > 100
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_text_that_the_pages_use_exists_and_none_is_unused() -> None:
    text = "\n".join(SOURCES.values())
    known = messages("EN")
    used = set(re.findall(r'\b(?:t|has)\(\s*"(\w+)"', text)) | set(
        re.findall(r'"(error_\w+|\w+_title|\w+_text)"', text)
    )
    assert used <= set(known), used - set(known)
    assert {f"state_{state}" for state in STATES} <= set(known)
    sources = text.replace(SOURCES["en.js"], "").replace(SOURCES["zh.js"], "")
    from airflow_provider_jimeng.core.render import RenderManifest

    payload = set(RenderManifest.__dataclass_fields__) | {
        "outcome",
        "code",
        "message",
        "refused_at",
        "intent_at",
    }
    families = tuple(re.findall(r"`(\w+_)\$\{", sources))
    left_over = {
        key
        for key in known
        if not re.search(rf'"{key}"', sources) and key not in payload and not key.startswith(families)
    }
    assert not left_over


def test_every_explanation_has_its_own_sentences_in_chinese() -> None:
    pairs = {
        (english, chinese)
        for each in explanations()
        for english, chinese in ((each.meaning, each.meaning_zh), (each.advice, each.advice_zh))
        if english
    }
    assert len(pairs) > 70
    assert not [chinese for _, chinese in pairs if not re.search(r"[\u4e00-\u9fff].*。$", chinese or "")]
    assert len({english for english, _ in pairs}) == len(pairs), "a sentence has one translation"
    assert len({chinese for _, chinese in pairs}) == len(pairs), "what differs in English differs in Chinese"
