# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and announcements in words, and how two of them differ."""

from __future__ import annotations

import typing as t
from dataclasses import fields

from .checks import Announce, Check, Probe, own_form

_HEAD = ("type", "address", "port", "path", "query", "record", "interval")
_UNSPOKEN = ("headers", "body", "payload", "expect")
"""What may be long, or a secret, and stays out of a log."""


def check_words(check: Check) -> str:
    """What is asked, of which place if it is not the VIP's own, and how often."""
    probe = check.probe
    if probe.type == "external":
        return "external"
    asked = {"http": probe.path, "https": probe.path, "dns": f"{probe.query} {probe.record}"}.get(probe.type, "")
    host = f"[{probe.address}]" if ":" in probe.address else probe.address
    port = f"{'' if host else 'port '}{':' if host else ''}{probe.port}" if probe.port else ""
    place = f"at {host}{port}" if host or port else ""
    return " ".join(word for word in (probe.type, asked, place, f"every {probe.interval:g} s") if word)


def check_changes(old: Check | None, new: Check | None) -> list[str]:
    """What differs between the checks of a VIP, a line each."""
    if old is None or new is None:
        return [f"check added: {check_words(new)}"] if new else ["check removed"] if old else []
    was, now = check_words(old), check_words(new)
    lines = [f"check {was} → {now}"] if was != now else []
    # Of another type, all options are new.
    same = old.probe.type == new.probe.type
    return lines + (_differences(old.probe, new.probe, "check") if same else []) + _differences(old, new, "check")


def announce_changes(old: Announce | None, new: Announce | None) -> list[str]:
    """What differs between how a VIP is announced, a line each."""
    if old is None or new is None:
        return [f"announce added: {announce_words(new)}"] if new else ["announce removed"] if old else []
    return _differences(old, new, "announce")


def announce_words(announce: Announce) -> str:
    """Whether the VIP is announced, and from how many reals on."""
    if not announce.enabled:
        return "never"
    known = f" with {','.join(announce.communities)}" if announce.communities else ""
    return f"from {announce.min_healthy} of its reals on{known}"


def _differences(old: t.Any, new: t.Any, noun: str) -> list[str]:
    """The options of two of one kind that differ; a check's head is told as a whole."""
    lines = []
    for item in fields(old):
        was, now = getattr(old, item.name), getattr(new, item.name)
        if was == now or isinstance(was, Probe) or (isinstance(old, Probe) and item.name in _HEAD):
            continue
        if item.name in _UNSPOKEN:
            lines.append(f"{noun} {item.name} changed")
        else:
            lines.append(f"{noun} {item.name} {_word(item.name, was)} → {_word(item.name, now)}")
    return lines


def _word(name: str, value: t.Any) -> str:
    found = own_form(name, value)
    if isinstance(found, list):
        return ",".join(map(str, found)) or "none"
    if isinstance(found, bool):
        return str(found).lower()
    return f"{found:g}" if isinstance(found, float) else str(found) or "none"
