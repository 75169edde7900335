# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host.json: what is written is read back, and whatever is damaged is told by its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import RealHost
from ansible_collections.katran.fleet.plugins.module_utils._model.host_record import HostRecord

PATH = "/var/lib/katran-fleet/host.json"
REAL: dict[str, Any] = {"interfaces": ["eth0", "eth1"], "mtu": 1600, "mss": 1380, "vips": ["198.51.100.1"]}
GOOD: dict[str, Any] = {"schema": 1, "real": REAL, "before": {"net/ipv4/conf/all/arp_ignore": "0"}}


def test_a_host_record_in_its_file() -> None:
    record = HostRecord(
        RealHost(("eth0", "eth1"), mtu=1600, mss=1380, vips=("198.51.100.1",)), {"net/ipv4/conf/all/arp_ignore": "0"}
    )
    text = record.to_json()
    assert json.loads(text) == GOOD
    assert text.startswith('{\n "before": {\n')
    assert text.endswith("\n}\n")
    assert HostRecord.from_json(text, PATH) == record


@pytest.mark.parametrize(
    "record",
    [
        HostRecord(),
        HostRecord(RealHost(("eth0",))),
        HostRecord(RealHost(("eth0",), probes_from=("eth1",))),
        HostRecord(None, {"mtu/eth0": "9"}),
    ],
)
def test_what_is_written_is_read_back(record: HostRecord) -> None:
    assert HostRecord.from_json(record.to_json(), PATH) == record


def test_nothing_and_no_vips_are_told_apart() -> None:
    assert json.loads(HostRecord().to_json()) == {"schema": 1, "real": None, "before": {}}
    assert json.loads(HostRecord(RealHost(("eth0",))).to_json())["real"]["vips"] is None
    assert json.loads(HostRecord(RealHost(("eth0",), vips=())).to_json())["real"]["vips"] == []


@pytest.mark.parametrize("size", [0, 65535])
@pytest.mark.parametrize("name", ["mtu", "mss"])
def test_sizes_reach_from_none_to_the_largest_packet(name: str, size: int) -> None:
    found = HostRecord.from_json(json.dumps({**GOOD, "real": {**REAL, name: size}}), PATH)
    assert getattr(found.real, name) == size


def test_a_real_without_vips_keeps_those_of_before() -> None:
    real = {name: value for name, value in REAL.items() if name != "vips"}
    found = HostRecord.from_json(json.dumps({**GOOD, "real": real}), PATH)
    assert found.real == RealHost(("eth0", "eth1"), 1600, 1380, None)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([], "[] is not a mapping"),
        (None, "null is not a mapping"),
        ({**GOOD, "schema": 2}, "schema: 2 is not a whole number of 1 to 1"),
        ({"real": None, "before": {}}, "schema: is missing"),
        ({"schema": 1}, "before: is missing"),
        ({**GOOD, "before": []}, "before: [] is not a mapping"),
        ({**GOOD, "before": {"mtu/eth0": 1500}}, "before.mtu/eth0: 1500 is not a text"),
        ({**GOOD, "before": {"mtu/eth0": "1500", "mtu/eth1": None}}, "before.mtu/eth1: null is not a text"),
        ({**GOOD, "real": []}, "real: [] is not a mapping"),
        ({**GOOD, "real": {**REAL, "interfaces": None}}, "real.interfaces: null is not a list"),
        ({**GOOD, "real": {**REAL, "interfaces": "eth0"}}, 'real.interfaces: "eth0" is not a list'),
        ({**GOOD, "real": {**REAL, "interfaces": ["eth0", 1]}}, "real.interfaces[1]: 1 is not a text"),
        ({**GOOD, "real": {**REAL, "vips": "198.51.100.1"}}, 'real.vips: "198.51.100.1" is not a list'),
        ({**GOOD, "real": {**REAL, "vips": [None]}}, "real.vips[0]: null is not a text"),
        ({**GOOD, "real": {**REAL, "vips": None, "mtu": "x"}}, 'real.mtu: "x" is not a whole number of 0 to 65535'),
        ({**GOOD, "real": {**REAL, "mtu": -1}}, "real.mtu: -1 is not a whole number of 0 to 65535"),
        ({**GOOD, "real": {**REAL, "mtu": 65536}}, "real.mtu: 65536 is not a whole number of 0 to 65535"),
        ({**GOOD, "real": {**REAL, "mtu": "1500"}}, 'real.mtu: "1500" is not a whole number of 0 to 65535'),
        ({**GOOD, "real": {**REAL, "mss": True}}, "real.mss: true is not a whole number of 0 to 65535"),
        ({**GOOD, "real": {**REAL, "mss": None}}, "real.mss: null is not a whole number of 0 to 65535"),
    ],
)
def test_damage_is_told_by_its_field(value: Any, fault: str) -> None:
    with pytest.raises(StateError) as caught:
        HostRecord.from_json(json.dumps(value), PATH)
    remedy = "move it away, and the next run compares the host anew"
    assert str(caught.value) == f"{PATH} is damaged ({fault}): {remedy}"


def test_a_file_that_is_no_json() -> None:
    with pytest.raises(StateError, match=rf"^{PATH} is damaged \(Expecting value: .*\): move it away, "):
        HostRecord.from_json("", PATH)
