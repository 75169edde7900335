# SPDX-License-Identifier: GPL-3.0-or-later
"""What balancer_info tells once somebody had a hand in the maps: what the kernel has, and how the state differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    RESOURCES,
    SIZES,
    apply,
    apply_all,
    drop,
    put,
    snapshot,
    world,
)
from ansible_collections.katran.fleet.tests.engine.host import (
    module_here as module,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import GATEWAY, compiled_once, ensure_balancer, run, sandbox

TABLES = ("source_routes", "server_ids", "decap_destinations")


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


@pytest.fixture
def live() -> Iterator[dict[str, Any]]:
    """The maps as they are to be, and after the test are again."""
    apply_all(world())
    before = snapshot()
    yield before
    apply_all(world())
    assert snapshot() == before


def info(*gather: str) -> dict[str, Any]:
    outcome = module("balancer_info", {"gather": list(gather or ("vips", "rings", "counters", *TABLES))})
    assert outcome["changed"] is False
    return outcome.result


def ids() -> dict[str, int]:
    return {each["address"]: each["id"] for each in info("counters")["counters"]["reals"]}


def vip_key(address: str, port: int, protocol: str) -> bytes:
    return layout.vip_definition(layout.pack_address(address), port, layout.PROTOCOLS[protocol])


def named(found: dict[str, Any]) -> list[str]:
    return [each["address"] for each in found["vips"]]


def test_what_is_as_it_was_left(live: dict[str, Any]) -> None:
    found = info()
    assert found["differences"] == []
    assert named(found) == [each["vip"].rpartition(":")[0].strip("[]") for each in found["rings"]]
    for resource in RESOURCES:
        config = info(resource)[resource]
        outcome = module(resource, {"config": config, "state": "overridden"})
        assert (outcome["changed"], outcome["operations"]) == (False, {})
    assert snapshot() == live


def test_a_vip_that_was_deleted_and_a_real_that_was_changed(live: dict[str, Any]) -> None:
    drop("vip_map", vip_key("198.51.100.1", 80, "tcp"))
    put("reals", layout.u32(ids()["10.0.0.3"]), layout.real_definition(layout.pack_address("10.9.9.9"), 0))
    assert snapshot() != live
    found = info()
    assert found["differences"] == [
        "vip 198.51.100.1:80/tcp: missing in vip_map",
        "real 10.0.0.3: changed in reals",
    ]
    assert "198.51.100.1" not in named(found)
    routed = found["counters"]["server_ids"]
    assert {word: set(counts.values()) for word, counts in routed.items()} == {"quic": {0}, "tcp": {0}, "udp": {0}}
    # It says the same as the counters.
    assert sorted(each["vip"] for each in found["counters"]["vips"]) == sorted(each["vip"] for each in found["rings"])
    (vip,) = (each for each in found["vips"] if each["address"] == "198.51.100.2")
    assert [(each["address"], each["state"]) for each in vip["reals"]] == [
        ("10.0.0.1", "active"),
        ("10.0.0.4", "active"),
        ("10.9.9.9", "down"),
    ]
    assert info("program")["differences"] == []
    assert apply("vips", world()["vips"]).drift == [f"{line}, repaired" for line in found["differences"]]
    assert info()["differences"] == []


def test_tables_that_were_changed(live: dict[str, Any]) -> None:
    real = ids()
    put("server_id_map", layout.u32(7), layout.u32(real["10.0.0.7"]))
    put("server_id_map", layout.u32(11), layout.u32(real["10.0.0.1"]))
    put("lpm_src_v4", layout.lpm_key(layout.pack_address("10.8.0.0")[:4], 16), layout.u32(real["10.0.0.1"]))
    drop("decap_dst", layout.pack_address("198.51.100.9"))
    assert snapshot() != live
    found = info(*TABLES)
    assert found["server_ids"] == [
        {"id": 7, "real": "10.0.0.7"},
        {"id": 11, "real": "10.0.0.1"},
        {"id": 2999, "real": "10.0.0.7"},
    ]
    assert {"prefix": "10.8.0.0/16", "real": "10.0.0.1"} in found["source_routes"]
    assert [each["address"] for each in found["decap_destinations"]] == ["fc00::99"]
    assert sorted(found["differences"]) == [
        "decapsulation destination 198.51.100.9: missing in decap_dst",
        "server id 11: not ours, in server_id_map",
        "server id 7: changed in server_id_map",
        "source route 10.8.0.0/16: not ours, in lpm_src_v4",
    ]


@pytest.mark.usefixtures("live")
def test_a_program_that_does_not_run_or_sends_elsewhere() -> None:
    put("ctl_array", bytes(4), layout.mac_bytes("02:00:00:00:00:77"))
    run("ip", "link", "set", "lb0", "xdp", "off")
    assert info("program")["differences"] == [
        "interface lb0 runs no program by XDP",
        f"ctl_array: the gateway's MAC is 02:00:00:00:00:77, not {GATEWAY}",
    ]
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
    assert info("program")["differences"] == []


def test_what_was_said_by_hand_is_no_difference(live: dict[str, Any]) -> None:
    apply("reals", [{"address": "10.0.0.1", "state": "draining"}])
    assert snapshot() != live
    found = info("vips", "reals", "rings")
    assert found["differences"] == []
    assert found["reals"] == [{"address": "10.0.0.1", "state": "draining"}]
    (ring,) = (each for each in found["rings"] if each["vip"] == "198.51.100.1:80/tcp")
    assert ring["reals"] == [{"address": "10.0.0.2", "slots": SIZES["ring"]}]
    outcome = module("vips", {"config": found["vips"], "state": "overridden"})
    assert outcome["changed"] is False


def test_a_review_of_a_play_tells_a_changed_real_once(live: dict[str, Any]) -> None:
    put("reals", layout.u32(ids()["10.0.0.1"]), layout.real_definition(layout.pack_address("10.9.9.9"), 0))
    put("reals", layout.u32(ids()["10.0.0.6"]), layout.real_definition(layout.pack_address("10.9.9.8"), 0))
    put("reals", layout.u32(50), layout.real_definition(layout.pack_address("10.9.9.7"), 0))
    assert snapshot() != live
    play = ("vips", *TABLES)

    def told(check: bool) -> tuple[list[str], list[dict[str, int]]]:
        outcomes = []
        for number, name in enumerate(play):
            planned = {"features": FEATURES, "sizes": SIZES, "applied": list(play[:number])}
            arguments = {"config": world()[name], "state": "overridden", "planned": planned}
            outcomes.append(module(name, arguments, check=check))
        return [line for each in outcomes for line in each["changes"]], [each["operations"] for each in outcomes]

    foretold, done = told(True), told(False)
    assert foretold == done
    assert sorted(done[0]) == [
        "real 10.0.0.1: changed in reals, repaired",
        "real 10.0.0.6: changed in reals, repaired",
        "real with id 50: not ours, removed from reals",
    ]
    assert snapshot() == live
