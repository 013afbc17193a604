"""The three pages and their one script, put together from the files in ``static/``.

The sources are plain ES modules. They are joined in order, without their import lines, so that a page costs one
request for all of them; the style sheet goes into the page itself, named by its hash in the page's security policy.
There is no build step: what is in ``static/`` is what is served.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
MODULES = (
    "dom",
    "host",
    "i18n",
    "format",
    "api",
    "card",
    "gallery",
    "timeline",
    "video",
    "compare",
    "main",
)
"""In an order in which each one only needs those before it."""
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)

_PAGE = """<!doctype html>
<html lang="en" data-page="{page}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="same-origin">
<title>Renders</title>
<link rel="icon" href="data:image/svg+xml;base64,{icon}">
<style>{style}</style>
<script type="module" src="static/app.js?v={version}"></script>
</head>
<body>{body}</body>
</html>
"""
_SIGN_IN = """<main class="notice"><h1>{text}</h1><p><a class="button primary" href="{href}">{action}</a></p></main>"""
_SIGN_IN_TEXT = {
    "en": ("Sign in to Airflow to see its renders.", "Sign in"),
    "zh": ("登录 Airflow 后即可查看渲染。", "登录"),
}


@cache
def script() -> bytes:
    """Return all modules as one."""
    sources = [(STATIC / f"{name}.js").read_text(encoding="utf-8") for name in MODULES]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", source)) for source in sources).encode()


@cache
def icon() -> bytes:
    """Return the icon, in a colour that can be seen on Airflow's light, dark and selected navigation alike."""
    return (STATIC / "icon.svg").read_bytes()


@cache
def style() -> str:
    """Return the style sheet."""
    return (STATIC / "app.css").read_text(encoding="utf-8")


@cache
def version() -> str:
    """Return a name for this state of the front end, for addresses that may be cached for ever."""
    return hashlib.sha256(script()).hexdigest()[:16]


@cache
def page(name: str) -> str:
    """Return one page; it holds no data, and asks for it once its script runs."""
    return _document(name, "<noscript>JavaScript is needed.</noscript>")


def sign_in_page(language: str, href: str) -> str:
    """Return the page for those who are not signed in; ``language`` is an ``Accept-Language`` header."""
    text, action = _SIGN_IN_TEXT["zh" if language.lower().startswith("zh") else "en"]
    return _document("notice", _SIGN_IN.format(text=text, action=action, href=href))


def _document(name: str, body: str) -> str:
    tab_icon = base64.b64encode(icon()).decode()
    return _PAGE.format(page=name, style=style(), version=version(), icon=tab_icon, body=body)


def security_policy(*, media: str = "'self'") -> str:
    """Return the Content-Security-Policy of our pages: nothing from elsewhere, nothing inline but our style."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'sha256-{digest}'",
            "img-src data:",  # the icon of the browser's tab, which would cost a request of its own
            f"media-src {media}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
        )
    )
