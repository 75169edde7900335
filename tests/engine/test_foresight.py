# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan foresees of a balancer is what its review says and what its run counts, on real maps."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.foresight import Configured, foresee
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    RESOURCES,
    SIZES,
    STATE,
    Entry,
    apply,
    real,
    vip,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, sandbox

TURNS = 100
TABLES = [name for name in RESOURCES if name != "reals"]


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox(), compiled_once():
        ensure_balancer(features=FEATURES, sizes=SIZES)
        yield


def changed(found: dict[str, list[Entry]], dice: random.Random) -> dict[str, list[Entry]]:
    """The configuration with one thing changed, of those that operators change."""
    after: dict[str, list[Entry]] = json.loads(json.dumps(found))
    vips = after["vips"]
    one = dice.choice(vips)
    ipv6 = ":" in one["address"]
    fresh = f"fc00::{dice.randrange(0x100, 0x120):x}" if ipv6 else f"10.0.1.{dice.randrange(1, 30)}"
    match dice.randrange(8):
        case 0 | 1:
            dice.choice(one["reals"])["weight"] = dice.randrange(1, 6)
        case 2 if fresh not in [each["address"] for each in one["reals"]]:
            one["reals"].append(real(fresh, dice.randrange(1, 4)))
        case 3 if len(one["reals"]) > 1:
            one["reals"].pop(dice.randrange(len(one["reals"])))
        case 4:
            dice.choice(one["reals"])["state"] = dice.choice(["active", "draining", "down"])
        case 5 if len(vips) < 12:
            vips.append(vip(f"198.51.101.{dice.randrange(1, 200)}", real("10.0.0.1"), real("10.0.0.9", 2)))
        case 6 if len(vips) > 2:
            vips.remove(one)
        case _:
            number = dice.randrange(1, 200)
            after["server_ids"] = [{"id": number, "real": f"10.0.0.{dice.randrange(1, 9)}"}]
            after["source_routes"] = [{"prefix": f"192.0.{number}.0/24", "real": "10.0.0.1"}]
    keys = [(each["address"], each["port"], each["protocol"]) for each in vips]
    return after if len(set(keys)) == len(keys) else found


def test_a_hundred_changes_are_foreseen() -> None:
    settings = json.loads(STATE.read_text(encoding="utf-8"))["settings"]

    def configured(resources: dict[str, list[Entry]]) -> Configured:
        return Configured({name: resources[name] for name in TABLES}, settings, min_active=0)

    dice = random.Random(12)
    now = {name: rows for name, rows in world().items() if name in TABLES}
    for name in TABLES:
        apply(name, now[name])
    counted: dict[str, int] = {}
    for turn in range(TURNS):
        after = changed(now, dice)
        foreseen = foresee(configured(now), configured(after))
        for name in TABLES:
            told: Any = foreseen.results[name]
            for check in (True, False):
                found = apply(name, after[name], check=check)
                assert (told.changes, told.operations) == (found.changes, found.operations), (turn, name, check)
            for table, number in told.operations.items():
                counted[table] = counted.get(table, 0) + number
        now = after
    # A walk that changes nothing would prove nothing.
    assert counted["ch_rings"] > 1000
    assert {"vip_map", "reals", "server_id_map", "lpm_src_v4", "vip_to_down_reals_map"} <= counted.keys()
