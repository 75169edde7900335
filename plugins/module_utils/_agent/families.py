# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The families of metrics: from what the agent knows and what the program counted.

A balancer of 512 VIPs and 100 reals has fewer than 2,000 series: what is well has no series of its own where its number
would be that of all VIPs. VIP × real is for who asks for it.
"""

from __future__ import annotations

import heapq
import typing as t
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from .._engine.counters import Counted, Pair
from .._model.announcement import DRAINING, READY
from .._model.counters import DENIED
from .._model.snapshot import RootArray
from .._model.watch import Ingress
from .view import InstanceView, View

if t.TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

DROPS = (
    "encapsulation_failures_v4",
    "encapsulation_failures_v6",
    "real_outside_map",
    "ring_slot_empty",
    DENIED,
)
"""The counters that say why a packet was dropped; a frame that is malformed has none of its own."""

_CERTIFICATES = 10
"""As many certificates have a series: those that end first."""

_RECENT = 600.0
"""Seconds in which a change of a verdict is a recent one."""

_VERDICTS = ("seen", "sent", "dropped", "passed")
_PLACES = {0: "withdrawn", READY: "ready", DRAINING: "draining"}

Samples = Iterable[tuple[tuple[str, ...], float]]


class Of(t.NamedTuple):
    """One balancer: what the agent knows of it, and what its program counted. `fill`: entries, capacity of tables."""

    view: InstanceView
    counted: Counted
    fill: Mapping[str, Pair]


def families(view: View, balancers: Iterable[Of], each_real: bool = False) -> Iterator[Metric]:
    """Every family. `each_real`: also the series of every real in every VIP."""
    yield _gauge("katran_agent_info", "The agent that answers.", ("version",), [((view.version,), 1)])
    yield _gauge("katran_agent_start_time_seconds", "When the agent was started.", (), [((), view.started)])
    yield _gauge("katran_agent_lag_seconds", "The longest that the agent was late lately.", (), [((), view.lag)])
    yield _counter(
        "katran_check_probes",
        "Answers of probes by what they said; unknown: the probe could not be made, and proved nothing.",
        ("state",),
        [((state or "unknown",), number) for state, number in sorted(view.probes.items())],
    )
    every = list(balancers)
    for make in (_host, _packets, _vips, _reals):
        yield from make(every)
    yield from _checks(every, view.now)
    if each_real:
        yield from _vip_reals(every)


def _host(every: list[Of]) -> Iterator[Metric]:
    """Programs, gateways, announcements, runs, drift, tables, exceptions."""
    views = [(each.view.name, each.view) for each in every]
    yield _gauge(
        "katran_program_attached",
        "Whether a program runs where it was put.",
        ("balancer", "program", "place"),
        [
            ((name, place.program, _spot(place.where)), int(not wrong))
            for name, view in views
            for place, wrong in view.places.items()
        ],
    )
    yield _gauge(
        "katran_gateway_resolved",
        "Whether the MAC of the gateway is known.",
        ("balancer",),
        [((name,), int(bool(view.gateway))) for name, view in views],
    )
    yield _gauge("katran_pins_wrong", "Pins that are gone or not ours.", ("balancer",), _sizes(views, "pins"))
    yield _counter(
        "katran_drift", "Differences that somebody else made, as seen.", ("balancer",), _plain(views, "drift")
    )
    yield _counter(
        "katran_engine_runs",
        "Runs of the engine for the agent.",
        ("balancer", "result"),
        [
            ((name, result), number)
            for name, view in views
            for result, number in (("done", view.runs - view.failed_runs), ("failed", view.failed_runs))
        ],
    )
    yield _gauge(
        "katran_places",
        "VIPs' addresses and prefixes by whether they are announced.",
        ("balancer", "state"),
        [
            ((name, word), sum(ready.metric == metric for ready in view.ready.values()))
            for name, view in views
            for metric, word in _PLACES.items()
        ],
    )
    yield _gauge(
        "katran_place_not_ready",
        "An address or prefix that is not announced; ready.json says why.",
        ("balancer", "place"),
        [((name, place), 1) for name, view in views for place, ready in view.ready.items() if not ready.metric],
    )
    yield _gauge(
        "katran_flow_table_fill_ratio",
        "How full the fullest table of a kind is; a full one forgets the flow that is idle longest.",
        ("balancer", "table"),
        [
            ((each.view.name, table), entries / capacity if capacity else 0.0)
            for each in every
            for table, (entries, capacity) in each.fill.items()
        ],
    )
    names = sorted({word for _name, view in views for word in view.sync})
    for word in names:
        make = _counter if word.endswith("_total") else _gauge
        yield make(
            f"katran_sync_{word.removesuffix('_total')}",
            f"Flow exceptions: {word.removesuffix('_total').replace('_', ' ')}.",
            ("balancer",),
            [((name,), view.sync[word]) for name, view in views if word in view.sync],
        )


def _packets(every: list[Of]) -> Iterator[Metric]:
    """What the program counts of all packets together."""
    told = [(each.view.name, each.counted.named) for each in every if each.counted.named]
    for unit in ("frames", "bytes"):
        yield _counter(
            f"katran_{unit}",
            f"The {unit} that came in, by what became of them.",
            ("balancer", "verdict"),
            [((name, word), named.get(f"{unit}_{word}", 0)) for name, named in told for word in _VERDICTS],
        )
    yield _counter(
        "katran_drops",
        "Packets to VIPs that were dropped, by reason.",
        ("balancer", "reason"),
        [((name, reason), named.get(reason, 0)) for name, named in told for reason in DROPS],
    )
    for name_of, counter, text in (
        ("katran_flows_chosen", "lru_misses", "Packets whose real the ring or a source route chose."),
        ("katran_fallback_table_packets", "fallback_cache", "Packets on a CPU that has no flow table of its own."),
        ("katran_flood_checks_last_second", "flood_checks", "New flows of a CPU's second, summed over CPUs."),
        ("katran_global_table_hits", "global_lru_hits", "Packets that followed an exception of another balancer."),
        ("katran_migrated_flows", "udp_flows_migrated", "UDP flows that were moved off a real that is down."),
    ):
        make = _gauge if name_of.endswith("second") else _counter
        yield make(name_of, text, ("balancer",), [((name,), named.get(counter, 0)) for name, named in told])
    for name_of, label, text, counters in (
        (
            "katran_flow_table_misses",
            "packet",
            "TCP packets that no flow table knew: those that begin a connection, and others.",
            {"tcp_syn": "tcp_syn_misses", "tcp_other": "tcp_non_syn_misses"},
        ),
        (
            "katran_icmp_too_big",
            "family",
            "Packets too big for the tunnel, whose sender was told so.",
            {"ipv4": "icmp_too_big_v4", "ipv6": "icmp_too_big_v6"},
        ),
    ):
        samples = [
            ((name, value), named.get(counter, 0)) for name, named in told for value, counter in counters.items()
        ]
        yield _counter(name_of, text, ("balancer", label), samples)


def _vips(every: list[Of]) -> Iterator[Metric]:
    families_of = (
        ("packets", "katran_vip_packets", "katran_vip_denied_packets"),
        ("bytes", "katran_vip_bytes", "katran_vip_denied_bytes"),
    )
    for at, (unit, counter, denied) in enumerate(families_of):
        yield _counter(
            counter,
            f"The {unit} to a VIP.",
            ("balancer", "vip"),
            [((each.view.name, str(key)), pair[at]) for each in every for key, pair in each.counted.vips.items()],
        )
        yield _counter(
            denied,
            f"The {unit} that a VIP's lists of clients kept out; of VIPs that have lists.",
            ("balancer", "vip"),
            [((each.view.name, str(key)), pair[at]) for each in every for key, pair in each.counted.denied.items()],
        )
    yield _gauge(
        "katran_vip_active_reals",
        "The reals that take a VIP's new flows.",
        ("balancer", "vip"),
        [((each.view.name, str(key)), number) for each in every for key, number in each.view.active.items()],
    )
    yield _gauge(
        "katran_vip_degraded",
        "A VIP whose floor keeps reals in that checks found down.",
        ("balancer", "vip"),
        [((each.view.name, str(key)), 1) for each in every for key in each.view.degraded],
    )


def _reals(every: list[Of]) -> Iterator[Metric]:
    for at, unit in enumerate(("packets", "bytes")):
        yield _counter(
            f"katran_real_{unit}",
            f"The {unit} sent to a real.",
            ("balancer", "real"),
            [((each.view.name, real), pair[at]) for each in every for real, pair in each.counted.reals.items()],
        )


def _checks(every: list[Of], now: float) -> Iterator[Metric]:
    """What checks say, by real: a real may be checked in many services."""
    down: dict[tuple[str, ...], float] = {}
    changes: dict[tuple[str, ...], float] = {}
    states: Counter[tuple[str, str]] = Counter()
    ends: list[tuple[float, tuple[str, ...]]] = []
    for each in every:
        name = each.view.name
        for target, health in each.view.healths.items():
            real = name, target.real
            down[real] = down.get(real, 0) + (health.state == "down")
            changes[real] = changes.get(real, 0) + sum(change.at > now - _RECENT for change in health.history)
            states[name, health.state or "unknown"] += 1
            if health.last is not None and health.last.expires:
                ends.append((health.last.expires, (name, target.real, target.address, str(target.port))))
    yield _gauge("katran_checks", "What is checked, by verdict.", ("balancer", "state"), sorted(states.items()))
    yield _gauge("katran_real_checks_down", "Checks that a real fails.", ("balancer", "real"), down.items())
    yield _gauge(
        "katran_real_recent_changes",
        "Changes of a real's verdicts in the last ten minutes.",
        ("balancer", "real"),
        ((real, number) for real, number in changes.items() if number),
    )
    yield _gauge(
        "katran_certificate_expiry_timestamp_seconds",
        f"When a certificate that checks saw ends; of the {_CERTIFICATES} that end first.",
        ("balancer", "real", "address", "port"),
        [(labels, end) for end, labels in heapq.nsmallest(_CERTIFICATES, ends)],
    )


def _vip_reals(every: list[Of]) -> Iterator[Metric]:
    states = {"down": 0.0, "draining": 0.5, "active": 1.0}
    yield _gauge(
        "katran_vip_real_up",
        "What checks say of a real in a VIP: 1 active, 0.5 draining, 0 down.",
        ("balancer", "vip", "real"),
        [
            ((each.view.name, str(key), real), states[each.view.healths[target].state])
            for each in every
            for (key, real), target in each.view.targets.items()
            if target in each.view.healths and each.view.healths[target].state
        ],
    )


def _spot(where: str | RootArray | Ingress) -> str:
    return f"{where.path}[{where.position}]" if isinstance(where, RootArray) else str(where)


def _plain(views: Iterable[tuple[str, InstanceView]], field: str) -> Samples:
    return [((name,), getattr(view, field)) for name, view in views]


def _sizes(views: Iterable[tuple[str, InstanceView]], field: str) -> Samples:
    return [((name,), len(getattr(view, field))) for name, view in views]


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # pylint: disable=import-outside-toplevel

    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    from prometheus_client.core import CounterMetricFamily  # pylint: disable=import-outside-toplevel

    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: t.Any, samples: Samples) -> Metric:
    for values, number in samples:
        family.add_metric(values, number)
    return t.cast("Metric", family)
