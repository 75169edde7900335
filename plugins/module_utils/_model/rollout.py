# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over balancers in batches: how large these are, and what becomes of one in which a host failed. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .written import as_decimal, number_fault

SERIAL: tuple[int | str, ...] = (1, "25%", "100%")
"""One balancer first (the canary), then a quarter of them, then all that are left."""

_PERCENT = re.compile(r"([0-9]{1,3})%")


def serial_faults(value: t.Any) -> list[str]:
    """What is wrong with katran_serial: one size or several, each a number of hosts or a share such as 25%."""
    sizes = _listed(value)
    if not sizes:
        return ["katran_serial is empty: it lists the sizes of batches, such as [1, 25%, 100%]"]
    wrong = [size for size in sizes if not _is_size(size)]
    return [
        f"katran_serial: {size} is not the size of a batch (a number of hosts from 1, or 1% to 100%)" for size in wrong
    ]


def _listed(value: t.Any) -> Sequence[t.Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _is_size(size: t.Any) -> bool:
    if isinstance(size, str):
        found = _PERCENT.fullmatch(size)
        return 1 <= int(found[1]) <= 100 if found else _is_count(size)
    return isinstance(size, int) and not isinstance(size, bool) and size >= 1


def _is_count(text: str) -> bool:
    # From the command line (-e katran_serial=2) every number is a text.
    return number_fault(text) is None and int(text) >= 1


def sizes_of(value: t.Any) -> list[int | str]:
    """The sizes of batches, as Ansible's serial takes them, of a value without faults."""
    return [int(size) if isinstance(size, str) and _is_count(size) else size for size in _listed(value)]


def agreed_sizes(said: Mapping[str, t.Any]) -> tuple[list[int | str], list[str]]:
    """The sizes of batches that hosts agree upon, and what is wrong, in sentences. `said`: host → katran_serial."""
    found: dict[str, list[int | str]] = {}
    faults: list[str] = []
    for host, value in said.items():
        wrong = serial_faults(value)
        faults += [each for each in wrong if each not in faults]
        if not wrong:
            found[host] = sizes_of(value)
    first = next(iter(found), "")
    faults += [
        f"katran_serial is {sizes} for {host} and {found[first]} for {first}: it is about the whole run"
        for host, sizes in found.items()
        if sizes != found[first]
    ]
    return found.get(first, list(SERIAL)), faults


def number_faults(name: str, value: t.Any, most: float, whole: bool) -> list[str]:
    """What is wrong with a number from 0 on; one from the command line is a text."""
    number: float | None = as_decimal(value)
    if whole:
        number = None if number_fault(value) else int(value)
    if number is None or not 0 <= number <= most:
        return [f"{name}: {value} is not a {'whole ' if whole else ''}number from 0 to {most:g}"]
    return []


@dataclass(frozen=True)
class Host:
    """What became of a balancer in its batch.

    `failed`: why, "" where it did not; `reached`: whether it answered; `bare`: whether nothing was loaded before.
    """

    name: str
    failed: str = ""
    reached: bool = True
    bare: bool = False


@dataclass(frozen=True)
class Ruling:
    """What becomes of a batch.

    `done`: hosts that are as wanted; `revert`: hosts that go back to what they were; `bare`: those of them that were
    nothing; `lost`: hosts that nobody can tell anything; `failed`: host → why; `stop`: whether the run ends here.
    """

    done: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    stop: bool = False

    def to_data(self) -> dict[str, t.Any]:
        """As an action returns it."""
        return {
            **{name: list(getattr(self, name)) for name in ("done", "revert", "bare", "lost")},
            "back": [*self.revert, *self.bare],
            # Ansible has a word of its own for whether an action failed.
            "failures": dict(self.failed),
            "stop": self.stop,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, t.Any]) -> Ruling:
        """The reverse."""
        done, revert, bare, lost = (tuple(map(str, data[name])) for name in ("done", "revert", "bare", "lost"))
        return cls(done, revert, bare, lost, data["failures"], data["stop"])


def rule(batch: Sequence[Host], failed_before: int, most: int) -> Ruling:
    """What becomes of a batch, where `failed_before` hosts of earlier batches failed and the whole run may have `most`.

    A host that failed goes back in any case. Where one is too many, all of the batch goes back: what made it fail may
    be in the others, too.
    """
    failed = {host.name: host.failed or "it does not answer" for host in batch if host.failed or not host.reached}
    stop = bool(failed) and failed_before + len(failed) > most
    back = [host for host in batch if host.reached and (stop or host.name in failed)]
    return Ruling(
        tuple(host.name for host in batch if not stop and host.name not in failed),
        tuple(host.name for host in back if not host.bare),
        tuple(host.name for host in back if host.bare),
        tuple(host.name for host in batch if not host.reached),
        failed,
        stop,
    )


def told(
    ruling: Ruling, back: Mapping[str, str], untouched: Iterable[str], resume: str, done: Iterable[str] = ()
) -> list[str]:
    """What an operator is told of a batch in which a host failed, a sentence each.

    `back`: host that was to go back → what went wrong with that, "" where it did; `untouched`: hosts whose turn did not
    come; `resume`: the playbook that goes on; `done`: hosts of earlier batches.
    """
    lines = [f"{host} failed: {why}" for host, why in ruling.failed.items()]
    again = [host for host, why in back.items() if not why]
    if again:
        lines.append(f"{_names(again)}: program, VIPs and tables are again what they were before this run, verified")
    lines += [f"{host} could not go back: {why}" for host, why in back.items() if why]
    if ruling.bare:
        lines.append(
            f"{_names(ruling.bare)}: there was nothing before this run to go back to; what this run made stays there,"
            " and the run did not go on to announce it"
        )
    if ruling.lost:
        lines.append(f"{_names(ruling.lost)}: whatever this run did there stays, until it answers again")
    if ruling.stop:
        left, earlier = list(untouched), list(done)
        lines.append(f"untouched: {_names(left)}" if left else "no balancer was left to come")
        if earlier:
            lines.append(f"done, and as they should be: {_names(earlier)}")
        lines.append(f"to resume, mend the cause and run {resume} again: what is done already costs nothing")
    return lines


def _names(hosts: Iterable[str]) -> str:
    return ", ".join(hosts)
