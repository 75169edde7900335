# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer learns from its host's network: the gateway's MAC, own addresses, the CPUs that receive."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import refresh_gateway
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf, cpus, network
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import (
    forwarding_cpus,
    numa_node,
    numa_nodes,
    online_cpus,
)
from ansible_collections.katran.fleet.plugins.module_utils._kernel.network import gateway_mac
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import NetworkError, ProgramError
from ansible_collections.katran.fleet.tests.engine.life import LINK, MAPS, PEER, apply, ensure, tables, vips
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox

FIRST, SECOND = "02:00:00:00:00:f1", "02:00:00:00:00:f2"
ROUTER = "router"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """The interface's other end is a router's, in a namespace of its own."""
    with sandbox(LINK, "lb1"), compiled_once():
        # Named namespaces are in /run, which is the sandbox's own.
        run("ip", "netns", "add", ROUTER)
        run("ip", "link", "set", PEER, "netns", ROUTER)
        run("ip", "link", "set", LINK, "addrgenmode", "eui64")
        router("link", "set", PEER, "address", FIRST, "up")
        for command in ("ip -n router addr add 192.0.2.1/24", "ip -n router addr add fd00:1::1/64 nodad"):
            run(*command.split(), "dev", PEER)
        run("ip", "addr", "add", "192.0.2.7/24", "dev", LINK)
        run("ip", "addr", "add", "fd00:1::7/64", "nodad", "dev", LINK)
        yield


def router(*words: str) -> None:
    run("ip", "-n", ROUTER, *words)


def mac() -> str:
    """The MAC that packets are sent to."""
    with bpf.open_map(f"{MAPS}/ctl_array") as control:
        return layout.parse_mac(control.lookup(layout.u32(layout.CTL_GATEWAY_MAC)) or b"")


def sources() -> list[str]:
    """The outer IPv4 and IPv6 source."""
    with bpf.open_map(f"{MAPS}/pckt_srcs") as found:
        values = [found.lookup(layout.u32(index)) or b"" for index in range(2)]
    return [layout.unpack_address(values[0], False), layout.unpack_address(values[1], True)]


def refresh() -> list[str]:
    return refresh_gateway(StateFile("default", BPFFS))


@pytest.mark.parametrize(
    "route", ["default via 192.0.2.1", "default via fd00:1::1", "-4 default via inet6 fd00:1::1 dev lb0"]
)
def test_the_gateway_is_resolved(route: str) -> None:
    words = route.split()
    run("ip", *([words.pop(0)] if words[0] == "-4" else []), "route", "add", *words)
    done = ensure(gateway_mac="auto")
    assert f"gateway MAC {FIRST}" in done.changes
    assert mac() == FIRST
    assert not ensure(gateway_mac="auto").changed


def test_ipv4_comes_first_and_a_silent_gateway_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_RESOLVE_SECONDS", 0.3)
    run("ip", "route", "add", "default", "via", "192.0.2.99")
    hops = [word for last in ("99", "1") for word in ("nexthop", "via", f"fd00:1::{last}", "dev", LINK)]
    run("ip", "-6", "route", "add", "default", *hops)
    assert gateway_mac([LINK]) == FIRST
    run("ip", "neigh", "replace", "192.0.2.99", "lladdr", SECOND, "dev", LINK)
    assert gateway_mac([LINK]) == SECOND


def test_a_gateway_behind_another_interface_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_RESOLVE_SECONDS", 0.3)
    with pytest.raises(
        NetworkError,
        match=r"^gateway_mac auto: no IPv4 default route, no IPv6 default route; give the MAC as gateway_mac$",
    ):
        ensure(gateway_mac="auto")
    run("ip", "route", "add", "default", "via", "192.0.2.99")
    with pytest.raises(
        NetworkError, match=r"^gateway_mac auto: the IPv4 gateway 192\.0\.2\.99 does not answer, no IPv6"
    ):
        ensure(gateway_mac="auto")
    with pytest.raises(
        NetworkError, match=r"^gateway_mac auto: no IPv4 default route over lb1, no IPv6 default route;"
    ):
        ensure(gateway_mac="auto", interfaces=["lb1"])
    assert not os.path.exists(MAPS)


def test_the_interface_may_belong_to_a_bridge() -> None:
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "set", "br0", "up")
    run("ip", "addr", "flush", "dev", LINK)
    run("ip", "link", "set", LINK, "master", "br0")
    run("ip", "addr", "add", "192.0.2.8/24", "dev", "br0")
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    ensure(gateway_mac="auto", encapsulation="gue", source_ipv4="auto")
    assert mac() == FIRST
    assert sources()[0] == "192.0.2.8"


def test_the_refresh_follows_the_gateway() -> None:
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    for name, value in (("delay_first_probe_time", "1"), ("retrans_time_ms", "50")):
        Path(f"/proc/sys/net/ipv4/neigh/{LINK}/{name}").write_text(value, encoding="ascii")
    ensure(gateway_mac="auto")
    assert refresh() == []
    router("link", "set", PEER, "address", SECOND)
    # The kernel has not noticed: it would believe the old one until it has reason to ask.
    run("ip", "neigh", "replace", "192.0.2.1", "lladdr", FIRST, "nud", "stale", "dev", LINK)
    started = time.monotonic()
    assert refresh() == [f"gateway MAC {FIRST} → {SECOND}"]
    assert time.monotonic() - started < 10
    assert mac() == SECOND
    assert refresh() == []
    assert not ensure(gateway_mac="auto").changed


def test_the_refresh_leaves_a_given_mac_alone() -> None:
    assert refresh() == []
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    ensure()
    assert refresh() == []
    assert mac() != FIRST


def test_a_gateway_that_is_silent_does_not_change_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    ensure(gateway_mac="auto")
    router("link", "set", PEER, "down")
    run("ip", "neigh", "flush", "dev", LINK)
    monkeypatch.setattr(network, "_RESOLVE_SECONDS", 0.3)
    monkeypatch.setattr(network, "_CONFIRM_SECONDS", 0.3)
    with pytest.raises(NetworkError):
        refresh()
    with pytest.raises(NetworkError):
        ensure(gateway_mac="auto")
    assert mac() == FIRST


def test_own_addresses() -> None:
    done = ensure(encapsulation="gue", source_ipv4="auto", source_ipv6="auto")
    assert sources() == ["192.0.2.7", "fd00:1::7"]
    assert "IPv4 source 192.0.2.7" in done.changes
    run("ip", "addr", "add", "198.51.100.9/24", "dev", LINK)
    run("ip", "addr", "del", "192.0.2.7/24", "dev", LINK)
    assert ensure(encapsulation="gue", source_ipv4="auto", source_ipv6="auto").changes == [
        "IPv4 source 192.0.2.7 → 198.51.100.9"
    ]
    run("ip", "-6", "addr", "flush", "dev", LINK, "scope", "global")
    assert ensure(encapsulation="gue", source_ipv4="auto", source_ipv6="auto").changes == [
        "IPv6 source fd00:1::7 → none"
    ]
    given = ensure(encapsulation="gue", source_ipv4="192.0.2.77", source_ipv6="fd00:1::77")
    assert given.operations == {"pckt_srcs": 2}


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network card with interrupts, of which this machine has none: below a folder that stands for / ."""
    listed, opened, exists = cpus.glob.glob, open, os.path.exists

    def moved(path: str) -> str:
        return str(tmp_path) + path if path.startswith(("/sys/class/net", "/proc/irq")) else path

    monkeypatch.setattr(cpus.glob, "glob", lambda path: listed(moved(path)))
    monkeypatch.setattr(cpus, "open", lambda path, **options: opened(moved(path), **options), raising=False)
    monkeypatch.setattr(cpus.os.path, "exists", lambda path: exists(moved(path)))
    monkeypatch.setattr(cpus.os.path, "realpath", moved)
    for number, listing in ((31, "2"), (32, "4-5"), (33, "0")):
        folder = tmp_path / f"proc/irq/{number}"
        folder.mkdir(parents=True)
        (folder / "effective_affinity_list").write_text(f"{listing}\n", encoding="ascii")
    return tmp_path / "sys/class/net"


def test_cpus_that_receive(card: Path) -> None:
    for number in (31, 32):
        (card / f"eth0/device/msi_irqs/{number}").mkdir(parents=True)
    assert forwarding_cpus(["eth0"]) == [2, 4, 5]
    # A virtio device's interrupts are the PCI device's that it is behind.
    (card / "eth1/device").mkdir(parents=True)
    (card / "eth1/msi_irqs/33").mkdir(parents=True)
    assert forwarding_cpus(["eth0", "eth1"]) == [0, 2, 4, 5]
    # One without interrupts receives on whichever CPU.
    assert forwarding_cpus(["eth0", LINK]) == online_cpus()


def test_every_cpu_that_receives_has_a_table() -> None:
    ensure()
    assert sorted(tables()) == online_cpus()
    assert numa_node(0) in numa_nodes()


def test_gue_takes_an_address_to_send_from() -> None:
    options = {"encapsulation": "gue", "source_ipv4": "auto", "source_ipv6": "auto"}
    run("ip", "address", "flush", "dev", LINK)
    sentence = f"source_ipv4 and source_ipv6 auto: {LINK} has no global address to send GUE from; give one of them"
    for check in (True, False):
        with pytest.raises(ProgramError, match=f"^{sentence}$"):
            ensure(check=check, **options)
    ensure(encapsulation="gue", source_ipv4="192.0.2.77", source_ipv6="auto")
    done = apply([vips(), vips("fc00::1", address="2001:db8::1")])
    assert done.warnings == ["real fc00::1 needs an IPv6 source of GUE, and the balancer has none (source_ipv6)"]
