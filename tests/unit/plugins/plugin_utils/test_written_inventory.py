# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories that playbooks write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.plugin_utils.written_inventory import (
    Inventory,
    InventoryError,
    Template,
    Told,
    changes,
    write,
)


class Loader(yaml.SafeLoader):
    """YAML of Ansible, of which `!unsafe` alone is not everybody's."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), TEXT)
KEYS = TEXT.filter(lambda text: "{" not in text)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4))
)


def text_of(**variables: Any) -> str:
    return Inventory({}, {"balancers": variables}).files()["group_vars/balancers.yml"]


def test_files() -> None:
    vip = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": [{"address": "10.0.0.1", "weight": 2}]}
    inventory = Inventory(
        {"balancers": {"lb1": {}}, "reals": {"web1": {"katran_real_address": ["10.0.0.1", "fc00::1"]}}},
        {
            "balancers": {
                "katran_vips": [Told(vip, ["keepalived.conf:7: persistence_timeout has no equivalent\nhere"])],
                "katran_encapsulation": Told("ipip", ["lvs_method TUN is IPIP"]),
            }
        },
        {"lb1": {"katran_interfaces": ["eth0"]}},
        head=["Read from a file."],
        notes={"group_vars/balancers.yml": ["Two things have no equivalent."]},
    )
    files = inventory.files()
    assert list(files) == ["hosts.yml", "group_vars/balancers.yml", "host_vars/lb1.yml"]
    assert files["hosts.yml"] == (
        "---\n# Read from a file.\nall:\n  children:\n    balancers:\n      hosts:\n        lb1: {}\n"
        '    reals:\n      hosts:\n        web1:\n          katran_real_address: [10.0.0.1, "fc00::1"]\n'
    )
    assert files["group_vars/balancers.yml"] == (
        "---\n# Read from a file.\n# Two things have no equivalent.\nkatran_vips:\n"
        "  # keepalived.conf:7: persistence_timeout has no equivalent here\n"
        "  - address: 198.51.100.1\n    port: 443\n    protocol: tcp\n    reals:\n"
        "      - {address: 10.0.0.1, weight: 2}\n"
        "# lvs_method TUN is IPIP\nkatran_encapsulation: ipip\n"
    )
    assert yaml.safe_load(files["host_vars/lb1.yml"]) == {"katran_interfaces": ["eth0"]}


@given(value=VALUES)
def test_reads_back_as_it_was(value: Any) -> None:
    assert yaml.load(text_of(katran_vips=value), Loader) == {"katran_vips": value}  # noqa: S506  # a safe loader


@given(sentence=st.text(max_size=300), value=SCALARS)
def test_a_comment_is_never_more_than_one(sentence: str, value: Any) -> None:
    text = text_of(katran_vips=[Told(value, [sentence])])
    assert yaml.load(text, Loader) == {"katran_vips": [value]}  # noqa: S506  # a safe loader
    # A dash stands before the value, which may be longer.
    assert all(len(line) <= 120 or " " not in line.strip(" #-") for line in text.splitlines())


def test_what_was_read_is_never_a_template(tmp_path: Path) -> None:
    hostile = "/{{ lookup('ansible.builtin.pipe', 'id') }}"
    path = tmp_path / "vars.yml"
    path.write_text(text_of(katran_vips=[{"path": hostile}], katran_reals=Template("{{ 1 + 1 }}")))
    loader = DataLoader()
    values = loader.load_from_file(str(path), trusted_as_template=True)
    assert Templar(loader).template(values) == {"katran_vips": [{"path": hostile}], "katran_reals": 2}


@pytest.mark.parametrize(
    ("inventory", "sentence"),
    [
        (Inventory({"../x": {}}), "../x cannot be the name of a group in an inventory"),
        (Inventory({"reals": {"a b": {}}}), "a b cannot be the name of a host in an inventory"),
        (Inventory({}, {"all": {"a\nb": 1}}), "a\\nb cannot be the name of a variable in an inventory"),
        (Inventory({}, {}, {"": {}}), " cannot be the name of a host in an inventory"),
        (Inventory({}, {"all": {"x": {"{{ y }}": 1}}}), "{{ y }} would be a template"),
    ],
)
def test_names(inventory: Inventory, sentence: str) -> None:
    with pytest.raises(InventoryError) as error:
        inventory.files()
    assert sentence in str(error.value)


def test_half_a_character_becomes_a_sign_for_it() -> None:
    assert yaml.safe_load(text_of(katran_x="a\ud800")) == {"katran_x": "a\ufffd"}


def test_writing(tmp_path: Path) -> None:
    files = Inventory({}, {"balancers": {"katran_vips": []}}).files()
    folder = str(tmp_path / "new" / "inventory")
    wanted = changes(folder, files)
    assert [(each.path, each.before) for each in wanted] == [("hosts.yml", ""), ("group_vars/balancers.yml", "")]
    write(folder, wanted)
    assert changes(folder, files) == []
    hosts = tmp_path / "new" / "inventory" / "hosts.yml"
    hosts.write_text("mine\n")
    with pytest.raises(InventoryError, match=r"has hosts\.yml already, with another content"):
        changes(folder, files)
    assert [each.before for each in changes(folder, files, overwrite=True)] == ["mine\n"]
    write(folder, changes(folder, files, overwrite=True))
    assert hosts.read_text() == files["hosts.yml"]
    assert sorted(path.name for path in hosts.parent.iterdir()) == ["group_vars", "hosts.yml"]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    files = Inventory({}).files()
    (tmp_path / "hosts.yml").symlink_to("/dev/null")
    with pytest.raises(InventoryError, match=r"hosts\.yml is there and is no file"):
        changes(str(tmp_path), files, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InventoryError, match="cannot be written: File exists"):
        write(str(tmp_path / "file"), changes(str(tmp_path / "file"), files))
