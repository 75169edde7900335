# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words about reals that were said of the fleet, compared over it: which balancers were away when. Pure.

Each word and each end of one has the moment at which it was said. Of all that the balancers know of a real the newest
is right, and whoever knows another is told.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from datetime import UTC, datetime

from .overlay import moment

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Behind(t.NamedTuple):
    """What a balancer has not heard: entries of module reals, and its `state`, merged or deleted."""

    host: str
    state: str
    config: list[dict[str, str]]


class _Known(t.NamedTuple):
    """What a balancer knows of a real; `state` is "" where a word ended. The later, and of two at once the word."""

    at: datetime
    state: str
    since: str


def lagging(told: Mapping[str, t.Any]) -> list[Behind]:
    """What to tell whom. `told`: balancer → its words and ends as `by_hand` of modules vips and reals has them."""
    known = {host: _known(by_hand) for host, by_hand in told.items()}
    newest: dict[str, _Known] = {}
    for each in known.values():
        for address, one in each.items():
            newest[address] = max(one, newest.get(address, one))
    found = []
    for host, each in known.items():
        words, ends = [], []
        for address, right in sorted(newest.items()):
            own = each.get(address)
            if right.state and (own is None or own.state != right.state):
                words.append({"address": address, "state": right.state, "since": right.since})
            elif not right.state and own is not None and own.state:
                ends.append({"address": address, "since": right.since})
        found += [Behind(host, state, config) for state, config in (("merged", words), ("deleted", ends)) if config]
    return found


def _known(by_hand: t.Any) -> dict[str, _Known]:
    rows = by_hand if isinstance(by_hand, Mapping) else {}
    found: dict[str, _Known] = {}
    for kind in ("ended", "words"):
        for row in rows.get(kind) or ():
            since = str(row["since"])
            found[str(row["address"])] = _Known(moment(since) or _EARLIEST, str(row.get("state", "")), since)
    return found
