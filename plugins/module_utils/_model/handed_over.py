# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of flow exceptions that were to be handed over to the peers: the agent's answer, in /run. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from .faults import counted
from .records import flag, named, number, parse_record, record, word

ACKNOWLEDGED, WAITING, UNREACHABLE = "acknowledged", "waiting", "unreachable"
_ANEW = "drain the balancer again"
_MOST = 1 << 63


@dataclass(frozen=True)
class HandedOver:
    """`asked`: which question this answers (ns since the epoch); `finished`: whether it is the whole answer.

    `peers`: address → ACKNOWLEDGED, WAITING (it has not confirmed all) or UNREACHABLE (it does not answer).
    """

    asked: int
    finished: bool
    peers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of handed_over.json."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> HandedOver:
        """Read the file's text; StateError names the file and the field at fault."""
        return parse_record(source, path, _READ, _ANEW)


_READ = record(
    HandedOver,
    asked=number(0, _MOST),
    finished=flag,
    peers=named(word(ACKNOWLEDGED, WAITING, UNREACHABLE)),
)


def peers_in(peers: Mapping[str, str], state: str) -> list[str]:
    """The peers of which that is so."""
    return sorted(peer for peer, word_of in peers.items() if word_of == state)


def handed_sentence(peers: Mapping[str, str]) -> str:
    """What to say of peers that have confirmed; "" where none has."""
    well = peers_in(peers, ACKNOWLEDGED)
    return f"{counted(len(well), 'peer')} acknowledged all flow exceptions" if well else ""


def missing_sentence(peers: Mapping[str, str]) -> str:
    """What to say of peers that cannot be reached; "" where all can."""
    gone = peers_in(peers, UNREACHABLE)
    return f"{', '.join(gone)} cannot be reached, and so takes over no flow exceptions" if gone else ""
