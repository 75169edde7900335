# SPDX-License-Identifier: GPL-3.0-or-later
"""The published packets through balancers that the modules themselves provisioned, as an operator would.

One playbook a set: module options in, a program attached to a scratch interface out. Packets then run through that very
program (pinned by the module) with BPF_PROG_TEST_RUN.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS, ROOT, TC_ACTIONS
from ansible_collections.katran.fleet.tests.conformance.test_vectors import FOLDER, SETS

pytestmark = pytest.mark.skipif(not SETS, reason=f"no published vectors in {FOLDER}: set KATRAN_CONFORMANCE")

RESOURCES = ("vips", "source_routes", "server_ids", "decap_destinations")
NAMESPACE = f"kt-conf-{os.getpid()}"


class Host:
    """A scratch interface in a namespace of its own, a bpffs, and playbooks run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bpffs = folder / "bpf"
        self.instance = f"conf{os.getpid()}"

    def up(self) -> None:
        """Make the namespace and mount the bpffs."""
        self.bpffs.mkdir()
        run("mount", "-t", "bpf", "bpf", str(self.bpffs))
        run("ip", "netns", "add", NAMESPACE)
        run("ip", "-n", NAMESPACE, "link", "add", "scratch", "type", "veth", "peer", "name", "scratch-peer")
        run("ip", "-n", NAMESPACE, "link", "set", "scratch", "up")

    def down(self) -> None:
        """Leave nothing behind."""
        self.play([{"katran.fleet.healthcheck": self._common(state="absent")}])
        self.play([{"katran.fleet.balancer": self._common(state="absent")}])
        run("ip", "netns", "del", NAMESPACE)
        run("umount", str(self.bpffs))

    def _common(self, **options: Any) -> dict[str, Any]:
        return {"instance": self.instance, "bpffs": str(self.bpffs), **options}

    def play(self, tasks: list[dict[str, Any]]) -> None:
        """Run tasks on this machine inside the namespace."""
        book = self.folder / "play.json"
        book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, sys.executable, "-m", "ansible", "playbook", "-c", "local", str(book)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"},
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]

    def provision(self, scenario: dict[str, Any]) -> None:
        """Give the modules a scenario's options; every resource is exactly what it lists."""
        balancer = {**scenario["balancer"], "interfaces": ["scratch"], "source_dir": str(ROOT / "bpf")}
        tasks = [{"katran.fleet.balancer": self._common(**balancer)}]
        for name in RESOURCES:
            if name in scenario:
                options = {"config": scenario[name], "state": "overridden", "allow_empty": True}
                tasks.append({f"katran.fleet.{name}": self._common(**options)})
        if "healthcheck" in scenario:
            options = {**scenario["healthcheck"], "interface": "scratch", "source_dir": str(ROOT / "bpf")}
            tasks.append({"katran.fleet.healthcheck": self._common(**options)})
            options = {"config": scenario["healthcheck_destinations"], "state": "overridden"}
            tasks.append({"katran.fleet.healthcheck_destinations": self._common(**options)})
        self.play(tasks)

    def pin(self, name: str) -> str:
        """The pin of a program or map."""
        return str(self.bpffs / "katran" / self.instance / name)

    def forget_flows(self) -> None:
        """Begin from empty connection tables."""
        with KernelMaps(self.pin("maps")) as maps:
            for table in maps.flow_tables():
                table.delete_many(list(table.each_key()))


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("modules"))
    made.up()
    yield made
    made.down()


def expected(packet: dict[str, Any]) -> tuple[bytes, bytes | None]:
    dropped = packet["action"] == "XDP_DROP"
    return base64.b64decode(packet["in"]), None if dropped else base64.b64decode(packet["out"])


@pytest.mark.parametrize("name", [name for name in SETS if name != "healthcheck"])
def test_published_packets(host: Host, name: str) -> None:
    entry = SETS[name]
    if "follows" in entry:
        host.provision(SETS[entry["follows"]]["scenario"])
        host.forget_flows()
        check_packets(host, SETS[entry["follows"]])
        host.provision(entry["scenario"])
    else:
        host.provision(entry["scenario"])
        host.forget_flows()
    check_packets(host, entry)


def check_packets(host: Host, entry: dict[str, Any]) -> None:
    program = bpf.open_pin(host.pin("balancer"))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        for number, packet in enumerate(entry["packets"]):
            frame, out = expected(packet)
            got = bpf.test_run(program, frame)
            assert ACTIONS[got.value] == packet["action"], (number, packet["description"])
            if out is not None:
                assert got.data.hex() == out.hex(), (number, packet["description"])
    finally:
        os.sched_setaffinity(0, before)
        os.close(program)


def test_fallback_cache_is_not_used(host: Host) -> None:
    """Every CPU that receives has a table of its own: index 3 stays zero."""
    host.provision(SETS["base"]["scenario"])
    with bpf.open_map(host.pin("maps/stats")) as stats:
        before = stats.lookup(layout.u32(512 + 3))
        check_packets(host, {"packets": SETS["base"]["packets"][:8]})
        assert stats.lookup(layout.u32(512 + 3)) == before


def test_healthcheck(host: Host) -> None:
    entry = SETS["healthcheck"]
    host.provision(entry["scenario"])
    program = bpf.open_pin(host.pin("healthcheck"))
    try:
        for mark, packet in enumerate(entry["packets"]):
            frame, out = expected(packet)
            context = struct.pack("=II", 0, 0) + struct.pack("=I", mark) + bytes(180)
            got = bpf.test_run(program, frame, context=context)
            assert TC_ACTIONS[got.value] == packet["action"], packet["description"]
            assert out is not None
            assert got.data.hex() == out.hex(), packet["description"]
    finally:
        os.close(program)
