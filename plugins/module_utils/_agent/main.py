# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran-agent: the resident process of a balancer's host, and the workers that it starts."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
import time
import typing as t
from collections.abc import Sequence

WORKERS = ("runs", "looks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Until SIGTERM; exit status 1 where a part of it failed, for systemd to start it again."""
    parser = argparse.ArgumentParser(prog="katran-agent", description=__doc__)
    parser.add_argument("--worker", choices=WORKERS, help="be a process of the agent's own, which only it can talk to")
    options = parser.parse_args(arguments)
    if options.worker:
        return _work(options.worker)
    return asyncio.run(_reside())


def _work(kind: str) -> int:
    # What one process needs, the others do without.
    from .jobs_server import serve  # pylint: disable=import-outside-toplevel

    if kind == "looks":
        from .looking import Looker  # pylint: disable=import-outside-toplevel

        return serve(Looker().jobs())
    from .running import jobs  # pylint: disable=import-outside-toplevel

    return serve(jobs())


async def _reside() -> int:
    from .agent import Agent  # pylint: disable=import-outside-toplevel
    from .journal import NOTICE, WARNING, Journal  # pylint: disable=import-outside-toplevel
    from .troubles import unexpected  # pylint: disable=import-outside-toplevel

    def told(context: dict[str, t.Any]) -> str:
        error = context.get("exception")
        message = str(context.get("message"))
        return unexpected(message, error) if isinstance(error, BaseException) else message

    journal = Journal()
    agent = Agent([sys.executable, "-I", sys.argv[0], "--worker"], journal, _machine())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: journal.change(time.monotonic(), WARNING, told(context)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stopping.set)
    loop.add_signal_handler(signal.SIGHUP, agent.reloading.set)
    # What the imports made stays: to look at it for cycles over and over would hold probes up.
    gc.collect()
    gc.freeze()
    try:
        await agent.run()
    # pylint: disable-next=broad-exception-caught
    except Exception as error:  # noqa: BLE001  # whatever it is, one line tells of it and systemd starts the agent anew
        journal.tell(WARNING, unexpected("katran-agent ends", error))
        return 1
    journal.tell(NOTICE, "katran-agent ends; verdicts, routes and flows stay as they are")
    return 0


def _machine() -> str:
    """What tells this host from others."""
    try:
        with open("/etc/machine-id", encoding="ascii") as source:
            return source.read().strip()
    except OSError:
        return ""
