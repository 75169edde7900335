# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of clients per VIP, on real maps and through the loaded program: who gets in, what is told and repaired."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.counters import CounterReader
from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.simulate import simulate
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import build_frame, parse_flows
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.engine.host import (
    STATE,
    Entry,
    apply,
    drop,
    put,
    real,
    snapshot,
    vip,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    killed_after,
    request,
    run,
    sandbox,
)

FEATURES = ["source_filter", "cidr_vips", "udp_flow_migration"]
WEB, WEB6 = "198.51.100.1", "2001:db8::1"
ALLOW, DENY = ["192.0.2.0/24", "203.0.113.7/32"], ["192.0.2.128/25", "2001:db8:c::/48"]
DROP, TX = 1, 3
EMPTY = (
    "vips[0].allow: an empty list could mean nobody or everybody: for everybody leave it out (state replaced or"
    " overridden forgets a list that is not mentioned) or write [0.0.0.0/0], for nobody write deny: [0.0.0.0/0]"
)
FULL = (
    "vips: 1004 entries of IPv4 allow and deny lists, but sizes.source_filters is 1000"
    " (a list of allow takes one more, for everybody else)"
)
SIZES = {"vips": 32, "reals": 64, "ring": 4093, "flows": 4000, "server_ids": 5000, "source_filters": 1000}


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


@pytest.fixture(autouse=True)
def nothing() -> None:
    apply("vips", [])


def web(**lists: list[str]) -> Entry:
    return vip(WEB, real("10.0.0.1"), real("10.0.0.2"), **lists)


def web6(**lists: list[str]) -> Entry:
    return vip(WEB6, real("fc00::1"), **lists)


def flow(source: str, destination: str = WEB, port: int = 80) -> dict[str, Any]:
    ends = {"source": source, "destination": destination, "source_port": 31337, "destination_port": port}
    return {**ends, "protocol": "tcp", "server_id": None}


def verdicts(*sources: str, to: str = WEB, port: int = 80) -> list[int]:
    """What becomes of packets from these clients."""
    fd = bpf.open_pin(f"{BPFFS}/katran/default/balancer")
    try:
        frames = [
            build_frame(each, frozenset()) for each in parse_flows([flow(source, to, port) for source in sources])
        ]
        return [bpf.test_run(fd, frame).value for frame in frames]
    finally:
        os.close(fd)


def entry_key(prefix: str, name: str = f"{WEB}:80/tcp") -> tuple[str, bytes]:
    """(map, key) of a prefix in a VIP's list."""
    address, _slash, length = prefix.partition("/")
    number = json.loads(STATE.read_text())["vip_numbers"]["assigned"][name]
    packed = layout.pack_address(address)[: 16 if ":" in address else 4]
    return f"src_filter_v{6 if ':' in address else 4}", layout.source_filter_key(packed, int(length), number)


def info(*gather: str) -> dict[str, Any]:
    return gather_info(request(), gather)


def test_the_longest_prefix_decides_and_allow_keeps_all_others_out() -> None:
    apply(
        "vips", [web(allow=["192.0.2.0/24", "192.0.2.192/26"], deny=["192.0.2.128/25"]), web6(deny=["2001:db8:c::/48"])]
    )
    assert verdicts("192.0.2.1", "192.0.2.129", "192.0.2.193", "203.0.113.1") == [TX, DROP, TX, DROP]
    assert verdicts("2001:db8:c::7", "2001:db8:d::7", to=WEB6) == [DROP, TX]
    apply("vips", [web(deny=["192.0.2.0/24"])])
    assert verdicts("192.0.2.1", "203.0.113.1") == [DROP, TX]
    apply("vips", [web(deny=["0.0.0.0/0"])])
    assert verdicts("192.0.2.1", "203.0.113.1") == [DROP, DROP]
    apply("vips", [web(allow=["0.0.0.0/0"], deny=["192.0.2.1"])])
    assert verdicts("192.0.2.1", "192.0.2.2") == [DROP, TX]
    apply("vips", [web()])
    assert verdicts("192.0.2.1") == [TX]
    assert not snapshot()["src_filter_v4"]


def test_lists_are_each_vips_own_whatever_kind_it_is() -> None:
    any_port = vip("198.51.100.9", real("10.0.0.1"), port=0, deny=["192.0.2.0/24"])
    prefix = vip("198.51.101.0/24", real("10.0.0.1"), port=0, allow=["192.0.2.0/24"])
    prefix6 = vip("2001:db8:5::/48", real("fc00::1"), allow=["2001:db8:c::/48"])
    apply("vips", [web(allow=["203.0.113.0/24"]), any_port, prefix, prefix6])
    assert verdicts("192.0.2.1", "203.0.113.1") == [DROP, TX]
    assert verdicts("192.0.2.1", "203.0.113.1", to="198.51.100.9", port=4711) == [DROP, TX]
    assert verdicts("192.0.2.1", "203.0.113.1", to="198.51.101.77", port=9) == [TX, DROP]
    assert verdicts("2001:db8:c::1", "2001:db8:d::1", to="2001:db8:5::9") == [TX, DROP]


def test_what_a_run_predicts_does_and_repeats() -> None:
    config = [web(allow=ALLOW, deny=DENY[:1]), web6(deny=DENY[1:])]
    foretold = apply("vips", config, check=True)
    done = apply("vips", config)
    assert (foretold.changes, foretold.operations) == (done.changes, done.operations)
    # Three that are listed and everybody else; one of IPv6.
    assert {name: done.operations[name] for name in ("src_filter_v4", "src_filter_v6")} == {
        "src_filter_v4": 4,
        "src_filter_v6": 1,
    }
    before = snapshot()
    again = apply("vips", config)
    assert (again.changes, again.operations) == ([], {})
    assert snapshot() == before
    changed = apply("vips", [web(allow=[*ALLOW, "198.18.0.0/15"]), web6(deny=[])])
    assert changed.changes == [
        f"vip {WEB}:80/tcp: allow: 198.18.0.0/15 added",
        f"vip {WEB}:80/tcp: deny: 192.0.2.128/25 removed, which ends the list",
        f"vip [{WEB6}]:80/tcp: deny: 2001:db8:c::/48 removed, which ends the list",
    ]
    assert changed.operations == {"src_filter_v4": 2, "src_filter_v6": 1, "vip_index": 1, "vip_map": 1}


def test_info_fed_back_changes_nothing() -> None:
    apply(
        "vips",
        [web(allow=ALLOW, deny=[*DENY[:1], "0.0.0.0/0"]), web6(), vip("198.51.100.3", real("10.0.0.1"), deny=ALLOW)],
    )
    told = info("vips")
    assert told["differences"] == []
    assert [(each.get("allow"), each.get("deny")) for each in told["vips"]] == [
        (ALLOW, ["0.0.0.0/0", *DENY[:1]]),
        (None, ALLOW),
        (None, None),
    ]
    done = apply("vips", told["vips"])
    assert (done.changes, done.operations) == ([], {})


def test_merged_keeps_the_lists_that_it_does_not_mention_and_replaced_does_not() -> None:
    apply("vips", [web(allow=ALLOW, deny=DENY[:1])])
    assert apply("vips", [{key: web()[key] for key in ("address", "port", "protocol")}], "merged").operations == {}
    done = apply("vips", [web(deny=["192.0.2.0/25"])], "merged")
    assert done.changes == [f"vip {WEB}:80/tcp: deny: 192.0.2.0/25 added, 192.0.2.128/25 removed"]
    apply("vips", [web()], "replaced")
    assert verdicts("198.18.0.1") == [TX]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            web(allow=[]),
            EMPTY,
        ),
        (
            web(allow=["192.0.2.0/24"], deny=["198.18.0.0/15", "192.0.2.0/24"]),
            "vips[0].deny[1]: 192.0.2.0/24 is in allow as well; deny or allow can have it, not both",
        ),
        (web(deny=["192.0.2.1/24"]), "vips[0].deny[0]: 192.0.2.1/24 has host bits set; the network is 192.0.2.0/24"),
        (
            web(deny=["192.0.2.1", "192.0.2.1/32"]),
            "vips[0].deny[1]: 192.0.2.1/32 is listed twice (also vips[0].deny[0])",
        ),
        (
            web6(allow=["192.0.2.0/24"]),
            "vips[0].allow[0]: 192.0.2.0/24 is IPv4, but the VIP is IPv6, as its clients are",
        ),
        (web(allow=["example.net"]), "vips[0].allow[0]: example.net is neither an IP address nor a prefix"),
        (
            web(deny=[f"192.0.{high}.{low}" for high in range(4) for low in range(1, 252)]),
            FULL,
        ),
    ],
)
def test_faults_name_the_entry(entry: Entry, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply("vips", [entry])
    assert str(caught.value) == sentence


def test_the_same_prefix_in_both_lists_is_a_fault_also_where_one_is_of_before() -> None:
    apply("vips", [web(allow=ALLOW)])
    with pytest.raises(ConfigError, match=r"vips\[0\]\.deny\[0\]: 192\.0\.2\.0/24 is in allow as well"):
        apply("vips", [web(deny=["192.0.2.0/24"])], "merged")


def test_what_is_denied_is_counted_by_vip_and_no_other_counter_has_it() -> None:
    apply("vips", [web(allow=ALLOW), web6()])
    before = info("counters")["counters"]
    assert verdicts("198.18.0.1", "198.18.0.2", "192.0.2.1") == [DROP, DROP, TX]
    after = info("counters")["counters"]
    rows = {row["vip"]: row for row in after["vips"]}
    denied = rows[f"{WEB}:80/tcp"]
    assert (denied["packets"], denied["denied_packets"], denied["denied_bytes"]) == (1, 2, 80)
    assert rows[f"[{WEB6}]:80/tcp"]["denied_packets"] == 0
    more = {name: value - before["global"][name] for name, value in after["global"].items()}
    assert (more["packets"], more["source_denied"], more["frames_dropped"], more["frames_seen"]) == (1, 2, 2, 3)
    counted = CounterReader("default", BPFFS).read()
    assert counted.denied == {VipKey.read(f"{WEB}:80/tcp"): (2, 80)}
    # Of the whole balancer they count on, whatever VIPs come and go.
    assert counted.named["source_denied"] == after["global"]["source_denied"]


def test_a_number_that_another_vip_gets_brings_neither_lists_nor_counts() -> None:
    names = [f"198.51.100.{number}" for number in range(10, 42)]
    apply("vips", [vip(name, real("10.0.0.1"), allow=ALLOW) for name in names])
    verdicts("198.18.0.1", to=names[0])
    others = [f"198.51.102.{number}" for number in range(10, 42)]
    apply("vips", [vip(name, real("10.0.0.1"), deny=["198.18.0.0/15"]) for name in others])
    assert verdicts("198.18.0.1", "203.0.113.9", to=others[0]) == [DROP, TX]
    assert len(snapshot()["src_filter_v4"]) == len(others)
    assert sum(row["denied_packets"] for row in info("counters")["counters"]["vips"]) == 1


def test_simulation_says_which_prefix() -> None:
    apply("vips", [web(allow=ALLOW, deny=DENY[:1]), web6(deny=DENY[1:])])
    before = snapshot()
    found = simulate(
        request(), [flow("192.0.2.200"), flow("198.18.0.1"), flow("2001:db8:c::1", WEB6), flow("203.0.113.7")]
    )
    assert [(each["action"], each["reason"], each["vip"]) for each in found] == [
        ("dropped", "denied", f"{WEB}:80/tcp"),
        ("dropped", "denied", f"{WEB}:80/tcp"),
        ("dropped", "denied", f"[{WEB6}]:80/tcp"),
        ("sent", "ring", f"{WEB}:80/tcp"),
    ]
    assert [each["detail"] for each in found[:3]] == [
        "192.0.2.200 is denied by source filter: deny has 192.0.2.128/25",
        "198.18.0.1 is denied by source filter: no prefix of allow holds it",
        "2001:db8:c::1 is denied by source filter: deny has 2001:db8:c::/48",
    ]
    assert snapshot() == before


def test_drift_is_told_and_repaired() -> None:
    config = [web(allow=ALLOW, deny=DENY[:1]), web6(deny=DENY[1:])]
    apply("vips", config)
    sound = snapshot()
    put(*entry_key("192.0.2.128/25"), layout.u32(1))
    drop(*entry_key("203.0.113.7/32"))
    put(*entry_key("198.18.0.0/15"), layout.u32(1))
    seen = info("vips")
    assert seen["vips"][0]["allow"] == ["192.0.2.0/24", "192.0.2.128/25", "198.18.0.0/15"]
    name = f"vip {WEB}:80/tcp"
    lines = [
        f"{name}: client 203.0.113.7/32: missing in src_filter_v4",
        f"{name}: client 192.0.2.128/25: changed in src_filter_v4",
        f"{name}: client 198.18.0.0/15: not ours, in src_filter_v4",
    ]
    assert seen["differences"] == lines
    repaired = apply("vips", config)
    assert repaired.drift == [f"{line}, repaired" for line in lines[:2]] + [
        f"{name}: client 198.18.0.0/15: not ours, removed from src_filter_v4"
    ]
    assert snapshot() == sound
    # The flag alone, as another tool's write of vip_meta leaves it.
    key = layout.vip_definition(layout.pack_address(WEB), 80, 6)
    put("vip_map", key, sound["vip_map"][key][:3] + b"\0" + sound["vip_map"][key][4:])
    assert "allow" not in info("vips")["vips"][0]
    assert apply("vips", config).drift == [f"{name}: changed in vip_map, repaired"]
    assert snapshot() == sound


def test_a_look_takes_lists_for_no_change_by_somebody_else() -> None:
    def differences() -> list[str]:
        return list(info("status")["status"]["balancer"]["differences"])

    apply("vips", [web(allow=ALLOW), web6(deny=DENY[1:])])
    assert differences() == []
    key = layout.vip_definition(layout.pack_address(WEB), 80, 6)
    value = snapshot()["vip_map"][key]
    put("vip_map", key, value[:3] + b"\0" + value[4:])
    assert differences() == [f"vip {WEB}:80/tcp: changed in vip_map"]


def test_killed_anywhere_no_client_meets_half_of_a_change() -> None:
    """Before, 192.0.2.1 may come in and 198.18.0.1 not, and so after: nor is it otherwise after any step between."""
    before = [web(allow=["192.0.2.0/24"], deny=["192.0.2.64/26"]), web6(deny=DENY[1:])]
    after = [
        web(deny=["192.0.2.64/26", "198.18.0.0/15", "192.0.0.0/16"], allow=["192.0.2.0/25"]),
        web6(allow=["2001:db8:d::/48"]),
    ]
    for steps in itertools.count():
        apply("vips", before)
        killed = killed_after(steps, lambda: apply("vips", after))
        assert verdicts("192.0.2.1", "192.0.2.65", "198.18.0.1") == [TX, DROP, DROP], steps
        assert verdicts("2001:db8:c::1", "2001:db8:d::1", to=WEB6) == [DROP, TX], steps
        finished = apply("vips", after)
        assert finished.drift == []
        assert apply("vips", after).operations == {}
        if not killed:
            break
    assert steps > 4


def test_full_to_the_last_entry_values_still_change() -> None:
    prefixes = [f"192.0.{high}.{low}/32" for high in range(4) for low in range(1, 251)]
    apply("vips", [web(deny=prefixes)])
    done = apply("vips", [web(deny=[*prefixes[2:], "198.18.0.0/15"])])
    assert done.operations["src_filter_v4"] == 3
    apply("vips", [web(allow=prefixes[1:])])
    assert verdicts("192.0.0.1", "192.0.0.2") == [DROP, TX]
    apply("vips", [web(allow=prefixes[2:], deny=prefixes[1:2])])
    assert verdicts("192.0.0.1", "192.0.0.2", "192.0.0.3") == [DROP, DROP, TX]


def test_comes_back_at_boot_and_where_the_state_was_lost() -> None:
    config = [web(allow=ALLOW, deny=DENY[:1]), web6(deny=DENY[1:])]
    apply("vips", config)
    STATE.unlink()
    assert [(each.get("allow"), each.get("deny")) for each in info("vips")["vips"]] == [
        (ALLOW, DENY[:1]),
        (None, DENY[1:]),
    ]
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
    apply("vips", config)
    sound = snapshot()
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    run("ip", "link", "set", "lb0", "xdp", "off")
    restore_balancer(StateFile("default", BPFFS))
    assert snapshot() == sound
    assert verdicts("192.0.2.1", "198.18.0.1") == [TX, DROP]


def test_a_program_without_the_feature_lets_everybody_in_and_a_run_says_so() -> None:
    config = [web(deny=["192.0.2.0/24"])]
    apply("vips", config)
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES[1:], sizes=SIZES)
    assert verdicts("192.0.2.1") == [TX]
    done = apply("vips", [web6()], "merged")
    assert done.warnings == [f"vip {WEB}:80/tcp: needs feature source_filter, which the program does not have"]
    assert done.drift == []
    assert info("vips")["vips"][0]["deny"] == ["192.0.2.0/24"]
    with pytest.raises(ConfigError, match=r"vips\[0\]\.deny: needs feature source_filter"):
        apply("vips", config)
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
    assert apply("vips", [*config, web6()]).drift == []
    assert verdicts("192.0.2.1") == [DROP]


def test_a_rollback_says_whose_lists_are_asked_no_more() -> None:
    def load(features: list[str], **options: int) -> Result:
        return ensure_balancer("attached", interfaces=["lb0"], features=features, sizes=SIZES, **options)

    without = [feature for feature in FEATURES if feature != "source_filter"]
    load(without)
    load(FEATURES)
    apply("vips", [web(deny=["192.0.2.0/24"])])
    balancer = Balancer("default", BPFFS)
    told = [f"vip {WEB}:80/tcp: needs feature source_filter, which the program does not have"]
    assert balancer.roll_back(True, 5).warnings == told
    assert balancer.roll_back(False, 5).warnings == told
    assert verdicts("192.0.2.1") == [TX]
    # Nor does a later run keep silent about it, which leaves that program where it is.
    assert told[0] in load(FEATURES).warnings
    load(FEATURES, udp_timeout=31)
    assert verdicts("192.0.2.1") == [DROP]
    assert told[0] not in load(FEATURES).warnings


def test_a_hundred_thousand_prefixes() -> None:
    ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes={**SIZES, "source_filters": 100_000})
    prefixes = [f"{10 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(100_000)]
    config = [
        vip(f"198.51.100.{10 + at}", real("10.0.0.1"), deny=prefixes[at * 10_000 : (at + 1) * 10_000])
        for at in range(10)
    ]
    # Of this process, as the machine may be busy.
    started = time.process_time()
    done = apply("vips", config)
    written = time.process_time()
    assert done.operations["src_filter_v4"] == 100_000
    assert apply("vips", config).operations == {}
    again = time.process_time()
    print(f"first run {written - started:.1f} s, second {again - written:.1f} s")
    assert again - started < 10
    assert verdicts("10.0.0.9", "10.200.0.9", to="198.51.100.10") == [DROP, TX]
