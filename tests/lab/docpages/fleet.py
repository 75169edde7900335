# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the clone, and the laboratories they are run against."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from fleetlab import lifecycle, network, routes
from fleetlab.fleet import read_vips
from fleetlab.plan import PROJECT, Lab, LabError, hosts_of, lab_named
from fleetlab.runs import Fleet, on_host
from fleetlab.system import Progress

from docpages import newcomer
from docpages.page import Page, PageError, parse
from docpages.run import NotSoError, Runner, working_directory

INVENTORY = PROJECT / "inventories/lab"
DRIFT = "katran.fleet.drift"


def paths() -> list[Path]:
    """Every page: README.md and what is below docs/."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def read(path: Path) -> Page:
    return parse(path, path.read_text(encoding="utf-8"), name_of(path))


def pages(*folders: str, initials: str = "") -> list[Path]:
    """The pages that are run, below these folders of docs/; of docs/ itself and README.md for ".".

    Of those with one of these initials, if any are named. Those of kind new have a test of their own
    (test_quick_start.py).
    """
    chosen = [
        path
        for path in paths()
        if (name_of(path).split("/")[1] if len(path.relative_to(PROJECT).parts) > 2 else ".") in folders
    ]
    return [path for path in chosen if _is_run(path) and (not initials or path.stem[0].lower() in initials)]


def _is_run(path: Path) -> bool:
    try:
        page = read(path)
        return page.runs and page.kind != "new"
    except PageError:
        # Its test says what is wrong with it; the others run.
        return True


def skips() -> list[str]:
    """The blocks that are not run, each with its place and the reason."""
    return [f"{name_of(path)}:{skip.line}: {skip.reason}" for path in paths() for skip in read(path).skips]


@cache
def _addresses(prefix: str) -> frozenset[str]:
    """The VIPs' addresses, which Ansible takes a second to tell."""
    return frozenset(vip.target.address for vip in read_vips(INVENTORY, prefix))


def announced(lab: Lab) -> None:
    """Wait until the router knows every VIP of the inventory by every balancer."""
    routes.wait(lab, _addresses(lab.prefix), [host.name for host in lab.with_role("balancer")])


def drift(fleet: Fleet) -> str:
    """What playbook drift finds with the laboratory's own inventory; empty if nothing."""
    done = fleet.ansible("ansible-playbook", DRIFT)
    return "" if done.returncode == 0 else f"exit status {done.returncode}\n{done.stdout[-5000:]}{done.stderr[-2000:]}"


def mend(fleet: Fleet) -> None:
    """Make the fleet what the inventory says, whatever a page left; from nothing where that is the only way."""
    for host in fleet.lab.with_role("balancer"):
        with contextlib.suppress(LabError):
            on_host(fleet.lab, host.name, "katran undrain")
    try:
        fleet.deploy()
    except LabError:
        fleet.playbook("katran.fleet.remove", None, "-e", "remove_confirmed=true")
        fleet.deploy()
    else:
        if drift(fleet):
            fleet.playbook("katran.fleet.remove", None, "-e", "remove_confirmed=true")
            fleet.deploy()


def run(path: Path, lab: str, deployed: Callable[[], Fleet], say: Callable[[str], None]) -> None:
    """Run a page; NotSoError where it does not do what it says.

    *deployed* gives the fleet of the pages that share one. Other kinds of pages have their own, called *lab* and a p.
    """
    page = read(path)
    with tempfile.TemporaryDirectory(prefix="docpages-", ignore_cleanup_errors=True) as place:
        work = working_directory(Path(place))
        if page.kind == "deployed":
            _run_deployed(page, work, deployed(), say)
        elif page.kind == "none":
            Runner(work, "nolab", say=say).page(page, name_of(path))
        else:
            with _own_lab(page, f"{lab[:9]}p") as own:
                if page.kind == "new":
                    runner = newcomer.runner(Path(place) / "new", own, say)
                else:
                    runner = Runner(work, own.prefix, say=say, tools=str(newcomer.tools(Path(place), own)))
                runner.page(page, name_of(path))


def _run_deployed(page: Page, work: Path, fleet: Fleet, say: Callable[[str], None]) -> None:
    """Run a page against a fleet that is there for others too; mended where the page fails."""
    announced(fleet.lab)
    try:
        Runner(work, fleet.lab.prefix, say=say).page(page, name_of(page.path))
    except BaseException:
        mend(fleet)
        raise


def left_as_found(fleet: Fleet, what: str) -> None:
    """NotSoError where *what*, which ran against a fleet, leaves it as something else than the inventory says."""
    # What somebody else's load delays is no drift a moment later.
    found = drift(fleet) and drift(fleet)
    if found:
        mend(fleet)
        raise NotSoError(f"{what} left the fleet as something else than it was found: {DRIFT} says\n{found}")


@contextlib.contextmanager
def _own_lab(page: Page, name: str) -> Iterator[Lab]:
    """A laboratory of a page's own, of the sizes that it says; with nothing on its hosts, or deployed (kind own)."""
    lab = lab_named(name, plan=hosts_of(*page.sizes))
    progress = Progress(name)
    lifecycle.down(lab, progress)
    try:
        lifecycle.up(lab, progress)
        if page.kind == "own":
            Fleet(lab, INVENTORY).deploy()
            announced(lab_named(name))
        yield lab
    finally:
        lifecycle.down(lab, progress)


@contextlib.contextmanager
def as_announced(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a router that knows no other way to a VIP than what balancers announce, as `make lab` has it."""
    network.route_as_announced(fleet.lab)
    try:
        yield fleet
    finally:
        network.route_statically(fleet.lab)
