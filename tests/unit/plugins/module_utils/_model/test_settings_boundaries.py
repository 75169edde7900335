# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings at their bounds, every option of which arrives, and programs beside the balancer likewise."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import (
    options_of,
    parse_healthcheck,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DEFAULT_SIZES,
    HEALTHCHECK_SPECS,
    MAX_CPUS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import (
    COMPILED,
    parse_settings,
    with_program_of,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS

OTHER: dict[str, Any] = {
    **SETTINGS,
    "interfaces": ["eth1", "eth2"],
    "mode": "generic",
    "encapsulation": "gue",
    "gue_port": 6081,
    "features": sorted(FEATURES),
    "source_ipv4": "192.0.2.1",
    "source_ipv6": "2001:db8::1",
    "source_prefix_ipv4": "10.9.0.0/16",
    "source_prefix_ipv6": "2001:db8:1::/64",
    "gateway_mac": "02:00:00:00:00:01",
    "copy_tos": False,
    "decap_any": True,
    "decap_sources": ["10.0.0.0/8"],
    "sizes": {**DEFAULT_SIZES, "vips": 7, "flows": 8, "global_flows": 9},
    "max_frame": 9014,
    "max_new_flows": 5,
    "udp_timeout": 6,
    "forwarding_cores": [1, 2],
    "replace_foreign": True,
    "numa": "none",
}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("gue_port", 1, 65535), ("max_frame", 590, 65535), ("max_new_flows", 1, 1 << 31), ("udp_timeout", 1, 86400)],
)
def test_the_bounds_of_numbers(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(parse_settings({**SETTINGS, name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError) as caught:
            parse_settings({**SETTINGS, name: value})
        assert str(caught.value) == f"{name}: {value} is not in {low} to {high}"


def test_every_setting_arrives_and_comes_back() -> None:
    found = parse_settings(OTHER)
    for name in (each.name for each in fields(found)):
        assert getattr(found, name) != getattr(parse_settings(SETTINGS), name) or name == "root_array"
    config = found.to_config()
    assert config == {name: value for name, value in OTHER.items() if name not in ("source_dir", "state")}
    config["sizes"]["vips"] = 1
    assert found.sizes["vips"] == 7, "what is given out is a copy"


def test_what_goes_with_a_program_and_what_with_the_host() -> None:
    program, host = parse_settings(OTHER), parse_settings(SETTINGS)
    found = with_program_of(program, host)
    for name in (each.name for each in fields(found)):
        if name != "sizes":
            assert getattr(found, name) == getattr(program if name in COMPILED else host, name)
    tables = {name: host.sizes[name] for name in ("flows", "global_flows")}
    assert found.sizes == {**program.sizes, **tables}


def test_words_that_are_allowed() -> None:
    for name, words in (
        ("mode", ("native", "generic", "auto")),
        ("encapsulation", ("ipip", "gue")),
        ("numa", ("auto", "none")),
    ):
        for word in words:
            assert getattr(parse_settings({**SETTINGS, name: word}), name) == word
        with pytest.raises(ConfigError) as caught:
            parse_settings({**SETTINGS, name: "XX"})
        assert str(caught.value) == f"{name}: XX is none of {', '.join(words)}"
    older = {name: value for name, value in SETTINGS.items() if name not in ("numa", "root_array", "state")}
    assert parse_settings(older).numa == "auto"
    with pytest.raises(ConfigError, match=r"^interfaces: state attached needs at least one interface$"):
        parse_settings({**older, "interfaces": []})


def test_the_last_cpu_there_may_be() -> None:
    last = MAX_CPUS - 1
    assert parse_settings({**SETTINGS, "forwarding_cores": f" {last} "}).forwarding_cores == (last,)
    with pytest.raises(ConfigError) as caught:
        parse_settings({**SETTINGS, "forwarding_cores": ["x", 5, "2-1"]})
    assert str(caught.value) == (
        f"forwarding_cores: x is not a CPU (0 to {last}), and not auto;"
        f" forwarding_cores: 2-1 is not a CPU (0 to {last}), and not auto"
    )


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ({"path": "a", "position": -1}, "root_array.path: a is not an absolute path; root_array.position: -1 is not a"),
        ({"path": "/a", "position": True}, "root_array.position: True is not a position (0 to 2)"),
    ],
)
def test_places_that_root_does_not_have(array: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({**SETTINGS, "interfaces": [], "root_array": array})
    assert str(caught.value).startswith(sentence)


HEALTHCHECK: dict[str, Any] = {
    "interface": "eth0",
    "encapsulation": "gue",
    "gue_port": 6081,
    "source_ipv4": "192.0.2.1",
    "source_ipv6": "2001:db8::1",
    "source_mac": "02:00:00:00:00:0a",
    "gateway_mac": "02:00:00:00:00:01",
    "max_frame": 9014,
    "counted_vips": [{"address": "198.51.100.1", "port": 65535, "protocol": "udp"}],
}


def test_every_setting_of_healthcheck_arrives_and_comes_back() -> None:
    found = parse_healthcheck({**HEALTHCHECK, "source_dir": "/src"})
    assert options_of(found) == HEALTHCHECK
    assert found.source_dir == "/src"
    assert found.macros() == {"ENCAP_GUE": 1, "GUE_PORT": 6081, "MAX_FRAME": 9014}
    ipip = parse_healthcheck({**HEALTHCHECK, "encapsulation": "ipip", "source_dir": ""})
    assert ipip.macros()["ENCAP_GUE"] == 0


@pytest.mark.parametrize(("name", "low", "high"), [("gue_port", 1, 65535), ("max_frame", 590, 65535)])
def test_the_bounds_of_healthcheck(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(parse_healthcheck({**HEALTHCHECK, "source_dir": "", name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError) as caught:
            parse_healthcheck({**HEALTHCHECK, "source_dir": "", name: value})
        assert str(caught.value) == f"{name}: {value} is not in {low} to {high}"


def counted(*vips: tuple[str, int]) -> dict[str, Any]:
    entries = [{"address": address, "port": port, "protocol": "tcp"} for address, port in vips]
    return {**HEALTHCHECK, "source_dir": "", "counted_vips": entries}


def test_every_counted_vip_is_looked_at() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_healthcheck(counted(("x", 1), ("10.0.0.1", 65536), ("10.0.0.9", 0), ("10.0.0.1", 1), ("10.0.0.1", 1)))
    assert str(caught.value) == (
        "counted_vips[0].address: x is not an IP address;"
        " counted_vips[1].port: 65536 is not a port (1 to 65535);"
        " counted_vips[2].port: 0 is not a port (1 to 65535);"
        " counted_vips[4]: 10.0.0.1:1/tcp is listed twice"
    )
    room = HEALTHCHECK_SPECS["hc_key_map"].entries({})
    assert len(parse_healthcheck(counted(*(("10.0.0.1", port) for port in range(1, room + 1)))).counted_vips) == room
