# SPDX-License-Identifier: GPL-3.0-or-later
"""Program root on a real interface, and what runs in its slots."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root, restore_root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.root_array import clear_slot, put_program, slots
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout, map_specs
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import (
    build_frame,
    parse_flows,
    read_tunnel,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.slot_plan import plan_slot
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    compiled_once,
    ensure_balancer,
    killed_after,
    request,
    run,
    sandbox,
)

ARRAY = f"{BPFFS}/katran/default/maps/root_array"
FRAME = bytes(12) + b"\x08\x00" + bytes(50)
DROP, PASS = 1, 2


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("eth7", "eth8"), compiled_once():
        yield


def ensure(*interfaces: str, mode: str = "native", check: bool = False, source_dir: str = BPF) -> Result:
    settings = RootSettings(interfaces or ("eth7",), mode, source_dir)
    return Root("default", BPFFS).ensure(settings, check, 5)


def remove(check: bool = False) -> list[str]:
    return Root("default", BPFFS).remove(check, 5).changes


def attached(interface: str) -> bool:
    return "prog/xdp" in run("ip", "link", "show", interface)


class Verdict:
    """An XDP program that says one thing."""

    def __init__(self, action: int) -> None:
        code = bytes.fromhex("b7000000") + layout.u32(action) + bytes.fromhex("9500000000000000")
        self.fd = bpf.load_program(code, name="verdict")
        self.id = bpf.program_info(self.fd).id


def verdict() -> int:
    """What the program on the interface answers to a frame."""
    fd = bpf.open_pin(f"{BPFFS}/katran/default/root")
    try:
        return bpf.test_run(fd, FRAME).value
    finally:
        os.close(fd)


def test_it_is_attached_once_and_taken_away_whole() -> None:
    would = ensure(check=True)
    assert not attached("eth7")
    assert would.changes == [
        "create 1 map",
        "compile the program root",
        "load the program root",
        "attach root to eth7 in native mode",
    ]
    done = ensure()
    assert done.changes == would.changes
    assert [each["interface"] for each in done.attached] == ["eth7"]
    assert done.slots == []
    assert attached("eth7")
    assert ensure().changes == []
    assert remove(check=True) == remove() != []
    assert not attached("eth7")
    assert not os.path.exists(f"{BPFFS}/katran")
    assert os.listdir(STATE_ROOT) == []
    assert os.listdir("/run/katran-fleet") == []
    assert remove() == []


def test_several_interfaces_share_one_array() -> None:
    done = ensure("eth7", "eth8")
    assert len({each["program_id"] for each in done.attached}) == 1
    assert ensure("eth8").changes == ["detach root from eth7"]
    assert (attached("eth7"), attached("eth8")) == (False, True)


def test_the_mode_can_change() -> None:
    ensure()
    done = ensure(mode="generic")
    assert [each["mode"] for each in done.attached] == ["generic"]
    assert ensure(mode="generic").changes == []


def test_the_first_slot_in_use_has_the_say() -> None:
    ensure()
    assert verdict() == PASS
    drop, let_pass = Verdict(DROP), Verdict(PASS)
    put_program(RootArray(ARRAY, 2), drop.fd)
    assert verdict() == DROP
    put_program(RootArray(ARRAY, 0), let_pass.fd)
    assert verdict() == PASS
    clear_slot(RootArray(ARRAY, 0))
    assert verdict() == DROP
    clear_slot(RootArray(ARRAY, 0))


def test_slots_stay_when_it_runs_again_with_other_sources() -> None:
    ensure()
    drop = Verdict(DROP)
    put_program(RootArray(ARRAY, 1), drop.fd)
    with open(f"{BPF}/root.bpf.c", "a", encoding="ascii") as source:
        source.write("/* another digest */\n")
    done = ensure()
    assert "compile the program root" in done.changes
    assert done.slots == [{"position": 1, "program_id": drop.id}]
    assert verdict() == DROP


def test_it_is_not_removed_while_a_slot_is_in_use() -> None:
    ensure()
    drop = Verdict(DROP)
    put_program(RootArray(ARRAY, 1), drop.fd)
    for check in (True, False):
        with pytest.raises(ProgramError, match=rf"^program root still runs slot 1 \(program id {drop.id}\): remove"):
            remove(check)
    assert attached("eth7")
    clear_slot(RootArray(ARRAY, 1))
    assert remove()


def test_a_program_moves_from_slot_to_slot() -> None:
    ensure()
    drop = Verdict(DROP)
    first, second = RootArray(ARRAY, 0), RootArray(ARRAY, 1)

    def move(wanted: RootArray | None, recorded: RootArray | None) -> list[str]:
        plan = plan_slot(wanted, recorded, {ARRAY: slots(ARRAY)}, {drop.id}, drop.id, False)
        if plan.put:
            put_program(plan.put, drop.fd)
        for place in plan.clear:
            clear_slot(place)
        return plan.changes

    move(first, None)
    assert slots(ARRAY) == {0: drop.id}
    assert move(first, first) == []
    move(second, first)
    assert slots(ARRAY) == {1: drop.id}
    move(None, second)
    assert slots(ARRAY) == {}


def test_what_does_not_fit_is_told() -> None:
    ensure()
    drop = Verdict(DROP)
    code = bytes.fromhex("b700000000000000") + bytes.fromhex("9500000000000000")
    other = bpf.load_program(code, bpf.PROG_TYPE_SCHED_CLS, 0, "tc")
    for slot, fd, sentence in (
        (RootArray(f"{BPFFS}/nix", 0), drop.fd, f"^root_array: nothing is pinned at {BPFFS}/nix: run module katran"),
        (RootArray("/run/bpf", 0), drop.fd, "^root_array: /run/bpf is not in a bpf file system$"),
        (RootArray(f"{BPFFS}/katran/default/root", 0), drop.fd, "is not a map$"),
        (RootArray(ARRAY, 3), drop.fd, "does not take the program in slot 3: it has 3 slots$"),
        (RootArray(ARRAY, 0), other, "does not take the program in slot 0: its other programs were loaded in another"),
    ):
        with pytest.raises(ProgramError, match=sentence):
            put_program(slot, fd)
    plain = bpf.create_map(map_specs.ARRAY, 4, 4, 1)
    bpf.pin(plain, f"{BPFFS}/plain")
    with pytest.raises(ProgramError, match="is not an array of programs"):
        slots(f"{BPFFS}/plain")


def test_a_foreign_program_is_not_replaced() -> None:
    fd = Verdict(PASS).fd
    with Interfaces() as links:
        links.replace("eth7", fd, "native", None)
    with pytest.raises(ProgramError, match="interface eth7 already has an XDP program that is not ours"):
        ensure()
    assert attached("eth7")


def test_another_instances_root_is_foreign() -> None:
    ensure()
    with pytest.raises(
        ProgramError, match="interface eth7 already has our program root of instance default; detach it first"
    ):
        Root("second", BPFFS).ensure(RootSettings(("eth7",), "native", BPF), False, 5)


def test_the_boot_brings_it_back_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    file = StateFile("default", BPFFS)
    assert restore_root(file, 5) == []
    ensure("eth7", "eth8", mode="generic")
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    for name in ("eth7", "eth8"):
        run("ip", "link", "set", name, "xdpgeneric", "off")
    monkeypatch.setattr(
        "ansible_collections.katran.fleet.plugins.module_utils._program.compiler.compile_program",
        lambda *_arguments: pytest.fail("compiled"),
    )
    assert restore_root(file, 5)
    assert restore_root(file, 5) == []
    assert attached("eth7")
    assert attached("eth8")
    monkeypatch.undo()
    assert ensure("eth7", "eth8", mode="generic").changes == []


def test_a_run_killed_anywhere_is_finished_by_the_next() -> None:
    ensure()
    remove()
    kills = 0
    while killed_after(kills, ensure):
        kills += 1
        ensure()
        assert ensure().changes == []
        if killed_after(kills, lambda: ensure("eth7", "eth8", mode="generic")):
            ensure("eth7", "eth8", mode="generic")
        assert ensure("eth7", "eth8", mode="generic").changes == []
        if killed_after(kills, remove):
            remove()
        assert not attached("eth7")
        assert not attached("eth8")
        assert not os.path.exists(f"{BPFFS}/katran")
        assert os.listdir(STATE_ROOT) == []
    assert kills > 10


# Shared mode


def balancer(position: int | None = 1, **options: Any) -> Result:
    """A balancer in a slot of root's array; None: on interface eth8 of its own."""
    if position is None:
        return ensure_balancer("attached", interfaces=["eth8"], **options)
    return ensure_balancer("attached", root_array={"path": ARRAY, "position": position}, **options)


def test_a_balancer_runs_in_a_slot_and_leaves_it() -> None:
    ensure()
    done = balancer()
    assert f"put the program into slot 1 of {ARRAY}" in done.changes
    assert slots(ARRAY) == {1: done.program["id"]}
    assert balancer().changes == []
    vip = {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}
    apply_resource("vips", request(), Asked([vip], "overridden"))
    fd = bpf.open_pin(f"{BPFFS}/katran/default/root")
    asked = {"source": "192.0.2.7", "destination": "198.51.100.1", "source_port": 1, "destination_port": 80}
    result = bpf.test_run(fd, build_frame(parse_flows([{**asked, "protocol": "tcp"}])[0], frozenset()))
    os.close(fd)
    assert (result.value, read_tunnel(result.data)["destination"]) == (3, "10.0.0.1")
    with pytest.raises(ProgramError, match="program root still runs slot 1"):
        remove()
    Balancer("default", BPFFS).remove(False, 5)
    assert slots(ARRAY) == {}
    assert verdict() == PASS
    remove()
    assert os.listdir(STATE_ROOT) == []


def test_another_program_and_another_slot_take_over() -> None:
    ensure()
    first = balancer().program["id"]
    second = balancer(features=["vlan"]).program["id"]
    assert first != second
    assert slots(ARRAY) == {1: second}
    assert balancer(2, features=["vlan"]).changes == [
        f"put the program into slot 2 of {ARRAY}",
        f"clear slot 1 of {ARRAY}",
    ]
    assert slots(ARRAY) == {2: second}
    balancer(None, features=["vlan"])
    assert slots(ARRAY) == {}
    assert attached("eth8")
    balancer(0, features=["vlan"])
    assert slots(ARRAY) == {0: second}
    assert not attached("eth8")


def test_a_slot_that_is_taken_is_refused() -> None:
    ensure()
    drop = Verdict(DROP)
    put_program(RootArray(ARRAY, 1), drop.fd)
    with pytest.raises(ProgramError, match=rf"slot 1 of .* already has a program that is not ours \(id {drop.id}\)"):
        balancer()
    assert slots(ARRAY) == {1: drop.id}
    balancer(replace_foreign=True)
    assert verdict() == PASS
