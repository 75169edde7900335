# SPDX-License-Identifier: GPL-3.0-or-later
"""katran status, vips, reals and flows on real maps: a host that is well, and each way in which it is not."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import clear_drain, set_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import HASH
from ansible_collections.katran.fleet.tests.engine import real as real_side
from ansible_collections.katran.fleet.tests.engine.host import module_here
from ansible_collections.katran.fleet.tests.engine.katran import FOLDER, install, katran, told
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    GATEWAY,
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

LINK = "lb0"
MAPS = f"{BPFFS}/katran/default/maps"
STATE = Path(STATE_ROOT, "default", "state.json")
WEB, DNS, SIX = "198.51.100.1:443/tcp", "198.51.100.2:53/udp", "[2001:db8::1]:443/tcp"
R1, R2, R3 = "10.0.0.1", "10.0.0.2", "10.0.0.3"
CONFIG: list[dict[str, Any]] = [
    {
        "address": "198.51.100.1",
        "port": 443,
        "protocol": "tcp",
        "reals": [{"address": R1, "weight": 3}, {"address": R2}, {"address": R3, "state": "draining"}],
    },
    {"address": "198.51.100.2", "port": 53, "protocol": "udp", "reals": [{"address": R1}], "flags": ["no_lru"]},
    {"address": "2001:db8::1", "port": 443, "protocol": "tcp", "reals": [{"address": "fc00::1"}]},
]


def apply(config: list[dict[str, Any]], resource: str = "vips") -> None:
    apply_resource(resource, request(), Asked(config, "overridden", allow_empty=True))


@pytest.fixture(scope="module")
def program() -> Iterator[None]:
    with compiled_once():
        yield


@contextmanager
def balancer() -> Iterator[None]:
    with sandbox(LINK):
        install()
        ensure_balancer("attached", interfaces=[LINK])
        apply(CONFIG)
        yield


@pytest.fixture
def host(program: None) -> Iterator[None]:
    """One that the test may spoil."""
    with balancer():
        yield


@pytest.fixture(scope="class")
def one_host(program: None) -> Iterator[None]:
    with balancer():
        yield


@pytest.fixture
def well(one_host: None) -> Iterator[None]:
    """One for all tests that leave it as it is, but for what they say of reals."""
    yield
    apply([], "reals")


def status(*arguments: str) -> dict[str, Any]:
    (found,) = told("status", *arguments)["balancers"]
    assert isinstance(found, dict)
    return found


def states() -> dict[str, str]:
    return {vip["vip"]: vip["state"] for vip in status()["vips"]}


def ring_of(name: str) -> int:
    """The VIP's number."""
    return int(json.loads(STATE.read_text())["vip_numbers"]["assigned"][name])


@pytest.mark.usefixtures("well")
class TestWell:
    """A balancer that nobody announces and nobody checks."""

    def test_in_words(self) -> None:
        done = katran("status")
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0].startswith("program   ")
        assert lines[0].endswith(f" on {LINK} (native)")
        assert lines[1] == f"sends     IPIP to the gateway {GATEWAY}"
        assert lines[2] == "agent     none"
        assert lines[5] == "VIPs      3 ready"
        assert lines[6].split() == ["VIP", "STATE", "REALS", "IN", "RING", "PACKETS", "BYTES", "WHY"]
        assert lines[7].split() == [WEB, "ready", "2/3", "100", "%", "0", "0", "-"]
        assert len(lines) == 10
        assert "\x1b" not in done.stdout

    def test_for_programs(self) -> None:
        found = status()
        assert set(found) == {
            *("instance", "bpffs", "loaded", "program", "attached", "agent", "drained", "tables", "counters", "vips"),
            *("reals", "differences", "problems", "notes", "sure", "well"),
        }
        assert set(found["program"]) == {"id", "tag", "encapsulation", "features", "gateway_mac"}
        assert (found["well"], found["sure"], found["differences"], found["notes"]) == (True, True, [], [])
        assert [each["place"] for each in found["attached"]] == [f"interface {LINK}"]
        assert {each["table"] for each in found["tables"]} == {"lru_mapping", "fallback_cache"}
        assert all(each["exact"] and not each["entries"] for each in found["tables"])

    def test_vips_with_their_reals(self) -> None:
        apply([{"address": R2, "state": "draining"}], "reals")
        (found,) = told("vips", "198.51.100.1")
        (vip,) = found["vips"]
        assert (vip["vip"], vip["state"], vip["reals"], vip["reals_in"]) == (WEB, "ready", 3, 1)
        rows = {each["real"]: each for each in vip["members"]}
        assert {name: (each["state"], each["by"], each["share"]) for name, each in rows.items()} == {
            R1: ("active", "inventory", 1.0),
            R2: ("draining", "hand", 0.0),
            R3: ("draining", "inventory", 0.0),
        }
        assert rows[R2]["since"]
        assert "draining  hand            1    0 %" in katran("vips", ":443").stdout
        # One real alone, in whichever VIP.
        assert [each["vip"] for each in told("vips", R1)[0]["vips"]] == [WEB, DNS]
        assert [len(each["members"]) for each in told("vips", R1)[0]["vips"]] == [1, 1]

    def test_shares_are_those_of_the_weights(self) -> None:
        (vip,) = told("vips", WEB)[0]["vips"]
        shares = {each["real"]: each["share"] for each in vip["members"]}
        assert shares[R1] == pytest.approx(0.75, abs=0.01)
        assert sum(shares.values()) == pytest.approx(1, abs=0.001)

    def test_reals(self) -> None:
        apply([{"address": R1, "state": "down"}], "reals")
        found = {each["real"]: each for each in told("reals")[0]["reals"]}
        assert list(found) == [R1, R2, R3, "fc00::1"]
        assert found[R1]["states"] == {"down": 2}
        assert found[R1]["vips"] == [WEB, DNS]
        assert found[R1]["by_hand"]["state"] == "down"
        assert [found[name]["flows"] for name in found] == [0, 0, 0, 0]
        assert katran("reals").returncode == 1
        assert katran("reals", R2).returncode == 0

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["vips", "198.51.100.3"], f"no VIP or real is 198.51.100.3; the nearest: {DNS}, {WEB}"),
            (["status", "10.9.9.9"], f"no VIP or real is 10.9.9.9; there are {WEB}, {DNS}, {SIX}"),
            (["reals", ":80"], f"no VIP or real is :80; there are {WEB}, {DNS}, {SIX}"),
            (
                ["vips", "web"],
                "web is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a real's",
            ),
            (["status", "--instance", "green"], "there is no balancer green on this host, and no real"),
            (["flows", "--client", "10.0.0"], "client: 10.0.0 is neither an IP address nor a prefix"),
        ],
    )
    def test_what_is_not_there(self, words: list[str], sentence: str) -> None:
        done = katran(*words)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"katran: {sentence}\n")

    def test_a_narrow_terminal_has_reasons_on_lines_of_their_own(self) -> None:
        apply([{"address": R1, "state": "down"}], "reals")
        lines = katran("status", COLUMNS="60").stdout.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(DNS))
        assert lines[at].split()[1] == "down"
        assert lines[at + 1] == "    its ring is empty: no real takes new flows"

    def test_an_output_of_another_age_or_none(self) -> None:
        apply([{"address": R2, "state": "draining"}], "reals")
        assert katran("vips", LC_ALL="C").returncode == 0
        closed = subprocess.run(["bash", "-c", f"/usr/bin/python3 -I {FOLDER}/katran vips >&-"], check=False)
        assert closed.returncode == 0

    def test_a_reader_that_goes_away(self) -> None:
        for word in ("status", "vips", "reals", "flows"):
            command = f"/usr/bin/python3 -I {FOLDER}/katran {word} | true"
            done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
            assert done.stderr == ""

    def test_somebody_who_is_not_root(self) -> None:
        subprocess.run(["chmod", "-R", "a+rX", FOLDER], check=True)
        for word in ("status", "vips", "reals", "flows"):
            done = katran(word, prefix=("setpriv", "--reuid=65534", "--clear-groups"))
            assert done.returncode == 2
            assert done.stderr.startswith("katran: not enough privilege: ")
            assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("host")
class TestUnwell:
    """What is wrong is told, each with exit status 1; what cannot be told with 2."""

    def test_the_program_was_taken_off(self) -> None:
        with Interfaces() as links:
            links.replace(LINK, -1, "native", bpf.open_program(f"{BPFFS}/katran/default/balancer"))
        done = katran("status")
        assert done.returncode == 1
        assert f"wrong: interface {LINK}: balancer of instance default was taken off" in done.stdout
        assert set(states().values()) == {"down"}

    def test_the_interface_is_down(self) -> None:
        run("ip", "link", "set", LINK, "down")
        assert status()["problems"] == [f"interface {LINK} is down (ip link set {LINK} up)"]

    def test_somebody_edits_maps(self) -> None:
        with KernelMaps(MAPS) as maps:
            maps.ring(ring_of(WEB)).cast("Q")[0] = 0
            dns = next(key for key in maps.entries("vip_map") if layout.parse_vip_definition(key)[2] == 17)
            maps.delete("vip_map", [dns])
            foreign = layout.vip_definition(layout.pack_address("198.51.100.9"), 80, 6)
            maps.put("vip_map", [(foreign, layout.vip_meta(0, 9))])
            maps.put("reals", [(layout.u32(30), layout.real_definition(layout.pack_address("10.9.9.9"), 0))])
        found = status()
        assert found["differences"] == [
            f"vip {WEB}: its ring is not as the last run left it",
            f"vip {DNS}: missing in vip_map",
            "vip 198.51.100.9:80/tcp: not ours, in vip_map",
            "real with id 30: not ours, in reals",
        ]
        vips = {vip["vip"]: vip for vip in found["vips"]}
        assert (vips[DNS]["state"], vips[DNS]["reasons"]) == ("down", ["it is not in the kernel's map of VIPs"])
        assert vips[WEB]["edited"]
        assert 0.99 < vips[WEB]["ring_share"] < 1
        assert katran("status").returncode == 1
        # What a module finds is the same, and more.
        apply(CONFIG)
        assert status()["differences"] == []

    def test_no_real_is_left(self) -> None:
        apply([{"address": R1, "state": "down"}, {"address": R2, "state": "down"}], "reals")
        assert states() == {WEB: "down", DNS: "down", SIX: "ready"}
        assert katran("status").returncode == 1

    def test_a_person_drained_it(self) -> None:
        set_drain(request(), "alice", True)
        done = katran("status")
        assert done.returncode == 1
        assert "drained   by alice since " in done.stdout
        clear_drain(request())
        assert katran("status").returncode == 0

    def test_another_run_is_at_work(self) -> None:
        with locked("default", True, 5):
            began = time.monotonic()
            done = katran("status")
            took = time.monotonic() - began
        assert done.returncode == 2
        assert f"note: another run is at work (pid {os.getpid()}): this may be half of its change" in done.stdout
        assert "3 ready" in done.stdout
        assert took < 5
        with locked("default", True, 5):
            assert "2 of 3 in" in katran("vips").stdout
            assert "flows in all" in katran("flows").stdout

    @pytest.mark.parametrize("damage", ["", "{", '{"schema": 1}', "\x00", None])
    def test_its_record_is_damaged(self, damage: str | None) -> None:
        if damage is None:
            STATE.unlink()
        else:
            STATE.write_text(damage)
        for word in ("status", "vips", "reals"):
            done = katran(word)
            assert (done.returncode, done.stderr) == (2, ""), (word, done)
            assert ("is damaged (" if damage is not None else "is missing: what the kernel has") in done.stdout
            assert (R1 if word != "status" else "sends     tunnels to the gateway") in done.stdout
        vips = {vip["vip"]: vip for vip in told("vips")[0]["vips"]}
        assert set(vips) == {WEB, DNS, SIX}
        assert [each["real"] for each in vips[WEB]["members"]] == [R1, R2]

    @pytest.mark.parametrize("name", ["vip_map", "ch_rings", "server_id_stats", "stats", "ctl_array"])
    def test_another_map_is_pinned_under_a_name(self, name: str) -> None:
        os.unlink(f"{MAPS}/{name}")
        with bpf.Map(bpf.create_map(HASH, 4, 4, 1)) as other:
            other.update(bytes(4), bytes(4))
            bpf.pin(other.fd, f"{MAPS}/{name}")
        found = status()
        assert found["differences"][0].startswith(f"map {name}: another map is pinned at {MAPS}/{name}, not the map")
        assert {vip["state"] for vip in found["vips"]} == {"ready"}
        for word in ("vips", "reals", "flows"):
            assert katran(word).stderr == ""
        # With the program gone, nobody knows which map was meant.
        run("ip", "link", "set", LINK, "xdp", "off")
        os.unlink(f"{BPFFS}/katran/default/balancer")
        done = katran("status")
        assert (done.returncode, done.stderr) == (1, "")

    def test_the_pins_are_gone(self) -> None:
        run("ip", "link", "set", LINK, "xdp", "off")
        subprocess.run(["rm", "-r", f"{BPFFS}/katran"], check=True)
        done = katran("status")
        assert done.returncode == 1
        assert "wrong: balancer default is not loaded: systemctl restart katran-restore.service" in done.stdout
        for word in ("vips", "reals"):
            assert katran(word).stderr == ""
        assert katran("flows").stderr.startswith("katran: balancer default is not loaded on this host")


def put_flow(client: str, port: int, real: int, protocol: int = 6) -> None:
    """An entry of the connection table of CPU 0, as the program leaves it."""
    key = layout.flow_key(layout.pack_address(client), layout.pack_address("198.51.100.1"), port, 443, protocol)
    with bpf.open_map(f"{MAPS}/lru_mapping") as outer:
        number = layout.parse_u32(outer.lookup(bytes(4)) or b"")
    with bpf.map_by_id(number) as table:
        table.update(key, struct.pack("=I4xQ", real, 0))


@pytest.mark.usefixtures("host")
def test_flows_that_todays_ring_contradicts() -> None:
    ids = json.loads(STATE.read_text())["real_ids"]["assigned"]
    for port in range(1000, 1100):
        put_flow("192.0.2.7", port, ids[R1])
    found = told("flows", "--limit", "1000")[0]
    assert (found["total"], len(found["flows"])) == (100, 100)
    assert found["reals"] == [{"real": R1, "id": ids[R1], "flows": 100}]
    # A quarter of all clients are R2's.
    elsewhere = [flow for flow in found["flows"] if flow["stale"]]
    assert 10 < len(elsewhere) < 45
    assert {flow["ring"] for flow in elsewhere} == {R2}
    assert {flow["ring"] for flow in found["flows"] if not flow["stale"]} == {R1}
    stale = told("flows", "--stale", "--limit", "5")[0]
    assert (stale["total"], len(stale["flows"])) == (len(elsewhere), 5)
    done = katran("flows", "--stale", "--client", "192.0.2.0/24")
    assert done.returncode == 1
    assert "an entry of TCP has no age" in done.stdout
    # R2 alone is left: so it would be for all of them.
    apply([{"address": R1, "state": "down"}], "reals")
    assert told("flows", "--stale")[0]["total"] == 100
    assert katran("flows", "--stale", "--real", R2).returncode == 0


@pytest.mark.usefixtures("host")
def test_modules_give_the_same() -> None:
    found = module_here("balancer_info", {"gather": ["status"]})["status"]
    assert found["real"] is None
    assert found["balancer"] == status()
    flows = module_here("flows_info", {"stale": True})
    assert (flows["total"], flows["flows"]) == (0, [])


@pytest.mark.usefixtures("program")
def test_a_real_without_a_balancer() -> None:
    with real_side.real_host():
        install()
        assert katran("status").stderr == "katran: there is no balancer on this host, and no real\n"
        real_side.ensure(real_side.A, real_side.C, sources=["172.16.0.0/16"], server_id=7)
        done = katran("status")
        assert (done.returncode, done.stderr) == (0, "")
        assert f" by XDP on {real_side.LINK} (native)" in done.stdout
        data = told("status")
        assert module_here("balancer_info", {"gather": ["status"]})["status"] == {
            "balancer": None,
            "real": data["reals"][0],
        }
        assert data["balancers"] == []
        (found,) = data["reals"]
        assert (found["vips"], found["loopback"]) == ([real_side.A, real_side.C], [real_side.A, real_side.C])
        assert (found["sources"], found["server_id"], found["well"]) == (["172.16.0.0/16"], 7, True)
        assert told("status", f"{real_side.A}:443/tcp") == data
        assert katran("status", "203.0.113.9").stderr == (
            "katran: this host, a real, serves no 203.0.113.9; it serves 198.51.100.1, 2001:db8::1\n"
        )
        real_side.answers(real_side.A)
        assert told("status")["reals"][0]["counters"]["total"] == 1
        run("ip", "addr", "del", f"{real_side.A}/32", "dev", "lo")
        done = katran("status")
        assert done.returncode == 1
        assert f"wrong: vip {real_side.A} is no address of lo" in done.stdout
        assert katran("vips").stderr.startswith("katran: there is no balancer on this host, which is a real")


@pytest.mark.usefixtures("program")
def test_there_is_nothing() -> None:
    with sandbox():
        install()
        for word in ("status", "vips", "reals", "flows"):
            done = katran(word)
            assert (done.returncode, done.stderr) == (2, "katran: there is no balancer on this host, and no real\n")


@pytest.mark.usefixtures("program")
def test_a_host_that_is_both() -> None:
    with sandbox(LINK, real_side.LINK):
        run("ip", "link", "set", "lo", "up")
        install()
        ensure_balancer("attached", interfaces=[LINK])
        apply(CONFIG)
        real_side.ensure(real_side.A)
        done = katran("status")
        assert (done.returncode, done.stderr) == (0, "")
        assert "VIPs      3 ready" in done.stdout
        assert "\nreal default\ndecap     program " in done.stdout
        data = told("status")
        assert [len(data["balancers"]), len(data["reals"])] == [1, 1]
        assert data["reals"][0]["vips"] == [real_side.A]
