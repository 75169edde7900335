# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy costs the controller, by the number of hosts: a laboratory on this machine, reached by ssh.

Measured are deploys that change nothing, each after an unmeasured one, with inventories of 5, 10, 25 and 50 hosts, two
balancers for every three reals; medians. CPU seconds of the controller are those of ansible-playbook and all it starts
(controller.py says how), without the hosts', which are counted apart although they share the machine. Wall seconds mean
little here for the same reason. --base measures another checkout in turns with this one. Needs root; with 50 hosts also
14 GiB of memory and, for each round, some seven minutes of two cores.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import fleet_inventory
from controller import Controller, Cost, Deploy
from fleetlab import lifecycle
from fleetlab import network as lab_network
from fleetlab.plan import ROUTER, Host, Lab, LabError, hosts_of, lab_named
from fleetlab.system import Progress, network, run

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
FIGURES = CACHE / "fleet.json"
MEGABYTE = 1 << 20
THIS, BASE = "this", "base"
# Two balancers for every three reals.
BALANCERS_OF_FIVE = 2


@dataclass
class Size:
    """The figures of one checkout with an inventory of so many hosts: a cost for each round.

    *tasks*, of a host of each role: how many ran or were skipped in a round; *changed*: of all hosts in all rounds.
    """

    balancers: int
    reals: int
    costs: list[Cost] = field(default_factory=list)
    tasks: dict[str, float] = field(default_factory=dict)
    changed: int = 0

    def __str__(self) -> str:
        return f"{self.hosts} ({self.balancers} + {self.reals})"

    @property
    def hosts(self) -> int:
        return self.balancers + self.reals

    def median(self, name: str) -> float:
        return statistics.median(float(getattr(cost, name)) for cost in self.costs)

    @property
    def controller_per_host(self) -> float:
        return self.median("controller") / self.hosts

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Size:
        return cls(**data | {"costs": [Cost(**cost) for cost in data["costs"]]})


@dataclass
class Figures:
    """All that a run of this script found.

    *build_seconds* is the wall time of building the laboratory of *hosts* hosts, *first* the cost of the first deploy
    to them; both None where it was there before. *commits* and *sizes* are by checkout.
    """

    machine: str
    settings: str
    hosts: int
    commits: dict[str, str]
    build_seconds: float | None = None
    first: Cost | None = None
    sizes: dict[str, list[Size]] = field(default_factory=dict)

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Figures:
        sizes = {name: [Size.of_data(size) for size in listed] for name, listed in data["sizes"].items()}
        return cls(**data | {"first": data["first"] and Cost(**data["first"]), "sizes": sizes})

    def store(self) -> None:
        """Write them where option --figures finds them; also of a run that does not get to its end."""
        FIGURES.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


# Measuring


class Bench:
    """A laboratory, and deploys of each checkout to parts of it."""

    def __init__(self, lab: Lab, options: argparse.Namespace, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._controller = Controller(lab)
        # Twenty balancers that look for their gateway's would keep a machine of two CPUs busy by that alone.
        self._gateways = gateway_macs(lab)
        self._checkouts: dict[str, Path] = checkouts(options)

    def first(self, hosts: tuple[Host, ...]) -> Cost:
        """Deploy to hosts on which nothing is."""
        return self._deploy(THIS, hosts, "first deploy").cost

    def measure(self, numbers: Sequence[int], figures: Figures) -> None:
        """Measure every size, as many rounds as are asked for, the checkouts taking turns in each."""
        found = figures.sizes = {name: [] for name in self._checkouts}
        for number in numbers:
            hosts = edge_hosts(number)
            balancers = sum(host.role == "balancer" for host in hosts)
            sizes = {name: Size(balancers, number - balancers) for name in self._checkouts}
            for turn in range(self._options.rounds):
                for name, size in sizes.items():
                    # What is on the hosts is of another inventory, or of another checkout.
                    if turn == 0 or len(sizes) > 1:
                        self._deploy(name, hosts, "settle")
                    self._measure(name, hosts, size, f"round {turn + 1}/{self._options.rounds}")
            for name, size in sizes.items():
                found[name].append(size)
            figures.store()

    def _measure(self, name: str, hosts: tuple[Host, ...], size: Size, label: str) -> None:
        """Deploy again, add what it cost to *size*; SystemExit where it changed something."""
        deploy = self._deploy(name, hosts, label)
        size.costs.append(deploy.cost)
        size.tasks = tasks_by_role(deploy, hosts)
        changed = {host: recap.changed for host, recap in deploy.recap.items() if recap.changed}
        size.changed += sum(changed.values())
        if changed:
            fail(
                f"{name}, {len(hosts)} hosts: a second deploy changed something on {', '.join(sorted(changed))}", deploy
            )

    def _deploy(self, name: str, hosts: tuple[Host, ...], label: str) -> Deploy:
        folder = CACHE / "inventories" / str(len(hosts))
        proxy_group = self._controller.proxy_group
        inventory = fleet_inventory.write(folder, hosts, self._options.vips, proxy_group, self._gateways)
        command = ["-i", str(inventory), self._options.playbook]
        if self._options.forks:
            command += ["--forks", str(self._options.forks)]
        deploy = self._controller.run(self._checkouts[name], command, hosts, CACHE / f"fleet-{name}.log")
        cost, what = deploy.cost, f"{name}, {len(hosts)} hosts, {label}"
        self._progress.say(
            f"{what}: {cost.wall:.1f} s; CPU s: controller {cost.controller:.1f}, proxy {cost.proxy:.1f}, "
            f"hosts {cost.hosts:.1f}, others {cost.others:.1f}"
        )
        if deploy.status:
            fail(f"{what}: exit status {deploy.status}", deploy)
        missing = {host.name for host in hosts} - deploy.recap.keys()
        if missing:
            fail(f"{what}: nothing was done on {', '.join(sorted(missing))}", deploy)
        return deploy


def checkouts(options: argparse.Namespace) -> dict[str, Path]:
    """Where each checkout is: first the base, if there is one."""
    return ({BASE: options.base} if options.base else {}) | {THIS: ROOT}


def fail(why: str, deploy: Deploy) -> NoReturn:
    end = deploy.log.read_text(encoding="utf-8").splitlines()[-25:]
    raise SystemExit("\n".join([*end, f"{why}; all of it is in {deploy.log}"]))


def edge_hosts(number: int) -> tuple[Host, ...]:
    """So many balancers and reals together."""
    balancers = max(1, round(number * BALANCERS_OF_FIVE / 5))
    return tuple(host for host in hosts_of(balancers, number - balancers) if host.role in {"balancer", "real"})


def gateway_macs(lab: Lab) -> dict[str, str]:
    """The MAC address of the router's end of each host's link."""
    with network(lab.namespace_path(ROUTER)):
        links = json.loads(run(["ip", "-j", "link"]))
    return {link["ifname"].removeprefix("r-"): link["address"] for link in links if link["ifname"].startswith("r-")}


def tasks_by_role(deploy: Deploy, hosts: Sequence[Host]) -> dict[str, float]:
    """Tasks done on a host of a role, skipped ones too: the median, as some run on one host for all."""
    found: dict[str, list[int]] = {}
    for host in hosts:
        recap = deploy.recap[host.name]
        found.setdefault(host.role, []).append(recap.ok + recap.skipped)
    return {role: statistics.median(numbers) for role, numbers in found.items()}


@contextmanager
def laboratory(hosts: tuple[Host, ...], prefix: str, *, keep: bool) -> Iterator[tuple[Lab, Progress, float | None]]:
    """A laboratory with these hosts, removed at the end unless it is kept.

    With it the seconds that building it took, None for one that was there.
    """
    lab = Lab(lab_named(prefix).prefix, (ROUTER, *hosts))
    progress = Progress(lab.prefix)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("terminated"))
    try:
        begin, there = time.monotonic(), lifecycle.running_hosts(lab)
        lifecycle.up(lab, progress)
        lab_network.route_statically(lab)
        seconds = None if there else time.monotonic() - begin
        with lifecycle.hold(lab, "tests/bench/fleet.py"):
            yield lab, progress, seconds
    finally:
        if not keep:
            lifecycle.down(lab, progress)


def measure(options: argparse.Namespace) -> Figures:
    CACHE.mkdir(parents=True, exist_ok=True)
    everyone = edge_hosts(max(options.sizes))
    settings = f"{options.playbook}, {options.forks or configured_forks()} forks, {options.vips} VIPs"
    settings += f", {options.rounds} rounds; medians"
    commits = {name: commit_of(path) for name, path in checkouts(options).items()}
    figures = Figures(machine_line(), settings, len(everyone), commits)
    with laboratory(everyone, options.lab, keep=options.keep) as (lab, progress, figures.build_seconds):
        bench = Bench(lab, options, progress)
        if figures.build_seconds is not None:
            figures.first = bench.first(everyone)
        bench.measure(sorted(options.sizes), figures)
    return figures


# Saying what was found


def machine_line() -> str:
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    cpus = f"{os.cpu_count()} CPUs" + (f" ({model[1].strip()})" if model else "")
    versions = f"ansible-core {importlib.metadata.version('ansible-core')}, Python {sys.version.split()[0]}"
    return f"Linux {os.uname().release}, {cpus}, load {os.getloadavg()[0]:.1f} before; {versions}"


def commit_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def configured_forks() -> str:
    found = re.search(r"^forks\s*=\s*(\d+)", (ROOT / "ansible.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "5"


def table(sizes: list[Size]) -> str:
    """Markdown: a row for each size."""
    rows = [
        "| hosts | seconds | controller CPU s | per host | hosts' CPU s | per host | tasks | changed | memory MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        controller, hosts = size.median("controller"), size.median("hosts")
        rows.append(
            f"| {size} | {size.median('wall'):.1f} "
            f"| {controller:.1f} | {controller / size.hosts:.2f} | {hosts:.1f} | {hosts / size.hosts:.2f} "
            f"| {size.tasks['balancer']:.0f}, {size.tasks['real']:.0f} | {size.changed} "
            f"| {size.median('process_memory') / MEGABYTE:.0f}, {size.median('memory') / MEGABYTE:.0f} |"
        )
    return "\n".join(rows)


def comparison(base: list[Size], this: list[Size]) -> str:
    """Markdown: both checkouts in a row for each size."""
    rows = [
        "| hosts | controller CPU s per host: base | this | share | seconds: base | this | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for old, new in zip(base, this, strict=True):
        cpu, wall = ([one.controller_per_host for one in (old, new)], [one.median("wall") for one in (old, new)])
        rows.append(
            f"| {new} | {cpu[0]:.2f} | {cpu[1]:.2f} | {cpu[1] / cpu[0]:.2f} "
            f"| {wall[0]:.1f} | {wall[1]:.1f} | {wall[1] / wall[0]:.2f} |"
        )
    return "\n".join(rows)


def report(figures: Figures) -> str:
    """Everything as Markdown."""
    parts = [f"{figures.machine}\n{figures.settings}"]
    if figures.first:
        parts.append(
            f"The laboratory of {figures.hosts} hosts was built in {figures.build_seconds:.0f} s; the first deploy "
            f"took {figures.first.wall:.0f} s (CPU s: controller {figures.first.controller:.0f}, "
            f"hosts {figures.first.hosts:.0f})."
        )
    for name, sizes in figures.sizes.items():
        proxy = statistics.median(cost.proxy / size.hosts for size in sizes for cost in size.costs)
        others = statistics.median(cost.others / cost.wall for size in sizes for cost in size.costs)
        parts.append(
            f"{name} ({figures.commits[name]}). Tasks: of a balancer, a real. Memory: of ansible-playbook itself, with "
            f"all it starts. In no column: the laboratory's proxy command, {proxy:.2f} CPU s per host. Others used "
            f"{others:.2f} CPUs meanwhile."
        )
        parts.append(table(sizes))
    if BASE in figures.sizes:
        parts.append(comparison(figures.sizes[BASE], figures.sizes[THIS]))
    return "\n\n".join(parts)


def plot(figures: Figures) -> None:
    """Draw docs/fleet-cost.png."""
    from picture import picture

    with picture("fleet-cost.png", same_scale=False) as (left, right):
        for (name, sizes), mark in zip(figures.sizes.items(), ("s-", "o-"), strict=False):
            label = f"{name} ({figures.commits[name]})" if BASE in figures.sizes else "a deploy that changes nothing"
            hosts = [size.hosts for size in sizes]
            left.plot(hosts, [size.median("controller") for size in sizes], mark, label=label)
            right.plot(hosts, [size.controller_per_host for size in sizes], mark, label=label)
        left.set(xlabel="hosts", ylabel="CPU seconds of the controller", title="A whole deploy")
        right.set(xlabel="hosts", ylabel="CPU seconds of the controller", title="For each host")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(name: str, what: str, **more: Any) -> None:
        parser.add_argument(name, help=what, **more)

    add(
        "--sizes",
        "hosts of each inventory (default 5,10,25,50)",
        type=numbers,
        default=[5, 10, 25, 50],
        metavar="N,...",
    )
    add("--rounds", "default %(default)s", type=int, default=3)
    add("--vips", "default %(default)s", type=int, default=fleet_inventory.LAB_VIPS)
    add("--forks", "default: what ansible.cfg says", type=int)
    add("--playbook", "default %(default)s", default="katran.fleet.deploy")
    add("--base", "another checkout, measured in turns with this one", type=checkout, metavar="DIR")
    add(
        "--lab", "name of the laboratory (default: KATRAN_LAB, else kfb)", default=os.environ.get("KATRAN_LAB") or "kfb"
    )
    add("--keep", "leave the laboratory up; one that is up is used as it is", action="store_true")
    add("--figures", "measure nothing: take figures that were stored before", type=Path, metavar="FILE")
    add("--plot", "draw docs/fleet-cost.png; needs matplotlib", action="store_true")
    options = parser.parse_args()
    if not fleet_inventory.LAB_VIPS <= options.vips <= fleet_inventory.MOST_VIPS:
        parser.error(f"--vips {options.vips}: {fleet_inventory.LAB_VIPS} to {fleet_inventory.MOST_VIPS}")
    if options.rounds < 1 or min(options.sizes) < 2:
        parser.error("at least one round, and a balancer and a real")
    return options


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "galaxy.yml").is_file() or not (path / "ansible.cfg").is_file():
        raise argparse.ArgumentTypeError(f"{path} is no checkout of the collection: no galaxy.yml and ansible.cfg")
    return path


def main() -> int:
    options = arguments()
    try:
        if options.figures:
            figures = Figures.of_data(json.loads(options.figures.read_text(encoding="utf-8")))
        else:
            figures = measure(options)
    except LabError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    print(report(figures))
    if options.plot:
        plot(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
