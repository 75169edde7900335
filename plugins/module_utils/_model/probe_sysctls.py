# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters of a balancer that is a real, and asks other reals."""

from __future__ import annotations


def probe_sysctls(device: str) -> dict[str, str]:
    """What the kernel has to be told so that a balancer that is a real hears other reals' answers: path → value.

    These come from a VIP, which is an address of its own too: without `accept_local` the kernel takes them for forged,
    and with it an `rp_filter` of 1 does, whose way to a VIP is lo. The kernel goes by the higher rp_filter of `all` and
    the interface: 2 on the interface is enough, whatever `all` has. IPv6 needs nothing.
    """
    return {f"net/ipv4/conf/{device}/accept_local": "1", f"net/ipv4/conf/{device}/rp_filter": "2"}
