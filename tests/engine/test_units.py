# SPDX-License-Identifier: GPL-3.0-or-later
"""What the units say of themselves to systemd on this machine, without running them: the laboratory does."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
UNITS = PROJECT / "roles/host/files/systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


def section(name: str, title: str) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read(UNITS / name, encoding="utf-8")
    return dict(parser[title])


def test_the_document_has_the_figures() -> None:
    done = subprocess.run([PROJECT / "scripts/exposure", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_confined(name: str) -> None:
    service = section(name, "Service")
    assert service["ExecStart"].startswith("/usr/bin/python3 -I /usr/lib/katran-fleet/katran-")
    for option in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictNamespaces", "MemoryDenyWriteExecute"):
        assert service[option] == "yes", option
    assert service["ProtectSystem"] == "full"
    capabilities = set(service["CapabilityBoundingSet"].split())
    assert capabilities <= {"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"}


def test_who_wants_what() -> None:
    for name in ("katran-restore.service", "katran-watch.service", "katran-agent.service"):
        assert section(name, "Install") == {"WantedBy": "multi-user.target"}


def test_the_agent_is_bounded_and_watched() -> None:
    unit, service = section("katran-agent.service", "Unit"), section("katran-agent.service", "Service")
    assert "katran-restore.service" in unit["After"].split()
    # Nothing is announced before it was restored, nor by a daemon that came first.
    assert {"bird.service", "frr.service"} <= set(unit["Before"].split())
    assert (service["Type"], service["NotifyAccess"], service["Restart"]) == ("notify", "main", "always")
    assert 0 < int(service["WatchdogSec"]) <= 60
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    # Its workers end by themselves, once a run is done.
    assert service["KillMode"] == "mixed"
    assert {"CPUQuota", "MemoryHigh", "MemoryMax", "TasksMax", "Nice", "LimitNOFILE"} <= service.keys()
    # Neither a worker's memory nor the number of CPUs ends the agent.
    assert service["OOMPolicy"] == "continue"
    assert "OPENBLAS_NUM_THREADS=1" in service["Environment"].split()


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.iterdir()))
def test_systemd_understands_all_of_it(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", UNITS / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Here the library is not installed.
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line and name in line]
    assert said == []
