# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway says of its MAC when it is asked itself."""

from __future__ import annotations

import socket
from dataclasses import replace

from ..._kernel.neighbour_ask import ask_neighbour
from ..._kernel.netlink import open_route
from ..._kernel.network import CONFIRMED, neighbour, own_address
from ..._model.snapshot import GatewayAnswer


def asked_itself(answer: GatewayAnswer) -> GatewayAnswer:
    """What the gateway says on the link, where the kernel only remembers its MAC: it may have another by now."""
    with open_route() as route:
        hop = next((hop for hop in answer.hops if neighbour(route, hop)[0] == answer.mac), None)
        if hop is None or neighbour(route, hop)[1] & CONFIRMED:
            return answer
    name = socket.if_indextoname(hop.interface)
    own = own_address(socket.AF_INET6 if ":" in hop.address else socket.AF_INET, [name])
    if own is None:
        return answer
    mac = ask_neighbour(name, own, hop.address)
    sentence = "" if mac else f"the gateway {hop.address} does not answer on {name} when it is asked for its MAC"
    return replace(answer, mac=mac, sentence=sentence)
