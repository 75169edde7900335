# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the fleet as a whole shows: balancers and reals that do not fit each other, or the inventory. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..faults import some
from ..link_mtu import Links, Tunnel, link_faults
from ..vips import VipName
from .finding import NOT_EXAMINED, Finding

DEPLOY = "run the playbook katran.fleet.deploy"
SKEW_SECONDS = 2.0
"""Clocks that are further apart than this make ages and times of events hard to compare."""

WRONG_SECONDS = 30.0
"""From here on flow exceptions of others are refused as old."""

Seen = Mapping[str, t.Any]


@dataclass(frozen=True)
class Report:
    """What one host said. `roles`: by the inventory, balancer and real; `why`: why it did not answer, "" where it did.

    `findings`: its own; `seen`: what Examination.seen has, and `shared` of a balancer; empty where nothing of the
    collection is there. `skew`: seconds that its clock is ahead of the controller's, as far as that is sure.
    `reached`: of one that did not answer, whether the controller reached it all the same.
    """

    host: str
    roles: Collection[str]
    why: str = ""
    findings: Sequence[Finding] = ()
    seen: Seen = field(default_factory=dict)
    skew: float = 0.0
    reached: bool = False

    @property
    def real(self) -> Seen | None:
        """What it showed as a real."""
        return self.seen.get("real")

    @property
    def shared(self) -> Seen | None:
        """What it showed as a balancer."""
        return self.seen.get("shared") or None


@dataclass(frozen=True)
class Inventory:
    """What the inventory tells. `addresses`: real → its katran_real_address.

    `vips`: balancer → VIP's name → a word for what is told of it, equal where that is equal; None: no variable tells.
    """

    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    vips: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)


def fleet_findings(inventory: Inventory, reports: Sequence[Report]) -> list[Finding]:
    """All that is wrong between hosts, each with the host that it is about."""
    found = [*_absent(reports)]
    answered = [report for report in reports if not report.why]
    for look in (_clocks, _server_ids):
        found += look(answered)
    found += [*_addresses(inventory, answered), *_twice(inventory)]
    found += _rings(inventory, answered)
    found += _tunnels(inventory, answered)
    return found


def _absent(reports: Sequence[Report]) -> Iterator[Finding]:
    for report in reports:
        if report.why and report.reached:
            yield Finding(
                NOT_EXAMINED,
                "",
                f"the host answers, but could not be examined: {report.why}",
                "see to what the sentence names (ansible HOST -m ping -b needs root and python3), then run it again",
                host=report.host,
            )
            continue
        if report.why:
            yield Finding(
                "host_unreachable",
                "",
                f"the host did not answer: {report.why}",
                "see whether it runs and ssh reaches it (ansible HOST -m ping); the others were examined all the same",
                host=report.host,
            )
            continue
        for role, name, seen in (
            ("balancer", "program_detached", report.shared),
            ("real", "decap_missing", report.real),
        ):
            failed = any(each.name == NOT_EXAMINED for each in report.findings)
            if role in report.roles and seen is None and not failed:
                yield Finding(
                    name,
                    "",
                    f"nothing of katran.fleet is on this host, which the inventory has as a {role}",
                    f"{DEPLOY} (--limit {report.host}), or take the host out of its group",
                    host=report.host,
                )


def _clocks(reports: Sequence[Report]) -> Iterator[Finding]:
    """Against most of the others: the controller's own clock may be the one that is wrong."""
    if not reports:
        return
    usual = sorted(report.skew for report in reports)[len(reports) // 2]
    for report in reports:
        apart = report.skew - usual
        if abs(apart) > SKEW_SECONDS:
            yield Finding(
                "clock_unfit",
                "",
                f"its clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} that of most others",
                "synchronise it (timedatectl set-ntp true, or chrony)",
                error=abs(apart) > WRONG_SECONDS,
                host=report.host,
            )


def _addresses(inventory: Inventory, reports: Sequence[Report]) -> Iterator[Finding]:
    for report in reports:
        there = (report.real or {}).get("addresses")
        if there is None:
            continue
        for address in inventory.addresses.get(report.host, ()):
            if address not in there:
                whose = [other.host for other in reports if address in ((other.real or {}).get("addresses") or ())]
                owner = f"; {some(whose)} has it" if whose else ""
                usual = [each for each in there if _is_usual(each)]
                yield Finding(
                    "real_address",
                    address,
                    f"katran_real_address {address} is no address of this host, which has {some(usual) or 'none'}"
                    f"{owner}: what balancers send there does not reach it",
                    f"put the host's own address into katran_real_address and deploy, or ip addr add {address}",
                    host=report.host,
                )


def _twice(inventory: Inventory) -> Iterator[Finding]:
    """Reals to which the inventory gives one address."""
    hosts: dict[str, list[str]] = {}
    for host, addresses in inventory.addresses.items():
        for address in addresses:
            hosts.setdefault(address, []).append(host)
    for address, several in hosts.items():
        if len(several) > 1:
            yield Finding(
                "real_address",
                address,
                f"katran_real_address {address} is that of {some(several)}: balancers send to one of them",
                "give each real its own address in katran_real_address, and deploy",
                host=several[0],
            )


def _is_usual(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local)


def _server_ids(reports: Sequence[Report]) -> Iterator[Finding]:
    own: dict[int, list[Report]] = {}
    for report in reports:
        number = (report.real or {}).get("server_id", 0)
        if number:
            own.setdefault(number, []).append(report)
    for number, several in sorted(own.items()):
        if len(several) > 1:
            yield Finding(
                "server_id_clash",
                str(number),
                f"{some([each.host for each in several])} all have server id {number}: packets that name it reach one"
                " of them",
                "give each host an id of its own (katran_server_id) and deploy",
                host=several[0].host,
            )
    leads: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        for number, real in ((report.shared or {}).get("server_ids") or {}).items():
            leads.setdefault(number, {}).setdefault(real, []).append(report.host)
    for number, ends in sorted(leads.items()):
        if len(ends) > 1:
            told = "; ".join(f"{some(hosts)}: {real}" for real, hosts in sorted(ends.items()))
            yield Finding(
                "server_id_clash",
                number,
                f"server id {number} leads to different reals ({told})",
                f"have katran_server_ids alike for all balancers: {DEPLOY}",
                host=min(min(hosts) for hosts in ends.values()),
            )
        yield from _other_owner(number, ends, own)


def _other_owner(
    number: str, ends: Mapping[str, Sequence[str]], own: Mapping[int, Sequence[Report]]
) -> Iterator[Finding]:
    for report in own.get(int(number), ()):
        there = (report.real or {}).get("addresses", ())
        for real, hosts in sorted(ends.items()):
            if real not in there:
                yield Finding(
                    "server_id_clash",
                    number,
                    f"it has server id {number}, which {some(hosts)} send to {real}, no address of it",
                    f"have katran_server_ids and katran_server_id alike: {DEPLOY}",
                    host=report.host,
                )


class _Differs(t.NamedTuple):
    """In what a balancer's ring is not that of another; `error`: whether that is more than what checks say for now."""

    host: str
    other: str
    why: str
    error: bool
    remedy: str


def _rings(inventory: Inventory, reports: Sequence[Report]) -> Iterator[Finding]:
    """One for each balancer and each difference, with the VIPs that have it."""
    balancers = [report for report in reports if report.shared is not None]
    names = sorted({name for report in balancers for name in (report.shared or {})["vips"]})
    alike: dict[_Differs, list[str]] = {}
    for name in names:
        there = [report for report in balancers if name in (report.shared or {})["vips"]]
        for report in balancers:
            told = inventory.vips.get(report.host)
            if report not in there and told is not None and name in told:
                has = some([each.host for each in there])
                lacks = _Differs(report.host, has, "", True, f"{DEPLOY} (--limit {report.host})")
                alike.setdefault(lacks, []).append(name)
        for each in _different(inventory, name, there):
            alike.setdefault(each, []).append(name)
    for each, vips in alike.items():
        listed = some(vips)
        cause = f"it lacks {listed}, which the inventory tells it and {each.other} has"
        if each.why:
            several = len(vips) > 1
            cause = f"its {'rings' if several else 'ring'} of {listed} {'are' if several else 'is'} not that of"
            cause += f" {each.other}, so flows get another real where they come by another balancer: {each.why}"
        yield Finding("rings_differ", listed, cause, each.remedy, error=each.error, host=each.host)


def _different(inventory: Inventory, name: str, reports: Sequence[Report]) -> Iterator[_Differs]:
    """Those that differ from what most have, of balancers that are told the same."""
    alike: dict[str, list[Report]] = {}
    for report in reports:
        alike.setdefault((inventory.vips.get(report.host) or {}).get(name, ""), []).append(report)
    for several in alike.values():
        rings = [(report.shared or {})["vips"][name] for report in several]
        digests = [ring["digest"] for ring in rings]
        usual = max(digests, key=lambda digest: (digests.count(digest), -digests.index(digest)))
        model, first = rings[digests.index(usual)], several[digests.index(usual)].host
        for report, ring in zip(several, rings, strict=True):
            if ring["digest"] != usual:
                yield _Differs(report.host, first, *_why(ring, model, report.host, first))


def _why(ring: Seen, model: Seen, host: str, other: str) -> tuple[str, bool, str]:
    """In what two rings differ, whether that is more than what checks say for now, and the remedy."""
    if ring["settings"] != model["settings"]:
        told = [f"{here} here, {there} there" for here, there in zip(ring["settings"], model["settings"], strict=True)]
        return f"hash and size of the ring are {'; '.join(told)}", True, f"have settings alike, then {DEPLOY}"
    mine, theirs = ring.get("reals"), model.get("reals")
    if mine is None or theirs is None:
        return "katran vips on both shows in what", True, DEPLOY
    for text, there, lacks in ((f"{host} lacks", theirs, mine), (f"{other} lacks", mine, theirs)):
        missing = [address for address in there if address not in lacks]
        if missing:
            return f"{text} {some(missing)}", True, DEPLOY
    weights = [address for address in mine if mine[address][0] != theirs[address][0]]
    if weights:
        told = [f"{address} has weight {mine[address][0]} here, {theirs[address][0]} there" for address in weights]
        return some(told), True, DEPLOY
    words = [address for address in mine if bool(mine[address][1]) != bool(theirs[address][1])]
    told = [
        f"{address} is {mine[address][1] or 'active'} on {host}, {theirs[address][1] or 'active'} on {other}"
        for address in words
    ]
    by_hand = [a for a in words if "by hand" in mine[a][1] + theirs[a][1]]
    if by_hand:
        return some(told), True, "end it there (katran undrain, or module reals with state: deleted), or say it of all"
    checks = [a for a in words if "by checks" in mine[a][1] + theirs[a][1]]
    if checks:
        return some(told), False, f"katran checks on {host} and {other} shows why the checks do not agree"
    return some(told), True, DEPLOY


def _tunnels(inventory: Inventory, reports: Sequence[Report]) -> Iterator[Finding]:
    """Whether each real takes what each balancer sends to it."""
    for report in reports:
        if report.real is None:
            continue
        addresses = set(inventory.addresses.get(report.host) or report.real["addresses"])
        small: dict[str, list[str]] = {}
        for balancer in reports:
            used = _used(balancer, addresses)
            if used:
                yield from _tunnel(report, used, balancer)
                for sentence in _too_small(report, used, balancer):
                    small.setdefault(sentence, []).append(balancer.host)
        for sentence, hosts in small.items():
            cause, _colon, remedy = sentence.partition(": ")
            yield Finding("mtu_real", "", f"{cause} (by {some(hosts)})", remedy, host=report.host)


Used = Mapping[str, Sequence[str]]
"""Address of a real → the VIPs of which a balancer sends to it."""


def _used(balancer: Report, addresses: Collection[str]) -> Used:
    vips = (balancer.shared or {}).get("vips", {})
    used = {address: [name for name, ring in vips.items() if address in ring.get("reals", ())] for address in addresses}
    return {address: names for address, names in used.items() if names}


def _too_small(report: Report, used: Used, balancer: Report) -> Iterable[str]:
    """What is said of the real's interfaces that do not carry a balancer's tunnels."""
    real, sends = report.real or {}, balancer.shared or {}
    tunnel = Tunnel(sends["encapsulation"], sends["max_frame"], any(":" in address for address in used))
    return link_faults(Links("warn", tunnel, real["mss"]), real["interfaces"])


def _tunnel(report: Report, used: Used, balancer: Report) -> Iterator[Finding]:
    real, sends = report.real or {}, balancer.shared or {}
    families = {"ipv6" if ":" in address else "ipv4" for address in used}
    # What the real says of itself is not told once more.
    told = [each.about for each in report.findings if each.name == "decap_sources"]
    said = {word for about in told for word in about.replace(",", " ").split()}
    lost = [word for word in said if "/" in word]
    for family in sorted(families):
        closed = [each for each in sends["sources"].get(family, ()) if not _covered(each, [*real["sources"], *lost])]
        if closed:
            yield Finding(
                "decap_sources",
                some(closed),
                f"decap takes tunnels from {some(real['sources']) or 'nobody'}, and {balancer.host} sends from"
                f" {some(closed)}: its packets stay in the tunnel",
                f"{DEPLOY} (katran_real_sources, where it is set, has to have {some(closed)})",
                host=report.host,
            )
    if sends["encapsulation"] == "gue" and sends["gue_port"] not in real["gue_ports"]:
        yield Finding(
            "decap_sources",
            f"port {sends['gue_port']}",
            f"{balancer.host} sends GUE to port {sends['gue_port']}, and decap takes port"
            f" {some([str(port) for port in real['gue_ports']])}",
            f"have katran_gue_port alike, then {DEPLOY}",
            host=report.host,
        )
    vips = {_host_of(name) for names in used.values() for name in names} - {""}
    missing = [] if "more" in said else sorted(vips - set(real["vips"]) - said)
    if missing:
        yield Finding(
            "decap_sources",
            some(missing),
            f"decap does not serve {some(missing)}, which {balancer.host} sends here",
            f"{DEPLOY} (katran_real_vips, where it is set, has to have {some(missing)})",
            host=report.host,
        )


def _host_of(name: str) -> str:
    """The address of a VIP; "" of a prefix, of which a real serves single addresses."""
    vip = VipName.read(name)
    return "" if vip is None or "/" in name.rpartition("/")[0] else getattr(vip.host, "text", "")


def _covered(prefix: str, sources: Sequence[str]) -> bool:
    network = ipaddress.ip_network(prefix)
    return any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]  # of one version
        for other in map(ipaddress.ip_network, sources)
    )
