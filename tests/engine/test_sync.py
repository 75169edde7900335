# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions between two balancers: real maps, real programs, real datagrams."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.sync import Sync, command
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.engine import two_balancers as two
from ansible_collections.katran.fleet.tests.engine.two_balancers import ADDRESSES, EAST, WEST

BEFORE, AFTER = (1, 2, 3, 4, 5), (1, 2, 3, 4, 6)


@pytest.fixture
def balancers() -> Iterator[None]:
    with two.two_balancers():
        for instance in (EAST, WEST):
            two.apply(instance, two.vips(*BEFORE))
        yield


def replace_a_real(*instances: str, keep: bool = False) -> None:
    """Real 5 goes and 6 comes; or, with `keep`, 6 comes and no new flow goes to 5."""
    for instance in instances or (WEST, EAST):
        config = two.vips(*AFTER)
        if keep:
            for vip, old in zip(config, ("10.0.0.5", "fc00::5"), strict=True):
                vip["reals"].append({"address": old, "state": "draining"})
        two.apply(instance, config)


def total(each: Sync, *names: str) -> float:
    return sum(each.stats().get(f"{name}_total", 0) for name in names)


def test_what_a_ring_change_leaves_behind_is_held_by_the_peer(balancers: None) -> None:
    keys = two.make_keys(1500) + two.make_keys(500, ipv6=True)
    four, six = keys[:1500], keys[1500:]
    for part in (four, six):
        two.learn(EAST, part)
    before = {
        **dict(zip(four, two.by_ring(EAST, four), strict=True)),
        **dict(zip(six, two.by_ring(EAST, six), strict=True)),
    }

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        expected = {
            key: real
            for part in (four, six)
            for key, real in two.exceptions(EAST, part, [before[key] for key in part]).items()
        }
        assert 200 < len(expected) < 900
        assert {"10.0.0.5", "fc00::5"} <= set(expected.values())
        east.ring_changed()
        await two.until(lambda: two.held(WEST) == expected)
        assert (await east.hand_over(5.0)) == {ADDRESSES[WEST]: True}
        assert two.held(EAST) == {}
        # The peer's program brings each packet to the real that the flow has: whatever its ring says.
        moved = [key for key in expected if key[36] == 6][:200]
        assert [two.real_of(WEST, key) for key in moved] == [expected[key] for key in moved]
        others = [key for key in four if key not in expected][:50]
        names = two.names_of(EAST)
        assert [two.real_of(WEST, key) for key in others] == [names[before[key]] for key in others]

    two.together(work)
    # What is held outlives the agents, and their balancer.
    assert two.held(WEST)


def test_without_a_ring_change_nothing_is_told(balancers: None) -> None:
    two.learn(EAST, two.make_keys(1500))

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        assert all((await east.hand_over(5.0)).values())
        assert east.stats()["exceptions"] == 0
        assert two.held(WEST) == {}

    two.together(work)


def test_flows_that_have_ended_or_have_no_real_are_not_told(balancers: None) -> None:
    old, gone = two.make_keys(300, seed=2, ipv6=True), two.make_keys(900)
    two.learn(EAST, old, age=40.0)
    two.learn(EAST, gone)
    before = two.by_ring(EAST, gone)

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real()
        expected = two.exceptions(EAST, gone, before)
        assert expected
        assert "10.0.0.5" not in expected.values()
        await east.hand_over(5.0)
        assert two.held(WEST) == expected

    two.together(work)


def test_a_connection_that_begins_anew_is_withdrawn(balancers: None) -> None:
    keys = two.make_keys(900)
    two.learn(EAST, keys)

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        held = two.held(WEST)
        again = list(held)[:20]
        # As a SYN does: the ring's choice, and the entry of before on its CPU is replaced.
        chosen = two.by_ring(EAST, again).tolist()
        with two.tables(EAST, "lru_mapping") as tables:
            for table in tables:
                there = [(key, real) for key, real in zip(again, chosen, strict=True) if table.lookup(key)]
                table.update_many([(key, layout.real_pos_lru(real, 0)) for key, real in there])
        await east.hand_over(5.0)
        assert two.held(WEST) == {key: real for key, real in held.items() if key not in again}
        # One that an agent no longer finds is kept: its packets may come here by now.
        lost = list(two.held(WEST))[:20]
        with two.tables(EAST, "lru_mapping") as tables:
            for table in tables:
                table.delete_many(lost)
        await east.hand_over(5.0)
        assert set(lost) <= set(two.held(WEST))

    two.together(work)


def test_reals_that_go_take_what_is_held_along(balancers: None) -> None:
    keys = two.make_keys(900)
    two.learn(EAST, keys)

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        assert "10.0.0.5" in two.held(WEST).values()
        replace_a_real(WEST)
        west.ring_changed()
        await two.until(lambda: not {"10.0.0.5", "gone"} & set(two.held(WEST).values()))
        # And it is not held for who still has it.
        await east.hand_over(5.0)
        assert "10.0.0.5" not in two.held(WEST).values()

    two.together(work)


def test_a_vip_without_the_flag_holds_nothing(balancers: None) -> None:
    keys = two.make_keys(900)
    two.learn(EAST, keys)
    two.apply(WEST, two.vips(*AFTER, flags=()))

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(EAST, keep=True)
        assert all((await east.hand_over(5.0)).values())
        await two.until(lambda: total(west, "not_held_vip", "not_held_unknown_real") >= east.stats()["exceptions"] > 0)
        assert total(west, "not_held_vip") > 0
        assert total(west, "not_held_unknown_real") > 0, "it does not have real 5 any more"
        assert two.held(WEST) == {}

    two.together(work)


def test_both_tell_each_other_and_an_agent_that_begins_anew_learns_it_again(balancers: None) -> None:
    east_keys, west_keys = two.make_keys(700, seed=3), two.make_keys(700, seed=4)
    two.learn(EAST, east_keys)
    two.learn(WEST, west_keys)

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        await west.hand_over(5.0)
        of_east, of_west = two.held(WEST), two.held(EAST)
        assert of_east
        assert of_west
        assert not set(of_east) & set(of_west)
        # The balancer of the west boots: its global tables are empty, and its agent is another.
        await west.stop()
        with two.tables(WEST, "global_lru_maps") as tables:
            for table in tables:
                table.delete_many(list(of_east))
        assert two.held(WEST) == {}
        again = two.sync(WEST)
        await again.start()
        try:
            await two.until(again.in_sync)
            # It gets what it had told before as well: its own tables may be gone with it.
            assert two.held(WEST).items() >= of_east.items()
            await two.until(lambda: set(two.held(WEST)) <= {*of_east, *of_west})
        finally:
            await again.stop()

    two.together(work)


def test_a_run_that_holds_the_lock_delays_and_does_not_harm(balancers: None) -> None:
    two.learn(EAST, two.make_keys(900))

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        with locked(EAST, True, 5.0):
            assert await east.hand_over(0.5) == {ADDRESSES[WEST]: False}
        assert all((await east.hand_over(5.0)).values())
        assert two.held(WEST)
        assert "failures_total" not in east.stats()

    two.together(work)


def test_a_program_that_is_replaced_keeps_what_is_held(balancers: None) -> None:
    two.learn(EAST, two.make_keys(900))

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        held = two.held(WEST)
        two.load(WEST, global_flows=9000)
        west.ring_changed()
        await two.until(lambda: west._report.get("scanned", 0) >= 1)
        assert two.held(WEST) == held
        # What somebody purges is not put back by who holds it, only by who tells of it again.
        purged = list(held)[:20]
        with two.tables(WEST, "global_lru_maps") as tables:
            for table in tables:
                table.delete_many(purged)
        left = {key: real for key, real in held.items() if key not in purged}
        west.ring_changed()
        await two.until(lambda: west._report.get("scanned", 0) >= 2 and west.stats().get("held") == len(left))
        assert two.held(WEST) == left
        # Where the tables are others and empty, they get it back.
        two.Balancer(WEST, two.BPFFS).remove(False, 5)
        two.load(WEST)
        two.apply(WEST, two.vips(*BEFORE, 6))
        west.ring_changed()
        await two.until(lambda: two.held(WEST) == left)

    two.together(work)


# What comes from the network


class Attacker:
    """Sends what it likes from any address, and hears what passes."""

    def __init__(self) -> None:
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._wire.bind(("lo", 3))
        self._wire.setblocking(False)

    def heard(self, receiver: str) -> list[bytes]:
        """The datagrams to a balancer since the last time."""
        found = []
        while True:
            try:
                frame, where = self._wire.recvfrom(4096)
            except BlockingIOError:
                return found
            ours = frame[23] == 17 and frame[30:34] == socket.inet_aton(ADDRESSES[receiver])
            if where[2] == socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00" and ours:
                found.append(frame[42:])

    def send(self, datagrams: list[bytes], receiver: str, source: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind((source, 0))
            for index, datagram in enumerate(datagrams):
                out.sendto(datagram, (ADDRESSES[receiver], two.PORT))
                if index % 50 == 49:
                    time.sleep(0.01)

    def close(self) -> None:
        self._wire.close()


def test_what_is_replayed_cut_altered_or_out_of_order_changes_nothing_and_is_counted(balancers: None) -> None:
    two.learn(EAST, two.make_keys(900))
    attacker = Attacker()

    async def refused(west: Sync, cause: str, datagrams: list[bytes], source: str = ADDRESSES[EAST]) -> None:
        before, held = total(west, f"refused_{cause}"), two.held(WEST)
        attacker.send(datagrams, WEST, source)
        await two.until(lambda: total(west, f"refused_{cause}") >= before + len(datagrams))
        assert two.held(WEST) == held

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        assert two.held(WEST)
        data = [each for each in attacker.heard(WEST) if each[3] == 3]
        assert len(data) > 10
        await refused(west, "replayed", data)
        await refused(west, "cut", [each[: len(each) // 2] for each in data])
        await refused(west, "cut", [each[:20] for each in data])
        await refused(west, "key", [each[:-1] + bytes((each[-1] ^ 1,)) for each in data])
        # A counter that is yet to come.
        await refused(west, "key", [each[:60] + b"\xff" + each[61:] for each in data])
        await refused(west, "version", [b"XX" + each[2:] for each in data])
        await refused(west, "version", [each[:2] + b"\x02" + each[3:] for each in data])
        await refused(west, "stranger", data, two.STRANGER)
        await refused(west, "reflected", [each for each in attacker.heard(EAST) if each[3] in (2, 4)])
        # It still hears who it should.
        assert all((await east.hand_over(5.0)).values())
        # Recorded before the west began anew, it says nothing to who is there since.
        held = two.held(WEST)
        await west.stop()
        await east.stop()
        with two.tables(WEST, "global_lru_maps") as tables:
            for table in tables:
                table.delete_many(list(held))
        again = two.sync(WEST)
        await again.start()
        try:
            await two.until(lambda: again.stats().get("peers", 0) == 1)
            await refused(again, "session", data)
            assert two.held(WEST) == {}
        finally:
            await again.stop()

    try:
        two.together(work)
    finally:
        attacker.close()


def test_another_key_reaches_nobody(balancers: None) -> None:
    two.learn(EAST, two.make_keys(900))

    async def work(east: Sync, west: Sync) -> None:
        await two.until(lambda: east.stats().get("peers", 0) == west.stats().get("peers", 0) == 1)
        replace_a_real(keep=True)
        assert await east.hand_over(2.0) == {ADDRESSES[WEST]: False}
        await two.until(lambda: total(west, "refused_key") > 0 and total(east, "refused_key") > 0)
        assert two.held(WEST) == {}
        assert east.stats()["peers_reached"] == 0
        assert east.stats()["unacknowledged"] == east.stats()["exceptions"] > 0, "they are not delivered"
        assert not east.in_sync(), "its peer may be there"
        await two.until(east.in_sync, 15.0)

    two.together(work, **{WEST: bytes(range(8, 40))})


def test_the_key_is_in_no_command_line_or_environment(balancers: None) -> None:
    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        assert east._process is not None
        for name in ("cmdline", "environ"):
            told = Path(f"/proc/{east._process.pid}/{name}").read_bytes()
            assert two.KEY not in told
            assert two.KEY.hex().encode() not in told
        assert two.KEY.hex() not in repr(two.settings(EAST))

    two.together(work)


def test_a_process_that_dies_comes_back_and_one_without_an_agent_ends(balancers: None) -> None:
    two.learn(EAST, two.make_keys(900))

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        replace_a_real(keep=True)
        await east.hand_over(5.0)
        held = two.held(WEST)
        assert east._process is not None
        first = east._process
        first.kill()
        await two.until(lambda: east._process not in (None, first))
        await two.until(lambda: east._report.get("stats", {}).get("exceptions") == len(held), 15.0)
        assert all((await east.hand_over(10.0)).values())
        assert two.held(WEST) == held
        assert east.stats()["restarts_total"] == 1

    two.together(work)
    alone = subprocess.Popen(command(), stdin=subprocess.PIPE)
    alone.communicate(timeout=10)
    assert alone.returncode == 0


def test_a_port_in_use_is_told_in_a_sentence(balancers: None) -> None:
    told: list[str] = []

    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((ADDRESSES[EAST], two.PORT))
            east = two.sync(EAST, told)
            await east.start()
            await two.until(lambda: bool(told))
            await east.stop()

    asyncio.run(work())
    assert told[0] == "flow exceptions on 198.18.7.1 port 9464: Address already in use"


def test_it_follows_a_balancer_that_is_loaded_later() -> None:
    told: list[str] = []

    async def work() -> None:
        east = two.sync(EAST, told)
        await east.start()
        try:
            await two.until(lambda: bool(told))
            two.load(EAST)
            two.apply(EAST, two.vips(*BEFORE))
            two.learn(EAST, two.make_keys(500))
            await two.until(lambda: east.stats().get("scan_entries") == 500)
        finally:
            await east.stop()

    with two.two_balancers():
        two.Balancer(EAST, two.BPFFS).remove(False, 5)
        asyncio.run(work())
    assert told == ["flow exceptions: balancer east is not loaded on this host: run module katran.fleet.balancer first"]


def test_maps_are_left_alone_where_nothing_is_told(balancers: None) -> None:
    """The tables are those of the program: none of them is replaced, and their other entries stay."""
    with two.opened(WEST) as maps:
        before = {name: maps.map(name).info.id for name in maps.names()}
    with two.tables(WEST, "global_lru_maps") as tables:
        ids = [table.info.id for table in tables]

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)

    two.together(work)
    with two.opened(WEST) as maps:
        assert {name: maps.map(name).info.id for name in maps.names()} == before
    with two.tables(WEST, "global_lru_maps") as tables:
        assert [table.info.id for table in tables] == ids
    assert bpf.is_bpffs(two.BPFFS)
