# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals are taken out of a fleet by playbooks: two balancers on one host of the sandbox stand for two hosts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import ended_of, overlay_of
from ansible_collections.katran.fleet.tests.engine import two_balancers as two
from ansible_collections.katran.fleet.tests.engine.host import module
from ansible_collections.katran.fleet.tests.engine.playbooks import Done, run_playbook
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS
from ansible_collections.katran.fleet.tests.engine.two_balancers import EAST, WEST

WEB1 = ["10.0.0.1", "fc00::1"]
INVENTORY: dict[str, Any] = {
    "all": {
        "vars": {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "katran_become": False,
            "katran_bpffs": BPFFS,
        },
        "children": {
            "balancers": {"hosts": {"lb1": {"katran_instance": EAST}, "lb2": {"katran_instance": WEST}}},
            "reals": {
                "hosts": {
                    f"web{number}": {"katran_real_address": [f"10.0.0.{number}", f"fc00::{number}"]}
                    for number in range(1, 4)
                }
            },
        },
    }
}
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.9", "ansible_port": 1}


@pytest.fixture(autouse=True)
def balancers() -> Iterator[None]:
    with two.two_balancers():
        for instance in (EAST, WEST):
            two.apply(instance, two.vips(1, 2, 3))
        yield


def play(folder: Path, name: str, *words: str, away: str = "", limit: str = "all") -> Done:
    """Run a playbook; `away`: a balancer that does not answer."""
    inventory = json.loads(json.dumps(INVENTORY))
    if away:
        inventory["all"]["children"]["balancers"]["hosts"][away] |= AWAY
    path = folder / "hosts.json"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    extra = [item for word in words for item in ("-e", word)]
    words = ("-i", path, f"katran.fleet.{name}", "--limit", limit, *extra)
    done = run_playbook(*words, LC_ALL="C.UTF-8", ANSIBLE_LOCAL_TEMP=str(folder))
    print(done.stdout, done.stderr)
    return done


def words(instance: str) -> dict[str, str]:
    """Real → its state by hand."""
    return {address: word.state for address, word in overlay_of(StateFile(instance, BPFFS).read()).items()}


def say(instance: str, state: str, *entries: dict[str, str], newest: bool = True) -> list[str]:
    asked = Asked(list(entries), state, newest=newest)
    return apply_resource("reals", Request(instance, BPFFS, 5, False), asked).changes


def test_a_fleet_leaves_a_real_and_who_was_away_hears_of_it(tmp_path: Path) -> None:
    drained = dict.fromkeys(WEB1, "draining")
    # The second balancer was away when real 3 came back, and the first when real 2 was drained.
    for instance, state, real, second in ((EAST, "merged", 3, 1), (WEST, "merged", 3, 1), (EAST, "deleted", 3, 2)):
        since = f"2026-11-28T10:00:00.00{second}+00:00"
        say(instance, state, {"address": f"10.0.0.{real}", "state": "down", "since": since})
    say(WEST, "merged", {"address": "fc00::2", "state": "down", "since": "2026-11-28T10:00:00.001+00:00"})
    done = play(tmp_path, "drain_real", "katran_real=web1", "katran_drain_timeout=5")
    assert done.returncode == 0, done.stderr
    assert "5 s: 0 packets/s, 0 flows in the tables of 2 balancers, no packet for 5 s" in done.stdout
    assert words(EAST) == words(WEST) == {**drained, "fc00::2": "down"}
    # One that is away now stays as it is, and that is told.
    done = play(tmp_path, "undrain_real", "katran_real=web1", away="lb2")
    assert done.returncode == 0, done.stderr
    assert "lb2 cannot be reached, and hears of it at the next drain_real" in done.stdout
    assert "real 10.0.0.1 has its whole weight at once (the agent does not run)" in done.stdout
    assert (words(EAST), words(WEST)) == ({"fc00::2": "down"}, {**drained, "fc00::2": "down"})
    # Also by a run that is limited to it, and that is about another real.
    done = play(tmp_path, "undrain_real", "katran_real=web3", limit="lb2")
    assert done.returncode == 0, done.stderr
    assert words(WEST) == {"fc00::2": "down"}


def test_where_one_balancer_refuses_none_heeds_it(tmp_path: Path) -> None:
    for number in (2, 3):
        say(WEST, "merged", {"address": f"10.0.0.{number}", "state": "down"}, newest=False)
    done = play(tmp_path, "drain_real", "katran_real=web1", "katran_drain_timeout=0")
    assert done.returncode == 2
    assert "lb2: config: no real would take new flows of 198.51.100.1:80/tcp" in " ".join(done.stdout.split())
    assert words(EAST) == {}
    assert words(WEST) == {"10.0.0.2": "down", "10.0.0.3": "down"}


def test_what_is_newer_counts() -> None:
    real = "10.0.0.1"
    first, second, third = (f"2026-11-28T10:00:00.00{number}+00:00" for number in range(3))
    assert say(EAST, "merged", {"address": real, "state": "draining", "since": second})
    assert not say(EAST, "deleted", {"address": real, "since": first})
    assert not say(EAST, "merged", {"address": real, "state": "down", "since": first})
    assert words(EAST) == {real: "draining"}
    told = module("reals", {"instance": EAST, "bpffs": BPFFS, "config": [{"address": real, "state": "draining"}]})
    assert told["changed"] is False
    assert told["by_hand"] == {"words": [{"address": real, "state": "draining", "since": second}], "ended": []}
    assert say(EAST, "deleted", {"address": real, "since": third})
    assert not say(EAST, "merged", {"address": real, "state": "down", "since": second})
    assert ended_of(StateFile(EAST, BPFFS).read()) == {real: third}
    # Whoever says it now is not late.
    assert say(EAST, "merged", {"address": real, "state": "down", "since": first}, newest=False)
    assert ended_of(StateFile(EAST, BPFFS).read()) == {}
    assert (
        "since: noon is not a moment"
        in module(
            "reals", {"instance": EAST, "bpffs": BPFFS, "config": [{"address": real, "state": "down", "since": "noon"}]}
        ).msg
    )


def test_what_still_goes_to_reals_is_counted() -> None:
    keys = two.make_keys(300)
    two.learn(EAST, keys)
    common = {"instance": EAST, "bpffs": BPFFS}
    everything = module("leaving_info", {**common, "reals": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.9.9"]})
    assert (everything["flows"], everything["known"]) == (300, ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    one = module("leaving_info", {**common, "reals": ["10.0.0.1"], "wait": 1})
    assert 0 < one["flows"] < 300
    assert (one["rates"], one["quiet"] >= 1) == ([0.0], True)
    assert module("leaving_info", {**common, "reals": ["web1"]}).msg.startswith("reals[0]")
    assert module("leaving_info", {**common, "reals": [], "wait": -1}).msg.startswith("wait: -1")
