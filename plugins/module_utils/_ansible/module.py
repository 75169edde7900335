# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does: read options, run, and end with a result or a sentence."""

from __future__ import annotations

import gc
import os
import typing as t
from collections.abc import Callable, Mapping
from importlib import import_module

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module
from ansible.module_utils.common.text.converters import to_text

from .._model.errors import FleetError, refusal
from .._model.faults import shortened
from .._model.options import COMMON, Spec, parse_instance
from .._model.shape import loose_numbers, shape_faults
from .diffs import settings_diff

SYSTEM_PYTHON = "/usr/bin/python3"

_OPTION, _LINE = 200, 1000
"""As many characters of an option, and of all of them, go into the journal."""


def _has_netaddr() -> bool:
    try:
        import_module("netaddr")
    except ImportError:
        return False
    return True


def _use_system_python() -> None:
    """Go on under the system's Python where netaddr, pyroute2 and bcc live: the implicit localhost runs in a venv."""
    if has_respawned() or _has_netaddr():
        return
    interpreter = probe_interpreters_for_module([SYSTEM_PYTHON], "netaddr")
    if interpreter:
        respawn_module(interpreter)


class Strict(AnsibleModule):
    """A module that takes for a number only what is written as one, where Ansible takes true as 1 and 1_0 as 10."""

    def __init__(self, spec: Spec, **options: t.Any) -> None:
        self._loose: list[str] = []
        # Ansible annotates little of itself.
        t.cast(t.Any, super()).__init__(argument_spec=spec, supports_check_mode=True, **options)
        if self._loose:
            super().fail_json(msg="; ".join(shortened(self._loose, "and {} more")))

    def _load_params(self) -> None:
        """Look at the options as they came, before Ansible makes numbers of them."""
        t.cast(t.Any, super())._load_params()
        self._loose = list(loose_numbers(self.params, self.argument_spec))

    def log(self, msg: str, log_args: Mapping[str, t.Any] | None = None) -> None:
        """Say in the host's journal that a module ran, and of its options only how they begin: a fleet's are long."""
        short = {name: _short(str(value), _OPTION) for name, value in (log_args or {}).items()}
        t.cast(t.Any, super()).log(_short(msg, _LINE), short)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


class Module(Strict):
    """A module that names the entries at fault where Ansible itself would name the first option alone."""

    def __init__(self, spec: Spec, resource: str) -> None:
        self._resource = resource
        self._valid = False
        super().__init__(spec)
        self._valid = True

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        """End with a sentence; where Ansible finds the arguments wrong, with one for each fault of `config`."""
        options = self.argument_spec.get("config", {}).get("options")
        if options and not self._valid:
            msg = shape_faults(self._resource, self.params.get("config"), options) or msg
        super().fail_json(msg, **kwargs)


reviewing: list[t.Any] = []
"""What stands in for modules whose reviews another module makes (borrowed.py)."""


def module_of(spec: Spec, resource: str = "") -> AnsibleModule:
    if reviewing:
        return t.cast(AnsibleModule, reviewing[-1].validated({**COMMON, **spec}))
    module = Module({**COMMON, **spec}, resource)
    _use_system_python()
    # In check mode on a fresh host the role has not installed it: it would.
    if not module.check_mode and not _has_netaddr():
        module.fail_json(
            msg="the Python module netaddr is missing on this host (Debian and Ubuntu: package python3-netaddr)"
        )
    return module


def named(warning: str, instance: str = "default") -> str:
    """A warning with its host and instance: Ansible shows neither."""
    host = os.uname().nodename.partition(".")[0]
    return f"{host}: {warning}" if instance == "default" else f"{host}, instance {instance}: {warning}"


def guarded(module: AnsibleModule, work: Callable[[], dict[str, t.Any]]) -> None:
    """Run the work and end the module; what an operator can cause ends in one sentence."""
    if reviewing:
        parse_instance(module.params["instance"], module.params["bpffs"])
        reviewing[-1].result = work()
        return
    # A module makes hundreds of thousands of small values and ends: looking for cycles among them doubles its time.
    gc.disable()
    try:
        parse_instance(module.params["instance"], module.params["bpffs"])
        result = work()
    except FleetError as error:
        module.fail_json(msg=to_text(error))
    except OSError as error:
        module.fail_json(msg=refusal(error))
    else:
        for warning in result.pop("warnings", []):
            module.warn(named(warning, module.params["instance"]))
        module.exit_json(**result)


def steps_result(
    module: AnsibleModule, name: str, changes: list[str], warnings: list[str], before: t.Any, after: t.Any
) -> dict[str, t.Any]:
    """The result of a module that takes steps: `changes` has one line for each; `name`: what it manages, in a diff."""
    output: dict[str, t.Any] = {"changed": bool(changes), "changes": changes, "warnings": warnings}
    if module.check_mode and changes:
        output["msg"] = "would: " + "; ".join(changes)
    if reviewing:
        output |= {"before": before, "after": after}
    if module._diff:  # pylint: disable=protected-access
        output["diff"] = settings_diff(f"{name} {module.params['instance']}", before, after, changes)
    return output
