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
from .faults import shortened, some
from .limits import Limits
from .table import Table
from .verdicts import Words, by_check
from .vip_plan import ring_members
from .vips import Vip, VipKey, vip_to_config

Configured = Mapping[VipKey, Vip]
AnyTable = Table[t.Any, t.Any]
STARVES = "no real would take new flows of"
"""What the sentence of a refusal says, before it names the VIPs."""


def why_out(vip: Vip, words: Words) -> list[tuple[str, str]]:
    """(address, why) of each real of a VIP that takes no new flow, in the VIP's order."""
    combined = words.combined(vip)
    found = []
    for real in combined.reals:
        if real.address in combined.out:
            found.append((real.address, by_check(combined.out[real.address])))
        elif real.state != "active":
            found.append((real.address, f"{real.state} by hand" if real.address in words.overlay else real.state))
        elif not real.weight:
            found.append((real.address, "weight 0"))
    return found


def without_active(vip: Vip, words: Words) -> str:
    """A VIP without a real for new flows, and why each is none; "" where it has one, or no reals at all."""
    if not vip.reals or ring_members(vip, words):
        return ""
    return f"{vip.key} ({some([f'{address} {why}' for address, why in why_out(vip, words)])})"


def starving(before: tuple[Configured, Words], after: tuple[Configured, Words]) -> list[str]:
    """The VIPs that lose their last real for new flows between two configurations, though they still have reals.

    Each is (VIPs, words), of which the verdicts are the same. A VIP that had none before loses nothing.
    """
    (known, was), (wanted, now) = before, after
    over, under = was.overlay, now.overlay
    changed = {address for address in {*over, *under} if over.get(address) != under.get(address)}
    found = []
    for key in sorted(wanted):
        vip, old = wanted[key], known.get(key)
        if old is None or (old is vip and changed.isdisjoint(real.address for real in vip.reals)):
            continue
        line = without_active(vip, now)
        if line and ring_members(old, was):
            found.append(line)
    return found


def require_active_by_hand(vips: Configured, was: Words, now: Words, allow_empty: bool) -> None:
    """ConfigError where the overlay newly leaves VIPs without a real for new flows, unless that is said to be meant."""
    found = [] if allow_empty else starving((vips, was), (vips, now))
    if found:
        raise ConfigError(f"config: {STARVES} {_joined(found)}: give allow_empty: true if that is meant")


def require_active(known: Configured, wanted: Configured, words: Words, min_active: int) -> None:
    """ConfigError where a change of the VIPs takes the last real that neither a person nor checks took out.

    Only where VIPs need one.
    """
    said = words.overlay or words.verdicts
    found = starving((known, words), (wanted, words)) if min_active > 0 and said else []
    if found:
        remedy = "end what was said by hand (katran.fleet.reals, state deleted), or " if words.overlay else ""
        raise ConfigError(
            f"vips: {STARVES} {_joined(found)}, but min_active is {min_active}:"
            f" {remedy}give min_active: 0 if that is meant"
        )


def _joined(found: list[str]) -> str:
    return ", ".join(shortened(found, "and {} more VIPs"))


def idle_by_word(vips: Configured, words: Words) -> list[str]:
    """A warning for each VIP that has no real for new flows because of what was said by hand, or by checks."""
    found = []
    overlay = words.overlay
    for key in sorted(vips) if overlay or words.verdicts else ():
        if words.combined(vips[key]).out or any(real.address in overlay for real in vips[key].reals):
            line = without_active(vips[key], words)
            found += [f"vip {line}: no real takes new flows"] if line else []
    return shortened(found, "and {} more VIPs without a real for new flows")


class Drained:
    """Asked of reals to which a table's entries lead: what keeps new flows from them otherwise."""

    def __init__(self, table: AnyTable, vips: Configured, words: Words, elsewhere: Collection[str] = ()) -> None:
        """`elsewhere`: reals that are none of VIPs and yet not gone."""
        self._overlay = words.overlay
        self._vips = vips
        self._elsewhere = elsewhere
        self._listed = {real.address for vip in vips.values() for real in vip.reals}
        self._out: dict[str, list[tuple[str, str]]] = {}
        followers = [key for key in sorted(vips) if table.followed_by(vip_to_config(vips[key]))]
        # That nobody follows them is told elsewhere, and then nobody goes where they lead.
        self._followed = bool(followers) or not vips
        for key in followers:
            for address, why in why_out(vips[key], words):
                self._out.setdefault(address, []).append((why, str(key)))
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


def may_lead_astray(table: AnyTable, reals: Iterable[str], vips: Configured, words: Words) -> bool:
    """Whether there may be such a warning: to read a large table's entries takes longer than to ask its reals."""
    drained = Drained(table, vips, words)
    return any(drained.why(address) for address in reals)


def leading_warnings(
    table: AnyTable, items: Mapping[t.Any, t.Any], vips: Configured, words: Words, limits: Limits
) -> list[str]:
    """What a table's run says of entries that lead to reals which take no new flow."""
    if not table.leads_to_reals or not items or (table.feature is not None and not limits.has(table.feature)):
        return []
    drained = Drained(table, vips, words)
    reals = {address for address in {item.real for item in items.values()} if drained.why(address)}
    return still_led(table, drained, led_by(table, items.items(), reals)) if reals else []
