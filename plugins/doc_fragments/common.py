# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments katran.fleet.common, and below it resource, unready, planned, sources, attributes and info."""

    DOCUMENTATION = r"""
options:
  instance:
    description:
      - The name of the balancer on the host.
      - It begins with a lower case letter or a digit, followed by up to 31 of these, C(_) or C(-).
    type: str
    default: default
  bpffs:
    description:
      - Where the bpf file system is mounted that holds the pinned maps and programs.
    type: path
    default: /sys/fs/bpf
  lock_timeout:
    description:
      - How many seconds to wait for another run on the same balancer.
    type: int
    default: 30
requirements:
  - root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON
  - python3-netaddr on the host
"""

    RESOURCE = r"""
options:
  state:
    description:
      - V(merged) adds and changes what is listed; options of an existing entry that are not given keep their value.
      - V(replaced) makes each listed entry exactly as listed and leaves the others alone.
      - V(overridden) makes the whole resource exactly what is listed.
      - V(deleted) removes the listed entries; only the options that name an entry count.
    type: str
    choices:
      - merged
      - replaced
      - overridden
      - deleted
    default: merged
  allow_empty:
    description:
      - Allow O(state=overridden) and O(state=deleted) with an empty or absent O(config), which removes every entry.
    type: bool
    default: false
"""

    UNREADY = r"""
options:
  unready_reals:
    description:
      - Reals that could not be prepared. What would newly lead flows to one of them stays as it was, or is left out
        where it is new. A warning says so, and a later run without the real here goes on.
    type: list
    elements: str
    default: []
"""

    PLANNED = r"""
options:
  planned:
    description:
      - In check mode, plan for a balancer of these features and sizes instead of the one that is loaded. It is what
        module M(katran.fleet.balancer) would have made in the same play.
      - Out of check mode it means nothing.
    type: dict
    suboptions:
      features:
        description:
          - As O(katran.fleet.balancer#module:features).
        type: list
        elements: str
        choices:
          - source_routing
          - tcp_server_id
          - udp_stable_routing
          - udp_flow_migration
          - cidr_vips
          - global_lru
          - icmp_too_big
          - inline_decap
          - local_delivery
          - introspection
          - flow_debug
          - server_id_hash
          - vlan
          - source_filter
          - quic_lb
          - chain
        default: []
      sizes:
        description:
          - As O(katran.fleet.balancer#module:sizes); one that is not given has its default.
        type: dict
        default: {}
      applied:
        description:
          - The resources that the same play applied before, such as C(vips). What is not in order about their reals,
            they would have repaired, and told. C(balancer) stands for a program that the play loads.
        type: list
        elements: str
        default: []
"""

    SOURCES = r"""
options:
  source_dir:
    description:
      - Where the program's sources are. They must belong to root and be writable by nobody else.
    type: path
    default: /usr/lib/katran-fleet/bpf
  planned_sources:
    description:
      - File of O(source_dir) → SHA-256 of its content, once other tasks of the play have written it. By these, check
        mode tells whether the program is compiled anew.
      - M(katran.fleet.host) returns them in check mode, and the roles pass them on.
    type: dict
"""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode and predicts exactly what a run then does.
  diff_mode:
    support: full
    description: Returns a difference for each changed entry, under its name, and before them a line for each change.
  idempotent:
    support: full
    description: A second run with the same options changes nothing and writes nothing.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Only looks, in check mode and out of it.
  diff_mode:
    support: none
    description: Returns no difference.
  idempotent:
    support: full
    description: Changes nothing.
"""
