# SPDX-License-Identifier: GPL-3.0-or-later
"""Role pull on a host with systemd: the timer, a run that fails and says so, and nothing left of it afterwards.

What a run does with a repository is in tests/engine/test_pull.py: these hosts have neither git nor Ansible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleetlab.runs import Fleet, on_host

HOST = "real1"
OPTIONS: dict[str, Any] = {
    "pull_repository": "/nowhere",
    "pull_packages": [],
    "pull_ansible_playbook": "/usr/bin/true",
    "pull_interval": "2h",
}
EVERYTHING = (
    "ls -d /etc/katran-fleet-pull /var/lib/katran-fleet-pull /usr/local/lib/katran-fleet-pull"
    " /etc/systemd/system/katran-pull.* /var/lib/prometheus/node-exporter/katran_pull.prom 2>/dev/null || true"
)


@pytest.fixture
def play(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    """A playbook with the role."""
    path = tmp_path / "pull.yml"
    path.write_text(
        json.dumps([{"hosts": HOST, "become": True, "gather_facts": False, "roles": ["katran.fleet.pull"]}])
    )
    yield str(path)
    fleet.playbook(str(path), {"pull_state": "absent"})


def test_a_host_pulls_says_how_it_went_and_can_stop_doing_so(fleet: Fleet, play: str) -> None:
    assert fleet.playbook(play, OPTIONS, "--check")[HOST].changed > 0
    assert on_host(fleet.lab, HOST, EVERYTHING) == ""
    assert fleet.playbook(play, OPTIONS)[HOST].changed > 0
    assert fleet.playbook(play, OPTIONS)[HOST].changed == 0
    shown = on_host(fleet.lab, HOST, "systemctl show katran-pull.timer -p ActiveState -p RandomizedDelayUSec --value")
    assert sorted(shown.split()) == ["15min", "active"]
    assert fleet.playbook(play, {**OPTIONS, "pull_interval": "3h"})[HOST].changed == 2
    on_host(fleet.lab, HOST, "systemctl start katran-pull.service || true")
    assert on_host(fleet.lab, HOST, "systemctl is-failed katran-pull.service") == "failed"
    assert "not applied: git cannot be run" in on_host(fleet.lab, HOST, "journalctl -b -u katran-pull --no-pager -n 20")
    metrics = on_host(fleet.lab, HOST, "cat /var/lib/prometheus/node-exporter/katran_pull.prom").splitlines()
    assert {"katran_pull_failed 1", "katran_pull_last_success_timestamp_seconds 0"} <= set(metrics)
    assert fleet.playbook(play, {"pull_state": "absent"})[HOST].changed > 0
    assert fleet.playbook(play, {"pull_state": "absent"})[HOST].changed == 0
    assert on_host(fleet.lab, HOST, EVERYTHING) == ""
