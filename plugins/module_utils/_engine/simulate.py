# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a flow would go, and why: the balancer's own bytecode answers, in a second copy that leaves no trace.

The copy reads the live VIPs, rings, reals and routes, which the program never writes. Counters and connection tables
are scratch maps, into which the flow's own entries are copied. A packet of the flow runs through BPF_PROG_TEST_RUN, and
what the copy counted tells the reason.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import typing as t
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from .._kernel import bpf
from .._kernel.cpus import possible_cpus
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.pins import Paths, pinned_program
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.bytecode import Bytecode
from .._model.errors import EngineError, ProgramError
from .._model.hashing import flow_slot
from .._model.map_specs import ARRAY, BALANCER_SOURCES, LRU_HASH, MAPS, MMAPABLE, PERCPU_ARRAY, VIP_INDEX, MapSpec
from .._model.simulated_flows import Flow, build_frame, parse_flows, read_tunnel
from .._model.source_entries import DENIED_MAP, FILTER_MAPS, deciding_prefix, filter_map
from .._model.vip_entries import ADDRESS_MAPS, VIP_MAPS, known_metas
from .._model.vips import VipKey
from .._program.bytecode import load
from .._program.requirements import require_capabilities
from .flows import FLOW_TABLES, FlowTable, flow_row, loaded, open_flow_tables, real_names
from .request import Request

PROGRAM = "balancer"

SHARED = frozenset(
    {
        *VIP_MAPS,
        *ADDRESS_MAPS,
        VIP_INDEX,
        "cidr_vip_keys",
        "vip_learned",
        "ch_rings",
        "reals",
        "server_id_map",
        "quic_lb_vips",
        "quic_lb_servers",
        *FILTER_MAPS,
        "lpm_src_v4",
        "lpm_src_v6",
        "vip_to_down_reals_map",
        "pckt_srcs",
        "decap_dst",
        *BALANCER_SOURCES,
    }
)
"""Live maps that the copy reads; a program that writes one of them cannot be simulated without a trace."""

_SCRATCH_FLOWS = 1024
_SMALL = frozenset({"lru_miss_stats", "server_id_stats", "decap_vip_stats", "vip_miss_stats"})
"""Counters that no answer is made of: one entry will do."""

_NO_IPV6_IN_IPV4 = "there is no IPv6 in IPv4"

_DROP, _PASS, _TX = 1, 2, 3
_ACTIONS = {_DROP: "dropped", _PASS: "passed", _TX: "sent"}

_WORDS = {
    "quic_stats_map": layout.QUIC_COUNTERS,
    "tpr_stats_map": layout.TPR_COUNTERS,
    "stable_rt_stats": layout.STABLE_RT_COUNTERS,
}

# Indexes of `stats` from max_vips on (datapath, section 1).
_CHOSEN, _SOURCE_ROUTE, _ENCAP_FAILED, _GLOBAL, _NO_REAL, _MIGRATED = 0, 5, 7, 8, 9, 15


class Copy:
    """A second copy of the loaded program on scratch tables."""

    def __init__(self, bytecode: Bytecode, live: KernelMaps, stack: ExitStack) -> None:
        self._counters: dict[str, mmap.mmap] = {}
        self._tables: dict[str, bpf.Map] = {}
        specs = {spec.name: spec for spec in MAPS}
        fds = {}
        for name in specs.keys() & bytecode.maps:
            fds[name] = live.map(name).fd if name in SHARED else self._scratch(specs[name], live, stack)
        self.fd = load(bytecode, fds)
        stack.callback(os.close, self.fd)

    def _scratch(self, spec: MapSpec, live: KernelMaps, stack: ExitStack) -> int:
        if spec.inner is not None:
            return self._table_per_cpu(spec, spec.inner, stack)
        kind, flags, entries = spec.type, spec.flags, live.capacity(spec.name)
        if kind == PERCPU_ARRAY:
            # To the program it is the same, and here it can be read and cleared as memory.
            kind, flags = ARRAY, MMAPABLE
            entries = 1 if spec.name in _SMALL else entries
        elif kind == LRU_HASH:
            entries = _SCRATCH_FLOWS
        opened = bpf.Map(bpf.create_map(kind, spec.key_size, spec.value_size, entries, flags, spec.name))
        stack.callback(opened.close)
        if spec.name == "ctl_array":
            # The MAC address of the gateway is in it.
            opened.update_many(list(live.map(spec.name).items()))
        elif kind == LRU_HASH:
            self._tables[spec.name] = opened
        elif spec.type == PERCPU_ARRAY:
            self._counters[spec.name] = stack.enter_context(opened.mmap(writable=True))
        return opened.fd

    def _table_per_cpu(self, spec: MapSpec, inner: MapSpec, stack: ExitStack) -> int:
        """A map of maps in which every CPU has the same table: the run may be on any of them."""
        table = bpf.Map(
            bpf.create_map(inner.type, inner.key_size, inner.value_size, _SCRATCH_FLOWS, inner.flags, inner.name)
        )
        stack.callback(table.close)
        self._tables[spec.name] = table
        entries = spec.entries({})
        outer = bpf.Map(
            bpf.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, spec.name, table.fd)
        )
        stack.callback(outer.close)
        for cpu in range(min(possible_cpus(), entries)):
            outer.update(layout.u32(cpu), layout.u32(table.fd))
        return outer.fd

    def run(self, frame: bytes, entries: Mapping[str, Mapping[bytes, bytes]]) -> bpf.TestRun:
        """Run a frame with these flows in the tables, and nothing else in them; counters begin at zero."""
        for counters in self._counters.values():
            counters[:] = bytes(len(counters))
        for name, table in self._tables.items():
            table.delete_many(list(table.each_key()))
            for key, value in entries.get(name, {}).items():
                table.update(key, value)
        return bpf.test_run(self.fd, frame)

    def counted(self, name: str, index: int) -> tuple[int, int]:
        """(v1, v2) of an lb_stats counter after a run."""
        return t.cast("tuple[int, int]", struct.unpack_from("=QQ", self._counters[name], index * 16))

    def first_counted(self, name: str, limit: int) -> int | None:
        """The first index below `limit` whose lb_stats counter is not zero."""
        length = limit * 16
        found = memoryview(self._counters[name])[:length].cast("Q")[::2].tolist()
        return next((index for index, value in enumerate(found) if value), None)

    def word(self, name: str, word: str) -> int:
        """One u64 of a struct of counters; 0 where this program does not have it."""
        if name not in self._counters or word not in _WORDS[name]:
            return 0
        return t.cast(int, struct.unpack_from("=Q", self._counters[name], _WORDS[name].index(word) * 8)[0])

    def any_word(self, word: str) -> bool:
        """Whether one of the structs of counters has a word of that name above zero."""
        return any(self.word(name, word) for name in _WORDS)


class Simulation:
    """The answers for one balancer."""

    def __init__(self, copy: Copy, live: KernelMaps, tables: Sequence[FlowTable]) -> None:
        self.copy = copy
        self.live = live
        self.tables = tables
        self.max_vips = live.capacity("server_id_stats")
        self.ring_size = live.ring_size()
        self.names = real_names(live)
        self.vips = self._vips()

    def _vips(self) -> dict[int, tuple[VipKey, frozenset[str]]]:
        """VIP number → (VIP, its flags)."""
        entries = {name: self.live.entries(name) for name in VIP_MAPS if name in self.live.names()}
        return {
            number: (key, frozenset(flag for flag, bit in layout.VIP_FLAGS.items() if bits & bit))
            for key, (bits, number) in known_metas(entries).items()
        }

    def _entries(self, flow: Flow) -> tuple[dict[bytes, list[dict[str, t.Any]]], dict[str, dict[bytes, bytes]]]:
        """The flow's entries in the live tables, in words by key, and per scratch table.

        One flow may be known to several CPUs; the one whose entry is newest is taken for the one that gets its packets.
        """
        rows: dict[bytes, list[dict[str, t.Any]]] = {}
        newest: dict[str, dict[bytes, bytes]] = {}
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        keys = flow.possible_keys()
        for table in self.tables:
            outer = next(outer for outer, fallback in FLOW_TABLES if table.name in (outer, fallback))
            for key in keys:
                value = table.map.lookup(key)
                if value is None:
                    continue
                rows.setdefault(key, []).append(flow_row(table, key, value, self.names, now))
                there = newest.setdefault(outer, {})
                if key not in there or value[8:][::-1] > there[key][8:][::-1]:
                    there[key] = value
        return rows, newest

    def answer(self, flow: Flow) -> dict[str, t.Any]:
        """Where the flow would go, and why."""
        known, entries = self._entries(flow)
        result = self.copy.run(build_frame(flow, frozenset()), entries)
        number = self._vip_number(flow, result)
        if number is not None and flow.server_id:
            result = self.copy.run(build_frame(flow, self.vips[number][1]), entries)
        found: dict[str, t.Any] = {
            "source": flow.source.text,
            "destination": flow.destination.text,
            "source_port": flow.source_port,
            "destination_port": flow.destination_port,
            "protocol": flow.protocol,
            "action": _ACTIONS.get(result.value, "aborted"),
            "vip": None,
            "real": None,
            "real_id": None,
            "reason": "no_vip",
            "detail": "no VIP has this destination: the packet goes to the host itself",
            "local": False,
            "encapsulation": {},
            "entries": [],
        }
        if number is None:
            return found
        vip = self.vips.get(number)
        if result.value == _DROP and self._denied() is not None:
            return {
                **found,
                "vip": str(vip[0]) if vip else None,
                "reason": "denied",
                "detail": self._denier(flow, number),
            }
        rows = found["entries"] = known.get(flow.key(*vip), []) if vip else []
        found["vip"] = str(vip[0]) if vip else None
        found["real_id"] = self.copy.first_counted("reals_stats", self.live.capacity("reals"))
        found["real"] = self.names.get(found["real_id"])
        found["reason"], found["detail"] = self._why(flow, vip, found, rows)
        if result.value == _TX:
            found["encapsulation"] = read_tunnel(result.data)
        found["local"] = result.value == _PASS
        return found

    def _vip_number(self, flow: Flow, result: bpf.TestRun) -> int | None:
        """The number of the VIP that the packet was for; None where it was for none."""
        denied = self._denied()
        if denied is not None:
            return denied
        if not self._stat(_CHOSEN)[0]:
            return None
        number = self.copy.first_counted("stats", self.max_vips)
        if number is not None:
            return number
        # A packet that found no real is not counted under its VIP.
        return self._match(flow) if result.value == _DROP else None

    def _denied(self) -> int | None:
        """The number of the VIP whose lists of clients the packet was dropped by."""
        there = DENIED_MAP in self.live.names()
        return self.copy.first_counted(DENIED_MAP, self.max_vips) if there else None

    def _denier(self, flow: Flow, number: int) -> str:
        """Which prefix of its lists denies the flow's client."""
        entries = self.live.entries(filter_map(flow.source.ipv6))
        prefix, listed = deciding_prefix(entries, flow.source.packed[: 16 if flow.source.ipv6 else 4], number)
        what = f"deny has {prefix}" if listed else "no prefix of allow holds it"
        return f"{flow.source.text} is denied by source filter: {what}"

    def _match(self, flow: Flow) -> int | None:
        """The VIP's number by the maps themselves, in the order of the datapath's step 6."""
        packed, ipv6 = flow.destination.packed, flow.destination.ipv6
        protocol = layout.PROTOCOLS[flow.protocol]
        for port in (flow.destination_port, 0):
            attempts = [("vip_map", layout.vip_definition(packed, port, protocol))]
            if ipv6:
                attempts.append(("vip_lpm_map", layout.vip_lpm_key(packed, 128, port, protocol)))
            else:
                attempts.append(("vip_lpm4_map", layout.vip_lpm4_key(packed, 32, port, protocol)))
            for name, key in attempts:
                value = self.live.map(name).lookup(key) if name in self.live.names() else None
                if value is not None:
                    return layout.parse_vip_meta(value)[1]
        return None

    def _stat(self, index: int) -> tuple[int, int]:
        return self.copy.counted("stats", self.max_vips + index)

    def _why(
        self,
        flow: Flow,
        vip: tuple[VipKey, frozenset[str]] | None,
        found: Mapping[str, t.Any],
        rows: Sequence[Mapping[str, t.Any]],
    ) -> tuple[str, str]:
        """(reason, sentence): what the counters of the run say."""
        outside, empty = self._stat(_NO_REAL)
        if self.copy.any_word("cid_unknown_real_dropped"):
            return "no_real", f"server id {flow.server_id} leads to a real id that does not exist"
        if empty:
            return "no_real", "the VIP has no active real: its ring is empty"
        if outside:
            return "no_real", "the ring or source route leads to a real id that does not exist"
        to = f"real {found['real']}"
        if any(self._stat(_ENCAP_FAILED)):
            to += f", to which this packet cannot be carried: {_NO_IPV6_IN_IPV4}"
        if self.copy.any_word("cid_routed") or self.copy.any_word("sid_routed"):
            return "server_id", f"server id {flow.server_id} is that of {to}"
        if self._stat(_GLOBAL)[1]:
            return "global_table", f"the global table has the flow: {to}"
        if not self._stat(_CHOSEN)[1]:
            return "connection_table", f"{self._where(rows)} has the flow: {to}"
        return self._chosen(flow, vip, to, rows)

    def _chosen(
        self,
        flow: Flow,
        vip: tuple[VipKey, frozenset[str]] | None,
        to: str,
        rows: Sequence[Mapping[str, t.Any]],
    ) -> tuple[str, str]:
        """The flow would be chosen a real anew."""
        before = ""
        if self._stat(_MIGRATED)[0]:
            before = "; the real it had is down"
        elif vip and "no_lru" in vip[1]:
            before = "; the VIP keeps no connection table"
        elif rows:
            before = "; its entry in the connection table is too old, or its real is gone"
        if flow.server_id:
            tried = self.copy.any_word("cid_invalid_server_id") or self.copy.word("tpr_stats_map", "ch_routed")
            fault = self._server_fault(flow) if tried else "ids do not route packets to this VIP"
            before += f"; server {fault}"
        if self._stat(_SOURCE_ROUTE)[1]:
            return "source_route", f"the source route of {flow.source.text} leads to {to}{before}"
        return "ring", f"slot {self._slot(flow, vip)} of the ring leads to {to}{before}"

    def _server_fault(self, flow: Flow) -> str:
        """Why the flow's server id does not route it."""
        value = self.live.map("server_id_map").lookup(layout.u32(flow.server_id))
        real = self.names.get(layout.parse_u32(value)) if value else None
        if real is None:
            return f"id {flow.server_id} leads to no real"
        return f"id {flow.server_id} is that of {real}, to which this packet cannot be carried: {_NO_IPV6_IN_IPV4}"

    def _slot(self, flow: Flow, vip: tuple[VipKey, frozenset[str]] | None) -> str:
        if vip is None:
            return "a"
        key, flags = vip
        slot = flow_slot(
            flow.source.packed if flow.source.ipv6 else flow.source.packed[:4],
            flow.source_port,
            flow.destination_port,
            max_vips=self.max_vips,
            ring_size=self.ring_size,
            flags=flags,
            port_matched=key.prefixlen is None and key.port != 0,
        )
        return str(slot)

    @staticmethod
    def _where(rows: Sequence[Mapping[str, t.Any]]) -> str:
        cpus = sorted({row["cpu"] for row in rows if row["table"] == "lru_mapping"})
        if not cpus:
            return "the connection table of CPUs without one of their own"
        reals = {row["real_id"] for row in rows if row["table"] == "lru_mapping"}
        some = "CPU " + ", ".join(map(str, cpus))
        return f"the connection table of {some}" + (
            " (which differ; the newest entry counts)" if len(reals) > 1 else ""
        )


def simulate(
    request: Request, entries: Sequence[Mapping[str, t.Any]], warnings: list[str] | None = None
) -> list[dict[str, t.Any]]:
    """The work of module simulate_info: one answer for each flow. Every failure is one sentence.

    `warnings` get a line for each pin that is not the program's.
    """
    flows = parse_flows(entries)
    require_capabilities()
    told = [] if warnings is None else warnings
    with locked(request.instance, False, request.lock_timeout), loaded(request, told) as live, ExitStack() as stack:
        if live is None:
            raise EngineError(f"balancer {request.instance} is not loaded on this host")
        bytecode = StateFolder(request.instance, request.bpffs).read_bytecode(f"{PROGRAM}.bytecode.json", PROGRAM)
        if bytecode is None:
            raise ProgramError(
                f"the bytecode of balancer {request.instance} was lost: run module katran.fleet.balancer first"
            )
        copy = Copy(bytecode, live, stack)
        program = pinned_program(Paths(request.bpffs, request.instance, PROGRAM).program)
        if program is None or program.tag != bpf.program_info(copy.fd).tag:
            raise ProgramError(
                f"the bytecode kept of balancer {request.instance} is not that of the loaded program:"
                " run module katran.fleet.balancer first"
            )
        simulation = Simulation(copy, live, open_flow_tables(live, stack))
        return [simulation.answer(flow) for flow in flows]
