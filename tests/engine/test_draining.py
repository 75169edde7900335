# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining by hand, through the module as Ansible runs it, on real maps with flows in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.host import FEATURES, apply, real, snapshot, vip
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.life import LINK, SIZES, send
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, sandbox

REALS = ("10.0.0.1", "10.0.0.2")
NAME = "198.51.100.1:80/udp"


@pytest.fixture(autouse=True)
def balancer() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        ensure_balancer("attached", interfaces=[LINK], sizes=SIZES, features=FEATURES)
        reals = [real(address) for address in REALS]
        apply("vips", [vip("198.51.100.1", *reals, protocol="udp", flags=["source_routing"])])
        yield


def drained(*addresses: str, state: str = "draining") -> dict[str, Any]:
    return {"config": [{"address": address, "state": state} for address in addresses]}


def test_the_last_real_takes_consent() -> None:
    before = snapshot()
    for check in (True, False):
        assert module("reals", drained(*REALS), check=check).msg == (
            f"config: no real would take new flows of {NAME} (10.0.0.1 draining by hand, 10.0.0.2 draining by hand):"
            " give allow_empty: true if that is meant"
        )
    assert snapshot() == before
    assert module("reals", drained(REALS[0]))["changed"] is True
    assert "(10.0.0.1 draining by hand, 10.0.0.2 down by hand)" in module("reals", drained(REALS[1], state="down")).msg
    meant = {**drained(REALS[1]), "allow_empty": True}
    assert module("reals", meant)["changed"] is True
    assert module("reals", meant)["changed"] is False


@pytest.mark.parametrize("purge", [False, True])
def test_a_review_predicts_once_what_a_run_does_once(purge: bool) -> None:
    # Connections by TCP go by a server id, so that somebody follows both.
    apply("vips", [vip("198.51.100.2", *map(real, REALS), protocol="tcp")], state="merged")
    apply("source_routes", [{"prefix": "192.0.2.0/24", "real": REALS[0]}])
    apply("server_ids", [{"id": 7, "real": REALS[0]}])
    send({40000 + number: number for number in range(32)})
    asked = {**drained(REALS[0]), "purge_flows": purge}
    foretold = module("reals", asked, check=True, diff=True)
    done = module("reals", asked, diff=True)
    for word in ("changed", "before", "after", "changes", "operations", "diff"):
        assert done[word] == foretold[word], word
    assert len(done["changes"]) == len(set(done["changes"]))
    for outcome in (foretold, done):
        warnings = [str(each) for each in outcome["warnings"]]
        assert len(warnings) == len(set(warnings)) == 2
        assert all("lead" in line and "10.0.0.1, which is draining by hand" in line for line in warnings)
    for check in (True, False):
        again = module("reals", asked, check=check, diff=True)
        assert (again["changed"], again["changes"], again["operations"]) == (False, [], {})
