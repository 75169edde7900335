# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy applies to a host: the tasks of the roles as they are, with their options templated, but not run.

So that what is compared is what is applied, and no list of options stands in two places.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterator, Mapping

from ansible.errors import AnsibleError

from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain
from ansible_collections.katran.fleet.plugins.plugin_utils.library import COLLECTION, digests, sources

_PREFIX = "katran.fleet."
_TASKS = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
_ROLES = ("ansible.builtin.import_role", "ansible.builtin.include_role")
_OF_BALANCER = ("balancer", "vips", "source_routes", "server_ids", "decap_destinations", "healthcheck", "agent", "bgp")
_APPLIED = frozenset(("host", *_OF_BALANCER, "decap", "server_id_option"))
"""The modules whose review is what differs; others in the roles ask, wait or judge."""

Task = Mapping[str, t.Any]


class Applied:
    """The modules of roles' tasks, and their options, as one host has them."""

    def __init__(self, templar: t.Any, loader: t.Any, variables: Mapping[str, t.Any]) -> None:
        """`templar`, `loader`: as an action plugin has them; `variables`: of the host, untemplated."""
        self._templar = templar
        self._loader = loader
        self._variables = variables

    def of_role(self, role: str, entry: str, **more: t.Any) -> list[dict[str, t.Any]]:
        """Every task of a role that its file `entry` leads to and that would run: {module, options}."""
        return list(self._role(role, entry, {**self._variables, **more}))

    def _role(self, role: str, entry: str, variables: Mapping[str, t.Any]) -> Iterator[dict[str, t.Any]]:
        folder = os.path.join(COLLECTION, "roles", role)
        defaults, settled = (self._load(os.path.join(folder, kind, "main.yml")) or {} for kind in ("defaults", "vars"))
        known = {**defaults, **variables, **settled}
        yield from self._file(os.path.join(folder, "tasks", f"{entry.removesuffix('.yml')}.yml"), known)

    def _file(self, path: str, variables: Mapping[str, t.Any]) -> Iterator[dict[str, t.Any]]:
        for task in self._load(path) or ():
            yield from self._task(task, os.path.dirname(path), {**variables, **(task.get("vars") or {})})

    def _task(self, task: Task, folder: str, variables: Mapping[str, t.Any]) -> Iterator[dict[str, t.Any]]:
        name = next((key for key in task if "." in key), "")
        if name not in (*_TASKS, *_ROLES) and name.removeprefix(_PREFIX) not in _APPLIED:
            return
        templar = self._templar.copy_with_new_env(available_variables=variables)
        when = task.get("when", ())
        # What hangs on what a task before found out is said by that task.
        if not all(_is_met(templar, each) for each in ([when] if isinstance(when, (str, bool)) else when)):
            return
        value = task[name]
        if name in _TASKS:
            yield from self._file(os.path.join(folder, value if isinstance(value, str) else value["file"]), variables)
        elif name in _ROLES:
            yield from self._role(value["name"].removeprefix(_PREFIX), value.get("tasks_from", "main"), variables)
        else:
            options = plain(templar.template(value or {}))
            yield {"module": name.removeprefix(_PREFIX), "options": options}

    def _load(self, path: str) -> t.Any:
        if not os.path.exists(path):
            return None
        return self._loader.load_from_file(path, cache="all", unsafe=True, trusted_as_template=True)


def _is_met(templar: t.Any, condition: t.Any) -> bool:
    try:
        return condition if isinstance(condition, bool) else bool(templar.evaluate_conditional(condition))
    except AnsibleError as error:
        raise AnsibleError(f"katran.fleet: the condition {condition!r} cannot be templated") from error


def of_host(templar: t.Any, loader: t.Any, variables: Mapping[str, t.Any], preflight: Task) -> list[dict[str, t.Any]]:
    """What a deploy applies to the host that `variables` are of, as balancer and as real."""
    host = variables["inventory_hostname"]
    files = digests()
    # As the task that compares the library tells the ones after it in a review.
    seen = {"host_compared": {"sources": sources(files)}, "balancer_attached": {}}
    applied = Applied(templar, loader, {**variables, **seen})
    found: list[dict[str, t.Any]] = []
    if host in preflight["balancers"]:
        found += applied.of_role("balancer", "apply", balancer_preflight=preflight)
        found += applied.of_role("bgp", "apply", bgp_preflight=preflight)
    if host in preflight["reals"]:
        found += applied.of_role("real", "apply", real_preflight=preflight, real_keep_vips=False)
    for task in found:
        if task["module"] == "host":
            # As the action plugin of module host sends them.
            task["options"]["files"] = files
    return _once(found)


def _once(tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Without what both roles ask of a host: of a balancer that is a real too, its units and library are one."""
    found: list[dict[str, t.Any]] = []
    for task in tasks:
        first = next((each for each in found if task["module"] == each["module"] == "host"), None)
        if first is None:
            found.append(task)
        else:
            first["options"] |= {name: value for name, value in task["options"].items() if value is not None}
    return found
