# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with decap on a real: where it runs, what is pinned, and what its maps have. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..decap_record import KERNEL, XDP
from ..snapshot import Missing
from ..sources import EVERYWHERE
from .finding import Finding
from .real_seen import RESTORE, RealSeen, listed


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
        elif not link.carrier:
            yield Finding(
                "interface_down",
                name,
                f"interface {name}, by which balancers' packets come, has no carrier: its other end is down or not"
                " connected",
                "see to the cable, the switch's port or the other end of the virtual link",
            )
        if isinstance(seen.decap.attached, Missing) or seen.way != XDP:
            continue
        if there is None:
            cause = f"interface {name} runs no program, so nothing takes balancers' tunnels apart"
            yield Finding("decap_missing", name, cause, RESTORE)
        elif there.program_id not in seen.decap.ours(seen.record):
            yield _other(seen, name, there.program_id)


def filters_in(seen: RealSeen) -> Iterator[Finding]:
    """Whether the program filters what comes in where the last run put it: at tc ingress, or behind tunnel devices."""
    if seen.way == XDP or isinstance(seen.decap.places, Missing):
        return
    ours, places = seen.decap.ours(seen.record), seen.decap.ways_in()
    for name in seen.behind:
        link = seen.links.get(name)
        if link is None:
            # Of an interface, decap_places tells.
            if seen.way == KERNEL:
                cause = f"tunnel device {name} does not exist, so the kernel strips no tunnel"
                yield Finding("decap_missing", name, cause, RESTORE)
        elif seen.way == KERNEL and not link.up:
            cause = f"tunnel device {name} is down, so the kernel strips no tunnel"
            yield Finding("decap_missing", name, cause, f"ip link set {name} up, or {RESTORE}")
        elif name in places and not any(each.program_id in ours for each in places[name].filters):
            cause = (
                f"interface {name} has no program decap at tc ingress, so nothing says which tunnels are taken apart"
            )
            yield Finding("decap_missing", name, cause, RESTORE)


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
    if not seen.interfaces or (seen.way == XDP and not decap.at(seen.record.interfaces)):
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
            f"maps of decap are not pinned ({listed(missing)})",
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
                listed(both),
                f"instances {seen.instance} and {instance} both have decap on record for interface {listed(both)},"
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
            listed(gone),
            f"map decap_vips lacks {listed(gone)}, which somebody removed: their packets stay in the tunnel",
            RESTORE,
        )
    sources = set(seen.kept.sources or EVERYWHERE)
    closed = sources - set(seen.decap.sources)
    if closed and "decap_src_v4" in seen.decap.maps:
        yield Finding(
            "decap_sources",
            listed(closed),
            f"the maps of decap's sources lack {listed(closed)}, removed by somebody: tunnels from there stay closed",
            RESTORE,
        )
    opened = set(seen.decap.sources) - sources
    if opened:
        yield Finding(
            "decap_sources",
            listed(opened),
            f"the maps of decap's sources have {listed(opened)}, put there by no run: tunnels from there are opened",
            RESTORE,
            error=False,
        )
