# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource modules as Ansible calls them, on a balancer in memory: foretell, do, do again, change, delete, fail."""

from __future__ import annotations

import importlib
import json
import os
import typing as t
from collections.abc import Callable, Mapping, Sequence

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.katran.fleet.plugins.module_utils._ansible import resource as glue
from ansible_collections.katran.fleet.plugins.module_utils._ansible.module import named
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows import purge_gone
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import (
    EngineError,
    PlanError,
    ProgramError,
    StateError,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host

MODULES = "ansible_collections.katran.fleet.plugins.modules"
Output = dict[str, t.Any]
Run = Callable[..., Output]

OTHER_REAL = {"address": "10.0.0.9"}
"""Takes new flows when the real of the entries does not."""
VIP = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}, OTHER_REAL]}
ENTRIES: dict[str, tuple[Output, Output]] = {
    "vips": (VIP, {**VIP, "reals": [{"address": "10.0.0.1", "weight": 0}, OTHER_REAL]}),
    "source_routes": (
        {"prefix": "192.0.2.0/24", "real": "10.0.0.1"},
        {"prefix": "192.0.2.0/24", "real": "10.0.0.2"},
    ),
    "server_ids": ({"id": 7, "real": "10.0.0.1"}, {"id": 7, "real": "10.0.0.2"}),
    "decap_destinations": ({"address": "192.0.2.9", "egress": True}, {"address": "192.0.2.9", "egress": False}),
    "reals": ({"address": "10.0.0.1", "state": "down"}, {"address": "10.0.0.1", "state": "draining"}),
}
"""Resource → an entry, and the same entry changed."""


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def purges() -> list[object]:
    """What each run was given to remove flows with."""
    return []


@pytest.fixture
def run(host: Host, purges: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module; its output, as Ansible reads it."""

    def apply_resource(name: str, request: Request, asked: Asked, *given: object) -> Result:
        assert request.instance == "default"
        purge, purge_down = given
        assert purge_down is (purge_gone if name in ("vips", "reals") else None)
        purges.append(purge)
        return host.run(name, asked.config, asked.state, asked.allow_empty, request.check)

    monkeypatch.setattr(glue, "apply_resource", apply_resource)

    def work(
        name: str, config: Sequence[Mapping[str, t.Any]] | None, *, check: bool = False, **options: t.Any
    ) -> Output:
        module = importlib.import_module(f"{MODULES}.{name}")
        arguments = {"_ansible_check_mode": check, "_ansible_diff": True, "config": config, **options}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            module.main()
        output: Output = json.loads(capsys.readouterr().out)
        assert output.get("failed", False) == bool(ended.value.code)
        assert "exception" not in output
        return output

    return work


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_foretell_do_do_again_change_delete(run: Run, host: Host, name: str) -> None:
    run("vips", [VIP])
    if name == "vips":
        run("vips", [], state="overridden", allow_empty=True)
    entry, other = ENTRIES[name]
    before = host.everything()

    foretold = run(name, [entry], check=True)
    assert foretold["changed"] is True
    assert host.everything() == before
    done = run(name, [entry])
    for word in ("changed", "before", "after", "changes", "operations", "diff"):
        assert done[word] == foretold[word]
    assert done["before"] == []
    assert done["after"][0].items() >= {key: value for key, value in entry.items() if key != "reals"}.items()
    assert set(done["timings"]) == {"validate", "read", "plan", "write"}

    for check in (True, False):
        again = run(name, [entry], check=check)
        assert (again["changed"], again["operations"], again["changes"]) == (False, {}, [])
        assert again["diff"] == []

    changed = run(name, [other])
    assert changed["changed"] is True
    assert changed["before"] == done["after"]
    assert len(changed["changes"]) == 1
    lines, shown = changed["diff"]
    assert lines == {"prepared": f"# {changed['changes'][0]}\n\n"}
    assert [shown["before"]] == changed["before"]
    assert [shown["after"]] == changed["after"]
    # The entry has the name that the line gives it.
    assert changed["changes"][0].startswith(f"{shown['before_header']}: ")
    assert shown["after_header"] == shown["before_header"]

    # What was read back, fed back.
    assert run(name, changed["after"], state="overridden")["changed"] is False

    keys = {"vips": ("address", "port", "protocol"), "source_routes": ("prefix",), "server_ids": ("id",)}
    key = {word: entry[word] for word in keys.get(name, ("address",))}
    deleted = run(name, [key], state="deleted")
    assert deleted["changed"] is True
    assert deleted["after"] == []
    assert run(name, [key], state="deleted")["changed"] is False
    if name not in ("vips", "reals"):
        assert host.everything()[0] == before[0]


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_flows_are_purged_where_that_is_asked_for(run: Run, purges: list[object], name: str) -> None:
    """Flows to whom are the engine's matter (tests/engine/test_purge.py); tables have none of their own."""
    run("vips", [VIP])
    purges.clear()
    entry = ENTRIES[name][0]
    if name not in ("vips", "reals"):
        assert "purge_flows" in run(name, [entry], purge_flows=True)["msg"]
        run(name, [entry])
        assert purges == [None]
        return
    for options in ({}, {"purge_flows": False}, {"purge_flows": True}):
        for check in (True, False):
            run(name, [entry], check=check, **options)
    assert purges == [None] * 4 + [purge_gone] * 2


@pytest.mark.parametrize(
    ("name", "config", "sentence"),
    [
        ("vips", [{**VIP, "address": "10.0.0"}], "vips[0].address: 10.0.0 is not an IP address"),
        ("reals", [{"address": "10.0.0.1"}], "reals[0].state: is missing"),
        (
            "source_routes",
            [{"prefix": "192.0.2.0"}],
            "source_routes[0].prefix: 192.0.2.0 is not a prefix (ADDRESS/LENGTH)",
        ),
        ("server_ids", [{"id": 0, "real": "10.0.0.1"}], "server_ids[0].id: 0 is not a server id (1 to 39)"),
        ("decap_destinations", [{"address": "::"}], "decap_destinations[0].address: :: is the unspecified address"),
    ],
)
def test_wrong_input(run: Run, host: Host, name: str, config: list[Output], sentence: str) -> None:
    before = host.everything()
    for check in (True, False):
        assert run(name, config, check=check)["msg"] == sentence
    assert host.everything() == before


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_nothing_given_is_nothing_removed(run: Run, host: Host, name: str) -> None:
    run("vips", [VIP])
    run(name, [ENTRIES[name][0]])
    before = host.everything()
    assert run(name, None)["changed"] is False
    assert run(name, None, state="replaced")["changed"] is False
    for state in ("overridden", "deleted"):
        assert "allow_empty: true" in run(name, None, state=state)["msg"]
    assert host.everything() == before
    assert run(name, [], state="overridden", allow_empty=True)["changed"] is True


def test_drift_is_in_the_diff(run: Run, host: Host) -> None:
    run("vips", [VIP])
    host.maps.delete("vip_map", list(host.maps.entries("vip_map")))
    output = run("vips", [VIP], check=True)
    line = "vip 198.51.100.1:443/tcp: missing in vip_map, repaired"
    assert (output["changed"], output["changes"], output["operations"]) == (
        True,
        [line],
        {"vip_index": 1, "vip_map": 1},
    )
    assert output["diff"] == [{"prepared": f"# {line}\n\n"}]


def test_a_warning_is_one_of_ansibles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ansible shows a module's warnings itself where its controller's half is imported too, as other tests do.
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning: said.append(warning))
    reals = [{"address": "10.0.0.1", "weight": 1}, {"address": "10.0.0.2", "weight": 2}]
    run("vips", [{**VIP, "hash": "maglev_v1", "reals": reals}])
    sentence = "vips[0].hash: maglev_v1 hardly shows unequal weights; maglev_v2 honours them"
    host = os.uname().nodename.partition(".")[0]
    assert said.count(f"{host}: {sentence}") == 1
    # Ansible tells a warning of two hosts once, and neither's name.
    assert named("old", "blue") == f"{host}, instance blue: old"


@pytest.mark.parametrize("name", sorted(ENTRIES))
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (EngineError("map vip_map: the kernel is busy (EBUSY)"), "map vip_map: the kernel is busy (EBUSY)"),
        (PlanError("sizes.reals: no room"), "sizes.reals: no room"),
        (ProgramError("not enough privilege"), "not enough privilege"),
        (StateError("state.json is damaged"), "state.json is damaged"),
        (OSError(1, "Operation not permitted"), "the kernel refused an operation: Operation not permitted"),
        (
            OSError(30, "Read-only file system", "/var/lib/f"),
            "the kernel refused an operation: Read-only file system (/var/lib/f)",
        ),
    ],
)
def test_a_failure_is_its_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, sentence: str
) -> None:
    def fail(*_arguments: object) -> Result:
        raise error

    monkeypatch.setattr(glue, "apply_resource", fail)
    assert run(name, [])["msg"] == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"instance": "Default"}, "instance: 'Default' must begin with a lower case letter or digit"),
        ({"bpffs": "sys/fs/bpf"}, "bpffs: sys/fs/bpf is not an absolute path"),
    ],
)
def test_where_a_balancer_cannot_be(run: Run, options: Output, sentence: str) -> None:
    assert run("vips", [VIP], **options)["msg"].startswith(sentence)


def test_an_option_that_is_none(run: Run) -> None:
    assert run("vips", [{**VIP, "weight": 1}])["msg"] == (
        "vips[0].weight: there is no such option; there are address, port, protocol, flags, hash, reals, down_reals,"
        " allow, deny, check, announce, quic_lb"
    )
    assert "value of state must be one of" in run("vips", [VIP], state="present")["msg"]
