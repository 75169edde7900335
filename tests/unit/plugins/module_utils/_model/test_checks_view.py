# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are shown of checks."""

from __future__ import annotations

import json
import math

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import STALE_SECONDS, ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_view import CheckRow, Seen, exit_status
from ansible_collections.katran.fleet.plugins.module_utils._model.external import Word
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import Checked, iso
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

NOW = 1.8e9
WEB, DNS = "198.51.100.1:443/tcp", "198.51.100.2:53/udp"
REALS = ("10.0.0.2", "10.0.0.10", "10.0.0.11", "10.0.0.12")
LAST = Answer("active", "", 0.002, NOW + 86400)
CHANGE = Change(NOW - 60, "active", "")


def seen(*stored: Verdict, record: bool = True, **healths: Health) -> Seen:
    """`healths`: by the last number of a real's address."""
    reals = tuple(map(VipReal, REALS))
    vips = [
        Vip(VipKey.read(WEB), reals=reals, check=Check(Probe("tcp"))),
        Vip(VipKey.read(DNS), reals=reals[:1], check=Check(Probe("external"))),
        Vip(VipKey.read("198.51.100.3:80/tcp"), reals=reals),
    ]
    checked = Checked.of({vip.key: vip for vip in vips})
    known = {target: healths.get(f"r{target.real.rpartition('.')[2]}", Health()) for target in checked.pairs}
    words = {"consul.json": (Word(DNS, REALS[0], "down", NOW + 60),)} if "words" in healths else {}
    return Seen(checked, {}, stored, ChecksRecord(known, {}, {}, words, NOW) if record else None)


ACTIVE = Health("active", NOW - 60, "", "active", 60, LAST, NOW - 1, (CHANGE,))


def test_rows() -> None:
    stored = Verdict(WEB, "10.0.0.11", "down", iso(NOW - 5), "connection refused")
    slow = Verdict(WEB, "10.0.0.12", "active", iso(NOW - 9), "slow start", 30)
    down = Health("down", NOW - 5, "connection refused")
    rows = seen(stored, slow, r2=ACTIVE, r11=down, r12=ACTIVE).rows(lambda _key, _real: True)
    assert rows == [
        CheckRow(WEB, "10.0.0.2", "tcp", "active", NOW - 60, "", 100, "", LAST, NOW - 1, (CHANGE,)),
        CheckRow(WEB, "10.0.0.10", "tcp", "unknown", reason="not judged yet"),
        CheckRow(WEB, "10.0.0.11", "tcp", "down", NOW - 5, "connection refused"),
        # Its slow start was set to nothing: the whole weight is a share, no other state.
        CheckRow(WEB, "10.0.0.12", "tcp", "active", NOW - 9, "slow start", 30, "", LAST, NOW - 1, (CHANGE,)),
        CheckRow(DNS, "10.0.0.2", "external", "active", reason="nobody speaks against it"),
    ]
    assert [row.real for row in seen().rows(lambda _key, real: real == "10.0.0.2")] == ["10.0.0.2"] * 2
    assert [row.vip for row in seen().rows(lambda key, _real: str(key) == DNS)] == [DNS]


def test_what_is_about_to_be_applied() -> None:
    down = Health("down", NOW - 5, "connection refused")
    stored = Verdict(WEB, "10.0.0.10", "down", iso(NOW - 90), "timed out")
    rows = {row.real: row for row in seen(stored, r2=down, r10=ACTIVE).rows(lambda key, _real: str(key) == WEB)}
    assert (rows["10.0.0.2"].state, rows["10.0.0.2"].wanted) == ("active", "down")
    assert rows["10.0.0.2"].reason == "connection refused"
    assert (rows["10.0.0.10"].state, rows["10.0.0.10"].wanted) == ("down", "active")
    assert exit_status([rows["10.0.0.2"]]) == exit_status([rows["10.0.0.10"]]) == 1
    (row,) = seen(words=Health()).rows(lambda key, _real: str(key) == DNS)
    assert (row.state, row.wanted) == ("active", "down")


def test_without_the_agents_file_what_was_applied_is_shown() -> None:
    stored = Verdict(WEB, "10.0.0.2", "down", iso(NOW - 90), "timed out")
    rows = seen(stored, record=False).rows(lambda key, _real: str(key) == WEB)
    assert [(row.state, row.wanted, row.reason) for row in rows] == [
        ("down", "", "timed out"),
        *[("unknown", "", "not judged yet")] * 3,
    ]
    assert math.isinf(seen(record=False).age(NOW))
    assert not seen(record=False).is_alive(NOW)


def test_how_old_it_is() -> None:
    assert seen().age(NOW + 3) == 3
    assert seen().age(NOW - 3) == 0
    assert seen().is_alive(NOW + STALE_SECONDS)
    assert not seen().is_alive(NOW + STALE_SECONDS + 0.1)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], 0),
        (["active"], 0),
        (["active", "down"], 1),
        (["active", "draining"], 1),
        (["active", "unknown"], 2),
        (["down", "unknown"], 2),
    ],
)
def test_exit_status(states: list[str], status: int) -> None:
    assert exit_status(CheckRow(WEB, "10.0.0.1", "tcp", state) for state in states) == status


def test_rows_for_programs() -> None:
    row = CheckRow(WEB, "10.0.0.2", "tcp", "active", NOW - 60, "", 100, "", LAST, NOW - 1, (CHANGE,))
    data = json.loads(json.dumps(row.to_data()))
    assert data == {
        "vip": WEB,
        "real": "10.0.0.2",
        "type": "tcp",
        "state": "active",
        "since": iso(NOW - 60),
        "reason": "",
        "share": 100,
        "wanted": "",
        "last": {"state": "active", "reason": "", "took": 0.002, "expires": iso(NOW + 86400), "at": iso(NOW - 1)},
        "history": [{"at": iso(NOW - 60), "state": "active", "reason": ""}],
    }
    plain = CheckRow(WEB, "10.0.0.2", "tcp", "unknown").to_data()
    assert (plain["since"], plain["last"], plain["history"]) == (None, None, [])
