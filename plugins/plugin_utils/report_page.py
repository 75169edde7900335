# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of katran.fleet.report: one file of HTML with its style, its script and its data, that needs no network.

What hosts told is escaped wherever it stands; a policy in the page lets nothing run but the script that is in it, and
nothing load.
"""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.katran.fleet.plugins.module_utils._model.folding import names_text
from ansible_collections.katran.fleet.plugins.module_utils._model.report.health import MOST
from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import MOST_REALS, MOST_RUNS, Report
from ansible_collections.katran.fleet.plugins.module_utils._model.report.vips import packed_shares
from ansible_collections.katran.fleet.plugins.module_utils._model.written import visible

FILES = Path(__file__).with_name("report")
TITLE = "Fleet report"

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_HIDDEN = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What would mean something to HTML, as JSON may write it as well."""


@dataclass(frozen=True)
class About:
    """What the controller adds. `at`: seconds since the epoch; `revision`: of the inventory; `unasked`: hosts."""

    at: float
    title: str = TITLE
    revision: str = ""
    unasked: t.Sequence[str] = ()


def rendered(report: Report, about: About) -> str:
    """The whole page."""
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(FILES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What cannot be seen, or turns the text around it, is written as an escape.
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"number": number, "share": share, "points": points, "size": size}
    style, script = (FILES.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    shares = packed_shares(report.vips)
    shares["reals"] = list(map(visible, shares["reals"]))
    text = environment.get_template("page.html.j2").render(
        report=report,
        title=about.title,
        written=datetime.fromtimestamp(about.at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        revision=about.revision,
        unasked=names_text(about.unasked),
        answered=names_text(each.host for each in report.answered),
        served=sum(each.is_served for each in report.vips),
        out=sum(bool(each.said) for each in report.reals),
        packets=sum(each.packets for each in report.reals),
        most=MOST,
        most_reals=MOST_REALS,
        most_runs=MOST_RUNS,
        style=Markup(style),  # noqa: S704 - ours, not what hosts told
        style_hash=Markup(_hash(style)),  # noqa: S704 - likewise
        script=Markup(script),  # noqa: S704 - likewise
        script_hash=Markup(_hash(script)),  # noqa: S704 - likewise
        shares=Markup(_json(shares)),  # noqa: S704 - nothing in it means anything to HTML
    )
    return text + "\n"


def _hash(text: str) -> str:
    """A source of the page's policy: what has this digest may be used."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: t.Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_HIDDEN)


def number(value: int) -> str:
    """A number in groups of three digits."""
    return f"{value:,}"


def share(value: float) -> str:
    """A share of 1 in per cent; one that is not 0 is not told as such."""
    if 0 < value < 0.00005:
        return "< 0.01 %"
    return f"{value * 100:.{2 if value < 0.0995 else 1}f} %" if value else "0 %"


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return f"{'−' if value < 0 else '+'}{abs(value) * 100:.2f}"


def size(value: int) -> str:
    """Bytes in units of a thousand."""
    left, unit = float(value), 0
    while left >= 999.5 and unit < len(_UNITS) - 1:
        left, unit = left / 1000, unit + 1
    return f"{left:.0f} {_UNITS[unit]}" if unit == 0 or left >= 99.5 else f"{left:.3g} {_UNITS[unit]}"
