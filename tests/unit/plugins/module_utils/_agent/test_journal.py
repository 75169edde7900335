# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal gets each change with its fields, and no flood."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent import notify as telling
from ansible_collections.katran.fleet.plugins.module_utils._agent.journal import NOTICE, WARNING, Journal
from ansible_collections.katran.fleet.plugins.module_utils._agent.troubles import Troubles


@pytest.fixture(name="ear")
def listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What journald would hear."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "socket"))
        ear.setblocking(False)
        yield ear


@pytest.fixture(name="begin")
def journals(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Journals that end with the test."""
    made = []

    def begin(**options: Any) -> Journal:
        made.append(Journal(path=str(tmp_path / "socket"), **options))
        return made[-1]

    yield begin
    for journal in made:
        journal.close()


def entries(ear: socket.socket) -> list[dict[str, str]]:
    found = []
    while True:
        try:
            data = ear.recv(1 << 20)
        except BlockingIOError:
            return found
        entry = {}
        while data:
            line, _newline, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[9 + size :]
            entry[name.decode()] = value.decode()
        found.append(entry)


def test_an_entry_and_its_fields(ear: socket.socket, begin: Callable[..., Journal]) -> None:
    journal = begin()
    journal.tell(WARNING, "two\nlines", instance="default", vip="198.51.100.1:80/tcp", slots=7, reason="")
    assert entries(ear) == [
        {
            "MESSAGE": "two\nlines",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "katran-agent",
            "KATRAN_INSTANCE": "default",
            "KATRAN_VIP": "198.51.100.1:80/tcp",
            "KATRAN_SLOTS": "7",
        }
    ]
    journal.tell(WARNING, "x" * 100_000)
    assert len(entries(ear)[0]["MESSAGE"]) == 2000


def test_a_name_that_is_no_text(ear: socket.socket, begin: Callable[..., Journal]) -> None:
    begin().tell(WARNING, "verdicts.d/\udcff.json is damaged")
    assert entries(ear)[0]["MESSAGE"] == "verdicts.d/\\udcff.json is damaged"


def test_a_mass_failure_is_no_flood(ear: socket.socket, begin: Callable[..., Journal]) -> None:
    journal = begin(rate=10, burst=20)
    found = []
    for number in range(1000):
        journal.change(5.0, WARNING, f"change {number}")
        found += entries(ear)
    assert [entry["MESSAGE"] for entry in found] == [f"change {number}" for number in range(20)]
    journal.sum_up(5.1)
    assert entries(ear) == []
    journal.sum_up(7.0)
    [told] = entries(ear)
    assert told["MESSAGE"] == "and 980 more changes at once (katran checks shows what is)"
    assert told["KATRAN_UNTOLD"] == "980"
    # It is told once, and what comes later is told again.
    journal.sum_up(9.0)
    journal.change(9.0, NOTICE, "later")
    assert [entry["MESSAGE"] for entry in entries(ear)] == ["later"]


def test_a_journal_that_does_not_read_is_not_waited_for(ear: socket.socket, begin: Callable[..., Journal]) -> None:
    journal = begin()
    for number in range(5000):
        journal.tell(NOTICE, f"entry {number}")
    told = len(entries(ear))
    assert 0 < told < 5000
    journal.sum_up(100.0)
    assert entries(ear)[0]["KATRAN_UNTOLD"] == str(5000 - told)


@pytest.mark.parametrize("stream", ["", "8:1"])
def test_without_a_journal_lines_go_to_standard_error(
    stream: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    begin: Callable[..., Journal],
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    begin().tell(WARNING, "a line", real="10.0.0.1")
    assert capsys.readouterr().err == "<4>a line\n"


def test_a_trouble_is_told_when_it_begins_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    troubles = Troubles(Journal())
    for _again in range(3):
        troubles.begin("state", "it is damaged")
    # What stumbles over the same is no second one.
    troubles.begin("look", "it is damaged")
    troubles.begin("marks", "the lock is taken", patience=60)
    troubles.end("marks")
    troubles.end("look")
    troubles.end("state")
    troubles.end("state")
    assert capsys.readouterr().err == "<4>it is damaged\n<5>well again, after: it is damaged\n"
    troubles.begin("state", "it is damaged")
    troubles.begin("state", "it is gone")
    assert capsys.readouterr().err == "<4>it is damaged\n<4>it is gone\n"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = f"katran-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{place}" if abstract else place)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{place}" if abstract else place)
        telling.notify("READY=1", "STATUS=well")
        assert ear.recv(100) == b"READY=1\nSTATUS=well"


def test_who_was_not_started_by_systemd_tells_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in ("", str(tmp_path / "nobody"), "relative"):
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        telling.notify("READY=1")


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [({}, 0.0), ({"WATCHDOG_USEC": "20000000"}, 10.0), ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0.0)],
)
def test_how_often_systemd_wants_to_hear(
    variables: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert telling.watchdog_seconds() == seconds
