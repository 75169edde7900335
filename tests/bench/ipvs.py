# SPDX-License-Identifier: GPL-3.0-or-later
"""Ours beside IPVS in tunnel mode, on the same frames, in one virtual machine with a kernel of Debian's that has both.

The machine is emulated, without KVM: an emulator counts instructions, more or less, and knows no caches. So the ratio
says how much work each is, and no figure says how fast. Frames go through a veth pair, one after the other on one CPU:
the balancer's end has our program natively, or one that passes all to the kernel's network stack, IPVS' way in.
Needs root and what scripts/setup kernels installs.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.tests.bench.flows import MEET, Kind, bench_program, walk
from ansible_collections.katran.fleet.tests.bench.packets import GATEWAY, MAC, OWN4, OWN6, REALS4, tcp, vip
from ansible_collections.katran.fleet.tests.bench.performance_page import write_figures
from ansible_collections.katran.fleet.tests.conformance.provision import BPF, ROOT, Settings
from ansible_collections.katran.fleet.tests.kernels import debian, machine

MODULES = ("dummy", "ip_vs", "ip_vs_rr")
TOOLS = (("ipvsadm", "sbin/ipvsadm"), ("libnl-3-200", "lib"), ("libnl-genl-3-200", "lib"), ("libpopt0", "usr/lib"))
"""Packages, and what of each the machine gets: it has no package of its own for this."""
VIP = "198.51.100.1"

OPTIONS: dict[str, Any] = {
    "encapsulation": "ipip",
    "features": [],
    "gateway_mac": GATEWAY,
    "source_ipv4": OWN4,
    "source_ipv6": OWN6,
    "max_new_flows": 1 << 30,
    "sizes": {"vips": 64, "ring": 65537, "server_ids": 1 << 16},
}
SCENARIO = {"balancer": OPTIONS, "vips": [vip(VIP, 80, "tcp", REALS4)]}
# The generator's packets keep the checksum that this one has: see VALID_IPV4 in replay/walk.h.
PACKET = tcp(VIP, source="198.18.0.0")
PACKET.id = 0xFFFF


def work(options: argparse.Namespace) -> bytes:
    """A tar archive for machine.run: ipvs_inside.py, what it uses of the collection, and ipvsadm."""
    kind = Kind("TCP, IPv4", "ipip", PACKET)
    job = {
        "scenario": SCENARIO,
        "vip": VIP,
        "port": 80,
        "reals": [real["address"] for real in REALS4],
        "mac": MAC,
        "gateway": GATEWAY,
        "frame": kind.frame.hex(),
        "walk": walk(kind, options.flows, MEET).hex(),
        "flows": options.flows,
        "frames": options.frames,
        "rounds": options.rounds,
    }
    programs = {
        "balancer": compiler.compile_program(BPF, "balancer", balancer_macros(Settings.of(OPTIONS))),
        "live": bench_program("live", {"VALID_IPV4": 1}),
        "arrived": bench_program("arrived", {}),
    }
    content = io.BytesIO()
    collection = "collections/ansible_collections/katran/fleet"
    with tarfile.open(fileobj=content, mode="w") as tar:
        engine = ROOT / "plugins" / "module_utils"
        for path in engine.rglob("*.py"):
            tar.add(path, f"{collection}/plugins/module_utils/{path.relative_to(engine)}")
        provision = "tests/conformance/provision.py"
        tar.add(ROOT / provision, f"{collection}/{provision}")
        tar.add(Path(__file__).with_name("ipvs_inside.py"), "inside.py")
        _add(tar, "job.json", json.dumps(job))
        for name, code in programs.items():
            _add(tar, f"programs/{name}.json", code.to_json())
        for package, part in TOOLS:
            folder = debian.package(package) / part
            for path in [folder] if folder.is_file() else folder.rglob("*.so*"):
                tar.add(path, f"tools/{path.name}")
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))


def measure(kernel: debian.Kernel, options: argparse.Namespace) -> dict[str, list[float]]:
    """Way -> ns of a frame in each round."""
    found = defaultdict(list)
    for word in machine.run(kernel, work(options), MODULES):
        if "error" in word:
            raise SystemExit(word["error"])
        if "way" not in word:
            continue
        print(word, file=sys.stderr, flush=True)
        if word["way"] != "dropped" and word["arrived"] != options.frames:
            raise SystemExit(f"{word['way']}: {word['arrived']} frames went on, not {options.frames}")
        if word["round"]:
            found[word["way"]].append(word["ns"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="6.1", help="a series of Debian's cloud kernels")
    parser.add_argument("--flows", type=int, default=1024, help="a power of two")
    parser.add_argument("--frames", type=int, default=32768, help="of a measurement; a multiple of 64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    kernel = debian.kernel(options.kernel)
    found = {way: statistics.median(values) for way, values in measure(kernel, options).items()}
    ours, theirs = (found[way] - found["dropped"] for way in ("ours", "IPVS"))
    lines = [f"Linux {kernel.release}, emulated; {options.flows:,} flows, medians of {options.rounds} rounds", ""]
    lines.append(f"ours {ours / 1000:.1f} µs a frame, IPVS {theirs / 1000:.1f} µs: x{theirs / ours:.1f}")
    print("\n".join(lines))
    if options.write:
        write_figures("ipvs.py", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
