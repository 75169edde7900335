# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet vectors: what a set of them holds, and what a Model says to it.

A file maps set names to sets: ``{"scenario": {module: options}, "packets": [{"description", "in", "action", "out"}]}``
with frames in base64; ``"follows"`` names the set whose program and tables a set continues. Our own sets add:
``"tables"`` in a set (see Model.load_tables), ``"behind"`` in a scenario (the VIPs of balancers in the slots behind
this one's, by slot, all with its options), ``"after"`` in a packet (seconds to wait before it), and ``"counters"``
in a set (Model.counters() at its end).
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.conformance.model import DROP, SECOND, Model, Settings

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("KATRAN_CONFORMANCE", HERE.parents[2] / "shared" / "conformance"))
PUBLISHED = FOLDER / "vectors.json"

Sets = dict[str, dict[str, Any]]


def load_sets(path: Path, program: str = "balancer") -> Sets:
    """The sets of *path* that are for *program*; none where the file is not at hand."""
    sets = json.loads(path.read_text()) if path.exists() else {}
    return {name: entry for name, entry in sets.items() if entry.get("program", "balancer") == program}


def chain(sets: Sets, name: str) -> list[str]:
    """The sets to run for *name*, in order: those it follows, then itself."""
    names = [name]
    while "follows" in sets[names[0]]:
        names.insert(0, sets[names[0]]["follows"])
    return names


def replay(sets: Sets, name: str) -> tuple[Model, list[str]]:
    """Run *name* and what it follows through a fresh model, 1 µs between packets; the model and its wrong answers."""
    model = Model(Settings(), build_ring)
    wrong = []
    now = 10 * SECOND
    for entry in (sets[link] for link in chain(sets, name)):
        model.provision(entry["scenario"])
        model.load_tables(entry.get("tables", {}))
        for number, packet in enumerate(entry["packets"]):
            now += 1000 + int(packet.get("after", 0) * SECOND)
            action, answer = model.run(base64.b64decode(packet["in"]), now)
            difference = compare(packet, action, answer)
            if difference:
                wrong.append(f"{name}[{number}] {difference}")
    return model, wrong


def compare(packet: dict[str, Any], action: str, answer: bytes) -> str:
    """How an answer differs from the one expected; empty where it does not. A dropped frame's bytes do not count."""
    expected = base64.b64decode(packet["out"])
    if action == packet["action"] and (action == DROP or answer == expected):
        return ""
    return (
        f"{packet['description']}\n  in       {base64.b64decode(packet['in']).hex()}\n"
        f"  expected {packet['action']} {expected.hex()}\n  got      {action} {answer.hex()}"
    )


def compare_counters(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """The counters that differ, a line each; empty where none does."""
    lines = []
    for table in sorted({*expected, *found}):
        ours, theirs = expected.get(table, {}), found.get(table, {})
        lines += [
            f"{table}[{key}]: expected {ours.get(key)}, got {theirs.get(key)}"
            for key in sorted({*ours, *theirs})
            if ours.get(key) != theirs.get(key)
        ]
    return "\n".join(lines)
