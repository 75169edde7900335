# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of reals from a file that something else writes: names of hosts and numbers, as YAML, JSON or CSV."""

from __future__ import annotations

import csv
import os
import stat
import typing as t
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import yaml

from ansible_collections.katran.fleet.plugins.module_utils._model.vips import MAX_WEIGHT
from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault, visible

_MAX_BYTES = 16 << 20


class WeightsError(Exception):
    """A file has no weights; the text says why."""


def weights_path(told: t.Any, folder: t.Any) -> str:
    """The path that katran_weights_file means, which is relative to the inventory's `folder`. WeightsError for none."""
    if not isinstance(told, str) or not told or "\0" in told:
        raise WeightsError(f"{told!s:.80} is not the path of a file")
    return os.path.join(str(folder or ""), os.path.expanduser(told))


def read_weights(path: str) -> Mapping[str, int]:
    """Name of a host → weight, 0 to 10000. WeightsError for a file that cannot be read, or has something else."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
            raise WeightsError(f"{path} is no file of up to {_MAX_BYTES >> 20} MiB")
        return _read(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _read(path: str, _changed: int, _size: int) -> Mapping[str, int]:
    """What a file has, read once as long as it is the same."""
    try:
        # A table that Windows saved begins with a mark.
        with open(path, encoding="utf-8-sig", newline="") as source:
            rows = _of_csv(source) if path.endswith(".csv") else _of_yaml(source)
    except (UnicodeDecodeError, csv.Error, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} is neither YAML nor JSON, or no CSV if it is called so: {reason[:200]}") from error
    weights: dict[str, int] = {}
    for name, value in rows:
        if name in weights:
            raise WeightsError(f"{path}: {visible(name)[:80]} is there twice")
        if number_fault(value) or not 0 <= int(value) <= MAX_WEIGHT:
            raise WeightsError(f"{path}: {visible(name)[:80]}: {value!s:.80} is not a weight (0 to {MAX_WEIGHT})")
        weights[name] = int(value)
    if not weights:
        # Mostly a file that its writer did not get to fill, and not that all reals are to have the same weight.
        raise WeightsError(f"{path} has no weight of any real")
    return MappingProxyType(weights)


def _of_csv(source: t.TextIO) -> list[tuple[str, t.Any]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(source)]
    rows = [row for row in rows if any(row) and not row[0].startswith("#")]
    if rows and [cell.lower() for cell in rows[0]] in (["name", "weight"], ["host", "weight"]):
        del rows[0]
    for row in rows:
        if len(row) != 2:
            raise csv.Error(f"{','.join(row)[:80]} is not a name and a weight")
    return [(row[0], row[1]) for row in rows]


def _of_yaml(source: t.TextIO) -> list[tuple[str, t.Any]]:
    """The pairs of a mapping; of which YAML itself would keep the last of several with one name."""
    loader = yaml.SafeLoader(source)
    try:
        node = loader.get_single_node()
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise yaml.YAMLError("it is no mapping of names and weights")
        pairs = [
            (loader.construct_object(key, True), loader.construct_object(value, True)) for key, value in node.value
        ]
    finally:
        loader.dispose()
    return [(str(key), value) for key, value in pairs]
