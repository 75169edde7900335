# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran doctor finds beside a balancer's program: words, agent, host; and the command as it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import bcc
import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import ensure_agent
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor import host as examined
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import set_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.verdicts import apply_verdicts
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.tests.engine.doctored import (
    LINK,
    VIPS,
    attach,
    balancers_host,
    found,
    only,
    peer_mac,
)
from ansible_collections.katran.fleet.tests.engine.host import MAPS, STATE, apply, real, vip
from ansible_collections.katran.fleet.tests.engine.katran import install, katran
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    request,
    run,
)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with balancers_host():
        yield


@pytest.fixture
def balancer(host: None) -> None:
    del host
    attach()
    apply("vips", VIPS)


# Who said what


def ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, tz=UTC).isoformat(timespec="seconds")


def test_drained_by_hand_and_forgotten(balancer: None) -> None:
    del balancer
    apply("reals", [{"address": "10.0.0.1", "state": "draining"}])
    set_drain(request(), "ann")
    # Who does it knows of it for a while.
    assert found() == []
    state = json.loads(STATE.read_text(encoding="utf-8"))
    state["overlay"][0]["since"] = ago(7200)
    STATE.write_text(json.dumps(state), encoding="utf-8")
    drain = STATE.with_name("drain.json")
    drain.write_text(drain.read_text(encoding="utf-8").replace(json.loads(drain.read_text())["since"], ago(7200)))
    findings = found()
    assert [(each.name, each.about, each.error) for each in findings] == [
        ("drained_by_hand", "10.0.0.1", False),
        ("drained_by_hand", "instance default", False),
    ]
    assert "katran.fleet.reals" in findings[0].remedy
    assert "katran undrain" in findings[1].remedy


CHECKED = [vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"), check={"type": "tcp"})]


def say(*verdicts: tuple[str, str]) -> None:
    said = [Verdict("198.51.100.1:80/tcp", address, word, ago(5), "refused") for address, word in verdicts]
    apply_verdicts(request(), said)


def test_health_against_persons_and_floors(balancer: None) -> None:
    del balancer
    apply("vips", CHECKED)
    folder = agent()
    try:
        assert found() == []
        apply("reals", [{"address": "10.0.0.1", "state": "active"}])
        say(("10.0.0.1", "down"))
        finding = only("health_and_overlay")
        assert "active by hand, but down by check" in finding.cause
        assert "katran checks 10.0.0.1" in finding.remedy
        apply("reals", [])
        say(("10.0.0.1", "down"), ("10.0.0.2", "down"))
        finding = only("health_and_overlay")
        assert (finding.error, "is degraded" in finding.cause) == (True, True)
    finally:
        os.close(folder)


def test_checks_that_find_no_way_out_say_nothing_of_reals() -> None:
    attach(gateway_mac=peer_mac())
    apply("vips", CHECKED)
    folder = agent()
    try:
        say(("10.0.0.1", "down"), ("10.0.0.2", "down"))
        assert only("health_and_overlay")
        run("ip", "route", "del", "default")
        finding = only("source_unreachable")
        assert finding.about == "IPv4"
        assert "no IPv4 route to 198.51.100.1:80/tcp" in finding.cause
        run("ip", "route", "add", "unreachable", "default")
        assert only("source_unreachable")
    finally:
        os.close(folder)


def agent() -> int:
    """Be an agent that takes part, until the descriptor is closed."""
    folder = "/run/katran-fleet/default"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = hold(folder)
    assert found is not None
    return found


def test_an_agent_that_is_down(balancer: None) -> None:
    del balancer
    apply("vips", CHECKED)
    assert "has no agent" in only("agent_down").cause
    settings = {name: option.get("default") for name, option in AGENT.items()}
    ensure_agent(request(), parse_agent({**settings, "metrics_listen": []}))
    finding = only("agent_down")
    assert "checks of reals" in finding.cause
    assert "systemctl start katran-agent" in finding.remedy
    os.close(agent())


# The host


def test_a_clock_that_went_back(balancer: None) -> None:
    del balancer
    os.utime(STATE, (time.time() + 100, time.time() + 100))
    finding = only("clock_unfit")
    assert "went back" in finding.cause
    assert "chrony" in finding.remedy


def test_a_compiler_that_is_missing(balancer: None) -> None:
    del balancer
    folder = str(Path(bcc.__file__).parent)
    run("mount", "-t", "tmpfs", "tmpfs", folder)
    try:
        sys.path_importer_cache.clear()
        del sys.modules["bcc"]
        finding = only("bcc_unfit")
    finally:
        run("umount", folder)
    assert "python3-bpfcc" in finding.remedy


def test_programs_that_cannot_be_compiled(balancer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del balancer
    monkeypatch.setattr(examined, "SOURCES", BPF)
    assert examine(request(True), False, proves=True).findings == ()
    Path(BPF, "packet_counter.bpf.c").write_text("no C", encoding="ascii")
    (finding,) = examine(request(True), False, proves=True).findings
    assert finding.name == "bcc_unfit"
    assert "does not compile" in finding.cause


def test_an_examiner_that_fails_hides_nothing(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    run("rm", f"{MAPS}/ctl_array")
    names = [finding.name for finding in found()]
    assert names == ["program_detached"]
    STATE.write_text("{", encoding="ascii")
    (damaged,) = found()
    assert damaged.name == "not_examined"
    assert f"{STATE} is damaged" in damaged.cause
    STATE.unlink()
    (lost,) = found()
    assert lost.name == "not_examined"
    assert f"{STATE} is lost" in lost.cause
    assert examine(request(True), False).status == 2


# The command, as it is installed


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    install()
    return katran("doctor", *arguments)


def test_the_command(balancer: None) -> None:
    del balancer
    done = doctor("--no-probes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "balancer: nothing is wrong\n", "")
    run("ip", "link", "set", LINK, "xdp", "off")
    apply("vips", [])
    done = doctor()
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith(f"error program_detached {LINK}: interface {LINK} runs no XDP program: ")
    assert first.endswith("; systemctl restart katran-restore.service brings it back, and so does a deploy")
    assert last == "balancer: 1 error, 0 warnings"
    (told,) = json.loads(doctor("--json").stdout)
    assert (told["instance"], told["status"], told["seen"]["roles"]) == ("default", 1, ["balancer"])
    assert [finding["name"] for finding in told["findings"]] == ["program_detached"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--instance", "../x"], "../x is not the name of an instance"),
        (["--instance", "green"], "there is no instance green on this host"),
        (
            ["--vip", "web"],
            "web is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a real's",
        ),
        # What nothing is called so is not well: it was not looked at.
        (["--vip", "203.0.113.250"], "no VIP or real is 203.0.113.250; there are "),
        (["--real", "203.0.113.250"], "no VIP of this host has real 203.0.113.250; there are "),
        (["--real", "10.0.0"], "10.0.0 is not the address of a real"),
    ],
)
def test_what_the_command_refuses(balancer: None, arguments: list[str], sentence: str) -> None:
    del balancer
    done = doctor(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"katran: {sentence}")
    assert done.stderr.count("\n") == 1


def test_a_host_that_has_nothing() -> None:
    done = doctor()
    sentence = "katran: there is nothing of katran.fleet on this host, neither balancer nor real\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    # What another program of ours left is neither.
    STATE.parent.mkdir(parents=True, mode=0o700)
    STATE.parent.parent.chmod(0o700)
    done = doctor()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_a_run_that_goes_on(balancer: None) -> None:
    del balancer
    with locked("default", True, 1), ThreadPoolExecutor(1) as pool:
        # Another process's run, as far as locks go.
        asked = replace(request(True), lock_timeout=0.2)
        examination = pool.submit(examine, asked, False).result()
    assert examination.status == 2
    assert "is locked by another run" in examination.findings[0].cause
