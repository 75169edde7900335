# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XDP programs on interfaces, over netlink."""

from __future__ import annotations

import errno
import typing as t
from collections.abc import Iterable

from .._model.errors import ModeError, ProgramError
from .._model.snapshot import Attachment
from .netlink import open_route
from .privilege import permission_hint

XDP_SKB_MODE, XDP_DRV_MODE, XDP_REPLACE = 2, 4, 16
MODES = {"native": XDP_DRV_MODE, "generic": XDP_SKB_MODE}
_ATTACHED = {1: "native", 2: "generic", 3: "offload", 4: "multi"}


class Interfaces:
    """XDP attachments over netlink."""

    def __init__(self) -> None:
        # With the kernel's own words for a refusal.
        self._route = open_route(ext_ack=True)
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # pylint: disable=import-outside-toplevel

        # pyroute2 0.7.2 (Debian 12) encodes the flags as a big-endian u16, which the kernel answers with ERANGE.
        ifinfmsg.xdp.xdp_flags.fields = [("value", "I")]

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._route.close()

    def index(self, interface: str) -> int:
        """The interface's number; ProgramError where there is none of that name."""
        found = self._route.link_lookup(ifname=interface)
        if not found:
            raise ProgramError(f"interface {interface} does not exist on this host")
        return t.cast(int, found[0])

    def every_attached(self) -> list[Attachment]:
        """The XDP programs on all interfaces."""
        return [found for found in map(self._attachment, self._route.get_links()) if found is not None]

    @staticmethod
    def _attachment(link: t.Any) -> Attachment | None:
        xdp = link.get_attr("IFLA_XDP")
        program_id = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
        if not program_id:
            return None
        mode = xdp.get_attr("IFLA_XDP_ATTACHED")
        names = {None: 0, "xdp": 1, "xdpgeneric": 2, "xdpoffload": 3, "xdpmulti": 4}
        text = _ATTACHED.get(names.get(mode, mode), str(mode))
        return Attachment(link.get_attr("IFLA_IFNAME"), link["index"], program_id, text)

    def replace(self, interface: str, fd: int, mode: str, expected_fd: int | None) -> None:
        """Attach a program (fd -1: detach) if the interface still has the expected one (None: none at all).

        Atomic in the kernel. ProgramError says that somebody else changed the attachment, or why it is refused.
        """
        expected = -1 if expected_fd is None else expected_fd
        attributes = [
            ("IFLA_XDP_FD", fd),
            ("IFLA_XDP_EXPECTED_FD", expected),
            ("IFLA_XDP_FLAGS", MODES[mode] | XDP_REPLACE),
        ]
        try:
            self._route.link("set", index=self.index(interface), xdp={"attrs": attributes})
        except Exception as error:
            code = getattr(error, "code", None)
            reason = str(error.args[1] if len(error.args) > 1 else error)
            if code == errno.EBUSY:
                raise ProgramError(
                    f"the XDP program on interface {interface} is held by a BPF link: {reason}"
                ) from error
            if code == errno.EEXIST:
                raise ProgramError(
                    f"the XDP program on interface {interface} changed meanwhile: somebody else attached one ({reason})"
                ) from error
            if code == errno.EPERM:
                raise ProgramError(f"interface {interface}: {permission_hint(OSError(code, ''))}") from error
            if code is not None and fd >= 0:
                raise ModeError(interface, mode, reason) from error
            raise ProgramError(f"interface {interface}: the XDP program cannot be changed: {reason}") from error


def every_attachment() -> list[Attachment]:
    """The XDP programs on all interfaces of this network namespace."""
    with Interfaces() as links:
        return links.every_attached()


def attachments(interfaces: Iterable[str]) -> dict[str, Attachment]:
    """Interface → the XDP program on it, of those interfaces that exist and have one."""
    wanted = set(interfaces)
    return {item.interface: item for item in every_attachment() if item.interface in wanted} if wanted else {}
