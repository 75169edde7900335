# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the agent for one balancer: module agent's options, and the content of agent.json."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from .announcement import LAST_TABLE, TABLE, parse_table
from .faults import Faults
from .metrics_settings import DEFAULT_LISTEN, LOCAL, MetricsSettings, parse_metrics
from .options import Spec, is_interface
from .probe_rate import MAX_PROBES
from .records import Fault, Fields, Optional, flag, many, number, parse_record, read_fields, text
from .shape import is_number
from .sync_settings import DEFAULT_PORT, SyncSettings, parse_sync

SCHEMA = 1
AGENT_FILE = "agent.json"
_ANEW = "run a deploy, or module katran.fleet.agent, which writes it anew"
_HIDDEN = "(hidden)"
_MOST = 100_000
"""Probes a second."""

AGENT: Spec = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "interface": {"type": "str", "default": ""},
    "announce_table": {"type": "int", "default": TABLE},
    "max_probes": {"type": "int", "default": MAX_PROBES},
    "metrics_listen": {"type": "raw", "default": DEFAULT_LISTEN},
    "metrics_allow": {"type": "list", "elements": "str", "default": []},
    "metrics_real": {"type": "bool", "default": False},
    "sync": {"type": "bool", "default": False},
    "sync_key": {"type": "str", "default": "", "no_log": True},
    "sync_port": {"type": "int", "default": DEFAULT_PORT},
    "sync_address": {"type": "str", "default": ""},
    "sync_peers": {"type": "list", "elements": "str", "default": []},
}


@dataclass(frozen=True)
class AgentSettings:
    """What the agent is told of one balancer.

    `interface`: where the play attached program healthcheck for it, "" where it did not; `announce_table`: the kernel's
    table for its routes; `max_probes`: probes a second at most; `sync`: None where it tells nobody of flows.
    """

    interface: str = ""
    announce_table: int = TABLE
    max_probes: int = MAX_PROBES
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    sync: SyncSettings | None = None

    def options(self) -> dict[str, t.Any]:
        """The same in the module's own form, as people may see it: without the key."""
        found: dict[str, t.Any] = {
            "interface": self.interface,
            "announce_table": self.announce_table,
            "max_probes": self.max_probes,
            "metrics_listen": [_place(*each) for each in self.metrics.listen],
            "metrics_allow": list(self.metrics.allow[len(LOCAL) :]),
            "metrics_real": self.metrics.each_real,
            "sync": self.sync is not None,
        }
        if self.sync is not None:
            found |= {
                "sync_address": self.sync.address,
                "sync_port": self.sync.port,
                "sync_peers": list(self.sync.peers),
                "sync_key": _HIDDEN,
            }
        return found

    def to_json(self) -> str:
        """The text of agent.json, with the key: the file is root's alone."""
        key = {"sync_key": self.sync.key.hex()} if self.sync is not None else {}
        return json.dumps({"schema": SCHEMA, **self.options(), **key}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> AgentSettings:
        """Read the file's text; StateError names the file and the field at fault, and shows no key."""
        return parse_record(source, path, _read, _ANEW)


def parse_agent(params: Mapping[str, t.Any]) -> AgentSettings:
    """The options of module agent, validated. ConfigError lists all faults."""
    faults = Faults()
    found = _parse(params, faults)
    faults.check()
    return found


def agent_faults(params: Mapping[str, t.Any]) -> list[str]:
    """A sentence for each thing that is wrong with the options, which begins with the option's name."""
    faults = Faults()
    _parse(params, faults)
    return faults.lines


def settings_changes(before: AgentSettings | None, after: AgentSettings | None) -> list[str]:
    """A line for each difference, none of which shows a key. None: the agent does not take part in the balancer."""
    if before == after:
        return []
    if before is None or after is None:
        return ["the agent's settings: written" if after is not None else "the agent's settings: removed"]
    was, now = before.options(), after.options()
    lines = [
        f"the agent's {name} {_word(was.get(name))} → {_word(now.get(name))}"
        for name in dict.fromkeys((*was, *now))
        if was.get(name) != now.get(name)
    ]
    if before.sync and after.sync and before.sync.key != after.sync.key:
        lines.append("the agent's sync_key changed")
    return lines


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _word(value: t.Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"


def _parse(params: Mapping[str, t.Any], faults: Faults) -> AgentSettings:
    interface = params["interface"] or ""
    if interface and not is_interface(interface):
        faults.add("interface", f"{interface!r} is not the name of an interface")
    table = parse_table(params["announce_table"], "announce_table", faults)
    rate = params["max_probes"]
    if not is_number(rate, 1, _MOST):
        faults.add("max_probes", f"{rate} is not a number of probes a second (1 to {_MOST})")
    metrics = parse_metrics(params, faults)
    sync = None
    if params["sync"]:
        own = {name: params[f"sync_{name}"] for name in ("key", "port", "address", "peers")}
        sync = parse_sync(own, faults, "sync_")
    return AgentSettings(interface, table, rate, metrics, sync)


def _read(value: t.Any, where: str) -> AgentSettings:
    found = {name: option.get("default") for name, option in AGENT.items()} | read_fields(value, where, _FIELDS)
    faults = Faults()
    settings = _parse(found, faults)
    if faults.lines:
        raise Fault("", faults.lines[0])
    return settings


def _hidden(value: t.Any, where: str) -> str:
    """A text that no sentence shows."""
    if not isinstance(value, str):
        raise Fault(where, "is not a text")
    return value


_FIELDS: Fields = {
    "schema": number(SCHEMA, SCHEMA),
    "interface": text,
    "announce_table": number(1, LAST_TABLE),
    "max_probes": number(1, _MOST),
    "metrics_listen": many(text),
    "metrics_allow": many(text),
    "metrics_real": flag,
    "sync": flag,
    "sync_address": Optional(text),
    "sync_port": Optional(number(1, 65535)),
    "sync_peers": Optional(many(text)),
    "sync_key": Optional(_hidden),
}
