"""What an operator may choose without touching code: names, thresholds, waiting times, addresses."""

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
    """Overrides for one alert; an empty field keeps what the alert declares. `wait` is its ``for``, `keep_firing` its
    ``keep_firing_for``, in seconds; an alert that is not `enabled` is in nothing that is generated.
    """

    wait: int | None = None
    keep_firing: int | None = None
    severity: Severity | None = None
    enabled: bool = True


@dataclass(frozen=True)
class PrometheusSettings:
    """The scrape configuration: seconds between scrapes and rule evaluations, addresses of the instances (admin port), where rules are read from
    and where alerts are sent to.
    """

    scrape_interval: int = 15
    evaluation_interval: int = 15
    targets: tuple[str, ...] = ("127.0.0.1:9090",)
    rule_files: tuple[str, ...] = ("rules/*.yaml",)
    alertmanagers: tuple[str, ...] = ("127.0.0.1:9093",)


@dataclass(frozen=True)
class KubernetesSettings:
    """Names and labels of Kubernetes objects. `name` is by default the catalog's; `labels` are those by which Prometheus' operator
    picks up rules and monitors; `service_labels` and `service_namespaces` say which Services are scraped, on the port called `port`.
    `image` (by default the workload's) runs at least `replicas` and at most `max_replicas` times, each asking for so many processors (`cpu`).
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
    """Where Grafana finds the dashboards (`path`, on its own disk) and Prometheus (`url`), and under which names it shows them: by
    default a provider named like the main dashboard, and the bundle's folder.
    """

    provider: str = ""
    organisation: int = 1
    folder: str = ""
    path: str = "/var/lib/grafana/dashboards"
    datasource: str = "Prometheus"
    url: str = "http://localhost:9090"


@dataclass(frozen=True)
class Ruler:
    """What a program that evaluates rules wants otherwise than Prometheus: a `namespace` above the groups, rules without some keys."""

    namespaced: bool = False
    unknown: frozenset[str] = frozenset()


RULERS: Mapping[str, Ruler] = {
    "prometheus": Ruler(),
    "thanos": Ruler(),
    "mimir": Ruler(namespaced=True),
    "vmalert": Ruler(),
    "vmalert-1.79": Ruler(unknown=frozenset({"keep_firing_for"})),
}
"""By name. `mimirtool rules load` wants the namespace; vmalert knows ``keep_firing_for`` from 1.92 on."""


@dataclass(frozen=True)
class AlertmanagerSettings:
    """What Alertmanager's configuration differs in from what is declared (`balance.monitoring.routing`). `receivers`: fields of an
    integration by receiver and kind, None to leave that kind out; `routes`: fields of a route by severity; `mute_times`: fields of
    mute times by name. `secrets` is the folder of the files that hold secrets.
    """

    secrets: str = "/etc/alertmanager/secrets"
    receivers: Mapping[str, Mapping[str, Mapping[str, Any] | None]] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mute_times: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    group_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults. `job` is the scrape job, on which rules, dashboards and the scrape configuration agree;
    where it is not chosen it is the name of the catalog. `matchers` are put into every selector beside it. `keep_labels` are kept by
    every aggregation that keeps the job, for a Prometheus, Thanos or Mimir that sees several clusters. `rate_window` is that of rates in
    rules, in seconds, if not as declared. `runbook_base` and `grafana_url` begin the links in annotations.
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
        """The matchers that rules put into every selector."""
        return matching((Matcher("job", "=", self.job), *self.matchers))

    @property
    def recorded_selector(self) -> str:
        """The matchers on series of recording rules, which have the job and the labels to keep."""
        return matching((Matcher("job", "=", self.job), *self.recorded_matchers))

    @property
    def recorded_matchers(self) -> tuple[Matcher, ...]:
        """Those of the matchers beside the job that series of recording rules have labels for."""
        return tuple(matcher for matcher in self.matchers if matcher.label in self.keep_labels)

    @property
    def keep(self) -> str:
        """The labels to keep, as an aggregation lists them before others."""
        return "".join(f"{label}, " for label in self.keep_labels)

    @property
    def scope(self) -> Scope:
        """Where the expressions of rules are used."""
        window = duration(self.rate_window) if self.rate_window else ""
        return Scope(self.selector, window, self.thresholds, self.keep, self.recorded_selector)

    def value(self, threshold: Threshold) -> float:
        """The value of a threshold under these settings, in the threshold's unit."""
        return self.scope.value(threshold)

    def alert(self, name: str) -> AlertSettings:
        """What is overridden for an alert."""
        return self.alerts.get(name, AlertSettings())
