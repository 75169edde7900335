# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway says of its MAC when it is asked itself."""

from __future__ import annotations

import socket
from dataclasses import replace

from ..._kernel.neighbour_ask import ask_neighbour
from ..._kernel.netlink import open_route
from ..._kernel.network import CONFIRMED, PERMANENT, neighbour, own_address
from ..._model.snapshot import GatewayAnswer


def asked_itself(answer: GatewayAnswer) -> GatewayAnswer:
    """What the gateway says on the link, where the kernel only remembers its MAC, or was told it: it may have another.

    Where it does not answer, an entry that somebody wrote counts.
    """
    with open_route() as route:
        hop = next((hop for hop in answer.hops if neighbour(route, hop)[0] == answer.mac), None)
        state = neighbour(route, hop)[1] if hop else 0
    written = bool(state & PERMANENT)
    if hop is None or (state & CONFIRMED and not written):
        return answer
    name = socket.if_indextoname(hop.interface)
    own = own_address(socket.AF_INET6 if ":" in hop.address else socket.AF_INET, [name])
    if own is None:
        return answer
    if written:
        mac = ask_neighbour(name, own, hop.address, tries=1)
        return replace(answer, mac=mac, written=f"{hop.address} dev {name}") if mac not in ("", answer.mac) else answer
    mac = ask_neighbour(name, own, hop.address)
    sentence = "" if mac else f"the gateway {hop.address} does not answer on {name} when it is asked for its MAC"
    return replace(answer, mac=mac, sentence=sentence)
