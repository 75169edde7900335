# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining: which VIPs it leaves without a real for new flows, and what goes on leading to a real that is drained.

A source route or a server id names its real, so the ring has no say: what it leads stays until the entry goes.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from .addresses import address_order
from .errors import ConfigError
from .faults import shortened
from .limits import Limits
from .overlay import Overlay
from .table import Table
from .vip_plan import effective_state, ring_members
from .vips import Vip, VipKey, VipReal, vip_to_config

_SOME = 5
"""As many prefixes, ids or reals are named in a line."""

Overlays = Mapping[str, Overlay]
Configured = Mapping[VipKey, Vip]
AnyTable = Table[t.Any, t.Any]


def some(words: Sequence[str]) -> str:
    """The first words, and how many more there are."""
    more = len(words) - _SOME
    return ", ".join(words) if more <= 0 else f"{', '.join(words[:_SOME])} and {more} more"


def why_out(real: VipReal, overlay: Overlays) -> str:
    """Why a real of a VIP takes no new flow; "" where it does."""
    by_hand = overlay.get(real.address)
    state = effective_state(real.address, real.state, overlay)
    if state != "active":
        return f"{state} by hand" if by_hand else state
    return "" if real.weight else "weight 0"


def without_active(vip: Vip, overlay: Overlays) -> str:
    """A VIP without a real for new flows, and why each is none; "" where it has one, or no reals at all."""
    if not vip.reals or ring_members(vip, overlay):
        return ""
    return f"{vip.key} ({some([f'{real.address} {why_out(real, overlay)}' for real in vip.reals])})"


def starving(before: tuple[Configured, Overlays], after: tuple[Configured, Overlays]) -> list[str]:
    """The VIPs that lose their last real for new flows between two configurations, though they still have reals.

    Each is (VIPs, overlay). A VIP that had none before loses nothing.
    """
    (known, was), (wanted, now) = before, after
    changed = {address for address in {*was, *now} if was.get(address) != now.get(address)}
    found = []
    for key in sorted(wanted):
        vip, old = wanted[key], known.get(key)
        if old is None or (old is vip and changed.isdisjoint(real.address for real in vip.reals)):
            continue
        line = without_active(vip, now)
        if line and ring_members(old, was):
            found.append(line)
    return found


def require_active_by_hand(vips: Configured, was: Overlays, now: Overlays, allow_empty: bool) -> None:
    """ConfigError where the overlay newly leaves VIPs without a real for new flows, unless that is said to be meant."""
    found = [] if allow_empty else starving((vips, was), (vips, now))
    if found:
        raise ConfigError(
            f"config: no real would take new flows of {_joined(found)}: give allow_empty: true if that is meant"
        )


def require_active(known: Configured, wanted: Configured, overlay: Overlays, min_active: int) -> None:
    """ConfigError where a change of the VIPs takes the last real that nobody drained by hand, and VIPs need one."""
    found = starving((known, overlay), (wanted, overlay)) if min_active > 0 and overlay else []
    if found:
        raise ConfigError(
            f"vips: no real would take new flows of {_joined(found)}, but min_active is {min_active}: end what was said"
            " by hand (katran.fleet.reals, state deleted), or give min_active: 0 if that is meant"
        )


def _joined(found: list[str]) -> str:
    return ", ".join(shortened(found, "and {} more VIPs"))


def idle_by_hand(vips: Configured, overlay: Overlays) -> list[str]:
    """A warning for each VIP that has no real for new flows because of what was said by hand."""
    found = []
    for key in sorted(vips) if overlay else ():
        if any(real.address in overlay for real in vips[key].reals):
            line = without_active(vips[key], overlay)
            found += [f"vip {line}: no real takes new flows"] if line else []
    return shortened(found, "and {} more VIPs without a real for new flows")


class Drained:
    """Asked of reals to which a table's entries lead: what keeps new flows from them otherwise."""

    def __init__(self, table: AnyTable, vips: Configured, overlay: Overlays, elsewhere: Collection[str] = ()) -> None:
        """`elsewhere`: reals that are none of VIPs and yet not gone."""
        self._overlay = overlay
        self._vips = vips
        self._elsewhere = elsewhere
        self._listed = {real.address for vip in vips.values() for real in vip.reals}
        self._out: dict[str, list[tuple[str, str]]] = {}
        followers = [key for key in sorted(vips) if table.followed_by(vip_to_config(vips[key]))]
        # That nobody follows them is told elsewhere, and then nobody goes where they lead.
        self._followed = bool(followers) or not vips
        for key in followers:
            for real in vips[key].reals:
                why = why_out(real, overlay)
                if why:
                    self._out.setdefault(real.address, []).append((why, str(key)))
            for address in vips[key].down_reals:
                if address not in self._listed:
                    self._out.setdefault(address, []).append(("listed as down", str(key)))

    def why(self, address: str) -> str:
        """What to say of a real; "" where it takes new flows."""
        if not self._followed:
            return ""
        by_hand = self._overlay.get(address)
        if by_hand is not None and by_hand.state != "active":
            return f"which is {by_hand.state} by hand"
        out = self._out.get(address, [])
        if out:
            words = sorted({why for why, _vip in out})
            return f"which is {' or '.join(words)} in {some([vip for _why, vip in out])}"
        known = not self._vips or address in self._listed or address in self._elsewhere
        return "" if known else "which no VIP has"


def still_led(table: AnyTable, drained: Drained, keys_of: Mapping[str, Sequence[str]]) -> list[str]:
    """A warning for each drained or vanished real to which entries lead. `keys_of`: real → their keys, as text."""
    found = []
    for address in sorted(keys_of, key=address_order):
        why, keys = drained.why(address), keys_of[address]
        if why and keys:
            verb = "leads" if len(keys) == 1 else "lead"
            found.append(f"{table.name}: {some(keys)} {verb} to {address}, {why}: {table.follows} still go there")
    return shortened(found, f"{table.name}: and {{}} more reals that are drained or gone")


def led_by(table: AnyTable, items: Iterable[tuple[t.Any, t.Any]], reals: Collection[str]) -> dict[str, list[str]]:
    """Real → the keys that lead to it, as text and in their order, of `reals` alone."""
    found: dict[str, list[t.Any]] = {address: [] for address in reals}
    for key, item in items:
        if item.real in found:
            found[item.real].append(key)
    return {address: [table.shown(key) for key in sorted(keys)] for address, keys in found.items()}


def may_lead_astray(table: AnyTable, reals: Iterable[str], vips: Configured, overlay: Overlays) -> bool:
    """Whether there may be such a warning: to read a large table's entries takes longer than to ask its reals."""
    drained = Drained(table, vips, overlay)
    return any(drained.why(address) for address in reals)


def leading_warnings(
    table: AnyTable, items: Mapping[t.Any, t.Any], vips: Configured, overlay: Overlays, limits: Limits
) -> list[str]:
    """What a table's run says of entries that lead to reals which take no new flow."""
    if not table.leads_to_reals or not items or (table.feature is not None and not limits.has(table.feature)):
        return []
    drained = Drained(table, vips, overlay)
    reals = {address for address in {item.real for item in items.values()} if drained.why(address)}
    return still_led(table, drained, led_by(table, items.items(), reals)) if reals else []
