# SPDX-License-Identifier: GPL-3.0-or-later
"""Module agent as Ansible runs it: what it says beforehand is what it does, and no key is shown."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import ensure_agent
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._kernel.announce_routes import change_table
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import Route, RouteChange
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError, StateError
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.host import module_here
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, request, run, sandbox

KEY = "00112233445566778899aabbccddeeff0102030405060708090a0b0c0d0e0f10"
SYNC = {"sync": True, "sync_key": KEY, "sync_peers": ["192.0.2.11"]}
PATH = Path(STATE_ROOT, "default", "agent.json")
RUN = Path("/run/katran-fleet/default")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("eth0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", "192.0.2.10/24", "dev", "eth0")
        ensure_balancer("loaded")
        yield


def test_what_is_foretold_is_done_once() -> None:
    told = module_here("agent", SYNC, check=True, diff=True)
    assert told["changes"] == ["the agent's settings: written"]
    assert not PATH.exists()
    done = module_here("agent", SYNC, diff=True)
    assert done["changes"] == told["changes"]
    assert done["diff"] == told["diff"]
    assert stat.S_IMODE(PATH.stat().st_mode) == 0o600
    # The host's own address towards its peers is what they are told.
    assert json.loads(PATH.read_text(encoding="utf-8"))["sync_address"] == "192.0.2.10"
    for check in (True, False):
        again = module_here("agent", SYNC, check=check, diff=True)
        assert (again["changed"], again["diff"]) == (False, [])
    other = module_here("agent", {**SYNC, "sync_key": KEY[::-1], "max_probes": 7}, check=True, diff=True)
    assert other["changes"] == ["the agent's max_probes 2000 → 7", "the agent's sync_key changed"]
    for each in (told, done, other):
        shown = json.dumps({**each.result, "invocation": None})
        assert KEY not in shown
        assert KEY[::-1] not in shown


def test_whose_health_checks_are_needed_no_more() -> None:
    assert module_here("agent", {"interface": "eth0"})["left"] == ""
    for check in (True, False):
        assert module_here("agent", {"interface": ""}, check=check)["left"] == "eth0"
    assert module_here("agent", {"interface": ""})["left"] == ""
    module_here("agent", {"interface": "eth0"})
    assert module_here("agent", {"state": "absent"})["left"] == "eth0"


def test_a_port_of_somebody_elses_is_told_before_anything_is_written() -> None:
    with socket.create_server(("127.0.0.1", 9463)):
        for check in (True, False):
            assert module_here("agent", {}, check=check).msg == (
                "metrics_listen: port 9463 of 127.0.0.1 is in use by another process of this host (ss -lnp)"
            )
    assert not PATH.exists()
    told = module_here("agent", {"metrics_listen": "203.0.113.1:9463", "metrics_allow": ["203.0.113.0/24"]})
    assert told.msg == "metrics_listen: 203.0.113.1 is no address of this host"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("192.0.2.10", 9464))
        assert "sync_address: port 9464 of 192.0.2.10 is in use" in module_here("agent", SYNC).msg


def test_the_agents_own_port_is_no_obstacle() -> None:
    module_here("agent", {})
    held = hold(str(RUN))
    assert held is not None
    with socket.create_server(("127.0.0.1", 9463)):
        assert module_here("agent", {"max_probes": 7})["changed"]
    os.close(held)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_probes": 0}, "max_probes: 0 is not a number of probes a second (1 to 100000)"),
        ({"announce_table": 254}, "announce_table: 254 is the kernel's table main, not one for routes to announce"),
        ({"sync": True}, "sync_key: flow exceptions need a key"),
        ({**SYNC, "sync_key": "hunter2"}, "sync_key: "),
        ({"metrics_listen": "0.0.0.0:9463"}, "metrics_listen: 0.0.0.0:9463 is reached by others"),
        ({"instance": "nobody"}, "balancer nobody is not on this host: run module katran.fleet.balancer first"),
    ],
)
def test_what_cannot_be_is_a_sentence(options: dict[str, Any], fault: str) -> None:
    told = module_here("agent", options).msg
    assert told.startswith(fault)
    assert "hunter2" not in told
    assert not PATH.exists()


def test_a_damaged_file_is_written_anew() -> None:
    module_here("agent", {})
    PATH.write_text("[1", encoding="ascii")
    for check in (True, False):
        changes = module_here("agent", {}, check=check)["changes"]
        assert changes[0].startswith(f"{PATH} is damaged")
        assert changes[1] == "the agent's settings: written"
    assert module_here("agent", {})["changed"] is False


def test_a_removal_takes_routes_and_files_away() -> None:
    module_here("agent", {})
    RUN.mkdir(mode=0o700, exist_ok=True)
    place = {"metric": 1, "reasons": [], "since": 0.0, "vips": [], "went": 0.0, "came": 0.0, "level": 0}
    ready = {"schema": 1, "table": 198, "grace": 0.0, "places": {agents.VIP: place}}
    (RUN / "ready.json").write_text(json.dumps(ready), encoding="ascii")
    (RUN / "verdicts.d").mkdir(mode=0o700)
    (RUN / "verdicts.d" / "consul.json").write_text("[]", encoding="ascii")
    assert change_table(198, [RouteChange(Route(agents.VIP, 1), adds=True)]) == {}
    review = module_here("agent", {"state": "absent"}, check=True)
    assert agents.routes() == {agents.VIP: 1}
    done = module_here("agent", {"state": "absent"})
    assert done["changes"] == review["changes"] == ["the agent's settings: removed", f"remove {RUN}"]
    assert agents.routes() == {}
    assert not PATH.exists()
    assert not RUN.exists()
    assert module_here("agent", {"state": "absent"})["changed"] is False


def test_a_removal_waits_for_the_agent_to_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    module_here("agent", {})
    held = hold(str(RUN))
    assert held is not None
    monkeypatch.setattr("ansible_collections.katran.fleet.plugins.module_utils._engine.agent._LET_GO_SECONDS", 0.2)
    from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import remove_agent

    with pytest.raises(StateError, match="has not let go"):
        remove_agent(request())
    os.close(held)
    remove_agent(request())
    assert not RUN.exists()


def test_without_a_balancer_nothing_is_written() -> None:
    params = {name: option.get("default") for name, option in AGENT.items()}
    Path(STATE_ROOT, "default", "state.json").rename(Path(STATE_ROOT, "default", "away"))
    with pytest.raises(EngineError, match="is not on this host"):
        ensure_agent(request(), parse_agent(params))
    # In a review, the balancer would be there by then.
    assert ensure_agent(request(check=True), parse_agent(params)).changes
