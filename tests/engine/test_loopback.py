# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a real: another's stay as they are, and no VIP becomes the source of the host's connections."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_real
from ansible_collections.katran.fleet.plugins.module_utils._kernel.loopback import change_loopback, host_addresses
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.tests.engine.real import (
    LINK,
    A,
    B,
    C,
    answers,
    ensure,
    on_loopback,
    real_host,
    remove,
    withdraw,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, killed_after, run

FAR4, FAR6 = "192.0.2.99", "2001:db8:ffff::99"
OWN6 = "2001:db8:255::11"
RECORD = Path(STATE_ROOT, "default", "decap.json")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        yield


def every_address() -> list[dict[str, Any]]:
    found = json.loads(run("ip", "-j", "addr", "show"))
    every = [{"dev": link["ifname"], **each} for link in found for each in link["addr_info"]]
    # Whether the kernel has made sure yet that nobody else has it is a matter of the moment.
    return [{name: value for name, value in each.items() if name != "tentative"} for each in every]


def places(address: str) -> list[tuple[str, int]]:
    """(interface, prefix length) of each place that has it, however it is written."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return sorted(
        (each["dev"], each["prefixlen"])
        for each in every_address()
        if socket.inet_pton(socket.AF_INET6 if ":" in each["local"] else socket.AF_INET, each["local"]) == packed
    )


def source_to(destination: str) -> str:
    """What the kernel takes as the source of a connection of the host's own."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((destination, 9))
        name: str = probe.getsockname()[0]
    words = run("ip", "-6" if ":" in destination else "-4", "route", "get", destination).split()
    assert words[words.index("src") + 1] == name
    return name


# Another's addresses


@pytest.mark.parametrize(
    ("vip", "dev", "length"),
    [
        (A, "lo", 24),
        (A, "lo", 32),
        (A, "lo", 31),
        (A, LINK, 24),
        (A, LINK, 32),
        (C, "lo", 64),
        (C, "lo", 128),
        (C, LINK, 64),
    ],
)
@pytest.mark.parametrize("how", ["withdraw", "exactly", "remove"])
def test_an_address_that_was_there_before_stays_and_is_not_there_twice(
    vip: str, dev: str, length: int, how: str
) -> None:
    run("ip", "addr", "add", f"{vip}/{length}", "dev", dev)
    before = every_address()
    assert ensure(vip, B, check=True).changes == ensure(vip, B).changes
    assert places(vip) == [(dev, length)]
    assert not ensure(vip, B).changed
    assert restore_real(StateFile("default", BPFFS)) == []
    {"withdraw": withdraw, "exactly": ensure, "remove": remove}[how]()
    assert every_address() == before


def test_the_hosts_own_addresses_stay() -> None:
    ensure(A)
    before = every_address()
    ensure(A, "198.18.7.1")
    remove()
    assert every_address() == [each for each in before if each["local"] != A]


def test_only_what_was_added_is_on_record() -> None:
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    ensure(A, B)
    assert json.loads(RECORD.read_text())["loopback"] == [B]


def test_what_somebody_put_there_in_place_of_ours_stays() -> None:
    ensure(A, B)
    run("ip", "addr", "del", f"{A}/32", "dev", "lo")
    run("ip", "addr", "add", f"{A}/24", "dev", "lo")
    assert not ensure(A, B).changed
    remove()
    assert places(A) == [("lo", 24)]
    assert places(B) == []


def test_what_somebody_took_away_is_no_failure() -> None:
    ensure(A, C)
    for address in (f"{A}/32", f"{C}/128"):
        run("ip", "addr", "del", address, "dev", "lo")
    # As between a reading and the change.
    change_loopback([], [A, C])
    assert withdraw().changes == [f"vip {A} removed", f"vip {C} removed"]


def test_at_boot_anothers_address_comes_back_by_itself() -> None:
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    ensure(A, B)
    for address in (A, B):
        run("ip", "addr", "del", f"{address}/32", "dev", "lo")
    assert restore_real(StateFile("default", BPFFS)) == [f"add {B} to lo"]
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    assert restore_real(StateFile("default", BPFFS)) == []
    remove()
    assert on_loopback() == {A}


def test_a_deploy_adds_what_somebody_took_away_for_good() -> None:
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    ensure(A)
    run("ip", "addr", "del", f"{A}/32", "dev", "lo")
    assert ensure(A).changes == [f"add {A} to lo"]
    remove()
    assert on_loopback() == set()


@pytest.mark.parametrize("length", [24, 32])
def test_anothers_address_stays_whatever_is_killed(length: int) -> None:
    run("ip", "addr", "add", f"{A}/{length}", "dev", "lo")
    for step in itertools.count():
        killed = killed_after(step, lambda: ensure(A, B))
        assert places(A) == [("lo", length)], step
        killed_after(step, remove)
        remove()
        assert places(A) == [("lo", length)], step
        assert places(B) == [], step
        if not killed:
            break


# Spelling


@pytest.mark.parametrize(
    ("written", "kernel"),
    [
        ("::2:1", "::0.2.0.1"),
        ("2001:DB8::ABCD", "2001:db8::abcd"),
        ("2001:0db8:0000::0001", "2001:db8::1"),
        ("2001:db8:0:0:1::1", "2001:db8::1:0:0:1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_addresses_are_compared_by_their_bytes(written: str, kernel: str) -> None:
    ensure(written)
    assert places(kernel) == [("lo", 128)]
    assert not ensure(written).changed
    assert not ensure(kernel).changed
    assert not withdraw(written.upper()).changed
    record = json.loads(RECORD.read_text())
    # As another Python, or a hand, would write them.
    for holder in (record, record["settings"]):
        holder["loopback"] = [written]
    record["settings"]["vips"] = [written]
    RECORD.write_text(json.dumps(record))
    assert not ensure(written, keep_vips=True).changes
    assert withdraw(B).changes[-1].endswith(" from lo")
    assert places(kernel) == []


def test_another_spelling_of_an_address_that_was_there() -> None:
    run("ip", "addr", "add", "2001:DB8:0:0::00ab/128", "dev", "lo")
    ensure("2001:db8::AB")
    remove()
    assert places("2001:db8::ab") == [("lo", 128)]


# Sources


def give_ipv6() -> None:
    """As with BGP unnumbered: links have but their own addresses, the host's is on lo."""
    run("ip", "addr", "add", "fe80::1/64", "dev", LINK, "nodad")
    run("ip", "addr", "add", f"{OWN6}/128", "dev", "lo")


def give_routes() -> None:
    run("ip", "route", "replace", "default", "dev", LINK)
    run("ip", "-6", "route", "replace", "default", "dev", LINK, "metric", "1")


def give_ipv4() -> None:
    run("ip", "addr", "add", "192.0.2.11/32", "dev", "lo")


ORDERS: tuple[tuple[str, ...], ...] = tuple(itertools.permutations(("vips", "ipv4", "ipv6")))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_vip_is_no_source_whatever_comes_first(order: tuple[str, ...]) -> None:
    run("ip", "addr", "flush", "dev", LINK)
    steps: dict[str, Callable[[], object]] = {
        "vips": lambda: ensure(A, "2001:db8:200::1", B),
        "ipv4": give_ipv4,
        "ipv6": give_ipv6,
    }
    for step in order:
        steps[step]()
    give_routes()
    assert (source_to(FAR4), source_to(FAR6)) == ("192.0.2.11", OWN6)
    assert not ensure(A, "2001:db8:200::1", B).changed


def test_a_vip_next_to_a_link_with_an_address() -> None:
    run("ip", "addr", "add", "2001:db8:7::1/64", "dev", LINK, "nodad")
    ensure(A, "2001:db8:7::2")
    give_routes()
    assert (source_to(FAR4), source_to("2001:db8:7::3")) == ("198.18.7.1", "2001:db8:7::1")


def test_the_only_ipv4_address_is_no_source_either() -> None:
    run("ip", "addr", "flush", "dev", LINK)
    run("ip", "route", "replace", "default", "dev", LINK)
    ensure(A)
    assert "src" not in run("ip", "-4", "route", "get", FAR4).split()


def test_without_an_own_ipv6_address_it_is_told() -> None:
    sentence = (
        f"this host has no global IPv6 address but VIPs, so its own connections over IPv6 come from {C};"
        " give it an address of its own"
    )
    assert ensure(A, C, check=True).warnings == ensure(A, C).warnings == [sentence]
    assert ensure(A).warnings == []
    give_ipv6()
    assert ensure(A, C).warnings == []


def test_a_vip_is_no_source_after_a_restart() -> None:
    run("ip", "addr", "flush", "dev", LINK)
    ensure(A, C)
    for address in (f"{A}/32", f"{C}/128"):
        run("ip", "addr", "del", address, "dev", "lo")
    restore_real(StateFile("default", BPFFS))
    give_ipv4()
    give_ipv6()
    give_routes()
    assert (source_to(FAR4), source_to(FAR6)) == ("192.0.2.11", OWN6)
    assert on_loopback() >= {A, C}


@pytest.mark.parametrize("vip", [A, C])
def test_a_service_on_the_vip_answers_from_it(vip: str) -> None:
    give_ipv6()
    ensure(vip)
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with (
        socket.create_server((vip, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        assert client.getpeername()[0] == vip


# Addresses as earlier versions added them


def as_of_old(*vips: str) -> None:
    ensure(*vips)
    for vip in vips:
        length = 128 if ":" in vip else 32
        run("ip", "addr", "del", f"{vip}/{length}", "dev", "lo")
        run("ip", "addr", "add", f"{vip}/{length}", "dev", "lo")


def quiet() -> dict[str, bool]:
    return {entry.text: entry.quiet for entry in host_addresses() if entry.interface == "lo"}


def test_an_older_fleets_addresses_become_quiet() -> None:
    neighbour = "198.51.100.0"
    give_ipv6()
    as_of_old(A, C, neighbour)
    expected = [
        f"keep {address} of lo from being the source of this host's own connections" for address in (neighbour, A, C)
    ]
    assert ensure(A, C, neighbour, check=True).changes == expected
    assert ensure(A, C, neighbour).changes == expected
    assert quiet() == {"127.0.0.1": True, "::1": False, A: True, C: True, neighbour: True, OWN6: False}
    assert [places(vip) for vip in (A, neighbour, C)] == [[("lo", 32)], [("lo", 32)], [("lo", 128)]]
    assert not ensure(A, C, neighbour).changed
    run("ip", "addr", "flush", "dev", LINK)
    give_ipv4()
    give_routes()
    assert (source_to(FAR4), source_to(FAR6)) == ("192.0.2.11", OWN6)


WATCHER = """
import select, socket, sys
count = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for vip in sys.argv[1:]:
        with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Local it is, or the kernel does not let a socket have it.
            probe.bind((vip, 0))
    count += 1
print(count)
"""


def test_they_are_there_all_the_while() -> None:
    as_of_old(A, C)
    command = [sys.executable, "-c", WATCHER, A, C]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        for _time in range(200):
            change_loopback([], [], [A, C])
            assert quiet()[A]
            # As of old again, without a gap either.
            run("ip", "addr", "add", f"{A}/30", "dev", "lo")
            run("ip", "addr", "del", f"{A}/32", "dev", "lo")
            run("ip", "addr", "add", f"{A}/32", "dev", "lo")
            run("ip", "addr", "del", f"{A}/30", "dev", "lo")
            run("ip", "addr", "replace", f"{C}/128", "dev", "lo", "preferred_lft", "forever")
        seen, _errors = watcher.communicate("end")
    assert watcher.returncode == 0
    assert int(seen) > 200


def test_killed_amid_that_the_next_run_ends_it() -> None:
    for step in itertools.count():
        as_of_old(A, C)
        killed = killed_after(step, lambda: ensure(A, C))
        assert {A, C} <= on_loopback(), step
        assert answers(A), step
        assert restore_real(StateFile("default", BPFFS)) is not None
        assert [places(A), places(C)] == [[("lo", 32)], [("lo", 128)]], step
        assert not ensure(A, C).changed, step
        remove()
        assert on_loopback() == set(), step
        if not killed:
            break
    assert step > 3


def test_killed_amid_that_a_removal_leaves_nothing() -> None:
    for step in itertools.count():
        as_of_old(A)
        killed = killed_after(step, lambda: ensure(A))
        remove()
        assert on_loopback() == set(), step
        if not killed:
            break
