# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran trace: where a flow would go and why; and how many packets of a VIP its connection tables do not know."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import typing as t

from .._engine.misses import Missed, trace_misses
from .._engine.request import Request
from .._engine.simulate import simulate
from .._kernel.state_folder import read_bpffs
from .._model.captured import Client
from .._model.errors import ConfigError, EngineError
from .._model.vips import VipName
from .._model.written import visible
from .capture import interrupt
from .command import Command
from .instances import one_instance
from .tables import table
from .values import seconds_until, whole

NO_REAL = 1
_LOCK_SECONDS = 10.0
_SOME_PORT = 40_000


def run(options: argparse.Namespace) -> int:
    """Trace; 0 where the flow is sent to a real, 1 where it is not."""
    if bool(options.misses) == bool(options.source and options.destination) or (options.misses and options.source):
        raise EngineError("give a client and a destination, or --misses VIP")
    instance = one_instance(options.instance)
    request = Request(instance, read_bpffs(instance), _LOCK_SECONDS, False)
    if options.misses:
        signal.signal(signal.SIGTERM, interrupt)
        signal.signal(signal.SIGHUP, interrupt)
        return _show_misses(trace_misses(request, options.misses, options.seconds), options.json)
    warnings: list[str] = []
    try:
        answer = simulate(request, [_flow(options)], warnings)[0]
    except ConfigError as error:
        # As the module's option is called; here there is one flow.
        raise EngineError(str(error).removeprefix("flows[0]: ").removeprefix("flows[0].")) from error
    for warning in warnings:
        sys.stderr.write(f"{warning}\n")
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if options.json else _text(answer))
    return 0 if answer["real"] is not None and answer["action"] != "dropped" else NO_REAL


def _flow(options: argparse.Namespace) -> dict[str, t.Any]:
    client, to = Client.read(options.source), VipName.read(options.destination)
    address = client.prefix.address
    if client.prefix.length != (128 if address.ipv6 else 32):
        raise ConfigError(f"client: {options.source} is a prefix, and a flow has one client: give an address")
    if to is None or to.port is None or not hasattr(to.host, "packed"):
        raise ConfigError(f"{visible(options.destination)} is no destination, such as 198.51.100.1:443/tcp")
    return {
        "source": address.text,
        "destination": to.host.text,
        "source_port": client.port or _SOME_PORT,
        "destination_port": to.port,
        "protocol": to.protocol or "tcp",
        "server_id": options.server_id,
    }


def _text(answer: t.Mapping[str, t.Any]) -> str:
    lines = [("verdict", "passed to the host" if answer["action"] == "passed" else answer["action"])]
    lines += [("VIP", answer["vip"] or "none"), ("real", answer["real"] or "none"), ("why", answer["detail"])]
    tunnel = answer["encapsulation"]
    if tunnel:
        ports = f", UDP {tunnel['source_port']} > {tunnel['destination_port']}" if "source_port" in tunnel else ""
        by = f"{tunnel['type']}, {tunnel['source']} > {tunnel['destination']}{ports}, by {tunnel['gateway_mac']}"
        lines.append(("tunnel", by))
    return "".join(f"{name:<8} {value}\n" for name, value in lines)


def _show_misses(told: Missed, as_json: bool) -> int:
    if as_json:
        data = {"vip": told.vip, "seconds": told.seconds, "packets": told.packets, "misses": told.misses}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    if told.misses:
        sys.stdout.write(table(("REAL", "MISSES"), [(real, str(number)) for real, number in told.misses.items()]))
    share = f" ({told.total / told.packets:.1%})" if told.packets else ""
    sys.stdout.write(
        f"{told.total} of {told.packets} packets of VIP {told.vip}{share} were new to the connection tables in"
        f" {told.seconds:.1f} s\n"
    )
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="CLIENT[:PORT]", help="of the flow (port 40000)")
    parser.add_argument("destination", nargs="?", metavar="ADDR:PORT[/PROTO]", help="to which it goes (tcp)")
    parser.add_argument("--server-id", type=whole(0), metavar="ID", help="that its packet names")
    parser.add_argument("--misses", metavar="VIP", help="count instead, by real, what is new to the connection tables")
    parser.add_argument(
        "--seconds", type=seconds_until(86_400), default=10.0, metavar="S", help="how long --misses counts (10)"
    )
    parser.add_argument("--instance", metavar="NAME", help="which balancer of this host, where it has several")
    parser.add_argument("--json", action="store_true", help="for programs")


COMMAND = Command(
    "trace",
    "Where a flow would go, and why; no packet is sent.",
    _arguments,
    run,
    "Exit status: 0 it goes to a real, 1 it does not, 2 that cannot be told.",
)
