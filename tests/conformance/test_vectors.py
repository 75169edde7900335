# SPDX-License-Identifier: GPL-3.0-or-later
"""The published packets, byte for byte, and the counters that each set must leave.

The vectors pin actions and frames; the counters are worked out here from the design's definitions, one reason each.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.conformance.provision import (
    ROOT,
    Balancer,
    provision_healthcheck,
    run_tc,
)

FOLDER = Path(os.environ.get("KATRAN_CONFORMANCE", ROOT.parent / "shared" / "conformance"))
FILE = FOLDER / "vectors.json"
SETS: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
pytestmark = pytest.mark.skipif(not SETS, reason=f"no published vectors in {FOLDER}: set KATRAN_CONFORMANCE")

MATCHED, NEW_TCP, FLOOD, FALLBACK, TOO_BIG, SOURCE_ROUTE, DECAP_DST, ENCAP_FAILED = range(8)
NO_REAL, DECAP, QUIC_ICMP, ICMP6_TOO_BIG, FRAG_NEEDED, BALANCED_AGAIN, MIGRATED = 9, 10, 11, 12, 13, 14, 15
SEEN, SENT, DROPPED, PASSED, EGRESS, CIDR = range(16, 22)

Counters = Mapping[int, tuple[int, ...]]

# Index of `stats` from max_vips on -> (v1, v2). SEEN and the like are sums of frame lengths, checked apart, for all
# sets where every frame enters once. FLOOD has the checks only: one per choice, one more per packet of a VIP that
# migrates flows, one per server-id route whose flow was not in the table. FALLBACK is MATCHED's first, or nothing.
STATS: dict[str, dict[int, tuple[int, ...]]] = {
    # 36 packets: 2 echoes, 3 malformed, 6 passed and one too big do not reach step 8. New: 0, 1, 3, 4, 5 (2, 6, 9, 10,
    # 17 repeat their flows), 18 and 19 (the ring answers for all of a port), the Initials 23 and 27 (24 repeats), 35.
    "base": {MATCHED: (24, 10), NEW_TCP: (0, 6), FLOOD: (11,), ICMP6_TOO_BIG: (1, 0), FRAG_NEEDED: (1, 1)},
    # As base without packets 32 and 35, and two packets for VIPs without reals: counted as matched and as checks.
    "gue": {
        MATCHED: (25, 9),
        NEW_TCP: (0, 7),
        FLOOD: (11,),
        NO_REAL: (0, 2),
        ICMP6_TOO_BIG: (1, 0),
        FRAG_NEEDED: (1, 1),
    },
    # By the ring: 0 (SYN), 11 (no such id, flow not seen before) and 13. Checks besides: the routes by id whose flows
    # the table did not have: 2, 3, 4 and 14.
    "tpr": {MATCHED: (17, 3), NEW_TCP: (1, 2), FLOOD: (7,)},
    "tpr_gue": {MATCHED: (17, 3), NEW_TCP: (1, 2), FLOOD: (7,)},
    # Answered at step 7: not counted as matched.
    "icmp_toobig": {TOO_BIG: (1, 1)},
    # Every packet but one brings a new flow; two have a client that no route covers. The four TCP ones have no SYN.
    "lpm_src": {MATCHED: (8, 7), NEW_TCP: (0, 4), FLOOD: (7,), SOURCE_ROUTE: (2, 5)},
    "cidr_vip": {MATCHED: (6, 6), NEW_TCP: (0, 4), FLOOD: (6,), CIDR: (6, 0)},
    # Connection id 0 twice, from one client: ring, then table. Three packets name a server: no table, no check.
    "udp_stable_rt": {MATCHED: (5, 1), FLOOD: (1,)},
    # Five of seven go to a decap_dst, one to this host, one elsewhere. Of the five two are out of hops, three are
    # balanced again: two IPv4, one IPv6 inside. All outer headers that came off are IPv6.
    "xpop_decap": {
        MATCHED: (3, 3),
        NEW_TCP: (0, 1),
        FLOOD: (3,),
        DECAP_DST: (5, 0),
        DECAP: (0, 6),
        BALANCED_AGAIN: (2, 1),
    },
    # Three to a decap_dst; the third is out of hops.
    "egress_decap": {DECAP_DST: (3, 0), DECAP: (0, 3), EGRESS: (1, 1)},
    # Four new flows, and a check more for each of the two VIPs that migrate flows.
    "udp_flow_migration_1": {MATCHED: (4, 4), NEW_TCP: (0, 1), FLOOD: (6,)},
    "gue_decap_stats": {MATCHED: (1, 1), NEW_TCP: (0, 1), FLOOD: (1,), DECAP: (0, 2)},
    # On top of the first: the two that migrate lose their real and choose again, two checks each.
    "udp_flow_migration_2": {MATCHED: (8, 6), NEW_TCP: (0, 1), FLOOD: (10,), MIGRATED: (2, 0)},
}

# VIP -> (packets, bytes): IPv4 tot_len or IPv6 payload_len. Bytes of a TCP packet of 69 bytes are 55, and so on.
VIPS: dict[str, dict[tuple[str, int, str], tuple[int, int]]] = {
    "base": {
        ("10.200.1.1", 80, "udp"): (1, 43),
        ("10.200.1.1", 80, "tcp"): (4, 55 + 55 + 83 + 55),
        ("10.200.1.2", 0, "tcp"): (1, 55),
        ("10.200.1.3", 80, "tcp"): (1, 55),
        ("10.200.1.4", 0, "tcp"): (2, 2 * 55),
        ("10.200.1.5", 443, "udp"): (10, 58 + 3 * 57 + 29 + 5 * 38),
        ("10.200.1.6", 80, "udp"): (1, 38),
        ("fc00:1::1", 80, "tcp"): (3, 35 + 35 + 86),
        ("fc00:1::2", 443, "udp"): (1, 39),
    },
    "icmp_toobig": {},
    "egress_decap": {},
}
VIPS["gue"] = {vip: counted for vip, counted in VIPS["base"].items() if vip != ("10.200.1.6", 80, "udp")}

# quic_stats_map: ch_routed 28, 30, 31, 34; Initial and 0-RTT 23, 24, 27; no such id 30, 34; routed 25, 26, 29, 33.
# 25 and 29 name another real than the table, 26 and 33 the same.
QUIC = {"base": (4, 3, 2, 197700, 4, 0, 0, 4, 2, 0, 2, 2, 0)}
QUIC["gue"] = QUIC["base"]
# tpr_stats_map: ch_routed, dst_mismatch_in_lru, sid_routed, tcp_syn.
TPR = {"tpr": (8, 0, 8, 1), "tpr_gue": (8, 0, 8, 1)}
# stable_rt_stats: ch_routed, cid_routed, cid_invalid_server_id, cid_unknown_real_dropped, invalid_packet_type.
# udp_flow_migration sends plain UDP to its stable-routed VIP.
STABLE = {
    "udp_stable_rt": (2, 3, 0, 0, 0),
    "udp_flow_migration_1": (1, 0, 0, 0, 1),
    "udp_flow_migration_2": (2, 0, 0, 0, 2),
}
# VIP -> Initials and SYNs; disagreements of server id and table.
SERVER_ID = {
    "base": {("10.200.1.5", 443, "udp"): (2, 2), ("fc00:1::2", 443, "udp"): (1, 0)},
    "tpr": {("10.200.1.1", 80, "tcp"): (1, 0)},
}
SERVER_ID["gue"] = SERVER_ID["base"]
SERVER_ID["tpr_gue"] = SERVER_ID["tpr"]
# VIP -> GUE packets that were passed to the host.
DECAP_VIP = {
    "xpop_decap": {("fc00:1::1", 80, "tcp"): 1},
    "gue_decap_stats": {("fc00:1::1", 80, "tcp"): 1, ("10.200.1.1", 80, "udp"): 1},
}


def by_vip(balancer: Balancer, name: str) -> dict[tuple[str, int, str], tuple[int, ...]]:
    counted = balancer.counters(name)
    return {vip: counted[number] for vip, number in balancer.vips.items() if number in counted}


def run_set(balancer: Balancer, name: str) -> None:
    wrong = []
    for number, packet in enumerate(SETS[name]["packets"]):
        action, frame = balancer.run(base64.b64decode(packet["in"]))
        expected = base64.b64decode(packet["out"])
        if action != packet["action"] or (action != "XDP_DROP" and frame != expected):
            answer = f"{action} {frame.hex()}, not {packet['action']} {expected.hex()}"
            wrong.append(f"{name}[{number}] {packet['description']}: {answer}")
    assert not wrong, "\n".join(wrong)


def check_frames(name: str, stats: Counters) -> None:
    """SEEN to PASSED where no frame enters twice: every frame once, with its own length."""
    expected: dict[int, list[int]] = {}
    for packet in SETS[name]["packets"]:
        index = {"XDP_TX": SENT, "XDP_DROP": DROPPED, "XDP_PASS": PASSED}[packet["action"]]
        for each in (SEEN, index):
            entry = expected.setdefault(each, [0, 0])
            entry[0] += 1
            entry[1] += len(base64.b64decode(packet["in"]))
    assert {index: list(stats[index]) for index in range(SEEN, PASSED + 1) if index in stats} == expected


def check_counters(balancer: Balancer, name: str, own_table: bool) -> None:
    stats = balancer.stats()
    expected = dict(STATS[name])
    if not own_table and MATCHED in expected:
        expected[FALLBACK] = (expected[MATCHED][0], 0)
    flood = expected.pop(FLOOD, (0,))[0]
    # The window begins anew after a second, which a busy machine may take in the middle of a set.
    assert (stats.pop(FLOOD, (0,))[0] or flood) <= flood
    if "follows" not in SETS[name] and name != "xpop_decap":
        check_frames(name, stats)
    if name == "xpop_decap":
        # Three frames enter again, 62 bytes shorter (IPv6, UDP and 14 less), and only those count as sent.
        again = (105 - 48) + (105 - 48) + (137 - 48)
        assert stats[SEEN] == (7 + 3, 3 * 105 + 4 * 137 + again)
        assert stats[SENT] == (3, again)
        assert stats[DROPPED] == (2, 105 + 137)
        assert stats[PASSED] == (2, 2 * 137)
    assert {index: value for index, value in stats.items() if not SEEN <= index <= PASSED} == expected
    if name in VIPS:
        assert balancer.vip_stats() == VIPS[name]
    counted = balancer.vip_stats().values()
    real_counted = balancer.real_stats().values()
    assert [sum(v) for v in zip(*counted, strict=True)] == [sum(v) for v in zip(*real_counted, strict=True)]
    assert balancer.counters("quic_stats_map").get(0) == QUIC.get(name)
    assert balancer.counters("tpr_stats_map").get(0) == TPR.get(name)
    assert balancer.counters("stable_rt_stats").get(0) == STABLE.get(name)
    assert by_vip(balancer, "server_id_stats") == SERVER_ID.get(name, {})
    assert by_vip(balancer, "decap_vip_stats") == {vip: (n, 0) for vip, n in DECAP_VIP.get(name, {}).items()}
    assert balancer.counters("lru_miss_stats") == {}


@pytest.mark.parametrize("own_table", [False, True], ids=["fallback", "cpu_table"])
@pytest.mark.parametrize("name", [name for name, each in SETS.items() if "program" not in each])
def test_vectors(name: str, own_table: bool, cpu: int, provision: Callable[..., Balancer]) -> None:
    first = SETS[name].get("follows", name)
    balancer = provision(SETS[first]["scenario"], cpu if own_table else None)
    run_set(balancer, first)
    if first != name:
        balancer.set_vips(SETS[name]["scenario"]["vips"])
        run_set(balancer, name)
    check_counters(balancer, name, own_table)


def test_healthcheck() -> None:
    entry = SETS["healthcheck"]
    loaded = provision_healthcheck(entry["scenario"])
    try:
        for mark, packet in enumerate(entry["packets"]):
            action, frame, left = run_tc(loaded, base64.b64decode(packet["in"]), mark)
            assert (action, frame) == (packet["action"], base64.b64decode(packet["out"])), packet["description"]
            assert left == 0
        # processed, dropped, skipped, too_big, dst_matched, src_matched
        assert loaded.counters("hc_stats_map") == (3, 0, 1, 0, 0, 0)
    finally:
        loaded.close()
