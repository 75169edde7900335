# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pins of a program's maps, compared with the maps that the program has.

The program is the truth: a packet meets its maps, whatever is pinned under their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .map_specs import NAME_BYTES, MapSpec
from .snapshot import MapInfo, ProgramInfo


@dataclass(frozen=True)
class PinnedMaps:
    """Which maps there are, by name, and where that is not what the pins say.

    `maps`: the program's own, and others that may well be those of the next one. `lost`: those of them that are not
    pinned under their names → their ids. `strays`: names under which something else is pinned → what. `certain`:
    whether the program is known, so that maps beside these are none that packets meet.
    """

    maps: Mapping[str, MapInfo] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    strays: Mapping[str, str] = field(default_factory=dict)
    certain: bool = False

    @property
    def of_balancer(self) -> bool:
        """Whether the maps that every balancer has are there: the first and the last that are made."""
        return {"vip_map", "ctl_array"} <= self.maps.keys()

    @property
    def astray(self) -> bool:
        """Whether a pin is not what it should be."""
        return bool(self.lost or self.strays)

    @property
    def unknown(self) -> list[str]:
        """Names under which something else is pinned, and nobody knows of a map that should be."""
        return sorted(self.strays.keys() - self.lost.keys())

    @property
    def own(self) -> PinnedMaps:
        """Without the names under which no map of the program is missed."""
        return replace(self, strays={name: there for name, there in self.strays.items() if name in self.lost})

    def lines(self, folder: str) -> list[str]:
        """What mending them does, a line each. `folder`: that of the pins."""
        missing = sorted(self.lost.keys() - self.strays.keys())
        found = [f"pin {', '.join(missing)} again, which the running program has"] if missing else []
        for name, there in sorted(self.strays.items()):
            if name in self.lost:
                found.append(
                    f"pin {name} again, which the running program has, in place of {there} pinned at {folder}/{name}"
                )
            else:
                found.append(f"unpin {there} at {folder}/{name}, which cannot be map {name}")
        return found

    def warnings(self, folder: str, module: str) -> list[str]:
        """The same of a run that mends nothing. `module`: the one that does."""
        remedy = f"run module katran.fleet.{module}, which pins the program's own again"
        found = [
            f"map {name}: {self.strays.get(name, 'nothing')} is pinned at {folder}/{name}, not the map that the"
            f" program uses: {remedy}"
            for name in sorted(self.lost)
        ]
        found += [f"map {name}: {self.strays[name]} is pinned at {folder}/{name}: {remedy}" for name in self.unknown]
        return found


def is_of(spec: MapSpec, info: MapInfo) -> bool:
    """Whether a map can be one of this description, in whatever size."""
    return (info.type, info.key_size, info.value_size) == (spec.type, spec.key_size, spec.value_size)


def is_named(spec: MapSpec, info: MapInfo) -> bool:
    """Whether a map was made by this description. The kernel keeps the beginning of a name, which some have alike."""
    return info.name == spec.name[:NAME_BYTES] and is_of(spec, info)


def compare(
    specs: Iterable[MapSpec],
    pinned: Mapping[str, MapInfo | str],
    program: ProgramInfo | None,
    others: Iterable[MapInfo],
) -> PinnedMaps:
    """Compare pins with a program's maps. `pinned`: name → the map, or what else is pinned there.

    `program`: None where nobody knows which it is. `others`: maps that it has and that are pinned under no name of
    theirs.
    """
    ours = frozenset(program.map_ids) if program is not None else frozenset()
    by_name: dict[str, list[MapSpec]] = {}
    for spec in specs:
        by_name.setdefault(spec.name, []).append(spec)
    maps: dict[str, MapInfo] = {}
    lost: dict[str, int] = {}
    unpinned = list(others)
    for name, kinds in by_name.items():
        there = pinned.get(name)
        if isinstance(there, MapInfo) and there.id in ours and any(is_named(kind, there) for kind in kinds):
            maps[name] = there
            continue
        own = next((info for info in unpinned if any(is_named(kind, info) for kind in kinds)), None)
        if own is not None:
            maps[name], lost[name] = own, own.id
        elif isinstance(there, MapInfo) and any(is_of(kind, there) for kind in kinds):
            maps[name] = there
    strays = {
        name: there if isinstance(there, str) else "another map"
        for name, there in pinned.items()
        if name in by_name and (isinstance(there, str) or name not in maps or maps[name].id != there.id)
    }
    return PinnedMaps(maps, lost, strays, program is not None)
