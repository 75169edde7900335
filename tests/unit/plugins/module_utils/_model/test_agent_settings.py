# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's settings: what cannot be one is told, all of it, and the key is shown nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import (
    AGENT,
    AgentSettings,
    agent_faults,
    parse_agent,
    settings_changes,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, StateError

KEY = "00112233445566778899aabbccddeeff0102030405060708090a0b0c0d0e0f10"
OTHER_KEY = KEY[::-1]
DEFAULTS = {name: option.get("default") for name, option in AGENT.items()}
SYNC = {"sync": True, "sync_key": KEY, "sync_address": "192.0.2.10", "sync_peers": ["192.0.2.11"]}


def parsed(**options: Any) -> AgentSettings:
    return parse_agent({**DEFAULTS, **options})


def test_by_default_it_is_all_defaults() -> None:
    assert parsed() == AgentSettings()
    assert agent_faults(DEFAULTS) == []


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"interface": "a/b"}, ["interface: 'a/b' is not the name of an interface"]),
        ({"announce_table": 254}, ["announce_table: 254 is the kernel's table main, not one for routes to announce"]),
        ({"announce_table": 0}, ["announce_table: 0 is not the number of a routing table (1 to 4294967295)"]),
        ({"max_probes": 0}, ["max_probes: 0 is not a number of probes a second (1 to 100000)"]),
        ({"max_probes": 100001}, ["max_probes: 100001 is not a number of probes a second (1 to 100000)"]),
        ({"max_probes": True}, ["max_probes: True is not a number of probes a second (1 to 100000)"]),
        (
            {"metrics_listen": "localhost"},
            ["metrics_listen: localhost is not an address and a port, such as 127.0.0.1:9463 or [::1]:9463"],
        ),
        (
            {"sync": True},
            [
                "sync_key: flow exceptions need a key: 64 hexadecimal digits, as openssl rand -hex 32 prints them",
                "sync_address: nothing is not an IP address",
            ],
        ),
        ({**SYNC, "sync_port": 0}, ["sync_port: 0 is not a port that the agent may have (1024 to 65535)"]),
        # Told together.
        (
            {"max_probes": 0, "announce_table": 255},
            [
                "announce_table: 255 is the kernel's table local, not one for routes to announce",
                "max_probes: 0 is not a number of probes a second (1 to 100000)",
            ],
        ),
    ],
)
def test_what_is_wrong_is_told(options: dict[str, Any], faults: list[str]) -> None:
    assert agent_faults({**DEFAULTS, **options}) == faults
    with pytest.raises(ConfigError) as told:
        parsed(**options)
    assert str(told.value) == "; ".join(faults)


@pytest.mark.parametrize("key", [KEY[:-1], KEY[:-2], f"{KEY[:-2]}zz", "hunter2"])
def test_a_key_that_is_none_is_not_shown(key: str) -> None:
    [fault] = agent_faults({**DEFAULTS, **SYNC, "sync_key": key})
    assert fault.startswith("sync_key: ")
    assert key not in fault


SETTINGS = st.builds(
    lambda interface, table, rate, listen, real, sync, peers: parsed(
        interface=interface,
        announce_table=table,
        max_probes=rate,
        metrics_listen=listen,
        metrics_real=real,
        **({**SYNC, "sync_peers": peers} if sync else {}),
    ),
    st.sampled_from(["", "eth0", "bond0.7"]),
    st.integers(1, 0xFFFFFFFF).filter(lambda number: number not in (253, 254, 255)),
    st.integers(1, 100_000),
    st.lists(st.sampled_from(["127.0.0.1:9463", "[::1]:9000", "127.0.0.2:1024"]), unique=True),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(["192.0.2.11", "192.0.2.12"]), unique=True),
)


@given(SETTINGS)
def test_what_is_written_is_read_back(settings: AgentSettings) -> None:
    assert AgentSettings.from_json(settings.to_json(), "agent.json") == settings


@given(SETTINGS, SETTINGS)
def test_changes_are_told_where_there_are_some_and_show_no_key(one: AgentSettings, other: AgentSettings) -> None:
    assert bool(settings_changes(one, other)) == (one != other)
    assert settings_changes(None, other)
    assert settings_changes(one, None)
    assert KEY not in str([settings_changes(one, other), settings_changes(None, other), one.options(), one])


def test_each_change_is_a_line() -> None:
    assert settings_changes(parsed(), parsed(max_probes=7, metrics_real=True, metrics_listen=[])) == [
        "the agent's max_probes 2000 → 7",
        "the agent's metrics_listen 127.0.0.1:9463 → none",
        "the agent's metrics_real false → true",
    ]
    assert settings_changes(parsed(**SYNC), parsed(**{**SYNC, "sync_key": OTHER_KEY})) == [
        "the agent's sync_key changed"
    ]


def spoiled(**fields: Any) -> str:
    return json.dumps({**json.loads(parsed(**SYNC).to_json()), **fields})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[1", "Expecting"),
        ("[]", "[] is not a mapping"),
        (spoiled(schema=2), "schema: 2 is not"),
        (spoiled(max_probes="many"), "max_probes: "),
        (spoiled(max_probes=0), "max_probes: 0"),
        (spoiled(announce_table=255), "announce_table: 255"),
        (spoiled(metrics_listen=["x"]), "metrics_listen"),
        (spoiled(metrics_listen=7), "metrics_listen: 7 is not a list"),
        (spoiled(interface=3), "interface: 3 is not a text"),
        (spoiled(interface="a b"), "interface: 'a b'"),
        (spoiled(sync=1), "sync: 1 is neither"),
        (spoiled(sync_key=7), "sync_key: is not a text"),
        (spoiled(sync_key="hunter2"), "sync_key: "),
        (spoiled(sync_peers=["x"]), "sync_peers[0]: x"),
    ],
)
def test_a_damaged_file_is_told_by_its_field(text: str, field: str) -> None:
    with pytest.raises(StateError) as told:
        AgentSettings.from_json(text, "/there/agent.json")
    said = str(told.value)
    assert said.startswith(f"/there/agent.json is damaged ({field}")
    assert said.endswith("run a deploy, or module katran.fleet.agent, which writes it anew")
    assert "hunter2" not in said
    assert KEY not in said
