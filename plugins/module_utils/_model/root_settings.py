# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module xdp_root, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .faults import Faults
from .options import SOURCE_DIR, Spec, parse_interfaces

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


def parse_root(params: Mapping[str, t.Any]) -> RootSettings:
    """The options of module xdp_root, validated. ConfigError lists all faults."""
    faults = Faults()
    settings = RootSettings(parse_interfaces(params["interfaces"], faults), params["mode"], params["source_dir"])
    if not settings.interfaces:
        faults.add("interfaces", "state attached needs at least one interface")
    faults.check()
    return settings
