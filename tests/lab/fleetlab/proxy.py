# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh's way to a host: the proxy command, the only thing that knows where NAME.LABORATORY.invalid is.

With ProxyUseFdpass, ssh takes a connected socket from the command instead of piping bytes through it.
"""

from __future__ import annotations

import array
import re
import socket

from fleetlab import lifecycle
from fleetlab.plan import CONTROL, LabError, lab_named
from fleetlab.system import network


def connect(name: str, port: int) -> None:
    """Connect to a host of a laboratory from its control namespace and pass the socket to ssh on standard output."""
    match = re.fullmatch(r"([a-z0-9]+)\.([a-z0-9]+)\.invalid", name)
    if not match:
        raise LabError(f"{name} is no host of a laboratory (those are called NAME.LABORATORY.invalid)")
    lab = lifecycle.require_up(lab_named(match[2]))
    host = lab.host(match[1])
    with network(lab.namespace_path(CONTROL)):
        try:
            connection = socket.create_connection((host.management, port), timeout=10)
        except OSError as error:
            raise LabError(f"{name}: {error}") from None
    connection.setblocking(True)
    with socket.socket(fileno=1) as ssh:
        ssh.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
        ssh.detach()
