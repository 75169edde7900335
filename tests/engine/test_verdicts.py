# SPDX-License-Identifier: GPL-3.0-or-later
"""What checks say, on real maps: rings, flows and down sets, and that no other run loses a word of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.verdicts import apply_verdicts
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import Checked, iso
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import vips_from_config
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    MAPS,
    PINS,
    SIZES,
    STATE,
    apply,
    ensure,
    flows,
    lead_out,
    roll_back,
    send,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, killed_after, sandbox
from ansible_collections.katran.fleet.tests.engine.test_restore import boot, wipe

REALS = tuple(f"10.0.0.{last}" for last in range(1, 5))
A, B, C, D = REALS
WEB, DNS, OLD = "198.51.100.1", "198.51.100.2", "198.51.100.3"
CHECK = {"type": "tcp"}
SINCE = "2026-11-27T12:00:0{}.000+00:00"
UDP = {"flags": ["udp_flow_migration"], "check": CHECK}


def web(**options: Any) -> dict[str, Any]:
    return vips(*REALS, address=WEB, **{"check": CHECK, **options})


def name(address: str, protocol: str = "udp") -> str:
    return f"{address}:80/{protocol}"


def down(*reals: str, vip: str = WEB, state: str = "down", reason: str = "connection refused") -> list[Verdict]:
    """Verdicts of reals that failed one after the other."""
    return [Verdict(name(vip), real, state, SINCE.format(turn), reason) for turn, real in enumerate(reals)]


def say(verdicts: Sequence[Verdict], check: bool = False) -> Result:
    return apply_verdicts(Request("default", BPFFS, 5, check), verdicts)


def state() -> State:
    return StateFile("default", BPFFS).read()


def slots(vip: str = WEB) -> dict[str, int]:
    """Real → how many slots of the VIP's ring it has."""
    known = state()
    names = {number: address for address, number in known.real_ids.assigned.items()}
    found: dict[str, int] = {}
    with KernelMaps(MAPS) as maps:
        for number in maps.ring(known.vip_numbers.assigned[name(vip)]).cast("Q"):
            found[names.get(number, "")] = found.get(names.get(number, ""), 0) + 1
    return found


def down_set(vip: str) -> set[str]:
    """The reals whose flows to a VIP are moved away."""
    known = state()
    names = {number: address for address, number in known.real_ids.assigned.items()}
    packed = layout.vip_definition(layout.pack_address(vip), 80, 17)
    with KernelMaps(MAPS) as maps:
        return {names[number] for number in maps.down_sets().get(packed, ())}


def flows_of(vip: str = WEB) -> dict[str, int]:
    """Real → how many flows to the VIP the tables have."""
    names = {number: address for address, number in state().real_ids.assigned.items()}
    found: dict[str, int] = {}
    for flow, (real, _cpu) in flows().items():
        if layout.unpack_address(layout.parse_flow_key(flow)[1], False) == vip:
            found[names[real]] = found.get(names[real], 0) + 1
    return found


def quiet(verdicts: Sequence[Verdict]) -> None:
    """Saying it again writes nothing, neither to maps nor to the file."""
    before, rings = os.stat(STATE / "state.json"), slots()
    again = say(verdicts)
    assert (again.changed, again.changes, again.operations) == (False, [], {})
    after = os.stat(STATE / "state.json")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert slots() == rings


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        ensure(features=["udp_flow_migration"])
        apply([web(), vips(*REALS, address=DNS, **UDP), vips(*REALS, address=OLD)])
        yield


def test_a_real_that_is_down_has_no_slot_and_comes_back() -> None:
    before = slots()
    foretold = say(down(A), check=True)
    assert slots() == before
    # Of the processor's time: how long others keep it busy is not this run's doing.
    started = time.process_time()
    done = say(down(A))
    assert time.process_time() - started < 0.3
    assert (done.changes, done.operations) == (foretold.changes, foretold.operations)
    assert done.changes == [f"vip {name(WEB)}: {A} down by check (connection refused)"]
    assert set(slots()) == {B, C, D}
    # Others have no such word, and one of them has no check.
    assert A in slots(DNS)
    assert A in slots(OLD)
    assert state().verdicts == [each._asdict() for each in down(A)]
    quiet(down(A))
    back = say([])
    assert back.changes == [f"vip {name(WEB)}: {A} active by check"]
    assert slots() == before
    assert state().verdicts == []
    quiet([])


def test_what_nobody_checks_is_no_word() -> None:
    before = slots(OLD)
    done = say([*down(A, vip=OLD), *down("10.9.9.9"), *down(A, vip="198.51.100.99")])
    assert not done.changed
    assert (slots(OLD), state().verdicts) == (before, [])


def test_the_floor_keeps_those_in_that_failed_last() -> None:
    say(down(A, B))
    done = say(down(*REALS))
    assert set(slots()) == {C, D}
    held = "down by check (connection refused), but stays in: min_healthy is 50 %"
    assert done.changes == [f"vip {name(WEB)}: {C} {held}", f"vip {name(WEB)}: {D} {held}"]
    why = f"{C} (down: connection refused), {D} (down: connection refused) stay in: min_healthy is 50 %"
    assert done.warnings == [f"vip {name(WEB)} is degraded: {why}"]
    quiet(down(*REALS))
    # One that comes back makes room for another to go.
    back = say(down(*REALS)[1:])
    assert back.changes == [f"vip {name(WEB)}: {A} active by check", f"vip {name(WEB)}: {C} goes out as well"]
    assert set(slots()) == {A, D}
    again = say(down(*REALS))
    assert again.changes == [
        f"vip {name(WEB)}: {A} down by check (connection refused)",
        f"vip {name(WEB)}: {C} stays in: min_healthy is 50 %",
    ]
    apply([web(check={**CHECK, "min_healthy": 0}), vips(*REALS, address=DNS, **UDP), vips(*REALS, address=OLD)])
    assert slots() == {"": SIZES["ring"]}
    warnings = say(down(*REALS)).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith(f"vip {name(WEB)} ({A} down by check (connection refused), ")
    assert warnings[0].endswith("no real takes new flows")


def test_flows_to_what_went_down_are_purged_there_and_nowhere_else() -> None:
    send({20000 + number: number for number in range(400)})
    before = flows_of()
    assert set(before) == set(REALS)
    foretold = say(down(A), check=True)
    assert flows_of() == before
    done = say(down(A))
    assert done.changes[-1] == f"{before[A]} flows of what is down by check purged"
    assert (foretold.changes, foretold.operations) == (done.changes, done.operations)
    assert flows_of() == {real: number for real, number in before.items() if real != A}
    # Lame duck: no new flow, the old ones stay.
    say(down(A, B, state="draining"))
    assert B not in slots()
    assert flows_of()[B] == before[B]
    # One that the floor keeps in keeps its flows.
    say(down(A, B, C))
    assert set(flows_of()) == {C, D}
    assert set(slots()) == {C, D}


def test_who_lets_one_out_that_was_held_removes_its_flows() -> None:
    send({20000 + number: number for number in range(400)})
    say(down(A, B, C))
    assert set(flows_of()) == {C, D}
    number = flows_of()[C]
    config = [web(check={**CHECK, "min_healthy": 10}), vips(*REALS, address=DNS, **UDP), vips(*REALS, address=OLD)]
    arguments = {"bpffs": BPFFS, "config": config, "state": "overridden"}
    foretold, done = module("vips", arguments, check=True), module("vips", arguments)
    assert (foretold["changes"], foretold["operations"]) == (done["changes"], done["operations"])
    assert done["changes"][-1] == f"{number} flows of what is down by check purged"
    assert set(flows_of()) == {D}
    assert not module("vips", arguments)["changed"]


def test_flows_are_kept_where_the_check_says_so() -> None:
    apply([web(check={**CHECK, "on_down": "keep"})])
    send({20000 + number: number for number in range(200)})
    before = flows_of()
    done = say(down(A))
    assert done.operations.keys() == {"ch_rings"}
    assert (A in slots(), flows_of()) == (False, before)


def test_the_down_set_moves_the_flows_where_there_is_one() -> None:
    apply([web(**UDP)])
    send({20000 + number: number for number in range(200)})
    before = flows_of()
    done = say(down(A, B, C))
    assert done.operations.keys() == {"ch_rings", "vip_to_down_reals_map"}
    # The one that the floor keeps in is not among them.
    assert down_set(WEB) == {A, B}
    assert flows_of() == before
    quiet(down(A, B, C))
    say([])
    assert down_set(WEB) == set()


def test_what_a_person_drained_is_down_for_good_once_checks_say_so() -> None:
    send({20000 + number: number for number in range(200)})
    apply_resource("reals", Request("default", BPFFS, 5, False), Asked([{"address": A, "state": "draining"}]))
    before = flows_of()
    rings = slots()
    done = say(down(A))
    assert done.operations == {"lru_mapping": before[A]}
    assert slots() == rings
    assert A not in flows_of()
    quiet(down(A))


def test_who_drains_what_is_sound_is_told_what_stays_in() -> None:
    say(down(A, B))
    request = Request("default", BPFFS, 5, False)
    done = apply_resource("reals", request, Asked([{"address": real, "state": "draining"} for real in (C, D)]))
    assert set(slots()) == {B}
    assert f"vip {name(WEB)} is degraded: {B} (down: connection refused) stays in: min_healthy is 50 %" in done.warnings
    back = apply_resource("reals", request, Asked([{"address": C}, {"address": D}], "deleted"))
    assert (set(slots()), back.warnings) == ({C, D}, [])


def test_slow_start() -> None:
    even = slots()
    shares = []
    for share in (10, 40, 70):
        done = say([Verdict(name(WEB), A, "active", SINCE.format(0), "slow start", share)])
        assert done.changes == [f"vip {name(WEB)}: {A} has {share} % of its weight"]
        shares.append(slots()[A] / even[A])
        members = [(A, share), *((real, 100) for real in REALS[1:])]
        assert slots()[A] == list(build_ring(members, SIZES["ring"])).count(0)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert say([]).changes == [f"vip {name(WEB)}: {A} has 100 % of its weight"]
    assert slots() == even
    say(down(A))
    back = say([Verdict(name(WEB), A, "active", SINCE.format(5), "slow start", 10)])
    assert back.changes == [f"vip {name(WEB)}: {A} active by check, with 10 % of its weight"]


# No other run loses a word


def test_a_deploy_says_who_is_out_and_changes_nothing() -> None:
    say([*down(A), *down(A, vip=DNS)])
    rings = slots()
    config = [web(), vips(*REALS, address=DNS, **UDP), vips(*REALS, address=OLD)]
    done = apply(config)
    assert not done.changed
    where = f"vips {name(WEB)}, {name(DNS)}"
    assert done.warnings == [f"real {A} is out of {where} by check since {SINCE.format(0)} (connection refused)"]
    assert (slots(), down_set(DNS)) == (rings, {A})
    # A change of another real is no end of it either.
    config[0] = web(reals=[{"address": real, "weight": 2 if real == B else 1} for real in REALS])
    apply(config)
    assert A not in slots()
    assert len(state().verdicts) == 2
    # What goes takes the words of it along.
    apply([vips(B, C, D, address=WEB, check=CHECK), vips(*REALS, address=OLD)])
    assert state().verdicts == []


def test_a_vip_that_is_no_longer_checked_is_as_the_inventory_says() -> None:
    say(down(A))
    apply([vips(*REALS, address=WEB, check={"type": "http"})])
    assert (A in slots(), len(state().verdicts)) == (False, 1)
    apply([vips(*REALS, address=WEB)])
    assert (A in slots(), state().verdicts) == (True, [])


@pytest.mark.parametrize("detach", [True, False], ids=["booted", "bpffs wiped"])
def test_a_boot_brings_every_word_back(detach: bool) -> None:
    say([*down(A), *down(B, vip=DNS)])
    before = slots(), slots(DNS), down_set(DNS)
    wipe(detach)
    assert not os.path.exists(PINS)
    done = boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert (slots(), slots(DNS), down_set(DNS)) == before
    quiet([*down(A), *down(B, vip=DNS)])


def test_a_rollback_and_an_upgrade_keep_every_word() -> None:
    say([*down(A), *down(B, vip=DNS)])
    before = slots(), slots(DNS), down_set(DNS)
    ensure(features=["udp_flow_migration", "local_delivery"])
    assert (slots(), slots(DNS), down_set(DNS)) == before
    roll_back()
    assert (slots(), slots(DNS), down_set(DNS)) == before
    quiet([*down(A), *down(B, vip=DNS)])


def test_rings_of_another_size_are_built_of_every_word() -> None:
    slow = Verdict(name(WEB), B, "active", SINCE.format(0), "slow start", 10)
    say([*down(A), slow, *down(B, vip=DNS)])
    ensure(features=["udp_flow_migration"], sizes={"ring": 2003}, accept_rehash=True)
    found = slots()
    assert sum(found.values()) == 2003
    assert A not in found
    assert 0 < found[B] < 2003 / 10
    assert (B in slots(DNS), down_set(DNS)) == (False, {B})
    quiet([*down(A), slow, *down(B, vip=DNS)])


def test_what_is_read_back_is_what_the_inventory_said() -> None:
    config = gather_info(Request("default", BPFFS, 5, True), ["vips"])["vips"]
    say([*down(A), *down(B, vip=DNS)])
    found = gather_info(Request("default", BPFFS, 5, True), ["vips"])
    assert found["vips"] == config
    assert found["differences"] == []


def test_what_somebody_else_put_back_is_taken_out_again() -> None:
    say(down(A))
    known = state()
    with KernelMaps(MAPS) as maps:
        ring = maps.ring(known.vip_numbers.assigned[name(WEB)]).cast("Q")
        ring[5] = known.real_ids.assigned[A]
    done = say(down(A))
    assert done.drift == [f"vip {name(WEB)}: 1 ring slots changed, repaired"]
    assert A not in slots()


@pytest.mark.parametrize("steps", range(0, 24, 3))
def test_a_run_that_was_killed_is_taken_up(steps: int) -> None:
    send({20000 + number: number for number in range(100)})
    if killed_after(steps, lambda: say([*down(A), *down(A, vip=DNS)])):
        say([*down(A), *down(A, vip=DNS)])
    assert (A in slots(), A in flows_of(), down_set(DNS)) == (False, False, {A})
    quiet([*down(A), *down(A, vip=DNS)])


def test_a_state_of_an_earlier_version_has_no_verdicts() -> None:
    path = Path(STATE, "state.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith('"verdicts"')) + "\n", encoding="utf-8"
    )
    assert state().verdicts == []
    say(down(A))
    assert A not in slots()


def test_without_a_balancer_there_is_a_sentence() -> None:
    with pytest.raises(EngineError, match="balancer blue is not loaded on this host"):
        apply_verdicts(Request("blue", BPFFS, 5, False), down(A))
    assert json.loads(Path(STATE, "state.json").read_text(encoding="utf-8"))["verdicts"] == []


# What is told


def checks(warnings: list[str] | None = None) -> dict[str, Any]:
    found = gather_info(Request("default", BPFFS, 5, True), ["checks"])
    assert found.get("warnings", []) == (warnings or [])
    return dict(found["checks"])


def test_without_the_agent_what_was_applied_is_told() -> None:
    say([*down(A, B, C), *down(A, vip=DNS, state="draining", reason="503")])
    found = checks(["the agent has not run on this host: what checks said last holds"])
    assert (found["agent"], found["at"]) == ("never ran", None)
    why = f"{C} (down: connection refused) stays in: min_healthy is 50 %"
    assert found["degraded"] == [{"vip": name(WEB), "reason": why}]
    rows = {(row["vip"], row["real"]): row for row in found["reals"]}
    assert set(rows) == {(name(vip), real) for vip in (WEB, DNS) for real in REALS}
    told = {real: (rows[name(WEB), real]["state"], rows[name(WEB), real]["held"]) for real in REALS}
    assert told == {A: ("down", False), B: ("down", False), C: ("down", True), D: ("unknown", False)}
    one = rows[name(DNS), A]
    assert (one["type"], one["state"], one["since"], one["reason"]) == ("tcp", "draining", SINCE.format(0), "503")
    assert (one["last"], one["history"]) == (None, [])


def test_with_the_agent_its_knowledge_is_told_beside() -> None:
    say(down(A))
    [target] = {
        target
        for (key, real), target in Checked.of(vips_from_config(state().vips)).targets.items()
        if (str(key), real) == (name(WEB), A)
    }
    now = time.time()
    answer = Answer("down", "connection refused", 0.002)
    history = (Change(now - 9, "down", "refused"),)
    health = Health("down", now - 9, "connection refused", "down", 4, last=answer, asked=now - 1, history=history)
    files = RunFiles("default")
    files.write(files.checks, ChecksRecord({target: health}, {target: [name(WEB)]}, at=now).to_json())
    found = checks()
    assert found["agent"] == "running"
    [row] = [row for row in found["reals"] if (row["vip"], row["real"]) == (name(WEB), A)]
    told = row["state"], row["last"]["reason"], row["history"][0]["reason"]
    assert told == ("down", "connection refused", "refused")
    files.write(files.checks, ChecksRecord({}, {}, at=now - 100).to_json())
    sentence = f"the agent does not run: what is known of checks is of {iso(now - 100)}"
    assert checks([sentence])["agent"] == "stopped"
    Path(files.checks).write_text("{", encoding="utf-8")
    warnings = gather_info(Request("default", BPFFS, 5, True), ["checks"])["warnings"]
    assert warnings[0].startswith(f"{files.checks} is damaged")


def test_where_nobody_checks_there_is_nothing_to_tell() -> None:
    apply([vips(*REALS, address=OLD)])
    assert checks() == {"agent": "never ran", "at": None, "degraded": [], "reals": []}
