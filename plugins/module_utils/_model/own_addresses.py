# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs that cover what the balancer itself needs to reach, or to be reached by: its addresses, its gateway, its reals.

Packets to a VIP are balanced. Where it has every port of an address, or that of ssh, or is a prefix around it, ssh to
that address ends at a real.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .addresses import Address, read_address
from .quic_lb import reals_of
from .vips import Vip, VipKey

CONSENT = "allow_own_addresses"
SSH_PORT = 22
_SHOWN = 3


@dataclass(frozen=True)
class HostAddresses:
    """What a host's network says. `own`: its addresses of global scope; `loopback`: those on lo; `gateways`: next hops.

    `served`: those on lo that are VIPs, put there by module decap.
    """

    own: tuple[str, ...] = ()
    loopback: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    served: frozenset[str] = frozenset()


def may_cut_off(key: VipKey, ssh_port: int) -> bool:
    """Whether a VIP takes from an address that it covers more than one service."""
    return key.prefixlen is not None or key.port == 0 or (key.protocol == "tcp" and key.port == ssh_port)


class Covers:
    """Some VIPs, asked which of them cover an address."""

    def __init__(self, keys: Iterable[VipKey]) -> None:
        self._by_length: dict[tuple[bool, int], dict[int, list[VipKey]]] = {}
        for key in keys:
            # Packed IPv4 addresses fill the first of 128 bits.
            length = (128 if key.ipv6 else 32) if key.prefixlen is None else key.prefixlen
            place = int.from_bytes(key.packed, "big") >> (128 - length)
            self._by_length.setdefault((key.ipv6, length), {}).setdefault(place, []).append(key)

    def of(self, address: Address) -> list[VipKey]:
        """Those that cover it."""
        value = int.from_bytes(address.packed, "big")
        return [
            key
            for (ipv6, length), places in self._by_length.items()
            if ipv6 == address.ipv6
            for key in places.get(value >> (128 - length), ())
        ]


def covered_reals(vips: Mapping[VipKey, Vip], others: Iterable[str], ssh_port: int) -> dict[VipKey, list[str]]:
    """VIP → the reals that it covers and should not. `others`: reals to which other entries than VIPs lead."""
    covers = Covers(key for key in vips if may_cut_off(key, ssh_port))
    local = {real.address for vip in vips.values() for real in vip.reals if real.local}
    reals = {real.address for vip in vips.values() for real in vip.reals} - local
    reals.update(others, *(vip.down_reals for vip in vips.values()), *(reals_of(v.quic_lb) for v in vips.values()))
    return _covered(covers, reals)


def covered_own(vips: Mapping[VipKey, Vip], host: HostAddresses, ssh_port: int) -> dict[VipKey, list[str]]:
    """VIP → the host's own addresses that it covers and should not.

    A VIP that is served on this host, by module decap or as a local real, has its address on lo for that.
    """
    found = _covered(Covers(key for key in vips if may_cut_off(key, ssh_port)), set(host.own) - host.served)
    for key, addresses in found.items():
        if any(real.local for real in vips[key].reals):
            found[key] = [address for address in addresses if address not in host.loopback]
    return {key: addresses for key, addresses in found.items() if addresses}


def covered_gateways(vips: Mapping[VipKey, Vip], host: HostAddresses, ssh_port: int) -> dict[VipKey, list[str]]:
    """VIP → the host's gateways that it covers."""
    return _covered(Covers(key for key in vips if may_cut_off(key, ssh_port)), host.gateways)


def _covered(covers: Covers, addresses: Collection[str]) -> dict[VipKey, list[str]]:
    found: dict[VipKey, list[str]] = {}
    for text in sorted(addresses):
        address = read_address(text)
        for key in covers.of(address) if address is not None else ():
            found.setdefault(key, []).append(text)
    return found


def covering_sentences(found: Mapping[VipKey, Sequence[str]], what: str, why: str) -> dict[VipKey, str]:
    """VIP → what it covers and what comes of it, in a sentence. `what`: a noun for the addresses."""
    remedy = f"give {CONSENT}: true (variable katran_{CONSENT}) if that is meant"
    return {key: f"{key} covers {what} {_some(addresses)}: {why}; {remedy}" for key, addresses in found.items()}


def _some(addresses: Sequence[str]) -> str:
    more = len(addresses) - _SHOWN
    return ", ".join(addresses[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def host_sentences(vips: Mapping[VipKey, Vip], host: HostAddresses, ssh_port: int) -> list[tuple[VipKey, str]]:
    """(VIP, sentence) for each that covers an address of the host or its gateway, sorted by VIP."""
    own = covering_sentences(
        covered_own(vips, host, ssh_port),
        "this host's own address",
        "what is sent to the host would be balanced, and ssh to it cut off",
    )
    gateways = covering_sentences(
        covered_gateways(vips, host, ssh_port),
        "this host's gateway",
        "what is sent to the gateway would be balanced, and the gateway cut off",
    )
    return sorted([*own.items(), *gateways.items()], key=lambda item: (item[0], item[1]))


def real_sentences(
    vips: Mapping[VipKey, Vip], others: Iterable[str], ssh_port: int
) -> list[tuple[VipKey, Sequence[str], str]]:
    """(VIP, the reals, sentence) for each that covers reals, sorted by VIP."""
    covered = covered_reals(vips, others, ssh_port)
    found = covering_sentences(
        covered, "the real", "what is sent to the real, packets of balancers among it, would be balanced"
    )
    return [(key, covered[key], sentence) for key, sentence in sorted(found.items())]


def asks_host(vips: Iterable[VipKey], ssh_port: int) -> bool:
    """Whether the host's addresses make a difference to these VIPs."""
    return any(may_cut_off(key, ssh_port) for key in vips)


def own_options() -> dict[str, dict[str, t.Any]]:
    """The options of module vips about this."""
    return {CONSENT: {"type": "bool", "default": False}, "ssh_port": {"type": "int", "default": SSH_PORT}}
