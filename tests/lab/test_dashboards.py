# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/monitoring in use: a real Prometheus scrapes balancers, and dashboards and rules find their data."""

from __future__ import annotations

import asyncio
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetlab.client import in_client
from fleetlab.flows import Target, open_flows
from fleetlab.monitoring import (
    DOCS,
    UNSERVED,
    VIP,
    Dashboard,
    Prometheus,
    legend,
    pulled,
    tls_service,
    variables,
    wait,
    watched,
)
from fleetlab.plan import CONTROL
from fleetlab.runs import Fleet, on_host
from fleetlab.system import network

BALANCERS = ("lb1", "lb2")
BOARDS = ("fleet", "vip", "host")
DEGRADED = f"{VIP}:443/tcp"
"""The VIP of which one real alone is well, the lightest."""

RIGHTLY_EMPTY = {
    ("fleet", "Agent started"),
    ("vip", "Agent started"),
    ("host", "Agent started"),
}
"""Marks of what does not happen here. Every panel has data: a fault is planted for those that show faults."""

CHOSEN = {"fleet": {}, "host": {}, "vip": {"vip": f"{VIP}:8080/tcp"}}
NO_METRIC = {"ALERTS", "up"}


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has seen traffic, denied clients, a fault and its alerts."""
    lab = fleet.lab
    with tls_service(lab, "real3"):
        fleet.playbook("katran.fleet.deploy", variables(lab), "--limit", "balancers")
        try:
            with watched(lab, tmp_path_factory.mktemp("prometheus"), *BALANCERS) as found:
                for host in BALANCERS:
                    pulled(lab, host)
                targets = [Target(VIP, 80, "tcp"), Target(VIP, 7, "udp")] * 60
                in_client(lab, lambda: asyncio.run(open_flows([(each, 0) for each in targets], 4, pause=0.2)))
                closed = [(Target(VIP, 8080, "tcp"), 0), (Target(UNSERVED, 443, "tcp"), 0)]
                in_client(lab, lambda: asyncio.run(open_flows(closed, 2)))
                for name in ("KatranVipDegraded", "KatranNotReady", "KatranVipWithoutReal"):
                    wait(lambda name=name: alert(found, name), lambda: str(found.now("ALERTS")))
                wait(
                    lambda: bool(found.now("sum(increase(katran_vip_denied_packets_total[1m])) > 0")),
                    lambda: str(found.now("katran_vip_denied_packets_total")),
                )
                yield found
        finally:
            fleet.deploy(None, "--limit", "balancers")


def alert(prometheus: Prometheus, name: str) -> bool:
    return bool(prometheus.now(f'ALERTS{{alertname="{name}",alertstate="firing"}}'))


def board(name: str, prometheus: Prometheus, path: Path | None = None) -> Dashboard:
    found = Dashboard(path or DOCS / f"dashboards/{name}.json", prometheus, "1m")
    found.choose(**CHOSEN[name])
    return found


def metrics_in(expr: str) -> set[str]:
    """The names of metrics in PromQL: words before a brace, or alone."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    return set(re.findall(r"\b(?:katran|bird|node)_\w+|\bALERTS\b|\bup(?=[{ ])", bare))


def without_data(name: str, found: Dashboard) -> list[str]:
    """What panels and marks lack: a result, a metric, or a label that is shown."""
    lacking = []
    known = set(found.prometheus.get("label/__name__/values"))
    for title, target, expr in found.queries():
        series = found.prometheus.now(expr)
        if not series:
            lacking.append(f"{title}: no data: {expr}")
        # A query that ends in "or vector(0)" gives data whatever its metric is called.
        lacking += [f"{title}: no metric {each}" for each in metrics_in(expr) - known]
        lacking += [
            f"{title}: no label {label} in {labels}"
            for label in re.findall(r"{{(\w+)}}", target.get("legendFormat") or "")
            for labels, _value in series
            if label not in labels
        ]
    for title, expr in found.annotations():
        if not found.prometheus.now(expr) and (name, title) not in RIGHTLY_EMPTY | {("vip", "Alerts")}:
            lacking.append(f"{title}: no data: {expr}")
        lacking += [f"{title}: no metric {each}" for each in metrics_in(expr) - known]
    return lacking


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_data(prometheus: Prometheus, name: str) -> None:
    assert not without_data(name, board(name, prometheus))


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_has_what_there_is(prometheus: Prometheus, name: str) -> None:
    offered = Dashboard(DOCS / f"dashboards/{name}.json", prometheus).choose(**CHOSEN[name])
    assert offered["instance"] == list(BALANCERS)
    assert offered["balancer"] == ["default"]
    assert {f"{VIP}:80/tcp", DEGRADED} <= set(offered.get("vip", (f"{VIP}:80/tcp", DEGRADED)))
    assert offered.get("place", [VIP]) == [VIP]


def test_the_address_of_an_ipv6_vip_is_found(prometheus: Prometheus) -> None:
    found = Dashboard(DOCS / "dashboards/vip.json", prometheus)
    assert found.choose(vip="[fd6b:6174:7261:200::1]:80/tcp")["place"] == ["fd6b:6174:7261:200::1"]


def test_a_metric_of_another_name_is_noticed(prometheus: Prometheus, tmp_path: Path) -> None:
    """What proves the test above: it must not pass whatever the agent exports."""
    for metric in ("katran_vip_degraded", "katran_place_not_ready", "katran_vip_packets_total", "bird_protocol_up"):
        other = tmp_path / "fleet.json"
        text = (DOCS / "dashboards/fleet.json").read_text(encoding="utf-8")
        other.write_text(text.replace(f"{metric}{{", f"{metric}_of_before{{"), encoding="utf-8")
        assert any(
            f"no metric {metric}_of_before" in each for each in without_data("fleet", board("fleet", prometheus, other))
        )


def test_tables_name_their_columns(prometheus: Prometheus) -> None:
    """Labels that a table has a column for are in what its queries give."""
    for name in BOARDS:
        found = board(name, prometheus)
        for panel in found.panels:
            if panel["type"] != "table" or panel["title"] == "Alerts that fire":
                continue
            named = next(
                each["options"]["renameByName"] for each in panel["transformations"] if each["id"] == "organize"
            )
            keys = {each for each in named if not each.startswith("Value")}
            for target in panel["targets"]:
                for labels, _value in found.prometheus.now(found.filled(target["expr"])):
                    assert set(labels) == keys, (name, panel["title"], target["expr"])


def test_numbers_are_those_of_the_fleet(prometheus: Prometheus) -> None:
    found = board("fleet", prometheus)
    shown = {
        panel["title"]: prometheus.now(found.filled(panel["targets"][0]["expr"]))[0][1]
        for panel in found.panels
        if panel["type"] == "stat"
    }
    assert shown["Balancers up"] == len(BALANCERS)
    assert shown["VIPs degraded"] == shown["VIPs without a real"] == shown["Addresses withdrawn"] == 1
    assert shown["Reals failing checks"] == 3
    assert shown["Inventory not applied"] == shown["Programs not running"] == 0
    assert prometheus.now('sum(katran_drops_total{reason="ring_slot_empty"})')[0][1] > 0
    assert 9 * 86400 < shown["First certificate ends"] <= 10 * 86400


def test_the_rules_are_at_work(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {name: rule["lastError"] for name, rule in rules.items() if rule["health"] != "ok"} == {}
    told = {each["labels"]["instance"]: each for each in rules["KatranVipDegraded"]["alerts"]}
    assert sorted(told) == list(BALANCERS)
    assert told["lb1"]["annotations"]["summary"] == f"{DEGRADED} is degraded on lb1"
    assert alert(prometheus, "KatranRealDown")
    known = set(prometheus.get("label/__name__/values"))
    assert {name for rule in rules.values() for name in metrics_in(rule["query"])} <= known | {"up"}


def test_legends_read_as_names(prometheus: Prometheus) -> None:
    for name in BOARDS:
        for title, target, expr in (found := board(name, prometheus)).queries():
            if target.get("legendFormat"):
                names = [legend(target, labels) for labels, _value in found.prometheus.now(expr)]
                assert len(set(names)) == len(names), (name, title, names)


def test_who_has_no_certificate_is_told_nothing(prometheus: Prometheus, fleet: Fleet) -> None:
    """And nothing but nginx listens where others reach it."""
    with network(fleet.lab.namespace_path(CONTROL)):
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        address = fleet.lab.host("lb1").management
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(f"https://{address}:9443/katran", context=nobody, timeout=10)
        with told.value as answer:
            assert answer.code == 400
        for port in (9100, 9324, 9463):
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=10)
    listening = on_host(fleet.lab, "lb1", "ss -Hltn '( sport = :9100 or sport = :9324 or sport = :9463 )'").splitlines()
    assert sorted(line.split()[3] for line in listening) == ["127.0.0.1:9100", "127.0.0.1:9324", "127.0.0.1:9463"]
