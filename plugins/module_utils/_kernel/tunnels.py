# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tunnel devices and ports of GUE, by the command ip: pyroute2 0.7.2 knows neither of them."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t

from .._model.errors import ProgramError
from .._model.tunnels import ADDRESSES, KINDS, Device, TunnelsSeen, parameters_of
from .parameters import read_sysctl

_MODULES = {"ipip": "ipip", "ip6tnl": "ip6_tunnel", "fou": "fou"}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    try:
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise ProgramError("how kernel: the command ip is missing on this host (package iproute2)") from error


def _do(what: str, *words: str) -> None:
    done = _ip(*words)
    if done.returncode:
        raise ProgramError(f"{what}: {' '.join(done.stderr.split())[:200]}")


def read_tunnels(wanted: bool) -> TunnelsSeen:
    """What there is; `wanted`: the kernel's modules are looked for too."""
    ipv6 = os.path.isdir("/proc/sys/net/ipv6")
    devices = {}
    for link in _listed("-d", "-j", "addr", "show") or ():
        about = link.get("linkinfo", {})
        kind = about.get("info_kind", "")
        if kind in KINDS.values() or link.get("ifname") in KINDS:
            external = bool(about.get("info_data", {}).get("external"))
            addressed = ADDRESSES.get(link["ifname"]) in [each.get("local") for each in link.get("addr_info", ())]
            devices[link["ifname"]] = Device(kind, external, "UP" in link.get("flags", ()), addressed)
    ports = {}
    told = _listed("-j", "fou", "show")
    for entry in told or ():
        family = 6 if entry.get("family") == "inet6" else 4
        ports[family, int(entry["port"])] = "gue" in entry
    paths = [path for name in KINDS if name in devices for path in parameters_of(name)]
    present = {device.kind for device in devices.values()} | ({"fou"} if told is not None else set())
    lacks = [
        module
        for kind, module in _MODULES.items()
        if wanted and kind not in present and (ipv6 or kind != "ip6tnl") and not _has_module(module)
    ]
    return TunnelsSeen(devices, ports, {path: read_sysctl(path) for path in paths}, tuple(lacks), ipv6)


def _listed(*words: str) -> list[dict[str, t.Any]] | None:
    """What ip lists; None where the kernel does not know of such things."""
    done = _ip(*words)
    return None if done.returncode else [each for each in json.loads(done.stdout or "[]") if each]


def _has_module(name: str) -> bool:
    """Whether the kernel has a module, in it or to be loaded. One without any files of modules has what it shows."""
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    folder = f"/lib/modules/{os.uname().release}"
    for file in ("modules.dep", "modules.builtin"):
        try:
            with open(os.path.join(folder, file), encoding="utf-8") as lines:
                if any(f"/{name}.ko" in line.partition(":")[0] for line in lines):
                    return True
        except OSError:
            continue
    return False


def make_tunnel(name: str, instead: bool) -> None:
    """Add a device in external mode, down."""
    if instead:
        remove_tunnel(name)
    kind = KINDS[name]
    mode = ("mode", "any") if kind == "ip6tnl" else ()
    _do(f"the tunnel device {name} cannot be added", "link", "add", "name", name, "type", kind, "external", *mode)


def add_address(name: str) -> None:
    """Give a device its IPv4 address."""
    what = f"the tunnel device {name} cannot be given an address"
    _do(what, "addr", "add", f"{ADDRESSES[name]}/32", "dev", name, "scope", "host")


def raise_tunnel(name: str) -> None:
    """Set a device up."""
    _do(f"the tunnel device {name} cannot be set up", "link", "set", name, "up")


def remove_tunnel(name: str) -> None:
    """Take a device away."""
    _do(f"the tunnel device {name} cannot be removed", "link", "del", name)


def open_port(family: int, port: int) -> None:
    """Have the kernel take GUE at a port."""
    what = f"gue_port: the kernel cannot take GUE at port {port}, which something else may have"
    _do(what, f"-{family}", "fou", "add", "port", str(port), "gue")


def close_port(family: int, port: int) -> None:
    """Take GUE at a port no more."""
    _do(f"gue_port: port {port} cannot be given back", f"-{family}", "fou", "del", "port", str(port))
