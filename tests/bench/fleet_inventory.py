# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories of large laboratories: inventories/lab with as many hosts and VIPs as are asked for."""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from fleetlab.plan import PROJECT, VIPS_IPV4, VIPS_IPV6, Host

LAB_INVENTORY = PROJECT / "inventories" / "lab"
LAB_VIPS = 4
MOST_VIPS = 512
_WEIGHTS = (3, 2, 1)
_PROXY_IN_LAB_INVENTORY = "{{ inventory_dir }}/../../tests/lab/lab"
_PROXY = """\
#!/bin/sh
# How ssh gets to a host is the laboratory's cost, not the controller's: it has a group of its own.
{{ echo 0 >'{group}/cgroup.procs'; }} 2>/dev/null
exec '{lab}' "$@"
"""


def write(
    directory: Path,
    hosts: tuple[Host, ...],
    vips: int,
    proxy_group: Path,
    gateways: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the inventory of these balancers and reals to *directory*, which is made where missing; its hosts.yml.

    The first four VIPs are those of inventories/lab; all reals of the inventory are behind each. Connections are those
    of inventories/lab too, only that the proxy command's processes are in *proxy_group*, a group of cgroup v2. A
    balancer to which *gateways* gives its gateway's MAC address need not look for it every 15 seconds, as others do.
    """
    variables = directory / "group_vars"
    for folder in (variables / "all", variables / "balancers"):
        folder.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.yml").write_text(json.dumps(_hosts(hosts, gateways), indent=2), encoding="utf-8")
    connection = (LAB_INVENTORY / "group_vars/all/connection.yml").read_text(encoding="utf-8")
    if connection.count(_PROXY_IN_LAB_INVENTORY) != 1:
        raise SystemExit(f"{LAB_INVENTORY}/group_vars/all/connection.yml does not name {_PROXY_IN_LAB_INVENTORY} once")
    connection = connection.replace(_PROXY_IN_LAB_INVENTORY, "{{ inventory_dir }}/proxy")
    (variables / "all/connection.yml").write_text(connection, encoding="utf-8")
    proxy = directory / "proxy"
    proxy.write_text(_PROXY.format(group=proxy_group, lab=PROJECT / "tests/lab/lab"), encoding="utf-8")
    proxy.chmod(0o755)
    for source, target in (("reals.yml", "reals.yml"), ("balancers/vips.yml", "balancers/lab.yml")):
        text = (LAB_INVENTORY / "group_vars" / source).read_text(encoding="utf-8")
        (variables / target).write_text(text, encoding="utf-8")
    # Every balancer checks every real: hosts that share two cores would do little else.
    seldom = {"katran_check_defaults": {"interval": 30, "timeout": 5}}
    (variables / "balancers/checks.yml").write_text(json.dumps(seldom), encoding="utf-8")
    more = {"katran_vips__more": [_vip(number) for number in range(LAB_VIPS, vips)]}
    (variables / "balancers/more.yml").write_text(json.dumps(more if vips > LAB_VIPS else {}), encoding="utf-8")
    return directory / "hosts.yml"


def _hosts(hosts: tuple[Host, ...], gateways: Mapping[str, str]) -> dict[str, object]:
    reals = [host for host in hosts if host.role == "real"]
    web = {
        host.name: {
            "katran_real_address": [host.ipv4, host.ipv6],
            "katran_real_weight": _WEIGHTS[place % len(_WEIGHTS)],
        }
        for place, host in enumerate(reals)
    }
    balancers = {
        host.name: {"katran_gateway_mac": gateways[host.name]} if host.name in gateways else {}
        for host in hosts
        if host.role == "balancer"
    }
    return {"all": {"children": {"balancers": {"hosts": balancers}, "reals": {"children": {"web": {"hosts": web}}}}}}


def _vip(number: int) -> dict[str, object]:
    """VIP *number*, from 0: four to each address pair, as inventories/lab has them on the first."""
    place, kind = divmod(number, LAB_VIPS)
    family, network = ("ipv4", VIPS_IPV4) if kind < 2 else ("ipv6", VIPS_IPV6)
    return {
        "address": str(ipaddress.ip_network(network)[place + 1]),
        "port": (80, 7)[kind % 2],
        "protocol": ("tcp", "udp")[kind % 2],
        "reals": f"{{{{ groups['web'] | katran.fleet.reals(family='{family}') }}}}",
    }
