# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancers of an inventory are on one host, and what it says of each."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from functools import cached_property

from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import TABLE
from ansible_collections.katran.fleet.plugins.module_utils._model.beside import Instance, Machine, machine_of
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import is_true, words
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError

CHAIN = "chain"
"""The feature by which a balancer passes on what is not for it."""


class Machines:
    """The hosts on which balancers are."""

    def __init__(self, variables: HostVariables, balancers: Sequence[str]) -> None:
        self._variables = variables
        self._balancers = list(balancers)
        self._known: dict[str, Machine] = {}

    def beside(self, host: str) -> list[str]:
        """The other balancers that are on the same host."""
        return [each for each in self._on.get(self._machine(host), ()) if each != host]

    # Of each of thousands of balancers it is asked several times which others are there.
    @cached_property
    def _on(self) -> dict[Machine, list[str]]:
        """Machine → the balancers on it."""
        found: dict[Machine, list[str]] = {}
        for each in self._balancers:
            found.setdefault(self._machine(each), []).append(each)
        return found

    def instance(self, host: str, syncs: bool) -> Instance:
        """A balancer as others on its host see it. `syncs`: whether it tells others of flows.

        Where one host alone is asked for, its role's defaults are known, and not those of the others.
        """
        agent = self._said(host, "balancer_agent", "katran_agent")
        array = self._said(host, "balancer_root_array", "katran_root_array")
        slot = (str(array.get("path")), str(array.get("position"))) if isinstance(array, Mapping) and array else None
        place = str(self._said(host, "katran_sync_address") or ""), str(self._said(host, "katran_sync_port") or "")
        return Instance(
            host,
            str(self._said(host, "katran_instance") or "default"),
            tuple(words(self._said(host, "balancer_interfaces", "katran_interfaces"))),
            slot,
            self._said(host, "katran_bgp"),
            str(self._said(host, "katran_announce_table") or TABLE),
            agent is None or is_true(agent),
            place if syncs else None,
        )

    def leads_on(self, host: str) -> bool:
        """Whether another balancer of the host has a slot behind this one's in a root program's array."""
        slot = self.instance(host, False).slot
        others = [self.instance(each, False).slot for each in self.beside(host)] if slot else []
        return any(each and slot and each[0] == slot[0] and each[1] > slot[1] for each in others)

    def _machine(self, host: str) -> Machine:
        if host not in self._known:
            self._known[host] = machine_of(host, *(self._said(host, f"ansible_{name}") for name in ("host", "port")))
        return self._known[host]

    def _said(self, host: str, *names: str) -> t.Any:
        """The first of these variables that is set; what cannot be templated is told where it is asked for."""
        for name in names:
            try:
                if self._variables.is_set(host, name):
                    return self._variables.get(host, name)
            except VariableError:
                return None
        return None
