# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of QUIC-LB: what is refused, what is kept, and what the maps tell of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.quic_lb import QuicLb, stored_quic_lb, too_short
from ansible_collections.katran.fleet.plugins.module_utils._model.quic_lb_entries import (
    configs_in_kernel,
    kernel_entries,
    quic_lb_changes,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.quic_lb_input import read_quic_lb
from ansible_collections.katran.fleet.plugins.module_utils._model.records import Fault

REALS = {f"10.0.0.{number}": number for number in range(1, 9)}


@st.composite
def _configuration(draw: st.DrawFn, config: int) -> dict[str, Any]:
    own = draw(st.booleans())
    length = draw(st.integers(1, 15 if own else 8))
    found: dict[str, Any] = {
        "config": config,
        "server_id_length": length,
        "nonce_length": draw(st.integers(4, 19 - length)),
        "first_octet_encodes_cid_length": draw(st.booleans()),
    }
    if own:
        ids = draw(st.lists(st.binary(min_size=length, max_size=length), min_size=1, max_size=4, unique=True))
        found["servers"] = [{"id": each.hex(), "real": draw(st.sampled_from(sorted(REALS)))} for each in sorted(ids)]
    return found


CONFIGURATIONS = st.sets(st.integers(0, 6)).flatmap(lambda ids: st.tuples(*map(_configuration, sorted(ids)))).map(list)


def read(*entries: dict[str, Any], ipv6: bool = False, vip: str = "198.51.100.1") -> tuple[tuple[QuicLb, ...], str]:
    faults = Faults()
    return read_quic_lb(entries, "vips[0].quic_lb", ipv6, vip, faults), "; ".join(faults.lines)


def entry(**options: Any) -> dict[str, Any]:
    return {"config": 0, "server_id_length": 2, "nonce_length": 6, **options}


@given(CONFIGURATIONS, st.integers(0, 511))
def test_what_is_written_is_read_again(config: list[dict[str, Any]], vip: int) -> None:
    found, faults = read(*config)
    assert not faults
    assert [each.to_config() for each in found] == config == stored_quic_lb(config, "")
    assert tuple(map(QuicLb.from_config, config)) == found
    maps: dict[str, dict[bytes, bytes]] = {}
    for (name, key), value in kernel_entries(found, vip, REALS).items():
        maps.setdefault(name, {})[key] = value
    there = configs_in_kernel(maps, {number: address for address, number in REALS.items()})
    assert there.get(vip, ()) == found
    assert configs_in_kernel(maps, {}).get(vip + 1, ()) == ()


@given(st.binary(min_size=32, max_size=32))
def test_what_nobody_of_ours_wrote_is_still_a_state(value: bytes) -> None:
    found = configs_in_kernel({"quic_lb_vips": {layout.u32(7): value}}, {})[7]
    config = [each.to_config() for each in found]
    assert stored_quic_lb(config, "") == config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"config": 7}, "config: 7 is not a config id (0 to 6; 7 is for ids that nobody can route)"),
        ({"config": -1}, "config: -1 is not a config id (0 to 6)"),
        ({"server_id_length": 16}, "server_id_length: 16 is not a length of server ids (1 to 15 bytes)"),
        ({"nonce_length": 3}, "nonce_length: 3 is not a length of nonces (4 to 18 bytes)"),
        (
            {"server_id_length": 8, "nonce_length": 12},
            "nonce_length: a server id of 8 bytes and a nonce of 12 are 20, but a connection id has room for 19",
        ),
        (
            {"server_id_length": 9},
            "server_id_length: 9 is more than the 8 bytes of a number of server_ids; list its servers",
        ),
        ({"servers": []}, "servers: it is empty; leave it out for the ids of server_ids, or list a server"),
        (
            {"servers": [{"id": 83, "real": "10.0.0.1"}]},
            "servers[0].id: 83 is not a server id of 4 hexadecimal digits, which want quotes",
        ),
        (
            {"servers": [{"id": "0a0b", "real": "10.0.0.1"}, {"id": "0A0B", "real": "10.0.0.2"}]},
            "servers[1].id: 0a0b is listed twice",
        ),
        ({"servers": [{"id": "0a0b", "real": "10.0.0"}]}, "servers[0].real: 10.0.0 is not an IP address"),
        ({"servers": [{"id": "0a0b", "real": "198.51.100.1"}]}, "servers[0].real: 198.51.100.1 is the VIP itself"),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], sentence: str) -> None:
    assert f"vips[0].quic_lb[0].{sentence}" in read(entry(**options))[1]


def test_a_config_id_is_used_once_and_families_fit() -> None:
    assert read(entry(), entry())[1] == "vips[0].quic_lb[1].config: 0 is listed twice"
    servers = [{"id": "0a0b", "real": "10.0.0.1"}]
    assert (
        "10.0.0.1 is IPv4, but the VIP 2001:db8::1 is IPv6"
        in read(entry(servers=servers), ipv6=True, vip="2001:db8::1")[1]
    )


@pytest.mark.parametrize(
    "row",
    [
        entry(first_octet_encodes_cid_length=False, nonce_length=18),
        entry(first_octet_encodes_cid_length=False, servers=[{"id": "0a", "real": "10.0.0.1"}]),
        entry(first_octet_encodes_cid_length=False, servers=[{"id": "zz00", "real": "10.0.0.1"}]),
        entry(first_octet_encodes_cid_length=1),
        entry(config=7, first_octet_encodes_cid_length=False),
    ],
)
def test_a_damaged_record_is_a_fault(row: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        stored_quic_lb([row], "vips[0].quic_lb")


def test_numbers_that_do_not_fit_are_told() -> None:
    row = {
        "address": "198.51.100.1",
        "port": 443,
        "quic_lb": [QuicLb(0, 1, 4).to_config(), QuicLb(1, 2, 4).to_config()],
    }
    assert too_short([row], 255) == []
    [warning] = too_short([row], 256)
    assert warning.startswith(
        "server_ids: 256 does not fit in the 1 bytes of quic_lb config 0 of VIP 198.51.100.1, port 443"
    )


def test_changes_are_told_by_configuration() -> None:
    old, new = QuicLb(0, 2, 6), QuicLb(0, 2, 6, says_length=True)
    [line] = quic_lb_changes([old], [new])
    assert line.endswith("→ server id of server_ids in 2 bytes, nonce in 6, which its first octet says")
    assert quic_lb_changes([old], []) == ["quic_lb config 0 removed"]
    assert quic_lb_changes([old], [old]) == []
