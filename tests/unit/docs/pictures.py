# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the pictures of docs/ (scripts/pictures), as SVG.

A picture is at most 480 wide, so that its text can be read on a phone, and has a background of its own with colours for
light and dark, so that it can be read on any page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from html import escape
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring

FOLDER = Path(__file__).resolve().parents[3] / "docs/pictures"
WIDTH = 480

_STYLE = """\
text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
.s { font-size: 12px; }
.m { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; }
.b { font-weight: 600; }
.soft { fill: #57606a; }
.on { fill: #ffffff; font-weight: 600; }
.back { fill: #ffffff; stroke: #d1d9e0; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.lb { fill: #ddf4ff; stroke: #0969da; }
.real { fill: #dafbe1; stroke: #1a7f37; }
.net { fill: #fff1e5; stroke: #bc4c00; }
.bad { fill: #ffebe9; stroke: #cf222e; }
.way { fill: none; stroke: #57606a; stroke-width: 1.6; }
.back-way { fill: none; stroke: #1a7f37; stroke-width: 1.6; stroke-dasharray: 5 4; }
.faint { fill: none; stroke: #d1d9e0; }
.head { fill: #57606a; }
.head-back { fill: #1a7f37; }
.r1 { fill: #0969da; } .r2 { fill: #bc4c00; } .r3 { fill: #1a7f37; } .gone { fill: #afb8c1; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.soft { fill: #9ea7b0; }
.on { fill: #ffffff; }
.back { fill: #0d1117; stroke: #3d444d; }
.box { fill: #1c2128; stroke: #768390; }
.lb { fill: #0c2d4d; stroke: #4493f8; }
.real { fill: #0b3018; stroke: #3fb950; }
.net { fill: #3b1e08; stroke: #db6d28; }
.bad { fill: #43181b; stroke: #f85149; }
.way { stroke: #9ea7b0; }
.back-way { stroke: #3fb950; }
.faint { stroke: #3d444d; }
.head { fill: #9ea7b0; }
.head-back { fill: #3fb950; }
.r1 { fill: #1f6feb; } .r2 { fill: #b85013; } .r3 { fill: #238636; } .gone { fill: #545d68; }
}
"""


class Picture:
    """SVG, piece by piece; coordinates in pixels, from the upper left."""

    def __init__(self, title: str, description: str, height: int) -> None:
        self.parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
                f' height="{height}" role="img" aria-labelledby="t d">'
            ),
            "<!-- SPDX-License-Identifier: GPL-3.0-or-later; drawn by scripts/pictures -->",
            f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc>',
            f"<style>{_STYLE}</style>",
            "<defs>",
            *(
                f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
                f' orient="auto-start-reverse"><path class="{style}" d="M0 0 8 4 0 8z"/></marker>'
                for name, style in (("to", "head"), ("to-back", "head-back"))
            ),
            "</defs>",
            f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        ]

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        """A line of text; `y` is its base line."""
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        kind = f' class="{style}"' if style else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{kind}{place}>{escape(words)}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, lines: list[str | tuple[str, str]], style: str = "box"
    ) -> None:
        """A rounded box with centred lines: words, or words and a style."""
        self.parts.append(f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>')
        step = 17
        first = y + height / 2 + 5 - step * (len(lines) - 1) / 2
        for number, line in enumerate(lines):
            words, kind = line if isinstance(line, tuple) else (line, "")
            self.text(x + width / 2, first + number * step, words, kind, "middle")

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.parts.append(f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>')

    def way(self, path: str, back: bool = False) -> None:
        """An arrow along a path; `back`: of an answer."""
        style, head = ("back-way", "to-back") if back else ("way", "to")
        self.parts.append(f'<path class="{style}" d="{path}" marker-end="url(#{head})"/>')

    def line(self, path: str, style: str = "faint") -> None:
        self.parts.append(f'<path class="{style}" d="{path}"/>')

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


def fleet() -> Picture:
    """The landing page's: the way of a packet, from left to right."""
    p = Picture(
        "A packet's way through a fleet",
        "The client's packet goes to the router, which picks one of two balancers by ECMP. The balancer picks a real by"
        " its ring and sends the packet there in a tunnel. The real answers the client directly.",
        264,
    )
    middle = 126
    p.box(14, middle - 24, 74, 48, [("client", "b"), ("asks", "s")], "net")
    p.way(f"M88 {middle}H108")
    p.box(110, middle - 24, 76, 48, [("router", "b"), ("ECMP", "s")], "net")
    for y, name in ((66, "balancer 1"), (186, "balancer 2")):
        p.way(f"M186 {middle} 212 {y}")
        p.box(214, y - 26, 128, 52, [(name, "b"), ("XDP: VIP → real", "s")], "lb")
        for real in (46, middle, 206):
            p.way(f"M342 {y} 382 {real}")
    p.text(278, 120, "both compute", "s soft", "middle")
    p.text(278, 137, "the same ring", "s soft", "middle")
    for y, name in ((46, "real 1"), (middle, "real 2"), (206, "real 3")):
        p.box(384, y - 22, 84, 44, [(name, "b"), ("VIP on lo", "s")], "real")
    p.way(f"M426 24V14H51V{middle - 26}", back=True)
    p.way(f"M426 228V238H51V{middle + 26}", back=True)
    p.text(238, 256, "answers go straight back", "s soft", "middle")
    return p


def hosts() -> Picture:
    """Who is where, and which way packets go."""
    p = Picture(
        "A fleet",
        "A client's request goes to the router, which chooses balancer 1 or 2; the balancer sends it to real 1,"
        " 2 or 3 in a tunnel; the real answers the client directly.",
        330,
    )
    p.box(190, 14, 100, 34, ["client"], "net")
    p.way("M240 48V80")
    p.text(248, 69, "to the VIP", "s soft")
    p.box(165, 82, 150, 46, [("router", "b"), ("ECMP: by flow", "s")], "net")
    p.way("M205 128 150 158")
    p.way("M275 128 330 158")
    for x, name in ((70, "balancer 1"), (250, "balancer 2")):
        p.box(x, 160, 160, 46, [(name, "b"), ("XDP: VIP → real", "s")], "lb")
    p.text(240, 187, "=", "soft", "middle")
    for x in (85, 240, 395):
        p.way(f"M150 206 {x} 252")
        p.way(f"M330 206 {x} 252")
    for x, name in ((20, "real 1"), (175, "real 2"), (330, "real 3")):
        p.box(x, 254, 130, 46, [(name, "b"), ("VIP on lo", "s")], "real")
    p.text(28, 232, "in a tunnel", "s soft")
    p.way("M460 277H468V31H292", back=True)
    p.text(460, 62, "answers go", "s soft", "end")
    p.text(460, 77, "straight back", "s soft", "end")
    p.text(240, 320, "both balancers compute the same ring", "s soft", "middle")
    return p


def _packet(p: Picture, y: float, pieces: list[tuple[float, str, str, str]]) -> None:
    x = 20.0
    for width, style, above, below in pieces:
        p.box(x, y, width, 42, [(above, "s b"), (below, "m")] if below else [(above, "s b")], style)
        x += width + 2


def packet() -> Picture:
    """One request, hop by hop, with the headers that it has there."""
    p = Picture(
        "A packet on its way",
        "From the client to the VIP; in the tunnel from 172.16.x.y to the real, with the client's packet"
        " unchanged inside; the answer from the VIP to the client, past the balancer.",
        452,
    )
    rows = [
        ("1", "Client → router → balancer", "net", "the packet as the client sent it"),
        ("2", "Balancer → real", "lb", "the same packet, with a header of 20 bytes around it (IPIP)"),
        ("3", "On the real", "real", "the header comes off; the VIP is an address of this host"),
        ("4", "Real → client", "real", "the answer goes by the real's own gateway: no balancer sees it"),
    ]
    inner = [
        (214.0, "net", "IP client → VIP", "192.0.2.7 → 198.18.200.1"),
        (110.0, "box", "TCP", "31337 → 80"),
        (80.0, "box", "data", ""),
    ]
    for number, (name, where, style, note) in enumerate(rows):
        y = 20 + number * 108
        p.box(20, y, 24, 24, [(name, "b")], style)
        p.text(54, y + 17, where, "b")
        p.text(20, y + 92, note, "s soft")
        match name:
            case "1" | "3":
                _packet(p, y + 32, inner)
            case "2":
                _packet(
                    p, y + 32,
                    [(150, "lb", "IP tunnel", "172.16.x.y → real"), (170, "net", "IP client → VIP", "unchanged"),
                     (56, "box", "TCP", ""), (56, "box", "data", "")],
                )  # fmt: skip
            case _:
                _packet(
                    p, y + 32,
                    [(214, "real", "IP VIP → client", "198.18.200.1 → 192.0.2.7"), (110, "box", "TCP", "80 → 31337"),
                     (80, "box", "data", "")],
                )  # fmt: skip
        if number:
            p.line(f"M20 {y - 8}H460")
    return p


def steps() -> Picture:
    """What the program does with a frame."""
    p = Picture(
        "What the program does with a frame",
        "Is it for a VIP? If not, the host gets it. Is the flow in this CPU's table? Then its real. If not, the"
        " ring gives the real and the table learns the flow. Then encapsulate and send. Malformed packets and"
        " empty slots are dropped.",
        520,
    )
    p.box(140, 14, 200, 32, [("a frame comes in", "")], "net")
    p.way("M240 46V66")
    p.box(110, 68, 260, 48, [("for a VIP?", "b"), ("address, port, protocol: one lookup", "s")], "lb")
    p.way("M370 92H404")
    p.text(387, 84, "no", "s soft", "middle")
    p.box(406, 70, 60, 44, [("PASS", "b"), ("to host", "s")])
    p.way("M110 92H84")
    p.box(14, 62, 70, 60, [("ping:", "s"), ("answered", "s"), ("here", "s")])
    p.way("M240 116V138")
    p.text(248, 132, "yes", "s soft")
    p.box(110, 140, 260, 48, [("a server id in it?", "b"), ("QUIC, or TCP of own clients: if asked for", "s")], "lb")
    p.way("M370 164H454V368")
    p.text(448, 262, "yes", "s soft", "end")
    p.way("M240 188V210")
    p.text(248, 204, "no", "s soft")
    p.box(110, 212, 260, 48, [("known flow?", "b"), ("this CPU's table, then the global one", "s")], "lb")
    p.way("M110 236H46V368")
    p.text(40, 300, "yes", "s soft", "end")
    p.way("M240 260V282")
    p.text(248, 276, "no, or a SYN", "s soft")
    p.box(110, 284, 260, 48, [("ring slot = hash mod 65537", "b"), ("hash of addresses and ports", "s")], "lb")
    p.way("M370 308H391")
    p.box(393, 286, 48, 44, [("empty:", "s"), ("drop", "s b")], "bad")
    p.way("M240 332V368")
    p.text(248, 354, "the table learns the flow", "s soft")
    p.box(20, 370, 440, 36, [("the real", "b")], "real")
    p.way("M240 406V426")
    p.box(
        90,
        428,
        300,
        48,
        [("encapsulate, to the gateway's MAC", "b"), ("count VIP and real; ToS is copied out", "s")],
        "lb",
    )
    p.way("M240 476V490")
    p.text(240, 508, "TX, out of the interface it came in by", "s soft", "middle")
    return p


def _ring(reals: dict[str, int], size: int) -> list[str]:
    names = list(reals)
    ring = build_ring([(ipaddress.ip_address(name), weight) for name, weight in reals.items()], size)
    return [names[slot] for slot in ring]


RING_SLOTS = 61
RING_REALS = {"198.18.21.2": 1, "198.18.22.2": 1, "198.18.23.2": 1}


def ring() -> Picture:
    """A ring of 61 slots, before and after a real leaves it; computed by the engine."""
    before = _ring(RING_REALS, RING_SLOTS)
    after = _ring({name: weight for name, weight in RING_REALS.items() if name != "198.18.22.2"}, RING_SLOTS)
    gone = sum(real == "198.18.22.2" for real in before)
    others = sum(old != new for old, new in zip(before, after, strict=True)) - gone
    p = Picture(
        "A ring, before and after a real leaves",
        f"Of {RING_SLOTS} slots, the {gone} of real 2 go to the others; of those that were real 1's and real"
        f" 3's, {others} change hands.",
        372,
    )
    number = {name: str(place) for place, name in enumerate(RING_REALS, 1)}

    def rows(top: float, slots: list[str], words: str) -> None:
        p.text(20, top - 12, words, "b")
        for slot, real in enumerate(slots):
            x, y = 20 + slot % 21 * 21, top + slot // 21 * 26
            same = words.startswith("Real") and before[slot] == real
            p.rect(x, y, 19, 22, "box" if same else f"r{number[real]}")
            p.text(x + 9.5, y + 16, number[real], "s" if same else "on s", "middle")

    rows(54, before, "Three reals of equal weight")
    p.text(20, 148, "slot = hash of the flow mod ring size; each slot names a real", "s soft")
    rows(196, after, "Real 2 has left")
    p.text(20, 290, f"filled: another real than before. The {gone} slots of real 2 had to move;", "s soft")
    p.text(
        20,
        307,
        f"of the {RING_SLOTS - gone} others {others or 'none'} did. Deployed rings have 65,537 slots.",
        "s soft",
    )
    for place in (1, 2, 3):
        p.rect(20 + (place - 1) * 90, 328, 19, 22, f"r{place}")
        p.text(29.5 + (place - 1) * 90, 344, str(place), "on s", "middle")
        p.text(46 + (place - 1) * 90, 344, f"real {place}", "s")
    return p


def tables() -> Picture:
    """Queues, CPUs, and a flow table for each."""
    p = Picture(
        "A flow table for each CPU",
        "The network card's hash (RSS) gives each flow to one queue, each queue to one CPU, and each CPU has a"
        " flow table of its own. Ring, VIPs and reals are common to all.",
        348,
    )
    p.box(20, 14, 440, 40, [("network card: RSS gives each flow to one queue", "b")], "net")
    for place in range(4):
        x = 20 + place * 112
        p.way(f"M{x + 52} 54V78")
        p.box(x, 80, 104, 34, [(f"queue {place}", "")])
        p.way(f"M{x + 52} 114V132")
        p.box(x, 134, 104, 34, [(f"CPU {place}", "b")], "lb")
        p.way(f"M{x + 52} 168V186")
        p.box(x, 188, 104, 64, [("flow table", "b"), ("LRU", "s"), ("250,000", "s")], "lb")
        p.way(f"M{x + 52} 252V270")
    p.box(20, 272, 440, 40, [("VIPs, rings, reals: one of each, read by all CPUs", "b")], "real")
    p.text(240, 334, "sizes.flows is for all together: 1,000,000 here, on 4 CPUs", "s soft", "middle")
    return p


def mtu() -> Picture:
    """A full packet, and what the tunnel adds."""
    kinds = [("IPIP, IPv4 real", 20), ("GUE, IPv4 real", 28), ("IPIP, IPv6 real", 40), ("GUE, IPv6 real", 48)]
    p = Picture(
        "A full packet in its tunnel",
        "1500 bytes become " + ", ".join(f"{1500 + more} with {name}" for name, more in kinds) + ".",
        96 + 54 * len(kinds),
    )
    p.text(20, 30, "A packet of 1500 bytes, on its way to a real", "b")
    for place, (name, more) in enumerate(kinds):
        y = 52 + place * 54
        p.text(20, y + 8, name, "s")
        p.box(20, y + 14, more * 1.6, 26, [], "lb")
        p.box(20 + more * 1.6, y + 14, 230, 26, [("1500", "s")], "net")
        p.text(32 + more * 1.6 + 230, y + 32, f"+ {more} = {1500 + more}", "b")
    p.text(20, 78 + 54 * len(kinds), "headers are not drawn to scale", "s soft")
    return p


def health() -> Picture:
    """From a service that dies to the routers; the worst times of a check at its defaults."""
    p = Picture(
        "From a dead service to the router",
        "At most 1 second until the next probe; three more, 0.2 seconds apart; then the verdict, and the ring"
        " is written without the real. Without any real left the VIP's route stays, unless last_resort says withdraw.",
        390,
    )
    p.text(20, 30, "A service refuses: worst times, default check", "b")
    marks = [
        (60, "0 s", "the service dies", "net"),
        (120, "≤ 1.0 s", "a probe fails; asked every 0.2 s from now on", "lb"),
        (180, "≤ 1.6 s", "fourth failure in a row: verdict down", "bad"),
        (240, "≤ 2.2 s", "out of every ring, its flows removed (worst of 100 trials)", "lb"),
        (300, "then", "no real left? The VIP's route stays (last_resort: keep),", "net"),
    ]
    p.line(f"M60 {marks[0][0]}V{marks[-1][0]}", "way")
    for y, when, what, style in marks:
        p.parts.append(f'<circle class="{style}" cx="60" cy="{y}" r="8"/>')
        p.text(84, y + 5, when, "b")
        p.text(84, y + 23, what, "s")
    p.text(84, 340, "or goes, some 20 ms until the router knows (withdraw)", "s")
    p.text(20, 372, "silent instead of refusing: verdict ≤ 3.0 s; back in: ≤ 3.0 s", "s soft")
    return p


def run() -> Picture:
    """What a module does, in order."""
    p = Picture(
        "A run",
        "Lock, finish what a killed run began, read the kernel, plan; check mode ends here. Then note, do,"
        " record and report.",
        420,
    )
    rows = [
        ("lock", "one run at a time; looks share it", "box"),
        ("finish", "what a killed run left half done", "box"),
        ("read", "maps, programs, interfaces: the kernel is the truth", "lb"),
        ("plan", "wanted − there = a list of operations, each a sentence", "lb"),
        ("note", "what is about to change, on disk", "real"),
        ("do", "real → ring → VIP; the reverse when something goes", "real"),
        ("report", "changes, diff, entries written; the new state on disk", "real"),
    ]
    y = 16
    for place, (name, what, style) in enumerate(rows):
        p.box(20, y, 90, 36, [(name, "b")], style)
        p.text(122, y + 23, what, "s")
        if name == "plan":
            p.line(f"M20 {y + 50}H460", "way")
            p.text(460, y + 66, "--check ends here: the plan is what a run would do", "s soft", "end")
            p.way(f"M65 {y + 36}V{y + 76}")
            y += 78
        else:
            if place < len(rows) - 1:
                p.way(f"M65 {y + 36}V{y + 50}")
            y += 52
    return p


def writers() -> Picture:
    """Who writes what on a balancer."""
    p = Picture(
        "Who writes what on a balancer",
        "A deploy and a person write through the engine; the agent's verdicts go through the engine too. The"
        " engine alone writes maps and state. The agent alone writes routes to table 198; bird reads them and"
        " tells the routers.",
        430,
    )
    p.box(20, 16, 136, 50, [("inventory", "b"), ("by a deploy", "s")], "net")
    p.box(172, 16, 136, 50, [("a person", "b"), ("drain_real, katran", "s")], "net")
    p.box(324, 16, 136, 50, [("checks", "b"), ("by the agent", "s")], "lb")
    for x in (88, 240, 392):
        p.way(f"M{x} 66V102")
    p.text(96, 90, "VIPs, weights", "s soft")
    p.text(248, 90, "words by hand", "s soft")
    p.text(400, 90, "verdicts", "s soft")
    p.box(20, 104, 440, 50, [("the engine, under the lock", "b"), ("the strictest of the three words counts", "s")])
    p.way("M130 154V190")
    p.way("M350 154V190")
    p.box(20, 192, 210, 50, [("maps in the kernel", "b"), ("what packets meet", "s")], "lb")
    p.box(250, 192, 210, 50, [("/var/lib/katran-fleet", "b"), ("what maps cannot say back", "s")])
    p.way("M125 242V278")
    p.text(133, 264, "is the VIP ready?", "s soft")
    p.box(20, 280, 210, 50, [("the agent", "b"), ("writes routes, table 198", "s")], "lb")
    p.way("M230 305H250")
    p.box(252, 280, 208, 50, [("bird", "b"), ("learns table 198", "s")], "net")
    p.way("M356 330V362")
    p.box(252, 364, 208, 40, [("routers, by BGP", "b")], "net")
    p.text(20, 382, "a boot: katran-restore", "s soft")
    p.text(20, 398, "writes the maps from disk", "s soft")
    return p


PICTURES: tuple[Callable[[], Picture], ...] = (fleet, hosts, packet, steps, ring, tables, mtu, health, run, writers)


def drawn() -> dict[str, str]:
    """File name → what it has to contain."""
    return {f"{picture.__name__}.svg": str(picture()) for picture in PICTURES}


if __name__ == "__main__":
    for name, content in drawn().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
