# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at of a host that is a balancer."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Iterable
from functools import cached_property, partial

from ..._kernel.cpus import forwarding_cpus, possible_cpus
from ..._kernel.edges import KernelEdges
from ..._kernel.link_view import driver_counters, driver_of, read_link
from ..._kernel.maps import KernelMaps
from ..._kernel.network import ask_gateway
from ..._kernel.pins import Paths, pinned_program
from ..._kernel.policies import unrouted
from ..._kernel.root_array import slots
from ..._kernel.state_files import StateFile
from ..._kernel.tc import ways_out
from ..._kernel.xdp import attachments
from ..._model import layout
from ..._model.counters import named
from ..._model.doctor import balancer as judged
from ..._model.doctor import probe_packets as packets
from ..._model.doctor.finding import Finding
from ..._model.doctor.probe import flows_of, host_of, of_checks
from ..._model.errors import StateError
from ..._model.healthcheck_record import HealthcheckRecord
from ..._model.judging import EXTERNAL
from ..._model.link_mtu import Tunnel
from ..._model.resources import OF_BALANCER
from ..._model.root_settings import RootRecord
from ..._model.state import State
from ..._model.verdicts import Words, words_of
from ..._model.vips import Vip, VipKey, vips_from_config
from ..._program.own_pins import balancer_pins
from ..counters import CounterReader
from ..drain import read_drain
from ..info import Info
from ..recovery import recovered
from .beside import failing_checks, look_at_agent, look_at_sessions
from .examiner import Examiner, Visit
from .gateway import asked_itself
from .probe import Probes, path_of
from .stale import stale_flows

_LOST = re.compile(r"xdp_?(tx|xmit|redirect)\w*(err|drop|full)|xdp\w*(abort|exception)")
"""What drivers call frames that a program gave them and that did not go out."""

_WINDOW_SECONDS = 0.2
"""How long counters are looked at at least: what does not rise meanwhile is past."""


def examiners(visit: Visit) -> list[Examiner]:
    """Those of an instance that is a balancer here."""
    file = StateFile(visit.request.instance, visit.request.bpffs)
    state = file.read()
    if state.lost:
        pins = Paths(visit.request.bpffs, visit.request.instance, "balancer").names()
        there = any(pinned_program(path) is not None for path in pins)
        return [Examiner(f"balancer {file.instance}", partial(_lost, file))] if there else []
    if not state.program.tag:
        return []
    patient = Balancer(visit, file, state)
    return patient.examiners()


def _lost(file: StateFile) -> Iterable[Finding]:
    raise StateError(f"{file.path} is lost, so that nobody knows what it is to be: deploy, which makes it anew")


class Balancer:
    """One balancer, read once for all of its examiners."""

    def __init__(self, visit: Visit, file: StateFile, state: State) -> None:
        self.visit, self.file, self.state = visit, file, state
        self.instance = visit.request.instance
        self.paths = Paths(visit.request.bpffs, self.instance, "balancer")
        self.seen: dict[str, t.Any] = visit.seen.setdefault("balancer", {})
        self._no_way = False
        # Families, True for IPv6, whose checks fail for what is wrong here.
        self._blind: set[bool] = set()
        self._before: tuple[float, dict[str, int], dict[str, dict[str, int]]] | None = None

    def examiners(self) -> list[Examiner]:
        """All of them, in order."""
        ours = {info.id for path in self.paths.names() if (info := pinned_program(path)) is not None}
        if not ours:
            missing = judged.not_loaded(self.instance)
            return [Examiner("the program", lambda: [missing]), Examiner("what was said of reals", self.words)]
        return [
            Examiner("the program's interfaces", lambda: self.links(ours)),
            Examiner("the settings", self.settings),
            Examiner("the gateway", self.gateway),
            Examiner("the counters", self.begin_window),
            Examiner("the maps", self.differences),
            Examiner("program healthcheck", self.checker),
            Examiner("what was said of reals", self.words),
            Examiner("the way through the tunnel", self.probes, unlocked=True),
            Examiner("the agent", lambda: look_at_agent(self.file, self.state), unlocked=True),
            Examiner("the announcements", lambda: look_at_sessions(self.file, self.seen), unlocked=True),
            Examiner("the connection tables", self.fill, unlocked=True),
            Examiner("what rises meanwhile", self.window, unlocked=True),
            Examiner("the MTU", self.mtu, unlocked=True),
        ]

    # What there is

    @cached_property
    def maps(self) -> KernelMaps:
        """The maps of the program on record, open until all is examined."""
        found = balancer_pins(KernelEdges(), self.paths, self.state.program)
        return self.visit.kept.enter_context(KernelMaps(self.paths.maps, found.lost, hidden=found.strays))

    @cached_property
    def info(self) -> Info:
        """What balancer_info would tell."""
        return Info(self.visit.request, recovered(self.file, self.state, self.maps), self.maps)

    @cached_property
    def vips(self) -> dict[VipKey, Vip]:
        """The VIPs as applied."""
        return vips_from_config(self.state.vips)

    @cached_property
    def said(self) -> Words:
        """What was said of reals."""
        return words_of(self.state)

    @cached_property
    def interfaces(self) -> list[str]:
        """Where the program runs."""
        return list(self.state.program.interfaces)

    @cached_property
    def link_views(self) -> list[judged.Link]:
        """Those interfaces as they are."""
        attached = attachments(self.interfaces)
        found = []
        for name in self.interfaces:
            link, place = read_link(name), attached.get(name)
            if link is None:
                found.append(judged.Link(name, exists=False))
                continue
            program, mode = (place.program_id, place.mode) if place else (None, "")
            found.append(judged.Link(name, True, *link, program, mode, driver_of(name)))
        return found

    @property
    def tunnel(self) -> Tunnel:
        """What is put around packets."""
        settings = self.state.settings
        ipv6 = any(":" in real.address for vip in self.vips.values() for real in vip.reals)
        return Tunnel(settings["encapsulation"], settings["max_frame"], ipv6)

    # What is looked at

    def links(self, ours: set[int]) -> Iterable[Finding]:
        """The program on its interfaces, or in its slot of the root array."""
        program = self.state.program
        # What a probe would meet there is no other cause.
        self._no_way = not all(link.exists and link.up and link.carrier for link in self.link_views)
        placed = judged.Placed(self.instance, self.state.settings.get("mode", "native"), program.generic, ours)
        yield from judged.of_links(placed, self.link_views)
        if program.slot is not None:
            yield from self._root()
            yield from judged.of_slot(placed, program.slot, slots(program.slot.path).get(program.slot.position))

    def _root(self) -> Iterable[Finding]:
        """The root program of the same instance, where that is what calls the balancer."""
        record = self.file.read_record(RootRecord, "root")
        attached = attachments(record.interfaces)
        for name in record.interfaces:
            if name not in attached:
                yield judged.no_root(name)

    def settings(self) -> Iterable[Finding]:
        """Only what a bug report names; what hosts are compared by is in shared.py."""
        settings, program = self.state.settings, self.state.program
        names = ("encapsulation", "gue_port", "max_frame", "features", "source_ipv4", "source_ipv6")
        prefixes = ("source_prefix_ipv4", "source_prefix_ipv6")
        self.seen |= {
            "settings": {name: settings.get(name) for name in (*names, *prefixes)},
            "ring": settings.get("sizes", {}).get("ring"),
            "tag": program.tag,
            "source_digest": program.source_digest,
        }
        return ()

    def gateway(self) -> Iterable[Finding]:
        """Whether packets are sent to the gateway's MAC of today."""
        setting = str(self.state.settings.get("gateway_mac", "auto"))
        value = self.maps.map("ctl_array").lookup(layout.u32(layout.CTL_GATEWAY_MAC))
        sent_to = layout.parse_mac(value) if value and any(value) else ""
        # A wrong MAC that somebody gave is told by what the gateway has, as far as there is one.
        answer = ask_gateway(self.state.settings.get("interfaces", []), wait=setting == "auto")
        if setting == "auto" and answer.mac:
            answer = asked_itself(answer)
        self.seen["gateway_mac"] = sent_to
        found = list(judged.of_gateway(self.instance, setting, sent_to, answer))
        self._no_way = self._no_way or bool(found)
        return found

    def differences(self) -> Iterable[Finding]:
        """What somebody else changed."""
        lines = self.info.differences([*OF_BALANCER, "rings"])
        return judged.of_differences(lines)

    def words(self) -> Iterable[Finding]:
        """What persons and checks say of reals, and of the balancer."""
        now = time.time()
        for each in judged.of_words(self.vips, self.said, now):
            # Which reals checks take out says nothing where checks do not leave.
            if each.name != "health_and_overlay" or each.about.startswith("[") not in self._blind:
                yield each
        yield from judged.of_drain(self.instance, read_drain(self.file), now)

    def fill(self) -> Iterable[Finding]:
        """How full the connection tables are."""
        found = CounterReader(self.instance, self.visit.request.bpffs).fill()
        self.seen["flows"] = {name: list(pair) for name, pair in found.items()}
        yield from judged.of_fill(found, possible_cpus())
        if self.state.settings.get("features") and "global_lru" in self.state.settings["features"]:
            # Flow exceptions tell peers of such flows.
            return
        yield from judged.of_stale(*stale_flows(self.maps))

    # What rises during the look

    def begin_window(self) -> Iterable[Finding]:
        """The counters at first."""
        self._before = time.monotonic(), self._counted(), self._drivers()
        return ()

    def _counted(self) -> dict[str, int]:
        stats, limit = self.maps.map("stats"), self.maps.capacity("server_id_stats")
        return named(lambda index: layout.sum_cpus(stats.lookup(layout.u32(index)) or b"", 2), limit)

    def _drivers(self) -> dict[str, dict[str, int]]:
        return {
            name: {counter: value for counter, value in driver_counters(name).items() if _LOST.search(counter)}
            for name in self.interfaces
        }

    def window(self) -> Iterable[Finding]:
        """What rose since."""
        if self._before is None:
            return
        began, counted, drivers = self._before
        time.sleep(max(0.0, began + _WINDOW_SECONDS - time.monotonic()))
        now = self._counted()
        rose = {name: value - counted.get(name, 0) for name, value in now.items()}
        have = {layout.parse_u32(key) for key, _value in self.maps.map("lru_mapping").items()}
        without = set(forwarding_cpus(self.interfaces)) - have
        yield from judged.of_fallback(rose["fallback_cache"], now["fallback_cache"], now["packets"], without)
        after = self._drivers()
        for link in self.link_views:
            lost = {each: value - drivers[link.name].get(each, 0) for each, value in after[link.name].items()}
            yield from judged.of_driver(link, rose["frames_sent"], lost)

    def checker(self) -> Iterable[Finding]:
        """Whether program healthcheck runs, through which the agent's probes go, and whether they find a way to it."""
        checked = [vip.key for vip in self.vips.values() if vip.check is not None and vip.check.probe.type != EXTERNAL]
        record = self.file.read_record(HealthcheckRecord, "healthcheck")
        name = record.options.get("interface", "")
        if checked and name:
            pins = Paths(self.visit.request.bpffs, self.instance, "healthcheck").names()
            ours = {info.id for path in pins if (info := pinned_program(path)) is not None}
            place = ways_out([name]).get(name)
            if place is None or not ours & {each.program_id for each in place.filters}:
                self._blind = {False, True}
                yield judged.no_checker(name)
        if self._no_way:
            # An interface that is down, or no gateway: routes went with it.
            return
        lost = unrouted([host_of(key).text for key in checked])
        for ipv6 in (False, True):
            without = [key for key in sorted(checked) if key.ipv6 == ipv6 and host_of(key).text in lost]
            if without:
                self._blind.add(ipv6)
                yield judged.no_way_of_checks(ipv6, without)

    def probes(self) -> Iterable[Finding]:
        """One flow to each real of each VIP, through the tunnel; not where it is known that none gets out."""
        wanted = self.visit.probing
        if wanted is None or self._no_way:
            return []
        settings = self.state.settings
        way = packets.Way(
            settings["gue_port"],
            self._packed("source_prefix_ipv4"),
            self._packed("source_prefix_ipv6"),
            *(self._own_source(number) for number in (0, 1)),
        )
        mac = self.maps.map("ctl_array").lookup(layout.u32(layout.CTL_GATEWAY_MAC)) or b""
        path = path_of(self.interfaces, mac, way, self.tunnel)
        flows = flows_of(self.vips.values(), self.said.overlay, wanted.vip, wanted.real)
        probes = Probes(path, flows[: wanted.most], wanted)
        try:
            found = probes.run()
            failing = failing_checks(self.file, self.state)
            for flow in [each for each in probes.flows if each.vip.ipv6 not in self._blind]:
                flow.fails = failing.get((str(flow.vip), flow.real.text), "")
            return [*found, *of_checks(probes.flows)]
        finally:
            mss = [flow.mss for flow in probes.flows if flow.mss]
            self.seen |= {"probes": probes.seen(len(flows) - len(probes.flows)), "mss": max(mss, default=0)}

    def _packed(self, name: str) -> bytes:
        return layout.pack_address(str(self.state.settings[name]).partition("/")[0])

    def _own_source(self, index: int) -> bytes:
        """The source of GUE, as the program has it."""
        found = self.maps.map("pckt_srcs").lookup(layout.u32(index)) if "pckt_srcs" in self.maps.names() else None
        return layout.parse_real_definition(found)[0] if found else bytes(layout.ADDRESS_BYTES)

    def mtu(self) -> Iterable[Finding]:
        """Whether links carry full-sized packets in the tunnel, as far as reals let clients send such."""
        return judged.of_mtu(self.tunnel, self.seen.get("mss", 0), self.link_views)
