# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of module balancer names, over what the last run left and the defaults."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Links, RealLinks, Tunnel
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import (
    BALANCER,
    COMPILED,
    SETTINGS,
    named_settings,
    with_kept,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Asking

ARRAY = {"path": "/sys/fs/bpf/root", "position": 2}


def test_what_a_run_names() -> None:
    params = {
        "state": "attached",
        "mode": "generic",
        "copy_tos": False,
        "gue_port": None,
        "features": [],
        "sizes": {"flows": 5, "vips": None},
        "accept_rehash": True,
        "unknown": 1,
    }
    assert named_settings(params) == {"mode": "generic", "copy_tos": False, "features": [], "sizes": {"flows": 5}}
    assert named_settings({}) == {}
    assert named_settings({"sizes": None}) == {}


def test_what_is_kept_and_the_defaults() -> None:
    found = with_kept({}, {})
    assert set(found) == set(SETTINGS)
    assert found == {**{name: BALANCER[name].get("default") for name in SETTINGS}, "sizes": {}}
    kept = {"gue_port": 1, "max_frame": 9014, "sizes": {"flows": 5, "vips": 6}}
    found = with_kept({"gue_port": 2, "sizes": {"vips": 7, "reals": 8}}, kept)
    assert (found["gue_port"], found["max_frame"], found["mode"]) == (2, 9014, "native")
    assert found["sizes"] == {"flows": 5, "vips": 7, "reals": 8}
    assert kept["sizes"] == {"flows": 5, "vips": 6}


@pytest.mark.parametrize(
    ("named", "interfaces", "array"),
    [
        ({}, ["eth0"], ARRAY),
        ({"root_array": ARRAY}, [], ARRAY),
        ({"interfaces": ["eth1"]}, ["eth1"], None),
        ({"interfaces": ["eth1"], "root_array": ARRAY}, ["eth1"], ARRAY),
        ({"interfaces": []}, [], ARRAY),
        ({"root_array": {}}, ["eth0"], {}),
    ],
)
def test_an_interface_comes_instead_of_a_slot(
    named: dict[str, Any], interfaces: list[str], array: dict[str, Any] | None
) -> None:
    found = with_kept(named, {"interfaces": ["eth0"], "root_array": ARRAY})
    assert (found["interfaces"], found["root_array"]) == (interfaces, array)


def state(**settings: Any) -> State:
    found = State("blue", "/sys/fs/bpf/katran")
    found.settings = settings
    return found


def test_on_top_of_what_a_state_has() -> None:
    links = RealLinks("fail", True, 1400)
    asking = Asking(
        {"gue_port": 7000},
        "attached",
        accept_rehash=True,
        untouched=frozenset({"vips"}),
        ends_rollback=True,
        links=links,
    )
    kept = state(interfaces=["eth3"], encapsulation="gue", max_frame=9014, source_dir="/src", state="loaded")
    found = asking.settle(kept)
    assert (found.settings.gue_port, found.settings.interfaces, found.settings.encapsulation) == (
        7000,
        ("eth3",),
        "gue",
    )
    assert (found.state, found.source_dir, found.accept_rehash) == ("attached", "/src", True)
    assert (found.untouched, found.ends_rollback, found.names_program) == (frozenset({"vips"}), True, True)
    assert found.links == Links("fail", Tunnel("gue", 9014, True), 1400)
    assert (found.kept, found.back, found.boot, found.attach_later) == (False, False, False, False)


def test_with_nothing_named() -> None:
    found = Asking({}, "attached").settle(state(interfaces=["eth3"]))
    assert (found.accept_rehash, found.untouched, found.ends_rollback, found.links) == (False, frozenset(), False, None)
    assert found.names_program is False
    assert found.state == "attached"
    assert found.source_dir == BALANCER["source_dir"]["default"]


@pytest.mark.parametrize("name", [*COMPILED, "sizes", "source_dir"])
def test_what_goes_with_the_program(name: str) -> None:
    value = {"sizes": {"flows": 5000}, "source_dir": "/other"}.get(name, BALANCER[name].get("default"))
    assert Asking({name: value}, "attached").settle(state(interfaces=["eth3"])).names_program


@pytest.mark.parametrize("name", ["mode", "gateway_mac", "forwarding_cores", "numa"])
def test_what_goes_with_the_host(name: str) -> None:
    found = Asking({name: BALANCER[name]["default"]}, "attached").settle(state(interfaces=["eth3"]))
    assert not found.names_program


def test_faults_are_told_of_what_is_named_and_of_both_together() -> None:
    asking = Asking({"gue_port": 0}, "attached")
    with pytest.raises(ConfigError, match=r"^gue_port: 0 is not in 1 to 65535$"):
        asking.check()
    # Without an interface it can be loaded; whether there is one, the state knows.
    Asking({}, "attached").check()
    with pytest.raises(ConfigError, match="interface"):
        Asking({}, "attached").settle(state())
    assert Asking({}, "loaded").settle(state()).state == "loaded"


@pytest.mark.parametrize(
    ("named", "asks"), [({}, True), ({"gateway_mac": "auto"}, True), ({"gateway_mac": "02:0:0:0:0:1"}, False)]
)
def test_whether_the_gateway_may_be_asked_for(named: dict[str, Any], asks: bool) -> None:
    assert Asking(named, "attached").asks_gateway is asks
