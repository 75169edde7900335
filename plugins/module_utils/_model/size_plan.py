# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of other sizes: which must be made anew, and whether what they hold has room there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .balancer_snapshot import BalancerSnapshot, Room
from .errors import ProgramError
from .map_specs import ARRAY, HASH, balancer_maps, global_counters_at
from .settings import BalancerSettings
from .snapshot import MapInfo, fits
from .state import State
from .wanted import Wanted

SIZE_OF = {
    "vip_lpm_map": "cidr_vips",
    "vip_lpm4_map": "cidr_vips",
    "vip_address_lpm4": "cidr_vips",
    "vip_address_lpm6": "cidr_vips",
    "src_filter_v4": "source_filters",
    "src_filter_v6": "source_filters",
    "lpm_src_v4": "source_routes",
    "lpm_src_v6": "source_routes",
    "server_id_map": "server_ids",
    "decap_dst": "vips",
    "vip_map": "vips",
    "vip_addresses": "vips",
}
"""Map whose entries the control plane writes → the size that limits it."""


def sizes_of(infos: Mapping[str, MapInfo]) -> dict[str, int]:
    """The sizes that maps show: those of `sizes` that no table of flows is made of."""
    found = {}
    if "stats" in infos:
        found["vips"] = global_counters_at(infos["stats"].entries)
        if "ch_rings" in infos:
            found["ring"] = infos["ch_rings"].entries // found["vips"]
    if "reals" in infos:
        found["reals"] = infos["reals"].entries
    for name, size in SIZE_OF.items():
        if name in infos:
            found.setdefault(size, infos[name].entries)
    return found


def maps_to_migrate(settings: BalancerSettings, infos: Mapping[str, MapInfo]) -> list[str]:
    """The maps that there are, but of another size or type."""
    specs = balancer_maps(settings).items()
    return [name for name, spec in specs if name in infos and not fits(spec, infos[name], settings.sizes)]


def has_contents(state: State, seen: BalancerSnapshot) -> bool:
    """Whether the maps were ever in use: a first run that was killed left them empty."""
    return seen.current is not None or bool(state.program.tag) or bool(state.vips)


def seeds_hash(settings: BalancerSettings, infos: Mapping[str, MapInfo]) -> bool:
    """Whether the sizes change that seed the flow hash."""
    old = sizes_of(infos)
    return (old.get("vips"), old.get("ring")) != (settings.sizes["vips"], settings.sizes["ring"])


def asks_room(name: str, info: MapInfo, settings: BalancerSettings) -> bool:
    """Whether there may be no room for a map's contents once it is made anew."""
    size = SIZE_OF.get(name)
    return size is not None and (_leaves_hash(name, info, settings.features) or settings.sizes[size] < info.entries)


def _leaves_hash(name: str, info: MapInfo, features: Collection[str]) -> bool:
    return name == "server_id_map" and info.type == HASH and "server_id_hash" not in features


def check_room(state: State, settings: BalancerSettings, migrate: Sequence[str], seen: BalancerSnapshot) -> None:
    """ProgramError where something that is in the maps would not fit into those of the new sizes and features."""
    sizes = settings.sizes
    for name, ids, noun in (("vips", state.vip_numbers, "VIP"), ("reals", state.real_ids, "real")):
        over = [key for key, number in sorted(ids.assigned.items()) if number >= sizes[name]]
        if over:
            raise ProgramError(
                f"sizes.{name}: {noun} {over[0]} has number {ids.assigned[over[0]]}, which does not fit into"
                f" {sizes[name]}; remove it first or choose a larger size"
            )
    for name in migrate:
        if name in seen.room:
            _check_map(name, seen.maps[name], seen.room[name], settings)


def _check_map(name: str, info: MapInfo, room: Room, settings: BalancerSettings) -> None:
    size = SIZE_OF[name]
    limit = settings.sizes[size]
    if _leaves_hash(name, info, settings.features) and room.highest >= limit:
        raise ProgramError(
            f"features: server_id_hash cannot go while there is server id {room.highest}: without it they are less"
            f" than sizes.server_ids ({limit}); remove it first"
        )
    if limit >= info.entries:
        return
    if info.type == ARRAY and room.highest >= limit:
        raise ProgramError(
            f"sizes.{size}: id {room.highest} of map {name} does not fit into {limit};"
            " remove it first or choose a larger size"
        )
    if room.entries > limit:
        raise ProgramError(
            f"sizes.{size}: map {name} has {room.entries} entries, which do not fit into {limit};"
            " remove some first or choose a larger size"
        )


def rehash_lines(path: str, wanted: Wanted, state: State, seen: BalancerSnapshot) -> tuple[list[str], list[str]]:
    """(line of a rehash, sizes that change). ProgramError where a rehash is not accepted, or cannot be told."""
    old, new = sizes_of(seen.maps), wanted.settings.sizes
    changed = [f"{name} {old[name]} → {new[name]}" for name in new if name in old and old[name] != new[name]]
    if not seeds_hash(wanted.settings, seen.maps):
        return [], changed
    if state.lost:
        raise ProgramError(
            f"sizes: {', '.join(changed)} cannot change while {path} is lost, because the reals' weights are unknown;"
            " apply the VIPs first"
        )
    flows, moved = seen.moves or (0, 0)
    effect = f"of {flows} flows in the connection tables, {moved} would be chosen another real"
    if not wanted.accept_rehash:
        raise ProgramError(
            f"sizes: {', '.join(changed)} seed the flow hash: {effect} by a balancer that does not know them;"
            " change the whole fleet, and give accept_rehash: true"
        )
    return [f"rehash: {effect}"], changed
