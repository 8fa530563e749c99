"""Load the sources, from entry points or `--source module:attribute`, into one bundle, and check the settings against it."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import balance
from balance.catalog.model import Histogram, Metric, StateSet, number
from balance.catalog.registry import Catalog
from balance.config.problems import Problems
from balance.config.schema import Complaint
from balance.errors import BalanceError, SettingsError, SourceError, choices, suggestion
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle, merge
from balance.monitoring.dashboards import Dashboard
from balance.monitoring.renames import bridges
from balance.monitoring.routing import apply_settings
from balance.monitoring.settings import AlertmanagerSettings, Settings
from balance.promql.text import duration, seconds

GROUP = "balance.sources"
BUNDLED = "balance"
"""The entry point of the load balancer's own source."""
EMPTY = Bundle(Catalog("nothing", ()))
"""The bundle of commands that need no source."""


def collect(settings: Settings, names: tuple[str, ...] = (), given: Problems | None = None) -> tuple[Bundle, Settings]:
    """Load the selected sources (see `select`) and apply the settings to their alerts; renamed metrics get the recording rules they need.

    A source is a `Bundle`, or a function from `Settings` to one. `given` holds the problems found while reading the settings, and the place
    of each key. Returns the bundle and the settings, which then name the scrape job.

    Raises `SourceError` if there is no source or one cannot be loaded, and `SettingsError` if the settings name unknown thresholds or
    alerts, or values out of range.
    """
    if names and "" not in sys.path:
        sys.path.append("")  # also find modules in the current directory, after installed ones
    bundle = _merged(select(names), settings, given or Problems())
    chosen = tuple(_chosen(alert, settings) for alert in bundle.alerts if settings.alert(alert.name).enabled)
    if chosen != bundle.alerts:
        off = tuple(alert for alert in bundle.alerts if not settings.alert(alert.name).enabled)
        routing = bundle.routing and bundle.routing.for_alerts(alert.name for alert in chosen)
        bundle = replace(bundle, alerts=chosen, routing=routing, switched_off=off)
    if extra := bridges(bundle.catalog):
        bundle = replace(bundle, recording_rules=(*bundle.recording_rules, *extra))
    return bundle, replace(settings, job=settings.job or bundle.catalog.name)


def _merged(names: tuple[str, ...], settings: Settings, given: Problems) -> Bundle:
    """Load and merge the named sources, and check the settings against them."""
    try:
        bundle = merge([_load(name, settings) for name in names])
    except BalanceError:
        given.raise_if_any(SettingsError)  # a wrong setting may be the reason
        raise
    _check(bundle, settings, given)
    return bundle


def _chosen(alert: Alert, settings: Settings) -> Alert:
    """The alert with its overrides."""
    own = settings.alert(alert.name)
    chosen: dict[str, Any] = {"wait": own.wait, "keep_firing": own.keep_firing, "severity": own.severity}
    changes = {field: value for field, value in chosen.items() if value is not None}
    return replace(alert, **changes) if changes else alert


def installed() -> dict[str, str]:
    """``module:attribute`` of the installed sources, by the name of their entry point."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def select(names: Sequence[str]) -> tuple[str, ...]:
    """``module:attribute`` of the selected sources: the named ones, else the only other one installed, else the bundled one.

    Raises `SourceError` if a name is unknown, if several sources are installed, or none is.
    """
    known = installed()
    if names:
        return tuple(name if ":" in name else _named(name, known) for name in names)
    others = [name for name in known if name != BUNDLED]
    if len(others) > 1:
        raise SourceError("several sources are installed", cure=f"choose one with --source: {choices(known)}")
    if others:
        return (known[others[0]],)
    if BUNDLED not in known:
        raise SourceError(
            f"no source of dashboards and rules is installed (entry-point group {GROUP!r})",
            cure="install the package that declares one, or name it: --source module:attribute",
        )
    return (known[BUNDLED],)


def _named(name: str, known: Mapping[str, str]) -> str:
    if name not in known:
        raise SourceError(f"no installed source {name!r}", where=f"--source {name}", cure=f"{suggestion(name, known)}; or write module:attribute")
    return known[name]


def _load(name: str, settings: Settings) -> Bundle:
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise SourceError("invalid source", where=f"source {name}", cure="write module:attribute, for example shop.monitoring:bundle")
    try:
        with redirect_stdout(sys.stderr):  # keep the output free of what a source prints
            source = getattr(import_module(module_name), attribute)
            bundle = source(settings) if callable(source) else source
    except BalanceError:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything: name the source
        place = _place(error)
        raise SourceError(
            f"cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}",
            where=f"source {name}{place}",
            cure="fix the module or the name",
        ) from error
    if not isinstance(bundle, Bundle):
        raise SourceError(f"must be a Bundle, got {type(bundle).__name__}", where=f"source {name}", cure="give a Bundle or a function of Settings")
    return bundle


def _place(error: BaseException) -> str:
    """Where in the user's code it was raised, as ``, FILE:LINE``: the innermost frame outside balance and the standard library, if any."""
    ours = (f"{Path(balance.__file__).parent}{os.sep}", f"{sysconfig.get_path('stdlib')}{os.sep}", "<")
    place, frame = "", error.__traceback__
    while frame:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(ours) or "site-packages" in file.removeprefix(ours[1]):
            place = f", {file}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place


def _check(bundle: Bundle, settings: Settings, given: Problems) -> None:
    """Raise `SettingsError` with every problem of the settings, including those that only the bundle reveals, each with its place."""
    checks = [_threshold_faults, _unknown, _selector_faults, _interval_faults]
    if not given.has_problem("alertmanager"):
        checks.append(_routing_faults)
    for path, what, cure in (complaint for check in checks for complaint in check(bundle, settings)):
        given.add(path, what, cure)
    given.raise_if_any(SettingsError)


def _threshold_faults(bundle: Bundle, settings: Settings) -> Iterator[Complaint]:
    """Thresholds that are unknown, out of range, or between two bucket bounds of their histogram."""
    thresholds = {threshold.name: threshold for threshold in bundle.catalog.thresholds}
    for name, value in settings.thresholds.items():
        if name not in thresholds:
            adjustable = [threshold.name for threshold in bundle.catalog.thresholds if not threshold.fixed]
            yield f"thresholds.{name}", "unknown threshold", suggestion(name, adjustable)
        elif problem := thresholds[name].problem(value):
            yield f"thresholds.{name}", problem, f"default: {number(thresholds[name].value)}"
        else:
            for histogram in bundle.catalog:
                if isinstance(histogram, Histogram) and (problem := histogram.problem(thresholds[name], value)):
                    yield f"thresholds.{name}", f"{problem} of {histogram.name}", f"bounds: {histogram.bounds}"


def _unknown(bundle: Bundle, settings: Settings) -> Iterator[Complaint]:
    """Unknown runtimes, objectives and alerts."""
    if settings.runtime != Settings().runtime and settings.runtime not in bundle.runtimes:
        what = f"catalog {bundle.catalog.name} has no dashboards or alerts for the runtime {settings.runtime!r}"
        yield "runtime", what, f"choices: {choices(bundle.runtimes)}"
    for key, kind, chosen, known in (
        ("objectives", "objective", settings.objectives, {slo.name for slo in bundle.slos}),
        ("alerts", "alert", settings.alerts, {alert.name for alert in bundle.alerts}),
    ):
        yield from ((f"{key}.{name}", f"unknown {kind}", suggestion(name, known)) for name in chosen if name not in known)


def _selector_faults(bundle: Bundle, settings: Settings) -> Iterator[Complaint]:
    """Matchers on labels that only some metrics have."""
    own = {label: metric.name for metric in bundle.catalog for label in _own_labels(metric)}
    for matcher in settings.matchers:
        if matcher.label in own:
            what = f"{matcher.label!r} is a label of {own[matcher.label]}, which other metrics lack"
            yield "selector", what, "select by labels of the target"


def _interval_faults(bundle: Bundle, settings: Settings) -> Iterator[Complaint]:
    """A scrape interval that is too long for the rules."""
    interval = settings.prometheus.scrape_interval
    scope = settings.scope
    shortest = min((seconds(window, scope) for _, expr in bundle.expressions() for window in expr.windows()), default=interval * 2)
    if interval * 2 > shortest:
        what = f"{duration(interval)} leaves fewer than two samples in the rules' window of {duration(shortest)}: no rate, no alert"
        yield "prometheus.scrape_interval", what, f"at most {duration(shortest // 2)}"


def _routing_faults(bundle: Bundle, settings: Settings) -> Iterator[Complaint]:
    """Receivers, routes and mute times that contradict the declared ones."""
    if bundle.routing and settings.alertmanager != AlertmanagerSettings():
        try:
            apply_settings(bundle.routing, settings)
        except SettingsError as error:
            yield from ((problem.where, problem.what, problem.cure) for problem in error.problems)


def _own_labels(metric: Metric) -> tuple[str, ...]:
    """Labels that the service itself puts on the metric's series, which excludes target labels such as ``job``."""
    if isinstance(metric, StateSet):
        return (*metric.label_names, metric.state_label)
    return (*metric.label_names, "le") if isinstance(metric, Histogram) else metric.label_names


def choose_dashboard(bundle: Bundle, name: str | None) -> Dashboard:
    """The named dashboard, or the main one. Raises `SourceError` if there is no such dashboard."""
    names = [dashboard.name for dashboard in bundle.dashboards]
    found = [dashboard for dashboard in bundle.dashboards if (dashboard.main if name is None else dashboard.name == name)]
    if len(found) == 1:
        return found[0]
    if name is None:
        if not names:
            raise SourceError("the sources declare no dashboard", cure="declare one in the Bundle, or name another --source")
        what = f"{len(found)} main dashboards" if found else "no main dashboard"
        raise SourceError(what, cure=f"declare one with main=True, or name one: {choices(names)}")
    raise SourceError(f"no dashboard {name!r}", cure=suggestion(name, names))
