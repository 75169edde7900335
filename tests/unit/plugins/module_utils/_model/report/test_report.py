# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's pure part: what a balancer tells, what differs, what is wrong, shares, what the page's script gets."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.families import DROPS as METRICS
from ansible_collections.katran.fleet.plugins.module_utils._model.report.differences import Difference, compare
from ansible_collections.katran.fleet.plugins.module_utils._model.report.health import (
    ERROR,
    WARNING,
    Out,
    Trouble,
    Unannounced,
    health_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.report.hosts import Told, told_of
from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import DROPS, report_of
from ansible_collections.katran.fleet.plugins.module_utils._model.report.told import Pools, told_out, told_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.report.vips import (
    packed,
    packed_shares,
    real_rows,
    vip_rows,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.status import RealOfVip, VipStatus

VIP, DNS = "198.51.100.1:443/tcp", "198.51.100.2:53/udp"
Facts = dict[str, Any]


def vip(name: str = VIP, flows: str = "", **other: Any) -> Facts:
    told = {
        "vip": name,
        "state": "announced",
        "reasons": [],
        "degraded": "",
        "since": None,
        "reals": 2,
        "reals_in": 2,
        "edited": False,
        "packets": 10,
        "bytes": 1000,
        "pool": 0,
        "flows": flows,
        "astray": 0,
        "ring": "r",
        "configured": "c",
        "words": [],
    }
    return {**told, **other}


def facts(*vips: Facts, **other: Any) -> Facts:
    told: Facts = {
        "installed": True,
        "instance": "default",
        "kernel": "6.1",
        "findings": [],
        "notes": [],
        "loaded": True,
        "program": {"tag": "t", "encapsulation": "gue", "features": [], "gateway_mac": "02:00:00:00:00:09"},
        "attached": [{"place": "interface eth1", "mode": "native", "program_id": 1, "wrong": ""}],
        "agent": "running",
        "drained": None,
        "counters": {"frames_seen": 1000, "frames_dropped": 10, "ring_slot_empty": 6},
        "tables": [],
        "differences": [],
        "problems": [],
        "by_hand": {},
        "sources": "s",
        "made_of": {"encapsulation": "gue", "sizes": {"ring": 100}},
        "ring_size": 100,
        "reals": ["10.0.0.1", "10.0.0.2"],
        "real_flows": "0 0",
        "real_packets": "7 3",
        "pools": [{"reals": "0 1", "slots": "75 25"}],
        "vips": list(vips) or [vip()],
        "out": [],
        "looked": 0,
        "history": [],
    }
    return {**told, **other}


def fleet(**hosts: Facts) -> list[Told]:
    return [told_of(host, {"facts": each}) for host, each in hosts.items()]


# What a host tells


def member(real: str, slots: int, **other: Any) -> RealOfVip:
    return RealOfVip(real, **{"state": "active", "by": "inventory", "weight": 1, "slots": slots, **other})


def test_vips_of_the_same_reals_and_slots_share_a_pool() -> None:
    members = (member("10.0.0.1", 75), member("10.0.0.2", 25))
    vips = [
        VipStatus("a", "announced", members=members),
        VipStatus("b", "announced", members=members),
        VipStatus("c", "announced", members=(member("10.0.0.2", 75), member("id 9", 25, by="ring"))),
    ]
    pools = Pools(["10.0.0.1", "10.0.0.2"])
    told = told_vips(vips, pools, {("a", "10.0.0.2"): 4, ("a", "10.0.0.7"): 2, ("c", "id 9"): 1})
    assert [each["pool"] for each in told] == [0, 0, 1]
    assert [each["flows"] for each in told] == ["0 4", "", "0 1"]
    assert [each["astray"] for each in told] == [2, 0, 0]
    assert pools.listed() == [{"reals": "0 1", "slots": "75 25"}, {"reals": "1 2", "slots": "75 25"}]
    assert pools.reals == ["10.0.0.1", "10.0.0.2", "id 9"]


def test_a_real_that_is_out_of_many_vips_is_told_once() -> None:
    down = member("10.0.0.1", 0, state="down", by="check", since="2026-05-04T03:10:00Z", reason="refused")
    vips = [VipStatus(name, "announced", members=(down, member("10.0.0.2", 9))) for name in "abcd"]
    vips.append(VipStatus("e", "announced", members=(member("10.0.0.2", 9, held="down: refused"),)))
    rows = told_out(vips)
    assert [(each["real"], each["state"], each["vips"], each["first"]) for each in rows] == [
        ("10.0.0.1", "down", 4, ["a", "b", "c"]),
        ("10.0.0.2", "active", 1, ["e"]),
    ]


# Who answered


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"unreachable": True, "msg": "No\n route"}, "it does not answer: No route"),
        ({"failed": True, "msg": "needs CAP_BPF"}, "needs CAP_BPF"),
        ({"failed": True, "module_stderr": "Traceback\nKeyError: 'x'"}, "KeyError: 'x'"),
        ({}, "no reason was given"),
        ({"facts": {"installed": False, "instance": "a"}}, "there is no balancer of instance a on it"),
        ({"facts": {"installed": True}}, ""),
    ],
)
def test_why_a_balancer_did_not_tell(result: Facts, why: str) -> None:
    found = told_of("lb1", result)
    assert (found.why, found.answered) == (why, not why)


# What differs


def test_alike() -> None:
    found = compare(fleet(lb1=facts(), lb2=facts(), lb3=facts()))
    assert found.differences == []
    assert found.same == [
        "program t",
        "attached, native",
        "1 VIP",
        "rings of 1 VIP",
        "1 VIP announced",
        "none is drained",
        "agent running",
        "no real by hand",
        "sources s",
        "settings",
        "kernel 6.1",
    ]


def test_one_differs_from_nobody_and_who_is_silent_from_none() -> None:
    assert compare(fleet(lb1=facts())) == ([], [])
    assert compare([*fleet(lb1=facts()), Told("lb2", {}, "no answer")]) == ([], [])
    assert compare([]) == ([], [])


@pytest.mark.parametrize(
    ("other", "what", "value"),
    [
        ({"program": {"tag": "u"}}, "Program", "u"),
        ({"loaded": False}, "Program", "not loaded"),
        ({"attached": []}, "Runs", "attached to nothing"),
        (
            {"attached": [{"place": "interface eth1", "mode": None, "wrong": "taken off"}]},
            "Runs",
            "not attached to 1 interface that it is to run on",
        ),
        (
            {"attached": [{"place": "slot 1", "mode": None, "wrong": ""}]},
            "Runs",
            "attached, in a slot of a root program",
        ),
        ({"drained": {"by": "jane", "since": "", "withdraw": True}}, "Drained", "drained by jane: routes withdrawn"),
        ({"agent": "stopped"}, "Agent", "stopped"),
        ({"by_hand": {"10.0.0.2": {"state": "down", "since": ""}}}, "Reals by hand", "10.0.0.2 down"),
        ({"sources": "z"}, "Program's sources", "z"),
        ({"made_of": {"encapsulation": "ipip", "sizes": {"ring": 100}}}, "Setting encapsulation", "ipip"),
        ({"made_of": {"encapsulation": "gue", "sizes": {"ring": 101}}}, "Setting sizes.ring", "101"),
        ({"kernel": "6.12"}, "Kernel", "6.12"),
    ],
)
def test_one_thing_differs(other: Facts, what: str, value: str) -> None:
    found = compare(fleet(lb1=facts(), lb2=facts(**other), lb3=facts()))
    assert [(each.what, each.sides[0][0], each.sides[1]) for each in found.differences] == [
        (what, "lb1, lb3", ("lb2", value))
    ]


def test_vips_that_differ_in_the_same_way_are_told_once() -> None:
    names = [f"198.51.100.{number}:443/tcp" for number in range(5)]
    many = [vip(name) for name in names]
    draining = [vip(name, state="draining", reasons=["drained"]) for name in names]
    found = compare(fleet(lb1=facts(*many, vip(DNS)), lb2=facts(*draining), lb3=facts(*many, vip(DNS))))
    assert found.differences == [
        Difference(f"Who has {DNS}", (("lb1, lb3", "has"), ("lb2", "has not"))),
        Difference(
            f"State of 5 VIPs: {', '.join(names[:3])} and 2 more",
            (("lb1, lb3", "announced"), ("lb2", "draining: drained")),
        ),
    ]


def test_rings_are_compared_where_the_configuration_is_the_same() -> None:
    mine = vip(ring="q", words=["by check"])
    found = compare(fleet(lb1=facts(), lb2=facts(mine), lb3=facts(vip(ring="z", configured="d")), lb4=facts()))
    assert found.differences == [
        Difference(
            f"Configuration of {VIP}",
            (("lb1, lb2, lb4", "one configuration"), ("lb3", "another configuration")),
        ),
        Difference(f"Ring of {VIP}", (("lb1, lb4", "one ring"), ("lb2", "another ring, as reals are out by check"))),
    ]
    changed = compare(fleet(lb1=facts(), lb2=facts(vip(ring="", edited=True)), lb3=facts()))
    assert changed.differences[0].sides[1] == ("lb2", "another ring, empty, changed by somebody else")


def test_of_as_many_and_as_many_none_is_the_odd_one() -> None:
    other = facts(vip(state="down"), kernel="6.12")
    found = compare(fleet(lb1=facts(), lb2=other, lb3=other, lb4=facts()))
    assert [(each.what, each.most) for each in found.differences] == [(f"State of {VIP}", False), ("Kernel", False)]
    assert all(each.most for each in compare(fleet(lb1=facts(), lb2=other, lb3=facts())).differences)


# Health


def finding(name: str, error: bool, about: str = "") -> Facts:
    return {"name": name, "about": about, "cause": "c", "remedy": "r", "error": error, "host": ""}


def test_troubles_are_told_once_and_errors_first() -> None:
    full = finding("flow_table_full", False, "lru_mapping")
    told = [
        *fleet(
            lb1=facts(findings=[full]),
            lb2=facts(findings=[full, finding("agent_down", True)], problems=["the same in other words"]),
            lb3=facts(problems=["its program runs nowhere"]),
        ),
        Told("lb4", {}, "it does not answer: x"),
    ]
    found = health_of(told)
    assert found.troubles == [
        Trouble(ERROR, "no answer", "", "lb4", "it does not answer: x", "see to the host, then write the report again"),
        Trouble(ERROR, "agent_down", "", "lb2", "c", "r"),
        Trouble(ERROR, "status", "", "lb3", "its program runs nowhere"),
        Trouble(WARNING, "flow_table_full", "lru_mapping", "lb1, lb2", "c", "r"),
    ]
    assert (found.errors, found.warnings) == (3, 1)


def out(real: str, state: str, by: str, since: str = "", reason: str = "", held: str = "", count: int = 1) -> Facts:
    named = {"real": real, "state": state, "by": by, "since": since, "reason": reason, "held": held}
    return {**named, "vips": count, "first": [VIP]}


def test_reals_out_of_service() -> None:
    one = out("10.0.0.1", "down", "check", "2026-05-04T03:10:09Z", "refused", count=3)
    two = out("10.0.0.1", "down", "check", "2026-05-04T03:12:00Z", "refused")
    held = out("10.0.0.2", "active", "inventory", held="down: refused")
    hand = out("10.0.0.9", "draining", "hand", "2026-05-01T00:00:00Z")
    found = health_of(fleet(lb1=facts(out=[hand, one]), lb2=facts(out=[two, held])))
    assert found.out == [
        Out("10.0.0.1", "down", "check", "2026-05-04 03:10 to 2026-05-04 03:12", "lb1, lb2", 3,
            f"{VIP} and 2 more", "refused"),
        Out("10.0.0.9", "draining", "hand", "2026-05-01 00:00", "lb1", 1, VIP, ""),
        Out(
            "10.0.0.2", "held", "inventory", "", "lb2", 1, VIP,
            "stays in, though checks say down: refused: its VIP's floor keeps it",
        ),
    ]  # fmt: skip


def test_vips_that_are_not_served() -> None:
    down = {"state": "down", "reasons": ["its ring is empty"]}
    found = health_of(
        fleet(
            lb1=facts(vip(**down), vip(DNS, state="withdrawn", reasons=["no check has answered"])),
            lb2=facts(vip(**down), vip(DNS, degraded="10.0.0.1 stays in")),
            lb3=facts(vip(), vip(DNS, state="ready")),
        )
    )
    assert found.unannounced == [
        Unannounced(VIP, "down", "lb1, lb2", "its ring is empty"),
        Unannounced(DNS, "withdrawn", "lb1", "no check has answered"),
        Unannounced(DNS, "degraded", "lb2", "10.0.0.1 stays in"),
    ]


# Shares


def test_what_is_expected_is_weighted_by_the_flows_of_each_balancer() -> None:
    other = [{"reals": "0 1", "slots": "0 100"}]
    [row] = vip_rows(fleet(lb1=facts(vip(flows="70 30")), lb2=facts(vip(flows="0 300"), pools=other)))
    assert [(each.real, each.expected, each.seen, each.flows) for each in row.shares] == [
        ("10.0.0.1", 75 / 400, 70 / 400, 70),
        ("10.0.0.2", 325 / 400, 330 / 400, 330),
    ]
    # Five of four hundred are chance.
    assert row.worst is not None
    assert not row.worst.is_odd
    assert row.flows == 400


def test_without_flows_the_rings_alone_are_told() -> None:
    [row] = vip_rows(fleet(lb1=facts(), lb2=facts(pools=[{"reals": "0 1", "slots": "25 75"}])))
    assert [(each.expected, each.flows) for each in row.shares] == [(0.5, 0), (0.5, 0)]
    assert row.worst is None


@pytest.mark.parametrize(
    ("flows", "odd"), [("7500 2500", False), ("7400 2600", False), ("7200 2800", True), ("60 40", False)]
)
def test_what_chance_does_not_explain(flows: str, odd: bool) -> None:
    [row] = vip_rows(fleet(lb1=facts(vip(flows=flows))))
    assert {each.is_odd for each in row.shares} == {odd}


@pytest.mark.parametrize(
    ("other", "level", "served"),
    [
        ({}, "", True),
        ({"state": "ready"}, "warning", True),
        ({"state": "draining"}, "warning", False),
        ({"reals_in": 1}, "warning", True),
        ({"reals_in": 0}, "error", False),
        ({"state": "down"}, "error", False),
    ],
)
def test_how_a_vip_is_marked(other: Facts, level: str, served: bool) -> None:
    [row] = vip_rows(fleet(lb1=facts(), lb2=facts(vip(**other)), lb3=facts()))
    assert row.level == level
    assert row.is_served == served
    assert next(iter(row.states)) == "announced"


def test_reals_that_are_out_come_first() -> None:
    told = fleet(lb1=facts(out=[out("10.0.0.2", "down", "check")]), lb2=facts(real_flows="5 6"))
    assert [tuple(each) for each in real_rows(told, vip_rows(told))] == [
        ("10.0.0.2", 1, 6, 6, "down by check"),
        ("10.0.0.1", 1, 5, 14, ""),
    ]


# The page's script


def unpacked(text: str) -> list[int]:
    """As the page's script reads it."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    found, value, scale = [], 0, 1
    for each in map(digits.index, text):
        value, scale = value + each % 32 * scale, scale * 32
        if each < 32:
            found.append(value)
            value, scale = 0, 1
    return found


def test_numbers_are_packed() -> None:
    values = [0, 1, 31, 32, 33, 1023, 1024, 65537, 10_000_000]
    assert unpacked(packed(values)) == values
    assert [len(packed([each])) for each in (31, 32, 1023, 1024)] == [1, 2, 2, 3]


def test_shares_are_packed() -> None:
    pools = [{"reals": "0 1", "slots": "75 25"}, {"reals": "1", "slots": "100"}]
    told = fleet(lb1=facts(vip(flows="7200 2800"), vip(DNS, flows="3", pool=1), vip("x"), pools=pools))
    found = packed_shares(vip_rows(told))
    assert found["reals"] == ["10.0.0.1", "10.0.0.2"]
    assert [unpacked(each) for each in found["lists"]] == [[0, 1], [1]]
    assert [unpacked(each) for each in found["expected"]] == [[7500, 2500], [10_000]]
    assert [each[:3] for each in found["vips"]] == [[0, 0, 10_000], [1, 1, 3], [0, 0, 0]]
    assert unpacked(found["vips"][0][3]) == [2 * 300 - 1, 2 * 300]
    assert [each[3] for each in found["vips"][1:]] == [packed([0]), ""]
    assert found["odd"] == {0: [0, 1]}


# The whole


def entry(number: int, run: str, began: str, what: str, kind: str = "applied") -> Facts:
    return {"number": number, "kind": kind, "began": began, "run": run, "user": "jane", "revision": "r", "what": what}


def test_the_page_of_a_fleet() -> None:
    assert set(DROPS) == set(METRICS)
    first = [entry(0, "", "2026-05-01T00:00:00Z", "nothing was there", "before")]
    one = [*first, entry(1, "aaaaaaaaaa", "2026-05-02T03:12:40Z", "a"), entry(2, "", "2026-05-03T03:12:40Z", "by hand")]
    two = [*first, entry(1, "aaaaaaaaaa", "2026-05-02T03:12:30Z", "b")]
    tables = [
        {"table": "lru_mapping", "tables": 2, "entries": 50, "capacity": 200, "fullest": [40, 100], "exact": True}
    ]
    told = [
        Told("lb10", {}, "it does not answer"),
        *fleet(lb9=facts(history=one, tables=tables), lb2=facts(history=two, drained={"by": "j", "withdraw": False})),
    ]
    found = report_of(told)
    assert [(each.host, each.state, each.level, each.announced, each.fill, each.last) for each in found.balancers] == [
        ("lb2", "drained", "warning", 1, 0.0, "2026-05-02 03:12"),
        ("lb9", "well", "", 1, 0.25, "2026-05-03 03:12"),
        ("lb10", "no answer", "error", 0, 0.0, ""),
    ]
    assert [(each.began, each.run, each.hosts, each.what) for each in found.runs] == [
        ("2026-05-03 03:12", "", "lb9", "by hand"),
        ("2026-05-02 03:12", "aaaaaaaa", "lb2, lb9", "b (lb2); 1 more"),
    ]
    assert [tuple(each) for each in found.tables] == [("lb9", "lru_mapping", 2, 50, 200, 0.4, True)]
    assert [(each.reason, each.packets, each.share, each.most) for each in found.drops[:2]] == [
        ("ring slot empty", 12, 0.006, "lb2 50 %, lb9 50 %"),
        ("malformed or other", 8, 0.004, "lb2 50 %, lb9 50 %"),
    ]
    assert found.summary == "1 balancer without an answer, 1 difference, 1 error (1 VIP over 3 balancers)"
    assert report_of([]).summary == "nothing differs and nothing is wrong (0 VIPs over 0 balancers)"
    assert found.programs[0].runs == "eth1 (native)"
