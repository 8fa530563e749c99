"""What a real Prometheus has, labels of its own included."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

import pytest
import yaml

from balance.errors import BalanceError
from balance.live import index_sources
from balance.live.audit import audit, selected_names
from balance.live.audited_query import AuditedQuery

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def prometheus(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes itself as job `self` of team `a`, and a page with a counter that has no series yet."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "metrics").write_text("# TYPE quiet_total counter\n# TYPE shop_open gauge\nshop_open 1\n")
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "job:up:sum", "expr": "sum by (job) (up)"}]}]}))
    pages = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    jobs = [
        {"job_name": "shop", "static_configs": [{"targets": [f"127.0.0.1:{pages.server_port}"]}]},
        {"job_name": "self", "static_configs": [{"targets": [address], "labels": {"team": "a"}}]},
    ]
    times = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": times, "rule_files": ["rules.yml"], "scrape_configs": jobs}))
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urlopen(
                        f"http://{address}/api/v1/query?query=prometheus_build_info and on() shop_open and on() job:up:sum".replace(" ", "%20")
                    ) as answer:
                        if json.load(answer)["data"]["result"]:
                            break
                except OSError:
                    pass
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield f"http://{address}"
        finally:
            process.terminate()
            pages.shutdown()
            pages.server_close()


def test_prometheus_series_include_its_own_labels(prometheus: str) -> None:
    expected = {
        'prometheus_build_info{job="self",team="a"}': "live",
        'prometheus_build_info{team="b"}': "cannot-tell",
        'prometheus_build_info{namespace="x"}': "dead",
        'prometheus_http_requests_total{code=~"2.."}': "live",
        "prometheus_http_request_total": "dead",
        'up{job="self"} == 0': "live",
        "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[5m])))": "live",
        "histogram_quantile(0.9, sum by (job) (rate(prometheus_http_request_duration_seconds_bucket[5m])))": "dead",
        "rate(go_goroutines[5m])": "live",
        "job:up:sum and sum by (job) (up)": "live",
        "job:up:sum and prometheus_build_info": "dead",
        "rate(quiet_total[5m]) > 0": "cannot-tell",
    }
    queries = [AuditedQuery("alert", expr, "rules.yaml:1", expr) for expr in expected]
    found = audit(queries, index_sources.from_prometheus(prometheus, selected_names(queries)))
    assert {item.query.expr: str(item.assessment.liveness) for item in found.assessed} == expected
    assert "takes the rate of go_goroutines, which is a gauge" in [finding.what for finding in found.findings]
    assert "go_info" in found.unused
    assert "prometheus_http_request_duration_seconds" not in found.unused


def test_address_without_prometheus(prometheus: str) -> None:
    with pytest.raises(BalanceError, match="answered 404"):
        index_sources.from_prometheus(f"{prometheus}/nowhere", [])
