# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet for its report, as module report_info would tell of it: of any size, alike or with things that differ."""

from __future__ import annotations

import random
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.report.told import row

RING = 65537
Result = dict[str, Any]


def split(whole: int, weights: list[int]) -> list[int]:
    """A whole number by weights, none of it lost."""
    total = sum(weights)
    parts = [whole * weight // total for weight in weights]
    parts[0] += whole - sum(parts)
    return parts


def balancer(
    host: int, vips: int, reals: int, every: int, flows: int = 200_000, seed: int = 1, own: bool = True
) -> Result:
    """What one balancer tells: VIPs with so many reals each, of `every` real there is.

    `own`: each VIP has reals and weights of its own, the most that there can be to tell; else all share a pool.
    """
    shared, mine = random.Random(seed), random.Random(seed * 1000 + host)
    addresses = [f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}" for place in range(1, every + 1)]
    pools, told = [], []
    real_flows = [0] * every
    for number in range(vips):
        if own or not pools:
            places = shared.sample(range(every), reals)
            slots = split(RING, [shared.randint(1, 10) for _real in range(reals)])
            pools.append({"reals": row(places), "slots": row(slots)})
        here = flows // vips
        counts = [max(0, round(mine.gauss(here * share / RING, (here * share / RING) ** 0.5))) for share in slots]
        for place, count in zip(places, counts, strict=True):
            real_flows[place] += count
        told.append(
            {
                "vip": f"198.51.{number >> 8}.{number & 255}:443/tcp",
                "state": "announced",
                "reasons": [],
                "degraded": "",
                "since": "2026-05-04T03:12:40.000+00:00",
                "reals": reals,
                "reals_in": reals,
                "edited": False,
                "packets": sum(counts) * 40,
                "bytes": sum(counts) * 40 * 610,
                "pool": len(pools) - 1,
                "flows": row(counts),
                "astray": 0,
                "ring": f"{number:016x}",
                "configured": f"{number:016x}",
                "words": [],
            }
        )
    seen = 40 * flows
    facts = {
        "installed": True,
        "instance": "default",
        "at": 1777864360.0,
        "kernel": "6.1.0-28-amd64",
        "findings": [],
        "notes": [],
        "loaded": True,
        "sure": True,
        "program": {
            "id": 100 + host,
            "tag": "51e75acd44450622",
            "encapsulation": "ipip",
            "features": ["cidr_vips"],
            "gateway_mac": "02:00:00:00:00:09",
        },
        "attached": [{"place": "interface eth1", "mode": "native", "program_id": 100 + host, "wrong": ""}],
        "agent": "running",
        "drained": None,
        "counters": {"frames_seen": seen, "frames_dropped": seen // 90_000, "ring_slot_empty": seen // 100_000},
        "tables": [
            {
                "table": "lru_mapping",
                "tables": 8,
                "entries": flows,
                "capacity": 1_000_000,
                "fullest": [flows // 7, 125_000],
                "exact": False,
            }
        ],
        "differences": [],
        "problems": [],
        "by_hand": {},
        "sources": "38d7aa2234b51e40",
        "made_of": {"encapsulation": "ipip", "max_frame": 1514, "sizes": {"vips": 512, "ring": RING}},
        "ring_size": RING,
        "reals": addresses,
        "real_flows": row(real_flows),
        "real_packets": row(count * 40 for count in real_flows),
        "pools": pools,
        "vips": told,
        "out": [],
        "looked": flows,
        "history": [
            {
                "number": number,
                "kind": "applied" if number else "before",
                "began": f"2026-05-{number + 1:02}T03:12:{host % 60:02}.000+00:00",
                "run": f"{number:08x}ff",
                "user": "jane",
                "revision": "3b1f0c2a9e77",
                "modules": ["vips"],
                "what": f"vip 198.51.0.{number}:443/tcp: weight of 10.0.0.12 1 → {number}",
                "seconds": 1.3,
            }
            for number in range(20)
        ],
        "seconds": 0.8,
    }
    return {"changed": False, "facts": facts}


def fleet(balancers: int, vips: int, reals: int, every: int, own: bool = True) -> dict[str, Result]:
    """Balancers that are alike: host → what it told."""
    return {f"lb{host}": balancer(host, vips, reals, every, own=own) for host in range(1, balancers + 1)}


def out(real: str, state: str, by: str, vips: list[str], **more: Any) -> dict[str, Any]:
    """A row of reals that are out."""
    since = more.pop("since", "2026-05-04T03:10:00.000+00:00")
    named = {"real": real, "state": state, "by": by, "since": since, "reason": "", "held": ""}
    return {**named, **more, "vips": len(vips), "first": vips[:3]}


def troubled(told: dict[str, Result]) -> dict[str, Result]:
    """A fleet of four balancers or more, with what may be wrong."""
    hosts = list(told)
    facts = [told[host]["facts"] for host in hosts]
    told[hosts[-1]] = {"unreachable": True, "msg": "Failed to connect to the host via ssh: No route to host"}
    facts[1]["kernel"] = "6.1.0-27-amd64"
    facts[1]["drained"] = {"by": "jane", "since": "2026-05-04T03:00:00Z", "withdraw": False}
    for vip in facts[1]["vips"]:
        vip["state"], vip["reasons"] = "draining", ["the balancer is drained"]
    facts[2]["agent"] = "stopped"
    facts[2]["vips"][0]["ring"] = "f" * 16
    facts[2]["vips"][0]["words"] = ["by check"]
    facts[2]["findings"] = [
        {
            "name": "agent_down",
            "about": "",
            "cause": "the agent does not run although it is set up",
            "remedy": "systemctl start katran-agent",
            "error": True,
            "host": "",
        }
    ]
    gone = facts[0]["vips"][0]["vip"]
    real = facts[0]["reals"][0]
    for each in facts[:3]:
        each["out"] = [out(real, "down", "check", [gone], reason="connection refused")]
        each["findings"].append(
            {
                "name": "flow_table_full",
                "about": "lru_mapping",
                "cause": "lru_mapping is full (95 %) and evicts",
                "remedy": "raise flows in katran_sizes",
                "error": False,
                "host": "",
            }
        )
    facts[0]["by_hand"] = {facts[0]["reals"][1]: {"state": "draining", "since": "2026-05-04T03:10:00Z"}}
    facts[0]["out"].append(out(facts[0]["reals"][1], "draining", "hand", [gone]))
    return told
