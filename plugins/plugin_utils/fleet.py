# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory tells each balancer and real, and all that is wrong with it."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import parse_addresses
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import agent_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.beside import beside_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import (
    bgp_warnings,
    parse_bgp,
    places_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    SYNC_FLAG,
    VARIABLES,
    Resources,
    Served,
    asks_reals,
    drained_warnings,
    feature_faults,
    list_faults,
    resource_variables,
    resources_faults,
    unknown_variables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory_ids import (
    Named,
    as_id,
    divided,
    id_faults,
    id_warnings,
    known_ids,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED, Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Tunnel
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.options import Spec, parse_instance
from ansible_collections.katran.fleet.plugins.module_utils._model.outer_sources import SETTINGS, OuterSources
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_rate import MOST_PROBES
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults, config_warnings
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_settings import range_faults, units_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import is_number, is_true, words
from ansible_collections.katran.fleet.plugins.module_utils._model.sources import DEFAULT_SOURCES
from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet_sites import (
    real_faults,
    real_warnings,
    site_warnings,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError
from ansible_collections.katran.fleet.plugins.plugin_utils.machines import CHAIN, Machines
from ansible_collections.katran.fleet.plugins.plugin_utils.role_options import (
    AGENT_OPTIONS,
    BALANCER_OPTIONS,
    REAL_OPTIONS,
    option_faults,
)

_IN_A_UNIT = re.compile(r"[A-Za-z0-9_.-]{1,15}")
Told = dict[str, t.Any]
T = t.TypeVar("T")


class Fleet:
    """Every host that is asked for.

    `faults`: host → what is wrong with its variables, in sentences; `warnings`: likewise what is valid, and yet may
    surprise. `resources`: each set of resources that a balancer is told, by a word of its own: mostly all have one, and
    it may be large. `options`: host → balancer, agent, bgp, real → the options of that as its modules read them, and
    min_active.
    """

    def __init__(
        self, variables: HostVariables, balancers: Collection[str], alone: str = "", reals: Collection[str] = ()
    ) -> None:
        """`balancers`: the hosts whose VIPs `reals` serve; `alone`: the host, if there is but one to be asked for."""
        self.faults: dict[str, list[str]] = {}
        self.warnings: dict[str, list[str]] = {}
        self._host = alone or "the host"
        self._failed: set[tuple[str, str]] = set()
        self._variables = variables
        self._balancers = list(balancers)
        self.reals = list(reals)
        self._both = frozenset(reals).intersection(balancers)
        self.resources: dict[str, Mapping[str, Sequence[t.Any]]] = {}
        self.options: dict[str, dict[str, t.Any]] = {}
        self._joined: dict[tuple[t.Any, ...], Resources] = {}
        self._served: dict[int, Served] = {}
        self._checked: dict[tuple[t.Any, ...], list[str]] = {}
        self._drained: dict[int, list[str]] = {}
        self._sources: dict[bool, OuterSources] = {}
        self._known_once: dict[tuple[t.Any, int], t.Any] = {}
        self._largest_mss: int | None = None
        self._tunnels: list[Tunnel] | None = None
        self._machines = Machines(variables, self._balancers)

    def add_fault(self, host: str, *sentences: str) -> None:
        """Something is wrong with a host's variables."""
        known = self.faults.setdefault(host, [])
        known += [sentence for sentence in sentences if sentence not in known]

    def _once(self, about: Callable[[t.Any], T], resources: Resources, value: t.Any) -> T:
        """What a function says of some resources, which many balancers share."""
        key = about, id(resources)
        if key not in self._known_once:
            self._known_once[key] = about(value)
        return t.cast(T, self._known_once[key])

    def _note(self, host: str, part: str, options: t.Any) -> None:
        self.options.setdefault(host, {})[part] = options

    def balancer(self, host: str) -> Told:
        """What a balancer is told."""
        self._check_variables(host)
        resources = self._resources(host)
        extra = self._get(host, "balancer_extra_features")
        self.add_fault(host, *feature_faults(extra))
        needs = {"inline_decap": self._shares(host), SYNC_FLAG: self._syncs(host), CHAIN: self._machines.leads_on(host)}
        more = [name for name, needed in needs.items() if needed]
        told: Told = {
            "features": resources.features([*words(extra), *more]),
            "sizes": dict(DEFAULT_SIZES),
            "resources": self._word_of(resources),
            "untouched": [] if self._is_set(host, "katran_features") else resources.untouched,
            "families": resources.families,
            "mss": self._mss(),
        }
        told |= self._outer_sources(host, {"katran_decap_sources"}, True)
        told |= self._bgp(host, resources)
        told |= self._agent(host, resources)
        told |= self._shared(host)
        self._variables.add(host, {"balancer_told": told, "balancer_known": _unasked(told)})
        if "inline_decap" not in words(self._get(host, "balancer_features")) or self._get(host, "balancer_decap_any"):
            # Nothing ends there that needs a source.
            told |= {"sources": [], "ask": []}
        options = self._options(host, "balancer", BALANCER_OPTIONS)
        if not options.get("root_array"):
            options.pop("root_array", None)
            if not options.get("interfaces"):
                self.add_fault(
                    host, f"katran_interfaces is empty: list the interfaces whose packets {self._host} balances"
                )
        read, wrong = option_faults(options, BALANCER_OPTIONS)
        least = self._get(host, "balancer_min_active")
        self._note(host, "min_active", least)
        self.add_fault(host, *wrong, *resources_faults(resources, read["allow_empty"], least))
        limits = UNLIMITED
        # Which interfaces are missing is told above, in the inventory's words.
        settings = self._parsed(host, parse_settings, {**read, "state": "loaded"})
        self._note(host, "balancer", read if settings is None else {**read, **settings.to_config()})
        if settings is not None and not wrong:
            limits = Limits(settings.sizes, settings.features)
            if self._syncs(host) and not limits.has(SYNC_FLAG):
                self.add_fault(host, f"katran_sync needs feature {SYNC_FLAG}, which katran_features leaves out")
        # A bound that is none, the agent's settings tell.
        most = read["max_probes"] if is_number(read["max_probes"], 1, MOST_PROBES) else None
        own = (read["allow_own_addresses"], read["ssh_port"], read["check_defaults"], most)
        self.add_fault(host, *self._config_faults(resources, limits, *own))
        surprises = self._once(config_warnings, resources, resources.entries)
        self.warnings[host] = self.warnings.get(host, []) + resources.told(surprises)
        return told

    def _bgp(self, host: str, resources: Resources) -> Told:
        """Where VIPs may be that a balancer announces; None where nobody says which. No password is handed on."""
        config = self._get(host, "katran_bgp") if self._is_set(host, "katran_bgp") else None
        self._note(host, "bgp", config)
        if config is not None:
            try:
                self.warnings.setdefault(host, []).extend(bgp_warnings(parse_bgp(config, "katran_bgp"), "katran_bgp"))
            except ConfigError as error:
                self.add_fault(host, str(error))
        # One bird announces for all balancers of a host.
        others = [each for each in self._machines.beside(host) if self._is_set(each, "katran_bgp")]
        every = [resources, *(self._resources(each) for each in others)] if config is not None else [resources]
        vips = [each.entries.get("vips") for each in every]
        places: t.Any = None
        if None not in vips:
            together = [vip for each in vips for vip in each or ()]
            places = places_of(together) if others else self._once(places_of, resources, together)
        return {"announces": config is not None, "places": places}

    def _shared(self, host: str) -> Told:
        """What others on the host need of it: its agent, and what that needs to tell of flows."""
        others = [self._machines.instance(each, self._syncs(each)) for each in self._machines.beside(host)]
        if others:
            self.add_fault(host, *beside_faults(self._machines.instance(host, self._syncs(host)), others))
        return {"beside": {"agent": any(each.agent for each in others), "sync": any(each.sync for each in others)}}

    def _agent(self, host: str, resources: Resources) -> Told:
        """Whether the agent asks reals through the tunnel, and which other balancers it tells of flows."""
        read, wrong = option_faults(self._options(host, "balancer", AGENT_OPTIONS), AGENT_OPTIONS)
        self.add_fault(host, *wrong)
        self._note(host, "agent", dict(read))
        beside = {host, *self._machines.beside(host)}
        peers = list(read["sync_peers"])
        if read["sync"] and not peers:
            peers = [self._peer(each, host) for each in self._balancers if each not in beside]
        # Several of one host are told once: those that listen on the same port.
        peers = [peer for peer in dict.fromkeys(peers) if peer]
        if not read["sync_address"]:
            # Which one it is, the host finds out.
            read["sync_address"] = "::1" if any(":" in peer for peer in peers) else "127.0.0.1"
        if not wrong:
            found = agent_faults({**read, "interface": "", "sync_peers": peers})
            self.add_fault(host, *(f"katran_{sentence}" for sentence in found))
        return {
            "checked": self._once(asks_reals, resources, resources.entries.get("vips", ())),
            "peers": peers if read["sync"] else [],
        }

    def _peer(self, host: str, teller: str) -> str:
        """The address to which `teller` tells a balancer of flows; a fault of `teller`, and empty, without one."""
        told = self._get(host, "katran_sync_address")
        if told:
            return str(told)
        name = str(self._get(host, "ansible_host") or host)
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            self.add_fault(
                teller,
                f"katran_sync_address: {host} has none, and {name}, by which Ansible reaches it, is not an IP address:"
                " write the one at which it is told of flows",
            )
            return ""
        return str(address)

    def review(self, hosts: Iterable[str], reals: Iterable[str]) -> None:
        """Warn balancers of what leads to `reals` that are drained, or to none that the inventory has."""
        addresses = self._addresses_of(reals)
        for host in hosts:
            resources = self._resources(host)
            if id(resources) not in self._drained:
                self._drained[id(resources)] = drained_warnings(resources, addresses)
            if self._drained[id(resources)]:
                self.warnings.setdefault(host, []).extend(self._drained[id(resources)])
        told_by = {host: self._resources(host) for host in hosts}
        self._review_ids(told_by, reals)
        for host, sentences in real_faults(reals, self._get).items():
            self.add_fault(host, *sentences)
        for told in (site_warnings(told_by, self._get), real_warnings(reals, self._get)):
            for host, sentences in told.items():
                self.warnings.setdefault(host, []).extend(sentences)

    def _review_ids(self, balancers: Mapping[str, Resources], reals: Iterable[str]) -> None:
        """Compare the server ids of reals with each other, and with those that balancers know."""
        # Balancers with the same variables know the same.
        distinct = {id(each): each for each in balancers.values()}
        known_by = {word: known_ids(each.entries) for word, each in distinct.items()}
        named = {}
        for host in reals:
            units = self._get(host, "katran_server_id_units")
            named[host] = Named(
                as_id(self._get(host, "katran_server_id")),
                tuple(self._addresses(host)),
                None if units is None else tuple(words(units)),
                as_id(self._get(host, "katran_server_id_fallback")),
            )
        tables = [each.ids for each in known_by.values()]
        for host, sentences in id_faults(named, tables).items():
            self.add_fault(host, *sentences)
        knows = {host: known_by[id(each)] for host, each in balancers.items()}
        for told in (id_warnings(named, tables), divided(knows, named)):
            for host, sentences in told.items():
                self.warnings.setdefault(host, []).extend(sentences)

    def real(self, host: str) -> Told:
        """What a real is told."""
        self._check_variables(host)
        addresses = self._addresses(host)
        wrong = Faults()
        parse_addresses(addresses, "katran_real_address", wrong)
        self.add_fault(host, *wrong.lines)
        told: Told = {
            "addresses": addresses,
            "vips": self._served_vips(host, addresses),
            "gue_port": self._gue_port(),
            **self._outer_sources(host, {"katran_real_sources"}),
            "tunnel": self._tunnel(any(":" in address for address in addresses)),
            "attach": not self._shares(host),
            "probes_from": self._probes_from(host),
        }
        self._variables.add(host, {"real_told": told, "real_known": _unasked(told)})
        options = self._options(host, "real", REAL_OPTIONS)
        # What the balancers' variables say is checked there.
        for name, variable in (("vips", "katran_real_vips"), ("gue_port", "katran_gue_port")):
            if not self._is_set(host, variable):
                options[name] = None
        read, unread = option_faults(options, REAL_OPTIONS)
        self.add_fault(host, *unread)
        self._note(host, "real", read)
        if not options.get("interfaces"):
            self.add_fault(
                host,
                f"katran_real_interfaces is empty: list the interfaces on which balancers' packets reach {self._host}",
            )
            return told
        strange = [name for name in words(options["interfaces"]) if not _IN_A_UNIT.fullmatch(name)]
        if strange:
            self.add_fault(host, f"katran_real_interfaces: {', '.join(strange)} cannot be the name of an interface")
            read["interfaces"] = ["lo"]
        self.add_fault(host, *units_faults(read["server_id_units"] or (), "katran_server_id_units"))
        numbers = {"fallback_id": read["server_id_fallback"], "entries": read["server_id_entries"]}
        told_as = (each.replace("fallback_id", "fallback") for each in range_faults(numbers, "katran_server_id_"))
        self.add_fault(host, *told_as)
        defaults = {name: option.get("default") for name, option in DECAP.items()}
        self._parsed(host, parse_real, {**defaults, **read})
        return told

    def _addresses(self, host: str) -> list[str]:
        addresses = self._get(host, "katran_real_address") or []
        return list(map(str, addresses)) if isinstance(addresses, (list, tuple)) else [str(addresses)]

    def _addresses_of(self, reals: Iterable[str]) -> list[str]:
        return [address for real in reals for address in self._addresses(real)]

    def _check_variables(self, host: str) -> None:
        """Whether each is ours and has a value: Jinja's default() passes over what is undefined inside."""
        names = [name for name in self._variables.raw(host) if name.startswith("katran_")]
        self.add_fault(host, *unknown_variables(names))
        for name in sorted(VARIABLES.intersection(names)):
            self._get(host, name)

    def _get(self, host: str, name: str) -> t.Any:
        try:
            return self._variables.get(host, name)
        except VariableError as error:
            self.add_fault(host, str(error))
            self._failed.add((host, name))
            return None

    def _is_set(self, host: str, name: str) -> bool:
        try:
            return self._variables.is_set(host, name)
        except VariableError:
            # It is told where its value is asked for.
            return True

    def _options(self, host: str, role: str, spec: Spec) -> dict[str, t.Any]:
        raw = self._variables.raw(host)
        return {name: self._get(host, f"{role}_{name}") for name in spec if f"{role}_{name}" in raw}

    def _parsed(self, host: str, parse: Callable[[Mapping[str, t.Any]], T], options: Mapping[str, t.Any]) -> T | None:
        """The options parsed; None, and the host's faults, where that fails."""
        for each in (lambda: parse_instance(options["instance"], options["bpffs"]), lambda: parse(options)):
            try:
                found = each()
            except ConfigError as error:
                self.add_fault(host, str(error))
                return None
        return t.cast(T, found)

    def _resources(self, host: str) -> Resources:
        values: dict[str, t.Any] = {}
        for names in resource_variables(self._variables.raw(host)).values():
            found = {name: self._get(host, name) for name in names if self._is_set(host, name)}
            # Of a resource that is known in part nothing more can be said.
            if not any((host, name) in self._failed for name in names):
                values.update(found)
        self.add_fault(host, *list_faults(values))
        flagged = self._syncs(host) and self._may_have(host, SYNC_FLAG)
        key = (flagged, *((name, id(value)) for name, value in values.items()))
        if key not in self._joined:
            good = {name: value for name, value in values.items() if value is None or isinstance(value, list)}
            joined = Resources.joined(good)
            self._joined[key] = joined.with_flag(SYNC_FLAG) if flagged else joined
        return self._joined[key]

    def _syncs(self, host: str) -> bool:
        """Whether the balancer exchanges flow exceptions with others; what is no truth value, its own check tells."""
        own = "balancer_sync" in self._variables.raw(host)
        return is_true(self._get(host, "balancer_sync" if own else "katran_sync"))

    def _may_have(self, host: str, feature: str) -> bool:
        """Whether a feature comes by itself, or is listed."""
        return not self._is_set(host, "katran_features") or feature in words(self._get(host, "katran_features"))

    def _word_of(self, resources: Resources) -> str:
        """The word under which `resources` has these."""
        for word, known in self.resources.items():
            if known is resources.entries:
                return word
        word = str(len(self.resources))
        self.resources[word] = resources.entries
        return word

    def _config_faults(
        self, resources: Resources, limits: Limits, allow_own: bool, ssh_port: int, checks: t.Any, probes: int | None
    ) -> list[str]:
        rest = allow_own, ssh_port, repr(checks), probes
        key = (id(resources), tuple(sorted(limits.sizes.items())), limits.features, *rest)
        if key not in self._checked:
            reals = self._addresses_of(self.reals)
            found = config_faults(resources.entries, limits, allow_own, ssh_port, reals, checks, probes)
            self._checked[key] = resources.told(found)
        return self._checked[key]

    def _served_vips(self, host: str, addresses: Sequence[str]) -> list[str] | None:
        """The VIPs that a real serves; None where nobody says which."""
        own = resource_variables(self._variables.raw(host))["vips"]
        said = [self._resources(each) for each in ([host] if own else self._balancers)]
        said = [resources for resources in said if "vips" in resources.entries]
        if not said:
            return None
        found: set[str] = set()
        for resources in {id(each): each for each in said}.values():
            if id(resources) not in self._served:
                self._served[id(resources)] = Served.of(resources)
            found |= self._served[id(resources)].to(addresses)
        return sorted(found)

    def _shares(self, host: str) -> bool:
        """Whether the host is balancer and real on one interface: then the balancer's program is both."""
        if host not in self._both:
            return False
        balanced = self._get(host, "katran_interfaces")
        served = self._get(host, "katran_real_interfaces") or balanced
        return not set(words(balanced)).isdisjoint(words(served))

    def _probes_from(self, host: str) -> list[str]:
        """By which interface a real that is a balancer too asks others, in a list; none where it asks nobody.

        In a slot of a root program, it is one of those where that runs: the host takes tunnels there as well.
        """
        if host not in self._both or not asks_reals(self._resources(host).entries.get("vips", ())):
            return []
        balanced = words(self._get(host, "katran_interfaces"))
        return balanced[:1] if balanced else words(self._get(host, "katran_real_interfaces"))

    def _outer_sources(self, host: str, instead: Collection[str], both: bool = False) -> Told:
        """From where the host takes balancers' packets, unless one of the variables `instead` says it."""
        if any(self._is_set(host, name) for name in instead):
            return {"sources": [], "ask": []}
        if both not in self._sources:
            found = self._sources[both] = OuterSources()
            for each in self._balancers:
                found.add(each, {name: self._get(each, f"katran_{name}") for name in SETTINGS}, both)
        found = self._sources[both]
        own = OuterSources(set(found.sources if self._balancers else DEFAULT_SOURCES))
        own.add_probes(self._get(host, "katran_healthcheck_sources"))
        return {"sources": sorted(own.sources), "ask": list(found.ask)}

    def _mss(self) -> int:
        """The largest MSS that VIPs announce; 0 where a real does not bound it."""
        if self._largest_mss is None:
            found = [self._number(host, "katran_real_mss", 0) for host in self.reals]
            self._largest_mss = max(found) if found and all(found) else 0
        return self._largest_mss

    def _tunnel(self, ipv6: bool) -> dict[str, t.Any] | None:
        """The largest of what balancers send to a real; None where there is no balancer."""
        if self._tunnels is None:
            self._tunnels = [
                Tunnel(
                    str(self._get(host, "katran_encapsulation") or "ipip"), self._number(host, "katran_max_frame", 1514)
                )
                for host in self._balancers
            ]
        return vars(replace(max(self._tunnels, key=Tunnel.outer), ipv6=ipv6)) if self._tunnels else None

    def _number(self, host: str, name: str, default: int) -> int:
        """A variable that is a number; the default where it is none, which its own check tells."""
        value = self._get(host, name)
        return int(value) if number_fault(value) is None else default

    def _gue_port(self) -> t.Any:
        """The port of GUE that the balancers have."""
        port = self._get(self._balancers[0], "katran_gue_port") if self._balancers else None
        return 6080 if port is None else port


def _unasked(told: Told) -> Told:
    """What is known of outer sources as long as no balancer was asked."""
    return {"sources": told["sources"], "unknown": told["ask"]}


def report(faults: Mapping[str, Sequence[str]]) -> list[dict[str, t.Any]]:
    """Each fault once, with the hosts that have it."""
    hosts: dict[str, list[str]] = {}
    for host, sentences in faults.items():
        for sentence in sentences:
            hosts.setdefault(sentence, []).append(host)
    return [{"fault": sentence, "hosts": names} for sentence, names in hosts.items()]


def message(faults: Mapping[str, Sequence[str]]) -> str:
    """The faults of many hosts, those of one set of hosts in a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for each in report(faults):
        lines.setdefault(tuple(each["hosts"]), []).append(each["fault"])
    return "\n".join(f"{names_of(hosts)}: {'; '.join(sentences)}" for hosts, sentences in lines.items())


def names_of(hosts: Iterable[str]) -> str:
    """Some host names, and how many more there are."""
    names = list(hosts)
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
