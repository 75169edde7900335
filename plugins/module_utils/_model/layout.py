# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Struct layouts of the programs in bpf/, as codecs.

The layouts are a contract (Katran's): a test compares sizes and offsets with the compiled C.
Multi-byte fields are in network order unless a comment says host. All sizes are bytes.
"""

from __future__ import annotations

import ipaddress
import struct
import typing as t

ADDRESS_BYTES = 16
IPV4_MAPPED = bytes(10) + b"\xff\xff"
"""The first 12 bytes of an IPv4 address in IPv6 form (RFC 4291, section 2.5.5.2)."""

PROTOCOLS = {"tcp": 6, "udp": 17}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

SLOT = 8
"""Bytes of a ring slot in ch_rings: a u32 in host order, padded by the kernel."""

VIP_FLAGS: dict[str, int] = {
    name: 1 << bit
    for bit, name in enumerate(
        (
            "hash_no_src_port",
            "no_lru",
            "quic",
            "hash_dst_port_only",
            "source_routing",
            "local",
            "global_lru",
            "hash_src_dst_port",
            "udp_stable_routing",
            "udp_flow_migration",
        )
    )
}
"""VIP flag word → its bit in vip_meta.flags."""

SOURCE_FILTER = 1 << 30
"""The bit of vip_meta.flags of a VIP that has lists of clients; unlike VIP_FLAGS, no part of the contract."""

REAL_IPV6 = 1
REAL_LOCAL = 2
DECAP_EGRESS = 2
CTL_GATEWAY_MAC = 0
CTL_INTROSPECTION = 5
CTL_CAPTURE_UNTIL = 13
_VIP_DEFINITION = struct.Struct(">16sHBx")
_VIP_META = struct.Struct("=II")
_REAL_DEFINITION = struct.Struct("=16sB3x")
_REAL_POS_LRU = struct.Struct("=I4xQ")
_FLOW_KEY = struct.Struct(">16s16sHHB3x")
_VIP_LPM_HEAD = struct.Struct("=I")
_VIP_LPM_TAIL = struct.Struct(">HBx")
_QUIC_LB_SERVER = struct.Struct("=II16s")
_U32 = struct.Struct("=I")

QUIC_COUNTERS = (
    "ch_routed",
    "cid_initial",
    "cid_invalid_server_id",
    "cid_invalid_server_id_sample",
    "cid_routed",
    "cid_unknown_real_dropped",
    "cid_v0",
    "cid_v1",
    "cid_v2",
    "cid_v3",
    "dst_match_in_lru",
    "dst_mismatch_in_lru",
    "dst_not_found_in_lru",
)

TPR_COUNTERS = ("ch_routed", "dst_mismatch_in_lru", "sid_routed", "tcp_syn")

STABLE_RT_COUNTERS = (
    "ch_routed",
    "cid_routed",
    "cid_invalid_server_id",
    "cid_unknown_real_dropped",
    "invalid_packet_type",
)


def pack_address(address: str) -> bytes:
    """The 16 bytes of an address: an IPv4 address fills the first 4, the rest is zero."""
    return ipaddress.ip_address(address).packed.ljust(ADDRESS_BYTES, b"\0")


def unpack_address(packed: bytes, ipv6: bool) -> str:
    """The canonical text (RFC 5952) of the address at the start of the data.

    The family is not in the bytes, so the caller says it.
    """
    if not ipv6:
        return ".".join(map(str, packed[:4]))
    if packed[:12] == IPV4_MAPPED:
        # Whichever Python it is: ipaddress writes them so from 3.13 on.
        return f"::ffff:{unpack_address(packed[12:], False)}"
    return str(ipaddress.IPv6Address(packed[:ADDRESS_BYTES]))


def vip_definition(packed: bytes, port: int, protocol: int) -> bytes:
    """vip_definition (20): vip[16] @0, port @16, proto @18, pad."""
    return _VIP_DEFINITION.pack(packed, port, protocol)


def parse_vip_definition(data: bytes) -> tuple[bytes, int, int]:
    """(packed address, port, protocol) of a vip_definition."""
    return t.cast("tuple[bytes, int, int]", _VIP_DEFINITION.unpack(data))


def vip_meta(flags: int, number: int) -> bytes:
    """vip_meta (8): flags u32 host @0, vip_num u32 host @4."""
    return _VIP_META.pack(flags, number)


def parse_vip_meta(data: bytes) -> tuple[int, int]:
    """(flags, VIP number) of a vip_meta."""
    return t.cast("tuple[int, int]", _VIP_META.unpack(data))


def real_definition(packed: bytes, flags: int) -> bytes:
    """real_definition (20): dst[16] @0, flags u8 @16, pad."""
    return _REAL_DEFINITION.pack(packed, flags)


def parse_real_definition(data: bytes) -> tuple[bytes, int]:
    """(packed address, flags) of a real_definition."""
    return t.cast("tuple[bytes, int]", _REAL_DEFINITION.unpack(data))


NO_REAL = real_definition(b"", 0)
"""What `reals` holds under an id that is no real: all zero."""


def vip_lpm_key(packed: bytes, prefixlen: int, port: int, protocol: int) -> bytes:
    """vip_lpm_key (24): prefixlen u32 host = 32 + CIDR length @0, port @4, proto @6, pad, addr[16] @8."""
    return _VIP_LPM_HEAD.pack(32 + prefixlen) + _VIP_LPM_TAIL.pack(port, protocol) + packed


def vip_lpm4_key(packed: bytes, prefixlen: int, port: int, protocol: int) -> bytes:
    """The same with a 4-byte address (12): the key of vip_lpm4_map, where no IPv6 prefix can match."""
    return vip_lpm_key(packed[:4], prefixlen, port, protocol)


def parse_vip_lpm_key(data: bytes) -> tuple[bytes, int, int, int]:
    """(packed address, prefix length, port, protocol) of either CIDR VIP key."""
    port, protocol = _VIP_LPM_TAIL.unpack_from(data, 4)
    return data[8:].ljust(ADDRESS_BYTES, b"\0"), _VIP_LPM_HEAD.unpack_from(data)[0] - 32, port, protocol


def lpm_key(packed: bytes, prefixlen: int) -> bytes:
    """v4_lpm_key (8) or v6_lpm_key (20): prefixlen u32 host @0, then 4 or 16 bytes of address as given."""
    return _U32.pack(prefixlen) + packed


def parse_lpm_key(data: bytes) -> tuple[bytes, int]:
    """(address bytes, prefix length) of an LPM key."""
    return data[4:], _U32.unpack_from(data)[0]


def source_filter_key(packed: bytes, prefixlen: int, number: int) -> bytes:
    """filter4_key (12) or filter6_key (24): prefixlen u32 host = 32 + length @0, VIP number u32 host, address."""
    return _VIP_META.pack(32 + prefixlen, number) + packed


def parse_source_filter_key(data: bytes) -> tuple[bytes, int, int]:
    """(address bytes, prefix length, VIP number) of a filter's key."""
    length, number = _VIP_META.unpack_from(data)
    return data[8:], length - 32, number


def flow_key(source: bytes, destination: bytes, sport: int, dport: int, protocol: int) -> bytes:
    """flow_key (40): src[16] @0, dst[16] @16, sport @32, dport @34, proto @36, zero pad."""
    return _FLOW_KEY.pack(source, destination, sport, dport, protocol)


def parse_flow_key(data: bytes) -> tuple[bytes, bytes, int, int, int]:
    """(source, destination, source port, destination port, protocol) of a flow_key."""
    return t.cast("tuple[bytes, bytes, int, int, int]", _FLOW_KEY.unpack(data))


def real_pos_lru(real: int, atime: int) -> bytes:
    """real_pos_lru (16): real id u32 host @0, atime u64 host ns @8."""
    return _REAL_POS_LRU.pack(real, atime)


def parse_real_pos_lru(data: bytes) -> tuple[int, int]:
    """(real id, atime in ns) of a connection-table entry."""
    return t.cast("tuple[int, int]", _REAL_POS_LRU.unpack(data))


QUIC_LB_CONFIGS = 8
QUIC_LB_VIP, QUIC_LB_OWN_SERVERS, QUIC_LB_SAYS_LENGTH = 1, 2, 4
"""Flags of a quic_lb_config."""


def quic_lb_config(flags: int, id_bytes: int, cid_bytes: int) -> bytes:
    """quic_lb_config (4): flags u8 @0, bytes of the server id u8 @1 and of the whole connection id u8 @2, pad."""
    return bytes((flags, id_bytes, cid_bytes, 0))


def parse_quic_lb_vip(data: bytes) -> list[tuple[int, int, int]]:
    """(flags, bytes of the server id, bytes of the whole) by config id, of a quic_lb_vip (32): 8 quic_lb_config."""
    return [(data[at], data[at + 1], data[at + 2]) for at in range(0, len(data), 4)]


def quic_lb_server(vip: int, config: int, server: bytes) -> bytes:
    """quic_lb_server (24): VIP number u32 host @0, config id u32 host @4, server id[16] @8, zero behind it."""
    return _QUIC_LB_SERVER.pack(vip, config, server)


def parse_quic_lb_server(data: bytes) -> tuple[int, int, bytes]:
    """(VIP number, config id, server id with the zeros behind it) of a quic_lb_server."""
    return t.cast("tuple[int, int, bytes]", _QUIC_LB_SERVER.unpack(data))


def sum_cpus(value: bytes, fields: int) -> list[int]:
    """The u64 fields of a per-CPU counter, each summed over the CPUs."""
    numbers = struct.unpack(f"={len(value) // 8}Q", value)
    return [sum(numbers[field::fields]) for field in range(fields)]


def u32(value: int) -> bytes:
    """A u32 in host order: the key of arrays, the value of real id maps."""
    return _U32.pack(value)


def parse_u32(data: bytes) -> int:
    """The u32 in host order at the start of the data."""
    return t.cast(int, _U32.unpack_from(data)[0])


def mac_bytes(mac: str) -> bytes:
    """The 6 bytes of a MAC address in colon form, padded to a ctl_value (8)."""
    return bytes.fromhex(mac.replace(":", "")).ljust(8, b"\0")


def parse_mac(data: bytes) -> str:
    """The colon form of a ctl_value's MAC address."""
    return ":".join(f"{byte:02x}" for byte in data[:6])
