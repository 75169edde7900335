# SPDX-License-Identifier: GPL-3.0-or-later
"""Make HTTP requests to VIPs in turn, each over a connection of its own: `ask.py TIMES PAUSE VIP...`.

TIMES 0: until the process is ended; PAUSE: seconds between two requests. Each gives one line: the name of the real that
answered, as the laboratory's reals say it, or "failed" and why. The laboratory's hosts have Python, and no curl.
"""

from __future__ import annotations

import http.client
import itertools
import sys
import time

TIMEOUT = 3.0


def ask(vip: str) -> str:
    """What one request to port 80 gave."""
    connection = http.client.HTTPConnection(vip, 80, timeout=TIMEOUT)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode("ascii").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"failed: {vip}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return body if answer.status == http.client.OK else f"failed: {vip}: status {answer.status}"


def main(times: int, pause: float, vips: list[str]) -> None:
    """Ask every VIP so many times."""
    for number in itertools.count(1):
        for vip in vips:
            print(ask(vip), flush=True)
            time.sleep(pause)
        if number == times:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
