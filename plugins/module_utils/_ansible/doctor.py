# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module doctor_info."""

from __future__ import annotations

import typing as t

from .._engine.doctor.for_fleet import only_counters, told_to_fleet
from .._model.doctor.expected import read_service
from .._model.errors import ConfigError
from .module import guarded, module_of
from .request import request_of


def run_doctor_info() -> None:
    """The whole of module doctor_info."""
    module = module_of(
        {
            "probes": {"type": "bool", "default": False},
            "services": {"type": "list", "elements": "str", "default": []},
            "counters_only": {"type": "bool", "default": False},
        }
    )

    def work() -> dict[str, t.Any]:
        request = request_of(module.params, True)
        if module.params["counters_only"]:
            return {"changed": False, **only_counters(request)}
        services = {name: read_service(name) for name in module.params["services"]}
        wrong = [name for name, service in services.items() if service is None]
        if wrong:
            raise ConfigError(f"services: {', '.join(wrong)} is no VIP of one address and port")
        wanted = [service for service in services.values() if service is not None]
        return {"changed": False, **told_to_fleet(request, module.params["probes"], wanted)}

    guarded(module, work)
