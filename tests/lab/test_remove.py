# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that takes everything away: foretold, done, done once, and nothing of it stays."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fleetlab import traffic
from fleetlab.runs import Fleet, on_host, recaps

HOSTS = ("lb1", "lb2", "real1", "real2", "real3")
REMOVE = "katran.fleet.remove"
CONSENT = ("-e", "remove_confirmed=true")
# Everything that is ours on a host, in words that are empty where nothing is.
TRACES = """
ls -d /usr/lib/katran-fleet /var/lib/katran-fleet /run/katran-fleet /sys/fs/bpf/katran 2>/dev/null
find /etc/systemd /run/systemd -name 'katran-*'
systemctl list-units --all --no-legend --plain 'katran-*'
systemctl --failed --no-legend
nft list tables | grep katran
ip -d link show dev eth1 | grep prog/xdp
ip -o address show dev lo | grep -e 198.18.200.1/ -e fd6b:6174:7261:200::1/
true
"""
SETTINGS = "cd /proc/sys/net/ipv4/conf; cat all/arp_ignore all/arp_announce eth1/rp_filter /sys/class/net/eth1/mtu"


def changes(printed: str) -> dict[str, list[str]]:
    """Host → what its modules said, in order."""
    found: dict[str, list[str]] = {}
    decode = json.JSONDecoder().raw_decode
    for part in printed.split("\nchanged: [")[1:]:
        host, _bracket, rest = part.partition("] => ")
        found.setdefault(host, []).extend(decode(rest)[0].get("changes", []))
    return found


@pytest.fixture
def whole(fleet: Fleet) -> Iterator[Fleet]:
    """With MTU and MSS of reals; deployed again at the end."""
    fleet.playbook("katran.fleet.deploy", {"katran_real_mss": 1400, "katran_real_mtu": 1580}, "--limit", "reals")
    yield fleet
    # Where the removal took all off again, as it is to do, nothing is left to be put right.
    if on_host(fleet.lab, "real1", "cat /sys/class/net/eth1/mtu") != "1600":
        fleet.playbook("katran.fleet.deploy", {"katran_real_mtu": 1600, "katran_real_mss": 0})


def test_nobody_removes_by_mistake(fleet: Fleet) -> None:
    done = fleet.ansible("ansible-playbook", REMOVE)
    assert done.returncode
    assert "This takes balancers and reals off 5 hosts" in " ".join(done.stdout.split())
    assert not any(counts.changed for counts in recaps(done.stdout).values())


def test_a_real_to_which_balancers_may_send_stays(fleet: Fleet) -> None:
    done = fleet.ansible("ansible-playbook", REMOVE, *CONSENT, "--limit", "real1")
    assert done.returncode
    assert "This host still serves VIPs, and lb1, lb2 may still send to it" in " ".join(done.stdout.split())
    assert not any(counts.changed for counts in recaps(done.stdout).values())


def test_nothing_stays(whole: Fleet) -> None:
    review = whole.ansible("ansible-playbook", REMOVE, "--check", "-v", json_results=True)
    assert review.returncode == 0, review.stdout[-3000:]
    assert on_host(whole.lab, "lb1", TRACES)
    done = whole.ansible("ansible-playbook", REMOVE, *CONSENT, "-v", json_results=True)
    assert done.returncode == 0, done.stdout[-3000:]
    foretold, made = changes(review.stdout), changes(done.stdout)
    assert foretold == made
    told = changes(done.stdout)["real1"]
    assert {"remove 198.18.200.1 from lo", "remove the unit katran-restore.service", "remove the MSS of VIPs"} <= set(
        told
    )
    for host in HOSTS:
        assert on_host(whole.lab, host, TRACES) == "", host
    # As it was before the first deploy, whatever the laboratory's own settings are.
    assert on_host(whole.lab, "real1", SETTINGS).split() == ["0", "0", "1", "1600"]
    again = whole.playbook(REMOVE, None, *CONSENT)
    assert not any(counts.changed for counts in again.values())
    # Where no source, unit or map is there yet, a review ends well, and every task says what it then does.
    fresh = {"lb1": 6, "lb2": 6, "real1": 2, "real2": 2, "real3": 2}
    for recap in (whole.deploy(None, "--check", "--diff"), whole.deploy()):
        assert {host: recap[host].changed for host in fresh} == fresh
    for report in traffic.send(whole.lab, whole.vips(), 100):
        assert not report.unanswered, report.vip
