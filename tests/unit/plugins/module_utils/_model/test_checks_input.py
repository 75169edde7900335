# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and announcements as operators write them: one sentence for each fault."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.check_values import (
    ANNOUNCE_OPTIONS,
    ANNOUNCE_VALUES,
    CHECK_OPTIONS,
    CHECK_VALUES,
    MEANT,
    METHODS,
    RECORDS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import (
    CHECK_TYPES,
    Announce,
    Check,
    Probe,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    vip_to_config,
)
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


def test_every_option_has_a_reader_and_a_type_that_it_is_for() -> None:
    assert set(CHECK_OPTIONS) == set(CHECK_VALUES) == {"type"}.union(*MEANT.values())
    assert set(MEANT) == set(CHECK_TYPES)
    assert set(CHECK_VALUES) == {*vars(Probe("tcp")), *vars(Check(Probe("tcp")))} - {"probe"}
    assert set(ANNOUNCE_OPTIONS) == set(ANNOUNCE_VALUES) == set(vars(Announce()))


def test_the_defaults_are_as_documented() -> None:
    found = check_of({"type": "tcp"})
    assert found == Check(Probe("tcp"), 50, 0.0, "purge")
    probe = found.probe
    assert (probe.interval, probe.timeout, probe.fast_interval, probe.fall, probe.rise) == (1.0, 0.5, 0.2, 4, 3)
    assert only(VIP).check is None
    assert only({**VIP, "check": None}).check is None


@pytest.mark.parametrize("kind", CHECK_TYPES)
def test_every_type_alone(kind: str) -> None:
    several: dict[str, dict[str, Any]] = {"dns": {"query": "example.net"}, "udp": {"port": 53}}
    needed = several.get(kind, {})
    found = only({**VIP, "check": {"type": kind, **needed}})
    assert vip_to_config(found)["check"] == {"type": kind, **needed}


# One sentence for each kind of fault


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        ("tcp", "check: tcp is not a mapping"),
        (["tcp"], "check: ['tcp'] is not a mapping"),
        (False, "check: False is not a mapping"),
        ({"type": "htp"}, f"check.type: htp is none of {', '.join(CHECK_TYPES)}"),
        ({"type": "TCP"}, f"check.type: TCP is none of {', '.join(CHECK_TYPES)}"),
        ({"type": "icmp", "path": "x"}, f"check.type: icmp is none of {', '.join(CHECK_TYPES)}"),
        ({"type": "tcp\r"}, "check.type: 'tcp\\r' has a carriage return in it (line ends of DOS)"),
        ({"type": 80}, f"check.type: 80 is none of {', '.join(CHECK_TYPES)}"),
        ({"path": "/"}, f"check.type: is missing; it is one of {', '.join(CHECK_TYPES)}"),
        ({"type": "tcp", "intervall": 1}, "check.intervall: there is no such option; did you mean interval?"),
        ({"type": "http", "statuses": [200]}, "check.statuses: there is no such option; did you mean status?"),
        ({"type": "tcp", "Port": 80}, "check.Port: there is no such option; did you mean port?"),
        (
            {"type": "tcp", "zzz": 1},
            f"check.zzz: there is no such option; there are {', '.join(CHECK_OPTIONS)}",
        ),
        (
            {"type": "tcp", "path": "/"},
            "check.path: means nothing for type tcp, only for http and https",
        ),
        ({"type": "http", "verify": True}, "check.verify: means nothing for type http, only for tls and https"),
        ({"type": "https", "query": "x"}, "check.query: means nothing for type https, only for dns"),
        ({"type": "dns", "query": "x", "payload": "x"}, "check.payload: means nothing for type dns, only for udp"),
        (
            {"type": "external", "interval": 1},
            "check.interval: means nothing for type external, only for tcp, tls, http, https, udp and dns",
        ),
    ],
)
def test_types_and_options(check: Any, sentence: str) -> None:
    assert faults(check) == sentence


BASE_8 = "begins with 0, by which YAML means base 8"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        *(
            ("interval", value, f"{value} is not a number of seconds from 0.1 to 3600")
            for value in (
                0.05,
                0,
                -1,
                "0.0999",
                float("nan"),
                float("inf"),
                float("-inf"),
                "nan",
                "1e3",
                "soon",
                "1s",
                3601,
            )
        ),
        ("interval", [1], "[1] is not a number of seconds from 0.1 to 3600"),
        ("interval", {}, "{} is not a number of seconds from 0.1 to 3600"),
        ("interval", "9" * 400, f"{'9' * 400} is not a number of seconds from 0.1 to 3600"),
        ("interval", 10**400, f"{10**400} is not a number of seconds from 0.1 to 3600"),
        *(
            (name, value, f"{value} is not a number: {TRUTH}")
            for name in ("interval", "timeout", "fast_interval", "slow_start")
            for value in (True, False)
        ),
        ("interval", "010", f"010 {BASE_8}; write 10"),
        ("timeout", 0, "0 is not a number of seconds from 0.01 to 60"),
        ("timeout", 60.1, "60.1 is not a number of seconds from 0.01 to 60"),
        ("fast_interval", 0.05, "0.05 is not a number of seconds from 0.1 to 3600"),
        ("fast_interval", 1.5, "1.5 s are longer than the interval of 1 s"),
        ("slow_start", -0.1, "-0.1 is not a number of seconds from 0 to 3600"),
        ("slow_start", 3601, "3601 is not a number of seconds from 0 to 3600"),
        *(
            (name, value, f"{value} is not a whole number (1 to 100)")
            for name in ("fall", "rise")
            for value in (0, -1, 101)
        ),
        ("fall", True, f"True is not a whole number: {TRUTH}"),
        ("fall", "04", f"04 {BASE_8}; write 4"),
        ("fall", 2.5, "2.5 is not a whole number"),
        ("rise", "three", "three is not a whole number"),
        ("min_healthy", 101, "101 is not a per cent (0 to 100)"),
        ("min_healthy", -1, "-1 is not a per cent (0 to 100)"),
        ("min_healthy", "50%", "50% is not a whole number"),
        ("min_healthy", 0.5, "0.5 is not a whole number"),
        ("on_down", "drop", "drop is none of purge, keep"),
        ("port", 0, "0 is not a port (1 to 65535)"),
        ("port", 65536, "65536 is not a port (1 to 65535)"),
        ("port", "0443", f"0443 {BASE_8}; write 443"),
        ("port", True, f"True is not a whole number: {TRUTH}"),
        ("path", "healthz", '"healthz" does not begin with /'),
        ("path", "http://www.example.net/", '"http://www.example.net/" does not begin with /'),
        ("path", "", "is empty"),
        ("path", " /", "' /' has white space in it"),
        ("path", "/a b", "'/a b' has white space in it"),
        ("path", "/ä", "'/\\xe4' has a character that is not of ASCII in it"),
        ("path", "/x HTTP/1.1\r\nX: y", "'/x HTTP/1.1\\r\\nX: y' has a carriage return in it (line ends of DOS)"),
        ("path", "/\n", "'/\\n' has white space in it"),
        ("path", "/\0", "'/\\x00' has a control character in it"),
        ("path", "/a#b", '"/a#b" has # in it, and what follows that is never sent'),
        ("path", "/" + "x" * 1000, "has 1001 characters, and 1000 are the most"),
        ("path", ["/"], "['/'] is not a text"),
        ("path", True, f"True is not a text: {TRUTH}"),
        ("method", "get", f"get is none of {', '.join(METHODS)}"),
        ("method", "FETCH", f"FETCH is none of {', '.join(METHODS)}"),
        *(
            ("status", [value], f"{value} is neither a status (100 to 599) nor a range such as 200-299")
            for value in (99, 600, 0, -1, 2000, "2xx", "200-", "-200", "299-200", "200-600", 200.0, "OK", "")
        ),
        ("status", ["0200"], f"0200 {BASE_8}; write 200"),
        ("status", [True], f"True is not a text: {TRUTH}"),
        ("status", [], "is empty, so that no answer would do"),
        ("status", {"200": 1}, "{'200': 1} is not a list"),
        ("drain_status", [700], "700 is neither a status (100 to 599) nor a range such as 200-299"),
        ("drain_status", [200], "200 is in status too"),
        ("drain_status", ["100-599"], "200 is in status too"),
        ("body", "", "is empty, which every answer has in it"),
        ("body", "x" * 1001, "has 1001 characters, and 1000 are the most"),
        ("body", "\ud800", "'\\ud800' has half of a character in it"),
        ("headers", "X: y", "X: y is not a mapping"),
        (
            "headers",
            {"X": "a\r\nY: b"},
            "the value of X has a line end in it, behind which there would be another header",
        ),
        ("headers", {"X": "a\nb"}, "the value of X has a line end in it, behind which there would be another header"),
        ("headers", {"X\r\nY": "a"}, "'X\\r\\nY' is not the name of a header"),
        ("headers", {"X Y": "a"}, "'X Y' is not the name of a header"),
        ("headers", {"X:": "a"}, "'X:' is not the name of a header"),
        ("headers", {"": "a"}, "'' is not the name of a header"),
        ("headers", {"Host": "a"}, "Host is what a request has of itself; option host says it"),
        ("headers", {"content-length": 3}, "content-length is what a request has of itself"),
        ("headers", {"X-a": "1", "x-A": "2"}, "x-A is there twice"),
        ("headers", {"X": None}, "X has no value"),
        ("headers", {"X": True}, f"X has no text for its value: True is not a text: {TRUTH}"),
        ("headers", {"X": ["a"]}, "X has no text for its value: ['a'] is not a text"),
        ("headers", {"X": "ä"}, "the value of X is not up to 1000 characters of ASCII without spaces around"),
        ("headers", {"X": " a"}, "the value of X is not up to 1000 characters of ASCII without spaces around"),
        ("headers", {"X": "a\0"}, "the value of X is not up to 1000 characters of ASCII without spaces around"),
        ("headers", {f"X{n}": n for n in range(33)}, "has 33 headers, and 32 are the most"),
        *(
            ("host", value, f"{value} is neither the name of a host nor an IP address")
            for value in ("www.example.net:8443", "https://www", "-x.net", "a..b", "10.0.0", "x" * 64, "a." * 127 + "b")
        ),
        ("host", "exämple.net", "'ex\\xe4mple.net' has a character that is not of ASCII in it"),
        ("host", "a\r\nX: y", "'a\\r\\nX: y' has a carriage return in it (line ends of DOS)"),
        ("verify", "maybe", "maybe is neither true nor false"),
        ("verify", True, "needs host, the name that the certificate has to bear"),
        ("address", "10.0.0", "10.0.0 is not an IP address"),
        ("address", "224.0.0.1", "224.0.0.1 is not a unicast address"),
        ("address", "127.0.0.1", "127.0.0.1 is a loopback address"),
        ("address", "2001:db8::5", "2001:db8::5 is IPv6, but the VIP 198.51.100.1 is IPv4"),
        ("address", "198.51.100.0/24", "198.51.100.0/24 is a prefix; an IP address is asked for, such as 198.51.100.0"),
    ],
)
def test_values(option: str, value: Any, sentence: str) -> None:
    assert faults({"type": "https", option: value}) == f"check.{option}: {sentence}"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("payload", "hex:0", "hex:0 is not hex: and two hexadecimal digits for each byte"),
        ("payload", "hex:xy", "hex:xy is not hex: and two hexadecimal digits for each byte"),
        ("payload", "hex:0x01", "hex:0x01 is not hex: and two hexadecimal digits for each byte"),
        ("expect", "hex:\u0660\u0660", "hex:\u0660\u0660 is not hex: and two hexadecimal digits for each byte"),
        ("payload", "x" * 1201, "has 1201 bytes, and 1200 are the most"),
        ("payload", "hex:" + "00" * 1201, "has 1201 bytes, and 1200 are the most"),
        ("payload", "\ud800", "'\\ud800' has half of a character in it"),
        ("payload", {"a": 1}, "{'a': 1} is not a text"),
    ],
)
def test_what_udp_sends_and_expects(option: str, value: Any, sentence: str) -> None:
    assert faults({"type": "udp", option: value}, UDP) == f"check.{option}: {sentence}"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "check.query: is missing: a dns check asks for the name of a domain"),
        ({"query": ""}, "check.query: is empty"),
        ({"query": "a b"}, "check.query: 'a b' has white space in it"),
        ({"query": "a..b"}, "check.query: a..b is not the name of a domain"),
        ({"query": "x" * 64}, f"check.query: {'x' * 64} is not the name of a domain"),
        ({"query": "*.example.net"}, "check.query: *.example.net is not the name of a domain"),
        ({"query": "x", "record": "AXFR"}, f"check.record: AXFR is none of {', '.join(RECORDS)}"),
        ({"query": "x", "record": "a"}, f"check.record: a is none of {', '.join(RECORDS)}"),
    ],
)
def test_what_dns_asks(options: Any, sentence: str) -> None:
    assert faults({"type": "dns", **options}, UDP) == sentence


@pytest.mark.parametrize(
    ("vip", "check", "sentence"),
    [
        (PREFIX, {"type": "tcp"}, "check: needs address, the one in 198.51.100.0/24 to which probes go"),
        (PREFIX, {"type": "tcp", "address": "198.51.101.1"}, "check.address: 198.51.101.1 is not in 198.51.100.0/24"),
        (
            PREFIX,
            {"type": "tcp", "address": "2001:db8::1"},
            "check.address: 2001:db8::1 is IPv6, but the VIP 198.51.100.0/24 is IPv4",
        ),
        (PREFIX, {"type": "tcp", "address": "x"}, "check.address: x is not an IP address"),
        (ANY, {"type": "tcp"}, "check.port: is missing: 198.51.100.1:0/tcp takes every port, and a probe goes to one"),
        (ANY, {"type": "tcp", "port": 0}, "check.port: 0 is not a port (1 to 65535)"),
        (
            VIP,
            {"type": "udp"},
            "check.port: is missing: 198.51.100.1:443/tcp is of TCP, and a udp check asks a port of UDP",
        ),
        (
            IPV6,
            {"type": "tcp", "address": "192.0.2.1"},
            "check.address: 192.0.2.1 is IPv4, but the VIP 2001:db8::1 is IPv6",
        ),
        (
            VIP,
            {"type": "http", "method": "HEAD", "body": "ok"},
            "check.body: an answer to HEAD has no body",
        ),
        (
            VIP,
            {"type": "http", "status": ["200-299"], "drain_status": [204, "206-207"]},
            "check.drain_status: 204, 206, 207 are in status too",
        ),
        (
            VIP,
            {"type": "tcp", "interval": 0.5, "fast_interval": 0.6},
            "check.fast_interval: 0.6 s are longer than the interval of 0.5 s",
        ),
    ],
)
def test_what_does_not_go_together(vip: Any, check: Any, sentence: str) -> None:
    assert faults(check, vip) == sentence


def test_all_faults_of_a_check_and_of_its_vip_at_once() -> None:
    entry = {
        **VIP,
        "address": "10.0.0",
        "check": {"type": "http", "path": "x", "status": [7], "fall": "x", "nope": 1},
        "announce": {"min_healthy": -1},
    }
    told = "; ".join(config_faults({"vips": [entry]}, ALL)).split("; ")
    assert {line.partition(":")[0] for line in told if line.startswith("vips")} == {
        "vips[0].address",
        "vips[0].check.path",
        "vips[0].check.status",
        "vips[0].check.fall",
        "vips[0].check.nope",
        "vips[0].announce.min_healthy",
    }


@pytest.mark.parametrize(
    ("announce", "sentence"),
    [
        ("yes", "yes is not a mapping"),
        (
            {"min_helthy": 1},
            ".min_helthy: there is no such option; there are enabled, min_healthy, communities, last_resort",
        ),
        ({"enabled": "perhaps"}, ".enabled: perhaps is neither true nor false"),
        ({"min_healthy": -1}, ".min_healthy: -1 is not a number of reals (0 to 65536)"),
        ({"min_healthy": True}, f".min_healthy: True is not a whole number: {TRUTH}"),
        ({"min_healthy": 1.5}, ".min_healthy: 1.5 is not a whole number"),
        ({"last_resort": "drop"}, ".last_resort: drop is none of keep, withdraw"),
        ({"communities": {}}, ".communities: {} is not a list"),
        (
            # YAML 1.1 makes it of 65001:30 without quotes.
            {"communities": [3900090]},
            (
                ".communities: 3900090 is a number: YAML reads 65001:30 without quotes as one of base 60;"
                " put quotes around it"
            ),
        ),
        *(
            (
                {"communities": [text]},
                f".communities: {text} is not a community (65001:80, or 65001:1:80 of a large one)",
            )
            for text in (
                "65001",
                "a:b",
                "65536:1",
                "1:65536",
                "1:2:4294967296",
                "1:2:3:4",
                "01:2",
                "no-export",
                "1:",
                "1: 2",
            )
        ),
        ({"communities": ["1:2", "1:2"]}, ".communities: 1:2 is listed twice"),
    ],
)
def test_announcements(announce: Any, sentence: str) -> None:
    found = config_faults({"vips": [{**VIP, "announce": announce}]}, ALL)
    assert found == [f"vips[0].announce{'' if sentence.startswith('.') else ': '}{sentence}"]
