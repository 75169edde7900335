# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever becomes of a file of ours, reading it ends in a sentence that names the file and the field."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import typing as t
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_record import HealthcheckRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.host_record import HostRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.table_rows import read_rows
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS, stored_vip

FOLDER = "/var/lib/katran-fleet/default"
ADOPT = "move it away, and the next run adopts what the kernel has"
ANEW = "move it away, and the next run of its module compiles it anew"
REMEDIES = {"decap.bytecode.json": ANEW, "host.json": "move it away, and the next run compares the host anew"}

PREVIOUS = {"source_digest": "aa", "tag": "bb", "settings": SETTINGS, "migrated": ""}
COMING = {
    "id": 7,
    "tag": "cc",
    "source_digest": "dd",
    "settings": SETTINGS,
    "interfaces": ["eth0"],
    "slot": {"path": "/sys/fs/bpf/array", "position": 1},
    "rings": {"192.0.2.1:80/tcp": ["a", "b"]},
    "moves": True,
    "previous": PREVIOUS,
    "rolled_back_from": None,
}
VERDICT = {
    "vip": "192.0.2.1:80/tcp",
    "real": "10.0.0.2",
    "state": "down",
    "since": "2026-01-01T00:00:00+00:00",
    "reason": "connection refused",
    "share": 100,
}
CHECK = {
    "type": "https",
    "path": "/healthz",
    "headers": {"X-Probe": "1"},
    "status": [200, "204-206"],
    "drain_status": [],
    "interval": 2.5,
    "fall": 2,
    "on_down": "keep",
}
ANNOUNCE = {"enabled": True, "min_healthy": 1, "communities": ["65001:80"], "last_resort": "withdraw"}
# ld_imm64 of map 0, then exit.
CODE = bytes.fromhex("1811000000000000 0000000000000000 9500000000000000".replace(" ", ""))

GOOD: dict[str, t.Any] = {
    "state.json": {
        "schema": 1,
        "instance": "default",
        "bpffs": "/sys/fs/bpf",
        "settings": SETTINGS,
        "program": {
            "tag": "bb",
            "source_digest": "aa",
            "interfaces": ["eth0"],
            "slot": None,
            "gateway_mac": "02:00:00:00:00:01",
            "generic": {"eth0": "no native mode"},
            "previous": PREVIOUS,
            "rolled_back_from": None,
            "next": COMING,
        },
        "vips": [
            stored_vip(
                *("192.0.2.1", "10.0.0.1", "10.0.0.2"),
                flags=["quic"],
                down_reals=["10.0.0.3"],
                allow=["198.18.0.0/15"],
                deny=["198.18.0.0/24", "198.18.7.0/24"],
                check=CHECK,
                announce=ANNOUNCE,
            ),
            stored_vip("2001:db8::/48", "fc00::1", port=0, protocol="udp", hash="maglev_v1"),
        ],
        "overlay": [{"address": "10.0.0.1", "state": "draining", "since": "2026-01-01T00:00:00+00:00", "fleet": True}],
        "ended_words": [{"address": "10.0.0.2", "since": "2026-01-01T00:00:00.000+00:00"}],
        "verdicts": [VERDICT],
        "references": {"server_ids": ["10.0.0.9"]},
        "real_ids": {"first": 1, "assigned": {"10.0.0.1": 3, "10.0.0.2": 4}, "quarantine": [7, 8]},
        "vip_numbers": {"first": 0, "assigned": {"192.0.2.1:80/tcp": 0}, "quarantine": []},
        "rings": {"192.0.2.1:80/tcp": ["a", "b"]},
        "learned": ["192.0.2.1:80/tcp", "[2001:db8::/48]:0/udp"],
        "learning": [],
        "interrupted": ["vips"],
        "recovered": False,
    },
    "source_routes.json": [
        {"prefix": "192.0.2.0/24", "real": "10.0.0.1"},
        {"prefix": "2001:db8::/48", "real": "fc00::1"},
    ],
    "server_ids.json": [{"id": 1, "real": "10.0.0.1"}, {"id": 2, "real": "10.0.0.1"}],
    "decap_destinations.json": [{"address": "192.0.2.1", "egress": False}, {"address": "fc00::9", "egress": True}],
    "healthcheck_destinations.json": [{"mark": 1, "real": "10.0.0.1"}, {"mark": 2, "real": "fc00::1"}],
    "decap.json": {
        "bpffs": "/sys/fs/bpf",
        "source_digest": "aa",
        "tag": "bb",
        "interfaces": ["eth0"],
        "mode": "native",
        "loopback": ["192.0.2.1"],
        "settings": {
            "vips": ["192.0.2.1"],
            "sources": [],
            "server_id": 0,
            "loopback": ["192.0.2.1"],
            "gue_port": 6080,
            "gue_port_before": 0,
            "source_dir": "/usr/lib/katran-fleet/bpf",
            "how": "auto",
            "firewall": True,
        },
        "way": "kernel",
        "why": "it was asked for",
        "qdiscs": ["eth0"],
        "tunnels": ["katran-ipip"],
        "accepts": ["inet filter input"],
    },
    "root.json": {
        "bpffs": "/sys/fs/bpf",
        "source_digest": "aa",
        "tag": "bb",
        "interfaces": ["eth0"],
        "mode": "generic",
    },
    "healthcheck.json": {
        "bpffs": "/sys/fs/bpf",
        "source_digest": "aa",
        "tag": "bb",
        "interfaces": ["eth0"],
        "qdiscs": ["eth0"],
        "source_dir": "/usr/lib/katran-fleet/bpf",
        "settings": {
            "source_ipv4": "192.0.2.7",
            "source_ipv6": "",
            "source_mac": "02:00:00:00:00:01",
            "gateway_mac": "02:00:00:00:00:02",
        },
        "options": {
            "interface": "eth0",
            "encapsulation": "gue",
            "gue_port": 6080,
            "source_ipv4": "auto",
            "source_ipv6": "auto",
            "source_mac": "auto",
            "gateway_mac": "auto",
            "max_frame": 1514,
            "counted_vips": [{"address": "192.0.2.1", "port": 80, "protocol": "tcp"}],
        },
    },
    "host.json": {
        "schema": 1,
        "real": {"interfaces": ["eth0"], "mtu": 1600, "mss": 0, "vips": ["192.0.2.1", "2001:db8::1"]},
        "before": {"net/ipv4/conf/all/arp_ignore": "0", "eth0": "1500"},
    },
    "decap.bytecode.json": {
        "schema": 1,
        "program": "decap",
        "maps": ["decap_vips"],
        "digest": "aa",
        "compile_seconds": 0.5,
        "instructions": base64.b64encode(CODE).decode(),
    },
}

READERS: Mapping[str, Callable[[str, str], object]] = {
    "state.json": State.from_json,
    "source_routes.json": lambda text, path: read_rows(TABLES["source_routes"], text, path),
    "server_ids.json": lambda text, path: read_rows(TABLES["server_ids"], text, path),
    "decap_destinations.json": lambda text, path: read_rows(TABLES["decap_destinations"], text, path),
    "healthcheck_destinations.json": lambda text, path: read_rows(TABLES["healthcheck_destinations"], text, path),
    "decap.json": DecapRecord.from_json,
    "root.json": RootRecord.from_json,
    "healthcheck.json": HealthcheckRecord.from_json,
    "host.json": HostRecord.from_json,
    "decap.bytecode.json": lambda text, path: Bytecode.from_json(text, path, "decap"),
}


def read(name: str, text: str) -> object:
    return READERS[name](text, f"{FOLDER}/{name}")


class Gone:
    """In place of a value: the field is not there."""


def changed(name: str, field: str, value: t.Any) -> str:
    """The text of a good file in which one field has another value; fields are separated by slashes."""
    data = copy.deepcopy(GOOD[name])
    *parents, last = [int(word) if word.isdigit() else word for word in field.split("/")]
    place = data
    for word in parents:
        place = place[word]
    if value is Gone:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


S, D, H, B = "state.json", "decap.json", "healthcheck.json", "decap.bytecode.json"
HOST = "host.json"
REAL = {"address": "10.0.0.1", "weight": 1, "state": "active", "local": False}

DAMAGES: list[tuple[str, str, t.Any, str]] = [
    # Of state.json: types, nulls, wrong nesting.
    (S, "schema", None, "schema: null is not 1"),
    (S, "schema", Gone, "schema: null is not 1"),
    (S, "schema", "1", 'schema: "1" is not 1'),
    (S, "instance", 5, "instance: 5 is not a text"),
    (S, "bpffs", Gone, "bpffs: is missing"),
    (S, "settings", None, "settings: null is not a mapping"),
    (S, "settings", [], "settings: [] is not a mapping"),
    (S, "settings/udp_timeout", Gone, "settings.udp_timeout: is missing"),
    (S, "settings/udp_timeout", "30", 'settings.udp_timeout: "30" is not a whole number of 1 to 4294967295'),
    (S, "settings/udp_timeout", 90000, "settings.udp_timeout: 90000 is not in 1 to 86400"),
    (S, "settings/copy_tos", 1, "settings.copy_tos: 1 is neither true nor false"),
    (S, "settings/interfaces", "eth0", 'settings.interfaces: "eth0" is not a list'),
    (S, "settings/interfaces", ["a", "a"], "settings.interfaces[1]: a is listed twice"),
    (S, "settings/interfaces", ["no/name"], "settings.interfaces[0]: 'no/name' is not the name of an interface"),
    (S, "settings/features", ["wings"], "settings.features: wings is none of"),
    (S, "settings/mode", "fast", "settings.mode: fast is none of native, generic, auto"),
    (S, "settings/state", "absent", 'settings.state: "absent" is none of attached, loaded'),
    (S, "settings/sizes", {}, "settings.sizes.vips: is missing"),
    (S, "settings/sizes/ring", 65536, "settings.sizes.ring: 65536 is not a prime"),
    (S, "settings/sizes/vips", True, "settings.sizes.vips: true is not a whole number"),
    (S, "settings/gateway_mac", "02:00", "settings.gateway_mac: 02:00 is neither auto nor a unicast MAC address"),
    (S, "settings/source_prefix_ipv4", "172.16.0.0/12", "settings.source_prefix_ipv4: 172.16.0.0/12 is not an IPv4"),
    (S, "settings/forwarding_cores", "all", 'settings.forwarding_cores: "all" is not a list'),
    (S, "settings/forwarding_cores", [4000], "settings.forwarding_cores: 4000 is not a CPU"),
    (S, "settings/root_array", {"path": "/x"}, "settings.root_array.position: is missing"),
    (S, "program", [1], "program: [1] is not a mapping"),
    (S, "program/tag", 1, "program.tag: 1 is not a text"),
    (S, "program/interfaces", None, "program.interfaces: null is not a list"),
    (S, "program/slot", [1], "program.slot: [1] is not a mapping"),
    (S, "program/slot", {"path": "/x", "position": 3}, "program.slot.position: 3 is not a whole number of 0 to 2"),
    (S, "program/gateway_mac", "x", 'program.gateway_mac: "x" is not a MAC address'),
    (S, "program/generic", {"eth0": None}, "program.generic.eth0: null is not a text"),
    (S, "program/previous", "bb", 'program.previous: "bb" is not a mapping'),
    (S, "program/previous/settings", {}, "program.previous.settings.state: is missing"),
    (S, "program/previous/migrated", None, "program.previous.migrated: null is not a text"),
    (S, "program/next", {}, "program.next.id: is missing"),
    (S, "program/next/id", 0, "program.next.id: 0 is not a whole number"),
    (S, "program/next/moves", "yes", 'program.next.moves: "yes" is neither true nor false'),
    (S, "program/next/rings", {"a": ["x"]}, "program.next.rings.a: 1 digests, not 2"),
    (S, "vips", None, "vips: null is not a list"),
    (S, "vips", {}, "vips: {} is not a list"),
    (S, "vips/0", "192.0.2.1", 'vips[0]: "192.0.2.1" is not a mapping'),
    (S, "vips/0/address", "192.0.2", "vips[0].address: 192.0.2 is neither an IP address nor a prefix"),
    (S, "vips/1/address", "2001:db8::1/48", "vips[1].address: 2001:db8::1/48 is neither an IP address nor a prefix"),
    (S, "vips/0/port", 65536, "vips[0].port: 65536 is not a whole number of 0 to 65535"),
    (S, "vips/0/protocol", "sctp", 'vips[0].protocol: "sctp" is none of tcp, udp'),
    (S, "vips/0/flags", ["fast"], 'vips[0].flags[0]: "fast" is none of'),
    (S, "vips/0/flags", "quic", 'vips[0].flags: "quic" is not a list'),
    (S, "vips/0/hash", None, "vips[0].hash: null is none of maglev_v2, maglev_v1"),
    (S, "vips/0/reals", Gone, "vips[0].reals: is missing"),
    (S, "vips/0/reals", {"10.0.0.1": 1}, 'vips[0].reals: {"10.0.0.1": 1} is not a list'),
    (S, "vips/0/reals/1", ["10.0.0.1"], 'vips[0].reals[1]: ["10.0.0.1"] is not a mapping'),
    (S, "vips/0/reals/1/weight", Gone, "vips[0].reals[1].weight: is missing"),
    (S, "vips/0/reals/1/weight", 10001, "vips[0].reals[1].weight: 10001 is not a whole number of 0 to 10000"),
    (S, "vips/0/reals/1/weight", 1.5, "vips[0].reals[1].weight: 1.5 is not a whole number"),
    (S, "vips/0/reals/1/state", "gone", 'vips[0].reals[1].state: "gone" is none of active, draining, down'),
    (S, "vips/0/reals/1/local", None, "vips[0].reals[1].local: null is neither true nor false"),
    (S, "vips/0/reals/1/address", "10.0.0.256", 'vips[0].reals[1].address: "10.0.0.256" is not an IP address'),
    (S, "vips/0/reals/1", REAL, "vips[0].reals[1]: 10.0.0.1 is listed twice"),
    (S, "vips/0/down_reals", ["x"], 'vips[0].down_reals[0]: "x" is not an IP address'),
    (S, "vips/1", stored_vip("192.0.2.1"), "vips[1]: 192.0.2.1, 80/tcp is listed twice"),
    (S, "vips/0/check", "tcp", 'vips[0].check: "tcp" is not a mapping'),
    (S, "vips/0/check", {}, "vips[0].check.type: is missing"),
    (S, "vips/0/check/type", "icmp", 'vips[0].check.type: "icmp" is none of tcp, tls, http'),
    (S, "vips/0/check/type", None, "vips[0].check.type: null is none of tcp, tls, http"),
    (S, "vips/0/check/path", "healthz", 'vips[0].check.path: "healthz" does not begin with /'),
    (S, "vips/0/check/path", 7, "vips[0].check.path: 7 is not a text"),
    (S, "vips/0/check/interval", 0.01, "vips[0].check.interval: 0.01 is not a number of seconds from 0.1 to 3600"),
    (S, "vips/0/check/interval", True, "vips[0].check.interval: True is not a number"),
    (S, "vips/0/check/interval", None, "vips[0].check.interval: None is not a number of seconds"),
    (S, "vips/0/check/fall", "2", "vips[0].check.fall: 2 is not a whole number (1 to 100)"),
    (S, "vips/0/check/fall", 2.5, "vips[0].check.fall: 2.5 is not a whole number (1 to 100)"),
    (S, "vips/0/check/headers", {"X": "a\r\nb"}, "vips[0].check.headers: the value of X has a line end in it"),
    (S, "vips/0/check/headers", [["X", "1"]], "vips[0].check.headers: [['X', '1']] is not a mapping"),
    (S, "vips/0/check/headers", {"X": 1}, 'vips[0].check.headers: {"X": 1} is not written as {"X": "1"}'),
    (S, "vips/0/check/status", ["200"], 'vips[0].check.status: ["200"] is not written as [200]'),
    (S, "vips/0/check/status", [600], "vips[0].check.status: 600 is neither a status"),
    (S, "vips/0/check/status", 200, "vips[0].check.status: 200 is not a list"),
    (S, "vips/0/check/payload", "ping", 'vips[0].check.payload: "ping" is not written as "hex:70696e67"'),
    (S, "vips/0/check/payload", "hex:7", "vips[0].check.payload: hex:7 is not hex:"),
    (S, "vips/0/announce", [], "vips[0].announce: [] is not a mapping"),
    (S, "vips/0/announce/min_healthy", -1, "vips[0].announce.min_healthy: -1 is not a number of reals"),
    (S, "vips/0/announce/communities", ["a"], "vips[0].announce.communities: a is not a community"),
    (S, "vips/0/announce/last_resort", "go", "vips[0].announce.last_resort: go is none of keep, withdraw"),
    (S, "overlay", None, "overlay: null is not a list"),
    (S, "overlay/0/state", "asleep", 'overlay[0].state: "asleep" is none of active, draining, down'),
    (S, "overlay/0/address", 1, "overlay[0].address: 1 is not a text"),
    (S, "overlay", [{"address": "10.0.0.1", "state": "down"}] * 2, "overlay[1]: 10.0.0.1 is listed twice"),
    (S, "verdicts", None, "verdicts: null is not a list"),
    (S, "verdicts/0/vip", "192.0.2.1", "verdicts[0].vip: 192.0.2.1 is not the name of a VIP"),
    (S, "verdicts/0/real", "web1", 'verdicts[0].real: "web1" is not an IP address'),
    (S, "verdicts/0/state", "asleep", 'verdicts[0].state: "asleep" is none of active, draining, down'),
    (S, "verdicts/0/share", 101, "verdicts[0].share: 101 is not a whole number of 0 to 100"),
    (S, "verdicts/0/reason", None, "verdicts[0].reason: null is not a text"),
    (S, "verdicts", [VERDICT] * 2, "verdicts[1]: 10.0.0.2 of 192.0.2.1:80/tcp is listed twice"),
    (S, "references", ["10.0.0.1"], 'references: ["10.0.0.1"] is not a mapping'),
    (S, "references/server_ids", ["x"], 'references.server_ids[0]: "x" is not an IP address'),
    (S, "real_ids", Gone, "real_ids: is missing"),
    (S, "real_ids/first", 0, "real_ids.first: 0 is not a whole number of 1 to 1"),
    (S, "real_ids/assigned/10.0.0.2", 3, "real_ids.assigned: 10.0.0.1 and 10.0.0.2 both have 3"),
    (S, "real_ids/assigned/10.0.0.2", 0, "real_ids.assigned.10.0.0.2: 0 is not a whole number of 1 to"),
    (S, "real_ids/assigned/10.0.0.2", "4", 'real_ids.assigned.10.0.0.2: "4" is not a whole number'),
    (S, "real_ids/assigned/10.0.0.2", 4096, "real_ids.assigned: 10.0.0.2 has 4096, but sizes.reals is 4096"),
    (S, "real_ids/assigned", {"x": 3}, 'real_ids.assigned: "x" is not an IP address'),
    (S, "vip_numbers/assigned", {"x": 3}, "vip_numbers.assigned: x is not the name of a VIP"),
    (S, "real_ids/quarantine", [0], "real_ids.quarantine[0]: 0 is not a whole number of 1 to"),
    (S, "real_ids/quarantine", [7, 7], "real_ids.quarantine[1]: 7 is listed twice"),
    (S, "vip_numbers/assigned", {"a": 1, "b": 1}, "vip_numbers.assigned: a and b both have 1"),
    (S, "vip_numbers/assigned", {"a": 512}, "vip_numbers.assigned: a has 512, but sizes.vips is 512"),
    (S, "vip_numbers/quarantine", None, "vip_numbers.quarantine: null is not a list"),
    (S, "rings", {"a": "b"}, 'rings.a: "b" is not a list'),
    (S, "rings", {"a": ["b", 1]}, "rings.a[1]: 1 is not a text"),
    (S, "learned", ["192.0.2.1"], "learned[0]: 192.0.2.1 is not the name of a VIP"),
    (S, "learning", ["[::]:x/tcp"], "learning[0]: [::]:x/tcp is not the name of a VIP"),
    (S, "interrupted", "vips", 'interrupted: "vips" is not a list'),
    (S, "recovered", None, "recovered: null is neither true nor false"),
    # What no path and no name of an interface can be.
    (S, "bpffs", "sys/fs/bpf", 'bpffs: "sys/fs/bpf" is not an absolute path'),
    (S, "bpffs", "/sys\0", 'bpffs: "/sys\\u0000" is not a text'),
    (S, "settings/source_dir", "", 'settings.source_dir: "" is not an absolute path'),
    (S, "program/interfaces", ["eth0\ud800"], 'program.interfaces[0]: "eth0\\ud800" is not a text'),
    (S, "program/interfaces", ["../eth0"], 'program.interfaces[0]: "../eth0" is not the name of an interface'),
    (S, "program/slot", {"path": "x", "position": 1}, 'program.slot.path: "x" is not an absolute path'),
    # Of the tables.
    ("source_routes.json", "0/prefix", "192.0.2.1/24", "[0].prefix: 192.0.2.1/24 has host bits set"),
    ("source_routes.json", "0/prefix", None, "[0].prefix: null is not a text"),
    ("source_routes.json", "1/prefix", "192.0.2.0/24", "[1].prefix: 192.0.2.0/24 is listed twice"),
    ("source_routes.json", "1/real", "fc00", '[1].real: "fc00" is not an IP address'),
    ("server_ids.json", "0", None, "[0]: null is not a mapping"),
    ("server_ids.json", "0/id", True, "[0].id: true is not a whole number"),
    ("server_ids.json", "1/id", 1 << 32, "[1].id: 4294967296 is not a whole number of 0 to 4294967295"),
    ("server_ids.json", "1/id", 1, "[1].id: 1 is listed twice"),
    ("server_ids.json", "1/real", Gone, "[1].real: is missing"),
    ("decap_destinations.json", "0/egress", 0, "[0].egress: 0 is neither true nor false"),
    ("decap_destinations.json", "0/address", ["a"], '[0].address: ["a"] is not a text'),
    ("decap_destinations.json", "1/address", "192.0.2.1", "[1].address: 192.0.2.1 is listed twice"),
    ("healthcheck_destinations.json", "0/mark", "1", '[0].mark: "1" is not a whole number'),
    ("healthcheck_destinations.json", "1/mark", 1, "[1].mark: 1 is listed twice"),
    ("healthcheck_destinations.json", "1/real", 7, "[1].real: 7 is not a text"),
    # Of the programs.
    (D, "bpffs", 1, "bpffs: 1 is not a text"),
    (D, "interfaces", {"eth0": 1}, 'interfaces: {"eth0": 1} is not a list'),
    (D, "mode", "auto", 'mode: "auto" is none of native, generic'),
    (D, "loopback", ["lo"], 'loopback[0]: "lo" is not an IP address'),
    (D, "settings", None, "settings: null is not a mapping"),
    (D, "settings/vips", Gone, "settings.vips: is missing"),
    (D, "settings/vips", ["192.0.2.1"] * 2, "settings.vips[1]: 192.0.2.1 is listed twice"),
    (D, "settings/gue_port", 0, "settings.gue_port: 0 is not a whole number of 1 to 65535"),
    (D, "settings/server_id", -1, "settings.server_id: -1 is not a whole number of 0 to"),
    ("root.json", "tag", ["bb"], 'tag: ["bb"] is not a text'),
    ("root.json", "mode", None, "mode: null is none of native, generic"),
    ("root.json", "interfaces", [None], "interfaces[0]: null is not a text"),
    (H, "qdiscs", 1, "qdiscs: 1 is not a list"),
    (H, "settings/gateway_mac", "x", 'settings.gateway_mac: "x" is not a MAC address'),
    (H, "settings/source_ipv4", 4, "settings.source_ipv4: 4 is not a text"),
    (H, "options/encapsulation", "vxlan", 'options.encapsulation: "vxlan" is none of ipip, gue'),
    (H, "options/max_frame", 100, "options.max_frame: 100 is not in 590 to 65535"),
    (H, "options/source_ipv6", "192.0.2.1", "options.source_ipv6: 192.0.2.1 is neither auto nor an IPv6 address"),
    (H, "options/counted_vips", [{}], "options.counted_vips[0].address: is missing"),
    (H, "options", [], "options: [] is not a mapping"),
    (D, "interfaces", ["eth0/../eth1"], 'interfaces[0]: "eth0/../eth1" is not the name of an interface'),
    (D, "bpffs", "", 'bpffs: "" is not an absolute path'),
    ("root.json", "interfaces", ["eth\0"], 'interfaces[0]: "eth\\u0000" is not a text'),
    (H, "qdiscs", ["a b"], 'qdiscs[0]: "a b" is not the name of an interface'),
    (H, "options/interface", "", 'options.interface: "" is not the name of an interface'),
    # Of a host's settings.
    (HOST, "schema", Gone, "schema: is missing"),
    (HOST, "schema", 2, "schema: 2 is not a whole number of 1 to 1"),
    (HOST, "real", [1], "real: [1] is not a mapping"),
    (HOST, "real/interfaces", ["../../etc"], 'real.interfaces[0]: "../../etc" is not the name of an interface'),
    (HOST, "real/interfaces", ["a", "a"], "real.interfaces[1]: a is listed twice"),
    (HOST, "real/mtu", None, "real.mtu: null is not a whole number of 0 to 65535"),
    (HOST, "real/mss", "1400", 'real.mss: "1400" is not a whole number of 0 to 65535'),
    (HOST, "real/vips", ["192.0.2"], 'real.vips[0]: "192.0.2" is not an IP address'),
    (HOST, "before", Gone, "before: is missing"),
    (HOST, "before/eth0", 1500, "before.eth0: 1500 is not a text"),
    (HOST, "before/eth0", "fast", "before.eth0: fast is not a whole number"),
    # Of bytecode.
    (B, "compile_seconds", float("inf"), "compile_seconds: Infinity is not a number"),
    (B, "schema", 2, "schema: 2 is not a whole number of 1 to 1"),
    (B, "program", "balancer", 'program: "balancer" is none of decap'),
    (B, "maps", [], "instructions: one refers to map 0 of 0"),
    (B, "maps", ["a", "a"], "maps[1]: a is listed twice"),
    (B, "digest", Gone, "digest: is missing"),
    (B, "compile_seconds", "fast", 'compile_seconds: "fast" is not a number'),
    (B, "instructions", "?", "instructions: it is not base64"),
    (B, "instructions", "AAAA", "instructions: 3 bytes are no whole number of instructions"),
    (B, "instructions", base64.b64encode(CODE[:8]).decode(), "instructions: the last one is cut off"),
]


def assert_told(name: str, text: str, fault: str) -> None:
    with pytest.raises(StateError) as caught:
        read(name, text)
    said = str(caught.value)
    assert said.startswith(f"{FOLDER}/{name} is damaged ({fault}")
    assert said.endswith(f"): {REMEDIES.get(name, ADOPT)}")
    assert "\n" not in said


@pytest.mark.parametrize(("name", "field", "value", "fault"), DAMAGES, ids=lambda each: str(each)[:40])
def test_a_damaged_file_is_told_by_its_field(name: str, field: str, value: t.Any, fault: str) -> None:
    assert_told(name, changed(name, field, value), fault)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_none_of_ours_is_told(name: str) -> None:
    whole = json.dumps(GOOD[name])
    for text in ("", "{", whole[:-1], whole[: len(whole) // 2], "\0", "[" * 100_000):
        assert_told(name, text, "")
    rows = isinstance(GOOD[name], list)
    for value, word in ((5, "5"), (None, "null"), ("x", '"x"'), ({} if rows else [1], "{}" if rows else "[1]")):
        assert_told(name, json.dumps(value), f"{word} is not a {'list' if rows else 'mapping'}")


def test_a_number_that_is_free_and_assigned_is_told_unless_a_run_has_not_ended() -> None:
    data = json.loads(changed(S, "real_ids/quarantine", [4, 7]))
    # A run that was killed had given it out again, and had still to clear what it had before.
    assert read(S, json.dumps(data))
    assert_told(S, json.dumps({**data, "interrupted": []}), "real_ids.quarantine: 4 is assigned as well")


def test_numbers_that_wait_may_be_larger_than_the_maps_are_by_now() -> None:
    assert read(S, changed(S, "real_ids/quarantine", [1 << 20]))


def test_another_schema_is_told() -> None:
    sentence = rf"^{FOLDER}/state\.json has schema 99, but this version of katran\.fleet reads schema 1$"
    with pytest.raises(StateError, match=sentence):
        read(S, changed(S, "schema", 99))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_is_read_and_written_as_it_was(name: str) -> None:
    found = read(name, json.dumps(GOOD[name]))
    if isinstance(found, list):
        assert found == GOOD[name]
        return
    written = found.to_json()  # type: ignore[attr-defined]
    assert read(name, written) == found
    data = json.loads(written)
    given_ = GOOD[name]
    # What is empty is left out.
    assert {key: value for key, value in data.items() if key != "program"} == {
        key: value for key, value in given_.items() if key != "program"
    }
    if name == S:
        program = {key: value for key, value in given_["program"].items() if value}
        assert data["program"] == program


@pytest.mark.parametrize("name", GOOD)
def test_keys_of_a_later_version_are_passed_over(name: str) -> None:
    def richer(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            # A mapping of any names takes no other.
            free = {"generic", "references", "rings", "assigned", "before", "headers"}
            return {key: each if key in free else richer(each) for key, each in value.items()} | {"invented": [1]}
        return [richer(each) for each in value] if isinstance(value, list) else value

    data = richer(GOOD[name])
    if name == S:
        data["settings"]["sizes"].pop("invented")
        for each in (data["program"]["previous"], data["program"]["next"], data["program"]["next"]["previous"]):
            each["settings"]["sizes"].pop("invented")
    read(name, json.dumps(data))


def test_what_earlier_versions_did_not_keep_may_be_missing() -> None:
    data = {key: GOOD[S][key] for key in ("schema", "instance", "bpffs", "real_ids", "vip_numbers", "settings")}
    data["settings"] = {key: value for key, value in SETTINGS.items() if key not in ("numa", "root_array")}
    state = State.from_json(json.dumps(data), S)
    assert (state.vips, state.program.tag, state.learned, state.recovered) == ([], None, [], False)
    assert DecapRecord.from_json("{}", D) == DecapRecord()


# The quick look and the thorough one agree.

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.sampled_from(["", "x", "10.0.0.1", "fc00::1", "192.0.2.0/24", "tcp", "down", "quic"]),
    st.just([]),
    st.just({}),
)


def places(value: t.Any, where: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    """Every field of a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, item in items for place in places(item, (*where, key)))]


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_damage_is_told_or_harmless(data: st.DataObject) -> None:
    """Nothing but a StateError comes of it; and where none does, what is read is as good as any."""
    name = data.draw(st.sampled_from(sorted(GOOD)))
    value = copy.deepcopy(GOOD[name])
    for _turn in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(value)))
        if not place:
            continue
        parent = value
        for key in place[:-1]:
            parent = parent[key]
        if data.draw(st.booleans()):
            parent[place[-1]] = data.draw(JUNK)
        else:
            del parent[place[-1]]
    text = json.dumps(value)
    with contextlib.suppress(StateError):
        found = read(name, text)
        assert not isinstance(found, State) or State.from_json(found.to_json(), S) == found
