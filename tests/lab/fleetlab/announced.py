# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of VIPs on balancers as tests put them there, and what bird and the router make of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from fleetlab import routes
from fleetlab.plan import Lab
from fleetlab.runs import Fleet, on_host
from fleetlab.system import ip, run
from fleetlab.system import network as entered

IPV4, IPV6 = "198.18.200.1", "fd6b:6174:7261:200::1"
BOTH = ["lb1", "lb2"]
TABLE, PROTOCOL = 198, 98
CONF = "/etc/bird/bird.conf"
READ = f"have bird read {CONF}"
PASSWORD = "laboratory-only"  # noqa: S105  # of inventories/lab, which everybody may read


def announce(lab: Lab, host: str, metric: int = 1, addresses: tuple[str, ...] = (IPV4, IPV6)) -> None:
    """What the agent does of a VIP that the balancer is ready for: the new route first, so that there always is one."""
    for address in addresses:
        ip(
            [f"route replace {address} dev lo table {TABLE} proto {PROTOCOL} metric {metric}"],
            lab.namespace(lab.host(host)),
        )
        withdraw(lab, host, 3 - metric, (address,))


def withdraw(lab: Lab, host: str, metric: int | None = None, addresses: tuple[str, ...] = (IPV4, IPV6)) -> None:
    """Take away the routes of this metric, or of both."""
    with entered(lab.namespace_path(lab.host(host))):
        for address in addresses:
            family = "-6" if ":" in address else "-4"
            there = json.loads(
                run(["ip", "-j", family, "route", "show", "table", "all", "proto", str(PROTOCOL)]) or "[]"
            )
            for route in there:
                if route["dst"] == address and metric in (None, route["metric"]):
                    words = ["del", address, "table", str(TABLE), "metric", str(route["metric"])]
                    run(["ip", family, "route", *words])


def until(true: Callable[[], bool], seconds: float) -> float:
    """Wait for something; the seconds it took. A test fails where it does not come."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begin


def everywhere(lab: Lab, *hosts: str) -> bool:
    """Whether the router sends flows to both VIPs to just these balancers."""
    known = routes.read(lab)
    return all(known.get(address) == (list(hosts) or None) for address in (IPV4, IPV6))


def sessions(lab: Lab, host: str) -> dict[str, list[str]]:
    """Session → state, since when, and what bird says of it."""
    lines = on_host(lab, host, "birdc show protocols").splitlines()
    rows = [line.split(None, 5) for line in lines if " BGP " in line]
    return {row[0]: [row[3], row[4], row[5] if len(row) > 5 else ""] for row in rows}


def established(lab: Lab, host: str) -> int:
    return sum(row[2].strip() == "Established" for row in sessions(lab, host).values())


def told_by_router(lab: Lab, address: str) -> str:
    """All that the router's bird knows of an address."""
    return on_host(lab, "router", f"birdc 'show route all where net = {address}/{128 if ':' in address else 32}'")


def run_bgp(fleet: Fleet, host: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The module alone, with the inventory's katran_bgp and no word of VIPs."""
    words = json.dumps({"config": "{{ katran_bgp }}", **options})
    done = fleet.ansible("ansible", host, "-m", "katran.fleet.bgp", "-a", words, *arguments, json_results=True)
    assert PASSWORD not in done.stdout + done.stderr
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("=> ") + 3 :])[0]
    return answer
