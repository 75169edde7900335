# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers on one host, with one agent: each has its interface, its VIP, its real and its checks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import ensure_agent, remove_agent
from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._model.marks import is_ours
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import (
    OTHER_VIP,
    QUICK,
    ROUTER,
    VIP,
    Service,
    in_namespace,
    until,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    compiled_once,
    ensure_balancer,
    put_other,
    run,
    sandbox,
)

ARRAY = f"{BPFFS}/katran/default/maps/root_array"
LINKS = {"default": "lb0", "east": "lb1"}
VIPS = {"default": VIP, "east": OTHER_VIP}
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 80), 1).recv(1)"


def balance(instance: str, real: str, asks_by: str, slot: int | None = None) -> None:
    """A balancer with one VIP over one real, which it asks through an interface; in a slot of a root program or not."""
    ensure_balancer(
        "attached",
        instance,
        interfaces=[LINKS[instance]] if slot is None else [],
        root_array=None if slot is None else {"path": ARRAY, "position": slot},
        features=["chain"] if slot == 0 else [],
        gateway_mac="auto",
        source_ipv4="auto",
        source_ipv6="2001:db8::250",
    )
    params = {
        **dict.fromkeys(("source_ipv4", "source_ipv6", "source_mac", "gateway_mac"), "auto"),
        "interface": asks_by,
        "encapsulation": "ipip",
        "gue_port": 6080,
        "max_frame": 1514,
        "counted_vips": [],
        "source_dir": BPF,
    }
    Healthcheck(instance, BPFFS).ensure(parse_healthcheck(params), False, 5)
    settings = {name: option.get("default") for name, option in AGENT.items()}
    request = Request(instance, BPFFS, 10, False)
    ensure_agent(request, parse_agent({**settings, "interface": asks_by}))
    vip = agents.vip(real, address=VIPS[instance], check={**QUICK, "min_healthy": 0})
    apply_resource("vips", request, Asked([vip], "overridden"))


@contextmanager
def host() -> Iterator[tuple[dict[str, Service], agents.Agent]]:
    """A host with two links to a router, and an agent; what serves at each real."""
    with sandbox(*LINKS.values()), compiled_once(), ExitStack() as stack:
        for link in LINKS.values():
            # A veth sends what a program sent back only where its peer has a program as well.
            put_other(f"{link}-peer")
            # Nor can a checksum that the card were to finish be finished inside a tunnel.
            run("ethtool", "-K", f"{link}-peer", "tx", "off")
        reals = stack.enter_context(agents.network(2))
        run("ip", "link", "set", "lb1-peer", "netns", ROUTER)
        run("ip", "addr", "add", "198.18.8.1/24", "dev", "lb1")
        run("ip", "route", "add", "default", "via", "198.18.8.254", "dev", "lb1", "metric", "9")
        in_namespace(ROUTER, "ip", "addr", "add", "198.18.8.254/24", "dev", "lb1-peer")
        in_namespace(ROUTER, "ip", "link", "set", "lb1-peer", "up")
        for link in LINKS.values():
            # Tunnels come from addresses to which no route leads.
            in_namespace(ROUTER, "sysctl", "-qw", f"net.ipv4.conf.{link}-peer.rp_filter=0")
        for instance, via in (("default", agents.OWN), ("east", "198.18.8.1")):
            in_namespace(ROUTER, "ip", "route", "add", VIPS[instance], "via", via)
        agents.install()
        services = {each: Service(each) for each in reals}
        for each in services.values():
            stack.callback(each.kill)
        yield services, stack.enter_context(agents.agent())


def states(instance: str) -> dict[str, str]:
    """Real → what the agent knows of it."""
    try:
        found = json.loads(Path(f"/run/katran-fleet/{instance}/checks.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {each["real"]: each["state"] for each in found["targets"]}


def marks(instance: str) -> dict[int, str]:
    """The agent's marks of a balancer, and where they lead."""
    with KernelMaps(f"{BPFFS}/katran/{instance}/maps") as maps:
        found = {layout.parse_u32(key): value for key, value in maps.entries("hc_reals_map").items()}
    return {mark: layout.unpack_address(value[:16], False) for mark, value in found.items() if is_ours(mark)}


def answers(instance: str) -> bool:
    """Whether a client behind the router gets a connection to the balancer's VIP."""
    try:
        in_namespace(ROUTER, sys.executable, "-c", ASK, VIPS[instance])
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize("shared", [False, True], ids=["an interface each", "one for probes"])
def test_each_asks_its_own_reals_and_what_happens_to_one_leaves_the_other_alone(shared: bool) -> None:
    with host() as (services, agent):
        reals = dict(zip(LINKS, services, strict=True))
        for instance, real in reals.items():
            balance(instance, real, "lb0" if shared else LINKS[instance])
        for instance, real in reals.items():
            until(lambda instance=instance, real=real: states(instance) == {real: "active"})
            until(lambda instance=instance: answers(instance), 5.0)
            assert set(marks(instance).values()) == {real}
        assert not set(marks("default")) & set(marks("east"))
        # A real dies: its own balancer sees it, and the other's real stays where it is.
        for instance, other in [("default", "east"), ("east", "default")][: 2 if shared else 1]:
            services[reals[instance]].kill()
            until(lambda instance=instance: states(instance) == {reals[instance]: "down"})
            time.sleep(0.5)
            assert states(other) == {reals[other]: "active"}
            assert answers(other)
            services[reals[instance]].start()
            until(lambda instance=instance: states(instance) == {reals[instance]: "active"})
        until(lambda: set(agents.routes()) == set(VIPS.values()))
        # One goes; what it had is gone, and nothing of the other.
        before = marks("default")
        remove_agent(Request("east", BPFFS, 10, False))
        Healthcheck("east", BPFFS).remove(False, 10)
        Balancer("east", BPFFS).remove(False, 10)
        assert set(agents.routes()) == {VIP}
        assert marks("default") == before
        assert states("default") == {reals["default"]: "active"}
        assert answers("default")
        assert not answers("east")
        assert not Path("/run/katran-fleet/east").exists()
        assert agent.end() == 0


def test_two_on_one_interface() -> None:
    """In slots of a root program: what is not for the first goes on to the second, whichever is there first."""
    with host() as (services, agent):
        Root("default", BPFFS).ensure(RootSettings(("lb0",), "native", BPF), False, 5)
        in_namespace(ROUTER, "ip", "route", "replace", OTHER_VIP, "via", agents.OWN)
        reals = dict(zip(LINKS, services, strict=True))
        for slot, (instance, real) in enumerate(reals.items()):
            balance(instance, real, "lb0", slot)
        for instance, real in reals.items():
            until(lambda instance=instance, real=real: states(instance) == {real: "active"})
            until(lambda instance=instance: answers(instance), 5.0)
        # A program that is replaced, of either, is followed.
        for instance in reversed(LINKS):
            slot = int(instance == "east")
            features = ["vlan", *(["chain"] if slot == 0 else [])]
            place = {"path": ARRAY, "position": slot}
            ensure_balancer("attached", instance, root_array=place, features=features, gateway_mac="auto")
            assert answers("default")
            assert answers("east")
        Balancer("east", BPFFS).remove(False, 10)
        assert answers("default")
        assert not answers("east")
        balance("east", reals["east"], "lb0", 1)
        assert answers("east")
        # The first one goes, and the second has it all.
        Balancer("default", BPFFS).remove(False, 10)
        assert answers("east")
        assert agent.end() == 0
