# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeders said: as their files have it, over a restart, over a reboot, and without anybody waiting for it."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.feeders import Feeders
from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import Checked
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

VIP, REAL = "198.51.100.1:443/tcp", "10.0.0.1"
CHECKED = Checked.of(
    {
        VipKey.read(VIP): Vip(
            VipKey.read(VIP), reals=(VipReal(REAL), VipReal("10.0.0.2")), check=Check(Probe("external"))
        )
    }
)


class Host:
    """A host with /run and /var/lib, and the agent of one balancer on it."""

    def __init__(self, root: Path) -> None:
        self.run, self.state = root / "run", root / "state"
        for folder in (self.run, self.state):
            folder.mkdir(mode=0o700)
        self.verdicts = self.run / "default" / "verdicts.d"
        self.kept = self.state / "default" / "words.json"
        self.told: list[str] = []
        self.feeders = self.start()

    def start(self) -> Feeders:
        """Another agent, that takes over."""
        self.feeders = Feeders(RunFiles("default", str(self.run)), self.told.append, str(self.state))
        self.feeders.resume({})
        return self.feeders

    def reboot(self) -> None:
        """Without the agent before having a say, and an empty /run."""
        shutil.rmtree(self.run / "default")
        self.start()

    def feed(self, *states: str, name: str = "consul.json", until: float = 2e9, text: str = "") -> None:
        """What a feeder writes: of the VIP's reals in their order."""
        self.verdicts.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = [
            {"vip": VIP, "real": f"10.0.0.{number}", "state": state, "until": until}
            for number, state in enumerate(states, 1)
        ]
        new = self.verdicts / ".new"
        new.write_text(text or json.dumps(words), encoding="utf-8")
        new.rename(self.verdicts / name)

    async def heard(self) -> dict[str, list[str]]:
        """What is known once all was read and written down: file → states."""
        feeders = self.feeders
        for _look in range(1000):
            feeders.look(CHECKED)
            if feeders._reading is None and feeders._keeping is None and feeders._kept_version == feeders._version:
                break
            await asyncio.sleep(0.005)
        return {name: [word.state for word in words] for name, words in self.feeders.words.items()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_word_outlives_a_reboot(host: Host) -> None:
    async def work() -> None:
        host.feed("down", "draining")
        assert await host.heard() == {"consul.json": ["down", "draining"]}
        assert host.kept.stat().st_mode & 0o777 == 0o600
        for _reboot in range(3):
            host.reboot()
            assert await host.heard() == {"consul.json": ["down", "draining"]}
        # A restart between the reboot and the feeder's next word forgets nothing.
        host.start()
        assert await host.heard() == {"consul.json": ["down", "draining"]}
        host.feed("active")
        assert await host.heard() == {"consul.json": ["active"]}
        (host.verdicts / "consul.json").unlink()
        assert await host.heard() == {}
        host.reboot()
        assert await host.heard() == {}
        assert host.told == []

    asyncio.run(work())


@pytest.mark.parametrize("how", ["file", "folder", "word", "state"])
def test_what_was_taken_back_before_the_reboot_stays_so(host: Host, how: str) -> None:
    async def work() -> None:
        host.feed("down")
        host.feed("draining", name="k8s.json")
        await host.heard()
        if how == "file":
            (host.verdicts / "consul.json").unlink()
        elif how == "folder":
            shutil.rmtree(host.verdicts)
        elif how == "word":
            host.feed()
        else:
            host.feed("active")
        after = await host.heard()
        assert after.get("consul.json", []) in ([], ["active"])
        host.reboot()
        assert {name: said for name, said in (await host.heard()).items() if said} == {
            name: said for name, said in after.items() if said
        }

    asyncio.run(work())


@pytest.mark.parametrize("rebooted_before", [False, True])
def test_what_was_taken_back_while_no_agent_ran(host: Host, rebooted_before: bool) -> None:
    async def work() -> None:
        host.feed("down")
        await host.heard()
        if rebooted_before:
            host.reboot()
            host.feed("down")
            await host.heard()
        (host.verdicts / "consul.json").unlink()
        host.start()
        assert await host.heard() == {}
        host.reboot()
        assert await host.heard() == {}

    asyncio.run(work())


def test_a_word_that_expired_is_not_brought_back(host: Host) -> None:
    async def work() -> None:
        host.feed("down", until=time.time() + 1)
        host.feed("draining", name="k8s.json")
        await host.heard()
        await asyncio.sleep(1)
        host.reboot()
        assert await host.heard() == {"k8s.json": ["draining"]}

    asyncio.run(work())


def test_a_feeder_that_writes_nonsense_after_the_reboot(host: Host) -> None:
    async def work() -> None:
        host.feed("down")
        await host.heard()
        host.reboot()
        host.feed(text="[{")
        assert await host.heard() == {"consul.json": ["down"]}
        assert len(host.told) == 1
        (host.verdicts / "consul.json").unlink()
        assert await host.heard() == {}

    asyncio.run(work())


@pytest.mark.parametrize(
    "damage",
    [
        *(
            "",
            "[",
            "[]",
            "3",
            "{}",
            '{"schema": 2}',
            "\0",
            '{"schema": 1, "life": "x", "held": [], "words": {"a": [3]}}',
        ),
        '{"schema": 1, "life": 3, "held": [], "words": {}}',
        '{"schema": 1, "life": "x", "held": [], "words": {"a.json": [{"until": ' + "9" * 5000 + "}]}}",
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_told_and_ignored(host: Host, damage: str) -> None:
    async def work() -> None:
        host.feed("down")
        await host.heard()
        host.kept.write_text(damage, encoding="utf-8")
        host.reboot()
        assert await host.heard() == {}
        (sentence,) = host.told
        assert sentence.startswith(f"{host.kept} is damaged (")
        assert sentence.endswith("it is ignored, and written anew once a feeder says something")
        # It is as ever from the next word on.
        host.feed("draining")
        await host.heard()
        host.reboot()
        assert await host.heard() == {"consul.json": ["draining"]}
        assert len(host.told) == 1

    asyncio.run(work())


def test_a_file_of_somebody_else_is_told_and_ignored(host: Host) -> None:
    async def work() -> None:
        host.feed("down")
        await host.heard()
        host.kept.chmod(0o666)
        host.reboot()
        assert await host.heard() == {}
        assert "is not root's alone" in host.told[0]

    asyncio.run(work())


def test_a_disk_that_takes_nothing_is_told_once(host: Host) -> None:
    async def work() -> None:
        host.feed("down")
        host.kept.mkdir(parents=True)  # a folder in the place of the file
        assert await host.heard() == {"consul.json": ["down"]}
        await asyncio.sleep(1)
        await host.heard()
        assert [line.startswith(str(host.kept)) for line in host.told] == [True]
        host.kept.rmdir()
        await asyncio.sleep(1)
        await host.heard()
        host.reboot()
        assert await host.heard() == {"consul.json": ["down"]}

    asyncio.run(work())


def test_where_nobody_says_anything_nothing_is_written(host: Host) -> None:
    async def work() -> None:
        assert await host.heard() == {}
        assert not host.kept.exists()
        await host.feeders.close(kept=True)
        assert not host.kept.exists()

    asyncio.run(work())


def test_what_is_heard_last_is_kept_when_the_agent_ends(host: Host) -> None:
    async def work() -> None:
        host.feed("down")
        await host.heard()
        host.feed("active")
        host.feeders.look(CHECKED)
        await host.feeders.close(kept=True)
        host.reboot()
        assert await host.heard() == {"consul.json": ["active"]}

    asyncio.run(work())


@pytest.fixture
def frozen() -> Iterator[None]:
    """As the agent does: the garbage collector looks at nothing that was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def large() -> str:
    """What a feeder says of 512 VIPs with 100 reals each."""
    vips = [f"198.51.{number >> 8}.{number & 255}:443/tcp" for number in range(512)]
    reals = [f"10.0.0.{last}" for last in range(1, 101)]
    words = [{"vip": vip, "real": real, "state": "down", "until": 2e9} for vip in vips for real in reals]
    return json.dumps(words, indent=2)


@pytest.mark.usefixtures("frozen")
def test_nobody_waits_for_a_large_file(host: Host) -> None:
    host.feed(text=large())

    async def work() -> list[float]:
        host.feeders.look(CHECKED)
        stalls = []
        while host.feeders._reading is not None or not host.feeders.heard:
            began = time.thread_time()
            host.feeders.look(CHECKED)
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - began)
        return stalls

    stalls = asyncio.run(work())
    assert len(host.feeders.words["consul.json"]) == 51_200
    assert max(stalls) < 0.02


def test_a_file_that_changes_while_it_is_read_is_read_again(host: Host) -> None:
    async def work() -> None:
        many = [
            {"vip": VIP, "real": f"10.1.{high}.{low}", "state": "down", "until": 2e9}
            for high in range(99)
            for low in range(99)
        ]
        host.feed(text=json.dumps(many))
        host.feeders.look(CHECKED)
        assert not host.feeders.heard
        host.feed("draining")
        await host.heard()
        assert await host.heard() == {"consul.json": ["draining"]}

    asyncio.run(work())


def test_only_files_that_changed_are_read(host: Host) -> None:
    async def work() -> None:
        host.feed("down")
        host.feed(text="[", name="broken.json")
        await host.heard()
        before: t.Any = host.feeders.words["consul.json"]
        host.feed("draining", name="k8s.json")
        assert await host.heard() == {"broken.json": [], "consul.json": ["down"], "k8s.json": ["draining"]}
        assert host.feeders.words["consul.json"] is before
        assert len(host.told) == 1

    asyncio.run(work())
