# SPDX-License-Identifier: GPL-3.0-or-later
"""The few kinds of panels that the dashboards are made of, and what all dashboards have in common."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as made
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = made.DataSourceRef("prometheus", "${datasource}")
HERE = 'instance=~"$instance",balancer=~"$balancer"'
"""What the variables leave, of metrics that the agent tells of a balancer."""

STARTED = 'changes(katran_agent_start_time_seconds{instance=~"$instance"}[1m]) > 0'

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "#808080"
NONE_IS_GOOD = ((None, GREEN), (1, RED))
NONE_IS_BEST = ((None, GREEN), (1, ORANGE))
VERDICTS = {"sent": GREEN, "passed": BLUE, "dropped": RED}
STATES = {"active": GREEN, "draining": ORANGE, "down": RED, "unknown": GREY}
PLACES = {"ready": GREEN, "draining": ORANGE, "withdrawn": RED}
NO_JUDGEMENT = ((None, BLUE),)

Steps = Sequence[tuple[float | None, str]]
Panel = stat.Panel | timeseries.Panel | table.Panel | bargauge.Panel | statetimeline.Panel
Query = tuple[str, str]
"""(PromQL, legend)."""


class Column(t.NamedTuple):
    """One of a table: what it is called, its query, and how it is shown. `text`: value → word."""

    name: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    text: dict[str, str] | None = None
    decimals: int | None = None


class Key(t.NamedTuple):
    """A label that has a column. `url`: where a click leads, with ${__value.raw} in it."""

    label: str
    name: str
    url: str = ""


def rate(metric: str, where: str, by: str = "", *, bits: bool = False) -> str:
    """How fast a counter grows, a second, summed. `by`: labels that are kept; `bits`: of bytes."""
    kept = f" by ({by}) " if by else ""
    return f"{'8 * ' if bits else ''}sum{kept}(rate({metric}{{{where}}}[$__rate_interval]))"


def or_zero(expr: str, all_of: str, by: str) -> str:
    """A query, and 0 for what it leaves out of those that `all_of` has."""
    return f"{expr} or 0 * sum by ({by}) ({all_of})"


def without_reason(where: str) -> str:
    """Dropped frames for which no counter says why."""
    dropped = rate("katran_frames_total", f'{where},verdict="dropped"')
    return f"clamp_min({dropped} - {rate('katran_drops_total', where)}, 0)"


def thresholds(steps: Steps) -> build.ThresholdsConfig:
    """Colours by value: (from, colour), the first from None."""
    return (
        build.ThresholdsConfig()
        .mode(made.ThresholdsMode.ABSOLUTE)
        .steps([made.Threshold(value, colour) for value, colour in steps])
    )


def words(text: dict[str, str], colours: dict[str, str] | None = None) -> list[made.ValueMapping]:
    """Values that are shown as words."""
    return [
        made.ValueMap(
            {
                value: made.ValueMappingResult(word, (colours or {}).get(value), index=index)
                for index, (value, word) in enumerate(text.items())
            }
        )
    ]


def tile(  # noqa: PLR0913 (a panel has as many)
    title: str,
    expr: str,
    text: str,
    steps: Steps = NONE_IS_GOOD,
    *,
    unit: str = "short",
    decimals: int | None = None,
    width: int = 3,
    mapped: dict[str, str] | None = None,
    legend: str = "",
) -> stat.Panel:
    """One number, coloured by what it means. With `legend`, the name of the series is what is shown."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .height(3)
        .span(width)
        .no_value("no data")
        .thresholds(thresholds(steps))
        .color_mode(shown.BigValueColorMode.BACKGROUND)
        .graph_mode(shown.BigValueGraphMode.NONE)
        .text_mode(shown.BigValueTextMode.NAME if legend else shown.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(_query(0, expr, legend).instant())
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.mappings(words(mapped)) if mapped else panel


def lines(  # noqa: PLR0913 (a panel has as many)
    title: str,
    queries: Sequence[Query],
    text: str,
    *,
    unit: str = "short",
    width: int = 8,
    height: int = 8,
    stacked: str = "",
    steps: Steps = (),
    most: float | None = None,
    decimals: int | None = None,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Values over time. `stacked`: normal or percent; `steps`: limits that are drawn as lines; `colours`: by name."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(height)
        .span(width)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(shown.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(shown.LegendDisplayMode.TABLE)
            .placement(shown.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
    )
    for number, (expr, legend) in enumerate(queries):
        panel = panel.with_target(_query(number, expr, legend).range())
    for name, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel = panel.override_by_name(name, [made.DynamicConfigValue("color", fixed)])
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode(stacked)).group("A"))
    if steps:
        panel = panel.thresholds(thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
        )
    if most is not None:
        panel = panel.max(most)
    return panel.decimals(decimals) if decimals is not None else panel


def bars(
    title: str, expr: str, legend: str, text: str, *, unit: str, steps: Steps, width: int = 8, most: float | None = None
) -> bargauge.Panel:
    """One bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .span(width)
        .thresholds(thresholds(steps))
        .display_mode(shown.BarGaugeDisplayMode.BASIC)
        .orientation(shown.VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(_query(0, expr, legend).instant())
    )
    return panel.max(most) if most is not None else panel


def states(
    title: str, expr: str, legend: str, text: str, mapped: dict[str, tuple[str, str]], *, width: int = 12
) -> statetimeline.Panel:
    """What was so when: `mapped` is value → (word, colour)."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .show_value(shown.VisibilityMode.NEVER)
        .merge_values(True)
        .line_width(0)
        .row_height(0.8)
        .fill_opacity(80)
        .mappings(
            words(
                {value: word for value, (word, _colour) in mapped.items()},
                {value: colour for value, (_word, colour) in mapped.items()},
            )
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(shown.LegendDisplayMode.LIST)
            .placement(shown.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .with_target(_query(0, expr, legend).range())
    )


def rows_of(
    title: str,
    keys: Sequence[Key],
    columns: Sequence[Column],
    text: str,
    *,
    width: int = 12,
    height: int = 8,
    sort: str = "",
) -> table.Panel:
    """A table: a row for each set of labels, a column for each label and query. `sort`: by this column, falling."""
    panel = table.Panel().title(title).description(text).datasource(SOURCE).height(height).span(width)
    names = {key.label: key.name for key in keys}
    for number, column in enumerate(columns):
        panel = panel.with_target(_query(number, column.expr, "").instant().format(PromQueryFormat.TABLE))
        # With one query alone, Grafana calls its column "Value".
        value = "Value" if len(columns) == 1 else f"Value #{_letter(number)}"
        names[value] = column.name
        panel = panel.override_by_name(column.name, _properties(column))
    order = {name: index for index, name in enumerate(names)}
    panel = panel.transformations(
        [
            made.DataTransformerConfig("merge", options={}),
            made.DataTransformerConfig(
                "organize", options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
            ),
        ]
    )
    for key in keys:
        if key.url:
            link = {"title": f"{key.name} ${{__value.raw}}", "url": key.url}
            panel = panel.override_by_name(key.name, [made.DynamicConfigValue("links", [link])])
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel


def _properties(column: Column) -> list[made.DynamicConfigValue]:
    found = [made.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        found.append(made.DynamicConfigValue("decimals", column.decimals))
    if column.text:
        found.append(made.DynamicConfigValue("mappings", words(column.text)))
    if column.steps:
        found.append(made.DynamicConfigValue("thresholds", thresholds(column.steps).build()))
        found.append(made.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    return found


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def _query(number: int, expr: str, legend: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).ref_id(_letter(number)).datasource(SOURCE)
    return query.legend_format(legend) if legend else query


def source_variable() -> build.DatasourceVariable:
    """Which Prometheus is asked."""
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def variable(name: str, label: str, metric: str, which: str, text: str, *, many: bool = True) -> build.QueryVariable:
    """The values of label `which` that a metric has. `many`: some or all of them at once, at first all."""
    made_of = {"query": f"label_values({metric}, {which})", "refId": "StandardVariableQuery"}
    found = (
        build.QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(SOURCE)
        .query(made_of)
        .refresh(made.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(made.VariableSort.NATURAL_ASC)
    )
    if not many:
        return found
    return found.multi(True).include_all(True).all_value(".*").current(made.VariableOption(True, ["All"], ["$__all"]))


def board(uid: str, title: str, text: str, variables: Sequence[t.Any], alerts: str) -> build.Dashboard:
    """A dashboard without panels. `alerts`: labels of the alerts that are marked on it."""
    found = (
        build.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["katran"])
        .timezone("browser")
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(made.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("")
            .type(made.DashboardLinkType.DASHBOARDS)
            .tags(["katran"])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(_mark("Alerts", f'ALERTS{{alertname=~"Katran.*",alertstate="firing"{alerts}}}', RED))
        .annotation(
            _mark("Agent started", 'changes(katran_agent_start_time_seconds{instance=~"$instance"}[1m]) > 0', BLUE)
        )
        .with_variable(source_variable())
    )
    for each in variables:
        found = found.with_variable(each)
    return found


def _mark(name: str, expr: str, colour: str) -> build.AnnotationQuery:
    return build.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).expr(expr)


def filled(found: build.Dashboard, rows: Sequence[tuple[str, Sequence[Panel]]]) -> made.Dashboard:
    """The dashboard with its panels, row by row, each with an id of its own."""
    number = 0
    for title, panels in rows:
        number += 1
        found = found.with_row(build.Row(title).id(number).collapsed(False))
        for panel in panels:
            number += 1
            found = found.with_panel(panel.id(number))
    return found.build()
