# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong on a real, of what it takes for a balancer's packet to reach a service and be answered. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterator, Sequence

from ..decap_record import KERNEL
from ..faults import some
from ..host_addresses import LOOPBACK, HostAddress
from ..snapshot import Missing
from .finding import Finding
from .firewall import INCOMING, OUTGOING, Packet
from .real_decap import decap_entries, decap_instances, decap_pins, decap_places, filters_in
from .real_seen import RESTORE, TCP, UDP, Policy, RealSeen, Way, listed

_IPIP, _IPV6 = 4, 41
_MAIN_TABLE = 32766
"""The priority of the rule that leads to the main table, of which `ways` tell."""

Look = t.Callable[[RealSeen], Iterator[Finding]]


def real_findings(seen: RealSeen) -> list[Finding]:
    """All that is wrong."""
    return [finding for look in LOOKS for finding in look(seen)]


def vips_here(seen: RealSeen) -> Iterator[Finding]:
    """Whether the host has the VIPs, and on lo alone."""
    if isinstance(seen.decap.addresses, Missing):
        return
    places: dict[str, list[HostAddress]] = {}
    for each in seen.decap.addresses:
        places.setdefault(each.text, []).append(each)
    missing = [vip for vip in seen.kept.vips if vip not in places]
    if missing:
        several = len(missing) > 1
        yield Finding(
            "vip_not_on_lo",
            listed(missing),
            f"{listed(missing)} {'are no addresses' if several else 'is no address'} of this host, so what decap takes"
            " out of the tunnel is not for anybody here",
            f"ip addr add {missing[0]}/{_whole(missing[0])} dev lo{' and likewise the others' if several else ''},"
            f" or {RESTORE}",
        )
    for vip in seen.kept.vips:
        there = places.get(vip, [])
        shared = {name for name, link in seen.links.items() if link.arp and link.up} - {LOOPBACK, *seen.record.tunnels}
        outside = sorted({each.interface for each in there} & {*shared, *seen.record.interfaces})
        for interface in outside:
            yield Finding(
                "vip_answers_arp",
                vip,
                f"{vip} is an address of interface {interface}, so this host claims it on the link (ARP, neighbour"
                " discovery) and traffic goes past the balancers",
                f"ip addr del {vip}/{_length_of(there, interface)} dev {interface}, and have it on lo"
                f" (ip addr add {vip}/{_whole(vip)} dev lo)",
                # On a link that balancers' packets do not use, those of clients may not come either.
                error=interface in seen.record.interfaces,
            )


def _whole(address: str) -> int:
    return 128 if ":" in address else 32


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
            f"arp_ignore is 0 on interface {name}, so this host answers ARP for {listed(near or vips)}"
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
    for name in dict.fromkeys((*seen.interfaces, *(each for each in seen.behind if each in seen.links))):
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
            yield Finding("mtu_real", "MSS", f"{told}, and the rules lack {listed(missing)}", RESTORE)


def ways_back(seen: RealSeen) -> Iterator[Finding]:
    """Whether answers to clients find a way out; of an interface that is down, routes are gone with it."""
    if not all(seen.links[name].up and seen.links[name].carrier for name in seen.interfaces):
        return
    for ipv6 in (False, True):
        vips = [vip for vip in seen.kept.vips if (":" in vip) == ipv6]
        way = seen.ways.get(ipv6)
        if not vips or way is None:
            continue
        refused = list(_refused(seen.policies.get(ipv6, ()), vips))
        yield from refused
        if refused or way.kind == "unicast":
            continue
        family, option = ("IPv6", "-6 ") if ipv6 else ("IPv4", "")
        cause = f"the {family} default route is {way.kind}" if way.kind else f"there is no {family} default route"
        some = way.others and not way.kind
        yield Finding(
            "source_unreachable",
            family,
            f"{cause}, so answers of {listed(vips)} to clients find no way out"
            + (f", but for {way.others} networks" if some else ""),
            f"ip {option}route add default via GATEWAY, and have it come back at boot",
            error=not some,
        )


def _refused(policies: Sequence[Policy], vips: Sequence[str]) -> Iterator[Finding]:
    """Where the first rule that decides of an answer refuses it."""
    for policy in policies:
        decided = [vip for vip in vips if policy.covers(vip)]
        vips = [vip for vip in vips if vip not in decided]
        if decided and policy.refuses and policy.priority < _MAIN_TABLE:
            family, option = ("IPv6", "-6 ") if ":" in decided[0] else ("IPv4", "")
            yield Finding(
                "source_unreachable",
                family,
                f"rule {policy.priority} of policy routing, which answers of {listed(decided)} meet, {policy.refuses}:"
                " they find no way out",
                f"take the rule off (ip {option}rule del priority {policy.priority}), or have it lead to a table with"
                " a default route",
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
    """Whether a firewall drops all that comes for a VIP, or for a service that listens on a VIP alone.

    What listens on every address may well be meant for others than clients of a VIP.
    """
    yield from _alike(_shut(seen))
    if seen.way == KERNEL:
        yield from _tunnels_dropped(seen)


def _shut(seen: RealSeen) -> list[Finding]:
    """One for each VIP, or service on one alone."""
    every = [finding for vip in seen.kept.vips for finding in dropped(seen, vip, 0, 0)]
    told = {each.about for each in every}
    services = {(each.address, each.protocol, each.port) for each in seen.listeners}
    bound = [each for each in sorted(services) if each[0] in seen.kept.vips and each[0] not in told]
    return [*every, *(finding for each in bound for finding in dropped(seen, *each))]


def _tunnels_dropped(seen: RealSeen) -> Iterator[Finding]:
    """Whether a firewall drops tunnels that the kernel is to strip, of either kind: which is used, balancers know."""
    for address in seen.decap.local():
        if seen.rules is None or address.interface not in seen.interfaces or address.text.startswith("fe80:"):
            continue
        sources = [each.partition("/")[0] for each in seen.kept.sources if (":" in each) == address.ipv6]
        for source in sources:
            packet = Packet.to(address.text, interface=address.interface)._replace(source=source)
            kinds = ((_IPV6 if address.ipv6 else _IPIP, 0), (UDP, seen.kept.gue_port))
            words = [
                seen.rules.drops(packet._replace(protocol=protocol, destination_port=port)) for protocol, port in kinds
            ]
            if all(words):
                accept = f"udp dport {seen.kept.gue_port} (GUE), or meta l4proto {kinds[0][0]} (IPIP)"
                cause = f"balancers' tunnels from {source} to {address.text} are dropped by {words[0]}"
                yield Finding("firewall_drops", address.text, cause, f"accept them there: {accept}; or {RESTORE}")


def dropped(seen: RealSeen, vip: str, protocol: int, port: int) -> list[Finding]:
    """Whether a firewall drops packets of a service, coming in or answered; 0: any."""
    if seen.rules is None:
        return []
    name = vip_name(vip, protocol, port)
    which = f"{'ip6' if ':' in vip else 'ip'} daddr {vip}"
    if port:
        which += f" {'tcp' if protocol == TCP else 'udp'} dport {port}"
    for interface in [name for name in seen.behind if name in seen.links] or [""]:
        packet = Packet.to(vip, protocol, port, interface)
        words = seen.rules.drops(packet, INCOMING)
        if words:
            remedy = f"accept it there: a rule `{which} accept` before what drops it"
            return [Finding("firewall_drops", name, f"packets for {name} are dropped by {words}", remedy)]
        words = seen.rules.drops(packet.answer(_way_out(seen, ":" in vip)), OUTGOING)
        if words:
            remedy = f"accept it there: a rule `{which.replace('daddr', 'saddr').replace('dport', 'sport')} accept`"
            return [Finding("firewall_drops", name, f"answers of {name} are dropped by {words}", remedy)]
    return []


def _way_out(seen: RealSeen, ipv6: bool) -> str:
    """The interface by which answers leave; "" where that is not sure: of several, or by a rule of policy routing."""
    way = seen.ways.get(ipv6, Way())
    by_rule = any(each.priority < _MAIN_TABLE for each in seen.policies.get(ipv6, ()))
    return way.interfaces[0] if len(way.interfaces) == 1 and not by_rule else ""


def vip_name(vip: str, protocol: int, port: int) -> str:
    """A VIP's name, or its address where there is no port."""
    if not port:
        return vip
    return f"{f'[{vip}]' if ':' in vip else vip}:{port}/{'tcp' if protocol == TCP else 'udp'}"


LOOKS: tuple[Look, ...] = (
    decap_places,
    filters_in,
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
    """What is wrong with services whose ports are known: (VIP's address, protocol, port). One cause is told once."""
    asked = [each for each in services if each[0] in seen.kept.vips and each[2]]
    told = {finding.about for finding in _shut(seen)}
    shut = [finding for each in asked if each[0] not in told for finding in dropped(seen, *each)]
    found = _alike([each for each in shut if each.about not in told])
    unheard = [each for each in asked if not seen.deaf and not any(one.takes(*each) for one in seen.listeners)]
    if unheard:
        names = some([vip_name(*each) for each in unheard])
        addresses = some(list(dict.fromkeys(each[0] for each in unheard)))
        found.append(
            Finding(
                "service_refuses",
                names,
                f"nothing listens on {names}: what comes there is refused",
                f"start the service, and have it listen on {addresses} or every address (ss -Hltun shows who listens)",
            )
        )
    return found


def _alike(findings: Sequence[Finding]) -> list[Finding]:
    """Those that differ in nothing but the service, as one."""
    same: dict[str, list[Finding]] = {}
    for each in findings:
        same.setdefault(each.cause.replace(each.about, ""), []).append(each)
    return [
        several[0]._replace(
            about=(names := some([each.about for each in several])),
            cause=several[0].cause.replace(several[0].about, names),
            remedy=several[0].remedy + (" (likewise for the others)" if len(several) > 1 else ""),
        )
        for several in same.values()
    ]
