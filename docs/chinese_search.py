# SPDX-License-Identifier: Apache-2.0
"""Search the Chinese pages by pairs of characters, because Chinese has no blanks between its words.

Sphinx itself needs a dictionary of 19 MB for this, and its search field does not split what a reader types.
"""

from __future__ import annotations

import re

from sphinx.search.zh import SearchChinese

_RUN = re.compile(r"[\u4e00-\u9fff]+")


class ChinesePairs(SearchChinese):  # type: ignore[misc]  # Sphinx's classes have no types here
    """Splits Chinese text into pairs: 首帧图 becomes 首帧 and 帧图. Latin words stay whole."""

    language_name = "English"
    """Names the stemmer in JavaScript. Some versions of Sphinx name one for Chinese here, which does not exist."""
    js_splitter_code = """
function splitQuery(query) {
    const words = query.match(/[a-zA-Z0-9_]+/g) || [];
    for (const run of query.match(/[\\u4e00-\\u9fff]+/g) || []) {
        for (let at = 0; at < Math.max(1, run.length - 1); at++) {
            words.push(run.slice(at, at + 2));
        }
    }
    return words;
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002  the name that Sphinx gives it
        """Return the pairs of Chinese characters and the Latin words of a text."""
        pairs = [run[at : at + 2] for run in _RUN.findall(input) for at in range(max(1, len(run) - 1))]
        latin: list[str] = self.latin1_letters.findall(input)
        self.latin_terms.update(latin)
        return [*pairs, *latin]
