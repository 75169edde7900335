# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError, plain


def text(value: str) -> str:
    return trust_as_template(value)


class Hosts:
    """What Ansible's variable hostvars is to HostVariables."""

    def __init__(self, **variables: dict[str, Any]) -> None:
        self.variables = variables

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def raw_get(self, host: str) -> dict[str, Any]:
        return {"inventory_hostname": host, **self.variables[host]}


class Counting:
    """A templar that counts what it templates."""

    def __init__(self, templar: Any, seen: list[Any]) -> None:
        self.templar = templar
        self.seen = seen

    def copy_with_new_env(self, **options: Any) -> Counting:
        return Counting(self.templar.copy_with_new_env(**options), self.seen)

    def template(self, value: Any) -> Any:
        self.seen.append(value)
        return self.templar.template(value)


def variables(**hosts: dict[str, Any]) -> tuple[HostVariables, list[Any]]:
    seen: list[Any] = []
    return HostVariables(Counting(Templar(DataLoader()), seen), Hosts(**hosts)), seen


def test_each_host_has_its_own() -> None:
    vips = [{"address": text("{{ site }}"), "ports": (80, 443)}]
    hosts, _seen = variables(a={"vips": vips, "site": "10.0.0.1"}, b={"vips": vips, "site": text("{{ 1 + 1 }}")})
    assert hosts.get("a", "vips") == [{"address": "10.0.0.1", "ports": [80, 443]}]
    assert hosts.get("b", "vips") == [{"address": 2, "ports": [80, 443]}]
    assert hosts.get("a", "nothing") is None
    assert hosts.get("a", "nothing", 5) == 5


@pytest.mark.parametrize(
    ("value", "more", "once"),
    [
        ("plain", {}, True),
        (text("{{ size * 2 }}"), {"size": 4}, True),
        (text("{{ deep }}"), {"deep": text("{{ size }}"), "size": 4}, True),
        (text("{{ [1, 2] | map('string') | join(',') }}"), {}, True),
        (text("{{ [size] | select('defined') | first }}"), {"size": 1}, True),
        (text("{{ inventory_hostname }}"), {}, False),
        (text("{{ deep }}"), {"deep": text("{{ inventory_hostname }}")}, False),
        # A call may look at anything.
        (text("{{ range(2) | list }}"), {}, False),
        (text("{{ inventory_hostname.strip() }}"), {}, False),
    ],
)
def test_what_is_the_same_is_templated_once(value: Any, more: dict[str, Any], once: bool) -> None:
    hosts, seen = variables(**{host: {"it": value, **more} for host in ("a", "b", "c")})
    found = [hosts.get(host, "it") for host in ("a", "b", "c")]
    assert len(seen) == (1 if once else 3)
    if not once and "range" not in value:
        assert found == ["a", "b", "c"]


def test_one_host_that_differs_is_told_apart() -> None:
    it = text("{{ size }}")
    hosts, _seen = variables(a={"it": it, "size": 1}, b={"it": it, "size": 2}, c={"it": it, "size": 1}, d={"it": 1})
    assert [hosts.get(host, "it") for host in "abcd"] == [1, 2, 1, 1]


def test_unknown_filters_may_look_at_anything() -> None:
    hosts, seen = variables(a={"it": text("{{ 1 | somebody.elses.filter }}")}, b={"it": "x"})
    with pytest.raises(VariableError, match=r"^it: .*somebody\.elses\.filter"):
        hosts.get("a", "it")
    assert len(seen) == 1


def test_what_fails_names_the_variable() -> None:
    hosts, _seen = variables(a={"vips": [{"address": text("{{ nowhere }}")}], "other": text("{{ 1 +")})
    with pytest.raises(VariableError, match=r"^vips: .*'nowhere' is undefined"):
        hosts.get("a", "vips")
    with pytest.raises(VariableError, match=r"^other: "):
        hosts.get("a", "other")


def test_variables_given_by_the_caller_win() -> None:
    hosts, _seen = variables(a={"x": 1})
    hosts.use("a", {"x": 2, "y": text("{{ x }}")})
    hosts.add("a", {"x": 3})
    assert hosts.get("a", "y") == 3


def test_plain_values_are_pythons_own() -> None:
    value = plain({text("a"): [text("b"), True, 1, 1.5, None], "c": ({"d": text("e")},)})
    assert value == {"a": ["b", True, 1, 1.5, None], "c": [{"d": "e"}]}
    assert {type(each) for each in (*value, *value["a"], value["c"][0]["d"])} == {str, bool, int, float, type(None)}


def test_what_is_omitted_is_not_there() -> None:
    hosts, _seen = variables(
        a={
            "mac": text("{{ nope | default(omit) }}"),
            "vips": [
                {"address": "198.51.100.1", "flags": text("{{ nope | default(omit) }}")},
                text("{{ nope | default(omit) }}"),
            ],
            "referring": text("{{ vips }}"),
        }
    )
    assert hosts.get("a", "mac") is None
    assert hosts.get("a", "mac", 5) == 5
    assert [hosts.is_set("a", name) for name in ("mac", "vips", "nothing")] == [False, True, False]
    assert hosts.get("a", "vips") == hosts.get("a", "referring") == [{"address": "198.51.100.1"}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ansible_default_ipv4.address }}",
        "{{ ansible_facts.default_ipv4.address }}",
        "{{ ansible_facts['eth0']['ipv4']['address'] }}",
        "{{ elsewhere }}",
    ],
)
def test_facts_that_were_not_gathered(template: str) -> None:
    more = {"elsewhere": text("{{ ansible_facts.default_ipv4.address }}"), "ansible_facts": {}}
    hosts, _seen = variables(a={"address": text(template), **more})
    with pytest.raises(VariableError) as caught:
        hosts.get("a", "address")
    assert str(caught.value).endswith(
        ": facts were not gathered, and the plays of katran.fleet gather none; put a play with gather_facts: true"
        " before them in the same playbook, or write the value itself"
    )


@pytest.mark.parametrize(
    ("template", "facts"),
    [
        ("{{ nope }}", {}),
        ("{{ ansible_host }}", {}),
        ("{{ site.address }}", {}),
        ("{{ ansible_facts.default_ipv4.address }}", {"hostname": "a"}),
    ],
)
def test_what_has_nothing_to_do_with_gathering_facts(template: str, facts: dict[str, Any]) -> None:
    hosts, _seen = variables(a={"address": text(template), "site": {}, "ansible_facts": facts})
    with pytest.raises(VariableError) as caught:
        hosts.get("a", "address")
    assert "gather" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ groups['wbe'] | length }}", "there is no group wbe; did you mean web?"),
        ('{{ groups["wbe"] }}', "there is no group wbe; did you mean web?"),
        ("{{ groups.wbe }}", "there is no group wbe; did you mean web?"),
        ("{{ groups['resolvers'] }}", "there is no group resolvers"),
        # Of others that lack it, the inventory's groups say nothing.
        ("{{ site.wbe }}", "object of type 'dict' has no attribute 'wbe'"),
    ],
)
def test_a_group_that_does_not_exist(template: str, reason: str) -> None:
    more = {"site": {}, "groups": {"all": ["a"], "ungrouped": [], "web": ["a"]}}
    hosts, _seen = variables(a={"reals": text(template), **more})
    with pytest.raises(VariableError) as told:
        hosts.get("a", "reals")
    assert str(told.value) == f"reals: {reason}"
