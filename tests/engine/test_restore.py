# SPDX-License-Identifier: GPL-3.0-or-later
"""After a boot: everything back from the state and the kept bytecode, with the same ids and rings, no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import restore
from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.root_array import slots
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    MAPS,
    REALS,
    STATE,
    apply,
    apply_table,
    attached,
    changed_sources,
    contents,
    ensure,
    forwards,
    lead_out,
    pinned,
    pins,
    remove,
    roll_back,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    SOURCES,
    compiled_once,
    run,
    sandbox,
)
from ansible_collections.katran.fleet.tests.engine.test_healthcheck import PARAMS

FEATURES = ["source_routing", "inline_decap"]
ARRAY = f"{BPFFS}/katran/shared/maps/root_array"
BOOT = """
import sys
# As on a host from which the compiler was removed.
sys.modules["bcc"] = None
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


def boot(*options: str) -> subprocess.CompletedProcess[str]:
    """katran-restore under the system's Python, as the service runs it."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent / "collections"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["/usr/bin/python3", "-c", BOOT, *options], env=environment, capture_output=True, text=True, check=False
    )


def wipe(detach: bool = True) -> None:
    """Lose what a boot loses."""
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    for name in (LINK, "lb1") if detach else ():
        run("ip", "link", "set", name, "xdp", "off")


def everything() -> dict[str, Any]:
    """What must be as before."""
    found: dict[str, Any] = {name: contents(name) for name in ("vip_map", "reals", "lpm_src_v4", "server_id_map")}
    found["gateway"] = contents("ctl_array")[bytes(4)]
    with KernelMaps(MAPS) as maps:
        return {**found, "rings": maps.entries("ch_rings"), "pins": pins()}


@pytest.fixture(name="balancing")
def start_balancing() -> dict[str, Any]:
    ensure(interfaces=[LINK, "lb1"], features=FEATURES)
    # Ids that no order of the configuration would give.
    apply([vips("10.9.9.9"), vips("10.9.9.8", address="198.51.100.7")])
    apply([vips(*reversed(REALS)), vips(REALS[1], "10.9.9.8", address="198.51.100.6")])
    apply_table("source_routes", [{"prefix": "192.0.2.0/24", "real": "10.0.1.1"}])
    apply_table("server_ids", [{"id": 77, "real": "10.0.1.2"}])
    assert forwards()
    return everything()


@pytest.mark.parametrize("detach", [True, False], ids=["booted", "bpffs wiped"])
def test_everything_is_back(balancing: dict[str, Any], detach: bool) -> None:
    wipe(detach)
    assert pins() == []
    done = boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert everything() == balancing
    assert attached() == attached("lb1") == (pinned(), "native")
    assert forwards()
    again = boot()
    assert (again.returncode, again.stdout) == (0, "")
    assert not ensure(interfaces=[LINK, "lb1"], features=FEATURES).changed


def test_while_it_runs_nothing_is_lost(balancing: dict[str, Any]) -> None:
    """The bpffs goes, the program stays attached: it forwards until its successor does."""
    with stream() as traffic:
        wipe(detach=False)
        assert boot().returncode == 0
        result = traffic.stop()
    assert everything() == balancing
    assert result.sent > 2000
    assert result.lost == []


@pytest.mark.usefixtures("balancing")
def test_the_program_before_can_still_be_gone_back_to() -> None:
    ensure(interfaces=[LINK, "lb1"], features=[*FEATURES, "vlan"])
    wipe()
    assert boot().returncode == 0
    assert pinned("balancer_previous") is None
    assert roll_back().changed
    assert forwards()
    wipe()
    assert boot().returncode == 0
    # It stays rolled back over a boot.
    assert not ensure(interfaces=[LINK, "lb1"], features=[*FEATURES, "vlan"]).changed
    assert ensure(interfaces=[LINK, "lb1"], features=FEATURES, udp_timeout=55).changed


@pytest.mark.usefixtures("balancing")
def test_loaded_stays_loaded() -> None:
    ensure(state="loaded", features=FEATURES)
    wipe()
    assert boot().returncode == 0
    assert pinned()
    assert attached() is None


@pytest.mark.usefixtures("balancing")
def test_absent_stays_absent() -> None:
    remove()
    wipe()
    done = boot()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pins() == []


@pytest.mark.usefixtures("balancing")
def test_damaged_bytecode_is_told_and_other_instances_come_back() -> None:
    remove()
    ensure(features=FEATURES)
    ensure(instance="other", interfaces=["lb1"])
    (STATE / "balancer.bytecode.json").write_text("{", encoding="ascii")
    wipe()
    done = boot()
    assert done.returncode == 1
    assert "katran-restore: default: " in done.stderr
    assert "balancer.bytecode.json is missing or damaged: run a deploy" in done.stderr
    assert "Traceback" not in done.stderr
    assert attached() is None
    assert attached("lb1") is not None


@pytest.mark.usefixtures("balancing")
def test_a_gateway_that_does_not_answer_yet() -> None:
    run("ip", "addr", "add", "192.0.2.7/24", "dev", LINK)
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    run("ip", "neigh", "add", "192.0.2.1", "lladdr", "02:00:00:00:00:f1", "dev", LINK)
    ensure(features=FEATURES, gateway_mac="auto")
    wipe()
    run("ip", "neigh", "flush", "dev", LINK, "nud", "all")
    done = boot()
    assert done.returncode == 0
    assert contents("ctl_array")[bytes(4)][:6] == bytes.fromhex("0200000000f1")
    assert boot("--refresh").returncode == 1


# Shared mode


@pytest.fixture
def shared() -> None:
    """Program root on the interface; the balancer is to take its place there."""
    Root("shared", BPFFS).ensure(RootSettings((LINK,), "native", BPF), False, 5)


def slot(position: int) -> dict[str, Any]:
    return {"interfaces": [], "root_array": {"path": ARRAY, "position": position}}


@pytest.mark.usefixtures("shared")
def test_the_balancer_takes_a_slot() -> None:
    there = attached()
    would = ensure(check=True, **slot(1))
    done = ensure(**slot(1))
    assert done.changes == would.changes
    assert f"put the program into slot 1 of {ARRAY}" in done.changes
    assert slots(ARRAY) == {1: pinned()}
    assert attached() == there
    apply([vips()])
    assert forwards()
    assert not ensure(**slot(1)).changed
    # It moves, is replaced, goes back, and leaves.
    assert ensure(**slot(2)).changes == [
        f"put the program into slot 2 of {ARRAY}",
        f"clear slot 1 of {ARRAY}",
    ]
    assert slots(ARRAY) == {2: pinned()}
    ensure(features=["vlan"], **slot(2))
    assert slots(ARRAY) == {2: pinned()}
    roll_back()
    assert slots(ARRAY) == {2: pinned()}
    assert forwards()
    ensure(state="loaded", **slot(2))
    assert slots(ARRAY) == {}
    ensure(features=["vlan"], **slot(0), udp_timeout=44)
    assert slots(ARRAY) == {0: pinned()}
    assert remove().changes[0] == f"clear slot 0 of {ARRAY}"
    assert slots(ARRAY) == {}
    assert attached() == there


@pytest.mark.usefixtures("shared")
def test_an_upgrade_in_a_slot_loses_nothing_and_a_worse_program_is_taken_back() -> None:
    ensure(**slot(0))
    apply([vips()])
    with stream() as traffic:
        ensure(features=["vlan"], **slot(0))
        good = slots(ARRAY)
        assert good == {0: pinned()}
        upgraded = traffic.sent
        worse = changed_sources("worse", balancer_bpf_c=worse_line())
        with pytest.raises(ProgramError, match=r"^after the swap .* were dropped, 0% before: the old program is back$"):
            ensure(source_dir=worse, features=["vlan"], **slot(0))
        back = traffic.sent
        assert slots(ARRAY) == good
        time.sleep(0.2)
        result = traffic.stop()
    # Those of the second in which the worse program ran, one after another, and none before or after it.
    assert result.lost == list(range(result.lost[0], result.lost[-1] + 1))
    assert upgraded <= result.lost[0] < result.lost[-1] <= back < result.sent
    assert upgraded > 1000
    assert forwards()


def worse_line() -> tuple[str, str]:
    """A line of C to be replaced, and one that drops what the self-test does not send."""
    with open(f"{BPF}/balancer.bpf.c", encoding="utf-8") as source:
        main = source.read()
    head = main[main.index("int balancer(struct xdp_md *ctx)") :].split("{")[0] + "{"
    return head, (
        f"{head}\nvoid *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n"
        "if (at + 64 < end && *(u16 *)(at + 36) == htons(80) && *(u8 *)(at + 23) == 17)"
        " { count(COUNT_SEEN); count(COUNT_DROPPED); return XDP_DROP; }\n"
    )


@pytest.mark.usefixtures("shared")
def test_somebody_elses_slot_is_not_taken() -> None:
    ensure(instance="first", **slot(1))
    there = slots(ARRAY)
    with pytest.raises(
        ProgramError, match=r"^root_array: slot 1 of \S+ already has our program balancer of instance first; choose"
    ):
        ensure(**slot(1))
    # Consent to lose somebody else's program is none to lose one of ours.
    with pytest.raises(ProgramError, match="already has our program balancer of instance first"):
        ensure(**slot(1), replace_foreign=True)
    assert slots(ARRAY) == there
    ensure(instance="first", state="loaded")
    ensure(**slot(1))
    assert slots(ARRAY) == {1: pinned()}


@pytest.mark.usefixtures("shared")
def test_the_boot_brings_root_before_what_is_in_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(**slot(1))
    apply([vips()])
    wipe()
    done = boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert slots(ARRAY) == {1: pinned()}
    assert forwards()
    again = boot()
    assert (again.returncode, again.stdout) == (0, "")
    monkeypatch.setattr(compiler, "compile_program", lambda *_arguments: pytest.fail("compiled"))
    assert not ensure(**slot(1)).changed


@pytest.mark.usefixtures("balancing")
def test_what_the_program_can_no_longer_do_is_left_out() -> None:
    """A feature went while something used it: the rest comes back, and all of it once the feature does."""
    wide = vips(address="203.0.113.0/24")
    ensure(features=[*FEATURES, "cidr_vips"])
    apply([vips(), wide])
    done = ensure(features=["vlan"])
    assert done.warnings == [
        "vip 203.0.113.0/24:80/udp: needs feature cidr_vips, which the program does not have",
        "source_routes: 1 entries need feature source_routing, which the program does not have",
    ]
    # Beside them, everything can be changed.
    assert apply([vips(address="198.51.100.9")], "merged").changes == ["vip 198.51.100.9:80/udp: added with 3 reals"]
    wipe()
    booted = boot()
    assert (booted.returncode, booted.stderr) == (0, "")
    assert "warning: vip 203.0.113.0/24:80/udp: needs feature cidr_vips" in booted.stdout
    assert "warning: source_routes: 1 entries need feature source_routing" in booted.stdout
    assert forwards()
    assert attached() == (pinned(), "native")
    ensure(features=[*FEATURES, "cidr_vips"])
    assert apply([vips(), wide, vips(address="198.51.100.9")]).drift
    assert contents("vip_lpm4_map")
    # What is to go may go without it.
    ensure(features=["vlan"])
    assert apply([wide], "deleted").changes == ["vip 203.0.113.0/24:80/udp: removed"]
    request = Request("default", BPFFS, 5, False)
    gone = [{"prefix": "192.0.2.0/24"}]
    assert apply_resource("source_routes", request, Asked(gone, "deleted")).changes


@pytest.mark.usefixtures("balancing")
def test_a_state_that_does_not_say_which_program_is_to_run() -> None:
    (STATE / "state.json").unlink()
    lost = "state.json of balancer default was lost: weights, hashes, checks and drained reals of its VIPs are not"
    assert apply([vips(address="198.51.100.9")], "merged").warnings[0].startswith(lost)
    # Until somebody tells all of it.
    assert apply([vips(address="198.51.100.9")], "merged").warnings[0].startswith(lost)
    booted = boot()
    assert booted.returncode == 1
    assert booted.stderr == (
        f"katran-restore: default: {STATE}/state.json was lost and does not say which program is to run: run a deploy\n"
    )
    assert ensure(interfaces=[LINK, "lb1"], features=FEATURES).warnings[0].startswith(lost)
    assert boot().returncode == 0
    told = apply([vips(address="198.51.100.9")])
    assert told.warnings[0].startswith(lost)
    assert apply([vips(address="198.51.100.9")]).warnings == []


# What a boot must not change


def test_packets_never_meet_an_empty_program(balancing: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the first interface gets the program, everything is in its maps."""
    wipe()
    met = []
    replace = Interfaces.replace

    def attach(self: Interfaces, interface: str, *arguments: Any) -> None:
        met.append((interface, {name: contents(name) for name in ("vip_map", "reals", "lpm_src_v4", "server_id_map")}))
        replace(self, interface, *arguments)

    monkeypatch.setattr(Interfaces, "replace", attach)
    assert restore.main([]) == 0
    assert sorted(interface for interface, _there in met) == sorted([LINK, "lb1"])
    for _interface, there in met:
        assert there == {name: balancing[name] for name in there}


@pytest.mark.usefixtures("balancing")
def test_a_vip_that_nobody_configured_does_not_outlive_it() -> None:
    known = contents("vip_map")
    stray = next(iter(known))
    apply([], "overridden")
    with KernelMaps(MAPS) as maps:
        maps.map("vip_map").update(stray, known[stray])
    done = boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert contents("vip_map") == {}


@pytest.mark.usefixtures("balancing")
def test_the_mac_that_was_followed_is_the_last_known_one() -> None:
    run("ip", "addr", "add", "192.0.2.7/24", "dev", LINK)
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    for mac in ("02:00:00:00:00:f1", "02:00:00:00:00:f2"):
        run("ip", "neigh", "replace", "192.0.2.1", "lladdr", mac, "nud", "permanent", "dev", LINK)
        if mac.endswith("f1"):
            ensure(features=FEATURES, gateway_mac="auto")
    assert f"gateway MAC 02:00:00:00:00:f1 → {mac}" in boot("--refresh").stdout
    wipe()
    run("ip", "neigh", "flush", "dev", LINK, "nud", "all")
    assert boot().returncode == 0
    assert contents("ctl_array")[bytes(4)][:6] == bytes.fromhex(mac.replace(":", ""))


def test_a_refresh_follows_the_checkers_gateway_too() -> None:
    run("ip", "addr", "add", "192.0.2.7/24", "dev", LINK)
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    run("ip", "neigh", "replace", "192.0.2.1", "lladdr", "02:00:00:00:00:f1", "nud", "permanent", "dev", LINK)
    options = {**PARAMS, "interface": LINK}
    Healthcheck("default", BPFFS).ensure(parse_healthcheck(options), False, 5)
    run("ip", "neigh", "replace", "192.0.2.1", "lladdr", "02:00:00:00:00:f2", "nud", "permanent", "dev", LINK)
    done = boot("--refresh")
    assert done.stdout == "katran-restore: default: gateway MAC 02:00:00:00:00:f1 → 02:00:00:00:00:f2\n"
    assert done.returncode == 0


def test_a_real_has_its_sources_and_its_server_id_again() -> None:
    options = {
        "interfaces": [LINK],
        "mode": "native",
        "vips": ["198.51.100.1", "2001:db8::1"],
        "keep_vips": False,
        "sources": ["192.0.2.250", "2001:db8:2::250"],
        "gue_port": 6081,
        "server_id": 77,
        "loopback": True,
        "source_dir": BPF,
    }

    def there() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in ("decap_vips", "decap_src_v4", "decap_src_v6", "tpr_server_id"):
            with bpf.open_map(f"{MAPS}/{name}") as opened:
                found[name] = dict(opened.items())
        return found

    real = Real("default", BPFFS)
    real.ensure(parse_real(options), False, 5)
    before = there()
    assert [len(before[name]) for name in ("decap_vips", "decap_src_v4", "decap_src_v6")] == [2, 1, 1]
    assert before["tpr_server_id"] == {bytes(4): (77).to_bytes(4, sys.byteorder)}
    wipe()
    run("ip", "address", "del", "198.51.100.1/32", "dev", "lo")
    done = boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert there() == before
    assert "198.51.100.1" in run("ip", "address", "show", "dev", "lo")
    assert not real.ensure(parse_real(options), False, 5).changed
