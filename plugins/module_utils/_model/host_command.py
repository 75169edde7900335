# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran in a host's PATH, a file of ours which leads to the library; its man page and completion."""

from __future__ import annotations

PATH = "/usr/local/bin/katran"
_MARK = "# Written by katran.fleet"
TEXT = f"""#!/bin/sh
{_MARK}: every run of module host has it so.
exec /usr/bin/python3 -I /usr/lib/katran-fleet/katran "$@"
"""


LINKS = {
    "/usr/local/share/man/man1/katran.1": "/usr/lib/katran-fleet/katran.1",
    "/usr/local/share/bash-completion/completions/katran": "/usr/lib/katran-fleet/katran.bash",
}
"""Where man and bash look → the library's files."""


def is_ours(there: str | None) -> bool:
    """Whether a file's text is one that we wrote, in whatever version."""
    return there is not None and any(line.startswith(_MARK) for line in there.splitlines())


def stays(there: str | None) -> str:
    """A warning where somebody else's command is in the place of ours; "" where there is none."""
    if there is None or is_ours(there):
        return ""
    return f"{PATH} is somebody else's, and stays so: python3 -I /usr/lib/katran-fleet/katran is ours"
