# SPDX-License-Identifier: Apache-2.0
"""The pages and what they load: the ES modules of ``static/`` as they are, and one stylesheet.

There is no build step. The path of the modules contains a hash of all of them, so a browser can keep them for ever: a new
release has a new path. The stylesheet is a part of each page, and the page's security policy names its hash.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_PAGE = """<!doctype html>
<html lang="en" data-page="{page}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="same-origin">
<title>Jimeng · 即梦</title>
<link rel="icon" href="data:image/svg+xml;base64,{icon}">
<style>{style}</style>
{scripts}
</head>
<body>{body}</body>
</html>
"""
_SIGN_IN = """<main class="notice"><h1>{text}</h1><p><a class="button primary" href="{href}">{action}</a></p></main>"""
_SIGN_IN_TEXT = {
    "en": ("Sign in to Airflow to see its renders.", "Sign in"),
    "zh": ("登录 Airflow 后即可查看生成任务。", "登录"),
}


@cache
def modules() -> dict[str, bytes]:
    """Return the JavaScript modules by file name."""
    return {path.name: path.read_bytes() for path in sorted(STATIC.glob("*.js"))}


@cache
def version() -> str:
    """Return the version of the modules, a hash of their content. It is a part of their path."""
    digest = hashlib.sha256()
    for name, content in modules().items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@cache
def icon() -> bytes:
    """Return the icon. Its colour is visible on Airflow's light, dark and selected navigation."""
    return (STATIC / "icon.svg").read_bytes()


@cache
def style() -> str:
    """Return the stylesheet."""
    return (STATIC / "app.css").read_text(encoding="utf-8")


@cache
def page(name: str) -> str:
    """Return one page. It contains no data: its script asks for them."""
    return _document(name, "<noscript>This page needs JavaScript. 此页面需要 JavaScript。</noscript>")


def sign_in_page(language: str, href: str) -> str:
    """Return the page for a reader who is not signed in; ``language`` is an ``Accept-Language`` header."""
    text, action = _SIGN_IN_TEXT["zh" if language.lower().startswith("zh") else "en"]
    return _document("notice", _SIGN_IN.format(text=text, action=action, href=href))


def _document(name: str, body: str) -> str:
    path = f"static/{version()}"
    # With these lines the browser loads all modules at once, and does not find them one import after the other.
    preloads = [f'<link rel="modulepreload" href="{path}/{module}">' for module in modules()]
    scripts = "\n".join([*preloads, f'<script type="module" src="{path}/main.js"></script>'])
    tab_icon = base64.b64encode(icon()).decode()
    return _PAGE.format(page=name, style=style(), scripts=scripts, icon=tab_icon, body=body)


def security_policy(*, media: str = "'self'") -> str:
    """Return the Content-Security-Policy of the pages: no outside content, and nothing inline except the stylesheet."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'sha256-{digest}'",
            "img-src 'self' data:",  # posters and previews; the icon of the tab, which would need a request of its own
            f"media-src {media}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",  # a selection of many files is posted
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
        )
    )
