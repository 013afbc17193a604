"""The configuration of Sphinx, which builds web pages from README.md and docs/: `make docs`.

The source directory is the repository itself, so links between the documents are the same here as on a git host.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jimeng import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "airflow-provider-jimeng"
release = version = __version__
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = [
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "example_dags/README.md",
]
myst_heading_anchors = 4  # links such as connection.md#fields, as git hosts make them

FONTS = "system-ui, 'Segoe UI', 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', sans-serif"
html_theme = "alabaster"
html_theme_options = {
    "description": "Jimeng AI video in Apache Airflow",
    "fixed_sidebar": True,
    "page_width": "1240px",
    "sidebar_width": "230px",
    "body_max_width": "none",
    "font_family": FONTS,
    "head_font_family": FONTS,
    "code_font_size": "0.82em",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_static_path = ["site"]
html_css_files = ["site.css"]
html_extra_path = ["site/index.html"]
html_copy_source = False

ORDER = (
    "install",
    "connection",
    "operators",
    "reliability",
    "campaigns",
    "finishing",
    "ui",
    "errors",
    "command-line",
    "emulator",
    "glossary",
    "upgrading",
    "security",
    "architecture",
)
FOUND = {path.stem for path in Path(__file__).parent.glob("*.md")}
PAGES = [*ORDER, *sorted(FOUND - set(ORDER))]
CONTENTS = "\n".join(
    [
        "\n\n```{toctree}",
        ":hidden:",
        "",
        *(f"docs/{page}" for page in PAGES[:3]),
        "example_dags/README",
        *(f"docs/{page}" for page in PAGES[3:]),
        "CHANGELOG",
        "CONTRIBUTING",
        "中文 <README.zh-CN>",
        "```",
    ]
)
LOADED = re.compile(
    r"""<(?:script|img|link|iframe|video|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*"""
)
IMPORTED = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^"')]*""")


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give the first page its table of contents, because a git host would show it as code."""
    if docname == app.config.root_doc:
        source[0] += CONTENTS


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
    found = loaded_from_elsewhere(Path(app.outdir)) if error is None else []
    if found:
        raise RuntimeError("\n".join(["pages load from other hosts:", *found]))


def setup(app: Sphinx) -> None:
    """Connect both functions to Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", load_nothing_from_elsewhere)
