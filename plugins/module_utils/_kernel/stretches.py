# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stretch of an array, which may be huge, by one call."""

from __future__ import annotations

import ctypes
import errno
import struct

from .._model.map_specs import MMAPABLE
from . import bpf
from .open_map import Map

_MAP_LOOKUP_BATCH = 24


def read_stretch(opened: Map, start: int, count: int) -> bytes:
    """`count` values of an array from index `start` on, back to back: each a value's own size, or 8 bytes if mapped.

    The range has to be within the array.
    """
    if opened.info.flags & MMAPABLE:
        stride = (opened.info.value_size + 7) // 8 * 8
        with opened.mmap(writable=False) as mapped:
            return bytes(mapped[start * stride : (start + count) * stride])
    values = ctypes.create_string_buffer(opened.info.value_size * count)
    keys = ctypes.create_string_buffer(4 * count)
    # The kernel goes on behind the key that it is given.
    behind, after = ctypes.create_string_buffer(struct.pack("=I", start - 1 & 0xFFFFFFFF), 4), ctypes.c_uint64()
    ways = (ctypes.addressof(behind) if start else 0, ctypes.addressof(after))
    entries = (ctypes.addressof(keys), ctypes.addressof(values))
    try:
        bpf.command(_MAP_LOOKUP_BATCH, struct.pack("=QQQQIIQQ", *ways, *entries, count, opened.fd, 0, 0))
    except OSError as error:
        # It says so at the end of the map, having answered all the same.
        if error.errno != errno.ENOENT:
            raise
    return values.raw
