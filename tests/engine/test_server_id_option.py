# SPDX-License-Identifier: GPL-3.0-or-later
"""Program server_id_option in units' control groups: servers name themselves, clients echo, and it stays so."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import own_unit
from ansible_collections.katran.fleet.plugins.module_utils._engine.real_status import read_real
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_option
from ansible_collections.katran.fleet.plugins.module_utils._engine.server_id_info import server_id_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.watch import Watch
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf, cgroups
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, ProgramError
from ansible_collections.katran.fleet.tests.engine.option_units import (
    CLIENT,
    DROP_INS,
    RESTARTED,
    UNITS,
    WEB,
    counters,
    ensure,
    group,
    remove,
    serving,
    start,
    stop,
    talk,
    units_host,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, killed_after, run

DROP_IN = DROP_INS / f"{WEB}.d/katran-server-id-default.conf"
PINS = Path(BPFFS, "katran/default")
LONGEST = 200


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with units_host():
        yield


def programs(unit: str) -> tuple[int, ...]:
    return cgroups.programs_in(str(group(unit)))[0]


def add_foreign(unit: str, flags: int = cgroups.ALLOW_MULTI) -> int:
    """Another's sock_ops program, which does nothing; its id."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    fd = bpf.load_program(code, bpf.PROG_TYPE_SOCK_OPS, bpf.ATTACH_SOCK_OPS, "foreign")
    folder = os.open(group(unit), os.O_RDONLY)
    bpf.command(8, struct.pack("=5I", folder, fd, bpf.ATTACH_SOCK_OPS, flags, 0))
    os.close(folder)
    number = bpf.program_info(fd).id
    os.close(fd)
    return number


def at_start(unit: str) -> None:
    """What the unit's drop-in does before each start, in its group."""
    command = DROP_IN.read_text().splitlines()[-1]
    assert command == "ExecStartPre=-+/usr/bin/python3 -I /usr/lib/katran-fleet/katran-server-id default"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            (group(unit) / "cgroup.procs").write_text("0")
            status = own_unit.main(["default"])
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_server_names_itself_and_a_client_echoes() -> None:
    foretold = ensure(WEB, id=1025, check=True)
    assert ensure(WEB, id=1025).changes == foretold.changes
    assert foretold.changes == [
        "create 4 maps",
        "compile the program server_id_option",
        "load the program server_id_option",
        f"attach server_id_option to {WEB}",
        f"say that {WEB} attaches server_id_option whenever it starts",
        "have systemd read its units",
        "server id 0 → 1025",
    ]
    ensure(CLIENT, instance="clients")
    with serving() as server:
        talk(server)
        talk(server)
    # set, read, missing, wrong
    assert counters() == (2, 2, 0, 0)
    assert counters("clients") == (2, 2, 0, 0)
    shown = read_real("default").naming
    assert (shown["units"], shown["id"], shown["counters"]["read"]) == ([WEB], 1025, 2)
    for check in (True, False):
        again = ensure(WEB, id=1025, check=check)
        assert (again.changes, again.operations, again.warnings) == ([], {}, [])


def test_who_has_no_program_is_missing_it() -> None:
    ensure(WEB, id=1025)
    with serving() as server:
        talk(server)
    assert counters() == (1, 0, 1, 0)


def test_an_id_changes_in_place_and_ends() -> None:
    ensure(WEB, id=1025)
    ensure(CLIENT, instance="clients")
    [number] = programs(WEB)
    with serving() as server:
        done = ensure(WEB, id=1026, fallback_id=7)
        assert done.changes == ["server id 1025 → 1026", "fallback id 0 → 7"]
        assert done.operations == {"server_id_own": 2}
        assert programs(WEB) == (number,)
        talk(server)
        assert counters() == (1, 1, 0, 0)
        # A listener that had an id names none any more, and is no server without the option.
        ensure(WEB, id=0)
        talk(server)
        assert counters() == (1, 1, 0, 0)
        assert counters("clients") == (1, 1, 1, 0)
        assert ensure(WEB, id=5).warnings == []


def test_a_service_that_restarts_has_the_program_before_it_listens() -> None:
    ensure(WEB, id=1025)
    ensure(CLIENT, instance="clients")
    stop(WEB)
    start(WEB)
    assert programs(WEB) == ()
    at_start(WEB)
    at_start(WEB)
    with serving() as server:
        talk(server)
    assert counters() == (1, 1, 0, 0)
    assert not ensure(WEB, id=1025).changed


def test_at_boot_a_service_needs_nobody_before_it() -> None:
    ensure(WEB, CLIENT, id=1025)
    run("rm", "-r", str(PINS.parent))
    for unit in (WEB, CLIENT):
        stop(unit)
        start(unit)
    at_start(WEB)
    assert programs(WEB) == programs(CLIENT)
    assert restore_option(StateFile("default", BPFFS)) == []
    with serving() as server:
        talk(server)
    assert counters() == (2, 2, 0, 0)
    assert not ensure(WEB, CLIENT, id=1025).changed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "usage: katran-server-id INSTANCE, from a unit's ExecStartPre="),
        (["../x"], "usage: katran-server-id INSTANCE, from a unit's ExecStartPre="),
        (
            ["other"],
            "katran-server-id: there is no program of instance other on this host: run a deploy;",
        ),
    ],
)
def test_why_a_service_starts_without(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert own_unit.main(arguments) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_the_boot_brings_it_back_and_does_without_what_is_gone() -> None:
    ensure(WEB, CLIENT, id=1025)
    run("rm", "-r", str(PINS.parent))
    stop(WEB)
    stop(CLIENT)
    start(CLIENT)
    lines = restore_option(StateFile("default", BPFFS))
    assert lines[-1] == "server id 0 → 1025"
    assert f"attach server_id_option to {CLIENT}" in lines
    assert restore_option(StateFile("default", BPFFS)) == []


def test_a_service_that_listens_already_is_named() -> None:
    with serving(8081) as server:
        ensure(CLIENT, instance="clients")
        for check in (True, False, False):
            done = ensure(WEB, id=1025, check=check)
            assert done.program == {"units_to_restart": [WEB]}
            [warning] = done.warnings
            assert warning == (
                f"{WEB} listens already (TCP port 8081): its connections carry the id after it is restarted"
                f" (systemctl restart {WEB}, or restart: true)"
            )
        talk(server, 8081)
        assert counters("clients") == (0, 0, 1, 0)
        line = f"restart {WEB}: it listens since before the program"
        assert ensure(WEB, id=1025, restart=True, check=True).changes == [line]
        assert not RESTARTED.exists()
        assert ensure(WEB, id=1025, restart=True).changes == [line]
        assert RESTARTED.read_text() == f"{WEB}\n"
        # Clients alone name nobody, whenever they began.
        assert ensure(WEB).warnings == []
    with serving(8081):
        assert ensure(WEB).warnings == []
        # What began to listen without an id is as old as what began without the program.
        assert ensure(WEB, id=1025).warnings != []
    with serving(8081):
        done = ensure(WEB, id=1025)
        assert (done.warnings, done.program) == ([], {"units_to_restart": []})


def test_sockets_of_systemd_are_told() -> None:
    start(WEB, "TriggeredBy=web.socket web.timer\n")
    [warning] = ensure(WEB, id=1025).warnings
    assert warning == f"{WEB} has sockets of web.socket, which systemd opens itself: connections to these carry no id"


def test_what_somebody_changed_is_repaired() -> None:
    ensure(WEB, id=1025)
    fd = bpf.open_program(str(PINS / "server_id_option"))
    cgroups.detach_from_group(str(group(WEB)), fd)
    os.close(fd)
    with bpf.open_map(str(PINS / "maps/server_id_own")) as own:
        own.update(bytes(4), bytes(4))
    DROP_IN.write_text("[Service]\n")
    done = ensure(WEB, id=1025)
    assert done.changes == [
        f"attach server_id_option to {WEB}",
        f"say again that {WEB} attaches server_id_option whenever it starts",
        "have systemd read its units",
        "server id 0 → 1025",
    ]
    assert not ensure(WEB, id=1025).changed
    DROP_IN.unlink()
    (PINS / "maps/server_id_counters").unlink()
    done = ensure(WEB, id=1025)
    assert "pin server_id_counters again, which the running program has" in done.changes
    assert not ensure(WEB, id=1025).changed


def test_another_program_in_the_group_stays() -> None:
    first = add_foreign(WEB)
    ensure(WEB, id=1025)
    second = add_foreign(WEB)
    ours = programs(WEB)[1]
    assert programs(WEB) == (first, ours, second)
    # The sources as another version has them.
    source = Path(BPF, "server_id_option.bpf.c")
    source.write_text(source.read_text() + "\n")
    assert "compile the program server_id_option" in ensure(WEB, id=1025).changes
    replaced = programs(WEB)
    assert (replaced[0], replaced[2]) == (first, second)
    assert replaced[1] != ours
    remove()
    assert programs(WEB) == (first, second)


def test_a_program_that_allows_no_other() -> None:
    add_foreign(WEB, 0)
    for check in (True, False):
        with pytest.raises(ProgramError, match=r"^unit web\.service: /run/cgroup/.* allows no second one"):
            ensure(WEB, id=1025, check=check)
    assert not PINS.exists()
    # One above is as much in the way, as the kernel has it.
    inner = group(WEB) / "inner.service"
    inner.mkdir()
    (UNITS / "inner.service").write_text(f"ControlGroup=/{group(WEB).parent.name}/{WEB}/inner.service\n")
    with pytest.raises(ProgramError, match=rf"^unit inner\.service: {group(WEB)} has a sock_ops program"):
        ensure("inner.service", id=1025)


def test_more_room_keeps_what_clients_know() -> None:
    ensure(CLIENT, entries=10)
    with bpf.open_map(str(PINS / "maps/server_id_of_socket")) as known:
        known.update(struct.pack("=Q", 77), struct.pack("=I", 1025))
    foretold = ensure(CLIENT, entries=100, check=True)
    done = ensure(CLIENT, entries=100)
    assert done.changes == foretold.changes
    assert "room for 10 → 100 connections of clients" in done.changes
    with bpf.open_map(str(PINS / "maps/server_id_of_socket")) as known:
        assert dict(known.items()) == {struct.pack("=Q", 77): struct.pack("=I", 1025)}
        assert known.info.entries == 100
    [number] = programs(CLIENT)
    with bpf.map_by_id(known_id()) as known:
        fd = bpf.program_by_id(number)
        assert known.info.id in bpf.program_info(fd).map_ids
        os.close(fd)
    assert not ensure(CLIENT, entries=100).changed


def known_id() -> int:
    with bpf.open_map(str(PINS / "maps/server_id_of_socket")) as known:
        return known.info.id


def test_units_come_and_go_and_nothing_is_left() -> None:
    ensure(WEB, CLIENT, id=1025)
    done = ensure(CLIENT, id=1025)
    assert f"detach server_id_option from {WEB}" in done.changes
    assert programs(WEB) == ()
    assert not DROP_IN.parent.exists()
    assert not ensure(CLIENT, id=1025).changed
    planned, done = remove(check=True), remove()
    assert planned.changes == done.changes
    assert programs(CLIENT) == ()
    assert not PINS.exists()
    assert not Path(STATE_ROOT, "default").exists()
    assert list(DROP_INS.glob("*.d")) == []
    assert not remove().changed
    assert server_id_info("default", BPFFS) == {}


def test_units_that_are_none() -> None:
    for check in (True, False):
        with pytest.raises(ProgramError, match=r"^unit nope\.service does not exist on this host$"):
            ensure(WEB, "nope.service", id=1, check=check)
    with pytest.raises(ConfigError, match=r"^units\[0\]: web is not the name of a unit: say web\.service$"):
        ensure("web", id=1)
    inner = group(WEB) / "inner.service"
    inner.mkdir()
    (UNITS / "inner.service").write_text(f"ControlGroup=/{group(WEB).parent.name}/{WEB}/inner.service\n")
    with pytest.raises(ProgramError, match=r"inner\.service is in web\.service, which has the program for both"):
        ensure(WEB, "inner.service", id=1)


@pytest.mark.parametrize("how", ["first", "move", "resize", "remove"])
def test_killed_at_any_step_the_next_run_ends_there(how: str) -> None:
    work = {
        "first": lambda: ensure(WEB, id=1025),
        "move": lambda: ensure(CLIENT, id=1026),
        "resize": lambda: ensure(WEB, id=1025, entries=100),
        "remove": remove,
    }[how]
    # Most steps are reads; of those in a row one is enough.
    for step in itertools.count(0, 3):
        remove() if how == "first" else ensure(WEB, id=1025)
        killed = killed_after(step, work)
        work()
        assert not work().changed, step
        wanted = {"first": (1, 0), "move": (0, 1), "resize": (1, 0), "remove": (0, 0)}[how]
        assert (len(programs(WEB)), len(programs(CLIENT))) == wanted, step
        if how != "remove":
            assert restore_option(StateFile("default", BPFFS)) == [], step
        if not killed:
            break
        assert step < LONGEST
    remove()
    assert not PINS.exists()
    assert list(DROP_INS.glob("*.d")) == []


def test_who_takes_it_off_is_told_and_a_restart_is_no_news() -> None:
    ensure(WEB, id=1025)
    with Watch() as watch:
        # The first look finds out which group it is.
        assert (watch.look(), watch.look()) == ([], [])
        stop(WEB)
        start(WEB)
        assert watch.look() == []
        at_start(WEB)
        assert watch.look() == []
        fd = bpf.open_program(str(PINS / "server_id_option"))
        cgroups.detach_from_group(str(group(WEB)), fd)
        os.close(fd)
        add_foreign(WEB)
        [line] = watch.look()
        assert line.startswith(
            f"<4>unit {WEB}: server_id_option of instance default was taken off: its connections carry no server id"
        )
        assert watch.look() == []
        assert restore_option(StateFile("default", BPFFS)) == [f"attach server_id_option to {WEB}"]
        assert watch.look() == [f"<5>unit {WEB}: server_id_option of instance default runs there as it should"]
        stop(WEB)
        assert watch.look() == watch.look() == []
