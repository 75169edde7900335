# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs that would take the host's own addresses, or its gateway's, as the kernel has them; and those of before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_balancer
from ansible_collections.katran.fleet.plugins.module_utils._kernel.own_addresses import read_addresses
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.tests.engine.host import FEATURES, SIZES, STATE, real, snapshot, vip
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, ensure_balancer, run, sandbox

OWN, OWN6, GATEWAY, ROUTER_ID = "192.0.2.10", "2001:db8:2::10", "192.0.2.1", "203.0.113.9"
VIA6 = "fe80::1"


@pytest.fixture(autouse=True)
def balancer() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{OWN}/24", "dev", "lb0")
        run("ip", "address", "add", f"{OWN6}/64", "dev", "lb0", "nodad")
        run("ip", "address", "add", f"{ROUTER_ID}/32", "dev", "lo")
        run("ip", "route", "add", "default", "via", GATEWAY)
        run("ip", "-6", "route", "add", "default", "via", VIA6, "dev", "lb0")
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


def test_what_the_kernel_says() -> None:
    found = read_addresses()
    assert set(found.own) == {OWN, OWN6, ROUTER_ID}
    assert found.loopback == (ROUTER_ID,)
    assert found.gateways == (GATEWAY, VIA6)


@pytest.mark.parametrize(
    ("address", "port", "told"),
    [
        (OWN, 0, f"this host's own address {OWN}: "),
        (OWN, 22, f"this host's own address {OWN}: "),
        ("192.0.2.8/29", 443, f"this host's own address {OWN}: "),
        ("192.0.2.0/29", 443, f"this host's gateway {GATEWAY}: "),
        (OWN6, 0, f"this host's own address {OWN6}: "),
        (ROUTER_ID, 0, f"this host's own address {ROUTER_ID}: "),
    ],
)
def test_a_vip_that_would_cut_ssh_off_takes_consent(address: str, port: int, told: str) -> None:
    before = snapshot(), STATE.read_text(encoding="utf-8")
    reals = [real("fc00::1" if ":" in address else "10.0.0.1")]
    config = [vip("198.51.100.1", real("10.0.0.1")), vip(address, *reals, port=port)]
    for check in (True, False):
        message = module("vips", {"config": config}, check=check).msg
        assert message.startswith("vips[1].address: ")
        assert f" covers {told}" in message
        assert "allow_own_addresses: true" in message
    assert (snapshot(), STATE.read_text(encoding="utf-8")) == before
    meant = {"config": config, "allow_own_addresses": True}
    assert module("vips", meant, check=True)["changes"] == module("vips", meant)["changes"]
    assert not module("vips", meant)["changed"]


def test_one_service_on_an_own_address_is_no_harm() -> None:
    assert module("vips", {"config": [vip(OWN, real("10.0.0.1"), port=443)]})["changed"]
    message = module("vips", {"config": [vip(OWN, real("10.0.0.1"), port=2222)], "ssh_port": 2222}).msg
    assert f"covers this host's own address {OWN}: " in message


def test_a_vip_that_module_decap_serves_here_is_an_own_address_for_that() -> None:
    run("ip", "address", "add", "198.51.100.5/32", "dev", "lo")
    config = {"config": [vip("198.51.100.5", real("10.0.0.1"), port=0)]}
    assert "covers this host's own address 198.51.100.5" in module("vips", config).msg
    (STATE.parent / "decap.json").write_text(json.dumps({"bpffs": BPFFS, "loopback": ["198.51.100.5"]}))
    assert module("vips", config)["changed"]


def test_a_local_real_answers_on_an_address_of_lo() -> None:
    run("ip", "address", "add", "198.51.100.5/32", "dev", "lo")
    config = {"config": [vip("198.51.100.5", real("198.51.100.5", local=True), port=0)]}
    assert module("vips", config)["changed"]


def test_what_an_earlier_version_let_in_comes_back_at_boot_and_is_told_by_the_next_run() -> None:
    module("vips", {"config": [vip("198.51.100.1", real("10.0.0.1"))]})
    file = StateFile("default", BPFFS)
    state = file.read()
    old = [
        {**state.vips[0], "address": OWN, "port": 0},
        {**state.vips[0], "reals": [{**state.vips[0]["reals"][0], "address": "169.254.1.1"}]},
    ]
    file.write(replace(state, vips=old))
    run("rm", "-r", f"{BPFFS}/katran")
    assert "vip 192.0.2.10:0/tcp: added" not in restore_balancer(file)
    assert file.read().vips == old
    module_vips = {"config": [vip("198.51.100.1", real("169.254.1.1"), port=80), vip(OWN, real("10.0.0.1"), port=0)]}
    assert module("vips", module_vips).msg == ("vips[0].reals[0].address: 169.254.1.1 is a link-local address")
    # Another VIP can be changed, and these can be taken out.
    done = module("vips", {"config": [vip("198.51.100.2", real("10.0.0.1"))]})
    assert any(f"covers this host's own address {OWN}" in str(each) for each in done["warnings"]), done.result
    gone = [{"address": each["address"], "port": each["port"], "protocol": "tcp"} for each in old]
    assert module("vips", {"config": gone, "state": "deleted"})["changed"]
