# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run inside a machine: programs compiled here, packets, and the answers that they must give.

The answers to a combination of features are the model's, which agrees with every recorded packet (tests/conformance):
so each set of packets also runs through programs that it was not recorded with.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import build_frame, parse_flows
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.plugins.module_utils._program.sources import source_digest
from ansible_collections.katran.fleet.tests.conformance.model import SECOND, Model, Settings
from ansible_collections.katran.fleet.tests.conformance.model_tc import UNSPEC, HealthcheckModel
from ansible_collections.katran.fleet.tests.conformance.model_vectors import PUBLISHED, Sets, chain, load_sets
from ansible_collections.katran.fleet.tests.conformance.own_vectors import own_sets
from ansible_collections.katran.fleet.tests.conformance.provision import Settings as ProgramSettings
from ansible_collections.katran.fleet.tests.kernels.debian import ROOT, locked_cache

Job = dict[str, Any]
Macros = Mapping[str, int]

_SIZES = {"vips": 64, "cidr_vips": 16, "reals": 256, "ring": 1021, "source_routes": 64, "server_ids": 1 << 18}
_SIZES |= {"flows": 1000, "global_flows": 100}
_OPTIONS = {"gateway_mac": "02:00:00:00:00:fe", "source_ipv4": "203.0.113.1", "source_ipv6": "2001:db8:f::1"}
_REALS = {1: "10.0.0.1", 2: "fd00::1"}

# Own sets whose settings, not their features, are what they are about. Two more depend on how much time passes
# between packets, which an emulated machine does not know.
_ABOUT_SETTINGS = ("settings_ipip", "settings_gue", "too_big_max_frame")


@dataclass(frozen=True)
class Combination:
    """A balancer to try: its features, encapsulation, and whether it decapsulates for anybody."""

    features: frozenset[str]
    encapsulation: str
    decap_any: bool = False

    @property
    def name(self) -> str:
        every = self.features == frozenset(FEATURES)
        text = "all" if every else "+".join(sorted(self.features)) or "none"
        return f"{text}{' (decap_any)' * self.decap_any}, {self.encapsulation}"

    @property
    def options(self) -> dict[str, Any]:
        return _OPTIONS | {
            "encapsulation": self.encapsulation,
            "features": sorted(self.features),
            "decap_any": self.decap_any,
            "sizes": _SIZES,
        }


def none_and_all() -> list[Combination]:
    return [
        Combination(frozenset(features), encapsulation)
        for encapsulation in ("ipip", "gue")
        for features in ((), FEATURES)
    ]


def singles() -> list[Combination]:
    found = []
    for encapsulation in ("ipip", "gue"):
        found += [Combination(frozenset((feature,)), encapsulation) for feature in FEATURES]
        found.append(Combination(frozenset(("inline_decap",)), encapsulation, decap_any=True))
    return found


# Jobs: see inside.py for what becomes of each kind.


def combination_job(combination: Combination) -> Job:
    """Every set whose features the combination has."""
    sets: list[Job] = []
    seen = set()
    vips = 1
    for source in (own_sets(), load_sets(PUBLISHED)):
        followed = {entry.get("follows") for entry in source.values()}
        for name in source:
            links = [source[link] for link in chain(source, name)]
            wanted = {feature for link in links for feature in link["scenario"]["balancer"].get("features", ())}
            if name in followed or not wanted <= combination.features:
                continue
            entry = _answered(links, combination, own_table=len(sets) % 2 == 1)
            # The same packets were often recorded for both encapsulations.
            text = json.dumps(entry["links"], sort_keys=True)
            if text not in seen:
                seen.add(text)
                sets.append({"name": name} | entry)
                vips = max(vips, sum(len(link["scenario"]["vips"]) for link in links))
    options = combination.options
    return {"kind": "combination", "name": combination.name, "balancer": options, "vips": vips, "sets": sets}


def _answered(links: Sequence[Mapping[str, Any]], combination: Combination, *, own_table: bool) -> Job:
    """A set and those it follows on another balancer than they were recorded on, as the model answers them."""
    model = Model(Settings(), build_ring)
    model.has_cpu_table = own_table
    now = 10 * SECOND
    answered = []
    for link in links:
        scenario = {**link["scenario"], "balancer": combination.options}
        model.provision(scenario)
        model.load_tables(link.get("tables", {}))
        packets = []
        for packet in link["packets"]:
            now += 1000
            action, frame = model.run(base64.b64decode(packet["in"]), now)
            packets.append(_packet(packet["description"], packet["in"], action, frame))
        tables = link.get("tables", {})
        answered.append({"scenario": _without_balancer(scenario), "tables": tables, "packets": packets})
    flows = {key.hex(): list(value) for key, value in model.flows().items()}
    return {"links": answered, "counters": model.counters(), "flows": flows, "own_table": own_table}


def _without_balancer(scenario: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scenario.items() if name != "balancer"}


def _packet(description: str, sent: str, action: str, frame: bytes) -> Job:
    return {"description": description, "in": sent, "action": action, "out": base64.b64encode(frame).decode()}


def recorded_jobs() -> list[Job]:
    """Published sets as they were recorded, and own ones that are about settings."""
    published, own = load_sets(PUBLISHED), own_sets()
    jobs = [_recorded_job(f"published set {name}", published, name) for name in published]
    jobs += [_recorded_job(f"own set {name}", own, name) for name in _ABOUT_SETTINGS]
    for name, entry in load_sets(PUBLISHED, "healthcheck").items():
        # Packet i has mark i.
        packets = [packet | {"mark": mark, "lot": 0} for mark, packet in enumerate(entry["packets"])]
        scenario = {key: entry["scenario"][key] for key in ("healthcheck", "healthcheck_destinations")}
        jobs.append({"kind": "healthcheck", "name": f"published set {name}", "scenario": scenario, "packets": packets})
    return jobs


def _recorded_job(title: str, source: Sets, name: str) -> Job:
    links = [
        {"scenario": link["scenario"], "tables": link.get("tables", {}), "packets": link["packets"]}
        for link in (source[each] for each in chain(source, name))
    ]
    return {"kind": "recorded", "name": title, "links": links}


def other_jobs() -> list[Job]:
    """The programs beside the balancer."""
    return [
        _decap_job(),
        _healthcheck_job("ipip"),
        _healthcheck_job("gue"),
        {"kind": "chain", "name": "root and packet_counter"},
        {"kind": "server_id_option", "name": "server_id_option"},
    ]


def _decap_job() -> Job:
    own = own_sets()
    packets, vips = [], set()
    for name in ("ipip", "gue"):
        vips |= {vip["address"] for vip in own[name]["scenario"]["vips"]}
        for packet in own[name]["packets"]:
            sent, received = base64.b64decode(packet["out"]), base64.b64decode(packet["in"])
            # An echo reply is as long as the request; what is encapsulated is longer.
            if packet["action"] == "XDP_TX" and len(sent) > len(received):
                inner = sent[:12] + received[12:]
                packets.append(_packet(packet["description"], packet["out"], "XDP_PASS", inner))
    return {"kind": "decap", "name": "decap", "vips": sorted(vips), "packets": packets, "stripped": len(packets)}


def _healthcheck_job(encapsulation: str) -> Job:
    macs = {"source_mac": "02:00:00:00:00:01", "gateway_mac": "02:00:00:00:00:fe"}
    sources = {name: _OPTIONS[name] for name in ("source_ipv4", "source_ipv6")}
    scenario = {
        "healthcheck": {"encapsulation": encapsulation, "gue_port": 6080} | macs | sources,
        "healthcheck_destinations": [{"mark": mark, "real": real} for mark, real in _REALS.items()],
    }
    model = HealthcheckModel.from_scenario(scenario)
    packets = []
    for packet in own_sets()["ipip"]["packets"]:
        frame = base64.b64decode(packet["in"])
        ipv6 = frame[12:14] == b"\x86\xdd"
        # An IPv6 packet cannot go to an IPv4 real, and marked packets are the host's own, so whole.
        for mark in (0, 2) if ipv6 else (0, 1, 2):
            if packet["action"] != "XDP_TX" or len(frame) > 1300:
                continue
            action, out = model.run(frame, mark)
            lot = 0 if action == UNSPEC or encapsulation == "ipip" else {1: 34, 2: 54}[mark]
            what = f"mark {mark}: {packet['description']}"
            packets.append(_packet(what, packet["in"], action, out) | {"mark": mark, "lot": lot})
    return {"kind": "healthcheck", "name": f"healthcheck, {encapsulation}", "scenario": scenario, "packets": packets}


def interfaces_job() -> Job:
    """Some recorded packets, to be sent over wires."""
    entry = own_sets()["ipip"]
    sent = [packet for packet in entry["packets"] if packet["action"] == "XDP_TX"][:3]
    return {"kind": "interfaces", "name": "interfaces", "scenario": entry["scenario"], "packets": sent}


_LIFE_FEATURES = ("cidr_vips", "global_lru", "inline_decap", "source_routing", "udp_flow_migration")


def life_job() -> Job:
    """A balancer's steps, its resources, and a packet that it sends on."""
    options = {**module_defaults(), **_OPTIONS, "features": list(_LIFE_FEATURES), "sizes": _SIZES}
    steps = [
        options,
        {**options, "features": [*_LIFE_FEATURES, "vlan"]},
        {**options, "features": [*_LIFE_FEATURES, "vlan"], "sizes": {**_SIZES, "vips": 96, "flows": 1500}},
    ]
    reals = [{"address": f"10.0.0.{number}", "weight": number} for number in range(1, 5)]
    vips = [
        {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": reals},
        {"address": "2001:db8::1", "port": 80, "protocol": "tcp", "reals": [{"address": "fd00::1"}]},
        {"address": "203.0.113.0/24", "port": 0, "protocol": "udp", "reals": reals},
        {"address": "2001:db8:1::/48", "port": 0, "protocol": "udp", "reals": [{"address": "fd00::1"}]},
        {
            "address": "198.51.100.2",
            "port": 53,
            "protocol": "udp",
            "flags": ["udp_flow_migration"],
            "reals": reals,
            "down_reals": ["10.0.0.9"],
        },
    ]
    resources = {
        "vips": vips,
        "source_routes": [
            *({"prefix": f"192.0.{number}.0/24", "real": "10.0.1.1"} for number in range(20)),
            {"prefix": "2001:db8:9::/48", "real": "fd00::2"},
        ],
        "server_ids": [{"id": number, "real": f"10.0.2.{number % 4 + 1}"} for number in range(1, 3000, 97)],
        "decap_destinations": [{"address": "203.0.113.1", "egress": True}],
    }
    ends = {"source": "192.0.2.7", "destination": "198.51.100.1", "source_port": 31337, "destination_port": 80}
    frame = build_frame(parse_flows([{**ends, "protocol": "tcp"}])[0], frozenset())
    return {"kind": "life", "name": "life of a balancer", "steps": steps, "resources": resources, "frame": frame.hex()}


def module_defaults() -> dict[str, Any]:
    """What module balancer takes where it is not told."""
    return {name: option.get("default") for name, option in BALANCER.items()}


def real_job() -> Job:
    """A real's ways to strip tunnels."""
    return {"kind": "real", "name": "life of a real"}


def compile_job(combination: Combination) -> Job:
    return {"kind": "compile", "name": f"compiled inside: {combination.name}", "balancer": combination.options}


# The archive.


def programs_of(job: Job) -> list[tuple[str, Macros]]:
    """(program, macros) of what a job loads."""
    kind = job["kind"]
    if kind in ("combination", "compile"):
        return [("balancer", _macros(job["balancer"]))]
    if kind == "life":
        return [("balancer", _macros(step)) for step in job["steps"]]
    if kind == "recorded":
        return [("balancer", _macros(job["links"][0]["scenario"]["balancer"]))]
    if kind == "real":
        port = {"GUE_PORT": 6080}
        return [("decap_tunnel", port | {"BEHIND_TUNNEL": 1}), ("decap_tc", port | {"BY_TC": 1}), ("decap", port)]
    if kind == "interfaces":
        return [("balancer", _macros(job["scenario"]["balancer"])), ("packet_counter", {})]
    if kind == "chain":
        return [("root", {}), ("packet_counter", {})]
    if kind == "healthcheck":
        options = job["scenario"]["healthcheck"]
        gue = options.get("encapsulation", "ipip") == "gue"
        return [(kind, {"ENCAP_GUE": int(gue), "GUE_PORT": options.get("gue_port", 6080)})]
    return [(kind, {})]


def _macros(options: Mapping[str, Any]) -> Macros:
    return balancer_macros(ProgramSettings.of(options))


def archive(jobs: Iterable[Job]) -> bytes:
    """A tar archive for machine.run: inside.py, the jobs, their programs, and what of the collection they use."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar, tempfile.TemporaryDirectory() as folder:
        # One state of the sources for all programs, whoever edits them meanwhile.
        sources = shutil.copytree(ROOT / "bpf", Path(folder) / "bpf")
        collection = "collections/ansible_collections/katran/fleet"
        tar.add(sources, f"{collection}/bpf")
        engine = ROOT / "plugins" / "module_utils"
        for path in engine.rglob("*.py"):
            tar.add(path, f"{collection}/plugins/module_utils/{path.relative_to(engine)}")
        for name in ("model.py", "model_program.py", "model_vectors.py", "provision.py"):
            tar.add(ROOT / "tests" / "conformance" / name, f"{collection}/tests/conformance/{name}")
        tar.add(Path(__file__).with_name("inside.py"), "inside.py")
        for name in ("life.py", "real.py", "wire.py"):
            tar.add(Path(__file__).with_name(name), f"{collection}/tests/kernels/{name}")
        tar.add(ROOT / "tests" / "engine" / "tunnelled.py", f"{collection}/tests/engine/tunnelled.py")
        store: dict[str, str] = {}
        for number, job in enumerate(jobs):
            loaded = programs_of(job)
            _add(tar, f"job-{number:03}.json", json.dumps(job | {"program": loaded[0]}))
            for name, macros in loaded:
                key = json.dumps([name, sorted(macros.items())])
                if key not in store:
                    store[key] = f"{len(store)}.json"
                    _add(tar, f"programs/{store[key]}", _compiled(str(sources), name, macros).to_json())
        _add(tar, "programs.json", json.dumps(store))
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _compiled(sources: str, name: str, macros: Macros) -> Bytecode:
    """Bytecode from the cache, where sources, settings and compiler are the same."""
    digest = source_digest(sources, name, macros)
    with locked_cache() as cache:
        kept = cache / f"bytecode-{digest}.json"
        if kept.is_file():
            os.utime(kept)
            return Bytecode.from_json(kept.read_text(), str(kept), name)
    made = compiler.compile_program(sources, name, macros)
    with locked_cache() as cache:
        unfinished = cache / f"unfinished-{kept.name}"
        unfinished.write_text(made.to_json())
        unfinished.rename(kept)
    return made
