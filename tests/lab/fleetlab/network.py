# SPDX-License-Identifier: GPL-3.0-or-later
"""Namespaces, links, addresses and routes of the laboratory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fleetlab import xdp_pass
from fleetlab.plan import CONTROL, EVERY_HOST, ROUTER, VIPS_IPV4, VIPS_IPV6, Host, Lab
from fleetlab.system import ip, network, run, sysctl

_BRIDGE = "br-mgmt"
FORWARDING_CPU = 0
"""On which the router forwards and its processes run.

A flow must stay on one CPU of its balancer, as a NIC's RSS keeps it: the balancer's connection table is per CPU. A veth
has one queue, and whichever CPU is about to empty it takes what all others put there: so all come from one.
"""

_EVERYWHERE: dict[str, object] = {
    # Addresses work at once instead of after duplicate address detection, and nobody advertises routers.
    **{f"ipv6/conf/{which}/accept_dad": 0 for which in ("all", "default")},
    **{f"ipv6/conf/{which}/accept_ra": 0 for which in ("all", "default")},
}
_ROUTER: dict[str, object] = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    # Both balancers get flows by their ports, as routers of a data centre do it.
    "ipv4/fib_multipath_hash_policy": 1,
    "ipv6/fib_multipath_hash_policy": 1,
    # Encapsulated packets come with source addresses that are routed nowhere.
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
}
# As strict as distributions come: what a real needs is for its role to set.
_REAL: dict[str, object] = {"ipv4/conf/default/rp_filter": 1}
_OF_ROLE = {"real": _REAL}
# What a veth would leave to hardware that is not there: packets on the wire must be whole, with their checksums, since
# a balancer encapsulates them as they are.
_OFFLOADS_OFF = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")


def _everyone(lab: Lab) -> tuple[Host, ...]:
    return (CONTROL, *lab.hosts)


def _link_commands(lab: Lab, host: Host) -> list[str]:
    """Commands that make the host's links, run in the machine's namespace, where no end of a link ever is."""
    here, control, router = lab.namespace(host), lab.namespace(CONTROL), lab.namespace(ROUTER)
    commands = [f"link add m-{host.name} netns {control} type veth peer name eth0 netns {here}"]
    if host is not ROUTER:
        ours, theirs = f"r-{host.name} mtu {host.mtu} netns {router}", f"eth1 mtu {host.mtu} netns {here}"
        commands.append(f"link add {ours} type veth peer name {theirs}")
    return commands


def _host_commands(host: Host) -> list[str]:
    commands = ["link set lo up", f"addr add {host.management}/24 dev eth0", "link set eth0 up"]
    if host is not ROUTER:
        commands += [
            f"addr add {host.ipv4}/24 dev eth1",
            f"addr add {host.ipv6}/64 dev eth1 nodad",
            "link set eth1 up",
            f"route add default via {host.router_ipv4}",
            f"route add default via {host.router_ipv6}",
        ]
    return commands


def _router_commands(lab: Lab) -> list[str]:
    commands = []
    for host in lab.edge_hosts:
        commands += [
            f"addr add {host.router_ipv4}/24 dev r-{host.name}",
            f"addr add {host.router_ipv6}/64 dev r-{host.name} nodad",
            f"link set r-{host.name} up",
        ]
    return commands


def route_statically(lab: Lab) -> None:
    """Have the router send what no balancer announces to all of them alike, ready or not."""
    balancers = lab.with_role("balancer")
    if balancers:
        ip(
            [
                f"route replace {VIPS_IPV4} " + " ".join(f"nexthop via {host.ipv4}" for host in balancers),
                f"route replace {VIPS_IPV6} " + " ".join(f"nexthop via {host.ipv6}" for host in balancers),
            ],
            lab.namespace(ROUTER),
        )


def route_as_announced(lab: Lab) -> None:
    """Have the router drop what no balancer announces."""
    ip([f"route flush root {place} proto boot" for place in (VIPS_IPV4, VIPS_IPV6)], lab.namespace(ROUTER))


def build(lab: Lab) -> None:
    """Make the whole network; nothing of it may exist."""
    ip([f"netns add {lab.namespace(host)}" for host in _everyone(lab)])
    for host in _everyone(lab):
        # Before the links: an interface takes its settings from "default" when it appears.
        with network(lab.namespace_path(host)):
            sysctl(_EVERYWHERE | (_ROUTER if host is ROUTER else _OF_ROLE.get(host.role, {})))
    ip([command for host in lab.hosts for command in _link_commands(lab, host)])
    control = ["link set lo up", f"link add {_BRIDGE} type bridge", f"addr add {CONTROL.management}/24 dev {_BRIDGE}"]
    control += [f"link set m-{host.name} master {_BRIDGE} up" for host in lab.hosts]
    ip([*control, f"link set {_BRIDGE} up"], lab.namespace(CONTROL))
    for host in lab.hosts:
        with network(lab.namespace_path(host)):
            if host is not ROUTER:
                run(["ethtool", "-K", "eth1", *_OFFLOADS_OFF])
            ip(_host_commands(host))
    _finish_router(lab)


def _finish_router(lab: Lab) -> None:
    with network(lab.namespace_path(ROUTER)):
        for host in lab.edge_hosts:
            run(["ethtool", "-K", f"r-{host.name}", *_OFFLOADS_OFF])
        ip(_router_commands(lab))
        program = xdp_pass.load()
        for host in lab.with_role("balancer"):
            xdp_pass.attach(program, f"r-{host.name}")
        os.close(program)
    for host in lab.edge_hosts:
        # `ip netns exec` because /sys shows the interfaces of the namespace it was mounted in.
        pin = f"echo {1 << FORWARDING_CPU:x} > /sys/class/net/r-{host.name}/queues/rx-0/rps_cpus"
        run(["ip", "netns", "exec", lab.namespace(ROUTER), "sh", "-c", pin])


def leftovers(lab: Lab) -> list[str]:
    """Names of the namespaces of this laboratory that exist, also those of hosts it was not asked for."""
    known = [lab.namespace(host) for host in (CONTROL, *EVERY_HOST)]
    return [name for name in known if Path(f"/run/netns/{name}").exists()]


def remove(lab: Lab) -> None:
    """Remove whatever exists of the network."""
    existing = leftovers(lab)
    # Explicitly, because a namespace that some socket still holds would keep its links alive; and all before the first
    # namespace goes, which takes the other ends with it at a moment of its own.
    for name in existing:
        for link in _links(name):
            ip([f"link del {link}"], name)
    for name in existing:
        run(["ip", "netns", "del", name])


def _links(namespace: str) -> list[str]:
    path = f"/run/netns/{namespace}"
    if not os.path.ismount(path):
        # A half-made namespace: the name without the namespace behind it.
        return []
    with network(path):
        return [
            line.split(":", 1)[0].strip()
            for line in Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()[2:]
            if line.split(":", 1)[0].strip().startswith(("m-", "r-", _BRIDGE))
        ]


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Have the threads that come to be in the with block run on FORWARDING_CPU alone: keep_flows says which, and why.

    They are known by their links' names alone: no other laboratory may be built meanwhile.
    """
    before = _threads()
    yield
    for number in _threads() - before:
        os.sched_setaffinity(number, {FORWARDING_CPU})
        # Before all processes, as the interrupt would be in which it takes place elsewhere: the queue has 256 places.
        os.sched_setscheduler(number, os.SCHED_FIFO, os.sched_param(1))


def keep_flows(lab: Lab) -> None:
    """Have one thread, on one CPU, empty the queue of each balancer's link.

    Here all packets come from one CPU, but for those of the kernel's own timers, such as a question for a neighbour's
    address. Without a thread, such a packet has its CPU empty the queue for as long as packets come, which is long
    where the machine is busy, and what comes meanwhile meets another CPU's connection table.

    The thread is there while the link is up and collects packets for its host ("gro"), whatever program comes and
    goes; what a program sends on is never collected. A kernel without such threads (before 5.12) goes without.
    """
    for host in lab.with_role("balancer"):
        with network(lab.namespace_path(host)):
            run(["ethtool", "-K", "eth1", "gro", "on"])
        threaded = "echo 1 > /sys/class/net/eth1/threaded 2>/dev/null || true"
        with pinned():
            run(["ip", "netns", "exec", lab.namespace(host), "sh", "-c", threaded])


def _threads() -> set[int]:
    """The kernel's threads that empty queues of links called eth1, by process id."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8", errors="replace").startswith("napi/eth1-"):
                found.add(int(path.parent.name))
    return found
