# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook doctor on a fleet of two balancers and three reals: nothing where it is sound, else the cause alone."""

from __future__ import annotations

import base64
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleetlab.runs import Fleet, on_host

VIP, VIP6 = "198.18.200.1", "fd6b:6174:7261:200::1"
DROPS = "type filter hook input priority 0;"
RUNS = int(os.environ.get("KATRAN_TRIALS", "1"))
"""`make doctor-trials` makes 20, of which most take no more than 10 s; a single one may meet a busy machine."""

SECONDS = 10 if RUNS > 1 else 30


def doctor(fleet: Fleet, path: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was printed, and what was written down."""
    done = fleet.ansible("ansible-playbook", "katran.fleet.doctor", "-e", f"katran_doctor_json={path}", *arguments)
    assert path.exists(), done.stdout[-3000:] + done.stderr[-2000:]
    return done.returncode, done.stdout, json.loads(path.read_text(encoding="utf-8"))


def found(told: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["host"], each["name"], each["about"]) for each in told["findings"]}


@contextmanager
def planted(fleet: Fleet, host: str, plant: str, mend: str) -> Iterator[None]:
    on_host(fleet.lab, host, plant)
    try:
        yield
    finally:
        on_host(fleet.lab, host, mend)


def settled(fleet: Fleet) -> None:
    """Until checks and announcements are what they are to be, as katran doctor on each balancer sees it."""
    deadline = time.monotonic() + 60
    for host in ("lb1", "lb2"):
        while on_host(fleet.lab, host, "katran doctor >/tmp/doctor 2>&1; echo $?") != "0":
            assert time.monotonic() < deadline, on_host(fleet.lab, host, "cat /tmp/doctor")
            time.sleep(0.5)


@pytest.fixture(autouse=True)
def sound(fleet: Fleet) -> None:
    settled(fleet)


def test_nothing_is_wrong_with_a_sound_fleet(fleet: Fleet, tmp_path: Path) -> None:
    times = []
    for number in range(RUNS):
        began = time.monotonic()
        status, printed, told = doctor(fleet, tmp_path / f"doctor{number}.json")
        times.append(time.monotonic() - began)
        assert (status, told["findings"], told["explained"]) == (0, [], []), printed
        assert told["summary"] == "OK: 4 VIPs over 2 balancers and 3 reals"
        assert told["summary"] in printed.splitlines()
    usual = sorted(times)[RUNS // 2]
    print(f"{RUNS} runs of the playbook on 5 hosts: nothing; {usual:.1f} s, {max(times):.1f} s at most")
    assert usual < SECONDS


def test_of_faults_at_reals_the_cause_is_told_and_no_symptom(fleet: Fleet, tmp_path: Path) -> None:
    faults = {
        "real1": (f"ip addr del {VIP}/32 dev lo", f"ip addr add {VIP}/32 dev lo scope host"),
        "real2": (
            f"nft -f - <<X\ntable inet t {{\nchain i {{ {DROPS}\nip6 daddr {VIP6} tcp dport 80 drop\n}}\n}}\nX",
            "nft delete table inet t",
        ),
        "real3": ("systemctl stop lab-echo", "systemctl start lab-echo"),
    }
    with ExitStack() as stack:
        for host, (plant, mend) in faults.items():
            stack.enter_context(planted(fleet, host, plant, mend))
        status, printed, told = doctor(fleet, tmp_path / "doctor.json")
    assert status
    assert found(told) == {
        ("real1", "vip_not_on_lo", VIP),
        ("real2", "firewall_drops", f"[{VIP6}]:80/tcp"),
        ("real3", "service_refuses", f"{VIP}:7/udp, [{VIP6}]:7/udp"),
    }, printed
    assert {(each["host"], each["name"]) for each in told["explained"]} >= {
        ("lb1", "service_silent"),
        ("lb2", "service_silent"),
        ("lb1", "service_refuses"),
    }
    assert f"real1: vip_not_on_lo {VIP}: " in printed


def test_what_only_the_fleet_shows(fleet: Fleet, tmp_path: Path) -> None:
    """A host that is down, a wrong address in the inventory, and a real drained by hand on one balancer alone."""
    other = tmp_path / "other.yml"
    hosts = {
        "real2": {"katran_real_address": ["198.18.22.99", "fd6b:6174:7261:22::2"]},
        "real3": {"ansible_host": f"nowhere.{fleet.lab.prefix}.invalid"},
    }
    other.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    real = {"address": "198.18.21.2", "state": "draining"}
    fleet.module("lb2", "katran.fleet.reals", {"config": [real]})
    try:
        status, printed, told = doctor(fleet, tmp_path / "doctor.json", "-i", str(other))
    finally:
        fleet.module("lb2", "katran.fleet.reals", {"config": [real], "state": "deleted"})
    assert status
    assert found(told) == {
        ("real3", "host_unreachable", ""),
        ("real2", "real_address", "198.18.22.99"),
        ("lb2", "rings_differ", f"{VIP}:7/udp, {VIP}:80/tcp"),
    }, printed
    assert all("198.18.21.2 is draining by hand" in each["cause"] for each in told["findings"] if each["host"] == "lb2")


def test_a_part_of_the_fleet(fleet: Fleet, tmp_path: Path) -> None:
    status, printed, told = doctor(fleet, tmp_path / "doctor.json", "--limit", "lb1,real1")
    assert (status, told["findings"]) == (0, []), printed
    assert told["summary"] == "OK: 4 VIPs over 1 balancer and 1 real"


def test_a_bundle_has_no_password_and_masked_no_address(fleet: Fleet, tmp_path: Path) -> None:
    on_host(fleet.lab, "lb1", "katran doctor --bundle /run/bundle.tar.gz --mask")
    encoded = on_host(fleet.lab, "lb1", "base64 -w0 /run/bundle.tar.gz; rm /run/bundle.tar.gz")
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(base64.b64decode(encoded))
    with tarfile.open(path) as archive:
        texts = {entry.name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    whole = "\n".join([*texts, *texts.values()])
    assert "protocol bgp" in texts["katran-bundle/host/bird.conf"]
    assert "laboratory-only" not in whole
    assert not [each for each in (VIP, VIP6, "198.18.21.2", "198.18.11.1", "fd6b:6174") if each in whole]
