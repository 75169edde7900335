# SPDX-License-Identifier: GPL-3.0-or-later
"""A dashboard drawn without Grafana: its panels, where gridPos has them, from what a Prometheus says.

It is a drawing: it shows whether the layout, the words, the units and the colours of the JSON are of use. What Grafana
alone can do (zoom, hover, choose) is not in it.
"""

from __future__ import annotations

import html
import math
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from .asked import Dashboard, Labels, legend

WIDTH = 1680
_COLUMN, _ROW, _GAP = WIDTH / 24, 38, 8
_NAMED = {
    "green": "#56a64b",
    "orange": "#ff9830",
    "red": "#e02f44",
    "blue": "#3274d9",
    "transparent": "transparent",
    "text": "#ccccdc",
}
_PALETTE = (
    "#73bf69",
    "#f2cc0c",
    "#8ab8ff",
    "#ff780a",
    "#f2495c",
    "#5794f2",
    "#b877d9",
    "#705da0",
    "#37872d",
    "#fade2a",
)
_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: #111217; color: #ccccdc; font: 12px 'DejaVu Sans', sans-serif; }
.bar { height: 46px; padding: 13px 12px 0; font-size: 17px; }
.chip { font-size: 12px; margin-left: 14px; color: #9a9aa8; }
.chip b { color: #ccccdc; font-weight: normal; border: 1px solid #34353d; padding: 3px 7px; margin-left: 4px; }
.panel { position: absolute; background: #181b1f; border: 1px solid #25272d; border-radius: 2px; overflow: hidden; }
.panel h2 { font-size: 12.5px; font-weight: 600; margin: 7px 9px 3px; white-space: nowrap; overflow: hidden; }
.row { position: absolute; font-size: 15px; padding: 8px 2px 0; font-weight: 600; }
.stat h2, .big { color: #fff; }
.big, .none { position: absolute; inset: 26px 0 0; display: flex; align-items: center; justify-content: center; }
.big { font-size: 29px; font-weight: 600; }
.none { color: #8e8e9c; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 4px 9px; text-align: left; white-space: nowrap; border-bottom: 1px solid #25272d; }
th { color: #6e9fff; font-weight: 600; }
td.n, th.n { text-align: right; }
.legend { padding: 0 9px; font-size: 11px; }
.legend td, .legend th { border: 0; padding: 0 6px 0 0; line-height: 15px; }
.legend th { color: #8e8e9c; font-weight: normal; }
.legend i { display: inline-block; width: 13px; height: 4px; margin-right: 6px; vertical-align: 3px; }
svg { position: absolute; left: 0; top: 0; }
svg text { fill: #8e8e9c; font-size: 10.5px; }
"""

Points = Sequence[tuple[float, float]]


_SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _short(value: float, decimals: int | None) -> str:
    for size, word in _SIZES:
        if abs(value) >= size:
            return f"{value / size:.{2 if decimals is None else decimals}f}".rstrip("0").rstrip(".") + f" {word}"
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def _seconds(value: float, decimals: int | None) -> str:
    for size, word in ((2 * 86400, "days"), (3600, "hours"), (60, "min")):
        if abs(value) >= size:
            return f"{value / (86400 if word == 'days' else size):.{1 if word == 'hours' else 0}f} {word}"
    return (
        f"{value * 1000:.0f} ms"
        if abs(value) < 1 and decimals is None
        else f"{value:.{1 if decimals is None else decimals}f} s"
    )


def _round_up(value: float) -> float:
    """The next value that four even steps lead to."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10) if size * step >= value * 0.999)


def number(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana writes it in that unit."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{value * 100:.{0 if decimals is None else decimals}f} %"
    if unit == "s":
        return _seconds(value, decimals)
    words = {"pps": "p/s", "bps": "b/s", "ops": "ops/s"}
    text = _short(value, decimals)
    if unit not in words:
        return text
    return f"{text}{'' if text[-1].isalpha() else ' '}{words[unit]}"


def _colour(value: float, steps: Sequence[Mapping[str, t.Any]]) -> str:
    found = "text"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return _NAMED.get(found, found)


def _words(defaults: Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {value: each for one in defaults.get("mappings", ()) for value, each in one["options"].items()}


def _said(value: float, defaults: Mapping[str, t.Any]) -> str:
    word = _words(defaults).get(f"{value:g}")
    return word["text"] if word else number(value, defaults.get("unit", "short"), defaults.get("decimals"))


def _text(x: float, y: float, words: str, anchor: str = "end", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{html.escape(words)}</text>'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{fill}"/>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'


def _colours(panel: Mapping[str, t.Any], names: Sequence[str]) -> list[str]:
    """Of series, in their order: what the panel says of a name, else the next of the palette."""
    fixed = {
        each["matcher"]["options"]: one["value"]["fixedColor"]
        for each in panel["fieldConfig"].get("overrides", ())
        for one in each["properties"]
        if one["id"] == "color"
    }
    return [
        _NAMED.get(fixed[name], fixed[name]) if name in fixed else _PALETTE[index % len(_PALETTE)]
        for index, name in enumerate(names)
    ]


class _Line(t.NamedTuple):
    """A series: `points` as they are drawn, on top of `below` where series are stacked; `values` as they are."""

    name: str
    values: Points
    points: Points
    below: Points


def _stacked(found: Sequence[tuple[str, Points]], stacked: bool) -> list[_Line]:
    base: dict[float, float] = {}
    lines = []
    for name, values in found:
        if not stacked:
            lines.append(_Line(name, values, values, [(at, 0.0) for at, _value in values]))
            continue
        below = [(at, base.get(at, 0.0)) for at, _value in values]
        points = [(at, value + base.get(at, 0.0)) for at, value in values]
        base.update(points)
        lines.append(_Line(name, values, points, below))
    return lines


class Drawing:
    """One dashboard, of a time from `start` to `end`."""

    def __init__(self, board: Dashboard, start: float, end: float) -> None:
        self.board = board
        self.start, self.end = start, end
        self.step = max(5.0, (end - start) / 240)

    @property
    def height(self) -> int:
        """Of the whole page, in pixels."""
        last = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self.board.panels)
        return int(46 + last * _ROW + _GAP)

    def page(self) -> str:
        """HTML without a script."""
        panels = "".join(self._panel(panel) for panel in self.board.panels)
        chips = "".join(
            f'<span class="chip">{html.escape(each["label"])}<b>{html.escape(self._chosen(each["name"]))}</b></span>'
            for each in self.board.variables
            if not each.get("hide")
        )
        title = html.escape(self.board.json["title"])
        return (
            f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
            f'<body><div class="bar">{title}{chips}</div>{panels}</body>'
        )

    def _chosen(self, name: str) -> str:
        found = self.board.values.get(name, "")
        return found if isinstance(found, str) else "All"

    def _panel(self, panel: dict[str, t.Any]) -> str:
        place = panel["gridPos"]
        x, y = place["x"] * _COLUMN, 46 + place["y"] * _ROW
        width, height = place["w"] * _COLUMN - _GAP, place["h"] * _ROW - _GAP
        box = f"left:{x + _GAP / 2:.0f}px;top:{y:.0f}px;width:{width:.0f}px;height:{height:.0f}px"
        title = html.escape(self.board.filled(panel["title"]))
        if panel["type"] == "row":
            return f'<div class="row" style="{box}">&#9662; {title}</div>'
        kinds: dict[str, Callable[[dict[str, t.Any], float, float], str]] = {
            "stat": self._stat,
            "timeseries": self._lines,
            "table": self._table,
            "bargauge": self._bars,
            "state-timeline": self._states,
        }
        content = kinds[panel["type"]](panel, width, height)
        look = f"{box}{self._background(panel)}"
        return f'<div class="panel {panel["type"]}" style="{look}"><h2>{title}</h2>{content}</div>'

    def _over(self, panel: dict[str, t.Any]) -> list[tuple[str, list[tuple[float, float]]]]:
        found = []
        for target in panel["targets"]:
            expr = self.board.filled(target["expr"])
            for labels, points in self.board.prometheus.over(expr, self.start, self.end, self.step):
                found.append((legend(target, labels), [point for point in points if math.isfinite(point[1])]))
        return sorted(found, key=lambda each: each[0]) if len(panel["targets"]) == 1 else found

    def _now(self, target: dict[str, t.Any]) -> list[tuple[Labels, float]]:
        return self.board.prometheus.now(self.board.filled(target["expr"]), self.end)

    def _stat(self, panel: dict[str, t.Any], _width: float, _height: float) -> str:
        defaults = panel["fieldConfig"]["defaults"]
        target = panel["targets"][0]
        found = self._now(target)
        if not found:
            return f'<div class="none">{defaults["noValue"]}</div>'
        labels, value = found[0]
        text = legend(target, labels) if target.get("legendFormat") else _said(value, defaults)
        return f'<div class="big">{html.escape(text)}</div>'

    def _background(self, panel: dict[str, t.Any]) -> str:
        """The colour of a tile's whole panel."""
        found = self._now(panel["targets"][0]) if panel["type"] == "stat" else []
        return (
            f";background:{_colour(found[0][1], panel['fieldConfig']['defaults']['thresholds']['steps'])}"
            if found
            else ""
        )

    def _lines(self, panel: dict[str, t.Any], width: float, height: float) -> str:
        found = self._over(panel)
        if not any(points for _name, points in found):
            return '<div class="none">No data</div>'
        defaults = panel["fieldConfig"]["defaults"]
        unit, decimals = defaults.get("unit", "short"), defaults.get("decimals")
        stacked = defaults["custom"].get("stacking", {}).get("mode", "none") != "none"
        drawn = _stacked(found, stacked)
        colours = _colours(panel, [name for name, _points in found])
        # The legend takes what it needs, up to half of the panel.
        rows = min(len(found), int((height / 2 - 30) / 15))
        left, top, right, tall = 62.0, 30.0, width - 10.0, height - 78.0 - rows * 15
        highest = max((value for line in drawn for _at, value in line.points), default=0.0)
        most = defaults.get("max") or _round_up(highest)
        if decimals == 0 and unit == "short":
            most = max(4.0, math.ceil(most / 4) * 4)

        def spot(at: float, value: float) -> str:
            x = left + (at - self.start) / (self.end - self.start) * (right - left)
            return f"{x:.1f},{top + tall - value / most * tall:.1f}"

        parts = self._times(left, right, top + tall + 15)
        for tick in range(5):
            y = top + tall - tall * tick / 4
            parts.append(_rect(left, y, right - left, 0.8, "#25272d"))
            parts.append(_text(left - 6, y + 3.5, number(most * tick / 4, unit, 0 if unit == "percentunit" else None)))
        for index, line in enumerate(drawn):
            colour = colours[index]
            above, below = (" ".join(spot(*point) for point in each) for each in (line.points, reversed(line.below)))
            parts.append(f'<polygon points="{above} {below}" fill="{colour}" opacity="{0.4 if stacked else 0.08}"/>')
            parts.append(f'<polyline points="{above}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if "thresholdsStyle" in defaults["custom"]:
            limits = [step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None]
            for limit in limits:
                ends = f"{spot(self.start, limit)} {spot(self.end, limit)}"
                look = f'stroke="{_NAMED["orange"]}" stroke-dasharray="6 5" fill="none"'
                parts += [f'<polyline points="{ends}" {look}/>'] if limit <= most else []
        told = "".join(_legend_row(colours[index], line, unit, decimals) for index, line in enumerate(drawn[:rows]))
        head = '<tr><th>Name</th><th class="n">Last</th><th class="n">Max</th></tr>'
        place = "position:absolute;left:0;right:0;bottom:6px"
        names = f'<div class="legend" style="{place}"><table class="legend">{head}{told}</table></div>'
        return _svg(width, height, parts) + names

    def _times(self, left: float, right: float, y: float) -> list[str]:
        """The hours below an axis."""
        found = []
        for tick in range(6):
            word = time.strftime("%H:%M", time.gmtime(self.start + (self.end - self.start) * tick / 5))
            found.append(_text(left + (right - left) * tick / 5, y, word, "end" if tick == 5 else "middle"))
        return found

    def _table(self, panel: dict[str, t.Any], _width: float, height: float) -> str:
        options = next(each["options"] for each in panel["transformations"] if each["id"] == "organize")
        names, order = options["renameByName"], options["indexByName"]
        many = len(panel["targets"]) > 1
        rows: dict[tuple[tuple[str, str], ...], dict[str, t.Any]] = {}
        for target in panel["targets"]:
            column = f"Value #{target['refId']}" if many else "Value"
            for labels, value in self._now(target):
                kept = {name: text for name, text in labels.items() if name != "__name__"}
                row = rows.setdefault(tuple(sorted(kept.items())), dict(kept))
                row[column] = value
        if not rows:
            return '<div class="none">No data</div>'
        columns = sorted(order, key=order.get)  # type: ignore[arg-type]
        columns = [column for column in columns if any(column in row for row in rows.values())]
        overrides: dict[str, dict[str, t.Any]] = {}
        for each in panel["fieldConfig"]["overrides"]:
            overrides.setdefault(each["matcher"]["options"], {}).update(
                {one["id"]: one["value"] for one in each["properties"]}
            )
        found = list(rows.values())
        for sort in panel.get("options", {}).get("sortBy", ()):
            back = {name: column for column, name in names.items()}
            found.sort(key=lambda row: row.get(back[sort["displayName"]], -1.0), reverse=sort["desc"])
        head = "".join(
            f'<th class="{"n" if column.startswith("Value") else ""}">{html.escape(names[column])}</th>'
            for column in columns
        )
        body = []
        for row in found[: int((height - 52) / 23)]:
            cells = []
            for column in columns:
                value = row.get(column)
                told = overrides.get(names[column], {})
                if isinstance(value, float):
                    shown = _said(value, told)
                    steps = told.get("thresholds", {}).get("steps", ())
                    colour = _colour(value, steps) if steps else "transparent"
                    look = f"background:{colour}" + ("" if colour == "transparent" else ";color:#111;font-weight:600")
                    cells.append(f'<td class="n" style="{look}">{shown}</td>')
                else:
                    text = html.escape(value or "")
                    cells.append(f'<td style="color:{"#6e9fff" if "links" in told else "inherit"}">{text}</td>')
            body.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table><tr>{head}</tr>{''.join(body)}</table>"

    def _bars(self, panel: dict[str, t.Any], width: float, height: float) -> str:
        defaults = panel["fieldConfig"]["defaults"]
        target = panel["targets"][0]
        found = sorted((legend(target, labels), value) for labels, value in self._now(target))
        if not found:
            return '<div class="none">No data</div>'
        room = (height - 38) / len(found)
        thick = min(room - 6, 26)
        left, right = width * 0.36, width - 62
        most = defaults.get("max") or max(each for _name, each in found) or 1
        parts = []
        for index, (name, value) in enumerate(found):
            y = 34 + index * room
            colour = _colour(value, defaults["thresholds"]["steps"])
            parts.append(_text(left - 8, y + thick / 2 + 4, name))
            parts.append(_rect(left, y, right - left, thick, "#22252b"))
            parts.append(_rect(left, y, max(2.0, (right - left) * value / most), thick, colour))
            text = number(value, defaults["unit"], defaults.get("decimals"))
            parts.append(_text(right + 8, y + thick / 2 + 4, text, "start", f"fill:{colour}"))
        return _svg(width, height, parts)

    def _states(self, panel: dict[str, t.Any], width: float, height: float) -> str:
        found = self._over(panel)
        if not found:
            return '<div class="none">No data</div>'
        known = _words(panel["fieldConfig"]["defaults"])
        left = min(width * 0.42, 14 + 6.6 * max(len(name) for name, _points in found))
        right = width - 10
        room = (height - 82) / len(found)
        each = (right - left) / (self.end - self.start)
        parts = self._times(left, right, height - 36)
        for index, (name, points) in enumerate(found):
            y = 32 + index * room
            parts.append(_text(left - 8, y + room * 0.4 + 4, name))
            for at, value in points:
                x = left + (at - self.start) * each
                colour = known.get(f"{value:g}", {}).get("color", "#808080")
                wide = min(self.step * each + 0.6, right - x)
                parts.append(_rect(x, y, wide, room * 0.8, _NAMED.get(colour, colour)))
        keys = "".join(
            f'<i style="background:{_NAMED.get(one["color"], one["color"])};margin-left:9px"></i>{one["text"]}'
            for one in known.values()
        )
        place = "position:absolute;left:0;bottom:9px"
        return f'{_svg(width, height, parts)}<div class="legend" style="{place}">{keys}</div>'


def _legend_row(colour: str, line: _Line, unit: str, decimals: int | None) -> str:
    told = ("", "")
    if line.values:
        numbers = line.values[-1][1], max(value for _at, value in line.values)
        told = number(numbers[0], unit, decimals), number(numbers[1], unit, decimals)
    cells = "".join(f'<td class="n">{each}</td>' for each in told)
    mark = f'<i style="background:{colour}"></i>'
    return f"<tr><td>{mark}{html.escape(line.name)}</td>{cells}</tr>"
