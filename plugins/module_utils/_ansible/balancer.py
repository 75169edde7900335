# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module balancer."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._engine.balancer import Balancer
from .._engine.request import Result
from .._model.link_mtu import MTU_CHECK, RealLinks
from .._model.options import Spec
from .._model.resources import FROM_VARIABLES
from .._model.settings import KEEPING, named_settings
from .._model.wanted import Asking
from .._program.balancer_toolchain import HostBalancerToolchain
from .module import guarded, module_of, steps_result
from .request import request_of
from .sources import PLANNED_SOURCES, planned_sources

UNTOUCHED = {"type": "list", "elements": "str", "choices": list(FROM_VARIABLES), "default": []}
"""Only the role can know which resources no variable is about."""

LINKS: Spec = {
    **MTU_CHECK,
    "real_families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": []},
    "real_mss": {"type": "int", "default": 0},
}
"""What the interfaces' MTUs are compared with; nothing of it changes the program."""


def run_balancer() -> None:
    """The whole of module balancer."""
    after_vips = {"type": "bool", "default": False}
    module = module_of({**KEEPING, **PLANNED_SOURCES, **LINKS, "untouched": UNTOUCHED, "after_vips": after_vips})

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        tools = HostBalancerToolchain(planned_sources(module))
        balancer = Balancer(request.instance, request.bpffs, tools=tools, audit=request.audit)
        if params["state"] == "absent":
            outcome = balancer.remove(request.check, request.lock_timeout)
        elif params["state"] == "rolled_back":
            outcome = balancer.roll_back(request.check, request.lock_timeout)
        else:
            asking = Asking(
                named_settings(params),
                params["state"],
                params["accept_rehash"],
                frozenset(params["untouched"]),
                params["end_rollback"],
                RealLinks(params["mtu_check"], "ipv6" in params["real_families"], params["real_mss"]),
                params["after_vips"],
            )
            asking.check()
            outcome = balancer.ensure(asking, request.check, request.lock_timeout)
        return _balancer_result(module, outcome)

    guarded(module, work)


def _balancer_result(module: AnsibleModule, outcome: Result) -> dict[str, t.Any]:
    output = steps_result(module, "balancer", outcome.changes, outcome.warnings, outcome.before, outcome.after)
    output["operations"] = outcome.operations
    output["waits"] = bool(outcome.waits)
    if outcome.program:
        output.update(
            program=outcome.program,
            attached=outcome.attached,
            maps=outcome.maps,
            reused_maps=outcome.reused_maps,
            selftest=outcome.selftest,
        )
    return output
