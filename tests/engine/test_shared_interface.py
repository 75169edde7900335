# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is balancer and real on one interface: one program does both, and none of ours puts another out."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_balancer, restore_real
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, every_attachment
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import parse_root
from ansible_collections.katran.fleet.tests.engine.real import LINK, REAL, A, B, answers, ensure, on_loopback, real_host
from ansible_collections.katran.fleet.tests.engine.real import remove as remove_real
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, ensure_balancer, killed_after, run

STRANGER = "192.0.2.66"
LEAVE = (
    "one program can do both: give feature inline_decap here (katran_extra_features), and attach: false to module decap"
    " (katran_real_attach: false)"
)
STAY = (
    "one program can do both: give attach: false here (katran_real_attach: false), and the balancer feature"
    " inline_decap (katran_extra_features)"
)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        yield


def balance(*features: str, **options: Any) -> Result:
    more = {"interfaces": [LINK], "source_ipv4": REAL, "source_ipv6": "auto", **options}
    return ensure_balancer("attached", features=list(features), **more)


def file() -> StateFile:
    return StateFile("default", BPFFS)


def program() -> str:
    """The name of the program on the interface."""
    number = {each.interface: each.program_id for each in every_attachment()}[LINK]
    fd = bpf.program_by_id(number)
    try:
        return bpf.program_info(fd).name
    finally:
        os.close(fd)


@pytest.mark.parametrize("replace_foreign", [False, True])
def test_a_balancer_does_not_put_a_real_out(replace_foreign: bool) -> None:
    ensure(A)
    with pytest.raises(ProgramError) as caught:
        balance(replace_foreign=replace_foreign)
    assert str(caught.value) == f"interface {LINK} already has our program decap of instance default; {LEAVE}"
    assert answers(A)
    assert not ensure(A).changed


def test_a_real_does_not_put_a_balancer_out() -> None:
    balance()
    with pytest.raises(ProgramError) as caught:
        ensure(A)
    assert str(caught.value) == f"interface {LINK} already has our program balancer of instance default; {STAY}"
    assert program() == "balancer"
    assert not on_loopback()


def test_a_real_becomes_a_balancer_too_without_a_gap() -> None:
    for step in itertools.count():
        ensure(A)
        killed = killed_after(step, lambda: ensure(A, attach=False, interfaces=[]))
        assert answers(A), step
        ensure(A, attach=False, interfaces=[])
        if not killed:
            break
    assert program() == "decap"
    for steps in itertools.count(0, 7):
        killed = killed_after(steps, lambda: balance("inline_decap"))
        assert answers(A), steps
        if not killed:
            break
    assert program() == "balancer"
    assert answers(A)
    assert not answers(A, source=STRANGER)
    # Its record learns that it is there no longer.
    ensure(A, attach=False)
    assert not ensure(A, attach=False).changed
    assert not balance("inline_decap").changed
    assert ensure(A, B, attach=False).changes == [f"vip {B} added", f"add {B} to lo"]
    assert answers(B)


def test_a_balancer_becomes_a_real_too() -> None:
    balance()
    planned = ensure(A, attach=False, check=True)
    assert ensure(A, attach=False).changes == planned.changes
    assert not any("attach" in line for line in planned.changes)
    assert program() == "balancer"
    assert not answers(A)
    balance("inline_decap")
    assert answers(A)
    assert (restore_balancer(file()), restore_real(file())) == ([], [])
    # A restart: nothing is left but the files.
    with Interfaces() as links:
        number = {each.interface: each.program_id for each in every_attachment()}[LINK]
        fd = bpf.program_by_id(number)
        links.replace(LINK, -1, "native", fd)
        os.close(fd)
    shutil.rmtree(f"{BPFFS}/katran")
    run("ip", "addr", "del", f"{A}/32", "dev", "lo")
    restore_balancer(file())
    restore_real(file())
    assert program() == "balancer"
    assert answers(A)
    # Each goes for itself.
    remove_real()
    assert program() == "balancer"
    assert not on_loopback()
    assert not balance("inline_decap").changed


def test_root_and_the_others_name_each_other() -> None:
    def share() -> Result:
        settings = parse_root({"interfaces": [LINK], "mode": "native", "source_dir": BPF})
        return Root("default", BPFFS).ensure(settings, False, 5)

    ensure(A)
    with pytest.raises(ProgramError) as caught:
        share()
    assert str(caught.value) == (
        f"interface {LINK} already has our program decap of instance default;"
        " detach it first (module decap, state: absent)"
    )
    remove_real()
    balance()
    with pytest.raises(ProgramError) as caught:
        share()
    assert str(caught.value) == (
        f"interface {LINK} already has our program balancer of instance default;"
        " detach it first (module balancer, state: loaded)"
    )
    with pytest.raises(ProgramError, match=f"^interface {LINK} already has our program balancer of instance default; "):
        real_of("green")
    assert program() == "balancer"


def real_of(instance: str) -> None:
    """Another instance's real, where the first one's balancer is."""
    options = {name: option.get("default") for name, option in DECAP.items()}
    settings = parse_real({**options, "interfaces": [LINK], "vips": [A], "source_dir": BPF})
    Real(instance, BPFFS).ensure(settings, False, 5)


def test_an_interface_is_needed_only_where_the_program_runs() -> None:
    with pytest.raises(ConfigError, match=r"^interfaces: state attached needs at least one interface$"):
        ensure(A, interfaces=[])
    ensure(A, interfaces=[], attach=False)
    assert on_loopback() == {A}
    assert not every_attachment()
    assert not ensure(A, interfaces=[], attach=False).changed
    assert Path(BPFFS, "katran", "default", "decap").exists()
