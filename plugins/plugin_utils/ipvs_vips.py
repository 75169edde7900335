# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of IPVS as VIPs: two sources joined, and each thing that becomes another told. Pure: no I/O."""

from __future__ import annotations

import math
import re
import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_host
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import MAX_WEIGHT
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Key, Remarks, Server, Service

Services = Mapping[Key, Service]
Entry = dict[str, t.Any]

_BY_CLIENT = ("sh", "mh")
"""Schedulers that hash the client's address alone, unless the flag NAME-port says otherwise."""

_ONE_TAKES_ALL = ("fo", "ovf")
_LOAD = "the real with the fewest connections is chosen; a balancer hashes flows, in the weights' proportion"
_SCHEDULERS: Mapping[str, str] = {
    "rr": "reals take turns, whatever their weights; a balancer hashes flows, and the weights became 1",
    "wrr": "reals take turns; a balancer hashes flows, in the weights' proportion",
    **dict.fromkeys(("lc", "wlc", "sed", "nq", "lblc", "lblcr"), _LOAD),
    "sh": "the client's address chooses; so does flag hash_no_src_port, with another hash",
    "mh": "Maglev, as here, with another seed: a flow may go to another real than before",
    "dh": "the destination's address alone chooses; a balancer hashes flows, in the weights' proportion",
    **dict.fromkeys(_ONE_TAKES_ALL, "the real with the most weight takes all; the others got weight 0"),
    "twos": _LOAD,
}
_METHODS = {
    "NAT": (
        "answers came back through this host, which changed addresses",
        "reals take tunnels and answer clients themselves, for which role real prepares them (docs/reals.md)",
    ),
    "DR": (
        "packets went to reals by their MAC, on one link",
        "they go in tunnels, for which links and MSS need room (docs/reals.md)",
    ),
    "TUN": ("packets went to reals in tunnels, as here", "role real takes over what strips them (docs/reals.md)"),
}


def joined(configured: Services, kernel: Services, remarks: Remarks) -> dict[Key, Service]:
    """What a configuration and the kernel's table say together; where they differ, told, the configuration counts.

    What the kernel alone has serves clients today, and is taken over too.
    """
    found = {key: replace(service, servers=[*service.servers]) for key, service in configured.items()}
    for key, now in kernel.items():
        if key not in found:
            if configured:
                remarks.add(now.place, str(key), "is in the kernel alone, and was taken over from there", _WHY)
            found[key] = now
            continue
        _join(found[key], now, remarks)
    for key, service in configured.items() if kernel else ():
        if key not in kernel:
            remarks.add(service.place, str(key), "is in the configuration alone: the kernel has it not", _WHY)
    return found


_WHY = "find out which of the two is meant"


def _join(service: Service, now: Service, remarks: Remarks) -> None:
    """Compare a service with what the kernel has of it, and take over the reals that the kernel alone has."""
    known = {(each.address, each.port): each for each in service.servers}
    live = {(each.address, each.port): each for each in now.servers}
    for place, server in live.items():
        told = f"{service.key} {server}"
        mine = known.get(place)
        if mine is None and server.address == service.sorry:
            remarks.add(server.place, told, "the sorry server serves now: every real is out", "see why they fail")
        elif mine is None:
            remarks.add(server.place, told, "is a real in the kernel alone, and was taken over from there", _WHY)
            service.servers.append(server)
        elif server.weight != mine.weight and server.weight == 0:
            why = "a failed check or somebody took it out; the configuration counts"
            remarks.add(server.place, told, f"has weight 0 in the kernel and {mine.weight} in the configuration: {why}")
        elif server.weight != mine.weight:
            why = "the configuration counts"
            told_weight = f"has weight {server.weight} in the kernel and {mine.weight} in the configuration: {why}"
            remarks.add(server.place, told, told_weight, _WHY)
    for place, server in known.items():
        if place not in live:
            why = "a failed check or somebody took it out; the configuration counts"
            remarks.add(server.place, f"{service.key} {server}", f"is a real that the kernel has not: {why}")
    if now.scheduler != service.scheduler:
        told = f"the kernel schedules by {now.scheduler}, the configuration by {service.scheduler}, which counts"
        remarks.add(now.place, str(service.key), told, _WHY)
    if bool(now.persistence) != bool(service.persistence):
        told = "the kernel and the configuration differ in persistence; the configuration counts"
        remarks.add(now.place, str(service.key), told, _WHY)


class Vips:
    """The VIPs that services become, as an inventory has them."""

    def __init__(self, remarks: Remarks, marks: Mapping[int, Sequence[Key]]) -> None:
        """`marks`: mark of firewalls → the places that it is for."""
        self._remarks = remarks
        self._marks = marks
        self.sources: list[Service] = []
        """The service of each entry."""

    def of(self, services: Services) -> list[Entry]:
        """Entries, which module vips takes."""
        entries: dict[Key, tuple[Service, Entry]] = {}
        for service in services.values():
            for key in self._places(service):
                if key in entries:
                    self._remarks.add(service.place, str(key), "is there twice; the first was kept", _WHY)
                    continue
                entry = self._entry(key, service)
                if entry is not None:
                    entries[key] = service, entry
        good = self._valid(list(entries.values()))
        self.sources = [service for service, _entry in good]
        return [entry for _service, entry in good]

    def _places(self, service: Service) -> Sequence[Key]:
        if not service.key.mark:
            return [service.key]
        if service.key.mark not in self._marks:
            self._remarks.add(
                service.place,
                str(service.key),
                "which packets have this mark, rules of a firewall say, and no VIP was made of it",
                "find them with iptables-save or nft list ruleset, and give marks with their addresses and ports",
            )
        return self._marks.get(service.key.mark, ())

    def _entry(self, key: Key, service: Service) -> Entry | None:
        servers = self._reals(key, service)
        if not servers:
            self._remarks.add(service.place, str(key), "has no real that a balancer can have, and became no VIP", "")
            return None
        self._scheduling(service)
        entry: Entry = {"address": key.address, "port": key.port, "protocol": key.protocol}
        flags = self._flags(service)
        if flags:
            entry["flags"] = flags
        entry["reals"] = self._weighted(service, servers)
        check = self._check(key, servers, service)
        if check:
            entry["check"] = check
        least = self._quorum(service, entry["reals"])
        if least > 1:
            entry["announce"] = {"min_healthy": least}
        return entry

    def _reals(self, key: Key, service: Service) -> list[Server]:
        found: dict[str, Server] = {}
        for server in service.servers:
            address = read_host(server.address)
            told = f"{key} {server}"
            if isinstance(address, str):
                self._remarks.add(server.place, told, f"was left out: {address}", "serve it on a host of its own")
            elif ":" in key.address and not address.ipv6:
                self._remarks.add(server.place, told, "was left out: a VIP of IPv6 has reals of IPv6 alone", "")
            elif address.text == key.address:
                self._remarks.add(server.place, told, "was left out: it is the VIP itself", "give the real an address")
            elif address.text in found:
                self._remarks.add(server.place, told, "was left out: a VIP has one real of an address", _PORT)
            else:
                found[address.text] = server
                if server.port not in (0, key.port):
                    self._remarks.add(server.place, told, "takes another port than the VIP", _PORT)
                if server.method in _METHODS:
                    self._remarks.add(server.place, f"lvs_method {server.method}", *_METHODS[server.method])
        return list(found.values())

    def _scheduling(self, service: Service) -> None:
        name = service.scheduler
        meaning = _SCHEDULERS.get(name, "a scheduler that this import does not know; flows are hashed by weight")
        self._remarks.add(service.place, f"scheduler {name}", meaning)
        if service.persistence:
            told = "connections of a client stay with one real; so does flag hash_no_src_port, without an end"
            self._remarks.add(service.place, f"persistence {service.persistence} s", told, "")
        for flag in service.flags:
            told = _FLAGS.get(flag, "is a flag of a scheduler, which a balancer has not")
            self._remarks.add(service.place, f"flag {flag}", told)

    @staticmethod
    def _flags(service: Service) -> list[str]:
        # The kernel prints the flags of sh by number, unless it knows their names.
        with_port = {f"{service.scheduler}-port", "flag-2"}
        by_client = service.scheduler in _BY_CLIENT and with_port.isdisjoint(service.flags)
        found = ["hash_no_src_port"] if by_client or service.persistence else []
        return [*found, *(["no_lru"] if "ops" in service.flags else [])]

    def _weighted(self, service: Service, servers: Sequence[Server]) -> list[Entry]:
        weights = [server.weight for server in servers]
        most = max(weights)
        if service.scheduler == "rr":
            weights = [min(weight, 1) for weight in weights]
        elif service.scheduler in _ONE_TAKES_ALL:
            first = weights.index(most)
            weights = [weight if index == first else 0 for index, weight in enumerate(weights)]
        most = max(weights)
        if most > MAX_WEIGHT:
            told = f"weights are up to {most}, and {MAX_WEIGHT} is the most: all of them were made smaller together"
            self._remarks.add(service.place, str(service.key), told)
            weights = [math.ceil(weight * MAX_WEIGHT / most) for weight in weights]
        return [
            {"address": server.address, **({} if weight == 1 else {"weight": weight})}
            for server, weight in zip(servers, weights, strict=True)
        ]

    def _check(self, key: Key, servers: Sequence[Server], service: Service) -> Entry:
        """The one check of a VIP: that of most of its reals."""
        asked = Counter(repr(sorted(server.check.items())) for server in servers if server.check)
        if not asked:
            return {}
        usual = asked.most_common(1)[0][0]
        chosen = next(server.check for server in servers if repr(sorted(server.check.items())) == usual)
        for server in servers:
            if server.check != chosen:
                had = "another check than most" if server.check else "no check"
                told = f"had {had}; a VIP has one for all its reals"
                self._remarks.add(server.place, f"{key} {server}", told)
        check = dict(chosen)
        if check.get("port") == key.port:
            del check["port"]
        if key.port == 0 and "port" not in check:
            port = next((server.port for server in servers if server.port), 0)
            if not port:
                self._remarks.add(service.place, str(key), "its check has no port, as the VIP is for all", "give one")
                return {}
            check["port"] = port
        return check

    def _quorum(self, service: Service, reals: Sequence[Entry]) -> int:
        if service.quorum <= 1:
            return 0
        weights = sorted(each.get("weight", 1) for each in reals)
        weights = [weight for weight in weights if weight]
        least = next((count for count in range(1, len(weights) + 1) if sum(weights[:count]) >= service.quorum), None)
        found = len(weights) if least is None else least
        told = f"the weight of the reals that are in; it became announce.min_healthy, {found} of them"
        self._remarks.add(service.place, f"{service.key} quorum {service.quorum}", told)
        return found

    def _valid(self, entries: list[tuple[Service, Entry]]) -> list[tuple[Service, Entry]]:
        """Those that module vips takes; the others are told, with what it would say."""
        limits = Limits({**DEFAULT_SIZES, "vips": 65536, "reals": 1 << 20}, None)
        # Each round leaves out what the last one found, of which there is no more than twenty.
        while entries:
            faults = " ".join(config_faults({"vips": [entry for _service, entry in entries]}, limits))
            bad = sorted({int(index) for index in re.findall(r"vips\[([0-9]+)\]", faults)})
            if not bad:
                return entries
            for index in bad:
                entries[index] = self._mended(*entries[index], limits, faults)
            entries = [each for each in entries if each[1]]
        return entries

    def _mended(self, service: Service, entry: Entry, limits: Limits, faults: str) -> tuple[Service, Entry]:
        """The entry without its check, if that is what is wrong with it; an empty one otherwise."""
        alone = re.sub(r"vips\[[0-9]+\]\.", "", "; ".join(config_faults({"vips": [entry]}, limits)) or faults)
        bare = {name: value for name, value in entry.items() if name != "check"}
        if bare != entry and not config_faults({"vips": [bare]}, limits):
            self._remarks.add(service.place, _named(entry), f"lost its check: {alone}", "write it by hand")
            return service, bare
        self._remarks.add(service.place, _named(entry), f"became no VIP: {alone}", "write it by hand")
        return service, {}


_PORT = "have the service listen at the VIP's port: a balancer changes no port"
_FLAGS = {
    "ops": "each packet of UDP is scheduled by itself; flag no_lru has it go where the ring says",
    "sh-port": "the client's port counts, as it does here",
    "mh-port": "the client's port counts, as it does here",
    "flag-2": "the client's port counts, as it does here",
}


def _named(entry: Mapping[str, t.Any]) -> str:
    return str(Key(entry["address"], entry["port"], entry["protocol"]))
