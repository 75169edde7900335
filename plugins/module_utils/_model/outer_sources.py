# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a fleet's balancers send to reals, by the inventory and by what balancers say of themselves."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .addresses import read_address
from .shape import words
from .sources import DEFAULT_SOURCES, read_source

FAMILIES = ("ipv4", "ipv6")
SETTINGS = (
    "encapsulation",
    *(f"source_{family}" for family in FAMILIES),
    *(f"source_prefix_{family}" for family in FAMILIES),
    "healthcheck_sources",
)
"""The settings of a balancer that decide it, as variables are called after katran_."""


@dataclass
class OuterSources:
    """Outer sources of some balancers. `sources`: canonical prefixes.

    `ask`: balancers whose source of GUE is the address of an interface, which they alone know.
    """

    sources: set[str] = field(default_factory=set)
    ask: list[str] = field(default_factory=list)

    def add(self, balancer: str, settings: Mapping[str, t.Any], both: bool = False) -> None:
        """Take up a balancer by its settings, as SETTINGS has them; None is a default. What is no source is left out.

        `both`: also those of the encapsulation that it does not have.
        """
        gue = settings.get("encapsulation") == "gue"
        if not gue or both:
            for family, default in zip(FAMILIES, DEFAULT_SOURCES, strict=True):
                self._add(settings.get(f"source_prefix_{family}") or default)
        addresses = [settings.get(f"source_{family}") or "auto" for family in FAMILIES]
        if gue and "auto" in addresses:
            self.ask.append(balancer)
        if gue or both:
            self._add(*(each for each in addresses if each != "auto"))
        self.add_probes(settings.get("healthcheck_sources"))

    def add_probes(self, sources: t.Any) -> None:
        """Take up those of probes: an address of whoever checks, whatever the encapsulation."""
        self._add(*words(sources))

    def _add(self, *values: t.Any) -> None:
        found = [read_source(str(value)) for value in values]
        self.sources.update(each.text for each in found if not isinstance(each, str))


@dataclass
class Answers:
    """What balancers that were asked have said. `unknown`: those that did not answer."""

    sources: list[str]
    unknown: list[str]

    @classmethod
    def of(cls, told: Mapping[str, t.Any], facts: Mapping[str, Mapping[str, t.Any]]) -> Answers:
        """Join what the inventory tells (`sources`, `ask`) with the addresses in facts. `facts`: balancer → its own."""
        heard = {host: _addresses(facts.get(host) or {}) for host in told["ask"]}
        found = {*told["sources"], *(address for addresses in heard.values() for address in addresses)}
        return cls(sorted(found), [host for host, addresses in heard.items() if not addresses])


def _addresses(facts: Mapping[str, t.Any]) -> Sequence[str]:
    """Every address of a host by which it can be told from others, as a prefix."""
    found = []
    for family in FAMILIES:
        for text in facts.get(f"all_{family}_addresses") or ():
            address = read_address(str(text))
            if address is None or ipaddress.ip_address(address.text).is_link_local:
                continue
            source = read_source(address.text)
            if not isinstance(source, str):
                found.append(source.text)
    return found
