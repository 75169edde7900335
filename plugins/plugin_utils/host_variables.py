# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the inventory's hosts, templated on the controller as on each host."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator, Mapping
from functools import cache

from ansible.errors import AnsibleError, AnsibleValueOmittedError
from ansible.plugins.filter import core, encryption, mathstuff, urls, urlsplit
from ansible.template import is_trusted_as_template
from jinja2 import Environment, TemplateError, nodes
from jinja2.filters import FILTERS

SAME_EVERYWHERE = frozenset(("hostvars", "groups", "omit"))
"""Variables of Ansible's own that mean the same whichever host is asked."""

Variables = Mapping[str, t.Any]


class VariableError(Exception):
    """A variable cannot be templated; the text says which and why."""


def is_omitted(value: t.Any) -> bool:
    """Whether a value is what `default(omit)` stands for."""
    # Ansible has no public name for the only value of this type.
    return type(value).__name__ == "_OmitType"


def plain(value: t.Any) -> t.Any:
    """A value of Python's own types alone: Ansible's are templated at each access, and carry tags.

    What is omitted inside is left out, as Ansible does it; what is omitted altogether is None.
    """
    if is_omitted(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if not is_omitted(item)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value if not is_omitted(item)]
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


@cache
def _filters() -> frozenset[str]:
    """The filters and tests by short names that look at nothing but their input: Jinja's and ansible-core's."""
    found = set(FILTERS)
    for module in (core, encryption, mathstuff, urls, urlsplit):
        found.update(module.FilterModule().filters())
    return frozenset(found)


@cache
def _references(text: str) -> frozenset[str] | None:
    """The variables that a template refers to; None where it may look at anything, as a lookup does."""
    try:
        tree = Environment(autoescape=True).parse(text)
    except TemplateError:
        return None
    if any(tree.find_all(nodes.Call)):
        return None
    used = {node.name for node in tree.find_all(nodes.Filter)} | {node.name for node in tree.find_all(nodes.Test)}
    if any(name not in _filters() and not name.startswith(("ansible.builtin.", "katran.fleet.")) for name in used):
        return None
    # Loop variables are among them; a host has none of that name, or the same.
    return frozenset(node.name for node in tree.find_all(nodes.Name))


def _texts(value: t.Any) -> Iterator[str]:
    """Every text in a value that may be a template."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and ("{{" in value or "{%" in value):
        yield str(value)


_OMITTED = object()


class _Rendering:
    """One variable templated part by part: the VIPs of a list mostly have the same template for their reals.

    Parts of the same text share one value, which nobody may change.
    """

    def __init__(self, templar: t.Any) -> None:
        self._templar = templar
        self._known: dict[str, t.Any] = {}

    def of(self, value: t.Any) -> t.Any:
        """A value, of plain types; _OMITTED where it is omitted altogether."""
        if isinstance(value, Mapping):
            pairs = ((str(key), self.of(item)) for key, item in value.items())
            return {key: item for key, item in pairs if item is not _OMITTED}
        if isinstance(value, (list, tuple)):
            return [item for item in map(self.of, value) if item is not _OMITTED]
        if not isinstance(value, str):
            # Numbers are what they are; of all else only the templar knows.
            return plain(value) if isinstance(value, (bool, int, float)) else self.whole(value)
        if "{" not in value and "#" not in value:
            return str(value)
        if not is_trusted_as_template(value) or not _references(str(value)):
            return self.whole(value)
        text = str(value)
        if text not in self._known:
            self._known[text] = self.whole(value)
        return self._known[text]

    def whole(self, value: t.Any) -> t.Any:
        """What the templar makes of a value."""
        try:
            found = self._templar.template(value)
        except AnsibleValueOmittedError:
            return _OMITTED
        return _OMITTED if is_omitted(found) else plain(found)


class HostVariables:
    """The variables of many hosts.

    Hosts of a group mostly have the same variables: what is certain to come out the same is templated once for all.
    """

    def __init__(self, templar: t.Any, hostvars: t.Any) -> None:
        """`templar`: as an action or lookup has it; `hostvars`: Ansible's variable of that name."""
        self._templar = templar
        self._hostvars = hostvars
        self._raw: dict[str, dict[str, t.Any]] = {}
        self._templars: dict[str, t.Any] = {}
        self._known: dict[str, list[tuple[str, t.Any]]] = {}
        # By identity: these objects are the inventory's own, which many hosts share, and live as long as it does.
        self._referred: dict[int, frozenset[str] | None] = {}

    def use(self, host: str, variables: Variables) -> None:
        """Take these for the variables of a host, untemplated, instead of what the inventory has."""
        self._raw[host] = {**variables, "hostvars": self._hostvars}

    def forget(self) -> None:
        """Take every host's variables from the inventory again."""
        for known in (self._raw, self._templars, self._known, self._referred):
            known.clear()

    def add(self, host: str, variables: Variables) -> None:
        """More variables of a host."""
        self.raw(host).update(variables)

    def raw(self, host: str) -> dict[str, t.Any]:
        """A host's variables, untemplated."""
        if host not in self._raw:
            # What hostvars itself templates knows no hostvars, which filter katran.fleet.reals asks for the reals.
            self._raw[host] = {**self._hostvars.raw_get(host), "hostvars": self._hostvars}
        return self._raw[host]

    def get(self, host: str, name: str, default: t.Any = None) -> t.Any:
        """A host's variable, templated, of plain types; an omitted one is not set. VariableError where that fails."""
        found = self._get(host, name) if name in self.raw(host) else _OMITTED
        return default if found is _OMITTED else found

    def is_set(self, host: str, name: str) -> bool:
        """Whether a host has a variable, and does not omit it. VariableError where it cannot be templated."""
        return name in self.raw(host) and self._get(host, name) is not _OMITTED

    def _get(self, host: str, name: str) -> t.Any:
        for other, value in self._known.get(name, ()):
            if self._same(host, other, name, set()):
                return value
        value = self._template(host, name)
        self._known.setdefault(name, []).append((host, value))
        return value

    def _template(self, host: str, name: str) -> t.Any:
        if host not in self._templars:
            self._templars[host] = self._templar.copy_with_new_env(available_variables=self.raw(host))
        try:
            value, rendering = self.raw(host)[name], _Rendering(self._templars[host])
            return rendering.of(value) if isinstance(value, (Mapping, list, tuple)) else rendering.whole(value)
        except AnsibleError as error:
            reason = told_of_facts(told_of_groups(_reason(error), self.raw(host), name), self.raw(host), name)
            raise VariableError(f"{name}: {reason}") from error

    def _same(self, host: str, other: str, name: str, seen: set[str]) -> bool:
        """Whether a variable, and all that it refers to, is certain to be the same on both hosts."""
        if name in seen or name in SAME_EVERYWHERE:
            return True
        seen.add(name)
        mine, theirs = self.raw(host), self.raw(other)
        if name not in mine or name not in theirs:
            return name not in mine and name not in theirs
        first, second = mine[name], theirs[name]
        if first is not second and first != second:
            return False
        referred = self._references_in(first)
        return referred is not None and all(self._same(host, other, each, seen) for each in referred)

    def _references_in(self, value: t.Any) -> frozenset[str] | None:
        """The variables that a value refers to; None where it may look at anything."""
        if id(value) not in self._referred:
            found: set[str] | None = set()
            for text in _texts(value):
                names = _references(text)
                if names is None:
                    found = None
                    break
                found = (found or set()) | names
            self._referred[id(value)] = None if found is None else frozenset(found)
        return self._referred[id(value)]


_NOT_THERE = re.compile(r"'(ansible_\w+)' is undefined|has no attribute '(\w+)'")
_NO_KEY = re.compile(r"has no attribute '([^']+)'")
_NO_FACTS = frozenset(
    f"ansible_{name}"
    for name in ("host", "port", "user", "password", "connection", "become", "become_user", "ssh_host", "ssh_user")
)
"""Variables of a connection, which look like facts."""

_GATHER = (
    "facts were not gathered, and the plays of katran.fleet gather none; put a play with gather_facts: true before them"
    " in the same playbook, or write the value itself"
)


def told_of_facts(reason: str, raw: Variables, name: str) -> str:
    """A reason why a host's variable cannot be templated, and what to do if it is that no facts were gathered.

    `raw`: the host's variables, untemplated; `name`: that of the variable.
    """
    found = _NOT_THERE.search(reason)
    if not found or raw.get("ansible_facts") or found[1] in _NO_FACTS or _GATHER in reason:
        return reason
    meant = found[1] or found[2].startswith("ansible_")
    if meant or any("ansible_facts" in text for text in _reached(raw, name, set())):
        return f"{reason}: {_GATHER}"
    return reason


def told_of_groups(reason: str, raw: Variables, name: str) -> str:
    """A reason why a host's variable cannot be templated; of a group that does not exist, the one that may be meant.

    `raw`: the host's variables, untemplated; `name`: that of the variable.
    """
    found = _NO_KEY.search(reason)
    groups = raw.get("groups")
    if not found or not isinstance(groups, Mapping) or found[1] in groups:
        return reason
    asked = re.compile(rf"\bgroups(\.{re.escape(found[1])}\b|\[\s*(['\"]){re.escape(found[1])}\2\s*\])")
    if not any(asked.search(text) for text in _reached(raw, name, set())):
        return reason
    near = difflib.get_close_matches(found[1], sorted(set(groups) - {"all", "ungrouped"}), 1, 0.6)
    return f"there is no group {found[1]}" + (f"; did you mean {near[0]}?" if near else "")


def _reached(raw: Variables, name: str, seen: set[str]) -> Iterator[str]:
    """Every text that may be a template in a variable, and in those that it refers to."""
    if name not in seen and name in raw:
        seen.add(name)
        for text in _texts(raw[name]):
            yield text
            for each in _references(text) or ():
                yield from _reached(raw, each, seen)


def _reason(error: BaseException) -> str:
    """What went wrong, without the template's whole text around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().rstrip(".")
