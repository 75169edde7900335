# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs of the modules."""

from __future__ import annotations

import typing as t

from .._engine.balancer import DEFAULT_SOURCE_DIR
from .._model import layout
from .._model.features import FEATURES
from .._model.map_specs import DEFAULT_SIZES
from .._model.tables import TABLES

Spec = dict[str, dict[str, t.Any]]

COMMON: Spec = {
    "instance": {"type": "str", "default": "default"},
    "bpffs": {"type": "path", "default": "/sys/fs/bpf"},
    "lock_timeout": {"type": "int", "default": 30},
}

RESOURCE: Spec = {
    "state": {"type": "str", "choices": ["merged", "replaced", "overridden", "deleted"], "default": "merged"},
    "allow_empty": {"type": "bool", "default": False},
}

RESOURCE_CONFIG: dict[str, Spec] = {
    "vips": {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
        "flags": {"type": "list", "elements": "str", "choices": list(layout.VIP_FLAGS)},
        "hash": {"type": "str", "choices": ["maglev_v1", "maglev_v2"]},
        "reals": {
            "type": "list",
            "elements": "dict",
            "options": {
                "address": {"type": "str", "required": True},
                "weight": {"type": "int"},
                "state": {"type": "str", "choices": ["active", "draining", "down"]},
                "local": {"type": "bool"},
            },
        },
        "down_reals": {"type": "list", "elements": "str"},
    },
    "reals": {
        "address": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["active", "draining", "down"]},
    },
    "source_routes": {"prefix": {"type": "str", "required": True}, "real": {"type": "str"}},
    "server_ids": {"id": {"type": "int", "required": True}, "real": {"type": "str"}},
    "decap_destinations": {"address": {"type": "str", "required": True}, "egress": {"type": "bool"}},
    "healthcheck_destinations": {"mark": {"type": "int", "required": True}, "real": {"type": "str"}},
}
"""Resource → the options of one entry of its `config`."""

PLANNED: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
        "sizes": {"type": "dict", "default": {}},
    },
}

LOADED = ("vips", *TABLES)
"""The resources that need features of the program."""

INFO_SUBSETS = ["program", "vips", "reals", "source_routes", "server_ids", "decap_destinations"]
INFO_SUBSETS += ["healthcheck", "counters", "flows", "maps"]


BALANCER: Spec = {
    "state": {"type": "str", "choices": ["attached", "loaded", "rolled_back", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic", "auto"], "default": "native"},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "gue_port": {"type": "int", "default": 6080},
    "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
    "source_ipv4": {"type": "str", "default": "auto"},
    "source_ipv6": {"type": "str", "default": "auto"},
    "source_prefix_ipv4": {"type": "str", "default": "172.16.0.0/16"},
    "source_prefix_ipv6": {"type": "str", "default": "100::/64"},
    "gateway_mac": {"type": "str", "default": "auto"},
    "copy_tos": {"type": "bool", "default": True},
    "decap_any": {"type": "bool", "default": False},
    "sizes": {
        "type": "dict",
        "default": {},
        "options": {name: {"type": "int", "default": size} for name, size in DEFAULT_SIZES.items()},
    },
    "max_frame": {"type": "int", "default": 1514},
    "max_new_flows": {"type": "int", "default": 125000},
    "udp_timeout": {"type": "int", "default": 30},
    "forwarding_cores": {"type": "raw", "default": "auto"},
    "numa": {"type": "str", "choices": ["auto", "none"], "default": "auto"},
    "root_array": {
        "type": "dict",
        "options": {"path": {"type": "path", "required": True}, "position": {"type": "int", "required": True}},
    },
    "untouched": {"type": "list", "elements": "str", "choices": list(LOADED), "default": []},
    "accept_rehash": {"type": "bool", "default": False},
    "replace_foreign": {"type": "bool", "default": False},
}

DECAP: Spec = {
    "state": {"type": "str", "choices": ["attached", "withdrawn", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "vips": {"type": "list", "elements": "str"},
    "keep_vips": {"type": "bool", "default": False},
    "sources": {"type": "list", "elements": "str", "default": []},
    "gue_port": {"type": "int", "default": 6080},
    "server_id": {"type": "int", "default": 0},
    "loopback": {"type": "bool", "default": True},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}

FLOW_FILTERS: Spec = {"vip": {"type": "str"}, "real": {"type": "str"}, "client": {"type": "str"}}

FLOWS: Spec = {
    "flows": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "source": {"type": "str", "required": True},
            "destination": {"type": "str", "required": True},
            "source_port": {"type": "int", "required": True},
            "destination_port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
            "server_id": {"type": "int"},
        },
    }
}

HEALTHCHECK: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interface": {"type": "str"},
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "gue_port": {"type": "int", "default": 6080},
    "source_ipv4": {"type": "str", "default": "auto"},
    "source_ipv6": {"type": "str", "default": "auto"},
    "source_mac": {"type": "str", "default": "auto"},
    "gateway_mac": {"type": "str", "default": "auto"},
    "max_frame": {"type": "int", "default": 1514},
    "counted_vips": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
        },
    },
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}

XDP_ROOT: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["native", "generic"], "default": "native"},
    "source_dir": {"type": "path", "default": DEFAULT_SOURCE_DIR},
}

HOST: Spec = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "packages": {"type": "list", "elements": "str", "default": []},
    "follow_gateway": {"type": "bool"},
    "real": {
        "type": "dict",
        "options": {
            "interfaces": {"type": "list", "elements": "str", "required": True},
            "mtu": {"type": "int", "default": 0},
            "mss": {"type": "int", "default": 0},
            "vips": {"type": "list", "elements": "str"},
        },
    },
    "files": {"type": "dict"},
    "contents": {"type": "dict"},
}
