"""What a package index shows: README.md without what leads nowhere there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n\n?", re.MULTILINE)
OTHER_LANGUAGE = re.compile(r"^\*\*English\*\* · .*\n\n?", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)[^)]*\)")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def long_description(readme: str) -> str:
    """Return the README without pictures, and with links into the repository as plain text."""
    for pattern, replacement in ((PICTURE, ""), (OTHER_LANGUAGE, ""), (LINK, r"\1"), (COMMENT, "")):
        readme = pattern.sub(replacement, readme)
    return readme


class LongDescription(MetadataHookInterface):
    """Gives the project its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in ``readme``."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": long_description(text)}
