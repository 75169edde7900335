# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module bgp."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.text.converters import to_text

from .._engine.bgp import BgpRequest, ensure_bgp
from .._model.bgp_settings import BGP, bgp_warnings, parse_bgp, parse_table, read_places
from .._model.bird_plan import CONF
from .._model.errors import FleetError
from .diffs import diff_of, remarks
from .module import Strict, named


def run_bgp() -> None:
    """The whole of module bgp; its action plugin installs the package where it is missing."""
    module = Strict(BGP, required_if=[("state", "present", ("config",))])
    try:
        request, warnings = _request(module.params, module.check_mode)
        outcome = ensure_bgp(request)
    except FleetError as error:
        module.fail_json(msg=to_text(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'bird'}: {error.strerror or error}")
    for warning in warnings:
        module.warn(named(warning))
    output: dict[str, t.Any] = {"changed": bool(outcome.changes), "changes": outcome.changes}
    if outcome.packages:
        output["needs"] = {"packages": outcome.packages}
    if module.check_mode and outcome.changes:
        output["msg"] = "would: " + "; ".join(outcome.changes)
    if module._diff:  # pylint: disable=protected-access
        output["diff"] = [remarks(outcome.changes)] if outcome.changes else []
        if outcome.before != outcome.after:
            output["diff"].append({**diff_of(CONF, None, None), "before": outcome.before, "after": outcome.after})
    module.exit_json(**output)


def _request(params: Mapping[str, t.Any], check: bool) -> tuple[BgpRequest, list[str]]:
    if params["state"] == "absent":
        return BgpRequest(None, check=check), []
    settings = parse_bgp(params["config"])
    places = None if params["places"] is None else read_places(params["places"])
    request = BgpRequest(settings, places, parse_table(params["table"]), tuple(params["packages"]), check)
    return request, bgp_warnings(settings)
