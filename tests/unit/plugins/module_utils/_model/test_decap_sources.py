# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's options about sources, its own addresses and attaching, and the sources that a withdrawal takes away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import plan_withdrawal
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import Staying, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import REAL_SOURCES
from ansible_collections.katran.fleet.plugins.module_utils._model.pinned import PinnedMaps
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import Conclude, DeleteLate, PinAgain
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import (
    GOOD,
    KEPT,
    MAPS,
    NET,
    NET6,
    RECORD,
    A,
    B,
    plan,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_settings_boundaries import (
    PARAMS,
)

BOTH = frozenset({A, B})


def test_options_that_may_be_left_out() -> None:
    found = parse_real(PARAMS)
    assert (found.keep_sources, found.addresses, found.attach, found.others) == (False, (), True, ())
    more = {**PARAMS, "keep_sources": True, "addresses": ["192.0.2.1", "FC00::1"], "attach": False, "interfaces": []}
    found = parse_real(more)
    assert (found.keep_sources, found.addresses, found.attach) == (True, ("192.0.2.1", "fc00::1"), False)
    assert parse_real({**PARAMS, "sources": []}).sources == (NET, NET6)
    assert parse_real({**PARAMS, "addresses": None}).addresses == ()
    assert parse_real({**PARAMS, "server_id": 0}).server_id == 0
    with pytest.raises(ConfigError, match=r"^addresses\[0\]: web "):
        parse_real({**PARAMS, "addresses": ["web"]})


def test_sources_that_do_not_stay_go() -> None:
    found = plan_withdrawal(Staying(BOTH, frozenset({NET6})), RECORD, GOOD)
    assert found.changes == [f"source {NET} removed"]
    assert found.ordered() == [
        DeleteLate(REAL_SOURCES[0], (layout.lpm_key(layout.pack_address("172.16.0.0")[:4], 16),)),
        Conclude(replace(RECORD, settings=replace(KEPT, sources=[NET6]))),
    ]
    assert found.before == {"vips": [A, B], "sources": [NET6, NET]}
    assert found.after == {"vips": [A, B], "sources": [NET6]}


def test_a_source_that_is_gone_already_is_forgotten() -> None:
    found = plan_withdrawal(Staying(BOTH, frozenset({NET6})), RECORD, replace(GOOD, sources=(NET6,)))
    assert not found.of(DeleteLate)
    assert found.of(Conclude)[0].record.settings == replace(KEPT, sources=[NET6])


def test_without_sources_that_stay_it_would_be_everybody_again() -> None:
    other = frozenset({"10.1.0.0/16", "10.0.0.0/16"})
    found = plan_withdrawal(Staying(BOTH, other), RECORD, GOOD)
    assert found.after["sources"] == ["10.0.0.0/16", "10.1.0.0/16"]
    assert found.of(Conclude)[0].record.settings == replace(KEPT, sources=["10.0.0.0/16", "10.1.0.0/16"])


def test_vips_and_sources_together() -> None:
    found = plan_withdrawal(Staying(frozenset({B}), frozenset({NET})), RECORD, GOOD)
    assert found.changes == [f"vip {A} removed", f"source {NET6} removed", f"remove {A} from lo"]
    settings = found.of(Conclude)[0].record.settings
    assert settings == replace(KEPT, vips=[B], sources=[NET], loopback=[B])
    # VIPs alone leave sources as they are, those of everybody too.
    earlier = replace(RECORD, settings=replace(KEPT, sources=[]))
    found = plan_withdrawal(Staying(frozenset({B})), earlier, GOOD)
    assert "sources" not in found.before
    assert found.of(Conclude)[0].record.settings == replace(KEPT, vips=[B], sources=[], loopback=[B])


def test_everybody_goes_where_some_are_to_stay() -> None:
    earlier = replace(RECORD, settings=replace(KEPT, sources=[]))
    seen = replace(GOOD, sources=("0.0.0.0/0", "::/0"))
    found = plan_withdrawal(Staying(BOTH, frozenset({NET})), earlier, seen)
    assert found.changes == ["source 0.0.0.0/0 removed", "source ::/0 removed"]
    assert found.before["sources"] == ["0.0.0.0/0", "::/0"]
    assert found.after["sources"] == [NET]


def test_pins_are_mended_by_the_way() -> None:
    seen = replace(GOOD, lost={"decap_vips": 100})
    pins = PinnedMaps(MAPS, {"decap_vips": 100}, {})
    for found in (plan_withdrawal(Staying(BOTH), RECORD, seen), plan_withdrawal(Staying(frozenset({B})), RECORD, seen)):
        assert found.of(PinAgain) == [PinAgain(pins)]
        assert found.changes[0] == "pin decap_vips again, which the running program has"
    assert plan_withdrawal(Staying(BOTH), RECORD, seen).after == {}


def test_an_address_that_others_bring_is_not_added() -> None:
    seen = replace(GOOD, addresses=[])
    assert plan(seen, others=(B,)).changes == [f"add {A} to lo"]
    assert plan(seen).changes == [f"add {A} to lo", f"add {B} to lo"]
