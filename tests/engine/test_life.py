# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's life on a real interface: compile, prove, attach, replace, roll back, remove."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._kernel import balancer_edges, bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import NUMA_NODE
from ansible_collections.katran.fleet.plugins.module_utils._program import canary, compiler, sources
from ansible_collections.katran.fleet.plugins.module_utils._program.balancer_toolchain import HostBalancerToolchain
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    MAPS,
    PEER,
    PINS,
    REALS,
    STATE,
    apply,
    apply_table,
    attached,
    changed_sources,
    contents,
    counters,
    ensure,
    files,
    flows,
    forwards,
    lead_out,
    map_ids,
    pinned,
    pins,
    program_of,
    remove,
    roll_back,
    send,
    stream,
    tables,
    vips,
    wanted,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, run, sandbox


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


@pytest.fixture(name="balancing")
def start_balancing() -> None:
    """A balancer that forwards."""
    ensure()
    apply([vips()])
    assert forwards()


def state_of_host() -> dict[str, object]:
    """Everything that a balancer changes on a host, apart from where it keeps its state and locks."""
    return {
        "pins": pins(),
        "state": files(),
        "locks": os.listdir("/run/katran-fleet") if os.path.exists("/run/katran-fleet") else [],
        "links": {name: attached(name) for name in (LINK, "lb1")},
        "settings": run("ip", "-o", "link", "show", LINK),
    }


def beginning_with(line: str, name: str) -> str:
    """Sources whose balancer begins with a line of C."""
    main = Path(BPF, "balancer.bpf.c").read_text(encoding="utf-8")
    head = main[main.index("int balancer(struct xdp_md *ctx)") :].split("{")[0] + "{"
    return changed_sources(name, balancer_bpf_c=(head, f"{head}\n{line}\n"))


# Compiling


def test_it_is_compiled_when_sources_settings_or_compiler_change(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_program = compiler.compile_program

    def counting(*arguments: object) -> Bytecode:
        # Before the first load, the smallest program proves that the host can run ours.
        if arguments[1] == "balancer":
            compiled.append(arguments)
        return compile_program(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler, "compile_program", counting)
    first = ensure()
    assert first.changes[:3] == ["create 21 maps", "compile the program (no optional feature)", "load the program"]
    assert first.selftest["packets"] >= 18
    assert len(compiled) == 1
    assert not ensure().changed
    # What is not compiled in.
    assert ensure(gateway_mac="02:00:00:00:00:0a").changes == ["gateway MAC 02:00:00:00:00:09 → 02:00:00:00:00:0a"]
    assert ensure(interfaces=[LINK, "lb1"]).changes == [
        "attach to lb1 in native mode",
        "gateway MAC 02:00:00:00:00:0a → 02:00:00:00:00:09",
    ]
    assert len(compiled) == 1
    ensure(udp_timeout=40)
    assert len(compiled) == 2
    with open(f"{BPF}/include/hash.h", "a", encoding="ascii") as source:
        source.write("/* other sources */\n")
    assert "compile the program (no optional feature)" in ensure(udp_timeout=40).changes
    assert len(compiled) == 3
    assert not ensure(udp_timeout=40).changed
    monkeypatch.setattr(sources, "compiler_version", lambda: "99.9")
    ensure(udp_timeout=40)
    assert len(compiled) == 4


def test_check_mode_says_what_a_run_then_does() -> None:
    before = state_of_host()
    would = ensure(check=True)
    assert state_of_host() | {"locks": []} == before
    assert ensure().changes == would.changes
    would = ensure(check=True, features=["vlan"])
    assert ensure(features=["vlan"]).changes == would.changes
    there = state_of_host()
    assert roll_back(check=True).changed
    assert remove(check=True).changed
    assert state_of_host() == there


def test_check_mode_goes_by_the_sources_that_the_same_play_writes() -> None:
    """Whatever lies on the host until then; only in check mode, as a run compiles what is there."""
    ensure()
    there = sources.read_sources(BPF)

    def foretold(planned: dict[str, str], **options: Any) -> list[str]:
        tools = HostBalancerToolchain(planned)
        return Balancer("default", BPFFS, tools=tools).ensure(wanted(**options), True, 5).changes

    assert foretold(there) == []
    assert foretold({**there, "include/hash.h": "0" * 64}) == [
        "compile the program (no optional feature)",
        "load the program",
        f"attach to {LINK} in native mode",
    ]
    with open(f"{BPF}/include/hash.h", "a", encoding="ascii") as source:
        source.write("/* other sources */\n")
    assert ensure(check=True).changes
    assert foretold(there) == []
    assert foretold(there, source_dir="/nowhere") == ["record the settings"]
    with pytest.raises(ProgramError, match=r"^source_dir /nowhere cannot be read"):
        ensure(source_dir="/nowhere")


@pytest.mark.usefixtures("balancing")
def test_a_compile_error_is_one_sentence_and_the_old_program_goes_on() -> None:
    there = state_of_host()
    broken = changed_sources("broken", hash_h=("jhash", "jhush("))
    with pytest.raises(ProgramError, match=r"^bpf/balancer\.bpf\.c does not compile: .*hash\.h:\d+:\d+: error: "):
        ensure(source_dir=broken)
    assert state_of_host() == there
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_missing_headers_are_named_with_their_package() -> None:
    run("mount", "-t", "tmpfs", "tmpfs", "/usr/include/linux")
    with pytest.raises(ProgramError, match=r"file not found.*linux-libc-dev"):
        ensure(features=["tcp_server_id", "vlan"])
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_a_missing_compiler_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ProgramError, match=r"bcc is missing on this host \(Debian and Ubuntu: package python3-bpfcc\)"):
        ensure(features=["vlan"])


@pytest.mark.parametrize("place", [".", "include", "include/hash.h", "balancer.bpf.c", ".."])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_sources_that_others_could_change_are_refused(place: str, how: str) -> None:
    unsafe = changed_sources("folder/unsafe")
    path = os.path.normpath(os.path.join(unsafe, place))
    if how == "owner":
        os.chown(path, 1000, 0)
    else:
        Path(path).chmod(0o777)
    with pytest.raises(ProgramError, match=f"^{path} must be owned by root and not writable by others"):
        ensure(source_dir=unsafe)
    assert attached() is None


# Proving

FAULTS = {
    "wrong checksum": (
        {"outer_h": ("~csum_fold(sum)", "csum_fold(sum)")},
        "TCP to an IPv4 VIP: the frame differs from byte 24 on, the outer header checksum",
    ),
    "wrong TTL": (
        {"outer_h": ("#define OUTER_TTL 64", "#define OUTER_TTL 63")},
        "TCP to an IPv4 VIP: the frame differs from byte 22 on, the outer TTL",
    ),
    "MACs swapped": (
        {"encap_h": ("word16_at(new + 4) = mac >> 32;", "word16_at(new + 4) = source_low;")},
        "TCP to an IPv4 VIP: the frame differs from byte 5 on, the destination MAC",
    ),
    "VIPs not found by the index": (
        {"balancer_bpf_c": ("return vip_index.lookup(&slot);", "slot ^= 1;\n\treturn vip_index.lookup(&slot);")},
        "TCP to an IPv4 VIP: the program answers PASS, not TX",
    ),
    "VIPs not found": (
        {"balancer_bpf_c": ("return vip_map.lookup(key);", "return 0;")},
        "TCP to an IPv4 VIP: the program answers PASS, not TX",
    ),
}


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_with_a_fault_is_never_attached(fault: str) -> None:
    there = state_of_host()
    replacements, message = FAULTS[fault]
    faulty = changed_sources("faulty", **replacements)
    with pytest.raises(ProgramError) as failure:
        ensure(source_dir=faulty)
    assert str(failure.value).startswith(f"self-test: {message}")
    assert str(failure.value).endswith("; the program is not attached, and what was there goes on")
    assert state_of_host() == there
    assert forwards()
    assert not ensure().changed


def test_a_fault_in_the_first_program_leaves_the_host_as_it_was() -> None:
    there = state_of_host()
    with pytest.raises(ProgramError, match=r"^self-test: "):
        ensure(source_dir=changed_sources("faulty", outer_h=("TTL 64", "TTL 63")))
    assert state_of_host() | {"locks": []} == there


REJECTED = {
    "an unbounded loop": ("again: if (bpf_ktime_get_ns()) goto again;", "infinite loop"),
    "an unchecked access": (
        "if (*(volatile u8 *)((void *)(long)ctx->data + 60)) return 1;",
        "invalid access to packet",
    ),
}


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("fault", REJECTED)
def test_what_the_verifier_rejects_is_told_with_its_last_lines(fault: str) -> None:
    there = state_of_host()
    line, words = REJECTED[fault]
    rejected = beginning_with(line, "rejected")
    with pytest.raises(ProgramError, match=rf"^the kernel's verifier rejects program balancer: .*({words})") as failure:
        ensure(source_dir=rejected)
    assert "\n" not in str(failure.value)
    assert state_of_host() == there
    assert forwards()


# Attaching


def test_a_foreign_program_is_refused_or_replaced_on_demand() -> None:
    fd = program_of(2)
    for mode in ("native", "generic"):
        with Interfaces() as links:
            links.replace(LINK, fd, mode, None)
        there = attached()
        with pytest.raises(
            ProgramError, match=rf"^interface {LINK} already has an XDP program that is not ours \(id \d+"
        ):
            ensure()
        assert attached() == there
        assert pins() == []
        assert f"attach to {LINK} in native mode" in ensure(replace_foreign=True).changes
        assert attached() == (pinned(), "native")
        remove()


def test_another_instances_program_is_foreign() -> None:
    ensure()
    there = attached()
    with pytest.raises(
        ProgramError, match=f"^interface {LINK} already has our program balancer of instance default; detach it first"
    ):
        ensure(instance="second")
    assert attached() == there
    # The same settings give the same tag, and still it is another's after that one lost its bpffs.
    ensure(instance="second", interfaces=["lb1"])
    assert attached("lb1") != there


def test_somebody_else_attaches_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_program = compiler.compile_program

    def attach_meanwhile(*arguments: object) -> Bytecode:
        with Interfaces() as links:
            links.replace("lb1", program_of(2), "native", None)
        return compile_program(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler, "compile_program", attach_meanwhile)
    with pytest.raises(ProgramError, match=r"^the XDP program on interface lb1 changed meanwhile: somebody else"):
        ensure(interfaces=[LINK, "lb1"])
    # Nowhere rather than on one of the two.
    assert attached() is None
    assert pins() == []
    assert files() == []


def test_several_interfaces_share_the_maps() -> None:
    done = ensure(interfaces=[LINK, "lb1"])
    assert [each["interface"] for each in done.attached] == [LINK, "lb1"]
    assert attached(LINK) == attached("lb1") == (pinned(), "native")
    ensure(interfaces=[LINK, "lb1"], features=["vlan"])
    assert attached(LINK) == attached("lb1") == (pinned(), "native")
    assert ensure(features=["vlan"]).changes == ["detach from lb1"]
    assert attached("lb1") is None


@pytest.mark.parametrize("mode", ["native", "generic", "auto"])
def test_modes(mode: str) -> None:
    done = ensure(mode=mode)
    actual = "generic" if mode == "generic" else "native"
    assert done.attached == [{"interface": LINK, "mode": actual, "program_id": pinned()}]
    assert done.warnings == []
    apply([vips()])
    assert forwards()
    assert not ensure(mode=mode).changed


@pytest.mark.usefixtures("balancing")
def test_the_mode_changes_back_and_forth() -> None:
    for mode in ("generic", "native", "auto"):
        done = ensure(mode=mode)
        assert done.attached[0]["mode"] == ("native" if mode == "auto" else mode)
        assert forwards()
    assert ensure(mode="generic").attached[0]["mode"] == "generic"
    # Nobody has tried yet whether the driver can do better.
    assert ensure(mode="auto").attached[0]["mode"] == "native"
    assert forwards()


def test_auto_says_why_it_is_generic() -> None:
    run("ip", "link", "add", "br7", "type", "bridge")
    with pytest.raises(ProgramError, match=r"^interface br7 does not support XDP mode native: .*native"):
        ensure(interfaces=["br7"])
    assert pins() == []
    for _again in range(2):
        done = ensure(interfaces=["br7", LINK], mode="auto")
        assert {each["interface"]: each["mode"] for each in done.attached} == {"br7": "generic", LINK: "native"}
        [warning] = done.warnings
        assert warning.startswith("interface br7 is in generic mode: ")
        assert "native mode" in warning
    assert not done.changed


@pytest.mark.usefixtures("balancing")
def test_a_mode_that_fails_leaves_the_old_one() -> None:
    ensure(mode="generic")
    there = attached()
    run("ip", "link", "set", PEER, "xdp", "off")
    run("ip", "link", "set", PEER, "mtu", "9000")
    with pytest.raises(ProgramError, match=f"^interface {LINK} does not support XDP mode native: .*MTU"):
        ensure(mode="native")
    assert attached() == there


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(ProgramError, match=r"^interface nix0 does not exist on this host$"):
        ensure(interfaces=["nix0"])
    assert pins() == []


@pytest.mark.usefixtures("balancing")
def test_loaded_forwards_nothing_and_keeps_everything() -> None:
    ids = map_ids()
    assert ensure(state="loaded").changes == [f"detach from {LINK}"]
    assert attached() is None
    assert not forwards()
    assert not ensure(state="loaded").changed
    assert ensure().changes == [f"attach to {LINK} in native mode"]
    assert map_ids() == ids
    assert forwards()


def test_absent_leaves_the_host_as_it_was() -> None:
    before = state_of_host()
    features = ["inline_decap", "udp_flow_migration", "cidr_vips"]
    ensure(interfaces=[LINK, "lb1"], features=features)
    apply([vips()])
    ensure(interfaces=[LINK, "lb1"], features=[*features, "vlan"])
    assert remove(check=True).changes == remove().changes
    assert state_of_host() == before
    assert not remove().changed
    assert state_of_host() == before


@pytest.mark.usefixtures("balancing")
def test_absent_detaches_where_the_state_does_not_know() -> None:
    for name in files():
        os.unlink(STATE / name)
    assert f"detach from {LINK}" in remove().changes
    assert attached() is None
    assert pins() == []


# Replacing


@pytest.mark.usefixtures("balancing")
def test_an_upgrade_keeps_the_maps_and_pins_the_old_program() -> None:
    old, ids, sent = pinned(), map_ids(), counters()["sent"]
    done = ensure(features=["vlan"])
    assert pinned("balancer_previous") == old
    assert attached() == (pinned(), "native")
    assert pinned() != old
    assert map_ids() == ids
    assert sorted(done.reused_maps) == sorted(ids)
    assert counters()["sent"] >= sent
    assert forwards()
    assert "balancer_next" not in os.listdir(PINS)


@pytest.mark.usefixtures("balancing")
def test_no_datagram_is_lost_by_upgrades_and_rollbacks() -> None:
    for features in (["vlan"], ["tcp_server_id"]):
        # Compiled beforehand, so that the swaps come thick and fast.
        macros = balancer_macros(wanted(features=features).settings)
        compiler.compile_program(BPF, "balancer", macros)
    with stream() as traffic:
        for turn in range(3):
            ensure(features=["vlan"])
            ensure(features=["tcp_server_id"])
            if turn:
                roll_back()
        result = traffic.stop()
    assert result.sent > 5000
    assert result.lost == []


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize(
    ("action", "words"), [("DROP", r"\d+% of the packets were dropped, 0% before"), ("PASS", "were left to the host")]
)
def test_a_program_that_fares_worse_is_taken_back(action: str, words: str) -> None:
    old, there = attached(), state_of_host()
    # Not what the self-test sends: its client's address and port are others.
    counter = {"DROP": "DROPPED", "PASS": "PASSED"}[action]
    line = (
        "void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n"
        "if (at + 64 < end && *(u16 *)(at + 36) == htons(80) && *(u8 *)(at + 23) == 17)"
        f" {{ count(COUNT_SEEN); count(COUNT_{counter}); return XDP_{action}; }}"
    )
    worse = beginning_with(line, "worse")
    with stream():
        with pytest.raises(ProgramError, match=f"^after the swap .*{words}.*: the old program is back$"):
            ensure(source_dir=worse)
        assert attached() == old
        assert forwards()
    assert state_of_host() == there
    assert not ensure().changed


@pytest.mark.usefixtures("balancing")
def test_a_program_that_packets_do_not_reach_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    old = attached()
    with stream() as traffic:
        monkeypatch.setattr(canary.Counters, "verify", _stopping(traffic))
        with pytest.raises(ProgramError, match=r"^after the swap no packet reached the new program, but \d+ in the"):
            ensure(features=["vlan"])
    assert attached() == old
    monkeypatch.undo()


def _stopping(traffic: object) -> object:
    verify = canary.Counters.verify

    def stopped(self: canary.Counters, stats: object) -> None:
        traffic.stop()  # type: ignore[attr-defined]
        verify(self, stats)  # type: ignore[arg-type]

    return stopped


@pytest.mark.usefixtures("balancing")
def test_features_that_go_take_their_maps_after_the_rollback_is_gone() -> None:
    ensure(features=["cidr_vips"])
    assert "vip_lpm_map" in map_ids()
    ensure(features=[])
    # The program to go back to needs it.
    assert "vip_lpm_map" in map_ids()
    ensure(features=["vlan"])
    assert "vip_lpm_map" not in map_ids()


def test_what_vips_learn_from_a_program_that_asks_for_server_ids_is_known_to_the_next() -> None:
    ensure()
    config = [{**vips(), "protocol": "tcp", "flags": ["hash_dst_port_only"]}]
    assert "vip_learned" not in apply(config).operations
    foretold = ensure(features=["tcp_server_id"], check=True)
    asking = ensure(features=["tcp_server_id"])
    assert foretold.operations == asking.operations == {"vip_learned": 1}
    assert not apply(config).changed
    assert ensure().operations == {}
    with KernelMaps(MAPS) as maps:
        assert maps.entries("vip_learned") == {layout.u32(0): layout.u32(1)}
    assert not apply(config).changed


PINNED_AGAIN = "pin ch_rings, reals, vip_map again, which the running program has"


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", ["some", "the program too", "everything"])
def test_maps_whose_pins_somebody_removed_are_not_lost(how: str) -> None:
    ensure(features=["cidr_vips", "global_lru"])
    send({10000 + number: number for number in range(50)})
    known, before, program = flows(), map_ids(), pinned()
    with stream(rate=200) as traffic:
        for name in ("ch_rings", "reals", "vip_map"):
            os.unlink(f"{MAPS}/{name}")
        if how != "some":
            os.unlink(f"{PINS}/balancer")
        if how == "everything":
            shutil.rmtree(f"{BPFFS}/katran")
        there = apply([vips()], check=True)
        assert there.changes == there.drift
        assert PINNED_AGAIN in there.changes or how == "everything"
        assert not there.operations
        foretold = ensure(features=["cidr_vips", "global_lru"], check=True)
        done = ensure(features=["cidr_vips", "global_lru"])
        assert done.changes == foretold.changes
        if how == "some":
            assert done.changes == [PINNED_AGAIN]
            assert pinned() == program
        assert not ensure(features=["cidr_vips", "global_lru"]).changed
        assert not apply([vips()]).changed
        result = traffic.stop()
    assert result.lost == []
    # What the program does not use, because of its features, nobody else had.
    unused = {"tpr_stats_map", "stable_rt_stats", "decap_vip_stats"} if how == "everything" else set()
    assert {name for name, number in map_ids().items() if before[name] != number} == unused
    assert flows().items() >= known.items()


# Rolling back


@pytest.mark.usefixtures("balancing")
def test_rolled_back_stays_on_the_next_run() -> None:
    first = pinned()
    ensure(features=["vlan"])
    second = pinned()
    done = roll_back()
    assert done.changed
    assert attached() == (first, "native")
    assert pinned("balancer_previous") == second
    assert forwards()
    assert not roll_back().changed
    again = ensure(features=["vlan"])
    assert not again.changed
    (warning,) = again.warnings
    assert warning == (
        "balancer default was rolled back by hand and stays so until its sources or settings change;"
        " end_rollback: true (katran_end_rollback) takes them as they are"
    )
    assert attached() == (first, "native")
    # What goes with the host and not with the program is applied all the same.
    assert ensure(features=["vlan"], gateway_mac="02:00:00:00:00:0b").changes == [
        "gateway MAC 02:00:00:00:00:09 → 02:00:00:00:00:0b"
    ]
    assert attached() == (first, "native")
    assert not ensure(features=["vlan"], gateway_mac="02:00:00:00:00:0b").changed


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("what", ["sources", "settings"])
def test_new_sources_or_settings_upgrade_again(what: str) -> None:
    ensure(features=["vlan"])
    roll_back()
    if what == "sources":
        with open(f"{BPF}/include/hash.h", "a", encoding="ascii") as source:
            source.write("/* repaired */\n")
        done = ensure(features=["vlan"])
    else:
        done = ensure(features=["vlan", "tcp_server_id"])
    assert "load the program" in done.changes
    assert done.warnings == []
    assert not ensure(features=["vlan"] if what == "sources" else ["vlan", "tcp_server_id"]).changed


@pytest.mark.usefixtures("balancing")
def test_settings_that_are_what_it_was_rolled_back_to_end_the_rollback() -> None:
    ensure(features=["cidr_vips"])
    roll_back()
    foretold, done = ensure(check=True), ensure()
    assert done.changes == foretold.changes
    forgotten, removed = done.changes
    assert forgotten == "forget the program that was rolled back"
    assert removed.startswith("remove maps that are no longer used: ")
    assert "vip_lpm_map" in removed
    assert not ensure().changed
    assert pinned("balancer_previous") is None
    with pytest.raises(ProgramError, match=r"^balancer default has no previous program to go back to$"):
        roll_back()
    # So the settings that it left are an upgrade like any other.
    done = ensure(features=["cidr_vips"])
    assert "load the program" in done.changes
    assert done.warnings == []
    assert forwards()


def test_features_of_untouched_resources_stay() -> None:
    used = ["cidr_vips", "source_routing", "inline_decap", "tcp_server_id", "udp_flow_migration"]
    ensure(features=[*used, "vlan", "global_lru"])
    apply([vips(), {**vips(address="198.51.100.0/24"), "flags": ["udp_flow_migration"]}])
    apply_table("source_routes", [{"prefix": "192.0.2.0/24", "real": REALS[0]}])
    apply_table("server_ids", [{"id": 1, "real": REALS[0]}])
    apply_table("decap_destinations", [{"address": "192.0.2.1"}])
    every = ("vips", "source_routes", "server_ids", "decap_destinations")

    def kept(*untouched: str, **options: Any) -> set[str]:
        foretold = ensure(check=True, untouched=untouched, **options)
        outcome = ensure(untouched=untouched, **options)
        assert foretold.after == outcome.after
        assert not ensure(untouched=untouched, **options).changed
        return set(outcome.after["features"])

    assert kept(*every) == set(used)
    assert kept("vips", "server_ids", "decap_destinations") == set(used) - {"source_routing"}
    # What the program does not have does not come back by itself.
    assert kept(*every, features=["vlan"]) == {*used, "vlan"} - {"source_routing"}
    assert kept("vips") == {"cidr_vips", "udp_flow_migration"}
    assert kept() == set()


def test_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(ProgramError, match=r"^balancer default has no previous program to go back to$"):
        roll_back()
    ensure()
    with pytest.raises(ProgramError, match=r"^balancer default has no previous program to go back to$"):
        roll_back()


@pytest.mark.usefixtures("balancing")
def test_the_previous_program_is_loaded_anew_where_its_pin_is_gone() -> None:
    ensure(features=["cidr_vips"])
    os.unlink(f"{PINS}/balancer_previous")
    roll_back()
    assert attached() == (pinned(), "native")
    assert forwards()
    assert contents("ctl_array")


# Connection tables


def test_tables_add_up_to_the_size_of_the_settings() -> None:
    ensure(sizes={"flows": 4001}, forwarding_cores=[0, 1])
    assert tables() == {0: 2001, 1: 2000}
    assert ensure(sizes={"flows": 4001}, forwarding_cores=[1]).changes == [
        "create tables in lru_mapping for CPU 1 of 4001 flows each",
        "remove tables in lru_mapping for CPU 0",
    ]
    assert tables() == {1: 4001}
    assert sum(tables().values()) == 4001
    # auto: every CPU that is online, as the interface has no interrupts of its own.
    ensure(sizes={"flows": 4001})
    assert sum(tables().values()) == 4001
    assert set(tables()) == {0, 1}


def test_a_cpu_that_does_not_exist() -> None:
    with pytest.raises(ProgramError, match=r"^forwarding_cores: CPU 127 does not exist on this host \(0 to \d+\)$"):
        ensure(forwarding_cores=[0, 127])


@pytest.mark.usefixtures("balancing")
def test_flows_survive_when_cpus_come_and_go() -> None:
    send({20000 + number: number for number in range(500)})
    known = {flow: real for flow, (real, _cpu) in flows().items()}
    assert len(known) >= 500
    for cores in ([0], [1], [0, 1], "auto"):
        ensure(forwarding_cores=cores)
        assert {flow: real for flow, (real, _cpu) in flows().items()} == known
    assert counters()["fallback"] == 0


def test_tables_have_their_cpus_memory_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_edges, "numa_nodes", lambda: [0, 1])
    asked = []
    monkeypatch.setattr(balancer_edges, "numa_node", lambda cpu: asked.append(cpu) or 0)
    ensure()
    assert asked == [0, 1]
    with bpf.open_map(f"{PINS}/maps/lru_mapping") as outer:
        for value in dict(outer.items()).values():
            with bpf.map_by_id(layout.parse_u32(value)) as table:
                assert table.info.flags & NUMA_NODE
    # Tables that come later go with the others, whatever the setting says by then.
    ensure(numa="none", sizes={"flows": 5000})
    assert sum(tables().values()) == 5000
    remove()
    ensure(numa="none")
    with bpf.open_map(f"{PINS}/maps/lru_mapping") as outer:
        for value in dict(outer.items()).values():
            with bpf.map_by_id(layout.parse_u32(value)) as table:
                assert not table.info.flags & NUMA_NODE
