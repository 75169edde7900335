# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel is what counts: what is written, what is not, and what somebody else changed meanwhile."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    MAPS,
    RESOURCES,
    SIZES,
    STATE,
    apply,
    apply_all,
    bpftool,
    count_writes,
    drop,
    module,
    module_here,
    put,
    real,
    snapshot,
    vip,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, ensure_balancer, run, sandbox

RING = SIZES["ring"]


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    """A balancer on a veth."""
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


@pytest.fixture
def live() -> Iterator[dict[str, Any]]:
    """Everything applied; the maps as they are then."""
    # With other flags first: their flows may be known, which vip_learned says.
    apply("vips", [{**each, "flags": []} for each in world()["vips"]])
    results = apply_all(world())
    assert not any(result.changed for result in results)
    before = snapshot()
    yield before
    apply_all({})


def dumped(name: str) -> dict[bytes, bytes]:
    """A map's entries as bpftool shows them."""
    rows = json.loads(bpftool("-j", "map", "dump", "pinned", f"{MAPS}/{name}"))
    found = {}
    for row in rows:
        value = bytes(int(byte, 16) for byte in row["value"])
        if any(value) or name not in ("cidr_vip_keys", "vip_learned", "ch_rings", "reals", "server_id_map"):
            found[bytes(int(byte, 16) for byte in row["key"])] = value
    return found


@pytest.mark.usefixtures("live")
def test_every_map_holds_what_was_asked_for() -> None:
    """Read with bpftool, decoded here."""
    reals = {struct.unpack("=I", key)[0]: value for key, value in dumped("reals").items()}
    ids = {value[:16]: number for number, value in reals.items()}

    def real(text: str) -> int:
        return ids[layout.pack_address(text)]

    assert len(reals) == 10
    assert {reals[real(text)][16] for text in ("fc00::1", "fc00::2", "fc00::9")} == {1}
    assert reals[real("10.0.0.4")][16] == 2
    vips = dumped("vip_map")
    key = bytes.fromhex("c6336401") + bytes(12) + bytes.fromhex("0050 06 00")
    flags, number = struct.unpack("=II", vips[key])
    assert (len(vips), flags) == (3, layout.SOURCE_FILTER)
    denied, allowed = b"\2\0\0\0", b"\1\0\0\0"
    assert {key: value for key, value in dumped("src_filter_v4").items() if key[4:8] == struct.pack("=I", number)} == {
        bytes.fromhex("38000000") + struct.pack("=I", number) + bytes.fromhex("cb007100"): denied,
        bytes.fromhex("40000000") + struct.pack("=I", number) + bytes.fromhex("c6120701"): denied,
    }
    assert sorted(dumped("src_filter_v4").values()) == [allowed, denied, denied, denied]
    assert list(dumped("src_filter_v6").values()) == [denied]
    slots = dumped("ch_rings")
    ring = [struct.unpack("=I", slots[struct.pack("=I", number * RING + slot)])[0] for slot in range(RING)]
    members = [("10.0.0.1", 1), ("10.0.0.2", 2)]
    assert ring == [real(members[index][0]) for index in build_ring(members, RING)]
    key = layout.pack_address("2001:db8::1") + bytes.fromhex("0050 06 00")
    assert struct.unpack("=II", vips[key])[0] == layout.SOURCE_FILTER | 2
    [(wide, meta)] = dumped("vip_lpm4_map").items()
    assert wide == bytes.fromhex("38000000 0000 06 00 cb007100")
    [(_wide6, _meta6)] = dumped("vip_lpm_map").items()
    keys = dumped("cidr_vip_keys")
    assert keys[meta[4:]] == bytes.fromhex("cb007100") + bytes(12) + bytes.fromhex("0000 06 00")
    assert len(dumped("vip_addresses")) == 3
    assert dumped("vip_address_lpm4") == {bytes.fromhex("18000000 cb007100"): b"\1\0\0\0"}
    assert dumped("lpm_src_v4") == {bytes.fromhex("18000000 c0000200"): struct.pack("=I", real("10.0.0.6"))}
    assert list(dumped("lpm_src_v6").values()) == [struct.pack("=I", real("fc00::1"))]
    assert dumped("server_id_map") == {
        struct.pack("=I", 7): struct.pack("=I", real("10.0.0.1")),
        struct.pack("=I", 2999): struct.pack("=I", real("10.0.0.7")),
    }
    assert set(dumped("decap_dst").values()) == {struct.pack("=I", layout.DECAP_EGRESS)}
    with KernelMaps(MAPS) as maps:
        assert set(maps.down_sets().values()) == {frozenset({real("10.0.0.3")}), frozenset({real("fc00::9")})}


def test_a_second_run_makes_no_write(live: dict[str, Any], tmp_path: Path) -> None:
    """Counted by strace, and rings, which are mapped into memory, by their digests."""
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-e", "trace=bpf", "-o", str(trace))
    before = STATE.stat()
    for resource in RESOURCES:
        arguments = {"config": world()[resource], "state": "overridden"}
        outcome = module(resource, arguments, prefix=strace)
        assert outcome["changed"] is False
        assert outcome["operations"] == {}
        assert count_writes(trace) == 0
        assert "bpf(" in trace.read_text(encoding="utf-8")
    assert snapshot() == live
    assert STATE.stat().st_mtime_ns == before.st_mtime_ns
    # The counting counts: the flag, and twice what waits for packets, before the index, which is mapped too, is filled
    # and before it is in force.
    changed = world()["vips"]
    changed[0]["flags"] = ["no_lru"]
    outcome = module("vips", {"config": changed, "state": "overridden"}, prefix=strace)
    assert outcome["operations"] == {"vip_index": 1, "vip_map": 1}
    assert count_writes(trace) == 3


def test_check_mode_makes_no_write(live: dict[str, Any], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-e", "trace=bpf", "-o", str(trace))
    changed = world()["vips"][:2]
    changed[0]["reals"][0]["weight"] = 7
    foretold = module("vips", {"config": changed, "state": "overridden"}, check=True, diff=True, prefix=strace)
    assert foretold["changed"] is True
    assert count_writes(trace) == 0
    assert snapshot() == live
    result = module_here("vips", {"config": changed, "state": "overridden"}, diff=True)
    for word in ("operations", "changes", "before", "after", "diff"):
        assert foretold[word] == result[word]
    assert snapshot() != live


def first_key(live: dict[str, Any], name: str) -> bytes:
    return min(live[name])


def spoilt_value(live: dict[str, Any], name: str) -> bytes:
    value = bytearray(live[name][first_key(live, name)])
    value[0] ^= 4
    return bytes(value)


FOREIGN: dict[str, tuple[bytes, bytes]] = {
    "vip_map": (bytes.fromhex("c6336463") + bytes(12) + b"\0\x50\x06\0", struct.pack("=II", 0, 15)),
    "vip_lpm_map": (b"\x40\0\0\0\0\x50\x06\0" + bytes.fromhex("20010db9") + bytes(12), struct.pack("=II", 0, 15)),
    "vip_lpm4_map": (b"\x28\0\0\0\0\x50\x06\0\x0a\0\0\0", struct.pack("=II", 0, 15)),
    "vip_addresses": (bytes.fromhex("c6336463") + bytes(12), b"\1\0\0\0"),
    "vip_address_lpm4": (b"\x08\0\0\0\x0a\0\0\0", b"\1\0\0\0"),
    "vip_address_lpm6": (b"\x20\0\0\0" + bytes.fromhex("20010db9") + bytes(12), b"\1\0\0\0"),
    "cidr_vip_keys": (struct.pack("=I", 15), b"\1" * 20),
    "vip_learned": (struct.pack("=I", 15), b"\1\0\0\0"),
    "reals": (struct.pack("=I", 63), bytes.fromhex("0a090909") + bytes(16)),
    "lpm_src_v4": (b"\x08\0\0\0\x0a\0\0\0", b"\1\0\0\0"),
    "lpm_src_v6": (b"\x20\0\0\0" + bytes.fromhex("20010db9") + bytes(12), b"\1\0\0\0"),
    "src_filter_v4": (b"\x28\0\0\0\x0f\0\0\0\x0a\0\0\0", b"\2\0\0\0"),
    "src_filter_v6": (b"\x40\0\0\0\x0f\0\0\0" + bytes.fromhex("20010db9") + bytes(12), b"\2\0\0\0"),
    "server_id_map": (struct.pack("=I", 99), b"\1\0\0\0"),
    "decap_dst": (bytes.fromhex("c6336463") + bytes(12), b"\2\0\0\0"),
}


def remove(live: dict[str, Any], name: str) -> None:
    key = first_key(live, name)
    if name in ("reals", "server_id_map", "cidr_vip_keys", "vip_learned"):
        put(name, key, bytes(len(live[name][key])))
    else:
        drop(name, key)


def change(live: dict[str, Any], name: str) -> None:
    put(name, first_key(live, name), spoilt_value(live, name))


def add(_live: dict[str, Any], name: str) -> None:
    put(name, *FOREIGN[name])


def told_and_repaired(live: dict[str, Any], words: str) -> list[str]:
    """Check mode tells it and writes nothing; a run tells the same and repairs it; then there is nothing to tell."""
    spoilt = snapshot()
    assert spoilt != live
    told = []
    for resource in RESOURCES:
        foretold = apply(resource, world()[resource], check=True)
        assert snapshot() == spoilt
        result = apply(resource, world()[resource])
        assert (result.changes, result.operations) == (foretold.changes, foretold.operations)
        told += result.drift
        spoilt = snapshot()
    assert snapshot() == live
    assert any(words in line for line in told), told
    assert not any(apply(resource, world()[resource]).changed for resource in RESOURCES)
    return told


@pytest.mark.parametrize("how", [remove, change, add])
@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_an_entry_that_somebody_changed(live: dict[str, Any], name: str, how: Callable[..., None]) -> None:
    how(live, name)
    words = {"remove": "missing in", "change": "changed in", "add": "removed from"}[how.__name__]
    told = told_and_repaired(live, f"{words} {name}")
    # One entry, one line: but a real that is another address now may have been somebody's.
    assert len(told) == 1


@pytest.mark.parametrize("value", [0, 1, 63, 5000])
def test_a_ring_slot_that_somebody_changed(live: dict[str, Any], value: int) -> None:
    number = struct.unpack("=II", live["vip_map"][first_key(live, "vip_map")])[1]
    with KernelMaps(MAPS) as maps:
        slots = maps.map("ch_rings")
        at = next(
            each
            for each in range(number * RING, (number + 1) * RING)
            if slots.lookup(layout.u32(each)) != layout.u32(value)
        )
    put("ch_rings", layout.u32(at), layout.u32(value))
    assert told_and_repaired(live, "1 ring slots changed, repaired")


def test_a_ring_that_somebody_emptied(live: dict[str, Any]) -> None:
    number = struct.unpack("=II", live["vip_map"][first_key(live, "vip_map")])[1]
    with KernelMaps(MAPS) as maps:
        maps.put_ring(number, bytes(RING * 8), RING)
        assert hashlib.sha256(maps.ring(number)).digest() == hashlib.sha256(bytes(RING * 8)).digest()
    assert told_and_repaired(live, f"{RING} ring slots changed, repaired")


@pytest.mark.parametrize("how", ["remove", "change", "add"])
def test_a_down_set_that_somebody_changed(live: dict[str, Any], how: str) -> None:
    key = min(live["vip_to_down_reals_map"])
    with KernelMaps(MAPS) as maps:
        outer = maps.map("vip_to_down_reals_map")
        if how == "remove":
            outer.delete(key)
        elif how == "change":
            with bpf.map_by_id(struct.unpack("=I", outer.lookup(key) or b"")[0]) as inner:
                inner.update(layout.u32(63), b"\1")
        else:
            maps.put_down_set(b"\1" * 19 + b"\0", frozenset({1}))
    words = {
        "remove": "its down reals are missing in vip_to_down_reals_map, repaired",
        "change": "its down reals are changed in vip_to_down_reals_map, repaired",
        "add": "down reals that are not ours, removed from vip_to_down_reals_map",
    }[how]
    assert len(told_and_repaired(live, words)) == 1


def test_everything_that_somebody_removed(live: dict[str, Any]) -> None:
    for name, entries in live.items():
        if name in FOREIGN:
            for key in entries:
                remove({name: {key: entries[key]}}, name)
    assert told_and_repaired(live, "missing in")


def test_a_full_map_of_somebody_elses_gives_way(live: dict[str, Any]) -> None:
    """The map has no room for one more before the foreign entries are gone."""
    with KernelMaps(MAPS) as maps:
        room = SIZES["vips"] - len(live["vip_map"])
        strange = [
            (layout.vip_definition(layout.pack_address("198.51.100.200"), port, 6), layout.vip_meta(0, 15))
            for port in range(room)
        ]
        maps.put("vip_map", strange)
    one_more = [*world()["vips"], {"address": "198.51.100.77", "port": 80, "protocol": "tcp"}]
    result = apply("vips", one_more)
    assert result.operations["vip_map"] == room + 1
    assert sum("not ours" in line for line in result.drift) == room
    apply("vips", world()["vips"])
    assert snapshot() == live


def test_a_lost_state_keeps_ids_numbers_and_rings(live: dict[str, Any]) -> None:
    STATE.unlink()
    # A first run that concerns one VIP alone leaves all others as they are.
    assert apply("vips", world()["vips"][:1], "merged").operations == {}
    assert snapshot() == live
    for name in ("source_routes", "server_ids", "decap_destinations"):
        STATE.with_name(f"{name}.json").unlink()
    STATE.unlink()
    assert apply("server_ids", world()["server_ids"][:1], "merged").operations == {}
    assert snapshot() == live
    for resource in RESOURCES:
        assert apply(resource, world()[resource]).operations == {}
    assert snapshot() == live


def test_a_reboot_keeps_ids_numbers_and_rings(live: dict[str, Any]) -> None:
    """Every map and program is gone; what is on disk brings the same back."""
    run("ip", "link", "set", "lb0", "xdp", "off")
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
    assert snapshot() != live
    for resource in RESOURCES:
        apply(resource, None, "merged")
    assert snapshot() == live


def test_what_info_tells_changes_nothing_when_fed_back(live: dict[str, Any]) -> None:
    names = ["vips", "reals", "source_routes", "server_ids", "decap_destinations"]
    told = module_here("balancer_info", {"gather": [*names, "counters", "maps"]})
    assert (len(told["vips"]), len(told["reals"])) == (5, 1)
    reals = {real["address"]: real for real in told["counters"]["reals"]}
    assert reals["10.0.0.1"]["id"] >= 1
    assert reals["10.0.0.1"]["by_hand"] is None
    assert reals["10.0.0.5"]["by_hand"]["state"] == "active"
    assert told["maps"]["vip_map"]["entries"] == SIZES["vips"]
    for name in names:
        for state in ("merged", "replaced", "overridden"):
            outcome = module_here(name, {"config": told[name], "state": state})
            assert (outcome["changed"], outcome["operations"]) == (False, {})
    assert snapshot() == live


def test_what_info_tells_of_a_lost_state(live: dict[str, Any]) -> None:
    before = module_here("balancer_info", {"gather": ["vips", "server_ids"]})
    text = STATE.read_text(encoding="utf-8")
    STATE.unlink()
    after = module_here("balancer_info", {"gather": ["vips", "server_ids"]})
    assert not STATE.exists()
    STATE.write_text(text, encoding="utf-8")
    assert [each["address"] for each in after["vips"]] == [each["address"] for each in before["vips"]]
    assert after["server_ids"] == before["server_ids"]
    assert snapshot() == live


def test_numbers_that_pass_from_prefix_to_prefix_are_no_drift() -> None:
    """Where every number is taken, a new VIP gets one of those that go in the same run."""
    for block in ("198.51.100", "198.51.101"):
        prefixes = [vip(f"203.{block[-1]}.{number}.0/24", real("10.0.0.1")) for number in range(SIZES["cidr_vips"])]
        others = [vip(f"{block}.{number}", real("10.0.0.1")) for number in range(SIZES["vips"] - len(prefixes))]
        assert apply("vips", [*prefixes, *others]).drift == []
    apply("vips", [])
