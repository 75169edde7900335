# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside a virtual machine: a real that strips tunnels by the kernel's devices, by tc and by XDP, one after another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import restore_real
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.engine.tunnelled import LINK, REAL, REAL6, A, B, C, Tunnel, arrives

BPFFS = "/sys/fs/bpf"
COUNTERS = f"{BPFFS}/katran/default/maps/decap_counters"
_PATIENCE = 6.0
# The kernel has no device for IPv6 in IPv4, and balancers send none.
SENT = [(A, Tunnel(family, kind)) for family in (4, 6) for kind in ("ipip", "gue")]
SENT += [(C, Tunnel(6, kind)) for kind in ("ipip", "gue")]
_CHAIN = "add table inet site; add chain inet site input { type filter hook input priority 0; policy drop; };"
_RULES = "; ".join(
    f"add rule inet site input {rule}" for rule in ("meta l4proto ipv6-icmp accept", "udp dport 5353 accept")
)

Count = Callable[[bool, str], None]


class RealLife:
    """The steps; `count` gets what must hold, and what to say where it does not."""

    def __init__(self, sources: str, count: Count) -> None:
        self.sources = sources
        self.count = count

    def run(self) -> None:
        """All steps, in order."""
        self._prepare()
        self._ensure("xdp")
        self._strips("xdp")
        self._ensure("kernel")
        self._strips("kernel")
        self._guarded()
        self._repaired()
        self._ensure("tc")
        self.count("katran-" not in output("ip", "link"), "tc: tunnel devices are left")
        self._strips("tc")
        self._ensure("kernel", once=True)
        self._removed()

    def _prepare(self) -> None:
        for command in (
            ["mount", "-t", "tmpfs", "tmpfs", "/var/lib"],
            ["mount", "-t", "bpf", "bpf", BPFFS],
            ["ip", "link", "set", "lo", "up"],
            ["ip", "link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}-peer"],
            *(["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=0"] for name in ("all", "lo", LINK)),
            *(["ip", "link", "set", name, "up"] for name in (LINK, f"{LINK}-peer")),
            ["ip", "addr", "add", f"{REAL}/24", "dev", LINK],
            ["ip", "addr", "add", f"{REAL6}/64", "dev", LINK, "nodad"],
            ["ip", "route", "add", "default", "dev", LINK],
            ["ip", "-6", "route", "add", "default", "dev", LINK],
            ["nft", f"{_CHAIN} {_RULES}"],
        ):
            subprocess.run(command, check=True)

    def _ensure(self, how: str, once: bool = False) -> Result:
        """One run as foretold, then one that has nothing to do; or but the run."""
        options = {name: option.get("default") for name, option in DECAP.items()}
        options |= {"interfaces": [LINK], "vips": [A, C], "source_dir": self.sources, "how": how}
        real, wanted = Real("default", BPFFS), parse_real(options)
        if once:
            return real.ensure(wanted, False, 10)
        foretold, done = real.ensure(wanted, True, 10), real.ensure(wanted, False, 10)
        again = real.ensure(wanted, False, 10)
        self.count(done.changes == foretold.changes, f"{how}: {done.changes}, but foretold were {foretold.changes}")
        self.count(not again.changed, f"{how} again: {again.changes}")
        self.count(again.program["how"] == how, f"{how}: {again.program}")
        return done

    def _strips(self, how: str) -> None:
        before = counters()
        for vip, tunnel in SENT:
            self.count(arrives(vip, tunnel, patience=_PATIENCE) == 0, f"{how}: {tunnel} to {vip} does not arrive")
        counted = [after - was for was, after in zip(before, counters(), strict=True)]
        self.count(counted[:2] == [2, 4], f"{how}: {counted} are counted")
        for outer, inner, mark in ((3, 2, 3), (1, 2, 1)):
            found = arrives(C, Tunnel(6, tos=outer, inner_tos=inner), patience=_PATIENCE)
            self.count(found == mark, f"{how}: marks {outer} outside and {inner} inside arrive as {found}")

    def _guarded(self) -> None:
        """What the devices strip of strangers, and for addresses that are no VIPs, goes no further."""
        subprocess.run(["nft", "insert rule inet site input meta l4proto { 4, 41 } accept"], check=True)
        subprocess.run(["ip", "addr", "add", f"{B}/32", "dev", "lo"], check=True)
        for vip, tunnel in (
            (A, Tunnel(source="192.0.2.66")),
            (C, Tunnel(6, source="2001:db8::66")),
            (B, Tunnel()),
        ):
            self.count(arrives(vip, tunnel, patience=1) is None, f"kernel: {tunnel} to {vip} arrives")

    def _repaired(self) -> None:
        """What somebody takes away is there after the next run, as after a boot."""
        subprocess.run(["nft", f"flush ruleset; {_CHAIN} {_RULES}"], check=True)
        self.count(arrives(A, Tunnel(), patience=1) is None, "a firewall that drops tunnels does not drop them")
        for command in (
            ["ip", "link", "del", "katran-ipip"],
            ["ip", "link", "set", "katran-ip6tnl", "down"],
            ["ip", "fou", "del", "port", "6080"],
            ["ip", "addr", "flush", "dev", "katran-ip6tnl"],
            ["sysctl", "-qw", "net.ipv4.conf.katran-ip6tnl.rp_filter=1"],
        ):
            subprocess.run(command, check=True)
        changes = restore_real(StateFile("default", BPFFS))
        expected = [
            "add the tunnel device katran-ipip",
            "add 127.0.0.43 to katran-ip6tnl",
            "net/ipv4/conf/katran-ip6tnl/rp_filter 1 → 2",
            "set the tunnel device katran-ip6tnl up",
            "take GUE at port 6080 of IPv4 by the kernel",
            "add the qdisc clsact to katran-ipip",
            "attach decap to the ingress of katran-ipip",
            "accept tunnels in chain inet site input of nftables",
        ]
        self.count(changes == expected, f"repaired: {changes}")
        self._strips("kernel, repaired")
        self.count(not self._ensure("kernel", once=True).changed, "repaired: the next run changes something")

    def _removed(self) -> None:
        done = Real("default", BPFFS).remove(False, 10)
        links, rules, ports = output("ip", "link"), output("nft", "list", "ruleset"), output("ip", "fou", "show")
        left = "katran" in links or "katran" in rules or ports.strip() or os.path.exists(f"{BPFFS}/katran")
        self.count(not left, f"removed: {done.changes}; left are {links} {rules} {ports}")
        self.count(not any(Path("/var/lib/katran-fleet").iterdir()), "removed: state is left")


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def counters() -> list[int]:
    """decap_counters, summed over CPUs."""
    with bpf.open_map(COUNTERS) as opened:
        value = opened.lookup(layout.u32(0)) or b""
    words = [int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8)]
    return [sum(words[word::5]) for word in range(5)]


def live(sources: str, kept: Callable[[str, Mapping[str, int]], Bytecode], count: Count) -> None:
    """Run it; `kept` gives the bytecode of (program, macros), as nothing is compiled here."""
    compiler.compile_program = lambda _sources, name, macros: kept(name, macros)
    RealLife(sources, count).run()
