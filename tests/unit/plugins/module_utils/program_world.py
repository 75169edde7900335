# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of an instance's programs on a host in memory, and what must hold for any of them."""

from __future__ import annotations

import copy
import os
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.run import Job, run_locked
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import RealSettings, Staying
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import HealthcheckSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DECAP_MAPS,
    HEALTHCHECK_MAPS,
    ROOT_MAPS,
    balancer_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted, kept_wanted
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_host import (
    BPFFS,
    HostFile,
    MemoryHost,
    MemoryToolchain,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import SIZES, KilledError, Shape

# The same examples on every run; KATRAN_FLEET_EXAMPLES=30 tries thirty times as many others.
SOAK = int(os.environ.get("KATRAN_FLEET_EXAMPLES", "1"))
some = settings(
    max_examples=150 * SOAK,
    deadline=None,
    derandomize=SOAK == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

PINS = f"{BPFFS}/katran/blue"
INTERFACES = ("eth0", "eth1", "eth2")
PROGRAM_MAPS: Mapping[str, tuple[str, ...]] = {
    "root": tuple(spec.name for spec in ROOT_MAPS),
    "decap": tuple(spec.name for spec in DECAP_MAPS),
    "decap_tc": tuple(spec.name for spec in DECAP_MAPS),
    "healthcheck": tuple(spec.name for spec in HEALTHCHECK_MAPS),
}


def balancer_maps_of(macros: Mapping[str, int]) -> list[str]:
    """The maps of a balancer that is compiled with these macros."""
    features = frozenset(name for name in FEATURES if f"FEATURE_{name.upper()}" in macros)
    encapsulation = "gue" if macros["ENCAP_GUE"] else "ipip"
    return list(balancer_maps(Shape(SIZES, features, encapsulation, bool(macros["DECAP_ANY"]))))


@dataclass
class World:
    """A host, its toolchain, and the runs of one instance."""

    host: MemoryHost = field(default_factory=lambda: MemoryHost(INTERFACES))
    tools: MemoryToolchain = field(
        default_factory=lambda: MemoryToolchain({**PROGRAM_MAPS, "balancer": balancer_maps_of})
    )
    instance: str = "blue"

    def twin(self) -> World:
        """The same once more."""
        return copy.deepcopy(self)

    def real(self) -> Real:
        return Real(self.instance, BPFFS, HostFile(self.host, self.instance), self.host, self.tools)

    def root(self) -> Root:
        return Root(self.instance, BPFFS, HostFile(self.host, self.instance), self.host, self.tools)

    def healthcheck(self) -> Healthcheck:
        return Healthcheck(self.instance, BPFFS, HostFile(self.host, self.instance), self.host, self.tools)

    def balancer(self) -> Balancer:
        return Balancer(self.instance, BPFFS, HostFile(self.host, self.instance), self.host, self.tools)

    def job(self, wanted: t.Any) -> Job[t.Any, t.Any]:
        """What brings the host to what is wanted, None: to where it was; words: to be without."""
        if isinstance(wanted, RealSettings):
            return self.real().ensuring(wanted)
        if isinstance(wanted, RootSettings):
            return self.root().ensuring(wanted)
        if isinstance(wanted, HealthcheckSettings):
            return self.healthcheck().ensuring(wanted)
        if isinstance(wanted, Wanted):
            return self.balancer().ensuring(wanted)
        if isinstance(wanted, frozenset):
            return self.real().withdrawing(Staying(wanted))
        return {
            "no decap": self.real().removing,
            "no root": self.root().removing,
            "no healthcheck": self.healthcheck().removing,
            "no balancer": self.balancer().removing,
            "the balancer before": self.balancer().rolling_back,
            "today's gateway": self.balancer().following,
            "decap as it was": lambda: self.real().ensuring(None),
            "balancer as it was": lambda: self.balancer().ensuring(kept_wanted(self.balancer().file.read())),
            "root as it was": lambda: self.root().ensuring(None),
            "healthcheck as it was": lambda: self.healthcheck().ensuring(None),
        }[wanted]()

    def run(self, wanted: t.Any, check: bool = False) -> Result:
        try:
            return run_locked(self.job(wanted), check)
        finally:
            assert not self.host.fds, "something was left open"

    def steps(self, wanted: t.Any) -> int:
        """How many changes a run takes; a twin tells."""
        twin = self.twin()
        before = twin.host.fuse.steps
        twin.run(wanted)
        return twin.host.fuse.steps - before

    def killed(self, after: int, wanted: t.Any) -> bool:
        """A run that is killed after so many changes; False where it ended before."""
        self.host.fuse.left = after
        try:
            run_locked(self.job(wanted), False)
        except KilledError:
            self.host.died()
            return True
        finally:
            self.host.fuse.left = None
        return False


def assert_quiet(world: World, wanted: t.Any) -> None:
    """Once more changes and reports nothing."""
    before, steps = world.host.everything(), world.host.fuse.steps
    foretold, result = world.run(wanted, check=True), world.run(wanted)
    for each in (foretold, result):
        assert (each.changed, each.changes, each.operations) == (False, [], {})
    assert world.host.fuse.steps == steps
    assert world.host.everything() == before


def assert_foretold(world: World, wanted: t.Any) -> Result:
    """Check mode says what the run then does, and touches nothing."""
    before, steps = world.host.everything(), world.host.fuse.steps
    foretold = world.run(wanted, check=True)
    assert world.host.everything() == before
    assert world.host.fuse.steps == steps
    result = world.run(wanted)
    assert (foretold.changes, foretold.operations) == (result.changes, result.operations)
    # In which mode an interface has it, only attaching tells.
    warnings = [each for each in result.warnings if " is in generic mode: " not in each]
    assert (foretold.before, foretold.after, foretold.warnings) == (result.before, result.after, warnings)
    return result
