# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulation says is what the loaded program then does, and nothing of the balancer's has changed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows import open_flow_tables
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.simulate import simulate
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY_OF_MAPS,
    HASH_OF_MAPS,
    PROG_ARRAY,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import (
    build_frame,
    parse_flows,
    read_tunnel,
)
from ansible_collections.katran.fleet.plugins.module_utils._program.swap import BYTECODE_FILE
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    GATEWAY,
    compiled_once,
    ensure_balancer,
    request,
    sandbox,
)

MAPS = f"{BPFFS}/katran/default/maps"
FEATURES = [
    "source_routing",
    "tcp_server_id",
    "udp_stable_routing",
    "udp_flow_migration",
    "cidr_vips",
    "global_lru",
    "local_delivery",
    "inline_decap",
]
REALS = [{"address": f"10.0.0.{number}"} for number in (1, 2, 3)]
VIPS: list[dict[str, Any]] = [
    {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": REALS},
    {"address": "198.51.100.1", "port": 0, "protocol": "tcp", "reals": REALS, "flags": ["source_routing"]},
    {"address": "198.51.100.2", "port": 443, "protocol": "udp", "reals": REALS, "flags": ["quic"]},
    {"address": "198.51.100.3", "port": 443, "protocol": "udp", "reals": REALS, "flags": ["udp_stable_routing"]},
    {"address": "198.51.100.4", "port": 80, "protocol": "tcp", "reals": []},
    {
        "address": "198.51.100.5",
        "port": 80,
        "protocol": "udp",
        "reals": [{"address": "10.0.0.1", "state": "down"}, {"address": "10.0.0.2"}],
        "flags": ["udp_flow_migration"],
    },
    {"address": "198.51.101.0/24", "port": 0, "protocol": "tcp", "reals": REALS, "flags": ["global_lru"]},
    {
        "address": "2001:db8::1",
        "port": 80,
        "protocol": "tcp",
        "reals": [{"address": "fc00::1"}, {"address": "fc00::2"}],
    },
    {
        "address": "198.51.100.6",
        "port": 80,
        "protocol": "tcp",
        "reals": [{"address": "10.0.0.9", "local": True}],
        "flags": ["local"],
    },
    {"address": "198.51.100.7", "port": 0, "protocol": "udp", "reals": REALS, "flags": ["hash_no_src_port", "no_lru"]},
    {"address": "198.51.100.8", "port": 0, "protocol": "tcp", "reals": REALS, "flags": ["hash_dst_port_only"]},
    {"address": "198.51.100.9", "port": 53, "protocol": "udp", "reals": [{"address": "fc00::9"}]},
]


both = pytest.mark.parametrize("host", ["ipip", "gue"], indirect=True)


@pytest.fixture(autouse=True)
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    encapsulation = getattr(request, "param", "ipip")
    with sandbox(), compiled_once():
        ensure_balancer(features=FEATURES, encapsulation=encapsulation)
        yield encapsulation


@pytest.fixture(autouse=True)
def provisioned(host: str) -> None:
    del host
    apply_resource("vips", request(), Asked(VIPS, "overridden"))
    apply_resource("source_routes", request(), Asked([{"prefix": "203.0.113.0/24", "real": "10.0.0.2"}], "overridden"))
    apply_resource("server_ids", request(), Asked([{"id": 1025, "real": "10.0.0.3"}], "overridden"))


def flow(destination: str, port: int = 80, protocol: str = "tcp", **options: Any) -> dict[str, Any]:
    return {
        "source": "2001:db8:7::1" if ":" in destination else "192.0.2.7",
        "destination": destination,
        "source_port": 31337,
        "destination_port": port,
        "protocol": protocol,
        "server_id": None,
        **options,
    }


def ask(*flows: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers, once it is sure that asking changed nothing."""
    before = everything()
    answers = simulate(request(), flows)
    assert everything() == before
    return answers


def why(*flows: dict[str, Any]) -> list[str]:
    return [answer["reason"] for answer in ask(*flows)]


def everything() -> dict[Any, dict[bytes, bytes]]:
    """Every entry of every map of the balancer."""
    found: dict[Any, dict[bytes, bytes]] = {}
    with KernelMaps(MAPS) as live, ExitStack() as stack:
        for name in live.names():
            opened = live.map(name)
            if opened.info.type not in (PROG_ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS):
                found[name] = dict(opened.items())
        for table in open_flow_tables(live, stack):
            found[table.name, table.cpu] = dict(table.map.items())
    return found


def send(*flows: dict[str, Any]) -> list[bpf.TestRun]:
    """Run the flows' packets through the loaded program itself."""
    fd = bpf.open_pin(f"{BPFFS}/katran/default/balancer")
    try:
        return [bpf.test_run(fd, build_frame(each, frozenset())) for each in parse_flows(flows)]
    finally:
        os.close(fd)


def put(name: str, destination: str, port: int, protocol: int, value: bytes) -> None:
    """Make the flow from our client known to every table of that name."""
    source = flow(destination)["source"]
    key = layout.flow_key(layout.pack_address(source), layout.pack_address(destination), 31337, port, protocol)
    with KernelMaps(MAPS) as live, ExitStack() as stack:
        for table in open_flow_tables(live, stack):
            if table.name == name:
                table.map.update(key, value)


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_reasons() -> None:
    assert why(
        flow("198.51.100.99"),
        flow("198.51.100.1", 80, "udp"),
        flow("198.51.100.1"),
        flow("198.51.100.1", 81, source="203.0.113.7"),
        flow("198.51.100.2", 443, "udp", server_id=1025),
        flow("198.51.100.2", 443, "udp", server_id=77),
        flow("198.51.100.3", 443, "udp", server_id=1025),
        flow("198.51.100.1", server_id=1025),
        flow("198.51.100.4"),
    ) == ["no_vip", "no_vip", "ring", "source_route", "server_id", "ring", "server_id", "server_id", "no_real"]


@both
def test_an_answer(host: str) -> None:
    answer = ask(flow("198.51.100.1"))[0]
    tunnel = answer.pop("encapsulation")
    assert (tunnel["type"], tunnel["destination"], tunnel["gateway_mac"]) == (host, answer["real"], GATEWAY)
    if host == "ipip":
        assert tunnel["source"] == "172.16.107.125"
    else:
        assert (tunnel["source"], tunnel["destination_port"]) == ("192.0.2.250", 6080)
    slot = answer["detail"].split()[1]
    asked = flow("198.51.100.1")
    del asked["server_id"]
    assert answer == {
        **asked,
        "action": "sent",
        "vip": "198.51.100.1:80/tcp",
        "real": answer["real"],
        "real_id": answer["real_id"],
        "reason": "ring",
        "detail": f"slot {slot} of the ring leads to real {answer['real']}",
        "local": False,
        "entries": [],
    }


def real_id(address: str) -> int:
    packed = layout.pack_address(address)
    with KernelMaps(MAPS) as live:
        return next(layout.parse_u32(key) for key, value in live.entries("reals").items() if value[:16] == packed)


def test_what_is_dropped_or_stays() -> None:
    put("lru_mapping", "2001:db8::1", 80, 6, layout.real_pos_lru(real_id("10.0.0.3"), 0))
    empty, carried, local = ask(flow("198.51.100.4"), flow("2001:db8::1"), flow("198.51.100.6"))
    assert (empty["action"], empty["vip"], empty["real"]) == ("dropped", "198.51.100.4:80/tcp", None)
    assert (carried["action"], carried["real"]) == ("dropped", "10.0.0.3")
    assert carried["detail"].endswith("cannot be carried: there is no IPv6 in IPv4")
    assert (local["action"], local["local"], local["real"]) == ("passed", True, "10.0.0.9")
    assert all(not each["encapsulation"] for each in (empty, carried, local))


def test_slots_are_those_of_the_ring() -> None:
    with KernelMaps(MAPS) as live:
        for answer in ask(*(flow("198.51.100.1", source_port=port) for port in range(1, 40))):
            slot = int(answer["detail"].split()[1])
            assert live.ring(0).cast("Q")[slot] == answer["real_id"]


def test_the_live_programs_flows_are_known() -> None:
    asked = [flow("198.51.100.1"), flow("198.51.101.9", 8080), flow("2001:db8::1"), flow("198.51.100.9", 53, "udp")]
    first = ask(*asked)
    send(*asked)
    again = ask(*asked)
    assert [each["reason"] for each in first] == ["ring"] * 4
    assert [each["reason"] for each in again] == ["connection_table"] * 4
    assert [each["real"] for each in first] == [each["real"] for each in again]
    assert [len(each["entries"]) for each in again] == [1] * 4
    assert again[0]["detail"].startswith("the connection table of CPU ")


def test_a_pinned_flow_stays_where_it_is_whatever_the_ring_says() -> None:
    asked = flow("198.51.100.1")
    was = ask(asked)[0]["real"]
    send(asked)
    rest = [each for each in REALS if each["address"] != was]
    vip = {**VIPS[0], "reals": [*rest, {"address": was, "state": "draining"}]}
    apply_resource("vips", request(), Asked([vip], "replaced"))
    assert (ask(asked)[0]["real"], why(asked)) == (was, ["connection_table"])
    assert ask(flow("198.51.100.1", source_port=31338))[0]["real"] != was


def test_entries_that_do_not_count_any_more() -> None:
    put("lru_mapping", "198.51.100.2", 443, 17, layout.real_pos_lru(2, now() - 45 * 10**9))
    put("lru_mapping", "198.51.100.1", 80, 6, layout.real_pos_lru(60, 0))
    old, gone = ask(flow("198.51.100.2", 443, "udp"), flow("198.51.100.1"))
    for each in (old, gone):
        assert each["reason"] == "ring"
        assert each["detail"].endswith("; its entry in the connection table is too old, or its real is gone")
    assert old["entries"][0]["idle"] == pytest.approx(45, abs=5)
    assert gone["entries"][0]["real"] is None


def test_a_flow_is_moved_off_a_real_that_is_down() -> None:
    with KernelMaps(MAPS) as live:
        down = next(layout.parse_u32(key) for key, value in live.entries("reals").items() if value[:4] == b"\n\0\0\1")
    put("lru_mapping", "198.51.100.5", 80, 17, layout.real_pos_lru(down, now()))
    answer = ask(flow("198.51.100.5", 80, "udp"))[0]
    assert (answer["real"], answer["reason"]) == ("10.0.0.2", "ring")
    assert answer["detail"].endswith("; the real it had is down")


def test_the_global_table() -> None:
    put("global_lru_maps", "198.51.101.9", 0, 6, layout.u32(2))
    answer = ask(flow("198.51.101.9", 8080))[0]
    assert (answer["reason"], answer["real_id"]) == ("global_table", 2)


def test_cpus_that_differ_are_told_and_the_newest_counts() -> None:
    key = layout.flow_key(layout.pack_address("192.0.2.7"), layout.pack_address("198.51.100.2"), 31337, 443, 17)
    with KernelMaps(MAPS) as live, ExitStack() as stack:
        tables = [each for each in open_flow_tables(live, stack) if each.name == "lru_mapping"]
        assert len(tables) >= 2, "this takes two CPUs"
        tables[0].map.update(key, layout.real_pos_lru(1, now() - 10**9))
        tables[1].map.update(key, layout.real_pos_lru(2, now()))
    answer = ask(flow("198.51.100.2", 443, "udp"))[0]
    assert answer["real_id"] == 2
    assert "(which differ; the newest entry counts)" in answer["detail"]
    assert len(answer["entries"]) == 2


def test_server_ids_that_lead_nowhere() -> None:
    with KernelMaps(MAPS) as live:
        live.map("server_id_map").update(layout.u32(2000), layout.u32(1 << 20))
    unknown, missing, plain, other = ask(
        flow("198.51.100.2", 443, "udp", server_id=77),
        flow("198.51.100.2", 443, "udp", server_id=2000),
        flow("198.51.100.9", 53, "udp", server_id=1025),
        flow("2001:db8::1", server_id=1025),
    )
    assert unknown["detail"].endswith("; server id 77 leads to no real")
    assert (missing["action"], missing["reason"]) == ("dropped", "no_real")
    assert missing["vip"] == "198.51.100.2:443/udp"
    assert plain["detail"].endswith("; server ids do not route packets to this VIP")
    assert (other["action"], other["reason"]) == ("sent", "ring")
    assert other["real"] in ("fc00::1", "fc00::2")
    fault = "; server id 1025 is that of 10.0.0.3, to which this packet cannot be carried: there is no IPv6 in IPv4"
    assert other["detail"].endswith(fault)


@both
@pytest.mark.usefixtures("host")
def test_the_loaded_program_does_what_the_simulation_said() -> None:
    """Whatever is known already: a few hundred flows, of which some come again."""
    choose = random.Random(7)
    flows = []
    for _number in range(300):
        vip = choose.choice(VIPS)
        address = vip["address"].replace("0/24", str(choose.randrange(1, 9)))
        port = vip["port"] or choose.choice([80, 81, 443])
        source = f"2001:db8:7::{choose.randrange(1, 9)}" if ":" in address else f"203.0.{choose.choice([113, 114])}.7"
        flows.append(flow(address, port, vip["protocol"], source=source, source_port=choose.randrange(1, 20)))
    told = {"sent": 3, "passed": 2, "dropped": 1}
    for start in range(0, len(flows), 50):
        part = list({str(each): each for each in flows[start : start + 50]}.values())
        answers = ask(*part)
        for answer, result in zip(answers, send(*part), strict=True):
            assert told[answer["action"]] == result.value, answer
            if answer["action"] == "sent":
                seen = read_tunnel(result.data)
                assert seen == answer["encapsulation"], answer
                assert seen["destination"] == answer["real"]


def test_what_stands_in_the_way_is_told() -> None:
    path = f"{STATE_ROOT}/default/{BYTECODE_FILE}"
    with open(path, encoding="utf-8") as kept:
        text = kept.read()
    os.unlink(path)
    with pytest.raises(ProgramError, match=r"^the bytecode of balancer default was lost: run module katran"):
        simulate(request(), [flow("198.51.100.1")])
    with open(path, "w", encoding="utf-8") as kept:
        kept.write(text)
    ensure_balancer(features=[])
    with open(path, "w", encoding="utf-8") as kept:
        kept.write(text)
    sentence = r"uses maps that this balancer does not have|is not that of the loaded program"
    with pytest.raises(ProgramError, match=sentence):
        simulate(request(), [flow("198.51.100.1")])
    Balancer("default", BPFFS).remove(False, 5)
    with pytest.raises(EngineError, match=r"^balancer default is not loaded on this host"):
        simulate(request(), [flow("198.51.100.1")])
