# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of reals by hand, at the edges."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import (
    Overlay,
    RealStates,
    overlay_of,
    resolve_reals,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, SIZES

NOW, EARLIER = "2026-01-02T03:04:05+00:00", "2025-01-01T00:00:00+00:00"


def down(*addresses: str) -> list[dict[str, str]]:
    return [{"address": address, "state": "down"} for address in addresses]


def test_as_many_as_there_is_room_for() -> None:
    limits = Limits({**SIZES, "reals": 2}, None)
    before = {"10.0.0.1": Overlay("10.0.0.1", "down", EARLIER)}
    after, _warnings = resolve_reals(before, Asked(down("10.0.0.2"), limits=limits), NOW, ())
    assert after == {**before, "10.0.0.2": Overlay("10.0.0.2", "down", NOW)}
    with pytest.raises(ConfigError, match=r"^reals: 3 reals, but sizes\.reals is 2$"):
        resolve_reals(after, Asked(down("10.0.0.3"), limits=limits), NOW, ())


def test_every_fault_is_told_and_every_entry_looked_at() -> None:
    config = [
        {"address": "web", "state": "down"},
        {"address": "10.0.0.1", "state": "down"},
        {"address": "10.0.0.1", "state": "up"},
        {"address": "10.0.0.2", "state": "up"},
        {"address": "10.0.0.3"},
    ]
    with pytest.raises(ConfigError) as caught:
        resolve_reals({}, Asked(config, limits=ALL), NOW, ())
    assert str(caught.value) == (
        "reals[0].address: web is not an IP address; reals[2].address: 10.0.0.1 is listed twice;"
        " reals[3].state: up is none of active, draining, down; reals[4].state: is missing"
    )


def test_what_is_deleted_needs_no_state_and_no_vip() -> None:
    before = {"10.0.0.1": Overlay("10.0.0.1", "down", EARLIER), "10.0.0.2": Overlay("10.0.0.2", "down", EARLIER)}
    asked = Asked([{"address": "10.0.0.1"}, {"address": "10.0.0.9"}], "deleted", limits=ALL)
    assert resolve_reals(before, asked, NOW, ()) == ({"10.0.0.2": before["10.0.0.2"]}, [])


def test_warnings_name_each_entry() -> None:
    _after, warnings = resolve_reals({}, Asked(down("10.0.0.8", "10.0.0.1", "10.0.0.9"), limits=ALL), NOW, ["10.0.0.1"])
    assert warnings == [
        "reals[0].address: no VIP has the real 10.0.0.8",
        "reals[2].address: no VIP has the real 10.0.0.9",
    ]


def test_the_overlay_that_a_state_has() -> None:
    state = State("edge", "/sys/fs/bpf")
    state.overlay = [
        {"address": "10.0.0.1", "state": "down", "since": EARLIER},
        {"address": "10.0.0.2", "state": "draining"},
    ]
    assert overlay_of(state) == {
        "10.0.0.1": Overlay("10.0.0.1", "down", EARLIER),
        "10.0.0.2": Overlay("10.0.0.2", "draining", ""),
    }


def test_the_description_of_the_overlay() -> None:
    resource = RealStates()
    assert resource.title({"address": "10.0.0.1"}) == "real 10.0.0.1"
    assert resource.needs(down("10.0.0.1"), ()) == set()
    resource.check(Asked(down("10.0.0.1"), limits=ALL))
    with pytest.raises(ConfigError, match=r"^reals\[0\]\.address: web is not an IP address$"):
        resource.check(Asked(down("web"), limits=ALL))
