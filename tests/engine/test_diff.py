# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of `ansible-playbook --check --diff`: every hunk says which entry it is about."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.host import Entry, apply, drop, real, vip
from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, run_playbook
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, GATEWAY, compiled_once, ensure_balancer, sandbox

SIZES = {"vips": 32, "reals": 64, "ring": 4093, "flows": 4000, "server_ids": 5000, "source_routes": 300}

ONE = vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"))
TWO = vip("198.51.100.2", real("10.0.0.3"), real("10.0.0.4"))
THREE = vip("198.51.100.3", real("10.0.0.5"))


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox(), compiled_once():
        ensure_balancer(features=["source_routing"], sizes=SIZES)
        apply("vips", [ONE, TWO, THREE])
        routes = [{"prefix": f"10.{number}.0.0/16", "real": "10.0.0.1"} for number in range(3)]
        apply("source_routes", routes)
        yield


def printed(folder: Path, module: str, form: str = "json", **options: Any) -> str:
    """What a review of one task prints between its name and the recap, with Ansible's own settings otherwise."""
    task = {f"katran.fleet.{module}": options}
    variables = {"ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}
    (folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = run_playbook(
        "-c",
        "local",
        "--check",
        "--diff",
        folder / "play.yml",
        cwd=folder,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
        ANSIBLE_CALLBACK_RESULT_FORMAT=form,
        ANSIBLE_NOCOLOR="1",
        LC_ALL="C.UTF-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("***\n", 2)[2].split("\nchanged: [localhost]")[0]


def listed(text: str) -> list[str]:
    """The names of the entries in a diff."""
    return [line.removeprefix("+++ after: ") for line in text.splitlines() if line.startswith("+++ ")]


def test_a_weight_of_one_vip_of_three(tmp_path: Path) -> None:
    other = vip("198.51.100.2", real("10.0.0.3"), real("10.0.0.4", 6))
    text = printed(tmp_path, "vips", config=[ONE, other, THREE], state="overridden")
    assert text == (
        "# vip 198.51.100.2:80/tcp: weight of 10.0.0.4 1 → 6\n"
        "\n"
        "--- before: vip 198.51.100.2:80/tcp\n"
        "+++ after: vip 198.51.100.2:80/tcp\n"
        "@@ -16,7 +16,7 @@\n"
        '             "address": "10.0.0.4",\n'
        '             "local": false,\n'
        '             "state": "active",\n'
        '-            "weight": 1\n'
        '+            "weight": 6\n'
        "         }\n"
        "     ]\n"
        " }\n"
    )


def test_the_same_as_yaml(tmp_path: Path) -> None:
    other = vip("198.51.100.2", real("10.0.0.3", 6), real("10.0.0.4"))
    text = printed(tmp_path, "vips", "yaml", config=[ONE, other, THREE], state="overridden")
    assert text == (
        "# vip 198.51.100.2:80/tcp: weight of 10.0.0.3 1 → 6\n"
        "\n"
        "--- before: vip 198.51.100.2:80/tcp\n"
        "+++ after: vip 198.51.100.2:80/tcp\n"
        "@@ -8,7 +8,7 @@\n"
        "     -   address: 10.0.0.3\n"
        "         local: false\n"
        "         state: active\n"
        "-        weight: 1\n"
        "+        weight: 6\n"
        "     -   address: 10.0.0.4\n"
        "         local: false\n"
        "         state: active\n"
    )


def test_a_vip_between_two(tmp_path: Path) -> None:
    new = vip("198.51.100.1", real("10.0.0.9"), port=81)
    text = printed(tmp_path, "vips", config=[ONE, new, TWO, THREE], state="overridden")
    assert text.startswith(
        "# vip 198.51.100.1:81/tcp: added with 1 real\n"
        "\n"
        "--- before: vip 198.51.100.1:81/tcp\n"
        "+++ after: vip 198.51.100.1:81/tcp\n"
        "@@ -0,0 +1,16 @@\n"
        "+{\n"
        '+    "address": "198.51.100.1",\n'
    )
    assert listed(text) == ["vip 198.51.100.1:81/tcp"]
    assert not [line for line in text.splitlines() if line.startswith("-") and not line.startswith("---")]


def test_a_vip_removed(tmp_path: Path) -> None:
    text = printed(
        tmp_path, "vips", config=[{key: TWO[key] for key in ("address", "port", "protocol")}], state="deleted"
    )
    assert text.startswith(
        "# vip 198.51.100.2:80/tcp: removed\n"
        "\n"
        "--- before: vip 198.51.100.2:80/tcp\n"
        "+++ after: vip 198.51.100.2:80/tcp\n"
        "@@ -1,22 +0,0 @@\n"
        "-{\n"
        '-    "address": "198.51.100.2",\n'
    )
    assert not [line for line in text.splitlines() if line.startswith("+") and not line.startswith("+++")]


def test_two_vips_swap_their_reals(tmp_path: Path) -> None:
    one, two = ({**first, "reals": second["reals"]} for first, second in ((ONE, TWO), (TWO, ONE)))
    text = printed(tmp_path, "vips", config=[one, two, THREE], state="overridden")
    assert listed(text) == ["vip 198.51.100.1:80/tcp", "vip 198.51.100.2:80/tcp"]
    first, second = text.split("--- before: ")[1:]
    assert '-            "address": "10.0.0.1",\n+            "address": "10.0.0.3",\n' in first
    assert '-            "address": "10.0.0.3",\n+            "address": "10.0.0.1",\n' in second


def test_a_source_route_that_leads_elsewhere(tmp_path: Path) -> None:
    text = printed(tmp_path, "source_routes", config=[{"prefix": "10.1.0.0/16", "real": "10.0.0.2"}])
    assert text == (
        "# source route 10.1.0.0/16: 10.0.0.1 → 10.0.0.2\n"
        "\n"
        "--- before: source route 10.1.0.0/16\n"
        "+++ after: source route 10.1.0.0/16\n"
        "@@ -1,4 +1,4 @@\n"
        " {\n"
        '     "prefix": "10.1.0.0/16",\n'
        '-    "real": "10.0.0.1"\n'
        '+    "real": "10.0.0.2"\n'
        " }\n"
    )


def test_more_entries_than_anyone_reads(tmp_path: Path) -> None:
    many: list[Entry] = [{"prefix": f"172.16.{number}.0/24", "real": "10.0.0.1"} for number in range(120)]
    text = printed(tmp_path, "source_routes", config=many)
    assert len(listed(text)) == 100
    assert "\n# and 20 more lines\n" in text
    rest = "# and 20 more changed entries, all of which are in before and after of the task's result"
    assert text.rstrip().endswith(rest)


def test_what_somebody_else_changed(tmp_path: Path) -> None:
    drop("lpm_src_v4", bytes.fromhex("10000000") + bytes((10, 2, 0, 0)))
    text = printed(tmp_path, "source_routes", config=[{"prefix": "10.2.0.0/16"}])
    assert text == "# source route 10.2.0.0/16: missing in lpm_src_v4, repaired\n"


def test_settings_of_a_balancer(tmp_path: Path) -> None:
    options = {
        "state": "loaded",
        "features": ["source_routing"],
        "sizes": SIZES,
        "source_dir": BPF,
        "source_ipv4": "192.0.2.250",
        "source_ipv6": "2001:db8:2::250",
    }
    text = printed(tmp_path, "balancer", gateway_mac="02:00:00:00:00:0a", **options)
    assert text == (
        f"# gateway MAC {GATEWAY} → 02:00:00:00:00:0a\n"
        "\n"
        "--- before: balancer default\n"
        "+++ after: balancer default\n"
        "@@ -7,7 +7,7 @@\n"
        '         "source_routing"\n'
        "     ],\n"
        '     "forwarding_cores": "auto",\n'
        f'-    "gateway_mac": "{GATEWAY}",\n'
        '+    "gateway_mac": "02:00:00:00:00:0a",\n'
        '     "gue_port": 6080,\n'
        '     "interfaces": [],\n'
        '     "max_frame": 1514,\n'
    )
