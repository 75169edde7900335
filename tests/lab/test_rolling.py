# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys go through the balancers in batches: a change loses nothing, and a fault ends where it begins."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetlab.client import asking_meanwhile
from fleetlab.flows import Target
from fleetlab.planted import plant
from fleetlab.runs import Fleet

BATCHES = {"katran_serial": [1, 1], "katran_gate_seconds": 3}
"""For two balancers, one after the other."""


def deploy(
    fleet: Fleet, variables: dict[str, Any], collections: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One deploy of the balancers in batches; the caller judges the outcome."""
    return fleet.ansible(
        "ansible-playbook",
        *("katran.fleet.deploy", "--limit", "balancers", "-e", json.dumps({**BATCHES, **variables})),
        collections=collections,
    )


def tcp(fleet: Fleet, kept: Callable[[Target], bool] = lambda _target: True) -> list[Target]:
    """The VIPs that speak HTTP, of those that are wanted."""
    return [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp" and kept(vip.target)]


def test_a_planted_fault_ends_at_the_first_balancer_and_a_change_then_loses_nothing(
    deployed: Fleet, tmp_path: Path
) -> None:
    before = deployed.programs()
    bad = next(target.address for target in tcp(deployed) if "." in target.address)
    collections = plant(tmp_path, bad)

    # Of the VIP that is dropped, nobody asks: what finds the fault is no client's trouble.
    with asking_meanwhile(deployed.lab, tcp(deployed, lambda target: target.address != bad), 20, 500) as asked:
        done = deploy(deployed, {}, collections)
    assert [flow for flow in asked.result() if flow.error] == []
    assert done.returncode == 2, done.stdout[-4000:]
    said = " ".join(done.stdout.split())
    found = "lb1 failed: See whether the balancer does as before: the gate found: vip "
    assert f"{found}{bad}:" in said, said[-4000:]
    assert "lb1: program, VIPs and tables are again what they were before this run, verified" in said, said[-3000:]
    assert "untouched: lb2" in said
    assert "run katran.fleet.deploy again" in said
    after = deployed.programs()
    assert (after["lb1"][1], after["lb2"]) == (before["lb1"][1], before["lb2"])

    # The next run, with the sound program and other weights, resumes: under load, one balancer after the other.
    config = deployed.config(checks=True)
    for vip in config:
        vip["reals"][0]["weight"] = 3
    with asking_meanwhile(deployed.lab, tcp(deployed), 20, 500) as asked:
        done = deploy(deployed, {"katran_vips": config})
    assert done.returncode == 0, done.stdout[-4000:]
    assert [flow for flow in asked.result() if flow.error] == []
    assert len(re.findall(r"PLAY \[Balance\]", done.stdout)) == 2
    assert re.search(r"See whether the balancer does as before\] \*+\s+ok: \[lb2\]", done.stdout)
