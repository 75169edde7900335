# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs on an interface's way out or in: qdisc clsact and its bpf filters, over netlink.

Every kernel that the collection supports has them; the newer attachment tcx begins with 6.6.
"""

from __future__ import annotations

import errno
import typing as t
from collections.abc import Callable, Iterable

from .._model.errors import ProgramError
from .._model.snapshot import CLSACT, EgressPlace, Filter
from .netlink import open_route
from .privilege import permission_hint

_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_CLSACT_HANDLE = 0xFFFF0000


def _bpf_filter(entry: t.Any) -> Filter | None:
    """A filter of bpf, None of another kind and for the entry of a priority."""
    options = entry.get_attr("TCA_OPTIONS")
    if entry.get_attr("TCA_KIND") != "bpf" or options is None or not options.get_attr("TCA_BPF_ID"):
        return None
    name = options.get_attr("TCA_BPF_NAME") or ""
    return Filter(entry["info"] >> 16, entry["handle"], options.get_attr("TCA_BPF_ID"), name)


class Egress:
    """Filters on interfaces' egress. Every failure is ProgramError with one sentence."""

    side: t.ClassVar[str] = "egress"
    parent: t.ClassVar[int] = _EGRESS
    opposite: t.ClassVar[int] = _INGRESS

    def __init__(self) -> None:
        self._route = open_route()
        from pyroute2.netlink.rtnl.tcmsg import sched_bpf  # pylint: disable=import-outside-toplevel

        # pyroute2 does not know the attributes by which the kernel names a filter's program.
        known = sched_bpf.options.nla_map
        if not any(name == "TCA_BPF_ID" for name, _kind in known):
            extra = (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))
            sched_bpf.options = type("options", (sched_bpf.options,), {"nla_map": (*known, *extra)})

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._route.close()

    def place(self, interface: str) -> EgressPlace | None:
        """The way out of an interface, None where there is none of that name."""
        found = self._route.link_lookup(ifname=interface)
        if not found:
            return None
        index = found[0]
        mac = self._route.get_links(index)[0].get_attr("IFLA_ADDRESS")
        qdisc = None
        for entry in self._route.get_qdiscs(index):
            if entry["handle"] == _CLSACT_HANDLE:
                qdisc = entry.get_attr("TCA_KIND")
        entries = list(self._route.get_filters(index=index, parent=self.parent)) if qdisc else []
        return EgressPlace(
            index=index,
            mac=mac if mac and len(mac) == 17 else None,
            qdisc=qdisc,
            filters=tuple(sorted(each for entry in entries if (each := _bpf_filter(entry)) is not None)),
            entries=frozenset((entry["info"] >> 16, entry["handle"]) for entry in entries),
            ingress=bool(qdisc and list(self._route.get_filters(index=index, parent=self.opposite))),
        )

    def add_qdisc(self, interface: str, index: int) -> None:
        """Give an interface its clsact."""
        self._do(interface, lambda: self._route.tc("add", CLSACT, index))

    def remove_qdisc(self, interface: str, index: int) -> None:
        """Take an interface's clsact away."""
        self._do(interface, lambda: self._route.tc("del", CLSACT, index))

    def add(self, interface: str, index: int, fd: int, name: str) -> None:
        """Run a program, by direct action, before every filter that is there."""
        self._do(
            interface,
            lambda: self._route.tc(
                "add-filter", "bpf", index, 0, fd=fd, name=name, parent=self.parent, direct_action=True
            ),
        )

    def replace(self, interface: str, index: int, place: Filter, fd: int) -> None:
        """Run another program in a filter's place; a packet meets the old or the new one."""
        self._do(
            interface,
            lambda: self._route.tc(
                "replace-filter",
                "bpf",
                index,
                place.handle,
                fd=fd,
                name=place.name,
                parent=self.parent,
                prio=place.priority,
                direct_action=True,
            ),
        )

    def remove(self, interface: str, index: int, place: Filter) -> None:
        """Take a filter away."""
        self._do(
            interface,
            lambda: self._route.tc("del-filter", "bpf", index, place.handle, parent=self.parent, prio=place.priority),
        )

    def _do(self, interface: str, call: Callable[[], t.Any]) -> None:
        try:
            call()
        except Exception as error:
            code = getattr(error, "code", None)
            if code is None:
                raise
            if code == errno.EPERM:
                reason = permission_hint(OSError(code, ""))
            elif code in (errno.ENOENT, errno.EOPNOTSUPP):
                reason = f"this kernel lacks CONFIG_NET_SCH_INGRESS or CONFIG_NET_CLS_BPF ({error})"
            elif code == errno.EEXIST:
                reason = "somebody else changed its filters meanwhile"
            else:
                reason = str(error)
            raise ProgramError(f"interface {interface}: the {self.side} filter cannot be changed: {reason}") from error


class Ingress(Egress):
    """The same of interfaces' ingress."""

    side = "ingress"
    parent = _INGRESS
    opposite = _EGRESS


def ways_in(interfaces: Iterable[str]) -> dict[str, EgressPlace]:
    """Interface → its way in, of those that there are. ProgramError where the host cannot tell."""
    return _places(Ingress, interfaces)


def ways_out(interfaces: Iterable[str]) -> dict[str, EgressPlace]:
    """Interface → its way out, of those that there are. ProgramError where the host cannot tell."""
    return _places(Egress, interfaces)


def _places(kind: type[Egress], interfaces: Iterable[str]) -> dict[str, EgressPlace]:
    with kind() as side:
        found = ((name, side.place(name)) for name in interfaces)
        return {name: place for name, place in found if place is not None}
