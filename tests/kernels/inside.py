# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a virtual machine: runs its jobs with our own loader and says what came of each, line by line.

A job is a JSON file; work.py writes them. Nothing is compiled here but by the job that is about that: programs come
as bytecode, found by their settings.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections"))

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, attachments
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY,
    ARRAY_OF_MAPS,
    MMAPABLE,
    PERCPU_ARRAY,
    PERF_EVENT_ARRAY,
    PROG_ARRAY,
)
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.bytecode import load
from ansible_collections.katran.fleet.tests.conformance import model_program, model_vectors, provision
from ansible_collections.katran.fleet.tests.kernels.wire import comes_back

HERE = Path(__file__).resolve().parent
Job = Mapping[str, Any]
Outcome = dict[str, Any]

_LIFETIME = 3600
"""Seconds after which a machine ends itself, whatever became of those who started it."""
_PATIENCE = 60.0
"""Seconds that a byte may take on a connection inside the machine."""

compile_here = compiler.compile_program


def kept_program(name: str, macros: Mapping[str, int]) -> Bytecode:
    """What the machine was given for these settings."""
    store = json.loads((HERE / "programs.json").read_text())
    kept = HERE / "programs" / store[json.dumps([name, sorted(macros.items())])]
    return Bytecode.from_json(kept.read_text(), str(kept), name)


def timed_load(bytecode: Bytecode, maps: Mapping[str, bpf.Map]) -> Outcome:
    """Load a program once more: what that takes, and what the verifier says of it."""
    begin = time.monotonic()
    descriptor = load(bytecode, {name: opened.fd for name, opened in maps.items()})
    seconds = time.monotonic() - begin
    processed = bpf.program_info(descriptor).verified_instructions
    os.close(descriptor)
    return {
        "instructions": len(bytecode.instructions) // 8,
        "processed": processed,
        "load_ms": round(seconds * 1000),
        "passed": 0,
        "vectors": 0,
        "wrong": [],
    }


# Packet vectors.


def wipe(opened: bpf.Map, cpu: int) -> None:
    """Bring a map back to what it was when it was made; in one of tables by CPU, only *cpu* has one."""
    info = opened.info
    if info.type in (PROG_ARRAY, PERF_EVENT_ARRAY):
        return
    if info.type == ARRAY_OF_MAPS:
        # Each access from here waits until no CPU runs a program: a hundred slots take a second.
        opened.delete(layout.u32(cpu))
    elif info.flags & MMAPABLE:
        with opened.mmap(writable=True) as values:
            values[:] = bytes(len(values))
    elif info.type in (ARRAY, PERCPU_ARRAY):
        opened.update_many([(layout.u32(index), bytes(opened.stride)) for index in range(info.entries)])
    else:
        opened.delete_many([key for key, _value in opened.items()])


def run_packets(balancer: provision.Balancer, packets: Sequence[dict[str, Any]]) -> list[str]:
    """The answers that are not those expected."""
    wrong = []
    for number, packet in enumerate(packets):
        difference = model_vectors.compare(packet, *balancer.run(base64.b64decode(packet["in"])))
        if difference:
            wrong.append(f"[{number}] {difference}")
    return wrong


def combination(job: Job) -> Outcome:
    """Every set of the job through one program, which stays loaded: between sets its maps are emptied.

    Where a set says so, this CPU has a connection table of its own.
    """
    # The rings' map has room for the VIPs it is made with.
    vips = [{"address": "192.0.2.1", "port": port, "protocol": "tcp"} for port in range(1, job["vips"] + 1)]
    with (
        model_program.one_cpu() as cpu,
        contextlib.closing(provision.provision({"balancer": job["balancer"], "vips": vips})) as balancer,
    ):
        found = timed_load(kept_program(*job["program"]), balancer.maps)
        for entry in job["sets"]:
            for opened in balancer.maps.values():
                wipe(opened, cpu)
            balancer.reals.clear()
            balancer.vips.clear()
            wrong = run_set(balancer, job["balancer"], entry, cpu)
            vectors = sum(len(link["packets"]) for link in entry["links"])
            found["vectors"] += vectors
            found["passed"] += vectors - min(vectors, len(wrong))
            found["wrong"] += [f"{entry['name']}: {text}" for text in wrong]
    return found


def run_set(balancer: provision.Balancer, options: Job, entry: Job, cpu: int) -> list[str]:
    """One set and what it follows: wrong answers, then wrong counters and tables."""
    wrong = []
    if entry["own_table"]:
        balancer.flow_table(cpu=cpu).close()
    if "flow_debug_maps" in balancer.maps:
        balancer.flow_table("flow_debug_maps", cpu).close()
    for number, link in enumerate(entry["links"]):
        scenario = {**link["scenario"], "balancer": options}
        if number:
            model_program.reprovision(balancer, scenario)
        else:
            provision.fill(balancer, scenario)
        model_program.load_tables(balancer, link["tables"])
        wrong += run_packets(balancer, link["packets"])
    difference = model_vectors.compare_counters(entry["counters"], model_program.counters(balancer))
    if difference:
        wrong.append(f"counters\n{difference}")
    flows = model_program.flows(balancer, cpu if entry["own_table"] else None)
    if {key.hex(): list(value) for key, value in flows.items()} != entry["flows"]:
        wrong.append("the connection table holds other flows")
    return wrong


def recorded(job: Job) -> Outcome:
    """A set, after those it follows, as it was recorded: through a program with its own settings."""
    with contextlib.closing(provision.provision(job["links"][0]["scenario"])) as balancer:
        found = timed_load(kept_program(*job["program"]), balancer.maps)
        for number, link in enumerate(job["links"]):
            if number:
                model_program.reprovision(balancer, link["scenario"])
            model_program.load_tables(balancer, link["tables"])
            wrong = run_packets(balancer, link["packets"])
            found["vectors"] += len(link["packets"])
            found["passed"] += len(link["packets"]) - len(wrong)
            found["wrong"] += wrong
    return found


# The programs beside the balancer.


def count(found: Outcome, right: bool, what: str) -> None:
    found["vectors"] += 1
    found["passed"] += right
    if not right:
        found["wrong"].append(what)


@contextlib.contextmanager
def small(name: str, specs: provision.Specs) -> Iterator[tuple[provision.Small, Outcome]]:
    """A loaded program with its maps, and an outcome to fill."""
    with contextlib.closing(provision.load_small(name, specs)) as loaded:
        yield loaded, timed_load(kept_program(name, {}), loaded.maps)


def decap(job: Job) -> Outcome:
    """What a balancer sends comes out of a real's program as it came in at the balancer."""
    with small("decap", provision.DECAP_MAPS) as (loaded, found):
        for address in job["vips"]:
            loaded.maps["decap_vips"].update(layout.pack_address(address), layout.u32(1))
        provision.fill_sources(loaded.maps, "decap", ("0.0.0.0/0", "::/0"))
        for packet in job["packets"]:
            answer = bpf.test_run(loaded.prog_fd, base64.b64decode(packet["in"]))
            right = provision.ACTIONS[answer.value] == "XDP_PASS" and answer.data == base64.b64decode(packet["out"])
            count(found, right, f"{packet['description']}: {answer}")
        counted = sum(loaded.counters("decap_counters")[:2])
        count(found, counted == job["stripped"], f"{counted} packets counted, not {job['stripped']}")
    return found


def healthcheck(job: Job) -> Outcome:
    """Packets with marks; the two bytes of a GUE source port that is drawn by lot do not count."""
    with contextlib.closing(provision.provision_healthcheck(job["scenario"])) as loaded:
        found = timed_load(kept_program(*job["program"]), loaded.maps)
        for packet in job["packets"]:
            action, frame, mark = provision.run_tc(loaded, base64.b64decode(packet["in"]), packet["mark"])
            expected = bytearray(base64.b64decode(packet["out"]))
            if packet["lot"] and len(frame) == len(expected):
                at = slice(packet["lot"], packet["lot"] + 2)
                expected[at] = frame[at]
            right = (action, frame) == (packet["action"], bytes(expected))
            count(found, right, f"{packet['description']}: {action} {frame.hex()}, mark {mark}")
    return found


def chain(_job: Job) -> Outcome:
    """Program root passes where no slot is taken, and runs packet_counter from any of its slots; that one counts."""
    frame = bytes(64)
    with (
        small("root", provision.ROOT_MAPS) as (root, found),
        small("packet_counter", provision.COUNTER_MAPS) as (counter, counting),
    ):
        for slot in (None, 0, 1, 2):
            for enabled in (0, 1):
                counter.maps["ctl_array"].update(layout.u32(0), layout.u32(enabled))
                if slot is not None:
                    root.maps["root_array"].update(layout.u32(slot), layout.u32(counter.prog_fd))
                before = counter.counters("cntrs_array")[0]
                answer = bpf.test_run(root.prog_fd, frame)
                counted = counter.counters("cntrs_array")[0] - before
                right = (answer.value, answer.data, counted) == (2, frame, int(enabled and slot is not None))
                count(found, right, f"slot {slot}, enabled {enabled}: {answer}, counted {counted}")
                if slot is not None:
                    root.maps["root_array"].delete(layout.u32(slot))
    return found | {"also": {"packet_counter": counting}}


def server_id_option(_job: Job) -> Outcome:
    """A connection to this machine itself: the server names itself, the client echoes that, the server reads it."""
    group = Path("/tmp/cgroup")
    group.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(group)], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with small("server_id_option", provision.OPTION_MAPS) as (loaded, found):
        loaded.maps["server_id_own"].update(layout.u32(0), layout.u32(0x01020304))
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        attach_to_cgroup(directory, loaded.prog_fd)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            server.settimeout(_PATIENCE)
            client.settimeout(_PATIENCE)
            accepted, _address = server.accept()
            with accepted:
                accepted.settimeout(_PATIENCE)
                client.sendall(b"x")
                accepted.recv(1)
        os.close(directory)
        # set: on the SYN-ACK, and by the client from then on; read: by the client, and by the server.
        counted = loaded.counters("server_id_counters")
        count(found, counted == (2, 2, 0, 0), f"set, read, missing, wrong: {counted}")
    return found


def attach_to_cgroup(directory: int, descriptor: int) -> None:
    """bpf(2) PROG_ATTACH as sock_ops; it goes when this machine does."""
    prog_attach, sock_ops = 8, 3
    bpf._bpf(prog_attach, struct.pack("=IIII", directory, descriptor, sock_ops, 0))


# Interfaces.


def interfaces(job: Job) -> Outcome:
    """Native attachment on veth and virtio_net: attach, replace, refuse, answer a frame from the wire, detach."""
    subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"], check=True)
    for name in ("eth0", "eth1", "veth0", "veth1"):
        subprocess.run(["ip", "link", "set", name, "up", "promisc", "on"], check=True)
    found: Outcome = {"passed": 0, "vectors": 0, "wrong": []}
    with (
        contextlib.closing(provision.provision(job["scenario"])) as balancer,
        small("packet_counter", provision.COUNTER_MAPS) as (counter, _counting),
        Interfaces() as links,
    ):
        # A veth takes frames from XDP_TX at the other end only while it has a program itself.
        links.replace("veth0", counter.prog_fd, "native", None)
        kept = refused(links, "veth0", balancer.prog_fd, None) and attached("veth0", counter.prog_fd)
        count(found, kept, "veth0: where no program is expected, one that is there stays")
        for near, far in (("veth0", "veth1"), ("eth0", "eth1")):
            try_interface(links, far, (counter.prog_fd, balancer.prog_fd), found)
            for packet in job["packets"]:
                expected = base64.b64decode(packet["out"])
                answered = comes_back(near, base64.b64decode(packet["in"]), expected.__eq__)
                count(found, answered, f"{far}: {packet['description']} is not answered as in a test run")
            links.replace(far, -1, "native", balancer.prog_fd)
            count(found, far not in attachments([far]), f"{far}: detached")
    return found


def try_interface(links: Interfaces, name: str, programs: tuple[int, int], found: Outcome) -> None:
    """Leaves the second program attached."""
    first, second = programs
    count(found, name not in attachments([name]), f"{name}: no program at first")
    links.replace(name, first, "native", None)
    count(found, attached(name, first), f"{name}: attached")
    kept = refused(links, name, second, second) and attached(name, first)
    count(found, kept, f"{name}: a program that is not the one expected stays")
    links.replace(name, second, "native", first)
    count(found, attached(name, second), f"{name}: replaced")


def attached(name: str, descriptor: int) -> bool:
    now = attachments([name]).get(name)
    return now is not None and (now.mode, now.program_id) == ("native", bpf.program_info(descriptor).id)


def refused(links: Interfaces, name: str, descriptor: int, expected: int | None) -> bool:
    try:
        links.replace(name, descriptor, "native", expected)
    except ProgramError:
        return True
    return False


def life(job: Job) -> Outcome:
    """A balancer's life by the engine; see life.py."""
    # The modules' part of the engine, and pyroute2, cost seconds: only where they are used.
    from ansible_collections.katran.fleet.tests.kernels.life import live

    found: Outcome = {"passed": 0, "vectors": 0, "wrong": []}
    sources = str(HERE / "collections/ansible_collections/katran/fleet/bpf")
    live(job, sources, kept_program, lambda right, what: count(found, right, what))
    return found


def real(_job: Job) -> Outcome:
    """A real's life by the engine; see real.py."""
    from ansible_collections.katran.fleet.tests.kernels.real import live

    found: Outcome = {"passed": 0, "vectors": 0, "wrong": []}
    sources = str(HERE / "collections/ansible_collections/katran/fleet/bpf")
    live(sources, kept_program, lambda right, what: count(found, right, what))
    return found


def compile_it(job: Job) -> Outcome:
    """Compile with this machine's bcc, whose kernel headers are none, and load the result."""
    sources = str(HERE / "collections/ansible_collections/katran/fleet/bpf")
    begin = time.monotonic()
    made = compile_here(sources, *job["program"])
    seconds = time.monotonic() - begin
    given = kept_program(*job["program"])
    with contextlib.closing(provision.provision({"balancer": job["balancer"], "vips": []})) as balancer:
        found = timed_load(made, balancer.maps) | {"compile_seconds": round(seconds, 1)}
    same = (made.maps, made.instructions) == (given.maps, given.instructions)
    return found | {"same": same}


JOBS: dict[str, Callable[[Job], Outcome]] = {
    "combination": combination,
    "recorded": recorded,
    "decap": decap,
    "healthcheck": healthcheck,
    "chain": chain,
    "server_id_option": server_id_option,
    "interfaces": interfaces,
    "life": life,
    "real": real,
    "compile": compile_it,
}


def main() -> None:
    with open(sys.argv[1], "w", encoding="ascii") as words:

        def say(word: Outcome) -> None:
            words.write(json.dumps(word) + "\n")
            words.flush()

        say({"kernel": os.uname().release, "seconds": float(Path("/proc/uptime").read_text().split()[0])})
        compiler.compile_program = lambda _sources, name, macros: kept_program(name, macros)
        for path in sorted(HERE.glob("job-*.json")):
            job = json.loads(path.read_text())
            begin = time.monotonic()
            try:
                found = JOBS[job["kind"]](job)
                found["wrong"], found["wrongs"] = found["wrong"][:5], len(found["wrong"])
            except ProgramError as error:
                found = {"error": str(error)}
            except Exception:  # noqa: BLE001  # whatever a job dies of, the next one runs
                found = {"error": traceback.format_exc()}
            say({"job": job["name"], "kind": job["kind"], "seconds": round(time.monotonic() - begin, 1)} | found)
        say({"end": True})


def end(*_signal: object) -> None:
    """With -no-reboot the emulator ends where a machine would start anew."""
    ctypes.CDLL(None).reboot(0x01234567)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, end)
    signal.alarm(_LIFETIME)
    try:
        main()
    finally:
        end()
