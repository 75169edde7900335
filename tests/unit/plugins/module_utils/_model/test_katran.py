# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says of a Katran's maps, and what it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.katran import (
    Imported,
    KatranSeen,
    Sizes,
    imported,
    is_ipv6_prefix,
    known_specs,
    layout_fault,
    sizes_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring_weights import RingWeights
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo

TCP, ICMP = 6, 1


def info(name: str, entries: int = 64, kind: int | None = None) -> MapInfo:
    spec = known_specs()[name[:15]]
    return MapInfo(spec.type if kind is None else kind, 5, spec.key_size, spec.value_size, entries, 0, name)


def maps(*more: str) -> dict[str, MapInfo]:
    return {"ch_rings": info("ch_rings", 16 * 1009), "vip_map": info("vip_map", 16)} | {
        name: info(name) for name in ("reals", *more)
    }


def definition(address: str, port: int = 80, protocol: int = TCP) -> bytes:
    return layout.vip_definition(layout.pack_address(address), port, protocol)


def real(address: str, flags: int = 0) -> bytes:
    return layout.real_definition(layout.pack_address(address), flags | layout.REAL_IPV6 * (":" in address))


REALS = {
    layout.u32(0): real("10.0.0.99"),
    layout.u32(3): real("10.0.0.3"),
    layout.u32(1): real("10.0.0.1", layout.REAL_LOCAL),
    layout.u32(2): real("fc00::2"),
    layout.u32(9): layout.NO_REAL,
}
RING = RingWeights({"10.0.0.3": 1, "10.0.0.1": 4}, "maglev_v2")
ENTRIES: dict[str, dict[bytes, bytes]] = {
    "vip_map": {definition("198.51.100.1"): layout.vip_meta(0, 4)},
    "reals": REALS,
}
SEEN = KatranSeen(42, {"eth0": "native"}, maps(), ENTRIES, {4: RING}, cpus=2)


def of(
    seen: KatranSeen = SEEN, entries: dict[str, dict[bytes, bytes]] | None = None, **more: Any
) -> tuple[Imported, str]:
    """What is imported, and its notes as one text."""
    found = imported(replace(seen, entries={**ENTRIES, **(entries or {})}, **more))
    return found, "\n".join(found.notes)


def test_a_plain_one() -> None:
    found, notes = of()
    assert found.variables == {
        "katran_interfaces": ["eth0"],
        "katran_encapsulation": "ipip",
        "katran_sizes": {"vips": 16, "ring": 1009, "reals": 64},
        "katran_vips": [
            {
                "address": "198.51.100.1",
                "port": 80,
                "protocol": "tcp",
                "reals": [{"address": "10.0.0.1", "weight": 4, "local": True}, {"address": "10.0.0.3"}],
            }
        ],
    }
    assert found.stale == []
    assert "to fc00::2 nothing leads" in notes
    assert "maps do not tell which of these" in notes
    assert "hold no checks" in notes


def test_places_and_modes() -> None:
    for modes, told in (({"a": "generic"}, "generic"), ({"a": "generic", "b": "native"}, "auto")):
        assert of(interfaces=modes)[0].variables["katran_mode"] == told
    found, notes = of(interfaces={})
    assert "katran_interfaces" not in found.variables
    assert "it runs on no interface" in notes
    assert "behind an array of programs (map 7)" in of(array=7)[1]


def test_vips_without_an_equivalent_are_told() -> None:
    entries = {
        definition("198.51.100.1"): layout.vip_meta(0, 4),
        definition("198.51.100.2", 0, ICMP): layout.vip_meta(0, 4),
        definition("198.51.100.3"): layout.vip_meta(0, 77),
        definition("198.51.100.4"): layout.vip_meta(1 << 20 | layout.VIP_FLAGS["quic"], 4),
        definition("198.51.100.5"): layout.vip_meta(0, 5),
    }
    rings = {4: RING, 5: RingWeights({}, "maglev_v2", 0, 1009)}
    found, notes = of(entries={"vip_map": entries}, rings=rings)
    vips = {vip["address"]: vip for vip in found.variables["katran_vips"]}
    assert sorted(vips) == ["198.51.100.1", "198.51.100.4", "198.51.100.5"]
    assert vips["198.51.100.4"]["flags"] == ["quic"]
    assert vips["198.51.100.5"]["reals"] == []
    assert found.variables["katran_min_active"] == 0
    for words in (
        "vip 198.51.100.2:0/1: IP protocol 1 is neither tcp nor udp",
        "vip 198.51.100.3:80/tcp: its number 77 is beyond the rings",
        "vip 198.51.100.4:80/tcp: flags 0x100000 have no equivalent",
        "vip 198.51.100.5:80/tcp: its ring leads to no real",
    ):
        assert words in notes


def test_a_stale_ring_is_told_with_its_slots() -> None:
    found, _notes = of(rings={4: replace(RING, differ=30, empty=3, hash="maglev_v1")})
    assert found.variables["katran_vips"][0]["hash"] == "maglev_v1"
    (sentence,) = found.stale
    assert sentence == (
        "vip 198.51.100.1:80/tcp: its ring is stale, as no weights that a ring of its size tells make it: 30 of 1009"
        " slots lead elsewhere than the nearest weights have them, 3 of them to none of its reals"
    )


def test_settings_and_features_come_of_maps() -> None:
    entries = {
        "pckt_srcs": {layout.u32(0): real("192.0.2.1"), layout.u32(1): real("2001:db8::9")},
        "ctl_array": {layout.u32(0): layout.mac_bytes("02:00:00:00:00:07")},
        "lpm_src_v4": {
            layout.lpm_key(bytes((192, 0, 2, 0)), 24): layout.u32(3),
            layout.lpm_key(bytes((198, 18, 0, 0)), 16): layout.u32(50),
        },
        "server_id_map": {layout.u32(8): layout.u32(2)},
        "hc_reals_map": {layout.u32(5): real("10.0.0.3")},
    }
    more = maps("pckt_srcs", "ctl_array", "lpm_src_v4", "event_pipe", "decap_dst", "global_lru_maps", "hc_reals_map")
    more["server_id_map"] = info("server_id_map", 1000, kind=1)
    tables = {"lru_mapping": {0: 500}, "global_lru_maps": {0: 70, 1: 70}}
    found, notes = of(entries=entries, maps=more, tables=tables)
    variables = found.variables
    assert variables["katran_encapsulation"] == "gue"
    assert (variables["katran_source_ipv4"], variables["katran_source_ipv6"]) == ("192.0.2.1", "2001:db8::9")
    assert variables["katran_gateway_mac"] == "02:00:00:00:00:07"
    assert variables["katran_source_routes"] == [{"prefix": "192.0.2.0/24", "real": "10.0.0.3"}]
    assert variables["katran_server_ids"] == [{"id": 8, "real": "fc00::2"}]
    assert "katran_decap_destinations" not in variables
    assert variables["katran_forwarding_cores"] == [0]
    features = ["global_lru", "inline_decap", "introspection", "server_id_hash", "source_routing"]
    assert variables["katran_extra_features"] == features
    sizes = {"flows": 500, "global_flows": 70, "source_routes": 64, "server_ids": 1000}
    assert variables["katran_sizes"] == {"vips": 16, "ring": 1009, "reals": 64, **sizes}
    assert "map lpm_src_v4: 1 entries lead to no real" in notes
    assert "katran_decap_any: true" in notes
    assert "5 → 10.0.0.3" in notes
    assert "nothing leads" not in notes


def test_down_reals_are_those_of_the_vip() -> None:
    down = {definition("198.51.100.1"): frozenset((2, 77)), definition("198.51.100.9"): frozenset((3,))}
    found, notes = of(down=down)
    assert found.variables["katran_vips"][0]["down_reals"] == ["fc00::2"]
    assert "nothing leads" not in notes


def test_cidr_vips_of_both_families_are_in_one_map() -> None:
    entries = {
        layout.vip_lpm_key(layout.pack_address("203.0.113.0"), 24, 53, TCP): layout.vip_meta(0, 4),
        layout.vip_lpm_key(layout.pack_address("2001:db8:1::"), 48, 0, TCP): layout.vip_meta(0, 5),
    }
    rings = {4: RING, 5: RingWeights({"fc00::2": 1}, "maglev_v2")}
    found, _notes = of(entries={"vip_map": {}, "vip_lpm_map": entries}, rings=rings, maps=maps("vip_lpm_map"))
    vips = [(vip["address"], vip["port"]) for vip in found.variables["katran_vips"]]
    assert vips == [("203.0.113.0/24", 53), ("2001:db8:1::/48", 0)]
    assert found.variables["katran_extra_features"] == ["cidr_vips"]


@pytest.mark.parametrize(
    ("address", "length", "reals", "ipv6"),
    [
        ("2001:db8:1::", 48, (), True),
        ("2001:db8:0:1::", 20, (), True),
        ("2001:db8::", 32, ("10.0.0.1", "fc00::1"), False),
        ("2001:db8::", 32, ("fc00::1",), True),
        ("fd00::", 8, ("fc00::1",), True),
        ("203.0.113.0", 24, ("fc00::1",), False),
        ("203.0.113.0", 24, ("10.0.0.1",), False),
        ("192.0.2.0", 32, (), False),
    ],
)
def test_of_which_family_a_prefix_is(address: str, length: int, reals: tuple[str, ...], ipv6: bool) -> None:
    assert is_ipv6_prefix(layout.pack_address(address), length, reals) is ipv6


def test_sizes_are_those_that_make_a_prime_ring() -> None:
    assert sizes_of(maps()) == Sizes(16, 1009)
    # A map of VIPs that was made larger, or one of a version that has no counters by VIP.
    larger = {**maps("server_id_stats"), "vip_map": info("vip_map", 20), "server_id_stats": info("server_id_stats", 16)}
    assert sizes_of(larger) == Sizes(16, 1009)
    with pytest.raises(EngineError, match="there is no map vip_map, reals, so this is no Katran"):
        sizes_of({"ch_rings": info("ch_rings")})
    with pytest.raises(EngineError, match="map ch_rings has 1000 slots, which is no prime number of them"):
        sizes_of({**maps(), "ch_rings": info("ch_rings", 1000)})


def test_another_layout_is_a_sentence() -> None:
    assert layout_fault("reals", info("reals")) == ""
    assert layout_fault("vip_to_down_reals_map", info("vip_to_down_rea")) == ""
    # Of what is not read, nobody asks.
    assert layout_fault("jmp", replace(info("reals"), key_size=9)) == ""
    assert layout_fault("reals", replace(info("reals"), value_size=24)) == (
        "map reals has keys of 4 and values of 24 bytes, where the layout that is known has 4 and 20"
    )
    assert layout_fault("vip_map", replace(info("vip_map"), key_size=8))
