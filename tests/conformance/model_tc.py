# SPDX-License-Identifier: GPL-3.0-or-later
"""The health-check program (tc egress) in plain Python: docs/datapath.md, section 5."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from ansible_collections.katran.fleet.tests.conformance.model import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    IPIP,
    IPV6_IN_IP,
    UDP,
    Scenario,
    ip_checksum,
    packed,
)

UNSPEC, REDIRECT = "TC_ACT_UNSPEC", "TC_ACT_REDIRECT"


class HealthcheckModel:
    """Sends marked packets, encapsulated, to the real of their mark."""

    def __init__(self, options: Mapping[str, Any], destinations: Mapping[int, bytes]) -> None:
        self._gue = options.get("encapsulation", "ipip") == "gue"
        self._gue_port = options.get("gue_port", 6080)
        self._sources = {4: packed(options["source_ipv4"]), 16: packed(options["source_ipv6"])}
        self._macs = b"".join(bytes.fromhex(options[mac].replace(":", "")) for mac in ("gateway_mac", "source_mac"))
        self._destinations = destinations

    @classmethod
    def from_scenario(cls, scenario: Scenario) -> HealthcheckModel:
        """The program provisioned with *scenario*'s `healthcheck` and `healthcheck_destinations`."""
        destinations = {entry["mark"]: packed(entry["real"]) for entry in scenario["healthcheck_destinations"]}
        return cls(scenario["healthcheck"], destinations)

    def run(self, frame: bytes, mark: int, source_port: int = 0x0400) -> tuple[str, bytes]:
        """Answer *frame* with its skb *mark*; *source_port* is the GUE port that the program draws by lot."""
        real = self._destinations.get(mark)
        if not mark or real is None:
            return UNSPEC, frame
        length = len(frame) - 14
        source = self._sources[len(real)]
        middle, protocol = b"", IPV6_IN_IP if frame[12:14] == ETHERTYPE_IPV6 else IPIP
        if self._gue:
            length += 8
            middle, protocol = struct.pack("!HHHH", source_port, self._gue_port, length, 0), UDP
        if len(real) == 16:
            ethertype = ETHERTYPE_IPV6
            outer = struct.pack("!IHBB", 0x60000000, length, protocol, 64) + source + real
        else:
            ethertype = ETHERTYPE_IPV4
            outer = struct.pack("!HHIBBH", 0x4500, length + 20, 0, 64, protocol, 0) + source + real
            outer = outer[:10] + ip_checksum(outer).to_bytes(2, "big") + outer[12:]
        return REDIRECT, self._macs + ethertype + outer + middle + frame[14:]
