# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody unpinned a map or the program, or pinned something else in its place: it is noticed, told and mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import refresh_gateway, restore_balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY_OF_MAPS,
    HASH,
    HASH_OF_MAPS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    MAPS as SPECS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import ProgramInfo
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.life import (
    CLIENT,
    LINK,
    MAPS,
    PINS,
    VIP,
    apply,
    attached,
    contents,
    ensure,
    forwards,
    lead_out,
    map_ids,
    pinned,
    program_of,
    remove,
    roll_back,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, GATEWAY, compiled_once, run, sandbox

FEATURES = ["cidr_vips", "source_routing", "inline_decap", "udp_flow_migration"]
WAYS = ("missing", "same shape", "other shape", "program")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


@pytest.fixture(name="balancing")
def start_balancing() -> None:
    """A balancer that forwards."""
    ensure(features=FEATURES)
    apply([vips()])
    assert forwards()


def twin_of(path: str) -> int:
    """An empty map that looks like a pinned one."""
    with bpf.open_map(path) as opened:
        info = opened.info
    inner = 0
    if info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS):
        spec = next(spec.inner for spec in SPECS if spec.name == os.path.basename(path))
        assert spec is not None
        inner = bpf.create_map(spec.type, spec.key_size, spec.value_size, 1, spec.flags, spec.name)
    return bpf.create_map(info.type, info.key_size, info.value_size, info.entries, info.flags, info.name, inner)


def spoil(path: str, how: str) -> None:
    """Put something else under a pin, or nothing."""
    if not os.path.exists(path):
        return
    fd = -1
    if how == "same shape":
        fd = twin_of(path)
    elif how == "other shape":
        fd = bpf.create_map(HASH, 12, 12, 7, 0, "other")
    elif how == "program":
        fd = program_of(2)
    os.unlink(path)
    if fd >= 0:
        bpf.pin(fd, path)
        os.close(fd)
    elif how == "folder":
        Path(path).mkdir()


def line_of(path: str, how: str) -> str:
    """What is said where it is mended."""
    name = os.path.basename(path)
    if how == "missing":
        return f"pin {name} again, which the running program has"
    there = {"program": "a program", "folder": "a folder"}.get(how, "another map")
    return f"pin {name} again, which the running program has, in place of {there} pinned at {path}"


def told(result: dict[str, Any]) -> list[str]:
    """A module's warnings."""
    found = result.get("warnings", [])
    return [each if isinstance(each, str) else each["event"]["msg"] for each in found]


def foretold(work: Callable[[bool], Result]) -> list[str]:
    """What a run does, which its check mode has said; a second one does nothing."""
    would = work(True).changes
    done = work(False).changes
    assert done == would
    assert work(True).changes == []
    assert work(False).changes == []
    return done


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "name",
    ["vip_map", "ch_rings", "reals", "ctl_array", "stats", "lru_mapping", "vip_address_lpm4", "server_id_stats"],
)
def test_module_balancer_pins_the_programs_own_map_again(name: str, how: str) -> None:
    before, program = map_ids(), pinned()
    spoil(f"{MAPS}/{name}", how)
    assert foretold(lambda check: ensure(check, features=FEATURES)) == [line_of(f"{MAPS}/{name}", how)]
    assert (map_ids(), pinned()) == (before, program)
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_two_pins_that_traded_places() -> None:
    """Both are of one shape, and both are the program's."""
    before = map_ids()
    os.rename(f"{MAPS}/server_id_stats", f"{PINS}/elsewhere")
    os.rename(f"{MAPS}/decap_vip_stats", f"{MAPS}/server_id_stats")
    os.rename(f"{PINS}/elsewhere", f"{MAPS}/decap_vip_stats")
    assert len(foretold(lambda check: ensure(check, features=FEATURES))) == 2
    assert map_ids() == before


@pytest.mark.usefixtures("balancing")
def test_a_folder_in_the_place_of_a_pin() -> None:
    before = map_ids()
    for name, work in (
        ("reals", lambda check: apply([vips(), vips(address="198.51.100.7")], check=check)),
        ("vip_miss_stats", lambda check: ensure(check, features=FEATURES)),
    ):
        spoil(f"{MAPS}/{name}", "folder")
        assert foretold(work)[0] == line_of(f"{MAPS}/{name}", "folder")
        assert map_ids() == before
    os.unlink(f"{PINS}/balancer")
    os.mkdir(f"{PINS}/balancer")
    assert ensure(features=FEATURES).changed
    assert forwards()


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", WAYS)
def test_no_datagram_is_lost_while_every_pin_is_another(how: str) -> None:
    before = map_ids()
    with stream() as traffic:
        for name in before:
            spoil(f"{MAPS}/{name}", how)
        assert apply([vips(), vips(address="198.51.100.7")]).changed
        for name in before:
            spoil(f"{MAPS}/{name}", how)
        assert ensure(features=FEATURES).changed
        result = traffic.stop()
    assert result.lost == []
    kept = StateFile("default", BPFFS).read_bytecode("balancer.bytecode.json", "balancer")
    assert kept is not None
    # Of a map that the program does not use, nobody can tell which it was.
    after = map_ids()
    assert {name: after[name] for name in kept.maps} == {name: before[name] for name in kept.maps}
    assert after.keys() == before.keys()
    assert len(contents("vip_map")) == 2


RESOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "vips": ("vip_map", vips(address="198.51.100.7")),
    "reals": ("reals", {"address": "10.0.0.1", "state": "draining"}),
    "source_routes": ("lpm_src_v4", {"prefix": "192.0.2.0/24", "real": "10.0.0.1"}),
    "server_ids": ("server_id_map", {"id": 7, "real": "10.0.0.1"}),
    "decap_destinations": ("decap_dst", {"address": "198.51.100.9", "egress": True}),
}


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_goes_to_the_map_that_packets_meet(resource: str, how: str) -> None:
    name, entry = RESOURCES[resource]
    before = map_ids()
    spoil(f"{MAPS}/{name}", how)

    def work(check: bool) -> Result:
        return apply_resource(resource, Request("default", BPFFS, 5, check), Asked([entry], "merged"))

    there = work(True)
    assert there.changes[0] == there.drift[0] == line_of(f"{MAPS}/{name}", how)
    done = foretold(work)
    assert done == there.changes
    assert len(done) > 1
    assert map_ids() == before
    if resource != "reals":
        with bpf.map_by_id(before[name]) as opened:
            assert any(any(value) for _key, value in opened.items())


@pytest.mark.usefixtures("balancing")
def test_a_map_that_nobody_knows_is_refused_by_name_and_made_by_module_balancer() -> None:
    """The program is gone as well, so that nothing tells which map is meant."""
    with Interfaces() as links:
        fd = bpf.open_pin(f"{PINS}/balancer")
        links.replace(LINK, -1, "native", fd)
        os.close(fd)
    os.unlink(f"{PINS}/balancer")
    spoil(f"{MAPS}/vip_map", "other shape")
    for check in (True, False):
        with pytest.raises(
            EngineError,
            match=f"^another map is pinned at {MAPS}/vip_map, which cannot be map vip_map of default: run module"
            r" katran\.fleet\.balancer$",
        ):
            apply([vips()], check=check)
    done = foretold(lambda check: ensure(check, features=FEATURES))
    assert done[:2] == [f"unpin another map at {MAPS}/vip_map, which cannot be map vip_map", "create 1 map (vip_map)"]
    apply([vips()])
    assert forwards()


def known_flows(result: dict[str, Any]) -> list[Any]:
    """(client, real) of each flow, or why a packet goes where."""
    return [(row.get("client"), row["real"], row.get("reason")) for row in result.get("flows", [])]


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", WAYS)
def test_modules_that_only_look_say_so_and_look_at_the_right_map(how: str) -> None:
    flow = {
        "source": CLIENT,
        "destination": VIP,
        "source_port": 40000,
        "destination_port": 80,
        "protocol": "udp",
    }
    arguments: dict[str, dict[str, Any]] = {
        "balancer_info": {"gather": ["counters", "program"]},
        "flows_info": {},
        "simulate_info": {"flows": [flow]},
    }
    before = {name: module(name, each).result for name, each in arguments.items()}
    assert [told(each) for each in before.values()] == [[]] * 3
    path = f"{MAPS}/vip_map"
    spoil(path, how)
    there = {"missing": "nothing", "program": "a program"}.get(how, "another map")
    for name, each in arguments.items():
        found = module(name, each).result
        (warning,) = told(found)
        assert warning == (
            f"{os.uname().nodename}: map vip_map: {there} is pinned at {path}, not the map that the program uses: run"
            " module katran.fleet.balancer, which pins the program's own again"
        )
        assert found["changed"] is False
        assert known_flows(found) == known_flows(before[name])
        if name == "balancer_info":
            assert [row["vip"] for row in found["counters"]["vips"]] == [f"{VIP}:80/udp"]
    removed = module("flows", {"vip": f"{VIP}:80/udp"})
    assert removed["removed"] == 1
    assert len(told(removed.result)) == 1


@pytest.mark.usefixtures("balancing")
def test_the_timer_that_follows_the_gateway_writes_into_the_programs_map() -> None:
    run("ip", "addr", "add", "198.18.7.1/24", "dev", LINK)
    run("ip", "route", "add", "default", "via", "198.18.7.254")
    run("ip", "neigh", "replace", "198.18.7.254", "lladdr", GATEWAY, "dev", LINK)
    ensure(features=FEATURES, gateway_mac="auto")
    before = map_ids()
    spoil(f"{MAPS}/ctl_array", "same shape")
    run("ip", "neigh", "replace", "198.18.7.254", "lladdr", "02:00:00:00:00:0b", "dev", LINK)
    assert refresh_gateway(StateFile("default", BPFFS)) == [
        line_of(f"{MAPS}/ctl_array", "same shape"),
        f"gateway MAC {GATEWAY} → 02:00:00:00:00:0b",
    ]
    assert map_ids() == before
    assert refresh_gateway(StateFile("default", BPFFS)) == []


@pytest.mark.usefixtures("balancing")
def test_restore_mends_what_it_finds() -> None:
    before = map_ids()
    spoil(f"{MAPS}/vip_map", "same shape")
    assert restore_balancer(StateFile("default", BPFFS)) == [line_of(f"{MAPS}/vip_map", "same shape")]
    assert map_ids() == before
    assert restore_balancer(StateFile("default", BPFFS)) == []


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("how", WAYS)
def test_absent_leaves_no_pin_of_the_balancers(how: str) -> None:
    spoil(f"{MAPS}/vip_map", how)
    assert remove().changed
    assert not os.path.exists(f"{BPFFS}/katran")


# The program


def impostor(path: str) -> ProgramInfo:
    """Another program under a pin."""
    fd = program_of(2)
    os.unlink(path)
    bpf.pin(fd, path)
    try:
        return bpf.program_info(fd)
    finally:
        os.close(fd)


@pytest.mark.usefixtures("balancing")
@pytest.mark.parametrize("where", ["pinned", "pinned and attached"])
def test_a_program_that_is_not_the_one_on_record_is_replaced(where: str) -> None:
    before, ours = map_ids(), pinned()
    with stream(rate=500) as traffic:
        other = impostor(f"{PINS}/balancer")
        assert module("balancer_info", {"gather": ["program"]})["warnings"]
        if where == "pinned":
            done = foretold(lambda check: ensure(check, features=FEATURES))
            result = traffic.stop()
            assert result.lost == []
    if where != "pinned":
        assert ours is not None
        with Interfaces() as links:
            new, old = bpf.open_pin(f"{PINS}/balancer"), bpf.program_by_id(ours)
            links.replace(LINK, new, "native", old)
            os.close(new)
            os.close(old)
        assert attached() == (other.id, "native")
        assert not forwards()
        done = foretold(lambda check: ensure(check, features=FEATURES))
    assert done[0].startswith(
        f"replace the program pinned at {PINS}/balancer, which is not the one on record (tag {other.tag}, not "
    )
    assert done[1:] == ["load the program", f"attach to {LINK} in native mode"]
    assert map_ids() == before
    assert attached() == (pinned(), "native")
    assert pinned() not in (other.id, ours)
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_a_map_under_the_programs_name() -> None:
    os.unlink(f"{PINS}/balancer")
    fd = bpf.create_map(HASH, 4, 4, 1)
    bpf.pin(fd, f"{PINS}/balancer")
    os.close(fd)
    done = foretold(lambda check: ensure(check, features=FEATURES))
    assert done[0] == f"replace what is pinned at {PINS}/balancer, which is no program"
    assert attached() == (pinned(), "native")
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_a_copy_of_the_program_with_other_maps_is_not_it() -> None:
    """The same code has the same tag: the one that runs says which maps are meant."""
    before, ours, there = map_ids(), pinned(), attached()
    assert there is not None
    kept = StateFile("default", BPFFS).read_bytecode("balancer.bytecode.json", "balancer")
    assert kept is not None
    for name in kept.maps:
        spoil(f"{MAPS}/{name}", "same shape")
    fds = {name: bpf.open_pin(f"{MAPS}/{name}") for name in kept.maps}
    copy = bpf.load_program(kept.bind(fds))
    os.unlink(f"{PINS}/balancer")
    bpf.pin(copy, f"{PINS}/balancer")
    for fd in (copy, *fds.values()):
        os.close(fd)
    done = foretold(lambda check: ensure(check, features=FEATURES))
    assert done[-2:] == ["load the program", f"attach to {LINK} in native mode"]
    assert map_ids() == before
    assert attached() == (pinned(), "native")
    assert pinned() != ours
    assert forwards()


@pytest.mark.usefixtures("balancing")
def test_a_previous_program_that_is_not_it_is_not_gone_back_to() -> None:
    ensure(features=[*FEATURES, "vlan"])
    other = impostor(f"{PINS}/balancer_previous")
    roll_back()
    assert pinned() != other.id
    assert attached() == (pinned(), "native")
    assert forwards()


# The other programs


def decap(check: bool) -> Result:
    params = {
        "interfaces": [LINK],
        "mode": "native",
        "vips": ["198.51.100.1"],
        "keep_vips": False,
        "sources": [],
        "gue_port": 6080,
        "server_id": 7,
        "loopback": False,
        "source_dir": BPF,
    }
    return Real("default", BPFFS).ensure(parse_real(params), check, 5)


def root(check: bool) -> Result:
    return Root("default", BPFFS).ensure(RootSettings((LINK,), "native", BPF), check, 5)


def healthcheck(check: bool) -> Result:
    options = {
        "interface": LINK,
        "source_dir": BPF,
        "encapsulation": "ipip",
        "gue_port": 6080,
        "source_ipv4": "192.0.2.250",
        "source_ipv6": "2001:db8:2::250",
        "source_mac": "auto",
        "gateway_mac": GATEWAY,
        "max_frame": 1514,
        "counted_vips": [{"address": "198.51.100.1", "port": 80, "protocol": "tcp"}],
    }
    return Healthcheck("default", BPFFS).ensure(parse_healthcheck(options), check, 5)


def destinations(check: bool) -> Result:
    asked = Asked([{"mark": 7, "real": "10.0.0.1"}], "merged")
    return apply_resource("healthcheck_destinations", Request("default", BPFFS, 5, check), asked)


PROGRAMS = [
    (decap, "decap", "decap_vips"),
    (decap, "decap", "tpr_server_id"),
    (root, "root", "root_array"),
    (healthcheck, "healthcheck", "hc_pckt_macs"),
    (healthcheck, "healthcheck", "hc_key_map"),
]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(("work", "program", "name"), PROGRAMS)
def test_the_other_programs_pin_their_own_maps_again(
    work: Callable[[bool], Result], program: str, name: str, how: str
) -> None:
    work(False)
    before, number = map_ids(), pinned(program)
    spoil(f"{MAPS}/{name}", how)
    assert foretold(work) == [line_of(f"{MAPS}/{name}", how)]
    assert (map_ids(), pinned(program)) == (before, number)


@pytest.mark.parametrize(("work", "program"), [(decap, "decap"), (root, "root"), (healthcheck, "healthcheck")])
def test_the_other_programs_are_replaced_where_they_are_not_on_record(
    work: Callable[[bool], Result], program: str
) -> None:
    work(False)
    before, other = map_ids(), impostor(f"{PINS}/{program}")
    done = foretold(work)
    assert done[0].startswith(f"replace the program pinned at {PINS}/{program}, which is not the one on record (tag ")
    assert done[1] == f"load the program {program}"
    assert pinned(program) != other.id
    assert map_ids() == before


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("unpinned", [False, True])
def test_health_check_destinations_go_to_the_programs_map(how: str, unpinned: bool) -> None:
    healthcheck(False)
    before = map_ids()
    spoil(f"{MAPS}/hc_reals_map", how)
    if unpinned:
        # The filter still runs it.
        os.unlink(f"{PINS}/healthcheck")
    path = f"{MAPS}/hc_reals_map"
    (warning,) = told(module("balancer_info", {"gather": ["healthcheck"]}).result)
    assert path in warning
    done = foretold(destinations)
    assert done[0] == line_of(path, how)
    assert len(done) == 2
    assert map_ids() == before
    assert len(contents("hc_reals_map")) == 1
