# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's settings as the macros of bpf/include/settings.h."""

from __future__ import annotations

import ipaddress
import struct
import typing as t

from .._model.map_specs import Shape, index_slots


class ProgramSettings(Shape, t.Protocol):
    """The settings of a balancer that are compiled into it."""

    @property
    def gue_port(self) -> int: ...
    @property
    def copy_tos(self) -> bool: ...
    @property
    def max_frame(self) -> int: ...
    @property
    def max_new_flows(self) -> int: ...
    @property
    def udp_timeout(self) -> int: ...
    @property
    def source_prefix_ipv4(self) -> str: ...
    @property
    def source_prefix_ipv6(self) -> str: ...


def balancer_macros(settings: ProgramSettings) -> dict[str, int]:
    """The integer macros of bpf/include/settings.h for these settings."""
    ipv4 = int(ipaddress.ip_network(settings.source_prefix_ipv4).network_address)
    ipv6 = ipaddress.ip_network(settings.source_prefix_ipv6).network_address.packed
    words = struct.unpack(">4I", ipv6)
    macros = {
        "MAX_VIPS": settings.sizes["vips"],
        "VIP_SLOTS": index_slots(settings.sizes["vips"]),
        "RING_SIZE": settings.sizes["ring"],
        "MAX_FRAME": settings.max_frame,
        "MAX_NEW_FLOWS": settings.max_new_flows,
        "UDP_TIMEOUT": settings.udp_timeout,
        "ENCAP_GUE": int(settings.encapsulation == "gue"),
        "GUE_PORT": settings.gue_port,
        "COPY_TOS": int(settings.copy_tos),
        "DECAP_ANY": int(settings.decap_any),
        "SOURCE_PREFIX_IPV4": ipv4 >> 16,
        "SOURCE_PREFIX_IPV6_0": words[0],
        "SOURCE_PREFIX_IPV6_1": words[1],
        "SOURCE_PREFIX_IPV6_2": words[2],
    }
    return macros | {f"FEATURE_{feature.upper()}": 1 for feature in settings.features}
