# SPDX-License-Identifier: GPL-3.0-or-later
"""One VIP: who brings it, who serves it, who is kept out."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as made

from .fleet import HOST, TO_HOST
from .panels import (
    GREEN,
    HERE,
    NO_JUDGEMENT,
    NONE_IS_BEST,
    NONE_IS_GOOD,
    ORANGE,
    RED,
    Column,
    Key,
    Panel,
    board,
    filled,
    lines,
    rate,
    rows_of,
    states,
    tile,
    variable,
)

VIP = f'{HERE},vip="$vip"'
ITS_REALS = f"group by (instance, balancer, real) (katran_vip_real_up{{{VIP}}})"
"""Which reals it has; of VIPs that have checks, where katran_metrics_real is set."""

NEEDS_REALS = " Needs katran_metrics_real, and checks."


def of_its_reals(unit: str) -> str:
    """What is sent to its reals, of all VIPs that they have."""
    counter = f"katran_real_{unit}_total{{{HERE}}}[$__rate_interval]"
    return f"sum by (real) (rate({counter}) and on (instance, balancer, real) {ITS_REALS})"


def _now() -> list[Panel]:
    return [
        tile(
            "Packets",
            rate("katran_vip_packets_total", VIP),
            "Packets to this VIP at all balancers, those for which no real was found not among them.",
            NO_JUDGEMENT,
            unit="pps",
        ),
        tile(
            "Bits",
            rate("katran_vip_bytes_total", VIP, bits=True),
            "The same in bits of IP packets. Answers go past the balancers.",
            NO_JUDGEMENT,
            unit="bps",
        ),
        tile(
            "Reals, fewest",
            f"min(katran_vip_active_reals{{{VIP}}})",
            "Reals that take new flows, at the balancer where they are fewest. 0: clients are dropped there."
            " `katran vips $vip` on the host says whose word took each out. Alert: KatranVipWithoutReal.",
            ((None, RED), (1, GREEN)),
        ),
        tile(
            "Reals, most",
            f"max(katran_vip_active_reals{{{VIP}}})",
            "The same at the balancer where they are most. Other than the fewest for minutes: one balancer does not"
            " reach a real.",
            NO_JUDGEMENT,
        ),
        tile(
            "Degraded at balancers",
            f"sum(katran_vip_degraded{{{VIP}}}) or vector(0)",
            "Balancers where the floor (min_healthy) keeps reals in that fail their checks: a part of the clients"
            " meets them. Bring reals back, or lower the floor. Alert: KatranVipDegraded.",
            NONE_IS_GOOD,
        ),
        tile(
            "Withdrawn at balancers",
            f'count(katran_place_not_ready{{{HERE},place="$place"}} == 1) or vector(0)',
            "Balancers that do not announce this VIP's address ($place). ready.json there has the reason. Alert:"
            " KatranNotReady.",
            NONE_IS_BEST,
        ),
        tile(
            "Denied",
            f"sum(rate(katran_vip_denied_packets_total{{{VIP}}}[$__rate_interval])) or vector(0)",
            "Packets of clients that the VIP's lists keep out, per second. Many, and clients complain: `katran trace"
            " CLIENT $vip` names the list's prefix. Alert, where nobody is let in: KatranVipDeniesEverybody.",
            ((None, GREEN), (1, ORANGE)),
            unit="pps",
            decimals=1,
        ),
        tile(
            "Alerts firing",
            'count(ALERTS{alertname=~"Katran.*",alertstate="firing",vip="$vip"}) or vector(0)',
            "Alerts about this VIP. What fires for its reals and balancers is on the dashboard of the fleet.",
            NONE_IS_GOOD,
        ),
    ]


def _balancers() -> list[Panel]:
    packets = f"rate(katran_vip_packets_total{{{VIP}}}[$__rate_interval])"
    return [
        lines(
            "Packets by balancer",
            [(f"sum by (instance) ({packets})", "{{instance}}")],
            "Who brings this VIP its packets. A balancer at 0 that announces it: does the router have its route?",
            unit="pps",
        ),
        lines(
            "Bits by balancer",
            [(rate("katran_vip_bytes_total", VIP, "instance", bits=True), "{{instance}}")],
            "The same in bits.",
            unit="bps",
        ),
        lines(
            "Share of each balancer",
            [(f"sum by (instance) ({packets}) / scalar(sum({packets}))", "{{instance}}")],
            "How ECMP spreads this VIP over the balancers. Even, where there are many flows.",
            unit="percentunit",
            stacked="normal",
            most=1,
            decimals=0,
        ),
        lines(
            "Reals that take new flows",
            [(f"katran_vip_active_reals{{{VIP}}}", "{{instance}}")],
            "One line lies on the other where balancers agree. A step down: a check, a drain or a deploy took a real"
            " out (`katran history`, `katran checks`).",
            decimals=0,
        ),
        states(
            "Degraded",
            f"katran_vip_degraded{{{VIP}}} or 0 * katran_vip_active_reals{{{VIP}}}",
            "{{instance}}",
            "When the floor kept reals in that fail their checks.",
            {"0": ("no", GREEN), "1": ("degraded", RED)},
            width=8,
        ),
        lines(
            "Denied clients",
            [(rate("katran_vip_denied_packets_total", VIP, "instance"), "{{instance}}")],
            "Packets that the VIP's allow and deny lists keep out. Empty for a VIP that has no lists.",
            unit="pps",
        ),
    ]


def _reals() -> list[Panel]:
    return [
        states(
            "Reals as balancers see them",
            f"katran_vip_real_up{{{VIP}}}",
            "{{real}} at {{instance}}",
            "What checks say of each real in this VIP. Red at all balancers: the real. Red at one: that balancer's"
            " way to it." + NEEDS_REALS,
            {"0": ("down", RED), "0.5": ("draining", ORANGE), "1": ("active", GREEN)},
        ),
        rows_of(
            "Its reals",
            [Key("real", "Real")],
            [
                Column("Seen up at", f"sum by (real) (katran_vip_real_up{{{VIP}}} == bool 1)"),
                Column("Of balancers", f"count by (real) (katran_vip_real_up{{{VIP}}})"),
                Column(
                    "Checks down, all VIPs",
                    f"sum by (real) (katran_real_checks_down{{{HERE}}} and on (instance, balancer, real) {ITS_REALS})",
                    steps=((None, "transparent"), (1, RED)),
                ),
                Column(
                    "Packets/s, all VIPs",
                    of_its_reals("packets"),
                    "pps",
                ),
                Column(
                    "Bits/s, all VIPs",
                    f"8 * {of_its_reals('bytes')}",
                    "bps",
                ),
            ],
            "The reals of this VIP that have checks. Packets are counted by VIP and by real, not by both: a real's"
            " number is of"
            " all its VIPs." + NEEDS_REALS,
            sort="Checks down, all VIPs",
        ),
        lines(
            "Packets to its reals, of all VIPs",
            [
                (
                    of_its_reals("packets"),
                    "{{real}}",
                )
            ],
            "Shares follow the weights, where the reals serve the same VIPs." + NEEDS_REALS,
            unit="pps",
            width=12,
        ),
        rows_of(
            "Its balancers",
            [Key("instance", "Host", TO_HOST), Key("balancer", "Balancer")],
            [
                Column(
                    "Packets/s",
                    rate("katran_vip_packets_total", VIP, "instance, balancer"),
                    "pps",
                ),
                Column(
                    "Bits/s",
                    rate("katran_vip_bytes_total", VIP, "instance, balancer", bits=True),
                    "bps",
                ),
                Column(
                    "Reals",
                    f"sum by (instance, balancer) (katran_vip_active_reals{{{VIP}}})",
                    steps=((None, RED), (1, "transparent")),
                ),
                Column(
                    "Program runs",
                    f'min by (instance, balancer) (katran_program_attached{{{HERE},program="balancer"}})',
                    text={"1": "yes", "0": "NO"},
                    steps=((None, RED), (1, "transparent")),
                ),
            ],
            "One row for each balancer that has the VIP; click one for all of its host.",
        ),
    ]


def dashboard() -> made.Dashboard:
    """Dashboard katran-vip."""
    variables = [
        variable("instance", "Host", "katran_agent_info", "instance", "Hosts with an agent."),
        variable(
            "balancer", "Balancer on the host", f"katran_gateway_resolved{{{HOST}}}", "balancer", "The instance's name."
        ),
        variable("vip", "VIP", f"katran_vip_packets_total{{{HERE}}}", "vip", "The VIP.", many=False),
        # What is announced is the address, which the VIP's name begins with.
        variable("place", "Address", 'katran_vip_packets_total{vip="$vip"}', "vip", "What is announced.", many=False)
        .regex(r"/^\[?([^\]]+?)\]?:\d+\/\w+$/")
        .hide(made.VariableHide.HIDE_VARIABLE),
    ]
    text = (
        "One VIP of katran.fleet at all its balancers: traffic, reals, who is kept out."
        " Made by scripts/dashboards; docs/monitoring says how to wire it up."
    )
    return filled(
        board("katran-vip", "katran: VIP", text, variables, ',vip="$vip"'),
        [("$vip", _now()), ("Who brings it", _balancers()), ("Who serves it", _reals())],
    )
