# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that configurations include: of a folder on the controller, or as a host sent them."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
from collections.abc import Mapping

from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import MAX_TEXT

_MAX_MATCHES = 10_000
_USUAL = "/etc/keepalived/"
"""Where a configuration is on a balancer."""


def decoded(data: bytes) -> str:
    """Bytes of a file as text, whatever they are."""
    return data.decode("utf-8", errors="backslashreplace").removeprefix("\ufeff")


class OnDisk:
    """Files of the controller, of the folder alone where the first one is: another's configuration reads no others.

    What is included by the path that it has on the balancer is looked for in that folder, as it is below there.
    """

    def __init__(self, path: str) -> None:
        """`path`: the file that includes others."""
        self._first = path
        self._folder = os.path.realpath(os.path.dirname(path) or ".")

    def matching(self, pattern: str, beside: str) -> list[str]:
        """The paths that a pattern names, sorted."""
        if "\0" in pattern:
            return []
        names = [os.path.join(os.path.dirname(beside), pattern)]
        if os.path.isabs(pattern):
            below = pattern.removeprefix(_USUAL)
            names += [os.path.join(os.path.dirname(self._first), each) for each in (below, os.path.basename(pattern))]
        for name in names:
            found = [path for path in sorted(glob.glob(name)) if os.path.isfile(path) and self._is_here(path)]
            if found:
                return found[:_MAX_MATCHES]
        return []

    def _is_here(self, path: str) -> bool:
        return os.path.commonpath([self._folder, os.path.realpath(path)]) == self._folder

    def text(self, path: str) -> str:
        """A file's text, of which no more than the bound of a configuration is read. OSError where it has none."""
        if not os.path.isfile(path):
            # Nothing else has an end to read to.
            raise FileNotFoundError(2, "there is no such file", path)
        with open(path, "rb") as source:
            return decoded(source.read(MAX_TEXT + 1))


class Sent:
    """Files as a host sent them: path → text."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def matching(self, pattern: str, beside: str) -> list[str]:
        """The paths that a pattern names, sorted."""
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(beside), pattern))
        # A star is of one folder.
        return sorted(
            path for path in self._files if path.count("/") == whole.count("/") and fnmatch.fnmatchcase(path, whole)
        )

    def text(self, path: str) -> str:
        """A file's text. OSError where it was not sent."""
        if path not in self._files:
            raise FileNotFoundError(2, "the host did not send it", path)
        return self._files[path]
