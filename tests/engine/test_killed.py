# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 before every step of a run, and a disk that is full: packets flow on, and the next run puts all in order."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.root_array import slots
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.tests.doses import SEED, dose
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    PINS,
    STATE,
    apply,
    attached,
    counters,
    ensure,
    files,
    flows,
    forwards,
    lead_out,
    map_ids,
    pinned,
    pins,
    remove,
    roll_back,
    send,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, run, sandbox

STEPS = {2: "update", 3: "delete", 5: "load", 6: "pin", 26: "update batch", 27: "delete batch"}
"""Commands of bpf(2) that change something."""

LONGEST = 400
"""More steps than any run has."""

STRIDE = dose(4, 1)
pytestmark = pytest.mark.dosed


def points() -> Iterator[tuple[int, int]]:
    """(turn, the step before which a run is killed) until a run comes to its end: every step, or one of four."""
    first = 1 + random.Random(SEED).randrange(STRIDE)
    print(f"killed before step {first} and every {STRIDE} from there (KATRAN_SEED={SEED}; KATRAN_PROOFS=1 for all)")
    yield from enumerate(range(first, LONGEST, STRIDE))
    raise AssertionError("it never came to its end")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


def kill_before(step: int, work: Callable[[], object]) -> bool:
    """Run this in a child that is killed before its step of this number; False if it came to its end before.

    Steps are calls that change something outside the process.
    """
    child = os.fork()
    if child:
        _pid, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    status = 1
    try:
        _count_down(step)
        work()
        status = 0
    finally:
        os._exit(status)


def _count_down(step: int) -> None:
    left = itertools.count(step - 1, -1)

    def before(call: Callable[..., Any], counts: Callable[..., bool] = lambda *_arguments: True) -> Callable[..., Any]:
        def stepping(*arguments: Any, **options: Any) -> Any:
            if counts(*arguments) and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return stepping

    for name in ("rename", "link", "unlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, before(getattr(os, name)))
    row = [0, 0]

    def begins(command: int, *_rest: object) -> bool:
        """Of a long row of the same, such as flows that are copied, the first dozen and then every hundredth."""
        row[:] = [command, row[1] + 1 if command == row[0] else 0]
        return command in STEPS and (row[1] < 12 or row[1] % 100 == 0)

    setattr(bpf, "_call", before(bpf._call, begins))  # noqa: B010
    setattr(Interfaces, "replace", before(Interfaces.replace))  # noqa: B010


def in_order(expected: tuple[list[str], list[str]]) -> None:
    """Nothing is half done, and nothing is left over."""
    assert (pins(), files()) == expected
    state = StateFile("default", BPFFS).read()
    assert state.program.next is None
    assert attached() == (pinned(), "native")
    fd = bpf.open_pin(f"{PINS}/balancer")
    info = bpf.program_info(fd)
    os.close(fd)
    assert set(info.map_ids) <= set(map_ids().values())
    assert state.program.tag == info.tag


def each_step(
    runs: list[Callable[[], object]],
    way_back: Callable[[], object] | None = None,
    config: list[dict[str, Any]] | None = None,
) -> tuple[int, int]:
    """Kill each run in turn before each of its steps; returns about how many there were, and how often it was tried.

    `runs` lead from one state to the next and round again; `way_back` is done before each. `config`: the VIPs.
    """
    expected = {}
    # Twice round: what is kept to go back to is that of the run before.
    for run_ in runs * 2:
        if way_back:
            way_back()
        run_()
        expected[run_] = (pins(), files())
    for turn, step in points():
        run_ = runs[turn % len(runs)]
        if way_back:
            way_back()
        killed = kill_before(step, run_)
        assert forwards(), step
        if turn % 3 == 0:
            # Whatever comes next recovers.
            assert not apply(config or [vips()]).changed
            assert "maps_next" not in os.listdir(PINS)
        run_()
        in_order(expected[run_])
        assert forwards(), step
        assert not run_().changed  # type: ignore[attr-defined]
        if not killed:
            return step, turn + 1
    raise AssertionError


def test_an_upgrade() -> None:
    ensure()
    apply([vips()])
    with stream(rate=20) as traffic:
        steps, _tried = each_step(
            [lambda: ensure(features=["cidr_vips"]), lambda: ensure(features=["inline_decap", "vlan"])]
        )
        result = traffic.stop()
    assert steps > 20
    assert result.lost == []


def test_a_migration() -> None:
    ensure()
    apply([vips()])
    send({10000 + number: number for number in range(200)})
    # They keep their real, whatever the ring says by now.
    known = {flow: real for flow, (real, _cpu) in flows().items()}
    apply([vips("10.0.0.99")])
    with stream(rate=20) as traffic:
        larger = {"vips": 48, "ring": 2003, "reals": 128, "flows": 6000}
        runs = [lambda: ensure(sizes=larger, accept_rehash=True), lambda: ensure(accept_rehash=True)]
        steps, tried = each_step(runs, config=[vips("10.0.0.99")])
        result = traffic.stop()
    assert steps > 40
    assert result.lost == []
    now = flows()
    assert {flow: now[flow][0] for flow in known} == known
    # No packet is counted twice: those above, the stream's and the two of each step that was tried. A run that is
    # killed between its copy of the counters and its end loses what came meanwhile, at twenty packets a second.
    sent = 200 + result.sent + 2 * tried
    assert sent - 2 * tried <= counters()["sent"] <= sent


def test_a_rollback() -> None:
    ensure()
    apply([vips()])
    turn = itertools.count()
    with stream(rate=20) as traffic:
        steps, _tried = each_step([roll_back], lambda: ensure(features=["vlan"], udp_timeout=31 + next(turn) % 2))
        result = traffic.stop()
    assert steps > 10
    assert result.lost == []


def test_other_interfaces_and_modes() -> None:
    ensure()
    apply([vips()])
    runs = [lambda: ensure(interfaces=[LINK, "lb1"]), lambda: ensure(interfaces=[LINK])]
    assert each_step(runs)[0] > 3
    # What is attached is found, whatever the state knew.
    kill_before(4, runs[0])
    remove()
    assert attached() is None
    assert attached("lb1") is None


def killed_everywhere(runs: list[Callable[[], object]], check: Callable[[int], None]) -> int:
    """Kill each run in turn before each of its steps, let a run of module vips recover, and check that; the steps."""
    # Wherever the rounds before have ended, the first has something to do.
    runs[-1]()
    for turn, step in points():
        killed = kill_before(step, runs[turn % len(runs)])
        assert not apply([vips()]).changed, step
        check(step)
        runs[turn % len(runs)]()
        if not killed:
            return step
    raise AssertionError


def test_an_upgrade_on_two_interfaces() -> None:
    """Whatever the killed run left undone, the next of any module leaves no interface behind."""
    both = [LINK, "lb1"]
    ensure(interfaces=both)
    apply([vips()])

    def check(step: int) -> None:
        assert attached() == attached("lb1") == (pinned(), "native"), step
        assert StateFile("default", BPFFS).read().program.interfaces == sorted(both)

    upgrades: list[Callable[[], object]] = [
        partial(ensure, interfaces=both, features=["vlan"]),
        partial(ensure, interfaces=both, features=["inline_decap"]),
    ]
    assert killed_everywhere(upgrades, check) > 20


def test_an_upgrade_in_a_slot_and_a_move_to_another() -> None:
    Root("shared", BPFFS).ensure(RootSettings((LINK,), "native", BPF), False, 5)
    array = f"{BPFFS}/katran/shared/maps/root_array"

    def place(position: int) -> dict[str, Any]:
        return {"interfaces": [], "root_array": {"path": array, "position": position}}

    def check(step: int) -> None:
        slot = StateFile("default", BPFFS).read().program.slot
        assert slot is not None, step
        assert slots(array) == {slot.position: pinned()}, step
        assert forwards(), step

    ensure(**place(1))
    apply([vips()])
    # In its slot, and from one slot to another and back.
    for other in (1, 2):
        upgrades: list[Callable[[], object]] = [
            partial(ensure, features=["vlan"], **place(1)),
            partial(ensure, features=["inline_decap"], **place(other)),
        ]
        assert killed_everywhere(upgrades, check) > 20


def test_a_first_run() -> None:
    ensure()
    expected = (pins(), files())
    remove()
    for turn, step in points():
        killed = kill_before(step, ensure)
        if turn % 2:
            ensure()
            in_order(expected)
        remove()
        assert (pins(), files(), attached()) == ([], [], None), step
        if not killed:
            break
    assert step > 30


def test_a_removal() -> None:
    for turn, step in points():
        ensure(interfaces=[LINK, "lb1"], features=["inline_decap"])
        ensure(interfaces=[LINK, "lb1"])
        killed = kill_before(step, remove)
        if turn % 2:
            ensure(interfaces=[LINK, "lb1"])
            apply([vips()])
            assert forwards()
        remove()
        assert (pins(), files(), attached(), attached("lb1")) == ([], [], None, None), step
        if not killed:
            break
    assert step > 20


# A full disk


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Sets how many bytes the disk with the state has left."""
    ensure()
    apply([vips()])
    kept = {name: (STATE / name).read_bytes() for name in files()}
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(STATE))
    for name, data in kept.items():
        (STATE / name).write_bytes(data)

    def leave(free: int) -> None:
        filler = STATE / "filler"
        filler.unlink(missing_ok=True)
        status = os.statvfs(STATE)
        filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - free, 0)))

    yield leave
    run("umount", str(STATE))


def failure_of(work: Callable[[], object]) -> str:
    """What a run says that fails for want of disk; empty where it does not."""
    try:
        work()
    except StateError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("options", [{"features": ["vlan"]}, {"sizes": {"reals": 128}}], ids=["upgrade", "migration"])
def test_a_full_disk(small_disk: Callable[[int], None], options: dict[str, Any]) -> None:
    there = (pins(), map_ids(), attached())
    kept = sorted([*files(), "filler"])
    failed = 0
    for free in range(0, 128 << 10, 4096):
        small_disk(free)
        message = failure_of(lambda: ensure(**options))
        assert forwards()
        if not message:
            break
        assert message.endswith("cannot be written: No space left on device")
        assert "\n" not in message
        if attached() == there[2]:
            assert (pins(), map_ids(), files()) == (there[0], there[1], kept)
        failed += 1
    assert failed
    (STATE / "filler").unlink()
    ensure(**options)
    in_order((pins(), files()))
    assert "maps_next" not in os.listdir(PINS)
    assert forwards()
    assert not ensure(**options).changed


def test_the_compiler_needs_no_disk() -> None:
    ensure()
    run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/tmp")
    Path("/tmp/filler").write_bytes(bytes(4096))
    assert ensure(features=["vlan", "icmp_too_big"], udp_timeout=77).changed


def test_a_run_that_waits_for_a_killed_one_goes_on() -> None:
    """The lock goes with the process."""
    started = time.monotonic()
    kill_before(1, ensure)
    ensure()
    assert time.monotonic() - started < 5
