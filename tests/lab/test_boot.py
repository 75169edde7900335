# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer and a real after a power cut: traffic, units, and what the kernel forgot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from fleetlab import traffic
from fleetlab.runs import TOOL, Fleet, on_host
from fleetlab.system import run

MORE = {"katran_real_mtu": 1580, "katran_real_mss": 1400}
VIPS = ("198.18.200.1", "fd6b:6174:7261:200::1")
RESTORE, WATCH, AGENT = "katran-restore.service", "katran-watch.service", "katran-agent.service"
WATCHES = {"lb1": AGENT, "real1": WATCH}
# The network outlives a host of the laboratory: what a machine forgets when it loses its power is spoiled by hand.
FORGET_REAL = (
    "ip link set eth1 xdp off; ip link set eth1 mtu 1500; nft delete table inet katran_fleet;"
    " sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0 net.ipv4.conf.eth1.rp_filter=1;"
    " ip address del 198.18.200.1/32 dev lo; ip address del fd6b:6174:7261:200::1/128 dev lo"
)


def value(fleet: Fleet, host: str, name: str) -> str:
    return on_host(fleet.lab, host, f"cat /proc/sys/net/ipv4/conf/{name}")


def state(fleet: Fleet, host: str, unit: str) -> tuple[str, str]:
    shown = on_host(fleet.lab, host, f"systemctl show -p UnitFileState,ActiveState {unit}")
    found = dict(line.split("=", 1) for line in shown.splitlines())
    return found["UnitFileState"], found["ActiveState"]


def until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def journal(fleet: Fleet, host: str, unit: str) -> str:
    return on_host(fleet.lab, host, f"journalctl -b --no-pager -o cat -u {unit}")


def power_cycle(fleet: Fleet, host: str) -> None:
    run([TOOL, "--lab", fleet.lab.prefix, "power-cycle", host])
    assert until(lambda: state(fleet, host, RESTORE)[1] in ("active", "failed"), 60)


@pytest.fixture(scope="module")
def cut(fleet: Fleet) -> Iterator[Fleet]:
    """A balancer and a real that lost their power."""
    recap = fleet.playbook("katran.fleet.deploy", MORE)
    try:
        assert {host: recap[host].changed for host in recap} == {"lb1": 0, "lb2": 0, "real1": 1, "real2": 1, "real3": 1}
        assert on_host(fleet.lab, "real1", "cat /sys/class/net/eth1/mtu") == "1580"
        rules = on_host(fleet.lab, "real1", "nft list table inet katran_fleet")
        assert all(address in rules for address in VIPS)
        assert rules.count("maxseg size set 1400") == 2
        on_host(fleet.lab, "lb1", "ip link set eth1 xdp off")
        on_host(fleet.lab, "real1", FORGET_REAL)
        for host in ("lb1", "real1"):
            power_cycle(fleet, host)
        yield fleet
    finally:
        fleet.playbook("katran.fleet.deploy", {"katran_real_mtu": 1600, "katran_real_mss": 0}, "--limit", "reals")


def test_what_the_kernel_forgot_is_back(cut: Fleet) -> None:
    assert value(cut, "real1", "all/arp_ignore") == "1"
    assert value(cut, "real1", "all/arp_announce") == "2"
    assert value(cut, "real1", "eth1/rp_filter") == "2"
    assert on_host(cut.lab, "real1", "cat /sys/class/net/eth1/mtu") == "1580"
    assert on_host(cut.lab, "real1", "nft list table inet katran_fleet").count("maxseg size set 1400") == 2
    addresses = on_host(cut.lab, "real1", "ip -o address show dev lo")
    assert all(f"{vip}/" in addresses for vip in VIPS)
    for host, name in (("lb1", "balancer"), ("real1", "decap")):
        assert f"name {name} " in on_host(cut.lab, host, "ip -d link show dev eth1")


def test_units_are_as_they_were(cut: Fleet) -> None:
    for host in ("lb1", "real1"):
        assert state(cut, host, RESTORE) == ("enabled", "active")
        assert state(cut, host, WATCHES[host]) == ("enabled", "active")
        assert on_host(cut.lab, host, "systemctl --failed --no-legend") == ""
    assert state(cut, "lb1", WATCH)[1] == "inactive"
    assert state(cut, "real1", AGENT)[1] == "inactive"


def test_traffic_flows(cut: Fleet) -> None:
    counted = cut.received_packets("lb1")
    for report in traffic.send(cut.lab, cut.vips(), 250):
        assert not report.unanswered, report.vip
    assert cut.received_packets("lb1") > counted


def test_a_deploy_has_nothing_to_do(cut: Fleet) -> None:
    assert not any(counts.changed for counts in cut.playbook("katran.fleet.deploy", MORE).values())


def test_the_agent_follows_the_gateway_again_and_again(cut: Fleet) -> None:
    gateway = on_host(cut.lab, "lb1", "ip -4 route show default dev eth1 | cut -d' ' -f3")
    code = "bpftool -j map lookup pinned /sys/fs/bpf/katran/default/maps/ctl_array key 0 0 0 0"
    true = on_host(cut.lab, "lb1", f"ip neigh show {gateway} dev eth1 | grep -o 'lladdr [^ ]*' | cut -d' ' -f2")
    try:
        for mac in ("02:00:00:00:00:a1", "02:00:00:00:00:a2"):
            on_host(cut.lab, "lb1", f"ip neigh replace {gateway} lladdr {mac} nud permanent dev eth1")
            words = ",".join(f'"0x{byte}"' for byte in mac.split(":"))
            assert until(lambda words=words: words in on_host(cut.lab, "lb1", code).replace(" ", ""), 10), mac  # type: ignore[misc]
    finally:
        on_host(cut.lab, "lb1", f"ip neigh replace {gateway} lladdr {true} nud reachable dev eth1")


@pytest.mark.parametrize(("host", "program"), [("lb1", "balancer"), ("real1", "decap")])
def test_the_journal_tells_of_a_program_that_was_taken_off(cut: Fleet, host: str, program: str) -> None:
    on_host(cut.lab, host, "ip link set eth1 xdp off")
    said = f"interface eth1: {program} of instance default was taken off"
    try:
        assert until(lambda: said in journal(cut, host, WATCHES[host]), 5)
    finally:
        on_host(cut.lab, host, f"systemctl restart {RESTORE}")
    assert until(
        lambda: f"interface eth1: {program} of instance default runs there" in journal(cut, host, WATCHES[host]), 5
    )
    # The same is a reason why VIPs are withdrawn, in a line that begins otherwise.
    assert sum(line.startswith(said) for line in journal(cut, host, WATCHES[host]).splitlines()) == 1


def test_a_library_that_somebody_changed_is_watched_by_the_new_one(cut: Fleet) -> None:
    """The watcher has the engine in memory: with another one on the disk it begins anew."""
    watching = "systemctl show -p MainPID --value katran-watch"
    before = on_host(cut.lab, "real1", watching)
    engine = "/usr/lib/katran-fleet/ansible_collections/katran/fleet/plugins/module_utils/_engine/watch.py"
    on_host(cut.lab, "real1", f"echo >> {engine}")
    cut.playbook("katran.fleet.deploy", MORE, "--limit", "real1")
    assert on_host(cut.lab, "real1", watching) != before
    assert state(cut, "real1", WATCH) == ("enabled", "active")


def test_one_damaged_instance_does_not_keep_the_other_down(cut: Fleet) -> None:
    """A folder that others can write to is no state, and is told in the journal; what is root's comes up."""
    on_host(cut.lab, "real1", "cp -a /var/lib/katran-fleet/default /var/lib/katran-fleet/planted")
    on_host(cut.lab, "real1", "chown -R nobody /var/lib/katran-fleet/planted; ip link set eth1 xdp off")
    try:
        on_host(cut.lab, "real1", f"systemctl restart {RESTORE} || true")
        assert "planted is not root's alone (it belongs to user 65534)" in journal(cut, "real1", RESTORE)
        assert "name decap " in on_host(cut.lab, "real1", "ip -d link show dev eth1")
    finally:
        on_host(cut.lab, "real1", f"rm -r /var/lib/katran-fleet/planted; systemctl restart {RESTORE}")
