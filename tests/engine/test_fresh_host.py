# SPDX-License-Identifier: GPL-3.0-or-later
"""A host where nothing was ever installed or loaded: reviews of what would be done, and what is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.tests.engine.host import (
    RESOURCES,
    SIZES,
    module,
    pins,
    vip,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    GATEWAY,
    run,
    sandbox,
)

BALANCER: dict[str, Any] = {
    "interfaces": ["lb0"],
    "gateway_mac": GATEWAY,
    "source_dir": BPF,
    "source_ipv4": "192.0.2.250",
    "source_ipv6": "2001:db8:2::250",
    "sizes": SIZES,
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with sandbox("lb0"):
        yield
        assert pins() == []
        assert not Path(STATE_ROOT).exists()


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_needs_a_balancer(name: str) -> None:
    sentence = "balancer default is not loaded on this host: run module katran.fleet.balancer first"
    assert module(name, {"config": world()[name]}).msg == sentence


def test_a_review_of_vips() -> None:
    outcome = module("vips", {"config": world()["vips"], "state": "overridden"}, check=True, diff=True)
    assert outcome["changed"] is True
    assert outcome["changes"][0] == "vip 198.51.100.1:80/tcp: added with 2 reals"
    # Planned for the default sizes.
    assert outcome["operations"]["ch_rings"] == 5 * 65537
    shown = outcome["diff"][1]
    assert shown["before"] == ""
    assert shown["after"]["address"] == "198.51.100.1"


@pytest.mark.parametrize("name", ["source_routes", "server_ids", "decap_destinations"])
def test_a_review_of_tables(name: str) -> None:
    outcome = module(name, {"config": world()[name], "state": "overridden"}, check=True)
    assert outcome["changed"] is True
    assert len(outcome["changes"]) == 2


def test_a_review_of_the_balancer() -> None:
    outcome = module("balancer", BALANCER, check=True, diff=True)
    assert outcome["changed"] is True
    assert outcome["msg"].startswith("would: create ")
    assert "compile the program" in " ".join(outcome["changes"])
    assert "attach to lb0 in native mode" in outcome["changes"]


def test_bad_input_is_told_in_a_review_as_well() -> None:
    assert module("vips", {"config": [vip("10.0.0")]}, check=True).msg == (
        "vips[0].address: 10.0.0 is not an IP address"
    )


@pytest.mark.parametrize("name", [*RESOURCES, "balancer"])
def test_no_bpffs(name: str) -> None:
    run("umount", BPFFS)
    arguments = BALANCER if name == "balancer" else {"config": world()[name]}
    sentence = f"bpffs: {BPFFS} is not a bpf file system on this host (mount -t bpf bpf {BPFFS})"
    assert module(name, arguments).msg == sentence


def test_a_bpffs_that_is_no_path() -> None:
    assert module("vips", {"bpffs": "/nowhere", "config": []}).msg == (
        "bpffs: /nowhere is not a bpf file system on this host (mount -t bpf bpf /nowhere)"
    )


def test_no_bcc() -> None:
    hide("bcc")
    assert module("balancer", BALANCER).msg == (
        "the Python module bcc is missing on this host (Debian and Ubuntu: package python3-bpfcc)"
    )


@pytest.mark.parametrize("name", [*RESOURCES, "balancer"])
def test_no_netaddr(name: str) -> None:
    """A run needs it; a review of a host where the role would install it does not."""
    hide("netaddr")
    # A folder with nothing in it is a package that can be imported.
    Path("/run/empty/__init__.py").write_text("raise ModuleNotFoundError\n")
    arguments = BALANCER if name == "balancer" else {"config": world()[name]}
    # Not .msg: Ansible's own look for another interpreter is loud on the standard error output.
    assert module(name, arguments).result["msg"] == (
        "the Python module netaddr is missing on this host (Debian and Ubuntu: package python3-netaddr)"
    )
    assert module(name, arguments, check=True)["changed"] is True


def test_a_review_plans_for_what_the_same_play_makes() -> None:
    planned = {"features": ["cidr_vips"], "sizes": {"vips": 600}}
    config = [vip(f"198.18.{number // 250}.{number % 250 + 1}") for number in range(599)] + [vip("203.0.113.0/24")]
    options = {"config": config, "state": "overridden"}
    assert module("vips", options, check=True).msg == "vips: 600 VIPs, but sizes.vips is 512"
    assert module("vips", {**options, "planned": planned}, check=True)["changed"] is True
    small = {"planned": {"features": [], "sizes": {}}, "config": [vip("203.0.113.0/24")]}
    assert module("vips", small, check=True).msg == (
        "vips[0].address: 203.0.113.0/24 is a prefix, which needs feature cidr_vips"
    )


def test_no_pyroute2() -> None:
    hide("pyroute2")
    assert module("balancer", BALANCER).msg == (
        "the Python module pyroute2 is missing on this host (Debian and Ubuntu: package python3-pyroute2)"
    )


def test_no_such_interface() -> None:
    assert module("balancer", {**BALANCER, "interfaces": ["nope0"]}).msg == (
        "interface nope0 does not exist on this host"
    )


def test_no_such_sources() -> None:
    message = module("balancer", {**BALANCER, "source_dir": "/nowhere"}).msg
    assert message == "source_dir /nowhere cannot be read: No such file or directory"


def test_settings_that_are_none() -> None:
    arguments = {**BALANCER, "sizes": {"ring": 1000, "reals": 1}, "gue_port": 0, "gateway_mac": "x"}
    faults = module("balancer", arguments).msg.split("; ")
    assert "sizes.ring: 1000 is not a prime" in faults
    assert "gue_port: 0 is not in 1 to 65535" in faults
    assert "gateway_mac: x is neither auto nor a unicast MAC address" in faults


def hide(name: str) -> None:
    """Hide one of Debian's Python packages behind an empty folder of this sandbox's."""
    [package] = [path for path in sys.path if Path(path, name, "__init__.py").exists()]
    empty = Path("/run/empty")
    empty.mkdir()
    run("mount", "--bind", str(empty), f"{package}/{name}")
