# SPDX-License-Identifier: GPL-3.0-or-later
"""Module balancer by itself: what it is not told stays as it was; and the way forward after a rollback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER, SETTINGS
from ansible_collections.katran.fleet.tests.engine.host import Outcome
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    SIZES,
    STATE,
    apply,
    attached,
    forwards,
    lead_out,
    map_ids,
    pinned,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, GATEWAY, compiled_once, sandbox

NAMED: dict[str, Any] = {
    "interfaces": [LINK],
    "mode": "auto",
    "source_dir": BPF,
    "encapsulation": "gue",
    "gue_port": 6081,
    "features": ["cidr_vips", "inline_decap"],
    "source_ipv4": "192.0.2.250",
    "source_ipv6": "2001:db8:2::250",
    "source_prefix_ipv4": "172.17.0.0/16",
    "source_prefix_ipv6": "100:0:0:1::/64",
    "gateway_mac": GATEWAY,
    "copy_tos": False,
    "decap_any": True,
    "decap_sources": ["10.0.0.0/8"],
    "sizes": SIZES,
    "max_frame": 1600,
    "max_new_flows": 5000,
    "udp_timeout": 60,
    "forwarding_cores": [0],
    "numa": "none",
    "replace_foreign": True,
}
"""Every setting but the shared mode, none with its default."""
ROOT = {"path": "/sys/fs/bpf/katran/shared/maps/root_array", "position": 1}
SMALL = {"interfaces": [LINK], "source_dir": BPF, "gateway_mac": GATEWAY, "sizes": SIZES}


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


def settings() -> dict[str, Any]:
    """The settings on record."""
    found: dict[str, Any] = json.loads((STATE / "state.json").read_text(encoding="utf-8"))["settings"]
    return found


def told(result: Mapping[str, Any]) -> list[str]:
    """A module's warnings."""
    return [each if isinstance(each, str) else each["event"]["msg"] for each in result.get("warnings", [])]


def balancer(check: bool = False, **options: Any) -> Outcome:
    """One run of module balancer, which check mode foretells and a second one does not change."""
    # The links here are as small as veth makes them, and carry what there is.
    options = {"mtu_check": "off", **options}
    foretold = module("balancer", options, check=True)
    if check:
        return foretold
    done = module("balancer", options)
    assert done["changes"] == foretold["changes"]
    again = module("balancer", options)
    assert (again["changed"], again["changes"]) == (False, [])
    return done


def test_a_run_that_names_nothing_changes_no_setting() -> None:
    assert set(NAMED) | {"root_array"} == set(SETTINGS)
    for name, value in NAMED.items():
        assert value != BALANCER[name].get("default")
    balancer(**NAMED)
    there, program = settings(), pinned()
    assert {name: there[name] for name in NAMED} == {**NAMED, "features": sorted(NAMED["features"])}
    assert balancer()["changes"] == []
    assert balancer(state="loaded")["changes"] == [f"detach from {LINK}"]
    assert settings() == {**there, "state": "loaded"}
    assert (attached(), pinned()) == (None, program)
    assert balancer(state="attached")["changes"] == [f"attach to {LINK} in native mode"]
    assert (settings(), pinned()) == (there, program)


def test_one_setting_that_is_named_changes_alone() -> None:
    balancer(**NAMED)
    there, ids = settings(), map_ids()
    assert balancer(gateway_mac="02:00:00:00:00:0a")["changes"] == [f"gateway MAC {GATEWAY} → 02:00:00:00:00:0a"]
    assert settings() == {**there, "gateway_mac": "02:00:00:00:00:0a"}
    balancer(copy_tos=True)
    assert settings() == {**there, "gateway_mac": "02:00:00:00:00:0a", "copy_tos": True}
    balancer(features=[])
    assert settings()["features"] == []
    # A size by itself as well.
    done = balancer(sizes={"reals": 128})
    assert "migrate reals, reals_stats, lru_miss_stats (reals 64 → 128)" in done["changes"]
    assert settings()["sizes"] == {**SIZES, "reals": 128}
    assert map_ids()["ch_rings"] == ids["ch_rings"]


def test_a_first_run_has_the_defaults_for_what_is_not_named() -> None:
    sizes = {name: size for name, size in SIZES.items() if name != "flows"}
    assert balancer(interfaces=[LINK], source_dir=BPF, gateway_mac=GATEWAY, sizes=sizes)["changed"]
    there = settings()
    assert there["sizes"] == {**SIZES, "flows": DEFAULT_SIZES["flows"]}
    others = {name for name in SETTINGS if name not in ("interfaces", "source_dir", "gateway_mac", "sizes")}
    assert {name: there[name] for name in others} == {name: BALANCER[name].get("default") for name in others}


def test_interfaces_and_a_slot_come_one_instead_of_the_other() -> None:
    assert module("xdp_root", {"instance": "shared", "interfaces": ["lb1"], "source_dir": BPF})["changed"]
    balancer(**SMALL)
    balancer(root_array=ROOT)
    assert (settings()["interfaces"], settings()["root_array"]) == ([], ROOT)
    assert attached() is None
    assert balancer(state="loaded")["changed"]
    assert (settings()["interfaces"], settings()["root_array"]) == ([], ROOT)
    balancer(state="attached")
    assert (settings()["interfaces"], settings()["root_array"]) == ([], ROOT)
    balancer(interfaces=[LINK])
    assert (settings()["interfaces"], settings()["root_array"]) == ([LINK], None)
    assert attached() == (pinned(), "native")


def test_faults_are_told_of_what_is_named_and_of_what_comes_out() -> None:
    assert module("balancer", {"gue_port": 0, "state": "loaded"}).msg == "gue_port: 0 is not in 1 to 65535"
    assert module("balancer", {"source_dir": BPF}).msg == "interfaces: state attached needs at least one interface"
    balancer(**SMALL)
    assert module("balancer", {"sizes": {"ring": 1024}}).msg == "sizes.ring: 1024 is not a prime"
    assert attached() == (pinned(), "native")


def test_the_way_forward_after_a_rollback_with_the_same_settings() -> None:
    """Once because the settings had changed, once because the sources had."""
    balancer(**SMALL)
    apply([vips()])
    balancer(features=["vlan"])
    assert module("balancer", {"state": "rolled_back"})["changed"]
    stays = (
        f"{os.uname().nodename}: balancer default was rolled back by hand and stays so until its sources or settings"
        " change;"
        " end_rollback: true (katran_end_rollback) takes them as they are"
    )
    for options in ({**SMALL, "features": ["vlan"]}, {}, {"state": "attached"}, {"gateway_mac": GATEWAY}):
        still = balancer(**options)
        assert (still["changed"], told(still.result)) == (False, [stays])
        assert settings()["features"] == []
    done = balancer(**SMALL, features=["vlan"], end_rollback=True)
    assert done["changes"][:2] == ["compile the program (vlan)", "load the program"]
    assert told(done.result) == []
    assert settings()["features"] == ["vlan"]
    assert forwards()
    assert balancer(**SMALL, features=["vlan"])["changes"] == []

    with Path(BPF, "include/hash.h").open("a", encoding="ascii") as source:
        source.write("/* new */\nstatic inline int unused_now(void) { return 7; }\n")
    balancer()
    assert module("balancer", {"state": "rolled_back"})["changed"]
    assert told(balancer().result) == [stays]
    assert balancer(end_rollback=True)["changes"][:2] == ["compile the program (vlan)", "load the program"]
    assert told(balancer().result) == []
    assert forwards()


def test_state_loaded_alone_does_not_end_a_rollback() -> None:
    balancer(**SMALL)
    balancer(features=["vlan"])
    assert module("balancer", {"state": "rolled_back"})["changed"]
    assert balancer(state="loaded")["changes"] == [f"detach from {LINK}"]
    assert balancer(state="attached")["changes"] == [f"attach to {LINK} in native mode"]
    # What was rolled back does not come again unasked.
    assert balancer(**SMALL, features=["vlan"])["changes"] == []
