# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback folded in real runs. `make callback-versions` has the newest ansible-core do the same."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

COLLECTION = Path(__file__).parents[2]
PLAYBOOKS = Path(__file__).parent / "folded"
PLAYBOOK = os.environ.get("KATRAN_ANSIBLE_PLAYBOOK", "ansible-playbook")
MOST = "lb1, lb2, lb4–lb6, lb8"


def run(name: str, *options: str, **more: str) -> tuple[str, dict[str, float]]:
    """What a playbook prints, and when each of its lines came (s)."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "katran.fleet.folded",
        **more,
    }
    command = [PLAYBOOK, "-i", str(PLAYBOOKS / "hosts.yml"), str(PLAYBOOKS / name), *options]
    lines, came = [], {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip())
            came[lines[-1]] = time.monotonic()
    text = "\n".join(lines)
    assert process.returncode in (0, 2), text
    return text, came


@pytest.fixture(scope="module")
def linear() -> tuple[dict[str, str], dict[str, float]]:
    """Task → what is printed of it, and when each line came."""
    text, came = run("linear.yml", "--diff", ANSIBLE_CALLBACK_RESULT_FORMAT="yaml", ANSIBLE_DISPLAY_SKIPPED_HOSTS="1")
    assert "\x1b" not in text, "colours where no terminal is"
    assert "Traceback" not in text
    parts = re.split(r"^(?:TASK|PLAY|RUNNING HANDLER) (?:\[(.*)\]|RECAP) \*+$", text, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for name, said in zip(parts[1::2], parts[2::2], strict=True):
        found[name or "recap"] = found.get(name or "recap", "") + said.rstrip() + "\n"
    return found, came


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("Same", ["ok: [lb1–lb8]"]),
        ("Checked", ["changed: [lb1–lb8]"]),
        (
            "Items",
            [
                f"ok: [{MOST}] => (item=1)",
                f"ok: [{MOST}] => (item=2)",
                "ok: [lb3, lb7] => (item=1)",
                "changed: [lb3, lb7] => (item=2)",
            ],
        ),
        ("Secret", ["changed: [lb1–lb8]"]),
        ("Once", ["ok: [lb1]"]),
        ("Delegated", ["ok: [lb1]", "ok: [lb2, lb4–lb6, lb8 -> lb1]", "ok: [lb3, lb7 -> lb8]"]),
        ("Included", ["ok: [lb3, lb7]"]),
        ("Rescued", ["ok: [lb3, lb7]"]),
        ("Handled", ["changed: [lb1–lb8]"]),
        ("Of four", ["ok: [lb1–lb4]", "ok: [lb5–lb8]"]),
    ],
)
def test_what_hosts_share_is_printed_once(
    linear: tuple[dict[str, str], dict[str, float]], task: str, said: list[str]
) -> None:
    assert [line for line in linear[0][task].splitlines() if line] == said


def test_diffs_that_differ_in_one_address_are_two(linear: tuple[dict[str, str], dict[str, float]]) -> None:
    diffs = linear[0]["Diffs"]
    assert diffs.count("+10.0.0.1\n") == diffs.count("+10.0.0.2\n") == 1
    assert diffs.index("+10.0.0.1") < diffs.index(f"changed: [{MOST}]") < diffs.index("+10.0.0.2")
    # The file's own name stays, of the folder that each host has another of nothing.
    assert diffs.count("--- before: conf\n") == 2
    assert "ansible-local" not in diffs


def test_warnings_are_told_of_all_their_hosts(linear: tuple[dict[str, str], dict[str, float]]) -> None:
    lines = linear[0]["Warned"].splitlines()
    for line in (f"[WARNING]: {MOST}: something is odd", "[WARNING]: lb3, lb7: something is odd"):
        assert lines.count(line) == 1
    assert "[WARNING]: all are told" in lines


def test_failures_are_whole_once_and_all_their_hosts_are_named(
    linear: tuple[dict[str, str], dict[str, float]],
) -> None:
    failed = linear[0]["Failed and ignored"]
    assert failed.count("msg: one reason") == failed.count("msg: another reason") == 1
    named = re.findall(r"^fatal: \[(\S+)\]: FAILED!|^fatal: \[(.+)\]: as (\S+) above$", failed, re.MULTILINE)
    whole = {first for first, _others, _as in named if first}
    others = {first: others for _first, others, first in named if others}
    assert whole == set(others)
    told = {*whole, *(each for text in others.values() for each in text.split(", "))}
    assert len(whole) == 2
    assert {"lb3", "lb7"} <= told
    assert failed.count("...ignoring") == 4
    assert "ok: [lb1, lb2]" in failed


def test_items_retries_and_silent_hosts(linear: tuple[dict[str, str], dict[str, float]]) -> None:
    said = linear[0]
    assert len(re.findall(r"^failed: \[lb[37]\] \(item=2\) =>$", said["Items failed"], re.MULTILINE)) == 1
    assert re.search(r"^failed: \[lb[37]\] \(item=2\): as lb[37] above$", said["Items failed"], re.MULTILINE)
    assert len(re.findall(r"^FAILED - RETRYING: \[lb[37]\]", said["Tried again"], re.MULTILINE)) == 2
    assert said["Bad"].count("msg: bad") == 1
    assert said["Unreachable"].count("UNREACHABLE!") == 1
    assert re.search(r"^fatal: \[lb[37]\]: as lb[37] above$", said["Unreachable"], re.MULTILINE)
    assert re.search(r"^included: \S+/included.yml for lb3, lb7$", said["Include"], re.MULTILINE)


def test_a_failure_does_not_wait_for_slow_hosts(linear: tuple[dict[str, str], dict[str, float]]) -> None:
    assert "msg: at once" in linear[0]["Slow"]
    assert linear[1]["fatal: [lb2]: FAILED! =>"] < linear[1]["ok: [lb1, lb3–lb8]"] - 0.5


def test_the_recap_has_one_line_for_equal_numbers(linear: tuple[dict[str, str], dict[str, float]]) -> None:
    rows = [line.partition(" : ") for line in linear[0]["recap"].splitlines() if " : " in line]
    assert [name.rstrip() for name, _colon, _numbers in rows] == ["lb1", "lb2, lb4–lb6, lb8", "lb3, lb7"]
    assert rows[2][2].split()[-1] == "ignored=4"


def test_without_a_common_end_of_tasks_nobody_waits_long() -> None:
    text, _came = run("free.yml", KATRAN_FOLDED_HOLD="0.5", ANSIBLE_FORCE_COLOR="1")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert re.search(r"^changed: \[lb1, lb4–lb7\]$", plain, re.MULTILINE)
    assert re.search(r"^fatal: \[lb[23]\]: FAILED!", plain, re.MULTILINE)
    assert plain.rindex("changed: [lb8]") > plain.index("changed: [lb1, lb4–lb7]")
    told = {name for names in re.findall(r"^ok: \[(.*)\]$", plain, re.MULTILINE) for name in names.split(", ")}
    assert "lb8" in told
