# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick start, command by command: the built collection in a clean venv, bare hosts, and the first packet."""

from __future__ import annotations

import time

from docpages import fleet as pages
from fleetlab.names import TESTED
from fleetlab.plan import PROJECT
from fleetlab.runs import Fleet

PAGE = PROJECT / "docs/start/quick-start.md"
FIRST = "client# wget -qO- http://198.18.200.1/"
MOST_SECONDS = 300.0


def _no_other_fleet() -> Fleet:
    raise AssertionError(f"{PAGE.name} is about hosts of its own")


def test_the_first_packet_is_balanced_within_five_minutes() -> None:
    begin = 0.0
    first: list[float] = []

    def say(text: str) -> None:
        nonlocal begin
        print(text)
        # What comes before the first command are the laboratory and the build, which a reader has.
        now = time.monotonic()
        if text.endswith("python3 -m venv venv"):
            begin = now - float(text.split()[1])
        if text.endswith(FIRST):
            first.append(now - begin)

    pages.run(PAGE, TESTED, _no_other_fleet, say)
    print(f"first packet after {first[0]:.0f} s")
    assert begin
    assert first[0] < MOST_SECONDS
