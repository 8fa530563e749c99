"""The module that `adopt` writes: a catalog, a dashboard to start from (rate, errors, duration; use, saturation) and alerts that it plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Metric, StateSet, Unit, number
from balance.live.adopt import CLASSES, CODE, RUNTIME, Adopted

_MOST_PANELS = 6
"""of a row: a start, not an inventory"""
_ERRORS = re.compile(r".*(error|fail|reject|drop|timeout|abort|panic|exception|retr(y|ies)).*")
_WAITING = re.compile(
    r".*(queue|pending|waiting|backlog|in_flight|inflight|in_progress|active|connections|depth|lag|utili[sz]ation|saturation|usage).*"
)
_MAIN = re.compile(r".*(http|grpc|rpc|request|job|task|message|quer).*")
_LIMITS = (("_open_", "_max_"), ("_used", "_max"), ("", "_limit"), ("", "_max"), ("", "_capacity"), ("_used", "_limit"), ("_active", "_max"))
_UNIT_NAMES = {SECONDS: "SECONDS", BYTES: "BYTES", RATIO: "RATIO", INFO: "INFO", STATE: "STATE"}
_RESERVED = (
    "UP", "CATALOG", "DASHBOARD", "ALERTS", "METRICS", "IGNORED", "DOWN", "TARGET_DOWN", "ERROR_RATIO", "LATENCY", "SATURATION", "HIGH_ERROR_RATE",
    "HIGH_LATENCY", "ENOUGH", "TRAFFIC", "NOT_YET", "LATER", "MINUTE", "RATE_WINDOW", "BYTES", "INFO", "RATIO", "SECONDS", "STATE",
)  # fmt: skip
"""Names that the module has for itself."""


def module(adopted: Adopted) -> str:
    """The text of the Python module, whose `bundle` is a source for `--source`."""
    return _Writer(adopted).text()


class _Writer:
    def __init__(self, adopted: Adopted) -> None:
        self.adopted = adopted
        self.used: set[str] = set(_RESERVED)
        self.of: dict[str, str] = {}
        """the Python name of each metric"""
        self.labels: dict[Label, str] = {}
        for metric in adopted.metrics:
            for label in metric.labels:
                if label not in self.labels:
                    self.labels[label] = self.identifier(label.name)
        for metric in adopted.metrics:
            self.of[metric.name] = self.identifier(metric.name.removeprefix(f"{adopted.name}_"))
        self.rows: dict[str, list[str]] = {}
        self.conditions: list[str] = []
        self.alerts: list[str] = []
        self.thresholds: list[str] = []
        self.shown: set[str] = set()
        self.titles: set[str] = set()
        self.latency: Histogram | None = None
        self.counted: Metric | None = None
        """of which there must be enough for a share of errors to say something"""
        words = re.findall("[A-Za-z0-9]+", adopted.name)
        self.prefix = "".join(word[:1].upper() + word[1:] for word in words) or "Service"
        if not self.prefix[0].isalpha():
            self.prefix = f"Service{self.prefix}"

    def identifier(self, name: str) -> str:
        wanted = re.sub("[^A-Za-z0-9]+", "_", name).strip("_").upper() or "METRIC"
        wanted = f"M_{wanted}" if wanted[0].isdigit() else wanted
        found, count = wanted, 1
        while found in self.used:
            count += 1
            found = f"{wanted}_{count}"
        self.used.add(found)
        return found

    def title(self, metric: Metric, suffix: str = "") -> str:
        words = metric.name.removeprefix(f"{self.adopted.name}_").removesuffix("_total").split("_")
        wanted = (" ".join(word.capitalize() for word in words if word) or metric.name) + suffix
        title, count = wanted, 1
        while title in self.titles:
            count += 1
            title = f"{wanted} ({count})"
        self.titles.add(title)
        return title

    def choose(self) -> None:
        """Panels and alerts for what the names and kinds of the metrics tell."""
        ranked = sorted(self.adopted.metrics, key=lambda metric: not _MAIN.fullmatch(metric.name))
        own = [metric for metric in ranked if not RUNTIME.fullmatch(metric.name)]
        counters = [metric for metric in own if isinstance(metric, Counter)]
        histograms = [metric for metric in own if isinstance(metric, Histogram)]
        gauges = [metric for metric in own if isinstance(metric, Gauge) and metric.unit != INFO and not metric.name.endswith("timestamp_seconds")]
        runtime = [metric for metric in ranked if RUNTIME.fullmatch(metric.name)]
        cpu = [metric for metric in runtime if isinstance(metric, Counter) and "cpu" in metric.name]
        memory = [metric for metric in runtime if isinstance(metric, Gauge) and metric.unit == BYTES]
        errors = [metric for metric in counters if _ERRORS.fullmatch(metric.name)]
        self.panel("Rate", 'value_panel(UP, title="Targets", kind="state-timeline", states=(State(1, "Up", "green"), State(0, "Down", "red")))')
        self.add("Rate", [metric for metric in counters if metric not in errors], self.rate)
        self.error_ratio(counters)
        self.add("Errors", errors, self.rate)
        self.quantiles(histograms)
        self.saturation()
        waiting = [metric for metric in gauges if _WAITING.fullmatch(metric.name) and metric.name not in self.shown]
        self.add("Saturation", waiting, self.value)
        tasks = [metric for metric in runtime if isinstance(metric, Gauge) and re.search("goroutines|threads|tasks", metric.name)]
        self.add("Use", cpu, self.rate)
        others = [metric for metric in gauges if metric not in waiting and metric.name not in self.shown]
        self.add("Use", [*memory[:2], *tasks[:1], *others], self.value)

    def panel(self, row: str, text: str, *metrics: Metric) -> None:
        self.rows.setdefault(row, []).append(text)
        self.shown.update(metric.name for metric in metrics)

    def add(self, row: str, metrics: Iterable[Metric], write: Callable[[Metric], str]) -> None:
        for metric in list(metrics)[:_MOST_PANELS]:
            self.panel(row, write(metric), metric)

    def rate(self, metric: Metric) -> str:
        return f"rate_panel({self.of[metric.name]}, {self.title(metric)!r}{_by(metric)})"

    def value(self, metric: Metric) -> str:
        return f"value_panel({self.of[metric.name]}, title={self.title(metric)!r})"

    def error_ratio(self, counters: Sequence[Metric]) -> None:
        for metric in counters:
            label = next((label for label in metric.labels if label.pattern == CODE or label.values == CLASSES), None)
            if label is None:
                continue
            name, failed = self.of[metric.name], "'5xx'" if label.values else "matches('5..')"
            ratio = (f"ratio(sum_by(rate(series({name}, **{{{label.name!r}: {failed}}}).over(RATE_WINDOW)), 'job'),\n"
                     f"          sum_by(rate(series({name}).over(RATE_WINDOW)), 'job'))")  # fmt: skip
            self.thresholds += ["ERROR_RATIO", "ENOUGH"]
            self.counted = metric
            self.conditions.append(f"TRAFFIC = compare(sum_by(increase(series({name}).over(RATE_WINDOW)), 'job'), '>', ENOUGH)")
            self.conditions.append(f"HIGH_ERROR_RATE = Condition(\n    {ratio},\n    '>', ERROR_RATIO, also=(TRAFFIC,),\n)")
            self.titles.add("Error Ratio")
            self.panel(
                "Errors",
                f"Panel('Error Ratio', 'Share of server errors. Above the line, {self.prefix}HighErrorRate fires.',\n"
                "              (Query(HIGH_ERROR_RATE.expr, '{{job}}'),), thresholds=(ERROR_RATIO,))", metric,
            )  # fmt: skip
            self.alerts.append(
                f"Alert({self.prefix + 'HighErrorRate'!r}, HIGH_ERROR_RATE, 'critical', wait=5 * MINUTE,\n"
                "          summary='{value} of the responses of job {{ $labels.job }} are server errors',\n"
                "          description='Over five minutes, {value} of all responses were server errors; the threshold is {threshold}.')"
            )
            return

    def quantiles(self, histograms: Sequence[Metric]) -> None:
        timed = [metric for metric in histograms if isinstance(metric, Histogram) and metric.unit == SECONDS and metric.buckets[1:]]
        if timed:
            self.latency = timed[0]
            name = self.of[self.latency.name]
            self.thresholds.append("LATENCY")
            self.conditions.append(f"HIGH_LATENCY = Condition(quantile(0.99, series({name}), RATE_WINDOW, 'job'), '>', LATENCY)")
            self.panel(
                "Duration",
                f"Panel({self.title(self.latency)!r}, '99th percentile. Above the line, {self.prefix}HighLatency fires.',\n"
                "              (Query(HIGH_LATENCY.expr, '{{job}} p99'),), thresholds=(LATENCY,))", self.latency,
            )  # fmt: skip
            self.alerts.append(
                f"Alert({self.prefix + 'HighLatency'!r}, HIGH_LATENCY, 'warning', wait=5 * MINUTE,\n"
                "          summary='One in a hundred of job {{ $labels.job }} takes longer than {value}',\n"
                "          description='The 99th percentile over five minutes is {value}; the threshold is {threshold}.')"
            )
        for metric in [metric for metric in histograms if metric is not self.latency][: _MOST_PANELS - 1]:
            self.panel("Duration", f"quantile_panel({self.of[metric.name]}, {self.title(metric)!r}{_by(metric)})", metric)

    def saturation(self) -> None:
        """What is in use over its limit, where the names say which limit is whose."""
        gauges = {metric.name: metric for metric in self.adopted.metrics if isinstance(metric, Gauge)}
        pairs: dict[str, str] = {}
        for limit in gauges:
            for used_mark, limit_mark in _LIMITS:
                middle = limit_mark.endswith("_") and limit_mark in limit
                if middle or limit.endswith(limit_mark):
                    used = limit.replace(limit_mark, used_mark, 1) if middle else limit.removesuffix(limit_mark) + used_mark
                    if used in gauges and used != limit:
                        pairs.setdefault(used, limit)
        for used, limit in list(pairs.items())[:_MOST_PANELS]:
            whole, part = gauges[limit], gauges[used]
            if whole.label_names or part.label_names or whole.unit != part.unit or whole.unit == RATIO:
                continue
            condition = self.identifier(f"HIGH_{self.of[used]}")
            alert = f"{self.prefix}High{''.join(word.capitalize() for word in self.of[used].split('_'))}"
            over = f"sum_by(series({self.of[used]}), 'job', 'instance'), sum_by(series({self.of[limit]}), 'job', 'instance')"
            self.thresholds.append("SATURATION")
            self.conditions.append(f"{condition} = Condition(ratio({over}), '>', SATURATION)")
            self.panel(
                "Saturation",
                f"Panel({self.title(part, ' by Limit')!r}, {f'How much of {limit} is in use. Above the line, {alert} fires.'!r},\n"
                f"              (Query({condition}.expr, '{{{{instance}}}}'),), thresholds=(SATURATION,))", part, whole,
            )  # fmt: skip
            self.alerts.append(
                f"Alert({alert!r}, {condition}, 'warning', wait=5 * MINUTE,\n"
                f"          summary='{{{{ $labels.instance }}}} uses {{value}} of {limit}',\n"
                f"          description='{used} is {{value}} of {limit}; the threshold is {{threshold}}.')"
            )

    def text(self) -> str:
        self.choose()
        adopted, title = self.adopted, re.sub("[^A-Za-z0-9]+", " ", self.adopted.name).strip().capitalize() or "Service"
        uid = re.sub("[^A-Za-z0-9_-]+", "-", adopted.name)[:40] or "service"
        metrics = "\n".join(f"{self.of[metric.name]} = {self.declaration(metric)}" for metric in adopted.metrics)
        rows = [_tuple(f"Row({row!r}, (", panels, ")),", 8) for row, panels in self.rows.items()]
        ignored = [f"{name!r}: {reason!r}" for name, reason in adopted.ignored.items()]
        thresholds = "".join(f"{name}, " for name in ("TARGET_DOWN", *dict.fromkeys(self.thresholds)))
        parts = [
            _HEAD.format(name=adopted.name),
            "\n".join(f"{name} = {self.label(label)}" for label, name in self.labels.items()),
            self.threshold_texts(),
            _UP,
            metrics,
            _tuple("METRICS = (", [self.of[metric.name] for metric in adopted.metrics], ")"),
            _tuple("IGNORED = {", ignored, "}"),
            f"CATALOG = Catalog({adopted.name!r}, METRICS, thresholds=({thresholds.rstrip()}), external=(UP,), ignored=IGNORED)",
            "\n".join(['DOWN = Condition(series(UP), "==", TARGET_DOWN)', *self.conditions]),
            _DASHBOARD.format(uid=uid, title=title, rows="\n".join(rows)),
            _tuple("ALERTS = (", [_DOWN.format(name=f"{self.prefix}Down"), *self.alerts], ")"),
            _TAIL,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def threshold_texts(self) -> str:
        texts = []
        if "ERROR_RATIO" in self.thresholds:
            texts.append("ERROR_RATIO = Threshold('error_ratio', 0.05, RATIO, maximum=1, reason='One in twenty failing is an outage for somebody.')")
        if self.counted is not None:
            reason = "Of fewer, a few that fail are a large share."
            texts.append(f"ENOUGH = Threshold('enough', 100, {_unit(self.counted.unit)}, reason={reason!r})")
        if self.latency is not None:
            bounds = self.latency.buckets[:-1]  # a quantile is never told as greater than the last one
            bound = next((bound for bound in bounds if bound >= 1), bounds[-1])
            above = "" if bound > 0 else f", exclusive_minimum={number(bound - 1)}"
            reason = "The bucket bound next to a second: choose what users expect."
            texts.append(f"LATENCY = Threshold('latency', {number(bound)}, SECONDS{above}, reason={reason!r})")
        if "SATURATION" in self.thresholds:
            texts.append("SATURATION = Threshold('saturation', 0.8, RATIO, maximum=1, reason='The last fifth is the time left to act.')")
        return "\n".join(texts)

    def declaration(self, metric: Metric) -> str:
        labels = "".join(f"{self.labels[label]}, " for label in metric.labels)
        parts = [repr(metric.name), repr(metric.help), _unit(metric.unit), *([f"({labels.rstrip()})"] if labels else [])]
        if isinstance(metric, Histogram):
            parts.append(f"buckets=({''.join(f'{number(bound)}, ' for bound in metric.buckets).rstrip()})")
            parts += ["thresholds=(LATENCY,)"] if metric is self.latency else []
        if isinstance(metric, StateSet):
            parts.append(f"states={metric.states!r}, state_label={metric.state_label!r}")
        parts += ["foreign=True"] if metric.foreign else []
        return f"{type(metric).__name__}({', '.join(parts)})"

    def label(self, label: Label) -> str:
        parts = [repr(label.name), repr(label.help)]
        parts.append(f"values={label.values!r}" if label.values else f"bound={label.bound}")
        parts += [f"pattern={label.pattern!r}"] if label.pattern else []
        return f"Label({', '.join(parts)})"


def _tuple(head: str, items: list[str], end: str, indent: int = 0) -> str:
    """A tuple or mapping of one item a line."""
    space = " " * indent
    return f"{space}{head}\n" + "".join(f"{space}    {item},\n" for item in items) + f"{space}{end}"


def _by(metric: Metric) -> str:
    """The labels by which a panel tells lines apart, as an argument: those of few values, two at most."""
    few = tuple(label.name for label in sorted(metric.labels, key=lambda label: label.size) if label.size <= 100)[:2]
    return f", by={few!r}" if few else ""


def _unit(unit: Unit) -> str:
    return _UNIT_NAMES.get(unit) or f"Unit.of({unit.powers[0][0]!r})"


_HEAD = '''"""The metrics of {name}, as its /metrics showed them, with a dashboard and alerts to start from.

    balance-gen lint --source MODULE:bundle
    balance-gen verify http://HOST:PORT/metrics --source MODULE:bundle

Read it through: close sets of label values that are complete, say units that names do not tell, choose thresholds.
"""

# ruff: noqa
from __future__ import annotations

from balance.api import (
    BYTES, INFO, RATE_WINDOW, RATIO, SECONDS, STATE, Alert, Bundle, Catalog, Condition, Counter, Dashboard, Gauge, Histogram, Label, Panel, Query,
    Row, State, StateSet, Threshold, Unit, Waiver, compare, increase, matches, quantile, quantile_panel, rate, rate_panel, ratio, series, sum_by,
    value_panel,
)  # fmt: skip

MINUTE = 60'''
_UP = """TARGET_DOWN = Threshold('target_down', 0, STATE, fixed=True, reason='Prometheus writes up = 0 when a scrape fails.')
UP = Gauge('up', 'Whether Prometheus could scrape the target (1) or not (0).', STATE, foreign=True)"""
_DASHBOARD = """DASHBOARD = Dashboard(
    name={uid!r}, uid={uid!r}, title={title!r}, description='Rate, errors, duration; use and saturation of {title}.',
    presence=UP, main=True,
    rows=(
{rows}
    ),
)"""
_DOWN = """Alert({name!r}, DOWN, 'critical', wait=1 * MINUTE,
          summary='{{{{ $labels.instance }}}} of job {{{{ $labels.job }}}} is down', description='Prometheus cannot scrape it.')"""
_TAIL = """NOT_YET = "adopted from a scrape: not yet on a panel"
LATER = "adopted from a scrape: the runbook is still to be written"
shown = Bundle(CATALOG, (DASHBOARD,)).plotted
bundle = Bundle(
    CATALOG,
    (DASHBOARD,),
    ALERTS,
    unplotted={metric: NOT_YET for metric in CATALOG if metric not in shown},
    waivers=tuple(Waiver("alert-without-runbook", alert.name, LATER) for alert in ALERTS),
)"""
