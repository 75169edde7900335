# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends to a host for each module, by its own reckoning: a module carries what it uses.

An import inside a function, or for annotations alone, is sent like any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
KIB = 1024

RESOURCES = (
    "vips",
    "reals",
    "source_routes",
    "server_ids",
    "decap_destinations",
    "healthcheck_destinations",
)
LIFE = ("compiler", "known_packets", "selftest", "canary", "migration", "rehash", "bytecode", "pinned")
"""What a program's life takes, in room _program."""


@cache
def payload(module: str) -> Mapping[str, int]:
    """File of module_utils → bytes. For each module by itself: ansible-test has a process for each test of modules."""
    # Of Ansible, ansible-test puts only what modules may use on PYTHONPATH.
    command = [sys.executable, "-E", str(Path(__file__).with_name("payloads.py")), module]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found[module]


@pytest.mark.parametrize(
    ("module", "kib"),
    [
        # Each can make its review within another module, and look without leaving a lock. What numbers were written as
        # is looked at before Ansible reads them.
        ("tree", 40),
        ("host", 180),
        ("agent", 440),
        # Routes, counters and what the agent answers are watched while traffic leaves.
        ("drain", 424),
        ("bgp", 166),
        ("flows", 270),
        # What today's ring says of a flow takes the order in which the program looks for its VIP.
        # Who encapsulated a flow is in tables of their own.
        ("flows_info", 298),
        # A VIP has its check, its announcement and its layouts of connection ids with it.
        ("simulate_info", 303),
        # A real knows filters of tc, the kernel's tunnels and the firewall beside XDP.
        ("decap", 386),
        # Counters and connection tables, no more.
        ("leaving_info", 378),
        ("xdp_root", 286),
        ("history_info", 90),
        # Everything of a balancer may come back: its program, VIPs and tables.
        ("revert", 933),
        # A Katran that is not ours is read as an inventory, by the descriptions of VIPs and tables, and compared with
        # one.
        ("katran_info", 450),
        # Units and their groups, besides.
        ("server_id_option", 321),
        # Of VIPs, the host's own addresses and gateways are read too, and routes are withdrawn. Checks are read, kept
        # and told, and what they said is heeded. What the kernel tells in part is told from what it tells whole.
        # Lists of clients and layouts of connection ids (QUIC-LB) are read, planned and told.
        # What is applied is recorded, in the history and in the journal.
        # What was said of reals of the whole fleet is kept and told with its moment, and what ended as well.
        # The index of VIPs is read, filled and put in force.
        # A million prefixes are read at once, and that nothing of them changes is told at a glance.
        *((name, 687) for name in RESOURCES),
        # What the agent knows of checks is read and judged as the agent does it. What the command katran shows is made
        # by the same files, and so is the report of a fleet.
        ("balancer_info", 795),
        # Whoever examines a host asks everybody who knows something of it, and compiles the smallest program.
        ("doctor_info", 1203),
        # The report of a fleet asks the same examiners, and reads the status.
        ("report_info", 1231),
        # Whoever compares a host has every module review its part.
        ("drift_info", 1246),
    ],
)
def test_no_more_than_it_takes(module: str, kib: int) -> None:
    files = payload(module)
    assert sum(files.values()) <= kib * KIB, sorted(files.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("module", [*RESOURCES, "balancer_info", "flows", "flows_info", "tree"])
def test_who_only_reads_or_fills_maps_carries_no_programs_life(module: str) -> None:
    carried = payload(module)
    assert not [name for name in LIFE if f"_program/{name}" in carried]
    assert not [name for name in ("balancer", "decap", "healthcheck", "simulate") if f"_engine/{name}" in carried]


def test_a_small_module_carries_no_engine() -> None:
    assert not [name for name in payload("tree") if name.startswith(("_engine/", "_program/"))]


def test_what_every_module_does_knows_no_engine() -> None:
    """The glue that all share must not pull in what one of them takes."""
    text = (PLUGINS / "module_utils/_ansible/module.py").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.startswith(("from .._engine", "from .._program"))]
