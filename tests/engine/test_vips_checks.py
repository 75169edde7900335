# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and announcements of VIPs through the modules as Ansible runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    SIZES,
    STATE,
    Outcome,
    count_writes,
    module,
    module_here,
    real,
    snapshot,
    vip,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, sandbox

NAME = "vip 198.51.100.1:80/tcp"
REALS = (real("10.0.0.1"), real("10.0.0.2"))
HTTPS = {"type": "https", "path": "/healthz", "host": "www.example.net", "status": [200, 204], "interval": 2}
ANNOUNCE = {"min_healthy": 1, "communities": ["65001:80"]}


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        yield


@pytest.fixture(autouse=True)
def one_vip() -> None:
    assert vips(vip("198.51.100.1", *REALS), state="overridden").status == 0


def vips(*config: dict[str, Any], check: bool = False, **arguments: Any) -> Outcome:
    return module_here("vips", {"config": list(config), **arguments}, check=check)


def stored() -> list[dict[str, Any]]:
    found = json.loads(STATE.read_text(encoding="utf-8"))["vips"]
    assert isinstance(found, list)
    return found


def run_thrice(*config: dict[str, Any], **arguments: Any) -> list[str]:
    """What a run changes, which check mode foretold; the run after it changes nothing."""
    maps, kept = snapshot(), stored()
    foretold = vips(*config, check=True, **arguments)
    assert stored() == kept
    done = vips(*config, **arguments)
    for name in ("changed", "changes", "before", "after", "operations"):
        assert foretold[name] == done[name], name
    again = vips(*config, **arguments)
    assert (again["changed"], again["changes"], again["operations"]) == (False, [], {})
    # Checks are no packet's business.
    assert (done["operations"], snapshot()) == ({}, maps)
    found: list[str] = done["changes"]
    assert done["changed"] == bool(found)
    return [line.removeprefix(f"{NAME}: ") for line in found]


def test_a_check_comes_changes_and_goes() -> None:
    plain = vip("198.51.100.1", *REALS)
    assert run_thrice({**plain, "check": {"type": "tcp"}}) == ["check added: tcp every 1 s"]
    assert stored()[0]["check"] == {"type": "tcp"}
    assert run_thrice({**plain, "check": HTTPS, "announce": ANNOUNCE}) == [
        "check tcp every 1 s → https /healthz every 2 s",
        "announce added: from 1 of its reals on with 65001:80",
    ]
    # What is not mentioned stays, and a check is given whole.
    assert run_thrice(plain) == []
    assert run_thrice({**plain, "check": {"type": "https", "path": "/healthz", "host": "www.example.net"}}) == [
        "check https /healthz every 2 s → https /healthz every 1 s",
        "check status 200,204 → 200",
    ]
    assert run_thrice({**plain, "check": {}}) == ["check removed"]
    assert "check" not in stored()[0]
    assert run_thrice({**plain, "announce": {}}) == ["announce removed"]
    assert "announce" not in stored()[0]


@pytest.mark.parametrize("state", ["replaced", "overridden"])
def test_what_is_absent_is_none_where_entries_are_given_whole(state: str) -> None:
    plain = vip("198.51.100.1", *REALS)
    checked = {**plain, "check": {"type": "tcp"}, "announce": ANNOUNCE}
    assert len(run_thrice(checked, state=state)) == 2
    assert run_thrice(plain, state=state) == ["check removed", "announce removed"]


def test_what_a_host_tells_of_itself_changes_nothing_there() -> None:
    defaults = {"fall": 2, "min_healthy": 30, "path": "/up"}
    entry = {**vip("198.51.100.1", *REALS), "check": {"type": "http"}, "announce": ANNOUNCE}
    run_thrice(entry, state="overridden", check_defaults=defaults)
    assert stored()[0]["check"] == {"type": "http", "path": "/up", "fall": 2, "min_healthy": 30}
    info = module_here("balancer_info", {"gather": ["vips"]})["vips"]
    assert info == stored()
    assert run_thrice(*info, state="overridden") == []


def test_verdicts_and_checks_of_others_stay_when_a_check_changes() -> None:
    other = vip("198.51.100.2", *REALS)
    vips({**other, "check": HTTPS})
    run_thrice({**vip("198.51.100.1", *REALS), "check": {"type": "tcp"}})
    assert [entry.get("check", {}).get("type") for entry in stored()] == ["tcp", "https"]


def test_not_one_map_is_written_for_a_check(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    arguments = {"config": [{**vip("198.51.100.1"), "check": HTTPS}]}
    done = module("vips", arguments, prefix=("strace", "-f", "-qq", "-e", "trace=bpf", "-o", str(trace)))
    assert done["changed"]
    assert count_writes(trace) == 0


PREFIX = {**vip("203.0.113.0/24"), "check": {"type": "tcp"}}


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        ({"type": "icmp"}, "vips[0].check.type: icmp is none of tcp, tls, http, https, udp, dns, external"),
        ({"type": "tcp", "intervall": 1}, "vips[0].check.intervall: there is no such option; did you mean interval?"),
        ({"type": "tcp", "path": "/"}, "vips[0].check.path: means nothing for type tcp, only for http and https"),
        ({"interval": 1}, "vips[0].check.type: is missing; it is one of tcp, tls, http, https, udp, dns, external"),
        ({"type": "http", "path": "healthz"}, 'vips[0].check.path: "healthz" does not begin with /'),
        (
            {"type": "http", "status": [200, 600]},
            "vips[0].check.status: 600 is neither a status (100 to 599) nor a range such as 200-299",
        ),
        ({"type": "tcp", "interval": 0.05}, "vips[0].check.interval: 0.05 is not a number of seconds from 0.1 to 3600"),
        ({"type": "tcp", "interval": "nan"}, "vips[0].check.interval: nan is not a number of seconds from 0.1 to 3600"),
        (
            {"type": "tcp", "interval": True},
            (
                "vips[0].check.interval: True is not a number: YAML reads yes, no, on and off without quotes as truth"
                " values"
            ),
        ),
        ({"type": "tcp", "fall": "x"}, "vips[0].check.fall: x is not a whole number"),
        ({"type": "tcp", "min_healthy": 101}, "vips[0].check.min_healthy: 101 is not a per cent (0 to 100)"),
        (
            {"type": "http", "headers": {"X": "a\r\nY: b"}},
            ("vips[0].check.headers: the value of X has a line end in it, behind which there would be another header"),
        ),
        ({"type": "dns"}, "vips[0].check.query: is missing: a dns check asks for the name of a domain"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_check_that_is_none_changes_nothing(check: Any, sentence: str, check_mode: bool) -> None:
    kept = STATE.read_text(encoding="utf-8")
    assert vips({**vip("198.51.100.1"), "check": check}, check=check_mode).msg == sentence
    assert STATE.read_text(encoding="utf-8") == kept


@pytest.mark.parametrize(
    ("config", "arguments", "sentence"),
    [
        ([PREFIX], {}, "vips[0].check: needs address, the one in 203.0.113.0/24 to which probes go"),
        (
            [vip("198.51.100.1")],
            {"check_defaults": {"fal": 1}},
            "check_defaults.fal: there is no such option; did you mean fall?",
        ),
        (
            [{**vip("198.51.100.1", *REALS), "check": {"type": "tcp", "interval": 0.1}}],
            {"max_probes": 19},
            (
                "vips: the checks of 2 services at reals make 20 probes a second, but max_probes is 19: give them a"
                " longer interval"
            ),
        ),
        ([vip("198.51.100.1")], {"max_probes": 0}, "max_probes: 0 is not a number of probes a second (1 to 100000)"),
        (
            [{**vip("198.51.100.1"), "announce": {"communities": ["65536:1"]}}],
            {},
            "vips[0].announce.communities: 65536:1 is not a community (65001:80, or 65001:1:80 of a large one)",
        ),
    ],
)
def test_what_else_is_refused(config: Any, arguments: Any, sentence: str) -> None:
    kept = STATE.read_text(encoding="utf-8")
    assert vips(*config, **arguments).msg == sentence
    assert STATE.read_text(encoding="utf-8") == kept


def test_a_damaged_state_is_a_sentence() -> None:
    vips({**vip("198.51.100.1"), "check": {"type": "tcp"}})
    kept = STATE.read_text(encoding="utf-8")
    broken = json.loads(kept)
    broken["vips"][0]["check"]["interval"] = 0
    try:
        STATE.write_text(json.dumps(broken), encoding="utf-8")
        told = vips(vip("198.51.100.1")).msg
    finally:
        STATE.write_text(kept, encoding="utf-8")
    assert "vips[0].check.interval: 0 is not a number of seconds from 0.1 to 3600" in told
    assert "state.json is damaged" in told
