# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to a balancer's program: its steps in order, and the lines that name them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_plan import (
    BalancerPlan,
    follows_gateway,
    plan_balancer,
    plan_gateway,
    plan_removal,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_steps import (
    Announce,
    ConcludeState,
    ForgetPrevious,
    MakeTables,
    MigrateMaps,
    Prove,
    RememberPlaces,
    SettleTables,
    Verify,
    Watch,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import NetworkError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DEFAULT_SIZES,
    LRU_HASH,
    MapSpec,
    balancer_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Put
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    Attachment,
    GatewayAnswer,
    MapInfo,
    Missing,
    ProgramInfo,
    RootArray,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import Coming, Previous, ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import (
    Attach,
    ClearSlot,
    Compile,
    CreateMaps,
    Detach,
    DropMaps,
    Keep,
    Load,
    PinAgain,
    Remove,
    TakeKept,
    TakeSlot,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS, stored_vip

PATH = "/var/lib/katran-fleet/edge/state.json"
MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
WANTED = Wanted(parse_settings(SETTINGS), "attached", "/usr/lib/katran-fleet/bpf")
CONFIG = WANTED.to_config()
SPECS = balancer_maps(WANTED.settings)
KEPT = Bytecode("balancer", bytes(8), ("vip_map", "reals"), "dd", 1.0)
BEFORE = Bytecode("balancer", bytes(16), ("vip_map", "old_map"), "cc", 1.0)
MACROS = {"MAX_FRAME": 1514}


def info(spec: MapSpec, number: int) -> MapInfo:
    sizes = WANTED.settings.sizes
    return MapInfo(spec.type, number, spec.key_size, spec.value_size, spec.entries(sizes), spec.flags, spec.name)


MAPS = {name: info(spec, 100 + number) for number, (name, spec) in enumerate(SPECS.items())}
EXTRA = replace(MAPS["vip_map"], id=900, name="old_map")
PROGRAM = ProgramInfo(6, 77, "bb", 10, 20, tuple(each.id for each in MAPS.values()), "balancer")
OLDER, FOREIGN = replace(PROGRAM, id=76), replace(PROGRAM, id=99, tag="zz", map_ids=())
RECORD = ProgramRecord(tag="bb", source_digest="dd", interfaces=["eth0"], gateway_mac=MAC)
PREVIOUS = Previous("cc", "aa", {**CONFIG, "max_frame": 9014}, "")


def attached(mode: str = "native", **programs: int) -> dict[str, Attachment]:
    return {name: Attachment(name, at, number, mode) for at, (name, number) in enumerate(programs.items())}


GOOD = BalancerSnapshot(
    maps=MAPS,
    current=PROGRAM,
    pins=frozenset({77}),
    attached=attached(eth0=77),
    running={77: PROGRAM, 76: OLDER, 99: FOREIGN},
    digest="dd",
    kept=KEPT,
    directory="/sys/fs/bpf/katran/edge",
    tables={"lru_mapping": {0: MapInfo(LRU_HASH, 9, 40, 16, DEFAULT_SIZES["flows"], 0, "flows")}},
    cpus=(0,),
    possible=2,
    values={"ctl_array": {layout.CTL_GATEWAY_MAC: layout.mac_bytes(MAC)}},
    gateway=GatewayAnswer(("eth0",), (), MAC),
)
FRESH = BalancerSnapshot(digest="dd", cpus=(0,), possible=2, gateway=GatewayAnswer(("eth0",), (), MAC))


def state(record: ProgramRecord | None = None, settings: Any = CONFIG, **options: Any) -> State:
    return State("edge", "/sys/fs/bpf", settings, program=record or replace(RECORD), **options)


def with_settings(**options: Any) -> Wanted:
    return replace(WANTED, settings=parse_settings({**SETTINGS, **options}))


def plan(seen: BalancerSnapshot = GOOD, wanted: Wanted = WANTED, before: State | None = None) -> BalancerPlan:
    return plan_balancer(wanted, MACROS, before or state(), PATH, seen)


def names(found: BalancerPlan) -> list[str]:
    return [type(step).__name__ for step in found.ordered()]


def coming(**options: Any) -> Coming:
    given: dict[str, Any] = {"settings": CONFIG, "interfaces": ["eth0"], "slot": None, "moves": False, "previous": None}
    return Coming(id=0, tag="", source_digest="", rings={}, **{**given, **options})


def test_what_is_as_it_should_be_stays() -> None:
    found = plan()
    assert (found.steps, found.changes, found.lacks, found.warnings) == ([], [], [], [])
    assert (found.before, found.after) == (CONFIG, CONFIG)
    assert found.reused == list(SPECS)
    assert not found.loads
    assert not found.forgets


def test_a_fresh_host() -> None:
    flows = DEFAULT_SIZES["flows"]
    found = plan(FRESH, before=State("edge", "/sys/fs/bpf"))
    assert found.changes == [
        f"create {len(SPECS)} maps",
        "compile the program (no optional feature)",
        "load the program",
        "attach to eth0 in native mode",
        f"create tables in lru_mapping for CPU 0 of {flows} flows each",
        f"gateway MAC {MAC}",
    ]
    assert found.ordered() == [
        Compile("/usr/lib/katran-fleet/bpf", MACROS),
        Prove(WANTED.settings),
        CreateMaps(tuple(SPECS.values()), WANTED.settings.sizes, 0),
        Put("ctl_array", ((layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes(MAC)),)),
        MakeTables("lru_mapping", found.of(MakeTables)[0].spec, {0: flows}, "sizes.flows", by_node=False),
        Load(tuple(SPECS)),
        Announce(coming()),
        Attach("eth0", "native"),
        Keep(),
        SettleTables({}, unfinished=False),
        ConcludeState(CONFIG, MAC, None, False),
    ]
    assert found.loads
    assert found.reused == []
    assert found.before == {}


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        (["reals"], "create 1 map (reals)"),
        (["vip_map", "vip_addresses", "reals", "stats"], "create 4 maps (vip_map, vip_addresses, reals, stats)"),
        (["vip_map", "vip_addresses", "reals", "reals_stats", "stats"], "create 5 maps"),
    ],
)
def test_few_maps_are_named(gone: list[str], line: str) -> None:
    there = {name: each for name, each in MAPS.items() if name not in gone}
    found = plan(replace(GOOD, maps=there))
    assert found.changes[0] == line
    assert found.reused == [name for name in SPECS if name not in gone]
    assert found.loads == bool({"reals", "vip_map"}.intersection(gone))


def test_maps_of_another_size() -> None:
    wanted = with_settings(sizes={**DEFAULT_SIZES, "reals": 5000})
    found = plan(wanted=wanted)
    changed = ["reals", "reals_stats", "lru_miss_stats"]
    assert found.changes == [
        f"migrate {', '.join(changed)} (reals {DEFAULT_SIZES['reals']} → 5000)",
        "load the program",
        "attach to eth0 in native mode",
    ]
    assert found.reused == [name for name in SPECS if name not in changed]
    (step,) = found.of(MigrateMaps)
    assert [spec.name for spec in step.specs] == changed
    assert step.old["reals"] == DEFAULT_SIZES["reals"]
    assert step.new == wanted.settings.sizes
    # Nothing was ever in maps that a first run left when it was killed.
    found = plan(replace(FRESH, maps=MAPS), wanted, State("edge", "/sys/fs/bpf"))
    assert found.changes[0] == "compile the program (no optional feature)"
    assert len(found.of(MigrateMaps)) == 1


def test_other_sources_are_compiled_proven_and_watched() -> None:
    wanted = with_settings(features=["vlan", "cidr_vips"])
    found = plan(replace(GOOD, digest="ee"), wanted)
    assert found.changes[1:4] == [
        "compile the program (cidr_vips, vlan)",
        "load the program",
        "attach to eth0 in native mode",
    ]
    assert names(found) == [
        "Compile",
        "Prove",
        "Watch",
        "CreateMaps",
        "Load",
        "Announce",
        "Attach",
        "Verify",
        "Keep",
        "ConcludeState",
    ]
    told = found.of(Announce)[0].coming
    assert told == coming(settings=wanted.to_config(), moves=True, previous=Previous("dd", "bb", CONFIG, ""))
    assert found.of(Attach)[0].there == attached(eth0=77)["eth0"]
    assert found.of(Load) == [Load(tuple(balancer_maps(wanted.settings)), previous=False)]


def test_what_a_migration_leaves_is_on_record() -> None:
    found = plan(wanted=with_settings(sizes={**DEFAULT_SIZES, "reals": 5000}))
    told = found.of(Announce)[0].coming
    assert (told.moves, told.previous) == (True, Previous("dd", "bb", CONFIG, "reals, reals_stats, lru_miss_stats"))


def test_a_program_that_is_gone_is_loaded_from_what_is_kept() -> None:
    found = plan(replace(GOOD, current=None, pins=frozenset(), attached={}))
    assert found.changes == ["load the program", "attach to eth0 in native mode"]
    assert names(found) == ["TakeKept", "Watch", "Load", "Announce", "Attach", "Keep", "ConcludeState"]
    assert found.of(TakeKept) == [TakeKept(KEPT)]
    assert found.of(Announce)[0].coming == coming()
    never = plan(replace(GOOD, current=None, pins=frozenset(), attached={}), before=state(replace(RECORD, tag=None)))
    assert [type(step) for step in never.of(Prove, Watch)] == [Prove]


def test_settings_of_the_host_alone_load_nothing() -> None:
    found = plan(wanted=with_settings(forwarding_cores="0"))
    assert found.changes == ["record the settings"]
    assert found.ordered() == [ConcludeState({**CONFIG, "forwarding_cores": [0]}, MAC, (("eth0",), None), False)]


def test_another_interface() -> None:
    wanted = with_settings(interfaces=["eth1"])
    found = plan(wanted=wanted)
    assert found.changes == ["attach to eth1 in native mode", "detach from eth0"]
    assert found.ordered() == [
        TakeKept(KEPT),
        RememberPlaces(("eth1",), None),
        Attach("eth1", "native"),
        Detach(attached(eth0=77)["eth0"]),
        ConcludeState(wanted.to_config(), MAC, (("eth1",), None), False),
    ]


def test_what_the_record_names_too_much_is_put_right() -> None:
    found = plan(before=state(replace(RECORD, interfaces=["eth0", "eth9"])))
    assert found.changes == []
    assert found.steps == [ConcludeState(CONFIG, MAC, (("eth0",), None), False)]


def test_loaded_is_not_attached() -> None:
    found = plan(wanted=replace(WANTED, state="loaded"))
    assert found.changes == ["detach from eth0"]
    assert found.of(RememberPlaces) == [RememberPlaces((), None)]
    assert found.of(ConcludeState)[0].places == ((), None)


def test_a_restore_attaches_later() -> None:
    later = replace(WANTED, kept=True, attach_later=True)
    found = plan(replace(GOOD, current=None, attached={}), later)
    assert found.changes == ["load the program"]
    assert not found.of(Attach, Detach, Compile, Prove)
    assert found.of(Announce)[0].coming.interfaces == ["eth0"]
    assert plan(wanted=later).steps == []


def test_a_mode_that_is_found_out() -> None:
    auto = with_settings(mode="auto")
    found = plan(replace(GOOD, attached={}), auto)
    assert found.of(Attach) == [Attach("eth0", "native", None, fallback=True)]
    settled = state(replace(RECORD, generic={"eth0": "no native mode"}))
    assert not plan(replace(GOOD, attached=attached("generic", eth0=77)), auto, settled).of(Attach)
    assert plan(replace(GOOD, attached=attached("generic", eth0=77)), WANTED, settled).of(Attach) == [
        Attach("eth0", "native", attached("generic", eth0=77)["eth0"])
    ]


def test_anothers_program_is_in_the_way() -> None:
    seen = replace(GOOD, attached=attached(eth0=99))
    with pytest.raises(ProgramError) as caught:
        plan(seen)
    assert str(caught.value) == (
        "interface eth0 already has an XDP program that is not ours (id 99); detach it, or give replace_foreign: true"
    )
    found = plan(seen, with_settings(replace_foreign=True))
    assert found.of(Attach)[0].there == seen.attachments["eth0"]
    assert len(found.of(Verify)) == 1


SLOT = RootArray("/sys/fs/bpf/katran/default/maps/root_array", 1)


def test_a_slot_of_roots() -> None:
    wanted = with_settings(interfaces=[], root_array=SLOT._asdict())
    seen = replace(GOOD, attached={}, slots={SLOT.path: {1: 76, 2: 77}})
    before = state(replace(RECORD, interfaces=[], slot=SLOT), wanted.to_config())
    found = plan(seen, wanted, before)
    assert found.changes == [f"put the program into slot 1 of {SLOT.path}", f"clear slot 2 of {SLOT.path}"]
    assert found.ordered() == [
        TakeKept(KEPT),
        RememberPlaces((), SLOT),
        TakeSlot(SLOT, 76),
        Verify(),
        ClearSlot(RootArray(SLOT.path, 2)),
        ConcludeState(wanted.to_config(), MAC, ((), SLOT), False),
    ]
    missing = Missing("nothing is pinned there")
    assert plan(replace(seen, slots={SLOT.path: missing}), wanted, before).lacks == [missing]


def test_maps_whose_pins_are_lost_are_pinned_again() -> None:
    found = plan(replace(GOOD, lost={"reals": 7, "ctl_array": 8}))
    assert found.changes == ["pin ctl_array, reals again, which the running program has"]
    assert found.steps == [PinAgain({"reals": 7, "ctl_array": 8})]


def test_maps_that_are_no_longer_used_go() -> None:
    seen = replace(GOOD, maps={**MAPS, "old_map": EXTRA})
    found = plan(seen)
    assert found.changes == ["remove maps that are no longer used: old_map"]
    assert found.of(DropMaps) == [DropMaps(("old_map",))]
    # The program that can be gone back to has it.
    assert plan(replace(seen, previous=BEFORE)).steps == []


def test_the_program_before_comes_back() -> None:
    back = replace(WANTED, kept=True, back=True)
    seen = replace(GOOD, previous=BEFORE, maps={**MAPS, "old_map": EXTRA})
    found = plan(seen, back, state(replace(RECORD, previous=PREVIOUS)))
    assert found.changes[0] == "go back to the program aa"
    assert found.of(TakeKept) == [TakeKept(BEFORE)]
    assert found.of(Load) == [Load(tuple(SPECS), previous=True)]
    assert not found.of(Watch, Prove, Compile)
    told = found.of(Announce)[0].coming
    assert (told.rolled_back_from, told.moves) == ("dd", True)
    assert told.previous == Previous("dd", "bb", CONFIG, "")
    # Its bytecode may be lost.
    lost = Missing("no bytecode")
    assert plan(replace(seen, previous=lost), back, state(replace(RECORD, previous=PREVIOUS))).lacks == [lost]


def test_a_rollback_ends_when_what_it_left_is_no_longer_wanted() -> None:
    rolled = state(replace(RECORD, rolled_back_from="ff", previous=PREVIOUS))
    seen = replace(GOOD, previous=BEFORE, maps={**MAPS, "old_map": EXTRA})
    found = plan(seen, before=rolled)
    assert found.forgets
    assert found.changes == [
        "forget the program that was rolled back",
        "remove maps that are no longer used: old_map",
    ]
    assert found.ordered() == [
        DropMaps(("old_map",)),
        ConcludeState(CONFIG, MAC, (("eth0",), None), True),
        ForgetPrevious(),
    ]
    assert not plan(seen, replace(WANTED, kept=True), rolled).forgets
    kept = plan(replace(seen, current=None), replace(WANTED, kept=True), rolled)
    assert kept.of(Announce)[0].coming.rolled_back_from == "ff"
    assert plan(replace(seen, current=None), WANTED, rolled).of(Announce)[0].coming.rolled_back_from is None


# The gateway


def test_the_gateways_mac() -> None:
    found = plan(replace(GOOD, gateway=GatewayAnswer(("eth0",), (), OTHER_MAC)))
    assert found.changes == [f"gateway MAC {MAC} → {OTHER_MAC}"]
    assert found.of(ConcludeState)[0].gateway_mac == OTHER_MAC
    given = plan(replace(GOOD, gateway=None), with_settings(gateway_mac=OTHER_MAC))
    assert given.changes == [f"gateway MAC {MAC} → {OTHER_MAC}"]
    blank = plan(replace(GOOD, values={"ctl_array": {layout.CTL_GATEWAY_MAC: bytes(8)}}))
    assert blank.changes == [f"gateway MAC {MAC}"]


def test_a_gateway_that_does_not_answer() -> None:
    silent = replace(GOOD, gateway=GatewayAnswer(("eth0",), (), "", "192.0.2.1 does not answer"))
    with pytest.raises(NetworkError, match=r"^192\.0\.2\.1 does not answer$"):
        plan(silent)
    found = plan(silent, replace(WANTED, kept=True))
    assert (found.changes, found.warnings) == ([], [f"192.0.2.1 does not answer; using the last known one, {MAC}"])
    with pytest.raises(NetworkError):
        plan(silent, replace(WANTED, kept=True), state(replace(RECORD, gateway_mac=None)))
    missing = Missing("no pyroute2")
    found = plan(replace(GOOD, gateway=missing, attached={}))
    assert found.lacks == [missing]
    assert found.of(ConcludeState)[0].gateway_mac == ""


def test_a_gateway_is_followed() -> None:
    followed = {**CONFIG, "gateway_mac": "auto"}
    before = state(settings=followed)
    before.learned = ["198.51.100.1:80/tcp"]
    found = plan_gateway(before, OTHER_MAC, layout.mac_bytes(MAC))
    assert found.changes == [f"gateway MAC {MAC} → {OTHER_MAC}"]
    assert found.steps == [
        Put("ctl_array", ((layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes(OTHER_MAC)),)),
        ConcludeState(followed, OTHER_MAC, None, False),
    ]
    assert (found.before, found.after, found.learned) == (followed, followed, before.learned)
    unknown = state(replace(RECORD, gateway_mac=None), followed)
    assert plan_gateway(unknown, OTHER_MAC, bytes(8)).changes == [f"gateway MAC none → {OTHER_MAC}"]
    for mac, there in ((MAC, layout.mac_bytes(MAC)), (OTHER_MAC, None), ("", bytes(8))):
        assert plan_gateway(before, mac, there).steps == []
    assert plan_gateway(state(settings={**CONFIG, "gateway_mac": MAC}), OTHER_MAC, bytes(8)).steps == []
    assert follows_gateway(before)
    assert not follows_gateway(state(replace(RECORD, tag=None), followed))
    assert not follows_gateway(state(settings={}))


# Outer sources


def gue(own: dict[str, Any], values: dict[int, bytes] | None = None, **options: Any) -> tuple[BalancerSnapshot, Wanted]:
    wanted = with_settings(encapsulation="gue", **options)
    there = {name: info(spec, 100 + at) for at, (name, spec) in enumerate(balancer_maps(wanted.settings).items())}
    seen = replace(GOOD, maps=there, own=own, values={**GOOD.values, "pckt_srcs": values or {}})
    program = replace(PROGRAM, map_ids=tuple(each.id for each in there.values()))
    return replace(seen, current=program, running={77: program}), wanted


def test_the_outer_sources_of_gue() -> None:
    seen, wanted = gue({"IPv4": "192.0.2.10", "IPv6": "2001:db8::10"})
    found = plan(seen, wanted, state(settings=wanted.to_config()))
    assert found.changes == ["IPv4 source 192.0.2.10", "IPv6 source 2001:db8::10"]
    four = layout.real_definition(layout.pack_address("192.0.2.10"), 0)
    six = layout.real_definition(layout.pack_address("2001:db8::10"), layout.REAL_IPV6)
    assert found.of(Put) == [Put("pckt_srcs", ((layout.u32(at), value),)) for at, value in enumerate((four, six))]
    seen, wanted = gue({"IPv4": "192.0.2.11", "IPv6": None}, {0: four, 1: six})
    found = plan(seen, wanted, state(settings=wanted.to_config()))
    assert found.changes == ["IPv4 source 192.0.2.10 → 192.0.2.11", "IPv6 source 2001:db8::10 → none"]
    assert found.of(Put)[1].entries == ((layout.u32(1), bytes(20)),)
    seen, wanted = gue({"IPv4": "192.0.2.10", "IPv6": "2001:db8::10"}, {0: four, 1: six})
    assert plan(seen, wanted, state(settings=wanted.to_config())).steps == []
    seen, wanted = gue({}, {0: four, 1: six}, source_ipv4="192.0.2.9")
    assert plan(seen, wanted, state(settings=wanted.to_config())).changes[0] == "IPv4 source 192.0.2.10 → 192.0.2.9"


def test_gue_without_any_source() -> None:
    seen, wanted = gue({"IPv4": None, "IPv6": None})
    sentence = "source_ipv4 and source_ipv6 auto: eth0 has no global address to send GUE from; give one of them"
    before = state(settings=wanted.to_config())
    with pytest.raises(ProgramError) as caught:
        plan(seen, wanted, before)
    assert str(caught.value) == sentence
    assert plan(seen, replace(wanted, kept=True), before).warnings == [sentence]
    missing = Missing("no pyroute2")
    found = plan(replace(seen, own={"IPv4": missing, "IPv6": None}), wanted, before)
    assert (found.lacks, found.warnings) == ([missing], [sentence])
    shared = with_settings(encapsulation="gue", interfaces=[], root_array=SLOT._asdict())
    with pytest.raises(ProgramError, match=r"auto: the default route has no global address"):
        plan(replace(seen, slots={SLOT.path: {}}, attached={}), shared, before)


# VIPs that learned flows by server id


def test_vips_that_may_be_known_are_marked_before_ids_are_no_longer_asked_for() -> None:
    one = stored_vip("198.51.100.1", "10.0.0.1", flags=["hash_dst_port_only"])
    two = stored_vip("198.51.100.2", "10.0.0.1", flags=["hash_dst_port_only"])
    before = state(vips=[one, two], vip_numbers=Ids(0, {"198.51.100.1:80/tcp": 3, "198.51.100.2:80/tcp": 1}))
    wanted = with_settings(features=["tcp_server_id"])
    found = plan(replace(GOOD, digest="ee"), wanted, before)
    assert found.learned == ["198.51.100.1:80/tcp", "198.51.100.2:80/tcp"]
    one_each = layout.u32(1)
    assert found.of(Put) == [Put("vip_learned", ((layout.u32(1), one_each), (layout.u32(3), one_each)))]
    marked = replace(GOOD, digest="ee", values={**GOOD.values, "vip_learned": {3: one_each, 1: bytes(4)}})
    assert plan(marked, wanted, before).of(Put) == [Put("vip_learned", ((layout.u32(1), one_each),))]
    # Without ids they learn nothing; and what is not loaded anew asks for none.
    assert plan(replace(GOOD, digest="ee"), WANTED, before).of(Put) == []
    assert plan(GOOD, WANTED, before).learned == []
    fresh = {name: each for name, each in MAPS.items() if name != "vip_learned"}
    assert plan(replace(GOOD, digest="ee", maps=fresh), wanted, before).of(Put) == []


# Its end


def test_the_end() -> None:
    seen = replace(GOOD, attached=attached(eth0=77, eth1=76, eth2=99), slots={SLOT.path: {1: 77, 2: 99}})
    found = plan_removal(state(replace(RECORD, slot=SLOT)), seen, "/var/lib/katran-fleet/edge", ["state.json", "lock"])
    assert found.changes == [
        f"clear slot 1 of {SLOT.path}",
        "detach from eth0",
        "detach from eth1",
        "remove the maps and programs pinned in /sys/fs/bpf/katran/edge",
        "remove the state in /var/lib/katran-fleet/edge",
    ]
    there = seen.attachments
    assert found.ordered() == [
        ClearSlot(SLOT),
        Detach(there["eth0"]),
        Detach(there["eth1"]),
        Remove(tuple(MAPS), ("state.json", "lock")),
    ]
    assert (found.before, found.after) == (CONFIG, {})


def test_the_end_of_what_never_was() -> None:
    gone = State("edge", "/sys/fs/bpf")
    gone.lost = True
    missing = Missing("no pyroute2")
    found = plan_removal(gone, BalancerSnapshot(attached=missing), "/var/lib/katran-fleet/edge", [])
    assert (found.changes, found.steps, found.lacks) == ([], [Remove((), ())], [])
    for record, seen in (
        (RECORD, BalancerSnapshot()),
        (ProgramRecord(), BalancerSnapshot(pins=frozenset({77}))),
        (ProgramRecord(), BalancerSnapshot(maps=MAPS)),
    ):
        assert plan_removal(state(record), replace(seen, attached=missing), "", []).lacks == [missing]


def test_what_a_host_lacks() -> None:
    one, two, three = Missing("one"), Missing("two"), Missing("three")
    assert plan(replace(GOOD, bpffs=one, attached=two, digest=three)).lacks[:3] == [one, two, three]
    with pytest.raises(ProgramError, match=r"^interface eth0 does not exist on this host$"):
        plan(replace(GOOD, absent=["eth0"]))
