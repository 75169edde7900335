# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of program decap and the addresses of a real: the content of decap.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from .addresses import canonical_reader
from .program_file import XdpFile
from .records import Fields, Optional, distinct, flag, interface, number, record, text, word
from .sources import source

_PORT, _LARGEST = 65535, 0xFFFFFFFF
AUTO, XDP, TC, KERNEL = "auto", "xdp", "tc", "kernel"
HOWS = (AUTO, XDP, TC, KERNEL)
"""By what tunnels are stripped: what can do it, program decap by XDP or tc, or the kernel's devices."""


@dataclass(frozen=True)
class DecapKept:
    """The settings of the last run, with the `vips`, `sources` and `loopback` addresses that may be there.

    `sources`: canonical prefixes; none, as earlier versions had it, is everyone. `loopback`: what is wanted on lo,
    whoever put it there. `gue_port_before`: the port that balancers may still have; 0: none. `server_id` 0: none.
    `how`: as it was asked for; earlier versions had XDP alone. `firewall`: whether chains that drop are to accept them.
    """

    vips: list[str]
    sources: list[str]
    server_id: int
    loopback: list[str]
    gue_port: int
    gue_port_before: int = 0
    source_dir: str = ""
    how: str = XDP
    firewall: bool = True


@dataclass
class DecapRecord(XdpFile):
    """The content of decap.json. `loopback`: the addresses of lo that are ours, or may be.

    `way`, `why`: by what tunnels are stripped, "" as XDP. `qdiscs`: interfaces whose clsact is ours, or may be.
    `tunnels`, `ports`: the kernel's tunnel devices and ports of GUE that are, or may be, ours; `accepts`: chains that
    may have rules of ours.
    """

    loopback: list[str] = field(default_factory=list)
    way: str = ""
    why: str = ""
    qdiscs: list[str] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)
    settings: DecapKept | None = None

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        settings = record(
            DecapKept,
            vips=distinct(canonical_reader),
            sources=distinct(source),
            server_id=number(0, _LARGEST),
            loopback=distinct(canonical_reader),
            gue_port=number(1, _PORT),
            gue_port_before=Optional(number(0, _PORT)),
            source_dir=Optional(text),
            how=Optional(word(*HOWS)),
            firewall=Optional(flag),
        )
        return {
            **super().fields(),
            "loopback": Optional(distinct(canonical_reader)),
            "way": Optional(word(XDP, TC, KERNEL)),
            "why": Optional(text),
            "qdiscs": Optional(distinct(interface)),
            "tunnels": Optional(distinct(interface)),
            "ports": Optional(distinct(number(1, _PORT))),
            "accepts": Optional(distinct(text)),
            "settings": Optional(settings),
        }
