# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host by itself."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.host import (
    Agent,
    Clock,
    Disk,
    of_agent,
    of_clock,
    of_compiler,
    of_disk,
    of_kernel,
)


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "6.12.9+deb13-amd64", "10.0", "strange"])
def test_a_kernel_that_will_do(release: str) -> None:
    assert list(of_kernel(release, True, "none")) == []


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.0.1", "4.19"])
def test_a_kernel_that_is_too_old(release: str) -> None:
    (finding,) = of_kernel(release, True, "")
    assert (finding.name, finding.error) == ("kernel_unfit", True)
    assert f"kernel {release} is older than 6.1" in finding.cause


def test_a_kernel_that_is_slow_or_closed() -> None:
    slow, closed = of_kernel("6.1.0", False, "confidentiality")
    assert (slow.name, slow.error, closed.name, closed.error) == ("kernel_unfit", False, "kernel_unfit", True)
    assert "net.core.bpf_jit_enable=1" in slow.remedy
    assert "lockdown=integrity" in closed.remedy


def test_a_compiler() -> None:
    assert list(of_compiler([])) == []
    (finding,) = of_compiler(["Python module bcc", "libbcc"])
    assert (finding.name, finding.error) == ("bcc_unfit", False)
    assert "Python module bcc, libbcc missing" in finding.cause


def test_a_clock() -> None:
    assert list(of_clock(Clock(1000.0, True, False, (1001.0, "state.json")))) == []
    # A container's clock is the machine's.
    assert list(of_clock(Clock(1000.0, False, True))) == []
    back, loose = of_clock(Clock(1000.0, False, False, (1100.0, "/state.json")))
    assert {back.name, loose.name} == {"clock_unfit"}
    assert "/state.json was written 100 s from now" in back.cause
    assert (back.error, loose.error) == (True, False)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("disk", "said", "error"),
    [
        (Disk("/f", True, 900 * MIB), "the disk of /f is read-only: runs are refused", True),
        (Disk("/f", False, 900 * MIB, names=False), "the disk of /f has room for no file more", True),
        (Disk("/f", False, 3 * MIB), "the disk of /f has 3 MiB left", True),
        (Disk("/f", False, 63 * MIB), "the disk of /f has 63 MiB left", False),
    ],
)
def test_a_disk_that_takes_no_state(disk: Disk, said: str, error: bool) -> None:
    (finding,) = of_disk(disk)
    assert (finding.name, finding.about, finding.error) == ("disk_unfit", "/f", error)
    assert finding.cause.startswith(said)
    assert ("remount" in finding.remedy) == disk.read_only


def test_a_disk_with_room() -> None:
    assert list(of_disk(Disk("/f", False, 64 * MIB))) == []


@pytest.mark.parametrize(
    "agent",
    [
        Agent(True, ["checks of reals"], True, 1.0),
        Agent(True, ["checks of reals"], True),
        # Without checks, it need not write.
        Agent(True, [], True, 1e6),
        Agent(False, [], False),
    ],
)
def test_an_agent_that_is_well(agent: Agent) -> None:
    assert list(of_agent("default", agent)) == []


@pytest.mark.parametrize(
    ("agent", "cause", "remedy"),
    [
        (Agent(True, ["checks of reals"], True, 60.0), "wrote nothing for 60 s", "systemctl restart katran-agent"),
        (Agent(True, [], False), "metrics stand still", "systemctl start katran-agent"),
        (Agent(False, ["announcements"], False), "has no agent, but needs one for announcements", "katran_agent: true"),
    ],
)
def test_an_agent_that_is_not(agent: Agent, cause: str, remedy: str) -> None:
    (finding,) = of_agent("default", agent)
    assert (finding.name, finding.about) == ("agent_down", "instance default")
    assert cause in finding.cause
    assert remedy in finding.remedy
