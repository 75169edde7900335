# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran doctor finds on a balancer: each fault is planted in a real kernel, and told by name with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows import open_flow_tables
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.probe_packets import segment
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.tests.engine.doctored import (
    GATEWAY,
    GATEWAY6,
    LINK,
    OWN6,
    VIPS,
    attach,
    balancers_host,
    found,
    only,
    peer_mac,
)
from ansible_collections.katran.fleet.tests.engine.host import MAPS, apply, put
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    ensure_balancer,
    put_other,
    request,
    run,
)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with balancers_host():
        yield


@pytest.fixture
def balancer(host: None) -> None:
    del host
    attach()
    apply("vips", VIPS)


def test_nothing_is_wrong(balancer: None) -> None:
    del balancer
    examination = examine(request(True), False)
    assert (examination.findings, examination.status) == ((), 0)
    seen = examination.seen
    assert seen["roles"] == ["balancer"]
    assert seen["balancer"]["gateway_mac"] == peer_mac()
    json.dumps(seen)


# The program and its links


def test_a_detached_program(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    finding = only("program_detached")
    assert (finding.about, finding.error) == (LINK, True)
    assert "systemctl restart katran-restore.service" in finding.remedy


def test_a_program_that_is_not_loaded(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    subprocess.run(["rm", "-r", f"{BPFFS}/katran"], check=True)
    assert only("program_detached").about == "instance default"


def test_a_foreign_program(balancer: None) -> None:
    del balancer
    put_other(LINK)
    finding = only("foreign_program")
    assert finding.about == LINK
    assert "xdp off" in finding.remedy


def test_a_slot_of_the_root_array() -> None:
    array = f"{BPFFS}/katran/default/maps/root_array"
    Root("default", BPFFS).ensure(RootSettings((LINK,), "native", BPF), False, 5)
    ensure_balancer("attached", root_array={"path": array, "position": 1}, gateway_mac="auto")
    apply("vips", VIPS)
    assert found() == []
    run("bpftool", "map", "delete", "pinned", array, "key", "1", "0", "0", "0")
    finding = only("program_detached")
    assert finding.about == f"slot 1 of {array}"
    run("ip", "link", "set", LINK, "xdp", "off")
    assert {each.about for each in found()} == {f"slot 1 of {array}", LINK}


def test_generic_mode_that_nobody_asked_for(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    run("ip", "link", "set", LINK, "xdpgeneric", "pinned", f"{BPFFS}/katran/default/balancer")
    finding = only("generic_mode")
    assert (finding.about, finding.error) == (LINK, True)
    assert "katran_mode" in finding.remedy


def test_interfaces_that_are_down_or_gone(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", f"{LINK}-peer", "down")
    assert "no carrier" in only("interface_down").cause
    run("ip", "link", "set", LINK, "down")
    findings = found()
    # With the interface, its default route goes.
    assert {finding.name for finding in findings} == {"interface_down", "gateway_mac"}
    assert "ip link set lb up" in findings[0].remedy + findings[1].remedy
    run("ip", "link", "del", LINK)
    assert "does not exist" in next(each for each in found() if each.name == "interface_down").cause


# The way out


def test_a_gateway_that_moved(balancer: None) -> None:
    del balancer
    run("ip", "neigh", "replace", GATEWAY, "lladdr", "02:00:00:00:00:77", "dev", LINK, "nud", "permanent")
    finding = only("gateway_mac")
    assert "02:00:00:00:00:77" in finding.cause
    assert "katran-agent" in finding.remedy


def test_a_gateway_that_does_not_answer(balancer: None) -> None:
    del balancer
    run("ip", "neigh", "del", GATEWAY, "dev", LINK)
    finding = only("gateway_mac")
    assert f"{GATEWAY} does not answer" in finding.cause


def gateway_of_its_own(address: str) -> None:
    """A namespace at the other end of the link that answers for this address, with the MAC 02:00:00:00:00:77."""
    run("ip", "route", "del", "default")
    run("ip", "netns", "add", "router")
    run("ip", "link", "set", f"{LINK}-peer", "netns", "router")
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", f"{LINK}-peer", "up", "address", "02:00:00:00:00:77"),
        ("addr", "add", f"{address}/{'64' if ':' in address else '24'}", "dev", f"{LINK}-peer", "nodad"),
    ):
        run("ip", "-n", "router", *words)
    run("ip", "addr", "add", f"{OWN6}/64", "dev", LINK, "nodad")
    run("ip", "route", "add", "default", "via", address, "dev", LINK)


@pytest.mark.parametrize("address", [GATEWAY, GATEWAY6])
def test_a_gateway_that_moved_unnoticed(address: str) -> None:
    """The kernel goes on believing in a MAC that it heard of long ago."""
    gateway_of_its_own(address)
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "permanent")
    attach()
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "stale")
    finding = only("gateway_mac")
    assert "sends to 02:00:00:00:00:76, but the gateway's MAC is 02:00:00:00:00:77" in finding.cause
    run("ip", "-n", "router", "addr", "flush", "dev", f"{LINK}-peer")
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "stale")
    assert f"the gateway {address} does not answer on {LINK}" in only("gateway_mac").cause


@pytest.mark.parametrize("address", [GATEWAY, GATEWAY6])
def test_a_gateway_whose_entry_somebody_wrote(address: str) -> None:
    """The agent goes by the kernel's entry, and so by what somebody wrote there: only the gateway knows better."""
    gateway_of_its_own(address)
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "permanent")
    attach()
    finding = only("gateway_mac")
    assert "sends to 02:00:00:00:00:76, but the gateway's MAC is 02:00:00:00:00:77" in finding.cause
    assert finding.remedy.endswith(f"ip neigh del {address} dev {LINK}")
    # Where it says nothing, somebody may have had reason to write it.
    run("ip", "-n", "router", "addr", "flush", "dev", f"{LINK}-peer")
    assert found() == []


def test_a_gateway_that_somebody_wrote() -> None:
    attach(gateway_mac="02:00:00:00:00:05")
    finding = only("gateway_mac")
    assert f"set katran_gateway_mac to {peer_mac()}" in finding.remedy
    put("ctl_array", layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes("02:00:00:00:00:06"))
    assert "somebody changed the map" in only("gateway_mac").cause


def test_a_link_that_is_too_small(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "mtu", "1500")
    finding = only("mtu_balancer")
    assert (finding.about, "1520" in finding.cause) == (LINK, True)
    assert "katran_real_mss" in finding.remedy


def test_a_driver_that_drops_what_the_program_sends(balancer: None) -> None:
    del balancer
    put_other(f"{LINK}-peer")
    sender = subprocess.Popen([sys.executable, "-c", SENDER, f"{LINK}-peer", "1500"])
    try:
        time.sleep(0.3)
        # Load alone is nothing to be told.
        assert [found() for _run in range(3)] == [[], [], []]
        # The other end takes less than what comes out of the tunnel.
        run("ip", "link", "set", f"{LINK}-peer", "mtu", "1500")
        finding = only("mtu_driver")
    finally:
        sender.kill()
        sender.wait()
    assert finding.about == LINK
    assert "veth" in finding.cause
    assert "ethtool" in finding.remedy


SENDER = """
import socket, struct, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
size, number = int(sys.argv[2]), 0
while True:
    number += 1
    body = struct.pack("!HHIIBBHHH", 1024 + number % 100, 80, 1, 1, 0x50, 0x10, 512, 0, 0).ljust(size - 20, b"\\0")
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + socket.inet_aton("192.0.2.7")
    wire.send(bytes(12) + b"\\x08\\0" + head + socket.inet_aton("198.51.100.1") + body)
    time.sleep(0.0005)
"""


# What is in the maps


def test_maps_that_somebody_edited(balancer: None) -> None:
    del balancer
    with KernelMaps(MAPS) as maps:
        maps.ring(0).cast("I")[0] = 7
    finding = only("map_edited")
    assert "vip 198.51.100.1:80/tcp: 1 ring slots changed" in finding.cause
    put("reals", layout.u32(1), layout.real_definition(layout.pack_address("10.9.9.9"), 0))
    assert "real 10.0.0.1: changed in reals" in only("map_edited").cause
    assert "katran.fleet.deploy" in only("map_edited").remedy


def flows(number: int, real_id: int) -> None:
    """So many TCP flows to a real in every table of a CPU."""
    with KernelMaps(MAPS) as maps, ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            if table.name == "lru_mapping":
                target = layout.pack_address("198.51.100.1")
                keys = [
                    layout.flow_key(layout.pack_address(f"10.1.{each // 250}.{each % 250}"), target, each, 80, 6)
                    for each in range(number)
                ]
                table.map.update_many([(key, layout.real_pos_lru(real_id, 0)) for key in keys])


def test_a_full_table_of_stale_flows(balancer: None) -> None:
    del balancer
    # Of a real that no slot of the ring leads to.
    flows(300, 9)
    finding = only("stale_flows")
    assert not finding.error
    assert "katran_sync" in finding.remedy
    flows(8000, 9)
    names = {finding.name: finding for finding in found()}
    assert set(names) == {"stale_flows", "flow_table_full"}
    assert "katran_sizes" in names["flow_table_full"].remedy


def test_packets_on_cpus_without_a_table() -> None:
    attach(forwarding_cores=[max(os.sched_getaffinity(0))])
    apply("vips", VIPS)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind((f"{LINK}-peer", 0))
        with wire:
            wire.send(syn())
    finally:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    finding = only("fallback_cache")
    assert "katran_forwarding_cores" in finding.remedy


def syn() -> bytes:
    found = read_address("192.0.2.7"), read_address("198.51.100.1")
    assert found[0]
    assert found[1]
    return bytes(12) + b"\x08\x00" + segment(found[0], found[1], (31337, 80), 1)
