# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations of QUIC-LB as entries of maps, and the other way; and how two of a VIP differ, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import layout
from .faults import counted
from .quic_lb import HIGHEST_CONFIG, MAX_LENGTH, MAX_SERVER_ID, MAX_TABLE_ID, MIN_NONCE, QuicLb, QuicServer

_VIPS, _SERVERS = "quic_lb_vips", "quic_lb_servers"
SERVER_MAPS = (_SERVERS,)
Entries = Mapping[tuple[str, bytes], bytes]


def kernel_entries(configs: Sequence[QuicLb], vip: int, real_ids: Mapping[str, int]) -> dict[tuple[str, bytes], bytes]:
    """(map, key) → value of a VIP's configurations. `vip`: its number. Servers whose real has no id are left out."""
    if not configs:
        return {}
    forms = {
        config.config: layout.quic_lb_config(
            layout.QUIC_LB_VIP
            | layout.QUIC_LB_OWN_SERVERS * bool(config.servers)
            | layout.QUIC_LB_SAYS_LENGTH * config.says_length,
            config.server_id_length,
            1 + config.server_id_length + config.nonce_length,
        )
        for config in configs
    }
    unused = layout.quic_lb_config(layout.QUIC_LB_VIP, 0, 0)
    found = {(_VIPS, layout.u32(vip)): b"".join(forms.get(each, unused) for each in range(layout.QUIC_LB_CONFIGS))}
    for config in configs:
        for server in config.servers:
            if server.real in real_ids:
                key = layout.quic_lb_server(vip, config.config, bytes.fromhex(server.id))
                found[_SERVERS, key] = layout.u32(real_ids[server.real])
    return found


def configs_in_kernel(
    entries: Mapping[str, Mapping[bytes, bytes]], reals: Mapping[int, str]
) -> dict[int, tuple[QuicLb, ...]]:
    """VIP number → what the maps have for it, as far as a run could have written it. `reals`: id → address."""
    servers: dict[tuple[int, int], list[tuple[bytes, str]]] = {}
    for key, value in entries.get(_SERVERS, {}).items():
        number, config, padded = layout.parse_quic_lb_server(key)
        address = reals.get(layout.parse_u32(value))
        if address is not None:
            servers.setdefault((number, config), []).append((padded, address))
    found = {}
    for vip, forms in entries.get(_VIPS, {}).items():
        number = layout.parse_u32(vip)
        configs = (
            _config(config, form, servers.get((number, config), ()))
            for config, form in enumerate(layout.parse_quic_lb_vip(forms))
        )
        found[number] = tuple(config for config in configs if config is not None)
    return found


def _config(config: int, form: tuple[int, int, int], servers: Sequence[tuple[bytes, str]]) -> QuicLb | None:
    """A configuration by its form and the servers that have its id; None where no run could have written it."""
    flags, length, whole = form
    known = servers if flags & layout.QUIC_LB_OWN_SERVERS else ()
    nonce = whole - 1 - length
    if (
        not flags & layout.QUIC_LB_VIP
        or config > HIGHEST_CONFIG
        or not 1 <= length <= (MAX_SERVER_ID if known else MAX_TABLE_ID)
        or not MIN_NONCE <= nonce <= MAX_LENGTH - length
    ):
        return None
    listed = tuple(sorted(QuicServer(padded[:length].hex(), address) for padded, address in known))
    return QuicLb(config, length, nonce, bool(flags & layout.QUIC_LB_SAYS_LENGTH), listed)


def drifted(
    touched: Iterable[tuple[str, bytes, str]], left: Entries, actual: Mapping[str, Mapping[bytes, bytes]]
) -> list[str]:
    """A line for each entry that is not as the last run left it. `touched`: (map, key, sentence) of a plan."""
    lines = []
    for name, key, sentence in touched:
        if name not in (_VIPS, _SERVERS) or actual.get(name, {}).get(key) == left.get((name, key)):
            continue
        if name == _VIPS:
            lines.append(f"VIP number {layout.parse_u32(key)}: {sentence}")
        else:
            vip, config, padded = layout.parse_quic_lb_server(key)
            lines.append(f"VIP number {vip}: server {padded.hex()} of quic_lb config {config}: {sentence}")
    return lines


def quic_lb_changes(old: Sequence[QuicLb], new: Sequence[QuicLb]) -> list[str]:
    """What differs between the configurations of a VIP, a line each."""
    lines = []
    before, after = ({config.config: config for config in configs} for configs in (old, new))
    for config in sorted({*before, *after}):
        was, now = before.get(config), after.get(config)
        name = f"quic_lb config {config}"
        if was is None and now is not None:
            servers = f", {counted(len(now.servers), 'server')}" if now.servers else ""
            lines.append(f"{name} added: {now.words()}{servers}")
        elif now is None:
            lines.append(f"{name} removed")
        elif was is not None:
            if was.words() != now.words():
                lines.append(f"{name}: {was.words()} → {now.words()}")
            ids, known = dict(was.servers), dict(now.servers)
            lines += [
                f"{name}: server {server} {ids.get(server, 'nobody')} → {known.get(server, 'nobody')}"
                for server in sorted({*ids, *known})
                if ids.get(server) != known.get(server)
            ]
    return lines
