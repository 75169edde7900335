# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a probe gets to its real: through the tunnel, or straight to the balancer's own loopback. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

if t.TYPE_CHECKING:
    from .checks import Target

LOOPBACK = "lo"


class Reach(t.NamedTuple):
    """How a probe's socket is set up.

    `mark`: its SO_MARK, 0 for none; `device`: the interface that it is bound to, "" for none; `like`: it has the source
    address that packets to this address have, "": the kernel chooses; `obstacle`: why no probe can be made at present,
    "" where one can.
    """

    mark: int = 0
    device: str = ""
    like: str = ""
    obstacle: str = ""


class Way(t.NamedTuple):
    """How probes of one instance leave the host.

    `device`: the interface whose egress has program healthcheck; `attached`: whether it does; `marks`: real → mark, of
    what is in the program's map; `own`: the host's own addresses, in canonical text.
    """

    device: str
    attached: bool
    marks: Mapping[str, int]
    own: AbstractSet[str]


def reach_of(target: Target, way: Way) -> Reach:
    """How to reach a service at a real.

    A real that is this host is asked on lo, without a tunnel: bound to lo, so that a probe of a VIP that is missing
    there goes nowhere, instead of through the network to another real. Any other is asked by its mark, bound to the
    interface of program healthcheck, or the kernel would deliver it to the VIP that lo has where this host is a real.
    To such a VIP in IPv6, the kernel would choose the VIP itself as the source (RFC 6724, rule 1).
    """
    real, address = target.real, target.address
    if real in way.own:
        return Reach(device=LOOPBACK)
    if not way.attached:
        return Reach(obstacle="program healthcheck is not attached")
    mark = way.marks.get(real, 0)
    if not mark:
        return Reach(obstacle="program healthcheck does not know the real yet")
    return Reach(mark, way.device, real if ":" in address and address in way.own else "")
