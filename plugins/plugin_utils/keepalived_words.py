# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of keepalived.conf that have no equivalent: what they mean, and what to do instead (keepalived.conf(5))."""

from __future__ import annotations

from collections.abc import Mapping

Words = Mapping[str, tuple[str, str]]
"""Word → meaning and remedy; the remedy is empty where there is nothing to do."""

_SCRIPTS = ("a command that keepalived runs when something changes", "have alerts of metrics do that (docs/monitoring)")
_MAIL = ("mail of keepalived", "have alerts of metrics do that (docs/monitoring)")
_ADDRESSES = (
    "addresses that keepalived gives to this host",
    "a balancer takes packets to VIPs without having them; other addresses are the network configuration's",
)
_ROUTING = ("routes and rules of this host", "write them into its network configuration")
_VRRP = (
    "VRRP has one host at a time hold an address",
    "announce VIPs by BGP from every balancer (docs/bgp.md), or keep keepalived for VRRP alone",
)
_TRACKING = (
    "a watch on something else than a service, which moves addresses",
    "the agent withdraws VIPs that are not ready (docs/readiness.md); for more, write a feeder (docs/checks.md)",
)
_DAEMON = ("a setting of the daemon keepalived itself", "")
_TCP_ONLY = ("the check is of how a kernel sends it", "probes go through the tunnel to each real (docs/checks.md)")

TOP: Words = {
    "vrrp_sync_group": _VRRP,
    "vrrp_script": _TRACKING,
    "vrrp_track_process": _TRACKING,
    "vrrp_track_file": _TRACKING,
    "track_file": _TRACKING,
    "track_process": _TRACKING,
    "bfd_instance": ("BFD with a neighbour", "katran_bgp has bfd for each neighbor (docs/bgp.md)"),
    "static_ipaddress": _ADDRESSES,
    "static_routes": _ROUTING,
    "static_rules": _ROUTING,
    "garp_group": _VRRP,
    "linkbeat_interfaces": _TRACKING,
    "interface_up_down_delays": _TRACKING,
    "net_namespace": ("keepalived runs in a network namespace", "the balancer's interfaces are those of the host"),
    "net_namespace_ipvs": ("IPVS is in a network namespace", "the balancer's interfaces are those of the host"),
    "namespace_with_ipsets": _DAEMON,
    "instance": _DAEMON,
    "use_pid_dir": _DAEMON,
    "tmp_config_directory": _DAEMON,
    "config_copy_directory": _DAEMON,
    "config_save_dir": _DAEMON,
    "reload_file": _DAEMON,
    "reload_check_config": _DAEMON,
    "child_wait_time": _DAEMON,
    "random_seed": _DAEMON,
    "SSL": ("keys and certificates of keepalived's TLS checks", "checks of type https and tls need none of a client's"),
}
"""What stands in no block."""

GLOBAL: Words = {
    **dict.fromkeys(
        (
            *("notification_email", "notification_email_from", "smtp_server", "smtp_helo_name", "email_faults"),
            *("smtp_connect_timeout", "smtp_alert", "smtp_alert_checker", "smtp_alert_vrrp", "no_email_faults"),
        ),
        _MAIL,
    ),
    **dict.fromkeys(
        (
            *("notify_fifo", "notify_fifo_script", "lvs_notify_fifo", "lvs_notify_fifo_script", "startup_script"),
            *("startup_script_timeout", "shutdown_script", "shutdown_script_timeout"),
        ),
        _SCRIPTS,
    ),
    **dict.fromkeys(
        (
            *("router_id", "enable_script_security", "script_user", "process_names", "checker_priority", "nftables"),
            *("checker_no_swap", "checker_rt_priority", "process_name", "lvs_process_name", "use_symlink_paths"),
            *("dynamic_interfaces", "nftables_ipvs", "ipvs_process_name", "max_auto_priority", "rs_init_notifies"),
            *("enable_traps", "snmp_socket", "enable_snmp_keepalived", "enable_snmp_checker", "enable_snmp_rfc"),
            *("enable_snmp_vrrp", "enable_dbus", "default_interface", "no_checker_emails", "umask", "json_version"),
            *("bfd_process_name", "bfd_priority", "bfd_rlimit_rttime", "checker_rlimit_rttime", "checker_log_all"),
            *("checker_log_all_failures", "log_unknown_vrids", "tmp_config_directory", "disable_local_igmp"),
            *("bfd_cpu_affinity", "bfd_no_swap", "bfd_rt_priority", "checker_cpu_affinity", "checker_process_name"),
            *("config_save_dir", "data_use_instance", "dbus_service_name", "enable_snmp_rfcv2", "enable_snmp_rfcv3"),
            *("include_check", "lvs_netlink_cmd_rcv_bufs", "lvs_netlink_cmd_rcv_bufs_force", "nftables_counters"),
            *("lvs_netlink_monitor_rcv_bufs", "lvs_netlink_monitor_rcv_bufs_force", "min_auto_priority_delay"),
            *("nftables_ifindex", "nftables_ipvs_priority", "nftables_ipvs_start_fwmark", "nftables_priority"),
            *("process_monitor_rcv_bufs", "process_monitor_rcv_bufs_force", "random_seed", "reload_check_config"),
            *("reload_file", "reload_repeat", "reload_time_file", "vmac_addr_prefix", "vmac_prefix"),
            *("lvs_flush", "lvs_flush_on_stop", "lvs_flush_onstop", "fifo_write_vrrp_states_on_reload"),
        ),
        _DAEMON,
    ),
    "lvs_sync_daemon": (
        "IPVS tells another host of its connections",
        "katran_sync hands on the flows that balancers' rings do not agree about (docs/flow-sync.md)",
    ),
    "lvs_timeouts": (
        "when IPVS forgets a connection",
        "the connection table forgets the least recently used; katran_udp_timeout is for UDP",
    ),
}
"""In global_defs; what begins with vrrp_ is of VRRP."""

SERVER: Words = {
    "sorry_server_inhibit": ("the sorry server is kept in the table with weight 0", ""),
    "sorry_server_lvs_method": ("how packets go to the sorry server", ""),
    "quorum_up": _SCRIPTS,
    "quorum_down": _SCRIPTS,
    "hysteresis": (
        "the quorum is lost later than it is reached",
        "checks have fall and rise, which keep a VIP from flapping (docs/checks.md)",
    ),
    "alpha": (
        "reals are down until a check succeeds",
        "the first verdict of a check comes after rise answers in a row, and until then the last known holds",
    ),
    "omega": ("quorum_down runs when keepalived ends", "have alerts of metrics do that (docs/monitoring)"),
    "ha_suspend": (
        "checks pause on the host that has not the address",
        "every balancer checks, and none waits for another",
    ),
    "smtp_alert": _MAIL,
    "snmp_name": _DAEMON,
    "warmup": ("checks begin at random times within so many seconds", "the agent spreads them by itself"),
    "persistence_engine": ("persistence by what is in packets", "balancers look at no payload"),
    "ip_family": ("the family of a virtual server by mark", ""),
    "virtual_server_group": ("groups stand outside of virtual servers", ""),
}
"""In virtual_server."""

REAL: Words = {
    "notify_up": _SCRIPTS,
    "notify_down": _SCRIPTS,
    "uthreshold": ("a real takes so many connections at most", "no balancer counts connections; give it less weight"),
    "lthreshold": ("a full real takes connections again", "no balancer counts connections; give it less weight"),
    "smtp_alert": _MAIL,
    "snmp_name": _DAEMON,
    "alpha": SERVER["alpha"],
    "warmup": SERVER["warmup"],
}
"""In real_server."""

CHECK: Words = {
    "bindto": _TCP_ONLY,
    "bind_port": _TCP_ONLY,
    "bind_if": _TCP_ONLY,
    "fwmark": _TCP_ONLY,
    "alpha": SERVER["alpha"],
    "warmup": SERVER["warmup"],
    "log_all_failures": _DAEMON,
    "http_protocol": ("the version of HTTP", "probes speak HTTP/1.1"),
    "enable_sni": ("the name goes into the TLS handshake", "it always does where a check has host"),
    "fast_recovery": ("one good answer is enough", "a check has rise for that"),
    "tls_compliant": ("how the end of TLS is taken", ""),
}
"""In every kind of check."""

URL: Words = {
    "digest": ("an MD5 of the whole answer", "a check has body, a text that the answer has in it, and status"),
    "regex_no_match": ("the answer must not match", "a check has body, a text that the answer must have in it"),
    "regex_options": ("options of the regular expression", ""),
    "regex_stack": ("memory of the regular expression", ""),
    "regex_min_offset": ("where in the answer the text may begin", ""),
    "regex_max_offset": ("where in the answer the text may begin", ""),
    "tls_compliant": ("how the end of TLS is taken", ""),
}
"""In url."""

NO_CHECK: Words = {
    "MISC_CHECK": (
        "a command of your own that says whether a real is up",
        "run it beside the agent; it writes verdicts into verdicts.d, for a check of type external (docs/checks.md)",
    ),
    "PING_CHECK": ("an echo request to the real", "a check asks the service itself"),
    "FILE_CHECK": (
        "a file says whether a real is up",
        "write what it says into verdicts.d, with a check of type external (docs/checks.md)",
    ),
    "BFD_CHECK": ("a BFD session says whether a real is up", "a check asks the service itself"),
    "SMTP_CHECK": ("a dialogue of SMTP", "none of the checks speaks SMTP; one of type tcp looks at its port alone"),
}
"""Checks that no check here is like."""

VRRP: Words = {
    **dict.fromkeys(
        (
            *("state", "virtual_router_id", "priority", "advert_int", "authentication", "nopreempt", "preempt_delay"),
            *(
                "garp_master_delay",
                "garp_master_repeat",
                "garp_master_refresh",
                "garp_master_refresh_repeat",
                "preempt",
            ),
            *(
                "garp_lower_prio_delay",
                "garp_lower_prio_repeat",
                "garp_interval",
                "gna_interval",
                "higher_prio_send_advert",
            ),
            *("lower_prio_no_advert", "unicast_src_ip", "unicast_peer", "mcast_src_ip", "use_vmac", "use_vmac_addr"),
            *("vmac_xmit_base", "native_ipv6", "dont_track_primary", "version", "accept", "no_accept", "strict_mode"),
            *("skip_check_adv_addr", "debug", "linkbeat_use_polling", "old_unicast_checksum", "promote_secondaries"),
            *("track_src_ip", "mcast_dst_ip", "check_unicast_src", "unicast_ttl", "use_ipvlan", "down_timer_adverts"),
            *(
                "kernel_rx_buf_size",
                "checksum_compatibility",
                "unicast_fault_no_peer",
                "rx_buf_size",
                "vmac_addr_prefix",
            ),
            *("vmac_garp_intvl", "garp_extra_if", "thread_timer_expired", "virtual_ipaddress_excluded"),
        ),
        _VRRP,
    ),
    **dict.fromkeys(("track_interface", "track_script", "track_process", "track_file", "track_bfd"), _TRACKING),
    **dict.fromkeys(("virtual_routes", "virtual_rules"), _ROUTING),
    **dict.fromkeys(
        (
            *("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted"),
            *("notify_master_rx_lower_pri", "notify_priority_changes"),
        ),
        _SCRIPTS,
    ),
    "smtp_alert": _MAIL,
    "lvs_sync_daemon_interface": GLOBAL["lvs_sync_daemon"],
}
"""In vrrp_instance."""

NO_VRRP = _VRRP
NO_CSUM = ("checksums of tunnels", "a balancer sends GUE without, as the kernel of reals takes it")
NO_SCTP = ("a service of SCTP", "balancers take TCP and UDP alone; leave this service where it is")
NO_SORRY = (
    "a server that answers where no real does",
    "where reals fail, min_healthy keeps the last of them in (docs/checks.md), and their own service may say sorry",
)
