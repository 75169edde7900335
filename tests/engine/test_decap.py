# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side on a real interface: what arrives in tunnels is answered, and no address goes before its time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_real
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import read_bpffs
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real, parse_staying
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.tests.engine.real import (
    LINK,
    A,
    B,
    C,
    answers,
    ensure,
    in_map,
    on_loopback,
    real_host,
    remove,
    served,
    served_somewhere,
    withdraw,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, killed_after, run

LONGEST = 200


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        yield


def test_it_serves_what_it_is_told_to() -> None:
    assert ensure(A, C, check=True).changes == ensure(A, C).changes
    assert served() == {A, C}
    assert answers(A)
    assert not answers(B)
    again = ensure(A, C)
    assert not again.changed
    assert not again.operations


def test_a_vip_stays_until_it_is_withdrawn() -> None:
    ensure(A, C)
    assert ensure(B, keep_vips=True).changes == [f"vip {B} added", f"add {B} to lo"]
    assert served() == {A, B, C}
    assert not ensure(B, keep_vips=True).changed
    assert answers(A)
    expected = [f"vip {A} removed", f"vip {C} removed", f"remove {A} from lo", f"remove {C} from lo"]
    planned, done = withdraw(B, check=True), withdraw(B)
    assert planned == done
    assert done.changes == expected
    assert done.operations == {"decap_vips": 2}
    assert done.after == {"vips": [B]}
    assert served() == {B}
    assert not answers(A)
    assert answers(B)
    assert not withdraw(B).changed
    assert not ensure(B).changed


def test_the_port_of_gue_before_is_understood_too() -> None:
    def ports() -> set[int]:
        return {port for port in (6080, 6090, 7000) if answers(A, port)}

    ensure(A)
    assert ports() == {6080}
    assert ensure(A, gue_port=6090).changes[0] == "compile the program decap"
    assert ports() == {6080, 6090}
    assert not ensure(A, gue_port=6090).changed
    assert restore_real(StateFile("default", BPFFS)) == []
    ensure(A, gue_port=7000)
    assert ports() == {6090, 7000}
    ensure(A, gue_port=6090)
    assert ports() == {6090, 7000}


def test_it_withdraws_without_keeping() -> None:
    ensure(A, B)
    assert ensure(B).changes == [f"vip {A} removed", f"remove {A} from lo"]
    assert served() == {B}


def test_nobody_says_which_vips() -> None:
    ensure(A, C)
    assert not ensure(vips=None).changed
    assert served() == {A, C}


def test_nobody_says_which_vips_at_first() -> None:
    ensure(vips=None)
    assert served() == set()


def test_there_is_nothing_to_withdraw_from() -> None:
    assert not withdraw(A).changed
    assert not Path(STATE_ROOT, "default").exists()
    assert not Path(f"{BPFFS}/katran").exists()


def test_what_is_added_by_hand_does_not_count_as_served() -> None:
    ensure(A)
    with bpf.open_map(f"{BPFFS}/katran/default/maps/decap_vips") as opened:
        opened.update(layout.pack_address(B), layout.u32(1))
        opened.delete(layout.pack_address(A))
    changes = [f"vip {A} added", f"vip {C} added", f"vip {B} removed", f"add {C} to lo"]
    assert withdraw(A, check=True).changes == []
    assert ensure(C, keep_vips=True).changes == changes
    assert served() == {A, C}


def test_it_withdraws_what_somebody_else_took_half_away() -> None:
    ensure(A, B)
    run("ip", "addr", "del", f"{A}/32", "dev", "lo")
    with bpf.open_map(f"{BPFFS}/katran/default/maps/decap_vips") as opened:
        opened.delete(layout.pack_address(B))
    done = withdraw()
    assert done.changes == [f"vip {A} removed", f"vip {B} removed", f"remove {B} from lo"]
    assert done.operations == {"decap_vips": 1}
    assert served() == set()


def test_loopback_is_left_alone() -> None:
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    ensure(A, B, loopback=False)
    assert withdraw(B).changes == [f"vip {A} removed"]
    assert on_loopback() == {A}
    assert in_map() == {B}


def test_a_restart_of_the_host_brings_back_what_was_not_withdrawn() -> None:
    ensure(A, B)
    withdraw(B)
    run("ip", "addr", "del", f"{B}/32", "dev", "lo")
    assert restore_real(StateFile("default", BPFFS)) == [f"add {B} to lo"]
    assert served() == {B}


@pytest.mark.parametrize("how", ["keep", "exactly", "withdraw"])
def test_killed_at_any_step_the_next_run_ends_there(how: str) -> None:
    work = {
        "keep": lambda: ensure(B, C, keep_vips=True),
        "exactly": lambda: ensure(B, C),
        "withdraw": lambda: withdraw(B),
    }[how]
    wanted = {"keep": {A, B, C}, "exactly": {B, C}, "withdraw": {B}}[how]
    for step in itertools.count():
        ensure(A, B)
        killed = killed_after(step, work)
        assert answers(B), step
        work()
        assert served() == wanted, step
        assert not work().changed
        # What is kept is what there is: at boot, and where a later run keeps it.
        assert restore_real(StateFile("default", BPFFS)) == [], step
        assert not ensure(vips=None).changed
        assert not ensure(B, keep_vips=True).changed
        assert served() == wanted, step
        if not killed:
            break
        assert step < LONGEST
    assert step > 1
    # It knows all of its addresses, whatever was killed.
    remove()
    assert on_loopback() == set()


def test_what_a_killed_run_began_to_serve_is_not_given_up() -> None:
    for step in itertools.count():
        ensure(A)
        killed = killed_after(step, lambda: ensure(A, B))
        begun = served_somewhere()
        ensure(A, keep_vips=True)
        assert begun | {A} <= served(), step
        if not killed:
            break
        ensure(A)
        assert step < LONGEST


def test_no_address_is_forgotten_by_a_run_that_was_killed() -> None:
    for step in itertools.count():
        ensure(A, B)
        killed = killed_after(step, lambda: ensure(C))
        remove()
        assert on_loopback() == set(), step
        if not killed:
            break
        assert step < LONGEST


def server_id() -> int:
    with bpf.open_map(f"{BPFFS}/katran/default/maps/tpr_server_id") as opened:
        return layout.parse_u32(opened.lookup(layout.u32(0)) or b"")


def test_the_server_id_is_in_the_map_and_comes_back() -> None:
    assert "server id 0 → 77" in ensure(A, server_id=77).changes
    assert server_id() == 77
    assert not ensure(A, server_id=77).changed
    with bpf.open_map(f"{BPFFS}/katran/default/maps/tpr_server_id") as opened:
        opened.update(layout.u32(0), layout.u32(5))
    assert restore_real(StateFile("default", BPFFS)) == ["server id 5 → 77"]
    assert ensure(A, server_id=0xFFFFFFFF).changes == ["server id 77 → 4294967295"]
    assert ensure(A).changes == ["server id 4294967295 → 0"]
    for wrong in (-1, 1 << 32):
        with pytest.raises(ConfigError, match=f"^server_id: {wrong} is not in 0 to 4294967295$"):
            ensure(A, server_id=wrong)


def test_what_is_withdrawn_is_on_record_nowhere() -> None:
    ensure(A, B)
    withdraw(B)
    record = json.loads(Path(STATE_ROOT, "default", "decap.json").read_text())
    assert record["loopback"] == record["settings"]["loopback"] == record["settings"]["vips"] == [B]


def test_another_bpffs_is_found_again_at_boot() -> None:
    elsewhere = "/run/other"
    Path(elsewhere).mkdir()
    run("mount", "-t", "bpf", "bpf", elsewhere)
    options = {name: option.get("default") for name, option in DECAP.items()}
    settings = parse_real({**options, "interfaces": [LINK], "vips": [A], "source_dir": BPF})
    Real("default", elsewhere).ensure(settings, False, 5)
    assert read_bpffs("default") == elsewhere
    assert restore_real(StateFile("default", read_bpffs("default"))) == []


FAR = "203.0.113.5"


@pytest.mark.parametrize(
    ("way", "passes"),
    [
        (("ip", "neigh", "add", FAR, "lladdr", "02:00:00:00:00:05", "dev", "out"), True),
        ((), True),
        (("ip", "link", "set", "out", "mtu", "68"), True),
        (("ip", "route", "replace", "203.0.113.0/24", "encap", "ip", "id", "1", "dst", "10.9.9.9", "dev", "out"), True),
        (("ip", "route", "replace", "blackhole", "203.0.113.0/24"), False),
        (("ip", "route", "del", "203.0.113.0/24"), False),
        (("sysctl", "-qw", "net.ipv4.ip_forward=0"), False),
    ],
)
def test_a_tunnel_that_the_host_forwards_is_left_alone(way: tuple[str, ...], passes: bool) -> None:
    """As a host does that routes for its containers; what it would not forward came for itself."""
    run("ip", "link", "add", "out", "type", "veth", "peer", "name", "out-peer")
    for end in ("out", "out-peer"):
        run("ip", "link", "set", end, "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "route", "add", "203.0.113.0/24", "dev", "out")
    if way:
        run(*way)
    ensure(A)
    assert answers(A)
    assert answers(A, end=FAR) == (not passes)


def test_an_address_that_the_tables_cannot_hold() -> None:
    with pytest.raises(ConfigError) as caught:
        ensure(A, "2001:db8::")
    assert str(caught.value) == (
        "vips[1]: 2001:db8:: ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables"
    )


@pytest.mark.parametrize(
    ("vips", "sentence"),
    [
        (None, "vips: state withdrawn needs the VIPs that stay"),
        (["10.0.0"], "vips[0]: 10.0.0 is not an IP address"),
    ],
)
def test_what_stays_must_be_said(vips: list[str] | None, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_staying({"vips": vips})
    assert str(caught.value) == sentence
