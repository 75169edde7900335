# SPDX-License-Identifier: GPL-3.0-or-later
"""Real traffic from the client to every VIP, and a table of who answered."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetlab import routes
from fleetlab.fleet import Vip, read_vips
from fleetlab.flows import Flow, open_flows
from fleetlab.lifecycle import require_up
from fleetlab.plan import PROJECT, Host, Lab
from fleetlab.system import Progress, network

# Below the kernel's own choice of source ports, so that no other flow of the client has one of these.
PORTS = range(1024, 32768)


@dataclass(frozen=True)
class Report:
    """The flows that were sent to one VIP."""

    vip: Vip
    source: str
    flows: list[Flow]

    @property
    def answers(self) -> Counter[str]:
        return Counter(flow.real for flow in self.flows if flow.real)

    @property
    def retried(self) -> list[Flow]:
        """Flows that were answered, but only after a datagram that was not."""
        return [flow for flow in self.flows if flow.real is not None and flow.tries > 1]

    @property
    def unanswered(self) -> list[Flow]:
        return [flow for flow in self.flows if flow.real is None]

    @property
    def astray(self) -> list[tuple[Flow, str]]:
        """Answered flows that another real answered than the engine's hash predicts, with the predicted one."""
        answered = [flow for flow in self.flows if flow.real]
        predicted = self.vip.predicted(self.source, (flow.source_port for flow in answered))
        return [(flow, real) for flow, real in zip(answered, predicted, strict=True) if flow.real != real]

    def as_data(self) -> dict[str, Any]:
        target = self.vip.target
        return {
            "address": target.address,
            "port": target.port,
            "protocol": target.protocol,
            "source": self.source,
            "expected": self.vip.shares,
            "answers": dict(self.answers),
            "astray": len(self.astray),
            "flows": [[flow.source_port, flow.real, flow.tries, flow.error] for flow in self.flows],
        }


def send(lab: Lab, vips: list[Vip], count: int, first_port: int | None = None, concurrency: int = 100) -> list[Report]:
    """Send *count* flows to each VIP from the laboratory's client, each from a source port of its own."""
    client: Host = lab.host("client")
    if first_port is None:
        # A flow of the last run may still be in a balancer's connection table: a run soon after takes other ports.
        first_port = random.randrange(PORTS.start, max(PORTS.start + 1, PORTS.stop - count))
    reports = []
    with network(lab.namespace_path(client)):
        for vip in vips:
            source = client.ipv6 if ":" in vip.target.address else client.ipv4
            wanted = [(vip.target, port) for port in range(first_port, first_port + count)]
            reports.append(Report(vip, source, asyncio.run(open_flows(wanted, concurrency))))
    return reports


def table(reports: list[Report]) -> str:
    """The reports as lines for a person."""
    header = ("VIP", "real", "flows", "share by weight", "share seen")
    rows: list[tuple[str, ...]] = []
    for report in reports:
        name = str(report.vip.target)
        total = len(report.flows)
        for real, share in report.vip.shares.items():
            seen = report.answers[real]
            rows.append((name, real, f"{seen:,}", f"{share:.1%}", f"{seen / total:.1%}"))
            name = ""
        strangers = report.answers.keys() - report.vip.shares.keys()
        rows.extend((name, f"{real} (not in the VIP)", f"{report.answers[real]:,}", "", "") for real in strangers)
        if report.unanswered:
            rows.append((name, "no answer", f"{len(report.unanswered):,}", "", f"{len(report.unanswered) / total:.1%}"))
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: tuple[str, ...]) -> str:
        cells = [f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}" for column, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    body = [text for row in rows for text in ([rule, line(row)] if row[0] else [line(row)])]
    return "\n".join([line(header), *body])


def main(lab: Lab, inventory: str, count: int, output: Path | None) -> int:
    """Send, print the table and the verdict; 0 when every flow was answered by the real that the engine predicts."""
    lab = require_up(lab)
    vips = read_vips(PROJECT / inventory, lab.prefix)
    routes.wait(lab, {vip.target.address for vip in vips})
    begin = time.monotonic()
    Progress(lab.prefix).say(f"sending {count:,} flows to each of {len(vips)} VIPs")
    reports = send(lab, vips, count)
    seconds = time.monotonic() - begin
    if output:
        output.write_text(json.dumps([report.as_data() for report in reports]), encoding="utf-8")
    print(table(reports))
    total = sum(len(report.flows) for report in reports)
    unanswered = [flow for report in reports for flow in report.unanswered]
    astray = [pair for report in reports for pair in report.astray]
    verdict = f"{total:,} flows in {seconds:.1f} s: {len(unanswered):,} unanswered, "
    verdict += f"{total - len(unanswered) - len(astray):,} answered by the real that the engine's hash predicts"
    print(verdict)
    for flow in unanswered[:3]:
        print(f"  no answer from {flow.target} to source port {flow.source_port}: {flow.error}")
    for flow, real in astray[:3]:
        print(f"  {flow.target}, source port {flow.source_port}: {flow.real} answered, {real} was predicted")
    return 1 if unanswered or astray else 0
