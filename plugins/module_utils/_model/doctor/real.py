# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong on a real, of what it takes for a balancer's packet to reach a service and be answered. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..decap_plan import DecapSnapshot
from ..decap_record import DecapKept, DecapRecord
from ..faults import some
from ..host_addresses import LOOPBACK, HostAddress
from ..host_plan import MssRules, RealHost
from ..snapshot import Missing
from ..sources import EVERYWHERE
from .finding import Finding
from .firewall import INCOMING, OUTGOING, Packet, Ruleset

RESTORE = "run the playbook katran.fleet.deploy, or systemctl restart katran-restore on the host"
TCP, UDP = 6, 17
PROTOCOLS = {"tcp": TCP, "udp": UDP}


class Link(t.NamedTuple):
    """An interface. `up`: by its administrator. `rp_filter`, `arp_ignore`: what holds there; None: there is no such."""

    mtu: int
    up: bool = True
    rp_filter: int = 0
    arp_ignore: int = 0


class Listener(t.NamedTuple):
    """A socket that takes connections or datagrams. `address`: "" for any of `families`; `waiting` of `most` queue."""

    protocol: int
    address: str
    port: int
    families: tuple[bool, ...] = (False, True)
    waiting: int = 0
    most: int = 0

    def takes(self, address: str, protocol: int, port: int) -> bool:
        """Whether it is the one for a packet."""
        if (self.protocol, self.port) != (protocol, port):
            return False
        return (":" in address) in self.families if not self.address else self.address == address

    @property
    def full(self) -> bool:
        """Whether no further connection is taken: the service does not accept those that wait."""
        return self.protocol == TCP and 0 < self.most <= self.waiting


class Way(t.NamedTuple):
    """The default route of a family. `kind`: unicast, blackhole, unreachable, prohibit, "" for none.

    `interfaces`: over which it leads; `others`: how many routes lead to somewhere else by a gateway.
    """

    kind: str = ""
    interfaces: tuple[str, ...] = ()
    others: int = 0


@dataclass(frozen=True)
class RealSeen:
    """A real as it is. `record`, `decap`: of the instance. `others`: of instances beside it, the interfaces of decap.

    `links`: by interface; `ways`: by family, True for IPv6; `rules`: None where nftables does not tell.
    `deaf`: whether it cannot be told who listens. `programs`: names of what XDP runs, by id.
    """

    instance: str
    record: DecapRecord
    decap: DecapSnapshot
    others: Mapping[str, Collection[str]] = field(default_factory=dict)
    host: RealHost | None = None
    mss: MssRules | None = None
    links: Mapping[str, Link] = field(default_factory=dict)
    ways: Mapping[bool, Way] = field(default_factory=dict)
    rules: Ruleset | None = None
    listeners: Sequence[Listener] = ()
    deaf: bool = False
    programs: Mapping[int, str] = field(default_factory=dict)

    @property
    def kept(self) -> DecapKept:
        """The settings of the last run."""
        return self.record.settings or DecapKept([], [], 0, [], 0)

    @property
    def interfaces(self) -> list[str]:
        """By which balancers' packets come, as far as they are there."""
        return [name for name in self.record.interfaces if name in self.links]


Look = t.Callable[[RealSeen], Iterator[Finding]]


def real_findings(seen: RealSeen) -> list[Finding]:
    """All that is wrong."""
    return [finding for look in LOOKS for finding in look(seen)]


def _listed(names: Collection[str]) -> str:
    return some(sorted(names))


def decap_places(seen: RealSeen) -> Iterator[Finding]:
    """Whether the program runs where the last run put it."""
    for name in seen.record.interfaces:
        link, there = seen.links.get(name), seen.decap.attachments.get(name)
        if link is None:
            yield Finding(
                "decap_missing",
                name,
                f"interface {name}, by which balancers' packets come, does not exist",
                "bring the interface back, or name another in katran_real_interfaces and deploy",
            )
            continue
        if not link.up:
            yield Finding(
                "interface_down",
                name,
                f"interface {name}, by which balancers' packets come, is down",
                f"ip link set {name} up",
            )
        if isinstance(seen.decap.attached, Missing):
            continue
        if there is None:
            cause = f"interface {name} runs no program, so nothing takes balancers' tunnels apart"
            yield Finding("decap_missing", name, cause, RESTORE)
        elif there.program_id not in seen.decap.ours(seen.record):
            yield _other(seen, name, there.program_id)


def _other(seen: RealSeen, name: str, number: int) -> Finding:
    resident = seen.decap.residents.get(number)
    if resident is not None and resident.program == "decap":
        return Finding(
            "decap_instance",
            name,
            f"interface {name} runs decap of instance {resident.instance}, not of {seen.instance}, so the VIPs of"
            f" {seen.instance} are not served",
            f"remove decap of instance {resident.instance} (module decap, state: absent), then deploy; one instance"
            " serves all VIPs of a real",
        )
    if resident is not None:
        return Finding(
            "decap_missing",
            name,
            f"interface {name} runs program {resident.program} of instance {resident.instance} in decap's place",
            "give katran_real_attach: false and the balancer feature inline_decap, or another interface, and deploy",
        )
    called = seen.programs.get(number, "")
    return Finding(
        "decap_missing",
        name,
        f"interface {name} runs a program that is not ours (id {number}{f', {called}' if called else ''}) in decap's"
        " place",
        f"see whose it is (bpftool prog show id {number}); take it off (ip link set {name} xdp off), then deploy",
    )


def decap_pins(seen: RealSeen) -> Iterator[Finding]:
    """Whether the program and its maps are where runs find them."""
    decap = seen.decap
    if isinstance(decap.bpffs, Missing):
        yield Finding("decap_missing", seen.instance, decap.bpffs.sentence, f"mount it, then {RESTORE}")
        return
    if not seen.record.interfaces or not decap.at(seen.record.interfaces):
        return
    if decap.current is None:
        yield Finding(
            "decap_missing",
            f"{decap.directory}/decap",
            decap.impostor.replace("replace", "what is pinned there is not it:", 1)
            if decap.impostor
            else "decap is not pinned, so it goes when the interface lets go of it, and runs cannot find it",
            RESTORE,
            error=False,
        )
    missing = [name for name in decap.lost if name in ("decap_vips", "decap_src_v4", "decap_src_v6")]
    if missing:
        yield Finding(
            "decap_missing",
            seen.instance,
            f"maps of decap are not pinned ({_listed(missing)})",
            RESTORE,
            error=False,
        )


def decap_instances(seen: RealSeen) -> Iterator[Finding]:
    """Whether two instances claim one interface."""
    for instance, interfaces in sorted(seen.others.items()):
        both = set(interfaces).intersection(seen.record.interfaces)
        if both:
            yield Finding(
                "decap_instance",
                _listed(both),
                f"instances {seen.instance} and {instance} both have decap on record for interface {_listed(both)},"
                " which can run one of them",
                "keep the instance that serves the VIPs, and remove the other one's (module decap, state: absent)",
            )


def decap_entries(seen: RealSeen) -> Iterator[Finding]:
    """Whether the maps have the VIPs and sources of the last run."""
    if seen.record.settings is None or "decap_vips" not in seen.decap.maps:
        return
    gone = set(seen.kept.vips) - set(seen.decap.vips)
    if gone:
        yield Finding(
            "decap_sources",
            _listed(gone),
            f"map decap_vips lacks {_listed(gone)}, which somebody removed: their packets stay in the tunnel",
            RESTORE,
        )
    sources = set(seen.kept.sources or EVERYWHERE)
    closed = sources - set(seen.decap.sources)
    if closed and "decap_src_v4" in seen.decap.maps:
        yield Finding(
            "decap_sources",
            _listed(closed),
            f"the maps of decap's sources lack {_listed(closed)}, removed by somebody: tunnels from there stay closed",
            RESTORE,
        )
    opened = set(seen.decap.sources) - sources
    if opened:
        yield Finding(
            "decap_sources",
            _listed(opened),
            f"the maps of decap's sources have {_listed(opened)}, put there by no run: tunnels from there are opened",
            RESTORE,
            error=False,
        )


def vips_here(seen: RealSeen) -> Iterator[Finding]:
    """Whether the host has the VIPs, and on lo alone."""
    if isinstance(seen.decap.addresses, Missing):
        return
    places: dict[str, list[HostAddress]] = {}
    for each in seen.decap.addresses:
        places.setdefault(each.text, []).append(each)
    for vip in seen.kept.vips:
        there = places.get(vip, [])
        length = 128 if ":" in vip else 32
        if not there:
            yield Finding(
                "vip_not_on_lo",
                vip,
                f"{vip} is no address of this host, so what decap takes out of the tunnel is not for anybody here",
                f"ip addr add {vip}/{length} dev lo, or {RESTORE}",
            )
        outside = sorted({each.interface for each in there if each.interface in seen.record.interfaces})
        for interface in outside:
            yield Finding(
                "vip_answers_arp",
                vip,
                f"{vip} is an address of interface {interface}, so this host claims it on the link (ARP, neighbour"
                " discovery) and traffic goes past the balancers",
                f"ip addr del {vip}/{_length_of(there, interface)} dev {interface}, and have it on lo"
                f" (ip addr add {vip}/{length} dev lo)",
            )


def _length_of(there: Sequence[HostAddress], interface: str) -> int:
    return next(each.length for each in there if each.interface == interface)


def answers_arp(seen: RealSeen) -> Iterator[Finding]:
    """Whether the link asks this host for VIPs that are on lo, and is answered."""
    local = seen.decap.local()
    vips = [each for each in seen.kept.vips if ":" not in each and _is_on(local, each, LOOPBACK)]
    for name in seen.interfaces:
        if not vips or seen.links[name].arp_ignore:
            continue
        networks = [
            ipaddress.ip_network(f"{each.text}/{each.length}", strict=False)
            for each in local
            if each.interface == name and not each.ipv6
        ]
        near = [vip for vip in vips if any(ipaddress.ip_address(vip) in network for network in networks)]
        yield Finding(
            "vip_answers_arp",
            name,
            f"arp_ignore is 0 on interface {name}, so this host answers ARP for {_listed(near or vips)}"
            + (" and takes the traffic from the balancers" if near else " should the link ever ask"),
            f"sysctl -w net.ipv4.conf.all.arp_ignore=1, or {RESTORE}",
            error=bool(near),
        )


def _is_on(local: Collection[HostAddress], address: str, interface: str) -> bool:
    return any(each.text == address and each.interface == interface for each in local)


def reverse_paths(seen: RealSeen) -> Iterator[Finding]:
    """Whether clients' packets pass the reverse-path filter of where they come out of the tunnel."""
    if not any(":" not in vip for vip in seen.kept.vips):
        return
    way = seen.ways.get(False, Way())
    for name in seen.interfaces:
        if seen.links[name].rp_filter != 1:
            continue
        same = way.kind == "unicast" and way.interfaces == (name,)
        yield Finding(
            "rp_filter",
            name,
            f"the reverse-path filter is strict on interface {name}: clients whose answers leave by another interface"
            f" are dropped{' (none as the default route is, but any other route may)' if same else ''}",
            f"sysctl -w net.ipv4.conf.{name}.rp_filter=2, or {RESTORE}",
            error=not same,
        )


def sizes(seen: RealSeen) -> Iterator[Finding]:
    """Whether links and MSS are as the last run made them, so that full-sized packets come through."""
    host = seen.host
    if host is None:
        return
    for name, mtu in host.mtus().items():
        link = seen.links.get(name)
        if link is not None and link.mtu < mtu:
            yield Finding(
                "mtu_real",
                name,
                f"interface {name} has MTU {link.mtu}, not {mtu} as deployed: full-sized packets in the tunnel do not"
                " come through, and connections hang",
                f"ip link set {name} mtu {mtu}, or {RESTORE}",
            )
    if not host.mss:
        return
    told = f"VIPs are to announce an MSS of {host.mss} at most"
    if seen.mss is None or not seen.mss.sound:
        gone = "its rules are gone" if seen.mss is None else "somebody changed its rules"
        yield Finding("mtu_real", "MSS", f"{told}, and {gone} (nftables' table inet katran_fleet)", RESTORE)
    elif seen.mss.size > host.mss:
        yield Finding("mtu_real", "MSS", f"{told}, and announce {seen.mss.size}", RESTORE)
    else:
        missing = set(seen.kept.vips).intersection(host.vips or ()) - seen.mss.vips
        if missing:
            yield Finding("mtu_real", "MSS", f"{told}, and the rules lack {_listed(missing)}", RESTORE)


def ways_back(seen: RealSeen) -> Iterator[Finding]:
    """Whether answers to clients find a way out."""
    for ipv6 in (False, True):
        vips = [vip for vip in seen.kept.vips if (":" in vip) == ipv6]
        way = seen.ways.get(ipv6)
        if not vips or way is None or way.kind == "unicast":
            continue
        family, option = ("IPv6", "-6 ") if ipv6 else ("IPv4", "")
        cause = f"the {family} default route is {way.kind}" if way.kind else f"there is no {family} default route"
        some = way.others and not way.kind
        yield Finding(
            "source_unreachable",
            family,
            f"{cause}, so answers of {_listed(vips)} to clients find no way out"
            + (f", but for {way.others} networks" if some else ""),
            f"ip {option}route add default via GATEWAY, and have it come back at boot",
            error=not some,
        )


def queues(seen: RealSeen) -> Iterator[Finding]:
    """Whether a service accepts the connections that wait for it."""
    for each in seen.listeners:
        if each.full and (not each.address or each.address in seen.kept.vips):
            name = f"[{each.address}]" if ":" in each.address else each.address or "*"
            yield Finding(
                "service_silent",
                f"{name}:{each.port}/tcp",
                f"the service on port {each.port} does not accept: {each.waiting} connections wait, of {each.most} that"
                " may, and further ones get no answer",
                f"see why the service hangs (ss -Hltnp 'sport = :{each.port}' names it), and restart it",
            )


def filters(seen: RealSeen) -> Iterator[Finding]:
    """Whether a firewall drops all that comes for a VIP, whichever the port."""
    for vip in seen.kept.vips:
        yield from dropped(seen, vip, 0, 0)


def dropped(seen: RealSeen, vip: str, protocol: int, port: int) -> list[Finding]:
    """Whether a firewall drops packets of a service, coming in or answered; 0: any."""
    if seen.rules is None:
        return []
    name = vip_name(vip, protocol, port)
    which = f"{'ip6' if ':' in vip else 'ip'} daddr {vip}"
    if port:
        which += f" {'tcp' if protocol == TCP else 'udp'} dport {port}"
    for interface in seen.interfaces or [""]:
        packet = Packet.to(vip, protocol, port, interface)
        words = seen.rules.drops(packet, INCOMING)
        if words:
            remedy = f"accept it there: a rule `{which} accept` before what drops it"
            return [Finding("firewall_drops", name, f"packets for {name} are dropped by {words}", remedy)]
        words = seen.rules.drops(packet.answer(), OUTGOING)
        if words:
            remedy = f"accept it there: a rule `{which.replace('daddr', 'saddr').replace('dport', 'sport')} accept`"
            return [Finding("firewall_drops", name, f"answers of {name} are dropped by {words}", remedy)]
    return []


def vip_name(vip: str, protocol: int, port: int) -> str:
    """A VIP's name, or its address where there is no port."""
    if not port:
        return vip
    return f"{f'[{vip}]' if ':' in vip else vip}:{port}/{'tcp' if protocol == TCP else 'udp'}"


LOOKS: tuple[Look, ...] = (
    decap_places,
    decap_pins,
    decap_instances,
    decap_entries,
    vips_here,
    answers_arp,
    reverse_paths,
    sizes,
    ways_back,
    queues,
    filters,
)
"""Each looks at one thing."""


def service_findings(seen: RealSeen, services: Sequence[tuple[str, int, int]]) -> list[Finding]:
    """What is wrong with services whose ports are known: (VIP's address, protocol, port)."""
    found: list[Finding] = []
    for vip, protocol, port in services:
        if vip not in seen.kept.vips or not port:
            continue
        drops = dropped(seen, vip, protocol, port)
        found += drops
        if not seen.deaf and not any(each.takes(vip, protocol, port) for each in seen.listeners):
            name = vip_name(vip, protocol, port)
            found.append(
                Finding(
                    "service_refuses",
                    name,
                    f"nothing listens on {name}: connections are refused",
                    f"start the service, and have it listen on {vip} or on every address (ss -Hltun shows who listens)",
                )
            )
    return found
