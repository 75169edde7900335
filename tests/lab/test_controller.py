# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests/bench/fleet.py stands on: inventories of any size; CPU counted by groups that go with the laboratory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetlab import cgroup, lifecycle
from fleetlab.fleet import read_vips
from fleetlab.names import BESIDE
from fleetlab.plan import PROJECT, Lab, hosts_of
from fleetlab.runs import Recap, recaps
from fleetlab.system import Progress

sys.path.insert(0, str(PROJECT / "tests" / "bench"))

import fleet_inventory

# Uses a second of CPU in a process of another session, which outlives its parent, as ssh's masters do.
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while time.process_time() < 1: pass
    os._exit(0)
"""


@pytest.fixture
def plan() -> Iterator[Lab]:
    """A laboratory of no hosts, which has groups alone."""
    lab = Lab(BESIDE, ())
    lifecycle.down(lab, Progress(lab.prefix))
    lab.directory.mkdir(parents=True)
    yield lab
    lifecycle.down(lab, Progress(lab.prefix))


def start_in(group: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(group), *command])


def test_cpu_of_a_daemon_counts_and_that_of_another_group_does_not(plan: Lab) -> None:
    group, other = (cgroup.beside(plan, f"controller/{name}") for name in ("one", "other"))
    with start_in(group, sys.executable, "-c", DAEMON):
        pass
    end = time.monotonic() + 60
    while cgroup.populated(group):
        assert time.monotonic() < end
        time.sleep(0.01)
    # The interpreter's own start is in it.
    assert 1 <= cgroup.cpu_seconds(group) < 1.5
    assert cgroup.cpu_seconds(other) == 0
    assert cgroup.cpu_seconds(group.parent) == cgroup.cpu_seconds(group)


def test_down_ends_what_works_beside_the_hosts(plan: Lab) -> None:
    group = cgroup.beside(plan, "controller/one")
    with start_in(group, "sleep", "600") as process:
        while not cgroup.populated(group):
            time.sleep(0.01)
        lifecycle.down(plan, Progress(plan.prefix))
        assert process.wait(timeout=20) == -9
    assert not group.parent.parent.exists()


@pytest.mark.parametrize("vips", [4, 4 + 7])
def test_an_inventory_of_any_size(tmp_path: Path, vips: int) -> None:
    hosts = tuple(host for host in hosts_of(4, 6) if host.role in {"balancer", "real"})
    found = read_vips(fleet_inventory.write(tmp_path / "inventory", hosts, vips, tmp_path), "kfu")
    assert len({vip.target for vip in found}) == len(found) == vips
    lab = read_vips(PROJECT / "inventories/lab", "kfu")
    assert [vip.target for vip in found[: len(lab)]] == [vip.target for vip in lab]
    for vip in found:
        reals = [host for host in hosts if host.role == "real"]
        assert list(vip.weights) == [host.ipv6 if ":" in vip.target.address else host.ipv4 for host in reals]
        assert list(vip.weights.values()) == [3, 2, 1, 3, 2, 1]


def test_balancers_are_told_their_gateways(tmp_path: Path) -> None:
    gateways = {"lb1": "02:00:00:00:00:01", "real1": "02:00:00:00:00:02"}
    written = fleet_inventory.write(tmp_path / "inventory", hosts_of(2, 1)[2:], 4, tmp_path, gateways)
    groups = json.loads(written.read_text())["all"]["children"]
    assert groups["balancers"]["hosts"] == {"lb1": {"katran_gateway_mac": gateways["lb1"]}, "lb2": {}}
    assert "katran_gateway_mac" not in json.dumps(groups["reals"])


def test_an_inventory_reaches_its_hosts_as_the_laboratorys_own_does(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    hosts = fleet_inventory.write(tmp_path / "inventory", hosts_of(1, 1)[2:], 4, group)
    text = (hosts.parent / "group_vars/all/connection.yml").read_text()
    original = (PROJECT / "inventories/lab/group_vars/all/connection.yml").read_text()
    assert text == original.replace("{{ inventory_dir }}/../../tests/lab/lab", "{{ inventory_dir }}/proxy")
    done = subprocess.run(
        [hosts.parent / "proxy", "proxy", "example.org", "22"], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith("lab: example.org is no host of a laboratory")
    assert (group / "cgroup.procs").read_text() == "0\n"


def test_counts_at_the_end_of_a_run() -> None:
    output = (
        "PLAY RECAP ****\n"
        "lb1    : ok=15   changed=0    unreachable=0    failed=0    skipped=4    rescued=0    ignored=0\n"
        "real10 : ok=17   changed=2    unreachable=1    failed=3    skipped=1    rescued=0    ignored=0\n"
    )
    assert recaps(output) == {"lb1": Recap(15, 0, 0, 0, 4), "real10": Recap(17, 2, 1, 3, 1)}
