# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible runs against a laboratory, for tests."""

from __future__ import annotations

import copy
import functools
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetlab.fleet import Vip, ansible, ansible_environment, read_vips
from fleetlab.plan import PROJECT, Lab, LabError
from fleetlab.system import network, run

TOOL = str(PROJECT / "tests/lab/lab")
HURRIED = {"katran_serial": "100%", "katran_gate_seconds": 0}
_RECAP = re.compile(
    r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=(\d+)", re.MULTILINE
)


@functools.cache
def _vips(inventory: Path, prefix: str) -> tuple[Vip, ...]:
    """What an inventory says, which no test changes: asked once, since Ansible takes a second to tell."""
    return tuple(read_vips(inventory, prefix))


def on_host(lab: Lab, name: str, command: str) -> str:
    """Run a command as root on a host, by ssh; what it prints, or LabError where it fails."""
    return run([TOOL, "--lab", lab.prefix, "shell", name, command]).strip()


def agents_said(lab: Lab, *names: str) -> str:
    """The last lines of these balancers' agents since they booted, for a test that fails."""
    command = "journalctl -b -u katran-agent --no-pager -n 40 -o short-precise"
    return "\n".join(on_host(lab, name, command) for name in names)


@dataclass(frozen=True)
class Recap:
    """The counts a playbook run ends with, for one host."""

    ok: int
    changed: int
    unreachable: int
    failed: int
    skipped: int


def recaps(output: str) -> dict[str, Recap]:
    """The counts per host at the end of what ansible-playbook printed."""
    return {host: Recap(*map(int, counts)) for host, *counts in _RECAP.findall(output)}


@dataclass(frozen=True)
class Fleet:
    """A laboratory and the inventory that describes it."""

    lab: Lab
    inventory: Path

    def ansible(
        self, tool: str, *arguments: str, json_results: bool = False, collections: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's commands with the inventory; the caller judges the outcome.

        `collections`: where another build of the collection is.
        """
        environment = ansible_environment(self.lab.prefix)
        if collections is not None:
            environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
        if json_results:
            environment["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "json"
        return subprocess.run(
            [ansible(tool), "-i", str(self.inventory), *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def playbook(self, name: str, variables: dict[str, Any] | None = None, *arguments: str) -> dict[str, Recap]:
        """Run a playbook to its end; LabError with its last lines when it fails.

        All balancers are one batch that no gate watches, unless the variables say so: test_rolling.py is about these.
        """
        extra = json.dumps({**HURRIED, **(variables or {})})
        done = self.ansible("ansible-playbook", name, "-e", extra, *arguments)
        if done.returncode:
            raise LabError(
                f"ansible-playbook {name}: exit {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
            )
        return recaps(done.stdout)

    def deploy(self, vips: list[dict[str, Any]] | None = None, *arguments: str) -> dict[str, Recap]:
        """Deploy the inventory, with other VIPs when given."""
        return self.playbook("katran.fleet.deploy", {"katran_vips": vips} if vips else None, *arguments)

    def apply(self, vips: list[dict[str, Any]] | None = None) -> None:
        """Have every balancer balance just these VIPs, or the inventory's, by their module alone.

        A deploy does the same in five times the time: where a test is not about deploys, this is enough. The reals
        keep the addresses that they serve. LabError where a balancer refuses.
        """
        config = self.config(checks=True) if vips is None else vips
        found = self.module("balancers", "katran.fleet.vips", {"config": config, "state": "overridden"})
        wrong = {
            host: result.get("msg") for host, result in found.items() if "changed" not in result or "msg" in result
        }
        if wrong or not found:
            raise LabError(f"VIPs were not applied: {wrong}")

    def module(self, pattern: str, name: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Run a module; its result per host, also where it failed (see "failed")."""
        done = self.ansible("ansible", pattern, "-m", name, "-a", json.dumps(options), json_results=True)
        found = re.split(r"^(\S+) \| [A-Z!]+ => ", done.stdout, flags=re.MULTILINE)
        if len(found) < 3:
            raise LabError(f"ansible -m {name}: {done.stdout}{done.stderr}")
        decode = json.JSONDecoder().raw_decode
        return {host: decode(text)[0] for host, text in zip(found[1::2], found[2::2], strict=True)}

    def programs(self) -> dict[str, tuple[int, str]]:
        """Balancer → id and tag of the program that it runs."""
        found = self.module("balancers", "katran.fleet.balancer_info", {"gather": ["program"]})
        return {host: (result["program"]["id"], result["program"]["tag"]) for host, result in found.items()}

    def vips(self) -> list[Vip]:
        """The VIPs of the inventory."""
        return list(_vips(self.inventory, self.lab.prefix))

    def config(self, checks: bool = False) -> list[dict[str, Any]]:
        """The VIPs of the inventory in the form of katran_vips, to be changed and deployed; their checks if wanted."""
        return [
            {
                "address": vip.target.address,
                "port": vip.target.port,
                "protocol": vip.target.protocol,
                "reals": [{"address": address, "weight": weight} for address, weight in vip.weights.items()],
                **({"check": copy.deepcopy(vip.check)} if checks and vip.check else {}),
            }
            for vip in self.vips()
        ]

    def received_packets(self, host_name: str) -> int:
        """Packets that came in on the host's eth1, those that XDP took included."""
        path = self.lab.namespace_path(self.lab.host(host_name))
        with network(path):
            link = json.loads(run(["ip", "-j", "-s", "link", "show", "dev", "eth1"]))[0]
        return int(link["stats64"]["rx"]["packets"])
