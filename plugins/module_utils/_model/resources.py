# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every resource by its name, and what follows from all of them together."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .addresses import read_address
from .entries import Asked
from .errors import ConfigError
from .limits import Limits
from .overlay import RealStates
from .own_addresses import SSH_PORT
from .resource import BALANCER, Resource, Row
from .shape import as_told, shape_faults
from .tables import LEADING, TABLES, idle_routes
from .vips_input import Vips, octal_ports

RESOURCES: dict[str, Resource] = {each.name: each for each in (Vips(), RealStates(), *TABLES.values())}
"""Resource → its description."""

OF_BALANCER = tuple(each.name for each in RESOURCES.values() if each.program == BALANCER)
"""The resources that a balancer's maps hold."""

FROM_VARIABLES = tuple(each.name for each in RESOURCES.values() if each.has_variables)
"""The resources that an inventory says. They are those that may need features of the program."""


def features_needed(vips: Iterable[Row] = (), **others: Iterable[Row]) -> list[str]:
    """The features that these resources use, sorted. They need not be valid: the modules say what is wrong."""
    rows = {"vips": list(vips), **others}
    return sorted({word for name, entries in rows.items() for word in RESOURCES[name].needs(entries, rows["vips"])})


def config_faults(
    resources: Mapping[str, t.Any],
    limits: Limits,
    allow_own_addresses: bool = False,
    ssh_port: int = SSH_PORT,
    reals: Iterable[str] = (),
    check_defaults: t.Any = None,
    max_probes: int | None = None,
) -> list[str]:
    """What the modules of these resources would say against their `config`; a sentence or several per resource.

    `reals`: addresses of reals of which no VIP may know; `check_defaults`, `max_probes`: as Asked has them.
    """
    found = []
    led = {str(entry.get("real")) for name in LEADING for _index, entry in _rows(resources, name)}
    more = [address.text for address in map(read_address, sorted({*reals, *led})) if address is not None]
    for name in FROM_VARIABLES:
        resource, config = RESOURCES[name], resources.get(name) or ()
        sentences = [shape_faults(name, config, resource.options)]
        if isinstance(config, (list, tuple)):
            told = [as_told(entry, resource.options) for entry in config]
            asked = Asked(told, "overridden", True, limits, False, allow_own_addresses, ssh_port, more)
            try:
                resource.check(replace(asked, check_defaults=check_defaults, max_probes=max_probes))
            except ConfigError as error:
                sentences.append(str(error))
        found += [sentence for sentence in sentences if sentence]
    return found + _leading_to_vips(resources)


def _rows(resources: Mapping[str, t.Any], name: str) -> list[tuple[int, Mapping[str, t.Any]]]:
    config = resources.get(name)
    listed = config if isinstance(config, (list, tuple)) else ()
    return [(index, entry) for index, entry in enumerate(listed) if isinstance(entry, Mapping)]


def _leading_to_vips(resources: Mapping[str, t.Any]) -> list[str]:
    """The entries beside VIPs whose real is a VIP: what is sent there comes to a balancer again."""
    # A VIP that is a prefix has no address of its own.
    vips = {read_address(str(entry.get("address"))) for _index, entry in _rows(resources, "vips")} - {None}
    return [
        f"{name}[{index}].real: {entry.get('real')} is the address of a VIP; a real has an address of its own"
        for name in LEADING
        for index, entry in _rows(resources, name)
        if vips and read_address(str(entry.get("real"))) in vips
    ]


def config_warnings(resources: Mapping[str, t.Any]) -> list[str]:
    """What is valid in these resources, and yet hardly what was meant. They need not be valid."""
    vips, routes = resources.get("vips"), resources.get("source_routes")
    if not isinstance(vips, (list, tuple)):
        # A resource that is not said keeps what it has, which only the host knows.
        return []
    rows = [entry for entry in vips if isinstance(entry, Mapping)]
    places = ((f"vips[{index}]", entry.get("port")) for index, entry in enumerate(vips) if isinstance(entry, Mapping))
    return [*octal_ports(places), *(idle_routes(rows) if routes else ())]
