# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes from the death of a service until no ring leads there, and back, trial after trial.

Everything is measured from outside: the moment that a service ends, the slots of every balancer's rings, the moment
that it answers again.
"""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fleetlab import cgroup
from fleetlab.live import Rings, rings_of
from fleetlab.plan import Host, Lab, LabError
from fleetlab.runs import on_host
from fleetlab.system import network, run

PORT = 80
LOOK_SECONDS = 0.01
LONGEST = 30.0
STALL_SECONDS = 0.1
"""Ten looks: a process that is kept from running for so long is not alone."""

# What a real drops when it is silent: packets are decapsulated before netfilter sees them.
SILENCE = "table inet lab_silence { chain input { type filter hook prerouting priority -300; tcp dport 80 drop; }; }"


@dataclass
class Reaction:
    """Seconds of each trial. `out`: until the last slot was gone; `back`: from its first answer until every ring.

    `stalled`: as long the machine kept even the watcher waiting in that trial, beyond its looks.
    """

    way: str
    out: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    stalled: list[float] = field(default_factory=list)

    def worst(self, found: Sequence[float]) -> float:
        """The longest, without the machine's own stalls."""
        return max(seconds - stall for seconds, stall in zip(found, self.stalled, strict=True))

    def __str__(self) -> str:
        def told(found: Sequence[float]) -> str:
            return f"median {sorted(found)[len(found) // 2]:.2f} s, worst {max(found):.2f} s" if found else "none"

        stalls = f"the machine stalled for {sum(self.stalled):.2f} s in all"
        return f"{self.way}: {len(self.out)} trials; out: {told(self.out)}; back: {told(self.back)}; {stalls}"


def refuse(lab: Lab, host: Host) -> None:
    """End the real's web server as a crash would: its port refuses from then on."""
    (cgroup.host_group(lab, host) / "payload/system.slice/nginx.service/cgroup.kill").write_text("1", encoding="ascii")


def serve(lab: Lab, host: Host) -> None:
    """Start it again."""
    on_host(lab, host.name, "systemctl reset-failed nginx; systemctl start nginx")


def silence(lab: Lab, host: Host) -> None:
    """Have the real answer nothing on the port, not even a refusal."""
    with network(lab.namespace_path(host)):
        run(["nft", "-f", "-"], SILENCE)


def speak(lab: Lab, host: Host) -> None:
    """End that."""
    with network(lab.namespace_path(host)):
        run(["nft", "delete", "table", "inet", "lab_silence"])


WAYS: dict[str, tuple[Callable[[Lab, Host], None], Callable[[Lab, Host], None]]] = {
    "refuses": (refuse, serve),
    "silent": (silence, speak),
}


def _answers(host: Host) -> bool:
    """Whether the real's web server takes connections; to be asked in the router's namespace."""
    with socket.socket(socket.AF_INET) as one:
        one.settimeout(0.2)
        return one.connect_ex((host.ipv4, PORT)) == 0


def _until(true: Callable[[], bool], what: str) -> tuple[float, float]:
    """(when it became true, seconds of stalls until then). LabError where it does not."""
    last = time.monotonic()
    end, stalled = last + LONGEST, 0.0
    while not true():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {LONGEST:g} s")
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        stalled += now - last if now - last > STALL_SECONDS else 0.0
        last = now
    return time.monotonic(), stalled


def trial(
    lab: Lab, rings: dict[str, Rings], host: Host, way: str, random_: random.Random
) -> tuple[float, float, float]:
    """Seconds until it was out of every ring, until it was back in every one, and of the machine's stalls."""
    fail, mend = WAYS[way]
    numbers = {name: each.numbers(PORT) for name, each in rings.items()}
    ids = {name: each.ids((host.ipv4, host.ipv6)) for name, each in rings.items()}

    def in_any() -> bool:
        return any(each.has(numbers[name], ids[name]) for name, each in rings.items())

    def in_each() -> bool:
        # Each VIP has reals of its own family alone, so one of the two ids.
        return all(each.has([number], ids[name]) for name, each in rings.items() for number in numbers[name])

    _until(in_each, f"{host.name} in every ring")
    # Any phase of the checks.
    time.sleep(random_.random())
    began = time.monotonic()
    fail(lab, host)
    gone, stalled = _until(lambda: not in_any(), f"{host.name} {way}: out of every ring")
    time.sleep(random_.random() / 2)
    starter = threading.Thread(target=mend, args=(lab, host))
    starter.start()
    with network(lab.namespace_path(lab.host("router"))):
        answered, _waiting = _until(lambda: _answers(host), f"{host.name} answers again")
    back, more = _until(in_each, f"{host.name} back in every ring")
    starter.join()
    return gone - began, back - answered, max(stalled, more)


def measure(lab: Lab, way: str, trials: int, seed: int = 1) -> Reaction:
    """Trials at all reals at once, each with phases of its own. The floor has to let all of them go."""
    found, lock, left = Reaction(way), threading.Lock(), iter(range(trials))

    def work(host: Host) -> None:
        random_ = random.Random(f"{seed} {host.name} {way}")
        with rings_of(lab) as rings:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                out, back, stalled = trial(lab, rings, host, way, random_)
                with lock:
                    found.out.append(out)
                    found.back.append(back)
                    found.stalled.append(stalled)

    reals = lab.with_role("real")
    with ThreadPoolExecutor(len(reals)) as pool:
        for each in [pool.submit(work, host) for host in reals]:
            each.result()
    return found


def mend(lab: Lab) -> None:
    """Whatever a trial left: every real serves and speaks."""
    for host in lab.with_role("real"):
        with network(lab.namespace_path(host)):
            subprocess.run(["nft", "delete", "table", "inet", "lab_silence"], capture_output=True, check=False)
        serve(lab, host)
