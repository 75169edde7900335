# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a route stays away that comes and goes."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.hold_down import Hold


def test_the_first_time_it_comes_back_at_once() -> None:
    gone = Hold().gone(100.0)
    assert gone.until(100.0) == 100.0
    assert Hold().until(100.0) == 0.0


def test_it_doubles_from_10_seconds_to_5_minutes() -> None:
    hold, now, found = Hold().gone(1000.0), 1000.0, []
    for _time in range(9):
        now = hold.until(now) + 59.0
        hold = hold.back(now - 58.0).gone(now)
        found.append(hold.until(now) - now)
    assert found == [10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_a_minute_lies_between() -> None:
    hold = Hold().gone(1000.0).back(1001.0)
    assert hold.gone(1060.0).level == 1
    assert hold.gone(1060.1).level == 0


def test_the_time_that_it_was_held_does_not_count() -> None:
    hold = Hold(1000.0, 1080.0, 4)
    assert hold.gone(1140.0).level == 5
    assert hold.gone(1140.1).level == 4


def test_standing_takes_doublings_back() -> None:
    hold = Hold(1000.0, 1300.0, 3)
    assert hold.gone(1599.0).level == 3
    assert hold.gone(1600.0).level == 2
    assert hold.gone(2200.0).level == 0
    assert hold.gone(99999.0).level == 0
    assert hold.until(1600.0) == 1020.0
    # What is away does not stand.
    assert Hold(1300.0, 1000.0, 3).until(9999.0) == 1340.0


def test_when_it_went_and_came_is_known() -> None:
    assert Hold().gone(1000.0).back(1001.0) == Hold(1000.0, 1001.0, 0)
    assert Hold(1000.0, 1001.0, 0).gone(1002.0).back(1012.0) == Hold(1002.0, 1012.0, 1)


def test_what_never_went_has_nothing_to_remember() -> None:
    assert Hold().back(5.0) == Hold()


def test_a_clock_that_is_set_back_holds_nothing_for_longer() -> None:
    hold = Hold(5000.0, 4000.0, 1).not_after(100.0)
    assert hold == Hold(100.0, 100.0, 1)
    assert hold.until(100.0) == 110.0


def test_a_clock_that_is_set_back_takes_no_longer_to_forget() -> None:
    hold = Hold(5000.0, 5010.0, 3).not_after(100.0)
    assert hold.gone(399.0).level == 3
    assert hold.gone(400.0).level == 2
    assert hold.gone(1000.0).level == 0
