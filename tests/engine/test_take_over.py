# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Katran (its stand-in) is replaced on its own host, with its flows, under load; and put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.katran import read_katran, told
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.katran_maps import Place
from ansible_collections.katran.fleet.plugins.module_utils._kernel.root_array import put_program, slots
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.plugins.plugin_utils.katran_inventory import inventory_of
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    PINS,
    REALS,
    SIZES,
    VIP,
    apply,
    attached,
    contents,
    flows,
    forwards,
    lead_out,
    pinned,
    pins,
    remove,
    roll_back,
    send,
    stream,
    vips,
    wanted,
)
from ansible_collections.katran.fleet.tests.engine.playbooks import run_playbook
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, killed_after, sandbox
from ansible_collections.katran.fleet.tests.engine.standin import Standin, provision

SCENARIO: dict[str, Any] = {
    "sources": BPF,
    # Another timeout, so that the kernel's tag of it is another than ours.
    "balancer": {"udp_timeout": 31, "sizes": {name: SIZES[name] for name in ("vips", "reals", "ring", "flows")}},
    "vips": [vips()],
}


def take_over(check: bool = False, after_vips: bool = True, **options: Any) -> Result:
    """One run of module balancer, as role balancer's last task has it."""
    asked = wanted(replace_foreign=True, **options)
    again = {"after_vips": after_vips, "ends_rollback": True}
    return Balancer("default", BPFFS).ensure(Wanted(**{**vars(asked), **again}), check, 5)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        lead_out()
        yield


@pytest.fixture(name="katran")
def running() -> Iterator[Standin]:
    made = provision(SCENARIO)
    made.attach(LINK)
    yield made
    made.close()


@pytest.fixture(name="ready")
def prepared(katran: Standin) -> Standin:
    """Ours is loaded beside it, and has the same VIPs."""
    assert take_over(after_vips=False).waits
    apply([vips()])
    return katran


def real_of(ids: dict[str, int]) -> dict[int, str]:
    return {number: address for address, number in ids.items()}


def our_ids() -> dict[int, str]:
    """Id → address of our reals."""
    return {
        layout.parse_u32(key): layout.unpack_address(layout.parse_real_definition(value)[0], False)
        for key, value in contents("reals").items()
    }


def moved(katran: Standin) -> dict[bytes, str]:
    """Flows that lead elsewhere than the ring says, which only a table can know: flow → address."""
    found = {}
    for number in range(300):
        flow = layout.flow_key(
            layout.pack_address("203.0.113.9"), layout.pack_address(VIP), 30000 + number, 80, layout.PROTOCOLS["tcp"]
        )
        found[flow] = REALS[number % len(REALS)]
    katran.learn({flow: katran.reals[real] for flow, real in found.items()})
    return found


def test_it_waits_for_vips_and_then_takes_the_place_with_all_flows(katran: Standin) -> None:
    known = moved(katran)
    first = take_over(after_vips=False)
    assert "stays until VIPs are applied here" in first.waits
    assert attached() == (katran.program, "native")
    assert not take_over(after_vips=False).changed
    apply([vips()])
    review = take_over(check=True)
    done = take_over()
    assert review.changes == done.changes
    assert done.changes == [
        f"attach to {LINK} in native mode",
        f"hold the Katran that runs there (program {katran.program}), to go back to it",
        f"copy its flows (program {katran.program})",
    ]
    assert attached() == (pinned(), "native")
    assert pinned("balancer_foreign") == katran.program
    names = our_ids()
    assert {flow: names[flows()[flow][0]] for flow in known} == known
    assert not take_over().changed
    assert not take_over(check=True).changed
    assert forwards()


def test_it_goes_back_with_what_was_learned_meanwhile(ready: Standin) -> None:
    take_over()
    send({50000 + number: number for number in range(50)})
    names, theirs = our_ids(), real_of(ready.reals)
    learned = {flow: names[real] for flow, (real, _cpu) in flows().items()}
    assert len(learned) >= 50
    review = roll_back(check=True)
    done = roll_back()
    assert (
        review.changes
        == done.changes
        == [
            f"attach the Katran (program {ready.program}) to {LINK} in native mode again",
            "copy the flows that were learned meanwhile",
        ]
    )
    assert attached() == (ready.program, "native")
    assert {flow: theirs[real] for flow, (real, _cpu) in ready.flows().items()} == learned
    assert not roll_back().changed
    assert forwards()
    # A deploy leaves it at that, until it is told otherwise.
    again = Balancer("default", BPFFS).ensure(wanted(replace_foreign=True), False, 5)
    assert not again.changed
    assert any("gone back to by hand and stays" in line for line in again.warnings)
    # And there again, with flows that Katran learned since.
    known = moved(ready)
    take_over()
    names = our_ids()
    assert {flow: names[flows()[flow][0]] for flow in known} == known
    assert pinned("balancer_foreign") == ready.program


def test_no_packet_is_lost_there_and_back(ready: Standin) -> None:
    with stream() as traffic:
        for _swap in range(2):
            take_over()
            assert attached() == (pinned(), "native")
            roll_back()
            assert attached() == (ready.program, "native")
        result = traffic.stop()
    assert result.sent > 1000
    assert result.lost == []


def test_killed_anywhere_the_next_run_converges(ready: Standin) -> None:
    known, steps = moved(ready), 0
    while killed_after(steps, take_over):
        assert forwards(), steps
        steps += 7
        assert forwards()
    take_over()
    names = our_ids()
    assert {flow: names[flows()[flow][0]] for flow in known} == known
    assert not take_over().changed
    steps = 0
    while killed_after(steps, roll_back):
        assert forwards(), steps
        steps += 7
    roll_back()
    assert attached() == (ready.program, "native")
    assert not roll_back().changed


def test_an_upgrade_of_ours_lets_it_go_and_removal_leaves_nothing(ready: Standin) -> None:
    take_over()
    done = take_over(udp_timeout=40)
    assert f"let go of the Katran that was replaced (program {ready.program})" in done.changes
    assert pinned("balancer_foreign") is None
    # Its own previous program is what it goes back to now.
    assert roll_back().changes[0].startswith("go back to the program")
    remove()
    assert pins() == []


def test_removal_lets_it_go_as_well(ready: Standin) -> None:
    take_over()
    assert pinned("balancer_foreign") == ready.program
    remove()
    assert pins() == []


def test_in_shared_mode_it_takes_its_slot_and_gives_that_back() -> None:
    Root("shared", BPFFS).ensure(RootSettings((LINK,), "native", BPF), False, 5)
    slot = RootArray(f"{BPFFS}/katran/shared/maps/root_array", 1)
    katran = provision(SCENARIO)
    put_program(slot, katran.fd)
    found = read_katran(Place(interfaces=(LINK,)))
    assert found.seen.program == katran.program
    assert any("behind an array of programs" in line for line in found.imported.notes)
    place = {"interfaces": [], "root_array": slot._asdict()}
    assert take_over(after_vips=False, **place).waits
    apply([vips()])
    known = moved(katran)
    take_over(**place)
    assert slots(slot.path)[1] == pinned()
    names = our_ids()
    assert {flow: names[flows()[flow][0]] for flow in known} == known
    assert forwards()
    assert not take_over(**place).changed
    assert roll_back().changes[0] == f"put the Katran (program {katran.program}) into slot 1 of {slot.path} again"
    assert slots(slot.path)[1] == katran.program
    assert forwards()
    assert not roll_back().changed
    katran.close()


PLAY = """
- hosts: balancers
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: katran.fleet.balancer, tasks_from: preflight}
    - ansible.builtin.include_role: {name: katran.fleet.balancer, tasks_from: run}
"""
INVENTORY = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: /usr/bin/python3
    katran_replace_foreign: true
    katran_mtu_check: "off"
"""


def test_a_deploy_of_the_imported_inventory_takes_the_place(katran: Standin, tmp_path: Path) -> None:
    known = moved(katran)
    found = inventory_of({"lb1": told(read_katran(Place()))}, "balancers")
    files = {"play.yml": PLAY, "hosts/all.yml": INVENTORY}
    for name, text in {**files, **{f"hosts/{name}": text for name, text in found.files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # Of the role's, the tasks alone: the sources are in the sandbox already.
    words = ("-i", f"{tmp_path}/hosts", f"{tmp_path}/play.yml", "-e", "balancer_library=/run")
    done = run_playbook(*words)
    assert done.returncode == 0, done.stdout
    assert "stays until VIPs are applied" in done.stdout + done.stderr
    assert attached() == (pinned(), "native")
    names = our_ids()
    assert {flow: names[flows()[flow][0]] for flow in known} == known
    again = run_playbook(*words)
    assert "changed=0" in again.stdout, again.stdout


def test_what_is_gone_is_a_sentence(ready: Standin) -> None:
    del ready
    take_over()
    os.unlink(f"{PINS}/balancer_foreign")
    with pytest.raises(ProgramError, match="has no Katran to go back to"):
        roll_back()
    assert bpf.is_bpffs(BPFFS)
