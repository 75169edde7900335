# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real needs of its kernel, on a kernel: parameters, MTU, and the MSS that clients see on the wire.

Units, packages and the library take a systemd of their own: see tests/lab/test_host.py.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import host as host_run
from ansible_collections.katran.fleet.plugins.module_utils._engine.host import (
    RECORD,
    HostOutcome,
    HostRequest,
    ensure_host,
    restore_host,
)
from ansible_collections.katran.fleet.plugins.module_utils._kernel.nft import read_mss
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import HostError, StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostWanted, RealHost
from ansible_collections.katran.fleet.tests.engine.sandbox import Killed, run, sandbox

LINK = "eth0"
OWN4, OWN6 = "192.0.2.1", "2001:db8:2::1"
CLIENT4, CLIENT6 = "192.0.2.9", "2001:db8:2::9"
VIP4, VIP6 = "198.51.100.1", "2001:db8::1"
REAL = RealHost((LINK,), mtu=1600, mss=1300, vips=(VIP4, VIP6))
PARAMETERS = Path("/proc/sys/net/ipv4/conf")


@pytest.fixture(autouse=True)
def real() -> Iterator[None]:
    with sandbox(LINK):
        run("ip", "link", "set", "lo", "up")
        yield


def ensure(real: RealHost | None = REAL, check: bool = False) -> HostOutcome:
    return ensure_host(HostRequest(HostWanted(real=real), check=check))


def parameter(name: str) -> str:
    return (PARAMETERS / name).read_text(encoding="ascii").strip()


def mtu() -> int:
    return int(Path(f"/sys/class/net/{LINK}/mtu").read_text(encoding="ascii"))


def test_a_real_is_prepared_once_and_predicted_exactly() -> None:
    run("sysctl", "-qw", f"net.ipv4.conf.{LINK}.rp_filter=1")
    review = ensure(check=True)
    assert (mtu(), parameter(f"{LINK}/rp_filter"), read_mss()) == (1500, "1", None)
    assert not Path(STATE_ROOT).exists()
    assert (
        ensure().changes
        == review.changes
        == [
            "net/ipv4/conf/all/arp_ignore 0 → 1",
            "net/ipv4/conf/all/arp_announce 0 → 2",
            f"net/ipv4/conf/{LINK}/rp_filter 1 → 2",
            f"MTU of {LINK} 1500 → 1600",
            "MSS of VIPs 1300 at most",
        ]
    )
    assert (mtu(), parameter(f"{LINK}/rp_filter"), parameter("all/arp_ignore")) == (1600, "2", "1")
    assert ensure(check=True).changes == ensure().changes == []


def reset_rp_filter() -> None:
    run("sysctl", "-qw", f"net.ipv4.conf.{LINK}.rp_filter=1")


def reset_mtu() -> None:
    run("ip", "link", "set", LINK, "mtu", "1400")


def remove_table() -> None:
    run("nft", "delete", "table", "inet", "katran_fleet")


def change_size() -> None:
    rules = run("nft", "list", "table", "inet", "katran_fleet").replace("1300", "1200", 1)
    subprocess.run(["nft", "-f", "-"], input=f"delete table inet katran_fleet\n{rules}", text=True, check=True)


def remove_rule() -> None:
    listed = json.loads(run("nft", "-j", "-a", "list", "table", "inet", "katran_fleet"))["nftables"]
    handle = next(item["rule"]["handle"] for item in listed if "rule" in item)
    run("nft", "delete", "rule", "inet", "katran_fleet", "mss", "handle", str(handle))


def add_rule() -> None:
    run("nft", "add", "rule", "inet", "katran_fleet", "mss", "tcp", "dport", "80", "drop")


def remove_vip() -> None:
    run("nft", "delete", "element", "inet", "katran_fleet", "vips6", f"{{ {VIP6} }}")


@pytest.mark.parametrize(
    ("meddle", "change"),
    [
        (reset_rp_filter, f"net/ipv4/conf/{LINK}/rp_filter 1 → 2"),
        (reset_mtu, f"MTU of {LINK} 1400 → 1600"),
        (remove_table, "MSS of VIPs 1300 at most"),
        (change_size, "MSS of VIPs 1300: its rules changed, repaired"),
        (remove_rule, "MSS of VIPs 1300: its rules changed, repaired"),
        (add_rule, "MSS of VIPs 1300: its rules changed, repaired"),
        (remove_vip, f"MSS of VIPs 1300 at most for {VIP6} too"),
    ],
)
def test_what_others_change_is_seen_and_repaired(meddle, change: str) -> None:  # type: ignore[no-untyped-def]
    ensure()
    meddle()
    assert ensure(check=True).changes == ensure().changes == [change]
    assert ensure().changes == []


def test_vips_come_and_go() -> None:
    ensure()
    run("ip", "address", "add", f"{VIP4}/32", "dev", "lo")
    more = RealHost((LINK,), mss=1300, vips=("198.51.100.9",))
    assert ensure(more).changes == ["MSS of VIPs 1300 at most for 198.51.100.9 too"]
    rules = read_mss()
    # What is on lo may be served still; what is not sends nothing.
    assert rules
    assert rules.vips == {"198.51.100.9", VIP4}
    assert ensure(RealHost((LINK,), mss=1300)).changes == []
    assert ensure(RealHost((LINK,))).changes == ["MSS of VIPs 1300 → as it comes"]
    assert read_mss() is None


def test_a_boot_brings_it_back() -> None:
    ensure()
    reset_rp_filter()
    reset_mtu()
    remove_table()
    assert restore_host() == [
        f"net/ipv4/conf/{LINK}/rp_filter 1 → 2",
        f"MTU of {LINK} 1400 → 1600",
        "MSS of VIPs 1300 at most",
    ]
    rules = read_mss()
    assert rules
    assert rules.vips == {VIP4, VIP6}
    assert restore_host() == []
    Path(RECORD).unlink()
    assert restore_host() == []


def test_a_real_that_is_a_balancer_too_hears_other_reals() -> None:
    asking = RealHost((LINK,), probes_from=("out",))
    with pytest.raises(HostError, match="net/ipv4/conf/out/accept_local"):
        ensure(asking)
    run("ip", "link", "add", "out", "type", "veth")
    changes = [f"net/ipv4/conf/out/{name}" for name in ("accept_local 0 → 1", "rp_filter 0 → 2")]
    assert ensure(asking, check=True).changes[-2:] == ensure(asking).changes[-2:] == changes
    assert (parameter("out/accept_local"), parameter("out/rp_filter")) == ("1", "2")
    assert ensure(asking).changes == []
    run("ip", "link", "del", "out")
    # An interface may come up after the host did.
    assert restore_host() == []
    run("ip", "link", "add", "out", "type", "veth")
    assert restore_host() == changes


def test_a_run_killed_anywhere_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    do = host_run._do
    left = [0]

    def step(*arguments: object) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        do(*arguments)  # type: ignore[arg-type]

    reset_rp_filter()
    for steps in range(6):
        left[0] = steps
        monkeypatch.setattr(host_run, "_do", step)
        if steps < 5:
            with pytest.raises(Killed):
                ensure()
        monkeypatch.setattr(host_run, "_do", do)
        review = ensure(check=True)
        assert ensure().changes == review.changes
        assert ensure().changes == []
        assert json.loads(Path(RECORD).read_text(encoding="utf-8"))["before"][LINK] == "1500"
        reset_rp_filter()
        run("ip", "link", "set", LINK, "mtu", "1500")
        for name in ("arp_ignore", "arp_announce"):
            run("sysctl", "-qw", f"net.ipv4.conf.all.{name}=0")
        remove_table()


def test_sentences() -> None:
    with pytest.raises(HostError, match=r"^interface eth7 does not exist on this host$"):
        ensure(RealHost(("eth7",)))
    with pytest.raises(HostError, match=f"^the MTU of {LINK} cannot be set to 70000: "):
        ensure(RealHost((LINK,), mtu=70000))
    Path(RECORD).parent.mkdir(parents=True, exist_ok=True)
    for text in (
        "",
        "[1]",
        "{}",
        '{"schema": 1, "real": 3, "before": {}}',
        '{"schema": 1, "real": null, "before": []}',
    ):
        Path(RECORD).write_text(text, encoding="utf-8")
        with pytest.raises(
            StateError, match=rf"^{re.escape(RECORD)} is damaged \(.+\): move it away, and the next run"
        ):
            ensure()


# The wire


@contextmanager
def network() -> Iterator[int]:
    """A client behind the link, in a namespace of its own; the client's pid."""
    keeper = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        end = time.monotonic() + 30
        while Path(f"/proc/{keeper.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < end, "the client has no network namespace of its own"
            time.sleep(0.001)
        run("ip", "link", "set", f"{LINK}-peer", "netns", str(keeper.pid))
        inside = ("nsenter", "-t", str(keeper.pid), "-n")
        run(*inside, "ip", "link", "set", f"{LINK}-peer", "up")
        for client, own, vip, length in ((CLIENT4, OWN4, VIP4, "24"), (CLIENT6, OWN6, VIP6, "64")):
            # Without detection of duplicates, addresses can be used at once.
            nodad = ["nodad"] if ":" in own else []
            run("ip", "address", "add", f"{own}/{length}", "dev", LINK, *nodad)
            run("ip", "address", "add", vip, "dev", "lo", *nodad)
            run(*inside, "ip", "address", "add", f"{client}/{length}", "dev", f"{LINK}-peer", *nodad)
            run(*inside, "ip", "route", "add", "default", "via", own)
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait()


def announced(client: int, address: str) -> int:
    """The MSS in the answer to a SYN that a client sends to this address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen()
    port = listener.getsockname()[1]
    watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    watch.bind((LINK, 0))
    watch.settimeout(5)
    code = f"import socket; s = socket.create_connection(({address!r}, {port}), 5); s.close()"
    asking = threading.Thread(
        target=lambda: subprocess.run(["nsenter", "-t", str(client), "-n", "/usr/bin/python3", "-c", code], check=True)
    )
    asking.start()
    try:
        while True:
            frame = watch.recv(2000)
            at = 14 + (40 if family == socket.AF_INET6 else 20)
            if len(frame) < at + 20 or struct.unpack_from("!H", frame, at)[0] != port or frame[at + 13] & 0x12 != 0x12:
                continue
            options = frame[at + 20 : at + (frame[at + 12] >> 4) * 4]
            assert options[:2] == b"\x02\x04"
            return int.from_bytes(options[2:4], "big")
    finally:
        asking.join()
        watch.close()
        listener.close()


ROUTES = {
    "static": [["route", "add", "default", "via", "CLIENT"]],
    "router advertisement": [
        ["route", "add", "default", "via", "CLIENT", "dev", LINK, "proto", "ra", "expires", "600"]
    ],
    "next-hop object": [
        ["nexthop", "add", "id", "10", "via", "CLIENT", "dev", LINK],
        ["route", "add", "default", "nhid", "10"],
    ],
    "multipath": [
        ["route", "add", "default", "nexthop", "via", "CLIENT", "dev", LINK, "nexthop", "via", "OTHER", "dev", LINK]
    ],
    "none": [],
}


@pytest.mark.parametrize("shape", ROUTES)
def test_clients_see_the_mss_of_vips_alone(shape: str) -> None:
    with network() as client:
        for family, address in (("-4", CLIENT4), ("-6", CLIENT6)):
            for words in ROUTES[shape]:
                if family == "-4" and "expires" in words:
                    # Only IPv6 learns routes so.
                    continue
                other = address.removesuffix("9") + "8"
                id_ = "20" if family == "-6" else "10"
                run("ip", family, *[{"CLIENT": address, "OTHER": other, "10": id_}.get(word, word) for word in words])
        routes = [run("ip", family, "-d", "route") for family in ("-4", "-6")]
        before = [announced(client, address) for address in (VIP4, VIP6, OWN4, OWN6)]
        assert before == [1460, 1440, 1460, 1440]
        ensure(RealHost((LINK,), mss=1300, vips=(VIP4, VIP6)))
        assert [announced(client, address) for address in (VIP4, VIP6, OWN4, OWN6)] == [1300, 1300, 1460, 1440]
        # A maximum is never raised.
        ensure(RealHost((LINK,), mss=1450))
        assert [announced(client, address) for address in (VIP4, VIP6, OWN4, OWN6)] == [1450, 1440, 1460, 1440]
        ensure(RealHost((LINK,)))
        assert [announced(client, address) for address in (VIP4, VIP6, OWN4, OWN6)] == before
        after = [run("ip", family, "-d", "route") for family in ("-4", "-6")]
        assert [strip(each) for each in after] == [strip(each) for each in routes]


def strip(routes: str) -> list[str]:
    """Routes without the seconds that they have left."""
    return [line.partition(" expires")[0] for line in routes.splitlines()]
