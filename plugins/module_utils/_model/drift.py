# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: operations that no change of the configuration explains, so that somebody else must have made them necessary.

After a run that was interrupted nothing can be said: what it had begun looks like somebody else's doing.
Pure, like planning. What is reported here is repaired by the same operations.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from . import layout
from .faults import shortened
from .ids import Ids
from .map_specs import VIP_INDEX
from .operations import Delete, DeleteDownSet, DropIndex, Operation, Put, PutDownSet, PutIndex, PutRing
from .quic_lb_entries import drifted, kernel_entries
from .source_entries import FILTER_MAPS, filter_entries, source_in
from .table import Table
from .verdicts import Words
from .vip_entries import (
    ADDRESS_MAPS,
    INDEXED_MAPS,
    VIP_MAPS,
    Actual,
    address_entry,
    down_set_key,
    known_keys,
    vip_map_entry,
)
from .vip_plan import VipPlan, down_members
from .vips import Vip, VipKey

_MORE = "{} more entries changed in the kernel, repaired"
_FAULTS = {"missing": "missing in {map}, repaired", "changed": "changed in {map}, repaired"}
_FOREIGN = "not ours, removed from {map}"


@dataclass(frozen=True)
class View:
    """VIPs and what was said of their reals beside: what a run found configured, or leaves configured."""

    vips: Mapping[VipKey, Vip]
    words: Words

    def down(self, key: VipKey) -> set[str]:
        """The reals whose flows to a VIP are moved away."""
        vip = self.vips.get(key)
        return down_members(vip, self.words) if vip and "udp_flow_migration" in vip.flags else set()


@dataclass(frozen=True)
class Left:
    """What the last run left behind, as state.json tells it. `learned`: see plan_vips; `real_ids`: by address."""

    view: View
    vip_numbers: Ids
    rings: Mapping[str, list[str]]
    learned: Collection[VipKey]
    real_ids: Mapping[str, int] = field(default_factory=dict)


def _touched(
    operations: Iterable[Operation],
    actual: Mapping[str, Mapping[bytes, bytes]],
    but: Collection[tuple[str, bytes]] = (),
) -> Iterator[tuple[str, bytes, str]]:
    """(map, key, sentence) of every entry that is written or removed, `but` these (map, key)."""
    for operation in operations:
        if isinstance(operation, Put):
            there = actual.get(operation.map, {})
            for key, _value in operation.entries:
                if (operation.map, key) in but:
                    continue
                yield operation.map, key, _FAULTS["changed" if key in there else "missing"].format(map=operation.map)
        elif isinstance(operation, Delete):
            for key in operation.keys:
                if (operation.map, key) in but:
                    continue
                yield operation.map, key, _FOREIGN.format(map=operation.map)


def vip_drift(left: Left, wanted: View, plan: VipPlan, actual: Actual) -> list[str]:
    """One line for each thing of the VIPs' that is not as the last run left it; of the reals, see reals_drift."""
    known = left.view.vips
    same = {key for key, vip in known.items() if wanted.vips.get(key) == vip}
    by_entry = {vip_map_entry(key, 0, 0)[:2]: key for key in {*known, *wanted.vips}}
    addresses = {address_entry(key)[:2]: key.address for key in {*known, *wanted.vips}}
    known_addresses = {address_entry(key)[:2] for key in known}
    assigned = left.vip_numbers.assigned
    numbers: dict[str, dict[int | None, bytes]] = {
        "cidr_vip_keys": {assigned.get(str(key)): down_set_key(key) for key in known if key.prefixlen is not None},
        "vip_learned": {assigned.get(str(key)): layout.u32(1) for key in left.learned},
    }
    sources = _Sources(left)
    visible = known_keys(actual)
    lines = []
    for name, map_key, sentence in _touched(plan.operations, actual.entries):
        foreign = "not ours" in sentence
        if name in VIP_MAPS:
            key = by_entry.get((name, map_key))
            if (key not in known) if foreign else (key in same):
                lines.append(f"vip {key or visible.get(map_key) or map_key.hex()}: {sentence}")
        elif name in ADDRESS_MAPS:
            if ((name, map_key) in known_addresses) != foreign:
                text = addresses.get((name, map_key)) or _address_text(name, map_key)
                lines.append(f"VIP address {text}: {sentence}")
        elif name in FILTER_MAPS:
            key = sources.owner(map_key)
            if (map_key not in sources.of(key)) if foreign else (key in same):
                lines.append(f"vip {key or 'that is none'}: client {source_in(map_key)}: {sentence}")
        elif name in numbers:
            number = layout.parse_u32(map_key)
            # A number that another prefix gets is written anew, whatever is there.
            as_left = numbers[name].get(number) == actual.entries.get(name, {}).get(map_key)
            if (number in numbers[name]) != foreign and not as_left:
                lines.append(f"VIP number {number}: {sentence}")
    lines += _quic_lb_drift(left, plan, actual)
    lines += _index_drift(plan, actual)
    lines += _ring_drift(left, plan, actual)
    lines += _down_drift(left.view, wanted, plan, actual)
    return shortened(lines, f"vips: {_MORE}")


class _Sources:
    """The lists of clients that the last run left, by VIP."""

    def __init__(self, left: Left) -> None:
        self._vips = left.view.vips
        self._numbers = left.vip_numbers.assigned
        self._owners = {self._numbers[str(key)]: key for key in self._vips if str(key) in self._numbers}
        self._entries: dict[VipKey, dict[bytes, bytes]] = {}

    def owner(self, entry: bytes) -> VipKey | None:
        """Whose list an entry is of."""
        return self._owners.get(layout.parse_source_filter_key(entry)[2])

    def of(self, key: VipKey | None) -> Mapping[bytes, bytes]:
        """The entries of a VIP's lists."""
        if key is None:
            return {}
        if key not in self._entries:
            self._entries[key] = filter_entries(self._vips[key], key.ipv6, self._numbers[str(key)])
        return self._entries[key]


def _address_text(name: str, key: bytes) -> str:
    if name == "vip_addresses":
        return layout.unpack_address(key, any(key[4:]))
    packed, length = layout.parse_lpm_key(key)
    return f"{layout.unpack_address(packed, len(packed) == 16)}/{length}"


def _quic_lb_drift(left: Left, plan: VipPlan, actual: Actual) -> list[str]:
    entries: dict[tuple[str, bytes], bytes] = {}
    for key, vip in left.view.vips.items():
        number = left.vip_numbers.assigned.get(str(key))
        if number is not None and vip.quic_lb:
            entries.update(kernel_entries(vip.quic_lb, number, left.real_ids))
    return drifted(_touched(plan.operations, actual.entries), entries, actual.entries)


def _index_drift(plan: VipPlan, actual: Actual) -> list[str]:
    """The VIP index, where it is to become another although VIPs stay as they are."""
    operations = plan.operations
    if any(isinstance(each, (Put, Delete)) and each.map in INDEXED_MAPS for each in operations):
        return []
    if not any(isinstance(each, (PutIndex, DropIndex)) for each in operations):
        return []
    fault = "missing" if actual.index is None else "changed"
    return [f"the index of VIPs: {_FAULTS[fault].format(map=VIP_INDEX)}"]


def _ring_drift(left: Left, plan: VipPlan, actual: Actual) -> list[str]:
    """Rings whose live slots do not have the digest that was written down with them."""
    written = {each.number: each.changed for each in plan.operations if isinstance(each, PutRing)}
    lines = []
    for key in sorted(left.view.vips):
        number, ring = left.vip_numbers.assigned.get(str(key)), left.rings.get(str(key))
        if number is None or ring is None or number not in written:
            continue
        if actual.digest(number) != ring[1] if ring[1] else not actual.is_empty(number):
            lines.append(f"vip {key}: {written[number]} ring slots changed, repaired")
    return lines


def _down_drift(before: View, wanted: View, plan: VipPlan, actual: Actual) -> list[str]:
    keys = {down_set_key(key): key for key in sorted({*before.vips, *wanted.vips})}
    lines = []
    for operation in plan.operations:
        if isinstance(operation, PutDownSet):
            key = keys[operation.key]
            if before.down(key) == wanted.down(key):
                fault = "changed" if operation.key in actual.down else "missing"
                lines.append(f"vip {key}: its down reals are {fault} in vip_to_down_reals_map, repaired")
        elif isinstance(operation, DeleteDownSet):
            found = keys.get(operation.key)
            if found is None or not before.down(found):
                lines.append(
                    f"vip {found or operation.key.hex()}: down reals that are not ours, removed from"
                    " vip_to_down_reals_map"
                )
    return lines


def reals_drift(
    operations: Iterable[Operation],
    local: Mapping[str, bool],
    actual: Mapping[bytes, bytes],
    known: Ids,
) -> list[str]:
    """One line for each real that is not as the last run left it. `local`: what it was, by address."""
    numbers = {number: address for address, number in known.assigned.items()}
    lines = []
    for operation in operations:
        if isinstance(operation, Put) and operation.map == "reals":
            for key, value in operation.entries:
                packed, flags = layout.parse_real_definition(value)
                address = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
                if numbers.get(layout.parse_u32(key)) != address:
                    continue
                there = actual.get(key)
                if there is None:
                    lines.append(f"real {address}: missing in reals, repaired")
                elif there[:16] != value[:16] or local.get(address, False) == bool(flags & layout.REAL_LOCAL):
                    lines.append(f"real {address}: changed in reals, repaired")
        elif isinstance(operation, Delete) and operation.map == "reals":
            for key in operation.keys:
                number = layout.parse_u32(key)
                if number not in numbers:
                    lines.append(f"real with id {number}: {_FOREIGN.format(map='reals')}")
    return shortened(lines, f"reals: {_MORE}")


def table_drift(
    operations: Iterable[Operation],
    explained: set[tuple[str, bytes]],
    actual: Mapping[str, Mapping[bytes, bytes]],
    table: Table[t.Any, t.Any],
) -> list[str]:
    """One line for each entry of a table that is not as the last run left it.

    `explained`: the (map, key) that the configuration changes.
    """
    lines = [
        f"{table.noun} {table.key_in(name, key)}: {sentence}"
        for name, key, sentence in _touched(operations, actual, explained)
        if name in table.maps
    ]
    return shortened(lines, f"{table.noun}: {_MORE}")
