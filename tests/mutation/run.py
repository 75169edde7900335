# SPDX-License-Identifier: GPL-3.0-or-later
"""How many small faults in the pure room its unit tests notice, by mutmut, and which they do not.

mutmut plants the faults in a copy of the tree. A run that was stopped goes on where it was. survivors.toml lists the
faults that are known to stay unnoticed, with a reason each. Exit status 1 where fewer than 95 of 100 are noticed, those
that no test can notice included, or where one stays unnoticed that is not listed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = Path("ansible_collections/katran/fleet")
ROOM = Path("plugins/module_utils/_model")
SURVIVORS = ROOT / "tests/mutation/survivors.toml"
PAGE = ROOT / "docs/mutants.md"
MARK = "<!-- Written by tests/mutation/run.py --report --page -->\n"
ENOUGH = 95.0
"""Noticed faults of 100."""

LOOK = 0.4
"""Seconds that tests of a first look may take together, unless more are given."""

# Exit codes of pytest and of mutmut. What ends a run by a signal or by its time was noticed too.
UNNOTICED = {0, 5, 33}
NARROW = 34  # warm.py's for what the room's own tests do not notice, mutmut's for what it leaves out
UNDECIDED = {None, 2, 4, NARROW, 35, 255}


@dataclass(frozen=True)
class Change:
    """A planted fault in words that outlive other edits of its file: no line numbers."""

    file: str
    function: str
    text: str


@dataclass(frozen=True)
class Mutant:
    """A planted fault and what came of it: an exit code, or None where it was not tried."""

    name: str
    change: Change
    result: int | None


def sources() -> Iterator[Path]:
    """The files of the tree, committed or not, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = Path(name)
        if path.parts[0] != "collections" and (ROOT / path).is_file():
            yield path


def copy_tree(work: Path) -> str:
    """Bring the copy up to date: the room where mutmut reads it, the rest where it runs.

    Returns a digest of what decides whether a fault is noticed.
    """
    digest = hashlib.sha256()
    kept = set()
    for path in sorted(sources()):
        content = (ROOT / path).read_bytes()
        pure = path.is_relative_to(ROOM)
        target = (work if pure else work / "mutants") / COLLECTION / path
        kept.add(target)
        if path.parts[0] == "plugins" or path.is_relative_to("tests/unit") or path == Path("tests/mutation/quick.py"):
            digest.update(f"{path}\0".encode() + content + b"\0")
        # An untouched file keeps its time: mutmut goes by it.
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target)
    shutil.copy(ROOT / "pyproject.toml", work / "pyproject.toml")
    there = work / COLLECTION
    for old in [*there.rglob("*.py"), *(work / "mutants" / COLLECTION).rglob("*.py")]:
        as_source = work / old.relative_to(work / "mutants") if old.is_relative_to(work / "mutants") else old
        if old not in kept and as_source not in kept:
            old.unlink()
    return digest.hexdigest()


def forget(work: Path, results: Collection[int | None] | None = None) -> None:
    """Forget these results, or with them all what tests reach, so that they are found anew."""
    if results is None:
        (work / "mutants/mutmut-stats.json").unlink(missing_ok=True)
    for file in (work / "mutants" / COLLECTION / ROOM).glob("*.meta"):
        known = json.loads(file.read_text())
        for name, result in known["exit_code_by_key"].items():
            if results is None or result in results:
                known["exit_code_by_key"][name] = None
        file.write_text(json.dumps(known))


def run_mutmut(work: Path, jobs: int, only: list[str], *, look: float | None) -> None:
    """Plant what has no result yet, and write results beside the mutated files.

    `look`: try the room's tests only, for so many seconds; None: try every test.
    """
    names = [f"{'.'.join((COLLECTION / ROOM).parts)}.{name}.*" for name in only]
    if only and look is None:
        # What is named is tried whether or not it was.
        names = [mutant.name for mutant in mutants(work) if mutant.result is None and mutant.change.file[:-3] in only]
        if not names:
            return
    command = [sys.executable, str(ROOT / "tests/mutation/warm.py"), "run", "--max-children", str(jobs), *names]
    log = work / "mutmut.log"
    print(f"mutmut is at work in {work}; what it says is in {log}", flush=True)
    with log.open("w") as output:
        # The same order of sets in every run.
        environment = {**os.environ, "PYTHONHASHSEED": "0", **({"MUTANTS_NARROW": str(look)} if look else {})}
        ended = subprocess.run(command, cwd=work, check=False, stdout=output, stderr=output, env=environment)
    if ended.returncode:
        raise SystemExit(f"mutmut failed ({ended.returncode}): {log.read_text()[-2000:]}")


def describe(was: str, becomes: str) -> str:
    """What differs between two texts of a function, each line stripped: `old => new`, lines joined by ` ; `."""
    before, after = [], []
    old, new = ([line.strip() for line in text.splitlines()] for text in (was, becomes))
    for line in difflib.ndiff(old, new):
        if line.startswith("- "):
            before.append(line[2:])
        elif line.startswith("+ "):
            after.append(line[2:])
    return f"{' ; '.join(before)} => {' ; '.join(after)}"


def mutants(work: Path) -> Iterator[Mutant]:
    """Every planted fault with its result, in the order of files and of lines."""
    folder = work / "mutants" / COLLECTION / ROOM
    for file in sorted(folder.glob("*.py.meta")):
        known = json.loads(file.read_text())["exit_code_by_key"]
        if not known:
            continue
        path = file.with_suffix("")
        texts = functions(path)
        for name, result in known.items():
            mangled = name.rpartition(".")[2]
            plain = mangled.partition("__mutmut_")[0]
            text = describe(
                texts[f"{plain}__mutmut_orig"].replace(f"{plain}__mutmut_orig", ""), texts[mangled].replace(mangled, "")
            )
            function = plain.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
            yield Mutant(name, Change(path.name, function, text), result)


def functions(path: Path) -> dict[str, str]:
    """The text of each function of a file, by its name, which mutmut makes unlike any other there."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.FunctionDef)
    }


def listed() -> dict[Change, str]:
    """The faults that survivors.toml lists, with the reason of each."""
    entries = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivors", []) if SURVIVORS.exists() else []
    found = {}
    for entry in entries:
        for text in entry["changes"]:
            found[Change(entry["file"], entry["function"], text)] = entry["reason"]
    return found


@dataclass
class Figures:
    """What became of the faults of a file, or of all. `looked`: stayed unnoticed at a first look, no further tried."""

    planted: int = 0
    noticed: int = 0
    looked: int = 0
    untried: int = 0
    equivalent: int = 0
    listed: int = 0

    @property
    def share(self) -> float:
        """Noticed of 100 that are planted."""
        return 100 * self.noticed / max(self.planted, 1)

    @property
    def tried(self) -> int:
        """Of which something is known."""
        return self.planted - self.untried

    def row(self, name: str) -> str:
        """One line of the table."""
        missed = self.tried - self.noticed - self.looked
        numbers = (self.planted, self.tried, self.noticed, self.looked, missed, self.equivalent)
        cells = [name, *map(str, numbers), str(self.listed - self.equivalent), f"{self.share:.1f} %"]
        return f"| {' | '.join(cells)} |"


HEADS = (
    "file",
    "planted",
    "tried",
    "noticed",
    "unnoticed at a first look",
    "missed",
    "equivalent",
    "accepted",
    "noticed",
)


def table(files: Mapping[str, Figures], every: Figures) -> str:
    """The figures of each file, as Markdown."""
    heads = [f"| {' | '.join(HEADS)} |", f"|---|{'--:|' * (len(HEADS) - 1)}"]
    return "\n".join([*heads, *(each.row(name) for name, each in sorted(files.items())), every.row("all")])


def read_table(text: str) -> dict[str, Figures]:
    """The figures of each file, of a table as table() writes it."""
    files = {}
    for line in text.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name.endswith(".py"):
            planted, tried, noticed, looked, _missed, equivalent, accepted = map(int, cells[:-1])
            files[name] = Figures(planted, noticed, looked, planted - tried, equivalent, equivalent + accepted)
    return files


def write_page(files: Mapping[str, Figures], only: Collection[str]) -> None:
    """Write the figures into the documentation: of `only` these files, or of all where none is named."""
    said, mark, before = PAGE.read_text(encoding="utf-8").partition(MARK)
    if only:
        files = {**read_table(before), **{name: each for name, each in files.items() if name[:-3] in only}}
    every = Figures(*(sum(column) for column in zip(*map(astuple, files.values()), strict=True)))
    PAGE.write_text(f"{said}{mark}\n{table(files, every)}\n", encoding="utf-8")


def report(found: list[Mutant]) -> tuple[dict[str, Figures], int]:
    """Print the figures of each file, then what is to be done; returns the figures and the exit status."""
    known = listed()
    files: dict[str, Figures] = {}
    every = Figures()
    news: dict[tuple[str, str], list[str]] = {}
    for mutant in found:
        change = mutant.change
        reason = known.get(change)
        for figures in (files.setdefault(change.file, Figures()), every):
            figures.planted += 1
            figures.looked += mutant.result == NARROW
            figures.untried += mutant.result in UNDECIDED - {NARROW}
            figures.noticed += mutant.result not in UNDECIDED | UNNOTICED
            if mutant.result in UNNOTICED and reason is not None:
                figures.listed += 1
                figures.equivalent += reason.startswith("equivalent")
        if mutant.result in UNNOTICED and reason is None:
            news.setdefault((change.file, change.function), []).append(change.text)
    for (file, function), texts in news.items():
        print(f"[[survivors]]\nfile = {json.dumps(file)}\nfunction = {json.dumps(function, ensure_ascii=False)}")
        print(f'reason = ""\nchanges = {json.dumps(texts, indent=4, ensure_ascii=False)}\n')
    print(table(files, every))
    gone = known.keys() - {mutant.change for mutant in found}
    for change in gone:
        print(f"survivors.toml lists what is not planted any more: {change.file}, {change.function}: {change.text}")
    if news:
        print(f"{sum(map(len, news.values()))} stayed unnoticed (above) that survivors.toml does not list")
    rest = every.untried + every.looked
    if rest:
        print(f"{rest} are not tried with every test: the next run goes on with them")
    return files, int(every.share < ENOUGH or bool(news or gone or rest))


def main() -> int:
    """Read arguments, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/mutants", help="the folder to work in")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--look", type=float, default=LOOK, metavar="SECONDS", help="what a first look may take")
    parser.add_argument("--first", action="store_true", help="only look, with the room's own tests")
    parser.add_argument("--keep", action="store_true", help="believe what was noticed with other tests")
    parser.add_argument("--report", action="store_true", help="only print what is known")
    parser.add_argument("--page", action="store_true", help=f"write the figures into {PAGE.relative_to(ROOT)} too")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these files, without .py")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not arguments.report:
        work.mkdir(parents=True, exist_ok=True)
        digest = copy_tree(work)
        stamp = work / "digest"
        if not stamp.exists() or stamp.read_text() != digest:
            forget(work, UNNOTICED | {NARROW} if arguments.keep else None)
            stamp.write_text(digest)
        run_mutmut(work, arguments.jobs, arguments.only, look=arguments.look)
        if not arguments.first:
            forget(work, {NARROW})
            run_mutmut(work, arguments.jobs, arguments.only, look=None)
    files, status = report(list(mutants(work)))
    if arguments.page:
        write_page(files, arguments.only)
    return status


if __name__ == "__main__":
    sys.exit(main())
