# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight finds of sites: rings that differ between balancers, and weights of reals that come from files."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping

from ansible_collections.katran.fleet.plugins.module_utils._model.faults import some
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import Resources
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory_rings import (
    Announcer,
    Key,
    Ring,
    ring_warnings,
    rings_of,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.sites import zones_fault
from ansible_collections.katran.fleet.plugins.plugin_utils.weights_file import WeightsError, read_weights, weights_path

Get = Callable[[str, str], t.Any]
"""A host's variable: host, name."""


def site_warnings(resources: Mapping[str, Resources], get: Get) -> dict[str, list[str]]:
    """Balancer → how its rings differ from those of others. `resources`: of each balancer."""
    if len({id(each) for each in resources.values()}) < 2:
        return {}
    known: list[Mapping[Key, Ring]] = []
    by_resources: dict[int, Mapping[Key, Ring]] = {}
    for each in resources.values():
        if id(each) not in by_resources:
            own = rings_of(each.entries.get("vips", ()))
            by_resources[id(each)] = next((other for other in known if other == own), own)
            known.append(own)
    rings = {host: by_resources[id(each)] for host, each in resources.items()}
    if len({id(each) for each in rings.values()}) < 2:
        return {}
    return ring_warnings(rings, {host: _announcer(host, get) for host in rings})


def _announcer(host: str, get: Get) -> Announcer:
    bgp = get(host, "katran_bgp")
    listed = bgp.get("neighbors") if isinstance(bgp, Mapping) else None
    neighbors = (
        (each.get("address") for each in listed if isinstance(each, Mapping)) if isinstance(listed, list) else ()
    )
    return Announcer(str(get(host, "katran_zone") or ""), frozenset(map(str, neighbors)))


def real_faults(reals: Iterable[str], get: Get) -> dict[str, list[str]]:
    """Real → what is wrong with what its variables say of zones and weights."""
    found: dict[str, list[str]] = {}
    known = frozenset(reals)
    # Mostly all reals have one file, which may name them all.
    by_file: dict[str, list[str]] = {}
    for host in sorted(known):
        zones = get(host, "katran_real_zones")
        fault = zones_fault(zones) if zones is not None else None
        file = get(host, "katran_weights_file")
        told = [fault] if fault else []
        if file is not None:
            folder = get(host, "inventory_dir")
            place = repr((file, folder))
            if place not in by_file:
                by_file[place] = _file_faults(file, folder, known)
            told += by_file[place]
        if told:
            found[host] = told
    return found


def _file_faults(file: t.Any, folder: t.Any, reals: Collection[str]) -> list[str]:
    try:
        weights = read_weights(weights_path(file, folder))
    except WeightsError as error:
        return [f"katran_weights_file: {error}"]
    unknown = sorted(set(weights).difference(reals))
    if not unknown:
        return []
    near = difflib.get_close_matches(unknown[0], sorted(reals), 1, 0.7)
    meant = f"; did you mean {near[0]}?" if near else ""
    return [f"katran_weights_file {file}: {some(unknown, 4)}: there is no such real{meant}"]


def real_warnings(reals: Iterable[str], get: Get) -> dict[str, list[str]]:
    """Real → that its file says nothing of it."""
    found = {}
    for host in reals:
        file = get(host, "katran_weights_file")
        if file is None:
            continue
        try:
            weights = read_weights(weights_path(file, get(host, "inventory_dir")))
        except WeightsError:
            continue
        if host not in weights:
            own = get(host, "katran_real_weight")
            counts = "the default, 1," if own is None else f"katran_real_weight, {own},"
            found[host] = [f"katran_weights_file {file} does not name this real: {counts} counts"]
    return found
