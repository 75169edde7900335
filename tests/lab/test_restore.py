# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer comes back by its unit alone, from what it keeps on its disk."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fleetlab import traffic
from fleetlab.runs import Fleet, on_host

FLOWS_PER_VIP = 250
INFO = {"gather": ["vips", "counters", "server_ids"]}


def rings(fleet: Fleet, host: str) -> str:
    """A digest of every ring slot, taken on the host."""
    code = (
        "import hashlib, mmap, sys; sys.path.insert(0, '/usr/lib/katran-fleet');"
        "from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf as k;"
        "m = k.open_map('/sys/fs/bpf/katran/default/maps/ch_rings').mmap(False);"
        "print(hashlib.sha256(m).hexdigest())"
    )
    return on_host(fleet.lab, host, f'python3 -c "{code}"')


def resources(fleet: Fleet, host: str) -> str:
    info: dict[str, Any] = fleet.module(host, "katran.fleet.balancer_info", INFO)[host]
    ids = {real["address"]: real["id"] for real in info["counters"]["reals"]}
    return hashlib.sha256(json.dumps([ids, info["vips"], info["server_ids"]]).encode()).hexdigest()


def all_answered(fleet: Fleet) -> None:
    for report in traffic.send(fleet.lab, fleet.vips(), FLOWS_PER_VIP):
        assert not report.unanswered, report.vip
        assert not report.retried, report.vip


def test_the_unit_restores_ids_rings_and_traffic(fleet: Fleet) -> None:
    before = rings(fleet, "lb1"), resources(fleet, "lb1")
    on_host(fleet.lab, "lb1", "ip link set dev eth1 xdp off; rm -r /sys/fs/bpf/katran; ls /sys/fs/bpf")
    on_host(fleet.lab, "lb1", "systemctl restart katran-restore.service")
    assert (rings(fleet, "lb1"), resources(fleet, "lb1")) == before
    counted = fleet.received_packets("lb1")
    all_answered(fleet)
    assert fleet.received_packets("lb1") > counted
    result = fleet.module("lb1", "katran.fleet.vips", {"config": fleet.config(checks=True), "state": "overridden"})[
        "lb1"
    ]
    assert result["changed"] is False, result["changes"]


def test_the_unit_needs_no_compiler(fleet: Fleet) -> None:
    """The package that holds bcc may be gone: what restores is the kept bytecode."""
    hide = "mount --bind /var/empty-bcc /usr/lib/python3/dist-packages/bcc"
    on_host(fleet.lab, "lb2", f"mkdir -p /var/empty-bcc && {hide}")
    try:
        on_host(
            fleet.lab,
            "lb2",
            "ip link set dev eth1 xdp off; rm -r /sys/fs/bpf/katran; systemctl restart katran-restore.service",
        )
        all_answered(fleet)
    finally:
        on_host(fleet.lab, "lb2", "umount /usr/lib/python3/dist-packages/bcc; rmdir /var/empty-bcc")


def test_the_unit_comes_before_the_routing_daemon(fleet: Fleet) -> None:
    order = on_host(fleet.lab, "lb1", "systemctl show --property=Before --value katran-restore.service")
    assert {"bird.service", "frr.service"} <= set(order.split())
    # "linked" would be a unit that no boot starts.
    assert on_host(fleet.lab, "lb1", "systemctl is-enabled katran-restore.service").strip() == "enabled"


def test_a_real_comes_back_too(fleet: Fleet) -> None:
    on_host(
        fleet.lab, "real1", "ip link set dev eth1 xdp off; rm -r /sys/fs/bpf/katran; ip addr del 198.18.200.1/32 dev lo"
    )
    on_host(fleet.lab, "real1", "systemctl restart katran-restore.service")
    all_answered(fleet)
