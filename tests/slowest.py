# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of tests took longest: `slowest.py TABLE [--measure]`, where scripts/workers calls it.

TABLE has a line of JSON for each file, {file, seconds, cores}: the wall's seconds, and those of cores that the session
and its children used. With --measure, tests/seconds.json takes them over, rounded up.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

SHOWN = 10
KEPT = Path(__file__).resolve().parent / "seconds.json"


def read(table: Path) -> list[dict[str, Any]]:
    """The lines; none where no file came to its end."""
    if not table.exists():
        return []
    return [json.loads(line) for line in table.read_text(encoding="ascii").splitlines()]


def kept(rows: list[dict[str, Any]], before: dict[str, int]) -> dict[str, int]:
    """What is known of files after this run: those of the folders it ran anew, those of others as before."""
    folders = {row["file"].partition("/")[0] for row in rows}
    others = {name: seconds for name, seconds in before.items() if name.partition("/")[0] not in folders}
    return dict(sorted({**others, **{row["file"]: math.ceil(row["seconds"]) for row in rows}}.items()))


def main() -> None:
    rows = sorted(read(Path(sys.argv[1])), key=lambda row: -row["seconds"])
    print(f"\n== the slowest of {len(rows)} files (seconds, of them at work)")
    for row in rows[:SHOWN]:
        print(f"   {row['seconds']:5.0f} {row['cores']:5.0f}  {row['file']}")
    if "--measure" in sys.argv[2:]:
        before = json.loads(KEPT.read_text(encoding="ascii")) if KEPT.exists() else {}
        KEPT.write_text(json.dumps(kept(rows, before), indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
