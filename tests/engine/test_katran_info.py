# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a running Katran: a stand-in's maps, anonymous and pinned, become an inventory's variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.katran import KatranFound, read_katran
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.katran_maps import Place
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.plugin_utils.katran_inventory import HEAD
from ansible_collections.katran.fleet.tests.engine.playbooks import Done, run_playbook
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, put_other, sandbox
from ansible_collections.katran.fleet.tests.engine.standin import Standin, health_checker, provision

LINK, SHARED = "lb0", "lb1"


def reals(*weights: int, family: int = 4) -> list[dict[str, Any]]:
    """One for each weight."""
    prefix = "10.0.0." if family == 4 else "fc00::"
    return [{"address": f"{prefix}{number}", "weight": weight} for number, weight in enumerate(weights, 1)]


VIPS: list[dict[str, Any]] = [
    {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": reals(1, 1, 1)},
    {"address": "198.51.100.1", "port": 443, "protocol": "udp", "flags": ["quic"], "reals": reals(10, 5, 1)},
    {"address": "198.51.100.2", "port": 0, "protocol": "tcp", "flags": ["source_routing"], "reals": reals(7, 6, 3, 2)},
    {"address": "198.51.100.3", "port": 80, "protocol": "tcp", "hash": "maglev_v1", "reals": reals(3, 1, 2)},
    {"address": "198.51.100.4", "port": 80, "protocol": "tcp", "reals": reals(100, 73, 41, 99)},
    {"address": "203.0.113.0/24", "port": 53, "protocol": "udp", "reals": reals(2, 1)},
    {"address": "2001:db8::1", "port": 443, "protocol": "tcp", "flags": ["no_lru"], "reals": reals(1, 4, family=6)},
    {"address": "2001:db8:1::/48", "port": 0, "protocol": "tcp", "reals": reals(1, 4, 2, family=6)},
    {
        "address": "198.51.100.5",
        "port": 80,
        "protocol": "udp",
        "flags": ["udp_flow_migration"],
        "reals": reals(1, 1),
        "down_reals": ["10.0.0.9"],
    },
    {"address": "198.51.100.6", "port": 80, "protocol": "tcp", "reals": reals(1, 1, 1), "stale": 17},
    {"address": "198.51.100.7", "port": 80, "protocol": "tcp", "reals": []},
]
WORLD: dict[str, Any] = {
    "sources": BPF,
    "balancer": {"features": ["cidr_vips", "inline_decap", "source_routing", "udp_flow_migration"]},
    "vips": VIPS,
    "source_routes": [
        {"prefix": "192.0.2.0/24", "real": "10.0.0.6"},
        {"prefix": "2001:db8:9::/48", "real": "fc00::1"},
    ],
    "server_ids": [{"id": 7, "real": "10.0.0.1"}, {"id": 4999, "real": "10.0.0.7"}],
    "decap_destinations": [{"address": "198.51.100.9", "egress": True}, {"address": "fc00::99"}],
    "idle": ["10.0.0.60"],
}


@pytest.fixture(scope="module", name="katran")
def running() -> Iterator[Standin]:
    with sandbox(LINK, SHARED), compiled_once():
        made = provision(WORLD)
        made.attach(LINK)
        yield made
        made.close()


def written(vip: dict[str, Any]) -> dict[str, Any]:
    """A VIP as an inventory has it: without what is the default."""
    found = {name: value for name, value in vip.items() if name != "stale"}
    found["reals"] = [{name: value for name, value in real.items() if value != 1} for real in vip["reals"]]
    return found


def by_name(vips: list[dict[str, Any]]) -> dict[tuple[str, int, str], dict[str, Any]]:
    return {(vip["address"], vip["port"], vip["protocol"]): vip for vip in vips}


@pytest.fixture(scope="module", name="found")
def read(katran: Standin) -> KatranFound:
    with health_checker(LINK, {5: "10.0.0.1", 6: "fc00::1"}):
        return read_katran(Place(), WORLD["vips"] and [written(vip) for vip in VIPS])


def test_every_vip_comes_back_as_it_was(found: KatranFound) -> None:
    variables = found.imported.variables
    there, were = by_name(variables["katran_vips"]), by_name([written(vip) for vip in VIPS])
    assert list(there) == sorted(were, key=list(there).index)
    for name, vip in were.items():
        assert there[name] == vip


def test_the_rest_comes_back(katran: Standin, found: KatranFound) -> None:
    variables = found.imported.variables
    assert found.seen.program == katran.program
    assert variables["katran_interfaces"] == [LINK]
    assert variables["katran_encapsulation"] == "ipip"
    assert variables["katran_gateway_mac"] == "02:00:00:00:00:09"
    assert variables["katran_source_routes"] == WORLD["source_routes"]
    assert variables["katran_server_ids"] == sorted(WORLD["server_ids"], key=str)
    assert variables["katran_decap_destinations"] == [{"egress": False, **each} for each in WORLD["decap_destinations"]]
    assert variables["katran_extra_features"] == WORLD["balancer"]["features"]
    assert variables["katran_sizes"] == {
        "vips": 16, "ring": 1009, "reals": 64, "flows": 4000, "server_ids": 5000, "source_routes": 100, "cidr_vips": 16
    }  # fmt: skip
    assert found.destinations == [{"mark": 5, "real": "10.0.0.1"}, {"mark": 6, "real": "fc00::1"}]


def test_what_is_stale_and_what_is_not_known_is_told(found: KatranFound) -> None:
    (stale,) = found.imported.stale
    assert stale.startswith("vip 198.51.100.6:80/tcp: its ring is stale")
    assert "17 of 1009 slots" in stale
    text = "\n".join(found.imported.notes)
    for words in ("to 10.0.0.60 nothing leads", "198.51.100.7:80/tcp: its ring leads to no real", "hold no checks"):
        assert words in text
    assert found.compared is not None
    assert found.compared.slots == 17
    assert found.compared.lines == ["vip 198.51.100.6:80/tcp: 17 of 1009 ring slots differ from Katran's"]


def test_reading_writes_nothing(katran: Standin) -> None:
    def contents() -> dict[str, Any]:
        return {name: dict(opened.items()) for name, opened in katran.maps.items() if opened.info.type not in (3, 4)}

    before = contents()
    read_katran(Place(program=katran.program))
    assert contents() == before


def test_it_is_found_by_its_pins_and_by_its_interface(katran: Standin, found: KatranFound) -> None:
    katran.pin(f"{BPFFS}/katran-pins")
    for place in (Place(maps_path=f"{BPFFS}/katran-pins"), Place(interfaces=(LINK,))):
        again = read_katran(place)
        assert again.seen.program == katran.program
        assert again.imported.variables == found.imported.variables


HOSTS = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3, katran_become: false}
  children:
    balancers:
      hosts: {lb1: }
"""


def play(*arguments: str) -> Done:
    return run_playbook("katran.fleet.import_katran", *arguments)


@pytest.mark.usefixtures("katran")
def test_the_playbook_writes_an_inventory_that_preflight_takes_and_compares_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet/hosts.yml").write_text("all: {}\n")
    inventory = ("-i", str(tmp_path / "hosts.yml"), "-e", f"katran_import_path={tmp_path}/fleet")
    done = play(*inventory)
    assert done.returncode == 2
    assert "fleet/hosts.yml exists, and is not what would be written" in done.stdout
    # What an earlier import found on this host alone would be stronger than what the group has now.
    (tmp_path / "fleet/host_vars").mkdir()
    (tmp_path / "fleet/host_vars/lb1.yml").write_text(f"{HEAD.format('lb1')}katran_vips: []\n")
    done = play(*inventory, "-e", "katran_import_force=true")
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "fleet/host_vars/lb1.yml").exists()
    assert "17 ring slots differ from what runs there" in done.stdout
    assert (tmp_path / "fleet/group_vars/balancers.yml").exists()
    assert "hold no checks" in (tmp_path / "fleet/notes.txt").read_text()
    # With the inventory that it wrote, it compares alone.
    done = play("-i", str(tmp_path / "hosts.yml"), "-i", f"{tmp_path}/fleet")
    assert done.returncode == 2, done.stdout
    assert "17 of 1009 ring slots differ from Katran's" in done.stdout, done.stdout


def test_what_is_no_katran_is_a_sentence(katran: Standin) -> None:
    other = put_other(SHARED)
    for place, words in (
        (Place(interfaces=(SHARED,)), f"no Katran runs on {SHARED}"),
        (Place(interfaces=("lo",)), "no XDP program runs on lo"),
        (Place(program=999999), "there is no program 999999"),
        (Place(program=other), "there is no program|has no map vip_map"),
        (Place(maps_path="/nowhere"), "/nowhere is no folder"),
        (Place(maps_path="/run"), "is not in a bpf file system"),
        (Place(maps_path=BPFFS), "no map of a Katran is pinned"),
    ):
        with pytest.raises(EngineError, match=words):
            read_katran(place)


def test_another_layout_is_a_sentence() -> None:
    """Of a version whose reals have other values."""
    with sandbox(LINK):
        folder = f"{BPFFS}/old"
        os.makedirs(folder)
        for name, kind, key, value, entries in (
            ("vip_map", 1, 20, 8, 16),
            ("reals", 2, 4, 24, 64),
            ("ch_rings", 2, 4, 4, 16 * 1009),
        ):
            with bpf.Map(bpf.create_map(kind, key, value, entries, 0, name)) as made:
                bpf.pin(made.fd, f"{folder}/{name}")
        with pytest.raises(EngineError, match="map reals has keys of 4 and values of 24 bytes, where the layout"):
            read_katran(Place(maps_path=folder))
    assert layout.SLOT == 8
