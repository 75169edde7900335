# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input, through the modules as Ansible runs them: one clear sentence that names the entry, and nothing changed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    RESOURCES,
    SIZES,
    STATE,
    apply,
    module,
    module_here,
    pins,
    real,
    snapshot,
    state_files,
    vip,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    GATEWAY,
    compiled_once,
    ensure_balancer,
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
ROOTLESS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""A command's prefix: still uid 0, but without any capability."""

SEVERAL = (
    "vips[0].address: 10.0.0 is not an IP address; vips[0].port: -1 is not a port (0 to 65535);"
    " vips[1].reals[0].address: x is not an IP address"
)


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        for resource in RESOURCES:
            apply(resource, world()[resource])
        yield


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = snapshot(), pins(), state_files(), STATE.read_text(encoding="utf-8")
    yield
    assert (snapshot(), pins(), state_files(), STATE.read_text(encoding="utf-8")) == before


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([vip("10.0.0", real("10.0.0.1"))], "vips[0].address: 10.0.0 is not an IP address"),
        (
            [vip("198.51.100.5"), vip("198.51.100.6", real("10.0.0.1"), real("10.0.0.010"))],
            "vips[1].reals[1].address: 10.0.0.010 is not an IP address",
        ),
        (
            [vip("198.51.100.5"), vip("198.51.100.5")],
            "vips[1]: 198.51.100.5:80/tcp is listed twice (also vips[0])",
        ),
        (
            [vip("2001:db8::5", real("fc00::1"), real("10.0.0.1"))],
            "vips[0].reals[1].address: 10.0.0.1 is IPv4, but the VIP 2001:db8::5 is IPv6",
        ),
        ([vip("198.51.100.5", port=70000)], "vips[0].port: 70000 is not a port (0 to 65535)"),
        (
            [vip("198.51.100.5", real("10.0.0.1", 10001))],
            "vips[0].reals[0].weight: 10001 is not a weight (0 to 10000)",
        ),
        (
            [vip("198.51.100.5/24")],
            "vips[0].address: 198.51.100.5/24 has host bits set; the network is 198.51.100.0/24",
        ),
        ([vip("198.51.100.5", flags=["global_lru"])], "vips[0].flags: global_lru needs feature global_lru"),
        (
            [vip("10.0.0", port=-1), vip("198.51.100.5", real("x"))],
            SEVERAL,
        ),
        ([vip("198.51.100.5", port=port) for port in range(1, 18)], "vips: 17 VIPs, but sizes.vips is 16"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_vips(config: list[dict[str, Any]], sentence: str, check: bool) -> None:
    assert module_here("vips", {"config": config, "state": "overridden"}, check=check).msg == sentence


@pytest.mark.parametrize("check", [False, True])
def test_too_few_active_reals(check: bool) -> None:
    config = [
        vip("198.51.100.5", real("10.0.0.1"), real("10.0.0.2")),
        vip("198.51.100.6", real("10.0.0.1"), real("10.0.0.2", 0)),
        vip("198.51.100.7", real("10.0.0.1"), {"address": "10.0.0.2", "state": "down"}),
    ]
    assert module_here("vips", {"config": config, "min_active": 2}, check=check).msg == (
        "vips[1].reals: 198.51.100.6:80/tcp has 1 active, but min_active is 2; "
        "vips[2].reals: 198.51.100.7:80/tcp has 1 active, but min_active is 2"
    )


@pytest.mark.parametrize("check", [False, True])
def test_unready_reals(check: bool) -> None:
    sentence = "unready_reals[0]: 10.0.0 is not an IP address"
    for name in ("vips", "source_routes", "server_ids"):
        assert module_here(name, {"unready_reals": ["10.0.0"]}, check=check).msg == sentence


def test_twenty_faults_and_the_rest_counted() -> None:
    config = [vip("10.0.0", port=port) for port in range(23)]
    sentences = module_here("vips", {"config": config}).msg.split("; ")
    assert sentences[:20] == [f"vips[{number}].address: 10.0.0 is not an IP address" for number in range(20)]
    assert sentences[20:] == ["and 3 more"]


@pytest.mark.parametrize(
    ("name", "config", "sentence"),
    [
        (
            "reals",
            [{"address": "10.0.0.256", "state": "down"}],
            "reals[0].address: 10.0.0.256 is not an IP address",
        ),
        ("reals", [{"address": "10.0.0.1"}], "reals[0].state: is missing"),
        (
            "source_routes",
            [{"prefix": "192.0.2.1/24", "real": "10.0.0.1"}],
            "source_routes[0].prefix: 192.0.2.1/24 has host bits set; the network is 192.0.2.0/24",
        ),
        (
            "source_routes",
            [{"prefix": "2001:db8::/32", "real": "10.0.0.1"}],
            "source_routes[0].real: 10.0.0.1 is IPv4, but the prefix 2001:db8::/32 is IPv6",
        ),
        (
            "server_ids",
            [{"id": 3000, "real": "10.0.0.1"}],
            "server_ids[0].id: 3000 is not a server id (1 to 2999; feature server_id_hash allows more)",
        ),
        (
            "server_ids",
            [{"id": 1, "real": "10.0.0.1"}, {"id": 1, "real": "10.0.0.2"}],
            "server_ids[1].id: 1 leads to 10.0.0.1 and to 10.0.0.2",
        ),
        (
            "decap_destinations",
            [{"address": "224.0.0.1"}],
            "decap_destinations[0].address: 224.0.0.1 is not a unicast address",
        ),
    ],
)
def test_tables(name: str, config: list[dict[str, Any]], sentence: str) -> None:
    assert module_here(name, {"config": config}).msg == sentence


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("state", ["overridden", "deleted"])
def test_everything_is_removed_only_when_asked_for(name: str, state: str) -> None:
    assert module_here(name, {"state": state}).msg == (
        f"config: state {state} with an empty or absent config would remove every entry of {name}:"
        " give allow_empty: true if that is meant"
    )


def test_an_instance_that_is_none() -> None:
    message = module_here("vips", {"instance": "../../etc", "config": []}).msg
    assert message.startswith("instance: '../../etc' must begin with a lower case letter or digit")


@pytest.mark.parametrize("name", [*RESOURCES, "balancer_info"])
def test_another_instance_is_not_loaded(name: str) -> None:
    before = sorted(os.listdir(STATE_ROOT))
    arguments = {"instance": "green"} if name == "balancer_info" else {"instance": "green", "config": []}
    sentence = "balancer green is not loaded on this host: run module katran.fleet.balancer first"
    assert module_here(name, arguments).msg == sentence
    assert sorted(os.listdir(STATE_ROOT)) == before


@pytest.mark.parametrize("name", [*RESOURCES, "balancer", "balancer_info"])
def test_without_capabilities(name: str) -> None:
    arguments = {"balancer": BALANCER, "balancer_info": {}}.get(name, {"config": world().get(name)})
    assert module(name, arguments, prefix=ROOTLESS).msg == (
        "not enough privilege: CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF missing in this process (uid 0);"
        " use become, or grant them"
    )


def test_the_lock_of_another_run() -> None:
    descriptor = os.open(f"{LOCK_ROOT}/default.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert module("balancer", {**BALANCER, "features": FEATURES, "lock_timeout": 0}).msg == (
            f"balancer default is locked by another run (pid {os.getpid()}): waited 0 s (lock_timeout)"
        )
    finally:
        os.close(descriptor)


def test_an_interface_that_is_not_there() -> None:
    message = module_here("balancer", {**BALANCER, "features": FEATURES, "interfaces": ["lb0", "nope0"]}).msg
    assert message == "interface nope0 does not exist on this host"


def test_another_bpffs(tmp_path: Path) -> None:
    run("mount", "-t", "bpf", "bpf", str(tmp_path))
    try:
        assert module_here("vips", {"bpffs": str(tmp_path), "config": []}).msg == (
            f"balancer default lives in the bpffs /sys/fs/bpf, not in {tmp_path}:"
            " give that as bpffs, or remove the balancer first"
        )
    finally:
        run("umount", str(tmp_path))


@pytest.mark.parametrize("loose", [True, "1_0"])
@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("revert", {"to": None}, "to"),
        ("drain", {"wait": None}, "wait"),
        ("flows_info", {"limit": None}, "limit"),
        ("bgp", {"table": None, "config": {"as": 65001, "neighbors": []}}, "table"),
        ("vips", {"config": [], "max_probes": None}, "max_probes"),
    ],
)
def test_what_is_no_number_but_python_takes_for_one(
    name: str, options: dict[str, Any], where: str, loose: bool | str
) -> None:
    assert module_here(name, {**options, where: loose}).msg.startswith(f"{where}: {loose} is not a ")


def test_numbers_of_entries_that_python_takes_for_one() -> None:
    told = module_here("vips", {"config": [{**vip("198.51.100.9"), "port": "8_0"}]})
    assert told.msg == "config[0].port: 8_0 is not a whole number"
    told = module_here("host", {"real": {"interfaces": ["lb0"], "mss": True}})
    assert told.msg.startswith("real.mss: True is not a whole number")
