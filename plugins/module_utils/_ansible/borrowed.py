# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reviews of modules within another module: their whole work in check mode, without their end."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .._model.errors import ConfigError
from .._model.faults import shortened
from .._model.options import Spec
from .._model.shape import loose_numbers
from .module import reviewing


class Borrowed:
    """Stands in for a module: options as a task gives them, and then its result."""

    check_mode = True
    _diff = False

    def __init__(self, options: Mapping[str, t.Any]) -> None:
        self.params: dict[str, t.Any] = dict(options)
        self.result: dict[str, t.Any] = {}

    def validated(self, spec: Spec) -> t.Self:
        """With the options as AnsibleModule reads them. ConfigError lists what is wrong with them."""
        self.params = validated(self.params, spec)
        return self


def validated(options: Mapping[str, t.Any], spec: Spec) -> dict[str, t.Any]:
    """Options as AnsibleModule reads them. ConfigError lists what is wrong with them."""
    loose = list(loose_numbers(options, spec))
    if loose:
        raise ConfigError("; ".join(shortened(loose, "and {} more")))
    found = ArgumentSpecValidator(spec).validate(dict(options))
    if found.error_messages:
        raise ConfigError("; ".join(found.error_messages))
    return dict(found.validated_parameters)


@contextmanager
def borrowed(options: Mapping[str, t.Any]) -> Iterator[Borrowed]:
    """In this block, a module does its whole work with these options in check mode, and does not end the process."""
    reviewing.append(Borrowed(options))
    try:
        yield reviewing[-1]
    finally:
        reviewing.pop()
