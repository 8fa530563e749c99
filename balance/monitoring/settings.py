"""Settings that an operator may choose without changing code: names, thresholds, waiting times, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from balance.catalog.model import Threshold
from balance.promql.selectors import Matcher
from balance.promql.text import Scope, duration, matching

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class AlertSettings:
    """Overrides of one alert; None keeps the declared value. `wait` is its ``for``, `keep_firing` its ``keep_firing_for``, in seconds; an alert
    that is not `enabled` is left out of all generated files.
    """

    wait: int | None = None
    keep_firing: int | None = None
    severity: Severity | None = None
    enabled: bool = True


@dataclass(frozen=True)
class PrometheusSettings:
    """Prometheus' configuration: seconds between scrapes and between rule evaluations, addresses of the instances (`targets`), of the rule files and
    of the Alertmanagers.
    """

    scrape_interval: int = 15
    evaluation_interval: int = 15
    targets: tuple[str, ...] = ("127.0.0.1:9090",)
    rule_files: tuple[str, ...] = ("rules/*.yaml",)
    alertmanagers: tuple[str, ...] = ("127.0.0.1:9093",)


@dataclass(frozen=True)
class KubernetesSettings:
    """Names and labels of Kubernetes objects. `name`: default that of the catalog. `labels`: labels by which the Prometheus operator selects rules
    and monitors. `service_labels`, `service_namespaces`: the Services that are scraped, on the port named `port`. `image` (default: the
    workload's) runs with `replicas` to `max_replicas` replicas, each with the CPU request `cpu`.
    """

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_labels: Mapping[str, str] = field(default_factory=dict)
    service_namespaces: tuple[str, ...] = ()
    port: str = "metrics"
    dashboard_labels: Mapping[str, str] = field(default_factory=lambda: {"grafana_dashboard": "1"})
    dashboard_annotations: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    replicas: int = 2
    max_replicas: int = 10
    cpu: str = "500m"


@dataclass(frozen=True)
class ProvisioningSettings:
    """Grafana's provisioning: the `path` of the dashboards on its disk, the `url` of Prometheus and the name of its `datasource`. Default
    `provider`: the name of the main dashboard; default `folder`: that of the bundle.
    """

    provider: str = ""
    organisation: int = 1
    folder: str = ""
    path: str = "/var/lib/grafana/dashboards"
    datasource: str = "Prometheus"
    url: str = "http://localhost:9090"


@dataclass(frozen=True)
class Ruler:
    """How a ruler's format differs from that of Prometheus: `namespaced`: a namespace above the groups; `unknown`: keys that it does not know."""

    namespaced: bool = False
    unknown: frozenset[str] = frozenset()


RULERS: Mapping[str, Ruler] = {
    "prometheus": Ruler(),
    "thanos": Ruler(),
    "mimir": Ruler(namespaced=True),
    "vmalert": Ruler(),
    "vmalert-1.79": Ruler(unknown=frozenset({"keep_firing_for"})),
}
"""By name. `mimirtool rules load` needs the namespace; vmalert supports ``keep_firing_for`` since 1.92."""


@dataclass(frozen=True)
class AlertmanagerSettings:
    """Overrides of the declared routing (`balance.monitoring.routing`). `receivers`: fields of an integration by receiver and kind, None to remove
    that kind. `routes`: fields of a route by severity. `mute_times`: fields of mute times by name. `group_by`: default as declared. `secrets`:
    the folder of the files with secrets.
    """

    secrets: str = "/etc/alertmanager/secrets"
    receivers: Mapping[str, Mapping[str, Mapping[str, Any] | None]] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mute_times: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    group_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults. `job`: the scrape job of rules, dashboards and the scrape configuration (default: the name of the
    catalog). `matchers`: added to every selector beside the job. `keep_labels`: kept by every aggregation by job, for a Prometheus, Thanos or
    Mimir with several clusters. `rate_window`: seconds, for adaptive windows in rules (default: as declared). `runbook_base`, `grafana_url`:
    prefixes of the links in annotations. `thresholds`, `objectives`, `alerts`: overrides by name.
    """

    job: str = ""
    matchers: tuple[Matcher, ...] = ()
    keep_labels: tuple[str, ...] = ()
    rate_window: int | None = None
    runbook_base: str = "runbooks"
    grafana_url: str = "http://localhost:3000"
    runtime: str = "python"
    ruler: str = "prometheus"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    objectives: Mapping[str, Decimal] = field(default_factory=dict)
    alerts: Mapping[str, AlertSettings] = field(default_factory=dict)
    prometheus: PrometheusSettings = PrometheusSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    provisioning: ProvisioningSettings = ProvisioningSettings()

    @property
    def selector(self) -> str:
        """The matchers of every selector in rules."""
        return matching((Matcher("job", "=", self.job), *self.matchers))

    @property
    def recorded_selector(self) -> str:
        """The matchers for series of recording rules, which have the job and `keep_labels` only."""
        return matching((Matcher("job", "=", self.job), *self.recorded_matchers))

    @property
    def recorded_matchers(self) -> tuple[Matcher, ...]:
        """The matchers on `keep_labels`, which series of recording rules have too."""
        return tuple(matcher for matcher in self.matchers if matcher.label in self.keep_labels)

    @property
    def keep(self) -> str:
        """`keep_labels` as a prefix of the labels of an aggregation: "cluster, "."""
        return "".join(f"{label}, " for label in self.keep_labels)

    @property
    def scope(self) -> Scope:
        """The scope of expressions in rules."""
        window = duration(self.rate_window) if self.rate_window else ""
        return Scope(self.selector, window, self.thresholds, self.keep, self.recorded_selector)

    def value(self, threshold: Threshold) -> float:
        """The effective value of a threshold, in its unit: as overridden, or else as declared."""
        return self.scope.value(threshold)

    def alert(self, name: str) -> AlertSettings:
        """The overrides of an alert."""
        return self.alerts.get(name, AlertSettings())
