# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a real takes tunnels, and that it has the address to which balancers send them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_real
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf, pins
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, every_attachment
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DECAP_MAPS, EARLIER_SOURCES
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.bytecode import load
from ansible_collections.katran.fleet.tests.engine.real import (
    LINK,
    REAL,
    A,
    B,
    C,
    answers,
    ensure,
    on_loopback,
    real_host,
    remove,
    withdraw,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, killed_after, run

STRANGER = "192.0.2.66"
MAPS = f"{BPFFS}/katran/default/maps"
RECORD = Path(STATE_ROOT, "default", "decap.json")
EVERYWHERE = ["0.0.0.0/0", "::/0"]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        yield


def taken(*sources: str) -> list[str]:
    """From which of these a tunnel is taken."""
    return [source for source in sources if answers(A, source=source)]


@pytest.mark.parametrize("sources", [None, []])
def test_by_default_only_what_balancers_send_is_taken(sources: list[str] | None) -> None:
    ensure(A, **({} if sources is None else {"sources": sources}))
    candidates = ("172.15.255.255", "172.16.0.1", "172.16.255.255", "172.17.0.0", STRANGER, REAL)
    assert taken(*candidates) == ["172.16.0.1", "172.16.255.255"]
    assert not answers(A, 6080, STRANGER)
    assert answers(A, 6080, "172.16.9.9")


def test_prefixes_and_addresses() -> None:
    done = ensure(A, sources=["10.0.0.0/30", "192.0.2.1", "2001:DB8::/32", "10.0.0.0/30"])
    assert done.after["sources"] == ["10.0.0.0/30", "192.0.2.1/32", "2001:db8::/32"]
    assert taken("10.0.0.3", "10.0.0.4", "192.0.2.1", "192.0.2.0", "172.16.1.1") == ["10.0.0.3", "192.0.2.1"]
    assert not ensure(A, sources=["192.0.2.1/32", "2001:db8:0::/32", "10.0.0.0/30"]).changed


def test_everybody_when_it_is_said() -> None:
    ensure(A, sources=EVERYWHERE)
    assert taken(STRANGER, "172.16.1.1", "9.9.9.9") == [STRANGER, "172.16.1.1", "9.9.9.9"]


def test_a_family_matches_itself_alone() -> None:
    ensure(A, sources=["::/0"])
    assert not taken(STRANGER, "0.0.0.1")
    # As bytes in a key without family it would be 172.16.1.1.
    ensure(A, sources=["ac10:101::/32"])
    assert not taken("172.16.1.1")


def test_a_wider_prefix_takes_over_without_a_gap() -> None:
    for sources, other in (
        (["172.16.1.1"], ["172.16.0.0/12"]),
        (["172.16.0.0/12"], ["172.16.1.0/24"]),
        (["172.16.1.0/24"], ["172.16.1.0/24", "10.0.0.0/8"]),
    ):
        for step in itertools.count():
            ensure(A, sources=sources)
            killed = killed_after(step, lambda wanted=other: ensure(A, sources=wanted))
            assert answers(A), (sources, step)
            ensure(A, sources=other)
            assert answers(A), (sources, step)
            assert not ensure(A, sources=other).changed
            if not killed:
                break


def test_sources_of_before_stay_until_they_are_withdrawn() -> None:
    ensure(A, sources=["10.0.0.1"])
    done = ensure(A, sources=["10.0.0.2"], keep_sources=True)
    assert done.changes == ["source 10.0.0.2/32 added"]
    assert taken("10.0.0.1", "10.0.0.2") == ["10.0.0.1", "10.0.0.2"]
    assert not ensure(A, sources=["10.0.0.2"], keep_sources=True).changed
    assert restore_real(StateFile("default", BPFFS)) == []
    # Nothing said of sources: they stay.
    assert not withdraw(A).changed
    planned = withdraw(A, sources=["10.0.0.2"], check=True)
    done = withdraw(A, sources=["10.0.0.2"])
    assert planned == done
    assert done.changes == ["source 10.0.0.1/32 removed"]
    assert done.operations == {"decap_src_v4": 1}
    assert (done.before, done.after) == (
        {"vips": [A], "sources": ["10.0.0.1/32", "10.0.0.2/32"]},
        {"vips": [A], "sources": ["10.0.0.2/32"]},
    )
    assert taken("10.0.0.1", "10.0.0.2") == ["10.0.0.2"]
    assert not withdraw(A, sources=["10.0.0.2"]).changed
    assert not ensure(A, sources=["10.0.0.2"]).changed


def test_what_somebody_spoils_is_repaired() -> None:
    ensure(A)
    with bpf.open_map(f"{MAPS}/decap_src_v4") as opened:
        opened.update(layout.lpm_key(bytes(4), 0), layout.u32(1))
        opened.delete(layout.lpm_key(bytes((172, 16, 0, 0)), 16))
    assert taken(STRANGER)
    assert ensure(A).changes == ["source 172.16.0.0/16 added", "source 0.0.0.0/0 removed"]
    assert taken(STRANGER, "172.16.1.1") == ["172.16.1.1"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("10.0.0.1/24", "sources[1]: 10.0.0.1/24 has host bits set; the network is 10.0.0.0/24"),
        ("10.0.0.0/33", "sources[1]: 10.0.0.0/33 has no prefix length of 0 to 32"),
        ("10.0.0.0/08", "sources[1]: 10.0.0.0/08 has no prefix length of 0 to 32"),
        ("10.0.0.0/255.0.0.0", "sources[1]: 10.0.0.0/255.0.0.0 has no prefix length of 0 to 32"),
        ("10.0/16", "sources[1]: 10.0/16 is not a prefix (ADDRESS/LENGTH)"),
        ("010.0.0.1", "sources[1]: 010.0.0.1 is neither an IP address nor a prefix"),
        ("lb1", "sources[1]: lb1 is neither an IP address nor a prefix"),
        ("fe80::1%eth0", "sources[1]: fe80::1%eth0 is neither an IP address nor a prefix"),
        ("::ffff:10.0.0.0/104", "sources[1]: ::ffff:10.0.0.0/104 is an IPv4 prefix in IPv6 form; write 10.0.0.0/8"),
        ("::ffff:0:0/96", "sources[1]: ::ffff:0.0.0.0/96 is an IPv4 prefix in IPv6 form; write 0.0.0.0/0"),
        ("::ffff:10.0.0.1", "sources[1]: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form; write 10.0.0.1"),
        ("224.0.0.0/4", "sources[1]: 224.0.0.0/4 has no unicast address"),
        ("ff00::/8", "sources[1]: ff00::/8 has no unicast address"),
        ("0.0.0.0", "sources[1]: 0.0.0.0 is the unspecified address"),
        ("0.0.0.0/32", "sources[1]: 0.0.0.0/32 is the unspecified address"),
        ("::/128", "sources[1]: ::/128 is the unspecified address"),
    ],
)
def test_what_can_be_no_source(source: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ensure(A, sources=["10.0.0.0/8", source])
    assert str(caught.value) == sentence


def test_too_many_sources() -> None:
    many = [f"10.{index >> 8}.{index & 255}.0/24" for index in range(4097)]
    with pytest.raises(ConfigError, match=r"^sources: 4097 entries are more than 4096$"):
        ensure(A, sources=many)
    assert ensure(A, sources=many[1:]).operations["decap_src_v4"] == 4096


# A real of an earlier version

EARLIER_BPF = "/run/earlier"
TABLES = """#ifdef DECAP_CHECK_SOURCES
BPF_TABLE("hash", struct address, u32, decap_sources, 1);
#endif
"""
LISTED = """static __always_inline bool is_listed_source(struct flow_key *outer, const bool v6)
{
#ifdef DECAP_CHECK_SOURCES
	return !is_ambiguous(outer->src, v6) && decap_sources.lookup((struct address *)outer->src);
#else
	return true;
#endif
}
"""


def earlier(*sources: str) -> None:
    """A real as a version before prefixes left it: everybody may send to it, or addresses in a map of its own."""
    shutil.copytree(BPF, EARLIER_BPF)
    program = Path(EARLIER_BPF, "decap.bpf.c")
    text = program.read_text()
    tables = text[text.index("BPF_F_TABLE(") : text.index("struct decap_stats *counters")].rpartition("static")[0]
    finders = text[text.index("static __always_inline void *find_source4") : text.index("/* Multicast and")]
    program.write_text(text.replace(tables, TABLES).replace(finders, LISTED))
    macros = {"GUE_PORT": 6080, **({"DECAP_CHECK_SOURCES": 1} if sources else {})}
    bytecode = compiler.compile_program(EARLIER_BPF, "decap", macros)
    paths = pins.Paths(BPFFS, "default", "decap")
    for folder in paths.folders():
        os.makedirs(folder, mode=0o700, exist_ok=True)
    specs = [spec for spec in DECAP_MAPS if "src" not in spec.name]
    maps = {spec.name: pins.create_pinned(spec, {}, paths.map(spec.name)) for spec in (*specs, EARLIER_SOURCES)}
    maps["decap_vips"].update(layout.pack_address(A), layout.u32(1))
    for source in sources:
        maps["decap_sources"].update(layout.pack_address(source), layout.u32(1))
    fd = load(bytecode, {name: opened.fd for name, opened in maps.items()}, bpf.load_program)
    bpf.pin(fd, paths.program)
    with Interfaces() as links:
        links.replace(LINK, fd, "native", None)
    file = StateFile("default", BPFFS)
    file.write_file("decap.bytecode.json", bytecode.to_json())
    settings = {"vips": [A], "sources": list(sources), "server_id": 0, "loopback": [A], "gue_port": 6080}
    record = {
        "bpffs": BPFFS,
        "interfaces": [LINK],
        "mode": "native",
        "loopback": [A],
        "settings": {**settings, "source_dir": BPF},
        "source_digest": bytecode.digest,
        "tag": bpf.program_info(fd).tag,
    }
    file.write_file("decap.json", json.dumps(record))
    run("ip", "addr", "add", f"{A}/32", "dev", "lo")
    for opened in maps.values():
        opened.close()
    os.close(fd)


def running() -> int:
    return {each.interface: each.program_id for each in every_attachment()}[LINK]


@pytest.mark.parametrize("sources", [(), ("172.16.1.1", "2001:db8::1")])
def test_a_real_of_an_earlier_version_is_upgraded_without_a_gap(sources: tuple[str, ...]) -> None:
    earlier(*sources)
    assert answers(A)
    assert answers(A, source=STRANGER) == (not sources)
    wanted = {"keep_vips": True, "keep_sources": True}
    planned = ensure(A, check=True, **wanted)
    closing = withdraw(A, sources=["172.16.0.0/16", "100::/64"], check=True)
    for step in itertools.count():
        killed = killed_after(step, lambda: ensure(A, **wanted))
        assert answers(A), step
        if step and step % 7 == 0:
            # At boot what was kept comes back, of either version.
            restore_real(StateFile("default", BPFFS))
            assert answers(A), step
        if not killed:
            break
    assert "remove the map decap_sources of an earlier version" in planned.changes
    assert not ensure(A, **wanted).changed
    assert sorted(os.listdir(MAPS)) == sorted(spec.name for spec in DECAP_MAPS)
    # Whoever could send goes on to be heard until the fleet is through.
    assert answers(A, source=STRANGER) == (not sources)
    before = {f"{each}/{128 if ':' in each else 32}" for each in sources} or {*EVERYWHERE}
    assert json.loads(RECORD.read_text())["settings"]["sources"] == sorted({"172.16.0.0/16", "100::/64", *before})
    assert withdraw(A, sources=["172.16.0.0/16", "100::/64"]).changes == closing.changes
    assert (answers(A), answers(A, source=STRANGER)) == (True, False)
    assert not ensure(A, **wanted).changed


@pytest.mark.parametrize("sources", [(), ("172.16.1.1",)])
def test_an_earlier_real_restarts_as_it_was_before_its_first_deploy(sources: tuple[str, ...]) -> None:
    earlier(*sources)
    restore_real(StateFile("default", BPFFS))
    assert (answers(A), answers(A, source=STRANGER)) == (True, not sources)
    before = running()
    # A restart: nothing is left but the files.
    with Interfaces() as links:
        fd = bpf.program_by_id(before)
        links.replace(LINK, -1, "native", fd)
        os.close(fd)
    shutil.rmtree(f"{BPFFS}/katran")
    run("ip", "addr", "del", f"{A}/32", "dev", "lo")
    restore_real(StateFile("default", BPFFS))
    assert answers(A)
    assert answers(A, source=STRANGER) == (not sources)
    assert restore_real(StateFile("default", BPFFS)) == []
    ensure(A)
    assert (answers(A), answers(A, source=STRANGER)) == (True, False)
    remove()
    assert not Path(BPFFS, "katran").exists()


# Whose address


@pytest.mark.parametrize("address", ["198.18.7.2", "198.18.7.11", "2001:db8::7", B, C])
@pytest.mark.parametrize("check", [False, True])
def test_an_address_that_the_host_does_not_have_is_refused(address: str, check: bool) -> None:
    with pytest.raises(ProgramError) as caught:
        ensure(B, C, addresses=[REAL, address], check=check)
    assert str(caught.value) == (
        f"katran_real_address: {address} is no address of this host (it has {REAL}),"
        " so packets of balancers to it would not arrive"
    )
    assert not RECORD.exists()
    assert not on_loopback()


def test_a_vip_that_is_ours_is_no_address_of_the_host() -> None:
    ensure(A)
    with pytest.raises(ProgramError, match=f"^katran_real_address: {A} is no address of this host"):
        ensure(A, addresses=[A])


def test_addresses_that_the_host_has() -> None:
    run("ip", "addr", "add", "2001:DB8::ab/128", "dev", "lo")
    ensure(A, addresses=[REAL, "2001:db8:0::AB"])
    assert not ensure(A, addresses=[REAL]).changed
    # At boot the address may come later.
    run("ip", "addr", "flush", "dev", LINK)
    assert restore_real(StateFile("default", BPFFS)) == []
    with pytest.raises(ConfigError, match=r"^addresses\[0\]: 10\.0 is not an IP address$"):
        ensure(A, addresses=["10.0"])
