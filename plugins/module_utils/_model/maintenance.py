# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers that are taken out of service: which are meant, and which VIPs would be left to nobody. Pure."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from .announcement import READY
from .faults import shortened, some
from .written import as_decimal, number_fault, visible

Info = Mapping[str, t.Any]


class Chosen(t.NamedTuple):
    """Hosts that are meant, in the order of their group, and what is wrong with what was said, in sentences."""

    hosts: list[str]
    faults: list[str]


def names_of(value: t.Any) -> list[str] | None:
    """The names that an operator gave by -e: a list, or a text with commas or spaces; None for what is neither."""
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace(",", " ").split()
    if isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes)):
        found = list(value)
        return [str(each).strip() for each in found] if all(isinstance(each, (str, int)) for each in found) else None
    return None


ON_TIMEOUT = ("stop", "purge", "go_on")
_TRUTHS = ("true", "false", "yes", "no", "on", "off", "1", "0")
_LONGEST = 86_400
OPTIONS = ("drain_timeout", "drain_flows", "drain_last", "drain_withdraw", "on_timeout")
"""The variables beside those that say who is meant, without their prefix."""


def option_faults(options: Mapping[str, t.Any]) -> list[str]:
    """What is wrong with OPTIONS as they were given, in sentences; what is absent or None is not given."""
    found = []
    for name, value in options.items():
        text = visible(str(value))
        if value is None:
            continue
        if name == "drain_timeout" and not _is_seconds(value):
            found.append(f"katran_drain_timeout: {text} is not a number of seconds (0 to {_LONGEST})")
        elif name == "drain_flows" and (number_fault(value) or int(value) < 0):
            found.append(f"katran_drain_flows: {text} is not a number of flows")
        elif name in ("drain_last", "drain_withdraw") and str(value).lower() not in _TRUTHS:
            found.append(f"katran_{name}: {text} is neither true nor false")
        elif name == "on_timeout" and value not in ON_TIMEOUT:
            found.append(f"katran_on_timeout: {text} is none of {', '.join(ON_TIMEOUT)}")
    return found


def _is_seconds(value: t.Any) -> bool:
    seconds = as_decimal(value)
    return seconds is not None and seconds <= _LONGEST


def chosen_balancers(asked: t.Any, limited: bool, playing: Collection[str], group: Sequence[str]) -> Chosen:
    """The balancers that katran_drain names, or, without it, those that --limit leaves.

    `asked`: as it was given; `limited`: whether there is a limit; `playing`: the hosts of the play; `group`: every
    balancer of the inventory.
    """
    names = names_of(asked)
    if names is None:
        return Chosen([], [f"katran_drain: {visible(str(asked))} is neither the name of a balancer nor a list of them"])
    if not names:
        if asked not in (None, "") or not limited:
            return Chosen([], ["which balancers? Name them: --limit lb1, or -e katran_drain=lb1,lb2"])
        return Chosen([host for host in group if host in playing], [])
    faults = []
    for name in dict.fromkeys(names):
        if name not in group:
            near = difflib.get_close_matches(name, group, 1, 0.6)
            meant = f"; did you mean {near[0]}?" if near else f" ({some(list(group))})"
            faults.append(f"katran_drain: {visible(name)} is none of the balancers{meant}")
        elif name not in playing:
            faults.append(f"katran_drain: --limit leaves {name} out: name it there too, or give no --limit")
    return Chosen([host for host in group if host in names], faults)


def last_ready(fleet: Mapping[str, Info | None], leaving: Collection[str]) -> list[str]:
    """A sentence for each place of VIPs that no other balancer would be ready for, once these have left together.

    `fleet`: every balancer → what balancer_info tells of its announcements (ready), None where it does not answer. The
    kernel's routes count, which a routing daemon learns. A balancer that is drained, or leaves too, is no other one;
    nor is one that asks traffic away for a reason of its own, where one that leaves is ready.
    """
    best: dict[str, int] = {}
    holders: dict[str, list[str]] = {}
    others: dict[str, list[int]] = {}
    for host, info in fleet.items():
        for row in (info or {}).get("places", ()):
            place, metric = str(row["place"]), int(row["route"])
            if not metric:
                continue
            if host in leaving:
                best[place] = min(metric, best.get(place, metric))
                holders.setdefault(place, []).append(host)
            elif info is not None and not info.get("drained"):
                others.setdefault(place, []).append(metric)
    silent = sorted(host for host, info in fleet.items() if info is None and host not in leaving)
    found = []
    for place, metric in sorted(best.items()):
        left = others.get(place, [])
        if not left or (metric == READY and READY not in left):
            why = "no other balancer announces it"
            if left:
                why = "every other balancer asks traffic to go elsewhere itself"
            if silent:
                why += f" ({some(silent)} did not answer)"
            found.append(f"{place}: only {some(holders[place])} announces it as ready, and {why}")
    return shortened(found, "and {} more places of VIPs")
