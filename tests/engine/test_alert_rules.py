# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/monitoring/rules.yml in the hands of promtool: each rule fires where it should, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
RULES = PROJECT / "docs/monitoring/rules.yml"
PROMTOOL = PROJECT / ".cache/promtool/usr/bin/promtool"

B = 'instance="lb1:9463", job="katran", balancer="default"'
VIP = f'{B}, vip="198.51.100.1:443/tcp"'
REAL = f'{B}, real="10.0.0.11"'


class Case(t.NamedTuple):
    """A series that makes a rule fire at a time, and one that is as near to it as can be and does not."""

    fires: str
    values: str
    quiet: str
    at: str = "5m"
    series: str | None = None
    """The series of the quiet case, where it is another."""


CASES = {
    "KatranVipWithoutReal": Case(f"katran_vip_active_reals{{{VIP}}}", "0x40", "1x40"),
    "KatranVipDegraded": Case(f"katran_vip_degraded{{{VIP}}}", "1x40", "0 0 1 0 1 0 0x40"),
    "KatranRealDown": Case(f"katran_real_checks_down{{{REAL}}}", "2x40", "0 0 2 0 0x40"),
    "KatranRealFlapping": Case(f"katran_real_recent_changes{{{REAL}}}", "6x40", "5x40"),
    "KatranProgramDetached": Case(
        f'katran_program_attached{{{B}, program="balancer", place="eth0"}}', "0x40", "1 1 1x40"
    ),
    "KatranNotReady": Case(f'katran_place_not_ready{{{B}, place="198.51.100.1"}}', "1x40", "1 stale"),
    "KatranBgpSessionDown": Case(
        'bird_protocol_up{instance="lb1:9324", name="tor1", proto="BGP"}',
        "0x40",
        "0x40",
        series='bird_protocol_up{instance="lb1:9324", name="kv4", proto="Kernel"}',
    ),
    "KatranDropsRising": Case(f'katran_drops_total{{{B}, reason="ring_slot_empty"}}', "0+60x40", "0+3x40"),
    "KatranVipDeniesEverybody": Case(f"katran_vip_denied_packets_total{{{VIP}}}", "0+1x80", "7x80", at="12m"),
    "KatranFallbackUsed": Case(f"katran_fallback_table_packets_total{{{B}}}", "0+1x40", "7x40"),
    "KatranFlowTableNearFull": Case(
        f'katran_flow_table_fill_ratio{{{B}, table="global_lru_maps"}}', "0.95x80", "0.9x80", at="15m"
    ),
    "KatranExceptionsNotDelivered": Case(f"katran_sync_unacknowledged{{{B}}}", "40x40", "40 0 40 0 0x40"),
    "KatranAgentDown": Case('up{instance="lb1:9463", job="katran"}', "0x40", "1x40"),
    "KatranDriftSeen": Case(f"katran_drift_total{{{B}}}", "0x10 1x30", "3x40"),
    "KatranCertificateEnding": Case(
        f'katran_certificate_expiry_timestamp_seconds{{{REAL}, address="198.51.100.1", port="443"}}',
        "1000000x40",
        "1209900x40",
    ),
    "KatranGatewayUnresolved": Case(f"katran_gateway_resolved{{{B}}}", "0x40", "1 1 1x40"),
    "KatranEngineRunsFail": Case(f'katran_engine_runs_total{{{B}, result="failed"}}', "0+1x40", "2x40"),
    "KatranPullFails": Case('katran_pull_failed{instance="lb1:9100"}', "1x40", "0x40"),
    "KatranPullStale": Case(
        'katran_pull_last_success_timestamp_seconds{instance="lb1:9100"}', "0x900", "1900x900", at="3h30m"
    ),
}


def named_rules() -> list[str]:
    """The names of all rules."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    return [rule["alert"] for rule in rules]


def run_promtool(tmp_path: Path, name: str, series: str, values: str, at: str, fires: bool) -> None:
    """One test of promtool's: whether the rule fires at that time. What it says is in the failure."""
    alive = [] if name == "KatranAgentDown" else [{"series": 'up{job="katran"}', "values": "1x90"}]
    number = [{"labels": "{}", "value": 1}] if fires else []
    expression = f'count(ALERTS{{alertname="{name}", alertstate="firing"}})'
    case = {
        "interval": "15s",
        "input_series": [{"series": series, "values": values}, *alive],
        "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": number}],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [case]}), encoding="utf-8")
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    done = subprocess.run([PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested() -> None:
    assert sorted(named_rules()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_it_fires(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    run_promtool(tmp_path, name, case.fires, case.values, case.at, True)


@pytest.mark.parametrize("name", CASES)
def test_it_does_not_fire(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    run_promtool(tmp_path, name, case.series or case.fires, case.quiet, case.at, False)


def check(tmp_path: Path, name: str, series: dict[str, str], at: str, fires: bool) -> None:
    """Whether a rule fires that is about several series (name → values, each 15 s), evaluated as often."""
    case = {
        "interval": "15s",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
    file = tmp_path / "test.yml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [case]}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_session_that_is_down_in_changing_words_is_told(tmp_path: Path) -> None:
    """bird says of a session that is down now this, now that; each text is a series of its own."""
    session = 'bird_protocol_up{instance="lb1", name="tor1", proto="BGP", state="%s"}'
    series = {session % "Active": "0 stale" + " 0 stale" * 20, session % "Idle": "stale" + " 0 stale" * 20}
    check(tmp_path, "KatranBgpSessionDown", series, "5m", True)


@pytest.mark.parametrize(("misses", "fires"), [("0+30x120", True), ("0+10x120", False)])
def test_a_full_table_is_told_where_it_forgets_connections(tmp_path: Path, misses: str, fires: bool) -> None:
    """Two packets in a hundred are of connections that it does not know, or fewer than one."""
    series = {
        f'katran_flow_table_fill_ratio{{{B}, table="lru_mapping"}}': "1x120",
        f'katran_flow_table_misses_total{{{B}, packet="tcp_other"}}': misses,
        f'katran_frames_total{{{B}, verdict="sent"}}': "0+1500x120",
    }
    check(tmp_path, "KatranFlowTableNearFull", series, "28m", fires)


def test_a_fleet_without_any_agent_is_told(tmp_path: Path) -> None:
    run_promtool(tmp_path, "KatranAgentDown", 'up{job="node"}', "1x40", "5m", True)


def test_every_metric_is_one_that_the_agent_has() -> None:
    """A rule about a name that nobody exports never fires."""
    told = set(re.findall(r"katran_\w+", " ".join(map(str, yaml.safe_load(RULES.read_text())["groups"][0]["rules"]))))
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (PROJECT / "plugins/module_utils").rglob("*.py")
        if path.parent.name in ("_agent", "_model")
    )
    # Of a host that pulls its inventory, its command tells.
    source += (PROJECT / "roles/pull/files/katran-pull").read_text(encoding="utf-8")
    for name in told - {"katran_sync_unacknowledged"}:
        stem = name.removesuffix("_total")
        assert f'"{stem}"' in source or stem in ("katran_frames", "katran_bytes"), name
