# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving in from Katran, with a stand-in for it: how long an import takes, swaps under load, a mixed fleet behind ECMP.

usage: katran_moves.py import | swaps [ROUNDS] | mixed [SECONDS]. In a sandbox of namespaces. The figures go to stdout,
and between their marks into docs/performance.md.
"""

from __future__ import annotations

import os
import random
import sys
import time

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.plugins.module_utils._engine.katran import read_katran
from ansible_collections.katran.fleet.plugins.module_utils._kernel.katran_maps import Place
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    apply,
    attached,
    lead_out,
    pinned,
    roll_back,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.mixed_fleet import run_mixed
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, compiled_once, sandbox
from ansible_collections.katran.fleet.tests.engine.standin import provision
from ansible_collections.katran.fleet.tests.engine.test_take_over import SCENARIO, take_over

VIPS, REALS, RING = 512, 100, 65537


def import_of(shared: bool) -> str:
    """How long it takes to read 512 VIPs of 100 reals; `shared`: all of one pool and the same weights."""
    chance = random.Random(5)
    vips_ = []
    for number in range(VIPS):
        weights = [1 + real % 10 if shared else chance.randint(1, 10) for real in range(REALS)]
        pool = 0 if shared else number % 20
        reals = [{"address": f"10.{pool}.0.{real + 1}", "weight": weight} for real, weight in enumerate(weights)]
        address = f"198.18.{number // 250}.{number % 250 + 1}"
        vips_.append({"address": address, "port": 443, "protocol": "tcp", "reals": reals})
    # As many server ids as Katran has room for by default: they are looked through, too.
    sizes = {"vips": VIPS, "reals": 4096, "ring": RING, "server_ids": DEFAULT_SIZES["server_ids"]}
    made = provision({"sources": BPF, "balancer": {"sizes": sizes}, "vips": vips_})
    made.attach(LINK)
    # As if nobody else had work for the machine.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    started, cpu = time.monotonic(), sum(os.times()[:4])
    found = read_katran(Place())
    took, spent = time.monotonic() - started, sum(os.times()[:4]) - cpu
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    made.close()
    there = {vip["address"]: vip["reals"] for vip in found.imported.variables["katran_vips"]}
    wrong = sum(
        [real.get("weight", 1) for real in there[vip["address"]]] != [real["weight"] for real in vip["reals"]]
        for vip in vips_
    )
    kind = "one pool, the same weights" if shared else "weights of their own, 1 to 10"
    return (
        f"import of {VIPS} VIPs of {REALS} reals, rings of {RING} slots, {kind}: {took:.1f} s ({spent:.1f} s of CPU),"
        f" {len(found.imported.stale)} stale, {wrong} with other weights"
    )


def imports() -> list[str]:
    lines = []
    for shared in (False, True):
        with sandbox(LINK), compiled_once():
            lines.append(import_of(shared))
            print(lines[-1], flush=True)
    return lines


def swaps(rounds: int) -> list[str]:
    with sandbox(LINK), compiled_once():
        lead_out()
        made = provision(SCENARIO)
        made.attach(LINK)
        take_over(after_vips=False)
        apply([vips()])
        there, back = [], []
        with stream() as traffic:
            for _round in range(rounds):
                started = time.monotonic()
                take_over()
                there.append(time.monotonic() - started)
                assert attached() == (pinned(), "native")
                started = time.monotonic()
                roll_back()
                back.append(time.monotonic() - started)
                assert attached() == (made.program, "native")
            result = traffic.stop()
        made.close()
    line = (
        f"{rounds} swaps there and back under load: {result.sent:,} packets of 1,000 flows, {len(result.lost)} lost; a"
        f" swap took up to {max(there):.1f} s, the way back {max(back):.1f} s"
    )
    print(line)
    return [line]


def mixed(seconds: float) -> list[str]:
    line = f"ours and a stand-in for Katran behind ECMP, {run_mixed(seconds)}"
    print(line)
    return [line]


def main() -> None:
    part, options = sys.argv[1], sys.argv[2:]
    if part == "import":
        lines = imports()
    elif part == "swaps":
        lines = swaps(int(options[0]) if options else 20)
    else:
        lines = mixed(float(options[0]) if options else 600)
    write_figures(f"katran_moves.py {part}", [machine(), *lines])


if __name__ == "__main__":
    main()
