# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How VIPs differ, in words."""

from __future__ import annotations

from collections.abc import Mapping

from .addresses import address_order
from .check_words import announce_changes, check_changes, check_words
from .faults import counted
from .quic_lb_entries import quic_lb_changes
from .source_lists import list_changes
from .vips import Vip, VipKey


def vip_changes(before: Mapping[VipKey, Vip], after: Mapping[VipKey, Vip]) -> list[str]:
    """One line for each difference, sorted by VIP."""
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None and new is not None:
            checked = f", checked by {check_words(new.check)}" if new.check else ""
            lines.append(f"vip {key}: added with {counted(len(new.reals), 'real')}{checked}")
        elif new is None:
            lines.append(f"vip {key}: removed")
        elif old is not None:
            lines += [f"vip {key}: {line}" for line in _vip_differences(old, new)]
    return lines


def _vip_differences(old: Vip, new: Vip) -> list[str]:
    lines = []
    if old.flags != new.flags:
        lines.append(f"flags {','.join(old.flags) or 'none'} → {','.join(new.flags) or 'none'}")
    if old.hash != new.hash:
        lines.append(f"hash {old.hash} → {new.hash}")
    lines += list_changes(old, new)
    lines += check_changes(old.check, new.check) + announce_changes(old.announce, new.announce)
    lines += quic_lb_changes(old.quic_lb, new.quic_lb)
    old_reals = {real.address: real for real in old.reals}
    new_reals = {real.address: real for real in new.reals}
    for address in sorted({*old_reals, *new_reals}, key=address_order):
        was, now = old_reals.get(address), new_reals.get(address)
        if was is None and now is not None:
            state = "" if now.state == "active" else f", {now.state}"
            lines.append(f"real {address} added (weight {now.weight}{state})")
        elif now is None:
            lines.append(f"real {address} removed")
        elif was is not None:
            lines += [
                f"{name} of {address} {_word(getattr(was, name))} → {_word(getattr(now, name))}"
                for name in ("weight", "state", "local")
                if getattr(was, name) != getattr(now, name)
            ]
    lines += [
        f"{address} {'listed as down' if address in new.down_reals else 'no longer listed as down'}"
        for address in sorted({*old.down_reals} ^ {*new.down_reals}, key=address_order)
    ]
    return lines


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
