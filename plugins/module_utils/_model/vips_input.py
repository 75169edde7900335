# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VIPs that a `config` and a state ask for, validated as a whole."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from . import layout
from .addresses import (
    Address,
    Prefix,
    address_order,
    ipv4_lookalike,
    prefix_fault,
    read_host,
    read_known_host,
    read_prefix,
    read_real_address,
)
from .check_values import ANNOUNCE_OPTIONS, CHECK_OPTIONS
from .checks_input import Values, read_announce, read_check, read_defaults
from .entries import Asked, Config
from .faults import Faults, shortened
from .features import FLAG_FEATURES, vip_features
from .limits import Limits
from .own_addresses import own_options, real_sentences
from .probe_rate import MAX_PROBES, check_rate
from .quic_lb_input import QUIC_LB_OPTIONS, check_room, check_use, read_quic_lb
from .resource import PURGE, UNREADY, Resource, Row
from .shape import Options, is_number, numbered
from .source_lists import capacity_faults, read_lists
from .vips import HASHES, MAX_WEIGHT, MORE_VIPS, REAL_STATES, Vip, VipKey, VipReal, sorted_flags, vips_from_config
from .written import OCTAL

UDP_FLAGS = ("quic", "udp_stable_routing", "udp_flow_migration")
"""The VIP flags that the program heeds for UDP alone."""


def _read_vip_key(entry: Mapping[str, t.Any], where: str, limits: Limits | None, faults: Faults) -> VipKey | None:
    """The key of an entry; `limits` None: of one that is to go, whatever the program can do."""
    text, port, protocol = entry.get("address"), entry.get("port"), entry.get("protocol")
    found: Prefix | Address | str
    if isinstance(text, str) and "/" in text:
        found = read_prefix(text)
        if isinstance(found, Prefix):
            if limits is not None and not limits.has("cidr_vips"):
                faults.add(f"{where}.address", f"{text} is a prefix, which needs feature cidr_vips")
            found = (prefix_fault(found) if limits is not None else None) or found
    else:
        found = read_known_host(text) if limits is None else read_host(text)
        if isinstance(found, Address):
            found = ipv4_lookalike(found) or found
    good = not isinstance(found, str)
    if isinstance(found, str):
        faults.add(f"{where}.address", found)
    if not is_number(port, 0, 65535):
        faults.add(f"{where}.port", f"{port} is not a port (0 to 65535)")
        good = False
    if not isinstance(protocol, str) or protocol not in layout.PROTOCOLS:
        faults.add(f"{where}.protocol", f"{protocol} is neither tcp nor udp")
        good = False
    if not good:
        return None
    return VipKey.at(t.cast("Address | Prefix", found), t.cast("int", port), t.cast("str", protocol))


def _read_reals(
    entries: Config, where: str, key: VipKey | None, old: Mapping[str, VipReal], limits: Limits, faults: Faults
) -> tuple[VipReal, ...]:
    """Reals as listed over what they were; `old` is empty where unmentioned options take their defaults."""
    found: dict[str, VipReal] = dict(old)
    seen: set[str] = set()
    refuse_ipv4 = key is not None and key.ipv6
    for index, entry in numbered(entries):
        address = read_host(entry.get("address"))
        if isinstance(address, str):
            faults.add(f"{where}.reals[{index}].address", address)
            continue
        name = address.text
        if name in seen:
            faults.add(f"{where}.reals[{index}].address", f"{name} is listed twice")
            continue
        seen.add(name)
        if refuse_ipv4 and not address.ipv6 and key:
            faults.add(f"{where}.reals[{index}].address", f"{name} is IPv4, but the VIP {key.address} is IPv6")
        base = old.get(name, _DEFAULT_REAL)
        weight, state, local = entry.get("weight"), entry.get("state"), entry.get("local")
        if weight is not None and not is_number(weight, 0, MAX_WEIGHT):
            faults.add(f"{where}.reals[{index}].weight", f"{weight} is not a weight (0 to {MAX_WEIGHT})")
        if state is not None and state not in REAL_STATES:
            faults.add(f"{where}.reals[{index}].state", f"{state} is none of {', '.join(REAL_STATES)}")
        if local and not limits.has("local_delivery"):
            faults.add(f"{where}.reals[{index}].local", "needs feature local_delivery")
        if _is_itself(key, address) and not (base.local if local is None else local):
            faults.add(f"{where}.reals[{index}].address", _ITSELF.format(name))
        found[name] = VipReal(
            name,
            base.weight if weight is None else weight,
            base.state if state is None else state,
            base.local if local is None else bool(local),
        )
    return tuple(sorted(found.values(), key=lambda real: address_order(real.address)))


_DEFAULT_REAL = VipReal("")
_ITSELF = "{} is the VIP itself; a real has an address of its own"


def _is_itself(key: VipKey | None, real: Address) -> bool:
    """Whether a real's address is the VIP's: its packets would come back to the balancer."""
    return key is not None and key.prefixlen is None and key.ipv6 == real.ipv6 and key.packed == real.packed


def _read_vip(
    entry: Mapping[str, t.Any], where: str, base: Vip, limits: Limits, defaults: Values, faults: Faults
) -> Vip:
    """One entry over what it was. `defaults`: of checks."""
    key = base.key
    flags, kind, reals, down = entry.get("flags"), entry.get("hash"), entry.get("reals"), entry.get("down_reals")
    if flags is not None:
        unknown = [flag for flag in flags if flag not in layout.VIP_FLAGS]
        for flag in unknown:
            faults.add(f"{where}.flags", f"{flag} is none of {', '.join(layout.VIP_FLAGS)}")
        for flag in flags:
            feature = FLAG_FEATURES.get(flag)
            if feature and not limits.has(feature):
                faults.add(f"{where}.flags", f"{flag} needs feature {feature}")
        flags = sorted_flags(flag for flag in flags if flag in layout.VIP_FLAGS)
    if kind is not None and kind not in HASHES:
        faults.add(f"{where}.hash", f"{kind} is none of {', '.join(HASHES)}")
        kind = None
    if reals is None:
        new_reals = base.reals
    else:
        new_reals = _read_reals(reals, where, key, {real.address: real for real in base.reals}, limits, faults)
    if down is None:
        new_down = base.down_reals
    else:
        if down and not limits.has("udp_flow_migration"):
            faults.add(f"{where}.down_reals", "needs feature udp_flow_migration")
        new_down = tuple(sorted(_read_down_reals(down, where, key, faults), key=address_order))
    allow, deny = read_lists(entry, where, base, key.ipv6, limits.has("source_filter"), faults)
    check, announce = base.check, base.announce
    if entry.get("check") is not None:
        check = read_check(entry["check"], f"{where}.check", key, defaults, faults)
    if entry.get("announce") is not None:
        announce = read_announce(entry["announce"], f"{where}.announce", faults)
    new_flags = base.flags if flags is None else flags
    quic_lb = base.quic_lb
    if entry.get("quic_lb") is not None:
        if entry["quic_lb"] and not limits.has("quic_lb"):
            faults.add(f"{where}.quic_lb", "needs feature quic_lb")
        quic_lb = read_quic_lb(entry["quic_lb"], f"{where}.quic_lb", key.ipv6, key.address, faults)
    return Vip(key, new_flags, kind or base.hash, new_reals, new_down, check, announce, allow, deny, quic_lb)


def _read_down_reals(texts: Sequence[t.Any], where: str, key: VipKey, faults: Faults) -> set[str]:
    found: set[str] = set()
    for index, text in enumerate(texts):
        address = read_real_address(text, f"{where}.down_reals[{index}]", faults)
        if address is None:
            continue
        if address.text in found:
            faults.add(f"{where}.down_reals[{index}]", f"{address.text} is listed twice")
        if _is_itself(key, address):
            faults.add(f"{where}.down_reals[{index}]", _ITSELF.format(address.text))
        found.add(address.text)
    return found


def resolve_vips(
    before: Mapping[VipKey, Vip], asked: Asked, min_active: int = 0
) -> tuple[dict[VipKey, Vip], list[str]]:
    """The VIPs after applying what is asked to those before, and warnings.

    Each listed VIP needs at least `min_active` reals that take new flows. ConfigError lists all faults.
    """
    entries, limits = asked.entries("vips"), asked.limits
    faults = Faults()
    if asked.kept:
        # Some were let in by an earlier version; what the host had before it booted, it is to have after.
        kept = asked.applied(before, vips_from_config(entries))
        warnings = _check_vips(kept, {}, limits, faults)
        faults.check()
        return kept, warnings
    defaults = read_defaults(asked.check_defaults, faults)
    where: dict[VipKey, str] = {}
    listed: dict[VipKey, Mapping[str, t.Any]] = {}
    for index, entry in numbered(entries):
        key = _read_vip_key(entry, f"vips[{index}]", None if asked.deletes else limits, faults)
        if key is None:
            _read_reals(entry.get("reals") or (), f"vips[{index}]", None, {}, limits, faults)
            read_check(entry.get("check"), f"vips[{index}].check", None, defaults, faults)
            read_announce(entry.get("announce"), f"vips[{index}].announce", faults)
            continue
        if key in where:
            faults.add(f"vips[{index}]", f"{key} is listed twice (also {where[key]})")
            continue
        where[key] = f"vips[{index}]"
        listed[key] = entry
    read = {
        # Of what is to go, only its key counts.
        key: Vip(key)
        if asked.deletes
        else _read_vip(entry, where[key], asked.base(before, key) or Vip(key), limits, defaults, faults)
        for key, entry in listed.items()
    }
    after = asked.applied(before, read)
    _check_same(after, where, faults)
    _check_covering(after, where, asked, faults)
    warnings = [] if asked.deletes else octal_ports((place, key.port) for key, place in where.items())
    warnings += _check_vips(after, where, limits, faults)
    if not asked.deletes:
        check_rate(after.values(), asked.max_probes, faults)
        warnings += _agent_warnings(after, where)
    for key, place in where.items() if min_active > 0 else ():
        active = len(active_reals(after[key])) if key in after else min_active
        if active < min_active:
            faults.add(f"{place}.reals", f"{key} has {active} active, but min_active is {min_active}")
    faults.check()
    return after, warnings


def _agent_warnings(after: Mapping[VipKey, Vip], where: Mapping[VipKey, str]) -> list[str]:
    """What is valid of listed VIPs' checks and announcements, and yet hardly what was meant."""
    vips = [(place, after[key]) for key, place in where.items() if key in after]
    ports = ((f"{place}.check", vip.check.probe.port) for place, vip in vips if vip.check)
    interim = [
        f"{place}.check.status: no answer ends with {' or '.join(map(str, vip.check.probe.status))}; if it was written"
        f" with a 0 before it ({vip.check.probe.status[0]:04o}), write it without"
        for place, vip in vips
        if vip.check and vip.check.probe.status[-1] < _FINAL
    ]
    return (
        octal_ports(ports)
        + interim
        + [
            f"{place}.announce.min_healthy: {vip.announce.min_healthy} reals have to be in, but there"
            f" {'is' if len(vip.reals) == 1 else 'are'} {len(vip.reals)}, so that it is never announced"
            for place, vip in vips
            if vip.announce and vip.announce.enabled and vip.announce.min_healthy > len(vip.reals)
        ]
    )


_FINAL = 200
"""The first status that ends an answer; those below come before another."""


def _check_covering(after: Mapping[VipKey, Vip], where: Mapping[VipKey, str], asked: Asked, faults: Faults) -> None:
    """A VIP that covers a real is told where either is listed; what was let in before, comes back at boot."""
    if asked.allow_own_addresses or asked.deletes or asked.kept:
        return
    for key, reals, sentence in real_sentences(after, asked.more_reals, asked.ssh_port):
        if key in where:
            faults.add(f"{where[key]}.address", sentence)
            continue
        for each, place in where.items():
            if any(real.address in reals for real in after[each].reals):
                faults.add(f"{place}.reals", sentence)


def octal_ports(ports: Iterable[tuple[str, t.Any]]) -> list[str]:
    """Warnings of ports that may have been written with a 0 before them. `ports`: (where, port)."""
    return [
        f"{place}.port: {port} is what YAML makes of {OCTAL[port]} with a 0 before it; if {OCTAL[port]} is meant,"
        " write it without"
        for place, port in ports
        if isinstance(port, int) and port in OCTAL
    ]


def listed_places(asked: Asked) -> dict[VipKey, str]:
    """VIP → where config, which is valid, lists it."""
    keys = ((index, _read_vip_key(entry, "", None, Faults())) for index, entry in numbered(asked.config or ()))
    return {key: f"vips[{index}]" for index, key in keys if key is not None}


def _check_same(after: Mapping[VipKey, Vip], where: Mapping[VipKey, str], faults: Faults) -> None:
    """An address and the prefix of its whole length are one place, at which the program looks for the address alone."""
    whole = {key: replace(key, prefixlen=None) for key in after if key.prefixlen == (128 if key.ipv6 else 32)}
    for key, same in whole.items():
        if same in after and (key in where or same in where):
            first, second = (same, key) if key in where else (key, same)
            other = f" ({where[first]})" if first in where else ""
            faults.add(f"{where[second]}.address", f"{second} is the same as {first}{other}; list it once")


def active_reals(vip: Vip) -> list[str]:
    return [real.address for real in vip.reals if real.state == "active" and real.weight > 0]


def _check_vips(after: Mapping[VipKey, Vip], where: Mapping[VipKey, str], limits: Limits, faults: Faults) -> list[str]:
    """What only the whole can show."""
    sizes = limits.sizes
    if len(after) > sizes["vips"]:
        faults.add("vips", f"{len(after)} VIPs, but sizes.vips is {sizes['vips']}")
    for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
        prefixes = sum(key.prefixlen is not None and key.ipv6 == ipv6 for key in after)
        if prefixes > sizes["cidr_vips"]:
            faults.add("vips", f"{prefixes} {family} CIDR VIPs, but sizes.cidr_vips is {sizes['cidr_vips']}")
    capacity_faults(after, sizes["source_filters"], faults)
    reals = {real.address for vip in after.values() for real in vip.reals}
    if len(reals) > sizes["reals"] - 1:
        faults.add("vips", f"{len(reals)} reals, but sizes.reals is {sizes['reals']} and id 0 is never one")
    check_room((config for vip in after.values() for config in vip.quic_lb), sizes, faults)
    local: dict[str, tuple[bool, VipKey]] = {}
    migrating: dict[tuple[bytes, int, str], VipKey] = {}
    warnings = []
    for key in sorted(after):
        vip = after[key]
        place = where.get(key, f"vip {key}")
        if "udp_flow_migration" in vip.flags:
            # The table of down reals knows a CIDR VIP by its network address alone.
            same = migrating.setdefault((key.packed, key.port, key.protocol), key)
            if same != key:
                faults.add(f"{place}.flags", f"udp_flow_migration cannot tell {key} from {same}: same network address")
            down = set(vip.down_reals)
            warnings += [
                f"{place}.down_reals: {real.address} is active among the VIP's reals too, so new flows still go there"
                for real in vip.reals
                if real.address in down and real.state == "active" and real.weight
            ]
        elif vip.down_reals:
            warnings.append(f"{place}.down_reals: they mean nothing without flag udp_flow_migration")
        if key.protocol == "tcp":
            warnings += [f"{place}.flags: {flag} means nothing for tcp" for flag in vip.flags if flag in UDP_FLAGS]
        check_use(vip.quic_lb, vip.flags, key.protocol, f"{place}.quic_lb", faults)
        if vip.hash == "maglev_v1" and len({real.weight for real in vip.reals if real.weight}) > 1:
            warnings.append(f"{place}.hash: maglev_v1 hardly shows unequal weights; maglev_v2 honours them")
        for real in vip.reals:
            first = local.setdefault(real.address, (real.local, key))
            if first[0] != real.local:
                faults.add(f"{place}.reals", f"{real.address} is local in one VIP and not in another ({first[1]})")
    return warnings


def idle_vips(vips: Iterable[Vip], limits: Limits) -> list[str]:
    """What VIPs have that the loaded program cannot do: it was applied to one that could."""
    found = []
    for vip in vips:
        local = any(real.local for real in vip.reals)
        entry: dict[str, t.Any] = {"address": vip.key.address, "flags": vip.flags, "down_reals": vip.down_reals}
        entry |= {"allow": vip.allow, "deny": vip.deny, "quic_lb": vip.quic_lb}
        needed = vip_features([{**entry, "reals": [{"local": local}]}])
        missing = [feature for feature in sorted(needed) if not limits.has(feature)]
        if missing:
            found.append(f"vip {vip.key}: needs {_features(missing)}, which the program does not have")
    return shortened(found, MORE_VIPS)


def _features(names: Sequence[str]) -> str:
    return f"feature{'' if len(names) == 1 else 's'} {' and '.join(names)}"


class Vips(Resource):
    """The VIPs, described as the other resources are."""

    name = "vips"
    noun = "vip"
    options: t.ClassVar[Options] = {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": list(layout.PROTOCOLS), "required": True},
        "flags": {"type": "list", "elements": "str", "choices": list(layout.VIP_FLAGS)},
        "hash": {"type": "str", "choices": sorted(HASHES)},
        "reals": {
            "type": "list",
            "elements": "dict",
            "options": {
                "address": {"type": "str", "required": True},
                "weight": {"type": "int"},
                "state": {"type": "str", "choices": list(REAL_STATES)},
                "local": {"type": "bool"},
            },
        },
        "down_reals": {"type": "list", "elements": "str"},
        "allow": {"type": "list", "elements": "str"},
        "deny": {"type": "list", "elements": "str"},
        "check": {"type": "dict", "options": CHECK_OPTIONS},
        "announce": {"type": "dict", "options": ANNOUNCE_OPTIONS},
        "quic_lb": {"type": "list", "elements": "dict", "options": QUIC_LB_OPTIONS},
    }
    module_options: t.ClassVar[Options] = {
        **PURGE,
        **UNREADY,
        **own_options(),
        "min_active": {"type": "int", "default": 0},
        "unseen_reals": {"type": "list", "elements": "str", "default": []},
        "check_defaults": {"type": "dict", "default": {}},
        "max_probes": {"type": "int", "default": MAX_PROBES},
    }

    def title(self, row: Row) -> str:
        """As `changes` calls a VIP."""
        host = f"[{row['address']}]" if ":" in row["address"] else row["address"]
        return f"{self.noun} {host}:{row['port']}/{row['protocol']}"

    def check(self, asked: Asked) -> None:
        """ConfigError lists what is wrong with entries, by themselves and together, before any host is asked."""
        resolve_vips({}, asked)

    def needs(self, rows: Iterable[Row], vips: Iterable[Row]) -> set[str]:
        """The features that flags, prefixes and reals of VIPs use."""
        del vips
        return vip_features(rows)
