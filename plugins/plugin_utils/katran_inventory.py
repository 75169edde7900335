# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of what was read on hosts: which variables go to the group, which to each host. Files of YAML."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

import yaml

HEAD = "# Written by katran.fleet.import_katran of what runs on {}.\n---\n"
NOTES = "notes.txt"


class _Plain(yaml.SafeDumper):
    """What is short stands on one line: a VIP's reals each, and so a diff of one is a line."""

    def ignore_aliases(self, data: t.Any) -> bool:
        """A list that two VIPs share is written twice: it will be edited."""
        del data
        return True


def _mapping(dumper: _Plain, value: dict[str, t.Any]) -> yaml.MappingNode:
    """Mappings of values alone on one line, all in the order that they have."""
    plain = not any(isinstance(each, (dict, list)) for each in value.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=plain)


def _sequence(dumper: _Plain, value: list[t.Any]) -> yaml.SequenceNode:
    """Lists of values alone on one line."""
    plain = not any(isinstance(each, (dict, list)) for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Plain.add_representer(dict, _mapping)
_Plain.add_representer(list, _sequence)


def to_yaml(value: Mapping[str, t.Any]) -> str:
    """The text of a file of variables, behind its head."""
    text = yaml.dump(dict(value), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    # The first level is never on one line, however short.
    return text if not text.startswith("{") else yaml.safe_dump(dict(value), sort_keys=False)


class Written(t.NamedTuple):
    """An inventory. `files`: path → text; `notes`: what is to be known; `vips`: host → VIPs."""

    files: dict[str, str]
    notes: list[str]
    vips: dict[str, list[dict[str, t.Any]]]


def inventory_of(found: Mapping[str, Mapping[str, t.Any]], group: str) -> Written:
    """Files of an inventory, of what module katran_info returned for each host.

    What is the same on all hosts goes to the group's file, the rest to each host's, and is told.
    """
    variables = {host: result["variables"] for host, result in found.items()}
    hosts = sorted(variables)
    names = list(dict.fromkeys(name for host in hosts for name in variables[host]))
    same = [name for name in names if all(variables[host].get(name) == variables[hosts[0]].get(name) for host in hosts)]
    files = {
        "hosts.yml": HEAD.format(", ".join(hosts))
        + yaml.safe_dump({"all": {"children": {group: {"hosts": dict.fromkeys(hosts)}}}}, sort_keys=False)
    }
    common = {name: variables[hosts[0]][name] for name in same}
    if common:
        files[f"group_vars/{group}.yml"] = HEAD.format(", ".join(hosts)) + to_yaml(common)
    for host in hosts:
        own = {name: value for name, value in variables[host].items() if name not in same}
        if own:
            files[f"host_vars/{host}.yml"] = HEAD.format(host) + to_yaml(own)
    notes = _notes(found, hosts) + _differences(variables, hosts, [name for name in names if name not in same])
    files[NOTES] = "".join(f"- {line}\n" for line in notes)
    return Written(files, notes, {host: variables[host].get("katran_vips", []) for host in hosts})


def _notes(found: Mapping[str, Mapping[str, t.Any]], hosts: Sequence[str]) -> list[str]:
    """What was told of hosts: a line once, with those that it is about where it is not about all."""
    lines: dict[str, list[str]] = {}
    for host in hosts:
        for line in (*found[host]["stale"], *found[host]["notes"]):
            lines.setdefault(line, []).append(host)
    return [line if len(about) == len(hosts) else f"{', '.join(about)}: {line}" for line, about in lines.items()]


def _differences(variables: Mapping[str, Mapping[str, t.Any]], hosts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Where hosts differ: of lists, which entries."""
    lines = []
    for name in names:
        values = {host: variables[host].get(name) for host in hosts}
        if not all(isinstance(value, list) for value in values.values()):
            lines.append(f"{name} differs between hosts, and is in host_vars")
            continue
        everywhere = [each for each in values[hosts[0]] or [] if all(each in (values[host] or []) for host in hosts)]
        for host in hosts:
            own = [each for each in values[host] or [] if each not in everywhere]
            told = "; ".join(map(_named, own[:10])) + (f"; and {len(own) - 10} more" if own[10:] else "")
            if own:
                lines.append(f"{name} differs between hosts, and is in host_vars: on {host} {told}")
    return lines


def _named(entry: t.Any) -> str:
    """An entry by what names it."""
    if isinstance(entry, Mapping) and "port" in entry:
        return f"{entry['address']}:{entry['port']}/{entry['protocol']}"
    if isinstance(entry, Mapping):
        return str(next((entry[name] for name in ("prefix", "id", "address") if name in entry), entry))
    return str(entry)
