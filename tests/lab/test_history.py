# SPDX-License-Identifier: GPL-3.0-or-later
"""Who changed a balancer reaches it by ssh and become, and a run is taken back in the whole fleet."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from fleetlab.plan import PROJECT
from fleetlab.runs import Fleet, on_host, recaps

BOTH = ("lb1", "lb2")


def history(fleet: Fleet, host: str) -> list[dict[str, Any]]:
    """The applied configurations, the newest first."""
    entries: list[dict[str, Any]] = json.loads(on_host(fleet.lab, host, "katran history --json"))["entries"]
    return entries


def test_who_did_it_is_on_every_balancer(fleet: Fleet) -> None:
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=PROJECT, check=True, capture_output=True)
    runs = set()
    for host in BOTH:
        entry = next(each for each in reversed(history(fleet, host)) if each["run"])
        assert entry["user"]
        assert entry["revision"].split("+")[0] == head.stdout.decode().strip()
        assert [step["module"] for step in entry["steps"]][:2] == ["balancer", "vips"]
        runs.add(entry["run"])
    assert len(runs) == 1


def test_a_run_is_taken_back_everywhere(deployed: Fleet) -> None:
    before = {host: history(deployed, host)[0]["number"] for host in BOTH}
    config = deployed.config(checks=True)
    config[0]["reals"][0]["weight"] += 5
    deployed.deploy(config, "--limit", "balancers")
    for host in BOTH:
        entry = history(deployed, host)[0]
        command = f"journalctl -t katran-fleet -o json --no-pager KATRAN_RUN={entry['run']}"
        told = [json.loads(line) for line in on_host(deployed.lab, host, command).splitlines()]
        assert {(each["KATRAN_MODULE"], each["KATRAN_USER"]) for each in told} == {("vips", entry["user"])}

    review = deployed.ansible("ansible-playbook", "katran.fleet.rollback", "--check", "--diff")
    assert review.returncode == 0, review.stdout + review.stderr
    assert {host: recaps(review.stdout)[host].changed for host in BOTH} == dict.fromkeys(BOTH, 1), review.stdout
    assert "would go back to what was before run " in review.stdout

    done = deployed.playbook("katran.fleet.rollback")
    assert {host: done[host].changed for host in BOTH} == dict.fromkeys(BOTH, 1)
    for host in BOTH:
        newest = history(deployed, host)[0]
        assert (newest["kind"], newest["to"]) == ("revert", before[host])
        # Exit status 0: nothing differs.
        assert on_host(deployed.lab, host, f"katran history diff {before[host]}") == ""
    again = deployed.playbook("katran.fleet.rollback")
    assert {host: again[host].changed for host in BOTH} == dict.fromkeys(BOTH, 0)
