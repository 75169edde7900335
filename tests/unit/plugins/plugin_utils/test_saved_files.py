# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that configurations include."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.plugin_utils.saved_files import OnDisk, Sent


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "conf.d").mkdir(parents=True)
    for name in ("keepalived.conf", "conf.d/b.conf", "conf.d/a.conf", "flat.conf"):
        (folder / name).write_text(name)
    (tmp_path / "secret.conf").write_text("secret")
    (folder / "conf.d" / "link.conf").symlink_to(tmp_path / "secret.conf")
    return folder


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("conf.d/*.conf", ["conf.d/a.conf", "conf.d/b.conf"]),
        ("flat.conf", ["flat.conf"]),
        # As it is called on the balancer.
        ("/etc/keepalived/conf.d/*.conf", ["conf.d/a.conf", "conf.d/b.conf"]),
        ("/opt/lvs/flat.conf", ["flat.conf"]),
        ("conf.d", []),
        ("none*", []),
        # Another's configuration reads nothing of the controller's.
        ("/etc/passwd", []),
        ("../secret.conf", []),
        ("conf.d/link.conf", []),
        ("/dev/zero", []),
        ("a\0b", []),
    ],
)
def test_a_folder_of_the_controller(saved: Path, pattern: str, found: list[str]) -> None:
    main = str(saved / "keepalived.conf")
    assert OnDisk(main).matching(pattern, main) == [str(saved / each) for each in found]


def test_beside_the_file_that_includes(saved: Path) -> None:
    source = OnDisk(str(saved / "keepalived.conf"))
    assert source.matching("a.conf", str(saved / "conf.d" / "b.conf")) == [str(saved / "conf.d" / "a.conf")]


def test_texts(saved: Path) -> None:
    source = OnDisk("")
    assert source.text(str(saved / "flat.conf")) == "flat.conf"
    (saved / "flat.conf").write_bytes(b"a\xff")
    assert source.text(str(saved / "flat.conf")) == "a\\xff"
    # As editors of Windows begin a file.
    (saved / "flat.conf").write_text("\ufeffa")
    assert source.text(str(saved / "flat.conf")) == "a"
    for path in ("/dev/zero", str(saved), "/nowhere"):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            source.text(path)


def test_what_a_host_sent() -> None:
    files = {
        "/etc/keepalived/keepalived.conf": "a",
        "/etc/keepalived/conf.d/b.conf": "b",
        "/etc/keepalived/conf.d/x/c.conf": "",
    }
    source = Sent(files)
    main = "/etc/keepalived/keepalived.conf"
    assert source.matching("conf.d/*.conf", main) == ["/etc/keepalived/conf.d/b.conf"]
    assert source.matching("/etc/keepalived/conf.d/../keepalived.conf", main) == [main]
    assert source.matching("../*", main) == []
    assert source.text(main) == "a"
    with pytest.raises(FileNotFoundError, match="the host did not send it"):
        source.text("/etc/keepalived/other.conf")
