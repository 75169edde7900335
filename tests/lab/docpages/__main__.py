# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/page: pages against a laboratory that stays up."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from fleetlab import lifecycle
from fleetlab.plan import LabError, lab_named
from fleetlab.runs import Fleet, on_host
from fleetlab.system import Progress

from docpages import fleet as pages
from docpages.page import PageError
from docpages.run import NotSoError, working_directory

_ABOUT = """The laboratory (environment KATRAN_LAB, else "page") is brought up where it is not, and deployed to where a
page is about a deployed fleet. A page that is about bare hosts, or a fleet of its own, gets a laboratory of that name
and a p, which goes again."""


def _fleet(name: str) -> Fleet:
    lab = lab_named(name)
    if not lifecycle.running_hosts(lab):
        lifecycle.up(lab, Progress(name))
    fleet = Fleet(lifecycle.require_up(lab), pages.INVENTORY)
    if not on_host(fleet.lab, "lb1", "ls /var/lib/katran-fleet 2>/dev/null || true"):
        begin = time.monotonic()
        fleet.deploy()
        print(f"deployed ({time.monotonic() - begin:.1f} s)")
    return fleet


def _run(path: Path, lab: str) -> bool:
    """Whether a page does what it says."""
    begin = time.monotonic()
    try:
        pages.run(path, lab, partial(_fleet, lab), print)
        if pages.read(path).kind == "deployed":
            pages.left_as_found(_fleet(lab), pages.name_of(path))
    except NotSoError as wrong:
        print(wrong)
        return False
    print(f"{pages.name_of(path)}: does what it says ({time.monotonic() - begin:.1f} s)")
    return True


def _main() -> int:
    parser = argparse.ArgumentParser("page", description=_ABOUT)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--skips", action="store_true", help="list the blocks that no test runs")
    parser.add_argument("--directory", type=Path, help="make a working directory like the pages' own")
    arguments = parser.parse_args()
    try:
        if arguments.directory:
            print(working_directory(arguments.directory.resolve()))
        if arguments.skips:
            print(*pages.skips(), sep="\n")
        good = [_run(path.resolve(), os.environ.get("KATRAN_LAB") or "page") for path in arguments.pages]
    except (LabError, PageError) as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    return 0 if all(good) else 1


sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
sys.exit(_main())
