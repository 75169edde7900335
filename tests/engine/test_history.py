# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of applied configurations on real maps, and the way back along it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.revert import Reverted, revert
from ansible_collections.katran.fleet.plugins.module_utils._kernel.history_files import HistoryFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.history import Entry
from ansible_collections.katran.fleet.tests.engine import host as on_host
from ansible_collections.katran.fleet.tests.engine import katran
from ansible_collections.katran.fleet.tests.engine.host import FEATURES, RESOURCES, SIZES, snapshot, world
from ansible_collections.katran.fleet.tests.engine.life import LINK, changed_sources, forwards, lead_out, pinned, wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox

Entries = list[dict[str, Any]]
HEAD = "int balancer(struct xdp_md *ctx)\n{"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        lead_out()
        yield


def by(run: str) -> str:
    return json.dumps({"run": run, "user": "jane", "revision": "abc123"})


def ensure(run: str, **options: Any) -> Result:
    options = {"sizes": SIZES, "features": FEATURES, **options}
    return Balancer("default", BPFFS, audit=by(run)).ensure(wanted(**options), False, 5)


def apply(run: str, resource: str, config: Entries, check: bool = False) -> Result:
    request = Request("default", BPFFS, 5, check, audit=by(run))
    return apply_resource(resource, request, Asked(config, "overridden", allow_empty=True))


def deploy(run: str, configurations: dict[str, Entries], **options: Any) -> None:
    ensure(run, **options)
    for resource in RESOURCES:
        if resource != "reals":
            apply(run, resource, configurations.get(resource, []))


def go_back(run: str | None = None, to: int | None = None, check: bool = False, by_run: str = "back") -> Reverted:
    return revert(Request("default", BPFFS, 5, check, audit=by(by_run)), run, to)


def history() -> dict[int, Entry]:
    files = HistoryFiles(StateFile("default", BPFFS))
    return {number: files.read(number) for number in files.numbers()}


def other(configurations: dict[str, Entries]) -> dict[str, Entries]:
    """Another configuration: a VIP less, one more, other reals, fewer table entries."""
    added = on_host.vip("198.51.100.77", on_host.real("10.0.0.50"), on_host.real("10.0.0.2"))
    vips = [*configurations["vips"][1:], added]
    vips[0] = {**vips[0], "reals": [on_host.real("fc00::2", 1), on_host.real("fc00::7")]}
    return {
        "vips": vips,
        "source_routes": configurations["source_routes"][:1],
        "server_ids": [{"id": 7, "real": "10.0.0.50"}],
        "decap_destinations": [],
    }


def test_back_before_a_run_and_again() -> None:
    deploy("one", world())
    apply("person", "reals", [{"address": "10.0.0.1", "state": "draining"}])
    before, state = snapshot(), StateFile("default", BPFFS).read()
    deploy("two", other(world()))
    assert snapshot() != before
    found = history()
    assert [(number, entry.run, entry.kind) for number, entry in found.items()] == [
        (0, "", "before"),
        (1, "one", "applied"),
        (2, "person", "applied"),
        (3, "two", "applied"),
    ]
    assert [step.module for step in found[3].steps] == ["vips", "source_routes", "server_ids", "decap_destinations"]
    assert found[3].user == "jane"
    assert found[3].operations["ch_rings"] > 0

    predicted = go_back("two", check=True)
    assert predicted.to == 2
    assert list(history()) == [0, 1, 2, 3]
    done = go_back("two")
    assert (done.result.changes, done.result.operations) == (predicted.result.changes, predicted.result.operations)
    assert done.result.changed
    assert StateFile("default", BPFFS).read().vips == state.vips
    assert StateFile("default", BPFFS).read().overlay == state.overlay
    assert history()[4].kind == "revert"
    assert history()[4].to == 2

    again = go_back("two")
    assert not again.result.changed
    assert again.result.operations == {}
    assert list(history()) == [0, 1, 2, 3, 4]


def test_katran_history() -> None:
    katran.install()
    deploy("one", world())
    deploy("two", other(world()))
    listed = katran.katran("history")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert lines[0].split() == ["N", "WHEN", "WHO", "REVISION", "RUN", "WRITTEN", "SECONDS", "WHAT"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1", "0"]
    assert " jane  abc123 " in lines[1]
    assert "vip 198.51.100.1:80/tcp: removed and " in lines[1]
    assert lines[3].endswith("nothing was there")
    found = katran.told("history")
    assert [entry["run"] for entry in found["entries"]] == ["two", "one", ""]
    assert found["damaged"] == []

    shown = katran.katran("history", "show", "2")
    assert "run: two\n" in shown.stdout
    assert "  server id 7: 10.0.0.1 → 10.0.0.50\n" in shown.stdout

    same = katran.katran("history", "diff", "2")
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    differs = katran.katran("history", "diff", "1", "2")
    assert differs.returncode == 1, differs.stderr
    assert "# vip 198.51.100.1:80/tcp: removed\n" in differs.stdout
    assert "# server id 7: 10.0.0.1 → 10.0.0.50\n" in differs.stdout
    assert "--- server id 7 (1)\n+++ server id 7 (2)\n@@ -1,2 +1,2 @@\n id: 7\n-real: 10.0.0.1\n+real: 10.0.0.50\n" in (
        differs.stdout
    )
    # As they read backwards, and to programs.
    back = json.loads(katran.katran("history", "diff", "2", "1", "--json").stdout)
    assert "server id 7: 10.0.0.50 → 10.0.0.1" in back["lines"]
    assert {
        "name": "server id 7",
        "before": {"id": 7, "real": "10.0.0.50"},
        "after": {"id": 7, "real": "10.0.0.1"},
    } in (back["changes"]["server_ids"])
    missing = katran.katran("history", "diff", "9")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "there is no applied configuration 9 on this host: there are 0 to 2" in missing.stderr


def test_a_run_that_applied_nothing_here() -> None:
    deploy("one", world())
    done = go_back("never")
    assert done.to is None
    assert done.told == "run never applied nothing to this balancer: nothing is taken back (katran history)"
    assert not done.result.changed


def test_the_program_goes_back_with_its_vips() -> None:
    configurations = {"vips": [on_host.vip("198.51.100.1", on_host.real("10.0.0.1"), protocol="udp")]}
    deploy("one", configurations)
    first = pinned()
    assert forwards()
    line = "    if (ctx->ingress_ifindex == 99999) return XDP_PASS;"
    deploy("two", {"vips": []}, source_dir=changed_sources("upgraded", balancer_bpf_c=(HEAD, f"{HEAD}\n{line}\n")))
    assert pinned() != first
    predicted = go_back("two", check=True)
    done = go_back("two")
    assert (done.result.changes, done.result.operations) == (predicted.result.changes, predicted.result.operations)
    assert any(line.startswith("go back to the program") for line in done.result.changes)
    assert forwards()
    assert pinned() == first
    assert not go_back("two").result.changed


def test_before_the_first_run_there_was_nothing() -> None:
    deploy("one", world())
    done = go_back("one")
    assert done.to == 0
    assert StateFile("default", BPFFS).read().vips == []
    assert [line for line in done.warnings if "no balancer was there then" in line]
    assert not go_back("one").result.changed
