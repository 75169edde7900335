# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where the engine meets Ansible: argument specs, failures, diffs."""

from __future__ import annotations

import gc
import json
import os
import re
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module
from ansible.module_utils.common.text.converters import to_text

from ansible_collections.katran.fleet.plugins.module_utils._apply import (
    TABLES,
    EngineError,
    Request,
    Result,
    apply_resource,
)
from ansible_collections.katran.fleet.plugins.module_utils._balancer import (
    DEFAULT_SOURCE_DIR,
    Balancer,
    Outcome,
    Wanted,
)
from ansible_collections.katran.fleet.plugins.module_utils._config import (
    FEATURES,
    ConfigError,
    parse_instance,
    parse_planned,
    parse_reals,
    parse_settings,
    shape_faults,
)
from ansible_collections.katran.fleet.plugins.module_utils._flows import Found, find_flows, purge_flows, purge_gone
from ansible_collections.katran.fleet.plugins.module_utils._healthcheck import (
    Healthcheck,
    apply_destinations,
    parse_healthcheck,
)
from ansible_collections.katran.fleet.plugins.module_utils._info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._layout import DEFAULT_SIZES, VIP_FLAGS
from ansible_collections.katran.fleet.plugins.module_utils._network import NetworkError
from ansible_collections.katran.fleet.plugins.module_utils._pins import has_module
from ansible_collections.katran.fleet.plugins.module_utils._plan import PlanError
from ansible_collections.katran.fleet.plugins.module_utils._program import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._real import Real, parse_real, parse_served
from ansible_collections.katran.fleet.plugins.module_utils._root import Root, parse_root
from ansible_collections.katran.fleet.plugins.module_utils._simulate import simulate
from ansible_collections.katran.fleet.plugins.module_utils._state import StateError
from ansible_collections.katran.fleet.plugins.module_utils._tree import TreeError, make_tree

SYSTEM_PYTHON = "/usr/bin/python3"
FAILURES = (EngineError, ConfigError, PlanError, ProgramError, StateError, NetworkError)

Spec = dict[str, dict[str, t.Any]]

COMMON: Spec = {
    "instance": {"type": "str", "default": "default"},
    "bpffs": {"type": "path", "default": "/sys/fs/bpf"},
    "lock_timeout": {"type": "int", "default": 30},
}

RESOURCE: Spec = {
    "state": {"type": "str", "choices": ["merged", "replaced", "overridden", "deleted"], "default": "merged"},
    "allow_empty": {"type": "bool", "default": False},
}

RESOURCE_CONFIG: dict[str, Spec] = {
    "vips": {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
        "flags": {"type": "list", "elements": "str", "choices": list(VIP_FLAGS)},
        "hash": {"type": "str", "choices": ["maglev_v1", "maglev_v2"]},
        "reals": {
            "type": "list",
            "elements": "dict",
            "options": {
                "address": {"type": "str", "required": True},
                "weight": {"type": "int"},
                "state": {"type": "str", "choices": ["active", "draining", "down"]},
                "local": {"type": "bool"},
            },
        },
        "down_reals": {"type": "list", "elements": "str"},
    },
    "reals": {
        "address": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["active", "draining", "down"]},
    },
    "source_routes": {"prefix": {"type": "str", "required": True}, "real": {"type": "str"}},
    "server_ids": {"id": {"type": "int", "required": True}, "real": {"type": "str"}},
    "decap_destinations": {"address": {"type": "str", "required": True}, "egress": {"type": "bool"}},
    "healthcheck_destinations": {"mark": {"type": "int", "required": True}, "real": {"type": "str"}},
}
"""Resource → the options of one entry of its `config`."""

PLANNED: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
        "sizes": {"type": "dict", "default": {}},
    },
}

LOADED = ("vips", *TABLES)
"""The resources that need features of the program."""

INFO_SUBSETS = ["program", "vips", "reals", "source_routes", "server_ids", "decap_destinations"]
INFO_SUBSETS += ["healthcheck", "counters", "flows", "maps"]

BALANCER: Spec = {
    "state": {"type": "str", "choices": ["attached", "loaded", "rolled_back", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic", "auto"], "default": "native"},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "gue_port": {"type": "int", "default": 6080},
    "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
    "source_ipv4": {"type": "str", "default": "auto"},
    "source_ipv6": {"type": "str", "default": "auto"},
    "source_prefix_ipv4": {"type": "str", "default": "172.16.0.0/16"},
    "source_prefix_ipv6": {"type": "str", "default": "100::/64"},
    "gateway_mac": {"type": "str", "default": "auto"},
    "copy_tos": {"type": "bool", "default": True},
    "decap_any": {"type": "bool", "default": False},
    "sizes": {
        "type": "dict",
        "default": {},
        "options": {name: {"type": "int", "default": size} for name, size in DEFAULT_SIZES.items()},
    },
    "max_frame": {"type": "int", "default": 1514},
    "max_new_flows": {"type": "int", "default": 125000},
    "udp_timeout": {"type": "int", "default": 30},
    "forwarding_cores": {"type": "raw", "default": "auto"},
    "numa": {"type": "str", "choices": ["auto", "none"], "default": "auto"},
    "root_array": {
        "type": "dict",
        "options": {"path": {"type": "path", "required": True}, "position": {"type": "int", "required": True}},
    },
    "untouched": {"type": "list", "elements": "str", "choices": list(LOADED), "default": []},
    "accept_rehash": {"type": "bool", "default": False},
    "replace_foreign": {"type": "bool", "default": False},
}

DECAP: Spec = {
    "state": {"type": "str", "choices": ["attached", "withdrawn", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "vips": {"type": "list", "elements": "str"},
    "keep_vips": {"type": "bool", "default": False},
    "sources": {"type": "list", "elements": "str", "default": []},
    "gue_port": {"type": "int", "default": 6080},
    "server_id": {"type": "int", "default": 0},
    "loopback": {"type": "bool", "default": True},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}

FLOW_FILTERS: Spec = {"vip": {"type": "str"}, "real": {"type": "str"}, "client": {"type": "str"}}

FLOWS: Spec = {
    "flows": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "source": {"type": "str", "required": True},
            "destination": {"type": "str", "required": True},
            "source_port": {"type": "int", "required": True},
            "destination_port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
            "server_id": {"type": "int"},
        },
    }
}

HEALTHCHECK: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interface": {"type": "str"},
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
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}

XDP_ROOT: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}


def _use_system_python() -> None:
    """Go on under the system's Python where netaddr, pyroute2 and bcc live: the implicit localhost runs in a venv."""
    if has_respawned() or has_module("netaddr"):
        return
    interpreter = probe_interpreters_for_module([SYSTEM_PYTHON], "netaddr")
    if interpreter:
        respawn_module(interpreter)


class Module(AnsibleModule):
    """A module that names the entries at fault where Ansible itself would name the first option alone."""

    def __init__(self, spec: Spec, resource: str) -> None:
        self._resource = resource
        self._valid = False
        # Ansible annotates little of itself.
        t.cast(t.Any, super()).__init__(argument_spec=spec, supports_check_mode=True)
        self._valid = True

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        """End with a sentence; where Ansible finds the arguments wrong, with one for each fault of `config`."""
        options = self.argument_spec.get("config", {}).get("options")
        if options and not self._valid:
            msg = shape_faults(self._resource, self.params.get("config"), options) or msg
        super().fail_json(msg, **kwargs)


def _module(spec: Spec, resource: str = "") -> AnsibleModule:
    module = Module({**COMMON, **spec}, resource)
    _use_system_python()
    # In check mode on a fresh host the role has not installed it: it would.
    if not module.check_mode and not has_module("netaddr"):
        module.fail_json(
            msg="the Python module netaddr is missing on this host (Debian and Ubuntu: package python3-netaddr)"
        )
    return module


def _guarded(module: AnsibleModule, work: Callable[[], dict[str, t.Any]]) -> None:
    """Run the work and end the module; what an operator can cause ends in one sentence."""
    # A module makes hundreds of thousands of small values and ends: looking for cycles among them doubles its time.
    gc.disable()
    try:
        parse_instance(module.params["instance"], module.params["bpffs"])
        result = work()
    except FAILURES as error:
        module.fail_json(msg=to_text(error))
    except OSError as error:
        module.fail_json(msg=f"the kernel refused an operation: {error.strerror or error}")
    else:
        for warning in result.pop("warnings", []):
            module.warn(warning)
        module.exit_json(**result)


def _diff(before: t.Any, after: t.Any) -> dict[str, str]:
    return {"before": _yaml(before), "after": _yaml(after)}


def _remarks(lines: list[str]) -> dict[str, str]:
    return {"prepared": "".join(f"# {line}\n" for line in lines)}


_PLAIN = re.compile(r"[A-Za-z_/][\w./:-]*|(\d+\.){3}\d+(/\d+)?|[\da-f:.]*::[\da-f:.]*(/\d+)?", re.ASCII)
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def _yaml(value: t.Any) -> str:
    """Configuration as YAML. A host need not have PyYAML, and configuration is lists, mappings and scalars alone."""
    return "".join(f"{line}\n" for line in _yaml_lines(value)) if value else ""


def _yaml_lines(value: t.Any) -> list[str]:
    lines = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, (Mapping, list, tuple)) and item:
                lines += [f"{key}:", *(f"  {line}" for line in _yaml_lines(item))]
            else:
                lines.append(f"{key}: {_yaml_scalar(item)}")
    else:
        for item in value:
            if isinstance(item, (Mapping, list, tuple)) and item:
                first, *rest = _yaml_lines(item)
                lines += [f"- {first}", *(f"  {line}" for line in rest)]
            else:
                lines.append(f"- {_yaml_scalar(item)}")
    return lines


def _yaml_scalar(value: t.Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value[-1] != ":":
        return value
    return json.dumps(value, ensure_ascii=False)


def request_of(params: Mapping[str, t.Any], check: bool) -> Request:
    """The options that every module has."""
    bpffs = os.path.normpath(params["bpffs"])
    return Request(params["instance"], bpffs, float(params["lock_timeout"]), check)


def run_resource(name: str, entry: Spec) -> None:
    """The whole of a resource module: `name` is the resource, `entry` the options of one config entry."""
    spec = {"config": {"type": "list", "elements": "dict", "options": entry}, **RESOURCE}
    if name in ("vips", "reals"):
        spec["purge_flows"] = {"type": "bool", "default": False}
    if name == "vips":
        spec["min_active"] = {"type": "int", "default": 0}
        spec["unseen_reals"] = {"type": "list", "elements": "str", "default": []}
    if name in ("vips", "source_routes", "server_ids"):
        spec["unready_reals"] = {"type": "list", "elements": "str", "default": []}
    if name != "healthcheck_destinations":
        spec["planned"] = PLANNED
    module = _module(spec, name)

    def work() -> dict[str, t.Any]:
        params = module.params
        request = request_of(params, module.check_mode)
        if params.get("planned"):
            request = replace(request, planned=parse_planned(params["planned"]))
        request = replace(
            request,
            min_active=params.get("min_active", 0),
            unready=parse_reals(params.get("unready_reals", ()), "unready_reals"),
            unseen=parse_reals(params.get("unseen_reals", ()), "unseen_reals"),
        )
        how = params["state"], params["allow_empty"]
        result: Result
        if name == "healthcheck_destinations":
            result = apply_destinations(request, params["config"], *how)
        else:
            purge = purge_gone if params.get("purge_flows") else None
            result = apply_resource(name, request, params["config"], *how, purge)
        output: dict[str, t.Any] = {
            "changed": result.changed,
            "before": result.before,
            "after": result.after,
            "changes": result.changes,
            "operations": result.operations,
            "timings": result.timings,
            "warnings": result.warnings,
        }
        if name == "vips":
            output["references"] = result.references
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = _diff(result.before, result.after)
            if result.drift:
                output["diff"] = [output["diff"], _remarks(result.drift)]
        return output

    _guarded(module, work)


def run_balancer() -> None:
    """The whole of module balancer."""
    module = _module(BALANCER)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        balancer = Balancer(request.instance, request.bpffs)
        if params["state"] == "absent":
            outcome = balancer.remove(request.check, request.lock_timeout)
        elif params["state"] == "rolled_back":
            outcome = balancer.roll_back(request.check, request.lock_timeout)
        else:
            wanted = Wanted(
                parse_settings(params),
                params["state"],
                params["source_dir"],
                params["accept_rehash"],
                untouched=frozenset(params["untouched"]),
            )
            outcome = balancer.ensure(wanted, request.check, request.lock_timeout)
        return _balancer_result(module, outcome)

    _guarded(module, work)


def run_decap() -> None:
    """The whole of module decap."""
    module = _module(DECAP)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        real = Real(request.instance, request.bpffs)
        if params["state"] == "absent":
            outcome = real.remove(request.check, request.lock_timeout)
        elif params["state"] == "withdrawn":
            outcome = real.withdraw(parse_served(params), request.check, request.lock_timeout)
        else:
            outcome = real.ensure(parse_real(params), request.check, request.lock_timeout)
        output = _steps(module, outcome.changes, outcome.warnings, outcome.before, outcome.after)
        output["operations"] = outcome.operations
        return output

    _guarded(module, work)


def run_healthcheck() -> None:
    """The whole of module healthcheck."""
    module = _module(HEALTHCHECK)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        healthcheck = Healthcheck(request.instance, request.bpffs)
        if params["state"] == "absent":
            outcome = healthcheck.remove(request.check, request.lock_timeout)
        else:
            outcome = healthcheck.ensure(parse_healthcheck(params), request.check, request.lock_timeout)
        output = _steps(module, outcome.changes, outcome.warnings, outcome.before, outcome.after)
        output["operations"] = outcome.operations
        if outcome.program:
            output["program"] = outcome.program
        return output

    _guarded(module, work)


def run_flows() -> None:
    """The whole of module flows."""
    module = _module(
        {
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            **FLOW_FILTERS,
            "allow_all": {"type": "bool", "default": False},
        }
    )

    def work() -> dict[str, t.Any]:
        found: Found = purge_flows(request_of(module.params, module.check_mode), module.params)
        operations: dict[str, int] = {}
        for table in found.tables:
            operations[table["table"]] = operations.get(table["table"], 0) + table["selected"]
        output = {
            "changed": found.total > 0,
            "removed": found.total,
            "reals": found.reals,
            "operations": {name: number for name, number in sorted(operations.items()) if number},
            "warnings": found.warnings,
        }
        flows = f"{found.total} flow{'' if found.total == 1 else 's'}"
        if module.check_mode and found.total:
            output["msg"] = f"would remove {flows}"
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = {
                "prepared": "".join(f"remove {each['flows']} to {each['real']}\n" for each in found.reals)
            }
        return output

    _guarded(module, work)


def run_flows_info() -> None:
    """The whole of module flows_info."""
    module = _module({**FLOW_FILTERS, "limit": {"type": "int", "default": 100}})

    def work() -> dict[str, t.Any]:
        found = find_flows(request_of(module.params, False), module.params)
        return {
            "changed": False,
            "flows": found.flows,
            "total": found.total,
            "reals": found.reals,
            "tables": found.tables,
            "warnings": found.warnings,
        }

    _guarded(module, work)


def run_simulate_info() -> None:
    """The whole of module simulate_info."""
    module = _module(FLOWS)

    def work() -> dict[str, t.Any]:
        return {"changed": False, "flows": simulate(request_of(module.params, False), module.params["flows"])}

    _guarded(module, work)


def run_xdp_root() -> None:
    """The whole of module xdp_root."""
    module = _module(XDP_ROOT)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        root = Root(request.instance, request.bpffs)
        if params["state"] == "absent":
            outcome = root.remove(request.check, request.lock_timeout)
        else:
            outcome = root.ensure(parse_root(params), request.check, request.lock_timeout)
        output = _steps(module, outcome.changes, outcome.warnings, outcome.before, outcome.after)
        if params["state"] == "attached" and not module.check_mode:
            output.update(attached=outcome.attached, root_array=root.array, slots=outcome.slots)
        return output

    _guarded(module, work)


def _steps(
    module: AnsibleModule, changes: list[str], warnings: list[str], before: t.Any, after: t.Any
) -> dict[str, t.Any]:
    """The result of a module that takes steps: `changes` has one line for each."""
    output: dict[str, t.Any] = {"changed": bool(changes), "changes": changes, "warnings": warnings}
    if module.check_mode and changes:
        output["msg"] = "would: " + "; ".join(changes)
    if module._diff:  # pylint: disable=protected-access
        output["diff"] = [_diff(before, after), _remarks(changes)]
    return output


def _balancer_result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    output = _steps(module, outcome.changes, outcome.warnings, outcome.before, outcome.after)
    output["operations"] = outcome.operations
    if outcome.program:
        output.update(
            program=outcome.program,
            attached=outcome.attached,
            maps=outcome.maps,
            reused_maps=outcome.reused_maps,
            selftest=outcome.selftest,
        )
    return output


def run_info() -> None:
    """The whole of module balancer_info."""
    module = _module({"gather": {"type": "list", "elements": "str", "choices": INFO_SUBSETS, "default": INFO_SUBSETS}})

    def work() -> dict[str, t.Any]:
        found = gather_info(request_of(module.params, True), module.params["gather"])
        return {"changed": False, **found}

    _guarded(module, work)


def run_tree() -> None:
    """The whole of module tree."""
    module = AnsibleModule(
        argument_spec={"dest": {"type": "path", "required": True}, "files": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    try:
        changes = make_tree(module.params["dest"], module.params["files"], module.check_mode)
    except TreeError as error:
        module.fail_json(msg=to_text(error))
    else:
        output: dict[str, t.Any] = {"changed": bool(changes), "changes": changes}
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = {"prepared": "".join(f"{line}\n" for line in changes)}
        module.exit_json(**output)
