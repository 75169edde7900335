# SPDX-License-Identifier: GPL-3.0-or-later
"""Program healthcheck on a real interface: probes in tunnels, and a host that is left as it was."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import (
    Healthcheck,
    restore_healthcheck,
)
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck_info import healthcheck_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.run import run_locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import (
    ConfigError,
    EngineError,
    ProgramError,
    StateError,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    GATEWAY,
    compiled_once,
    killed_after,
    request,
    run,
    sandbox,
)

MAPS = f"{BPFFS}/katran/default/maps"
MARK = getattr(socket, "SO_MARK", 36)
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("out", "other"), compiled_once():
        run("ip", "addr", "add", "198.18.7.1/24", "dev", "out")
        run("ip", "addr", "add", "fd00:7::1/64", "dev", "out", "nodad")
        run("ip", "route", "add", "default", "via", "198.18.7.254")
        run("ip", "route", "add", "default", "via", "fd00:7::fe", "dev", "out")
        run("ip", "neigh", "add", "198.18.7.254", "lladdr", GATEWAY, "dev", "out")
        run("ip", "neigh", "add", "fd00:7::fe", "lladdr", GATEWAY, "dev", "out")
        yield


PARAMS: dict[str, Any] = {
    "interface": "out",
    "encapsulation": "ipip",
    "gue_port": 6080,
    "source_ipv4": "auto",
    "source_ipv6": "auto",
    "source_mac": "auto",
    "gateway_mac": "auto",
    "max_frame": 1514,
    "counted_vips": [],
    "source_dir": BPF,
}


def ensure(check: bool = False, **options: Any) -> Result:
    return Healthcheck("default", BPFFS).ensure(parse_healthcheck({**PARAMS, **options}), check, 5)


def remove(check: bool = False) -> list[str]:
    return Healthcheck("default", BPFFS).remove(check, 5).changes


def destinations(*config: tuple[int, str | None], state: str = "overridden", check: bool = False) -> Any:
    rows = [{"mark": mark, "real": real} for mark, real in config]
    return apply_resource("healthcheck_destinations", request(check), Asked(rows, state))


def filters(interface: str = "out") -> list[dict[str, Any]]:
    found = json.loads(run("tc", "-j", "filter", "show", "dev", interface, "egress") or "[]")
    return [each for each in found if "options" in each and "bpf_name" in each["options"]]


def qdiscs(interface: str = "out") -> list[str]:
    return [each["kind"] for each in json.loads(run("tc", "-j", "qdisc", "show", "dev", interface))]


def add_foreign_filter(interface: str, parent: int) -> None:
    """What another tool may have on the interface: a filter that lets everything pass."""
    nothing_to_say = struct.pack("<BBhi", 0xB7, 0, 0, -1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    fd = bpf.load_program(nothing_to_say, bpf.PROG_TYPE_SCHED_CLS, 0, "foreign")
    with IPRoute() as route:
        index = route.link_lookup(ifname=interface)[0]
        route.tc("add-filter", "bpf", index, 0, fd=fd, name="foreign", parent=parent, direct_action=True)
    os.close(fd)


def mac(interface: str) -> bytes:
    return bytes.fromhex(Path(f"/sys/class/net/{interface}/address").read_text().strip().replace(":", ""))


@contextlib.contextmanager
def wire(interface: str = "out-peer") -> Iterator[socket.socket]:
    """What leaves the host on the other end of the cable."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind((interface, 0))
        ear.settimeout(2)
        yield ear


def probe(
    mark: int, address: str, payload: bytes = b"probe", port: int = 80, sport: int = 0, options: bytes = b""
) -> None:
    """One datagram; `sport`: 0 for any; `options`: of its IPv4 header."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind(("", sport))
        if options:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        sender.setsockopt(socket.SOL_SOCKET, MARK, mark)
        sender.sendto(payload, (address, port))


def heard(ear: socket.socket) -> bytes:
    """The next frame, without what the kernels of veth pairs say among themselves."""
    while True:
        frame = ear.recv(4096)
        if frame[12:14] == b"\x08\x00" or (frame[12:14] == b"\x86\xdd" and frame[20] != 58):
            return frame


def test_marked_packets_go_to_their_real_and_others_untouched() -> None:
    ensure()
    destinations((1, "10.0.0.1"), (2, "fc00::1"))
    with wire() as ear:
        probe(1, "198.51.100.1")
        frame = heard(ear)
        assert frame[:14] == bytes.fromhex(GATEWAY.replace(":", "")) + mac("out") + b"\x08\x00"
        assert (frame[15], frame[23]) == (0, 4)
        assert frame[26:34] == socket.inet_aton("198.18.7.1") + socket.inet_aton("10.0.0.1")
        inner = frame[34:]
        assert struct.unpack_from("!H", frame, 16)[0] == 20 + len(inner)
        assert inner[12:20] == socket.inet_aton("198.18.7.1") + socket.inet_aton("198.51.100.1")
        assert inner.endswith(b"probe")

        probe(2, "2001:db8::1")
        frame = heard(ear)
        assert frame[20] == 41
        assert frame[22:54] == b"".join(socket.inet_pton(socket.AF_INET6, each) for each in ("fd00:7::1", "fc00::1"))

        for mark in (0, 3):
            probe(mark, "198.51.100.1")
            frame = heard(ear)
            assert frame[23] == 17
            assert frame[30:34] == socket.inet_aton("198.51.100.1")
    counters = healthcheck_info(request())["counters"]
    assert (counters["processed"], counters["dropped"]) == (2, 0)
    assert counters["skipped"] >= 2


def test_gue_and_counted_vips() -> None:
    vip = {"address": "198.51.100.1", "port": 80, "protocol": "udp"}
    ensure(encapsulation="gue", gue_port=9886, counted_vips=[vip])
    destinations((1, "10.0.0.1"))
    with wire() as ear:
        probe(1, "198.51.100.1")
        frame = heard(ear)
        assert frame[23] == 17
        sport, dport, length, checksum = struct.unpack_from("!4H", frame, 34)
        assert (dport, length, checksum) == (9886, len(frame) - 34, 0)
        assert sport & 1 << 10
        sports = {sport}
        # Ports are drawn: one alone has the bit half of the time by itself.
        for _again in range(40):
            probe(1, "198.51.100.1", port=82)
            sports.add(struct.unpack_from("!H", heard(ear), 34)[0])
        assert len(sports) > 20
        assert all(each & 1 << 10 for each in sports)
        probe(1, "198.51.100.1", port=81)
        heard(ear)
    assert healthcheck_info(request())["vips"] == [{"vip": "198.51.100.1:80/udp", "packets": 1}]
    assert ensure(encapsulation="gue", gue_port=9886).changes == ["no longer count probes of 198.51.100.1:80/udp"]
    assert healthcheck_info(request())["vips"] == []


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1"])
def test_a_probe_counts_for_its_destination_or_else_for_its_source(address: str) -> None:
    mine, real = ("fd00:7::1", "fc00::1") if ":" in address else ("198.18.7.1", "10.0.0.1")
    vips = [
        {"address": address, "port": 80, "protocol": "udp"},
        {"address": mine, "port": 4000, "protocol": "udp"},
    ]
    ensure(counted_vips=vips)
    destinations((1, real))
    # From the VIP's own port as a checker answers, to the VIP, and both at once: that counts once.
    for sport, dport in ((4000, 81), (4001, 80), (4000, 80), (4001, 81)):
        probe(1, address, port=dport, sport=sport)
    counters = healthcheck_info(request())["counters"]
    assert (counters["processed"], counters["dst_matched"], counters["src_matched"]) == (4, 2, 1)
    assert [each["packets"] for each in sorted(healthcheck_info(request())["vips"], key=lambda each: each["vip"])] == (
        [1, 2] if address == "198.51.100.1" else [2, 1]
    )


def test_options_of_a_counted_probe_are_not_taken_for_its_ports() -> None:
    """Four NOPs where the ports would be are port 257 to a reader who does not look at the header's length."""
    ensure(counted_vips=[{"address": "198.51.100.1", "port": port, "protocol": "udp"} for port in (80, 257)])
    destinations((1, "10.0.0.1"))
    with wire() as ear:
        probe(1, "198.51.100.1", options=b"\x01" * 4)
        frame = heard(ear)
        assert (frame[34], frame[54:58]) == (0x46, b"\x01" * 4)
    counters = healthcheck_info(request())["counters"]
    assert (counters["processed"], counters["dst_matched"], counters["src_matched"]) == (1, 0, 0)
    assert [each["packets"] for each in healthcheck_info(request())["vips"]] == [0, 0]


def test_counts_survive_other_vips_coming_and_going() -> None:
    vips = [{"address": "198.51.100.1", "port": port, "protocol": "udp"} for port in (80, 81, 82)]
    ensure(counted_vips=vips[:2])
    destinations((1, "10.0.0.1"))
    with wire() as ear:
        for port in (80, 81):
            probe(1, "198.51.100.1", port=port)
            heard(ear)
    ensure(counted_vips=[vips[1], vips[2]])
    ensure(counted_vips=vips)
    found = {each["vip"]: each["packets"] for each in healthcheck_info(request())["vips"]}
    assert found == {"198.51.100.1:80/udp": 0, "198.51.100.1:81/udp": 1, "198.51.100.1:82/udp": 0}


def test_a_probe_that_is_too_long_is_dropped() -> None:
    ensure(max_frame=1000)
    destinations((1, "10.0.0.1"))
    room = 1000 - 14 - 20 - 8
    probe(1, "198.51.100.1", bytes(room + 1))
    counters = healthcheck_info(request())["counters"]
    assert (counters["processed"], counters["dropped"], counters["too_big"]) == (0, 1, 1)
    probe(1, "198.51.100.1", bytes(room))
    counters = healthcheck_info(request())["counters"]
    assert (counters["processed"], counters["dropped"], counters["too_big"]) == (1, 1, 1)


def test_check_mode_predicts_and_a_second_run_does_nothing() -> None:
    would = ensure(check=True)
    assert not os.path.exists(MAPS)
    assert qdiscs() == ["noqueue"]
    done = ensure()
    assert (would.changes, would.operations) == (done.changes, done.operations)
    assert done.operations == {"hc_ctrl_map": 1, "hc_pckt_macs": 2, "hc_pckt_srcs_map": 2}
    assert [each["options"]["bpf_name"] for each in filters()] == ["katran_healthcheck"]
    again = ensure()
    assert (again.changes, again.operations) == ([], {})
    assert again.program == done.program


def test_absent_leaves_the_host_as_it_was() -> None:
    ensure()
    destinations((1, "10.0.0.1"))
    would = remove(check=True)
    assert filters()
    assert (
        remove()
        == would
        == [
            "detach healthcheck from the egress of out",
            "remove the qdisc clsact from out",
            f"remove the maps and program of healthcheck pinned in {BPFFS}/katran/default",
            "remove the state of healthcheck",
            "forget the health-check destinations",
        ]
    )
    assert qdiscs() == ["noqueue"]
    assert not os.path.exists(f"{BPFFS}/katran")
    assert os.listdir(STATE_ROOT) == []
    assert os.listdir("/run/katran-fleet") == []
    assert remove() == []


def test_somebody_elses_qdisc_and_filters_stay() -> None:
    run("tc", "qdisc", "add", "dev", "out", "clsact")
    add_foreign_filter("out", EGRESS)
    assert "add the qdisc clsact to out" not in ensure().changes
    assert "remove the qdisc clsact from out" not in remove()
    assert "clsact" in qdiscs()
    assert [each["options"]["bpf_name"] for each in filters()] == ["foreign"]


@pytest.mark.parametrize("parent", [INGRESS, EGRESS])
def test_our_qdisc_stays_while_somebody_else_uses_it(parent: int) -> None:
    ensure()
    add_foreign_filter("out", parent)
    would = remove(check=True)
    assert remove() == would
    assert "remove the qdisc clsact from out" not in would
    assert "clsact" in qdiscs()


def test_an_ingress_qdisc_is_told() -> None:
    run("tc", "qdisc", "add", "dev", "out", "ingress")
    with pytest.raises(
        ProgramError, match="interface out has a qdisc ingress, beside which there is no room for clsact"
    ):
        ensure()


def test_two_instances_with_the_same_settings_do_not_take_each_others_filter() -> None:
    ensure()
    first = filters()
    second = Healthcheck("second", BPFFS)
    known = json.loads(StateFile("default", BPFFS).read_file("healthcheck.json") or "")
    second.ensure(parse_healthcheck({**known["options"], "source_dir": BPF}), False, 5)
    assert len(filters()) == 2
    second.remove(False, 5)
    assert filters() == first


def test_what_somebody_changed_is_repaired() -> None:
    ensure()
    with bpf.open_map(f"{MAPS}/hc_pckt_macs") as macs, bpf.open_map(f"{MAPS}/hc_ctrl_map") as control:
        macs.update(layout.u32(1), bytes.fromhex("020000000077"))
        control.update(layout.u32(3), layout.u32(99))
    index = socket.if_nametoindex("out")
    assert (
        ensure(check=True).changes
        == ensure().changes
        == [
            f"interface number 99 → {index}",
            f"gateway MAC 02:00:00:00:00:77 → {GATEWAY}",
        ]
    )
    run("tc", "filter", "del", "dev", "out", "egress")
    assert ensure().changes == ["attach healthcheck to the egress of out"]
    assert len(filters()) == 1
    run("tc", "qdisc", "del", "dev", "out", "clsact")
    assert ensure().changes == ["add the qdisc clsact to out", "attach healthcheck to the egress of out"]
    assert ensure().changes == []


def test_other_settings_replace_the_program_in_its_place() -> None:
    run("tc", "qdisc", "add", "dev", "out", "clsact")
    ensure()
    place = filters()[0]["pref"]
    done = ensure(encapsulation="gue")
    assert [each["pref"] for each in filters()] == [place]
    assert filters()[0]["options"]["prog"]["id"] == done.program["id"]


def test_another_interface_takes_over() -> None:
    run("ip", "addr", "add", "198.18.8.1/24", "dev", "other")
    ensure()
    done = ensure(interface="other", gateway_mac="02:00:00:00:00:0a", source_ipv6="fd00:8::1")
    assert done.changes[-1] == "detach healthcheck from out"
    assert (qdiscs("out"), filters("out")) == (["noqueue"], [])
    assert len(filters("other")) == 1
    destinations((1, "10.0.0.1"))
    assert ensure(interface="other", gateway_mac="02:00:00:00:00:0a", source_ipv6="fd00:8::1").changes == []
    remove()
    assert qdiscs("other") == ["noqueue"]


def test_a_run_killed_anywhere_is_finished_by_the_next() -> None:
    gue = {"encapsulation": "gue", "counted_vips": [{"address": "192.0.2.1", "port": 80, "protocol": "tcp"}]}
    ensure()
    ensure(**gue)
    remove()
    kills = 0
    while killed_after(kills * 2, ensure):
        kills += 1
        ensure()
        assert len(filters()) == 1
        assert ensure().changes == []
        if killed_after(kills * 2, lambda: ensure(**gue)):
            ensure(**gue)
        assert len(filters()) == 1
        assert ensure(**gue).changes == []
        if killed_after(kills, remove):
            remove()
        assert qdiscs() == ["noqueue"]
        assert not os.path.exists(f"{BPFFS}/katran")
        assert os.listdir(STATE_ROOT) == []
    assert kills > 20


def test_the_boot_brings_everything_back_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(encapsulation="gue")
    destinations((1, "10.0.0.1"), (7, "fc00::7"))
    before = healthcheck_info(request())
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    run("tc", "qdisc", "del", "dev", "out", "clsact")
    monkeypatch.setattr(
        "ansible_collections.katran.fleet.plugins.module_utils._program.compiler.compile_program",
        lambda *_arguments: pytest.fail("compiled"),
    )
    file = StateFile("default", BPFFS)
    assert restore_healthcheck(file, 5)
    assert restore_healthcheck(file, 5) == []
    after = healthcheck_info(request())
    for name in ("settings", "in_use", "destinations"):
        assert after[name] == before[name]
    assert after["program"]["tag"] == before["program"]["tag"]
    run("ip", "neigh", "replace", "198.18.7.254", "lladdr", "02:00:00:00:00:0b", "dev", "out")
    assert restore_healthcheck(file, 5) == [f"gateway MAC {GATEWAY} → 02:00:00:00:00:0b"]
    monkeypatch.undo()
    assert ensure(encapsulation="gue").changes == []


def test_what_waited_for_the_lock_does_not_bring_older_settings_back() -> None:
    ensure()
    healthcheck = Healthcheck("default", BPFFS)
    job = healthcheck.ensuring(None, True)
    job.prepare()
    # Now another run has the lock, and sets what the first one has read.
    newer = {
        "gateway_mac": "02:00:00:00:00:0b",
        "counted_vips": [{"address": "192.0.2.1", "port": 80, "protocol": "tcp"}],
    }
    ensure(**newer)
    assert run_locked(job, False).changes == []
    assert ensure(**newer).changes == []


def test_a_gateway_that_is_forgotten_while_a_run_waits() -> None:
    job = Healthcheck("default", BPFFS).ensuring(parse_healthcheck(PARAMS), True)
    job.prepare()
    run("ip", "neigh", "flush", "dev", "out", "nud", "all")
    assert f"gateway MAC none → {GATEWAY}" in run_locked(job, False).changes


def test_nothing_is_brought_back_where_nothing_was() -> None:
    assert restore_healthcheck(StateFile("default", BPFFS), 5) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"interface": "nix"}, "interface nix does not exist on this host"),
        ({"interface": "lo", "gateway_mac": GATEWAY}, "source_ipv4 and source_ipv6 auto: interface lo has no address"),
        ({"source_dir": "/nowhere"}, "source_dir /nowhere cannot be read"),
    ],
)
def test_what_the_host_does_not_have_is_told(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProgramError, match=sentence):
        ensure(**options)
    assert qdiscs() == ["noqueue"]


def test_a_gateway_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.katran.fleet.plugins.module_utils._kernel.network._RESOLVE_SECONDS", 0.1)
    run("ip", "route", "del", "default")
    run("ip", "-6", "route", "del", "default")
    with pytest.raises(ProgramError, match=r"^gateway_mac auto: no IPv4 default route, no IPv6 default route; give"):
        ensure()


# Destinations


def test_destinations_by_every_state() -> None:
    ensure()
    assert destinations((1, "10.0.0.1"), (2, "10.0.0.2"), state="merged").operations == {"hc_reals_map": 2}
    assert destinations((2, "10.0.0.3"), state="merged").changes == ["mark 2: 10.0.0.2 → 10.0.0.3"]
    assert destinations((2, None), state="merged").changes == []
    assert destinations((3, "10.0.0.3"), state="replaced").changes == ["mark 3: added (10.0.0.3)"]
    assert destinations((1, None), state="deleted").changes == ["mark 1: removed"]
    would = destinations((9, "fc00::9"), check=True)
    done = destinations((9, "fc00::9"))
    assert would.changes == done.changes == ["mark 2: removed", "mark 3: removed", "mark 9: added (fc00::9)"]
    assert would.operations == done.operations == {"hc_reals_map": 3}
    assert done.before == [{"mark": 2, "real": "10.0.0.3"}, {"mark": 3, "real": "10.0.0.3"}]
    assert done.after == [{"mark": 9, "real": "fc00::9"}]
    assert destinations((9, "fc00::9")).operations == {}
    with bpf.open_map(f"{MAPS}/hc_reals_map") as reals:
        assert dict(reals.items()) == {layout.u32(9): layout.real_definition(layout.pack_address("fc00::9"), 1)}


def test_destinations_that_somebody_changed_are_repaired() -> None:
    ensure()
    destinations((1, "10.0.0.1"), (2, "10.0.0.2"))
    with bpf.open_map(f"{MAPS}/hc_reals_map") as reals:
        reals.delete(layout.u32(1))
        reals.update(layout.u32(2), bytes(20))
        reals.update(layout.u32(3), bytes(20))
    lines = [
        "mark 1: missing in hc_reals_map, repaired",
        "mark 2: changed in hc_reals_map, repaired",
        "mark 3: not ours, removed from hc_reals_map",
    ]
    assert sorted(destinations((2, None), state="merged", check=True).changes) == lines
    assert sorted(destinations((2, None), state="merged").changes) == lines
    assert destinations((2, None), state="merged").changes == []


def test_destinations_are_adopted_where_their_file_was_lost() -> None:
    ensure()
    destinations((1, "10.0.0.1"), (2, "fc00::2"))
    os.unlink(f"{STATE_ROOT}/default/healthcheck_destinations.json")
    done = destinations((3, "10.0.0.3"), state="merged")
    assert done.operations == {"hc_reals_map": 1}
    assert healthcheck_info(request())["destinations"] == [
        {"mark": 1, "real": "10.0.0.1"},
        {"mark": 2, "real": "fc00::2"},
        {"mark": 3, "real": "10.0.0.3"},
    ]


def test_a_damaged_file_is_told() -> None:
    ensure()
    Path(STATE_ROOT, "default", "healthcheck_destinations.json").write_text("[{}]", encoding="utf-8")
    with pytest.raises(StateError, match=r"healthcheck_destinations\.json is damaged"):
        destinations((1, "10.0.0.1"))


def test_destinations_without_a_source_of_their_family_are_warned_of() -> None:
    run("ip", "addr", "del", "fd00:7::1/64", "dev", "out")
    ensure()
    assert destinations((1, "10.0.0.1")).warnings == []
    assert destinations((2, "fc00::2")).warnings == [
        (
            "healthcheck_destinations: fc00::2 is IPv6, but program healthcheck has no IPv6 source"
            " (module katran.fleet.healthcheck, source_ipv6)"
        )
    ]


def test_faults_of_destinations() -> None:
    with pytest.raises(EngineError, match=r"^program healthcheck of default is not loaded on this host: run module"):
        destinations((1, "10.0.0.1"))
    foretold = destinations((1, "10.0.0.1"), check=True)
    assert (foretold.changes, foretold.warnings) == (["mark 1: added (10.0.0.1)"], [])
    ensure()
    with pytest.raises(ConfigError, match="give allow_empty: true"):
        destinations()
    with pytest.raises(ConfigError, match=r"^healthcheck_destinations: 65537 marks, but there is room for 65536$"):
        destinations(*((mark, "10.0.0.1") for mark in range(1, 65538)), check=True)


def test_what_is_read_back_changes_nothing() -> None:
    assert healthcheck_info(request()) == {}
    options = {"gue_port": 9886, "counted_vips": [{"address": "2001:db8::1", "port": 443, "protocol": "tcp"}]}
    ensure(**options)
    destinations((1, "10.0.0.1"), (2, "fc00::2"))
    found = gather_info(request(), ["healthcheck"])["healthcheck"]
    assert ensure(**found["settings"]).changes == []
    assert (
        apply_resource("healthcheck_destinations", request(), Asked(found["destinations"], "overridden")).changes == []
    )
    assert found["in_use"]["source_ipv6"] == "fd00:7::1"
    assert found["settings"]["source_ipv6"] == "auto"
