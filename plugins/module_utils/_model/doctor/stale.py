# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot of today's ring a flow of the connection table has. Pure."""

from __future__ import annotations

from .. import layout
from ..flow_selection import is_ipv6
from ..hashing import flow_slot


def slot_of(key: bytes, flags: int, max_vips: int, ring_size: int) -> int:
    """The slot of a flow key (docs/datapath.md, step 8). `flags`: vip_meta.flags of its VIP.

    The key has the ports as the VIP's flags left them, so that what was forgotten is zero here as it is there.
    """
    source, _destination, source_port, port, _protocol = layout.parse_flow_key(key)
    return flow_slot(
        source if is_ipv6(key) else source[:4],
        source_port,
        port,
        max_vips=max_vips,
        ring_size=ring_size,
        flags=[name for name, bit in layout.VIP_FLAGS.items() if flags & bit],
        port_matched=bool(port),
    )
