# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a balancer by what was seen of it. Pure: what was seen comes in, findings come out."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..announcement import Drain
from ..faults import counted, some
from ..judging import epoch
from ..link_mtu import Links, Tunnel, link_faults
from ..overlay import Overlay
from ..snapshot import GatewayAnswer, RootArray
from ..verdicts import Words, degraded
from ..vips import Vip, VipKey
from ..watch import RESTORE
from .finding import Finding

DEPLOY = "ansible-playbook katran.fleet.deploy puts it in order"

FORGOTTEN_SECONDS = 3600.0
"""A drain by hand is told once it is as old as this: who drains something knows of it for a while."""

_RISING_SHARE = 100
"""One in so many frames that a driver does not take, during a look, is no chance."""

_FULL_SHARE, _FULL_LEAST_SHARE = 95, 80
"""Per cent of its capacity from which on a connection table evicts: the kernel frees some before all are used."""

_FREE_PER_CPU = 128
"""Entries of an LRU map that the kernel keeps free for each CPU: LOCAL_FREE_TARGET of kernel/bpf/bpf_lru_list.c."""

_STALE_LEAST, _STALE_SHARE = 200, 50
"""How many flows, and which per cent of them, have to contradict the ring: after a change some always do, and TCP's
entries have no age."""


class Link(t.NamedTuple):
    """An interface that the program is to run on.

    `program`, `mode`: what XDP runs there, None and "" where nothing. `up`: by its administrator; `carrier`: by its
    other end.
    """

    name: str
    exists: bool = True
    up: bool = True
    carrier: bool = True
    mtu: int = 0
    program: int | None = None
    mode: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Placed:
    """How the program was put where it is to run: the mode that was asked for, and why it is generic by interface.

    `ours`: ids of what is pinned as this balancer's program.
    """

    instance: str
    mode: str
    generic: Mapping[str, str]
    ours: Collection[int]


# The program, and where it runs


def of_links(placed: Placed, links: Iterable[Link]) -> Iterator[Finding]:
    """Interfaces that are gone or down, and programs that do not run there, are another's or slow."""
    for link in links:
        if not link.exists:
            yield Finding(
                "interface_down",
                link.name,
                f"interface {link.name}, where the balancer is to run, does not exist",
                "bring it back under that name, or change katran_interfaces and deploy",
            )
            continue
        if not link.up:
            yield Finding(
                "interface_down",
                link.name,
                f"interface {link.name} is down: no packet comes in or goes out there",
                f"ip link set {link.name} up, and let the network's configuration do so at boot",
            )
        elif not link.carrier:
            yield Finding(
                "interface_down",
                link.name,
                f"interface {link.name} has no carrier: its other end is down or not connected",
                "see to the cable, the switch's port or the other end of the virtual link",
            )
        yield from _of_program(placed, link)


def _of_program(placed: Placed, link: Link) -> Iterator[Finding]:
    if link.program is None:
        yield Finding(
            "program_detached",
            link.name,
            f"interface {link.name} runs no XDP program: no packet that comes in there is balanced",
            RESTORE,
        )
    elif placed.ours and link.program not in placed.ours:
        yield Finding(
            "foreign_program",
            link.name,
            f"interface {link.name} runs another XDP program (id {link.program}): no packet that comes in there is"
            " balanced",
            f"bpftool prog show id {link.program} says whose it is; take it off with ip link set {link.name} xdp off,"
            f" then {RESTORE}; if both are needed, katran_root_array lets programs share an interface",
        )
    elif link.mode == "generic" and placed.mode != "generic":
        why = placed.generic.get(link.name, "")
        yield Finding(
            "generic_mode",
            link.name,
            f"interface {link.name} runs the balancer in generic mode, many times slower, though {placed.mode} was"
            f" asked for{f' ({why})' if why else ''}",
            "see to what the reason says (driver, MTU, queues) and deploy with katran_mode: native; katran_mode:"
            " generic says that it is meant so",
            error=placed.mode == "native",
        )


def no_checker(name: str) -> Finding:
    """Probes of checks would leave without a tunnel."""
    return Finding(
        "program_detached",
        f"healthcheck on {name}",
        f"interface {name} does not run program healthcheck: the agent cannot ask reals, and what it knew last holds",
        RESTORE,
    )


def no_way_of_checks(ipv6: bool, lost: Sequence[VipKey]) -> Finding:
    """Checks go to the VIP by the host's own routes, before program healthcheck puts them into the tunnel."""
    family, option = ("IPv6", "-6 ") if ipv6 else ("IPv4", "")
    return Finding(
        "source_unreachable",
        family,
        f"this host has no {family} route to {some(list(map(str, lost)))}, so that checks do not leave: reals that are"
        " well seem to fail",
        f"ip {option}route add default via GATEWAY, and have it come back at boot",
    )


def no_root(name: str) -> Finding:
    """In shared mode: an interface without the root program."""
    cause = f"interface {name} runs no root program: none of the programs in its slots runs there"
    return Finding("program_detached", name, cause, RESTORE)


def of_slot(placed: Placed, slot: RootArray, running: int | None) -> Iterator[Finding]:
    """In shared mode: whether the program is in its slot of the root program's array."""
    about = f"slot {slot.position} of {slot.path}"
    if running is None:
        cause = f"{about} is empty: the root program calls no balancer"
        yield Finding("program_detached", about, cause, RESTORE)
    elif running not in placed.ours:
        yield Finding(
            "foreign_program",
            about,
            f"{about} has another program (id {running}): no packet that comes in there is balanced",
            f"bpftool prog show id {running} says whose it is; give each program a slot of its own"
            " (katran_root_array.position) and deploy",
        )


def not_loaded(instance: str) -> Finding:
    """Nothing of the program is pinned."""
    return Finding(
        "program_detached",
        f"instance {instance}",
        f"the program of balancer {instance} is not loaded: no packet is balanced",
        RESTORE,
    )


# The way on


def of_gateway(instance: str, setting: str, sent_to: str, answer: GatewayAnswer | None) -> Iterator[Finding]:
    """Whether packets are sent to the gateway. `setting`: gateway_mac; `sent_to`: by ctl_array, "" where nothing.

    `answer`: what the gateway says, None where it was not asked.
    """
    about = f"instance {instance}"
    if not sent_to:
        yield Finding(
            "gateway_mac",
            about,
            "the program knows no gateway's MAC (ctl_array is empty there): every packet is sent to 00:00:00:00:00:00",
            DEPLOY,
        )
        return
    if setting not in ("auto", sent_to):
        yield Finding(
            "gateway_mac",
            about,
            f"the program sends to {sent_to} (ctl_array), but gateway_mac is {setting}: somebody changed the map",
            DEPLOY,
        )
    elif answer is not None and answer.mac and answer.mac != sent_to:
        yield Finding(
            "gateway_mac",
            about,
            f"the program sends to {sent_to}, but the gateway's MAC is {answer.mac}: packets to reals go to nobody",
            f"somebody wrote the kernel's entry, by which the agent goes: ip neigh del {answer.written}"
            if answer.written
            else "systemctl restart katran-agent lets the agent follow the gateway, and so does a deploy"
            if setting == "auto"
            else f"set katran_gateway_mac to {answer.mac} or to auto, and deploy",
        )
    elif answer is not None and not answer.mac and setting == "auto":
        sentence = answer.sentence.removeprefix("gateway_mac auto: ").partition("; give ")[0]
        yield Finding(
            "gateway_mac",
            about,
            f"the gateway's MAC is not known: {sentence}",
            "see to the gateway and the default route (ip route, ip neigh), or set katran_gateway_mac",
        )


def of_mtu(tunnel: Tunnel, mss: int, links: Iterable[Link]) -> Iterator[Finding]:
    """Interfaces that cannot carry full-sized packets in the tunnel. `mss`: the largest that reals announce, 0: any."""
    mtus: dict[str, int | None] = {link.name: link.mtu for link in links if link.exists and link.mtu}
    for name in sorted(mtus):
        for sentence in link_faults(Links("warn", tunnel, mss), {name: mtus[name]}):
            cause, _colon, remedy = sentence.partition(": ")
            yield Finding("mtu_balancer", name, cause, remedy)


def of_driver(link: Link, sent: int, lost: Mapping[str, int]) -> Iterator[Finding]:
    """What a driver did not send of what the program gave it. `sent`, `lost` (counter → frames): during the look."""
    total = sum(lost.values())
    if total and total * _RISING_SHARE >= sent + total:
        names = ", ".join(sorted(name for name, value in lost.items() if value))
        yield Finding(
            "mtu_driver",
            link.name,
            f"driver {link.driver or 'of the interface'} dropped {counted(total, 'frame')} that the program sent by"
            f" {link.name} during this look ({names}), and {sent} went out: frames longer than the driver or the other"
            f" end of the link takes by XDP (MTU {link.mtu}), or no queue for them",
            "raise the MTU at the other end of the link as well, keep max_frame within the driver's limit for XDP, and"
            f" give it a transmit queue for each CPU (ethtool -S {link.name}, ethtool -l {link.name})",
        )


# What is in the maps


def of_differences(lines: Sequence[str]) -> Iterator[Finding]:
    """What of the maps is not as the last run left it, a sentence each."""
    if lines:
        yield Finding(
            "map_edited",
            "",
            f"the maps are not as the last run left them: {'; '.join(lines[:5])}"
            f"{f'; and {len(lines) - 5} more' if len(lines) > 5 else ''}",
            f"{DEPLOY}; find out who writes to the maps (bpftool, another instance, another program)",
        )


def of_fill(fill: Mapping[str, tuple[int, int]], cpus: int) -> Iterator[Finding]:
    """Connection tables that are full. `fill`: map → (entries, capacity) of its fullest table; `cpus`: of the host.

    A small one evicts while a large part of it is free, but free for some CPU or other.
    """
    for name, (entries, capacity) in fill.items():
        evicts = max(capacity - _FREE_PER_CPU * cpus, capacity * _FULL_LEAST_SHARE / 100)
        if capacity and entries >= min(evicts, capacity * _FULL_SHARE / 100):
            size = "global_flows" if name in ("global_lru_maps", "fallback_glru") else "flows"
            yield Finding(
                "flow_table_full",
                name,
                f"a connection table of {name} has {entries} of {capacity} entries: each new flow evicts an old one,"
                " which loses its real at the next change of a ring",
                f"raise {size} in katran_sizes and deploy; VIPs that need no table can do without (flag no_lru)",
                error=False,
            )


def of_stale(stale: int, looked: int) -> Iterator[Finding]:
    """Flows that only this balancer's tables keep where they are. `stale`: of so many that were `looked` at."""
    if stale >= _STALE_LEAST and stale * 100 >= looked * _STALE_SHARE:
        yield Finding(
            "stale_flows",
            "lru_mapping",
            f"{stale} of {looked} TCP flows that were looked at have another real than today's ring gives them: they"
            " lose it when they reach another balancer or their entry is evicted",
            "katran flows --stale shows them; katran_sync: true tells the other balancers of such flows, and entries of"
            " connections that ended long ago go with module katran.fleet.flows (state absent, real or vip)",
            error=False,
        )


def of_fallback(rising: int, total: int, packets: int, without: Collection[int]) -> Iterator[Finding]:
    """Packets on CPUs that have no connection table of their own. `rising`: during the look; of `packets` in all.

    `without`: CPUs that may receive and have none; what was counted before they all got one is past.
    """
    if rising or (without and total * 100 > packets):
        yield Finding(
            "fallback_cache",
            "",
            f"{total} packets met a CPU without a connection table of its own ({rising} during this look): their flows"
            " share one small table, and lose their place when they change CPUs",
            "set katran_forwarding_cores to the CPUs that receive (auto takes the interface's queues), keep RSS and"
            " irqbalance from moving its interrupts elsewhere, and deploy",
        )


# Who said what of reals


def of_words(vips: Mapping[VipKey, Vip], words: Words, now: float) -> Iterator[Finding]:
    """Reals that were drained by hand and forgotten, and words that contradict each other."""
    listed: dict[str, list[str]] = {}
    for key in sorted(vips):
        for real in vips[key].reals:
            listed.setdefault(real.address, []).append(str(key))
    for address, word in sorted(words.overlay.items()):
        if word.state != "active" and _is_old(word.since, now) and address in listed:
            yield Finding(
                "drained_by_hand",
                address,
                f"real {address} is {word.state} by hand since {word.since or 'nobody knows when'}, in"
                f" {some(listed[address])}",
                "if that was forgotten, take the word back on all balancers: module katran.fleet.reals, config"
                f" [{{address: {address}}}], state deleted",
                error=False,
            )
        yield from _contradiction(word, words, listed.get(address, []))
    for key, why in degraded(vips, words).items():
        yield Finding(
            "health_and_overlay",
            str(key),
            f"vip {key} is degraded: {why}, so that clients are sent to reals that fail",
            "see to the reals (katran checks says what they answer); min_healthy of the check says how many may go",
        )


def _contradiction(word: Overlay, words: Words, vips: Sequence[str]) -> Iterator[Finding]:
    """What checks say against a person's word."""
    said = {vip: words.verdicts.get(vip, {}).get(word.address) for vip in vips}
    against = {vip: verdict for vip, verdict in said.items() if verdict and verdict.state != "active"}
    if not against:
        return
    vip = min(against)
    verdict = against[vip]
    reason = f" ({verdict.reason})" if verdict.reason else ""
    if word.state == "active":
        cause = (
            f"real {word.address} is active by hand, but {verdict.state} by check in {vip}{reason}: the stricter word"
            " counts, so it gets no new flow"
        )
    else:
        cause = (
            f"real {word.address} is {word.state} by hand, and {verdict.state} by check in {vip}{reason}: it does not"
            " come back when it is undrained"
        )
    yield Finding(
        "health_and_overlay",
        word.address,
        cause,
        f"see to the real first (katran checks {word.address}), then take the word back: module katran.fleet.reals,"
        f" config [{{address: {word.address}}}], state deleted",
        error=False,
    )


def of_drain(instance: str, drain: Drain | None, now: float) -> Iterator[Finding]:
    """A balancer that was drained by hand and forgotten."""
    if drain is not None and _is_old(drain.since, now):
        how = "its routes are withdrawn" if drain.withdraw else "neighbours are asked to send elsewhere"
        yield Finding(
            "drained_by_hand",
            f"instance {instance}",
            f"the balancer is drained by {drain.by} since {drain.since or 'nobody knows when'}: {how}",
            "if that was forgotten: katran undrain on this host",
            error=False,
        )


def _is_old(since: str, now: float) -> bool:
    """Whether a word is old enough to be forgotten; one without a time that can be read is."""
    return now - epoch(since) >= FORGOTTEN_SECONDS
