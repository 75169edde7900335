# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says: which variables are ours, which join to a resource, and what a host is told by them.

Variables are taken as they are once templated. What is wrong with a resource's entries is told by config_faults.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .addresses import read_address
from .draining import Drained, still_led
from .dual_stack import Origin, as_written, expanded
from .entries import Asked
from .errors import ConfigError
from .features import FEATURES
from .resources import FROM_VARIABLES, features_needed
from .shape import as_told, words
from .tables import LEADING, TABLES
from .verdicts import NO_WORDS
from .vips_input import Vips, resolve_vips
from .written import number_fault

VARIABLES = frozenset(
    f"katran_{name}"
    for name in (
        # of balancers
        *("interfaces", "mode", "encapsulation", "gue_port", "features", "extra_features", "gateway_mac", "copy_tos"),
        *("source_ipv4", "source_ipv6", "source_prefix_ipv4", "source_prefix_ipv6", "sizes", "max_frame"),
        *("decap_any", "decap_sources", "healthcheck_sources"),
        *("max_new_flows", "udp_timeout", "forwarding_cores", "numa", "root_array", "accept_rehash", "replace_foreign"),
        *("end_rollback", "min_active", "purge_flows", "allow_empty", "allow_own_addresses", *FROM_VARIABLES),
        # of their agents
        *("agent", "check_defaults", "max_probes", "metrics_listen", "metrics_allow", "metrics_real"),
        *("sync", "sync_key", "sync_port", "sync_address", "sync_peers"),
        # of reals
        *("real_interfaces", "real_mode", "real_vips", "real_sources", "real_mtu", "real_mss", "real_address"),
        *("real_attach", "real_how", "real_firewall"),
        *("real_weight", "real_state", "server_id", "server_id_units", "server_id_fallback"),
        *("server_id_entries", "server_id_restart", "weights_file", "real_zones"),
        # of both
        *("instance", "bpffs", "lock_timeout", "host_packages", "mtu_check", "zone"),
        # of announcements
        *("bgp", "bgp_packages", "announce_table"),
        # of a run
        *("balancers_group", "reals_group", "become", "doctor_json", "serial", "max_failed", "gate_seconds"),
        *("import_path", "import_force", "import_maps_path", "import_program_id"),
        *("plan_old", "plan_new", "plan_json", "plan_markdown", "drift_json", "report", "report_title"),
        *("rollback_run", "rollback_to"),
        *("import_keepalived", "import_ipvsadm", "import_host", "import_config_id", "import_balancers"),
        *("import_interfaces", "import_real_interfaces", "import_marks"),
        # of balancers and reals that are drained
        *("drain", "drain_last", "drain_withdraw", "drain_by", "drain_timeout", "drain_flows", "real", "on_timeout"),
    )
)
"""The variables that an operator may set; of resources, also those of several teams, NAME__TEAM."""

SYNC_FLAG = "global_lru"
"""The feature, and the flag of VIPs, that takes flow exceptions of other balancers in: katran_sync brings them."""

GROUPS = {"katran_balancers_group": "balancers", "katran_reals_group": "reals"}
"""Variable that says which hosts are which → the group where it is not set."""

_TEAM = re.compile(rf"katran_({'|'.join(FROM_VARIABLES)})__[A-Za-z0-9_]+")


def resource_of(variable: str) -> str | None:
    """The resource that a variable is about, alone or as one of several teams'; None where it is about none."""
    name = variable.removeprefix("katran_")
    if name != variable and name in FROM_VARIABLES:
        return name
    found = _TEAM.fullmatch(variable)
    return found[1] if found else None


def resource_variables(names: Iterable[str]) -> dict[str, list[str]]:
    """Resource → the variables that join to it, sorted, of those with these names."""
    found: dict[str, list[str]] = {resource: [] for resource in FROM_VARIABLES}
    for name in sorted(names):
        resource = resource_of(name)
        if resource is not None:
            found[resource].append(name)
    return found


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A sentence for each variable that begins like ours and is none, with the name that it may be meant to be."""
    found = []
    for name in sorted(names):
        if not name.startswith("katran_") or name in VARIABLES or resource_of(name) is not None:
            continue
        head, team, rest = name.removeprefix("katran_").partition("__")
        near = difflib.get_close_matches(head, [each.removeprefix("katran_") for each in sorted(VARIABLES)], 1, 0.6)
        meant = "".join(f"katran_{each}{team + rest if each in FROM_VARIABLES else ''}" for each in near)
        found.append(f"{name}: there is no such variable" + (f"; did you mean {meant}?" if meant else ""))
    return found


def missing_groups(
    groups: Collection[str], patterns: Mapping[str, str], hosts: Mapping[str, Collection[str]]
) -> list[str]:
    """What is wrong where a pattern of hosts matches none. `patterns`: as GROUPS; `hosts`: variable → those matched.

    A fleet may have its balancers or its reals elsewhere, but not both, and not by a slip of the pen.
    """
    found = []
    for variable, pattern in patterns.items():
        if hosts[variable]:
            continue
        others = sorted(set(groups) - {"all", "ungrouped"} - set(patterns.values()))
        near = difflib.get_close_matches(pattern, others, 1, 0.7)
        if near:
            found.append(f"no host is in {pattern} ({variable}); did you mean the group {near[0]}?")
    if not found and not any(hosts.values()):
        told = " nor ".join(f"{pattern} ({variable})" for variable, pattern in patterns.items())
        found.append(f"no host is in {told}")
    return found


def list_faults(variables: Mapping[str, t.Any]) -> list[str]:
    """One sentence that names the variables of resources that are no lists; none where all are."""
    wrong = [name for name, value in variables.items() if value is not None and not isinstance(value, (list, tuple))]
    return [f"{', '.join(wrong)} must be a list"] if wrong else []


@dataclass(frozen=True)
class Resources:
    """The resources of one balancer.

    `entries`: of each that a variable is about, what its variables list together, a VIP with several addresses as one
    for each; `origins`: for those of VIPs that stand otherwise in the inventory, where they do.
    """

    entries: Mapping[str, Sequence[t.Any]]
    origins: Mapping[int, Origin] = field(default_factory=dict)

    @classmethod
    def joined(cls, variables: Mapping[str, t.Any]) -> Resources:
        """What these variables say; a variable without value lists nothing."""
        found: dict[str, list[t.Any]] = {}
        for resource, names in resource_variables(variables).items():
            if names:
                found[resource] = [entry for name in names for entry in variables[name] or ()]
        if "vips" not in found:
            return cls(found)
        vips, origins = expanded(found["vips"])
        return cls({**found, "vips": vips}, origins)

    def told(self, sentences: Iterable[str]) -> list[str]:
        """Sentences about entries, by their places in the inventory; each once."""
        return list(dict.fromkeys(as_written(sentence, self.origins) for sentence in sentences))

    def with_flag(self, flag: str) -> Resources:
        """The same with a flag at every VIP, beside those that it has. What is no VIP stays as it is."""
        if "vips" not in self.entries:
            return self
        vips = [_flagged(vip, flag) for vip in self.entries["vips"]]
        return replace(self, entries={**self.entries, "vips": vips})

    @property
    def untouched(self) -> list[str]:
        """The resources that no variable is about."""
        return [resource for resource in FROM_VARIABLES if resource not in self.entries]

    # Most balancers of a fleet share one of these, and what follows from it.
    @cached_property
    def families(self) -> list[str]:
        """The families of the VIPs' reals and of those that tables lead to."""
        found = {
            ":" in str(real.get("address"))
            for vip in self.entries.get("vips", ())
            if isinstance(vip, Mapping) and isinstance(vip.get("reals"), (list, tuple))
            for real in vip["reals"]
            if isinstance(real, Mapping)
        }
        for name in LEADING:
            found |= {":" in str(row.get("real")) for row in self.entries.get(name, ()) if isinstance(row, Mapping)}
        return [family for family, ipv6 in (("ipv4", False), ("ipv6", True)) if ipv6 in found]

    def features(self, extra: Iterable[t.Any] = ()) -> list[str]:
        """The features that these need, and the `extra` ones, sorted. Entries that are no mappings need none."""
        return sorted({*self._needed, *map(str, extra)})

    @cached_property
    def _needed(self) -> list[str]:
        rows = {
            name: [entry for entry in entries if isinstance(entry, Mapping)] for name, entries in self.entries.items()
        }
        return features_needed(**rows)

    def emptied(self) -> list[str]:
        """The variables of resources that would lose every entry."""
        return [f"katran_{resource}" for resource, entries in self.entries.items() if not entries]

    def starved(self, least: int) -> list[str]:
        """The VIPs with fewer than `least` reals that take new flows: address, port and protocol of each."""
        if least not in self._starved:
            self._starved[least] = [
                " ".join(str(vip.get(name)) for name in ("address", "port", "protocol"))
                for vip in starved_vips(self.entries.get("vips", ()), least)
            ]
        return self._starved[least]

    @cached_property
    def _starved(self) -> dict[int, list[str]]:
        return {}


def _flagged(vip: t.Any, flag: str) -> t.Any:
    """A VIP with one more flag, unless it has it or nobody can tell."""
    if not isinstance(vip, Mapping) or not isinstance(vip.get("flags") or [], (str, list, tuple)):
        return vip
    flags = words(vip.get("flags"))
    return vip if flag in flags else {**vip, "flags": [*flags, flag]}


def asks_reals(vips: t.Any) -> bool:
    """Whether a VIP has a check that is made at its reals, and not told by others."""
    return isinstance(vips, (list, tuple)) and any(
        isinstance(vip, Mapping)
        and isinstance(vip.get("check"), Mapping)
        and vip["check"].get("type") not in (None, "external")
        for vip in vips
    )


def starved_vips(vips: Iterable[t.Any], least: int) -> list[Mapping[str, t.Any]]:
    """The VIPs with fewer than `least` reals that take new flows."""
    return [vip for vip in vips if isinstance(vip, Mapping) and _count_active(vip.get("reals")) < least]


def _count_active(reals: t.Any) -> int:
    return sum(map(_is_active, reals)) if isinstance(reals, (list, tuple)) else 0


def _is_active(real: t.Any) -> bool:
    if not isinstance(real, Mapping):
        # Another sentence says what is wrong with it.
        return True
    weight, state = real.get("weight"), real.get("state")
    return state in (None, "active") and (weight is None or str(weight) != "0")


def minimum_fault(value: t.Any) -> str | None:
    """Why it is no number of reals; a template that divides or rounds makes a float of one, such as 2.0."""
    whole = isinstance(value, float) and value.is_integer()
    return None if whole else number_fault(value)


def resources_faults(resources: Resources, allow_empty: t.Any, min_active: t.Any) -> list[str]:
    """What is wrong with resources beyond their entries."""
    found = []
    emptied = resources.emptied()
    if emptied and not allow_empty:
        found.append(
            f"{', '.join(emptied)}: the list is empty and would remove every entry; set katran_allow_empty if that is"
            " meant, and remove the variable to leave the entries alone"
        )
    told = minimum_fault(min_active)
    if told:
        return [*found, f"katran_min_active: {told}"]
    least = int(min_active)
    starved = resources.starved(least)
    if starved:
        found.append(f"katran_min_active is {least}, but too few reals are active behind {', '.join(starved)}")
    return found


def feature_faults(extra: t.Any) -> list[str]:
    """What is wrong with katran_extra_features."""
    unknown = sorted({str(feature) for feature in words(extra) if feature not in FEATURES})
    return [f"katran_extra_features: {', '.join(unknown)} is none of {', '.join(FEATURES)}"] if unknown else []


def drained_warnings(resources: Resources, addresses: Iterable[str]) -> list[str]:
    """A warning for each real that takes no new flow and to which source routes or server ids lead all the same.

    `addresses`: those of the inventory's reals, which are not gone though no VIP has them. The rows need not be valid:
    of wrong ones nothing is said here.
    """
    entries = resources.entries
    leading = [name for name in LEADING if entries.get(name)]
    rows = [as_told(entry, Vips.options) for entry in entries.get("vips", ())] if leading else []
    try:
        vips, _warnings = resolve_vips({}, Asked(rows, "overridden", allow_empty=True))
    except ConfigError:
        return []
    elsewhere = frozenset(map(canonical, addresses))
    found = []
    for name in leading:
        table = TABLES[name]
        keys_of: dict[str, list[str]] = {}
        for row in entries[name]:
            if isinstance(row, Mapping):
                keys_of.setdefault(str(row.get("real")), []).append(str(row.get(table.key)))
        known = {canonical(real): keys for real, keys in keys_of.items() if read_address(real) is not None}
        found += still_led(table, Drained(table, vips, NO_WORDS, elsewhere), known)
    return found


# What a real serves


@dataclass
class Served:
    """The VIPs of some balancers, asked which of them lead to a real.

    `everything`: all their addresses; `listed`: real → addresses of VIPs that list it among their reals or down reals;
    `followers`: table → those of VIPs that follow its entries; `led_to`: table → the reals that these lead to.
    """

    everything: set[str] = field(default_factory=set)
    listed: dict[str, set[str]] = field(default_factory=dict)
    followers: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in LEADING})
    led_to: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in LEADING})

    @classmethod
    def of(cls, resources: Resources) -> Served:
        """The VIPs, and the tables that lead to reals, of one balancer."""
        served = cls()
        for name, reals in served.led_to.items():
            reals.update(
                canonical(entry.get("real")) for entry in resources.entries.get(name, ()) if isinstance(entry, Mapping)
            )
        for vip in resources.entries.get("vips", ()):
            if isinstance(vip, Mapping):
                host, slash, length = str(vip.get("address")).partition("/")
                # A prefix is no address, unless of the whole length.
                if not slash or length == ("128" if ":" in host else "32"):
                    served.add({**vip, "address": host})
        return served

    def add(self, vip: Mapping[str, t.Any]) -> None:
        """Take up one VIP."""
        address = str(vip.get("address"))
        self.everything.add(address)
        reals = vip.get("reals") if isinstance(vip.get("reals"), (list, tuple)) else ()
        listed = {canonical(real.get("address")) for real in reals or () if isinstance(real, Mapping)}
        listed.update(map(canonical, words(vip.get("down_reals"))))
        listed.update(
            canonical(server.get("real"))
            for config in _mappings(vip.get("quic_lb"))
            for server in _mappings(config.get("servers"))
        )
        for real in listed:
            self.listed.setdefault(real, set()).add(address)
        for name, followers in self.followers.items():
            if TABLES[name].followed_by(vip):
                followers.add(address)

    def to(self, addresses: Iterable[str]) -> set[str]:
        """The addresses of the VIPs whose packets may reach a real with these; where it has none, of all VIPs."""
        reals = frozenset(map(canonical, addresses))
        if not reals:
            return set(self.everything)
        found: set[str] = set()
        for real in reals:
            found |= self.listed.get(real, set())
        for name, led_to in self.led_to.items():
            if not reals.isdisjoint(led_to):
                found |= self.followers[name]
        return found


def _mappings(entries: t.Any) -> Iterator[Mapping[str, t.Any]]:
    """Those of a list's entries that are mappings; none where it is no list."""
    return (entry for entry in (entries if isinstance(entries, (list, tuple)) else ()) if isinstance(entry, Mapping))


def canonical(address: t.Any) -> str:
    """An address in the one spelling that all its others have in common; what is none stays as it is."""
    found = read_address(str(address))
    return found.text if found else str(address)


# Readiness of a run


@dataclass(frozen=True)
class Prepared:
    """What became of the hosts of one run so far.

    `reals`: real → its addresses. `seen`: the hosts that the run is about; `prepared`: the reals that it made ready.
    """

    reals: Mapping[str, Sequence[str]]
    seen: Collection[str]
    prepared: Collection[str]

    @property
    def unready(self) -> list[str]:
        """Addresses of reals that could not be prepared."""
        return self._addresses(host for host in self.reals if host in self.seen and host not in self.prepared)

    @property
    def unseen(self) -> list[str]:
        """Addresses of reals that the run left out."""
        return self._addresses(host for host in self.reals if host not in self.seen)

    def _addresses(self, hosts: Iterable[str]) -> list[str]:
        return [address for host in hosts for address in self.reals[host]]


def may_still_send(
    balancers: Mapping[str, Collection[str]], done: Collection[str], references: Mapping[str, Mapping[str, t.Any]]
) -> list[str]:
    """The balancers that may still send to reals of before, sorted.

    `balancers`: balancer → the resources that variables are about; `done`: those that this run got through;
    `references`: balancer → resource → the reals that its entries lead to, as module vips returned them.
    """
    found = []
    for host, told in balancers.items():
        kept = references.get(host)
        sure = host in done and "vips" in told and kept is not None
        # A resource that nobody says is not touched, and may lead to any real.
        if not sure or any(kept and kept.get(name) for name in LEADING if name not in told):
            found.append(host)
    return sorted(found)
