# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran.fleet.report takes for fifty balancers of 512 VIPs with 100 reals: on the controller, and on one of them.

The balancer is a real one, half of whose VIPs have rings of their own, with 300,000 flows.

usage: python tests/bench/report.py [FOLDER]     # pages are left there
"""

from __future__ import annotations

import gc
import json
import os
import struct
import sys
import time
from pathlib import Path

from katran import host

from ansible_collections.katran.fleet.plugins.module_utils._engine.report import report_facts
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.report.hosts import told_of
from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import report_of
from ansible_collections.katran.fleet.plugins.plugin_utils.report_page import About, rendered
from ansible_collections.katran.fleet.tests.engine.report_fleet import fleet
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, request

FLOWS = 300_000
MOST_BYTES, MOST_SECONDS = 500_000, 5.0


def on_a_balancer() -> str:
    """What module report_info takes there, without Ansible and imports."""
    with host():
        with bpf.open_map(f"{BPFFS}/katran/default/maps/lru_mapping") as outer:
            number = layout.parse_u32(outer.lookup(bytes(4)) or b"")
        with bpf.map_by_id(number) as table:
            vip = layout.pack_address("198.18.0.1")
            keys = (layout.flow_key(struct.pack("=IQI", each, 0, 0), vip, 1000, 443, 6) for each in range(FLOWS))
            table.update_many([(key, layout.real_pos_lru(1 + at % 100, 0)) for at, key in enumerate(keys)])
        gc.disable()
        began, spent = time.monotonic(), time.process_time()
        facts = report_facts(request(check=True))
        seconds, spent = time.monotonic() - began, time.process_time() - spent
        return (
            f"on a balancer of 512 VIPs x 100 reals and {FLOWS:,} flows, of which {facts['looked']:,} are looked at: "
            f"{seconds:.1f} s, {spent:.1f} s of CPU, {len(json.dumps(facts)) / 1000:.0f} kB"
        )


def main() -> None:
    worst = False
    for words, every, own in (
        ("100 reals, one pool", 100, False),
        ("100 reals, weights of each VIP's own", 100, True),
        ("4,000 reals, reals and weights of each VIP's own", 4000, True),
    ):
        results = fleet(50, 512, 100, every, own)
        sent = max(len(json.dumps(each)) for each in results.values())
        began, spent = time.monotonic(), time.process_time()
        page = rendered(report_of([told_of(host, each) for host, each in results.items()]), About(time.time()))
        seconds, spent = time.monotonic() - began, time.process_time() - spent
        size = len(page.encode())
        worst = worst or size > MOST_BYTES or seconds > MOST_SECONDS
        print(
            f"50 balancers, 512 VIPs x 100 reals, of {words}: {size / 1000:.0f} kB (at most {MOST_BYTES / 1000:.0f}), "
            f"{seconds:.1f} s (at most {MOST_SECONDS:.0f}), {spent:.1f} s of CPU; a balancer sends {sent / 1000:.0f} kB"
        )
        if len(sys.argv) > 1:
            Path(sys.argv[1], f"report-{every}-{'own' if own else 'shared'}.html").write_text(page, encoding="utf-8")
    print(on_a_balancer())
    print(f"(load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores)")
    raise SystemExit(worst)


if __name__ == "__main__":
    main()
