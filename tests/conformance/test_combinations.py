# SPDX-License-Identifier: GPL-3.0-or-later
"""Every combination of features that the sweep covers compiles, passes the verifier, and costs what it says.

None, each by itself and all; with KATRAN_SWEEP=pairs every two as well (`make test-full`). A table of instructions is
printed at the end of the run.
"""

from __future__ import annotations

import functools
import itertools
import os

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.plugins.module_utils._program.sources import source_digest
from ansible_collections.katran.fleet.tests.conformance.conftest import Combination, Sweep
from ansible_collections.katran.fleet.tests.conformance.provision import BPF, Settings, provision

VERIFIER_BUDGET, ALL_FEATURES_BUDGET = 250_000, 600_000
"""Instructions that the verifier may process, of the million that the kernel allows it."""

ENCAPSULATIONS = ("ipip", "gue")
SIZES = {"vips": 32, "ring": 17, "server_ids": 64}
Features = tuple[str, ...]


def combinations() -> list[Features]:
    """None, singles, all; and pairs where the sweep is to have them."""
    pairs = itertools.combinations(FEATURES, 2) if os.environ.get("KATRAN_SWEEP") == "pairs" else ()
    return [(), *((feature,) for feature in FEATURES), *pairs, FEATURES]


def options(features: Features, encapsulation: str, decap_any: bool = False) -> dict[str, object]:
    return {"features": list(features), "encapsulation": encapsulation, "decap_any": decap_any, "sizes": SIZES}


@functools.cache
def compiled(features: Features, encapsulation: str) -> bytes:
    """The instructions that the compiler makes, before the kernel rewrites any."""
    macros = balancer_macros(Settings.of(options(features, encapsulation)))
    return compiler.compile_program(BPF, "balancer", macros).instructions


@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
@pytest.mark.parametrize("features", [pytest.param(each, id="+".join(each) or "none") for each in combinations()])
def test_every_combination_loads(features: Features, encapsulation: str, sweep: Sweep) -> None:
    for decap_any in (False, True) if "inline_decap" in features else (False,):
        balancer = provision({"balancer": options(features, encapsulation, decap_any), "vips": []})
        try:
            info = bpf.program_info(balancer.prog_fd)
        finally:
            balancer.close()
        names = "all" if features == FEATURES else " + ".join(features) or "none"
        sweep.append(
            Combination(names + " (any)" * decap_any, encapsulation, info.instructions, info.verified_instructions)
        )
        assert info.verified_instructions < (ALL_FEATURES_BUDGET if features == FEATURES else VERIFIER_BUDGET)


@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_off_costs_no_instruction(feature: str, encapsulation: str) -> None:
    """Compared as code: the compiler may save elsewhere as many instructions as a feature takes."""
    nothing = compiled((), encapsulation)
    if feature == "server_id_hash":
        # Another type of map under the same lookup.
        assert compiled((feature,), encapsulation) == nothing
    elif feature == "flow_debug":
        # It watches what inline_decap does.
        assert compiled((feature,), encapsulation) == nothing
        without = compiled(("inline_decap",), encapsulation)
        assert compiled(("inline_decap", feature), encapsulation) != without
    else:
        assert compiled((feature,), encapsulation) != nothing


def test_sizes_of_maps_are_no_part_of_the_program() -> None:
    """Only those that seed the flow hash are: for the others a new map is enough."""

    def digest(**sizes: int) -> str:
        settings = Settings.of({**options((), "ipip"), "sizes": {**SIZES, **sizes}})
        return source_digest(BPF, "balancer", balancer_macros(settings))

    every = DEFAULT_SIZES | SIZES
    assert {name for name, size in every.items() if digest(**{name: size + 2}) != digest()} == {"vips", "ring"}
