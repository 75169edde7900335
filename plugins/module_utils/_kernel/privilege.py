# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this process may do, and what a refusal by the kernel means to an operator."""

from __future__ import annotations

import errno

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
_CAP_SYS_ADMIN = 21


def missing_capabilities() -> list[str]:
    """The capabilities that a balancer needs and this process lacks; CAP_SYS_ADMIN includes those for BPF."""
    effective = 0
    with open("/proc/self/status", encoding="ascii") as source:
        for line in source:
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
    if effective >> _CAP_SYS_ADMIN & 1:
        return [] if effective >> _CAPABILITIES["CAP_NET_ADMIN"] & 1 else ["CAP_NET_ADMIN"]
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def permission_hint(error: OSError) -> str:
    """What the errno of a refused bpf(2) or netlink call means to an operator."""
    if error.errno == errno.EPERM:
        return (
            "not permitted: it takes root or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON,"
            " no kernel lockdown and no LSM denial"
        )
    return error.strerror or str(error)


def map_failure(error: OSError) -> str:
    """What the errno of a refused map operation means to an operator."""
    return {
        errno.E2BIG: "it is full (E2BIG): raise the size of the balancer that limits it",
        errno.ENOSPC: "it is full (ENOSPC): raise the size of the balancer that limits it",
        errno.EPERM: "the kernel does not permit it (EPERM): CAP_BPF is missing, or a lockdown or LSM forbids it",
        errno.EBUSY: "the kernel is busy (EBUSY)",
        errno.ENOMEM: "the kernel has no memory left (ENOMEM)",
    }.get(error.errno or 0, f"the kernel refused ({error.strerror or error})")
