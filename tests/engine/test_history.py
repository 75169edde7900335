# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of applied configurations on real maps, and the way back along it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.history_info import History
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.revert import Reverted, revert
from ansible_collections.katran.fleet.plugins.module_utils._kernel.history_files import HistoryFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.history import Entry
from ansible_collections.katran.fleet.plugins.module_utils._model.history_diff import difference
from ansible_collections.katran.fleet.tests.engine import host as on_host
from ansible_collections.katran.fleet.tests.engine import katran
from ansible_collections.katran.fleet.tests.engine.host import FEATURES, RESOURCES, SIZES, snapshot, world
from ansible_collections.katran.fleet.tests.engine.life import LINK, changed_sources, forwards, lead_out, pinned, wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox
from ansible_collections.katran.fleet.tests.engine.test_killed import kill_before

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


# What goes wrong


def one_vip(weight: int) -> Entries:
    return [on_host.vip("198.51.100.1", on_host.real("10.0.0.1"), on_host.real("10.0.0.2", weight), protocol="udp")]


def in_order() -> dict[int, Entry]:
    """Every entry can be read, nothing is left over, and the newest is what is applied."""
    found, folder = history(), Path(HistoryFiles(StateFile("default", BPFFS)).directory)
    names = {f"{number}.{name}" for number, entry in found.items() for name in ("json", *entry.files)}
    assert set(os.listdir(folder)) == names
    read = History("default")
    assert difference(read.configuration(max(found)), read.now()).lines == []
    return found


def test_a_run_that_is_killed_anywhere_is_in_the_history_once_the_next_has_run() -> None:
    ensure("setup")
    apply("base", "vips", one_vip(1))
    base, maps = StateFile("default", BPFFS).read().vips, snapshot()
    for step in range(1, 100):
        killed = kill_before(step, partial(apply, f"killed{step}", "vips", one_vip(2)))
        if step % 2 and killed:
            # Nothing came after it: what it did goes as well, and so does what it left in maps.
            go_back(f"killed{step}")
        else:
            apply(f"next{step}", "vips", one_vip(2))
            runs = [entry.run for entry in in_order().values()]
            assert f"killed{step}" in runs or f"next{step}" in runs
            # Whichever of the two it was: before that there was the other configuration.
            go_back(f"killed{step}" if f"killed{step}" in runs else f"next{step}")
            in_order()
        assert StateFile("default", BPFFS).read().vips == base
        assert snapshot() == maps
        if not killed:
            break
    assert step > 15
    assert len(history()) == 21


def test_a_way_back_that_is_killed_anywhere_goes_on() -> None:
    ensure("setup")
    apply("base", "vips", one_vip(1))
    apply("base", "server_ids", [{"id": 7, "real": "10.0.0.1"}])
    base = snapshot()
    for step in range(1, 100):
        apply(f"two{step}", "vips", one_vip(2))
        apply(f"two{step}", "server_ids", [])
        killed = kill_before(step, partial(go_back, f"two{step}"))
        go_back(f"two{step}")
        in_order()
        assert snapshot() == base
        if not killed:
            break
    assert step > 15
    again = go_back(f"two{step}")
    assert (again.result.changes, again.result.operations) == ([], {})


def test_twenty_are_kept_and_the_one_before() -> None:
    ensure("setup")
    for number in range(30):
        apply(f"run{number:02}", "vips", one_vip(number + 1))
    found = in_order()
    assert len(found) == 21
    assert found[max(found)].run == "run29"
    with pytest.raises(StateError, match=r"^what was before run run09 is no longer kept on this host"):
        go_back("run09")
    assert go_back("run10").result.changed
    assert StateFile("default", BPFFS).read().vips[0]["reals"][1]["weight"] == 10


def test_a_damaged_entry_is_a_sentence_and_the_others_are_there() -> None:
    katran.install()
    ensure("setup")
    for number in (1, 2, 3):
        apply(f"run{number}", "vips", one_vip(number))
    folder = Path(HistoryFiles(StateFile("default", BPFFS)).directory)
    for text in ("", "[" * 100000, '{"schema": 1}', json.dumps({"schema": 2}), "\udcff", "1" * 5000):
        (folder / "2.json").write_text(text, encoding="utf-8", errors="surrogateescape")
        listed = katran.katran("history")
        assert (listed.returncode, listed.stderr) == (1, "")
        assert [line.split()[0] for line in listed.stdout.splitlines()[1:-1]] == ["4", "3", "1", "0"]
        assert f"{folder}/2.json is damaged (" in listed.stdout.splitlines()[-1]
    with pytest.raises(StateError, match=r"/2\.json is damaged "):
        go_back("run2")
    assert go_back(to=1).result.changed
    # What is gone of an entry is told where it is asked for.
    (folder / "3.state.json").unlink()
    gone = katran.katran("history", "diff", "3")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert gone.stderr == (
        f"katran: {folder}/3.state.json is damaged (it is gone): it is left out; the other entries can be used\n"
    )
    with pytest.raises(StateError, match="it is gone"):
        go_back(to=3)
    # A run goes on, also where what a killed one wrote is damaged.
    (folder / "opening.json").write_text("{", encoding="ascii")
    done = apply("run4", "vips", one_vip(4))
    assert done.changed
    assert [line for line in done.warnings if "opening.json is damaged" in line]
    assert not (folder / "opening.json").exists()


def test_a_full_disk_is_a_warning() -> None:
    ensure("setup")
    folder = HistoryFiles(StateFile("default", BPFFS)).directory
    run("mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", folder)
    try:
        done = apply("full", "vips", one_vip(1))
    finally:
        run("umount", folder)
    assert done.changed
    assert [line for line in done.warnings if line.startswith("the history of balancer default is not complete: ")]
    assert apply("next", "vips", one_vip(2)).warnings == apply("next", "vips", one_vip(2)).warnings
    assert "next" in [entry.run for entry in history().values()]


def test_what_is_said_of_the_run_may_be_anything() -> None:
    ensure("setup")
    with journal() as entries:
        request = Request("default", BPFFS, 5, False, audit='{"run": "a\\nb", "user": "x\\n\\u001b[31mMESSAGE=y"}')
        done = apply_resource("vips", request, Asked(one_vip(1), "overridden"))
        assert "KATRAN_AUDIT: left out is what cannot be: run is not an id" in done.warnings[-1]
        apply_resource("vips", replace(request, audit="{" * 5000), Asked(one_vip(2), "overridden"))
        apply_resource("vips", replace(request, audit=by("fine")), Asked(one_vip(3), "overridden"))
    found = [entry.split(b"\n") for entry in entries]
    assert b"KATRAN_USER=x??[31mMESSAGE=y" in found[0]
    assert not [line for line in found[0] if line.startswith(b"KATRAN_RUN")]
    assert not [line for line in found[1] if line.startswith(b"KATRAN_USER")]
    assert {
        b"SYSLOG_IDENTIFIER=katran-fleet",
        b"KATRAN_INSTANCE=default",
        b"KATRAN_MODULE=vips",
        b"KATRAN_RUN=fine",
        b"KATRAN_USER=jane",
        b"KATRAN_REVISION=abc123",
        b"KATRAN_CHANGES=1",
        b"PRIORITY=5",
    } <= set(found[2])
    assert found[2][0] == (
        b"MESSAGE=balancer default: vips: vip 198.51.100.1:80/udp: weight of 10.0.0.2 2 \xe2\x86\x92 3"
        b" (by jane, run fine, revision abc123)"
    )
    assert [line for line in found[2] if line.startswith(b"KATRAN_OPERATIONS=ch_rings=")]


@contextmanager
def journal() -> Iterator[list[bytes]]:
    """What is told to the journal meanwhile."""
    os.makedirs("/run/systemd/journal", exist_ok=True)
    entries: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as source:
        source.bind("/run/systemd/journal/socket")
        source.setblocking(False)
        yield entries
        with suppress(BlockingIOError):
            while True:
                entries.append(source.recv(65536))


def test_nothing_of_it_stays_once_the_balancer_is_removed() -> None:
    deploy("one", world())
    with journal() as entries:
        Balancer("default", BPFFS, audit=by("end")).remove(False, 5)
    assert not Path("/var/lib/katran-fleet/default").exists()
    assert b"KATRAN_RUN=end" in entries[0].split(b"\n")
    assert len(entries) == 1


def test_runs_that_nobody_asks_for_are_not_recorded() -> None:
    deploy("one", world())
    before = list(history())
    assert not apply("two", "vips", world()["vips"]).changed
    assert apply("two", "vips", other(world())["vips"], check=True).changed
    # As at boot, and as checks do.
    on_host.apply("vips", other(world())["vips"])
    assert list(history()) == before
