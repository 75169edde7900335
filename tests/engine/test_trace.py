# SPDX-License-Identifier: GPL-3.0-or-later
"""katran trace: where a flow goes, what the tables do not know of a VIP, and who encapsulated a flow."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ansible_collections.katran.fleet.plugins.module_utils._engine.capture import chosen_vip
from ansible_collections.katran.fleet.plugins.module_utils._engine.flow_debug import debug_key, every_hop, hops_of
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows_info import find_flows
from ansible_collections.katran.fleet.plugins.module_utils._engine.misses import clear, trace_misses
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.engine import life
from ansible_collections.katran.fleet.tests.engine.katran import COMMAND, install, katran
from ansible_collections.katran.fleet.tests.engine.life import CLIENT, LINK, MAPS, PINS, REALS, VIP, send, vips
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, request, sandbox

LOADED: dict[str, Any] = {"features": ["inline_decap", "flow_debug"], "encapsulation": "gue"}
ROOMIER = {**LOADED, "sizes": {"reals": 128}}


@pytest.fixture(autouse=True, scope="module")
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        life.ensure(**LOADED)
        life.apply([vips()])
        install()
        yield


def traced() -> bytes:
    with bpf.open_map(f"{MAPS}/vip_miss_stats") as opened:
        return opened.lookup(layout.u32(0)) or b""


def test_where_a_flow_goes() -> None:
    done = katran("trace", f"{CLIENT}:31337", f"{VIP}:80/udp")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["VIP"] == f"{VIP}:80/udp"
    assert lines["real"] in REALS
    assert lines["why"].startswith("slot ")
    assert lines["tunnel"].startswith(f"gue, 192.0.2.250 > {lines['real']}, UDP ")
    answer = json.loads(katran("trace", f"{CLIENT}:31337", f"{VIP}:80/udp", "--json").stdout)
    assert answer["real"] == lines["real"]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ((CLIENT, f"{VIP}:81/udp"), 1, "no VIP has this destination"),
        ((CLIENT,), 2, "a client and a destination, or --misses VIP"),
        ((CLIENT, VIP), 2, "is no destination"),
        (("203.0.113.0/24", f"{VIP}:80"), 2, "a flow has one client"),
        (("--misses", "198.51.100.77"), 2, "has no VIP"),
        (("2001:db8::7", "198.51.100.1:80"), 2, "2001:db8::7 and 198.51.100.1 are not of one family"),
    ],
)
def test_what_leads_nowhere(words: tuple[str, ...], status: int, sentence: str) -> None:
    done = katran("trace", *words)
    assert done.returncode == status
    assert sentence in done.stdout + done.stderr
    assert "flows[0]" not in done.stderr


def test_misses_of_a_vip() -> None:
    def traffic() -> None:
        while not any(traced()):
            time.sleep(0.01)
        for _again in range(2):
            send({45000 + number: number for number in range(40)})

    beside = threading.Thread(target=traffic)
    beside.start()
    told = trace_misses(request(), VIP, 0.5)
    beside.join()
    assert (told.vip, told.packets, told.total) == (f"{VIP}:80/udp", 80, 40)
    assert set(told.misses) <= set(REALS)
    assert not any(traced())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda: life.apply([]), f"misses of VIP {VIP}:80/udp cannot be told: it is gone"),
        (lambda: life.ensure(**ROOMIER), "the balancer got another program, with other maps, meanwhile"),
    ],
)
def test_what_is_counted_goes_meanwhile(change: Callable[[], object], sentence: str) -> None:
    def work() -> None:
        while not any(traced()):
            time.sleep(0.01)
        change()

    beside = threading.Thread(target=work)
    beside.start()
    with pytest.raises(EngineError, match=sentence):
        trace_misses(request(), VIP, 10)
    beside.join()
    life.ensure(**LOADED)
    life.apply([vips()])
    assert not any(traced())


def test_a_vip_is_meant_in_as_few_characters_as_elsewhere() -> None:
    there = {VipKey.read(name): 0 for name in ("198.51.100.0/24:80/udp", f"{VIP}:443/tcp")}
    found = {name: str(chosen_vip(name, there, "default")) for name in ("198.51.100.7", VIP, ":443", ":80/udp")}
    whole, prefix = f"{VIP}:443/tcp", "198.51.100.0/24:80/udp"
    assert found == {"198.51.100.7": prefix, VIP: whole, ":443": whole, ":80/udp": prefix}
    with pytest.raises(EngineError, match="web is neither the name of a VIP"):
        chosen_vip("web", there, "default")


def test_a_killed_trace_goes_with_the_next() -> None:
    process = subprocess.Popen([*COMMAND, "trace", "--misses", VIP])
    while not any(traced()):
        time.sleep(0.01)
    with pytest.raises(EngineError, match=f"somebody else does a trace with balancer default .pid {process.pid}"):
        trace_misses(request(), VIP, 0.1)
    process.kill()
    process.wait()
    assert any(traced())
    with KernelMaps(MAPS) as maps:
        assert [clear(maps), clear(maps)] == [True, False]
    assert not any(traced())


def _tunnel(ip: Any, inner: Any) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / ip / UDP(sport=1, dport=6080) / inner)


def test_who_encapsulated_a_flow() -> None:
    inner = IP(src=CLIENT, dst="198.51.100.50") / UDP(sport=1000, dport=53) / Raw(b"x" * 8)
    inner6 = IPv6(src="2001:db8:7::1", dst="2001:db8:1::50") / UDP(sport=1001, dport=53) / Raw(b"x" * 8)
    program = bpf.open_program(f"{PINS}/balancer")
    try:
        for frame in (
            _tunnel(IP(src="172.16.9.9", dst="192.0.2.250"), inner),
            _tunnel(IPv6(src="100::9", dst="2001:db8:2::250"), inner6),
        ):
            assert bpf.test_run(program, frame).value == 2
    finally:
        os.close(program)
    keys = [
        layout.flow_key(layout.pack_address(one), layout.pack_address(other), port, 53, 17)
        for one, other, port in ((CLIENT, "198.51.100.50", 1000), ("2001:db8:7::1", "2001:db8:1::50", 1001))
    ]
    with KernelMaps(MAPS) as maps:
        found = hops_of(maps, [*keys, bytes(40)])
        rows = sorted(every_hop(maps), key=lambda row: str(row["client"]))
    assert {key: tuple(hops) for key, hops in found.items()} == {
        keys[0]: ("172.16.9.9", "192.0.2.250"),
        keys[1]: ("100::9", "2001:db8:2::250"),
    }
    assert rows[-1] == {
        "client": CLIENT,
        "client_port": 1000,
        "vip": "198.51.100.50",
        "port": 53,
        "protocol": "udp",
        "encapsulated_by": "172.16.9.9",
        "arrived_at": "192.0.2.250",
    }


def test_flows_say_who_encapsulated_them() -> None:
    """Of two flows of a VIP, one came by a tunnel whose end we are."""
    send({46000: 1, 46001: 2})
    key = layout.flow_key(layout.pack_address(CLIENT), layout.pack_address(VIP), 46000, 80, 17)
    hops = layout.pack_address("172.16.5.5") + layout.pack_address("192.0.2.250")
    with bpf.open_map(f"{MAPS}/flow_debug_maps") as outer:
        number = next(value for _cpu, value in outer.items())
    with bpf.map_by_id(layout.parse_u32(number)) as table:
        table.update(debug_key(key), hops)
    params = {"vip": VIP, "real": None, "client": None, "limit": 1000}
    flows = find_flows(request(), params).flows
    told = {flow["client_port"]: flow["encapsulated_by"] for flow in flows}
    assert (told[46000], told[46001]) == ("172.16.5.5", None)
    done = katran_flows("--client", CLIENT, "--limit", "1000")
    assert "ENCAPSULATED BY" in done
    assert "172.16.5.5" in done


def katran_flows(*arguments: str) -> str:
    done = katran("flows", *arguments, COLUMNS="200")
    done.check_returncode()
    return done.stdout
