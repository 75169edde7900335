# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that somebody damaged: every module that reads them says which one and where, and packets never notice."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import restore
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.tests.engine.host import RESOURCES, SIZES, world
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, GATEWAY, SOURCES, compiled_once, run, sandbox

STATE = Path(STATE_ROOT, "default")
ADOPT = "move it away, and the next run adopts what the kernel has"
FEATURES = ["cidr_vips", "inline_decap", "local_delivery", "source_filter", "source_routing", "udp_flow_migration"]
DEPLOYED: dict[str, dict[str, Any]] = {
    "balancer": {
        "interfaces": ["lb0"],
        "gateway_mac": GATEWAY,
        "source_dir": BPF,
        "source_ipv4": "192.0.2.250",
        "source_ipv6": "2001:db8:2::250",
        "sizes": SIZES,
        "features": FEATURES,
    },
    **{name: {"config": config, "state": "overridden"} for name, config in world().items()},
    "decap": {"interfaces": ["real0"], "vips": ["198.51.100.77"], "source_dir": BPF},
    "xdp_root": {"interfaces": ["root0"], "source_dir": BPF},
    "healthcheck": {"interface": "probe0", "gateway_mac": GATEWAY, "source_ipv4": "192.0.2.7", "source_dir": BPF},
    "healthcheck_destinations": {"config": [{"mark": 1, "real": "10.0.0.1"}], "state": "overridden"},
}
LOOKING: dict[str, dict[str, Any]] = {
    "balancer_info": {},
    "simulate_info": {
        "flows": [
            {
                "source": "192.0.2.7",
                "destination": "198.51.100.1",
                "source_port": 1,
                "destination_port": 80,
                "protocol": "tcp",
            }
        ]
    },
}


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    """A host that has everything."""
    with sandbox("lb0", "real0", "root0", "probe0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        for _again in range(2):
            results = {name: module(name, arguments) for name, arguments in DEPLOYED.items()}
        assert not any(result["changed"] for result in results.values())
        yield


@pytest.fixture(autouse=True)
def undamaged() -> Iterator[None]:
    """Each file is as it was, before and after: nothing wrote one that it could not read."""
    before = {path.name: path.read_bytes() for path in STATE.iterdir() if path.is_file()}
    yield
    for name, data in before.items():
        (STATE / name).write_bytes(data)
    assert {path.name for path in STATE.iterdir() if path.is_file()} == set(before)


def damage(name: str, spoil: Callable[[Any], Any]) -> None:
    """Change what a file says."""
    data = json.loads((STATE / name).read_text(encoding="utf-8"))
    found = spoil(data)
    (STATE / name).write_text(json.dumps(data if found is None else found), encoding="utf-8")


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def spoil(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return spoil


def drop(*path: Any) -> Callable[[Any], None]:
    def spoil(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return spoil


def same_id(data: Any) -> None:
    assigned = data["real_ids"]["assigned"]
    first, second = sorted(assigned)[:2]
    assigned[second] = assigned[first]


OF_STATE = ("balancer", *RESOURCES, "balancer_info")
CASES: list[tuple[str, Callable[[Any], Any], str, tuple[str, ...]]] = [
    ("state.json", lambda _data: [1], "[1] is not a mapping", OF_STATE),
    ("state.json", put("vips", value=None), "vips: null is not a list", OF_STATE),
    (
        "state.json",
        same_id,
        "real_ids.assigned: 10.0.0.1 and 10.0.0.2 both have ",
        ("balancer", "vips", "balancer_info"),
    ),
    (
        "state.json",
        put("overlay", 0, "state", value="asleep"),
        'overlay[0].state: "asleep" is none of',
        ("balancer", "reals"),
    ),
    ("state.json", drop("settings", "udp_timeout"), "settings.udp_timeout: is missing", ("balancer", "reals")),
    ("state.json", put("program", "interfaces", value=7), "program.interfaces: 7 is not a list", ("balancer", "vips")),
    ("state.json", put("learned", 0, value="x"), "learned[0]: x is not the name of a VIP", ("balancer", "vips")),
    ("source_routes.json", drop(0, "real"), "[0].real: is missing", ("source_routes", "balancer_info")),
    ("server_ids.json", put(0, "id", value="7"), '[0].id: "7" is not a whole number', ("server_ids", "balancer_info")),
    ("decap_destinations.json", lambda _data: {}, "{} is not a list", ("decap_destinations", "balancer_info")),
    ("decap.json", lambda _data: [1], "[1] is not a mapping", ("decap",)),
    ("decap.json", put("settings", "vips", value=None), "settings.vips: null is not a list", ("decap",)),
    ("root.json", put("interfaces", value="root0"), 'interfaces: "root0" is not a list', ("xdp_root",)),
    ("healthcheck.json", put("qdiscs", value=[1]), "qdiscs[0]: 1 is not a text", ("healthcheck", "balancer_info")),
    (
        "healthcheck_destinations.json",
        put(0, "real", value=None),
        "[0].real: null is not a text",
        ("healthcheck_destinations", "balancer_info"),
    ),
]


@pytest.mark.parametrize(("name", "spoil", "fault", "modules"), CASES, ids=lambda each: str(each)[:30])
def test_each_module_that_reads_it_says_so(
    name: str, spoil: Callable[[Any], Any], fault: str, modules: tuple[str, ...]
) -> None:
    damage(name, spoil)
    text = (STATE / name).read_bytes()
    for each in modules:
        message = module(each, {**DEPLOYED, **LOOKING}[each], check=len(each) % 2 == 0).msg
        assert message.startswith(f"{STATE / name} is damaged ({fault}"), each
        assert message.endswith(f"): {ADOPT}"), each
    assert (STATE / name).read_bytes() == text


@pytest.mark.parametrize("name", ["decap.json", "root.json", "healthcheck.json"])
def test_the_removal_of_a_program_says_so_too(name: str) -> None:
    (STATE / name).write_text("{", encoding="utf-8")
    what = {"decap.json": "decap", "root.json": "xdp_root", "healthcheck.json": "healthcheck"}[name]
    assert module(what, {"state": "absent"}).msg.startswith(f"{STATE / name} is damaged (")


def test_damaged_bytecode_is_compiled_anew_and_looked_at_by_nobody() -> None:
    name = "balancer.bytecode.json"
    damage(name, put("instructions", value="?"))
    assert module("simulate_info", LOOKING["simulate_info"]).msg.startswith(
        f"{STATE / name} is damaged (instructions: it is not base64"
    )
    assert module("balancer", DEPLOYED["balancer"], check=True)["changes"][0].startswith("compile the program")


def test_what_is_moved_away_is_adopted() -> None:
    for name in ("state.json", "server_ids.json", "healthcheck_destinations.json"):
        (STATE / name).write_text("{", encoding="utf-8")
        (STATE / name).unlink()
    for name in ("balancer", *RESOURCES, "healthcheck_destinations"):
        module(name, DEPLOYED[name])["changed"]
    assert not any(module(name, DEPLOYED[name])["changed"] for name in ("balancer", *RESOURCES))


def test_a_boot_tells_each_and_goes_on() -> None:
    for name in ("state.json", "decap.json", "root.json", "healthcheck.json"):
        (STATE / name).write_text("[1]", encoding="utf-8")
    code = f"from {restore.__name__} import main; raise SystemExit(main([]))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name in ("state.json", "decap.json", "root.json", "healthcheck.json"):
        assert f"katran-restore: default: {STATE / name} is damaged ([1] is not a mapping): {ADOPT}\n" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (drop("real_ids", "assigned", "10.0.0.1"), "real_ids.assigned: 10.0.0.1 is missing"),
        (
            drop("vip_numbers", "assigned", "198.51.100.1:80/tcp"),
            "vip_numbers.assigned: 198.51.100.1:80/tcp is missing",
        ),
    ],
    ids=["real", "vip"],
)
def test_other_sizes_need_the_ids_of_what_is_there(spoil: Callable[[Any], Any], fault: str) -> None:
    """Where a ring is made anew from what the file says, and the file lost a part of it."""
    damage("state.json", spoil)
    larger = {**DEPLOYED["balancer"], "sizes": {**SIZES, "ring": 2003}, "accept_rehash": True}
    message = module("balancer", larger).msg
    assert message == f"state.json of balancer default is damaged ({fault}): {ADOPT}"
