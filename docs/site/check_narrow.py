# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which pages of the site a phone cannot show: in Chromium, at 390 pixels.

usage: python docs/site/check_narrow.py FOLDER

A page is not to scroll sideways, nor a table but one of figures; of a table of several columns the first is not to take
more than 70 % of the screen. The reference of modules, roles and plugins has tables of one making: of it the page with
the most is looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_WIDTH = 390
_FAULTS = """(screen) => {
  const root = document.documentElement, faults = [];
  if (root.scrollWidth > screen) faults.push(`is ${root.scrollWidth} pixels wide`);
  for (const table of document.querySelectorAll("article table")) {
    const row = [...table.rows].find((each) => each.cells.length > 1 && each.getClientRects().length);
    if (!row) continue;
    const [first, second] = [...row.cells].map((cell) => cell.getBoundingClientRect());
    const name = `the table of "${row.innerText.trim().split(/\\s+/).slice(0, 4).join(" ")}"`;
    if (second.top < first.bottom && first.width > 0.7 * screen)
      faults.push(`${name}: its first column is ${first.width} pixels wide`);
    if (!table.classList.contains("figures") && table.scrollWidth > table.parentElement.clientWidth)
      faults.push(`${name} is ${table.scrollWidth} pixels wide`);
  }
  return faults;
}"""


def pages(folder: Path) -> list[Path]:
    """Those with tables of their own, and the longest of those whose tables antsibull-docs makes."""
    found, made = [], []
    for page in sorted(folder.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        if "ansible-option-table" in text:
            made.append(page)
        elif "<table" in text:
            found.append(page)
    return found + sorted(made, key=lambda page: page.stat().st_size)[-1:]


def main() -> int:
    """1 where a page has a fault."""
    folder = Path(sys.argv[1]).resolve()
    faults = []
    with sync_playwright() as playwright:
        # Chromium confines nothing for root, and says so.
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, java_script_enabled=False)
        for path in pages(folder):
            page.goto(path.as_uri(), wait_until="load")
            faults += [f"{path.relative_to(folder)}: {fault}" for fault in page.evaluate(_FAULTS, _WIDTH)]
        browser.close()
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
