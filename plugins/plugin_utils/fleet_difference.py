# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes between two fleets: each difference worked out once, for all hosts that have it."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Mapping

from ansible_collections.katran.fleet.plugins.module_utils._engine.foresight import Configured, Foreseen, foresee
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import FleetError
from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_plan import (
    FleetPlan,
    HostDelta,
    VipDelta,
    setting_lines,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import report
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_fleet import Whole

T = t.TypeVar("T")
_OF_VIP = re.compile(r"vip (\S+): (.*)", re.DOTALL)
_OF_RUNS = frozenset(("accept_rehash", "end_rollback", "lock_timeout", "min_active", "allow_empty", "purge_flows"))
"""Options that say what a run does, and change nothing on a host."""

_TOLD_REAL = ("addresses", "vips", "gue_port", "sources")
"""Of what preflight tells a real, that which is a setting of its program; of the rest, the options have it."""


class Difference:
    """Two fleets compared, or `only` these hosts of them."""

    def __init__(self, old: Whole, new: Whole, names: tuple[str, str], only: Collection[str] | None = None) -> None:
        self.only = only
        self.old = old
        self.new = new
        self.plan = FleetPlan(*names)
        self._resources: dict[tuple[str, str], bool] = {}
        self._foreseen: dict[str, Foreseen | FleetError] = {}
        self._deltas: dict[str, HostDelta] = {}

    def compare(self) -> FleetPlan:
        """Everything that differs."""
        plan = self.plan
        plan.faults = [{"fault": each, "hosts": []} for each in self.new.missing]
        plan.faults += report(self._about(self.new.fleet.faults))
        known = self.old.fleet.warnings
        plan.warnings = report(
            {
                host: [each for each in sentences if each not in known.get(host, ())]
                for host, sentences in self._about(self.new.fleet.warnings).items()
            }
        )
        for role, was, now in (
            ("balancer", self._about(self.old.balancers), self._about(self.new.balancers)),
            ("real", self._about(self.old.reals), self._about(self.new.reals)),
        ):
            plan.hosts[role] = len(now)
            plan.added[role] = [host for host in now if host not in was]
            plan.removed[role] = [host for host in was if host not in now]
            kept = [host for host in now if host in was and not self.new.fleet.faults.get(host)]
            if role == "real":
                for host in kept:
                    self._real(host)
                continue
            plan.old_faults = report({host: each for host in kept if (each := self.old.fleet.faults.get(host))})
            for host in kept:
                if not self.old.fleet.faults.get(host):
                    self._balancer(host)
        plan.deltas = list(self._deltas.values())
        return plan

    def _about(self, hosts: Mapping[str, T]) -> dict[str, T]:
        """What is said of the hosts that are looked at."""
        return {host: each for host, each in hosts.items() if each and (self.only is None or host in self.only)}

    def _add(self, host: str, delta: HostDelta) -> None:
        if delta.is_change:
            key = repr((delta.role, delta.settings, delta.vips, delta.tables, delta.operations, delta.fault))
            self._deltas.setdefault(key, delta).hosts.append(host)

    def _real(self, host: str) -> None:
        was, now = (_of_real(whole, host) for whole in (self.old, self.new))
        self._add(host, HostDelta("real", settings=setting_lines(was, now)))

    def _balancer(self, host: str) -> None:
        was, now = (_of_balancer(whole, host) for whole in (self.old, self.new))
        words = tuple(whole.balancers[host]["resources"] for whole in (self.old, self.new))
        delta = HostDelta("balancer", settings=setting_lines(was, now) if was != now else [])
        sizes = was.get("sizes", {}), now.get("sizes", {})
        seeds = any(sizes[0].get(name) != sizes[1].get(name) for name in ("vips", "ring"))
        delta.accept_rehash = seeds and not self.new.fleet.options[host]["balancer"].get("accept_rehash")
        if self._differ(*words) or was.get("check_defaults") != now.get("check_defaults"):
            self._foresee(host, words, delta)
        self._add(host, delta)

    def _differ(self, old: str, new: str) -> bool:
        """Whether two sets of resources do: what most balancers share is compared once."""
        if (old, new) not in self._resources:
            self._resources[old, new] = self.old.fleet.resources[old] != self.new.fleet.resources[new]
        return self._resources[old, new]

    def _foresee(self, host: str, words: tuple[str, ...], delta: HostDelta) -> None:
        before, after = (
            _configured(whole, host, word) for whole, word in zip((self.old, self.new), words, strict=True)
        )
        # Who is told the same in all respects has the same before it.
        key = repr((words, *(sorted(_parts(each).items()) for each in (before, after))))
        if key not in self._foreseen:
            try:
                self._foreseen[key] = foresee(before, after)
            except FleetError as error:
                self._foreseen[key] = error
        found = self._foreseen[key]
        if isinstance(found, FleetError):
            delta.fault = str(found)
            return
        for name, result in found.results.items():
            if result.changed:
                delta.operations[name], delta.changes[name] = result.operations, result.changes
            if name != "vips":
                delta.tables += result.changes
        if "vips" in found.results:
            lines, delta.vips = vip_deltas(found)
            delta.settings += lines
        delta.tables += [
            f"{name}: no variable is about them any more, they stay as they are" for name in found.untouched
        ]


def _of_balancer(whole: Whole, host: str) -> dict[str, t.Any]:
    """Every setting of a balancer, its agent and bird."""
    found: dict[str, t.Any] = {}
    options = whole.fleet.options.get(host, {})
    for part in ("agent", "balancer"):
        found.update({name: value for name, value in (options.get(part) or {}).items() if name not in _OF_RUNS})
    told = whole.balancers[host]
    found["bgp"] = options.get("bgp")
    found["sync_peers"] = found.get("sync_peers") or told["peers"]
    found["health checks"] = "asked by the agent" if told["checked"] else None
    return found


def _of_real(whole: Whole, host: str) -> dict[str, t.Any]:
    """Every setting of a real."""
    told = whole.reals[host]
    options = whole.fleet.options.get(host, {}).get("real") or {}
    found = {name: value for name, value in options.items() if name not in _OF_RUNS}
    for name in _TOLD_REAL:
        if not found.get(name):
            found[name] = told[name]
    return found


def _configured(whole: Whole, host: str, word: str) -> Configured:
    options = whole.fleet.options[host]["balancer"]
    names = ("sizes", "features", "encapsulation", "decap_any")
    return Configured(
        whole.fleet.resources[word],
        {name: options[name] for name in names},
        int(whole.fleet.options[host]["min_active"]),
        options["check_defaults"],
        options["max_probes"],
    )


def _parts(configured: Configured) -> dict[str, t.Any]:
    return {name: value for name, value in vars(configured).items() if name != "resources"}


def vip_deltas(found: Foreseen) -> tuple[list[str], list[VipDelta]]:
    """(the sentences of module vips that are about no VIP, the VIPs that change)."""
    changes: dict[str, list[str]] = {name: [] for name in found.moved}
    others = []
    for line in found.results["vips"].changes:
        told = _OF_VIP.fullmatch(line)
        if told is None:
            others.append(line)
        else:
            changes.setdefault(told[1], []).append(told[2])
    deltas = [
        VipDelta(name, tuple(lines), found.moved.get(name, 0), found.ring_size if name in found.moved else 0)
        for name, lines in sorted(changes.items(), key=lambda each: each[0])
    ]
    return others, deltas
