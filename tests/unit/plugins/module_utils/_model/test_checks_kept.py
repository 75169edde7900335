# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and announcements that are valid: their one form, their defaults, and what each state makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.check_values import (
    ANNOUNCE_OPTIONS,
    CHECK_OPTIONS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import (
    CHECK_TYPES,
    Check,
    Probe,
    in_ranges,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_changes import vip_changes
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    Vip,
    vip_to_config,
    vips_from_config,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.check_configs import (
    ANY,
    IPV6,
    PREFIX,
    TRUTH,
    UDP,
    VIP,
    check_of,
    faults,
    only,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL


def told(check: Any) -> Any:
    """What Ansible makes of an option before a module has it."""
    found = dict(check)
    for name in ("status", "drain_status"):
        if name in found:
            value = found[name]
            found[name] = str(value).split(",") if isinstance(value, (int, str)) else [str(each) for each in value]
    return {name: int(v) if name == "fall" else True if name == "verify" else v for name, v in found.items()}


# What is right


@pytest.mark.parametrize(
    ("vip", "check", "own"),
    [
        # TCP asked of a service in UDP, as QUIC has it; a name server has both.
        (UDP, {"type": "https", "path": "/up"}, {"type": "https", "path": "/up"}),
        (VIP, {"type": "dns", "query": "Example.NET."}, {"type": "dns", "query": "example.net"}),
        (VIP, {"type": "dns", "query": ".", "record": "NS"}, {"type": "dns", "query": ".", "record": "NS"}),
        (VIP, {"type": "udp", "port": 443}, {"type": "udp", "port": 443}),
        (
            UDP,
            {"type": "udp", "payload": "ping", "expect": "hex:00 FF"},
            {"type": "udp", "payload": "hex:70696e67", "expect": "hex:00ff"},
        ),
        (UDP, {"type": "udp", "payload": "", "expect": "hex:"}, {"type": "udp"}),
        (PREFIX, {"type": "tcp", "address": "198.51.100.7"}, {"type": "tcp", "address": "198.51.100.7"}),
        (ANY, {"type": "tcp", "port": 22}, {"type": "tcp", "port": 22}),
        (ANY, {"type": "external"}, {"type": "external"}),
        (PREFIX, {"type": "external", "min_healthy": 0}, {"type": "external", "min_healthy": 0}),
        # The VIP's own place, written out.
        (VIP, {"type": "tcp", "address": "198.51.100.1", "port": 443}, {"type": "tcp"}),
        (IPV6, {"type": "tcp", "address": "2001:DB8:0::1"}, {"type": "tcp"}),
        (VIP, {"type": "tcp", "interval": 1, "timeout": "0.5", "fall": "4", "slow_start": 0}, {"type": "tcp"}),
        # Lower layers yield.
        (VIP, {"type": "tcp", "interval": 0.1}, {"type": "tcp", "interval": 0.1, "fast_interval": 0.1}),
        (VIP, {"type": "http", "status": [200, 503]}, {"type": "http", "status": [200, 503], "drain_status": []}),
        (VIP, {"type": "http", "status": 204}, {"type": "http", "status": [204]}),
        (VIP, {"type": "http", "status": "200,204-206,204"}, {"type": "http", "status": [200, "204-206"]}),
        (VIP, {"type": "http", "status": [200], "drain_status": []}, {"type": "http", "drain_status": []}),
        (VIP, {"type": "http", "headers": {"B": 1, "A": "x y"}}, {"type": "http", "headers": {"A": "x y", "B": "1"}}),
        (VIP, {"type": "http", "headers": {}}, {"type": "http"}),
        (
            VIP,
            {"type": "tls", "host": "www.example.net", "verify": "yes"},
            {"type": "tls", "host": "www.example.net", "verify": True},
        ),
        (VIP, {"type": "tls", "host": "2001:DB8::1"}, {"type": "tls", "host": "2001:db8::1"}),
    ],
)
def test_the_one_form_of_a_check(vip: Any, check: Any, own: Any) -> None:
    assert faults(check, vip) == ""
    # As module vips gets it, None stands for what is not said.
    found = only({**vip, "check": {**dict.fromkeys(CHECK_OPTIONS), **told(check)}})
    assert vip_to_config(found)["check"] == own
    again = only(vip_to_config(found))
    assert again == found


def test_ranges_of_codes() -> None:
    assert in_ranges((200, 201, 204, 205, 206, 503)) == [200, 201, "204-206", 503]
    assert in_ranges(()) == []


# Defaults


def test_what_lies_under_a_check() -> None:
    defaults = {"interval": 2, "fall": 2, "status": [200, 204], "path": "/up", "min_healthy": 20}
    found = check_of({"type": "http", "fall": 3}, defaults=defaults)
    assert (found.probe.interval, found.probe.fall, found.probe.status, found.probe.path) == (2.0, 3, (200, 204), "/up")
    assert found.min_healthy == 20
    # What means nothing for its type is passed over, and a VIP without a check gets none.
    assert check_of({"type": "tcp"}, defaults=defaults) == Check(Probe("tcp", interval=2.0, fall=2), 20)
    assert only(VIP, defaults).check is None
    assert check_of({"type": "tcp"}, defaults={}) == check_of({"type": "tcp"}, defaults=None) == Check(Probe("tcp"))


def test_the_check_itself_is_above_the_defaults() -> None:
    """A default that does not go together with what a check says yields to it."""
    found = check_of(
        {"type": "http", "interval": 0.5, "status": [429]}, defaults={"fast_interval": 0.8, "drain_status": [429, 503]}
    )
    assert (found.probe.fast_interval, found.probe.drain_status) == (0.5, (503,))
    assert faults({"type": "http", "fast_interval": 0.9}, defaults={"interval": 0.5}) == (
        "check.fast_interval: 0.9 s are longer than the interval of 0.5 s"
    )


@pytest.mark.parametrize(
    ("defaults", "sentence"),
    [
        ("fast", "check_defaults: fast is not a mapping"),
        ([], "check_defaults: [] is not a mapping"),
        ({"intervall": 1}, "check_defaults.intervall: there is no such option; did you mean interval?"),
        ({"interval": 0.01}, "check_defaults.interval: 0.01 is not a number of seconds from 0.1 to 3600"),
        ({"interval": True}, f"check_defaults.interval: True is not a number: {TRUTH}"),
        ({"fall": "x"}, "check_defaults.fall: x is not a whole number"),
        ({"type": "ping"}, f"check_defaults.type: ping is none of {', '.join(CHECK_TYPES)}"),
        ({"type": "tcp"}, "check_defaults.type: every check says its type itself"),
        ({"status": [700]}, "check_defaults.status: 700 is neither a status (100 to 599) nor a range such as 200-299"),
        ({"fast_interval": 2}, "check_defaults.fast_interval: 2 s are longer than the interval of 1 s"),
        ({"status": [503], "drain_status": [503]}, "check_defaults.drain_status: 503 is in status too"),
        (
            {"address": "198.51.100.7"},
            "check_defaults.address: one address cannot be that of every VIP; a check of its own says it",
        ),
    ],
)
def test_defaults_that_are_wrong_are_told_once_also_where_nothing_is_checked(defaults: Any, sentence: str) -> None:
    vips = [{**VIP, "check": {"type": "tcp"}}, {**VIP, "port": 80, "check": {"type": "http"}}]
    assert config_faults({"vips": vips}, ALL, check_defaults=defaults) == [sentence]
    assert config_faults({}, ALL, check_defaults=defaults) == [sentence]
    with pytest.raises(ConfigError, match="check_defaults"):
        resolve_vips({}, Asked(vips, limits=ALL, check_defaults=defaults))


# What each state makes of them


def test_merged_keeps_what_is_not_mentioned_and_takes_a_check_whole() -> None:
    before = vips_from_config(
        [vip_to_config(only({**VIP, "check": {"type": "https", "fall": 2}, "announce": {"min_healthy": 2}}))]
    )
    key = next(iter(before))

    def after(state: str, **options: Any) -> Vip:
        return resolve_vips(before, Asked([{**VIP, **options}], state, limits=ALL))[0][key]

    old = before[key]
    assert after("merged") == after("merged", check=None, announce=None) == old
    # An empty mapping, as an operator writes it and as Ansible hands it over.
    for none in ({}, dict.fromkeys(CHECK_OPTIONS)):
        assert after("merged", check=none).check is None
        assert after("merged", check=none).announce == old.announce
    for none in ({}, dict.fromkeys(ANNOUNCE_OPTIONS)):
        assert after("merged", announce=none).announce is None
    assert after("merged", check={"type": "https"}).check == Check(Probe("https"))
    for state in ("replaced", "overridden"):
        assert (after(state).check, after(state).announce) == (None, None)
        assert after(state, check={"type": "tcp"}).check == Check(Probe("tcp"))


def test_of_what_is_to_go_a_check_does_not_count() -> None:
    before = vips_from_config([vip_to_config(only({**VIP, "check": {"type": "tcp"}}))])
    asked = Asked([{**VIP, "check": {"type": "nonsense"}}], "deleted", limits=ALL, max_probes=0)
    assert resolve_vips(before, asked)[0] == {}


def test_what_was_let_in_before_comes_back_at_boot() -> None:
    """Whatever bound there is by then: a host has after a boot what it had before."""
    own = vip_to_config(only({**VIP, "check": {"type": "tcp", "interval": 0.1}, "announce": {"min_healthy": 1}}))
    asked = Asked([own], "overridden", limits=ALL, kept=True, check_defaults={"fall": 9}, max_probes=1)
    [found] = resolve_vips({}, asked)[0].values()
    assert vip_to_config(found) == own


def test_changes_in_words() -> None:
    def lines(old: Any, new: Any) -> list[str]:
        before, after = ({one.key: one} for one in (only({**VIP, **old}), only({**VIP, **new})))
        return [line.removeprefix("vip 198.51.100.1:443/tcp: ") for line in vip_changes(before, after)]

    tcp, https = {"check": {"type": "tcp"}}, {"check": {"type": "https", "path": "/healthz"}}
    assert lines({}, tcp) == ["check added: tcp every 1 s"]
    assert lines(tcp, https) == ["check tcp every 1 s → https /healthz every 1 s"]
    assert lines(https, {}) == ["check removed"]
    assert lines(tcp, tcp) == []
    secret = {"check": {**https["check"], "headers": {"Authorization": "Bearer x"}, "fall": 2, "status": ["200-204"]}}
    assert lines(https, secret) == ["check headers changed", "check status 200 → 200-204", "check fall 4 → 2"]
    assert lines(tcp, {"check": {"type": "tcp", "min_healthy": 0, "slow_start": 2.5, "on_down": "keep"}}) == [
        "check min_healthy 50 → 0",
        "check slow_start 0 → 2.5",
        "check on_down purge → keep",
    ]
    assert lines(tcp, {"check": {"type": "dns", "query": "a.net", "port": 53, "address": "198.51.100.9"}}) == [
        "check tcp every 1 s → dns a.net A at 198.51.100.9:53 every 1 s"
    ]
    assert lines({}, {"check": {"type": "external"}}) == ["check added: external"]
    assert lines({}, {"check": {"type": "udp", "port": 53}}) == ["check added: udp at port 53 every 1 s"]
    assert lines({}, {"announce": {"communities": ["1:2"]}}) == ["announce added: from 1 of its reals on with 1:2"]
    assert lines({"announce": {"min_healthy": 1}}, {"announce": {"enabled": False}}) == [
        "announce enabled true → false"
    ]
    assert lines({"announce": {"communities": ["1:2"]}}, {"announce": {"min_healthy": 1}}) == [
        "announce communities 1:2 → none"
    ]
    assert lines({"announce": {"enabled": False}}, {}) == ["announce removed"]
    assert vip_changes({}, {one.key: one for one in [only({**VIP, **tcp})]}) == [
        "vip 198.51.100.1:443/tcp: added with 1 real, checked by tcp every 1 s"
    ]


def test_what_is_valid_and_hardly_meant() -> None:
    check = {"type": "https", "port": 0o443, "status": ["128", "132"]}
    entry = {**VIP, "check": check, "announce": {"min_healthy": 2}}
    _vips, warnings = resolve_vips({}, Asked([entry], limits=ALL))
    assert warnings == [
        "vips[0].check.port: 291 is what YAML makes of 443 with a 0 before it; if 443 is meant, write it without",
        (
            "vips[0].check.status: no answer ends with 128 or 132; if it was written with a 0 before it (0200), write"
            " it without"
        ),
        "vips[0].announce.min_healthy: 2 reals have to be in, but there is 1, so that it is never announced",
    ]


# How many probes there are


def rated(number: int, most: int | None, **check: Any) -> str:
    reals = [{"address": f"10.0.0.{index}"} for index in range(1, number + 1)]
    vips = [
        {**VIP, "address": f"198.51.100.{index}", "reals": reals, "check": {"type": "tcp", **check}} for index in (1, 2)
    ]
    return "; ".join(config_faults({"vips": vips}, UNLIMITED, max_probes=most))


def test_more_probes_than_are_allowed() -> None:
    assert rated(100, 2000) == rated(100, 200) == rated(100, None) == ""
    assert rated(100, 2000, interval=0.1) == ""
    assert rated(100, 1999, interval=0.1) == (
        "vips: the checks of 200 services at reals make 2000 probes a second, but max_probes is 1999: give them a"
        " longer interval"
    )
    # Both VIPs ask the same of the same reals.
    assert rated(100, 100, address="198.51.100.9") == ""
    assert rated(100, 100, address="198.51.100.9", port=443) == ""
    assert rated(100, 199) != ""


@pytest.mark.parametrize("most", [0, -1, True, 100_001, "many", 2.5])
def test_a_bound_that_is_none(most: Any) -> None:
    assert rated(1, most) == f"max_probes: {most} is not a number of probes a second (1 to 100000)"


def test_nobody_is_asked_for_external_verdicts() -> None:
    assert rated(100, 1, type="external") == ""
