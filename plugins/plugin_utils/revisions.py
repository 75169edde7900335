# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as a git revision has them, in a folder of their own that is gone afterwards, however the process ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible.errors import AnsibleError

# Reads until whoever has the other end is gone, killed or not, and removes the folder then.
_SWEEPER = 'cat >/dev/null; rm -rf -- "$1"'


@dataclass(frozen=True)
class Repository:
    """A git repository by the top of its working tree."""

    top: str

    @classmethod
    def around(cls, path: str) -> Repository:
        """That which a path is in. AnsibleError where it is in none."""
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        return cls(_git(folder or ".", "rev-parse", "--show-toplevel"))

    def commit(self, revision: str) -> str:
        """The commit that a revision names. AnsibleError where it names none."""
        try:
            return _git(self.top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except AnsibleError as error:
            raise AnsibleError(
                f"{revision} is no path, and no revision of {self.top}; a pipeline has to fetch it (git fetch origin"
                " main, or a depth of 0)"
            ) from error

    @contextmanager
    def checked_out(self, revision: str) -> Iterator[str]:
        """A folder, for nobody else to enter, with the files of a revision.

        Neither hooks run nor does the repository learn of it: there is an index of its own, and no worktree to prune.
        """
        commit = self.commit(revision)
        with swept_folder() as folder:
            tree = os.path.join(folder, "tree")
            os.mkdir(tree)
            index = {"GIT_INDEX_FILE": os.path.join(folder, "index")}
            _git(self.top, "read-tree", commit, **index)
            _git(self.top, "checkout-index", "--all", "--quiet", f"--prefix={tree}/", **index)
            yield tree


@contextmanager
def swept_folder() -> Iterator[str]:
    """A folder of mode 0700 that is removed at the end, or by a process of its own once this one was killed."""
    folder = tempfile.mkdtemp(prefix="katran-plan-")
    # In a session of its own: what ends a whole group of processes, as ^C does, must leave it.
    sweeper = subprocess.Popen(
        ["/bin/sh", "-c", _SWEEPER, "sh", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if sweeper.stdin is not None:
            sweeper.stdin.close()
        sweeper.wait()


def _git(folder: str, *words: str, **more: str) -> str:
    """What git says. AnsibleError with its own last line where it fails."""
    # Who calls this from a hook has variables set that mean another repository.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", folder, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**kept, **more, "LC_ALL": "C"}, errors="replace"
        )
    except OSError as error:
        raise AnsibleError(f"git cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise AnsibleError(f"git in {folder}: {lines[0] if lines else f'{words[0]} failed'}")
    return done.stdout.strip()


def is_revision_text(text: str) -> bool:
    """Whether a text may name a revision at all: git takes what begins with a dash for an option."""
    return bool(text) and not text.startswith("-") and "\0" not in text and "\n" not in text
