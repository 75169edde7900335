# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module balancer, and how they are read."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from .addresses import prefix_fault, read_prefix, read_source
from .faults import Faults
from .features import FEATURES
from .map_specs import DEFAULT_SIZES, MAX_CPUS
from .options import SOURCE_DIR, Spec, parse_interfaces, read_mac
from .shape import is_number
from .sizes import read_sizes
from .snapshot import RootArray
from .sources import parse_sources


@dataclass(frozen=True)
class BalancerSettings:
    """The options of module balancer, validated. Sizes in entries, max_frame in bytes, udp_timeout in seconds."""

    interfaces: tuple[str, ...]
    mode: str
    encapsulation: str
    gue_port: int
    features: frozenset[str]
    source_ipv4: str
    source_ipv6: str
    source_prefix_ipv4: str
    source_prefix_ipv6: str
    gateway_mac: str
    copy_tos: bool
    decap_any: bool
    sizes: Mapping[str, int]
    max_frame: int
    max_new_flows: int
    udp_timeout: int
    forwarding_cores: tuple[int, ...] | str
    replace_foreign: bool
    root_array: RootArray | None = None
    numa: str = "auto"
    decap_sources: tuple[str, ...] = ()

    @property
    def tunnel_sources(self) -> tuple[str, ...]:
        """From where tunnels that end here are taken, as canonical prefixes."""
        return self.decap_sources or (self.source_prefix_ipv4, self.source_prefix_ipv6)

    def to_config(self) -> dict[str, t.Any]:
        """The options in the module's own form."""
        data = asdict(self)
        data["interfaces"] = list(self.interfaces)
        data["decap_sources"] = list(self.decap_sources)
        data["features"] = sorted(self.features)
        data["sizes"] = dict(self.sizes)
        if not isinstance(self.forwarding_cores, str):
            data["forwarding_cores"] = list(self.forwarding_cores)
        data["root_array"] = self.root_array._asdict() if self.root_array else None
        return data


BALANCER: Spec = {
    "state": {"type": "str", "choices": ["attached", "loaded", "rolled_back", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic", "auto"], "default": "native"},
    "source_dir": SOURCE_DIR,
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "gue_port": {"type": "int", "default": 6080},
    "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
    "source_ipv4": {"type": "str", "default": "auto"},
    "source_ipv6": {"type": "str", "default": "auto"},
    "source_prefix_ipv4": {"type": "str", "default": "172.16.0.0/16"},
    "source_prefix_ipv6": {"type": "str", "default": "100::/64"},
    "gateway_mac": {"type": "str", "default": "auto"},
    "copy_tos": {"type": "bool", "default": True},
    "decap_any": {"type": "bool", "default": False},
    "decap_sources": {"type": "list", "elements": "str", "default": []},
    "sizes": {
        "type": "dict",
        "default": {},
        "options": {name: {"type": "int", "default": size} for name, size in DEFAULT_SIZES.items()},
    },
    "max_frame": {"type": "int", "default": 1514},
    "max_new_flows": {"type": "int", "default": 125000},
    "udp_timeout": {"type": "int", "default": 30},
    "forwarding_cores": {"type": "raw", "default": "auto"},
    "numa": {"type": "str", "choices": ["auto", "none"], "default": "auto"},
    "root_array": {
        "type": "dict",
        "options": {"path": {"type": "path", "required": True}, "position": {"type": "int", "required": True}},
    },
    "accept_rehash": {"type": "bool", "default": False},
    "replace_foreign": {"type": "bool", "default": False},
    "end_rollback": {"type": "bool", "default": False},
}
"""The options, with the defaults of a first run."""

OF_A_RUN = ("state", "accept_rehash", "end_rollback")
"""The options that say what a run does. The others are settings: what a run does not name stays as it is."""

SETTINGS = tuple(name for name in BALANCER if name not in OF_A_RUN)


def _without_default(option: Mapping[str, t.Any]) -> dict[str, t.Any]:
    found = {name: value for name, value in option.items() if name != "default"}
    if "options" in found:
        found["options"] = {name: _without_default(each) for name, each in found["options"].items()}
    return found


KEEPING: Spec = {name: _without_default(each) if name in SETTINGS else each for name, each in BALANCER.items()}
"""The options as the module takes them: that a setting is not named, it has to see."""


def named_settings(params: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The settings that a run names."""
    named = {name: params[name] for name in SETTINGS if params.get(name) is not None}
    if "sizes" in named:
        named["sizes"] = {name: value for name, value in named["sizes"].items() if value is not None}
    return named


def with_kept(named: Mapping[str, t.Any], kept: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """All settings: those named, else those kept of the last run, else the defaults. Sizes one by one."""
    found = {name: kept.get(name, BALANCER[name].get("default")) for name in SETTINGS} | dict(named)
    found["sizes"] = {**kept.get("sizes", {}), **named.get("sizes", {})}
    # One comes instead of the other.
    if named.get("root_array") and "interfaces" not in named:
        found["interfaces"] = []
    elif named.get("interfaces") and "root_array" not in named:
        found["root_array"] = None
    return found


SOURCE_PREFIX_IPV6 = "100::/64"


def _in_range(params: Mapping[str, t.Any], name: str, low: int, high: int, faults: Faults) -> int:
    value = params[name]
    if not is_number(value, low, high):
        faults.add(name, f"{value} is not in {low} to {high}")
        return low
    return t.cast("int", value)


def _one_of(params: Mapping[str, t.Any], name: str, words: Sequence[str], faults: Faults) -> str:
    value = params[name]
    if value not in words:
        faults.add(name, f"{value} is none of {', '.join(words)}")
    return str(value)


def _read_source_prefix(params: Mapping[str, t.Any], name: str, ipv6: bool, length: int, faults: Faults) -> str:
    text = str(params[name] or SOURCE_PREFIX_IPV6)
    prefix = read_prefix(text)
    if isinstance(prefix, str):
        faults.add(name, prefix)
    elif prefix.address.ipv6 != ipv6 or prefix.length != length:
        faults.add(name, f"{text} is not an IPv{6 if ipv6 else 4} prefix of length {length}")
    elif fault := prefix_fault(prefix):
        faults.add(name, fault)
    else:
        return prefix.text
    return text


def _read_root_array(
    given: Mapping[str, t.Any] | None, interfaces: Sequence[t.Any], faults: Faults
) -> RootArray | None:
    if given is None:
        return None
    path, position = str(given.get("path")), given.get("position")
    if not path.startswith("/"):
        faults.add("root_array.path", f"{path} is not an absolute path")
    if not is_number(position, 0, 2):
        faults.add("root_array.position", f"{position} is not a position (0 to 2)")
    if interfaces:
        faults.add("root_array", "it comes instead of interfaces; give one of them")
    return RootArray(path, t.cast("int", position))


def _read_cores(value: t.Any, faults: Faults) -> tuple[int, ...] | str:
    if value == "auto":
        return "auto"
    items = value if isinstance(value, list) else str(value).split(",")
    cores: set[int] = set()
    for item in items:
        # As the kernel writes lists: 0-3,8.
        found = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", str(item), re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < MAX_CPUS:
            faults.add("forwarding_cores", f"{item} is not a CPU (0 to {MAX_CPUS - 1}), and not auto")
        cores.update(range(first, last + 1))
    if not items:
        faults.add("forwarding_cores", "it is empty: no CPU would have a connection table; list CPUs, or give auto")
    return tuple(sorted(cores))


def parse_settings(params: Mapping[str, t.Any]) -> BalancerSettings:
    """The options of module balancer. ConfigError lists all faults."""
    faults = Faults()
    mac = read_mac(params, "gateway_mac", faults)
    for feature in params["features"]:
        if feature not in FEATURES:
            faults.add("features", f"{feature} is none of {', '.join(FEATURES)}")
    settings = BalancerSettings(
        interfaces=parse_interfaces(params["interfaces"], faults),
        mode=_one_of(params, "mode", ("native", "generic", "auto"), faults),
        encapsulation=_one_of(params, "encapsulation", ("ipip", "gue"), faults),
        gue_port=_in_range(params, "gue_port", 1, 65535, faults),
        features=frozenset(params["features"]),
        source_ipv4=read_source(params, "source_ipv4", False, faults),
        source_ipv6=read_source(params, "source_ipv6", True, faults),
        source_prefix_ipv4=_read_source_prefix(params, "source_prefix_ipv4", False, 16, faults),
        source_prefix_ipv6=_read_source_prefix(params, "source_prefix_ipv6", True, 64, faults),
        gateway_mac=mac,
        copy_tos=params["copy_tos"],
        decap_any=params["decap_any"],
        sizes=read_sizes(params["sizes"], faults),
        max_frame=_in_range(params, "max_frame", 590, 65535, faults),
        max_new_flows=_in_range(params, "max_new_flows", 1, 1 << 31, faults),
        udp_timeout=_in_range(params, "udp_timeout", 1, 86400, faults),
        forwarding_cores=_read_cores(params["forwarding_cores"], faults),
        replace_foreign=params["replace_foreign"],
        root_array=_read_root_array(params.get("root_array"), params["interfaces"], faults),
        decap_sources=parse_sources(params.get("decap_sources") or (), "decap_sources", faults),
        numa=_one_of({"numa": params.get("numa", "auto")}, "numa", ("auto", "none"), faults),
    )
    if params.get("state", "attached") == "attached" and not settings.interfaces and not settings.root_array:
        faults.add("interfaces", "state attached needs at least one interface")
    faults.check()
    return settings


COMPILED = (
    "encapsulation",
    "gue_port",
    "features",
    "source_prefix_ipv4",
    "source_prefix_ipv6",
    "copy_tos",
    "decap_any",
    "max_frame",
    "max_new_flows",
    "udp_timeout",
)
"""The settings that go with a program; the others go with the host. Of `sizes`, all but those of tables of flows."""


def with_program_of(program: BalancerSettings, host: BalancerSettings) -> BalancerSettings:
    """The settings of one run that go with the program, and those of another that go with the host."""
    sizes = {**program.sizes, **{name: host.sizes[name] for name in ("flows", "global_flows")}}
    return replace(host, sizes=sizes, **{name: getattr(program, name) for name in COMPILED})
