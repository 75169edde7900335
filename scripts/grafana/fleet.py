# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: whether anything is lost, and at which balancer, for which VIP, at which real."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as made

from .panels import (
    GREEN,
    HERE,
    NONE_IS_BEST,
    ORANGE,
    RED,
    Column,
    Key,
    Panel,
    bars,
    board,
    filled,
    lines,
    or_zero,
    rate,
    rows_of,
    tile,
    variable,
    without_reason,
)

HOST = 'instance=~"$instance"'
VIP = f'{HERE},vip=~"$vip"'
REAL = f'{HERE},real=~"$real"'
PACKETS = rate("katran_vip_packets_total", VIP, "instance")
REALS = f"katran_vip_active_reals{{{HERE}}}"
BALANCERS = f"count by (instance, balancer) (katran_gateway_resolved{{{HERE}}})"
DOWN = f"katran_real_checks_down{{{REAL}}}"
LOST = f'katran_drops_total{{{HERE},reason!="source_denied"}}'
TO_HOST = "/d/katran-host?var-instance=${__value.raw}&${datasource:queryparam}&${__url_time_range}"
TO_VIP = "/d/katran-vip?var-vip=${__value.raw}&${datasource:queryparam}&${__url_time_range}"


def _now() -> list[Panel]:
    """One glance: every tile is green where all is well."""
    return [
        tile(
            "Balancers up",
            f'sum(up{{job="katran",{HOST}}})',
            "Hosts whose agent answers Prometheus. Compare it with the number of balancers in the inventory.",
            ((None, RED), (1, GREEN)),
        ),
        tile(
            "Balancers silent",
            f'sum(up{{job="katran",{HOST}}} == bool 0)',
            "Agents that do not answer. Forwarding goes on without them, but nobody notices a dead real there and no"
            " VIP is withdrawn. Is the host up? `systemctl status katran-agent`. Alert: KatranAgentDown.",
        ),
        tile(
            "Programs not running",
            f"sum(katran_program_attached{{{HERE}}} == bool 0)",
            "Places where a program was put and does not run: no packet that comes in there is balanced."
            " `systemctl restart katran-restore` on the host, or a deploy. Alert: KatranProgramDetached.",
        ),
        tile(
            "Packets lost per second",
            f"sum(rate({LOST}[$__rate_interval]))",
            "Packets to VIPs that the programs dropped, but for those of clients that a VIP's lists keep out. In a"
            " healthy fleet 0. The panels below say for which reason and where. Alert: KatranDropsRising.",
            ((None, GREEN), (0.05, ORANGE), (1, RED)),
            unit="pps",
            decimals=1,
        ),
        tile(
            "VIPs without a real",
            f"count(count by (vip) (katran_vip_active_reals{{{HERE}}} == 0)) or vector(0)",
            "VIPs that no real takes new flows of, on one balancer at least: their clients are dropped. `katran"
            " checks VIP` says why each real is out. Alert: KatranVipWithoutReal.",
        ),
        tile(
            "VIPs degraded",
            f"count(count by (vip) (katran_vip_degraded{{{HERE}}} == 1)) or vector(0)",
            "So many reals fail their checks that the floor (min_healthy) keeps some of them in: a part of the"
            " clients meets a real that is down. Bring reals back, or lower the floor. Alert: KatranVipDegraded.",
        ),
        tile(
            "Addresses withdrawn",
            f"count(count by (place) (katran_place_not_ready{{{HERE}}} == 1)) or vector(0)",
            "Addresses of VIPs that one balancer at least does not announce: its share goes to the others."
            " ready.json on the host says why. Alert: KatranNotReady.",
            NONE_IS_BEST,
        ),
        tile(
            "BGP sessions down",
            f'sum(max by (instance, name) (bird_protocol_up{{proto="BGP",{HOST}}}) == bool 0)',
            "Sessions of bird with routers. A router without its session sends this balancer nothing. `birdc show"
            " protocols` on the host. Needs prometheus-bird-exporter. Alert: KatranBgpSessionDown.",
        ),
        tile(
            "Alerts firing",
            f'count(ALERTS{{alertname=~"Katran.*",alertstate="firing",{HOST}}}) or vector(0)',
            "Alerts of rules.yml that fire. The table below has each of them.",
            NONE_IS_BEST,
        ),
        tile(
            "Reals failing checks",
            f"count(count by (real) (katran_real_checks_down{{{REAL}}} > 0)) or vector(0)",
            "Reals that fail a check of one balancer at least. One balancer alone: look at its way to the real; all"
            " of them: look at the real. `katran checks REAL` has the answer that it gave. Alert: KatranRealDown.",
            NONE_IS_BEST,
        ),
        tile(
            "Fullest flow table",
            f"max(katran_flow_table_fill_ratio{{{HERE}}})",
            "In the end any busy table is full, as entries of TCP stay until others need their room. It is too small"
            " where connections come that it has forgotten (see connections that a balancer did not know): raise"
            " sizes.flows. Alert: KatranFlowTableNearFull.",
            ((None, GREEN), (0.9, ORANGE)),
            unit="percentunit",
            decimals=0,
        ),
        tile(
            "Exceptions not delivered",
            f"sum(katran_sync_unacknowledged{{{HERE}}})",
            "Flows that a peer must know of, should their balancer die, and did not confirm. Is the peer up, and is"
            " its key the same? Needs katran_sync. Alert: KatranExceptionsNotDelivered.",
            NONE_IS_BEST,
        ),
        tile(
            "Changed by others, 1 h",
            f"sum(increase(katran_drift_total{{{HERE}}}[1h]))",
            "Differences between the kernel and what was deployed that somebody else made, within an hour. They were"
            " put right. The journal of katran-agent names each. Alert: KatranDriftSeen.",
            ((None, GREEN), (0.5, ORANGE)),
            decimals=0,
        ),
        tile(
            "Failed runs, 1 h",
            f'sum(increase(katran_engine_runs_total{{{HERE},result="failed"}}[1h]))',
            "Runs by which an agent brings verdicts to the rings, and that failed within an hour. One that met"
            " another run is tried again by itself; more: the journal of katran-agent has the sentence. Alert:"
            " KatranEngineRunsFail.",
            ((None, GREEN), (0.5, ORANGE), (3, RED)),
            decimals=0,
        ),
        tile(
            "Inventory not applied",
            f"sum(katran_pull_failed{{{HOST}}})",
            "Hosts that pull their inventory, and whose last run failed: they stay as they were. `journalctl -u"
            " katran-pull`. Needs role pull and node_exporter. Alert: KatranPullFails.",
            NONE_IS_BEST,
        ),
        tile(
            "First certificate ends",
            f"min(katran_certificate_expiry_timestamp_seconds{{{REAL}}}) - time()",
            "How long the certificate of a real is good that ends first, of those that checks see. Renew it: a check"
            " that verifies takes the real out when it ends. Needs checks of type https or tls. Alert:"
            " KatranCertificateEnding.",
            ((None, RED), (86400, ORANGE), (14 * 86400, GREEN)),
            unit="s",
            decimals=0,
        ),
    ]


def _where() -> list[Panel]:
    """Which balancer, which VIP, which real: the worst first."""
    bad = ((None, "transparent"), (1, RED))
    return [
        rows_of(
            "Alerts that fire",
            [
                Key("severity", "Severity"),
                Key("alertname", "Alert"),
                Key("instance", "Host", TO_HOST),
                Key("vip", "VIP", TO_VIP),
                Key("real", "Real"),
                Key("place", "Place"),
                Key("reason", "Reason"),
            ],
            [
                Column(
                    "How many",
                    "sum by (severity, alertname, instance, vip, real, place, reason)"
                    f' (ALERTS{{alertname=~"Katran.*",alertstate="firing",{HOST}}})',
                )
            ],
            "What rules.yml has to say at this moment. Empty is good. Each alert's description says what to do.",
        ),
        rows_of(
            "Which balancer?",
            [Key("instance", "Host", TO_HOST)],
            [
                Column(
                    "Answers",
                    f'max by (instance) (up{{job="katran",{HOST}}})',
                    text={"1": "yes", "0": "NO"},
                    steps=((None, RED), (1, "transparent")),
                ),
                Column("Packets/s", rate("katran_vip_packets_total", VIP, "instance"), "pps"),
                Column(
                    "Lost/s",
                    f"sum by (instance) (rate({LOST}[$__rate_interval]))",
                    "pps",
                    ((None, "transparent"), (0.05, ORANGE), (1, RED)),
                    decimals=1,
                ),
                Column("Announced", f'sum by (instance) (katran_places{{{HERE},state="ready"}})'),
                Column(
                    "Draining",
                    f'sum by (instance) (katran_places{{{HERE},state="draining"}})',
                    steps=((None, "transparent"), (1, ORANGE)),
                ),
                Column("Withdrawn", f'sum by (instance) (katran_places{{{HERE},state="withdrawn"}})', steps=bad),
                Column(
                    "Checks down",
                    f"sum by (instance) (katran_real_checks_down{{{REAL}}})",
                    steps=((None, "transparent"), (1, ORANGE)),
                ),
                Column(
                    "Flow table",
                    f"max by (instance) (katran_flow_table_fill_ratio{{{HERE}}})",
                    "percentunit",
                    ((None, "transparent"), (0.9, RED)),
                    decimals=0,
                ),
                Column(
                    "Agent late",
                    f"max by (instance) (katran_agent_lag_seconds{{{HOST}}})",
                    "s",
                    ((None, "transparent"), (0.25, ORANGE), (1, RED)),
                ),
            ],
            "One row for each balancer. A row that differs from the others is where to look: click it. Draining"
            " balancers are being taken out by somebody (`katran status`); withdrawn addresses are not announced.",
            sort="Lost/s",
        ),
        rows_of(
            "Which VIP?",
            [Key("vip", "VIP", TO_VIP)],
            [
                Column("Packets/s", rate("katran_vip_packets_total", VIP, "vip"), "pps"),
                Column("Bits/s", rate("katran_vip_bytes_total", VIP, "vip", bits=True), "bps"),
                Column(
                    "Fewest reals",
                    f"min by (vip) (katran_vip_active_reals{{{VIP}}})",
                    steps=((None, RED), (1, "transparent")),
                ),
                Column("Most reals", f"max by (vip) (katran_vip_active_reals{{{VIP}}})"),
                Column(
                    "Degraded at",
                    or_zero(f"sum by (vip) (katran_vip_degraded{{{VIP}}})", f"katran_vip_active_reals{{{VIP}}}", "vip"),
                    steps=bad,
                ),
                Column(
                    "Denied/s",
                    rate("katran_vip_denied_packets_total", VIP, "vip"),
                    "pps",
                ),
            ],
            "One row for each VIP. Fewest and most reals differ where balancers do not agree which reals take new"
            " flows: for seconds that is a change on its way, for minutes one of them cannot reach a real. Denied:"
            " clients that the VIP's lists keep out.",
            sort="Degraded at",
        ),
        rows_of(
            "Which real?",
            [Key("real", "Real")],
            [
                Column("Packets/s", rate("katran_real_packets_total", REAL, "real"), "pps"),
                Column("Bits/s", rate("katran_real_bytes_total", REAL, "real", bits=True), "bps"),
                Column("Checks down", f"sum by (real) (katran_real_checks_down{{{REAL}}})", steps=bad),
                Column(
                    "At balancers",
                    or_zero(
                        f"count by (real) (katran_real_checks_down{{{REAL}}} > 0)",
                        f"katran_real_checks_down{{{REAL}}}",
                        "real",
                    ),
                    steps=bad,
                ),
                Column(
                    "Changes, 10 min",
                    or_zero(
                        f"max by (real) (katran_real_recent_changes{{{REAL}}})",
                        f"katran_real_checks_down{{{REAL}}}",
                        "real",
                    ),
                    steps=((None, "transparent"), (3, ORANGE), (6, RED)),
                ),
            ],
            "One row for each real. Down at all balancers: the real or its service. Down at one: that balancer's way"
            " to it. Many changes: it answers and fails by turns; drain it (`playbook drain_real`) until the cause is"
            " found.",
            sort="Checks down",
        ),
    ]


def _lost() -> list[Panel]:
    return [
        lines(
            "Lost packets by reason",
            [
                (f"sum by (reason) (rate({LOST}[$__rate_interval]))", "{{reason}}"),
                (
                    without_reason(HERE),
                    "malformed, or too big",
                ),
            ],
            "ring_slot_empty: a VIP without active reals. encapsulation_failures: a flow leads to a real of a family"
            " that cannot carry the packet. real_outside_map: the ring has an id beyond the map of reals, which a"
            " deploy repairs. Malformed packets are the Internet's noise; too big ones are told their sender with"
            " feature icmp_too_big.",
            unit="pps",
            stacked="normal",
        ),
        lines(
            "Lost packets by balancer",
            [(f"sum by (instance) (rate({LOST}[$__rate_interval]))", "{{instance}}")],
            "All balancers alike: the cause is in the configuration or at the reals. One alone: the cause is there;"
            " take it out with `katran drain` and look with `katran doctor`.",
            unit="pps",
        ),
        lines(
            "Connections that a balancer did not know",
            [
                (
                    rate("katran_flow_table_misses_total", f'{HERE},packet="tcp_other"', "instance"),
                    "{{instance}}",
                )
            ],
            "Packets in the middle of a TCP connection whose balancer had no entry for it. A peak is what a balancer"
            " sees whose neighbour went, or whose router spreads anew: the ring gives the same real, and nothing"
            " breaks. A lasting rate: the router does not keep flows together, a table is too small, or somebody"
            " sends ACKs alone.",
            unit="pps",
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        lines(
            "Packets to VIPs",
            [(rate("katran_vip_packets_total", VIP, "instance"), "{{instance}}")],
            "What each balancer forwards. A balancer at 0 while it announces: does the router have its routes?",
            unit="pps",
        ),
        lines(
            "Bits to VIPs",
            [(rate("katran_vip_bytes_total", VIP, "instance", bits=True), "{{instance}}")],
            "The same in bits of IP packets. Answers go past the balancers and are not among them.",
            unit="bps",
        ),
        lines(
            "New choices",
            [(rate("katran_flows_chosen_total", HERE, "instance"), "{{instance}}")],
            "Packets whose real was chosen by the ring or a source route: new flows, mostly. Far above the usual"
            " while packets are not: a flood, or tables that forget flows (see fill).",
            unit="pps",
        ),
        lines(
            "Share of each balancer",
            [
                (
                    f"{PACKETS} / scalar(sum({PACKETS}))",
                    "{{instance}}",
                )
            ],
            "How ECMP spreads packets over the balancers. Equal shares are usual; few and large flows spread worse."
            " A share that falls to 0 without a drain: BGP there.",
            unit="percentunit",
            stacked="normal",
            most=1,
            decimals=0,
        ),
        lines(
            "Imbalance",
            [
                (
                    f"max({PACKETS}) / avg({PACKETS})",
                    "balancers: busiest against mean",
                ),
            ],
            "The busiest balancer against the mean: 1 is even. Over 1.5 for long: does a router count only some of"
            " the balancers as equal (maximum-paths, MED, AS path)?",
            unit="short",
            decimals=2,
            steps=((None, GREEN), (1.5, ORANGE)),
        ),
        lines(
            "Packets to reals",
            [(rate("katran_real_packets_total", REAL, "real"), "{{real}}")],
            "What all balancers together send to each real, of all VIPs. Shares follow weights where reals have the"
            " same VIPs. One that gets more than its weight says: source routes, server ids, or few large flows.",
            unit="pps",
        ),
    ]


def _agree() -> list[Panel]:
    return [
        lines(
            "Addresses announced",
            [
                (
                    f'sum by (instance, state) (katran_places{{{HERE},state=~"ready|draining"}}) > 0',
                    "{{instance}} {{state}}",
                )
            ],
            "Addresses and prefixes for which each balancer holds a route. The same number everywhere, but while one"
            " is drained.",
            decimals=0,
        ),
        lines(
            "VIPs that balancers do not agree on",
            [
                (
                    f"count(max by (vip) ({REALS}) != min by (vip) ({REALS})) or vector(0)",
                    "reals that take new flows differ",
                ),
                (
                    f"count(count by (vip) ({REALS}) < scalar(count({BALANCERS}))) or vector(0)",
                    "not on every balancer",
                ),
            ],
            "Balancers with other reals for a VIP have other rings: a flow that the router moves may break. Seconds"
            " after a change it is usual. Longer: a deploy stopped half way (`playbook drift`), or one balancer does"
            " not reach a real. VIPs are not on every balancer where several fleets share this Prometheus: choose by"
            " host.",
            decimals=0,
        ),
        rows_of(
            "Versions",
            [Key("version", "Version")],
            [Column("Balancers", f"count by (version) (katran_agent_info{{{HOST}}})")],
            "What the agents say they are. One row, but while an upgrade is on its way.",
            width=8,
        ),
    ]


def _room() -> list[Panel]:
    return [
        bars(
            "Flow tables",
            f"max by (instance, table) (katran_flow_table_fill_ratio{{{HERE}}})",
            "{{instance}} {{table}}",
            "How full the fullest table of each kind is, counted once a minute. lru_mapping: flows of this balancer;"
            " fallback_cache: flows on CPUs without a table (should be 0); global_lru_maps: exceptions of peers.",
            unit="percentunit",
            steps=((None, GREEN), (0.9, ORANGE)),
            most=1,
        ),
        lines(
            "Packets on CPUs without a flow table",
            [
                (
                    rate("katran_fallback_table_packets_total", HERE, "instance"),
                    "{{instance}}",
                )
            ],
            "Should be 0. Otherwise forwarding_cores leaves out a CPU that the network card uses, and its flows"
            " share one small table: leave forwarding_cores at auto. Alert: KatranFallbackUsed.",
            unit="pps",
        ),
        lines(
            "Agents late",
            [(f"katran_agent_lag_seconds{{{HOST}}}", "{{instance}}")],
            "The longest that an agent was late lately. Over a quarter of a second it is short of CPU: verdicts come"
            " later, forwarding does not suffer.",
            unit="s",
            steps=((None, GREEN), (0.25, ORANGE)),
        ),
    ]


def dashboard() -> made.Dashboard:
    """Dashboard katran-fleet."""
    variables = [
        variable("instance", "Host", "katran_agent_info", "instance", "Hosts with an agent."),
        variable(
            "balancer", "Balancer on the host", f"katran_gateway_resolved{{{HOST}}}", "balancer", "The instance's name."
        ),
        variable("vip", "VIP", f"katran_vip_packets_total{{{HERE}}}", "vip", "VIPs of these balancers."),
        variable("real", "Real", f"katran_real_packets_total{{{HERE}}}", "real", "Reals of these balancers."),
    ]
    text = (
        "All balancers of katran.fleet at once: is anything lost, and if so where? Tiles are green where all is well."
        " Made by scripts/dashboards; docs/monitoring says how to wire it up."
    )
    return filled(
        board("katran-fleet", "katran: fleet", text, variables, f",{HOST}"),
        [
            ("Is anything wrong?", _now()),
            ("Where?", _where()),
            ("Lost packets", _lost()),
            ("Traffic", _traffic()),
            ("Do the balancers agree?", _agree()),
            ("Is there room?", _room()),
        ],
    )
