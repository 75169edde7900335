# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside a virtual machine: one balancer from its first run to its removal, by the engine that the modules run.

On a veth and on virtio_net: every resource, a second run, drift, an upgrade, the way back, other sizes, absent.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, attachments
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.kernels.wire import comes_back

BPFFS = "/sys/fs/bpf"
PINS = f"{BPFFS}/katran/default"
PLACES = (("life0", "life1"), ("eth0", "eth1"))
"""(where frames go out, where the balancer is)."""

Count = Callable[[bool, str], None]
Job = Mapping[str, Any]


class Life:
    """The steps of a job; `count` gets what must hold, and what to say where it does not."""

    def __init__(self, job: Job, sources: str, count: Count) -> None:
        self.job = job
        self.sources = sources
        self.count = count

    def run(self) -> None:
        """All steps, in order."""
        self._prepare()
        first, second, larger = self.job["steps"]
        self._ensure("attached", first)
        self._resources()
        self._forwards("attached")
        self._ensure("upgraded", second)
        self._quiet("upgraded")
        self._forwards("upgraded")
        done = Balancer("default", BPFFS).roll_back(False, 10)
        self.count(done.changed, "rolled back: nothing changed")
        self._forwards("rolled back")
        self._ensure("asked for what was left", second, moves=False)
        self._ensure("migrated", larger)
        self._quiet("migrated")
        self._forwards("migrated")
        self._removed()

    def _prepare(self) -> None:
        for command in (
            ["mount", "-t", "tmpfs", "tmpfs", "/var/lib"],
            ["mount", "-t", "bpf", "bpf", BPFFS],
            ["ip", "link", "add", "life0", "type", "veth", "peer", "name", "life1"],
            *(["ip", "link", "set", name, "up", "promisc", "on"] for place in PLACES for name in place),
        ):
            subprocess.run(command, check=True)

    def _settings(self, options: Mapping[str, Any]) -> Wanted:
        settings = parse_settings({**options, "interfaces": [near for _far, near in PLACES]})
        return Wanted(settings, "attached", self.sources, accept_rehash=True)

    def _ensure(self, what: str, options: Mapping[str, Any], moves: bool = True) -> None:
        """One run as foretold, then one that has nothing to do."""
        balancer, wanted = Balancer("default", BPFFS), self._settings(options)
        foretold = balancer.ensure(wanted, True, 10)
        done = balancer.ensure(wanted, False, 10)
        again: Result = balancer.ensure(wanted, False, 10)
        self.count(done.changed == moves, f"{what}: {done.changes}")
        self.count(done.changes == foretold.changes, f"{what}: {done.changes}, but foretold were {foretold.changes}")
        self.count(not again.changed, f"{what} again: {again.changes}")
        places = {item["interface"]: item["mode"] for item in again.attached}
        self.count(places == {near: "native" for _far, near in PLACES}, f"{what}: {places}")
        # One that stays rolled back says so.
        self.count(bool(done.warnings) != moves, f"{what}: {done.warnings}")

    def _apply(self, name: str, check: bool = False) -> Result:
        config = self.job["resources"][name]
        return apply_resource(name, Request("default", BPFFS, 10, check), Asked(config, "overridden", allow_empty=True))

    def _resources(self) -> None:
        for name in self.job["resources"]:
            foretold, done = self._apply(name, check=True), self._apply(name)
            self.count(done.changed, f"{name}: nothing changed")
            self.count(done.operations == foretold.operations, f"{name}: {foretold.operations}, then {done.operations}")
        self._quiet("applied")
        found = gather_info(Request("default", BPFFS, 10, True), list(self.job["resources"]))
        for name, config in self.job["resources"].items():
            self.count(len(found[name]) == len(config), f"{name}: {len(found[name])} of {len(config)} are read back")
        with KernelMaps(f"{PINS}/maps") as maps:
            key = next(iter(maps.entries("vip_map")))
            maps.map("vip_map").delete(key)
            maps.ring(0)[:8] = layout.u32(0) * 2
        repaired = self._apply("vips")
        self.count(len(repaired.drift) == 2, f"drift: {repaired.drift}")
        self._quiet("repaired")

    def _quiet(self, when: str) -> None:
        for name in self.job["resources"]:
            again = self._apply(name)
            self.count(not again.changed and not again.operations, f"{name} once {when}: {again.operations}")

    def _forwards(self, when: str) -> None:
        # A veth takes frames from XDP_TX at the other end only while it has a program itself.
        if "life0" not in attachments(["life0"]):
            passing = bpf.load_program(b"\xb7\0\0\0\2\0\0\0\x95\0\0\0\0\0\0\0", name="pass")
            with Interfaces() as links:
                links.replace("life0", passing, "native", None)
            os.close(passing)
        for far, near in PLACES:
            frame = bytes.fromhex(self.job["frame"])
            self.count(encapsulated(far, frame), f"{near}, {when}: the packet does not come back encapsulated")

    def _removed(self) -> None:
        done = Balancer("default", BPFFS).remove(False, 10)
        self.count(done.changed, "removed: nothing changed")
        left = sorted(attachments(near for _far, near in PLACES))
        self.count(left == [], f"removed: programs left on {left}")
        self.count(not os.path.exists(f"{BPFFS}/katran"), "removed: pins are left")
        self.count(not os.listdir("/var/lib/katran-fleet"), "removed: state is left")


def encapsulated(interface: str, frame: bytes) -> bool:
    """Whether a frame that leaves by an interface comes back in an IPv4 tunnel."""
    inner = frame[14:]
    return comes_back(interface, frame, lambda data: data[14:15] == b"\x45" and data[34 : 34 + len(inner)] == inner)


def live(job: Job, sources: str, kept: Callable[[str, Mapping[str, int]], Bytecode], count: Count) -> None:
    """Run a job; `kept` gives the bytecode of (program, macros), as nothing is compiled here."""
    compiler.compile_program = lambda _sources, name, macros: kept(name, macros)
    Life(job, sources, count).run()
