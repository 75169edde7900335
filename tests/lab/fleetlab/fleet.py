# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says about VIPs and reals, and where the engine says that their flows go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fleetlab.flows import Target
from fleetlab.plan import EVERY_HOST, PROJECT, LabError

_DEFAULT_SIZES = {"vips": 512, "ring": 65537}


def host_at(address: str) -> str:
    """The name of the laboratory's host that has *address*; the address itself if none has."""
    return next((host.name for host in EVERY_HOST if address in (host.ipv4, host.ipv6)), address)


def _engine() -> tuple[Any, Any]:
    """The engine's modules of rings and of hashes."""
    path = str(PROJECT / "collections")
    if path not in sys.path:
        sys.path.append(path)
    from ansible_collections.katran.fleet.plugins.module_utils._model import hashing, ring

    return ring, hashing


@dataclass(frozen=True)
class Vip:
    """A VIP of the inventory and what its flows should do."""

    target: Target
    weights: dict[str, int]
    hash: str = "maglev_v2"
    flags: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=lambda: dict(_DEFAULT_SIZES))
    check: dict[str, Any] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """For each real (by the name of its host) the share of new flows that its weight gives it."""
        total = sum(self.weights.values())
        return {host_at(address): weight / total if total else 0.0 for address, weight in self.weights.items()}

    @cached_property
    def ring(self) -> array[int]:
        """The VIP's ring as the engine builds it; its values index the reals in the inventory's order."""
        ring: array[int] = _engine()[0].build_ring(list(self.weights.items()), self.sizes["ring"], self.hash)
        return ring

    def predicted(self, source: str, source_ports: Iterable[int]) -> list[str]:
        """For each source port the host that the engine's own hash and ring choose."""
        names = [host_at(address) for address in self.weights]
        flow_slot = _engine()[1].flow_slot
        sizes = {"max_vips": self.sizes["vips"], "ring_size": self.sizes["ring"]}
        return [
            names[self.ring[flow_slot(source, port, self.target.port, flags=self.flags, **sizes)]]
            for port in source_ports
        ]


def _weight(real: dict[str, Any]) -> int:
    return int(real.get("weight", 1)) if real.get("state", "active") == "active" else 0


def vips_of(config: list[dict[str, Any]], sizes: dict[str, int] | None = None) -> list[Vip]:
    """Vips of the form of module vips; down_reals left out."""
    return [
        Vip(
            Target(str(vip["address"]), int(vip["port"]), vip["protocol"]),
            {str(real["address"]): _weight(real) for real in vip["reals"]},
            vip.get("hash", "maglev_v2"),
            tuple(vip.get("flags", ())),
            {**_DEFAULT_SIZES, **(sizes or {})},
            vip.get("check") or {},
        )
        for vip in config
    ]


def ansible(tool: str) -> str:
    """Path of one of Ansible's commands: the project's own if there is one."""
    own = PROJECT / ".cache/venv/bin" / tool
    return str(own) if own.exists() else tool


def ansible_environment(prefix: str) -> dict[str, str]:
    """Environment for Ansible's commands: this laboratory, and none of the settings (of molecule, say) around us."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return around | {"KATRAN_LAB": prefix, "ANSIBLE_NOCOLOR": "1"}


def read_vips(inventory: Path, prefix: str, group: str = "balancers", extra: Iterable[str] = ()) -> list[Vip]:
    """The VIPs that *inventory* gives to the first host of *group*; asks no host."""
    names = "query('ansible.builtin.varnames', '^katran_vips(__[A-Za-z0-9_]+)?$') | sort"
    vips = f"query('ansible.builtin.vars', *({names})) | flatten(levels=1)"
    message = f"msg={{{{ {{'vips': {vips}, 'sizes': katran_sizes | default({{}})}} }}}}"
    command = [ansible("ansible"), f"{group}[0]", "-i", str(inventory), "-m", "ansible.builtin.debug", "-a", message]
    environment = ansible_environment(prefix) | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(
        [*command, *extra], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    _, found, answer = done.stdout.partition("=> ")
    if done.returncode or not found:
        raise LabError(f"reading katran_vips of {inventory}: {(done.stderr or done.stdout).strip()[-1500:]}")
    said = json.loads(answer)["msg"]
    return vips_of(said["vips"], said["sizes"])
