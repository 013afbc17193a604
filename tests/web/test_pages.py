from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.core.event import UNKNOWN_SUBMIT, Outcome
from airflow_provider_jimeng.web import pages
from airflow_provider_jimeng.web.tables import STATES

if TYPE_CHECKING:
    from tests.web.conftest import Reader

SOURCES = {name: (pages.STATIC / f"{name}.js").read_text(encoding="utf-8") for name in pages.MODULES}
DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
MARKUP_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function"
)


def messages(language: str) -> dict[str, str]:
    block = re.search(rf"^const {language} = {{\n(.*?)^}};", SOURCES["i18n"], re.MULTILINE | re.DOTALL)
    assert block is not None
    return dict(re.findall(r'^  (\w+): "((?:[^"\\]|\\.)*)",$', block.group(1), re.MULTILINE))


@pytest.mark.parametrize("page", ["", "render", "compare"])
def test_a_page_allows_nothing_but_its_own_script_and_style(page: str, viewer: Reader) -> None:
    reply = viewer.get(page)
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    style = re.search(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()

    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "media-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
        "require-trusted-types-for": "'script'",
    }
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("page", ["gallery", "render", "compare"])
def test_every_address_in_a_page_is_relative_and_ours(page: str) -> None:
    addresses = re.findall(r'(?:src|href)="([^"]*)"', pages.page(page))
    assert addresses
    assert all(address.startswith(("static/app.js?v=", "data:image/svg+xml;")) for address in addresses)
    for source in (*SOURCES.values(), pages.style()):
        foreign = [
            found for found in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", source) if "www.w3.org" not in found
        ]
        assert not foreign


def test_the_script_may_be_kept_for_ever_under_the_name_of_its_content(viewer: Reader) -> None:
    current = viewer.get("static/app.js", {"v": pages.version()})
    assert current.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert current.content == pages.script()
    for other in ({}, {"v": "of-an-older-release"}):
        assert viewer.get("static/app.js", other).headers["cache-control"] == "no-cache"
    assert f"static/app.js?v={pages.version()}" in viewer.get("").text


def test_the_modules_can_be_joined_into_one_script() -> None:
    files = {path.stem for path in pages.STATIC.glob("*.js")}
    assert files == set(pages.MODULES)
    declared = [name for source in SOURCES.values() for name in DECLARED.findall(source)]
    assert len(declared) == len(set(declared)), "names are unique across modules"
    joined = pages.script().decode()
    assert not re.search(r"^(import|export)\b", joined, re.MULTILINE)
    assert DECLARED.findall(joined) == declared


@pytest.mark.parametrize("module", pages.MODULES)
def test_a_module_imports_what_it_uses_from_modules_before_it(module: str) -> None:
    before = pages.MODULES[: pages.MODULES.index(module)]
    imported = IMPORTED.findall(SOURCES[module])
    assert len(imported) == SOURCES[module].count("\nimport ") + SOURCES[module].startswith("import ")
    for names, origin in imported:
        assert origin in before
        exported = set(
            re.findall(
                r"^export (?:async )?(?:function|const|let|class) (\w+)", SOURCES[origin], re.MULTILINE
            )
        )
        assert {name.strip() for name in names.split(",")} <= exported


@pytest.mark.parametrize("module", pages.MODULES)
def test_no_module_makes_markup_of_text(module: str) -> None:
    assert not MARKUP_SINKS.search(SOURCES[module])


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    english, chinese = messages("EN"), messages("ZH")
    assert len(english) > 100
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_sentence_that_is_asked_for_exists_and_none_is_left_over() -> None:
    text = "\n".join(SOURCES[name] for name in pages.MODULES)
    known = messages("EN")
    asked = set(re.findall(r'\b(?:t|has)\(\s*"(\w+)"', text)) | set(
        re.findall(r'"(error_\w+|\w+_title|\w+_text)"', text)
    )
    assert asked <= set(known), asked - set(known)
    assert {f"state_{state}" for state in STATES} <= set(known)
    sources = text.replace(SOURCES["i18n"], "")
    from airflow_provider_jimeng.core.render import RenderManifest

    payload = set(RenderManifest.__dataclass_fields__) | {
        "outcome",
        "code",
        "message",
        "refused_at",
        "intent_at",
    }
    families = ("state_", "stage_", "outcome_", "advice_")
    left_over = {
        key
        for key in known
        if not re.search(rf'"{key}"', sources) and key not in payload and not key.startswith(families)
    }
    assert not left_over


def test_every_sentence_of_the_code_table_has_its_own_in_chinese_and_there_are_no_others() -> None:
    table = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]
    sentences = {entry.meaning for entry in table} | {entry.advice for entry in table}
    chinese = dict(re.findall(r'^  "(.*?)":\s+"(.*?)",$', SOURCES["codes"], re.MULTILINE))
    assert len(sentences) > 70
    assert set(chinese) == sentences
    assert all(re.search(r"[\u4e00-\u9fff].*。$", text) for text in chinese.values())
    assert len(set(chinese.values())) == len(sentences), "what differs in English differs in Chinese"


def test_every_end_of_a_render_has_its_words_and_no_other() -> None:
    ends = {outcome.value for outcome in Outcome if outcome is not Outcome.SLOT_FREE} | {
        UNKNOWN_SUBMIT,
        "none",
    }
    assert {key for key in messages("EN") if key.startswith("outcome_")} == {f"outcome_{end}" for end in ends}
    advised = ends - {"failed"}  # its advice is that of its code
    assert {key for key in messages("EN") if key.startswith("advice_")} == {
        f"advice_{end}" for end in advised
    }
