# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran doctor finds on a balancer: each fault is planted in a real kernel, and told by name with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import bcc
import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import ensure_agent
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor import host as examined
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import set_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows import open_flow_tables
from ansible_collections.katran.fleet.plugins.module_utils._engine.verdicts import apply_verdicts
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.probe_packets import segment
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.plugin_utils.library import library
from ansible_collections.katran.fleet.tests.engine.host import MAPS, STATE, apply, put, real, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

LINK = "lb"
OWN6, GATEWAY6 = "fd00:7::1", "fd00:7::fe"
OWN, GATEWAY = "198.18.7.1", "198.18.7.254"
VIPS = [vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"))]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        # As in a container: the clock is somebody else's.
        Path("/run/systemd").mkdir()
        Path("/run/systemd/container").write_text("test")
        run("ip", "link", "set", LINK, "mtu", "1600")
        run("ip", "link", "set", f"{LINK}-peer", "mtu", "1600")
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{OWN}/24", "dev", LINK)
        run("ip", "route", "add", "default", "via", GATEWAY)
        run("ip", "neigh", "add", GATEWAY, "lladdr", peer_mac(), "dev", LINK, "nud", "permanent")
        yield


def peer_mac() -> str:
    return Path(f"/sys/class/net/{LINK}-peer/address").read_text(encoding="ascii").strip()


@pytest.fixture
def balancer(host: None) -> None:
    del host
    attach()
    apply("vips", VIPS)


def attach(**options: object) -> None:
    ensure_balancer("attached", interfaces=[LINK], **{"gateway_mac": "auto", **options})


def found() -> list[Finding]:
    return list(examine(request(True), False).findings)


def only(name: str) -> Finding:
    """The one finding that there is, of that name."""
    findings = found()
    assert [finding.name for finding in findings] == [name], findings
    return findings[0]


def test_nothing_is_wrong(balancer: None) -> None:
    del balancer
    examination = examine(request(True), False)
    assert (examination.findings, examination.status) == ((), 0)
    seen = examination.seen
    assert seen["roles"] == ["balancer"]
    assert seen["balancer"]["gateway_mac"] == peer_mac()
    json.dumps(seen)


# The program and its links


def test_a_detached_program(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    finding = only("program_detached")
    assert (finding.about, finding.error) == (LINK, True)
    assert "systemctl restart katran-restore.service" in finding.remedy


def test_a_program_that_is_not_loaded(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    subprocess.run(["rm", "-r", f"{BPFFS}/katran"], check=True)
    assert only("program_detached").about == "instance default"


def test_a_foreign_program(balancer: None) -> None:
    del balancer
    put_other(LINK)
    finding = only("foreign_program")
    assert finding.about == LINK
    assert "xdp off" in finding.remedy


def put_other(link: str) -> None:
    """Let an interface run a program of somebody else's, which lets all pass."""
    source, target = "/run/other.c", "/run/other.o"
    Path(source).write_text(
        '__attribute__((section("xdp"), used)) int other(void *c) { return 2; }'
        ' char l[] __attribute__((section("license"), used)) = "GPL";',
        encoding="ascii",
    )
    run("clang", "-O2", "-target", "bpf", "-c", source, "-o", target)
    run("ip", "-force", "link", "set", link, "xdp", "obj", target, "sec", "xdp")


def test_a_slot_of_the_root_array() -> None:
    array = f"{BPFFS}/katran/default/maps/root_array"
    Root("default", BPFFS).ensure(RootSettings((LINK,), "native", BPF), False, 5)
    ensure_balancer("attached", root_array={"path": array, "position": 1}, gateway_mac="auto")
    apply("vips", VIPS)
    assert found() == []
    run("bpftool", "map", "delete", "pinned", array, "key", "1", "0", "0", "0")
    finding = only("program_detached")
    assert finding.about == f"slot 1 of {array}"
    run("ip", "link", "set", LINK, "xdp", "off")
    assert {each.about for each in found()} == {f"slot 1 of {array}", LINK}


def test_generic_mode_that_nobody_asked_for(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    run("ip", "link", "set", LINK, "xdpgeneric", "pinned", f"{BPFFS}/katran/default/balancer")
    finding = only("generic_mode")
    assert (finding.about, finding.error) == (LINK, True)
    assert "katran_mode" in finding.remedy


def test_interfaces_that_are_down_or_gone(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", f"{LINK}-peer", "down")
    assert "no carrier" in only("interface_down").cause
    run("ip", "link", "set", LINK, "down")
    findings = found()
    # With the interface, its default route goes.
    assert {finding.name for finding in findings} == {"interface_down", "gateway_mac"}
    assert "ip link set lb up" in findings[0].remedy + findings[1].remedy
    run("ip", "link", "del", LINK)
    assert "does not exist" in next(each for each in found() if each.name == "interface_down").cause


# The way out


def test_a_gateway_that_moved(balancer: None) -> None:
    del balancer
    run("ip", "neigh", "replace", GATEWAY, "lladdr", "02:00:00:00:00:77", "dev", LINK, "nud", "permanent")
    finding = only("gateway_mac")
    assert "02:00:00:00:00:77" in finding.cause
    assert "katran-agent" in finding.remedy


def test_a_gateway_that_does_not_answer(balancer: None) -> None:
    del balancer
    run("ip", "neigh", "del", GATEWAY, "dev", LINK)
    finding = only("gateway_mac")
    assert f"{GATEWAY} does not answer" in finding.cause


@pytest.mark.parametrize("address", [GATEWAY, GATEWAY6])
def test_a_gateway_that_moved_unnoticed(address: str) -> None:
    """The kernel goes on believing in a MAC that it heard of long ago."""
    run("ip", "route", "del", "default")
    run("ip", "netns", "add", "router")
    run("ip", "link", "set", f"{LINK}-peer", "netns", "router")
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", f"{LINK}-peer", "up", "address", "02:00:00:00:00:77"),
        ("addr", "add", f"{address}/{'64' if ':' in address else '24'}", "dev", f"{LINK}-peer", "nodad"),
    ):
        run("ip", "-n", "router", *words)
    run("ip", "addr", "add", f"{OWN6}/64", "dev", LINK, "nodad")
    run("ip", "route", "add", "default", "via", address, "dev", LINK)
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "permanent")
    attach()
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "stale")
    finding = only("gateway_mac")
    assert "sends to 02:00:00:00:00:76, but the gateway's MAC is 02:00:00:00:00:77" in finding.cause
    run("ip", "-n", "router", "addr", "flush", "dev", f"{LINK}-peer")
    run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:76", "dev", LINK, "nud", "stale")
    assert f"the gateway {address} does not answer on {LINK}" in only("gateway_mac").cause


def test_a_gateway_that_somebody_wrote() -> None:
    attach(gateway_mac="02:00:00:00:00:05")
    finding = only("gateway_mac")
    assert f"set katran_gateway_mac to {peer_mac()}" in finding.remedy
    put("ctl_array", layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes("02:00:00:00:00:06"))
    assert "somebody changed the map" in only("gateway_mac").cause


def test_a_link_that_is_too_small(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "mtu", "1500")
    finding = only("mtu_balancer")
    assert (finding.about, "1520" in finding.cause) == (LINK, True)
    assert "katran_real_mss" in finding.remedy


def test_a_driver_that_drops_what_the_program_sends(balancer: None) -> None:
    del balancer
    put_other(f"{LINK}-peer")
    sender = subprocess.Popen([sys.executable, "-c", SENDER, f"{LINK}-peer", "1500"])
    try:
        time.sleep(0.3)
        # Load alone is nothing to be told.
        assert [found() for _run in range(3)] == [[], [], []]
        # The other end takes less than what comes out of the tunnel.
        run("ip", "link", "set", f"{LINK}-peer", "mtu", "1500")
        finding = only("mtu_driver")
    finally:
        sender.kill()
        sender.wait()
    assert finding.about == LINK
    assert "veth" in finding.cause
    assert "ethtool" in finding.remedy


SENDER = """
import socket, struct, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
size, number = int(sys.argv[2]), 0
while True:
    number += 1
    body = struct.pack("!HHIIBBHHH", 1024 + number % 100, 80, 1, 1, 0x50, 0x10, 512, 0, 0).ljust(size - 20, b"\\0")
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + socket.inet_aton("192.0.2.7")
    wire.send(bytes(12) + b"\\x08\\0" + head + socket.inet_aton("198.51.100.1") + body)
    time.sleep(0.0005)
"""


# What is in the maps


def test_maps_that_somebody_edited(balancer: None) -> None:
    del balancer
    with KernelMaps(MAPS) as maps:
        maps.ring(0).cast("I")[0] = 7
    finding = only("map_edited")
    assert "vip 198.51.100.1:80/tcp: 1 ring slots changed" in finding.cause
    put("reals", layout.u32(1), layout.real_definition(layout.pack_address("10.9.9.9"), 0))
    assert "real 10.0.0.1: changed in reals" in only("map_edited").cause
    assert "katran.fleet.deploy" in only("map_edited").remedy


def flows(number: int, real_id: int) -> None:
    """So many TCP flows to a real in every table of a CPU."""
    with KernelMaps(MAPS) as maps, ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            if table.name == "lru_mapping":
                target = layout.pack_address("198.51.100.1")
                keys = [
                    layout.flow_key(layout.pack_address(f"10.1.{each // 250}.{each % 250}"), target, each, 80, 6)
                    for each in range(number)
                ]
                table.map.update_many([(key, layout.real_pos_lru(real_id, 0)) for key in keys])


def test_a_full_table_of_stale_flows(balancer: None) -> None:
    del balancer
    # Of a real that no slot of the ring leads to.
    flows(300, 9)
    finding = only("stale_flows")
    assert not finding.error
    assert "katran_sync" in finding.remedy
    flows(8000, 9)
    names = {finding.name: finding for finding in found()}
    assert set(names) == {"stale_flows", "flow_table_full"}
    assert "katran_sizes" in names["flow_table_full"].remedy


def test_packets_on_cpus_without_a_table() -> None:
    attach(forwarding_cores=[max(os.sched_getaffinity(0))])
    apply("vips", VIPS)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind((f"{LINK}-peer", 0))
        with wire:
            wire.send(syn())
    finally:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    finding = only("fallback_cache")
    assert "katran_forwarding_cores" in finding.remedy


def syn() -> bytes:
    found = read_address("192.0.2.7"), read_address("198.51.100.1")
    assert found[0]
    assert found[1]
    return bytes(12) + b"\x08\x00" + segment(found[0], found[1], (31337, 80), 1)


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
    assert found() == []
    Path(BPF, "packet_counter.bpf.c").write_text("no C", encoding="ascii")
    finding = only("bcc_unfit")
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


def katran(*arguments: str) -> subprocess.CompletedProcess[str]:
    folder = Path("/run/library")
    if not folder.exists():
        for path, text in library().items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    command = ["/usr/bin/python3", "-I", str(folder / "katran"), "doctor", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_command(balancer: None) -> None:
    del balancer
    done = katran("--no-probes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "balancer: nothing is wrong\n", "")
    run("ip", "link", "set", LINK, "xdp", "off")
    apply("vips", [])
    done = katran()
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith(f"error program_detached {LINK}: interface {LINK} runs no XDP program: ")
    assert first.endswith("; systemctl restart katran-restore.service brings it back, and so does a deploy")
    assert last == "balancer: 1 error, 0 warnings"
    (told,) = json.loads(katran("--json").stdout)
    assert (told["instance"], told["status"], told["seen"]["roles"]) == ("default", 1, ["balancer"])
    assert [finding["name"] for finding in told["findings"]] == ["program_detached"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--instance", "../x"], "../x is not the name of an instance"),
        (["--instance", "green"], "there is no instance green on this host"),
        (["--vip", "web"], "web is not the name of a VIP, such as 198.51.100.1:443/tcp"),
        (["--real", "10.0.0"], "10.0.0 is not the address of a real"),
    ],
)
def test_what_the_command_refuses(balancer: None, arguments: list[str], sentence: str) -> None:
    del balancer
    done = katran(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"katran: {sentence}\n")


def test_a_host_that_has_nothing() -> None:
    done = katran()
    sentence = "katran: there is nothing of katran.fleet on this host, neither balancer nor real\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    # What another program of ours left is neither.
    STATE.parent.mkdir(parents=True, mode=0o700)
    STATE.parent.parent.chmod(0o700)
    done = katran()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_a_run_that_goes_on(balancer: None) -> None:
    del balancer
    with locked("default", True, 1), ThreadPoolExecutor(1) as pool:
        # Another process's run, as far as locks go.
        asked = replace(request(True), lock_timeout=0.2)
        examination = pool.submit(examine, asked, False).result()
    assert examination.status == 2
    assert "is locked by another run" in examination.findings[0].cause
