# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned for a balancer bounds what its resources may say before there is any."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, ModeError
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED, Limits, parse_planned
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES


def test_what_is_planned() -> None:
    assert parse_planned({}) == Limits(DEFAULT_SIZES, frozenset())
    assert parse_planned({"features": None, "sizes": None}) == Limits(DEFAULT_SIZES, frozenset())
    found = parse_planned({"features": ["vlan", "global_lru"], "sizes": {"vips": 64, "reals": None}})
    assert found == Limits({**DEFAULT_SIZES, "vips": 64}, frozenset(("vlan", "global_lru")))


def test_sizes_that_cannot_be_planned() -> None:
    with pytest.raises(ConfigError, match=r"^sizes\.vips: 0 is not in 1 to 65536; sizes\.ring: 4 is not a prime$"):
        parse_planned({"sizes": {"vips": 0, "ring": 4}})


def test_where_nothing_is_known_every_feature_may_be_there() -> None:
    assert UNLIMITED.has("vlan")
    assert Limits(DEFAULT_SIZES, frozenset({"vlan"})).has("vlan")
    assert not Limits(DEFAULT_SIZES, frozenset({"vlan"})).has("global_lru")


def test_an_interface_that_cannot_keeps_the_kernels_reason() -> None:
    error = ModeError("eth0", "native", "Operation not supported")
    assert str(error) == "interface eth0 does not support XDP mode native: Operation not supported"
    assert error.reason == "Operation not supported"
