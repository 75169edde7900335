# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a balancer's state other balancers should have as well, without ids, which each gives out for itself."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Mapping

from ..overlay import overlay_of
from ..sources import DEFAULT_SOURCES
from ..state import State
from ..verdicts import words_of
from ..vips import vips_from_config

MOST_PAIRS = 20_000
"""Of so many pairs of VIP and real, each is told; of more, their digest alone."""

_FAMILIES = ("ipv4", "ipv6")


def shared_rings(state: State) -> dict[str, dict[str, t.Any]]:
    """VIP → `digest` of what its ring is made of, `settings` of the ring, and `reals`: address → [weight, why].

    `why` is "" for a real that takes new flows, "by hand, SINCE" or "by checks: REASON" where a word beside the
    inventory's decides, else the inventory's own state. Shares of slow start are no difference: they pass.
    """
    words, overlay = words_of(state), overlay_of(state)
    vips = vips_from_config(state.vips)
    whole = sum(len(vip.reals) for vip in vips.values()) <= MOST_PAIRS
    size = state.settings.get("sizes", {}).get("ring", 0)
    found: dict[str, dict[str, t.Any]] = {}
    for key, vip in sorted(vips.items()):
        combined = words.combined(vip)
        now = {real.address: real.state for real in combined.reals}
        reals: dict[str, list[t.Any]] = {}
        for real in sorted(vip.reals):
            why = "" if now[real.address] == "active" and real.weight else now[real.address]
            if real.address in combined.out:
                why = f"{why} by checks: {combined.out[real.address].reason}"
            elif real.address in overlay and now[real.address] != real.state:
                why = f"{now[real.address]} by hand, {overlay[real.address].since}"
            reals[real.address] = [real.weight, why]
        settings = [vip.hash, size]
        members = [(address, weight) for address, (weight, why) in reals.items() if not why]
        digest = hashlib.sha256(repr((settings, members)).encode()).hexdigest()[:16]
        found[str(key)] = {"digest": digest, "settings": settings, **({"reals": reals} if whole else {})}
    return found


def tunnel_sources(
    settings: Mapping[str, t.Any], used: Mapping[str, str], probes: Mapping[str, t.Any]
) -> dict[str, list[str]]:
    """Family → the prefixes that a balancer's tunnels come from.

    `used`: its own addresses with GUE, by family; `probes`: the settings of checks.
    """
    found: dict[str, list[str]] = {}
    for family, default, bits in zip(_FAMILIES, DEFAULT_SOURCES, (32, 128), strict=True):
        if settings.get("encapsulation") == "gue":
            mine = [f"{used[family]}/{bits}"] if family in used else []
        else:
            mine = [str(settings.get(f"source_prefix_{family}") or default)]
        probe = str(probes.get(f"source_{family}") or "")
        if probe and probe != "auto":
            mine.append(f"{probe}/{bits}")
        found[family] = mine
    return found
