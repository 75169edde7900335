# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a running Katran that is not ours, and comparing an inventory's rings with its own. Nothing is written."""

from __future__ import annotations

import hashlib
import typing as t
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from .._kernel.cpus import possible_cpus
from .._kernel.katran_maps import KatranMaps, Place, health_maps, inner_maps, opened_katran
from .._kernel.maps import nonzero_entries
from .._kernel.open_map import Map
from .._kernel.spread import spread
from .._kernel.stretches import read_stretch
from .._model import layout
from .._model.entries import Asked, Config
from .._model.katran import SMALL, Imported, KatranSeen, health_destinations, imported, reals_in, sizes_of
from .._model.limits import Limits
from .._model.map_specs import ARRAY, DEFAULT_SIZES, MMAPABLE
from .._model.resources import RESOURCES
from .._model.ring import build_ring
from .._model.ring_weights import RingWeights, differing, weights_of
from .._model.shape import as_told
from .._model.verdicts import NO_WORDS
from .._model.vip_entries import flag_bits
from .._model.vip_plan import ring_members
from .._model.vips import Vip, VipKey
from .._model.vips_input import resolve_vips


@dataclass(frozen=True)
class KatranFound:
    """A running Katran: what was seen of it, and what an inventory says of that.

    `compared`: with an inventory's VIPs.
    """

    seen: KatranSeen
    imported: Imported
    destinations: list[dict[str, t.Any]]
    compared: Compared | None = None


@dataclass
class Compared:
    """How far a running Katran is what VIPs of an inventory would make: slots that differ, a sentence for each VIP."""

    slots: int = 0
    lines: list[str] = field(default_factory=list)


def read_katran(place: Place, config: Config | None = None) -> KatranFound:
    """Read a running Katran; with VIPs of an inventory, compare their rings with its own. EngineError says why not."""
    with opened_katran(place) as found, ExitStack() as held:
        seen = _read(found, held)
        compared = None if config is None else _compare(found, seen, config)
    return KatranFound(seen, imported(seen), health_destinations(seen), compared)


def _read(found: KatranMaps, held: ExitStack) -> KatranSeen:
    maps = dict(found.maps)
    if "hc_reals_map" not in maps:
        # Of several checkers none is this Katran's for sure.
        others = health_maps(held)
        if len(others) == 1:
            maps["hc_reals_map"] = others[0]
    infos = {name: opened.info for name, opened in maps.items()}
    sizes = sizes_of(infos)
    entries = {name: _entries(maps[name]) for name in SMALL if name in maps}
    numbers = {
        layout.parse_vip_meta(value)[1]
        for name in ("vip_map", "vip_lpm_map")
        for value in entries.get(name, {}).values()
    }
    addresses = {number: real.address for number, real in reals_in(entries).items()}
    rings = _rings(maps["ch_rings"], sorted(each for each in numbers if each < sizes.vips), sizes.ring, addresses)
    tables: dict[str, dict[int, int]] = {
        str(name): {layout.parse_u32(key): inner.info.entries for key, inner in inner_maps(maps[name])}
        for name in ("lru_mapping", "global_lru_maps")
        if name in maps
    }
    down = {}
    if "vip_to_down_reals_map" in maps:
        for key, inner in inner_maps(maps["vip_to_down_reals_map"]):
            down[key] = frozenset(map(layout.parse_u32, inner.each_key()))
    return KatranSeen(
        found.program, dict(found.interfaces), infos, entries, rings, down, tables, possible_cpus(), found.array
    )


def _entries(opened: Map) -> dict[bytes, bytes]:
    """All entries; of an array those that are not zero."""
    if opened.info.type != ARRAY:
        return dict(opened.items())
    if opened.info.flags & MMAPABLE:
        return dict(nonzero_entries(opened))
    return dict(_nonzero(opened))


_STRETCH = 1 << 16


def _nonzero(opened: Map) -> t.Iterator[tuple[bytes, bytes]]:
    """The entries of an array that are not zero. Katran's server_id_map has 16 million, so that several look."""
    size, entries = opened.info.value_size, opened.info.entries
    nothing = bytes(_STRETCH * size)

    def work(part: Sequence[int]) -> list[t.Any]:
        answers = []
        for start in part:
            values = read_stretch(opened, start, min(_STRETCH, entries - start))
            # What is all zero, as nearly all of it is, costs a comparison.
            places = () if values == nothing[: len(values)] else range(0, len(values), size)
            found = ((at, values[at : at + size]) for at in places)
            answers.append([(start + at // size, value.hex()) for at, value in found if any(value)])
        return answers

    for stretch in spread(range(0, entries, _STRETCH), work):
        for index, value in stretch:
            yield layout.u32(index), bytes.fromhex(value)


def read_owners(opened: Map, number: int, size: int) -> array[int]:
    """Slot → real id of a VIP's ring."""
    raw = read_stretch(opened, number * size, size)
    return array("I", array("Q", raw)) if opened.info.flags & MMAPABLE else array("I", raw)


def _rings(opened: Map, numbers: Sequence[int], size: int, addresses: Mapping[int, str]) -> dict[int, RingWeights]:
    """VIP number → what its ring was made of. Rings that are the same are looked at once."""

    def work(part: Sequence[int]) -> list[t.Any]:
        known: dict[bytes, list[t.Any]] = {}
        answers = []
        for number in part:
            owners = read_owners(opened, number, size)
            digest = hashlib.sha256(owners).digest()
            if digest not in known:
                ring = weights_of(owners, addresses)
                known[digest] = [dict(ring.weights), ring.hash, ring.differ, ring.empty]
            answers.append(known[digest])
        return answers

    return {number: RingWeights(*answer) for number, answer in zip(numbers, spread(numbers, work), strict=True)}


def _compare(found: KatranMaps, seen: KatranSeen, config: Config) -> Compared:
    """The rings that these VIPs would have beside those that Katran has."""
    room = {"vips": seen.sizes.vips, "reals": seen.maps["reals"].entries, "cidr_vips": seen.sizes.vips}
    limits = Limits({**DEFAULT_SIZES, **room}, None)
    listed = [as_told(entry, RESOURCES["vips"].options) for entry in config]
    wanted, _warnings = resolve_vips({}, Asked(listed, "overridden", True, limits, allow_own_addresses=True), 0)
    live = {key: (flags, number) for key, flags, number in seen.number_vips()}
    compared = Compared()
    for key in sorted({*wanted, *live}):
        if key not in live:
            compared.lines.append(f"vip {key}: Katran has no such VIP")
        elif key not in wanted:
            compared.lines.append(f"vip {key}: only Katran has it")
        elif flag_bits(wanted[key].flags) != live[key][0]:
            compared.lines.append(f"vip {key}: its flags differ")
    both = [key for key in sorted(wanted) if key in live and live[key][1] in seen.rings]
    ids = {real.address: number for number, real in seen.reals.items()}
    slots_map = found.maps["ch_rings"]

    def work(part: Sequence[VipKey]) -> list[t.Any]:
        rings: dict[t.Any, array[int]] = {}
        return [
            _differing(wanted[key], read_owners(slots_map, live[key][1], seen.sizes.ring), ids, rings) for key in part
        ]

    for key, slots in zip(both, spread(both, work), strict=True):
        if slots:
            compared.slots += slots
            compared.lines.append(f"vip {key}: {slots} of {seen.sizes.ring} ring slots differ from Katran's")
    return compared


def _differing(vip: Vip, owners: array[int], ids: Mapping[str, int], rings: dict[t.Any, array[int]]) -> int:
    """How many slots lead to another real than this VIP has. `ids`: by address; `rings`: those that were built."""
    members = ring_members(vip, NO_WORDS)
    job = (tuple(members), vip.hash)
    if job not in rings:
        rings[job] = build_ring(members, len(owners), vip.hash)
    return differing(rings[job], [ids.get(address, 0) for address, _weight in members], owners)


def told(found: KatranFound) -> dict[str, t.Any]:
    """What a module tells of it."""
    answer: dict[str, t.Any] = {
        "program": {
            "id": found.seen.program,
            "interfaces": dict(found.seen.interfaces),
            "maps": {name: {"id": info.id, "entries": info.entries} for name, info in sorted(found.seen.maps.items())},
        },
        "variables": found.imported.variables,
        "notes": found.imported.notes,
        "stale": found.imported.stale,
        "healthcheck_destinations": found.destinations,
    }
    if found.compared is not None:
        answer["ring_slots_different"] = found.compared.slots
        answer["differences"] = found.compared.lines
    return answer
