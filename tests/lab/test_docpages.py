# SPDX-License-Identifier: GPL-3.0-or-later
"""How pages are read and compared (docpages/), and that no page is left out."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from docpages import fleet as pages
from docpages.match import missing
from docpages.page import Page, PageError, Skip, Step, Text, parse
from docpages.run import NotSoError, Runner, merged, working_directory

TOP = "<!-- doctest: page deployed -->\n"
SHARDS = Path(__file__).parent.glob("test_pages_*.py")


def read(text: str) -> Page:
    return parse(Path("x.md"), text, "x.md")


def test_a_page_is_its_blocks_in_order() -> None:
    page = read(
        TOP
        + """# A page
```sh
a \\
  b
```
text

<!-- doctest: merge group_vars/all.yml -->
```yaml
k: 1
```

1. a list

   ```console
   $ git diff
   -old
   ...
   lb1# katran status
   (exit status 3)
   real1# a \\
   > b
   ```

<!-- doctest: run lb1# katran undrain -->
<!-- doctest: within 20 -->
```console
$ c
```

<!-- doctest: skip there is no Galaxy
     on this machine -->
```sh
d
```
"""
    )
    assert page.kind == "deployed"
    assert page.sizes == (2, 3)
    assert page.parts == (
        Step(3, "a \\\n  b", strict=True),
        Text(10, "group_vars/all.yml", "k: 1\n", True),
        Step(17, "git diff", shown=("-old", "...")),
        Step(20, "katran status", "lb1", status=3),
        Step(22, "a \\\nb", "real1"),
        Step(28, "katran undrain", "lb1", strict=True),
        Step(29, "c", within=20.0),
        Skip(34, "there is no Galaxy on this machine"),
    )


def test_a_page_says_how_many_hosts_it_needs() -> None:
    assert read("<!-- doctest: page bare balancers=3 reals=1 -->").sizes == (3, 1)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\na\n```", "x.md: has commands and does not say where they run"),
        ("<!-- doctest: page all -->", "x.md:1: doctest: page all is none of deployed, bare, new, own, none"),
        ("<!-- doctest: page deployed reals=2 -->", "x.md:1: doctest: page deployed reals=2: only bare, new and own"),
        (TOP + "```bash\na\n```", "x.md:2: ```bash: say ```sh"),
        (TOP + "```sh\na\n", "x.md:2: this block is never closed"),
        (TOP + "```console\nhello\n```", "x.md:3: a console block begins with a command"),
        (TOP + "```console\n# katran status\n```", "x.md:3: a console block begins with a command"),
        (TOP + "<!-- doctest: skip -->\n```sh\na\n```", "x.md:3: why is this block skipped?"),
        (TOP + "<!-- doctest: file -->\n```yaml\na\n```", "x.md:3: the path of the file is missing"),
        (TOP + "<!-- doctest: skip there is no such -->\nx\n```sh\na\n```", "x.md:2: no block follows doctest: skip"),
        (TOP + "<!-- doctest: ignore -->\n```sh\na\n```", "x.md:3: doctest: ignore is none of"),
    ],
)  # fmt: skip
def test_what_a_writer_has_to_mend(text: str, fault: str) -> None:
    with pytest.raises(PageError) as told:
        read(text)
    assert str(told.value).startswith(fault)


SEEN = "PLAY [all] *****\n\nVIP            IN\n198.18.200.1   3/4\nlb1 : ok=5  changed=0\n"


@pytest.mark.parametrize(
    ("shown", "absent"),
    [
        ([], ""),
        (["VIP IN", "198.18.200.1  .../4"], ""),
        (["PLAY [all] ***********", "...", "lb1 : ok=... changed=0"], ""),
        (["lb1 ... changed=0", "...", "VIP IN"], "VIP IN"),
        # Without a line of its own that says that something is left out.
        (["VIP IN", "lb1 : ok=5 changed=0"], "lb1 : ok=5 changed=0"),
        (["lb1 : ok=5 changed=1"], "lb1 : ok=5 changed=1"),
        (["VIP"], "VIP"),
    ],
)
def test_what_is_shown_is_found_in_order(shown: list[str], absent: str) -> None:
    assert missing(shown, SEEN) == absent


def test_keys_are_merged_into_a_file() -> None:
    text = "# ours\na: 1\nb:\n  - 2\n  # of b\nc: 3\n"
    assert merged(text, "# new\nb: [4]\nd: 5\n") == "# ours\na: 1\nb: [4]\nc: 3\nd: 5\n"
    assert merged("", "# new\nb: [4]\n") == "# new\nb: [4]\n"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(working_directory(tmp_path_factory.mktemp("pages")), "nolab")


def test_one_shell_runs_the_commands_of_a_page(runner: Runner) -> None:
    runner.page(
        read(
            """<!-- doctest: page none -->
```sh
test -f inventory/hosts.yml
there=inventory; export OUT=1
say() { echo "said $1"; }
cd $there
```
```console
$ pwd; say $OUT
.../inventory
said 1
$ cd ..; git log --oneline origin/main
... The fleet as it is
$ git status --short
$ sleep 1000 &
```
<!-- doctest: file inventory/group_vars/new.yml -->
```yaml
a: 1
```
```console
$ git status --short
?? inventory/group_vars/new.yml
$ grep -r b inventory/group_vars/new.yml
(exit status 1)
```
"""
        ),
        "x.md",
    )


NOT_SEEN = """x.md:3: not seen: b
  command:
    $ echo a
  expected (exit status 0):
    b
  seen (exit status 0):
    a"""


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("```sh\nfalse\ntrue\n```", "x.md:2: exit status 1, not 0\n  command:\n    $ false\ntrue\n"),
        ("```console\n$ false\n```", "x.md:3: exit status 1, not 0"),
        ("```console\n$ echo a\nb\n```", NOT_SEEN),
    ],
)  # fmt: skip
def test_what_a_page_says_and_is_not_so(runner: Runner, block: str, fault: str) -> None:
    with pytest.raises(NotSoError) as told:
        runner.page(read("<!-- doctest: page none -->\n" + block), "x.md")
    assert str(told.value).startswith(fault)


def test_what_takes_a_while_is_waited_for(runner: Runner) -> None:
    block = "<!-- doctest: within 20 -->\n```console\n$ echo >>tries; cat tries | wc -l\n3\n```"
    runner.page(read("<!-- doctest: page none -->\n" + block), "x.md")


def test_a_file_that_ansible_would_not_read_is_refused(runner: Runner) -> None:
    with pytest.raises(PageError, match=r"Ansible reads all/ and not all\.yml"):
        runner.write(Text(1, "inventory/group_vars/all.yml", "a: 1\n", True), "x.md")


def test_every_page_is_run_by_one_of_these_files_and_the_rest_says_why_not(request: pytest.FixtureRequest) -> None:
    run: list[str] = []
    for shard in SHARDS:
        run += map(pages.name_of, runpy.run_path(str(shard))["PAGES"])
    for path in pages.paths():
        page = pages.read(path)
        # What a newcomer has is test_quick_start.py's.
        wanted = page.runs and page.kind != "new"
        assert run.count(pages.name_of(path)) == wanted, f"{path}: give its folder to a test_pages_*.py"
    skips = pages.skips()
    print(f"\n{len(skips)} blocks are not run:", *skips, sep="\n  ")
