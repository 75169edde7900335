# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes from a balancer that is a real itself, and what goes wrong on the balancer: that proves nothing of a real."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Target
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Way
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_sysctls import probe_sysctls
from ansible_collections.katran.fleet.tests.engine.host import apply, real, vip
from ansible_collections.katran.fleet.tests.engine.probing import WAY, asked, attach, balancer_and_real, found, target
from ansible_collections.katran.fleet.tests.engine.sandbox import ensure_balancer, run
from ansible_collections.katran.fleet.tests.engine.services import BALANCER, DNS, HTTP, REALS, UDP, VIPS

ACTIVE = ("active", "")
STRANGERS = {VIPS[0]: "203.0.113.0/24", VIPS[1]: "2001:db8:ffff::/48"}
EVERYBODY = {VIPS[0]: "0.0.0.0/0", VIPS[1]: "::/0"}
OWN = frozenset((*BALANCER, *VIPS))
"""Of a balancer that is a real: its VIPs are its own addresses."""


@pytest.fixture(autouse=True, scope="module")
def host() -> Iterator[None]:
    with balancer_and_real():
        yield


@contextmanager
def vips_on_lo() -> Iterator[Way]:
    """As module decap leaves them; the way of such a host's probes."""
    run("ip", "addr", "add", f"{VIPS[0]}/32", "dev", "lo", "scope", "host")
    run("ip", "addr", "add", f"{VIPS[1]}/128", "dev", "lo", "nodad", "preferred_lft", "0")
    try:
        yield WAY._replace(own=OWN)
    finally:
        run("ip", "addr", "del", f"{VIPS[0]}/32", "dev", "lo")
        run("ip", "addr", "del", f"{VIPS[1]}/128", "dev", "lo")


@contextmanager
def sysctls(**values: str) -> Iterator[None]:
    """These while it lasts."""
    before = {name: run("sysctl", "-n", name).strip() for name in values}
    run("sysctl", "-w", *(f"{name}={value}" for name, value in values.items()))
    try:
        yield
    finally:
        run("sysctl", "-w", *(f"{name}={value}" for name, value in before.items()))


@pytest.mark.parametrize("anywhere", ["0", "1", "2"])
def test_other_reals_are_asked_though_the_vip_is_here_too(anywhere: str) -> None:
    """Whatever rp_filter the host has on all interfaces."""
    every = {"net/ipv4/conf/all/rp_filter": anywhere, **probe_sysctls("out")}
    with vips_on_lo() as way, sysctls(**every):
        kinds = [(HTTP, "tcp"), (HTTP, "http"), (UDP, "udp"), (DNS, "dns")]
        answers = asked(*(target(port, kind, vip) for port, kind in kinds for vip in VIPS), way=way)
        assert {answer[:2] for answer in answers} == {ACTIVE}
        for vip in VIPS:
            reply = asked(target(HTTP, vip=vip, path="/500"), way=way)[0]
            assert reply[:2] == ("down", "status 500")


def test_lists_of_clients_that_leave_the_balancer_and_its_gateway_out_change_no_verdict() -> None:
    """A probe goes out to the real, which answers to the balancer's own address: neither meets a VIP."""
    ensure_balancer("attached", interfaces=["out"], features=["source_filter"], encapsulation="ipip")
    reals = dict(zip(VIPS, REALS, strict=True))
    apply("vips", [vip(each, real(reals[each]), port=HTTP, allow=[STRANGERS[each]]) for each in VIPS])
    try:
        answers = asked(*(target(HTTP, kind, each) for kind in ("tcp", "http") for each in VIPS))
        assert {answer[:2] for answer in answers} == {ACTIVE}
        apply("vips", [vip(each, real(reals[each]), port=HTTP, deny=[EVERYBODY[each]]) for each in VIPS])
        answers = asked(*(target(HTTP, kind, each) for kind in ("tcp", "http") for each in VIPS))
        assert {answer[:2] for answer in answers} == {ACTIVE}
    finally:
        run("ip", "link", "set", "out", "xdp", "off")


def test_without_the_sysctls_ipv4_hears_nothing() -> None:
    with vips_on_lo() as way:
        answers = asked(*(target(HTTP, "tcp", vip) for vip in VIPS), way=way)
        assert [answer[:2] for answer in answers] == [("down", "timeout: no connection"), ACTIVE]


@pytest.mark.parametrize("vip", VIPS)
def test_the_balancer_itself_is_asked_on_lo(vip: str) -> None:
    own = BALANCER[VIPS.index(vip)]
    with vips_on_lo() as way:
        # Neither program healthcheck nor a mark is needed for that.
        bare = way._replace(attached=False, marks={})
        here = target(HTTP, "tcp", vip, real=own)
        assert asked(here, way=bare)[0][:2] == ("down", "connection refused")
        with socket.create_server((vip, HTTP), family=socket.AF_INET6 if ":" in vip else socket.AF_INET):
            assert asked(here, way=bare)[0][:2] == ACTIVE


@pytest.mark.parametrize("vip", VIPS)
def test_the_balancer_itself_without_the_vip_is_down_and_nobody_else_is_asked(vip: str) -> None:
    """The same VIP would be active elsewhere in the network."""
    own = BALANCER[VIPS.index(vip)]
    answer = asked(target(HTTP, "tcp", vip, real=own), way=WAY._replace(own=frozenset(BALANCER)))[0]
    assert answer.state == "down"
    assert answer.reason in ("timeout: no connection", "network unreachable")


def every_kind() -> list[Target]:
    kinds = [(HTTP, "tcp"), (HTTP, "http"), (HTTP, "tls"), (HTTP, "https"), (UDP, "udp"), (DNS, "dns")]
    return [target(port, kind, vip) for port, kind in kinds for vip in VIPS]


def nothing_proven(way: Way = WAY) -> set[str]:
    """The reasons of probes of all types, none of which says anything of its real."""
    answers = asked(*every_kind(), way=way)
    assert {answer.state for answer in answers} == {""}
    return {answer.reason for answer in answers}


def test_without_the_program_nothing_is_asked() -> None:
    assert nothing_proven(WAY._replace(attached=False)) == {"not asked: program healthcheck is not attached"}


def test_without_a_mark_nothing_is_asked() -> None:
    assert nothing_proven(WAY._replace(marks={})) == {"not asked: program healthcheck does not know the real yet"}


def test_without_the_interface() -> None:
    assert nothing_proven(WAY._replace(device="gone")) == {"not asked: No such device"}


def test_without_a_route() -> None:
    """IPv6 alone: of a socket bound to an interface, IPv4 takes everybody without a route for a neighbour."""
    ipv6 = [each for each in every_kind() if each.address == VIPS[1]]
    run("ip", "route", "del", "default", "via", "fd00:7::fe")
    try:
        assert {answer[:2] for answer in asked(*ipv6)} == {("", "not asked: Network is unreachable")}
        for kind in ("unreachable", "prohibit", "blackhole"):
            run("ip", "route", "add", kind, VIPS[1])
            assert {answer.state for answer in asked(*ipv6)} == {""}
            run("ip", "route", "del", kind, VIPS[1])
    finally:
        run("ip", "route", "add", "default", "via", "fd00:7::fe", "dev", "out")
    assert found(HTTP, "tcp", vip=VIPS[1]) == ACTIVE


def test_where_the_hosts_own_filter_forbids_it() -> None:
    """UDP alone is told so; TCP repeats what its own host dropped, as if the network had."""
    run("nft", "add table inet own; add chain inet own c { type filter hook output priority 0; }")
    run("nft", f"add rule inet own c ip daddr {VIPS[0]} drop; add rule inet own c ip6 daddr {VIPS[1]} drop")
    try:
        datagrams = [each for each in every_kind() if each.probe.type in ("udp", "dns")]
        answers = asked(*datagrams)
        assert {answer[:2] for answer in answers} == {("", "not asked: Operation not permitted")}
    finally:
        run("nft", "delete table inet own")


def test_without_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    everything = [target(HTTP, "tcp", timeout=0.5 + number / 1000) for number in range(40)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 6, hard))
    try:
        answers = asked(*everything)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {answer.state for answer in answers} <= {"", "active"}
    assert ("", "not asked: Too many open files") in {answer[:2] for answer in answers}


def test_tunnels_of_gue() -> None:
    attach(encapsulation="gue")
    try:
        answers = asked(*(target(port, kind, vip) for port, kind in ((HTTP, "http"), (UDP, "udp")) for vip in VIPS))
        assert {answer[:2] for answer in answers} == {ACTIVE}
    finally:
        attach()
