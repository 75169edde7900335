# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host of the fleet is to be, what it is, and the ordered steps between them. Pure: no I/O.

Everything is compared on every run, whatever the run before did or did not get to.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import host_command
from .folders import closing
from .link_mtu import MTU_CHECK, TUNNEL, Links, link_faults
from .options import Spec, no_interface
from .probe_sysctls import probe_sysctls

LIBRARY = "/usr/lib/katran-fleet"
"""Where the engine, the programs' sources and the units are."""

UNITS_FOLDER = "systemd"
"""The folder of the library that has the units."""

RETIRED = ("katran-real.service", "katran-refresh.timer", "katran-refresh.service")
"""Units of earlier versions."""

RESTORE, WATCH, AGENT = "katran-restore.service", "katran-watch.service", "katran-agent.service"
"""What brings a host back at boot, what watches its programs, and what does so on a balancer, and much more."""

HOST: Spec = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "packages": {"type": "list", "elements": "str", "default": []},
    "leaving": {"type": "list", "elements": "str", "default": []},
    "agent": {"type": "bool"},
    "sync": {"type": "bool", "default": False},
    "real": {
        "type": "dict",
        "options": {
            "interfaces": {"type": "list", "elements": "str", "required": True},
            "mtu": {"type": "int", "default": 0},
            "mss": {"type": "int", "default": 0},
            "vips": {"type": "list", "elements": "str"},
            "probes_from": {"type": "list", "elements": "str", "default": []},
            "tunnel": {"type": "dict", "options": TUNNEL},
        },
    },
    **MTU_CHECK,
    "files": {"type": "dict"},
    "contents": {"type": "dict"},
}


@dataclass(frozen=True)
class Unit:
    """Whether a unit is to be enabled and active; None leaves that as it is.

    `resident`: it has the engine in memory, and is restarted with another one.
    """

    enabled: bool | None = None
    active: bool | None = None
    resident: bool = False


def units_of(agent: bool | None, there: Mapping[str, UnitState]) -> dict[str, Unit]:
    """The units of a host. `agent`: whether it has one, which watches programs itself; None: as it is `there`."""
    if agent is None:
        agent = there.get(AGENT, UnitState()).enabled == "enabled"
    return {
        RESTORE: Unit(enabled=True),
        WATCH: Unit(enabled=not agent, active=not agent, resident=True),
        AGENT: Unit(enabled=agent, active=agent, resident=True),
    }


@dataclass(frozen=True)
class RealHost:
    """What a real needs of its kernel. `mtu`, `mss` in bytes, 0 leaves them; `vips` None: those of before.

    `probes_from`: interfaces by which a balancer, which this host is too, asks other reals.
    """

    interfaces: tuple[str, ...]
    mtu: int = 0
    mss: int = 0
    vips: tuple[str, ...] | None = None
    probes_from: tuple[str, ...] = ()

    def sysctls(self) -> dict[str, str]:
        """Path below /proc/sys → value."""
        # A real answers from the VIP on lo, but must not claim the VIP on the link: that is the balancers'.
        found = {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}
        # Decapsulated packets come from clients anywhere, by way of a balancer: loose reverse-path filter.
        found |= {f"net/ipv4/conf/{interface}/rp_filter": "2" for interface in self.interfaces}
        for interface in self.probes_from:
            found |= probe_sysctls(interface)
        return found

    def mtus(self) -> dict[str, int]:
        """Interface → MTU."""
        return dict.fromkeys(self.interfaces, self.mtu) if self.mtu else {}


@dataclass(frozen=True)
class HostWanted:
    """What the host is to be. `files`: path in the library → SHA-256; None leaves the library and units as they are.

    `links`: what a real's interfaces are to carry; None: nobody says. `agent`: whether the host has one; None leaves
    that as it is. `sync`: whether it tells others of flows. `command`: whether katran is to be in the PATH.
    """

    files: Mapping[str, str] | None = None
    units: Mapping[str, Unit] = field(default_factory=dict)
    real: RealHost | None = None
    links: Links | None = None
    agent: bool | None = None
    sync: bool = False
    command: bool = False


@dataclass(frozen=True)
class UnitState:
    """A unit as systemd has it; `link`: where its file in /etc/systemd/system leads, "" for a file that is no link."""

    link: str | None = None
    enabled: str = ""
    active: str = "inactive"
    drop_ins: tuple[str, ...] = ()
    stale: bool = False


@dataclass(frozen=True)
class MssRules:
    """The rules that bound the MSS of VIPs; `sound`: whether they are as they were made."""

    size: int
    vips: frozenset[str]
    sound: bool = True


@dataclass(frozen=True)
class HostSnapshot:
    """What the host is. Values that cannot be read, for want of an interface, are None.

    `lacks`: what it has not of what packages bring. `before`: setting → the value that it had before it was ours.
    `kept`: the settings of a real that the last run left, which a boot brings back. `open_folders`: those for root
    alone that are open to others → their mode. `command`: the text of katran in the PATH, None where there is none.
    `pages`: of host_command.LINKS, where each leads, "" for what is no link, None where there is none.
    `instances`: what keeps state here.
    """

    lacks: Sequence[str] = ()
    files: Mapping[str, str | None] = field(default_factory=dict)
    units: Mapping[str, UnitState] = field(default_factory=dict)
    sysctls: Mapping[str, str | None] = field(default_factory=dict)
    mtus: Mapping[str, int | None] = field(default_factory=dict)
    mss: MssRules | None = None
    before: Mapping[str, str] = field(default_factory=dict)
    kept: RealHost | None = None
    open_folders: Mapping[str, int] = field(default_factory=dict)
    command: str | None = None
    pages: Mapping[str, str | None] = field(default_factory=dict)
    instances: Sequence[str] = ()


Verb = t.Literal[
    "install", "write", "remove", "link", "unlink", "reload", "enable", "disable", "start", "restart", "stop",
    "sysctl", "mtu", "mss", "close", "command", "page",
]  # fmt: skip


class Step(t.NamedTuple):
    """One thing to do, and what it is called."""

    verb: Verb
    subject: str
    value: str
    sentence: str


@dataclass
class HostPlan:
    """Steps in order; what makes a run impossible; what an operator should know; what a boot has to do without."""

    steps: list[Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    vips: frozenset[str] | None = None
    known_vips: frozenset[str] = frozenset()
    before: dict[str, str] = field(default_factory=dict)

    def add(self, verb: Verb, subject: str, sentence: str, value: str = "") -> None:
        """One more step."""
        self.steps.append(Step(verb, subject, value, sentence))

    def bounded_vips(self, local: Collection[str]) -> frozenset[str]:
        """The VIPs of the rules, once made anew: those that are wanted, of the others those among `local` addresses."""
        if self.vips is None:
            return self.known_vips
        return self.vips | self.known_vips.intersection(local)

    def subjects(self, verb: Verb) -> list[str]:
        """What is to be done so."""
        return [step.subject for step in self.steps if step.verb == verb]

    @property
    def changes(self) -> list[str]:
        """One line for each step."""
        return [step.sentence for step in self.steps]


def is_parameter(name: str) -> bool:
    """Whether a value of before is a parameter's, by its path below /proc/sys, and not an interface's MTU."""
    return "/" in name


def plan_host(wanted: HostWanted, there: HostSnapshot, boot: bool = False) -> HostPlan:
    """The way from what is there to what is wanted. `boot`: what a missing interface leaves to do is done."""
    plan = HostPlan(before=dict(there.before))
    _plan_folders(plan, there)
    if there.lacks:
        plan.add("install", "", f"install packages: this host lacks {', '.join(there.lacks)}")
    if wanted.files is not None:
        _plan_files(plan, wanted.files, there)
        _plan_units(plan, wanted, there)
    if wanted.command:
        _plan_command(plan, there)
    if wanted.real is not None:
        _plan_kernel(plan, wanted.real, there, boot)
        _plan_mss(plan, wanted.real, there.mss)
        if wanted.links is not None:
            faults = link_faults(wanted.links, {**there.mtus, **wanted.real.mtus()})
            (plan.faults if wanted.links.check == "fail" else plan.warnings).extend(faults)
    return plan


def plan_absence(there: HostSnapshot, leaving: Collection[str] = ()) -> HostPlan:
    """The way from what is there to nothing of ours, with the values of before.

    `leaving`: instances that have been removed, or in a review would have been.
    """
    plan = HostPlan()
    plan.faults += [
        f"instance {name} keeps its state in /var/lib/katran-fleet/{name}, and without the units nothing would bring it"
        " back at boot: first remove its programs (modules balancer, decap, server_id_option, healthcheck and xdp_root"
        " with state absent)"
        for name in there.instances
        if name not in leaving
    ]
    if plan.faults:
        return plan
    # Timers first, so that none starts what goes. A job that is at work just then ends with its unit.
    for name in sorted(there.units, key=lambda each: (not each.endswith(".timer"), each)):
        if there.units[name].active in ("active", "reloading"):
            plan.add("stop", name, f"stop {name}")
    for name, unit in there.units.items():
        if unit.link is not None:
            plan.add("unlink", name, f"remove the unit {name}")
    if plan.subjects("unlink"):
        plan.add("reload", "", "have systemd read its units")
    for name, value in _differences(there.sysctls, there.before):
        plan.add("sysctl", name, f"{name} {there.sysctls[name]} → {value}, as it was", value)
    mtus = {name: None if mtu is None else str(mtu) for name, mtu in there.mtus.items()}
    for name, value in _differences(mtus, there.before):
        plan.add("mtu", name, f"MTU of {name} {mtus[name]} → {value}, as it was", value)
    for interface in sorted(name for name, mtu in there.mtus.items() if mtu is None):
        plan.warnings.append(
            f"{no_interface(interface)}: where it moved to another network namespace, its MTU and rp_filter stay"
        )
    if host_command.is_ours(there.command):
        plan.add("command", host_command.PATH, f"remove {host_command.PATH}")
    for path, target in there.pages.items():
        if target == host_command.LINKS[path]:
            plan.add("page", path, f"remove {path}")
    if there.mss is not None:
        plan.add("mss", "", "remove the MSS of VIPs", "0")
    for path in sorted(there.files):
        plan.add("remove", path, f"remove {path}")
    return plan


def _differences(there: Mapping[str, str | None], before: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(there.items()):
        if value is not None and before.get(name, value) != value:
            yield name, before[name]


def _plan_files(plan: HostPlan, files: Mapping[str, str], there: HostSnapshot) -> None:
    for path, digest in sorted(files.items()):
        if there.files.get(path) != digest:
            plan.add("write", path, f"{'rewrite' if path in there.files else 'write'} {path}")
    for path in sorted(set(there.files) - set(files)):
        plan.add("remove", path, f"remove {path}")


def _plan_command(plan: HostPlan, there: HostSnapshot) -> None:
    warning = host_command.stays(there.command)
    if warning:
        plan.warnings.append(warning)
    elif there.command != host_command.TEXT:
        verb = "write" if there.command is None else "rewrite"
        plan.add("command", host_command.PATH, f"{verb} {host_command.PATH}", host_command.TEXT)
    for path, target in there.pages.items():
        if target == "":
            plan.warnings.append(f"{path} is somebody else's, and stays so: {host_command.LINKS[path]} is ours")
        elif target != host_command.LINKS[path]:
            instead = "" if target is None else f", which led to {target}"
            plan.add("page", path, f"link {path}{instead}", host_command.LINKS[path])


def _plan_units(plan: HostPlan, wanted: HostWanted, there: HostSnapshot) -> None:
    for name in RETIRED:
        unit = there.units.get(name, UnitState())
        if unit.link is None:
            continue
        if unit.active not in ("inactive", "failed"):
            plan.add("stop", name, f"stop {name}")
        plan.add("unlink", name, f"remove the unit {name} of an earlier version")
    masked = [name for name in wanted.units if there.units.get(name, UnitState()).link == "/dev/null"]
    for name in masked:
        plan.warnings.append(f"unit {name} is masked on this host, and stays so (systemctl unmask {name})")
    units = {name: unit for name, unit in wanted.units.items() if name not in masked}
    for name in units:
        state = there.units.get(name, UnitState())
        target = f"{LIBRARY}/{UNITS_FOLDER}/{name}"
        if state.link != target:
            instead = {None: "", "": ", in place of a file that is kept beside it"}
            plan.add("link", name, f"link the unit {name}{instead.get(state.link, f', which led to {state.link}')}")
        if state.drop_ins:
            plan.warnings.append(f"unit {name} has settings of this host's own: {', '.join(state.drop_ins)}")
    written = {path.partition("/")[2] for path in plan.subjects("write") if path.startswith(f"{UNITS_FOLDER}/")}
    touched = {*written, *plan.subjects("link")}
    if touched or plan.subjects("unlink") or any(there.units.get(name, UnitState()).stale for name in units):
        plan.add("reload", "", "have systemd read its units")
    changed = (*plan.subjects("write"), *plan.subjects("remove"))
    for name, to_be in units.items():
        engine = ("ansible_collections/", name.removesuffix(".service")) if to_be.resident else ()
        anew = name in touched or any(path.startswith(engine) for path in changed)
        _plan_unit(plan, name, to_be, there.units.get(name, UnitState()), anew)


def _plan_unit(plan: HostPlan, name: str, unit: Unit, state: UnitState, touched: bool) -> None:
    enabled = state.enabled == "enabled"
    if unit.enabled is not None and unit.enabled != enabled:
        plan.add("enable" if unit.enabled else "disable", name, f"{'enable' if unit.enabled else 'disable'} {name}")
    active = state.active in ("active", "activating", "reloading")
    if unit.active and active and touched:
        plan.add("restart", name, f"restart {name}")
    elif unit.active is not None and unit.active != active:
        plan.add("start" if unit.active else "stop", name, f"{'start' if unit.active else 'stop'} {name}")
    if state.active == "failed" and not unit.active:
        plan.warnings.append(f"unit {name} failed when it last ran (journalctl -u {name})")


def _plan_folders(plan: HostPlan, there: HostSnapshot) -> None:
    for path, mode in there.open_folders.items():
        plan.add("close", path, closing(path, mode))


def _plan_kernel(plan: HostPlan, real: RealHost, there: HostSnapshot, boot: bool) -> None:
    lost = [interface for interface in real.interfaces if there.mtus.get(interface) is None]
    (plan.missing if boot else plan.faults).extend(map(no_interface, lost))
    if plan.faults:
        return
    real = replace(real, interfaces=tuple(name for name in real.interfaces if name not in lost))
    if boot:
        # Without its interface, a parameter is not there yet either.
        there_now = [name for name in real.probes_from if all(map(there.sysctls.get, probe_sysctls(name)))]
        real = replace(real, probes_from=tuple(there_now))
    for name, value in real.sysctls().items():
        was = there.sysctls.get(name)
        if was is None:
            plan.faults.append(f"the kernel has no parameter {name}")
        elif was != value:
            plan.before.setdefault(name, was)
            plan.add("sysctl", name, f"{name} {was} → {value}", value)
    for name, mtu in real.mtus().items():
        present = there.mtus[name]
        if present != mtu:
            plan.before.setdefault(name, str(present))
            plan.add("mtu", name, f"MTU of {name} {present} → {mtu}", str(mtu))


def _plan_mss(plan: HostPlan, real: RealHost, there: MssRules | None) -> None:
    """Rules for what the VIPs announce. An address that is no VIP any more sends nothing, and may stay among them."""
    plan.known_vips = there.vips if there else frozenset()
    plan.vips = None if real.vips is None else frozenset(real.vips)
    missing = (plan.vips or frozenset()) - plan.known_vips
    if not real.mss:
        if there is not None:
            plan.add("mss", "", f"MSS of VIPs {there.size} → as it comes", "0")
    elif there is None:
        plan.add("mss", "", f"MSS of VIPs {real.mss} at most", str(real.mss))
    elif there.size != real.mss:
        plan.add("mss", "", f"MSS of VIPs {there.size} → {real.mss}", str(real.mss))
    elif not there.sound:
        plan.add("mss", "", f"MSS of VIPs {real.mss}: its rules changed, repaired", str(real.mss))
    elif missing:
        plan.add("mss", "", f"MSS of VIPs {real.mss} at most for {', '.join(sorted(missing))} too", str(real.mss))
