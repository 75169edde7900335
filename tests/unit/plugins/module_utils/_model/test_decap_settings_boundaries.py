# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module decap at their bounds, and settings made of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapKept, DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import (
    RealSettings,
    Staying,
    earlier_gue_port,
    kept_settings,
    parse_real,
    parse_staying,
    with_kept,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError

PARAMS: dict[str, Any] = {
    "interfaces": ["eth0"],
    "mode": "generic",
    "vips": ["198.51.100.1", "2001:db8::1"],
    "keep_vips": True,
    "sources": ["172.16.0.1"],
    "gue_port": 6081,
    "server_id": 7,
    "loopback": False,
    "source_dir": "/usr/lib/katran-fleet/bpf",
}


def test_every_option_arrives() -> None:
    found = parse_real(PARAMS)
    assert found.interfaces == ("eth0",)
    assert (found.mode, found.vips, found.keep_vips) == ("generic", ("198.51.100.1", "2001:db8::1"), True)
    assert (len(found.sources), found.gue_port, found.server_id) == (1, 6081, 7)
    assert (found.loopback, found.source_dir) == (False, "/usr/lib/katran-fleet/bpf")
    assert parse_real({**PARAMS, "vips": None}).vips is None


@pytest.mark.parametrize(("name", "value"), [("gue_port", 1), ("gue_port", 65535), ("server_id", 2**32 - 1)])
def test_bounds_that_are_allowed(name: str, value: int) -> None:
    assert getattr(parse_real({**PARAMS, name: value}), name) == value


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"interfaces": []}, "interfaces: state attached needs at least one interface"),
        ({"gue_port": 0}, "gue_port: 0 is not in 1 to 65535"),
        ({"gue_port": 65536}, "gue_port: 65536 is not in 1 to 65535"),
        ({"server_id": -1}, "server_id: -1 is not in 0 to 4294967295"),
        ({"server_id": 2**32}, "server_id: 4294967296 is not in 0 to 4294967295"),
    ],
)
def test_each_fault_has_its_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_real({**PARAMS, **options})
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", ["vips", "sources"])
def test_addresses_are_told_by_their_place(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}\[0\]: web "):
        parse_real({**PARAMS, name: ["web"]})


def test_the_vips_that_stay() -> None:
    vips = frozenset({"198.51.100.1", "2001:db8::1"})
    assert parse_staying({"vips": ["198.51.100.1", "2001:DB8::1"]}) == Staying(vips)
    assert parse_staying({"vips": [], "sources": ["10.0.0.1"]}) == Staying(frozenset(), frozenset({"10.0.0.1/32"}))
    with pytest.raises(ConfigError) as caught:
        parse_staying({"vips": None})
    assert str(caught.value) == "vips: state withdrawn needs the VIPs that stay"
    with pytest.raises(ConfigError, match=r"^vips\[0\]: web "):
        parse_staying({"vips": ["web"]})


def kept(**options: Any) -> DecapKept:
    given: dict[str, Any] = {
        "vips": ["198.51.100.1"],
        "sources": ["172.16.0.1"],
        "gue_port": 6080,
        "server_id": 7,
        "loopback": ["198.51.100.1"],
    }
    return DecapKept(**{**given, **options})


def test_the_port_of_gue_that_balancers_may_still_have() -> None:
    assert earlier_gue_port(6080, None) == 0
    assert earlier_gue_port(6081, kept()) == 6080
    assert earlier_gue_port(6080, kept(gue_port_before=6079)) == 6079
    assert earlier_gue_port(6080, kept()) == 0


def test_the_settings_of_the_last_run() -> None:
    assert kept_settings(DecapRecord()) is None
    record = DecapRecord(interfaces=["eth0", "eth1"], mode="generic", settings=kept())
    assert kept_settings(record) == RealSettings(
        interfaces=("eth0", "eth1"),
        mode="generic",
        vips=("198.51.100.1",),
        keep_vips=False,
        sources=("172.16.0.1",),
        gue_port=6080,
        server_id=7,
        loopback=True,
        source_dir="",
    )
    without = kept_settings(replace(record, settings=kept(loopback=[])))
    assert without is not None
    assert without.loopback is False


def test_vips_that_are_served_already() -> None:
    settings = parse_real({**PARAMS, "vips": ["198.51.100.1"], "keep_vips": False})
    served, sources = ("198.51.100.9", "198.51.100.1"), ("10.0.0.0/8",)
    assert with_kept(settings, served, sources) == settings
    assert with_kept(replace(settings, vips=None), served, sources).vips == served
    assert with_kept(replace(settings, keep_vips=True), served, sources).vips == ("198.51.100.1", "198.51.100.9")
    assert with_kept(replace(settings, keep_sources=True), served, sources).sources == ("172.16.0.1/32", "10.0.0.0/8")
