# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are removed leave nothing, and say so where an interface is out of reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.tests.engine.host import SIZES
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, GATEWAY, compiled_once, run, sandbox

ARRAY = f"{BPFFS}/katran/default/maps/root_array"
PROGRAMS: dict[str, dict[str, Any]] = {
    "balancer": {"interfaces": ["lb0"], "gateway_mac": GATEWAY, "source_dir": BPF, "sizes": SIZES},
    "decap": {"interfaces": ["lb0"], "vips": ["198.51.100.77", "2001:db8::77"], "source_dir": BPF},
    "xdp_root": {"interfaces": ["lb0"], "source_dir": BPF},
    "healthcheck": {"interface": "lb0", "gateway_mac": GATEWAY, "source_ipv4": "192.0.2.7", "source_dir": BPF},
}
AWAY = {
    **{
        name: "interface lb0 does not exist on this host: where it moved to another network namespace, program"
        f" {program} may still run there (ip -n NAMESPACE link set lb0 xdp off)"
        for name, program in (("balancer", "balancer"), ("decap", "decap"), ("xdp_root", "root"))
    },
    "healthcheck": "interface lb0 does not exist on this host: where it moved to another network namespace, its qdisc"
    " and filter stay",
}


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        yield


def remains() -> list[str]:
    """Everything of ours that the host still has."""
    places = (f"{BPFFS}/katran", f"{STATE_ROOT}/default", f"{LOCK_ROOT}/default.lock")
    found = [path for path in places if os.path.lexists(path)]
    links, local = run("ip", "-d", "link"), run("ip", "address", "show", "dev", "lo")
    found += [word for word in ("prog/xdp", "198.51.100.77", "2001:db8::77") if word in links + local]
    return found + (["clsact"] if "clsact" in run("tc", "qdisc") else [])


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_stays(name: str) -> None:
    module(name, PROGRAMS[name])["changed"]
    assert remains()
    review = module(name, {"state": "absent"}, check=True)
    done = module(name, {"state": "absent"})
    assert review["changes"] == done["changes"] != []
    assert remains() == []
    for check in (True, False):
        assert module(name, {"state": "absent"}, check=check)["changed"] is False
    # The last review needed a lock to look.
    assert set(remains()) <= {f"{LOCK_ROOT}/default.lock"}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("away", ["moved", "gone"])
def test_an_interface_out_of_reach_is_told(name: str, away: str) -> None:
    module(name, PROGRAMS[name])["changed"]
    if away == "moved":
        run("ip", "netns", "add", "elsewhere")
        run("ip", "link", "set", "lb0", "netns", "elsewhere")
    else:
        run("ip", "link", "del", "lb0")
    review = module(name, {"state": "absent"}, check=True)
    done = module(name, {"state": "absent"})
    assert review["changes"] == done["changes"]
    for answer in (review, done):
        assert AWAY[name] in str(answer["warnings"])
    assert [each for each in remains() if each != "clsact"] == []
    assert "warnings" not in module(name, {"state": "absent"}).result
