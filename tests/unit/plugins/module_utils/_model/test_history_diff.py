# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How configurations differ, in sentences and as YAML."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.history_diff import (
    Configuration,
    configuration_of,
    difference,
    unified,
    yaml_lines,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import vip_to_config, vips_from_config
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips

# A busy machine is no fault of what is tested.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def vip(*reals: tuple[str, int]) -> dict[str, Any]:
    entries = [{"address": address, "weight": weight} for address, weight in reals]
    config = [{"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": entries}]
    found, _warnings = resolve_vips({}, Asked(config, "overridden"))
    return vip_to_config(next(iter(found.values())))


def state(*vips: dict[str, Any], **options: Any) -> State:
    assert vips_from_config(list(vips)) is not None
    return State("default", "/sys/fs/bpf", vips=list(vips), **options)


def test_what_is_the_same() -> None:
    one = configuration_of(state(vip(("10.0.0.1", 1))), {"server_ids": []})
    assert difference(one, one).lines == []
    assert difference(Configuration(), Configuration()).changes == {}
    assert unified(difference(one, one), "1", "now") == []


def test_every_kind_of_difference() -> None:
    before = configuration_of(
        state(
            vip(("10.0.0.1", 1), ("10.0.0.2", 1)),
            settings={"max_frame": 1514, "interfaces": ["eth0"], "copy_tos": True},
            program=ProgramRecord(tag="aa", source_digest="d1"),
            overlay=[{"address": "10.0.0.1", "state": "down", "since": "then"}],
        ),
        {"server_ids": [{"id": 7, "real": "10.0.0.1"}, {"id": 8, "real": "10.0.0.1"}]},
    )
    after = configuration_of(
        state(
            vip(("10.0.0.1", 1), ("10.0.0.2", 5)),
            settings={"max_frame": 9014, "interfaces": ["eth0"]},
            program=ProgramRecord(tag="bb", source_digest="d2"),
        ),
        {"server_ids": [{"id": 7, "real": "10.0.0.2"}, {"id": 9, "real": "10.0.0.1"}]},
    )
    found = difference(before, after)
    assert found.lines == [
        "program aa → bb",
        "setting copy_tos: true → null",
        "setting max_frame: 1514 → 9014",
        "vip 198.51.100.1:80/tcp: weight of 10.0.0.2 1 → 5",
        "real 10.0.0.1: removed",
        "server id 7: 10.0.0.1 → 10.0.0.2",
        "server id 8: removed",
        "server id 9: added (10.0.0.1)",
    ]
    assert list(found.changes) == ["balancer", "vips", "reals", "server_ids"]
    lines = unified(found, "1", "now")
    assert lines[:6] == [
        "--- settings (1)",
        "+++ settings (now)",
        "@@ -1,2 +1 @@",
        "-copy_tos: true",
        "-max_frame: 1514",
        "+max_frame: 9014",
    ]
    assert "-    weight: 1" in lines
    assert "+    weight: 5" in lines
    assert lines[-5:] == [
        "--- server id 9 (1)",
        "+++ server id 9 (now)",
        "@@ -0,0 +1,2 @@",
        "+id: 9",
        "+real: 10.0.0.1",
    ]
    assert unified(found, "1", "now", most=1)[-1] == "# and 5 more changed entries (--json has all)"


def test_what_was_not_there() -> None:
    found = difference(configuration_of(None, {}), configuration_of(state(vip(("10.0.0.1", 1))), {}))
    assert found.lines == ["vip 198.51.100.1:80/tcp: added with 1 real"]
    assert found.changes["vips"][0].before is None


SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="ascii"))
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), below, max_size=3)
)


@PATIENT
@given(VALUES)
def test_yaml_reads_what_is_written(value: Any) -> None:
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value


@PATIENT
@given(st.from_regex(r"[A-Za-z0-9:./~=<_-]{1,12}", fullmatch=True))
def test_yaml_takes_no_text_for_something_else(value: str) -> None:
    assert yaml.safe_load("\n".join(yaml_lines({"a": value}))) == {"a": value}
