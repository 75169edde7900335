# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving in from IPVS, as Ansible runs it: the inventory that is written passes preflight."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest
import yaml

from ansible_collections.katran.fleet.tests.engine.playbooks import Done, run_playbook

CONFIGURATION = """
$CHECK= \\
HTTP_GET { \\
  url { \\
    path /healthz \\
    status_code 200 \\
  } \\
  connect_timeout 3 \\
}
vrrp_instance VI {
  interface eth7
}
include more/*.conf
"""
MORE = """
virtual_server 198.51.100.1 80 {
  delay_loop 6
  lvs_sched wlc
  lvs_method TUN
  surprise {{ 7 * 6 }}
  real_server 10.0.0.1 80 {
    weight 3
    $CHECK
  }
  real_server 10.0.0.2 80 {
    $CHECK
  }
}
"""
TABLE = "-A -t 198.51.100.1:80 -s wlc\n-a -t 198.51.100.1:80 -r 10.0.0.1:80 -i -w 0\n"


def play(*arguments: str, path: str = "") -> Done:
    return run_playbook(*arguments, PATH=f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"])


def run(folder: Path, *more: str) -> Done:
    given = {"keepalived": folder / "keepalived.conf", "ipvsadm": folder / "table", "path": folder / "new"}
    wanted = [f"katran_import_{name}={path}" for name, path in given.items()]
    arguments = [word for each in (*wanted, "katran_import_balancers=lb1,lb2") for word in ("-e", each)]
    return play("katran.fleet.import_ipvs", *arguments, *more)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    (tmp_path / "keepalived.conf").write_text(CONFIGURATION)
    (tmp_path / "more" / "web.conf").write_text(MORE)
    (tmp_path / "table").write_text(TABLE)
    return tmp_path


def test_saved_files(saved: Path) -> None:
    new = saved / "new"
    checked = run(saved, "--check", "--diff")
    assert checked.returncode == 0, checked.stdout
    assert not new.exists()
    assert "+katran_interfaces: [eth7]" in checked.stdout
    done = run(saved)
    assert done.returncode == 0, done.stdout
    assert "more/web.conf:6-6: surprise" in done.stdout or "more/web.conf:6: surprise" in done.stdout
    assert (
        "table:2: 198.51.100.1:80/tcp 10.0.0.1:80: has weight 0 in the kernel and 3 in the configuration" in done.stdout
    )
    variables = yaml.safe_load((new / "group_vars" / "balancers.yml").read_text())
    check = {"type": "http", "path": "/healthz", "status": ["200"], "interval": 6, "timeout": 3}
    assert variables["katran_vips"] == [
        {
            "address": "198.51.100.1",
            "port": 80,
            "protocol": "tcp",
            "reals": [{"address": "10.0.0.1", "weight": 3}, {"address": "10.0.0.2"}],
            "check": check,
        }
    ]
    # The same again changes nothing; what somebody changed since is left alone unless told.
    assert "changed=0" in run(saved).stdout
    hosts = (new / "hosts.yml").read_text()
    (new / "hosts.yml").write_text("mine")
    refused = run(saved)
    assert refused.returncode == 2
    assert "has hosts.yml already, with another content" in " ".join(refused.stdout.split())
    (new / "hosts.yml").write_text(hosts)
    passed = play("katran.fleet.preflight", "-i", str(new))
    assert "2 balancers and 2 reals: nothing is wrong" in " ".join(passed.stdout.split()), passed.stdout


def test_a_host_that_is_read(saved: Path) -> None:
    """Its table comes from a program of that name: no kernel here has IPVS."""
    programs = saved / "bin"
    programs.mkdir()
    (programs / "ipvsadm").write_text(f"#!/bin/sh\nexec cat {saved}/table\n")
    (programs / "ipvsadm").chmod(0o755)
    (saved / "old.yml").write_text("all: {hosts: {lvs1: {ansible_connection: local, katran_become: false}}}\n")
    given = {"host": "lvs1", "path": saved / "new", "balancers": "lb1", "interfaces": "eth0"}
    arguments = [word for name, value in given.items() for word in ("-e", f"katran_import_{name}={value}")]
    done = play("katran.fleet.import_ipvs", "-i", str(saved / "old.yml"), *arguments, path=str(programs))
    assert done.returncode == 0, done.stdout
    assert "Imported from the table of IPVS, ipvsadm of lvs1." in (saved / "new" / "hosts.yml").read_text()


def test_what_is_refused(saved: Path) -> None:
    done = run(saved, "-e", "katran_import_balancers=")
    assert done.returncode == 2
    assert "Give a source" in done.stdout
    done = run(saved, "-e", "katran_import_host=nobody")
    assert "nobody is not a host of the inventory" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr
    assert not (saved / "new").exists()


def test_many_vips_in_ten_seconds(tmp_path: Path) -> None:
    """512 VIPs with 100 reals each, in seconds of CPU: others may be at work on this machine."""
    reals = "".join(
        f"real_server 10.0.{i >> 8}.{i & 255} 80 {{\nweight {i}\nTCP_CHECK {{\n}}\n}}\n" for i in range(1, 101)
    )
    vips = (f"virtual_server 198.51.{100 + (i >> 8)}.{i & 255} 80 {{\ndelay_loop 30\n{reals}}}\n" for i in range(512))
    (tmp_path / "keepalived.conf").write_text("".join(vips))
    (tmp_path / "table").write_text("")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(tmp_path, "-e", json.dumps({"katran_import_interfaces": ["eth0"]}))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stdout[-2000:]
    print(f"512 VIPs with 100 reals each: {seconds:.1f} s of CPU")
    assert "512 services" in done.stdout
    assert seconds < 10
