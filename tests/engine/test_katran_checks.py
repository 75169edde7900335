# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran checks, as it is installed, with the system's Python and nothing of Ansible."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import Checked, iso
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal, vip_to_config
from ansible_collections.katran.fleet.tests.engine.katran import FOLDER, install, katran
from ansible_collections.katran.fleet.tests.engine.sandbox import sandbox

WEB, DNS = "198.51.100.1:443/tcp", "198.51.100.2:53/udp"
R1, R2 = "10.0.0.1", "10.0.0.2"
VIPS = {
    key: Vip(key, reals=(VipReal(R1), VipReal(R2)), check=check)
    for key, check in (
        (VipKey.read(WEB), Check(Probe("tcp"))),
        (VipKey.read(DNS), None),
    )
}
OK = Answer("active", "", 0.0008)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox():
        install()
        yield


def stored(*verdicts: Verdict, instance: str = "default", vips: dict[VipKey, Vip] | None = None) -> None:
    state = State(
        instance, "/sys/fs/bpf", vips=[vip_to_config(vip) for vip in (VIPS if vips is None else vips).values()]
    )
    state.verdicts = [verdict._asdict() for verdict in verdicts]
    StateFile(instance, "/sys/fs/bpf").write(state)


def written(at: float, instance: str = "default", degraded: dict[str, str] | None = None, **healths: Health) -> None:
    targets = Checked.of(VIPS).pairs
    known = {target: healths["r" + target.real[-1]] for target in targets}
    record = ChecksRecord(known, {target: [WEB] for target in targets}, degraded or {}, {}, at)
    files = RunFiles(instance)
    files.write(files.checks, record.to_json())


def active(asked: float) -> Health:
    return Health("active", 1.8e9, "", "active", 9, OK, asked)


def test_all_is_well() -> None:
    now = time.time()
    stored()
    written(now, r1=active(now - 0.2), r2=active(now - 0.2))
    done = katran("checks")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["VIP", "REAL", "STATE", "SINCE", "REASON", "LAST", "ANSWER"]
    assert lines[1].startswith(f"{WEB}  10.0.0.1  active  2027-01-15 08:00:00")
    assert "active in 0.8 ms, " in lines[1]
    assert lines[2].startswith(f"{' ' * len(WEB)}  10.0.0.2  active")
    assert len(lines) == 3


def test_one_is_down() -> None:
    now = time.time()
    refused = Answer("down", "connection refused", 0.0003)
    stored(Verdict(WEB, R2, "down", iso(now - 5), "connection refused"))
    down = Health("down", now - 5, "connection refused", "down", 9, refused, now)
    written(now, degraded={WEB: "50 % are down"}, r1=active(now), r2=down)
    done = katran("checks")
    assert done.returncode == 1
    assert "10.0.0.2  down" in done.stdout
    assert "down: connection refused in 0.3 ms" in done.stdout
    assert done.stdout.endswith(f"vip {WEB} is degraded: 50 % are down\n")
    # One of the two alone.
    assert katran("checks", R1).returncode == 0
    assert katran("checks", R2).returncode == 1
    assert katran("checks", "198.51.100.1").returncode == 1
    done = katran("checks", R2, "--json")
    (shown,) = json.loads(done.stdout)
    assert (done.returncode, shown["alive"], shown["sure"]) == (1, True, True)
    (row,) = shown["checks"]
    assert (row["real"], row["state"], row["last"]["reason"]) == (R2, "down", "connection refused")


def test_the_agent_is_dead() -> None:
    now = time.time()
    stored()
    written(now - 300, r1=active(now - 300), r2=active(now - 301))
    done = katran("checks")
    assert done.returncode == 2
    assert (
        "the agent does not run: this is as it was 5 min ago (systemctl status katran-agent says more)" in done.stdout
    )
    assert done.stdout.count("active in 0.8 ms, 5 min ago") == 2
    # Nobody would answer to that.
    begun = time.monotonic()
    assert katran("checks", "--now", "--wait", "30").returncode == 2
    assert time.monotonic() - begun < 10
    assert not Path(RunFiles("default").kick).exists()


def test_the_agent_never_ran() -> None:
    stored(Verdict(WEB, R2, "down", iso(1.8e9), "timed out"))
    done = katran("checks")
    assert done.returncode == 2
    assert "the agent is not there and nothing is known of its checks: what was applied last is shown" in done.stdout
    assert "10.0.0.1  unknown  -" in done.stdout
    assert "10.0.0.2  down     2027-01-15 08:00:00 UTC  timed out" in done.stdout


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 1}', "\x00"])
def test_a_damaged_file_is_a_sentence(damage: str) -> None:
    stored()
    files = RunFiles("default")
    files.write(files.checks, damage)
    done = katran("checks")
    assert (done.returncode, done.stderr) == (2, "")
    assert f"{files.checks} is damaged (" in done.stdout
    assert "10.0.0.1  unknown" in done.stdout


def test_several_balancers() -> None:
    now = time.time()
    for name in ("blue", "default"):
        stored(instance=name)
        written(now, name, r1=active(now), r2=active(now))
    stored(instance="plain", vips={})
    done = katran("checks")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("instance")] == [
        "instance blue",
        "instance default",
        "instance plain",
    ]
    assert "instance plain\nno VIP has a check\n" in done.stdout
    assert "instance" not in katran("checks", "--instance", "blue").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--instance", "green"], "there is no balancer green on this host"),
        (["--instance", "../default"], "../default is not the name of an instance"),
        (["192.0.2.1"], "no VIP with a check is 192.0.2.1, and none has such a real"),
        ([DNS], f"no VIP with a check is {DNS}, and none has such a real"),
        (["web"], "web is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a real's"),
    ],
)
def test_what_is_not_there(arguments: list[str], sentence: str) -> None:
    now = time.time()
    stored()
    written(now, r1=active(now), r2=active(now))
    done = katran("checks", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"katran: {sentence}\n")


def test_no_balancer_at_all() -> None:
    done = katran("checks")
    assert (done.returncode, done.stderr) == (2, "katran: there is no balancer on this host\n")


def test_state_that_is_not_roots_alone() -> None:
    stored()
    Path(StateFile("default", "/sys/fs/bpf").path).chmod(0o666)
    done = katran("checks")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not root's alone" in done.stderr


def test_somebody_who_is_not_root() -> None:
    stored()
    subprocess.run(["chmod", "-R", "a+rX", FOLDER], check=True)
    command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-I", str(FOLDER / "katran"), "checks"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("katran: ")


def test_a_reader_that_goes_away() -> None:
    now = time.time()
    stored()
    written(now, r1=active(now), r2=active(now))
    done = subprocess.run(
        ["bash", "-c", f"/usr/bin/python3 -I {FOLDER}/katran checks | true"], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""


class Agent:
    """Asks all targets when it is told to, half of a second later."""

    def __init__(self, answers: bool) -> None:
        self.files = RunFiles("default")
        self.kicks = 0
        self._answers = answers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        before, due, asked = self.files.kicked(), float("inf"), time.time()
        while not self._ended.wait(0.02):
            if self.files.kicked() != before:
                before, due = self.files.kicked(), time.monotonic() + 0.5
                self.kicks += 1
            if time.monotonic() >= due and self._answers:
                asked, due = time.time(), float("inf")
            written(time.time(), r1=active(asked), r2=active(asked + 0.01))


def test_now() -> None:
    stored()
    with Agent(True) as agent:
        time.sleep(0.1)
        begun = time.monotonic()
        done = katran("checks", "--now")
        took = time.monotonic() - begun
        assert (done.returncode, agent.kicks) == (0, 1)
        assert 0.5 <= took < 5
        assert Path(agent.files.kick).stat().st_mode & 0o777 == 0o600


def test_now_has_an_end() -> None:
    stored()
    with Agent(False) as agent:
        time.sleep(0.1)
        done = katran("checks", "--now", "--wait", "1")
        assert (done.returncode, agent.kicks) == (2, 1)
        assert "2 targets did not answer to --now within 1 s" in done.stdout
        done = katran("checks", R1, "--now", "--wait", "1", "--json")
        assert json.loads(done.stdout)[0]["notes"] == ["1 target did not answer to --now within 1 s"]
