"""A settings file and `--set key.path=value` to `Settings`. Whether thresholds and alerts of that name exist is known only once
the sources are loaded, and checked there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal
from typing import Any, cast, get_args

from balance.catalog import standard
from balance.catalog.model import TARGET_LABELS, is_name
from balance.errors import SettingsError
from balance.generate.reading import Read, Reader, RefusedError, Section, Table, duration, interval, one_of, switch, text, texts, whole
from balance.generate.receivers import ALERTMANAGER
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
from balance.promql.selectors import Matcher, MatchOperator, pattern_fault

_MATCHER = r'\s*([a-zA-Z_]\w*)\s*(=~|!=|!~|=)\s*"((?:[^"\\\n]|\\[\\"n])*)"\s*(?:,|$)'
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
RUNTIMES = tuple(standard.RUNTIMES)


def load(file: str | None, assignments: list[str]) -> Settings:
    """Settings from an optional YAML file, with `assignments` (``thresholds.error_ratio=0.02``) laid over it.

    Raises `SettingsError` with every unknown key and every value of the wrong kind.
    """
    if file is None and not assignments:
        return Settings()
    tree = _file(file) if file else {}
    for assignment in assignments:
        _assign(tree, assignment)
    reader = Reader(file or "--set")
    values = reader.mapping("", tree, KEYS)
    matchers = values.pop("matchers", ())
    for job in (matcher for matcher in matchers if matcher.label == "job"):  # the scrape job by its other name
        if job.operator != "=" or values.setdefault("job", job.value) != job.value:
            reader.refuse("selector", f'job{job.operator}"{job.value}" is not the one scrape job', "choose it with the key `job`")
    if reader.problems:
        raise SettingsError(problems=reader.problems)
    return Settings(**values, matchers=tuple(matcher for matcher in matchers if matcher.label != "job"))


def _file(name: str) -> dict[str, Any]:
    import yaml

    try:
        with open(name, "rb") as stream:
            tree = yaml.load(stream, _unique_keys())  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=name, cure="check the path given with --settings") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise SettingsError(f"is no YAML: {problem}", where=f"{name}{line}", cure="mend the file") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError("is no mapping", where=name, cure=f"write keys and values; keys: {', '.join(sorted(KEYS))}")
    return tree


def _unique_keys() -> Any:
    """YAML's SafeLoader, refusing a key that is given twice: one of the two would be lost."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for index, key in enumerate(keys):
                if key in keys[:index]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.value[index][0].start_mark)
            return super().construct_mapping(node, deep)

    return Loader


def _assign(tree: dict[str, Any], assignment: str) -> None:
    import yaml

    path, equals, value = assignment.partition("=")
    keys = path.split(".")
    if not (equals and all(keys)):
        raise SettingsError("assigns nothing", where=f"--set {assignment}", cure="write key.path=value, for example thresholds.error_ratio=0.02")
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise SettingsError(f"{key!r} is no mapping", where=f"--set {assignment}", cure="give a key below a mapping")
        tree = below
    try:
        tree[keys[-1]] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        tree[keys[-1]] = value


def _none_or_texts(reader: Reader, path: str, value: Any) -> tuple[str, ...]:
    """list of texts, which may be empty"""
    return () if value == [] else texts(reader, path, value)


def _labels(reader: Reader, path: str, value: Any) -> tuple[str, ...]:
    """list of labels"""
    names = texts(reader, path, value)
    for name in names:
        if not is_name(name) or name in TARGET_LABELS:
            raise RefusedError(f"{name!r} is no label to keep", "write names of labels besides job and instance, for example [cluster, namespace]")
    return names


def _address(reader: Reader, path: str, value: Any) -> str:
    """URL or path"""
    return text(reader, path, value).rstrip("/")


def _matchers(_: Reader, _path: str, value: Any) -> tuple[Matcher, ...]:
    """matchers, as in PromQL"""
    text, place, found = (value.strip() if isinstance(value, str) else ""), 0, []
    pattern = re.compile(_MATCHER, re.ASCII)
    while place < len(text) and (match := pattern.match(text, place)):
        label, operator, quoted = cast(tuple[str, MatchOperator, str], match.group(1, 2, 3))
        matcher = Matcher(label, operator, re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], quoted))
        if label.startswith("__"):
            raise RefusedError(f"{label!r} is a reserved label", "select by labels such as job, cluster or namespace")
        if "~" in operator and (fault := pattern_fault(matcher.value)):
            raise RefusedError(f"{matcher.value!r} {fault}", "write a regular expression that RE2 takes")
        found.append(matcher)
        place = match.end()
    if not found or place < len(text):
        raise RefusedError(f"{value!r} is no list of matchers", """write label="value", with =, !=, =~ or !~ and a comma between two""")
    return tuple(found)


def _thresholds(reader: Reader, path: str, value: Any) -> dict[str, float]:
    """numbers by name"""
    numbers = {}
    for name, number in reader.items(path, value):
        if isinstance(number, str):
            with suppress(ValueError):
                number = float(number)  # YAML 1.1 takes 1e9 for a text
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            reader.refuse(f"{path}.{name}", f"{number!r} is no number", "write a number in the threshold's base unit")
        else:
            numbers[name] = number
    return numbers


def _objectives(reader: Reader, path: str, value: Any) -> dict[str, Decimal]:
    """shares by name"""
    return {name: Decimal(repr(share)) for name, share in _thresholds(reader, path, value).items()}


def _written(pattern: str, kind: str, example: str) -> Read:
    """A text of one form."""

    def read(_: Reader, _path: str, value: Any) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise RefusedError(f"{value!r} is no {kind}", f"write it like {example}")

    read.__doc__ = kind
    return read


def _words(keys: str, values: str, kind: str, example: str) -> Read:
    """Texts by name, each of one form: Kubernetes' labels and annotations."""

    def read(reader: Reader, path: str, value: Any) -> dict[str, str]:
        items = reader.items(path, value)
        for key, word in items:
            if not (isinstance(word, str) and re.fullmatch(keys, key) and re.fullmatch(values, word)):
                raise RefusedError(f"{key}: {word!r} is no {kind}", f"write it like {example}, numbers and switches in quotes")
        return dict(items)

    read.__doc__ = f"mapping of {kind}s"
    return read


_DNS = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LABEL = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_QUALIFIED = rf"({_DNS}(\.{_DNS})*/)?{_LABEL}"
_dns_name = _written(_DNS, "Kubernetes name", "edge-monitoring")
_port_name = _written(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", "port name", "metrics")
_label_map = _words(_QUALIFIED, f"{_LABEL}?", "Kubernetes label", "{release: prometheus}")
_annotation_map = _words(_QUALIFIED, r"(?s).*", "Kubernetes annotation", "{grafana_folder: Edge}")

_ALERT: Table = {
    "enabled": ("enabled", switch, "false leaves the alert out of everything that is generated."),
    "severity": ("severity", one_of(*get_args(Severity)), "Who is told: critical pages, a warning waits for working hours."),
    "for": ("wait", duration, "How long it must be true before it fires."),
    "keep_firing_for": ("keep_firing", duration, "How long it goes on firing once it is no longer true."),
}
_PROMETHEUS: Table = {
    "scrape_interval": ("scrape_interval", interval, "Time between two scrapes, at most half of the shortest window of a rate."),
    "evaluation_interval": ("evaluation_interval", interval, "Time between two evaluations of the rules."),
    "targets": ("targets", texts, "The admin addresses of the instances."),
    "rule_files": ("rule_files", texts, "Where Prometheus finds the rules."),
    "alertmanagers": ("alertmanagers", _none_or_texts, "The addresses of Alertmanager."),
}
_KUBERNETES: Table = {
    "name": ("name", _dns_name, "The name of the objects, and the beginning of the dashboards'; by default the catalog's."),
    "namespace": ("namespace", _dns_name, "Where the objects live; by default wherever they are applied."),
    "labels": ("labels", _label_map, "Labels of all objects, such as the ones by which Prometheus' operator picks them up."),
    "service_labels": ("service_labels", _label_map, "The labels of the Services to scrape; by default `app.kubernetes.io/name` with the name."),
    "service_namespaces": (
        "service_namespaces",
        texts,
        "Where those Services live, by default with the ServiceMonitor; the first gets what runs.",
    ),
    "port": ("port", _port_name, "The name of the Services' port that answers `/metrics`."),
    "dashboard_labels": ("dashboard_labels", _label_map, "The labels by which Grafana's sidecar finds dashboards."),
    "dashboard_annotations": ("dashboard_annotations", _annotation_map, "Annotations for the sidecar, such as the folder."),
    "image": ("image", text, "The image of the Deployment, with its registry and tag; by default the bare name of what runs."),
    "replicas": ("replicas", whole, "How many replicas run at least."),
    "most_replicas": ("most_replicas", whole, "How many run at most, under load."),
    "cpu": (
        "cpu",
        _written(r"[1-9]\d*m?", "number of processors", "500m"),
        "What a replica asks for; at 70 % of it more start.",
    ),
}
_PROVISIONING: Table = {
    "provider": ("provider", text, "The name of the dashboard provider; by default the main dashboard's title."),
    "organisation": ("organisation", whole, "Grafana's organisation that gets the dashboards."),
    "folder": ("folder", text, "The folder in which Grafana shows them; by default the bundle's."),
    "path": ("path", text, "The directory on Grafana's machine that holds the dashboards."),
    "datasource": ("datasource", text, "The name of the data source."),
    "url": ("url", _written(r"https?://\S+", "URL", "http://localhost:9090"), "Where Grafana reaches Prometheus, Thanos or Mimir."),
}
KEYS: Table = {
    "job": ("job", text, "The scrape job, on which rules, dashboards and the scrape configuration agree; by default the catalog's name."),
    "selector": ("matchers", _matchers, 'Matchers put into every selector beside the job: `cluster="eu",namespace=~"edge-.*"`.'),
    "keep_labels": ("keep_labels", _labels, "Labels that aggregations by job keep too, where one Prometheus sees several clusters."),
    "rate_window": ("rate_window", interval, "The window of rates in rules, if not as declared."),
    "runbook_base": ("runbook_base", _address, "What links to runbooks begin with."),
    "grafana_url": ("grafana_url", _address, "What links to panels begin with."),
    "runtime": ("runtime", one_of(*RUNTIMES), "Whose runtime metrics are used."),
    "ruler": ("ruler", one_of(*RULERS), "Which program evaluates the rule files."),
    "thresholds": ("thresholds", _thresholds, "Other values for thresholds; see below."),
    "objectives": ("objectives", _objectives, "Other shares of requests that must be good; see below."),
    "alerts": ("alerts", Section(AlertSettings, _ALERT, "NAME"), "Overrides for single alerts."),
    "prometheus": ("prometheus", Section(PrometheusSettings, _PROMETHEUS), "The scrape configuration."),
    "alertmanager": ("alertmanager", Section(AlertmanagerSettings, ALERTMANAGER), "Who is told."),
    "kubernetes": ("kubernetes", Section(KubernetesSettings, _KUBERNETES), "Kubernetes objects."),
    "provisioning": ("provisioning", Section(ProvisioningSettings, _PROVISIONING), "Grafana's provisioning."),
}
