# SPDX-License-Identifier: Apache-2.0
"""What a package index shows: the project URLs, and README.md with links that work there.

Both depend on one setting, ``repository`` in pyproject.toml. While it is empty, the package has no project URLs, and the
long description has no pictures, no links into the repository, and no part that needs a clone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ONLY_IN_A_CLONE = re.compile(r"<!-- only in a clone -->.*?<!-- end of: only in a clone -->\n\n?", re.DOTALL)
OTHER_LANGUAGE = re.compile(r"^\*\*English\*\* · .*\n\n?", re.MULTILINE)
ANCHOR = re.compile(r"\[([^\]]+)\]\(#[^)]*\)")  # the headings of a package page have no anchors
PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n\n?", re.MULTILINE)
CONTENTS = re.compile(r"^## Documentation\n.*", re.MULTILINE | re.DOTALL)
LISTED_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)#]*)[^)]*\)")
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]*\)")
TARGET = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://)([^)]*)\)")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def project_urls(repository: str) -> dict[str, str]:
    """Return the labelled addresses of the package page; none if the repository has no address."""
    if not repository:
        return {}
    return {
        "Documentation": f"{repository}/blob/HEAD/docs/index.md",
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
    }


def long_description(readme: str, repository: str) -> str:
    """Return the README with absolute links; without an address, the contents name files and other links are text."""
    readme = ANCHOR.sub(r"\1", readme)
    if repository:
        return COMMENT.sub("", TARGET.sub(lambda link: _absolute(link, repository), readme))
    readme = CONTENTS.sub(lambda part: LISTED_LINK.sub(r"\1 (`\2`)", part[0]), readme)
    plain = ((ONLY_IN_A_CLONE, ""), (OTHER_LANGUAGE, ""), (PICTURE, ""), (LINK, r"\1"))
    for pattern, replacement in (*plain, (COMMENT, "")):
        readme = pattern.sub(replacement, readme)
    return readme


def _absolute(link: re.Match[str], repository: str) -> str:
    """Return a link with the address of its file, or a picture with the address of its bytes."""
    picture, text, target = link.groups()
    return f"{picture}{text}({repository}/{'raw' if picture else 'blob'}/HEAD/{target})"


class PackagePage(MetadataHookInterface):
    """Gives the project its long description and its URLs."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in ``readme`` and ``urls``, and name the publisher's settings that are empty."""
        settings = {
            name: value for name, value in self.config.items() if isinstance(value, str) and name != "path"
        }
        empty = ", ".join(name for name, value in settings.items() if not value)
        if empty:
            print(  # noqa: T201  a hook of metadata has no other way to reach the person who builds
                f"pyproject.toml: the publisher's settings are empty: {empty}. The package page has less without them.",
                file=sys.stderr,
            )
        repository = settings["repository"].rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": long_description(text, repository)}
        metadata["urls"] = project_urls(repository)
