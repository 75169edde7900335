# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's verdicts on a real balancer: others' words, slow start, restarts, and the command that shows them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import (
    LIBRARY,
    QUICK,
    RUN,
    STATE,
    VIP,
    Service,
    apply,
    checks,
    slots,
    until,
    vip,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import SOURCES, compiled_once, sandbox

NAME = f"{VIP}:80/tcp"
R1, R2, R3 = "10.0.0.1", "10.0.0.2", "10.0.0.3"
OTHERS = RUN / "verdicts.d"


@pytest.fixture(name="services", autouse=True)
def fleet() -> Iterator[dict[str, Service]]:
    with sandbox(agents.LINK), compiled_once(), agents.network(3) as reals:
        agents.install()
        shutil.copy(SOURCES.parent / "roles/host/files/katran", LIBRARY)
        agents.balance()
        services = {real: Service(real) for real in reals}
        try:
            yield services
        finally:
            for each in services.values():
                each.kill()


def all_active() -> bool:
    return len(checks()) == 3 and all(each["state"] == "active" for each in checks().values())


def katran(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/python3", "-I", str(LIBRARY / "katran"), "checks", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def stored() -> list[dict[str, Any]]:
    found = json.loads((STATE / "state.json").read_text(encoding="utf-8"))["verdicts"]
    assert isinstance(found, list)
    return found


def feed(*words: dict[str, Any], text: str | None = None) -> None:
    """As a feeder does: written under another name and renamed."""
    OTHERS.mkdir(mode=0o700, exist_ok=True)
    new = OTHERS / ".new"
    new.write_text(json.dumps(words) if text is None else text, encoding="utf-8")
    new.rename(OTHERS / "consul.json")


def test_words_of_others(services: dict[str, Service]) -> None:
    apply(vip(*services, check=QUICK))
    whole = slots()
    with agents.agent() as agent:
        until(all_active, 10)
        feed({"vip": VIP, "real": R1, "state": "down", "until": time.time() + 600})
        until(lambda: R1 not in slots())
        agent.said(f"vip {NAME}: real {R1} active → down (down by consul)")
        # A file that is damaged counts as it was.
        feed(text="[{")
        agent.said("consul.json is damaged (")
        time.sleep(0.5)
        assert R1 not in slots()
        assert katran(R1).returncode == 1
        # One that is killed and started again knows it still.
        until(lambda: "consul.json" in json.loads((RUN / "checks.json").read_text(encoding="utf-8"))["words"])
        assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    with agents.agent() as agent:
        until(lambda: any("consul.json is damaged (" in line for line in agent.lines), 10)
        time.sleep(1.0)
        assert R1 not in slots()
        # What expires ends by itself.
        feed({"vip": NAME, "real": R1, "state": "down", "until": time.time() + 1.5})
        until(lambda: slots() == whole)
        feed({"vip": NAME, "real": R3, "state": "draining", "until": time.time() + 600})
        until(lambda: R3 not in slots())
        (OTHERS / "consul.json").unlink()
        until(lambda: slots() == whole)
    assert stored() == []


@pytest.mark.parametrize("check", [QUICK, {"type": "external"}], ids=["probed", "external"])
def test_words_of_others_outlive_a_reboot(services: dict[str, Service], check: dict[str, Any]) -> None:
    apply(vip(*services, check={**check, "min_healthy": 0}))
    whole = slots()
    kept = STATE / "words.json"
    ends = time.time() + 15
    with agents.agent() as agent:
        until((RUN / "checks.json").exists)
        feed(
            {"vip": VIP, "real": R1, "state": "down", "until": time.time() + 600},
            {"vip": VIP, "real": R2, "state": "draining", "until": ends},
        )
        until(lambda: set(slots()) == {R3})
        until(kept.exists)
        # What a ring has is in the state a moment later.
        until(lambda: len(stored()) == 2)
        agent.end(signal.SIGKILL)
    before = stored()
    shutil.rmtree(RUN)
    with agents.agent() as agent:
        time.sleep(3)
        assert set(slots()) == {R3}
        assert stored() == before
        # What expires ends by itself, also now.
        until(lambda: set(slots()) == {R2, R3}, 40)
        assert time.time() > ends
        # Taken back, whether by a word or by the file that goes, it is so for good.
        feed()
        until(lambda: slots() == whole)
        feed({"vip": VIP, "real": R3, "state": "down", "until": time.time() + 600})
        until(lambda: R3 not in slots())
        (OTHERS / "consul.json").unlink()
        until(lambda: slots() == whole)
        agent.end()
    shutil.rmtree(RUN)
    with agents.agent() as agent:
        until((RUN / "checks.json").exists)
        time.sleep(2)
        assert slots() == whole
        agent.end()


def test_a_real_that_recovers_starts_slowly(services: dict[str, Service]) -> None:
    apply(vip(*services, check={**QUICK, "slow_start": 4.5}))
    whole = slots()
    with agents.agent():
        until(all_active, 10)
        services[R2].kill()
        until(lambda: R2 not in slots())
        services[R2].start()
        began = time.monotonic() + until(lambda: R2 in slots())
        shares = [slots()[R2]]
        while slots() != whole and time.monotonic() - began < 15:
            share = slots()[R2]
            if share != shares[-1]:
                shares.append(share)
            time.sleep(0.02)
        took = time.monotonic() - began
    assert slots() == whole
    assert shares == sorted(shares)
    # 2 reals of weight 100, one of 10 to 100: a twenty-first of the ring, and no step that moves far more.
    assert shares[0] < whole[R2] * 0.2
    assert max(later - earlier for earlier, later in itertools.pairwise(shares)) < whole[R2] * 0.2
    assert 3.5 < took < 8
    assert stored() == []


def test_a_restart_changes_no_verdict(services: dict[str, Service]) -> None:
    apply(vip(*services, check=QUICK))
    with agents.agent() as agent:
        until(all_active, 10)
        services[R3].kill()
        until(lambda: R3 not in slots())
        until(lambda: checks()[R3]["state"] == "down")
        history = checks()[R3]["history"]
        agent.end(signal.SIGKILL)
    ring, verdicts = slots(), stored()
    written = os.stat(STATE / "state.json").st_mtime_ns
    for sent in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        with agents.agent() as agent:
            at = time.time()
            until(lambda at=at: checks()[R3]["asked"] > at and checks()[R3]["count"] >= 3, 10)  # type: ignore[misc]
            agent.end(sent)
            assert not [line for line in agent.lines if "→" in line or "verdicts applied" in line]
        assert (slots(), stored()) == (ring, verdicts)
        assert checks()[R3]["history"] == history
    assert os.stat(STATE / "state.json").st_mtime_ns == written
    # A reboot loses /run.
    shutil.rmtree(RUN)
    with agents.agent():
        until(lambda: len(checks()) == 3 and all(each["state"] for each in checks().values()), 10)
        time.sleep(0.3)
    assert slots() == ring
    assert [(each["real"], each["state"], each["since"]) for each in stored()] == [
        (each["real"], each["state"], each["since"]) for each in verdicts
    ]


def test_all_at_once(services: dict[str, Service]) -> None:
    apply(vip(*services, check={**QUICK, "interval": 20.0}))
    with agents.agent():
        # The first of each comes within its interval.
        until(lambda: RUN.joinpath("checks.json").exists(), 10)
        done = katran("--now", "--wait", "10")
        assert "within" not in done.stdout
        until(all_active, 10)
        begun = time.time()
        done = katran("--now")
        assert (done.returncode, done.stderr) == (0, "")
        assert time.time() - begun < 4
        assert all(each["asked"] > begun for each in checks().values())
        assert done.stdout.count("active in ") == 3
        services[R1].kill()
        done = katran("--now", "--json")
        (row,) = [each for each in json.loads(done.stdout)[0]["checks"] if each["real"] == R1]
        assert row["last"]["reason"] == "connection refused"
    done = katran()
    assert done.returncode in (1, 2)
    until(lambda: "the agent does not run" in katran().stdout, 20)


def test_half_of_them_die(services: dict[str, Service]) -> None:
    apply(vip(*services, check=QUICK))
    with agents.agent():
        until(all_active, 10)
        for real in (R1, R2, R3):
            services[real].kill()
        until(lambda: len(stored()) == 3)
        # 50 % stay: of three, two.
        assert len(slots()) == 2
        until(lambda: "is degraded" in katran().stdout)
        assert katran().returncode == 1


def test_the_command_stands_alone() -> None:
    """What it needs is in the library: no Ansible, no agent."""
    done = katran("--help")
    assert done.returncode == 0
    assert "Exit status" in done.stdout
    assert Path(LIBRARY / "katran").read_text(encoding="utf-8").startswith("# SPDX")
