# SPDX-License-Identifier: GPL-3.0-or-later
"""The codecs of _model/layout.py against what the compiler makes of the C: sizes and offsets, from its BTF."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.captured import Client, capture_filter
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DECAP_COUNTERS,
    DECAP_MAPS,
    HEALTHCHECK_COUNTERS,
    HEALTHCHECK_MAPS,
    MAPS,
    ROOT_MAPS,
    MapSpec,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import build_index
from ansible_collections.katran.fleet.tests.conformance.provision import BPF

Members = dict[str, bytes]
"""Member → the bytes that must be found there."""

ONES, TWOS, FOUR = b"\x11" * 16, b"\x22" * 16, b"\x11" * 4
NUMBERS = struct.Struct("=Q")


def counters(names: tuple[str, ...]) -> tuple[bytes, Members]:
    """A struct of u64 counters in the order in which the engine reads them."""
    values = [NUMBERS.pack(number + 1) for number in range(len(names))]
    return b"".join(values), dict(zip(names, values, strict=True))


QUIC, QUIC_MEMBERS = counters(layout.QUIC_COUNTERS)
# One array in C.
QUIC_MEMBERS["cid_version"] = b"".join(QUIC_MEMBERS.pop(f"cid_v{version}") for version in range(4))

ENCODED: dict[str, tuple[bytes, Members]] = {
    "address": (layout.pack_address("17.17.17.17"), {"addr": FOUR + bytes(12)}),
    "flow_key": (
        layout.flow_key(ONES, TWOS, 0x3344, 0x5566, 0x77),
        {"src": ONES, "dst": TWOS, "port": b"\x33\x44\x55\x66", "proto": b"\x77", "pad": bytes(3)},
    ),
    "vip_definition": (
        layout.vip_definition(ONES, 0x3344, 0x77),
        {"vip": ONES, "port": b"\x33\x44", "proto": b"\x77", "pad": b"\0"},
    ),
    "vip_meta": (layout.vip_meta(7, 9), {"flags": layout.u32(7), "vip_num": layout.u32(9)}),
    "vip_slot": (
        build_index({layout.vip_definition(ONES, 0x3344, 6): layout.vip_meta(7, 9)}, [], 16).popitem()[1],
        {"low": ONES[:8], "high": ONES[:8], "port_proto": b"\x33\x44\6\0", "displacement": layout.u32(1)}
        | {"meta": layout.vip_meta(7, 9)},
    ),
    "real_pos_lru": (layout.real_pos_lru(7, 9), {"pos": layout.u32(7), "pad": bytes(4), "atime": NUMBERS.pack(9)}),
    "real_definition": (layout.real_definition(ONES, 3), {"dst": ONES, "flags": b"\3", "pad": bytes(3)}),
    "lb_stats": (NUMBERS.pack(1) + NUMBERS.pack(2), {"v1": NUMBERS.pack(1), "v2": NUMBERS.pack(2)}),
    "v4_lpm_key": (layout.lpm_key(FOUR, 24), {"prefixlen": layout.u32(24), "addr": FOUR}),
    "v6_lpm_key": (layout.lpm_key(ONES, 64), {"prefixlen": layout.u32(64), "addr": ONES}),
    "vip_lpm_key": (
        layout.vip_lpm_key(ONES, 64, 0x3344, 0x77),
        {"prefixlen": layout.u32(96), "port": b"\x33\x44", "proto": b"\x77", "pad": b"\0", "addr": ONES},
    ),
    "vip_lpm4_key": (
        layout.vip_lpm4_key(ONES, 24, 0x3344, 0x77),
        {"prefixlen": layout.u32(56), "port": b"\x33\x44", "proto": b"\x77", "pad": b"\0", "addr": FOUR},
    ),
    "ctl_value": (layout.mac_bytes("01:02:03:04:05:06"), {"mac": b"\1\2\3\4\5\6", "value": b"\1\2\3\4\5\6\0\0"}),
    "capture_filter": (
        capture_filter(7, 9, Client.read("[1111:1111:1111:1111:1111:1111:1111:1111]:13124"), 64, 3),
        {
            "vip_num": layout.u32(7),
            "real": layout.u32(9),
            "client": ONES,
            "mask": b"\xff" * 16,
            "port": b"\x33\x44",
            "snaplen": layout.u32(64),
            "limit": layout.u32(3),
            "taken": bytes(4),
        },
    ),
    "filter4_key": (
        layout.source_filter_key(FOUR, 24, 7),
        {"prefixlen": layout.u32(56), "vip_num": layout.u32(7), "addr": FOUR},
    ),
    "filter6_key": (
        layout.source_filter_key(ONES, 64, 7),
        {"prefixlen": layout.u32(96), "vip_num": layout.u32(7), "addr": ONES},
    ),
    "quic_lb_config": (layout.quic_lb_config(1, 2, 3), {"flags": b"\1", "id_bytes": b"\2", "cid_bytes": b"\3"}),
    "quic_lb_vip": (layout.quic_lb_config(1, 2, 3) * layout.QUIC_LB_CONFIGS, {"configs": b"\1\2\3\0" * 8}),
    "quic_lb_server": (
        layout.quic_lb_server(7, 5, ONES[:15]),
        {"vip_num": layout.u32(7), "config": layout.u32(5), "id": ONES[:15] + b"\0"},
    ),
    "lb_quic_packets_stats": (QUIC, QUIC_MEMBERS),
    "lb_tpr_packets_stats": counters(layout.TPR_COUNTERS),
    "lb_stable_rt_packets_stats": counters(layout.STABLE_RT_COUNTERS),
    "decap_stats": counters(DECAP_COUNTERS),
    "hc_stats": counters(HEALTHCHECK_COUNTERS),
}


def source() -> str:
    """The structs of structs.h, and those of one program alone, each as a variable: BTF has what is used."""
    text = '#include "compiler.h"\n#include "structs.h"\n'
    for program, name in (("decap", "decap_stats"), ("healthcheck", "hc_stats")):
        found = re.search(rf"struct {name} \{{.*?\n\}};", Path(BPF, f"{program}.bpf.c").read_text(), re.DOTALL)
        assert found, name
        text += found[0] + "\n"
    return text + "".join(f"struct {name} a_{name};\n" for name in ENCODED)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Struct → {size, members} as compiled."""
    folder = tmp_path_factory.mktemp("btf")
    (folder / "structs.c").write_text(source())
    command = ["clang", "-g", "-O2", "-target", "bpf", "-I", f"{BPF}/include", "-c", "structs.c", "-o", "structs.o"]
    # Where Debian keeps asm/types.h, as the engine tells bcc.
    triplet = f"/usr/include/{os.uname().machine}-linux-gnu"
    shim = ["-include", f"{BPF}/kernel/include/linux/kconfig.h", "-isystem", triplet]
    subprocess.run([*command, *shim], check=True, cwd=folder)
    dump = ["bpftool", "--json", "btf", "dump", "file", "structs.o"]
    types = json.loads(subprocess.run(dump, check=True, cwd=folder, capture_output=True).stdout)["types"]
    by_id = {each["id"]: each for each in types}
    found = {}
    for each in types:
        if each["kind"] == "STRUCT":
            found[each["name"]] = {"size": each["size"], "members": members(each, by_id)}
    return found


def members(of: dict[str, Any], by_id: dict[int, dict[str, Any]], base: int = 0) -> dict[str, int]:
    """Member → offset in bytes; those of unnamed structs and unions as if they were the outer one's."""
    found = {}
    for each in of["members"]:
        offset = base + each["bits_offset"] // 8
        if each["name"] == "(anon)":
            found.update(members(by_id[each["type_id"]], by_id, offset))
        else:
            found[each["name"]] = offset
    return found


@pytest.mark.parametrize("name", ENCODED)
def test_codecs_agree_with_the_compiled_struct(name: str, compiled: dict[str, dict[str, Any]]) -> None:
    data, expected = ENCODED[name]
    assert len(data) == compiled[name]["size"]
    for member, value in expected.items():
        offset = compiled[name]["members"][member]
        assert data[offset : offset + len(value)] == value, member


def test_every_struct_is_compared(compiled: dict[str, dict[str, Any]]) -> None:
    """Those that only the datapath, or a reader of event_pipe, has to know stand apart."""
    declared = set(re.findall(r"^struct (\w+) \{", Path(BPF, "include/structs.h").read_text(), re.MULTILINE))
    assert declared - set(ENCODED) == {"tick", "event_metadata", "capture_metadata", "flow_debug_info"}


def test_addresses_and_ports_are_declared_in_network_order() -> None:
    text = Path(BPF, "include/structs.h").read_text()
    members = re.findall(r"^\t+(\w+) (addr|src|dst|vip|port|l4_hop|this_hop)\b", text, re.MULTILINE)
    assert {name for _type, name in members} == {"addr", "src", "dst", "vip", "port", "l4_hop", "this_hop"}
    assert all(kind == ("__be16" if name == "port" else "__be32") for kind, name in members), members


DECLARED = {
    "include/maps.h": MAPS,
    "decap.bpf.c": DECAP_MAPS,
    "healthcheck.bpf.c": HEALTHCHECK_MAPS,
    "root.bpf.c": ROOT_MAPS,
}


@pytest.mark.parametrize(
    ("file", "spec"),
    [pytest.param(file, spec, id=spec.name) for file, specs in DECLARED.items() for spec in specs],
)
def test_maps_have_the_sizes_of_their_structs(file: str, spec: MapSpec, compiled: dict[str, dict[str, Any]]) -> None:
    text = Path(BPF, file).read_text()
    if spec.name == "event_pipe":
        assert "BPF_PERF_OUTPUT(event_pipe)" in text
        return
    pattern = r"BPF_(?:F_)?TABLE\(\"[\w$]+\",\s*(?:struct )?(\w+),\s*(?:struct )?(\w+),\s*" + spec.name + ","
    declared = re.findall(pattern, text)
    assert declared, spec.name
    sizes = {name: each["size"] for name, each in compiled.items()} | {
        "u8": 1,
        "u32": 4,
        "u64": 8,
        "hc_mac": 6,
        "tick": 16,
    }
    assert {(sizes[key], sizes[value]) for key, value in declared} == {(spec.key_size, spec.value_size)}
