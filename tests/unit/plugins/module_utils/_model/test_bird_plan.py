# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to bird, in which order, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import BgpSettings, Neighbor
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_conf import MARK
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_plan import (
    OWNER,
    Bird,
    choose_router_id,
    missing_links,
    plan_absence,
    plan_presence,
    require_ours,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_record import BirdRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import HostError, StateError

TEXT = f"{MARK}\nwanted\n"
SETTINGS = BgpSettings(65001, (Neighbor("10.0.0.1", 65000),))
DONE = Bird(True, TEXT, "1:2", OWNER, False, "packaged", "enabled", "active")
RECORD = BirdRecord("1:2", "10.0.0.9")
FRESH = Bird(True, "packaged", "0:1", OWNER, True, "packaged", "enabled", "active")
FOREIGN = replace(FRESH, conf="router id 1.2.3.4;\n", untouched=False)
READ = "have bird read /etc/bird/bird.conf"


def changes(there: Bird, record: BirdRecord | None = RECORD) -> list[str]:
    return plan_presence(there, record, TEXT, ["bird2"], "/kept").changes


def test_where_all_is_done_nothing_is() -> None:
    assert changes(DONE) == []


def test_a_host_without_bird() -> None:
    assert changes(Bird(), None) == [
        "install bird2",
        "write /etc/bird/bird.conf",
        "enable bird.service",
        "start bird.service",
    ]
    assert plan_presence(Bird(), None, TEXT, ["bird2"], "/kept").record == BirdRecord()


def test_the_packages_own_file_is_replaced() -> None:
    plan = plan_presence(FRESH, None, TEXT, ["bird2"], "/kept")
    assert plan.changes == ["write /etc/bird/bird.conf", READ]
    assert plan.record == BirdRecord(enabled=True, active=True)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (replace(DONE, conf=f"{MARK}\nother\n"), ["rewrite /etc/bird/bird.conf", READ]),
        (replace(DONE, conf=None, identity=""), ["write /etc/bird/bird.conf", READ]),
        (replace(DONE, conf=" \n"), ["write /etc/bird/bird.conf", READ]),
        # Of a run that was killed before bird was told, and of a file that was touched.
        (replace(DONE, identity="9:9"), [READ]),
        (replace(DONE, enabled="disabled"), ["enable bird.service"]),
        (replace(DONE, active="inactive"), ["start bird.service"]),
        (replace(DONE, active="failed", identity="9:9"), ["start bird.service"]),
        (
            replace(DONE, owner=OWNER._replace(mode=0o644)),
            ["give /etc/bird/bird.conf to root and group bird alone"],
        ),
        (
            replace(DONE, owner=OWNER._replace(user="bird"), active="inactive"),
            ["give /etc/bird/bird.conf to root and group bird alone", "start bird.service"],
        ),
    ],
)
def test_what_differs_is_put_right(there: Bird, expected: list[str]) -> None:
    assert changes(there) == expected


def test_a_lost_record_costs_one_reading() -> None:
    assert changes(DONE, None) == [READ]


def test_somebody_elses_file_is_refused() -> None:
    with pytest.raises(
        HostError, match=r"^/etc/bird/bird\.conf was not written by katran\.fleet .* replace_foreign: true"
    ):
        require_ours(FOREIGN, SETTINGS)
    for each in (DONE, FRESH, Bird(), replace(DONE, conf="")):
        require_ours(each, SETTINGS)


def test_somebody_elses_file_is_kept_where_it_may_go() -> None:
    require_ours(FOREIGN, replace(SETTINGS, replace_foreign=True))
    plan = plan_presence(FOREIGN, None, TEXT, ["bird2"], "/kept")
    assert plan.changes == ["keep somebody else's /etc/bird/bird.conf as /kept", "write /etc/bird/bird.conf", READ]
    assert plan.record.backup == "/kept"


def test_a_masked_unit_is_refused() -> None:
    with pytest.raises(HostError, match=r"^unit bird\.service is masked on this host"):
        changes(replace(DONE, enabled="masked"))


@pytest.mark.parametrize(
    ("there", "record", "expected"),
    [
        (Bird(), None, []),
        (FRESH, None, []),
        (FOREIGN, None, []),
        (
            DONE,
            RECORD,
            ["make /etc/bird/bird.conf the package's own again", "stop bird.service", "disable bird.service"],
        ),
        (
            replace(DONE, restorable=True),
            replace(RECORD, backup="/kept", active=True, enabled=True),
            ["bring back /etc/bird/bird.conf from /kept", READ],
        ),
        (replace(DONE, default=None, active="inactive", enabled="disabled"), RECORD, ["remove /etc/bird/bird.conf"]),
        # Somebody put a file of their own there meanwhile, and the daemon is theirs.
        (FOREIGN, replace(RECORD, active=True, enabled=True), ["forget what bird was before"]),
    ],
)
def test_absence_brings_back_what_was(there: Bird, record: BirdRecord | None, expected: list[str]) -> None:
    assert plan_absence(there, record).changes == expected


def test_the_router_id_stays() -> None:
    assert choose_router_id(replace(SETTINGS, router_id="9.9.9.9"), "10.0.0.9", ["10.0.0.9"], ["10.0.0.9"]) == "9.9.9.9"
    assert choose_router_id(SETTINGS, "10.0.0.9", ["10.0.0.8", "10.0.0.9"], ["10.0.0.8"]) == "10.0.0.9"
    assert choose_router_id(SETTINGS, "10.0.0.9", ["10.0.0.8"], ["10.0.0.8"]) == "10.0.0.8"
    with pytest.raises(HostError, match="no IPv4 address to be a router id: say router_id in katran_bgp"):
        choose_router_id(SETTINGS, "", [], [])


def test_a_neighbor_on_an_interface_that_is_not_there() -> None:
    neighbors = [Neighbor("10.0.0.1", 1), Neighbor("fe80::1", 1, interface="eth7")]
    assert missing_links(neighbors, ["eth0"]) == ["neighbors[1].interface: interface eth7 does not exist on this host"]


def test_the_record_is_read_as_written() -> None:
    for record in (RECORD, BirdRecord("x", "y", True, True, "/kept")):
        assert BirdRecord.from_json(record.to_json(), "bgp.json") == record
    with pytest.raises(StateError, match=r"^bgp.json is damaged \(backup: \"kept\" is not an absolute path\)"):
        BirdRecord.from_json(BirdRecord(backup="kept").to_json(), "bgp.json")
