# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-doc prints: every default as it is, and every option, flag and feature with its meaning."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.katran.fleet.plugins.module_utils._model.dual_stack import ADDRESSES
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.layout import VIP_FLAGS
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import FROM_VARIABLES, RESOURCES

ROOT = Path(__file__).resolve().parents[3]
KINDS = {"module": "modules", "filter": "filter", "lookup": "lookup"}


def ansible_doc(*arguments: str) -> str:
    """What ansible-doc prints, for a terminal that is wide and knows no colours."""
    inside = ROOT.parents[2] if ROOT.parents[1].name == "ansible_collections" else ROOT / "collections"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(inside),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "200",
        "PAGER": "cat",
    }
    # Of Ansible, ansible-test puts only what modules may use on PYTHONPATH.
    command = [sys.executable, "-E", "-m", "ansible", "doc", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


Options = Mapping[str, Mapping[str, Any]]


def each(options: Options, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every option at any depth, by its path."""
    for name, option in options.items():
        yield path + name, option
        yield from each(option.get("suboptions") or option.get("options") or {}, f"{path}{name}.")


def printed_default(value: Any) -> str:
    text = yaml.safe_dump({"default": value}, default_flow_style=None if isinstance(value, (list, dict)) else False)
    return " ".join(text.split())


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_is_printed_as_it_is(kind: str) -> None:
    names = [f"katran.fleet.{path.stem}" for path in sorted((ROOT / "plugins" / KINDS[kind]).glob("*.py"))]
    told = json.loads(ansible_doc("-t", kind, "-j", *names))
    pages = re.split(r"^> ", ansible_doc("-t", kind, *names), flags=re.MULTILINE)[1:]
    assert set(told) == set(names)
    assert len(pages) == len(names)
    for name in names:
        (page,) = (page for page in pages if name in page.splitlines()[0].split())
        found = " ".join(page.split())
        defaults = [
            printed_default(option["default"])
            for _path, option in each(told[name]["doc"].get("options") or {})
            if "default" in option
        ]
        for default in set(defaults):
            assert len(re.findall(rf"(?<!\S){re.escape(default)}(?!\S)", found)) >= defaults.count(default), (
                name,
                default,
            )


def test_the_prefix_that_ansible_doc_cannot_print_as_a_default() -> None:
    found = " ".join(ansible_doc("-t", "module", "katran.fleet.balancer").split())
    assert "On a first run it is `100::/64'" in found


DOCUMENTED = sorted(
    path
    for pattern in ("plugins/*/*.py", "roles/*/meta/argument_specs.yml")
    for path in ROOT.glob(pattern)
    if not path.parent.name.endswith("_utils")
)


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_nothing_looks_like_markup_that_ansible_doc_takes_away(path: Path) -> None:
    """A word before two colons is a directive there, wherever it stands: of ", 100::/64" only "/64" is left."""
    # Examples are printed as they are.
    text = re.sub(r'(?s)EXAMPLES = r?""".*?"""', "", path.read_text(encoding="utf-8"))
    assert re.findall(r".. \w+?::\S*|:\w+?:`\S*", text) == []


def specs(role: str) -> dict[str, Any]:
    text = (ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)["argument_specs"]
    assert isinstance(found, dict)
    return found


def told_of(option: Mapping[str, Any]) -> str:
    told = option["description"]
    return " ".join(told if isinstance(told, list) else [told])


@pytest.mark.parametrize("role", ["balancer", "client", "host", "real"])
def test_roles_are_printed_with_every_option_and_word(role: str) -> None:
    page = " ".join(ansible_doc("-t", "role", f"katran.fleet.{role}").split())
    assert "defaul/" not in page
    for entry in specs(role).values():
        for path, option in each(entry["options"]):
            assert path.rpartition(".")[2] in page
            for word in re.findall(r"V\(([^)]*)\)", told_of(option)):
                assert f"`{word}'" in page, (path, word)


@pytest.mark.parametrize("name", FROM_VARIABLES)
def test_roles_document_the_variables_of_resources_whole(name: str) -> None:
    option = specs("balancer")["variables"]["options"][f"katran_{name}"]
    assert (option["type"], option["elements"]) == ("list", "dict")

    def shape(options: Options) -> dict[str, Any]:
        return {
            path: (found["type"], found.get("elements"), sorted(found.get("choices", ())), found.get("required", False))
            for path, found in each(options)
        }

    known = dict(RESOURCES[name].options)
    if name == "vips":
        # What an inventory says once for several addresses, the module knows one by one.
        known |= {"address": {**known["address"], "required": False}, "addresses": ADDRESSES}
    assert shape(option["options"]) == shape(known)
    assert all(told_of(found) for _path, found in each({name: option}))


def test_every_flag_and_feature_has_a_meaning() -> None:
    flags = told_of(specs("balancer")["variables"]["options"]["katran_vips"]["options"]["flags"])
    assert [flag for flag in VIP_FLAGS if f"V({flag}) - " not in flags] == []
    features = told_of(specs("balancer")["main"]["options"]["balancer_features"])
    assert [feature for feature in FEATURES if f"V({feature}) - " not in features] == []
    modules = json.loads(ansible_doc("-j", "katran.fleet.balancer", "katran.fleet.vips"))
    features = told_of(modules["katran.fleet.balancer"]["doc"]["options"]["features"])
    assert [feature for feature in FEATURES if f"V({feature}) - " not in features] == []
    flags = told_of(modules["katran.fleet.vips"]["doc"]["options"]["config"]["suboptions"]["flags"])
    assert [flag for flag in VIP_FLAGS if f"V({flag}) - " not in flags] == []


def connection_id(layout: int, number: int) -> bytes:
    """A connection id of 8 bytes, as server ids are documented."""
    if layout == 1:
        return bytes([0x40 | number >> 10, number >> 2 & 0xFF, (number & 3) << 6]) + bytes(5)
    length = layout + 1
    return bytes([layout << 6]) + number.to_bytes(length, "big") + bytes(7 - length)


def test_the_layout_of_connection_ids() -> None:
    told = told_of(specs("balancer")["variables"]["options"]["katran_server_ids"]["options"]["id"])
    for layout, first, last, highest in (
        (1, 0x40, 0x7F, 65535),
        (2, 0x80, 0xBF, 2**24 - 1),
        (3, 0xC0, 0xFF, 2**31 - 1),
    ):
        assert f"Layout {layout}, first byte {first:#04x} to {last:#04x}, ids 1 to {highest}." in told
        assert first <= connection_id(layout, highest)[0] <= last
    # The same words of docs/datapath.md, step 9.
    cid = connection_id(1, 0xABCD)
    assert (cid[0] & 0x3F) << 10 | cid[1] << 2 | cid[2] >> 6 == 0xABCD
    assert int.from_bytes(connection_id(2, 0xABCDEF)[1:4], "big") == 0xABCDEF
    assert int.from_bytes(connection_id(3, 0x7BCDEF01)[1:5], "big") == 0x7BCDEF01
