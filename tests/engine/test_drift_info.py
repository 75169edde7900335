# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module drift_info on a kernel: whatever somebody changed is told, with its entry, and nothing is written."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._ansible.drift import Drift
from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import clear_drain, set_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.drift import route_findings
from ansible_collections.katran.fleet.plugins.module_utils._kernel.durable import write_durably
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    MAPS,
    SIZES,
    STATE,
    apply_all,
    bpftool,
    count_writes,
    drop,
    module,
    put,
    snapshot,
    world,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    GATEWAY,
    compiled_once,
    ensure_balancer,
    put_other,
    request,
    run,
    sandbox,
)

LINK = "lb0"
PROGRAM = {
    "interfaces": [LINK],
    "features": FEATURES,
    "sizes": SIZES,
    "source_ipv4": "192.0.2.250",
    "source_ipv6": "2001:db8:2::250",
    "gateway_mac": GATEWAY,
    "max_new_flows": 125000,
    "source_dir": BPF,
}
Found = list[tuple[str, str, str]]


def asked(**other: Any) -> list[dict[str, Any]]:
    """What a deploy of the world applies, or another configuration of some resource."""
    resources: dict[str, Any] = {**world(), **other}
    del resources["reals"]
    program = {**PROGRAM, **resources.pop("balancer", {})}
    # The laboratory's VIPs are few: what is empty is meant.
    more = {"state": "overridden", "allow_empty": True}
    applied = [{"module": name, "options": {"config": config, **more}} for name, config in resources.items()]
    return [{"module": "balancer", "options": program}, *applied]


def drift(applied: list[dict[str, Any]] | None = None, timeout: int = 5) -> dict[str, Any]:
    applied = asked() if applied is None else applied
    for task in applied:
        task["options"] = {"bpffs": BPFFS, "lock_timeout": timeout, **task["options"]}
    return Drift({"instance": "default", "bpffs": BPFFS, "lock_timeout": timeout, "applied": applied}).found()


def said(told: dict[str, Any]) -> Found:
    return [(each["area"], each["kind"], each["what"]) for each in told["findings"]]


def prepare() -> None:
    ensure_balancer("attached", interfaces=[LINK], features=FEATURES, sizes=SIZES)
    apply_all(world())


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        prepare()
        yield


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    run("ip", "link", "set", LINK, "xdp", "off")
    prepare()


def everything() -> dict[str, Any]:
    """What is on the host: maps, and of each file its content, mode and times."""
    found: dict[str, Any] = {"maps": snapshot(), "xdp": run("ip", "-d", "link", "show", LINK)}
    for top in ("/var/lib", "/run", BPFFS, "/usr/lib/katran-fleet", "/etc/bird", "/etc/systemd/system"):
        for folder, _folders, names in os.walk(top):
            for name in (".", *names):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                text = Path(path).read_bytes() if Path(path).is_file() and not path.startswith(BPFFS) else b""
                found[path] = status.st_mode, status.st_mtime_ns, status.st_ctime_ns, text
    return found


def test_a_host_as_it_was_left_has_none() -> None:
    told = drift()
    assert told["findings"] == []
    assert told["compared"]["program"]["tag"] == json.loads(STATE.read_text())["program"]["tag"]
    assert set(told["compared"]["rings"]) == set(told["compared"]["configured"])
    # The two VIPs of the same reals are told apart from the others, and have digests by addresses.
    assert all(told["compared"]["rings"].values())


def test_nothing_is_written(tmp_path: Path) -> None:
    """By the module itself, in a process of its own: not a map, not a file, nor a time of one, nor a lock."""
    drop("vip_addresses", layout.pack_address("198.51.100.1"))
    lock = Path(LOCK_ROOT, "default.lock")
    lock.unlink()
    before = everything()
    arguments = {"bpffs": BPFFS, "lock_timeout": 5, "applied": asked()}
    for task in arguments["applied"]:
        task["options"]["bpffs"] = BPFFS
    trace = tmp_path / "trace"
    outcome = module("drift_info", arguments, prefix=("strace", "-f", "-qq", "-e", "trace=bpf", "-o", str(trace)))
    assert outcome["changed"] is False
    assert [each["area"] for each in outcome["findings"]] == ["vips"]
    assert "applied" not in json.dumps(outcome.result.get("invocation"))
    assert not count_writes(trace)
    assert everything() == before
    assert not lock.exists()


def first_key(name: str) -> bytes:
    rows = json.loads(bpftool("-j", "map", "dump", "pinned", f"{MAPS}/{name}"))
    return bytes(int(byte, 16) for byte in rows[0]["key"])


def change_flags() -> None:
    key = first_key("vip_map")
    rows = json.loads(bpftool("-j", "map", "lookup", "pinned", f"{MAPS}/vip_map", "key", "hex", *key.hex(" ").split()))
    flags, number = struct.unpack("=II", bytes(int(byte, 16) for byte in rows["value"]))
    put("vip_map", key, struct.pack("=II", flags ^ 1, number))


def change_state() -> None:
    state = json.loads(STATE.read_text())
    state["settings"]["max_new_flows"] = 7
    write_durably(str(STATE), json.dumps(state))


def replace_program() -> None:
    run("ip", "link", "set", LINK, "xdp", "off")
    put_other(LINK)


PLANTS: list[tuple[Callable[[], object], str, str, str]] = [
    (lambda: drop("vip_map", first_key("vip_map")), "vips", "changed", "missing in vip_map"),
    (change_flags, "vips", "changed", "changed in vip_map"),
    (
        lambda: put("vip_map", layout.vip_definition(layout.pack_address("203.0.113.7"), 1, 6), layout.vip_meta(0, 9)),
        "vips",
        "changed",
        "203.0.113.7:1/tcp: not ours, and in vip_map",
    ),
    (lambda: put("ch_rings", layout.u32(SIZES["ring"] + 3), layout.u32(5)), "vips", "changed", "1 ring slots changed"),
    (lambda: put("reals", layout.u32(1), b"\x0a\1\1\1" + bytes(16)), "vips", "changed", "changed in reals"),
    (lambda: drop("src_filter_v4", first_key("src_filter_v4")), "vips", "changed", "missing in src_filter_v4"),
    (lambda: drop("lpm_src_v4", first_key("lpm_src_v4")), "source_routes", "changed", "missing in lpm_src_v4"),
    (lambda: put("server_id_map", layout.u32(7), layout.u32(9)), "server_ids", "changed", "changed in server_id_map"),
    (lambda: drop("decap_dst", first_key("decap_dst")), "decap_destinations", "changed", "missing in decap_dst"),
    (lambda: os.unlink(f"{MAPS}/lpm_src_v6"), "balancer", "changed", "would: pin lpm_src_v6 again"),
    (lambda: run("ip", "link", "set", LINK, "xdp", "off"), "balancer", "changed", f"would: attach to {LINK}"),
    (replace_program, "balancer", "changed", "already has an XDP program that is not ours"),
    (change_state, "balancer", "ahead", "max_new_flows: 7 on the host, 125000 in the inventory"),
]


@pytest.mark.parametrize(("plant", "area", "kind", "what"), PLANTS, ids=[each[3] for each in PLANTS])
def test_what_somebody_changes_is_told(plant: Callable[[], object], area: str, kind: str, what: str) -> None:
    plant()
    told = drift()
    mine = [each for each in told["findings"] if (each["area"], each["kind"]) == (area, kind) and what in each["what"]]
    assert mine, said(told)
    # Of what the last run wrote nothing can be older than the state that it left; of a pin, its folder knows.
    if kind == "changed" and plant is not replace_program:
        assert all(each["since"]["at"] or each["since"]["after"] for each in mine)


def test_an_inventory_that_is_ahead_is_nobodys_doing() -> None:
    changed = world()["vips"]
    changed[0] = {**changed[0], "reals": [{"address": "10.0.0.1", "weight": 5}, {"address": "10.0.0.2", "weight": 2}]}
    routes = [*world()["source_routes"], {"prefix": "192.0.2.128/25", "real": "10.0.0.6"}]
    told = drift(asked(vips=changed, source_routes=routes, balancer={"max_new_flows": 99}))
    assert {(area, kind) for area, kind, _what in said(told)} == {
        ("vips", "ahead"),
        ("source_routes", "ahead"),
        ("balancer", "ahead"),
    }
    assert any("weight of 10.0.0.1 1 → 5" in what for _area, _kind, what in said(told))


def test_a_persons_word_is_no_drift() -> None:
    apply_all({**world(), "reals": [{"address": "10.0.0.2", "state": "draining"}]})
    told = drift()
    assert told["findings"] == []
    assert any(note.startswith("real 10.0.0.2 is draining by hand since ") for note in told["notes"])
    assert told["compared"]["words"] == {"198.51.100.1:80/tcp": ["by hand"]}


def test_a_drain_of_the_balancer_is_no_drift() -> None:
    for withdraw, what in ((False, "traffic is asked to leave"), (True, "its routes are withdrawn")):
        set_drain(request(), "anna", withdraw)
        told = drift()
        assert told["findings"] == []
        (note,) = [each for each in told["notes"] if "drained" in each]
        assert note.startswith("balancer default is drained by anna since 20")
        assert note.endswith(f": {what} (katran undrain ends it)")
    clear_drain(request())
    assert not [note for note in drift()["notes"] if "drained" in note]


def test_rings_are_told_by_addresses_not_by_ids() -> None:
    before = drift()["compared"]["rings"]
    apply_all({})
    # Other ids for the same reals, as another balancer may have given out.
    apply_all({"source_routes": [{"prefix": "198.18.0.0/24", "real": "10.0.0.99"}]})
    apply_all(world())
    assert drift()["compared"]["rings"] == before


def test_who_has_the_lock_is_named_and_the_rest_is_compared() -> None:
    Path(LOCK_ROOT).mkdir(exist_ok=True)
    with open(os.path.join(LOCK_ROOT, "default.lock"), "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        # That of routes is not asked for: the kernel's table is compared all the same.
        told = drift([{"module": "vips", "options": {"config": world()["vips"], "state": "overridden"}}], timeout=0)
        assert time.monotonic() - began < 2
    [(area, kind, what)] = said(told)
    assert (area, kind) == ("vips", "unknown")
    assert "is locked by another run" in what


def test_a_damaged_state_is_a_finding() -> None:
    kept = STATE.read_text()
    write_durably(str(STATE), kept[:-20])
    try:
        told = drift()
    finally:
        write_durably(str(STATE), kept)
    assert {kind for _area, kind, _what in said(told)} == {"unknown"}
    assert all("state.json" in what for _area, _kind, what in said(told))


def test_stray_and_lost_routes() -> None:
    run("ip", "link", "set", "lo", "up")
    folder = Path(LOCK_ROOT, "default")
    folder.mkdir(mode=0o700)
    ready = {"metric": 1, "reasons": [], "since": 1.0, "vips": ["198.51.100.1:80/tcp"]}
    places = {"198.51.100.1": ready, "198.51.100.2": ready}
    write_durably(str(folder / "ready.json"), json.dumps({"table": 198, "grace": 1.0, "places": places}))
    run("ip", "route", "add", "198.51.100.1", "dev", "lo", "table", "198", "proto", "98", "metric", "1")
    run("ip", "route", "add", "198.51.100.66", "dev", "lo", "table", "198", "proto", "98", "metric", "1")
    run("ip", "route", "add", "198.51.100.77", "dev", "lo", "table", "198", "proto", "static")
    assert [each.what for each in route_findings("default")] == [
        "table 198 has a route to 198.51.100.66, metric 1, that the agent does not have there",
        "table 198 lacks the route to 198.51.100.2, which the agent announces",
        "table 198 has 1 route of others (routing protocol 4), which bird announces too",
    ]
