# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of VIPs and reals, and what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.status import (
    Live,
    Place,
    RealStatus,
    Ring,
    VipStatus,
    differences,
    real_statuses,
    vip_statuses,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import NO_WORDS, Verdict, Words
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

WEB, NET, FOREIGN = (VipKey.read(name) for name in ("198.51.100.1:443/tcp", "203.0.113.0/24:0/tcp", "192.0.2.9:80/udp"))
A, B, C, D = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
CHECK = Check(Probe("tcp"), min_healthy=50)
VIP = Vip(WEB, ("quic",), reals=(VipReal(A, 3), VipReal(B, 1), VipReal(C, 1, "draining")), check=CHECK)
REALS = {1: VipReal(A), 2: VipReal(B), 3: VipReal(C)}
COUNTS = {A: (10, 1000), B: (5, 500)}
RING = Ring(100, False, slots={1: 75, 2: 25})
SINCE = "2026-11-27T12:00:00+00:00"


def live(**options: Any) -> Live:
    found = Live(
        {WEB: (4, 7)}, {7: RING}, REALS, {WEB: (15, 1500)}, COUNTS, frozenset({"vip_map", "vip_lpm4_map", "reals"})
    )
    return replace(found, **options)


def status(words: Words = NO_WORDS, place: Place | None = None, nowhere: str = "", **options: Any) -> VipStatus:
    places = {} if place is None else {"198.51.100.1": place}
    (found,) = vip_statuses({WEB: VIP}, words, live(**options), places, nowhere)
    return found


def test_a_vip_that_is_well() -> None:
    found = status()
    assert found == VipStatus(
        "198.51.100.1:443/tcp", "ready", reals=3, reals_in=2, ring_share=1.0, flags=("quic",), checked=True, packets=15,
        bytes=1500,
    )  # fmt: skip
    assert found.is_well
    assert "members" not in found.to_data(members=False)
    assert found.to_data()["members"] == ()


@pytest.mark.parametrize(
    ("place", "state", "reasons", "well"),
    [
        (Place("announced", (), 1, SINCE), "announced", (), True),
        (Place("announced", ("no real is healthy",), 1, SINCE), "announced", ("no real is healthy",), True),
        (Place("draining", ("by bob",), 2, SINCE), "draining", ("by bob",), False),
        (Place("withdrawn", ("the gateway",), 0, SINCE), "withdrawn", ("the gateway",), False),
        # The kernel is the truth of what a router hears.
        (Place("announced", (), 0, SINCE), "withdrawn", ("its route is missing in the kernel's table",), False),
    ],
)
def test_what_is_announced(place: Place, state: str, reasons: tuple[str, ...], well: bool) -> None:
    found = status(place=place)
    assert (found.state, found.reasons, found.since, found.is_well) == (state, reasons, SINCE, well)


def test_why_a_vip_is_down() -> None:
    place = Place("withdrawn", ("no real",), 0)
    assert status(nowhere="it runs nowhere").reasons == ("it runs nowhere",)
    empty = status(place=place, rings={7: Ring(100, True)})
    assert (empty.state, empty.reals_in, empty.ring_share) == ("down", 0, 0.0)
    assert empty.reasons == ("its ring is empty: no real takes new flows", "no real")
    gone = status(vips={}, place=place)
    assert (gone.state, gone.reasons, gone.reals_in, gone.ring_share) == (
        "down", ("it is not in the kernel's map of VIPs",), 0, 0.0,
    )  # fmt: skip
    assert status(vips={}, maps=frozenset()).reasons == ("its map is not there (bpffs?)",)


def test_a_ring_that_somebody_edited() -> None:
    found = status(rings={7: Ring(100, False, True, {0: 40, 1: 50, 9: 10})})
    assert (found.edited, found.ring_share, found.reals_in, found.is_well) == (True, 0.6, 1, False)
    assert Ring(0, False, slots={}).share == 1.0


def test_a_floor_that_keeps_reals_in() -> None:
    words = Words({}, {str(WEB): {A: Verdict(str(WEB), A, "down", SINCE, "timed out")}})
    found = status(words)
    assert found.degraded == f"{A} (down: timed out) stays in: min_healthy is 50 %"
    assert not found.is_well
    (held,) = vip_statuses({WEB: VIP}, words, live(), {}, chosen=lambda _key, real: real == A)[0].members
    assert (held.state, held.by, held.held, held.reason) == ("active", "inventory", "down: timed out", "")


def test_whose_word_it_is() -> None:
    words = Words({B: Overlay(B, "down", SINCE)}, {str(WEB): {B: Verdict(str(WEB), B, "down", SINCE, "refused")}})
    (found,) = vip_statuses({WEB: VIP}, words, live(), {}, chosen=lambda _key, _real: True)
    assert [(each.real, each.state, each.by, each.weight, each.slots, each.share) for each in found.members] == [
        (A, "active", "inventory", 3, 75, 0.75),
        (B, "down", "hand", 1, 25, 0.25),
        (C, "draining", "inventory", 1, 0, 0.0),
    ]
    assert [(each.packets, each.bytes) for each in found.members] == [(10, 1000), (5, 500), (0, 0)]
    assert [each.since for each in found.members] == [None, SINCE, None]
    assert (found.reals, found.reals_in) == (3, 1)
    words = Words({}, {str(WEB): {B: Verdict(str(WEB), B, "draining", SINCE, "503")}})
    members = vip_statuses({WEB: VIP}, words, live(), {}, chosen=lambda _key, _real: True)[0].members
    assert [(each.by, each.reason, each.since) for each in members] == [
        ("inventory", "", None),
        ("check", "503", SINCE),
        ("inventory", "", None),
    ]


def test_who_is_in_a_ring_and_should_not() -> None:
    edited = Ring(100, False, True, {0: 10, 1: 40, 3: 30, 9: 20})
    vip = replace(VIP, reals=VIP.reals[:2])
    (found,) = vip_statuses({WEB: vip}, NO_WORDS, live(rings={7: edited}), {}, chosen=lambda _key, _real: True)
    assert [(each.real, each.by, each.slots, each.share) for each in found.members] == [
        (A, "inventory", 40, 0.4),
        (B, "inventory", 0, 0.0),
        (C, "ring", 30, 0.3),
        ("id 9", "ring", 20, 0.2),
    ]
    # By the name of one real, the VIP is shown with that, and with what nobody expects.
    (found,) = vip_statuses({WEB: vip}, NO_WORDS, live(rings={7: edited}), {}, chosen=lambda _key, real: real == B)
    assert [each.real for each in found.members] == [B, C, "id 9"]
    assert vip_statuses({WEB: vip}, NO_WORDS, live(), {}, chosen=lambda _key, _real: False) == []


def test_a_vip_that_is_only_in_the_kernel() -> None:
    there = live(vips={WEB: (4, 7), FOREIGN: (1, 8)}, rings={7: RING, 8: Ring(10, False, slots={2: 10, 5: 0})})
    found = vip_statuses({WEB: VIP}, NO_WORDS, there, {})
    assert [(each.vip, each.reals, each.flags) for each in found] == [
        (str(FOREIGN), 1, ("hash_no_src_port",)),
        (str(WEB), 3, ("quic",)),
    ]
    # One whose number no ring has.
    found = vip_statuses({}, NO_WORDS, live(rings={}), {}, chosen=lambda _key, _real: True)
    assert [(each.vip, each.state, each.members) for each in found] == [(str(WEB), "down", ())]


def test_reals() -> None:
    other = Vip(NET, reals=(VipReal(A), VipReal(D, local=True)))
    words = Words({A: Overlay(A, "draining", SINCE)})
    there = live(reals={**REALS, 4: VipReal(D, local=True), 9: VipReal("fc00::1")})
    found = real_statuses({WEB: VIP, NET: other}, words, there, {1: 17})
    assert found == [
        RealStatus(
            A, 1, False, (str(WEB), str(NET)), {"draining": 2}, {"state": "draining", "since": SINCE}, 10, 1000, 17
        ),
        RealStatus(B, 2, False, (str(WEB),), {"active": 1}, None, 5, 500, 0),
        RealStatus(C, 3, False, (str(WEB),), {"draining": 1}, None, 0, 0, 0),
        RealStatus(D, 4, True, (str(NET),), {"active": 1}, None, 0, 0, 0),
        RealStatus("fc00::1", 9, False, (), {}, None, 0, 0, 0),
    ]
    assert [each.flows for each in real_statuses({WEB: VIP}, words, live())] == [None, None, None]
    # One that the kernel has not.
    assert real_statuses({WEB: VIP}, NO_WORDS, live(reals={}), {})[0].id == 0


def entry(address: str) -> bytes:
    return layout.real_definition(layout.pack_address(address), 0)


ENTRIES = {layout.u32(number): entry(real.address) for number, real in REALS.items()}
STATE = State(
    "default", "/sys/fs/bpf", real_ids=Ids(1, {A: 1, B: 2, C: 3}), vip_numbers=Ids(0, {str(WEB): 7, str(NET): 8})
)


@pytest.mark.parametrize(
    ("there", "reals", "lines"),
    [
        (live(), ENTRIES, []),
        (live(vips={}), ENTRIES, [f"vip {WEB}: missing in vip_map"]),
        (live(vips={WEB: (5, 7)}), ENTRIES, [f"vip {WEB}: changed in vip_map"]),
        (live(vips={WEB: (4, 8)}), ENTRIES, [f"vip {WEB}: changed in vip_map"]),
        (
            live(rings={7: RING._replace(edited=True)}),
            ENTRIES,
            [f"vip {WEB}: its ring is not as the last run left it"],
        ),
        (
            live(vips={WEB: (4, 7), FOREIGN: (0, 9), NET: (0, 8)}),
            ENTRIES,
            [f"vip {FOREIGN}: not ours, in vip_map", f"vip {NET}: not ours, in vip_lpm4_map"],
        ),
        (live(), {**ENTRIES, layout.u32(2): entry(D)}, [f"real {B}: changed in reals"]),
        (
            live(),
            {key: value for key, value in ENTRIES.items() if key != layout.u32(1)},
            [f"real {A}: missing in reals"],
        ),
        (live(), {**ENTRIES, layout.u32(9): entry(D)}, ["real with id 9: not ours, in reals"]),
    ],
)
def test_what_somebody_else_changed(there: Live, reals: dict[bytes, bytes], lines: list[str]) -> None:
    assert differences(STATE, {WEB: VIP}, there, reals) == lines


def test_what_cannot_be_said() -> None:
    gone = live(vips={})
    assert differences(replace(STATE, lost=True), {WEB: VIP}, gone, {}) == []
    told = ["vips: a run was interrupted; the next one puts in order what it left"]
    assert differences(replace(STATE, interrupted=["vips"]), {WEB: VIP}, gone, {}) == told
    # Another resource's run may have left reals.
    assert differences(replace(STATE, interrupted=["server_ids"]), {WEB: VIP}, live(), {}) == []
    # A program that has no prefixes cannot have one of theirs.
    net = Vip(NET, reals=(VipReal(A),))
    assert differences(STATE, {WEB: VIP, NET: net}, live(maps=frozenset({"vip_map", "reals"})), ENTRIES) == []
