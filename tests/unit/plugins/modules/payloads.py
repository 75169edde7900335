# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends to a host for each module beside the module itself, by its own reckoning: JSON on stdout.

A process of its own, because Ansible finds collections by an importer that would stay. For the modules that are named,
or all. By hand, with --table: bytes and files of each.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ansible._internal._ansiballz._builder import ExtensionManager
from ansible.executor.module_common import recursive_finder
from ansible.plugins.loader import init_plugin_loader

FLEET = Path(__file__).resolve().parents[4]
PLUGINS = "ansible_collections.katran.fleet.plugins"


def payload(module: Path) -> Mapping[str, int]:
    """File of module_utils, as ROOM/FILE → bytes."""
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        fqn, now = f"{PLUGINS}.modules.{module.stem}", dt.datetime.now(dt.UTC)
        recursive_finder(module.stem, fqn, module.read_bytes(), archive, now, ExtensionManager())
        prefix = f"{PLUGINS.replace('.', '/')}/module_utils/"
        return {
            each.filename.removeprefix(prefix).removesuffix(".py"): each.file_size
            for each in archive.infolist()
            if each.filename.startswith(prefix) and each.file_size
        }


def main() -> None:
    here = FLEET / "collections"
    init_plugin_loader([str(here if here.is_dir() else FLEET.parents[2])])
    wanted = [each for each in sys.argv[1:] if each != "--table"]
    paths = sorted((FLEET / "plugins/modules").glob("*.py"))
    found = {path.stem: payload(path) for path in paths if path.stem in wanted or not wanted}
    if "--table" in sys.argv:
        for name, files in found.items():
            print(f"{name:26}{len(files):4} files{sum(files.values()):9} bytes")
    else:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
