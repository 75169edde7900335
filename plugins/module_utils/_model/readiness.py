# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals that are not ready are held back: nothing leads to them newly."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from .addresses import address_order, parse_addresses
from .entries import K, V
from .faults import Faults, shortened
from .vips import MORE_VIPS, Vip, VipKey
from .vips_input import active_reals


def hold_back_vips(
    before: Mapping[VipKey, Vip], after: Mapping[VipKey, Vip], unready: Collection[str], unseen: Collection[str]
) -> tuple[dict[VipKey, Vip], list[str]]:
    """The VIPs after, but those of `unready` reals as they were that would newly take flows; and warnings.

    Of `unseen` reals that newly take flows there is but a warning.
    """
    held, kept_back, trusted = dict(after), [], []
    for key in sorted(after) if unready or unseen else ():
        old = {real.address: real for real in before[key].reals} if key in before else {}
        new = set(active_reals(after[key])).difference(active_reals(before.get(key, Vip(key))))
        early = new.intersection(unready)
        if early:
            reals = (old.get(real.address) if real.address in early else real for real in after[key].reals)
            held[key] = replace(after[key], reals=tuple(real for real in reals if real is not None))
            kept_back.append(f"vip {key}: no new flow to {_names(early)} yet, not ready (unready_reals)")
        if before and new.intersection(unseen):
            names = _names(new.intersection(unseen))
            trusted.append(f"vip {key}: new flows go to {names}, not known to be ready (unseen_reals)")
    return held, shortened(kept_back, MORE_VIPS) + shortened(trusted, MORE_VIPS)


def _names(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses, key=address_order))


def hold_back_rows(before: Mapping[K, V], after: Mapping[K, V], unready: Collection[str]) -> tuple[dict[K, V], list[K]]:
    """A table after, but without what would newly lead to an `unready` real; and the keys that stay as they were."""
    early = [
        key
        for key, row in (after.items() if unready else ())
        if getattr(row, "real", None) in unready and before.get(key) != row
    ]
    held = dict(after)
    for key in early:
        del held[key]
        if key in before:
            held[key] = before[key]
    return held, early


def parse_reals(texts: Sequence[t.Any], name: str) -> frozenset[str]:
    """An option of resource modules that lists reals. ConfigError lists all faults."""
    faults = Faults()
    addresses = parse_addresses(texts, name, faults)
    faults.check()
    return frozenset(addresses)
