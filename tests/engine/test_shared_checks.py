# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a balancer in a slot of a root program: where program healthcheck goes, and that they take reals out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import PROG_ARRAY
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import QUICK, Service, apply, checks, slots, until, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    GATEWAY,
    SOURCES,
    compiled_once,
    ensure_balancer,
    run,
    sandbox,
)

ARRAY = f"{BPFFS}/katran/default/maps/root_array"
ROLE = SOURCES.parent / "roles/balancer"


def told(task: str, **variables: Any) -> dict[str, Any]:
    """What the role tells a module in shared mode: the arguments of this task."""
    known = {
        "balancer_instance": "default",
        "balancer_bpffs": BPFFS,
        "balancer_interfaces": [],
        "balancer_root_array": {"path": ARRAY, "position": 0},
        "balancer_agent": True,
        "balancer_told": {"checked": True, "peers": []},
        **variables,
    }
    jinja = NativeEnvironment()
    for name in ("balancer_probes", "balancer_probe_interface"):
        source = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))[name]
        known[name] = jinja.from_string(source).render(known)
    (found,) = (
        each for each in yaml.safe_load((ROLE / "tasks/agent.yml").read_text(encoding="utf-8")) if each["name"] == task
    )
    assert "when" not in found or jinja.compile_expression(found["when"])(**known)
    (arguments,) = (value for name, value in found.items() if name.startswith("katran.fleet."))
    return {
        name: jinja.from_string(arguments[name]).render(known)
        for name in ("instance", "bpffs", "interface", "root_array_path")
        if name in arguments
    }


def module(name: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    command = [sys.executable, str(SOURCES.parent / "tests/engine/run_module.py"), name]
    text = json.dumps({**arguments, "_ansible_check_mode": check})
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def attach(check: bool = False, **options: Any) -> dict[str, Any]:
    arguments = {**told("Attach the health checks"), "source_dir": BPF, **options}
    return module("healthcheck", arguments, check)


def root(*interfaces: str) -> None:
    Root("default", BPFFS).ensure(RootSettings(interfaces, "native", BPF), False, 5)


def places(*interfaces: str) -> list[str]:
    """The interfaces whose egress runs program healthcheck."""
    return [name for name in interfaces if "katran_health" in run("tc", "filter", "show", "dev", name, "egress")]


@pytest.fixture(name="routed")
def network() -> Iterator[None]:
    with sandbox("eth7", "eth8"), compiled_once():
        for number, name in enumerate(("eth7", "eth8"), 7):
            run("ip", "link", "set", name, "up")
            run("ip", "addr", "add", f"198.18.{number}.1/24", "dev", name)
            run("ip", "neigh", "add", f"198.18.{number}.254", "lladdr", GATEWAY, "dev", name)
        run("ip", "route", "add", "default", "via", "198.18.8.254")
        yield


@pytest.mark.usefixtures("routed")
class TestWhereItGoes:
    def test_towards_the_gateway_and_there_it_stays(self) -> None:
        root("eth7", "eth8")
        review = attach(check=True)
        assert places("eth7", "eth8") == []
        done = attach()
        assert done["changes"] == review["changes"]
        assert done["program"]["interface"] == "eth8"
        assert places("eth7", "eth8") == ["eth8"]
        assert attach()["changed"] is False
        # Over both, it stays where it is.
        run("ip", "route", "add", "default", "via", "198.18.7.254", "metric", "1")
        assert attach()["changed"] is False
        run("ip", "route", "del", "default", "via", "198.18.8.254")
        assert "detach healthcheck from eth8" in attach()["changes"]
        assert places("eth7", "eth8") == ["eth7"]

    def test_it_follows_the_root_program(self) -> None:
        root("eth8")
        attach()
        run("ip", "route", "replace", "default", "via", "198.18.7.254")
        root("eth7")
        assert "detach healthcheck from eth8" in attach()["changes"]
        assert places("eth7", "eth8") == ["eth7"]

    def test_a_root_program_of_somebody_else(self) -> None:
        """Its array is pinned where they like, and the program on the interface refers to it."""
        path = f"{BPFFS}/theirs"
        root("eth8")
        bpf.pin(bpf.open_pin(ARRAY), path)
        assert attach(root_array_path=path)["program"]["interface"] == "eth8"

    def test_a_root_program_that_another_calls(self) -> None:
        path = f"{BPFFS}/theirs"
        bpf.pin(bpf.create_map(PROG_ARRAY, 4, 4, 3, name="theirs"), path)
        code = bytes.fromhex("b7000000") + layout.u32(2) + bytes.fromhex("9500000000000000")
        with Interfaces() as links:
            links.replace("eth7", bpf.load_program(code, name="dispatcher"), "native", None)
        assert attach(root_array_path=path)["program"]["interface"] == "eth8"
        run("ip", "route", "del", "default")
        module("healthcheck", {"state": "absent", "instance": "default", "bpffs": BPFFS})
        assert attach(root_array_path=path)["msg"] == (
            f"interface auto: no interface has an XDP program with the array {path}, and there is no default route"
        )

    def test_an_array_that_is_none(self) -> None:
        assert f"nothing is pinned at {ARRAY}" in attach()["msg"]


def test_a_balancer_with_interfaces_has_it_on_the_first() -> None:
    own = {"balancer_interfaces": ["eth1", "eth2"], "balancer_root_array": {}}
    assert told("Attach the health checks", **own)["interface"] == "eth1"
    assert told("Tell the agent", **own)["interface"] == "eth1"


def test_a_real_that_dies_is_out_in_shared_mode() -> None:
    with sandbox(agents.LINK), compiled_once(), agents.network(2) as reals:
        agents.install()
        root(agents.LINK)
        ensure_balancer(
            "attached",
            root_array={"path": ARRAY, "position": 0},
            gateway_mac="auto",
            source_ipv4="auto",
            source_ipv6="2001:db8::250",
        )
        assert attach()["program"]["interface"] == agents.LINK
        agents.settle(interface=told("Tell the agent")["interface"])
        services = {real: Service(real) for real in reals}
        try:
            apply(vip(*reals, check=QUICK))
            whole = slots()
            with agents.agent() as agent:
                until(lambda: len(checks()) == 2 and all(each["state"] == "active" for each in checks().values()))
                services[reals[0]].kill()
                until(lambda: set(slots()) == {reals[1]})
                services[reals[0]].start()
                until(lambda: slots() == whole)
                assert agent.end() == 0
        finally:
            for each in services.values():
                each.kill()
        # A deploy without checks takes it away again.
        assert agents.settle(interface="").left
        assert Path(f"{BPFFS}/katran/default/healthcheck").exists()
