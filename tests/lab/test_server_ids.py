# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections that carry server ids outlive the balancers' connection tables and a change of their reals."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fleetlab.runs import TOOL, Fleet, on_host

REALS = ("real1", "real2", "real3")
IDS = dict(zip(REALS, (1025, 1026, 1027), strict=True))
ADDRESS = {host: f"198.18.2{host[-1]}.2" for host in REALS}
VIP = "198.18.200.1"
CONNECTIONS = 60
OPTION = "katran.fleet.server_id_option"
# Long connections from the client, with a request before and one after a file appears; what each of them got, or "".
CLIENT = """
import json, os, socket, sys, time
def ask(one):
    try:
        one.sendall(b"GET / HTTP/1.1\\r\\nHost: laboratory\\r\\n\\r\\n")
        answer = one.recv(4096)
    except OSError:
        return ""
    return answer.decode().split()[-1] if answer.startswith(b"HTTP/1.1 200") else ""
links = [socket.create_connection((sys.argv[2], 80), 5) for number in range(int(sys.argv[3]))]
before = [ask(one) for one in links]
open(f"/run/{sys.argv[1]}.ready", "w").close()
deadline = time.monotonic() + 60
while not os.path.exists("/run/go") and time.monotonic() < deadline:
    time.sleep(0.05)
print(json.dumps([before, [ask(one) for one in links]]))
"""


def ids_on(fleet: Fleet, pattern: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the module; its results, none of which is a failure."""
    found = fleet.module(pattern, OPTION, options)
    assert not [each for each in found.values() if each.get("failed")], found
    return found


@pytest.fixture(scope="module")
def named(fleet: Fleet) -> Iterator[Fleet]:
    """Reals whose nginx names them, and a client whose ssh sessions echo, nothing else on it."""
    rows = [{"id": IDS[host], "real": ADDRESS[host]} for host in REALS]
    own = {"units": ["nginx.service"], "id": f"{{{{ {json.dumps(IDS)}[inventory_hostname] }}}}"}
    try:
        for each in ids_on(fleet, "reals", own).values():
            assert each["units_to_restart"] == ["nginx.service"]
        for each in ids_on(fleet, "reals", {**own, "restart": True}).values():
            assert each["changes"] == ["restart nginx.service: it listens since before the program"]
        for each in ids_on(fleet, "reals", own).values():
            assert (each["changes"], each["operations"], each["units_to_restart"]) == ([], {}, [])
        client = fleet.ansible(
            *("ansible", "client", "-m", "ansible.builtin.include_role", "-a", "name=katran.fleet.client"),
            *("-e", '{"katran_server_id_units": ["ssh.service"]}'),
        )
        assert client.returncode == 0, client.stdout + client.stderr
        for name, options in (
            ("balancer", {"features": ["tcp_server_id"]}),
            ("server_ids", {"config": rows, "state": "overridden"}),
        ):
            for each in fleet.module("balancers", f"katran.fleet.{name}", options).values():
                assert not each.get("failed"), each
        yield fleet
    finally:
        fleet.module("reals:client", OPTION, {"state": "absent"})
        fleet.module("client", "katran.fleet.host", {"state": "absent"})
        fleet.deploy(None, "--limit", "balancers")


def start(fleet: Fleet, name: str, before: str = "") -> subprocess.Popen[str]:
    command = f"{before} python3 -c '{CLIENT}' {name} {VIP} {CONNECTIONS}"
    return subprocess.Popen(
        [TOOL, "--lab", fleet.lab.prefix, "shell", "client", command], stdout=subprocess.PIPE, text=True
    )


def test_connections_outlive_tables_and_a_change_of_reals(named: Fleet) -> None:
    on_host(named.lab, "client", "rm -f /run/go /run/*.ready")
    with_ids = start(named, "ids")
    # Of another unit, without the program.
    without = start(named, "control", "systemd-run --quiet --pipe --wait")
    for name in ("ids", "control"):
        on_host(named.lab, "client", f"timeout 20 sh -c 'until test -e /run/{name}.ready; do sleep 0.05; done'")
    overlay = {"config": [{"address": ADDRESS["real1"], "state": "draining"}], "purge_flows": True}
    try:
        for each in named.module("balancers", "katran.fleet.reals", overlay).values():
            assert each["changed"], each
        for each in named.module("balancers", "katran.fleet.flows", {"allow_all": True}).values():
            assert not each.get("failed"), each
        on_host(named.lab, "client", "touch /run/go")
        before, after = json.loads(with_ids.communicate(timeout=60)[0])
        assert set(before) == set(REALS)
        assert after == before
        before, after = json.loads(without.communicate(timeout=60)[0])
        moved = [answer for real, answer in zip(before, after, strict=True) if real == "real1"]
        assert moved
        # Who is drained has none of them any more, and who gets them knows nothing of them.
        assert set(moved) == {""}
        counted = named.module("lb1:lb2", "katran.fleet.balancer_info", {"gather": ["counters"]})
        assert sum(each["counters"]["tcp_server_id"]["sid_routed"] for each in counted.values()) > 0
    finally:
        named.module("balancers", "katran.fleet.reals", {"state": "deleted", "config": [{"address": ADDRESS["real1"]}]})
    counters = ids_on(named, "real1", {"units": ["nginx.service"], "id": IDS["real1"]})["real1"]["counters"]
    assert counters["set"] >= counters["read"] > 0
    assert (counters["wrong"], counters["missing"] > 0) == (0, True)


def test_a_service_comes_back_with_its_id(named: Fleet) -> None:
    """After a restart and after a boot, without anybody's doing."""
    said = "journalctl -b -u nginx.service -o cat --no-pager | grep -c '^katran-server-id: attached to '"
    before = int(on_host(named.lab, "real2", f"{said} || true"))
    on_host(named.lab, "real2", "systemctl restart nginx.service")
    assert int(on_host(named.lab, "real2", said)) == before + 1
    subprocess.run([TOOL, "--lab", named.lab.prefix, "power-cycle", "real2"], check=True, capture_output=True)
    deadline = time.monotonic() + 20
    while on_host(named.lab, "real2", "systemctl is-active katran-restore.service || true") != "active":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert int(on_host(named.lab, "real2", said)) == 1
    own = {"units": ["nginx.service"], "id": IDS["real2"]}
    found = ids_on(named, "real2", own)["real2"]
    assert (found["changes"], found["units_to_restart"]) == ([], [])
