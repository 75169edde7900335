# SPDX-License-Identifier: GPL-3.0-or-later
"""A dashboard's JSON in the hands of a Prometheus: its variables, and what its queries give."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Labels = Mapping[str, str]
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
_VARIABLE = re.compile(r"\$(\w+)")


class RefusedError(Exception):
    """Prometheus does not take a query; its sentence."""


@dataclass(frozen=True)
class Prometheus:
    """One that listens. `place`: a context in which it is reached, such as a network namespace."""

    url: str
    place: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def get(self, path: str, **parameters: str | float) -> t.Any:
        """What the API answers to that. RefusedError, or OSError where nobody answers."""
        query = urllib.parse.urlencode(parameters)
        try:
            with self.place(), urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310 (our own http URL)
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RefusedError(json.load(error).get("error", str(error))) from error

    def now(self, expr: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """Series and their value at a time, by default now."""
        found = self.get("query", query=expr, **({} if at is None else {"time": at}))
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def over(self, expr: str, start: float, end: float, step: float) -> list[tuple[Labels, list[tuple[float, float]]]]:
        """Series, and their values over a time, as (time, value)."""
        found = self.get("query_range", query=expr, start=start, end=end, step=step)
        return [(each["metric"], [(at, float(value)) for at, value in each["values"]]) for each in found["result"]]

    def label_values(self, selector: str, label: str) -> list[str]:
        """The values of a label that series of a selector have."""
        return sorted(self.get(f"label/{label}/values", **{"match[]": selector}))


@dataclass
class Dashboard:
    """One of docs/monitoring/dashboards. `values`: variable → what is chosen, a list where it may be several."""

    path: Path
    prometheus: Prometheus
    interval: str = "20s"
    """What stands for $__rate_interval."""

    values: dict[str, str | list[str]] = field(default_factory=dict)
    """Filled by choose()."""

    def __post_init__(self) -> None:
        self.json = json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def variables(self) -> list[dict[str, t.Any]]:
        """Those that ask Prometheus."""
        return [each for each in self.json["templating"]["list"] if each["type"] == "query"]

    @property
    def panels(self) -> list[dict[str, t.Any]]:
        """Rows among them."""
        return t.cast("list[dict[str, t.Any]]", self.json["panels"])

    def choose(self, **chosen: str) -> dict[str, list[str]]:
        """Fill the variables in their order, as Grafana does; variable → its options.

        All of those that may be several, the first of others, or what is `chosen`.
        """
        offered = {}
        for each in self.variables:
            found = _LABEL_VALUES.fullmatch(each["query"]["query"])
            if found is None:
                raise ValueError(f"{self.path.name}: {each['query']['query']} is no label_values()")
            options = self.prometheus.label_values(self.filled(found[1]), found[2])
            if each.get("regex"):
                pattern = re.compile(each["regex"].strip("/"))
                options = [match[1] for option in options if (match := pattern.search(option))]
            name = each["name"]
            offered[name] = options
            if each["includeAll"]:
                self.values[name] = [each["allValue"]]
            elif options or name in chosen:
                self.values[name] = chosen.get(name, options[0] if options else "")
        return offered

    def filled(self, text: str) -> str:
        """A query, or a title, with the variables' values. KeyError for a variable that is not there."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name == "__rate_interval":
                return self.interval
            found = self.values[name]
            return found if isinstance(found, str) else "|".join(found)

        return _VARIABLE.sub(value, text)

    def queries(self) -> Iterator[tuple[str, dict[str, t.Any], str]]:
        """(panel's title, target, expression with the variables' values) of each query."""
        for panel in self.panels:
            for target in panel.get("targets", ()):
                yield panel["title"], target, self.filled(target["expr"])

    def annotations(self) -> Iterator[tuple[str, str]]:
        """(name, expression) of what is marked on it."""
        for each in self.json["annotations"]["list"]:
            yield each["name"], self.filled(each["expr"])


def legend(target: dict[str, t.Any], labels: Labels) -> str:
    """What a series is called."""
    text = target.get("legendFormat") or ""
    if not text:
        return ", ".join(f"{name}={value}" for name, value in labels.items())
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), text)
