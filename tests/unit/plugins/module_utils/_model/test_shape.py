# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries whose form is wrong, before anyone asks what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.katran.fleet.plugins.module_utils._model.resources import RESOURCES
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import (
    UNREADABLE,
    as_told,
    loose_numbers,
    numbered,
    shape_faults,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import GOOD, vip, vips


def test_what_is_told_is_what_a_module_gets() -> None:
    """Ansible's own reading of the same arguments, resolved, ends in the same VIPs."""
    config = [vip(port="443", protocol="udp", flags="quic,no_lru", reals=[{"address": "10.0.0.1", "weight": "5"}])]
    spec = {"config": {"type": "list", "elements": "dict", "options": RESOURCES["vips"].options}}
    read = ArgumentSpecValidator(spec).validate({"config": config}).validated_parameters["config"]
    told = [as_told(entry, RESOURCES["vips"].options) for entry in config]
    assert vips(told) == vips(read)


SHAPE: Any = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
    "flags": {"type": "list", "elements": "str", "choices": ["quic", "no_lru"]},
    "reals": {
        "type": "list",
        "elements": "dict",
        "options": {"address": {"type": "str", "required": True}, "local": {"type": "bool"}},
    },
}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (None, ""),
        ([GOOD, {**GOOD, "flags": "quic,no_lru", "reals": [{"address": "10.0.0.1", "local": "yes"}]}], ""),
        ("x", "config: x is not a list"),
        ([GOOD, None], "vips[1]: is empty"),
        (["x"], "vips[0]: x is not a mapping"),
        ([GOOD, {**GOOD, "port": "https"}], "vips[1].port: https is not a whole number"),
        (
            [{**GOOD, "port": True}],
            "vips[0].port: True is not a whole number: YAML reads yes, no, on and off without quotes as truth values",
        ),
        (
            [{**GOOD, "address": False}],
            "vips[0].address: False is not a text: YAML reads yes, no, on and off without quotes as truth values",
        ),
        ([{**GOOD, "port": "0443"}], "vips[0].port: 0443 begins with 0, by which YAML means base 8; write 443"),
        ([{**GOOD, "port": 443.5}], "vips[0].port: 443.5 is not a whole number"),
        ([{**GOOD, "port": "443\u200b"}], "vips[0].port: 443\\u200b is not a whole number"),
        (
            [{**GOOD, "protocol": "tcp\r"}],
            r"vips[0].protocol: 'tcp\r' has a carriage return in it (line ends of DOS)",
        ),
        ([{**GOOD, "protocol": "TCP"}], "vips[0].protocol: TCP is none of tcp, udp"),
        ([{**GOOD, "flags": ["quic", "quik"]}], "vips[0].flags: quik is none of quic, no_lru"),
        ([{**GOOD, "flags": {"quic": True}}], "vips[0].flags: {'quic': True} is not a list"),
        ([{**GOOD, "address": ["x"]}], "vips[0].address: ['x'] is not a text"),
        (
            [{**GOOD, "reals": [{"addres": "10.0.0.1"}]}],
            (
                "vips[0].reals[0].addres: there is no such option; there are address, local; "
                "vips[0].reals[0].address: is missing"
            ),
        ),
        (
            [{**GOOD, "reals": [{"address": "x", "local": "here"}]}],
            "vips[0].reals[0].local: here is neither true nor false",
        ),
        ([{**GOOD, "reals": "10.0.0.1"}], "vips[0].reals: 10.0.0.1 is not a list"),
    ],
)
def test_entries_that_are_not_what_they_should_be(config: Any, sentence: str) -> None:
    assert shape_faults("vips", config, SHAPE) == sentence


def test_twenty_of_them_and_the_rest_counted() -> None:
    told = shape_faults("vips", [{**GOOD, "port": "x"}] * 25, SHAPE).split("; ")
    assert (len(told), told[-1]) == (21, "and 5 more")


def test_what_cannot_be_read_is_left_out_and_the_rest_keeps_its_place() -> None:
    options = RESOURCES["vips"].options
    vip = {"address": "198.51.100.1", "port": "80", "protocol": "tcp"}
    assert as_told({**vip, "flags": ["quic", "warp"], "nonsense": 1}, options) == {**vip, "port": 80}
    assert as_told({**vip, "port": "https"}, options) is UNREADABLE
    assert as_told({**vip, "protocol": None}, options) is UNREADABLE
    assert as_told(None, options) is UNREADABLE
    told = as_told({**vip, "reals": [{"weight": 1}, {"address": "10.0.0.1", "weight": "heavy"}, "x"]}, options)
    assert told["reals"] == [{}, {"address": "10.0.0.1"}, {}]
    assert [index for index, _real in numbered(told["reals"])] == [1]
    assert "reals" not in as_told({**vip, "reals": "10.0.0.1"}, options)


def test_what_ansible_would_take_for_a_number() -> None:
    options = {
        "to": {"type": "int"},
        "wait": {"type": "float"},
        "name": {"type": "str"},
        "config": {"type": "list", "elements": "dict", "options": {"port": {"type": "int"}}},
        "bfd": {"type": "dict", "options": {"interval": {"type": "float"}}},
    }
    good = {
        "to": "10",
        "wait": "1.5",
        "name": True,
        "config": [{"port": 1}, {"port": None}, 7],
        "bfd": {"interval": 1e-5},
    }
    assert list(loose_numbers(good, options)) == []
    wrong = {"to": True, "wait": "1_0", "config": [{}, {"port": "\u0661"}], "bfd": {"interval": False}}
    truth = "YAML reads yes, no, on and off without quotes as truth values"
    assert list(loose_numbers(wrong, options)) == [
        f"to: True is not a whole number: {truth}",
        "wait: 1_0 is not a number",
        "config[1].port: \u0661 is not a whole number",
        f"bfd.interval: False is not a number: {truth}",
    ]
    # What Ansible itself refuses, it tells.
    assert list(loose_numbers({"to": "x", "wait": [1]}, options)) == list(loose_numbers("x", options)) == []
