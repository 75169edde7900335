# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an announcement is decided from: VIPs, verdicts and healths as announcement's SeenVip has them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .announcing import SeenVip
from .checks import Announce, Target
from .faults import counted
from .health import Health
from .overlay import Overlay, effective_state
from .verdicts import Verdict, Words
from .vip_plan import ring_members
from .vips import Vip, VipKey
from .watch import UNSEEN, Place, unpinned

_NAMED = 3
"""As many failing reals are named."""

_SEVERAL = 2
"""One real that is silent says more of itself than of the way there."""

_SLACK_SECONDS = 2.0
_LONGEST_SECONDS = 30.0


def see_vip(
    vip: Vip,
    overlay: Mapping[str, Overlay],
    verdicts: Mapping[str, Verdict],
    members: Collection[str],
    filled: bool,
    healths: Mapping[str, tuple[Target, Health]],
) -> SeenVip:
    """What is known of a VIP.

    `verdicts`: real → what checks say of it in this VIP; `members`: the reals that are to be in its ring once the
    verdicts and the floor have had their word; `filled`: whether the kernel's ring has slots; `healths`: real → what
    is probed there, and what is known of it; those that have a state may be missing.
    """
    capable = [address for address, _weight in ring_members(vip, Words(overlay))]
    bad = [verdicts[address] for address in capable if address in verdicts and verdicts[address].state != "active"]
    out = {verdict.real for verdict in bad}
    waiting, patience = _waiting({address: healths[address] for address in capable if address in healths})
    return SeenVip(
        vip.key,
        vip.announce or Announce(),
        len(capable),
        len(members),
        sum(address not in out for address in members),
        filled,
        any(effective_state(real.address, real.state, overlay) != "down" for real in vip.reals),
        tuple(_failing(verdict) for verdict in bad[:_NAMED]),
        waiting,
        patience,
    )


def _failing(verdict: Verdict) -> str:
    return f"{verdict.real} {verdict.state}" + (f": {verdict.reason}" if verdict.reason else "")


def _waiting(healths: Mapping[str, tuple[Target, Health]]) -> tuple[str, float]:
    """Why checks have no verdict, and how many seconds that is waited for: what a first verdict takes, and some more.

    An external verdict is told, not asked for: nobody knows whether it comes.
    """
    without = [
        (target, health) for target, health in healths.values() if not health.state and target.probe.type != "external"
    ]
    if not without:
        return "", 0.0
    target, health = without[0]
    reason = f"the check of {target.real} has no verdict"
    if len(without) > 1:
        reason = f"the checks of {target.real} and {counted(len(without) - 1, 'more real')} have no verdict"
    if health.last is not None and not health.last.state and health.last.reason:
        reason += f" ({health.last.reason})"
    probes = {target.probe for target, _health in without}
    longest = max(max(probe.rise, probe.fall) * max(probe.interval, probe.timeout) + probe.timeout for probe in probes)
    return reason, min(longest + _SLACK_SECONDS, _LONGEST_SECONDS)


def doubt_path(vips: Mapping[VipKey, Vip], healths: Mapping[tuple[VipKey, str], tuple[Target, Health]]) -> str:
    """Why this balancer's own way to its reals is in doubt: every one of several that it asks is silent, "" otherwise.

    A real that refuses or answers wrongly proves the way. One on this host is reached another way.
    """
    local = {real.address for vip in vips.values() for real in vip.reals if real.local}
    silent = set()
    for (key, real), (target, health) in healths.items():
        if key not in vips or real in local or target.probe.type == "external":
            continue
        last = health.last
        if health.state != "down" or last is None or last.state != "down" or last.took < target.probe.timeout:
            return ""
        silent.add(real)
    if len(silent) < _SEVERAL:
        return ""
    return (
        f"all {len(silent)} reals that are checked are silent, so the way to them may be broken here: traffic is asked"
        " to go elsewhere"
    )


def host_faults(instance: str, places: Mapping[Place, str], gateway: str | None) -> tuple[str, ...]:
    """What is wrong with a host, so that no packet is served.

    `places`: where programs are to run → what is wrong there, "" where nothing is; `gateway`: the MAC that packets are
    sent to, "" where it is not known.
    """
    own = {place: wrong for place, wrong in places.items() if (place.instance, place.program) == (instance, "balancer")}
    if len(own) > 1:
        # That it cannot be looked at for the moment says nothing against what was seen of it.
        own = {place: wrong for place, wrong in own.items() if place.where != UNSEEN}
    found = sorted({wrong for place, wrong in own.items() if wrong and wrong != unpinned(place)})
    if not own:
        found.append(f"the program of balancer {instance} is attached nowhere")
    if not gateway:
        found.append("the gateway's MAC is not known")
    return tuple(found)


def by_real(vip: str, verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    """Real → what checks say of it in this VIP, by name."""
    return {verdict.real: verdict for verdict in verdicts if verdict.vip == vip}
