# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a run, the next one converges: kills, full disks, a kernel that refuses, several at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError, StateError
from ansible_collections.katran.fleet.tests.doses import dose
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    RESOURCES,
    SIZES,
    STATE,
    Entry,
    apply,
    apply_all,
    count_calls,
    module,
    module_here,
    pins,
    real,
    snapshot,
    state_files,
    vip,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    run,
    sandbox,
)

SEED = 20260
KILLS = dose(15, 40)
STEADY = vip("198.51.100.99", real("10.0.9.1"), real("10.0.9.2", 2))
"""A VIP that no run changes: its packets must never notice."""


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    """A balancer on a veth."""
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Only the steady VIP, before and after; and no run leaves a pin, a temporary file or a process behind."""
    apply_all({"vips": [STEADY]})
    before = pins()
    files = state_files()
    yield
    apply_all({"vips": [STEADY]})
    assert pins() == before
    assert state_files() == files
    assert not others()


def others() -> list[str]:
    """Other processes in this sandbox, whoever their parent is now: a killed run's helper, say."""
    ours = os.readlink("/proc/self/ns/mnt")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(name) != os.getpid() and os.readlink(f"/proc/{name}/ns/mnt") == ours:
                found.append(Path(f"/proc/{name}/cmdline").read_text(encoding="utf-8"))
    return found


def worlds() -> list[dict[str, list[Entry]]]:
    """Two configurations that have little in common, as tight as the balancer allows for VIPs."""
    first = world()
    first["vips"] = [STEADY, *first["vips"]]
    second: dict[str, list[Entry]] = {
        "vips": [
            STEADY,
            vip("198.51.100.1", real("10.0.0.2", 5), real("10.0.1.1"), flags=["no_lru"]),
            vip(
                "198.51.100.2",
                real("10.0.0.3"),
                real("10.0.0.4", state="down", local=True),
                protocol="udp",
                flags=["udp_flow_migration"],
            ),
            *(vip(f"198.51.100.{last}", real(f"10.0.1.{last}"), real("10.0.0.2")) for last in range(20, 32)),
            vip("203.0.112.0/23", real("10.0.1.2"), protocol="udp"),
        ],
        "reals": [{"address": "10.0.1.1", "state": "draining"}],
        "source_routes": [{"prefix": f"192.0.{last}.0/24", "real": f"10.0.1.{last}"} for last in range(1, 30)],
        "server_ids": [{"id": number, "real": "10.0.1.3"} for number in range(1, 400)],
        "decap_destinations": [{"address": "198.51.100.10", "egress": False}],
    }
    return [first, second]


# Packets of a VIP that nobody changes


def syn(source_port: int) -> bytes:
    """A SYN to the steady VIP."""
    addresses = socket.inet_aton("192.0.2.77") + socket.inet_aton(STEADY["address"])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0)
    tcp = struct.pack("!HHIIBBHHH", source_port, 80, 0, 0, 0x50, 2, 1024, 0, 0)
    return b"\2" * 6 + b"\4" * 6 + b"\x08\0" + head + addresses + tcp


class Traffic:
    """Packets to the steady VIP for as long as the block lasts, by BPF_PROG_TEST_RUN on the live program."""

    XDP_TX = 3

    def __enter__(self) -> Self:
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.reader)
                self._send(writer)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        return self

    def _send(self, writer: int) -> None:
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        program = bpf.open_pin(f"{BPFFS}/katran/default/balancer")
        sent = wrong = 0
        while not stopped:
            outcome = bpf.test_run(program, syn(1024 + sent % 60000))
            reals = (socket.inet_aton("10.0.9.1"), socket.inet_aton("10.0.9.2"))
            wrong += outcome.value != self.XDP_TX or outcome.data[30:34] not in reals
            sent += 1
            time.sleep(0.001)
        os.write(writer, json.dumps([sent, wrong]).encode())

    def __exit__(self, *exc: object) -> None:
        os.kill(self.pid, signal.SIGTERM)
        self.sent, self.wrong = json.loads(os.read(self.reader, 100))
        os.close(self.reader)
        os.waitpid(self.pid, 0)


# Runs in processes of their own


def started(work: Callable[[], object], before: Callable[[], None] | None = None) -> int:
    """A child that does the work: status 0, or 1 with one of the engine's sentences; anything else is a bug."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        if before is not None:
            before()
        work()
        status = 0
    except (EngineError, StateError):
        status = 1
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    """How a child ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(call: int) -> Callable[[], None]:
    """Make the process kill itself at its so-many-th call of bpf(2), rename or fsync."""

    def arm() -> None:
        left = [call]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return wrapper

        bpf._call = counted(bpf._call)
        os.rename = counted(os.rename)
        os.fsync = counted(os.fsync)
        KernelMaps.put_ring = counted(KernelMaps.put_ring)

    return arm


def calls_of(work: Callable[[], object]) -> int:
    """How many such calls the work makes."""
    reader, writer = os.pipe()

    def counting() -> None:
        total = [0]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                total[0] += 1
                return function(*arguments, **options)

            return wrapper

        bpf._call = counted(bpf._call)
        os.rename = counted(os.rename)
        os.fsync = counted(os.fsync)
        KernelMaps.put_ring = counted(KernelMaps.put_ring)
        work()
        os.write(writer, json.dumps(total).encode())

    assert ended(started(counting)) == 0
    os.close(writer)
    [total] = json.loads(os.read(reader, 100))
    os.close(reader)
    return int(total)


def assert_whole() -> None:
    """No file is torn: each is the old one or the new one."""
    state = StateFile("default", BPFFS).read()
    assert not state.lost
    assert set(state.real_ids.assigned.values()).isdisjoint({0})
    assert len(set(state.real_ids.assigned.values())) == len(state.real_ids.assigned)
    assert len(set(state.vip_numbers.assigned.values())) == len(state.vip_numbers.assigned)
    for path in STATE.parent.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


def assert_settled(configurations: dict[str, list[Entry]], maps: dict[str, Any]) -> None:
    """Everything is as configured; and ids are leaked neither in the file nor in the maps."""
    results = apply_all(configurations)
    assert not any(result.changed for result in results)
    now = snapshot()
    state = StateFile("default", BPFFS).read()
    assert len(now["reals"]) == len(state.real_ids.assigned) == len(maps["reals"])
    assert {struct.unpack("=I", key)[0] for key in now["reals"]} == set(state.real_ids.assigned.values())
    numbered = [value for name in ("vip_map", "vip_lpm_map", "vip_lpm4_map") for value in now[name].values()]
    assert sorted(struct.unpack("=II", value)[1] for value in numbered) == sorted(state.vip_numbers.assigned.values())
    ids = {*state.real_ids.assigned.values(), *state.real_ids.quarantine}
    assert len(ids) == len(state.real_ids.assigned) + len(state.real_ids.quarantine)
    assert ids <= set(range(1, SIZES["reals"]))
    # Ids may differ from those of an undisturbed run: what they lead to may not.
    for name in ("vip_map", "vip_addresses", "lpm_src_v4", "lpm_src_v6", "server_id_map", "decap_dst"):
        assert set(now[name]) == set(maps[name])
    assert sorted(now["reals"].values()) == sorted(maps["reals"].values())


def undisturbed(configurations: list[dict[str, list[Entry]]]) -> list[dict[str, Any]]:
    """The maps after each configuration, as a run that nobody disturbs leaves them."""
    found = []
    for each in configurations:
        apply_all(each)
        found.append(snapshot())
    return found


@pytest.mark.parametrize("resource", RESOURCES)
def test_killed_at_any_call(resource: str) -> None:
    """kill -9 at seeded calls, first ones and last ones included: 14 kills of each resource, 70 in all."""
    both = worlds()
    maps = undisturbed(both)
    turn = random.Random(SEED)
    apply_all(both[0])

    def work(config: list[Entry]) -> Callable[[], object]:
        return lambda: apply(resource, config)

    total = calls_of(work(both[1][resource]))
    assert total > 10
    kills = 0
    with Traffic() as traffic:
        for number, at in enumerate([*range(total - 4, total), *(turn.randrange(total) for _turn in range(10))]):
            # Back and forth, so that every kill is amid a change.
            apply(resource, both[0][resource])
            killed = ended(started(work(both[1][resource]), die_at(at)))
            assert killed in (0, -signal.SIGKILL)
            kills += killed != 0
            assert_whole()
            if number % 3:
                apply(resource, both[1][resource])
                assert not apply(resource, both[1][resource]).changed
    assert kills >= 10
    assert traffic.sent > 50
    assert traffic.wrong == 0
    assert_settled(both[1], maps[1])
    assert_settled(both[0], maps[0])


@pytest.mark.dosed
def test_killed_at_any_time() -> None:
    """The same by the clock: amid what is no system call, such as the stores into a ring."""
    both = worlds()
    maps = undisturbed(both)
    turn = random.Random(SEED)
    started_at = time.monotonic()
    for resource in RESOURCES:
        apply(resource, both[0][resource])
    seconds = time.monotonic() - started_at
    kills = 0
    with Traffic() as traffic:
        # How many of so many runs are still there when their time comes depends on what else the machine does.
        for number in range(600):
            if kills == KILLS:
                break
            wanted = both[number % 2]
            pid = started(lambda each=wanted: [apply(resource, each[resource]) for resource in RESOURCES])
            time.sleep(turn.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
            kills += ended(pid) != 0
            assert_whole()
    assert kills == KILLS
    assert traffic.wrong == 0
    assert_settled(both[0], maps[0])
    assert_settled(both[1], maps[1])


# A kernel that refuses


@pytest.mark.dosed
@pytest.mark.parametrize("error", ["EBUSY", "E2BIG", "EPERM"])
def test_the_kernel_refuses_a_call(error: str, tmp_path: Path) -> None:
    """One call of bpf(2) after another fails: the module says one sentence, and the next run goes on."""
    both = worlds()
    maps = undisturbed(both)
    turn = random.Random(SEED + sum(error.encode()))
    trace = tmp_path / "trace"
    apply_all(both[0])
    arguments = {"config": both[1]["vips"], "state": "overridden"}
    outcome = module("vips", arguments, prefix=("strace", "-f", "-e", "trace=bpf", "-o", str(trace)))
    assert outcome["changed"] is True
    total = count_calls(trace)
    sentences = set()
    # The last calls are the writes; the first ones look for the maps.
    for at in [2, total - 1, total, *(turn.randrange(3, total) for _turn in range(dose(2, 5)))]:
        apply("vips", both[0]["vips"])
        inject = f"inject=bpf:error={error}:when={at}"
        refused = module("vips", arguments, prefix=("strace", "-f", "-e", "trace=bpf", "-e", inject, "-o", str(trace)))
        assert "(INJECTED)" in trace.read_text(encoding="utf-8")
        sentences.add(refused.msg)
        assert_whole()
    words = {"EBUSY": "busy", "E2BIG": r"full|Argument list too long", "EPERM": "permit"}[error]
    assert all(re.search(words, each) for each in sentences), sentences
    read = f"the maps of balancer default cannot be read: {os.strerror(getattr(errno, error))}"
    assert all(each == read or each.startswith("map ") for each in sentences), sentences
    assert any(re.match(r"map \w+: .*; the next run goes on from here$", each) for each in sentences), sentences
    assert_settled(both[1], maps[1])
    assert_settled(both[0], maps[0])


# Files


def test_a_full_disk_is_told_before_anything_changes() -> None:
    before = snapshot()
    with disk(room=0):
        for resource in RESOURCES:
            refused = module_here(resource, {"config": worlds()[0][resource], "state": "overridden"})
            assert re.fullmatch(
                r"/var/lib/katran-fleet/default/[a-z_.]+ cannot be written: No space left on device", refused.msg
            )
            assert snapshot() == before
    assert_whole()


def test_a_disk_that_fills_up_meanwhile() -> None:
    """There is room for the intent, not for the result: the maps are new, and the file tells the old."""
    before = snapshot()
    many = [
        STEADY,
        *(vip(f"198.51.100.{last}", *(real(f"10.0.2.{each}") for each in range(1, 9))) for last in range(1, 15)),
    ]
    with disk(room=3 * 4096) as grow:
        refused = module_here("vips", {"config": many, "state": "overridden"})
        assert refused.msg == "/var/lib/katran-fleet/default/state.json cannot be written: No space left on device"
        assert snapshot() != before
        assert_whole()
        assert [each["address"] for each in StateFile("default", BPFFS).read().vips] == [STEADY["address"]]
        grow()
        assert module_here("vips", {"config": many, "state": "overridden"})["operations"] == {}
        assert module_here("vips", {"config": many, "state": "overridden"})["changed"] is False


@contextlib.contextmanager
def disk(room: int) -> Iterator[Callable[[], object]]:
    """The state on a disk of its own with so many bytes left; yields what makes it larger."""
    kept = STATE.parent.with_name("kept")
    shutil.copytree(STATE.parent, kept)
    run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(STATE.parent))
    try:
        for path in filter(Path.is_file, kept.iterdir()):
            shutil.copy2(path, STATE.parent)
        free = os.statvfs(STATE.parent).f_bavail * os.statvfs(STATE.parent).f_bsize
        # Of a file that takes the rest nothing may be left to be swept.
        (STATE.parent / "ballast").write_bytes(bytes(free - room))
        yield (STATE.parent / "ballast").unlink
    finally:
        for path in filter(Path.is_file, kept.iterdir()):
            name = STATE.parent / path.name
            if name.exists():
                shutil.copy2(name, path)
        run("umount", str(STATE.parent))
        for path in filter(Path.is_file, kept.iterdir()):
            shutil.copy2(path, STATE.parent)
        shutil.rmtree(kept)


@pytest.mark.parametrize("length", [0, 1, 100, -3])
def test_a_truncated_state_is_told_and_taken_from_the_kernel(length: int) -> None:
    first = worlds()[0]
    apply_all(first)
    before = snapshot()
    text = STATE.read_text(encoding="utf-8")
    STATE.write_text(text[:length], encoding="utf-8")
    resources = RESOURCES if length == 100 else ("vips",)
    for name, arguments in (*((each, {"config": first[each]}) for each in resources), ("balancer_info", {})):
        message = module_here(name, arguments).msg
        assert message.startswith(f"{STATE} is damaged (")
        assert message.endswith("): move it away, and the next run adopts what the kernel has")
    assert snapshot() == before
    STATE.unlink()
    apply_all(first)
    assert snapshot() == before


def test_a_table_file_of_garbage_is_told() -> None:
    path = STATE.with_name("server_ids.json")
    path.write_bytes(b"\xff\xfe")
    refused = module_here("server_ids", {"config": [{"id": 1, "real": "10.0.0.1"}]})
    assert refused.msg.startswith(f"{path} is damaged (")
    path.unlink()


# Runs at the same time


def test_two_runs_at_the_same_time_come_one_after_the_other() -> None:
    both = worlds()
    maps = undisturbed(both)
    for _turn in range(6):
        pids = [
            started(lambda each=each: [apply(resource, each[resource], timeout=60) for resource in RESOURCES])
            for each in both
        ]
        assert [ended(pid) for pid in pids] == [0, 0]
        assert_whole()
        state = StateFile("default", BPFFS).read()
        assert sorted(entry["address"] for entry in state.vips) in [
            sorted(entry["address"] for entry in each["vips"]) for each in both
        ]
    assert_settled(both[1], maps[1])
    assert_settled(both[0], maps[0])


def test_many_runs_of_one_vip_each_lose_none() -> None:
    """Merging is reading and writing: without the lock one run would undo another."""
    addresses = [f"198.51.100.{last}" for last in range(1, 9)]
    pids = [started(lambda each=each: apply("vips", [vip(each, real("10.0.0.1"))], "merged")) for each in addresses]
    assert [ended(pid) for pid in pids] == [0] * 8
    state = StateFile("default", BPFFS).read()
    assert sorted(entry["address"] for entry in state.vips) == sorted([*addresses, STEADY["address"]])
    assert len(snapshot()["vip_map"]) == 9


def test_who_holds_the_lock_is_named() -> None:
    before = snapshot()
    descriptor = os.open(f"{LOCK_ROOT}/default.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for name in (*RESOURCES, "balancer_info"):
            refused = module(
                name, {"lock_timeout": 0} if name == "balancer_info" else {"config": [], "lock_timeout": 0}
            )
            sentence = f"balancer default is locked by another run (pid {os.getpid()}): waited 0 s (lock_timeout)"
            assert refused.msg == sentence
    finally:
        os.close(descriptor)
    assert snapshot() == before


def test_looking_does_not_wait_for_looking() -> None:
    descriptor = os.open(f"{LOCK_ROOT}/default.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        assert module_here("vips", {"config": worlds()[0]["vips"], "lock_timeout": 0}, check=True)["changed"] is True
        refused = module_here("vips", {"config": worlds()[0]["vips"], "lock_timeout": 0})
        assert "is locked by another run" in refused.msg
    finally:
        os.close(descriptor)


def test_a_state_of_a_later_version_is_left_alone() -> None:
    text = STATE.read_text(encoding="utf-8")
    later = re.sub(r'"schema": \d+', '"schema": 4711', text)
    STATE.write_text(later, encoding="utf-8")
    refused = module_here("vips", {"config": [STEADY]})
    assert refused.msg == f"{STATE} has schema 4711, but this version of katran.fleet reads schema 1"
    assert STATE.read_text(encoding="utf-8") == later
    STATE.write_text(text, encoding="utf-8")
