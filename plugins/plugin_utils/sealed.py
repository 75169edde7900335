# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted values that no secret opens: each has a text that stands for it, which differs where the value may."""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.parsing.vault import EncryptedString

SEALED = "(encrypted, no secret opens it)"
_UNDEFINED = re.compile(r"'(\w+)' is undefined")


class Seals:
    """The sealed values of one inventory. `files`: those that are encrypted as a whole."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._texts: dict[str, str] = {}
        self._opened: dict[int, tuple[t.Any, t.Any]] = {}

    def stand_in(self, content: str) -> str:
        """The text that stands for a sealed one. As a key of 32 bytes it is as good as any, and as a password too."""
        if content not in self._texts:
            self._texts[content] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        return self._texts[content]

    def opened(self, variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Variables of a host with stand-ins for what is sealed: those of many hosts mostly are the same objects."""
        return {name: self._open_once(value) for name, value in variables.items()}

    def _open_once(self, value: t.Any) -> t.Any:
        known = self._opened.get(id(value))
        if known is None:
            # With the value itself, so that no other takes its place in memory.
            known = self._opened[id(value)] = value, self._open(value)
        return known[1]

    def _open(self, value: t.Any) -> t.Any:
        if isinstance(value, EncryptedString):
            try:
                str(value)
            except (AnsibleError, ReferenceError):
                return self.stand_in(value._ciphertext)  # noqa: SLF001  # what stands for it has to differ with it
            return value
        if isinstance(value, dict):
            found = {key: self._open(each) for key, each in value.items()}
            return found if any(found[key] is not value[key] for key in found) else value
        if isinstance(value, list):
            items = [self._open(each) for each in value]
            return items if any(one is not other for one, other in zip(items, value, strict=True)) else value
        return value

    def missing(self, sentences: t.Iterable[str]) -> set[str]:
        """The variables without which these sentences were said, if a sealed file may have them."""
        return {name for each in sentences for name in _UNDEFINED.findall(each)} if self.files else set()

    def hide(self, text: str) -> str:
        """A text for people: no stand-in in it."""
        for each in self._texts.values():
            if each in text:
                text = text.replace(each, SEALED)
        return text
