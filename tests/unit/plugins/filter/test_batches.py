# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.katran.fleet.plugins.filter import batches
from ansible_collections.katran.fleet.plugins.filter.readiness import noted


class Hostvars(dict[str, dict[str, Any]]):
    """Ansible's variable of that name."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return self[host]


TOLD = {"run": "now", "rollout": {"serial": [2, "50%"], "max_failed": 1}}


def test_sizes_are_those_that_preflight_told_any_host() -> None:
    hostvars = Hostvars({"left_out": {}, "lb2": {"told": TOLD}})
    assert batches.batches({"hostvars": hostvars}, "told") == [2, "50%"]


def test_where_nobody_was_told_there_is_a_canary() -> None:
    # ansible-playbook --list-hosts knows no hosts' variables; an earlier version's answer has no such part.
    for context in ({}, {"hostvars": Hostvars({"lb1": {"told": {"run": "now"}}})}):
        assert batches.batches(context, "told") == [1, "25%", "100%"]


def test_in_a_review_all_are_one_batch() -> None:
    assert batches.batches({"ansible_check_mode": True, "hostvars": Hostvars({"lb1": {"told": TOLD}})}, "told") == [
        "100%"
    ]


def test_notes_of_all_batches_count_and_none_of_another_run() -> None:
    notes = {
        "lb1": {"note": {"run": "now", "hosts": ["lb1"]}},
        "lb2": {"note": {"run": "now", "hosts": ["lb2", "lb3"]}},
        "lb3": {"note": {"run": "now", "hosts": ["lb2", "lb3"]}},
        "lb4": {"note": {"run": "before", "hosts": ["lb4"]}},
        "lb5": {},
    }
    context: Any = {"hostvars": Hostvars(notes)}
    assert noted(context, {"run": "now"}, notes, "note") == {"lb1", "lb2", "lb3"}
    assert noted(context, {"run": "another"}, notes, "note") == frozenset()
