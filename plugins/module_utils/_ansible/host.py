# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module host."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.text.converters import to_text

from .._engine.host import HostRequest, ensure_host
from .._model.errors import FleetError
from .._model.faults import Faults
from .._model.host_plan import HOST, HostWanted, RealHost
from .._model.link_mtu import Links, Tunnel
from .._model.options import parse_interfaces
from .module import Strict, named


def run_host() -> None:
    """The whole of module host; its action plugin gives `files` and, where some differ, `contents`."""
    module = Strict(HOST)
    params = module.params
    try:
        request = HostRequest(
            wanted_of(params),
            tuple(params["packages"]),
            params["contents"],
            module.check_mode,
            params["state"] == "absent",
            tuple(params["leaving"]),
        )
        outcome = ensure_host(request)
    except FleetError as error:
        module.fail_json(msg=to_text(error))
    for warning in outcome.warnings:
        module.warn(named(warning))
    output: dict[str, t.Any] = {"changed": bool(outcome.changes), "changes": outcome.changes}
    if outcome.needs:
        output["needs"] = {"packages": outcome.packages, "files": outcome.files}
    if module.check_mode and outcome.changes:
        output["msg"] = "would: " + "; ".join(outcome.changes)
    if module._diff:  # pylint: disable=protected-access
        output["diff"] = {"prepared": "".join(f"{line}\n" for line in outcome.changes)}
    module.exit_json(**output)


def wanted_of(params: Mapping[str, t.Any]) -> HostWanted:
    """What the options ask of a host. ConfigError lists what is wrong with `real`."""
    return HostWanted(
        params["files"],
        real=parse_real_host(params["real"]),
        links=links_of(params["real"], params["mtu_check"]),
        agent=params["agent"],
        sync=params["sync"],
        command=params["files"] is not None,
    )


def links_of(real: Mapping[str, t.Any] | None, check: str) -> Links | None:
    """What a real's links are to carry, where it is told what balancers send. A bound on the MSS is a remedy."""
    if real is None or real["tunnel"] is None:
        return None
    return Links(check, Tunnel(**real["tunnel"]), real["mss"], "raise the MTU of the link (katran_real_mtu)")


def parse_real_host(real: Mapping[str, t.Any] | None) -> RealHost | None:
    """The option real, validated. ConfigError lists all faults."""
    if real is None:
        return None
    faults = Faults()
    interfaces = parse_interfaces(real["interfaces"], faults)
    probes_from = parse_interfaces(real["probes_from"], faults)
    for name, low in (("mtu", 1280), ("mss", 536)):
        if real[name] and not low <= real[name] <= 65535:
            faults.add(f"real.{name}", f"{real[name]} is not in {low} to 65535, and not 0")
    faults.check()
    vips = None if real["vips"] is None else tuple(real["vips"])
    return RealHost(interfaces, real["mtu"], real["mss"], vips, probes_from)
