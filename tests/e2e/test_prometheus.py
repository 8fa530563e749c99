"""The proof: what the balancer exports, the dashboard shows and the rules ask for is one thing, with a real Prometheus as judge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from balance.monitoring.bundle import Bundle

from .conftest import Origin, balancing, eventually, fetch, free_port, running

if TYPE_CHECKING:
    from tests.conftest import Authority

pytestmark = pytest.mark.process
SETTINGS = """
prometheus: {{scrape_interval: 1s, evaluation_interval: 1s, targets: ["127.0.0.1:{admin}", "127.0.0.1:{silent}"]}}
alerts: {{BalanceBackendDown: {{for: 3s}}}}
"""
CONFIG = """
listen: 127.0.0.1:0
tls: {{listen: "127.0.0.1:0", certificates: [{{certificate: {certificate}, key: {key}}}]}}
admin: {{listen: 127.0.0.1:0}}
pools:
  - name: default
    backends: [{{name: one, address: "127.0.0.1:{one}", max_connections: 1}}]
    discover: {{file: found.yaml}}
health_check: {{type: http, path: /health, interval: 200ms, timeout: 1s, healthy_threshold: 2, unhealthy_threshold: 2}}
log: {{format: json}}
"""


class Chain:
    """The running chain: two origins, the balancer in front of them, and Prometheus behind its admin port."""

    def __init__(self, origins: list[Origin], listen: int, admin: int, prometheus: int, generated: Path) -> None:
        self.origins, self.listen, self.admin, self.prometheus, self.generated = origins, listen, admin, prometheus, generated

    def api(self, path: str) -> Any:
        status, body = fetch(self.prometheus, f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)["data"]

    def query(self, promql: str) -> list[Any]:
        result: list[Any] = self.api(f"query?query={quote(promql)}")["result"]
        return result

    def listed(self, label: str, selector: str) -> list[str]:
        """The values of a label. Prometheus may answer queries a moment before it lists the series that it has just scraped."""
        values: list[str] = eventually(f"{label} is listed", lambda: self.api(f"label/{label}/values?match[]={quote(selector)}"))
        return values

    def alert(self, name: str) -> list[dict[str, Any]]:
        return [alert for alert in self.api("alerts")["alerts"] if alert["labels"]["alertname"] == name]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str], authority: Authority) -> Iterator[Chain]:
    directory = tmp_path_factory.mktemp("chain")
    origins = [Origin(), Origin()]
    silent = Origin()  # answers scrapes with nothing: an instance without metrics
    config = directory / "balance.yaml"
    (directory / "found.yaml").write_text(f"- {{name: two, address: '127.0.0.1:{origins[1].port}', max_connections: 1}}\n")
    config.write_text(CONFIG.format(one=origins[0].port, **authority.issue("site", "site.test")))
    with balancing(config) as (listen, admin):
        settings = directory / "settings.yaml"
        settings.write_text(SETTINGS.format(admin=admin, silent=silent.port))
        generated = directory / "generated"
        subprocess.run(
            [sys.executable, "-m", "balance.commands.cli", "write", "--out", generated, "--settings", settings], check=True, capture_output=True
        )
        port = free_port()
        command = [
            program("prometheus"),
            f"--config.file={generated / 'prometheus' / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
        ]
        with running(command, directory / "prometheus.log"), traffic(listen):
            eventually("Prometheus is ready", lambda: fetch(port, "/-/ready")[0] == 200)
            yield Chain(origins, listen, admin, port, generated)
    for origin in (*origins, silent):
        origin.stop()


class traffic:  # noqa: N801 (a context manager)
    """A steady trickle of requests with all classes of outcome, more at once than backends take, until the end of the block."""

    def __init__(self, port: int) -> None:
        self.port, self.stopping = port, threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(3)]

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            fetch(self.port, "/")
            fetch(self.port, "/slow")
            fetch(self.port, "/last")
            fetch(self.port, "/form", "POST", b"x" * 300)
            fetch(self.port, "/status/404")
            fetch(self.port, "/status/500")

    def __enter__(self) -> None:
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def expressions(chain: Chain) -> Iterator[tuple[str, str]]:
    """Place and query of every panel and annotation of the generated dashboards, with Grafana's variables as Grafana fills them in."""
    for file in sorted((chain.generated / "dashboards").glob("*.json")):
        model = json.loads(file.read_text())
        panels = [panel for top in model["panels"] for panel in (top, *top.get("panels", ()))]
        asked = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
        for place, expr in (*asked, *((mark["name"], mark["expr"]) for mark in model["annotations"]["list"])):
            filled = re.sub(r"\$(job|instance|backend)", ".+", expr).replace("$__rate_interval", "4s")
            yield f"{file.stem}: {place}: {filled}", filled


def test_every_dashboard_query_returns_data(chain: Chain) -> None:
    found = list(expressions(chain))
    assert len(found) >= 150
    for claim, promql in found:
        if promql.startswith("ALERTS"):
            continue  # seen below, when one fires
        result = eventually(claim, lambda promql=promql: chain.query(promql))  # type: ignore[misc]
        assert all(sample["value"][1] != "NaN" for sample in result), claim


def test_dashboard_variables_have_values(chain: Chain) -> None:
    eventually("the target is scraped", lambda: chain.query('up{job="balance"} == 1'))
    assert chain.listed("job", "balance_active_connections") == ["balance"]
    assert chain.listed("instance", "balance_active_connections") == [f"127.0.0.1:{chain.admin}"]


def test_every_rule_is_loaded_and_evaluates(chain: Chain, bundle: Bundle) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        rules = [rule for group in chain.api("rules")["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    rules = eventually("all rules have been evaluated", evaluated)
    assert {rule["health"] for rule in rules} == {"ok"}
    declared = [*(alert.name for alert in bundle.alerts), *(rule.record for rule in bundle.recording_rules)]
    assert sorted(rule["name"] for rule in rules) == sorted(declared)


def test_series_in_prometheus_equal_the_catalog(chain: Chain) -> None:
    from balance.lb.catalog.metrics import CATALOG

    eventually("the target is scraped", lambda: chain.query('up{job="balance"} == 1'))
    names = set(chain.listed("__name__", '{job="balance"}'))
    added_by_prometheus = {"up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling", "scrape_samples_scraped", "scrape_series_added"}
    recorded = {name for name in names if ":" in name}
    rules_own = {"ALERTS", "ALERTS_FOR_STATE"}
    assert names - added_by_prometheus - recorded - rules_own == {sample for metric in CATALOG for sample in metric.samples}


def test_exemplar_has_the_trace_id(chain: Chain) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    status, _body = fetch(chain.listen, "/", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert status == 200
    path = "query_exemplars?query=balance_http_request_duration_seconds_bucket&start=0&end=9999999999"
    found = eventually("the exemplar is stored", lambda: chain.api(path))
    assert {series["seriesLabels"]["method"] for series in found} == {"GET"}
    assert {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]} == {trace}


def test_backend_down_alert_fires_and_resolves(chain: Chain) -> None:
    name = "BalanceBackendDown"
    eventually("both backends are healthy", lambda: len(chain.query("balance_backend_healthy == 1")) == 2)
    assert chain.alert(name) == []

    chain.origins[1].stop()
    seen = eventually("the alert is raised", lambda: chain.alert(name))
    assert seen[0]["state"] == "pending", "`for` has not passed yet"
    firing = eventually("the alert fires", lambda: [alert for alert in chain.alert(name) if alert["state"] == "firing"])
    assert firing[0]["labels"] == {
        "alertname": name, "severity": "warning", "job": "balance", "instance": f"127.0.0.1:{chain.admin}", "backend": "two",
    }  # fmt: skip
    assert firing[0]["annotations"]["summary"] == f"Backend two behind 127.0.0.1:{chain.admin} is down"
    marks = {promql for _, promql in expressions(chain) if promql.startswith("ALERTS")}
    assert [len([one for one in chain.query(mark) if one["metric"]["alertname"] == name]) for mark in marks] == [1], "it is marked on every dashboard"
    assert fetch(chain.listen, "/")[0] == 200, "the other backend carries on"

    chain.origins[1].start()
    eventually("the alert is resolved", lambda: not chain.alert(name))
