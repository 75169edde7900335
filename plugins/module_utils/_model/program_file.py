# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a program beside the balancer, and where it is: the content of PROGRAM.json."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field

from .records import Fields, Optional, distinct, interface, maybe, parse_record, path, record, text, word


@dataclass
class ProgramFile:
    """What every program's file has. `interfaces`: where it is, or, if a run was killed, may be."""

    bpffs: str = ""
    source_digest: str | None = None
    tag: str | None = None
    interfaces: list[str] = field(default_factory=list)

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        return {
            "bpffs": Optional(path),
            "source_digest": Optional(maybe(text)),
            "tag": Optional(maybe(text)),
            "interfaces": Optional(distinct(interface)),
        }

    @classmethod
    def from_json(cls, source: str, path: str) -> t.Self:
        """Read the file's text; StateError names the file and the field at fault."""
        return parse_record(source, path, record(cls, **cls.fields()))

    def to_json(self) -> str:
        """The file's text: what is empty is left out."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, [], {}, "")}
        return json.dumps(found, indent=1, sort_keys=True) + "\n"


@dataclass
class XdpFile(ProgramFile):
    """The file of a program that XDP attaches: in this mode."""

    mode: str = ""

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        return {**super().fields(), "mode": Optional(word("native", "generic"))}
