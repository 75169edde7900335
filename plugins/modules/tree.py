#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tree
short_description: Make a folder hold exactly these text files
version_added: 0.1.0
description:
  - Installs a set of text files in one task, whatever their number, and removes what else is in the folder.
  - Files belong to root and are readable by all, writable by root alone.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.attributes
options:
  dest:
    description:
      - The folder on the host.
    type: path
    required: true
  files:
    description:
      - Path relative to O(dest) → content.
    type: dict
    required: true
seealso:
  - plugin: katran.fleet.tree
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Install the sources of the programs
  katran.fleet.tree:
    dest: /usr/lib/katran-fleet/bpf
    files: "{{ lookup('katran.fleet.tree', role_path ~ '/../../bpf', patterns=['*.c', '*.h']) }}"
"""

RETURN = r"""
changes:
  description: One line for each file that was, or in check mode would be, written or removed.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.tree import run_tree


def main() -> None:
    run_tree()


if __name__ == "__main__":
    main()
