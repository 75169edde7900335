# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the laboratory."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fleetlab import host, lifecycle, network
from fleetlab.plan import DEFAULT_BALANCERS, DEFAULT_REALS, RUN, LabError, hosts_of, lab_named, names
from fleetlab.system import Progress


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab", description="A fleet of Debian hosts in namespaces of this machine.")
    parser.add_argument("--lab", metavar="NAME", help="which laboratory (default: environment KATRAN_LAB, else kf)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="build it, unless it is there and whole")
    up.add_argument("--hosts", metavar="NAME,...", help="only these hosts (the router is always one); default: all")
    up.add_argument("--balancers", type=int, default=DEFAULT_BALANCERS, metavar="N", help="default %(default)s")
    up.add_argument("--reals", type=int, default=DEFAULT_REALS, metavar="N", help="default %(default)s")
    up.add_argument("--static-routes", action="store_true", help="the router sends to every balancer, announced or not")
    up.add_argument("--rebuild-image", action="store_true", help="make the hosts' root filesystem anew, with updates")
    commands.add_parser("down", help="remove it and every trace of it")
    commands.add_parser("status", help="which laboratories and hosts there are")
    shell = commands.add_parser("shell", help="a root shell, or a command, on a host, by ssh")
    shell.add_argument("host")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    cycle = commands.add_parser("power-cycle", help="end a host as a power cut would, and boot it again")
    cycle.add_argument("host")
    proxy = commands.add_parser("proxy", help="connect ssh to a host (ssh's ProxyCommand with ProxyUseFdpass)")
    proxy.add_argument("name")
    proxy.add_argument("port", type=int)
    traffic = commands.add_parser("traffic", help="send HTTP and UDP to every VIP and show which reals answer")
    traffic.add_argument("--inventory", default="inventories/lab", help="where katran_vips is defined")
    traffic.add_argument("--flows", type=int, default=2500, metavar="N", help="flows per VIP (default %(default)s)")
    traffic.add_argument("--json", type=Path, metavar="FILE", help="write every flow and who answered it")
    routes = commands.add_parser("routes", help="wait until every VIP is announced, and show the router's table")
    routes.add_argument("--inventory", default="inventories/lab", help="where katran_vips is defined")
    routes.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="at most (default %(default)s)")
    return parser.parse_args()


def _status() -> None:
    prefixes = sorted(path.name for path in RUN.iterdir() if path.is_dir()) if RUN.exists() else []
    if not prefixes:
        print("no laboratory on this machine")
    for prefix in prefixes:
        hosts = lifecycle.running_hosts(lab_named(prefix))
        if not hosts:
            print(f"{prefix}: incomplete (lab --lab {prefix} up, or down)")
            continue
        lab = lifecycle.require_up(lab_named(prefix))
        answering = host.answering(lab, hosts)
        print(f"{prefix}: {names(hosts)}")
        for one in hosts:
            addresses = f"{one.ipv4:<13} {one.ipv6}" if one.role != "router" else "every link's .1 and ::1"
            print(f"  {one.name:<7} {one.role:<9} {'answers' if one in answering else 'SILENT':<8} {addresses}")


def _ssh(prefix: str, name: str, words: list[str]) -> None:
    lab = lifecycle.require_up(lab_named(prefix))
    proxy = f"ProxyCommand='{Path(sys.argv[0]).resolve()}' proxy %h %p"
    options = [
        proxy,
        "ProxyUseFdpass=yes",
        "UserKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=no",
        "LogLevel=ERROR",
    ]
    flags = [word for option in options for word in ("-o", option)]
    target = f"root@{lab.host(name).name}.{prefix}.invalid"
    os.execvp("ssh", ["ssh", "-F", "none", "-i", str(lab.key), *flags, target, *words])


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _arguments()
    try:
        lab = lab_named(arguments.lab)
        progress = Progress(lab.prefix)
        match arguments.command:
            case "up":
                plan = hosts_of(arguments.balancers, arguments.reals)
                lab = lab_named(arguments.lab, arguments.hosts, plan)
                lifecycle.up(lab, progress, rebuild_image=arguments.rebuild_image)
                if arguments.static_routes:
                    network.route_statically(lifecycle.require_up(lab))
            case "down":
                lifecycle.down(lab, progress)
            case "status":
                _status()
            case "shell":
                _ssh(lab.prefix, arguments.host, arguments.words)
            case "power-cycle":
                lab = lifecycle.require_up(lab)
                lifecycle.power_cycle(lab, lab.host(arguments.host), progress)
            case "proxy":
                from fleetlab import proxy

                proxy.connect(arguments.name, arguments.port)
            case "traffic":
                from fleetlab import traffic

                return traffic.main(lab, arguments.inventory, arguments.flows, arguments.json)
            case "routes":
                from fleetlab import routes

                return routes.main(lab, arguments.inventory, arguments.wait)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0
