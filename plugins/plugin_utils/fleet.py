# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory tells each balancer and real, and all that is wrong with it."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    VARIABLES,
    Resources,
    Served,
    feature_faults,
    list_faults,
    resource_variables,
    resources_faults,
    unknown_variables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED, Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.options import COMMON, Spec, parse_instance
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER, parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import words
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError

BALANCER_OPTIONS: Spec = {
    **COMMON,
    **{name: option for name, option in BALANCER.items() if name not in ("state", "source_dir")},
    "purge_flows": {"type": "bool", "default": True},
    "allow_empty": {"type": "bool", "default": False},
}
"""The parameters of role balancer, without the prefix of its name, that are options of modules."""

REAL_OPTIONS: Spec = {
    **COMMON,
    **{name: option for name, option in DECAP.items() if name in ("interfaces", "mode", "sources", "gue_port")},
    "vips": {"type": "list", "elements": "str"},
    "server_id": {"type": "int", "default": 0},
    "mtu": {"type": "int", "default": 0},
    "mss": {"type": "int", "default": 0},
}
"""Likewise of role real."""

_IN_A_UNIT = re.compile(r"[A-Za-z0-9_.-]{1,15}")
Told = dict[str, t.Any]
T = t.TypeVar("T")


def option_faults(options: Mapping[str, t.Any], spec: Spec) -> tuple[dict[str, t.Any], list[str]]:
    """The options as a module reads them, with defaults for what is wrong, and what is wrong with their types."""
    found: list[str] = []
    good: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if spec[name]["type"] == "dict" and not isinstance(value, Mapping):
            found.append(f"{name}: {value} is not a mapping")
            continue
        wrong = ArgumentSpecValidator({name: spec[name]}).validate({name: value}).error_messages
        found += wrong
        if not wrong:
            good[name] = value
    return dict(ArgumentSpecValidator(spec).validate(good).validated_parameters), found


class Fleet:
    """Every host that is asked for.

    `faults`: host → what is wrong with its variables, in sentences. `resources`: each set of resources that a balancer
    is told, by a word of its own: mostly all have one, and it may be large.
    """

    def __init__(self, variables: HostVariables, balancers: Collection[str], alone: str = "") -> None:
        """`balancers`: the hosts whose VIPs reals serve; `alone`: the host, if there is but one to be asked for."""
        self.faults: dict[str, list[str]] = {}
        self._host = alone or "the host"
        self._failed: set[tuple[str, str]] = set()
        self._variables = variables
        self._balancers = list(balancers)
        self.resources: dict[str, Mapping[str, Sequence[t.Any]]] = {}
        self._joined: dict[tuple[t.Any, ...], Resources] = {}
        self._served: dict[int, Served] = {}
        self._checked: dict[tuple[t.Any, ...], list[str]] = {}

    def add_fault(self, host: str, *sentences: str) -> None:
        """Something is wrong with a host's variables."""
        known = self.faults.setdefault(host, [])
        known += [sentence for sentence in sentences if sentence not in known]

    def balancer(self, host: str) -> Told:
        """What a balancer is told."""
        self._check_variables(host)
        resources = self._resources(host)
        extra = self._get(host, "balancer_extra_features")
        self.add_fault(host, *feature_faults(extra))
        told: Told = {
            "features": resources.features(words(extra)),
            "sizes": dict(DEFAULT_SIZES),
            "resources": self._word_of(resources),
            "untouched": [] if "katran_features" in self._variables.raw(host) else resources.untouched,
        }
        self._variables.add(host, {"balancer_told": told})
        options = self._options(host, "balancer", BALANCER_OPTIONS)
        if not options.get("root_array"):
            options.pop("root_array", None)
            if not options.get("interfaces"):
                self.add_fault(
                    host, f"katran_interfaces is empty: list the interfaces whose packets {self._host} balances"
                )
        read, wrong = option_faults(options, BALANCER_OPTIONS)
        least = self._get(host, "balancer_min_active")
        self.add_fault(host, *wrong, *resources_faults(resources, read["allow_empty"], least))
        limits = UNLIMITED
        # Which interfaces are missing is told above, in the inventory's words.
        settings = self._parsed(host, parse_settings, {**read, "state": "loaded"})
        if settings is not None and not wrong:
            limits = Limits(settings.sizes, settings.features)
        self.add_fault(host, *self._config_faults(resources, limits))
        return told

    def real(self, host: str) -> Told:
        """What a real is told."""
        self._check_variables(host)
        addresses = self._get(host, "katran_real_address") or []
        addresses = [addresses] if isinstance(addresses, str) else list(map(str, addresses))
        told: Told = {
            "addresses": addresses,
            "vips": self._served_vips(host, addresses),
            "gue_port": self._gue_port(),
        }
        self._variables.add(host, {"real_told": told})
        options = self._options(host, "real", REAL_OPTIONS)
        # What the balancers' variables say is checked there.
        for name, variable in (("vips", "katran_real_vips"), ("gue_port", "katran_gue_port")):
            if variable not in self._variables.raw(host):
                options[name] = None
        read, wrong = option_faults(options, REAL_OPTIONS)
        self.add_fault(host, *wrong)
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
        defaults = {name: option.get("default") for name, option in DECAP.items()}
        self._parsed(host, parse_real, {**defaults, **read})
        return told

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
            found = {name: self._get(host, name) for name in names}
            # Of a resource that is known in part nothing more can be said.
            if not any((host, name) in self._failed for name in names):
                values.update(found)
        self.add_fault(host, *list_faults(values))
        key = tuple((name, id(value)) for name, value in values.items())
        if key not in self._joined:
            good = {name: value for name, value in values.items() if value is None or isinstance(value, list)}
            self._joined[key] = Resources.joined(good)
        return self._joined[key]

    def _word_of(self, resources: Resources) -> str:
        """The word under which `resources` has these."""
        for word, known in self.resources.items():
            if known is resources.entries:
                return word
        word = str(len(self.resources))
        self.resources[word] = resources.entries
        return word

    def _config_faults(self, resources: Resources, limits: Limits) -> list[str]:
        key = (id(resources), tuple(sorted(limits.sizes.items())), limits.features)
        if key not in self._checked:
            self._checked[key] = config_faults(resources.entries, limits)
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

    def _gue_port(self) -> t.Any:
        """The port of GUE that the balancers have."""
        port = self._get(self._balancers[0], "katran_gue_port") if self._balancers else None
        return 6080 if port is None else port


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
