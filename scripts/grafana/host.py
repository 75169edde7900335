# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: does it forward, does its agent see, has it room, what does it tell its routers."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as made

from .fleet import TO_VIP
from .panels import (
    GREEN,
    NO_JUDGEMENT,
    NONE_IS_BEST,
    ORANGE,
    PLACES,
    RED,
    STATES,
    VERDICTS,
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
    states,
    tile,
    variable,
    without_reason,
)

HOST = 'instance="$instance"'
HERE = f'{HOST},balancer=~"$balancer"'
DOWN = f"katran_real_checks_down{{{HERE}}}"
LOST = f'katran_drops_total{{{HERE},reason!="source_denied"}}'
YES_NO = {"1": ("yes", GREEN), "0": ("no", RED)}


def _now() -> list[Panel]:
    return [
        tile(
            "Agent answers",
            f'max(up{{job="katran",{HOST}}})',
            "Whether the agent answers Prometheus. Forwarding goes on without it. `systemctl status katran-agent`."
            " Alert: KatranAgentDown.",
            ((None, RED), (1, GREEN)),
            mapped={"1": "yes", "0": "NO"},
        ),
        tile(
            "Programs not running",
            f"sum(katran_program_attached{{{HERE}}} == bool 0)",
            "Places where a program was put and does not run. `systemctl restart katran-restore`, or a deploy."
            " Alert: KatranProgramDetached.",
        ),
        tile(
            "Gateway known",
            f"min(katran_gateway_resolved{{{HERE}}})",
            "Whether the gateway's MAC is known, to which all packets are sent. No: is the gateway up, and does `ip"
            " neigh` know it? Alert: KatranGatewayUnresolved.",
            ((None, RED), (1, GREEN)),
            mapped={"1": "yes", "0": "NO"},
        ),
        tile(
            "Packets lost per second",
            f"sum(rate({LOST}[$__rate_interval]))",
            "Packets to VIPs that the program dropped, but for those of clients that are kept out. The panel of"
            " drops says why. Alert: KatranDropsRising.",
            ((None, GREEN), (0.05, ORANGE), (1, RED)),
            unit="pps",
            decimals=1,
        ),
        tile(
            "Addresses announced",
            f'sum(katran_places{{{HERE},state="ready"}})',
            "Addresses and prefixes of VIPs for which the agent holds a route. `katran status` has them.",
            ((None, RED), (1, GREEN)),
        ),
        tile(
            "Addresses withdrawn",
            f'sum(katran_places{{{HERE},state="withdrawn"}})',
            "Those that it does not announce; ready.json says why. Alert: KatranNotReady.",
        ),
        tile(
            "BGP sessions down",
            f'sum(max by (instance, name) (bird_protocol_up{{proto="BGP",{HOST}}}) == bool 0)',
            "`birdc show protocols`. Needs prometheus-bird-exporter. Alert: KatranBgpSessionDown.",
        ),
        tile(
            "Checks down",
            f"sum(katran_real_checks_down{{{HERE}}})",
            "Checks that reals fail, as this host sees it. `katran checks` has the reasons. Alert: KatranRealDown.",
            NONE_IS_BEST,
        ),
        tile(
            "Agent late",
            f"max(katran_agent_lag_seconds{{{HOST}}})",
            "The longest that the agent was late lately. Over 0.25 s it is short of CPU, and verdicts come later.",
            ((None, GREEN), (0.25, ORANGE), (1, RED)),
            unit="s",
        ),
        tile(
            "Agent since",
            f"time() - max(katran_agent_start_time_seconds{{{HOST}}})",
            "How long the agent has run. It starts anew at an upgrade and at a boot; again and again: its journal.",
            NO_JUDGEMENT,
            unit="s",
            decimals=0,
        ),
        tile(
            "Version",
            f"max by (version) (katran_agent_info{{{HOST}}})",
            "What the agent is.",
            NO_JUDGEMENT,
            legend="{{version}}",
        ),
        tile(
            "Pins wrong",
            f"sum(katran_pins_wrong{{{HERE}}})",
            "Pins below /sys/fs/bpf/katran that are gone or not ours: somebody else was there. A deploy puts them"
            " right; `katran doctor` names them.",
        ),
        tile(
            "Changed by others, 1 h",
            f"sum(increase(katran_drift_total{{{HERE}}}[1h]))",
            "Differences that somebody else made, and that were put right. The journal of katran-agent names each."
            " Alert: KatranDriftSeen.",
            ((None, GREEN), (0.5, ORANGE)),
            decimals=0,
        ),
        tile(
            "Failed runs, 1 h",
            f'sum(increase(katran_engine_runs_total{{{HERE},result="failed"}}[1h]))',
            "Runs by which the agent brings verdicts to the rings, and that failed. Alert: KatranEngineRunsFail.",
            ((None, GREEN), (0.5, ORANGE), (3, RED)),
            decimals=0,
        ),
        tile(
            "Inventory applied",
            f"time() - max(katran_pull_last_success_timestamp_seconds{{{HOST}}})",
            "How long ago the host last applied its inventory by itself. Needs role pull and node_exporter."
            " Alerts: KatranPullStale, KatranPullFails.",
            ((None, GREEN), (2 * 3600, ORANGE), (3 * 3600, RED)),
            unit="s",
            decimals=0,
        ),
        tile(
            "Last pull",
            f"max(katran_pull_failed{{{HOST}}})",
            "Whether the last run of katran-pull got through. Failed: `journalctl -u katran-pull`; the host stays as"
            " it is.",
            ((None, GREEN), (1, RED)),
            mapped={"0": "applied", "1": "FAILED"},
        ),
    ]


def _forwards() -> list[Panel]:
    return [
        lines(
            "Frames by what became of them",
            [
                (
                    f'sum by (verdict) (rate(katran_frames_total{{{HERE},verdict!="seen"}}[$__rate_interval]))',
                    "{{verdict}}",
                )
            ],
            "sent: balanced. passed: not for a VIP, given to the host. dropped: the panel of reasons says why;"
            " frames that are malformed or too big have no reason of their own.",
            unit="pps",
            stacked="normal",
            colours=VERDICTS,
        ),
        lines(
            "Bits by what became of them",
            [
                (
                    f'8 * sum by (verdict) (rate(katran_bytes_total{{{HERE},verdict!="seen"}}[$__rate_interval]))',
                    "{{verdict}}",
                )
            ],
            "The same in bits, of the frames as they came in.",
            unit="bps",
            stacked="normal",
            colours=VERDICTS,
        ),
        lines(
            "Dropped packets by reason",
            [
                (rate("katran_drops_total", HERE, "reason"), "{{reason}}"),
                (
                    without_reason(HERE),
                    "malformed, or too big",
                ),
            ],
            "ring_slot_empty: a VIP without active reals. encapsulation_failures: a flow leads to a real of a family"
            " that cannot carry the packet. real_outside_map: an id beyond the map; deploy. source_denied: lists of a"
            " VIP keep the client out.",
            unit="pps",
        ),
        lines(
            "Lost before the program, and behind it",
            [
                (
                    rate("node_network_receive_drop_total", f'{HOST},device!="lo"', "device"),
                    "{{device}} receive",
                ),
                (
                    rate("node_network_transmit_drop_total", f'{HOST},device!="lo"', "device"),
                    "{{device}} transmit",
                ),
            ],
            "Drops of the interfaces, which no counter of the program knows. receive: more comes than CPUs take; see"
            " their load. Needs node_exporter.",
            unit="pps",
        ),
        lines(
            "Too big for the way to the real",
            [(rate("katran_icmp_too_big_total", HERE, "family"), "{{family}}")],
            "Packets that do not fit into the tunnel, and that the client was told so of (feature icmp_too_big)."
            " More than a few for each client: raise the MTU of the links to the reals, or let reals announce a"
            " smaller MSS (katran_real_mss). Without the feature they are dropped, and among those without a reason"
            " of their own.",
            unit="pps",
        ),
        states(
            "Programs",
            f"katran_program_attached{{{HERE}}}",
            "{{program}} {{place}}",
            "Whether each program runs where it was put. Alert: KatranProgramDetached.",
            YES_NO,
            width=8,
        ),
        rows_of(
            "Its VIPs",
            [Key("vip", "VIP", TO_VIP)],
            [
                Column("Packets/s", rate("katran_vip_packets_total", HERE, "vip"), "pps"),
                Column("Bits/s", rate("katran_vip_bytes_total", HERE, "vip", bits=True), "bps"),
                Column(
                    "Reals",
                    f"sum by (vip) (katran_vip_active_reals{{{HERE}}})",
                    steps=((None, RED), (1, "transparent")),
                ),
                Column(
                    "Degraded",
                    or_zero(
                        f"sum by (vip) (katran_vip_degraded{{{HERE}}})", f"katran_vip_active_reals{{{HERE}}}", "vip"
                    ),
                    steps=((None, "transparent"), (1, RED)),
                    text={"0": "no", "1": "YES"},
                ),
            ],
            "What this host has of each VIP.",
            sort="Packets/s",
        ),
        rows_of(
            "Its reals",
            [Key("real", "Real")],
            [
                Column("Packets/s", rate("katran_real_packets_total", HERE, "real"), "pps"),
                Column("Bits/s", rate("katran_real_bytes_total", HERE, "real", bits=True), "bps"),
                Column(
                    "Checks down",
                    f"sum by (real) (katran_real_checks_down{{{HERE}}})",
                    steps=((None, "transparent"), (1, RED)),
                ),
                Column(
                    "Changes, 10 min",
                    or_zero(
                        f"max by (real) (katran_real_recent_changes{{{HERE}}})",
                        f"katran_real_checks_down{{{HERE}}}",
                        "real",
                    ),
                    steps=((None, "transparent"), (3, ORANGE), (6, RED)),
                ),
            ],
            "What this host sends to each real, of all VIPs, and what its checks say.",
            sort="Checks down",
        ),
    ]


def _cpus() -> list[Panel]:
    cpu = f"node_cpu_seconds_total{{{HOST}"
    return [
        lines(
            "CPUs",
            [(f'1 - avg by (cpu) (rate({cpu},mode="idle"}}[$__rate_interval]))', "CPU {{cpu}}")],
            "One line for each. One CPU at its end while others idle: the card's queues are not spread (RSS,"
            " affinities). Needs node_exporter.",
            unit="percentunit",
            most=1,
            decimals=0,
        ),
        lines(
            "CPU in soft interrupts",
            [(f'avg by (cpu) (rate({cpu},mode="softirq"}}[$__rate_interval]))', "CPU {{cpu}}")],
            "Where XDP programs and the network stack run: what forwarding costs. Near 1 the interface begins to"
            " drop. Needs node_exporter.",
            unit="percentunit",
            most=1,
            decimals=0,
        ),
        lines(
            "Agent late",
            [(f"katran_agent_lag_seconds{{{HOST}}}", "late at worst")],
            "The longest that the agent's loop was late lately. It asks reals from this loop: late means slow"
            " verdicts.",
            unit="s",
            steps=((None, GREEN), (0.25, ORANGE)),
        ),
    ]


def _tables() -> list[Panel]:
    return [
        bars(
            "Flow tables",
            f"max by (balancer, table) (katran_flow_table_fill_ratio{{{HERE}}})",
            "{{balancer}} {{table}}",
            "How full the fullest table of each kind is, counted once a minute. In the end any busy one is full; it is"
            " too small where many packets in the middle of connections are unknown (new choices). Then raise"
            " sizes.flows. Alert: KatranFlowTableNearFull.",
            unit="percentunit",
            steps=((None, GREEN), (0.9, ORANGE)),
            most=1,
        ),
        lines(
            "New choices",
            [
                (rate("katran_flows_chosen_total", HERE), "all"),
                (
                    f'sum(rate(katran_flow_table_misses_total{{{HERE},packet="tcp_syn"}}[$__rate_interval]))',
                    "TCP, new connections",
                ),
                (
                    f'sum(rate(katran_flow_table_misses_total{{{HERE},packet="tcp_other"}}[$__rate_interval]))',
                    "TCP, in the middle",
                ),
            ],
            "Packets that no flow table knew. In the middle of a connection: another balancer had it until now, or"
            " the entry was forgotten. The ring gives the same real as before, unless it changed meanwhile.",
            unit="pps",
        ),
        lines(
            "New flows of the last second, for the flood limit",
            [(f"katran_flood_checks_last_second{{{HERE}}}", "{{balancer}}")],
            "Beyond max_new_flows (125,000 for each CPU) new flows are not written into the table: a flood does not"
            " push out connections that live.",
        ),
        lines(
            "Packets on CPUs without a flow table",
            [(rate("katran_fallback_table_packets_total", HERE), "packets")],
            "Should be 0: leave forwarding_cores at auto. Alert: KatranFallbackUsed.",
            unit="pps",
        ),
        lines(
            "Flow exceptions",
            [
                (f"katran_sync_exceptions{{{HERE}}}", "of this balancer"),
                (f"katran_sync_held{{{HERE}}}", "held for peers"),
                (f"katran_sync_unacknowledged{{{HERE}}}", "not delivered"),
            ],
            "Flows that today's ring would send elsewhere: told to peers, so that they outlive this balancer. Not"
            " delivered for a minute: is the peer up, is its key the same? Needs katran_sync. Alert:"
            " KatranExceptionsNotDelivered.",
            decimals=0,
        ),
        lines(
            "Flows brought by exceptions, flows moved",
            [
                (
                    rate("katran_global_table_hits_total", HERE),
                    "packets by a peer's exception",
                ),
                (rate("katran_migrated_flows_total", HERE), "UDP flows moved off a real"),
            ],
            "The first rises when another balancer went and its flows arrive here. The second: reals that are down"
            " lose their UDP flows to others (feature udp_flow_migration).",
        ),
    ]


def _control() -> list[Panel]:
    return [
        lines(
            "Checks by verdict",
            [(f"sum by (state) (katran_checks{{{HERE}}})", "{{state}}")],
            "What is asked, by what is known of it. unknown: no verdict yet since the start.",
            stacked="normal",
            decimals=0,
            colours=STATES,
        ),
        lines(
            "Probes by answer",
            [(rate("katran_check_probes_total", HOST, "state"), "{{state}}")],
            "unknown: the probe could not be made (no route, no program healthcheck, no descriptor) and proved"
            " nothing; `katran checks` says `not asked` and why.",
            unit="ops",
            colours=STATES,
        ),
        lines(
            "Runs of the engine",
            [
                (
                    f"sum by (result) (rate(katran_engine_runs_total{{{HERE}}}[$__rate_interval])) * 60",
                    "{{result}} a minute",
                )
            ],
            "Each change of a verdict makes one. One that met another run is tried again; those that fail: the"
            " journal of katran-agent has the sentence. Alert: KatranEngineRunsFail.",
            unit="short",
            colours={"done a minute": GREEN, "failed a minute": RED},
        ),
        lines(
            "Addresses by state",
            [(f"sum by (state) (katran_places{{{HERE}}})", "{{state}}")],
            "ready: announced. draining: announced with GRACEFUL_SHUTDOWN, by somebody's word. withdrawn: not"
            " announced.",
            stacked="normal",
            decimals=0,
            colours=PLACES,
        ),
        states(
            "BGP sessions",
            f'max by (name) (bird_protocol_up{{proto="BGP",{HOST}}})',
            "{{name}}",
            "Sessions of bird. Needs prometheus-bird-exporter. Alert: KatranBgpSessionDown.",
            {"1": ("up", GREEN), "0": ("down", RED)},
            width=8,
        ),
        lines(
            "Routes told to routers",
            [
                (
                    f'sum by (name, ip_version) (bird_protocol_prefix_export_count{{proto="BGP",{HOST}}})',
                    "{{name}} IPv{{ip_version}}",
                )
            ],
            "Routes that bird exports on each session: as many as addresses are announced of that family. Fewer: the"
            " export filter. Needs prometheus-bird-exporter.",
            decimals=0,
        ),
    ]


def dashboard() -> made.Dashboard:
    """Dashboard katran-host."""
    variables = [
        variable("instance", "Host", "katran_agent_info", "instance", "The host.", many=False),
        variable(
            "balancer", "Balancer on the host", f"katran_gateway_resolved{{{HOST}}}", "balancer", "The instance's name."
        ),
    ]
    text = (
        "One host of katran.fleet: programs, packets, CPUs, tables, checks, BGP."
        " Made by scripts/dashboards; docs/monitoring says how to wire it up."
    )
    return filled(
        board("katran-host", "katran: host", text, variables, f",{HOST}"),
        [
            ("$instance", _now()),
            ("Does it forward?", _forwards()),
            ("CPUs", _cpus()),
            ("Flow tables", _tables()),
            ("Checks, runs, announcements", _control()),
        ],
    )
