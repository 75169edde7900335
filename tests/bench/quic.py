# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of QUIC, a thousand for each layout of their ids, change address and port while the VIPs' reals change.

A balancer with real maps and its program, three reals with servers of aioquic and a client, each in a namespace. The
figures go to stdout, and between their two marks into docs/performance.md. The first argument is another number of
connections.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.tests.engine.quic_fleet import (
    CHANGES,
    LOST_AFTER,
    TIMEOUT,
    Client,
    quic_fleet,
    ring_choice,
    set_reals,
)
from ansible_collections.katran.fleet.tests.engine.quic_layouts import PORTS

CONNECTIONS = 1000
WORDS = {
    "katran1": "Katran, layout 1",
    "katran2": "Katran, layout 2",
    "katran3": "Katran, layout 3",
    "quic_lb": "QUIC-LB, numbers of server_ids",
    "rotation": "QUIC-LB, two configurations at once",
    "none": "no ids",
}


def measure(client: Client, name: str, number: int) -> str:
    """One line of one layout."""
    set_reals(CHANGES[0])
    began = client.connect(name, number)
    if name == "none":
        set_reals(CHANGES[1])
        moved = client.move(name, LOST_AFTER)
        kept = sum(ring_choice(PORTS[name], port) == real for port, real, _found in moved)
        more = f"; the ring leaves {kept} where they were"
    else:
        moved = client.move(name, TIMEOUT, CHANGES[1:] * 3)
        more = ""
    lost = Counter(real != found for _port, real, found in moved)[True]
    spread = " + ".join(str(began[real]) for real in sorted(began))
    return f"{WORDS[name]:<36} {number} connections ({spread}), {lost} lost{more}"


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS
    lines = [machine(), ""]
    with tempfile.TemporaryDirectory() as folder, quic_fleet(Path(folder)) as client:
        for name in PORTS:
            lines.append(measure(client, name, number))
            print(lines[-1], flush=True)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines += ["", f"{spent.ru_utime + spent.ru_stime:.0f} s of CPU for all clients and servers"]
    print(lines[-1])
    write_figures("quic.py", lines)


if __name__ == "__main__":
    main()
