# SPDX-License-Identifier: GPL-3.0-or-later
"""A program and its maps: those of one that fails go with it, and none runs with maps that nobody writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._program import canary
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    MAPS,
    REALS,
    STATE,
    apply,
    attached,
    changed_sources,
    contents,
    ensure,
    files,
    flows,
    forwards,
    lead_out,
    map_ids,
    pinned,
    pins,
    roll_back,
    send,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox

WIDE = vips(address="203.0.113.0/24")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        lead_out()
        ensure()
        apply([vips()])
        yield


@pytest.mark.parametrize("place", ["verifier", "self-test", "swap"])
def test_maps_of_a_program_that_fails_go_with_it(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one would take them for its own, whatever was in them."""
    there = (pins(), files(), map_ids(), attached())
    options: dict[str, Any] = {"features": ["cidr_vips", "inline_decap"]}
    if place == "verifier":
        head = "int balancer(struct xdp_md *ctx)\n{"
        options["source_dir"] = changed_sources(
            "rejected", balancer_bpf_c=(head, f"{head}\nagain: if (bpf_ktime_get_ns()) goto again;\n")
        )
    elif place == "self-test":
        options["source_dir"] = changed_sources("faulty", outer_h=("TTL 64", "TTL 63"))
    else:

        def refuse(*_arguments: object) -> None:
            raise ProgramError("refused")

        monkeypatch.setattr(canary.Counters, "verify", refuse)
    with pytest.raises(ProgramError):
        ensure(**options)
    assert (pins(), files(), map_ids(), attached()) == there
    assert forwards()


def test_the_slot_to_itself_is_taken_before_the_first_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that is decapsulated before the change-over is done is balanced all the same."""
    seen: list[tuple[int, int]] = []

    def look(*_arguments: object) -> None:
        with bpf.open_map(f"{MAPS}/subprograms") as subprograms:
            value = subprograms.lookup(layout.u32(0))
        there = attached()
        assert there is not None
        seen.append((layout.parse_u32(value or bytes(4)), there[0]))

    monkeypatch.setattr(canary.Counters, "verify", look)
    before = attached()
    ensure(features=["inline_decap"])
    [(slot, running)] = seen
    assert slot == running == pinned()
    assert before is not None
    assert running != before[0]


def test_the_previous_program_does_not_come_back_with_maps_that_nobody_writes() -> None:
    """Somebody removed a pin of its: the map is made anew, while the old program has the one that is lost."""
    ensure(features=["cidr_vips"])
    ensure(features=["vlan"])
    previous = pinned("balancer_previous")
    os.unlink(f"{MAPS}/vip_lpm4_map")
    roll_back()
    assert attached() == (pinned(), "native")
    assert pinned() != previous
    apply([WIDE])
    fd = bpf.open_pin(f"{BPFFS}/katran/default/balancer")
    used = bpf.program_info(fd).map_ids
    os.close(fd)
    assert map_ids()["vip_lpm4_map"] in used
    assert contents("vip_lpm4_map")


def test_a_program_from_before_outgrown_tables_keeps_its_flows_when_they_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It looks into no other table than its own: that one has the flows before it gets any packet."""
    older = changed_sources("older", known_choice_h=("entry = find_outgrown_entry(table->cpu, flow);", "entry = NULL;"))
    ensure(source_dir=older)
    send({20000 + number: number for number in range(200)})
    before = {flow: real for flow, (real, _cpu) in flows().items()}
    assert len(before) >= 200
    # What has no entry would be chosen this one. The others stay reals, of another VIP.
    apply([vips("10.0.0.99"), vips(address="198.51.100.9")])
    insert = bpf.Map.insert_many
    copied = []

    def meanwhile(table: bpf.Map, entries: Any) -> None:
        found = list(entries)
        copied.append(len(found))
        # A packet of each flow, before any of them is in the new table.
        send({layout.parse_flow_key(flow)[2]: 1 for flow, _value in found})
        insert(table, found)

    monkeypatch.setattr(bpf.Map, "insert_many", meanwhile)
    ensure(source_dir=older, sizes={"flows": 6000})
    assert max(copied) >= 200
    assert {flow: real for flow, (real, _cpu) in flows().items()} == before


def test_the_digests_of_rings_that_were_built_anew_are_written_down() -> None:
    """The next run of the VIPs finds them as the state says, and has nothing to write into it."""
    ensure(sizes={"ring": 2003}, accept_rehash=True)
    state = STATE / "state.json"
    before = (state.read_bytes(), state.stat().st_ino)
    assert not apply([vips()]).changed
    assert (state.read_bytes(), state.stat().st_ino) == before
    known = StateFile("default", BPFFS).read()
    [number] = known.vip_numbers.assigned.values()
    # A slot that somebody changes is therefore told.
    with KernelMaps(MAPS) as maps, maps.map("ch_rings").mmap(writable=True) as slots:
        at = number * 2003 * 8
        slots[at : at + 8] = bytes(8)
    assert apply([vips(*REALS)]).drift == [f"vip {vips()['address']}:80/udp: 1 ring slots changed, repaired"]
