# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bird.conf as bird itself takes it, of every variant of katran_bgp."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import Place
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_conf import masked
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.bird_confs import NEIGHBOR, PLACES, conf

UNPACKED = Path(__file__).resolve().parents[2] / ".cache/bird"
NEIGHBORS: tuple[dict[str, Any], ...] = (
    {},
    {"address": "2001:db8::1"},
    {"as": 65001},
    {"as": 4200000000, "password": "with 'many' kinds; of {signs} # and \\ in it"},
    {"password": "x" * 80},
    {"bfd": False},
    {"multihop": 5, "local_address": "10.0.0.9"},
    {"multihop": 255, "bfd": False, "ttl_security": True},
    {"ttl_security": True},
    {"interface": "eth0.100"},
    {"address": "fe80::1", "interface": "a-b.c_d"},
    {"families": ["ipv4"]},
    {"address": "2001:db8::1", "families": ["ipv4"]},
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"communities": ["0:0", "65535:65535", "4294967295:0:4294967295"]},
    {"local_pref": 0},
    {"local_pref": 4294967295},
    {"bfd": {"interval": 0.01, "multiplier": 255}},
    {"bfd": {"interval": 10, "multiplier": 1}},
    {"hold_time": 3, "graceful_restart": 0},
    {"hold_time": 65535, "graceful_restart": 4095},
    {"prefixes": ["198.51.100.0/24"]},
    {"prefixes": ["2001:db8::/32", "198.51.100.0/24", "203.0.113.7/32"]},
)


@pytest.fixture(scope="session")
def bird() -> Callable[[str], str]:
    """What bird says of a configuration; nothing where it takes it."""
    program = UNPACKED / "usr/sbin/bird"
    assert program.exists(), "scripts/setup agent fetches it"
    libraries = next(UNPACKED.glob("usr/lib/*/libssh-gcrypt.so.4")).parent
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    def judge(text: str) -> str:
        command = [str(program), "-p", "-c", "/dev/stdin"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
        return done.stderr if done.returncode else ""

    return judge


def test_bird_judges(bird: Callable[[str], str]) -> None:
    """One that takes everything proves nothing."""
    assert "syntax error" in bird(conf() + "nonsense")


@pytest.mark.parametrize("places", [None, (), PLACES[:2], PLACES])
def test_bird_takes_every_variant(bird: Callable[[str], str], places: tuple[Place, ...] | None) -> None:
    for neighbor, options in itertools.product(NEIGHBORS, OPTIONS):
        text = conf(places, neighbors=[{**NEIGHBOR, **neighbor}], **options)
        assert bird(text) == "", text


def test_bird_takes_many_neighbors_and_vips(bird: Callable[[str], str]) -> None:
    neighbors = [{**NEIGHBOR, "address": f"10.0.{number}.1"} for number in range(40)]
    neighbors += [{**NEIGHBOR, "address": f"2001:db8:{number}::1"} for number in range(40)]
    places = tuple(Place(f"198.51.{number // 256}.{number % 256}/32", ((65001, number % 7),)) for number in range(512))
    assert bird(conf(places, neighbors=neighbors)) == ""


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"'), min_size=1, max_size=80))
def test_bird_takes_every_password_and_none_is_shown(bird: Callable[[str], str], password: str) -> None:
    text = conf(neighbors=[{**NEIGHBOR, "password": password}])
    assert bird(text) == ""
    assert f'password "{password}";' in text
    assert 'password "********";' in masked(text)
    assert masked(text).replace("********", password) == text
