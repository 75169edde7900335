# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module healthcheck, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .addresses import read_host, read_source
from .entries import Config
from .faults import Faults
from .map_specs import HEALTHCHECK_SPECS
from .options import SOURCE_DIR, Spec, parse_interfaces, read_mac
from .vips import VipKey

HEALTHCHECK: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interface": {"type": "str"},
    "root_array_path": {"type": "path"},
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "gue_port": {"type": "int", "default": 6080},
    "source_ipv4": {"type": "str", "default": "auto"},
    "source_ipv6": {"type": "str", "default": "auto"},
    "source_mac": {"type": "str", "default": "auto"},
    "gateway_mac": {"type": "str", "default": "auto"},
    "max_frame": {"type": "int", "default": 1514},
    "counted_vips": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
        },
    },
    "source_dir": SOURCE_DIR,
}


@dataclass(frozen=True)
class HealthcheckSettings:
    """What module healthcheck is asked for. Addresses are canonical text, or auto; max_frame in bytes."""

    interface: str
    encapsulation: str
    gue_port: int
    source_ipv4: str
    source_ipv6: str
    source_mac: str
    gateway_mac: str
    max_frame: int
    counted_vips: tuple[VipKey, ...]
    source_dir: str

    def macros(self) -> dict[str, int]:
        """The integer macros that are compiled in."""
        return {
            "ENCAP_GUE": int(self.encapsulation == "gue"),
            "GUE_PORT": self.gue_port,
            "MAX_FRAME": self.max_frame,
        }


def parse_healthcheck(params: Mapping[str, t.Any]) -> HealthcheckSettings:
    """The options of module healthcheck, validated. ConfigError lists all faults."""
    faults = Faults()
    interface = params["interface"]
    if not interface:
        faults.add("interface", "state attached needs an interface")
    else:
        named = Faults()
        parse_interfaces([interface], named)
        for _line in named.lines:
            faults.add("interface", f"{interface!r} is not the name of an interface")
    for name, low, high in (("gue_port", 1, 65535), ("max_frame", 590, 65535)):
        if not low <= params[name] <= high:
            faults.add(name, f"{params[name]} is not in {low} to {high}")
    settings = HealthcheckSettings(
        interface=str(interface),
        encapsulation=params["encapsulation"],
        gue_port=params["gue_port"],
        source_ipv4=read_source(params, "source_ipv4", False, faults),
        source_ipv6=read_source(params, "source_ipv6", True, faults),
        source_mac=read_mac(params, "source_mac", faults),
        gateway_mac=read_mac(params, "gateway_mac", faults),
        max_frame=params["max_frame"],
        counted_vips=_read_counted(params["counted_vips"], faults),
        source_dir=params["source_dir"],
    )
    faults.check()
    return settings


def _read_counted(entries: Config, faults: Faults) -> tuple[VipKey, ...]:
    found: dict[VipKey, None] = {}
    for index, entry in enumerate(entries):
        where = f"counted_vips[{index}]"
        address, port = read_host(entry["address"]), entry["port"]
        if isinstance(address, str):
            faults.add(f"{where}.address", address)
            continue
        if not 1 <= port <= 65535:
            faults.add(f"{where}.port", f"{port} is not a port (1 to 65535)")
            continue
        key = VipKey.of(address.packed, address.ipv6, None, port, entry["protocol"])
        if key in found:
            faults.add(where, f"{key} is listed twice")
        found[key] = None
    capacity = HEALTHCHECK_SPECS["hc_key_map"].entries({})
    if len(found) > capacity:
        faults.add("counted_vips", f"{len(found)} VIPs, but there is room for {capacity}")
    return tuple(sorted(found))


def options_of(settings: HealthcheckSettings) -> dict[str, t.Any]:
    """The settings in the module's own form."""
    return {
        "interface": settings.interface,
        "encapsulation": settings.encapsulation,
        "gue_port": settings.gue_port,
        "source_ipv4": settings.source_ipv4,
        "source_ipv6": settings.source_ipv6,
        "source_mac": settings.source_mac,
        "gateway_mac": settings.gateway_mac,
        "max_frame": settings.max_frame,
        "counted_vips": [
            {"address": vip.address, "port": vip.port, "protocol": vip.protocol} for vip in settings.counted_vips
        ],
    }
