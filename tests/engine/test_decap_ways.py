# SPDX-License-Identifier: GPL-3.0-or-later
"""By XDP and at tc ingress the same packets are stripped, and from one to the other none is lost."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_real
from ansible_collections.katran.fleet.plugins.module_utils._engine.watch import Watch
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.tc import Ingress, ways_in
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, every_attachment
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ModeError, ProgramError
from ansible_collections.katran.fleet.tests.engine.real import (
    LINK,
    PORT,
    REAL6,
    A,
    B,
    C,
    Tunnel,
    arrives,
    ensure,
    real_host,
    remove,
    send,
    served,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, ensure_balancer, killed_after, run

EVERY = [(vip, Tunnel(family, kind)) for vip in (A, C) for family in (4, 6) for kind in ("ipip", "gue")]
CONGESTED = 3


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        run("ip", "addr", "add", f"{REAL6}/64", "dev", LINK, "nodad")
        run("ip", "route", "add", "default", "dev", LINK)
        run("ip", "-6", "route", "add", "default", "dev", LINK)
        yield


def counters() -> tuple[int, ...]:
    """decap_counters: v4, v6, total, misrouted, with an id."""
    with bpf.open_map(f"{BPFFS}/katran/default/maps/decap_counters") as opened:
        value = opened.lookup(layout.u32(0)) or b""
        words = [int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8)]
        return tuple(sum(words[word::5]) for word in range(5))


def running() -> tuple[bool, bool]:
    """Whether XDP runs a program on the interface, and tc one at its ingress."""
    return any(each.interface == LINK for each in every_attachment()), bool(ways_in([LINK])[LINK].filters)


@pytest.mark.parametrize("how", ["xdp", "tc"])
def test_the_same_packets_are_stripped(how: str) -> None:
    assert ensure(A, C, how=how, check=True).changes == ensure(A, C, how=how).changes
    assert running() == (how == "xdp", how == "tc")
    again = ensure(A, C, how=how)
    assert (again.changed, again.program["how"]) == (False, how)
    assert [arrives(*each) for each in EVERY] == [0] * len(EVERY)
    assert counters()[:2] == (4, 4)
    # Marks of RFC 6040: what routers wrote outside goes on inside, or with the packet where nobody could read it.
    for vip, tunnel in EVERY:
        marked = [replace(tunnel, tos=tos, inner_tos=inner) for tos, inner in ((3, 2), (1, 2), (3, 0))]
        assert [arrives(vip, each) for each in marked] == [CONGESTED, 1, None], (vip, tunnel)
    # Strangers, other ports, and VIPs of others.
    assert arrives(A, Tunnel(source="192.0.2.66")) is None
    assert arrives(C, Tunnel(6, source="2001:db8::66")) is None
    assert arrives(A, Tunnel(kind="gue", gue_port=7000)) is None
    run("ip", "addr", "add", f"{B}/32", "dev", "lo")
    assert arrives(B, Tunnel()) is None


def test_what_lies_behind_the_headers_comes_along() -> None:
    ensure(A, how="tc")
    assert arrives(A, Tunnel()) == 0
    long = b"x" * 1400
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((A, PORT))
        service.settimeout(1)
        send(Tunnel().packet(A, long))
        assert service.recv(2000) == long


def test_it_goes_where_it_is_told_and_no_packet_is_lost() -> None:
    ensure(A, how="xdp")
    stop, numbers = threading.Event(), itertools.count()
    sent: list[int] = []

    def stream() -> None:
        while not stop.wait(0.002):
            number = next(numbers)
            send(Tunnel().packet(A, b"%08d" % number))
            sent.append(number)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        service.bind((A, PORT))
        service.settimeout(0.5)
        thread = threading.Thread(target=stream)
        thread.start()
        try:
            changes = ensure(A, how="tc").changes
            back = ensure(A, how="xdp").changes
            # Where others have the cores, few packets come between two changes.
            while len(sent) <= 10:
                ensure(A, how="tc")
                ensure(A, how="xdp")
        finally:
            stop.set()
            thread.join()
        found = set()
        while len(found) < len(sent):
            found.add(int(service.recv(64)))
    assert changes == [
        "compile the program decap (tc ingress)",
        "load the program decap",
        f"detach decap from {LINK}",
        f"add the qdisc clsact to {LINK}",
        f"attach decap to the ingress of {LINK}",
    ]
    assert back[2:] == [
        f"attach decap to {LINK} in native mode",
        f"detach decap from the ingress of {LINK}",
        f"remove the qdisc clsact from {LINK}",
    ]
    assert running() == (True, False)


def foreign() -> int:
    """Another's program on the interface; its id."""
    passing = bpf.load_program(b"\xb7\0\0\0\2\0\0\0\x95\0\0\0\0\0\0\0", name="pass")
    with Interfaces() as links:
        links.replace(LINK, passing, "native", None)
    number = bpf.program_info(passing).id
    os.close(passing)
    return number


def test_auto_leaves_another_program_its_place() -> None:
    number = foreign()
    done = ensure(A, how="auto")
    assert done.program == {"how": "tc", "why": f"interface {LINK} has an XDP program that is not ours (id {number})"}
    assert arrives(A, Tunnel()) == 0
    # It may be back at any time: the place stays free for it.
    run("ip", "link", "set", LINK, "xdp", "off")
    again = ensure(A, how="auto")
    assert (again.changed, again.program) == (False, done.program)
    assert ensure(A, how="xdp").program["how"] == "xdp"
    assert ensure(A, how="auto").changes == []
    run("ip", "link", "set", LINK, "xdp", "off")
    foreign()
    with pytest.raises(ProgramError, match=r"^interface in already has an XDP program that is not ours"):
        ensure(A, how="xdp")


def test_auto_goes_by_tc_where_the_driver_cannot() -> None:
    with pytest.raises(ModeError):
        ensure(A, how="xdp", interfaces=["lo"])
    done = ensure(A, how="auto", interfaces=["lo"])
    assert done.program["how"] == "tc"
    assert done.program["why"].startswith("interface lo does not support XDP mode native: ")
    assert not ensure(A, how="auto", interfaces=["lo"], check=True).changed
    assert not ensure(A, how="auto", interfaces=["lo"]).changed


def test_auto_leaves_a_balancer_alone() -> None:
    ensure_balancer("attached", interfaces=[LINK])
    with pytest.raises(ProgramError, match="one program can do both: give attach: false here"):
        ensure(A, how="auto")


def test_it_comes_back_and_is_watched() -> None:
    ensure(A, C, how="tc")
    with Watch() as watch:
        assert watch.look() == []
        run("tc", "qdisc", "del", "dev", LINK, "clsact")
        said = watch.look()
        assert len(said) == 1
        assert f"interface {LINK}: decap of instance default was taken off" in said[0]
        assert restore_real(StateFile("default", BPFFS)) == [
            f"add the qdisc clsact to {LINK}",
            f"attach decap to the ingress of {LINK}",
        ]
        assert len(watch.look()) == 1
    assert arrives(A, Tunnel()) == 0
    record = json.loads(Path(STATE_ROOT, "default", "decap.json").read_text())
    assert (record["way"], record["qdiscs"], record["interfaces"]) == ("tc", [LINK], [LINK])
    done = remove()
    assert f"detach decap from the ingress of {LINK}" in done.changes
    assert f"remove the qdisc clsact from {LINK}" in done.changes
    assert running() == (False, False)
    assert not Path(STATE_ROOT, "default").exists()


def test_filters_of_others_stay() -> None:
    run("tc", "qdisc", "add", "dev", LINK, "clsact")
    with Ingress() as ingress:
        passing = bpf.load_program(b"\xb7\0\0\0\xff\xff\xff\xff\x95\0\0\0\0\0\0\0", bpf.PROG_TYPE_SCHED_CLS, 0, "other")
        ingress.add(LINK, socket.if_nametoindex(LINK), passing, "other")
        os.close(passing)
    done = ensure(A, how="tc")
    assert f"add the qdisc clsact to {LINK}" not in done.changes
    assert [each.name for each in ways_in([LINK])[LINK].filters] == ["katran_decap", "other"]
    assert arrives(A, Tunnel()) == 0
    remove()
    assert [each.name for each in ways_in([LINK])[LINK].filters] == ["other"]


@pytest.mark.parametrize(("before", "after"), [("xdp", "tc"), ("tc", "xdp")])
def test_killed_at_any_step_the_next_run_ends_there(before: str, after: str) -> None:
    # One way at even steps, the other at odd ones: what a run leaves half done is much the same.
    for step in itertools.count(before == "tc", 4):
        ensure(A, how=before)
        killed = killed_after(step, lambda: ensure(A, how=after))
        assert arrives(A, Tunnel()) == 0, step
        ensure(A, how=after)
        assert running() == (after == "xdp", after == "tc"), step
        assert not ensure(A, how=after).changed
        assert restore_real(StateFile("default", BPFFS)) == [], step
        if not killed:
            break
        remove()
    assert step > 5
    assert served() == {A}
