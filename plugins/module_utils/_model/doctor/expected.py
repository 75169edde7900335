# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory tells hosts, as far as they are compared by it: from what module preflight returns. Pure."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..addresses import read_address
from ..layout import PROTOCOLS
from ..vips import VipKey, VipName
from .fleet import Inventory

Told = Mapping[str, t.Any]


def inventory_of(preflight: Told) -> Inventory:
    """The inventory's side of a comparison. What is not there, as after a preflight that failed, is not compared."""
    return Inventory(
        {host: list(told["addresses"]) for host, told in preflight.get("reals", {}).items()},
        {host: _words(preflight, host) for host in preflight.get("balancers", {})},
    )


def _vips(preflight: Told, balancer: str) -> Sequence[Told] | None:
    resources = preflight["resources"][preflight["balancers"][balancer]["resources"]]
    return t.cast("Sequence[Told] | None", resources.get("vips"))


def _words(preflight: Told, balancer: str) -> dict[str, str] | None:
    vips = _vips(preflight, balancer)
    if vips is None:
        return None
    return {name: json.dumps(vip, sort_keys=True, default=str) for vip in vips for name in _name(vip)}


def _name(vip: Told) -> Iterator[str]:
    """The VIP's name; none where it is not valid, which preflight tells."""
    host = VipName.read(f"{vip.get('address')}")
    port = str(vip.get("port"))
    if host is not None and port.isdecimal():
        yield str(VipKey.at(host.host, int(port), str(vip.get("protocol"))))


def services_of(preflight: Told, host: str) -> list[str]:
    """The names of VIPs whose flows the inventory sends to a real, and for which something has to listen there."""
    addresses = set((preflight.get("reals", {}).get(host) or {}).get("addresses", ()))
    found: dict[str, None] = {}
    lists = {id(vips): vips for name in preflight.get("balancers", {}) if (vips := _vips(preflight, name)) is not None}
    for vips in lists.values():
        for vip in vips:
            if any(real.get("address") in addresses for real in vip.get("reals") or ()):
                found |= dict.fromkeys(_name(vip))
    return [name for name in found if read_service(name) is not None]


def read_service(name: str) -> tuple[str, int, int] | None:
    """(address, protocol, port) of a VIP's name; None where it is no single address and port."""
    vip = VipName.read(name)
    if vip is None or not vip.port or vip.protocol not in PROTOCOLS:
        return None
    address = read_address(getattr(vip.host, "text", ""))
    return None if address is None else (address.text, PROTOCOLS[vip.protocol], vip.port)
