# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon a real that a person lets in again has its whole weight."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.letting_in import beginnings, let_in, without_waiting
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import STARTING, WAITING, Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

A, B = "10.0.0.1", "10.0.0.2"


def vip(port: int, slow_start: float | None, *reals: str) -> Vip:
    check = None if slow_start is None else Check(Probe("tcp"), slow_start=slow_start)
    return Vip(VipKey.read(f"198.51.100.1:{port}/tcp"), reals=tuple(VipReal(real) for real in reals), check=check)


def waiting(port: int, real: str, reason: str = WAITING) -> Verdict:
    return Verdict(f"198.51.100.1:{port}/tcp", real, "active", "2026-11-28T10:00:00+00:00", reason, 10)


def test_who_is_let_in() -> None:
    was = {A: Overlay(A, "draining"), B: Overlay(B, "active"), "10.0.0.3": Overlay("10.0.0.3", "down")}
    assert let_in(was, {}) == [A, "10.0.0.3"]
    assert let_in(was, {A: Overlay(A, "active"), "10.0.0.3": Overlay("10.0.0.3", "draining")}) == [A]
    assert let_in({}, was) == []


def test_without_an_agent_a_real_has_its_weight_at_once() -> None:
    said = {
        "one": {A: waiting(80, A), B: waiting(80, B)},
        "two": {A: waiting(80, A)},
        "three": {A: waiting(80, A, "bad")},
    }
    assert without_waiting(said, [A]) == {"one": {B: said["one"][B]}, "three": said["three"]}


def test_how_it_begins() -> None:
    vips = [vip(80, 60, A, B), vip(443, None, A), vip(8080, 30, A)]
    said = {f"198.51.100.1:{port}/tcp": {A: waiting(port, A)} for port in (80, 8080)}
    assert beginnings(vips, said, [A, "10.0.0.9"], True) == {
        A: f"real {A} has its whole weight in 60 s (slow_start) in 198.51.100.1:80/tcp, 198.51.100.1:8080/tcp,"
        " and at once in 1 VIP (no check with slow_start)"
    }
    assert beginnings(vips[:1], said, [A], True) == {
        A: f"real {A} has its whole weight in 60 s (slow_start) in 198.51.100.1:80/tcp"
    }
    at_once = {A: f"real {A} has its whole weight at once (the agent does not run)"}
    assert beginnings(vips, said, [A], False) == at_once
    assert beginnings(vips, {}, [B], True) == {B: f"real {B} has its whole weight at once (no check with slow_start)"}
    started = {"198.51.100.1:80/tcp": {A: waiting(80, A, STARTING)}}
    assert beginnings(vips[:1], started, [A], True)[A].endswith("at once (no check with slow_start)")
