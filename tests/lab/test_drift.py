# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook drift on the fleet: nothing where it is as deployed, and what somebody changed; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleetlab.runs import Fleet, on_host

SEEN = (
    "find /var/lib/katran-fleet /usr/lib/katran-fleet /etc/bird /etc/systemd/system -printf '%p %m %T@ %C@\\n' | sort"
    "; ls /run/katran-fleet; systemctl show -p ActiveEnterTimestamp katran-agent bird"
)
"""What a run that writes would leave traces in. The agent itself writes below /run, and verdicts into state.json."""


def drift(fleet: Fleet, path: Path) -> tuple[int, str, dict[str, Any]]:
    done = fleet.ansible("ansible-playbook", "katran.fleet.drift", "-e", f"katran_drift_json={path}")
    assert path.exists(), done.stdout[-3000:] + done.stderr[-2000:]
    return done.returncode, done.stdout, json.loads(path.read_text(encoding="utf-8"))


def test_what_somebody_changed_is_told_and_nothing_else(deployed: Fleet, tmp_path: Path) -> None:
    before = on_host(deployed.lab, "real1", SEEN)
    status, printed, told = drift(deployed, tmp_path / "none.json")
    assert (status, told["findings"]) == (0, []), printed
    assert told["summary"] == "no drift: 2 balancers and 3 reals as the inventory says"
    assert any(line.startswith("the rings of ") for line in told["same"])
    assert on_host(deployed.lab, "real1", SEEN) == before

    on_host(deployed.lab, "lb1", "systemctl stop katran-agent")
    on_host(deployed.lab, "lb1", "ip link set dev eth1 xdp off")
    on_host(deployed.lab, "real1", "sysctl -qw net.ipv4.conf.all.arp_ignore=0")
    try:
        status, printed, told = drift(deployed, tmp_path / "some.json")
    finally:
        on_host(deployed.lab, "real1", "sysctl -qw net.ipv4.conf.all.arp_ignore=1")
        on_host(deployed.lab, "lb1", "systemctl restart katran-restore && systemctl start katran-agent")
    assert status == 3, printed
    found = {(each["host"], each["area"], each["kind"], each["what"]) for each in told["findings"]}
    assert found == {
        ("lb1", "host", "differs", "would: start katran-agent.service"),
        ("lb1", "balancer", "changed", "would: attach to eth1 in native mode"),
        ("real1", "host", "changed", "would: net/ipv4/conf/all/arp_ignore 0 → 1"),
    }
    # systemd knows when a unit stopped.
    assert [each["since"]["at"] != "" for each in told["findings"] if "agent" in each["what"]] == [True]
