# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A newly compiled program proves itself on scratch maps before it is attached."""

from __future__ import annotations

import os
import struct
import time
import typing as t
from contextlib import ExitStack

from .._kernel import bpf
from .._kernel.cpus import possible_cpus
from .._kernel.maps import put_index
from .._kernel.pins import create_table
from .._model import layout
from .._model.bytecode import Bytecode
from .._model.errors import ProgramError, refusal
from .._model.map_specs import (
    FLOOD,
    FLOW_TABLE,
    HASH,
    MAX_CPUS,
    NO_PREALLOC,
    VIP_INDEX,
    balancer_maps,
    index_slots,
)
from .._model.settings import BalancerSettings
from .._model.vip_entries import INDEXED_MAPS
from .._model.vip_index import build_index
from .bytecode import load
from .known_packets import (
    CLIENT4,
    GATEWAY_MAC,
    LOCAL_ID,
    OTHER4_ID,
    OTHER6_ID,
    QUIC_LB_CONFIGS,
    QUIC_LB_SERVER,
    REAL4_ID,
    REAL6_ID,
    REALS,
    ROUTED6,
    SERVER_ID,
    SOURCE4,
    SOURCE6,
    SPORT,
    TUNNEL4,
    VIP4,
    VIP4_EMPTY,
    VIP4_SPECIAL,
    VIP4_TO_6,
    VIP6,
    Packet,
    address_bytes,
    packets,
)

ACTIONS = {0: "ABORTED", 1: "DROP", 2: "PASS", 3: "TX", 4: "REDIRECT"}
_SCRATCH_ENTRIES = {
    "server_id_map": 4096,
    "lpm_src_v4": 16,
    "lpm_src_v6": 16,
    "fallback_glru": 64,
    "src_filter_v4": 16,
    "src_filter_v6": 16,
}
_FEW = 64
"""Entries that a scratch map has at least, however few the balancer's own has."""


class Scratch:
    """Scratch maps of a balancer, provisioned for the packets above."""

    def __init__(self, settings: BalancerSettings, stack: ExitStack) -> None:
        self.settings = settings
        self.maps: dict[str, bpf.Map] = {}
        self.rings: dict[int, int] = {}
        self.known: list[tuple[bytes, bytes]] = []
        """The flows that the fallback knew before any packet."""
        for name, spec in balancer_maps(settings).items():
            entries = max(_SCRATCH_ENTRIES.get(name, spec.entries(settings.sizes)), _FEW)
            if name == "ch_rings":
                entries = (len(REALS) + 1) * settings.sizes["ring"]
            inner = 0
            if spec.inner is not None:
                inner = bpf.create_map(spec.inner.type, spec.inner.key_size, spec.inner.value_size, 1, spec.inner.flags)
                stack.callback(os.close, inner)
            fd = bpf.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, name, inner)
            self.maps[name] = bpf.Map(fd)
            stack.callback(self.maps[name].close)
        self._provision()

    def _provision(self) -> None:
        put = self._put
        put("ctl_array", layout.u32(layout.CTL_GATEWAY_MAC), GATEWAY_MAC + b"\0\0")
        for number, address in REALS.items():
            flags = (layout.REAL_IPV6 if ":" in address else 0) | (layout.REAL_LOCAL if number == LOCAL_ID else 0)
            put("reals", layout.u32(number), layout.real_definition(layout.pack_address(address), flags))
        put("server_id_map", layout.u32(SERVER_ID), layout.u32(OTHER4_ID))
        if "pckt_srcs" in self.maps:
            put("pckt_srcs", layout.u32(0), layout.real_definition(layout.pack_address(SOURCE4), 0))
            put("pckt_srcs", layout.u32(1), layout.real_definition(layout.pack_address(SOURCE6), layout.REAL_IPV6))
        self._vip(VIP4, 80, "tcp", REAL4_ID)
        self._vip(VIP4, 53, "udp", REAL4_ID)
        self._vip(VIP4_TO_6, 80, "tcp", REAL6_ID)
        self._vip(VIP4_EMPTY, 80, "tcp", 0)
        self._vip(VIP6, 80, "tcp", REAL6_ID)
        self._vip(VIP6, 53, "udp", REAL6_ID)
        self._vip(VIP4_SPECIAL, 443, "udp", REAL4_ID, "quic")
        self._vip(VIP4_SPECIAL, 80, "tcp", REAL4_ID)
        put("fallback_cache", _flow(80, "tcp"), layout.real_pos_lru(OTHER4_ID, 0))
        self._provision_features()
        self.known = list(self.maps["fallback_cache"].items())

    def complete(self, stack: ExitStack) -> None:
        """What a balancer at work has: a table for every CPU, which knows what the fallback did, and the VIP index.

        Without them the program takes other ways to the same answers.
        """
        table = create_table(FLOW_TABLE, _FEW, None)
        stack.callback(table.close)
        table.update_many(self.known)
        for cpu in range(min(possible_cpus(), MAX_CPUS)):
            self._put("lru_mapping", layout.u32(cpu), layout.u32(table.fd))
        vips, addresses = (dict(self.maps[name].items()) for name in INDEXED_MAPS)
        index = build_index(vips, addresses, index_slots(self.settings.sizes["vips"]))
        # Nobody else runs the program.
        put_index(self.maps[VIP_INDEX], list(index.items()), lambda: None)

    def _provision_features(self) -> None:
        put = self._put
        features = self.settings.features
        if "cidr_vips" in features:
            key = layout.vip_lpm4_key(layout.pack_address("192.0.2.192"), 26, 8080, 6)
            put("vip_lpm4_map", key, layout.vip_meta(0, self._ring(REAL4_ID)))
            key = layout.vip_lpm_key(layout.pack_address("2001:db8:5::"), 48, 8080, 6)
            put("vip_lpm_map", key, layout.vip_meta(0, self._ring(REAL6_ID)))
        if "source_routing" in features:
            self._vip(VIP4_SPECIAL, 81, "tcp", REAL4_ID, "source_routing")
            self._vip(VIP6, 81, "tcp", REAL6_ID, "source_routing")
            put("lpm_src_v4", layout.lpm_key(address_bytes("203.0.113.128"), 25), layout.u32(OTHER4_ID))
            put("lpm_src_v6", layout.lpm_key(address_bytes("2001:db8:cc::"), 48), layout.u32(OTHER6_ID))
        if "tcp_server_id" in features:
            self._vip(VIP4_SPECIAL, 82, "tcp", REAL4_ID)
        if "udp_stable_routing" in features:
            self._vip(VIP4_SPECIAL, 83, "udp", REAL4_ID, "udp_stable_routing")
        if "local_delivery" in features:
            self._vip(VIP4_SPECIAL, 84, "tcp", LOCAL_ID, "local")
        if "udp_flow_migration" in features:
            self._vip(VIP4_SPECIAL, 85, "udp", OTHER4_ID, "udp_flow_migration")
            # A flow of a moment ago.
            put("fallback_cache", _flow(85, "udp"), layout.real_pos_lru(REAL4_ID, time.monotonic_ns()))
            with bpf.Map(bpf.create_map(HASH, 4, 1, _FEW, NO_PREALLOC)) as down:
                down.update(layout.u32(REAL4_ID), b"\1")
                vip = layout.vip_definition(layout.pack_address(VIP4_SPECIAL), 85, layout.PROTOCOLS["udp"])
                put("vip_to_down_reals_map", vip, layout.u32(down.fd))
        if "global_lru" in features:
            self._vip(VIP4_SPECIAL, 86, "tcp", REAL4_ID, "global_lru")
            put("fallback_glru", _flow(86, "tcp"), layout.u32(OTHER4_ID))
        if "source_filter" in features:
            self._filter()
        if "quic_lb" in features:
            # Of a ring that no other VIP with flag quic has, and so no other of its number.
            self._vip(VIP4_SPECIAL, 87, "udp", REAL6_ID, "quic")
            number, (table, own) = self._ring(REAL6_ID), QUIC_LB_CONFIGS
            forms = [layout.quic_lb_config(layout.QUIC_LB_VIP, 0, 0)] * layout.QUIC_LB_CONFIGS
            forms[table] = layout.quic_lb_config(layout.QUIC_LB_VIP, 2, 7)
            forms[own] = layout.quic_lb_config(layout.QUIC_LB_VIP | layout.QUIC_LB_OWN_SERVERS, len(QUIC_LB_SERVER), 20)
            put("quic_lb_vips", layout.u32(number), b"".join(forms))
            put("quic_lb_servers", layout.quic_lb_server(number, own, QUIC_LB_SERVER), layout.u32(REAL4_ID))
        if "inline_decap" in features:
            put("decap_dst", layout.pack_address(TUNNEL4), layout.u32(0))
        if "tunnel_src_v4" in self.maps:
            put("tunnel_src_v4", layout.lpm_key(address_bytes(CLIENT4), 32), layout.u32(1))

    def _filter(self) -> None:
        """VIPs that ask who their clients are, with lists of their own."""
        number = self._vip(VIP4_SPECIAL, 87, "tcp", REAL4_ID, bits=layout.SOURCE_FILTER)
        self._put("src_filter_v4", layout.source_filter_key(bytes(4), 0, number), layout.u32(2))
        self._put("src_filter_v4", layout.source_filter_key(address_bytes(CLIENT4), 32, number), layout.u32(1))
        number = self._vip(VIP6, 87, "tcp", REAL6_ID, bits=layout.SOURCE_FILTER)
        self._put("src_filter_v6", layout.source_filter_key(address_bytes(ROUTED6), 128, number), layout.u32(2))

    def _put(self, name: str, key: bytes, value: bytes) -> None:
        self.maps[name].update(key, value)

    def _ring(self, real: int) -> int:
        """The number of the ring whose every slot is one real."""
        if real not in self.rings:
            number = self.rings[real] = len(self.rings)
            size = self.settings.sizes["ring"]
            with self.maps["ch_rings"].mmap(writable=True) as slots:
                slots[number * size * 8 : (number + 1) * size * 8] = struct.pack("=Q", real) * size
        return self.rings[real]

    def _vip(self, address: str, port: int, protocol: str, real: int, flag: str | None = None, bits: int = 0) -> int:
        """A VIP's number."""
        number = self._ring(real)
        packed = layout.pack_address(address)
        self._put("vip_addresses", packed, layout.u32(1))
        flags = bits | (layout.VIP_FLAGS[flag] if flag else 0)
        key = layout.vip_definition(packed, port, layout.PROTOCOLS[protocol])
        self._put("vip_map", key, layout.vip_meta(flags, number))
        return number

    def calm(self) -> None:
        """Forget how many flows were new in this second: however few the settings allow, the next one is among them."""
        stats = self.maps["stats"]
        stats.update(layout.u32(self.settings.sizes["vips"] + FLOOD), bytes(stats.stride))


def _flow(port: int, protocol: str) -> bytes:
    """The key of the client's flow to the special VIP."""
    source, destination = layout.pack_address(CLIENT4), layout.pack_address(VIP4_SPECIAL)
    return layout.flow_key(source, destination, SPORT, port, layout.PROTOCOLS[protocol])


def self_test(bytecode: Bytecode, settings: BalancerSettings) -> dict[str, t.Any]:
    """Run every packet, with and without what a balancer at work has; returns {packets, seconds}.

    ProgramError names the packet that came out wrong, and how.
    """
    started = time.monotonic()
    try:
        with ExitStack() as stack:
            scratch = Scratch(settings, stack)
            fd = load(bytecode, {name: each.fd for name, each in scratch.maps.items()})
            stack.callback(os.close, fd)
            if "subprograms" in scratch.maps:
                scratch.maps["subprograms"].update(layout.u32(0), layout.u32(fd))
            asked = packets(settings)
            for complete in (False, True):
                if complete:
                    scratch.complete(stack)
                for packet in asked:
                    scratch.calm()
                    _ask(fd, packet)
    except OSError as error:
        raise ProgramError(f"self-test: {refusal(error)}") from error
    return {"packets": len(asked), "seconds": round(time.monotonic() - started, 3)}


_FIELDS4 = {15: "ToS", 16: "length", 22: "TTL", 23: "protocol", 24: "header checksum", 26: "source", 30: "destination"}
_FIELDS6 = {18: "length", 20: "next header", 21: "hop limit", 22: "source", 38: "destination"}


def _field(frame: bytes, at: int) -> str:
    """The name of the outermost header's field at an offset of a frame, for the operator."""
    if at < 12:
        return "the destination MAC" if at < 6 else "the source MAC"
    fields = _FIELDS4 if frame[12:14] == b"\x08\x00" else _FIELDS6 if frame[12:14] == b"\x86\xdd" else {}
    end = 34 if fields is _FIELDS4 else 54
    starts = [start for start in fields if start <= at < end]
    return f"the outer {fields[starts[-1]]}" if starts else "what follows"


def _ask(fd: int, packet: Packet) -> None:
    run = bpf.test_run(fd, packet.frame)
    got = ACTIONS.get(run.value, str(run.value))
    end = "the program is not attached, and what was there goes on"
    if run.value != packet.action:
        raise ProgramError(f"self-test: {packet.name}: the program answers {got}, not {ACTIONS[packet.action]}; {end}")
    if packet.out is not None and run.data != packet.out:
        at = next(
            (i for i, (a, b) in enumerate(zip(run.data, packet.out, strict=False)) if a != b),
            min(len(run.data), len(packet.out)),
        )
        got, want = (data[at : at + 4].hex() or "nothing" for data in (run.data, packet.out))
        raise ProgramError(
            f"self-test: {packet.name}: the frame differs from byte {at} on, {_field(packet.out, at)}"
            f" (got {got}, want {want}); {end}"
        )
