# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the resources of a balancer, before any host is asked."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .entries import Asked
from .errors import ConfigError
from .limits import Limits
from .shape import Options, as_told, shape_faults
from .tables import resolve_decap_destinations, resolve_server_ids, resolve_source_routes
from .vips_input import resolve_vips


def config_faults(resources: Mapping[str, t.Any], options: Mapping[str, Options], limits: Limits) -> list[str]:
    """What the modules of these resources would say against their `config`; a sentence or several per resource.

    `options`: resource → the argument spec of an entry.
    """
    found = []
    for name, resolve in _RESOLVERS.items():
        config = resources.get(name) or ()
        sentence = shape_faults(name, config, options[name])
        if not sentence:
            told = [as_told(entry, options[name]) for entry in config]
            try:
                resolve({}, Asked(told, "overridden", True, limits))
            except ConfigError as error:
                sentence = str(error)
        if sentence:
            found.append(sentence)
    return found


_RESOLVERS: dict[str, t.Callable[..., t.Any]] = {
    "vips": resolve_vips,
    "source_routes": resolve_source_routes,
    "server_ids": resolve_server_ids,
    "decap_destinations": resolve_decap_destinations,
}
