# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers on one host (docs/instances.md), as two hosts of the inventory: deployed, used, and one removed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetlab import flows, traffic, xdp_pass
from fleetlab.flows import Target
from fleetlab.plan import ROUTER, LabError
from fleetlab.runs import Fleet, on_host, recaps
from fleetlab.system import ip, network, run

VIP = "198.18.200.31"
OWN, ROUTERS = "198.18.111.2", "198.18.111.1"
INVENTORY = """
balancers:
  hosts:
    lb1-second:
      ansible_host: "lb1.{{ lab_name }}.invalid"
      katran_instance: second
      katran_interfaces: [eth2]
      # Its VIPs are the router's by a route of its own.
      katran_bgp: "{{ omit }}"
      katran_vips:
        - address: VIP
          port: 80
          protocol: tcp
          reals: "{{ groups['web'] | katran.fleet.reals(family='ipv4') }}"
          check: {type: http, path: /}
"""


@pytest.fixture
def second_link(fleet: Fleet) -> Iterator[None]:
    """Another link between lb1 and the router, by which packets for the second balancer's VIP come."""
    lab = fleet.lab
    host = lab.host("lb1")
    here, router = lab.namespace(host), lab.namespace(ROUTER)
    ip([f"link add r-second mtu 1600 netns {router} type veth peer name eth2 mtu 1600 netns {here}"])
    off = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
    with network(lab.namespace_path(host)):
        run(["ethtool", "-K", "eth2", *off])
        ip([f"addr add {OWN}/24 dev eth2", "link set eth2 up", f"route add default via {ROUTERS} dev eth2 metric 9"])
    with network(lab.namespace_path(ROUTER)):
        run(["ethtool", "-K", "r-second", *off])
        ip([f"addr add {ROUTERS}/24 dev r-second", "link set r-second up", f"route add {VIP} via {OWN}"])
        program = xdp_pass.load()
        xdp_pass.attach(program, "r-second")
        os.close(program)
    yield
    ip(["link del r-second"], router)


def asked(fleet: Fleet, count: int) -> set[str]:
    """Which reals answer at the second balancer's VIP."""

    def one() -> str:
        connection = flows.Connection(Target(VIP, 80, "tcp"))
        try:
            return connection.ask()
        finally:
            connection.close()

    with network(fleet.lab.namespace_path(fleet.lab.host("client"))):
        return {one() for _ in range(count)}


@pytest.mark.usefixtures("second_link")
def test_two_balancers_of_a_host_and_the_end_of_one(fleet: Fleet, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text(INVENTORY.replace("VIP", VIP))
    both = ("-i", str(more))
    try:
        first = fleet.deploy(None, *both)
        assert first["lb1"].changed == first["lb2"].changed == 0
        assert first["lb1-second"].changed > 0
        again = fleet.deploy(None, *both, "--limit", "lb1,lb1-second")
        assert {host: counts.changed for host, counts in again.items()} == dict.fromkeys(again, 0)
        assert asked(fleet, 30) == {"real1", "real2", "real3"}
        status = json.loads(on_host(fleet.lab, "lb1", "katran status --json"))
        assert {each["instance"]: each["loaded"] for each in status["balancers"]} == {"default": True, "second": True}
        assert VIP not in on_host(fleet.lab, "lb1", "cat /etc/bird/bird.conf")
        for report in traffic.send(fleet.lab, fleet.vips(), 200):
            assert report.unanswered == []
            assert report.astray == []
        # One of the two that cannot be told from the other is refused before any host is reached.
        with pytest.raises(LabError, match="katran_instance default is that of lb1, which is on the same host"):
            fleet.playbook("katran.fleet.deploy", None, *both, "-e", "katran_instance=default")
    finally:
        gone = fleet.ansible(
            "ansible-playbook",
            "katran.fleet.remove",
            *both,
            "--limit",
            "lb1-second",
            "-e",
            "remove_confirmed=true",
        )
        # The whole fleet: a run without balancers leaves to reals what those may still send.
        last = fleet.deploy()
    assert gone.returncode == 0, gone.stdout
    assert recaps(gone.stdout)["lb1-second"].changed > 0
    left = on_host(fleet.lab, "lb1", "ls /var/lib/katran-fleet; systemctl is-active bird katran-agent; katran status")
    assert "second" not in left
    assert left.count("active") >= 2
    assert "xdp" not in on_host(fleet.lab, "lb1", "ip link show dev eth2")
    assert last["lb1"].changed == last["lb2"].changed == 0
    for report in traffic.send(fleet.lab, fleet.vips(), 200):
        assert report.unanswered == []
