# SPDX-License-Identifier: GPL-3.0-or-later
"""State is root's alone: what strangers could have written is not believed, and what is open to them is closed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.host import HostRequest, ensure_host
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, attachments
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostWanted, RealHost
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.tests.engine.life import program_of
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    SOURCES,
    compiled_once,
    ensure_balancer,
    run,
    sandbox,
)

NOBODY = 65534
LINKS = ("eth0", "eth1", "eth2")
STATE = Path(STATE_ROOT, "default")
FOLDERS = (
    STATE_ROOT,
    str(STATE),
    LOCK_ROOT,
    f"{BPFFS}/katran",
    f"{BPFFS}/katran/default",
    f"{BPFFS}/katran/default/maps",
)
BOOT = (
    "from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import main; raise SystemExit(main([]))"
)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(*LINKS), compiled_once():
        run("ip", "link", "set", "lo", "up")
        yield


def serve(*interfaces: str, instance: str = "default", check: bool = False) -> Result:
    params = {
        "interfaces": list(interfaces or ("eth0",)),
        "mode": "native",
        "vips": ["198.51.100.1"],
        "keep_vips": False,
        "sources": [],
        "gue_port": 6080,
        "server_id": 0,
        "loopback": True,
        "source_dir": BPF,
    }
    return Real(instance, BPFFS).ensure(parse_real(params), check, 5)


def boot() -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent / "collections"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["/usr/bin/python3", "-c", BOOT], env=environment, capture_output=True, text=True, check=False
    )


def lose() -> None:
    """What a boot loses."""
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    for name in LINKS:
        run("ip", "link", "set", name, "xdp", "off")


def modes() -> dict[str, str]:
    return {path: oct(stat.S_IMODE(os.stat(path).st_mode)) for path in FOLDERS}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_whatever_the_umask_everything_is_for_root_alone(umask: int) -> None:
    before = os.umask(umask)
    try:
        serve()
        ensure_balancer()
        ensure_host(HostRequest(HostWanted(real=RealHost(("eth0",)))))
    finally:
        os.umask(before)
    assert set(modes().values()) == {"0o700"}
    files = [*STATE.iterdir(), Path(STATE_ROOT, "host.json")]
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {"0o600"}
    assert not serve().changed


def test_folders_that_are_open_are_closed_and_told() -> None:
    serve()
    for path in FOLDERS:
        run("chmod", "755", str(path))
    run("chmod", "1777", str(STATE_ROOT))
    expected = [
        f"close {path} to all but root (mode {'1777' if path == STATE_ROOT else '0755'} → 0700)" for path in FOLDERS
    ]
    assert serve(check=True).changes == expected
    assert modes()[STATE_ROOT] == "0o1777"
    assert serve().changes == expected
    assert set(modes().values()) == {"0o700"}
    assert serve(check=True).changes == serve().changes == []


def test_module_host_closes_them_too() -> None:
    wanted = HostWanted(real=RealHost(("eth0",)))
    ensure_host(HostRequest(wanted))
    run("chmod", "777", str(STATE_ROOT))
    expected = [f"close {STATE_ROOT} to all but root (mode 0777 → 0700)"]
    assert ensure_host(HostRequest(wanted, check=True)).changes == expected
    assert ensure_host(HostRequest(wanted)).changes == expected
    assert ensure_host(HostRequest(wanted)).changes == []


def give_folder() -> None:
    os.chown(STATE, NOBODY, NOBODY)


def give_file() -> None:
    os.chown(STATE / "decap.json", NOBODY, NOBODY)


def open_file() -> None:
    run("chmod", "666", str(STATE / "decap.json"))


def link_file() -> None:
    os.rename(STATE / "decap.json", "/var/lib/elsewhere.json")
    os.symlink("/var/lib/elsewhere.json", STATE / "decap.json")


def link_folder() -> None:
    os.rename(STATE, "/var/lib/elsewhere")
    os.symlink("/var/lib/elsewhere", STATE)


def put_pipe() -> None:
    os.unlink(STATE / "decap.json")
    os.mkfifo(STATE / "decap.json")


def give_top() -> None:
    os.chown(STATE_ROOT, NOBODY, NOBODY)


MEDDLING: list[tuple[Callable[[], None], str]] = [
    (give_folder, f"{STATE} is not root's alone (it belongs to user {NOBODY})"),
    (give_file, f"{STATE}/decap.json is not root's alone (it belongs to user {NOBODY})"),
    (open_file, f"{STATE}/decap.json is not root's alone (others may write there, mode 0666)"),
    (link_file, f"{STATE}/decap.json is not root's alone (it is a symbolic link)"),
    (link_folder, f"{STATE} is not root's alone (it is a symbolic link)"),
    (put_pipe, f"{STATE}/decap.json is not root's alone (it is no file)"),
    (give_top, f"{STATE_ROOT} is not root's alone (it belongs to user {NOBODY})"),
]


@pytest.mark.parametrize(("meddle", "sentence"), MEDDLING, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_not_roots_alone_is_not_believed(meddle: Callable[[], None], sentence: str) -> None:
    """Neither by a module nor at boot, where the other instance comes up all the same."""
    serve()
    serve("eth1", instance="other")
    lose()
    meddle()
    for check in (True, False):
        with pytest.raises(StateError) as caught:
            serve(check=check)
        assert str(caught.value).startswith(sentence)
    done = boot()
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    everywhere = meddle is give_top
    assert set(attachments(LINKS)) == (set() if everywhere else {"eth1"})


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777], ids=oct)
@pytest.mark.parametrize("path", [STATE_ROOT, str(STATE)])
def test_a_boot_loads_nothing_from_where_others_may_write(path: str, mode: int) -> None:
    serve()
    serve("eth1", instance="other")
    lose()
    run("chmod", f"{mode:o}", path)
    done = boot()
    assert done.returncode == 1
    assert f"{path} is not root's alone (others may write there, mode {mode:04o})" in done.stderr
    assert set(attachments(LINKS)) == (set() if path == STATE_ROOT else {"eth1"})


def test_a_folder_that_nobody_planted_is_not_loaded() -> None:
    serve()
    planted = Path(STATE_ROOT, "planted")
    shutil.copytree(STATE, planted)
    for path in (planted, *planted.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    lose()
    done = boot()
    assert done.returncode == 1
    assert f"katran-restore: planted: {planted} is not root's alone (it belongs to user {NOBODY})" in done.stderr
    assert set(attachments(LINKS)) == {"eth0"}
    assert not os.path.exists(f"{BPFFS}/katran/planted")


# What a boot finds otherwise


def test_one_missing_interface_does_not_stop_the_others() -> None:
    serve("eth0", "eth1")
    Root("shared", BPFFS).ensure(RootSettings(("eth2",), "native", BPF), False, 5)
    ensure_host(HostRequest(HostWanted(real=RealHost(("eth0", "eth1")))))
    lose()
    run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    run("ip", "link", "del", "eth1")
    run("ip", "address", "del", "198.51.100.1/32", "dev", "lo")
    done = boot()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "katran-restore: host: interface eth1 does not exist on this host",
        "katran-restore: default: interface eth1 does not exist on this host",
    ]
    assert set(attachments(LINKS)) == {"eth0", "eth2"}
    assert Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").read_text(encoding="ascii") == "2\n"
    assert "198.51.100.1" in run("ip", "address", "show", "dev", "lo")
    # It is not forgotten.
    run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1-peer")
    assert boot().returncode == 0
    assert set(attachments(LINKS)) == {"eth0", "eth1", "eth2"}
    assert not serve("eth0", "eth1").changed


def test_a_balancer_comes_up_on_the_interfaces_that_there_are() -> None:
    ensure_balancer("attached", interfaces=["eth0", "eth1"])
    lose()
    run("ip", "link", "del", "eth0")
    done = boot()
    assert done.returncode == 1
    assert done.stderr == "katran-restore: default: interface eth0 does not exist on this host\n"
    assert set(attachments(LINKS)) == {"eth1"}
    again = boot()
    assert (again.returncode, again.stdout) == (1, "")


@pytest.mark.parametrize("program", ["balancer", "decap", "root"])
def test_an_interface_that_another_took_does_not_stop_the_others(program: str) -> None:
    if program == "balancer":
        ensure_balancer("attached", interfaces=list(LINKS))
    elif program == "decap":
        serve(*LINKS)
    else:
        Root("shared", BPFFS).ensure(RootSettings(LINKS, "native", BPF), False, 5)
    lose()
    other = program_of(2)
    with Interfaces() as links:
        links.replace("eth1", other, "native", None)
    taken = bpf.program_info(other).id
    os.close(other)
    done = boot()
    assert done.returncode == 1
    assert f"interface eth1 already has an XDP program that is not ours (id {taken})" in done.stderr
    there = attachments(LINKS)
    assert set(there) == set(LINKS)
    assert [name for name, each in there.items() if each.program_id == taken] == ["eth1"]


def test_damaged_and_whole_programs_of_one_instance() -> None:
    """A balancer's damaged state says nothing about where its real's program is, which comes back."""
    ensure_balancer("attached", interfaces=["eth0"])
    serve("eth1")
    lose()
    (STATE / "state.json").write_text('{"bpffs": "/nowhere", "vips": null}', encoding="ascii")
    done = boot()
    assert done.returncode == 1
    assert "state.json is damaged (schema: null is not 1)" in done.stderr
    assert set(attachments(LINKS)) == {"eth1"}
