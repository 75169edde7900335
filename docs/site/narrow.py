# SPDX-License-Identifier: GPL-3.0-or-later
"""HTML that a phone can show: tables become lists there, and code breaks where a reader would break it."""

from __future__ import annotations

import re
from itertools import zip_longest

from docutils import nodes
from sphinx.writers.html5 import HTML5Translator

# Of a table on a phone of 390 pixels: what is within its borders, a character, and the padding of a cell.
_SCREEN, _CHARACTER, _PADDING = 358, 7.6, 21
# Characters: a column of sentences can be read at this width, and a figure has no more than that.
_SENTENCE, _FIGURE = 24, 14
# Characters: code of so many stays on one line; a word of it is parted above that, in a table and elsewhere; a piece
# above that may break anywhere; above that, code may be wrapped in a table's first column too.
_SHORT, _WORD_OF_TABLE, _WORD, _PIECE, _LONG = 16, 24, 30, 24, 36


def shape(heads: list[str], rows: list[list[str]]) -> str:
    """What becomes of a table on a phone: "" (it fits), "figures" (scrolled, to be compared) or "stacked" (a list).

    `heads`, `rows`: the texts of the cells.
    """
    columns = list(zip_longest(*rows, fillvalue=""))
    if not columns:
        return ""
    widths = [max(map(len, column)) for column in columns]
    words = [max((len(word) for word in re.split(r"[\s/-]", head)), default=0) for head in heads]
    needs = [max(min(width, _SENTENCE), word) for width, word in zip(widths, words, strict=True)]
    if sum(need * _CHARACTER + _PADDING for need in needs) <= _SCREEN:
        return ""
    return "figures" if len(widths) > 2 and max(widths[1:]) <= _FIGURE else "stacked"


def pieces(word: str, most: int) -> list[str]:
    """A word of code, parted where a line may end: a name of up to `most` characters nowhere."""
    if len(word) <= most:
        return [word]
    found: list[str] = []
    for piece in re.split(r"(?<=\w[_/,|=:\]}])(?=[\w\[{&-])|(?<=\w)(?=[\[{])", word):
        found += re.split(r"(?<=\w-)(?=\w)", piece) if len(piece) > _PIECE else [piece]
    return found


class Translator(HTML5Translator):
    """Sphinx's, with the classes and labels that site.css asks for."""

    _heads: list[str] | None = None

    def visit_table(self, node: nodes.Element) -> None:
        """Tell what becomes of it on a phone; antsibull-docs has a way of its own for its tables."""
        self._heads = None
        if "ansible-option-table" not in node["classes"]:
            heads, rows = (
                [[entry.astext() for entry in row.children] for part in node.findall(kind) for row in part.children]
                for kind in (nodes.thead, nodes.tbody)
            )
            self._heads = heads[0] if heads else []
            kind = shape(self._heads, rows)
            node["classes"] += [kind] if kind else []
        super().visit_table(node)

    def depart_table(self, node: nodes.Element) -> None:
        """Labels and narrow code end with it."""
        super().depart_table(node)
        self._heads = None

    def visit_entry(self, node: nodes.Element) -> None:
        """A cell of a table of more than two columns says which one it is in."""
        super().visit_entry(node)
        place = node.parent.index(node)
        if self._heads and 0 < place < len(self._heads) > 2 and self._heads[place]:
            self.body[-1] = self.body[-1].replace("<td", f'<td data-label="{self.attval(self._heads[place])}"', 1)

    def visit_literal(self, node: nodes.Element) -> None:
        """A short one, `ip -s link`, is not broken at all."""
        length = len(node.astext())
        if length <= _SHORT or length > _LONG:
            node["classes"].append("short" if length <= _SHORT else "long")
        super().visit_literal(node)

    def visit_Text(self, node: nodes.Text) -> None:  # noqa: N802 - docutils' name
        """Each word of code is one piece to Sphinx; a long one becomes several. A path in a table breaks at a /."""
        begin = len(self.body)
        super().visit_Text(node)
        if not self.protect_literal_text:
            if self._heads is not None:
                self.body[begin:] = [re.sub(r"(?<=\w)/(?=\w)", "/<wbr>", text) for text in self.body[begin:]]
            return
        most = _WORD if self._heads is None else _WORD_OF_TABLE
        for place in range(begin, len(self.body)):
            if found := re.fullmatch(r'<span class="pre">(.*)</span>', self.body[place]):
                self.body[place] = "<wbr>".join(
                    f'<span class="pre{" any" if len(piece) > _PIECE else ""}">{piece}</span>'
                    for piece in pieces(found[1], most)
                )
