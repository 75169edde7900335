# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tree
short_description: The text files below a folder of the controller, as one value
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Returns a dictionary of relative path to content, for module M(katran.fleet.tree), which installs it in one task.
options:
  _terms:
    description:
      - The folder.
    required: true
  patterns:
    description:
      - File name patterns to take.
    type: list
    elements: str
    default: ["*"]
  prefix:
    description:
      - Put before each path, so that the files of several folders make one tree.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Install the sources of the programs
  katran.fleet.tree:
    dest: /usr/lib/katran-fleet/bpf
    files: "{{ lookup('katran.fleet.tree', role_path ~ '/../../bpf', patterns=['*.c', '*.h']) }}"
"""

RETURN = r"""
_raw:
  description: For each folder, relative path to content.
  type: list
  elements: dict
"""

import fnmatch
import os
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Reads whole folders of text."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        patterns: list[str] = self.get_option("patterns")
        prefix: str = self.get_option("prefix")
        return [
            {prefix + path: text for path, text in _read(os.path.realpath(folder), patterns).items()}
            for folder in terms
        ]


def _read(folder: str, patterns: list[str]) -> dict[str, str]:
    found = {}
    for parent, _folders, names in os.walk(folder):
        for name in names:
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                path = os.path.join(parent, name)
                with open(path, encoding="utf-8") as source:
                    found[os.path.relpath(path, folder)] = source.read()
    if not found:
        raise AnsibleLookupError(f"there is no file {' or '.join(patterns)} below {folder}")
    return dict(sorted(found.items()))
