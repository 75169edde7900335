# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a host, and which of those of interface lo are ours, come or go.

A VIP is on lo to be answered from, and never to be the source of the host's own connections. Of IPv4 addresses the
kernel takes none of scope host for that, of IPv6 addresses none that is deprecated while there is another: such an
address is quiet.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from . import layout

LOOPBACK = "lo"
PASSAGE_LENGTH = 31
"""Prefix length under which lo has an IPv4 address twice, while the entry of the usual length is made anew."""


@dataclass(frozen=True)
class HostAddress:
    """An address of an interface. `text`: canonical; `length`: of its prefix, in bits.

    `quiet`: it is never chosen as a source. `bare`: there is no route to its prefix.
    """

    interface: str
    text: str
    length: int
    quiet: bool = False
    bare: bool = False

    @classmethod
    def of(cls, interface: str, text: str, length: int, **more: bool) -> HostAddress:
        """The same of any spelling of an address."""
        address = ipaddress.ip_address(text)
        return cls(interface, layout.unpack_address(address.packed, address.version == 6), length, **more)

    @property
    def ipv6(self) -> bool:
        """Its family."""
        return ":" in self.text

    @property
    def whole(self) -> bool:
        """Whether it is one of lo without a network around it, as ours are."""
        return self.interface == LOOPBACK and self.length == (128 if self.ipv6 else 32)

    @property
    def passage(self) -> bool:
        """Whether it is there for as long as ours are made anew."""
        return self.interface == LOOPBACK and self.length == PASSAGE_LENGTH and self.quiet and self.bare

    @property
    def ours(self) -> bool:
        """Whether it is as ours are, or were in earlier versions."""
        return self.whole or (self.passage and not self.ipv6)


@dataclass(frozen=True)
class LoopbackPlan:
    """What comes, what goes and what is made quiet, and afterwards `mine`: what is ours to take away, all sorted."""

    add: tuple[str, ...]
    remove: tuple[str, ...]
    settle: tuple[str, ...]
    mine: tuple[str, ...]


def plan_loopback(
    wanted: Collection[str], mine: Collection[str], there: Iterable[HostAddress], others: Collection[str] = ()
) -> LoopbackPlan:
    """Have the wanted addresses on lo, where the host has them nowhere; what others put anywhere stays as it is.

    `mine`: the addresses that are ours to take away. `others`: those that others bring, should they not be there yet.
    """
    entries = list(there)
    present = {entry.text for entry in entries}
    ours = {entry.text for entry in entries if entry.ours and entry.text in mine}
    loud = {entry.text for entry in entries if entry.ours and not (entry.whole and entry.quiet)}
    add = set(wanted) - present - set(others)
    return LoopbackPlan(
        add=tuple(sorted(add)),
        remove=tuple(sorted(ours.difference(wanted))),
        settle=tuple(sorted(ours.intersection(wanted, loud))),
        mine=tuple(sorted(add | ours.intersection(wanted))),
    )


def on_loopback(there: Iterable[HostAddress], mine: Collection[str]) -> list[str]:
    """Those of our addresses that lo has, sorted."""
    return sorted({entry.text for entry in there if entry.ours and entry.text in mine})


def strangers(named: Sequence[str], there: Iterable[HostAddress], mine: Collection[str]) -> str:
    """Which of these are no addresses of the host's own, in a sentence; empty where all are. `mine`: as above."""
    entries = [entry for entry in there if not (entry.ours and entry.text in mine)]
    known = {entry.text for entry in entries}
    missing = [text for text in named if text not in known]
    if not missing:
        return ""
    some = sorted({entry.text for entry in entries if _is_global(entry.text)})
    told = f"it has {', '.join(some[:_SHOWN])}{' and others' if len(some) > _SHOWN else ''}" if some else "it has none"
    several = len(missing) > 1
    return (
        f"{', '.join(missing)} {'are no addresses' if several else 'is no address'} of this host ({told}), so packets"
        " of balancers to it would not arrive"
    )


def sources_of_ipv6(there: Iterable[HostAddress], vips: Collection[str]) -> list[str]:
    """The addresses from which the host's own connections to the world may come, of IPv6, VIPs left out."""
    return [
        entry.text
        for entry in there
        # One on the way out comes before one on lo, even where it is deprecated like that.
        if entry.ipv6
        and not (entry.quiet and entry.interface == LOOPBACK)
        and entry.text not in vips
        and _is_global(entry.text)
    ]


_SHOWN = 6


def _is_global(text: str) -> bool:
    address: t.Any = ipaddress.ip_address(text)
    return not address.is_loopback and not address.is_link_local
