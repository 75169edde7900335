# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs a balancer is ready for, and the routes that say so. Pure: no I/O, no clock."""

from __future__ import annotations

import typing as t

TABLE = 198
"""The kernel's table of routes that routing daemons learn, unless another is named."""

PROTOCOL = 98
"""The routing protocol that the routes bear."""

READY, DRAINING = 1, 2
"""Metrics of routes: that of a VIP that is to be reached, and of one that traffic should leave."""


class Ready(t.NamedTuple):
    """Whether an address or prefix is announced.

    `metric`: 0 where it is not; `reasons`: why it is not, or is all the same; `since`: seconds since the epoch; `vips`:
    the names of the VIPs there.
    """

    place: str
    metric: int
    reasons: tuple[str, ...] = ()
    since: float = 0.0
    vips: tuple[str, ...] = ()
