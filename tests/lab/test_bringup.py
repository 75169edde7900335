# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory itself: up and down may be repeated, interrupted and mixed, and leave nothing behind."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetlab import cgroup, host, lifecycle, network, safety, xdp_pass
from fleetlab.names import BESIDE
from fleetlab.plan import RUN, Lab, LabError, hosts_of, lab_named
from fleetlab.runs import TOOL, on_host
from fleetlab.system import Progress, ip, run

SMALL = "client,lb1,real1"


@pytest.fixture
def small() -> Iterator[Lab]:
    """A second, smaller laboratory's plan; down before and after."""
    lab = lab_named(BESIDE, SMALL)
    progress = Progress(lab.prefix)
    lifecycle.down(lab, progress)
    yield lab
    lifecycle.down(lab, progress)


def traces(prefix: str) -> dict[str, list[str]]:
    """Everything on this machine that a laboratory could leave behind; others may come and go meanwhile."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    groups = run(["find", "/sys/fs/cgroup", "-type", "d", "-path", f"*katran-fleet-lab/{prefix}*"]).splitlines()
    return {
        "namespaces": sorted(name for name in os.listdir("/run/netns") if name.startswith(f"{prefix}-")),
        "links": sorted(name for name in os.listdir("/sys/class/net")),
        "routes": run(["ip", "route"]).splitlines() + run(["ip", "-6", "route", "show", "proto", "198"]).splitlines(),
        "mounts": sorted(path for path in mounts if not path.startswith("/run/netns/") or f"/{prefix}-" in path),
        "groups": groups,
        "limits": [str(int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) - raised_by_others(prefix))],
        "run": sorted(str(path) for path in RUN.glob(prefix)),
        "nspawn": sorted(str(path) for path in Path("/run/systemd/nspawn").glob(f"*/*{prefix}*")),
        "tmp": sorted(str(path) for path in Path("/tmp").glob("nspawn*")),
    }


def raised_by_others(prefix: str) -> int:
    """How much of the limit of inotify instances belongs to other laboratories."""
    return sum(int(path.read_text()) for path in RUN.glob("*/inotify-instances") if path.parent.name != prefix)


def processes(lab: Lab) -> list[str]:
    found = subprocess.run(["pgrep", "-af", f"machine={lab.prefix}-"], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


def test_down_leaves_nothing(small: Lab) -> None:
    before = traces(small.prefix)
    progress = Progress(small.prefix)
    lifecycle.up(small, progress)
    assert traces(small.prefix)["namespaces"] == [
        f"{BESIDE}-{name}" for name in ("client", "control", "lb1", "real1", "router")
    ]
    lifecycle.down(small, progress)
    assert traces(small.prefix) == before
    assert not processes(small)


def test_a_larger_plan(small: Lab) -> None:
    before = traces(small.prefix)
    progress = Progress(small.prefix)
    larger = lab_named(small.prefix, "client,lb3,lb11,real4", hosts_of(11, 4))
    lifecycle.up(larger, progress)
    assert [one.name for one in lifecycle.running_hosts(small)] == ["client", "router", "lb3", "lb11", "real4"]
    assert int(traces(small.prefix)["limits"][0]) == int(before["limits"][0]) + 8 * len(larger.hosts)
    assert on_host(small, "client", "wget -qO- http://198.18.24.2/").startswith("real4")
    for name, address in (("lb3", "198.18.13.2"), ("lb11", "198.18.111.2"), ("real4", "198.18.24.2")):
        assert on_host(small, name, "hostname; ip -4 -o addr show eth1").split()[:5:4] == [name, f"{address}/24"]
    lifecycle.down(small, progress)
    assert traces(small.prefix) == before


def test_up_again_keeps_the_hosts(lab: Lab) -> None:
    before = on_host(lab, "lb1", "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    lifecycle.up(lab, Progress(lab.prefix))
    assert on_host(lab, "lb1", "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1") == before


def test_down_twice(small: Lab) -> None:
    lifecycle.down(small, Progress(small.prefix))
    assert not small.directory.exists()


@pytest.mark.parametrize("delay", [0.15, 0.3, 0.6])
def test_a_killed_up_is_repaired_by_the_next(small: Lab, delay: float) -> None:
    with subprocess.Popen([TOOL, "--lab", small.prefix, "up", "--hosts", SMALL], stderr=subprocess.DEVNULL) as process:
        time.sleep(delay + random.random() / 10)
        process.kill()
    lifecycle.up(small, Progress(small.prefix))
    assert on_host(small, "real1", "hostname") == "real1"


def test_a_half_removed_laboratory_is_removed(small: Lab) -> None:
    progress = Progress(small.prefix)
    before = traces(small.prefix)
    lifecycle.up(small, progress)
    run(["ip", "netns", "del", small.namespace(small.host("lb1"))])
    (small.directory / "lab.json").unlink()
    Path(f"/run/netns/{BESIDE}-lb2").touch()
    lifecycle.down(small, progress)
    assert traces(small.prefix) == before


def test_a_dead_host_makes_up_rebuild(small: Lab) -> None:
    progress = Progress(small.prefix)
    lifecycle.up(small, progress)
    group = next(
        Path(path)
        for path in traces(small.prefix)["groups"]
        if path.endswith((f"unified/katran-fleet-lab/{BESIDE}/lb1", f"cgroup/katran-fleet-lab/{BESIDE}/lb1"))
    )
    (group / "cgroup.kill").write_text("1")
    lifecycle.up(small, progress)
    assert len(host.answering(small, small.hosts)) == len(small.hosts)


@pytest.mark.parametrize("how", ["power-cycle", "reboot"])
def test_a_host_that_boots_again_keeps_its_files_and_not_its_programs(small: Lab, how: str) -> None:
    progress = Progress(small.prefix)
    lifecycle.up(small, progress)
    lb1 = small.host("lb1")
    on_host(small, "lb1", "echo kept > /etc/kept; mkdir /sys/fs/bpf/pinned")
    with network.network(small.namespace_path(lb1)):
        program = xdp_pass.load()
        xdp_pass.attach(program, "eth1")
        os.close(program)
    if how == "power-cycle":
        lifecycle.power_cycle(small, lb1, progress)
    else:
        on_host(small, "lb1", "systemctl reboot")
        while host.answering(small, [lb1]):
            time.sleep(0.01)
        host.wait(small)
    assert on_host(small, "lb1", "cat /etc/kept; systemctl is-system-running --wait").split() == ["kept", "running"]
    assert on_host(small, "lb1", "ls -d /sys/fs/bpf/pinned 2>/dev/null; true") == ""
    assert "xdp" not in on_host(small, "lb1", "ip link show dev eth1")


def test_two_laboratories_side_by_side(lab: Lab, small: Lab) -> None:
    lifecycle.up(small, Progress(small.prefix))
    assert on_host(small, "real1", "ip -4 -o addr show eth1") == on_host(lab, "real1", "ip -4 -o addr show eth1")
    lifecycle.down(small, Progress(small.prefix))
    # The routes that keep packets in belong to both.
    assert "unreachable 198.18.0.0/15" in run(["ip", "route"])
    assert on_host(lab, "real1", "hostname") == "real1"


def test_a_laboratory_in_use_is_not_taken_down(small: Lab) -> None:
    progress = Progress(small.prefix)
    lifecycle.up(small, progress)
    with lifecycle.hold(small, "a test"):
        done = subprocess.run([TOOL, "--lab", small.prefix, "down"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (
            1,
            f"lab: laboratory {BESIDE} is in use by a test (pid {os.getpid()})",
        )
    lifecycle.down(small, progress)


def test_runs_on_one_laboratory_take_turns(small: Lab) -> None:
    commands = [[TOOL, "--lab", small.prefix, "up", "--hosts", SMALL]] * 3
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(host.answering(small, small.hosts)) == len(small.hosts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lab", "KF", "up"], "laboratory name 'KF': a letter, then up to nine letters or digits, all lower case"),
        (
            ["up", "--hosts", "lb9"],
            "no host lb9 in the laboratory's plan (it knows: client, router, lb1, lb2, real1, real2, real3)",
        ),
        (["--lab", "kfnone", "shell", "lb1"], "laboratory kfnone is not up (tests/lab/lab up)"),
        (
            ["proxy", "example.org", "22"],
            "example.org is no host of a laboratory (those are called NAME.LABORATORY.invalid)",
        ),
    ],
)
def test_wrong_input(arguments: list[str], message: str) -> None:
    done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, f"lab: {message}")


class TestHosts:
    def test_systemd_is_content(self, lab: Lab) -> None:
        for one in lab.hosts:
            assert on_host(lab, one.name, "systemctl is-system-running --wait; cat /proc/1/comm; hostname").split() == [
                "running", "systemd", one.name,
            ]  # fmt: skip

    def test_bpffs_is_the_hosts_own(self, lab: Lab) -> None:
        assert on_host(lab, "lb1", "mkdir /sys/fs/bpf/mine && stat -f -c %T /sys/fs/bpf") == "bpf_fs"
        assert on_host(lab, "lb2", "ls -d /sys/fs/bpf/mine 2>/dev/null; true") == ""
        assert on_host(lab, "lb1", "rmdir -v /sys/fs/bpf/mine") == "rmdir: removing directory, '/sys/fs/bpf/mine'"

    def test_settings_of_the_machine_are_read_only(self, lab: Lab) -> None:
        files = "/proc/sys/kernel/pid_max /proc/sys/fs/file-max /proc/sys/vm/swappiness"
        writes = f"for f in {files}; do echo 1 > $f; done 2>/dev/null; cat /proc/sys/kernel/pid_max"
        assert int(on_host(lab, "lb1", writes)) > 1

    def test_network_settings_are_the_hosts_own(self, lab: Lab) -> None:
        assert (
            on_host(lab, "lb1", "sysctl -qw net.ipv4.conf.eth1.rp_filter=2 && sysctl -n net.ipv4.conf.eth1.rp_filter")
            == "2"
        )
        assert on_host(lab, "lb2", "sysctl -n net.ipv4.conf.eth1.rp_filter") == "0"

    def test_no_private_key_and_nothing_of_the_machine_inside(self, lab: Lab) -> None:
        assert (
            on_host(
                lab,
                "lb1",
                "find / -xdev -name 'id_*' -path '*ssh*' 2>/dev/null; ls -d /run/katran-fleet-lab 2>/dev/null; true",
            )
            == ""
        )
        assert on_host(lab, "lb1", "echo x >> /root/.ssh/authorized_keys; true") == ""
        assert lab.key.stat().st_mode & 0o777 == 0o600

    def test_one_host_sees_no_process_of_another(self, lab: Lab) -> None:
        assert on_host(lab, "real1", "pgrep -c nginx") != "0"
        assert on_host(lab, "lb1", "pgrep -c nginx; true") == "0"

    def test_links_carry_encapsulated_packets(self, lab: Lab) -> None:
        mtu = {name: int(on_host(lab, name, "cat /sys/class/net/eth1/mtu")) for name in ("client", "lb1", "real1")}
        assert mtu == {"client": 1500, "lb1": 1600, "real1": 1600}

    def test_one_thread_on_one_cpu_takes_what_comes_to_a_balancer(self, lab: Lab) -> None:
        assert on_host(lab, "lb1", "cat /sys/class/net/eth1/threaded") == "1"
        found = network._threads()
        assert len(found) >= len(lab.with_role("balancer"))
        assert {tuple(os.sched_getaffinity(number)) for number in found} == {(network.FORWARDING_CPU,)}

    def test_flows_of_the_client_stay_on_one_cpu(self, lab: Lab) -> None:
        assert int(on_host(lab, "router", "cat /sys/class/net/r-client/queues/rx-0/rps_cpus").replace(",", ""), 16) == 1


class TestRanges:
    """In a namespace that stands for a machine whose network is not empty."""

    @pytest.fixture
    def machine(self) -> Iterator[None]:
        run(["ip", "netns", "add", f"{BESIDE}-machine"])
        try:
            with network.network(f"/run/netns/{BESIDE}-machine"):
                ip(["link set lo up", "link add up0 type veth peer name up1", "link set up0 up", "link set up1 up"])
                yield
        finally:
            run(["ip", "netns", "del", f"{BESIDE}-machine"])

    @pytest.mark.parametrize(
        "command",
        [
            "addr add 198.19.3.1/24 dev up0",
            "route add 198.18.0.0/16 dev up0",
            "addr add fd6b:6174:7261:9::1/64 dev up0 nodad",
        ],
    )
    @pytest.mark.usefixtures("machine")
    def test_ranges_in_use_are_refused(self, command: str) -> None:
        ip([command])
        before = run(["ip", "route", "show", "table", "all"])
        with pytest.raises(LabError, match="this machine's network already uses addresses of"):
            safety.close_ranges()
        safety.open_ranges()
        assert run(["ip", "route", "show", "table", "all"]) == before

    @pytest.mark.usefixtures("machine")
    def test_a_rule_that_overrules_the_routes_is_refused(self) -> None:
        ip(["addr add 10.1.1.1/24 dev up0", "route add default dev up0 table 7", "rule add to 198.18.0.0/16 table 7"])
        with pytest.raises(LabError, match=r"a routing rule of this machine sends 198.18.1.2 elsewhere"):
            safety.close_ranges()

    @pytest.mark.usefixtures("machine")
    def test_closing_and_opening_may_be_repeated(self) -> None:
        before = run(["ip", "route", "show", "table", "all"])
        for action in (safety.close_ranges, safety.close_ranges, safety.open_ranges, safety.open_ranges):
            action()
        assert run(["ip", "route", "show", "table", "all"]) == before


def test_processes_of_the_laboratory_are_all_in_its_groups(lab: Lab) -> None:
    assert all(cgroup.alive(lab, one) for one in lab.hosts)
