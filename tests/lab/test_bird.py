# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs make of bird on the balancers, and of what somebody changed there."""

from __future__ import annotations

import json
from typing import Any

from fleetlab import routes
from fleetlab.announced import (
    BOTH,
    CONF,
    IPV4,
    PASSWORD,
    READ,
    announce,
    established,
    everywhere,
    run_bgp,
    sessions,
    told_by_router,
    until,
    withdraw,
)
from fleetlab.runs import Fleet, on_host, recaps

RESTORE = "/usr/lib/katran-fleet/katran-restore"


def bgp_changes(fleet: Fleet, host: str, *arguments: str) -> list[str]:
    """What a deploy of a balancer did to bird, or would in a review."""
    done = fleet.ansible(
        "ansible-playbook", "katran.fleet.deploy", "-v", "--limit", host, *arguments, json_results=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert PASSWORD not in done.stdout + done.stderr
    task = done.stdout.partition("TASK [katran.fleet.bgp : Announce the VIPs]")[2]
    changed = task.partition(f"changed: [{host}] => ")
    if not changed[1] or "TASK [" in changed[0]:
        return []
    found: list[str] = json.JSONDecoder().raw_decode(changed[2])[0]["changes"]
    return found


def test_what_somebody_changed_is_predicted_and_put_right(whole_bgp: Fleet) -> None:
    run_bgp(whole_bgp, "lb2")
    for command, expected in (
        # As a run leaves it that is killed between the two.
        (f"touch {CONF}", [READ]),
        (f"echo '# mine' >> {CONF}", [f"rewrite {CONF}", READ]),
        (f"chmod 644 {CONF}; chown bird {CONF}", [f"give {CONF} to root and group bird alone"]),
        (f"rm {CONF}", [f"write {CONF}", READ]),
        ("systemctl disable --now -q bird 2>/dev/null", ["enable bird.service", "start bird.service"]),
    ):
        on_host(whole_bgp.lab, "lb2", command)
        assert run_bgp(whole_bgp, "lb2", "--check", "--diff")["changes"] == expected, command
        assert run_bgp(whole_bgp, "lb2", "--diff", "-vvv")["changes"] == expected, command
    assert on_host(whole_bgp.lab, "lb2", f"stat -c '%U %G %a' {CONF}") == "root bird 640"
    assert bgp_changes(whole_bgp, "lb2", "--diff") == [f"rewrite {CONF}", READ]
    assert bgp_changes(whole_bgp, "lb2") == []


def test_a_change_of_services_leaves_sessions_alone(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    begin = on_host(lab, "lb1", "date +@%s")
    more: list[dict[str, Any]] = whole_bgp.config()
    more[0]["announce"] = {"communities": ["65001:443", "4200000000:1:2"]}
    more.append({**more[0], "address": "198.18.200.2", "announce": {"communities": ["65001:2"]}})
    try:
        whole_bgp.deploy(more, "--limit", "balancers")
        announce(lab, "lb1", addresses=("198.18.200.2",))
        until(lambda: "lb1" in routes.read(lab).get("198.18.200.2", ()), 60.0)
        until(lambda: "community: (65001,80) (65001,443)" in told_by_router(lab, IPV4), 60.0)
        until(lambda: "large_community: (4200000000, 1, 2)" in told_by_router(lab, IPV4), 60.0)
    finally:
        withdraw(lab, "lb1", None, ("198.18.200.2",))
        whole_bgp.deploy(None, "--limit", "balancers")
    for host in BOTH:
        said = on_host(lab, host, f"journalctl -u bird -o cat --no-pager --since {begin}")
        assert said.count("Reconfigured") >= 2
        # A machine that is busy with other things may have BFD miss packets; a reconfiguration resets nothing.
        assert not [word for word in ("Restarting protocol", "Removing protocol", "Shutting down") if word in said]
        since = {row[1].partition(".")[0] for row in sessions(lab, host).values()}
        assert "bfd" in said.lower() or max(since) < on_host(lab, host, f"date -d {begin} +%H:%M:%S")
    until(lambda: "(65001,443)" not in told_by_router(lab, IPV4), 60.0)


def test_somebody_elses_file_is_refused_before_any_host_changes(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    on_host(lab, "real1", f"echo '# mine' >> {RESTORE}")
    on_host(lab, "lb2", f"mv {CONF} /root/ours && printf 'router id 1.2.3.4;\\nprotocol device {{}}\\n' > {CONF}")
    try:
        for arguments in (("--check",), ()):
            done = whole_bgp.ansible("ansible-playbook", "katran.fleet.deploy", *arguments)
            assert done.returncode != 0
            said = " ".join(done.stdout.split())
            assert f"{CONF} was not written by katran.fleet and stays as it is" in said
            assert not any(counts.changed for counts in recaps(done.stdout).values())
        assert "# mine" in on_host(lab, "real1", f"tail -1 {RESTORE}")
        assert on_host(lab, "lb2", f"head -1 {CONF}") == "router id 1.2.3.4;"
    finally:
        on_host(lab, "lb2", f"mv /root/ours {CONF}")
        whole_bgp.deploy(None, "--limit", "real1")
        run_bgp(whole_bgp, "lb2")
    until(lambda: established(lab, "lb2") == 2, 60.0)


def test_absence_brings_back_what_was_and_the_next_deploy_announces_again(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    result = whole_bgp.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]
    assert result["changes"] == [
        f"make {CONF} the package's own again",
        "stop bird.service",
        "disable bird.service",
    ]
    assert everywhere(lab, "lb1")
    assert on_host(lab, "lb2", f"cmp {CONF} /usr/share/bird2/bird.conf; systemctl is-enabled bird; true") == "disabled"
    assert whole_bgp.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]["changed"] is False
    assert run_bgp(whole_bgp, "lb2")["changes"] == [f"write {CONF}", "enable bird.service", "start bird.service"]


def test_somebody_elses_file_comes_back_after_it_was_replaced(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    theirs = "router id 1.2.3.4;\\nprotocol device {}\\n"
    assert whole_bgp.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]["changed"]
    on_host(lab, "lb2", f"printf '{theirs}' > {CONF} && systemctl enable --now -q bird 2>/dev/null")
    config = {"as": 65001, "neighbors": [{"address": "198.18.12.1", "as": 65000}], "replace_foreign": True}
    result = whole_bgp.module("lb2", "katran.fleet.bgp", {"config": config})["lb2"]
    kept = f"{CONF}.before-katran"
    assert result["changes"] == [f"keep somebody else's {CONF} as {kept}", f"write {CONF}", READ]
    assert whole_bgp.module("lb2", "katran.fleet.bgp", {"config": config})["lb2"]["changed"] is False
    result = whole_bgp.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]
    assert result["changes"] == [f"bring back {CONF} from {kept}", READ]
    assert (
        on_host(lab, "lb2", f"cat {CONF}; systemctl is-active bird") == "router id 1.2.3.4;\nprotocol device {}\nactive"
    )
    on_host(lab, "lb2", f"rm {CONF}; systemctl disable --now -q bird 2>/dev/null")
    assert run_bgp(whole_bgp, "lb2")["changes"] == [f"write {CONF}", "enable bird.service", "start bird.service"]
