# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module xdp_root, validated, and what is kept of them."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .faults import Faults
from .options import SOURCE_DIR, Spec, parse_interfaces
from .program_file import XdpFile
from .records import Fields, Optional, text

XDP_ROOT: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "source_dir": SOURCE_DIR,
}


@dataclass(frozen=True)
class RootSettings:
    """What module xdp_root is asked for."""

    interfaces: tuple[str, ...]
    mode: str
    source_dir: str


@dataclass
class RootRecord(XdpFile):
    """The content of root.json."""

    source_dir: str = ""

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        return {**super().fields(), "source_dir": Optional(text)}


def kept_settings(record: RootRecord) -> RootSettings | None:
    """The settings of the last run, without sources: its bytecode is kept. None where there was none."""
    return RootSettings(tuple(record.interfaces), record.mode, "") if record.interfaces and record.mode else None


def parse_root(params: Mapping[str, t.Any]) -> RootSettings:
    """The options of module xdp_root, validated. ConfigError lists all faults."""
    faults = Faults()
    settings = RootSettings(parse_interfaces(params["interfaces"], faults), params["mode"], params["source_dir"])
    if not settings.interfaces:
        faults.add("interfaces", "state attached needs at least one interface")
    faults.check()
    return settings
