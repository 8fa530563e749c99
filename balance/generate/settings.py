"""Declare and read the settings: a file, overridden by environment variables, overridden by ``--set key.path=value``.

Variables are ``BALANCE_GEN_`` and the key path in capitals, joined by underscores: ``BALANCE_GEN_PROMETHEUS_SCRAPE_INTERVAL=30s``,
``BALANCE_GEN_THRESHOLDS_ERROR_RATIO=0.02``. They set single values outside lists, but not those of a single alert, receiver or mute time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast, get_args

from balance.catalog.model import TARGET_LABELS, is_name
from balance.catalog.standard import RUNTIMES
from balance.config import schema
from balance.config.kinds import Choice, Flag, Integer, Kind, KindError, Number, Text
from balance.config.problems import Problems
from balance.config.schema import Complaint, Section, Table, optional
from balance.errors import SettingsError
from balance.generate.receivers import ALERTMANAGER, INTERVAL, TEXT, WAIT
from balance.monitoring.settings import (
    RULERS,
    AlertmanagerSettings,
    AlertSettings,
    KubernetesSettings,
    PrometheusSettings,
    ProvisioningSettings,
    Settings,
    Severity,
)
from balance.promql.selectors import Matcher, MatchOperator, pattern_problem
from balance.promql.text import matching

PREFIX = "BALANCE_GEN_"
_MATCHER = r'\s*([a-zA-Z_]\w*)\s*(=~|!=|!~|=)\s*"((?:[^"\\\n]|\\[\\"n])*)"\s*(?:,|$)'
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def load(file: str | None, assignments: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Read an optional YAML file, variables over it, and assignments over both. Raises `SettingsError` with every problem."""
    settings, problems = read(file, assignments, environment)
    problems.raise_if_any(SettingsError)
    return settings


def read(file: str | None, assignments: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Settings, Problems]:
    """Read the settings; returns the valid ones and the problems, which also know the place of each key.

    Unknown thresholds, objectives and alerts are found when the sources are loaded (`balance.generate.collect`), and added to the problems.
    Raises `SettingsError` at once if the file cannot be read at all.
    """
    if file is None and not (assignments or any(name.startswith(PREFIX) for name in environment or ())):
        return Settings(), Problems()
    from balance.config import tree  # loads yaml, which commands without settings do not need
    from balance.config.walker import INVALID, Walker

    root = (
        tree.compose(tree.read_text(file, "check the path given with --settings", SettingsError), file, SettingsError) if file is not None else None
    )
    walker = Walker(file or "")
    root, walker.found = tree.with_environment(root, SETTINGS, environment or {}, PREFIX)
    for assignment in assignments:
        try:
            root = tree.with_assignment(root, assignment)
        except ValueError as error:
            what, cure = error.args
            walker.add("", what, cure, f"--set {assignment}")
    settings = walker.section(SETTINGS, root, "")
    return Settings() if settings is INVALID else settings, walker


def settings_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the settings file, for editors and other programs."""
    return schema.json_schema(SETTINGS, "Settings of balance-gen")


class _Matchers(Kind):
    noun = "selector"
    words = "matchers, as in PromQL"

    def parse(self, text: str) -> tuple[Matcher, ...]:
        place, found = 0, []
        pattern = re.compile(_MATCHER, re.ASCII)
        text = text.strip()
        while place < len(text) and (match := pattern.match(text, place)):
            label, operator, quoted = cast(tuple[str, MatchOperator, str], match.group(1, 2, 3))
            matcher = Matcher(label, operator, re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], quoted))
            if label.startswith("__"):
                raise KindError(f"reserved label {label!r}", "select by labels such as job, cluster or namespace")
            if "~" in operator and (fault := pattern_problem(matcher.value)):
                raise KindError(f"{matcher.value!r} {fault}", "write a regular expression that RE2 takes")
            found.append(matcher)
            place = match.end()
        if not found or place < len(text):
            raise self.invalid(text, """write label="value", with =, !=, =~ or !~ and a comma between two""")
        return tuple(found)

    def written(self, value: tuple[Matcher, ...]) -> str:
        return matching(value)


class _Share(Number):
    def parse(self, text: str) -> Decimal:
        share = Decimal(repr(super().parse(text)))
        if not 0 < share < 1:
            raise self.invalid(text, "must be between 0 and 1, for example 0.999")
        return share

    def written(self, value: Decimal) -> float:
        return float(value)


def _kept_label(text: str) -> str:
    if not is_name(text) or text in TARGET_LABELS:
        raise KindError(f"invalid label {text!r}", "write names of labels besides job and instance, for example [cluster, namespace]")
    return text


def _one_job(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """A selector may choose the scrape job, but not contradict `job`."""
    job = values.get("job")
    for matcher in values.get("matchers", ()):
        if matcher.label == "job":
            if matcher.operator != "=" or (job or matcher.value) != matcher.value:
                yield "selector", f'job{matcher.operator}"{matcher.value}" does not select the one scrape job', "choose the job with the key `job`"
            job = job or matcher.value


def _settings(matchers: tuple[Matcher, ...] = (), **values: Any) -> Settings:
    for matcher in matchers:
        if matcher.label == "job":
            values.setdefault("job", matcher.value)
    return Settings(**values, matchers=tuple(matcher for matcher in matchers if matcher.label != "job"))


def _like(pattern: str, noun: str, example: str) -> Text:
    return Text(pattern, f"write it like {example}", noun, words=noun, quoted=True)


def _labels(noun: str, values: str) -> Table:
    return Table(_like(_QUALIFIED, f"name of a {noun}", "app.kubernetes.io/name"), _like(values, noun, "prometheus"), words=f"mapping of {noun}s")


_DNS = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_QUALIFIED = rf"({_DNS}(\.{_DNS})*/)?{_VALUE}"
_DNS_NAME = _like(_DNS, "Kubernetes name", "edge-monitoring")
_PORT_NAME = _like(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", "port name", "metrics")
_LABELS = _labels("Kubernetes label", f"{_VALUE}?")
_BASE = Text(r"[\s\S]+", "must be a non-empty string", words="URL or path", quoted=True, check=lambda text: text.rstrip("/"))
_URL = _like(r"https?://\S+", "URL", "http://localhost:9090")
_WHOLE = Integer(1)

_ALERT = Section(AlertSettings, (
    optional("enabled", Flag(), "false leaves the alert out of everything that is generated."),
    optional("severity", Choice(*get_args(Severity)), "How it is routed: critical pages, a warning waits for working hours."),
    optional("for", WAIT, "How long it must be true before it fires.", attribute="wait"),
    optional("keep_firing_for", WAIT, "How long it goes on firing once it is no longer true.", attribute="keep_firing"),
))  # fmt: skip
_PROMETHEUS = Section(PrometheusSettings, (
    optional("scrape_interval", INTERVAL, "Time between two scrapes, at most half of the shortest window of a rate."),
    optional("evaluation_interval", INTERVAL, "Time between two evaluations of the rules."),
    optional("targets", TEXT, "The admin addresses of the instances.", several=True),
    optional("rule_files", TEXT, "Where Prometheus finds the rules.", several=True),
    optional("alertmanagers", TEXT, "The addresses of Alertmanager.", several=True, empty=True),
))  # fmt: skip
_KUBERNETES = Section(KubernetesSettings, (
    optional("name", _DNS_NAME, "The name of the objects, and the beginning of the dashboards'; by default the catalog's."),
    optional("namespace", _DNS_NAME, "Where the objects live; by default wherever they are applied."),
    optional("labels", _LABELS, "Labels of all objects, such as the ones by which Prometheus' operator picks them up."),
    optional("service_labels", _LABELS, "The labels of the Services to scrape; by default `app.kubernetes.io/name` with the name."),
    optional("service_namespaces", TEXT, "Where those Services live, by default with the ServiceMonitor; the first gets what runs.", several=True),
    optional("port", _PORT_NAME, "The name of the Services' port that answers `/metrics`."),
    optional("dashboard_labels", _LABELS, "The labels by which Grafana's sidecar finds dashboards."),
    optional("dashboard_annotations", _labels("Kubernetes annotation", r"[\s\S]*"), "Annotations for the sidecar, such as the folder."),
    optional("image", TEXT, "The image of the Deployment, with its registry and tag; by default the bare name of what runs."),
    optional("replicas", _WHOLE, "How many replicas run at least."),
    optional("max_replicas", _WHOLE, "How many run at most, under load."),
    optional("cpu", _like(r"[1-9]\d*m?", "number of processors", "500m"), "What a replica asks for; at 70 % of it more start."),
), refused={"most_replicas": ("was renamed", "write max_replicas")})  # fmt: skip
_PROVISIONING = Section(ProvisioningSettings, (
    optional("provider", TEXT, "The name of the dashboard provider; by default the main dashboard's title."),
    optional("organisation", _WHOLE, "Grafana's organisation that gets the dashboards."),
    optional("folder", TEXT, "The folder in which Grafana shows them; by default the bundle's."),
    optional("path", TEXT, "The directory on Grafana's machine that holds the dashboards."),
    optional("datasource", TEXT, "The name of the data source."),
    optional("url", _URL, "Where Grafana reaches Prometheus, Thanos or Mimir."),
))  # fmt: skip
_KEPT = Text(".+", "write names of labels", "label", words="label", quoted=True, check=_kept_label)
SETTINGS = Section(_settings, (
    optional("job", TEXT, "The scrape job, on which rules, dashboards and the scrape configuration agree; by default the catalog's name."),
    optional("selector", _Matchers(), 'Matchers put into every selector beside the job: `cluster="eu",namespace=~"edge-.*"`.', attribute="matchers"),
    optional("keep_labels", _KEPT, "Labels that aggregations by job keep too, where one Prometheus sees several clusters.", several=True),
    optional("rate_window", INTERVAL, "The window of rates in rules, if not as declared."),
    optional("runbook_base", _BASE, "What links to runbooks begin with."),
    optional("grafana_url", _BASE, "What links to panels begin with."),
    optional("runtime", Choice(*RUNTIMES), "Whose runtime metrics are used."),
    optional("ruler", Choice(*RULERS), "Which program evaluates the rule files."),
    optional("thresholds", Table(TEXT, Number(), words="numbers by name"), "Other values for thresholds; see below."),
    optional("objectives", Table(TEXT, _Share(), words="shares by name"), "Other shares of requests that must be good; see below."),
    optional("alerts", Table(TEXT, _ALERT), "Overrides for single alerts."),
    optional("prometheus", _PROMETHEUS, "The scrape configuration."),
    optional("alertmanager", Section(AlertmanagerSettings, ALERTMANAGER), "Routing and receivers of notifications."),
    optional("kubernetes", _KUBERNETES, "Kubernetes objects."),
    optional("provisioning", _PROVISIONING, "Grafana's provisioning."),
), check=_one_job, check_keys=("job", "selector"))  # fmt: skip
