# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that what IPVS balances becomes. Pure: no I/O."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import some
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import starved_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_rate import MAX_PROBES, MOST_PROBES
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import is_number
from ansible_collections.katran.fleet.plugins.module_utils._model.written import visible
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Key, Remarks, Service, read_mark
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs_vips import Vips
from ansible_collections.katran.fleet.plugins.plugin_utils.written_inventory import Inventory, InventoryError, Told

BALANCERS, REALS = "group_vars/balancers.yml", "group_vars/reals.yml"


@dataclass(frozen=True)
class Wanted:
    """What nothing that was read says.

    `balancers`: names of hosts; `interfaces`: theirs; `real_interfaces`: those of reals by which tunnels come;
    `marks`: mark of firewalls → the places that it is for; `origin`: sentences that say what was read.
    """

    balancers: Sequence[str]
    interfaces: Sequence[str]
    real_interfaces: Sequence[str] = ()
    marks: Mapping[int, Sequence[Key]] = field(default_factory=dict)
    origin: Sequence[str] = ()


def inventory_of(services: Mapping[Key, Service], wanted: Wanted, remarks: Remarks) -> Inventory:
    """The inventory of services. InventoryError where they make no VIP."""
    vips = Vips(remarks, wanted.marks)
    entries = vips.of(services)
    if not entries:
        why = "; ".join(remarks.sentences[-_SHOWN:]) if services else "there is no virtual server in it"
        raise InventoryError(f"nothing that was read makes a VIP: {why}")
    variables: dict[str, t.Any] = {"katran_interfaces": list(wanted.interfaces)}
    variables |= _tunnel(vips.sources, remarks) | _room(entries) | _probes(entries) | _starved(entries)
    # From where each came, people look up in the old file.
    variables["katran_vips"] = [
        Told(entry, [str(service.place)]) for service, entry in zip(vips.sources, entries, strict=True)
    ]
    addresses = list(dict.fromkeys(real["address"] for entry in entries for real in entry["reals"]))
    told = remarks.sentences
    notes = [_DEFAULTS, *([f"{len(told)} things became something else or nothing:", *told] if told else [])]
    return Inventory(
        {
            "balancers": {host: {} for host in wanted.balancers},
            "reals": {name_of(address): _real(address) for address in addresses},
        },
        {
            "balancers": variables,
            "reals": {"katran_real_interfaces": list(wanted.real_interfaces or wanted.interfaces)},
        },
        head=wanted.origin,
        notes={"hosts.yml": [_HOSTS], BALANCERS: notes, REALS: [_REAL_INTERFACES]},
    )


_SHOWN = 4
_HOSTS = "Reals are named by their addresses; give them their own names, and ansible_host where ssh goes elsewhere."
_REAL_INTERFACES = "By which interfaces tunnels reach the reals; nothing that was read says it."
_DEFAULTS = (
    "Where nothing said how often a check asks and how long it waits (keepalived: 60 s and 5 s), the collection's"
    " defaults hold: each second, and 0.5 s (docs/checks.md)."
)


def name_of(address: str) -> str:
    """A host's name by its address."""
    return f"real-{address.replace('.', '-').replace(':', '-')}"


def _real(address: str) -> dict[str, t.Any]:
    return {"ansible_host": address, "katran_real_address": address}


def _tunnel(services: Iterable[Service], remarks: Remarks) -> dict[str, t.Any]:
    """The encapsulation that the first service with a tunnel has; a balancer has one for all."""
    found: dict[str, t.Any] = {}
    for service in services:
        mine = {"katran_encapsulation": service.tunnel, "katran_gue_port": service.tunnel_port}
        mine = {name: value for name, value in mine.items() if value}
        if mine and not found:
            found = mine
        elif mine and mine != found:
            words = " ".join(map(str, mine.values()))
            remarks.add(
                service.place, f"{service.key} {words}", "a balancer has one kind of tunnel", "look at the reals"
            )
    return found


def _room(entries: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Sizes, where the defaults are too small."""
    needs = {"vips": len(entries), "reals": 1 + len({real["address"] for entry in entries for real in entry["reals"]})}
    larger = {name: 1 << (count - 1).bit_length() for name, count in needs.items() if count > DEFAULT_SIZES[name]}
    return {"katran_sizes": larger} if larger else {}


def _probes(entries: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The bound of probes a second, where the default is too small for the checks."""
    rate = sum(len(entry["reals"]) / float(entry["check"].get("interval", 1)) for entry in entries if "check" in entry)
    if rate <= MAX_PROBES:
        return {}
    why = f"The checks make up to {rate:.0f} probes a second; a longer interval makes fewer (docs/probes.md)."
    return {"katran_max_probes": Told(min(math.ceil(rate), MOST_PROBES), [why])}


def _starved(entries: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    names = [f"{vip['address']} {vip['port']} {vip['protocol']}" for vip in starved_vips(entries, 1)]
    if not names:
        return {}
    return {"katran_min_active": Told(0, [f"No real takes new flows of {some(names, 4)}: each has weight 0."])}


def wanted_of(options: Mapping[str, t.Any], interfaces: Sequence[str], origin: Sequence[str]) -> Wanted:
    """Of the options of module import_ipvs, with the interfaces that were read. InventoryError for what is wrong."""
    interfaces = options["interfaces"] or interfaces
    if not options["balancers"]:
        raise InventoryError("balancers: name the hosts that are to be balancers")
    if not interfaces:
        raise InventoryError("interfaces: nothing that was read names those of the balancers; give them")
    return Wanted(
        list(dict.fromkeys(options["balancers"])),
        interfaces,
        options["real_interfaces"],
        _marks(options["marks"]),
        origin,
    )


def _marks(given: Mapping[str, t.Any]) -> dict[int, list[Key]]:
    found: dict[int, list[Key]] = {}
    for mark, places in given.items():
        number = read_mark(str(mark))
        if not number or not isinstance(places, Sequence) or isinstance(places, str):
            raise InventoryError(
                f"marks.{visible(str(mark))[:40]}: is no mark with a list of address, port and protocol"
            )
        found[number] = [_place(each, f"marks.{number}[{index}]") for index, each in enumerate(places)]
    return found


def _place(entry: t.Any, where: str) -> Key:
    told = entry if isinstance(entry, Mapping) else {}
    address, port, protocol = read_address(str(told.get("address"))), told.get("port"), told.get("protocol")
    if isinstance(port, str) and port.isascii() and port.isdecimal() and len(port) < 6:
        port = int(port)
    if address is None or not is_number(port, 0, 65535) or protocol not in ("tcp", "udp"):
        raise InventoryError(f"{where}: is no mapping of address, port (0 to 65535) and protocol (tcp or udp)")
    return Key(address.text, t.cast("int", port), str(protocol))
