# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of source routes that is told at a glance to change nothing says and does what a closer look would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import tables
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import FleetError
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import SourceRoutes
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    A,
    B,
    apply,
    table,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host

ROUTES = [
    {"prefix": "192.0.2.0/24", "real": A},
    {"prefix": "20.0.0.0/9", "real": B},
    {"prefix": "20.0.0.0/24", "real": A},
]
Damage = Callable[[Host], None]


def told(host: Host, entries: list[dict[str, Any]], state: str) -> Any:
    """All that a run says, or how it fails."""
    try:
        result = host.run("source_routes", entries, state)
    except FleetError as error:
        return str(error)
    return result.changes, result.operations, result.warnings, result.drift, result.before, result.after


def nothing(host: Host) -> None:
    """The balancer as it was left."""
    del host


def lose_entry(host: Host) -> None:
    """Somebody removes an entry of a map."""
    host.maps.delete("lpm_src_v4", [layout.lpm_key(bytes((192, 0, 2, 0)), 24)])


def lead_elsewhere(host: Host) -> None:
    """Somebody lets an entry lead to another real."""
    host.maps.put("lpm_src_v4", [(layout.lpm_key(bytes((20, 0, 0, 0)), 9), layout.u32(77))])


def add_entry(host: Host) -> None:
    """Somebody adds an entry."""
    host.maps.put("lpm_src_v6", [(layout.lpm_key(bytes(16), 48), layout.u32(1))])


def lose_real(host: Host) -> None:
    """Somebody removes a real."""
    host.maps.delete("reals", [next(iter(host.maps.entries("reals")))])


def drain(host: Host) -> None:
    """A real takes no new flow any more."""
    host.run("reals", [{"address": A, "state": "draining"}], "merged")


def without_vips(host: Host) -> None:
    """No VIP is left that refers to the reals."""
    host.run("vips", [], "overridden")


def other_order(host: Host) -> None:
    """The file has the rows in another order, as one of another version may."""
    rows = [dict(row) for row in reversed(ROUTES)]
    host.file.write_file("source_routes.json", SourceRoutes.text(rows))


def twins(host: Host) -> None:
    """The file has a row twice, and lacks another."""
    host.file.write_file("source_routes.json", SourceRoutes.text([ROUTES[0], ROUTES[0], ROUTES[1]]))


DAMAGES = (nothing, lose_entry, lead_elsewhere, add_entry, lose_real, drain, without_vips, other_order, twins)
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "the same": ROUTES,
    "in another order": ROUTES[::-1],
    "one fewer": ROUTES[:2],
    "one elsewhere": [*ROUTES[:2], {"prefix": "20.0.0.0/24", "real": B}],
    "one twice": [*ROUTES, ROUTES[0]],
    "one of IPv6": [*ROUTES, {"prefix": "2001:db8::/32", "real": "fc00::1"}],
    "one to no host": [*ROUTES[:2], {"prefix": "20.0.0.0/24", "real": "127.0.0.1"}],
    "one without a real": [*ROUTES[:2], {"prefix": "20.0.0.0/24", "real": None}],
    "one of no client": [*ROUTES[:2], {"prefix": "127.0.0.0/24", "real": A}],
    "none": [],
}


@pytest.mark.parametrize("state", ["overridden", "merged", "replaced", "deleted"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_glance_says_what_a_closer_look_says(
    monkeypatch: pytest.MonkeyPatch, host: Host, damage: Damage, state: str
) -> None:
    apply(host, ABC)
    table(host, "source_routes", *ROUTES)
    damage(host)
    for config in CONFIGS.values():
        one, other = copy.deepcopy(host), copy.deepcopy(host)
        glanced = told(one, config, state)
        with monkeypatch.context() as patch:
            patch.setattr(SourceRoutes, "glance", lambda _self, _entries, _limits: None)
            assert told(other, config, state) == glanced
        assert one.actual() == other.actual()


def test_a_run_that_changes_nothing_needs_no_closer_look(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    apply(host, ABC)
    table(host, "source_routes", *ROUTES)

    def looks(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tables, "known_table", looks)
    assert not host.run("source_routes", ROUTES[::-1], "overridden").changed
