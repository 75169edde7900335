# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of commands and what they print, coloured: prompts of the controller ($) and of hosts (lb1#)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pygments.lexer import Lexer
from pygments.lexers.shell import BashLexer
from pygments.token import Comment, Generic, Number, Text, _TokenType

_PROMPT = re.compile(r"^(?:\$|[a-z][a-z0-9]*#) ")


class ConsoleLexer(Lexer):
    """A console block by the convention of tests/lab/README.md."""

    name = "katran.fleet console"
    aliases = ("console",)

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Position, kind and text of each piece."""
        bash = BashLexer(**self.options)
        at, continued = 0, False
        for line in text.splitlines(keepends=True):
            prompt = _PROMPT.match(line)
            begin = len(prompt[0]) if prompt else 0
            if prompt:
                yield at, Generic.Prompt, prompt[0]
            if prompt or continued:
                for place, kind, piece in bash.get_tokens_unprocessed(line[begin:]):
                    # An address is one word, and not a number with something behind it.
                    yield at + begin + place, Text if kind in Number else kind, piece
                continued = line.endswith("\\\n")
            elif line.strip() == "...":
                yield at, Comment, line
            else:
                yield at, Generic.Output, line
            at += len(line)
