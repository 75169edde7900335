# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs make of bird on the balancers, and of what somebody changed there; and FRR on one of them."""

from __future__ import annotations

import json
import time
from typing import Any

from fleetlab import routes
from fleetlab.announced import (
    BOTH,
    IPV4,
    TABLE,
    announce,
    established,
    everywhere,
    sessions,
    told_by_router,
    until,
    withdraw,
)
from fleetlab.runs import Fleet, on_host, recaps

CONF = "/etc/bird/bird.conf"
PASSWORD = "laboratory-only"  # noqa: S105  # of inventories/lab, which everybody may read
RESTORE = "/usr/lib/katran-fleet/katran-restore"
READ = f"have bird read {CONF}"


def test_a_second_deploy_changes_nothing(bgp: Fleet) -> None:
    for recap in (bgp.deploy(), bgp.deploy(None, "--check")):
        assert not any(counts.changed or counts.failed for counts in recap.values())


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


def run_bgp(fleet: Fleet, host: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The module alone, with the inventory's katran_bgp and no word of VIPs."""
    words = json.dumps({"config": "{{ katran_bgp }}", **options})
    done = fleet.ansible("ansible", host, "-m", "katran.fleet.bgp", "-a", words, *arguments, json_results=True)
    assert PASSWORD not in done.stdout + done.stderr
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("=> ") + 3 :])[0]
    return answer


def test_what_somebody_changed_is_predicted_and_put_right(whole_bgp: Fleet) -> None:
    run_bgp(whole_bgp, "lb2")
    for command, expected in (
        # As a run leaves it that is killed between the two.
        (f"touch {CONF}", [READ]),
        (f"echo '# mine' >> {CONF}", [f"rewrite {CONF}", READ]),
        (f"chmod 644 {CONF}", [f"give {CONF} to root and group bird alone"]),
        (f"chown bird {CONF}", [f"give {CONF} to root and group bird alone"]),
        (f"rm {CONF}", [f"write {CONF}", READ]),
        ("systemctl stop bird", ["start bird.service"]),
        ("systemctl disable -q bird 2>/dev/null", ["enable bird.service"]),
        ("true", []),
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
        whole_bgp.deploy()
    until(lambda: established(lab, "lb2") == 2, 60.0)


def test_a_wrong_password_makes_no_session(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    try:
        changed = run_bgp(whole_bgp, "lb2", "-e", "lab_bgp_password=not-the-routers")["changes"]
        assert changed == [f"rewrite {CONF}", READ]
        until(lambda: everywhere(lab, "lb1"), 3.0)
        time.sleep(12)
        assert established(lab, "lb2") == 0
        assert everywhere(lab, "lb1")
    finally:
        assert run_bgp(whole_bgp, "lb2")["changes"] == [f"rewrite {CONF}", READ]


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


def test_what_bird_does_not_take_changes_nothing(bgp: Fleet) -> None:
    """An interface that is not there is known before; a configuration that only bird refuses has to be made up."""
    config = {"as": 65001, "neighbors": [{"address": "fe80::1", "as": 65000, "interface": "eth7"}]}
    result = bgp.module("lb1", "katran.fleet.bgp", {"config": config})["lb1"]
    assert result["changed"] is False
    assert result["msg"] == "neighbors[0].interface: interface eth7 does not exist on this host"
    assert established(bgp.lab, "lb1") == 2


FRR = f"""\
frr defaults datacenter
log syslog informational
ip import-table {TABLE}
route-map as-bird permit 10
 set origin igp
 set metric 0
!
bfd
 profile fast
  transmit-interval 100
  receive-interval 100
  detect-multiplier 3
!
router bgp 65001
 bgp router-id 198.18.12.2
 no bgp ebgp-requires-policy
 neighbor 198.18.12.1 remote-as 65000
 neighbor 198.18.12.1 password {PASSWORD}
 neighbor 198.18.12.1 bfd profile fast
 neighbor 198.18.12.1 timers 3 9
 address-family ipv4 unicast
  redistribute table {TABLE} route-map as-bird
 exit-address-family
!
"""


def test_frr_announces_the_same_table(whole_bgp: Fleet) -> None:
    """FRR 8.4 imports tables of IPv4 alone; see docs/bgp.md."""
    lab = whole_bgp.lab
    on_host(lab, "lb2", "systemctl stop bird")
    until(lambda: everywhere(lab, "lb1"), 3.0)
    on_host(lab, "lb2", f"printf '%s' '{FRR}' > /etc/frr/frr.conf")
    on_host(lab, "lb2", "sed -i 's/^bgpd=no/bgpd=yes/;s/^bfdd=no/bfdd=yes/' /etc/frr/daemons && systemctl start frr")
    try:
        until(lambda: routes.read(lab).get(IPV4) == BOTH, 60.0)
        withdraw(lab, "lb2")
        until(lambda: routes.read(lab).get(IPV4) == ["lb1"], 2.0)
        announce(lab, "lb2")
        until(lambda: routes.read(lab).get(IPV4) == BOTH, 2.0)
    finally:
        on_host(lab, "lb2", "systemctl stop frr && systemctl start bird")
