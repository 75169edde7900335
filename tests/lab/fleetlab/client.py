# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests do in the client's network namespace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from fleetlab import flows
from fleetlab.flows import Flow, Target
from fleetlab.plan import Lab
from fleetlab.system import network

T = TypeVar("T")


def in_client(lab: Lab, call: Callable[[], T]) -> T:
    """What *call* returns in the client, of the calling thread alone: a namespace belongs to a thread."""
    with network(lab.namespace_path(lab.host("client"))):
        return call()


@contextmanager
def asking_meanwhile(lab: Lab, targets: list[Target], concurrency: int, at_least: int) -> Iterator[Future[list[Flow]]]:
    """Make connections from the client for as long as the with block lasts, and at least *at_least*."""
    over = threading.Event()

    def ask() -> list[Flow]:
        return in_client(lab, lambda: asyncio.run(flows.keep_asking(targets, concurrency, at_least, over.is_set)))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask)
        try:
            yield future
        finally:
            over.set()
