# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent with real programs, real services and a real network: what is down is out, and nothing else changes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import clear_drain, set_drain
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.doses import dose
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import (
    QUICK,
    RUN,
    STATE,
    Service,
    apply,
    checks,
    slots,
    until,
    vip,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, request, run, sandbox

NAME = "vip 198.51.100.1:80/tcp"


@pytest.fixture(name="services", autouse=True)
def fleet() -> Iterator[dict[str, Service]]:
    with sandbox(agents.LINK), compiled_once(), agents.network(3) as reals:
        agents.install()
        agents.balance()
        services = {real: Service(real) for real in reals}
        apply(vip(*reals, check=QUICK))
        try:
            yield services
        finally:
            for each in services.values():
                each.kill()


def judged(*states: str) -> bool:
    """Whether all reals have a verdict, one of these."""
    found = checks()
    return len(found) == 3 and all(each["state"] in states for each in found.values())


def verdicts() -> list[tuple[str, str]]:
    found = json.loads((STATE / "state.json").read_text(encoding="utf-8"))["verdicts"]
    return [(each["real"], each["state"]) for each in found]


def test_a_service_that_dies_is_out_and_comes_back(services: dict[str, Service]) -> None:
    whole = slots()
    with agents.agent() as agent:
        until(lambda: judged("active"))
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        agent.said(f"<4>{NAME}: real 10.0.0.2 active → down (connection refused)")
        agent.said("verdicts applied")
        services["10.0.0.2"].start()
        until(lambda: slots() == whole)
        agent.said(f"<5>{NAME}: real 10.0.0.2 down → active")
        assert agent.end() == 0
    assert slots() == whole


def test_a_deploy_and_a_restart_keep_verdicts(services: dict[str, Service]) -> None:
    services["10.0.0.2"].kill()
    with agents.agent() as agent:
        until(lambda: "10.0.0.2" not in slots())
        # What another run does in between keeps every word.
        apply(vip(*services, check=QUICK), vip("10.0.0.1", address=agents.OTHER_VIP))
        assert "10.0.0.2" not in slots()
        until((RUN / "checks.json").exists)
        agent.end()
    before = slots()
    written = (RUN / "checks.json").read_text(encoding="utf-8")
    with agents.agent() as agent:
        until(lambda: (RUN / "checks.json").read_text(encoding="utf-8") != written)
        assert slots() == before
        time.sleep(1.5)
        assert not [line for line in agent.lines if "10.0.0.2" in line and "→" in line]
        assert slots() == before
        agent.end()


@pytest.mark.parametrize("name", ["checks.json", "ready.json"])
def test_what_an_earlier_agent_left_damaged_takes_nothing_out_and_lets_nothing_in(
    services: dict[str, Service], name: str
) -> None:
    services["10.0.0.2"].kill()
    with agents.agent() as agent:
        until(lambda: "10.0.0.2" not in slots())
        agent.end()
    (RUN / name).write_text("[1", encoding="ascii")
    before = slots()
    with agents.agent() as agent:
        agent.said(f"{RUN / name} is damaged")
        until(lambda: judged("active", "down"))
        assert slots() == before
        assert verdicts() == [("10.0.0.2", "down")]
        agent.end()


def test_damaged_settings_are_told_and_the_former_ones_hold(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        path = STATE / "agent.json"
        whole = path.read_text(encoding="utf-8")
        path.write_text("[1", encoding="ascii")
        agent.said(f"<4>{path} is damaged")
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        path.write_text(whole, encoding="utf-8")
        agent.said("<5>well again, after:")
        agent.end()


def test_a_balancer_without_settings_is_left_alone(services: dict[str, Service]) -> None:
    (STATE / "agent.json").unlink()
    whole = slots()
    services["10.0.0.2"].kill()
    with agents.agent() as agent:
        time.sleep(2)
        assert slots() == whole
        # As soon as there are some, it takes part.
        agents.settle()
        until(lambda: "10.0.0.2" not in slots())
        agent.end()


def test_a_reload_loses_nothing(services: dict[str, Service]) -> None:
    services["10.0.0.2"].kill()
    with agents.agent() as agent:
        until(lambda: "10.0.0.2" not in slots() and judged("active", "down"))
        since = {real: each["since"] for real, each in checks().items()}
        workers = agent.workers()
        agents.settle(max_probes=777)
        agent.process.send_signal(signal.SIGHUP)
        agent.said("settings read again")
        time.sleep(1.5)
        assert {real: each["since"] for real, each in checks().items()} == since
        assert agent.workers() == workers
        assert "10.0.0.2" not in slots()
        agent.end()


def test_a_worker_that_dies_is_replaced(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        for pid in agent.workers():
            os.kill(pid, signal.SIGKILL)
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        until(lambda: len(agent.workers()) == 2)
        agent.end()


def test_workers_die_with_the_agent(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        workers = agent.workers()
        assert len(workers) == 2
        agent.end(signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))


def test_another_run_that_holds_the_lock_is_waited_for(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        with locked("default", True, 5):
            services["10.0.0.2"].kill()
            agent.said("real 10.0.0.2 active → down")
            time.sleep(2.5)
            # Probes go on, and what is wanted by the end is what is made.
            services["10.0.0.3"].kill()
            agent.said("real 10.0.0.3 active → down")
            assert set(slots()) == set(services)
        until(lambda: verdicts() == [("10.0.0.2", "down"), ("10.0.0.3", "down")])
        # That it had to wait is no news.
        assert not [line for line in agent.lines if "locked" in line]
        # The floor: half of the weight stays, the one that failed last.
        assert set(slots()) == {"10.0.0.1", "10.0.0.3"}
        agent.end()


def test_a_state_that_is_damaged_is_told_once_and_probes_go_on(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        path = STATE / "state.json"
        whole = path.read_text(encoding="utf-8")
        path.write_text("[1", encoding="ascii")
        agent.said(f"<4>{path} is damaged")
        services["10.0.0.2"].kill()
        agent.said("real 10.0.0.2 active → down")
        time.sleep(1.5)
        damaged = [line for line in agent.lines if f"{path} is damaged" in line]
        assert len(damaged) <= 3, damaged
        path.write_text(whole, encoding="utf-8")
        until(lambda: "10.0.0.2" not in slots())
        agent.end()


def test_others_may_say_what_they_know(services: dict[str, Service]) -> None:
    whole = slots()
    with agents.agent() as agent:
        until(lambda: judged("active"))
        folder = RUN / "verdicts.d"
        folder.mkdir(mode=0o700)
        word = {"vip": "198.51.100.1:80/tcp", "real": "10.0.0.3", "state": "down", "until": time.time() + 4}
        (folder / "consul.json").write_text(json.dumps([word]), encoding="ascii")
        until(lambda: "10.0.0.3" not in slots())
        # It ends by itself.
        until(lambda: slots() == whole)
        agent.end()


def test_a_kick_asks_all_at_once(services: dict[str, Service]) -> None:
    slow = {"type": "tcp", "interval": 60.0, "rise": 1, "fall": 1}
    apply(vip(*services, check=slow))
    with agents.agent() as agent:
        until(lambda: len(checks()) == 3)
        time.sleep(1)
        (RUN / "kick").touch()
        until(lambda: judged("active"))
        services["10.0.0.2"].kill()
        (RUN / "kick").touch()
        until(lambda: "10.0.0.2" not in slots())
        agent.end()


@pytest.mark.dosed
def test_killed_at_random_under_load(services: dict[str, Service]) -> None:
    """Again and again: the lock never stays taken, and no slot is other than it is where nobody was killed."""
    chance = random.Random(7)
    rings = {}
    with agents.agent() as agent:
        until(lambda: judged("active"))
        rings[False] = agents.everything()
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        rings[True] = agents.everything()
        agent.end(signal.SIGKILL)
    down = True
    for number in range(dose(10, 50)):
        if number % 3 == 0:
            down = not down
            (services["10.0.0.2"].kill if down else services["10.0.0.2"].start)()
        with agents.agent() as agent:
            # Mostly while there is something to apply.
            time.sleep(chance.uniform(0.3, 1.5))
            agent.end(signal.SIGKILL)
        with locked("default", True, 0.5):
            pass
        if number % 10 == 9:
            with agents.agent() as agent:
                until(partial(is_all, rings[down]))
                agent.end(signal.SIGKILL)


def test_what_a_killed_run_left_half_done_is_finished(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        agent.end()
    whole = agents.everything()
    path = STATE / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["interrupted"] = ["vips"]
    path.write_text(json.dumps(state), encoding="utf-8")
    drop_slots()
    assert agents.everything() != whole
    with agents.agent() as agent:
        until(lambda: agents.everything() == whole)
        agent.end()


def is_all(wanted: dict[str, Any]) -> bool:
    return agents.everything() == wanted


def drop_slots() -> None:
    """Empty some slots of a ring, as a run would that is killed between two writes."""
    with bpf.open_map(f"{agents.MAPS}/ch_rings") as rings:
        for index in range(7):
            rings.update(layout.u32(index), layout.u32(0))


def test_a_filter_that_is_taken_off_comes_back_and_proves_nothing_meanwhile(services: dict[str, Service]) -> None:
    whole = slots()
    with agents.agent() as agent:
        until(lambda: judged("active"))
        run("tc", "qdisc", "del", "dev", agents.LINK, "clsact")
        agent.said("attach healthcheck to the egress of lb0")
        until(lambda: all(each["last"]["state"] == "active" for each in checks().values()))
        assert slots() == whole
        assert not [line for line in agent.lines if "→ down" in line]
        agent.end()


def test_a_program_that_is_taken_off_is_told(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        until(lambda: agents.routes() == {agents.VIP: 1})
        run("ip", "link", "set", agents.LINK, "xdp", "off")
        agent.said("<4>interface lb0: balancer of instance default was taken off")
        until(lambda: agents.routes() == {})
        agents.balance()
        agent.said("<5>interface lb0: balancer of instance default runs there as it should")
        agent.end()


def test_pins_that_are_gone_withdraw_nothing(services: dict[str, Service]) -> None:
    """A clean-up of a bpffs all over the fleet is told, and no reason to take every VIP away everywhere."""
    pin = f"{BPFFS}/katran/default/balancer"
    with agents.agent() as agent:
        until(lambda: judged("active"))
        until(lambda: agents.routes() == {agents.VIP: 1})
        os.rename(pin, f"{pin}_previous_one")
        try:
            agent.said("the pin of balancer of instance default is gone")
            time.sleep(4)
            assert agents.routes() == {agents.VIP: 1}
            run("ip", "link", "set", agents.LINK, "xdp", "off")
            until(lambda: agents.routes() == {})
        finally:
            os.rename(f"{pin}_previous_one", pin)
            agents.balance()
        until(lambda: agents.routes() == {agents.VIP: 1})
        agent.end()


def test_a_gateway_that_has_another_mac_is_followed(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        mac = "02:00:00:00:77:01"
        agents.in_namespace(agents.ROUTER, "ip", "link", "set", f"{agents.LINK}-peer", "address", mac)
        # As a router that takes over says so: the kernel hears of another MAC.
        announce_address(mac)
        agent.said(f"→ {mac}")
        until(lambda: agents.gateway() == mac)
        until(lambda: all(each["last"]["state"] == "active" for each in checks().values()))
        agent.end()


def announce_address(mac: str) -> None:
    """A gratuitous ARP of the gateway's."""
    raw = bytes.fromhex(mac.replace(":", ""))
    own = socket.inet_aton(agents.GATEWAY)
    frame = b"\xff" * 6 + raw + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" + raw + own + b"\xff" * 6 + own
    code = (
        "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW);"
        f" s.bind(('{agents.LINK}-peer', 0)); s.send(bytes.fromhex('{frame.hex()}'))"
    )
    # Entries are locked for a second against a quarrel about an address.
    time.sleep(1.1)
    agents.in_namespace(agents.ROUTER, "python3", "-c", code)


def test_metrics_are_served(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: judged("active"))
        with socket.create_connection(("127.0.0.1", 9463), 5) as one:
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: lb\r\n\r\n")
            answer = b""
            while data := one.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'katran_engine_runs_total{balancer="default",result="done"}' in answer
        agent.end()


def test_systemd_is_told_for_as_long_as_the_loop_goes_round(services: dict[str, Service]) -> None:
    path = "/run/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(10)
        heard: list[str] = []

        def hear(text: str) -> bool:
            heard.extend(ear.recv(4096).decode().splitlines())
            return text in heard

        with agents.agent({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}) as agent:
            until(lambda: hear("READY=1"))
            heard.clear()
            until(lambda: hear("WATCHDOG=1"))
            until(lambda: hear("STATUS=balancers: 1, targets checked: 3, verdicts: 0"))
            agent.process.send_signal(signal.SIGSTOP)
            ear.settimeout(0.1)
            with pytest.raises(TimeoutError):
                until(lambda: hear("nothing"))
            ear.settimeout(1.5)
            with pytest.raises(TimeoutError):
                hear("WATCHDOG=1")
            agent.process.send_signal(signal.SIGCONT)
            ear.settimeout(10)
            heard.clear()
            until(lambda: hear("WATCHDOG=1"))
            agent.process.send_signal(signal.SIGTERM)
            until(lambda: hear("STOPPING=1"))


def test_a_balancer_that_is_drained_asks_traffic_to_leave(services: dict[str, Service]) -> None:
    with agents.agent() as agent:
        until(lambda: agents.routes() == {agents.VIP: 1})
        set_drain(request(), "a test")
        until(lambda: agents.routes() == {agents.VIP: 2})
        agent.said("198.51.100.1 is announced as draining: drained by a test since")
        clear_drain(request())
        until(lambda: agents.routes() == {agents.VIP: 1})
        agent.end()
    # Routes outlive the agent.
    assert agents.routes() == {agents.VIP: 1}


def test_a_vip_that_goes_is_withdrawn_first_and_not_announced_again(services: dict[str, Service]) -> None:
    other = vip("10.0.0.1", address=agents.OTHER_VIP)
    apply(vip(*services, check=QUICK), other)
    with agents.agent() as agent:
        until(lambda: set(agents.routes()) == {agents.VIP, agents.OTHER_VIP})
        began = time.monotonic()
        apply(other)
        # The grace that neighbours get.
        assert time.monotonic() - began > 1.0
        for _look in range(20):
            assert set(agents.routes()) == {agents.OTHER_VIP}
            time.sleep(0.1)
        agent.end()


def test_peers_that_say_nothing_are_waited_for_no_longer_than_ten_seconds(services: dict[str, Service]) -> None:
    key = "00112233445566778899aabbccddeeff0102030405060708090a0b0c0d0e0f10"
    agents.settle(sync=True, sync_key=key, sync_address=agents.OWN, sync_peers=["198.18.7.2"])
    with agents.agent() as agent:
        agent.said("the flows that other balancers have to tell are not here yet")
        assert agents.routes() == {}
        until(lambda: agents.routes() == {agents.VIP: 1}, 30)
        # Who wants it no more ends it.
        running = len(agent.workers())
        agents.settle()
        until(lambda: len(agent.workers()) == running - 1)
        agent.end()
    assert key not in "".join(agent.lines)


def test_a_second_agent_leaves_a_balancer_alone(services: dict[str, Service]) -> None:
    with agents.agent() as first:
        until(lambda: judged("active"))
        with agents.agent() as second:
            second.said("<4>another agent takes part in balancer default: this one leaves it alone")
            # Once that one is gone, it takes its place.
            first.end(signal.SIGKILL)
            second.said("<5>well again, after: another agent takes part in balancer default")
            services["10.0.0.2"].kill()
            until(lambda: "10.0.0.2" not in slots())
            second.end()


def test_what_stands_in_the_way_is_told_and_does_not_end_the_agent(services: dict[str, Service]) -> None:
    RUN.parent.mkdir(mode=0o700, exist_ok=True)
    RUN.write_text("", encoding="ascii")
    with agents.agent() as agent:
        agent.said(f"<4>{RUN}")
        RUN.unlink()
        agent.said("<5>well again")
        until(lambda: judged("active"))
        agent.end()


def test_one_balancer_that_is_damaged_takes_nothing_from_another(services: dict[str, Service]) -> None:
    other = STATE.with_name("other")
    other.mkdir(mode=0o700)
    shutil.copy(STATE / "agent.json", other)
    (other / "state.json").write_text("[1", encoding="ascii")
    whole = slots()
    with agents.agent() as agent:
        agent.said(f"<4>{other / 'state.json'} is damaged")
        until(lambda: judged("active"))
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        services["10.0.0.2"].start()
        until(lambda: slots() == whole)
        agent.end()
