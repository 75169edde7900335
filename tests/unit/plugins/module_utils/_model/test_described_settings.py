# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as options are described, addresses that drift names, and gateways that are followed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_plan import plan_gateway
from ansible_collections.katran.fleet.plugins.module_utils._model.drift import _address_text
from ansible_collections.katran.fleet.plugins.module_utils._model.pinned import PinnedMaps
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import (
    BALANCER,
    KEEPING,
    SETTINGS,
    _without_default,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import PinAgain


def test_an_option_without_its_default() -> None:
    nested = {"type": "dict", "default": {}, "options": {"a": {"type": "int", "default": 1}, "b": {"type": "str"}}}
    assert _without_default(nested) == {"type": "dict", "options": {"a": {"type": "int"}, "b": {"type": "str"}}}
    assert _without_default({"type": "int", "default": 0}) == {"type": "int"}
    assert nested["default"] == {}


def test_settings_have_no_default_in_the_module() -> None:
    assert all("default" not in KEEPING[name] for name in SETTINGS)
    assert all("default" not in each for each in KEEPING["sizes"]["options"].values())
    assert {name: KEEPING[name] for name in KEEPING if name not in SETTINGS} == {
        name: BALANCER[name] for name in BALANCER if name not in SETTINGS
    }


@pytest.mark.parametrize("text", ["198.51.100.1", "2001:db8::1", "2000:0:1::"])
def test_an_address_of_a_map_of_addresses(text: str) -> None:
    assert _address_text("vip_addresses", layout.pack_address(text)) == text


@pytest.mark.parametrize(("text", "length"), [("198.51.100.0", 24), ("2001:db8::", 32), ("::", 0), ("0.0.0.0", 0)])
def test_an_address_of_a_trie(text: str, length: int) -> None:
    packed = layout.pack_address(text)
    key = layout.lpm_key(packed if ":" in text else packed[:4], length)
    assert _address_text("vip_address_lpm4", key) == f"{text}/{length}"


def test_pins_that_are_lost_are_mended_while_the_gateway_is_followed() -> None:
    pins = PinnedMaps({}, {"vip_map": 7}, {"vip_map": "another map"})
    found = plan_gateway(State("blue", "/sys/fs/bpf/katran"), "", None, pins, "/sys/fs/bpf/katran/blue/maps")
    assert found.of(PinAgain) == [PinAgain(pins)]
    start = "pin vip_map again, which the running program has, in place of another map pinned at"
    assert found.changes == [f"{start} /sys/fs/bpf/katran/blue/maps/vip_map"]
    # Of a stray alone nothing is lost.
    stray = replace(pins, lost={})
    assert plan_gateway(State("blue", "/x"), "", None, stray, "/x").steps == []
