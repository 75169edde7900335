# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of module vips or reals."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from .._kernel.agent_lock import is_held
from .._kernel.lock import LOCK_ROOT
from .._kernel.maps import KernelMaps, Maps
from .._kernel.own_addresses import read_addresses
from .._kernel.ring_workers import each_ring
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.decap_record import DecapRecord
from .._model.draining import idle_by_word, leading_warnings, may_lead_astray, require_active, require_active_by_hand
from .._model.drift import Left, View, reals_drift, vip_drift
from .._model.entries import Asked
from .._model.errors import ProgramError, StateError
from .._model.faults import Faults
from .._model.letting_in import beginnings, let_in, without_waiting
from .._model.limits import Limits
from .._model.lru_history import learners, may_be_known
from .._model.operations import count
from .._model.overlay import Ended, ended_after, ended_of, fleet_words, resolve_reals
from .._model.own_addresses import HostAddresses, asks_host, host_sentences
from .._model.readiness import hold_back_vips
from .._model.references import other_references
from .._model.state import State
from .._model.tables import BALANCER_TABLES, LEADING, ServerId, idle_routes, server_id_warnings
from .._model.verdicts import Verdict, Words, newly_down, out_by_check, that_count, told_degraded, words_of
from .._model.vip_changes import vip_changes
from .._model.vip_entries import Actual, adopt, known_keys
from .._model.vip_plan import Recorded, VipPlan, plan_vips, references
from .._model.vips import Vip, VipKey, vip_to_config, vips_from_config
from .._model.vips_input import idle_vips, listed_places, resolve_vips
from .execute import execute
from .known_tables import known_table
from .opened import limits_of, read_actual
from .recovery import lost_warnings
from .request import Clock, Gone, Request, Result
from .withdraw import leaving_places, withdrawn


def _idle(vips: Iterable[Vip]) -> list[str]:
    return idle_routes({"flags": vip.flags} for vip in vips)


class VipRun:
    """One run of module vips: its methods are the phases, in order."""

    def __init__(
        self,
        request: Request,
        maps: Maps,
        file: StateFile,
        state: State,
        clock: Clock,
        look: Callable[[], HostAddresses] = read_addresses,
    ) -> None:
        """`look`: reads what addresses the host has."""
        self.request = request
        self.look = look
        self.maps = maps
        self.file = file
        self.state = state
        self.clock = clock
        self.plan: VipPlan | None = None
        """What the run came to, once it did."""
        self.purge: Callable[[Iterable[Gone], bool], dict[str, int]] | None = None
        """Removes flows to reals that checks have down, where there are any."""
        self.ended: Ended = ended_of(state)
        self._down: list[Gone] = []
        elsewhere = {name: state.references.get(name, []) for name in LEADING}
        self.result = Result(timings=clock.timings, warnings=lost_warnings(state), references=elsewhere)

    def run(self, asked: Asked) -> Result:
        """Bring the VIPs to what is asked; in check mode only say what that takes."""
        with self.clock.phase("read"):
            actual = self.read()
            limits = limits_of(self.request, self.state, self.maps)
            asked = replace(asked, limits=limits)
            known = View(vips_from_config(self.state.vips), words_of(self.state))
        with self.clock.phase("validate"):
            wanted = self.resolve(known, asked)
            # From here on a VIP that is the same is the same object, and most comparisons cost nothing.
            same = {key: known.vips[key] for key, vip in wanted.vips.items() if known.vips.get(key) == vip}
            wanted = replace(wanted, vips={**wanted.vips, **same})
        with self.clock.phase("plan"):
            names = {key: str(vip) for key, vip in known_keys(actual).items()}
            real_ids, numbers = adopt(actual, self.state.real_ids, self.state.vip_numbers, names)
            settled = self.settles(asked.state)
            others = other_references(self.state, settled)
            learned = learners(
                (*known.vips.values(), *wanted.vips.values()),
                # Unknown features: what the kernel has marked is what they made of it.
                "tcp_server_id" in (limits.features or ()),
                {*self.state.learned, *self.state.learning},
            )
            marked = may_be_known(wanted.vips.values(), learned)
            plan = self.plan = plan_vips(
                wanted.vips,
                wanted.words,
                others,
                actual,
                Recorded(real_ids, numbers, self.state.rings, marked),
                each_ring,
            )
            self.report(known, wanted)
            self._see_down(known, wanted)
            if self.state.is_sure_of("vips"):
                were_marked = may_be_known(known.vips.values(), self.state.learned)
                ids = self.state.real_ids
                left = Left(known, self.state.vip_numbers, self.state.rings, were_marked, ids.assigned)
                self.result.drift = vip_drift(left, wanted, plan, actual)
                if self.state.is_sure:
                    local = references(known.vips.values())
                    self.result.drift += reals_drift(plan.operations, local, actual.entries["reals"], ids)
                self.result.changes += self.result.drift
            self.result.operations = count(plan.operations)
            self.result.explain()
            entries = dict(zip(known.vips, self.state.vips, strict=True))
            self.result.by_hand = fleet_words(wanted.words.overlay, self.ended)
            vips = [entries[key] if key in same else vip_to_config(wanted.vips[key]) for key in sorted(wanted.vips)]
        after = replace(
            self.state,
            vips=self.state.vips if vips == self.state.vips else vips,
            overlay=[entry.kept() for _address, entry in sorted(wanted.words.overlay.items())],
            ended_words=[{"address": address, "since": at} for address, at in sorted(self.ended.items())],
            verdicts=wanted.words.listed(),
            real_ids=plan.real_ids.settled(),
            vip_numbers=plan.vip_numbers.settled(),
            rings=plan.rings,
            learned=learned,
            learning=[],
            interrupted=self.state.ended("vips"),
            recovered=self.state.recovered and "lost" not in settled,
            references={name: reals for name, reals in self.state.references.items() if name not in settled},
        )
        if not self.request.check and (plan.operations or self.state.lost or after != self.state):
            # Maps in memory are nobody's that is told of them.
            leaving = leaving_places(known, wanted) if isinstance(self.maps, KernelMaps) else ()
            with self.clock.phase("write"), withdrawn(self.request.instance, leaving):
                self._write(plan, after, wanted, actual.ring_size)
        elif self.request.check:
            self._purge()
        return self.result

    def read(self) -> Actual:
        """What the kernel has."""
        return read_actual(self.maps, self.reads_lists())

    def reads_lists(self) -> bool:
        """Whether the VIPs' lists of clients may be others after this run."""
        return True

    def settles(self, state: str) -> Collection[str]:
        """The references that end with this run: a killed one's, and a lost state's where all VIPs are told."""
        told = state == "overridden" and not self.request.kept
        return ("vips", "lost", "lost_local") if told else ("vips",)

    def resolve(self, known: View, asked: Asked) -> View:
        """What is wanted."""
        limits = asked.limits
        if self.request.kept:
            asked = replace(asked, limits=replace(limits, features=None), kept=True)
        led = {address for name in LEADING for address in self.state.references.get(name, ())}
        asked = replace(asked, more_reals=frozenset(led))
        wanted, warnings = resolve_vips(known.vips, asked, self.request.min_active)
        warnings += self._covering(wanted, asked)
        wanted, held = hold_back_vips(known.vips, wanted, self.request.unready, self.request.unseen)
        require_active(known.vips, wanted, known.words, self.request.min_active)
        self.result.warnings += warnings + held + idle_vips(wanted.values(), limits)
        self.result.warnings += self._without_source(wanted.values())
        if self.state.references.get("source_routes") and not _idle(known.vips.values()):
            # Where no VIP followed them before, module source_routes told.
            self.result.warnings += _idle(wanted.values())
        rows = [ServerId(0, address) for address in self.state.references.get("server_ids", ())]
        self.result.warnings += server_id_warnings(rows, wanted.values(), limits)
        self.result.warnings += [
            f"real {address} is {entry.state} by hand since {entry.since} (katran.fleet.reals, state deleted ends it)"
            for address, entry in sorted(known.words.overlay.items())
        ]
        found = View(wanted, self.remaining(wanted, known.words))
        self.result.warnings += out_by_check(wanted, found.words)
        self.result.warnings += idle_by_word(wanted, found.words) + self.still_led(found, limits)
        return found

    def remaining(self, vips: Mapping[VipKey, Vip], words: Words) -> Words:
        """What was said, as far as these VIPs have the reals that checks spoke of."""
        verdicts = that_count(words.verdicts, vips)
        return words if verdicts == words.verdicts else Words(words.overlay, verdicts)

    def still_led(self, view: View, limits: Limits) -> list[str]:
        """What to say of source routes and server ids that lead to reals which take no new flow."""
        if self.state.recovered:
            return []
        found = []
        for name in LEADING:
            table, reals = BALANCER_TABLES[name], self.state.references.get(name)
            if reals and may_lead_astray(table, reals, view.vips, view.words):
                # One that is damaged, its own module refuses: it is no reason not to drain.
                with suppress(StateError):
                    rows = known_table(table, self.file, self.state, {"reals": {}})
                    found += leading_warnings(table, rows, view.vips, view.words, limits)
        return found

    def _covering(self, vips: Mapping[VipKey, Vip], asked: Asked) -> list[str]:
        """Warnings of VIPs that cover the host's own addresses. ConfigError for those that config lists."""
        unasked = asked.allow_own_addresses or asked.deletes or self.request.kept
        if unasked or not asks_host(vips, asked.ssh_port):
            return []
        try:
            host = replace(self.look(), served=self._served())
        except ProgramError as error:
            return [f"vips: not compared with this host's own addresses: {error}"]
        places, faults, warnings = listed_places(asked), Faults(), []
        for key, sentence in host_sentences(vips, host, asked.ssh_port):
            if key in places:
                faults.add(f"{places[key]}.address", sentence)
            else:
                warnings.append(f"vip {sentence}")
        faults.check()
        return warnings

    def _served(self) -> frozenset[str]:
        """The VIPs that module decap put on lo."""
        try:
            record = self.file.read_record(DecapRecord, "decap")
        except StateError:
            # Another module's file, of which that one tells.
            return frozenset()
        return frozenset((*record.loopback, *(record.settings.loopback if record.settings else ())))

    def _without_source(self, vips: Iterable[Vip]) -> list[str]:
        """The families of reals that GUE has no outer source for."""
        if self.state.settings.get("encapsulation") != "gue" or "pckt_srcs" not in self.maps.names():
            return []
        sources = self.maps.entries("pckt_srcs")
        missing = {ipv6 for ipv6 in (False, True) if layout.u32(int(ipv6)) not in sources}
        found: dict[bool, str] = {}
        for vip in vips:
            for real in vip.reals:
                if (":" in real.address) in missing:
                    found.setdefault(":" in real.address, real.address)
        return [
            f"real {address} needs an IPv{6 if ipv6 else 4} source of GUE, and the balancer has none"
            f" (source_ipv{6 if ipv6 else 4})"
            for ipv6, address in sorted(found.items())
        ]

    def report(self, old: View, new: View) -> None:
        """Say what changes, in config's words."""
        changed = sorted(key for key in {*old.vips, *new.vips} if old.vips.get(key) != new.vips.get(key))
        self.result.before = [vip_to_config(old.vips[key]) for key in changed if key in old.vips]
        self.result.after = [vip_to_config(new.vips[key]) for key in changed if key in new.vips]
        self.result.changes = vip_changes(old.vips, new.vips)
        ids = self.state.real_ids.assigned
        for key in changed:
            if key not in new.vips:
                self.result.gone.append((key, None))
            elif key in old.vips:
                left = {real.address for real in old.vips[key].reals} - {real.address for real in new.vips[key].reals}
                if left:
                    self.result.gone.append((key, frozenset(ids[address] for address in left if address in ids)))

    def _write(self, plan: VipPlan, after: State, wanted: View, ring_size: int) -> None:
        self.file.sweep()
        if plan.operations:
            # What was numbered in vain by a killed run stays numbered; a digest that may be outdated is forgotten.
            sure = {key: known for key, known in self.state.rings.items() if plan.rings.get(key) == known}
            # Reals that are on their way into rings, or out of them, are not another run's to give up.
            coming = {*references(wanted.vips.values()), *self.state.references.get("vips", ())}
            self.file.write(
                replace(
                    self.state,
                    real_ids=plan.real_ids,
                    vip_numbers=plan.vip_numbers,
                    rings=sure,
                    interrupted=self.state.begun("vips"),
                    learning=sorted({*self.state.learning, *after.learned}.difference(self.state.learned)),
                    references={**self.state.references, "vips": sorted(coming)},
                )
            )
            execute(plan.operations, self.maps, ring_size)
        # Before that is on record: a run that is killed leaves it to the next.
        self._purge()
        self.file.write(after)

    def _see_down(self, known: View, wanted: View) -> None:
        """See to which reals flows are removed, as checks have them down."""
        ids = self.state.real_ids.assigned
        moves = "vip_to_down_reals_map" in self.maps.names()
        found = newly_down((known.vips, known.words), (wanted.vips, wanted.words), moves)
        self._down = [(key, frozenset(ids[real] for real in reals if real in ids)) for key, reals in found.items()]

    def _purge(self) -> None:
        """Remove them, or in check mode count them."""
        purged = self.purge(self._down, self.request.check) if self.purge is not None and self._down else {}
        for table, number in purged.items():
            self.result.operations[table] = self.result.operations.get(table, 0) + number
        if purged:
            self.result.changes.append(f"{sum(purged.values())} flows of what is down by check purged")


class OverlayRun(VipRun):
    """One run of module reals: the same VIPs under another overlay."""

    def reads_lists(self) -> bool:
        """Only where a killed run may have left them as they are not to be."""
        return not self.state.is_sure_of("vips")

    def settles(self, state: str) -> Collection[str]:
        """The references that end with this run: a killed one's."""
        del state
        return ("vips",)

    def resolve(self, known: View, asked: Asked) -> View:
        """The VIPs as they are, and the overlay that is wanted."""
        since = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
        present = references(known.vips.values())
        was = known.words.overlay
        overlay, warnings = resolve_reals(was, asked, since, present, self.ended if asked.newest else None)
        self.ended = ended_after(was, overlay, asked, since, self.ended)
        self.result.warnings += warnings
        verdicts = self._starting(known, let_in(was, overlay))
        words = Words(overlay, verdicts)
        require_active_by_hand(known.vips, known.words, words, asked.allow_empty)
        found = View(known.vips, words)
        self.result.warnings += told_degraded(known.vips, words)
        self.result.warnings += idle_by_word(known.vips, words) + self.still_led(found, asked.limits)
        return found

    def _starting(self, known: View, reals: list[str]) -> Mapping[str, Mapping[str, Verdict]]:
        """The verdicts with which these reals begin that are let in; without the agent nobody makes a weight grow."""
        verdicts = known.words.verdicts
        if reals:
            agent = is_held(os.path.join(LOCK_ROOT, self.request.instance))
            self.result.starts = beginnings(known.vips.values(), verdicts, reals, agent)
            if not agent:
                return without_waiting(verdicts, reals)
        return verdicts

    def report(self, old: View, new: View) -> None:
        """Say which reals' state changes."""
        was = {address: entry.state for address, entry in old.words.overlay.items()}
        now = {address: entry.state for address, entry in new.words.overlay.items()}
        changed = sorted(address for address in {*was, *now} if was.get(address) != now.get(address))
        self.result.before = [{"address": address, "state": was[address]} for address in changed if address in was]
        self.result.after = [{"address": address, "state": now[address]} for address in changed if address in now]
        none = "as its VIPs say"
        self.result.changes = [
            f"real {address}: {was.get(address, none)} → {now.get(address, none)}" for address in changed
        ]
        ids = self.state.real_ids.assigned
        out = frozenset(ids[each] for each in changed if now.get(each) in ("draining", "down") and each in ids)
        if out:
            self.result.gone.append((None, out))
