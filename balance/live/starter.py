"""Write the Python module that `adopt` prints: a catalog, the dashboard that `starter_panels` chooses, and its alerts."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from itertools import chain
from typing import Any

import jinja2

from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, STATE, Histogram, Label, Metric, StateSet, Unit, number
from balance.live.adopt import Adopted
from balance.live.starter_panels import StarterPanel, choose

_UNIT_NAMES = {SECONDS: "SECONDS", BYTES: "BYTES", RATIO: "RATIO", INFO: "INFO", STATE: "STATE"}
_RESERVED = (
    "UP", "CATALOG", "DASHBOARD", "ALERTS", "METRICS", "IGNORED", "DOWN", "TARGET_DOWN", "ERROR_RATIO", "LATENCY", "SATURATION", "HIGH_ERROR_RATE",
    "HIGH_LATENCY", "ENOUGH", "TRAFFIC", "NOT_YET", "LATER", "MINUTE", "RATE_WINDOW", "BYTES", "INFO", "RATIO", "SECONDS", "STATE",
)  # fmt: skip
"""Names that the template itself uses."""


def module(adopted: Adopted) -> str:
    """The text of the Python module; its `bundle` is a source for `--source`."""
    names = _Names(adopted)
    rows = {row: [names.described(panel) for panel in panels] for row, panels in choose(adopted.metrics).items()}
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for panel in chain.from_iterable(rows.values()):
        by_kind.setdefault(panel["kind"], []).append(panel)
    latency = next(iter(by_kind.get("latency", ())), None)
    return _template(names.of, latency["metric"] if latency else None).render(
        service=adopted.name,
        prefix=names.prefix,
        title=re.sub("[^A-Za-z0-9]+", " ", adopted.name).strip().capitalize() or "Service",
        uid=re.sub("[^A-Za-z0-9_-]+", "-", adopted.name)[:40] or "service",
        labels=[(thing, name) for thing, name in names.of.items() if isinstance(thing, Label)],
        metrics=[(metric, names.of[metric]) for metric in adopted.metrics],
        ignored=adopted.ignored,
        rows=rows,
        error_ratio=next(iter(by_kind.get("error_ratio", ())), None),
        latency=latency,
        latency_bound=_latency_bound(latency["metric"]) if latency else None,
        saturations=by_kind.get("saturation", []),
    )


class _Names:
    """The names that things have in the module, each given once."""

    def __init__(self, adopted: Adopted) -> None:
        self._service = adopted.name
        self._identifier = _unique(lambda name, count: f"{name}_{count}", _RESERVED)
        self._title = _unique(lambda title, count: f"{title} ({count})")
        words = re.findall("[A-Za-z0-9]+", adopted.name)
        prefix = "".join(word[:1].upper() + word[1:] for word in words) or "Service"
        self.prefix = prefix if prefix[0].isalpha() else f"Service{prefix}"
        """With which the names of alerts begin."""
        labels = dict.fromkeys(label for metric in adopted.metrics for label in metric.labels)
        self.of: dict[Label | Metric, str] = {label: self._identifier(_constant(label.name)) for label in labels}
        """The constants of labels and metrics."""
        self.of |= {metric: self._identifier(_constant(metric.name.removeprefix(f"{adopted.name}_"))) for metric in adopted.metrics}

    def described(self, panel: StarterPanel) -> dict[str, Any]:
        """The panel, with its names, for the template."""
        name, words = self.of[panel.metric], _title(panel.metric, self._service)
        if panel.kind == "error_ratio":
            words = "Error Ratio"
        more: dict[str, str] = {}
        if panel.limit:
            words = f"{words} by Limit"
            alert = f"{self.prefix}High{''.join(word.capitalize() for word in name.split('_'))}"
            more = {"condition": self._identifier(f"HIGH_{name}"), "alert": alert, "limit_name": self.of[panel.limit]}
        return {**vars(panel), "name": name, "title": self._title(words), **more}


def _template(names: dict[Label | Metric, str], latency: Metric | None) -> jinja2.Template:
    """The template of the module, with PromQL's and Python's braces as they are."""
    environment = jinja2.Environment(  # noqa: S701 (Python, not HTML)
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>", comment_start_string="<#",
        comment_end_string="#>", trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        "repr": repr, "number": number, "unit": _unit, "by": _by, "closed": _values_of,
        "declaration": lambda metric: _declaration(metric, names, has_latency=metric is latency),
    }  # fmt: skip
    return environment.from_string(files(__package__).joinpath("starter.py.j2").read_text(encoding="utf-8"))


def _unique(numbered: Callable[[str, int], str], taken: tuple[str, ...] = ()) -> Callable[[str], str]:
    """A function that returns a name, or the first numbered one that it has not returned yet."""
    used = set(taken)

    def unique(name: str) -> str:
        found, count = name, 1
        while found in used:
            count += 1
            found = numbered(name, count)
        used.add(found)
        return found

    return unique


def _constant(name: str) -> str:
    """A name as that of a Python constant."""
    wanted = re.sub("[^A-Za-z0-9]+", "_", name).strip("_").upper() or "METRIC"
    return f"M_{wanted}" if wanted[0].isdigit() else wanted


def _title(metric: Metric, service: str) -> str:
    words = metric.name.removeprefix(f"{service}_").removesuffix("_total").split("_")
    return " ".join(word.capitalize() for word in words if word) or metric.name


def _latency_bound(histogram: Histogram) -> float:
    """The first bucket bound from one second on, except the last: a quantile is never above the last one."""
    bounds = histogram.buckets[:-1]
    return next((bound for bound in bounds if bound >= 1), bounds[-1])


def _by(metric: Metric) -> str:
    """The argument `by` of a panel: at most two labels with few values."""
    labels = tuple(label.name for label in sorted(metric.labels, key=lambda label: label.size) if label.size <= 100)[:2]
    return f", by={labels!r}" if labels else ""


def _unit(unit: Unit) -> str:
    return _UNIT_NAMES.get(unit) or f"Unit.of({unit.powers[0][0]!r})"


def _values_of(label: Label) -> str:
    """The arguments that say which values a label has."""
    values = f"values={label.values!r}" if label.values else f"bound={label.bound}"
    return values + (f", pattern={label.pattern!r}" if label.pattern else "")


def _declaration(metric: Metric, names: dict[Label | Metric, str], *, has_latency: bool) -> str:
    """The call that declares a metric."""
    labels = " ".join(f"{names[label]}," for label in metric.labels)
    parts = [repr(metric.name), repr(metric.help), _unit(metric.unit), *([f"({labels})"] if labels else [])]
    if isinstance(metric, Histogram):
        parts.append(f"buckets=({' '.join(f'{number(bound)},' for bound in metric.buckets)})")
        parts += ["thresholds=(LATENCY,)"] if has_latency else []
    if isinstance(metric, StateSet):
        parts.append(f"states={metric.states!r}, state_label={metric.state_label!r}")
    parts += ["foreign=True"] if metric.foreign else []
    return f"{type(metric).__name__}({', '.join(parts)})"
