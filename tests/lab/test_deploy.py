# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: a deployed fleet balances real traffic, and goes on doing so while it is changed."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from fleetlab import flows, traffic
from fleetlab.client import asking_meanwhile, in_client
from fleetlab.plan import LabError
from fleetlab.runs import Fleet, Recap, agents_said, on_host, recaps

from ansible_collections.katran.fleet.tests.doses import dose

FLOWS_PER_VIP = 3000
REQUESTS = dose(5000, 20_000)


def real_of(vip: dict[str, Any], name: str) -> dict[str, Any]:
    """The real of a VIP's configuration that is host *name*: real1 is …21…, real2 …22…, real3 …23…."""
    number = f"2{name.removeprefix('real')}"
    return next(real for real in vip["reals"] if number in real["address"].replace(":", ".").split("."))


def test_the_first_deploy(first_deploy: dict[str, Recap]) -> None:
    """What a review says before it: test_remove.py, of hosts from which everything was taken."""
    changes = {"lb1": 6, "lb2": 6, "real1": 2, "real2": 2, "real3": 2}
    assert {host: first_deploy[host].changed for host in changes} == changes


def test_second_deploy_changes_nothing(fleet: Fleet) -> None:
    recap = fleet.deploy()
    assert set(recap) >= {"lb1", "lb2", "real1", "real2", "real3"}
    assert {host: counts.changed for host, counts in recap.items()} == dict.fromkeys(recap, 0)


def test_applying_the_same_vips_writes_no_map(fleet: Fleet) -> None:
    results = fleet.module(
        "balancers", "katran.fleet.vips", {"config": fleet.config(checks=True), "state": "overridden"}
    )
    assert set(results) == {"lb1", "lb2"}
    for result in results.values():
        assert result.get("changed") is False, result
        assert not any(result["operations"].values()), result["operations"]


def test_check_mode_after_deploy_has_nothing_to_do(fleet: Fleet) -> None:
    recap = fleet.deploy(None, "--check", "--diff")
    assert {host: counts.changed for host, counts in recap.items()} == dict.fromkeys(recap, 0)


def test_every_flow_goes_where_the_engine_predicts(fleet: Fleet) -> None:
    before = {name: fleet.received_packets(name) for name in ("lb1", "lb2")}
    reports = traffic.send(fleet.lab, fleet.vips(), FLOWS_PER_VIP)
    assert sum(len(report.flows) for report in reports) >= 10_000
    for report in reports:
        assert report.unanswered == []
        assert report.retried == []
        assert report.astray == []
        assert report.answers == Counter(report.vip.predicted(report.source, (f.source_port for f in report.flows)))
        for real, share in report.vip.shares.items():
            assert abs(report.answers[real] / len(report.flows) - share) < 0.05
    # The router's ECMP gives both balancers about half of the packets.
    received = [fleet.received_packets(name) - before[name] for name in ("lb1", "lb2")]
    assert min(received) > 0.35 * sum(received)


def test_a_hundred_vips_of_ten_reals_are_applied_in_seconds(fleet: Fleet) -> None:
    config = [
        {
            "address": f"198.18.201.{number}",
            "port": 80,
            "protocol": "tcp",
            "reals": [{"address": f"198.18.{30 + number}.{real}", "weight": real} for real in range(1, 11)],
        }
        for number in range(1, 101)
    ]
    scale = {"instance": "scale"}
    assert fleet.module("lb1", "katran.fleet.balancer", {**scale, "state": "loaded"})["lb1"].get("failed") is not True
    try:
        # The engine's own time, on an empty balancer and when there is nothing to do: the best of three, because the
        # machine is shared and nothing makes a run faster than it is.
        empty, unchanged = [], []
        for _attempt in range(3):
            first, second, _emptied = (
                fleet.module("lb1", "katran.fleet.vips", {**scale, "config": vips, "state": "overridden", **options})[
                    "lb1"
                ]
                for vips, options in ((config, {}), (config, {}), ([], {"allow_empty": True}))
            )
            assert first["changed"] is True, first
            assert second["changed"] is False
            empty.append(sum(first["timings"].values()))
            unchanged.append(sum(second["timings"].values()))
            if empty[-1] < 4 and unchanged[-1] < 0.3:
                break
        assert min(empty) < 4, empty
        assert min(unchanged) < 0.3, unchanged
    finally:
        fleet.module("lb1", "katran.fleet.balancer", {**scale, "state": "absent"})


def test_ring_slots_are_within_a_percent_of_the_weights(fleet: Fleet) -> None:
    for vip in fleet.vips():
        slots = Counter(vip.ring)
        total = sum(vip.weights.values())
        for index, weight in enumerate(vip.weights.values()):
            assert abs(slots[index] / len(vip.ring) / (weight / total) - 1) < 0.01


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_full_size_packets_pass(fleet: Fleet, family: str) -> None:
    targets = [vip.target for vip in fleet.vips() if (":" in vip.target.address) == (family == "ipv6")]
    # What fills the client's 1500 bytes: the headers of IP and UDP go off.
    largest = 1500 - (40 if family == "ipv6" else 20) - 8
    for target in targets:
        if target.protocol == "udp":
            answer = in_client(fleet.lab, lambda: flows.echo(target, b"x" * largest))  # noqa: B023  # called at once
            assert answer is not None
            assert len(answer) == largest
        else:
            name, seconds = in_client(fleet.lab, lambda: flows.upload(target, 4 << 20))  # noqa: B023  # called at once
            assert name.startswith("real")
            # One lost packet in a row of full-size ones costs a time-out of 0.2 s at least; all lost, the connection.
            assert seconds < 2


def test_connections_survive_removal_of_another_real_and_a_weight_change(deployed: Fleet) -> None:
    targets = [vip.target for vip in deployed.vips() if vip.target.protocol == "tcp"]
    connections = [
        (target, in_client(deployed.lab, lambda: flows.Connection(target)))  # noqa: B023  # called at once
        for target in targets
        for _ in range(60)
    ]
    try:
        before = [connection.ask() for _, connection in connections]
        assert set(before) == {"real1", "real2", "real3"}
        changed = deployed.config()
        for vip in changed:
            vip["reals"].remove(real_of(vip, "real3"))
            real_of(vip, "real1")["weight"], real_of(vip, "real2")["weight"] = 1, 5
        deployed.apply(changed)
        # New flows follow the new weights at once; the old ones stay where they are.
        for report in traffic.send(deployed.lab, deployed.vips(), 300):
            assert "real3" not in report.answers
            assert report.answers["real2"] > report.answers["real1"]
        kept = [
            (name, connection) for name, (_, connection) in zip(before, connections, strict=True) if name != "real3"
        ]
        assert len(kept) > 40
        assert [connection.ask() for _, connection in kept] == [name for name, _ in kept]
    finally:
        for _, connection in connections:
            connection.close()


def vips_on(fleet: Fleet, host: str) -> set[str]:
    """The addresses on a host's lo but its own."""
    link = json.loads(on_host(fleet.lab, host, "ip -j addr show dev lo"))[0]
    return {each["local"] for each in link["addr_info"]} - {"127.0.0.1", "::1"}


def test_a_wrong_inventory_changes_nothing_anywhere(fleet: Fleet) -> None:
    config = fleet.config()
    config[0]["reals"] = []
    with pytest.raises(LabError, match="katran_min_active is 1, but too few reals are active behind") as refused:
        fleet.deploy(config)
    # Before any host is reached: of one, which stands for all, the run says that its task failed.
    assert {(each.ok, each.changed) for each in recaps(str(refused.value)).values()} == {(0, 0)}


@pytest.mark.parametrize(
    ("group", "host", "variables", "fault"),
    [
        ("balancers", "lb2", {"katran_min_active": 9}, "katran_min_active is 9, but too few reals are active behind"),
        ("web", "real3", {"katran_gue_port": 70000}, "gue_port: 70000 is not in 1 to 65535"),
    ],
)
def test_what_is_wrong_of_one_host_changes_nothing_on_the_others(
    fleet: Fleet, tmp_path: Path, group: str, host: str, variables: dict[str, int], fault: str
) -> None:
    more = tmp_path / "more.yml"
    more.write_text(json.dumps({group: {"hosts": {host: variables}}}))
    done = fleet.ansible("ansible-playbook", "katran.fleet.deploy", "-i", str(more), "-e", '{"katran_udp_timeout": 77}')
    assert done.returncode != 0
    assert fault in " ".join((done.stdout + done.stderr).split())
    # Not even a host about which nothing is wrong, though there was something to change on it.
    assert re.findall(r"changed=([1-9]\d*)", done.stdout) == []
    assert "Balance the VIPs" not in done.stdout


def test_no_new_flow_goes_to_a_real_that_could_not_be_prepared(fleet: Fleet, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text("web: {hosts: {nowhere: {katran_real_address: [198.18.24.2]}}}")
    done = fleet.ansible("ansible-playbook", "katran.fleet.deploy", "-i", str(more))
    assert re.search(r"^nowhere .*unreachable=1", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^lb1 .*changed=0 .*failed=0", done.stdout, re.MULTILINE), done.stdout
    warning = "vip 198.18.200.1:80/tcp: no new flow to 198.18.24.2 yet, not ready (unready_reals)"
    assert warning in " ".join((done.stdout + done.stderr).split())
    for result in fleet.module("balancers", "katran.fleet.balancer_info", {"gather": ["vips"]}).values():
        assert [len(vip["reals"]) for vip in result["vips"]] == [3] * 4
    # Where a balancer alone is asked, nobody knows whether the host is ready.
    done = fleet.ansible("ansible-playbook", "katran.fleet.deploy", "-i", str(more), "--limit", "lb1", "--check")
    assert done.returncode == 0, done.stdout
    warning = "vip 198.18.200.1:80/tcp: new flows go to 198.18.24.2, not known to be ready (unseen_reals)"
    assert warning in " ".join((done.stdout + done.stderr).split())


def test_a_real_gives_an_address_up_when_no_balancer_sends_to_it_any_more(fleet: Fleet) -> None:
    every = {vip.target.address for vip in fleet.vips()}
    before, after = fleet.config(), fleet.config()
    gone = [real_of(vip, "real3") for vip in after]
    for vip, real in zip(after, gone, strict=True):
        vip["reals"].remove(real)
    # It is still a real, of another VIP, so that balancers go on to know it.
    other = "198.18.200.9"
    opened = ExitStack()
    for config in (before, after):
        config.append({"address": other, "port": 80, "protocol": "tcp", "reals": gone[:1]})
    http = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
    try:
        fleet.deploy(after, "--limit", "reals:lb1")
        # A balancer that was left out still sends to it.
        assert vips_on(fleet, "real3") == {*every, other}
        fleet.apply(before)
        connections = [in_client(fleet.lab, lambda: flows.Connection(http[0])) for _ in range(40)]
        for connection in connections:
            opened.enter_context(closing(connection))
        old = [connection for connection in connections if connection.ask() == "real3"]
        assert old
        with asking_meanwhile(fleet.lab, http, concurrency=20, at_least=5000) as answers:
            review, recap = fleet.deploy(after, "--check"), fleet.deploy(after)
            # What a run makes sure of after a change is not part of a review.
            assert {name: each.changed for name, each in review.items()} == {
                name: each.changed for name, each in recap.items()
            }
        assert vips_on(fleet, "real3") == {other}
        assert vips_on(fleet, "real2") == every
        # What is open when its real goes is reset by another at once; nothing is sent where nobody answers.
        took = []
        for connection in old:
            asked = time.monotonic()
            with pytest.raises(ConnectionResetError):
                connection.ask()
            took.append(time.monotonic() - asked)
        # Where its flow is not purged, a connection hears of it only when it sends again what nobody answered.
        assert statistics.median(took) < 0.15, took
        broken = [flow.error for flow in answers.result(timeout=120) if flow.error]
        assert len(broken) <= 40
        assert [error for error in broken if not error.startswith("ConnectionResetError")] == []
    finally:
        opened.close()
        fleet.deploy()
    assert vips_on(fleet, "real3") == every


@pytest.mark.dosed
def test_no_request_fails_while_reals_are_drained_and_restored(deployed: Fleet) -> None:
    http = [vip for vip in deployed.vips() if vip.target.protocol == "tcp"]
    assert len(http) == 2
    # Without checks: what a busy machine's verdict takes out is reset, and is no drain's doing.
    deployed.apply(deployed.config())
    with asking_meanwhile(deployed.lab, [vip.target for vip in http], concurrency=50, at_least=REQUESTS) as answers:
        # Each run drains one real and restores the one before.
        for name in ("real1", "real2", "real3", None):
            config = deployed.config()
            for vip in config if name else []:
                real_of(vip, name)["state"] = "draining"
            deployed.apply(config)
            for report in traffic.send(deployed.lab, http, 100):
                assert set(report.answers) == {"real1", "real2", "real3"} - {name}
    done = answers.result(timeout=120)
    assert len(done) >= REQUESTS
    assert [flow for flow in done if flow.error] == [], agents_said(deployed.lab, "lb1", "lb2")
    assert {flow.real for flow in done} == {"real1", "real2", "real3"}
