# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a balancer in memory: their operations are counted against its writes, and a second run writes nothing."""

from __future__ import annotations

import typing as t

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host

RING = 1009
A, B, C, D = (f"10.0.0.{last}" for last in range(1, 5))
WEB = "198.51.100.1"


def vip(address: str = WEB, port: int = 443, **options: t.Any) -> Entry:
    reals = [{"weight": 1, "state": "active", "local": False, **real} for real in options.pop("reals", ())]
    defaults = {"protocol": "tcp", "flags": [], "hash": "maglev_v2", "reals": reals, "down_reals": []}
    return {"address": address, "port": port, **defaults, **options}


def real(address: str, weight: int = 1, **options: t.Any) -> Entry:
    return {"address": address, "weight": weight, **options}


def ring(*reals: tuple[str, int], kind: str = "maglev_v2", size: int = RING) -> list[str | None]:
    """Who has which slot."""
    members = sorted(each for each in reals if each[1])
    if not members:
        return [None] * size
    return [members[index][0] for index in build_ring(members, size, kind)]


def moved(before: list[str | None], after: list[str | None]) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


ABC = vip(reals=[real(A), real(B), real(C)])
"""The VIP that tests change."""
OTHER = vip(port=80, reals=[real(A), real(D, 3)])
"""A VIP that they leave alone; it has the real A as well."""
EQUAL = ring((A, 1), (B, 1), (C, 1))
"""The ring of ABC."""


def apply(host: Host, *vips: Entry, state: str = "overridden") -> Result:
    """Apply, check the count against the writes, and that doing it again writes nothing."""
    host.maps.writes.clear()
    result = host.run("vips", vips, state)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    steps = host.fuse.steps
    assert not host.run("vips", vips, state).changed
    assert host.fuse.steps == steps
    return result


def table(host: Host, resource: str, *entries: Entry, state: str = "overridden") -> Result:
    """The same for a table's resource."""
    host.maps.writes.clear()
    result = host.run(resource, entries, state)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    steps = host.fuse.steps
    assert not host.run(resource, entries, state).changed
    assert host.fuse.steps == steps
    return result
