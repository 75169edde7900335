# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MSS that VIPs announce, by a table of nftables that is ours alone.

It looks at what leaves with a VIP for its source, whichever route that takes: static, learned, by next-hop object or
multipath. A maximum is only ever lowered.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from collections.abc import Collection

from .._model.addresses import read_address
from .._model.errors import HostError
from .._model.host_plan import MssRules

TABLE = "katran_fleet"
_FAMILIES = {"vips4": ("ip", "ipv4_addr"), "vips6": ("ip6", "ipv6_addr")}


def run_nft(*arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command, with a script on its input where there is one."""
    return subprocess.run(["nft", *arguments], input=script, capture_output=True, text=True, check=False)


def has_nft() -> bool:
    """Whether the command is there."""
    return shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") is not None


def read_mss() -> MssRules | None:
    """The rules as the kernel has them; None where it has none."""
    if not has_nft():
        return None
    listed = run_nft("-j", "list", "table", "inet", TABLE)
    if listed.returncode:
        return None
    rules: list[tuple[str, int]] = []
    vips: set[str] = set()
    hooks = []
    for item in json.loads(listed.stdout)["nftables"]:
        if "set" in item:
            vips.update(_canonical(str(each)) for each in item["set"].get("elem", ()))
        elif "chain" in item:
            hooks.append((item["chain"].get("type"), item["chain"].get("hook"), item["chain"].get("policy")))
        elif "rule" in item:
            rules.append(_read_rule(item["rule"]["expr"]))
    sizes = {size for _name, size in rules}
    sound = (
        hooks == [("filter", "output", "accept")]
        and sorted(name for name, _size in rules) == sorted(_FAMILIES)
        and len(sizes) == 1
    )
    return MssRules(max(sizes, default=0), frozenset(vips), sound)


def _canonical(text: str) -> str:
    address = read_address(text)
    return address.text if address else text


def _read_rule(expressions: list[dict[str, t.Any]]) -> tuple[str, int]:
    """(set of sources, MSS) of a rule; ("", 0) of one that is none of ours."""
    source, size, others = "", 0, 0
    for each in expressions:
        match, mangle = each.get("match", {}), each.get("mangle", {})
        left = match.get("left", {})
        if isinstance(left, dict) and left.get("payload", {}).get("field") == "saddr" and match.get("op") == "==":
            source = str(match["right"]).removeprefix("@")
        elif mangle.get("key", {}).get("tcp option") == {"name": "maxseg", "field": "size"}:
            size = int(mangle["value"])
        elif "tcp" not in json.dumps(match):
            others += 1
    return (source, size) if source in _FAMILIES and size and not others and len(expressions) == 3 else ("", 0)


def set_mss(size: int, vips: Collection[str]) -> None:
    """Make these rules, in one step; size 0: have none. HostError where nftables refuses."""
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}"]
    if size:
        lines.append(f"table inet {TABLE} {{")
        for name, (_family, kind) in _FAMILIES.items():
            members = sorted(vip for vip in vips if (":" in vip) == (name == "vips6"))
            elements = f"; elements = {{ {', '.join(members)} }}" if members else ""
            lines.append(f"set {name} {{ type {kind}{elements}; }}")
        lines.append("chain mss { type filter hook output priority mangle; policy accept;")
        lines += [
            f"{family} saddr @{name} tcp flags & syn == syn tcp option maxseg size set {size}"
            for name, (family, _kind) in _FAMILIES.items()
        ]
        lines += ["}", "}"]
    done = run_nft("-f", "-", script="\n".join(lines) + "\n")
    if done.returncode:
        raise HostError(f"the MSS of VIPs cannot be set: {' '.join(done.stderr.split())[:300]}")
