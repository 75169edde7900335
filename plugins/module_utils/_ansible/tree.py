# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module tree."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text

from .._kernel.tree import make_tree
from .._model.errors import FleetError


def run_tree() -> None:
    """The whole of module tree."""
    module = AnsibleModule(
        argument_spec={"dest": {"type": "path", "required": True}, "files": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    try:
        changes = make_tree(module.params["dest"], module.params["files"], module.check_mode)
    except FleetError as error:
        module.fail_json(msg=to_text(error))
    else:
        output: dict[str, t.Any] = {"changed": bool(changes), "changes": changes}
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = {"prepared": "".join(f"{line}\n" for line in changes)}
        module.exit_json(**output)
