# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one balancer is seen to be when its announcements are decided; large parts of it are kept until they change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from .._engine.drain import read_drain
from .._kernel.state_folder import StateFolder
from .._model.announcing import Seen, SeenVip
from .._model.checks import Target
from .._model.health import Health
from .._model.seen_vips import doubt_path, host_faults, see_vip
from .._model.verdicts import Verdict, Words
from .._model.vips import Vip, VipKey
from .._model.watch import Place
from .checking import Checks

_SYNC_SECONDS = 10.0
"""As long a balancer that just came waits for what its peers have to tell, before it takes their flows over."""

_NOTHING = Health()
Asked = tuple[Target, Health]


class _Healths(Mapping[tuple[VipKey, str], Asked]):
    """(VIP, real) → what is probed there, and what is known of it; nothing is made before somebody asks."""

    def __init__(self, checks: Checks) -> None:
        self._targets, self._healths = checks.checked.targets, checks.healths

    def __getitem__(self, pair: tuple[VipKey, str]) -> Asked:
        target = self._targets[pair]
        return target, self._healths.get(target, _NOTHING)

    def __iter__(self) -> Iterator[tuple[VipKey, str]]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


class Sight:
    """Makes `Seen` of one instance."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._folder = StateFolder(instance, "")
        self._seen: tuple[int, object, object, object] = (-1, None, None, None)
        self._vips: tuple[SeenVip, ...] = ()

    def of(
        self,
        checks: Checks,
        words: Words,
        places: Mapping[Place, str],
        gateway: str,
        empty: Collection[str],
        in_sync: bool,
        others: Mapping[str, int | None],
        read_at: float,
    ) -> Seen:
        """What is seen. `empty`: names of VIPs whose ring in the kernel begins with no real.

        `read_at`: when the kernel was looked at, in loop time.
        `words` and `empty` are the same objects for as long as nothing else is so.
        """
        seen = checks.version, checks.known, words, empty
        same = all(one is other for one, other in zip(seen[1:], self._seen[1:], strict=True))
        if not same or seen[0] != self._seen[0]:
            self._seen = seen
            unproven = _without_verdict(checks)
            self._vips = tuple(
                self._see(vip, words, empty, unproven.get(vip.key, {})) for vip in checks.known.vips.values()
            )
        healths = _Healths(checks)
        return Seen(
            self._vips,
            host_faults(self.instance, places, gateway),
            doubt_path(checks.known.vips, healths) if len(healths) else "",
            "" if in_sync else "the flows that other balancers have to tell are not here yet",
            _SYNC_SECONDS,
            read_drain(self._folder),
            others=others,
            read_at=read_at,
        )

    @staticmethod
    def _see(vip: Vip, words: Words, empty: Collection[str], unproven: Mapping[str, Asked]) -> SeenVip:
        name = str(vip.key)
        said: Mapping[str, Verdict] = words.verdicts.get(name, {})
        members = [real.address for real in words.combined(vip).reals if real.state == "active" and real.weight > 0]
        return see_vip(vip, words.overlay, said, members, name not in empty, unproven)


def _without_verdict(checks: Checks) -> dict[VipKey, dict[str, Asked]]:
    """VIP → its reals of which checks know nothing yet: few at most times, of however many VIPs."""
    found: dict[VipKey, dict[str, Asked]] = {}
    for target, pairs in checks.checked.pairs.items():
        health = checks.healths.get(target, _NOTHING)
        if not health.state:
            for key, real in pairs:
                found.setdefault(key, {})[real] = target, health
    return found
