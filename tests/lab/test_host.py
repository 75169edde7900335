# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, library and kernel of real hosts: whatever was changed on them is seen by the next run, and put right."""

from __future__ import annotations

import json
import time

import pytest
from fleetlab.runs import Fleet, on_host

LIBRARY = "/usr/lib/katran-fleet"
AGENT, RESTORE = "katran-agent.service", "katran-restore.service"


def changes(fleet: Fleet, *arguments: str) -> dict[str, list[str]]:
    """What a deploy did on each host, in its modules' words."""
    done = fleet.ansible("ansible-playbook", "katran.fleet.deploy", "-v", *arguments, json_results=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    found: dict[str, list[str]] = {}
    decode = json.JSONDecoder().raw_decode
    for part in done.stdout.split("\nchanged: [")[1:]:
        host, _bracket, rest = part.partition("] => ")
        found.setdefault(host, []).extend(decode(rest)[0].get("changes", []))
    return found


def unit(fleet: Fleet, host: str, name: str) -> dict[str, str]:
    shown = on_host(fleet.lab, host, f"systemctl show -p UnitFileState,ActiveState,NeedDaemonReload {name}")
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_the_command_is_in_the_path(fleet: Fleet) -> None:
    for host in ("lb1", "real1"):
        assert "Exit status: 0 all are active" in on_host(fleet.lab, host, "katran checks --help | tr -s '\\n ' ' '")


READ = "have systemd read its units"


EARLIER = "/etc/systemd/system/katran-real.service"
SERVICE = "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n"
UNITS = {
    # Of a unit that is linked, that removes the link.
    "lb1": (
        f"systemctl disable --now {AGENT}",
        [f"link the unit {AGENT}", READ, f"enable {AGENT}", f"start {AGENT}"],
    ),
    "lb2": (
        f"rm /etc/systemd/system/multi-user.target.wants/{AGENT} && systemctl daemon-reload",
        [f"enable {AGENT}"],
    ),
    # One of an earlier version.
    "real1": (
        (
            f"printf '{SERVICE}[Install]\\nWantedBy=multi-user.target\\n' > {EARLIER}"
            " && systemctl enable --now -q katran-real.service"
        ),
        ["stop katran-real.service", "remove the unit katran-real.service of an earlier version", READ],
    ),
    "real2": (
        f"systemctl disable {RESTORE}",
        [f"link the unit {RESTORE}", READ, f"enable {RESTORE}"],
    ),
    "real3": (
        f"rm /etc/systemd/system/{RESTORE} && systemctl daemon-reload; sysctl -qw net.ipv4.conf.eth1.rp_filter=1",
        [f"link the unit {RESTORE}", READ, f"enable {RESTORE}", "net/ipv4/conf/eth1/rp_filter 1 → 2"],
    ),
}
FILES = {
    # What is compiled is what the run will have written, not what lies there in a review.
    "lb1": (
        f"systemctl stop {AGENT}; echo >> {LIBRARY}/bpf/balancer.bpf.c; rm /usr/local/bin/katran",
        ["rewrite bpf/balancer.bpf.c", f"start {AGENT}", "write /usr/local/bin/katran"],
    ),
    "lb2": (
        (
            f"sed -i s/WatchdogSec=20/WatchdogSec=30/ {LIBRARY}/systemd/{AGENT} && systemctl daemon-reload;"
            f" rm {LIBRARY}/bpf/include/choose.h; echo >> {LIBRARY}/katran-restore"
        ),
        ["write bpf/include/choose.h", "rewrite katran-restore", f"rewrite systemd/{AGENT}", READ, f"restart {AGENT}"],
    ),
    "real1": (
        f"echo >> {LIBRARY}/katran-restore; chmod 666 {LIBRARY}/bpf/decap.bpf.c",
        ["rewrite bpf/decap.bpf.c", "rewrite katran-restore"],
    ),
    "real2": (
        f"echo x > {LIBRARY}/bpf/stray.txt; chmod 666 {LIBRARY}/katran-restore",
        ["rewrite katran-restore", "remove bpf/stray.txt"],
    ),
    "real3": (
        "sysctl -qw net.ipv4.conf.all.arp_ignore=0; chmod 600 /usr/local/bin/katran",
        ["rewrite /usr/local/bin/katran", "net/ipv4/conf/all/arp_ignore 0 → 1"],
    ),
}


@pytest.mark.parametrize("changed", [pytest.param(UNITS, id="units"), pytest.param(FILES, id="files")])
def test_what_somebody_changed_is_predicted_and_put_right(
    fleet: Fleet, changed: dict[str, tuple[str, list[str]]]
) -> None:
    for host, (command, _expected) in changed.items():
        on_host(fleet.lab, host, command)
    review = changes(fleet, "--check")
    done = changes(fleet)
    assert review == done == {host: expected for host, (_command, expected) in changed.items()}
    assert unit(fleet, "real1", "katran-real.service")["UnitFileState"] == ""


def test_then_nothing_is_left_to_do(fleet: Fleet) -> None:
    assert changes(fleet) == {}


def test_what_an_administrator_decided_is_told_and_stays(fleet: Fleet) -> None:
    drop_in = f"/etc/systemd/system/{RESTORE}.d"
    on_host(
        fleet.lab,
        "lb1",
        f"systemctl mask -q --now {AGENT} 2>&1 || (rm /etc/systemd/system/{AGENT} && systemctl mask -q --now {AGENT})",
    )
    on_host(
        fleet.lab,
        "lb1",
        f"mkdir -p {drop_in} && printf '[Service]\\nNice=5\\n' > {drop_in}/nice.conf && systemctl daemon-reload",
    )
    try:
        done = fleet.ansible("ansible-playbook", "katran.fleet.deploy", "--limit", "lb1")
        printed = " ".join((done.stdout + done.stderr).split())
        assert "changed=0" in printed
        assert f"unit {AGENT} is masked on this host, and stays so (systemctl unmask {AGENT})" in printed
        assert f"unit {RESTORE} has settings of this host's own: {drop_in}/nice.conf" in printed
    finally:
        on_host(fleet.lab, "lb1", f"systemctl unmask -q {AGENT}; rm -r {drop_in}; systemctl daemon-reload")
        fleet.deploy(None, "--limit", "lb1")
    assert unit(fleet, "lb1", AGENT) == {
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "NeedDaemonReload": "no",
    }


def test_hosts_have_what_they_run_and_nothing_of_ansible(fleet: Fleet) -> None:
    """Every module of the engine can be imported there without Ansible, from the installed copy alone."""
    code = (
        "import importlib, pathlib, sys;"
        f"sys.path.insert(0, '{LIBRARY}');"
        "sys.modules['ansible'] = None;"
        "top = 'ansible_collections/katran/fleet/plugins/module_utils';"
        f"paths = sorted(pathlib.Path('{LIBRARY}', top).rglob('*.py'));"
        f"names = [str(p.relative_to('{LIBRARY}'))[:-3].replace('/', '.').removesuffix('.__init__') for p in paths];"
        "[importlib.import_module(name) for name in names];"
        "print(len(names), any('_ansible' in name for name in names))"
    )
    for host in ("lb1", "real1"):
        count, ansible = on_host(fleet.lab, host, f'python3 -I -c "{code}"').split()
        assert int(count) > 60
        assert ansible == "False"


def test_modules_run_the_compiled_engine_that_is_installed(fleet: Fleet) -> None:
    """Only an import from there reads the compiled file."""
    folder = f"{LIBRARY}/ansible_collections/katran/fleet/plugins/module_utils/_engine/__pycache__"
    compiled = on_host(fleet.lab, "lb1", f"ls {folder}/vips.*.pyc")
    # Its processes import the engine from there too.
    on_host(fleet.lab, "lb1", f"systemctl stop {AGENT}")
    # Where the file system notes a read at most once a day, it still notes this one.
    unread = int(time.time()) - 3 * 24 * 3600
    on_host(fleet.lab, "lb1", f"touch -a -d @{unread} {compiled}")
    result = fleet.module("lb1", "katran.fleet.vips", {"config": [], "state": "merged"})["lb1"]
    assert result["changed"] is False, result
    assert int(on_host(fleet.lab, "lb1", f"stat -c %X {compiled}")) > unread
    # An installed file that somebody changed is not run.
    source = compiled.replace("__pycache__/", "").partition(".cpython")[0] + ".py"
    on_host(fleet.lab, "lb1", f"echo 'raise SystemExit' >> {source}; touch -a -d @{unread} {compiled}")
    try:
        again = fleet.module("lb1", "katran.fleet.vips", {"config": [], "state": "merged"})["lb1"]
        assert again["changed"] is False, again
        assert int(on_host(fleet.lab, "lb1", f"stat -c %X {compiled}")) == unread
    finally:
        on_host(fleet.lab, "lb1", f"systemctl start {AGENT}")
        rewritten = f"rewrite {source.removeprefix(LIBRARY + '/')}"
        assert changes(fleet, "--limit", "lb1") == {"lb1": [rewritten, f"restart {AGENT}"]}
