# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link of the built site that stays on it leads somewhere, and nothing that a browser loads comes from elsewhere.

usage: python docs/site/check_links.py FOLDER
"""

from __future__ import annotations

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
    ("object", "data"),
}
# What a browser makes itself of a link of this kind, or does not load.
_NOT_LOADED = {"canonical", "next", "prev", "index", "search"}


class _Reader(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        named = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := named.get(name))}
        for name in ("href", "src", "data"):
            value = named.get(name)
            loaded = (tag, name) in _LOADED and (named.get("rel") or "") not in _NOT_LOADED
            if value and (tag == "a" or loaded):
                self.links.append((value, loaded))


@cache
def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def _fault(page: Path, link: str, loaded: bool) -> str:
    """What is wrong with a link; empty if nothing."""
    parts = urlsplit(link)
    if parts.scheme in {"http", "https"} or parts.netloc:
        return f"loads {link}" if loaded else ""
    if parts.scheme:
        return "" if parts.scheme in {"mailto", "data"} else f"has a link of another kind: {link}"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return f"has a link to what is not there: {link}"
    fragment = unquote(parts.fragment)
    if fragment and target.suffix == ".html" and fragment not in _read(target).ids:
        return f"has a link to an anchor that is not there: {link}"
    return ""


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    root = Path(sys.argv[1]).resolve()
    faults = []
    for page in sorted(root.rglob("*.html")):
        for link, loaded in dict.fromkeys(_read(page).links):
            fault = _fault(page, link, loaded)
            if fault:
                faults.append(f"{page.relative_to(root)}: {fault}")
    for path in root.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        faults += [
            f"{path.relative_to(root)}: loads {url}" for url in re.findall(r"url\(['\"]?(https?:[^)'\"]*)", text)
        ]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
