# SPDX-License-Identifier: GPL-3.0-or-later
"""Option quic_lb of VIPs on real maps: what is written, predicted, told, repaired, and found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_balancer
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.tests.engine.host import STATE, Entry, apply, drop, put, real, snapshot, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

FAR = "10.0.0.9"
NUMBERS: Entry = {"config": 0, "server_id_length": 2, "nonce_length": 6}
OWN: Entry = {
    "config": 5,
    "server_id_length": 3,
    "nonce_length": 16,
    "servers": [{"id": "0A0b0c", "real": "10.0.0.1"}, {"id": "ffffff", "real": FAR}],
}
WHOLE_OWN = {
    **OWN,
    "first_octet_encodes_cid_length": False,
    "servers": [{"id": "0a0b0c", "real": "10.0.0.1"}, OWN["servers"][1]],
}


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        load()
        yield


def load() -> None:
    ensure_balancer("attached", interfaces=["lb0"], features=["quic_lb", "udp_flow_migration"])


@pytest.fixture(autouse=True)
def nothing() -> None:
    apply("vips", [])


def quic(*configs: Entry, **options: Any) -> Entry:
    options = {"port": 443, "protocol": "udp", "flags": ["quic"], **options}
    return vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"), quic_lb=list(configs), **options)


def rings() -> dict[str, Any]:
    return {name: value for name, value in snapshot().items() if name.startswith("ring")}


def maps() -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    found = snapshot()
    return found["quic_lb_vips"], found["quic_lb_servers"]


def number() -> int:
    """The VIP's."""
    return int(json.loads(STATE.read_text())["vip_numbers"]["assigned"]["198.51.100.1:443/udp"])


def test_a_run_writes_what_check_mode_foretold_and_the_next_one_nothing() -> None:
    apply("vips", [quic()])
    before = rings()
    foretold = apply("vips", [quic(NUMBERS, OWN)], check=True)
    assert maps() == ({}, {})
    done = apply("vips", [quic(NUMBERS, OWN)])
    assert (done.changes, done.operations) == (foretold.changes, foretold.operations)
    # The real that no VIP has is known for its id.
    assert done.operations == {"quic_lb_vips": 1, "quic_lb_servers": 2, "reals": 1}
    assert done.changes == [
        "vip 198.51.100.1:443/udp: quic_lb config 0 added: server id of server_ids in 2 bytes, nonce in 6",
        "vip 198.51.100.1:443/udp: quic_lb config 5 added: server id in 3 bytes, nonce in 16, 2 servers",
    ]
    again = apply("vips", [quic(NUMBERS, OWN)])
    assert not again.changed
    assert not again.operations
    assert rings() == before
    told = next(each for each in gather_info(request(), ["vips"])["vips"])
    assert told["quic_lb"] == [{**NUMBERS, "first_octet_encodes_cid_length": False}, WHOLE_OWN]


def test_a_rotation_in_three_steps() -> None:
    later = {"config": 1, "server_id_length": 4, "nonce_length": 8, "first_octet_encodes_cid_length": True}
    apply("vips", [quic(OWN)])
    assert apply("vips", [quic(OWN, later)]).operations == {"quic_lb_vips": 1}
    moved = {**OWN, "servers": [{"id": "0a0b0c", "real": "10.0.0.2"}]}
    assert apply("vips", [quic(moved, later)]).changes == [
        "vip 198.51.100.1:443/udp: quic_lb config 5: server 0a0b0c 10.0.0.1 → 10.0.0.2",
        f"vip 198.51.100.1:443/udp: quic_lb config 5: server ffffff {FAR} → nobody",
    ]
    done = apply("vips", [quic(later)])
    assert done.changes == ["vip 198.51.100.1:443/udp: quic_lb config 5 removed"]
    assert maps()[1] == {}
    # What is not mentioned stays; an empty list ends it.
    apply("vips", [vip("198.51.100.1", real("10.0.0.1", 5), port=443, protocol="udp")], state="merged")
    assert maps()[0]
    apply("vips", [quic()], state="merged")
    assert maps() == ({}, {})


def test_what_others_changed_is_told_and_repaired() -> None:
    apply("vips", [quic(NUMBERS, OWN)])
    before = snapshot()
    key = layout.quic_lb_server(number(), 5, bytes.fromhex("0a0b0c"))
    strange = layout.quic_lb_server(number(), 5, b"xyz")
    put("quic_lb_vips", layout.u32(number()), bytes(32))
    put("quic_lb_vips", layout.u32(7), b"\1" * 32)
    drop("quic_lb_servers", key)
    put("quic_lb_servers", strange, layout.u32(1))
    told = [
        f"VIP number {number()}: missing in quic_lb_vips, repaired",
        "VIP number 7: not ours, removed from quic_lb_vips",
        f"VIP number {number()}: server 0a0b0c{'00' * 13} of quic_lb config 5: missing in quic_lb_servers, repaired",
        f"VIP number {number()}: server 78797a{'00' * 13} of quic_lb config 5: not ours, removed from quic_lb_servers",
    ]
    assert sorted(apply("vips", [quic(NUMBERS, OWN)], check=True).drift) == sorted(told)
    assert sorted(apply("vips", [quic(NUMBERS, OWN)]).drift) == sorted(told)
    assert snapshot() == before
    # What the configuration changes is nobody else's doing.
    assert apply("vips", [quic(NUMBERS)]).drift == []


def test_a_lost_state_is_found_in_the_kernel() -> None:
    apply("vips", [quic(NUMBERS, OWN)])
    before = snapshot()
    STATE.unlink()
    put("quic_lb_vips", layout.u32(9), b"\xff" * 32)
    done = apply("vips", [quic(NUMBERS, OWN)])
    assert not [line for line in done.changes if "quic_lb config" in line]
    assert snapshot() == before


def test_it_comes_back_at_boot() -> None:
    # The settings, too, if a test before lost the state.
    load()
    apply("vips", [quic(NUMBERS, OWN)])
    before = maps()
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    run("ip", "link", "set", "lb0", "xdp", "off")
    restore_balancer(StateFile("default", BPFFS))
    assert maps() == before
    assert not apply("vips", [quic(NUMBERS, OWN)]).changed


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            quic(NUMBERS, flags=[]),
            "vips[0].quic_lb: it says how a VIP with flag quic reads connection ids, and this one has not that flag",
        ),
        (quic(NUMBERS, protocol="tcp"), "vips[0].quic_lb: a VIP of tcp has no connection ids of QUIC"),
    ],
)
def test_what_has_no_such_ids_is_told(entry: Entry, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply("vips", [entry])
    assert sentence in str(caught.value)
