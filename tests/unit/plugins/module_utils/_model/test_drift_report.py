# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.drift_finding import AHEAD, CHANGED, DIFFERS, UNKNOWN
from ansible_collections.katran.fleet.plugins.module_utils._model.drift_report import Compared, Fleet, compared_of

VIP = "198.51.100.1:443/tcp"
Result = dict[str, Any]


def finding(area: str, kind: str, what: str, at: str = "", after: str = "") -> Result:
    return {"area": area, "kind": kind, "what": what, "since": {"at": at, "after": after, "by": "its file"}}


def answer(*findings: Result, ring: str = "r1", tag: str = "t1", words: tuple[str, ...] = (), **other: Any) -> Result:
    program = {"tag": tag, "sources": "s", "made_of": {"features": []}, "kernel": "6.1"}
    said = {VIP: list(words)} if words else {}
    compared = {"rings": {VIP: ring}, "configured": {VIP: "c"}, "words": said, "program": program}
    return {"findings": list(findings), "notes": [], "compared": compared, "timings": {}, "seconds": 0.4, **other}


def fleet(**answers: Result) -> Fleet:
    return Fleet([compared_of(host, ["balancer"], result) for host, result in answers.items()])


def test_nothing_is_said_in_one_line_for_all() -> None:
    found = fleet(lb1=answer(), lb2=answer(), lb3=answer())
    assert list(found.lines()) == [
        "lb1–lb3: all as the inventory says",
        "the same on lb1–lb3: the rings of 1 VIP; the program (t1); the program's sources; the kernel (6.1)",
    ]
    assert found.exit_status == 0
    assert found.summary == "no drift: 3 balancers as the inventory says"


def test_the_same_on_many_hosts_is_said_once() -> None:
    one = finding("vips", CHANGED, "vip x: missing in vip_map", after="2026-01-01T00:00:00Z")
    two = finding("vips", CHANGED, "vip x: missing in vip_map", after="2026-01-02T00:00:00Z")
    mine = finding("host", DIFFERS, "would: start katran-agent.service", at="2026-01-03T00:00:00Z")
    ahead = finding("vips", AHEAD, "vip x: added", after="2026-01-01T00:00:00Z")
    found = fleet(lb1=answer(one), lb2=answer(two, mine, ahead), lb3=answer())
    assert list(found.lines()) == [
        "lb3: as the inventory says",
        "the same on lb1–lb3: the rings of 1 VIP; the program (t1); the program's sources; the kernel (6.1)",
        "",
        "changed on the host since the last run:",
        "  lb1, lb2: vips: vip x: missing in vip_map",
        "      since when is unknown, after 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z",
        "",
        "the inventory says otherwise than the last run did:",
        "  lb2: vips: vip x: added",
        "      last applied at 2026-01-01T00:00:00Z, its file",
        "",
        "differs from the inventory:",
        "  lb2: host: would: start katran-agent.service",
        "      since 2026-01-03T00:00:00Z, its file",
    ]
    assert found.exit_status == 3
    assert found.summary == "drift: 4 differences on lb1, lb2 (3 balancers)"


def test_who_has_another_ring_is_named() -> None:
    found = fleet(lb1=answer(), lb2=answer(ring="r2"), lb3=answer())
    assert [(host, each.what) for host, each in found.findings] == [
        ("lb2", f"vip {VIP}: its ring is another than that of lb1, lb3")
    ]
    assert not any("rings" in line for line in found.same)


def told(found: Fleet) -> list[tuple[str, str]]:
    return [(host, each.what) for host, each in found.findings]


def test_of_two_that_differ_neither_is_blamed() -> None:
    sentence = f"vip {VIP}: lb1 and lb2 differ in its ring"
    found = fleet(lb1=answer(ring="r2"), lb2=answer())
    assert told(found) == [("lb1", sentence), ("lb2", sentence)]
    assert f"  lb1, lb2: vips: {sentence}" in list(found.lines())
    found = fleet(lb1=answer(), lb2=answer(), lb3=answer(ring="r2"), lb4=answer(ring="r2"))
    assert {what for _host, what in told(found)} == {f"vip {VIP}: lb1, lb2 and lb3, lb4 differ in its ring"}


def test_who_is_known_to_be_another_than_the_inventory_is_named() -> None:
    own = finding("vips", CHANGED, f"vip {VIP}: 12 ring slots changed")
    found = fleet(lb1=answer(own, ring="r2"), lb2=answer())
    assert told(found) == [
        ("lb1", f"vip {VIP}: 12 ring slots changed"),
        ("lb1", f"vip {VIP}: its ring is another than that of lb2"),
    ]
    # More of them than of the others.
    found = fleet(lb1=answer(own, ring="r2"), lb2=answer(own, ring="r2"), lb3=answer())
    assert [host for host, what in told(found) if "that of lb3" in what] == ["lb1", "lb2"]
    # Another VIP is another matter, and so is an inventory that went on.
    for other in (finding("vips", CHANGED, "vip x: 1 ring slot changed"), finding("vips", AHEAD, f"vip {VIP}: added")):
        assert fleet(lb1=answer(other, ring="r2"), lb2=answer()).findings[-1][1].what.endswith("differ in its ring")
    # Nobody is left who is right by the inventory.
    found = fleet(lb1=answer(own, ring="r2"), lb2=answer(own))
    assert told(found)[1] == ("lb1", f"vip {VIP}: lb1 and lb2 differ in its ring")


def test_of_two_programs_neither_is_blamed() -> None:
    found = fleet(lb1=answer(tag="t1"), lb2=answer(tag="t2"))
    sentence = "lb1 (t1) and lb2 (t2) differ in the program's tag, though sources, settings and kernel are the same"
    assert told(found) == [("lb1", sentence), ("lb2", sentence)]
    own = finding("balancer", CHANGED, "the program is another than the one on record")
    assert [host for host, _what in told(fleet(lb1=answer(own, tag="t1"), lb2=answer(tag="t2")))] == ["lb1", "lb1"]


def test_a_ring_that_a_person_or_a_check_made_another_is_no_drift() -> None:
    found = fleet(lb1=answer(), lb2=answer(ring="r2", words=("by hand", "by check")), lb3=answer())
    assert found.exit_status == 0
    note = f"  lb2: vip {VIP}: its ring is this balancer's own: reals are out by hand and by check"
    assert note in list(found.lines())


def test_words_that_every_balancer_has_leave_its_ring_the_fleet_s() -> None:
    found = fleet(lb1=answer(words=("by check",)), lb2=answer(words=("by check",)))
    assert found.exit_status == 0
    assert f"  lb1, lb2: vip {VIP}: reals are out by check" in list(found.lines())


def test_another_configuration_has_another_ring() -> None:
    other = answer(ring="r2")
    other["compared"]["configured"][VIP] = "of another site"
    assert fleet(lb1=answer(), lb2=other).exit_status == 0


def test_another_program_of_the_same_sources_is_named() -> None:
    found = fleet(lb1=answer(), lb2=answer(), lb3=answer(tag="t2"))
    [(host, each)] = found.findings
    assert (host, each.area, each.kind) == ("lb3", "balancer", CHANGED)
    assert each.what == (
        "its program has tag t2, and that of lb1, lb2 t1, though sources, settings and kernel are the same"
    )
    # Another kernel makes another program.
    other = answer(tag="t2")
    other["compared"]["program"]["kernel"] = "6.12"
    assert fleet(lb1=answer(), lb2=other).exit_status == 0


def test_who_does_not_answer_is_a_finding() -> None:
    found = fleet(lb1=answer(), lb2={"unreachable": True, "msg": "no\n route"}, lb3={"failed": True, "msg": "no bcc"})
    assert [(host, each.kind, each.what) for host, each in found.findings] == [
        ("lb2", UNKNOWN, "not reached: no route"),
        ("lb3", UNKNOWN, "not compared: no bcc"),
    ]
    assert found.exit_status == 3
    assert found.summary == "drift: not compared: lb2, lb3 (3 balancers)"
    lines = list(found.lines())
    assert lines[0] == "lb1: as the inventory says"
    assert "could not be compared:" in lines


def test_notes_are_folded_though_they_began_apart() -> None:
    notes = ["real 10.0.0.1 is out by check since 2026-01-01T00:00:01.5+00:00 (refused)", "a note"]
    later = ["real 10.0.0.1 is out by check since 2026-01-01T00:00:03.5+00:00 (refused)", "a note"]
    lines = list(fleet(lb1=answer(notes=notes), lb2=answer(notes=later)).lines())
    assert lines[-2:] == [
        (
            "  lb1, lb2: real 10.0.0.1 is out by check since 2026-01-01T00:00:01.5+00:00 to 2026-01-01T00:00:03.5+00:00"
            " (refused)"
        ),
        "  lb1, lb2: a note",
    ]


def test_a_fleet_of_nobody() -> None:
    assert Fleet([]).exit_status == 0
    assert Fleet([Compared("real1", ["real"])]).summary == "no drift: 1 real as the inventory says"
