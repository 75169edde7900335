# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of resources."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._engine.request import Purge
from .._engine.resource import apply_resource
from .._model.entries import Asked
from .._model.limits import parse_planned
from .._model.own_addresses import SSH_PORT
from .._model.readiness import parse_reals
from .._model.resources import RESOURCES
from .diffs import entries_diff
from .module import guarded, module_of, reviewing
from .request import request_of


def run_resource(name: str, purge: Purge | None = None) -> None:
    """The whole of a resource module: `name` is the resource.

    `purge` removes the flows of what goes, if asked to, and those to reals that checks have down.
    """
    resource = RESOURCES[name]
    module = module_of(resource.spec(), name)

    def work() -> dict[str, t.Any]:
        params = module.params
        request = request_of(params, module.check_mode)
        if params.get("planned"):
            applied = frozenset(params["planned"]["applied"]) if request.check else frozenset()
            request = replace(request, planned=parse_planned(params["planned"]), applied=applied)
        request = replace(
            request,
            min_active=params.get("min_active", 0),
            unready=parse_reals(params.get("unready_reals", ()), "unready_reals"),
            unseen=parse_reals(params.get("unseen_reals", ()), "unseen_reals"),
        )
        asked = Asked(
            params["config"],
            params["state"],
            params["allow_empty"],
            allow_own_addresses=params.get("allow_own_addresses", False),
            ssh_port=params.get("ssh_port", SSH_PORT),
            check_defaults=params.get("check_defaults"),
            max_probes=params.get("max_probes"),
            newest=params.get("newest", False),
        )
        result = apply_resource(name, request, asked, purge if params.get("purge_flows") else None, purge)
        output: dict[str, t.Any] = {
            "changed": result.changed,
            "before": result.before,
            "after": result.after,
            "changes": result.changes,
            "operations": result.operations,
            "timings": result.timings,
            "warnings": result.warnings,
        }
        if name in ("vips", "reals"):
            output["by_hand"] = result.by_hand
        if name == "reals":
            output["starts"] = list(result.starts.values())
        if reviewing:
            output["drift"] = result.drift
        if name == "vips":
            output["references"] = result.references
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = entries_diff(resource.title, result.before, result.after, result.changes, result.drift)
        return output

    guarded(module, work)
