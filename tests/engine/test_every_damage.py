# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of every file of a host, spoiled in every way: each module, and the boot, end in a sentence or in order.

Modules run in this process and in check mode: one that ends otherwise than modules do ends the test.
"""

from __future__ import annotations

import copy
import gc
import importlib
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.katran.fleet.plugins.module_utils._engine import restore
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.tests.doses import some
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, run, sandbox
from ansible_collections.katran.fleet.tests.engine.test_damaged import DEPLOYED, LOOKING

STATE = Path(STATE_ROOT, "default")
ABSENT = ("balancer", "decap", "xdp_root", "healthcheck")
REAL = {"interfaces": ["real0"], "mss": 1400, "vips": ["198.51.100.77"]}
ARGUMENTS: dict[str, dict[str, Any]] = {**DEPLOYED, **LOOKING, "host": {"real": REAL}}
READERS = {
    "state.json": (
        "balancer", "vips", "reals", "source_routes", "server_ids", "decap_destinations", "balancer_info",
        "simulate_info", "flows_info",
    ),
    "source_routes.json": ("balancer", "source_routes", "balancer_info"),
    "server_ids.json": ("balancer", "server_ids", "balancer_info"),
    "decap_destinations.json": ("balancer", "decap_destinations", "balancer_info"),
    "decap.json": ("decap",),
    "root.json": ("xdp_root",),
    "healthcheck.json": ("healthcheck", "balancer_info"),
    "healthcheck_destinations.json": ("healthcheck", "healthcheck_destinations", "balancer_info"),
    "balancer.bytecode.json": ("balancer", "simulate_info"),
    "decap.bytecode.json": ("decap",),
    "root.bytecode.json": ("xdp_root",),
    "healthcheck.bytecode.json": ("healthcheck",),
    "../host.json": ("host",),
}  # fmt: skip
ARGUMENTS["flows_info"] = {}

JUNK: list[Any] = [None, True, -1, 2**64, 1e999, "", "\0", "/\ud800", "é" * 300, [], [1], {}, "DROP"]


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    """A host that has everything."""
    with sandbox("lb0", "real0", "root0", "probe0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        for name, arguments in DEPLOYED.items():
            module(name, arguments)["changed"]
        module("host", ARGUMENTS["host"])["changed"]
        # The history has a test of its own.
        assert set(READERS) >= {path.name for path in STATE.iterdir() if path.is_file()}
        yield


def answer(name: str, arguments: dict[str, Any]) -> str:
    """What a module says in check mode, here and now: its sentence where it fails, else nothing."""
    output = io.StringIO()
    main = importlib.import_module(f"ansible_collections.katran.fleet.plugins.modules.{name}").main
    given = {"_ansible_check_mode": True, "_ansible_diff": True, "gather": None, **arguments}
    given = {key: value for key, value in given.items() if value is not None}
    with patch_module_args(given), redirect_stdout(output), pytest.raises(SystemExit) as ended:
        main()
    # A module that ends leaves it off.
    gc.enable()
    found = json.loads(output.getvalue().splitlines()[-1])
    assert bool(ended.value.code) == bool(found.get("failed"))
    assert "exception" not in found, found
    said = str(found["msg"]) if found.get("failed") else ""
    assert "\n" not in said
    return said


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every field; of a list, its first item for all."""
    listed = list(enumerate(value[:1])) if isinstance(value, list) else []
    items = list(value.items()) if isinstance(value, dict) else listed
    return [where, *(place for key, item in items for place in places(item, (*where, key)))]


def spoiled(data: Any) -> Iterator[tuple[str, Any, bool]]:
    """What was done, and the data with one field otherwise: of another kind (then True), empty, gone, or twice."""
    for place in places(data):
        for junk in JUNK:
            found = copy.deepcopy(data)
            parent = found
            for key in place[:-1]:
                parent = parent[key]
            if not place:
                found = junk
            elif junk == "DROP":
                del parent[place[-1]]
            else:
                parent[place[-1]] = junk
            last = data
            for key in place:
                last = last[key]
            yield f"{'.'.join(map(str, place))} = {junk!r}", found, type(junk) is not type(last) and junk != "DROP"
        if isinstance(last, list) and last:
            found = copy.deepcopy(data)
            twice = found
            for key in place:
                twice = twice[key]
            twice.append(twice[0])
            yield f"{'.'.join(map(str, place))} twice", found, False


@pytest.mark.dosed
@pytest.mark.parametrize("name", READERS)
def test_a_module_ends_in_a_sentence(name: str) -> None:
    file = (STATE / name).resolve()
    whole = file.read_text(encoding="utf-8")
    told = 0
    try:
        for turn, (what, data, of_another_kind) in enumerate(some(list(spoiled(json.loads(whole))), 130)):
            file.write_text(json.dumps(data), encoding="ascii")
            readers = list(READERS[name])
            readers = [*readers[turn % len(readers) :], *readers[: turn % len(readers)]]
            refused = 0
            for each in readers:
                if refused == 2:
                    # What two of them refuse to read is read by the same reader for all.
                    break
                try:
                    said = answer(each, ARGUMENTS[each])
                    if each in ABSENT and ".bytecode" not in name:
                        answer(each, {"state": "absent"})
                except BaseException as error:
                    raise AssertionError(f"{name}: {what}: {each}: {error!r}") from error
                told += bool(said)
                refused += f"{file} is damaged" in said
                # What is of the right kind may be what somebody wanted, and is told by what it leads to.
                if said and (of_another_kind or "damaged" in said):
                    assert str(file) in said, (what, each, said)
    finally:
        file.write_text(whole, encoding="utf-8")
    if ".bytecode" not in name:
        assert told


@pytest.mark.dosed
@pytest.mark.parametrize("name", READERS)
def test_a_boot_ends_in_sentences(name: str) -> None:
    file = (STATE / name).resolve()
    before = {path: path.read_bytes() for path in (*STATE.iterdir(), file) if path.is_file()}
    try:
        every = list(spoiled(json.loads(before[file])))[:: 4 if "bytecode" in name else 9]
        for what, data, _of_another_kind in some(every, 25):
            file.write_text(json.dumps(data), encoding="ascii")
            errors = io.StringIO()
            try:
                with redirect_stderr(errors), redirect_stdout(io.StringIO()):
                    restore.main([])
            except BaseException as error:
                raise AssertionError(f"{name}: {what}: {error!r}") from error
            lines = errors.getvalue().splitlines()
            assert all(line.startswith("katran-restore: ") for line in lines), (what, lines)
            assert not any("unexpected" in line for line in lines), (what, lines)
            for path, content in before.items():
                path.write_bytes(content)
    finally:
        for path, content in before.items():
            path.write_bytes(content)
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            restore.main([])
