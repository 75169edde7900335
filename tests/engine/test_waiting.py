# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that wait for another's lock go by what that one left, not by what they saw before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import host as host_run
from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.host import HostRequest, ensure_host, restore_host
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import (
    refresh_gateway,
    restore_balancer,
    restore_real,
)
from ansible_collections.katran.fleet.plugins.module_utils._engine.run import run_locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import attachments
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostWanted, RealHost
from ansible_collections.katran.fleet.tests.engine.life import LINK, MAPS, ensure, wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, run, sandbox

GATEWAYS = {LINK: "02:00:00:00:00:f1", "lb1": "02:00:00:00:00:f2"}
CONFIGURED = "02:00:00:00:00:99"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(*GATEWAYS), compiled_once():
        run("ip", "link", "set", "lo", "up")
        for number, (link, mac) in enumerate(GATEWAYS.items()):
            run("ip", "addr", "add", f"192.0.{number}.7/24", "dev", link)
            run("ip", "neigh", "replace", f"192.0.{number}.1", "lladdr", mac, "nud", "permanent", "dev", link)
            run("ip", "route", "add", "default", "via", f"192.0.{number}.1", "dev", link, "metric", str(number + 1))
        yield


def mac() -> str:
    with bpf.open_map(f"{MAPS}/ctl_array") as control:
        return layout.parse_mac(control.lookup(layout.u32(layout.CTL_GATEWAY_MAC)) or b"")


def meanwhile(waiting: Callable[[], object], change: Callable[[], object], instance: str = "default") -> list[object]:
    """Start a run while another one has the lock, which changes something; what the first one returned."""
    found: list[object] = []
    with locked(instance, True, 5):
        thread = threading.Thread(target=lambda: found.append(waiting()))
        thread.start()
        # Long enough for all that it does before it has the lock.
        time.sleep(1.0)
        change()
    thread.join()
    return found


def reconfigure(**options: object) -> Callable[[], object]:
    return lambda: run_locked(Balancer("default", BPFFS).ensuring(wanted(**options)), False)


def refresh() -> list[str]:
    return refresh_gateway(StateFile("default", BPFFS))


def test_the_refresh_does_not_undo_a_mac_that_was_configured() -> None:
    ensure(gateway_mac="auto")
    assert mac() == GATEWAYS[LINK]
    assert meanwhile(refresh, reconfigure(gateway_mac=CONFIGURED)) == [[]]
    assert mac() == CONFIGURED
    assert not ensure(gateway_mac=CONFIGURED).changed


def test_the_refresh_does_not_take_another_interfaces_gateway() -> None:
    ensure(gateway_mac="auto")
    assert meanwhile(refresh, reconfigure(gateway_mac="auto", interfaces=["lb1"])) == [[]]
    assert mac() == GATEWAYS["lb1"]
    assert refresh() == []


def test_a_restore_brings_back_what_the_run_before_it_left() -> None:
    ensure(gateway_mac=CONFIGURED)
    restore = lambda: restore_balancer(StateFile("default", BPFFS))  # noqa: E731  # it is run in another thread
    assert meanwhile(restore, reconfigure(gateway_mac=CONFIGURED, interfaces=["lb1"], udp_timeout=44)) == [[]]
    assert set(attachments(GATEWAYS)) == {"lb1"}
    assert not ensure(gateway_mac=CONFIGURED, interfaces=["lb1"], udp_timeout=44).changed


def test_a_restored_real_serves_what_the_run_before_it_left() -> None:
    params = {
        "interfaces": [LINK],
        "mode": "native",
        "vips": ["198.51.100.1"],
        "keep_vips": False,
        "sources": [],
        "gue_port": 6080,
        "server_id": 0,
        "loopback": True,
        "source_dir": BPF,
    }
    real = Real("default", BPFFS)
    real.ensure(parse_real(params), False, 5)
    after = parse_real({**params, "vips": ["198.51.100.2"]})
    change = lambda: run_locked(real.ensuring(after), False)  # noqa: E731  # it is run under the lock
    assert meanwhile(lambda: restore_real(StateFile("default", BPFFS)), change) == [[]]
    there = run("ip", "-o", "address", "show", "dev", "lo")
    assert ("198.51.100.2/" in there, "198.51.100.1/" in there) == (True, False)


def test_a_restored_host_is_what_the_run_before_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_host(HostRequest(HostWanted(real=RealHost((LINK,), mtu=1400))))

    def change() -> None:
        # As a run does that has the lock.
        with monkeypatch.context() as patch:
            patch.setattr(host_run, "locked", lambda *_arguments: memoryview(b""))
            ensure_host(HostRequest(HostWanted(real=RealHost((LINK,), mtu=1300))))

    assert meanwhile(restore_host, change, ".host") == [[]]
    assert Path(f"/sys/class/net/{LINK}/mtu").read_text(encoding="ascii").strip() == "1300"
