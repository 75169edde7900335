# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module decap, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .addresses import parse_addresses
from .decap_record import AUTO, HOWS, XDP, DecapKept, DecapRecord
from .faults import Faults
from .options import SOURCE_DIR, Spec, parse_interfaces
from .shape import is_number
from .sources import DEFAULT_SOURCES, parse_sources

DECAP: Spec = {
    "state": {"type": "str", "choices": ["attached", "withdrawn", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "attach": {"type": "bool", "default": True},
    "how": {"type": "str", "choices": list(HOWS), "default": AUTO},
    "firewall": {"type": "str", "choices": ["accept", "leave"], "default": "accept"},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "vips": {"type": "list", "elements": "str"},
    "keep_vips": {"type": "bool", "default": False},
    "sources": {"type": "list", "elements": "str", "default": []},
    "keep_sources": {"type": "bool", "default": False},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "gue_port": {"type": "int", "default": 6080},
    "server_id": {"type": "int", "default": 0},
    "loopback": {"type": "bool", "default": True},
    "source_dir": SOURCE_DIR,
}


@dataclass(frozen=True)
class RealSettings:
    """What module decap is asked for. Addresses are canonical text; `vips` None is those served already.

    With `keep_vips` these are served too. `sources`: canonical prefixes; with `keep_sources` those of before are taken
    too. `server_id` 0 is none. `addresses`: those that the host must have. `others`: VIPs that others put on the host.
    Without `attach` the program stays where it is until another takes its place, and comes nowhere. `how`: one of
    decap_record.HOWS. `firewall`: whether chains that drop are to accept what the kernel's tunnel devices strip.
    """

    interfaces: tuple[str, ...]
    mode: str
    vips: tuple[str, ...] | None
    keep_vips: bool
    sources: tuple[str, ...]
    gue_port: int
    server_id: int
    loopback: bool
    source_dir: str
    keep_sources: bool = False
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    attach: bool = True
    how: str = XDP
    firewall: bool = True


def parse_real(params: Mapping[str, t.Any]) -> RealSettings:
    """The options of module decap, validated. ConfigError lists all faults."""
    faults = Faults()
    settings = RealSettings(
        interfaces=parse_interfaces(params["interfaces"], faults),
        mode=params["mode"],
        vips=None if params["vips"] is None else parse_addresses(params["vips"], "vips", faults, True),
        keep_vips=params["keep_vips"],
        sources=parse_sources(params["sources"] or DEFAULT_SOURCES, "sources", faults),
        gue_port=params["gue_port"],
        server_id=params["server_id"],
        loopback=params["loopback"],
        source_dir=params["source_dir"],
        keep_sources=params.get("keep_sources", False),
        addresses=parse_addresses(params.get("addresses") or (), "addresses", faults),
        attach=params.get("attach", True),
        how=params.get("how", AUTO),
        firewall=params.get("firewall", "accept") == "accept",
    )
    if not settings.interfaces and settings.attach:
        faults.add("interfaces", "state attached needs at least one interface")
    if not 1 <= settings.gue_port <= 65535:
        faults.add("gue_port", f"{settings.gue_port} is not in 1 to 65535")
    if not is_number(settings.server_id, 0, 0xFFFFFFFF):
        faults.add("server_id", f"{settings.server_id} is not in 0 to 4294967295")
    faults.check()
    return settings


class Staying(t.NamedTuple):
    """What state withdrawn of module decap leaves: VIPs, and outer sources, None: those that there are."""

    vips: frozenset[str]
    sources: frozenset[str] | None = None


def parse_staying(params: Mapping[str, t.Any]) -> Staying:
    """What stays in module decap's state withdrawn. ConfigError lists all faults."""
    faults = Faults()
    if params["vips"] is None:
        faults.add("vips", "state withdrawn needs the VIPs that stay")
    vips = frozenset(parse_addresses(params["vips"] or (), "vips", faults))
    sources = parse_sources(params.get("sources") or (), "sources", faults)
    faults.check()
    return Staying(vips, frozenset(sources) or None)


def earlier_gue_port(port: int, kept: DecapKept | None) -> int:
    """The port of GUE that balancers may still have; 0: none."""
    if kept is None:
        return 0
    return kept.gue_port if kept.gue_port != port else kept.gue_port_before


def kept_settings(record: DecapRecord) -> RealSettings | None:
    """The settings of the last run, without sources: its bytecode is kept. None where there was none."""
    kept = record.settings
    if kept is None:
        return None
    return RealSettings(
        interfaces=tuple(record.interfaces),
        mode=record.mode,
        vips=tuple(kept.vips),
        keep_vips=False,
        sources=tuple(kept.sources),
        gue_port=kept.gue_port,
        server_id=kept.server_id,
        loopback=bool(kept.loopback),
        source_dir="",
        how=kept.how or XDP,
        firewall=kept.firewall,
        # What somebody else had put there comes back by itself, maybe later than this.
        others=tuple(each for each in kept.loopback if each not in record.loopback),
    )


def with_kept(settings: RealSettings, served: Sequence[str], sources: Sequence[str]) -> RealSettings:
    """The settings with what there was before, as far as that is to stay. `served`: the VIPs."""
    vips = settings.vips
    if vips is None:
        vips = tuple(served)
    elif settings.keep_vips:
        vips = tuple(dict.fromkeys((*vips, *served)))
    kept = tuple(sources) if settings.keep_sources else ()
    return replace(settings, vips=vips, sources=tuple(dict.fromkeys((*settings.sources, *kept))))
