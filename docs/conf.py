# SPDX-License-Identifier: Apache-2.0
"""The configuration of Sphinx, which builds the documentation site from docs/: `make docs`.

The source directory is the repository itself, so links between the documents are the same here as on a git host.
`DOCS_LANGUAGE=zh_CN` builds the Chinese pages with the translations in docs/locale.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "airflow-provider-jimeng"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "example_dags/README.md"]
myst_heading_anchors = 4  # links such as connection.md#fields, as git hosts make them

# ------------------------------------------------------------------------------------------------------------ languages
language = os.environ.get("DOCS_LANGUAGE", "en")
CHINESE = language == "zh_CN"
locale_dirs = ["docs/locale"]
gettext_compact = False  # one .po file per page
gettext_location = False  # line numbers would change in every commit
if CHINESE:
    figure_language_filename = "{path}{basename}.zh-CN{ext}"

# ----------------------------------------------------------------------------------------------------------------- look
html_theme = "furo"
html_title = f"{project} {version}"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5bd3", "color-brand-content": "#0b5bd3"},
    "dark_css_variables": {"color-brand-primary": "#7db2ff", "color-brand-content": "#7db2ff"},
}
templates_path = ["site/templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_context = {"chinese": CHINESE}
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_extra_path = ["site/root"]
html_copy_source = False
html_show_copyright = False
html_domain_indices = False
html_use_index = False

# ------------------------------------------------------------------------------------------------------------------ API
# The docstrings use single backticks for arguments and values.
default_role = "code"
autodoc_typehints = (
    "none"  # The pages of the operators describe types; signatures of 30 types are not readable.
)
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
python_use_unqualified_type_names = True
# Airflow, httpx and the classes inside the package have no pages here.
nitpick_ignore_regex = [("py:.*", r".*")]

# ------------------------------------------------------------------------------------------------------------- contents
PARTS = {
    "Learn": ["first_video", "image_to_video", "budget", "review", "production", "moving"],
    "Use": [
        "install",
        "connection",
        "facts",
        "howto",
        "campaigns",
        "finishing",
        "ui",
        "integrations",
        "emulator",
        "faq",
    ],
    "Look up": [
        "operators",
        "command-line",
        "errors",
        "reliability",
        "glossary",
        "api",
        "../example_dags/README",
    ],
    "Project": ["upgrading", "security", "architecture", "../CHANGELOG", "../CONTRIBUTING"],
}
PAGES = [page for pages in PARTS.values() for page in pages]
CONTENTS = "".join(
    "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {part}", "", *pages, "```"])
    for part, pages in PARTS.items()
)
LOADED = re.compile(
    r"""<(?:script|img|link|iframe|video|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*"""
)
IMPORTED = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^"')]*""")


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give the first page its table of contents, because a git host would show it as code."""
    if docname == app.config.root_doc:
        source[0] += CONTENTS


def make_accessible(
    _app: Sphinx, _name: str, _template: str, context: dict[str, Any], _document: object
) -> None:
    """Let a keyboard scroll wide code and tables, and give the captions of the contents a heading level."""
    body = context.get("body", "")
    context["body"] = body.replace("<pre>", '<pre tabindex="0">').replace(
        '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'
    )
    contents = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = contents.replace('role="heading"', 'role="heading" aria-level="2"')


def loaded_from_elsewhere(folder: Path) -> list[str]:
    """Return what pages below a folder would load from other hosts."""
    return [
        f"{path.relative_to(folder)}: {match}"
        for kind, pattern in (("html", LOADED), ("css", IMPORTED))
        for path in sorted(folder.rglob(f"*.{kind}"))
        for match in pattern.findall(path.read_text(encoding="utf-8"))
    ]


def load_nothing_from_elsewhere(app: Sphinx, error: Exception | None) -> None:
    """Fail when a page would load anything from another host."""
    found = loaded_from_elsewhere(Path(app.outdir)) if error is None and app.builder.format == "html" else []
    if found:
        raise RuntimeError("\n".join(["pages load from other hosts:", *found]))


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to Sphinx."""
    from docs import chinese_search  # noqa: PLC0415  it needs Sphinx, which the tests of this file do not have

    app.add_search_language(chinese_search.ChinesePairs)
    app.connect("source-read", add_contents)
    app.connect("html-page-context", make_accessible, priority=900)  # after the theme has made the contents
    app.connect("build-finished", load_nothing_from_elsewhere)
