# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tunnel devices as a real's: what is wanted of them, and the steps to it. Pure: no I/O.

In external mode one device takes what no device with ends of its own takes, from whomever. Of GUE, the kernel takes the
UDP header off, of variant 1 as of variant 0, and what is left is IPIP to it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from .errors import ProgramError
from .steps import Phase

if t.TYPE_CHECKING:
    from .program_plan import ProgramPlan

KINDS = {"katran-ipip": "ipip", "katran-ip6tnl": "ip6tnl"}
"""Device → its kind."""

ADDRESSES = {"katran-ipip": "127.0.0.42", "katran-ip6tnl": "127.0.0.43"}
"""Device → its IPv4 address: with the loose filter too, the kernel takes no IPv4 packet from a device without one."""

_FAMILIES = {4: "IPv4", 6: "IPv6"}


def parameters_of(device: str) -> dict[str, str]:
    """What a device needs of the kernel, by path below /proc/sys: clients are anywhere behind it, as with any link."""
    found = {f"net/ipv4/conf/{device}/rp_filter": "2"}
    if KINDS[device] == "ip6tnl":
        found[f"net/ipv6/conf/{device}/disable_ipv6"] = "0"
    return found


@dataclass(frozen=True)
class Device:
    """A tunnel device: its kind, whether it is in external mode, is up, and has its IPv4 address."""

    kind: str
    external: bool
    up: bool
    addressed: bool = True


@dataclass(frozen=True)
class TunnelsSeen:
    """What there is. `devices`: of the kinds in question, or of our names; `ports`: (4 or 6, port) → whether for GUE.

    `parameters`: path below /proc/sys → value; `lacks`: the kernel's modules that are missing; `ipv6`: whether the
    host has IPv6.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    ports: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    parameters: Mapping[str, str | None] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    ipv6: bool = True


NO_TUNNELS = TunnelsSeen()


@dataclass(frozen=True)
class MakeTunnel:
    """Add a device in external mode, in place of what has its name; it stays down until its filter is there."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    name: str
    instead: bool


@dataclass(frozen=True)
class AddAddress:
    """Give a device its IPv4 address."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    name: str


@dataclass(frozen=True)
class SetParameter:
    """Set a kernel parameter of a device."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    path: str
    value: str


@dataclass(frozen=True)
class RaiseTunnel:
    """Let a device take tunnels."""

    phase: t.ClassVar[Phase] = Phase.VERIFY
    name: str


@dataclass(frozen=True)
class OpenPort:
    """Have the kernel take GUE at a port of UDP."""

    phase: t.ClassVar[Phase] = Phase.VERIFY
    family: int
    port: int


@dataclass(frozen=True)
class ClosePort:
    """Take GUE at a port no more."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    family: int
    port: int


@dataclass(frozen=True)
class RemoveTunnel:
    """Take a device away."""

    phase: t.ClassVar[Phase] = Phase.CLEAR_WAY
    name: str


def plan_tunnels(plan: ProgramPlan, ports: Collection[int], seen: TunnelsSeen, ours: Collection[str]) -> list[str]:
    """Have the devices, and take GUE at these ports; returns the devices. `ours`: those that are on record.

    ProgramError where that cannot be.
    """
    if seen.lacks:
        raise ProgramError(
            f"how kernel: this kernel has no {' and no '.join(seen.lacks)} (modules, or CONFIG_NET_IPIP,"
            " CONFIG_IPV6_TUNNEL and CONFIG_NET_FOU); how auto strips tunnels with our program"
        )
    wanted = [name for name, kind in KINDS.items() if kind == "ipip" or seen.ipv6]
    for name in wanted:
        _plan_device(plan, name, seen, name in ours)
    for family, port in _each(ports, seen):
        there = seen.ports.get((family, port))
        if there is None:
            plan.add(OpenPort(family, port), f"take GUE at port {port} of {_FAMILIES[family]} by the kernel")
        elif not there:
            raise ProgramError(f"gue_port: the kernel has port {port} for something else than GUE (ip fou show)")
    return wanted


def _plan_device(plan: ProgramPlan, name: str, seen: TunnelsSeen, ours: bool) -> None:
    kind = KINDS[name]
    rivals = [other for other, each in seen.devices.items() if each.external and each.kind == kind and other != name]
    if rivals:
        raise ProgramError(
            f"how kernel: interface {rivals[0]} is an {kind} device in external mode, of which a host has one at most:"
            " remove it"
        )
    there = seen.devices.get(name)
    if there is None or (there.kind, there.external) != (kind, True):
        if there is not None and not ours:
            raise ProgramError(f"interface {name} is no {kind} device in external mode, and not ours: remove it")
        plan.add(MakeTunnel(name, there is not None), f"add the tunnel device {name}")
        # What it has by then, a review cannot know.
        plan.add(AddAddress(name))
        plan.steps += [SetParameter(path, value) for path, value in parameters_of(name).items()]
        plan.add(RaiseTunnel(name))
        return
    if not there.addressed:
        plan.add(AddAddress(name), f"add {ADDRESSES[name]} to {name}")
    for path, value in parameters_of(name).items():
        if seen.parameters.get(path) != value:
            plan.add(SetParameter(path, value), f"{path} {seen.parameters.get(path)} → {value}")
    if not there.up:
        plan.add(RaiseTunnel(name), f"set the tunnel device {name} up")


def _each(ports: Collection[int], seen: TunnelsSeen) -> Iterator[tuple[int, int]]:
    for family in (4, 6) if seen.ipv6 else (4,):
        for port in sorted(ports):
            yield family, port


def plan_closing(
    plan: ProgramPlan,
    seen: TunnelsSeen,
    devices: Collection[str],
    ports: Collection[int],
    staying: Collection[int] = (),
) -> None:
    """Take away these devices, and these ports but those that stay, where they are there."""
    for (family, port), gue in sorted(seen.ports.items()):
        if gue and port in ports and port not in staying:
            plan.add(ClosePort(family, port), f"take GUE at port {port} of {_FAMILIES[family]} by the kernel no more")
    for name in devices:
        if name in seen.devices:
            plan.add(RemoveTunnel(name), f"remove the tunnel device {name}")
