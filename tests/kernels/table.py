# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels × programs: runs machines one after another and prints what each program came to."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.katran.fleet.tests.kernels import machine, work
from ansible_collections.katran.fleet.tests.kernels.debian import KernelError, install_tools, kernel, say

Outcome = dict[str, Any]

_FORM = "{:<38} {:>12} {:>9} {:>8} {:>11} {:>8}  {}"

PROCESSED_LIMIT = 400_000
"""Of a million that the verifier processes before it gives up; as in tests/conformance/test_combinations.py."""


def complaint(found: Outcome) -> str:
    """What is wrong with a job's outcome; empty where nothing is."""
    if "error" in found:
        return str(found["error"])
    if found["wrong"]:
        more = found["wrongs"] - len(found["wrong"])
        return "\n".join([*found["wrong"], f"and {more} more"] if more else found["wrong"])
    if found["passed"] != found["vectors"]:
        return f"{found['passed']} of {found['vectors']} vectors passed"
    if found.get("processed", 0) > PROCESSED_LIMIT:
        return f"the verifier processes {found['processed']} instructions, more than {PROCESSED_LIMIT}"
    return ""


def outcomes(series: str, jobs: Sequence[work.Job]) -> Iterator[Outcome]:
    """The outcome of each job on a kernel of this series, after a first line about the kernel itself."""
    install_tools()
    chosen = kernel(series)
    begin = time.monotonic()
    archive = work.archive(jobs)
    say(f"{len(jobs)} jobs ready ({time.monotonic() - begin:.1f} s); booting Linux {chosen.release} ({chosen.version})")
    left = {job["name"] for job in jobs}
    for word in machine.run(chosen, archive):
        left.discard(word.get("job", ""))
        if "end" not in word:
            yield word
    if left:
        raise KernelError(f"the machine did not run {', '.join(sorted(left))}")


def lines(found: Outcome) -> list[str]:
    """The table's lines for what outcomes() yields: a kernel's head, or a program's row and what is wrong with it."""
    if "job" not in found:
        return [
            f"Linux {found['kernel']}, emulated: at work {found['seconds']:.0f} s after its start",
            _FORM.format("program", "instructions", "processed", "load ms", "vectors", "seconds", "").rstrip(),
        ]
    wrong = complaint(found)
    note = "FAILED" if wrong else ""
    if "compile_seconds" in found and not wrong:
        same = "the same bytecode as here" if found["same"] else "other bytecode than here"
        note = f"compiled in {found['compile_seconds']} s: {same}"
    vectors = f"{found['passed']}/{found['vectors']}" if found.get("vectors") else ""
    rows = [_FORM.format(found["job"], *_numbers(found), vectors, found["seconds"], note)]
    rows += [_FORM.format(name, *_numbers(other), "", "", "") for name, other in found.get("also", {}).items()]
    rows += [f"    {line}" for line in wrong.splitlines()]
    return [row.rstrip() for row in rows]


def _numbers(found: Outcome) -> list[Any]:
    return [found.get(key, "") for key in ("instructions", "processed", "load_ms")]


def print_table(series: str, jobs: Sequence[work.Job]) -> int:
    """Run and print; the number of jobs that failed."""
    failed = 0
    begin = time.monotonic()
    for found in outcomes(series, jobs):
        failed += "job" in found and bool(complaint(found))
        print("\n".join(lines(found)), flush=True)
    seconds = time.monotonic() - begin
    print(f"{series}: {len(jobs) - failed} of {len(jobs)} as they must be ({seconds:.0f} s)\n", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="*", default=["6.1", "6.12"], help="kernels, default 6.1 and 6.12")
    parser.add_argument("--only", default="", help="jobs whose names contain this")
    chosen = parser.parse_args()
    every = [*work.none_and_all(), *work.singles()]
    jobs = [work.combination_job(combination) for combination in every]
    jobs += (
        work.recorded_jobs() + work.other_jobs() + [work.interfaces_job(), work.life_job(), work.compile_job(every[0])]
    )
    jobs = [job for job in jobs if chosen.only in job["name"]]
    failed = 0
    for series in chosen.series:
        try:
            failed += print_table(series, jobs)
        except KernelError as error:
            print(f"{series}: {error}", flush=True)
            failed += 1
    return int(failed > 0)
