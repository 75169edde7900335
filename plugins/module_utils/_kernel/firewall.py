# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of nftables that packets to this host pass, and our rules in them."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Sequence

from .._model.errors import ProgramError
from .._model.firewall import Chain, Rule, read_chain, script
from .nft import has_nft, run_nft

_FAMILIES = ("ip", "ip6", "inet")
_HOOKS = ("prerouting", "input")


def _listed(*words: str) -> list[dict[str, t.Any]]:
    done = run_nft("-j", "-n", "list", *words)
    return json.loads(done.stdout)["nftables"] if not done.returncode and done.stdout else []


def read_chains() -> list[Chain]:
    """The base chains of type filter that packets to this host pass; none where the host has no nftables."""
    if not has_nft():
        return []
    found = []
    for item in _listed("chains"):
        about = item.get("chain", {})
        if about.get("type") != "filter" or about.get("hook") not in _HOOKS or about["family"] not in _FAMILIES:
            continue
        content = _listed("chain", about["family"], about["table"], about["name"])
        found.append(read_chain(about, [each["rule"] for each in content if "rule" in each]))
    return found


def change_chain(chain: Chain, rules: Sequence[Rule]) -> None:
    """Have these rules of ours at the top of a chain, and no others. ProgramError where nftables refuses."""
    done = run_nft("-f", "-", script=script(chain, rules))
    if done.returncode:
        raise ProgramError(
            f"chain {chain.label} of nftables cannot be changed ({' '.join(done.stderr.split())[:200]}): accept tunnels"
            " there yourself, and give firewall: leave (katran_real_firewall: leave)"
        )
