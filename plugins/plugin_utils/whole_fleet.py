# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All hosts of one inventory, and what each of them is told."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible.plugins.loader import lookup_loader

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import GROUPS, missing_groups
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.katran.fleet.plugins.plugin_utils.rollout import rollout_of

ROLES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "roles")
Variables = dict[str, t.Any]


@dataclass
class Inventory:
    """One inventory.

    `groups`: group → its hosts; `patterns`: as GROUPS, of this inventory; `match`: the hosts of a pattern.
    """

    variables: HostVariables
    loader: t.Any
    groups: Mapping[str, Sequence[str]]
    patterns: Mapping[str, str]
    match: Callable[[str], list[str]]

    @classmethod
    def of_run(cls, templar: t.Any, loader: t.Any, everything: Variables) -> Inventory:
        """That of the run. `templar`, `loader`, `everything`: as an action plugin has them, and its variables."""
        lookup = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=loader, templar=templar)
        return cls(
            HostVariables(templar, everything["hostvars"]),
            loader,
            everything["groups"],
            {variable: str(templar.template(everything.get(variable, name))) for variable, name in GROUPS.items()},
            lambda pattern: list(lookup.run([pattern], variables=everything)),
        )

    def members(self) -> dict[str, list[str]]:
        """The hosts of each pattern."""
        return {variable: self.match(pattern) for variable, pattern in self.patterns.items()}

    def of_role(self, role: str, kind: str) -> Variables:
        """The variables in a role's file, as templates."""
        path = os.path.join(ROLES, role, kind, "main.yml")
        return dict(self.loader.load_from_file(path, cache="all", unsafe=True, trusted_as_template=True) or {})


@dataclass
class Whole:
    """A fleet of which every host was asked.

    `missing`: what is wrong with its groups; `rollout`: batches of a run over its balancers.
    """

    fleet: Fleet
    missing: list[str]
    rollout: Variables
    balancers: dict[str, Variables]
    reals: dict[str, Variables]

    def told(self) -> dict[str, t.Any]:
        """What preflight returns of it."""
        asked = {each for hosts in (self.balancers, self.reals) for one in hosts.values() for each in one["ask"]}
        return {
            "balancers": self.balancers,
            "reals": self.reals,
            "resources": self.fleet.resources,
            "rollout": self.rollout,
            "ask": sorted(asked),
        }


def read_whole(inventory: Inventory) -> Whole:
    """Ask every host of an inventory, as roles balancer and real would."""
    members = inventory.members()
    balancers, reals = members["katran_balancers_group"], members["katran_reals_group"]
    variables = inventory.variables
    fleet = Fleet(variables, balancers, reals=reals)
    for role, hosts in (("balancer", balancers), ("real", reals)):
        defaults, settled = inventory.of_role(role, "defaults"), inventory.of_role(role, "vars")
        for host in hosts:
            variables.use(host, {**defaults, **variables.raw(host), **settled})
    told = {host: fleet.balancer(host) for host in balancers}, {host: fleet.real(host) for host in reals}
    rollout = rollout_of(fleet, variables, balancers)
    fleet.review(balancers, reals)
    return Whole(fleet, missing_groups(inventory.groups, inventory.patterns, members), rollout, *told)
