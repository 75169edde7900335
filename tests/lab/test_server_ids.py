# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections that carry server ids outlive the balancers' connection tables and a change of their reals."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from fleetlab.runs import TOOL, Fleet, on_host

REALS = ("real1", "real2", "real3")
IDS = dict(zip(REALS, (1025, 1026, 1027), strict=True))
ADDRESS = {host: f"198.18.2{host[-1]}.2" for host in REALS}
VIP = "198.18.200.1"
CONNECTIONS = 60
MODULE = "katran.fleet."
ID = {"id": "{{ server_id_numbers[inventory_hostname] }}"}
VARIABLES = {
    "server_id_numbers": IDS,
    "katran_server_id": "{{ server_id_numbers[inventory_hostname] | default(0) }}",
    "katran_server_id_units": ["{{ 'ssh.service' if inventory_hostname == 'client' else 'nginx.service' }}"],
}
"""As an inventory would say it."""

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


def play(fleet: Fleet, /, **tasks: list[dict[str, Any]]) -> str:
    """Run tasks on hosts by group, in one run of Ansible; what it printed."""
    plays = [
        {"hosts": hosts, "gather_facts": False, "become": True, "vars": VARIABLES, "tasks": each}
        for hosts, each in tasks.items()
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as book:
        json.dump(plays, book)
        book.flush()
        done = fleet.ansible("ansible-playbook", book.name)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def said(word: str, *assertions: str) -> dict[str, Any]:
    """A task that holds the result of another against these."""
    return {"ansible.builtin.assert": {"that": [f"{word}.{each}" for each in assertions], "quiet": True}}


def option(word: str, **options: Any) -> dict[str, Any]:
    return {f"{MODULE}server_id_option": {"units": ["nginx.service"], **ID, **options}, "register": word}


@pytest.fixture(scope="module")
def named(fleet: Fleet) -> Iterator[Fleet]:
    """Reals whose nginx names them, and a client whose ssh sessions echo, nothing else on it."""
    rows = [{"id": IDS[host], "real": ADDRESS[host]} for host in REALS]
    absent = {f"{MODULE}server_id_option": {"state": "absent"}}
    try:
        printed = play(
            fleet,
            reals=[
                {"ansible.builtin.import_role": {"name": f"{MODULE}real", "tasks_from": "ids"}},
                option("listening"),
                said("listening", "changed is false", "units_to_restart == ['nginx.service']"),
                option("restarted", restart=True),
                said("restarted", "changes | length == 1", "units_to_restart == []"),
                option("again"),
                said("again", "changed is false", "operations == {}", "units_to_restart == []"),
            ],
            client=[{"ansible.builtin.import_role": {"name": f"{MODULE}client"}}],
            balancers=[
                {f"{MODULE}balancer": {"features": ["tcp_server_id"]}},
                {f"{MODULE}server_ids": {"config": rows, "state": "overridden"}},
            ],
        )
        assert "nginx.service listens already (TCP port 80): its connections carry the id after" in " ".join(
            printed.split()
        )
        yield fleet
    finally:
        empty = {"config": [], "state": "overridden", "allow_empty": True}
        play(
            fleet,
            balancers=[{f"{MODULE}server_ids": empty}, {f"{MODULE}balancer": {"features": []}}],
            reals=[absent],
            client=[absent, {f"{MODULE}host": {"state": "absent"}}],
        )


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
    drained = [{"address": ADDRESS["real1"]}]
    try:
        overlay = {"config": [{**drained[0], "state": "draining"}], "purge_flows": True}
        play(named, balancers=[{f"{MODULE}reals": overlay}, {f"{MODULE}flows": {"allow_all": True}}])
        on_host(named.lab, "client", "touch /run/go")
        before, after = json.loads(with_ids.communicate(timeout=60)[0])
        assert set(before) == set(REALS)
        assert after == before
        before, after = json.loads(without.communicate(timeout=60)[0])
        moved = [answer for real, answer in zip(before, after, strict=True) if real == "real1"]
        assert moved
        # Who is drained has none of them any more, and who gets them knows nothing of them.
        assert set(moved) == {""}
    finally:
        play(
            named,
            balancers=[
                {f"{MODULE}reals": {"state": "deleted", "config": drained}},
                {f"{MODULE}balancer_info": {"gather": ["counters"]}, "register": "info"},
                said("info", "counters.server_ids.tcp.tcp_syn > 0", "counters.server_ids.tcp.sid_routed > 0"),
            ],
            real1=[
                option("own"),
                said("own.counters", "read > 0", "missing > 0", "wrong == 0", "set >= own.counters.read"),
            ],
        )


def test_a_service_comes_back_with_its_id(named: Fleet) -> None:
    """After a restart and after a boot, without anybody's doing."""
    done = "journalctl -b -u nginx.service -o cat --no-pager | grep '^katran-server-id: ' | tail -n 1"
    on_host(named.lab, "real2", "systemctl restart nginx.service")
    assert on_host(named.lab, "real2", done).startswith("katran-server-id: attached to ")
    subprocess.run([TOOL, "--lab", named.lab.prefix, "power-cycle", "real2"], check=True, capture_output=True)
    on_host(named.lab, "real2", "timeout 30 sh -c 'until systemctl is-active katran-restore nginx; do sleep 0.1; done'")
    # Before katran-restore, it loads the program itself.
    assert on_host(named.lab, "real2", done).endswith("/system.slice/nginx.service has the program")
    play(named, real2=[option("own"), said("own", "changed is false", "units_to_restart == []")])
