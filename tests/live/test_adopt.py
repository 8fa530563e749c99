from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from balance.commands.cli import main
from balance.errors import BalanceError
from balance.lint.check import Inputs
from balance.lint.run import run
from balance.live import scrape
from balance.live.adopt import adopt
from balance.live.starter import module
from balance.live.verify import verify
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.render import grafana

SHOP = """
# HELP shop_http_requests_total Requests.
# TYPE shop_http_requests_total counter
shop_http_requests_total{method="GET",code="200",path="/a"} 5
shop_http_requests_total{method="POST",code="500",path="/b"} 5
# HELP shop_http_request_duration_seconds Time.
# TYPE shop_http_request_duration_seconds histogram
shop_http_request_duration_seconds_bucket{method="GET",le="0.5"} 1
shop_http_request_duration_seconds_bucket{method="GET",le="2.5"} 1
shop_http_request_duration_seconds_bucket{method="GET",le="+Inf"} 1
shop_http_request_duration_seconds_sum{method="GET"} 0.1
shop_http_request_duration_seconds_count{method="GET"} 1
# HELP shop_pool_connections Connections.
# TYPE shop_pool_connections gauge
shop_pool_connections 4
# HELP shop_pool_connections_max Connections at most.
# TYPE shop_pool_connections_max gauge
shop_pool_connections_max 10
# HELP shop_mail_errors_total Mails that failed.
# TYPE shop_mail_errors_total counter
shop_mail_errors_total{kind="bounce"} 1
shop_mail_errors_total{kind="timeout"} 1
# HELP shop_build_info Build.
# TYPE shop_build_info gauge
shop_build_info{version="1.2.3"} 1
"""


@pytest.fixture(autouse=True)
def path_of_modules() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path


def adopted(text: str | bytes) -> Bundle:
    """The bundle of the module that `adopt` writes, having passed lint and verify against the same scrape, and been drawn."""
    read = scrape.parse(text)
    space: dict[str, object] = {"__name__": "adopted"}
    exec(compile(module(adopt(read)), "adopted.py", "exec"), space)
    bundle = space["bundle"]
    assert isinstance(bundle, Bundle)
    assert list(map(str, verify(read, bundle.catalog).findings)) == []
    assert verify(read, bundle.catalog).coverage == 100
    assert list(map(str, run(Inputs(bundle, Settings(job="shop")))[0])) == []
    for dashboard in bundle.dashboards:
        grafana.render(dashboard, Settings(job="shop"))
    return bundle


def test_adopt_makes_catalog_dashboard_and_alerts() -> None:
    bundle = adopted(SHOP)
    catalog = bundle.catalog
    assert catalog.name == "shop"
    requests = catalog.metric("shop_http_requests_total")
    assert (requests.kind, str(requests.unit), requests.foreign) == ("counter", "requests", False)
    assert [(label.name, label.values, label.bound, label.pattern) for label in requests.labels] == [
        ("method", ("GET", "POST"), 0, ""), ("code", (), 100, "[1-5][0-9][0-9]"), ("path", (), 10, ""),
    ]  # fmt: skip
    assert [row.title for row in bundle.dashboards[0].rows] == ["Rate", "Errors", "Duration", "Saturation"]
    assert [(alert.name, alert.condition.threshold.value) for alert in bundle.alerts] == [
        ("ShopDown", 0), ("ShopHighErrorRate", 0.05), ("ShopHighLatency", 0.5), ("ShopHighPoolConnections", 0.8),
    ]  # fmt: skip
    assert [metric.name for metric in bundle.unplotted] == ["shop_build_info"]


@pytest.mark.parametrize(
    "text",
    [
        "a 1",
        "# TYPE a gauge\na 1",
        "# HELP a \n# TYPE a gauge\na 1",
        '# HELP a It\'s "broken" \\\\ \\n\\n """ \\x \u2028 {value} %s {{ x }}\n# TYPE a gauge\na 1',
        "# HELP a A.\n# TYPE a counter\na 1",
        "# HELP a_count A.\n# TYPE a_count gauge\na_count 1\n# HELP a_total A.\n# TYPE a_total gauge\na_total 1",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a_total A.\n# TYPE a_total counter\na_total 1",
        "# HELP a_B A.\n# TYPE a_B gauge\na_B 1\n# HELP a_b A.\n# TYPE a_b gauge\na_b 1\n# HELP A_b A.\n# TYPE A_b gauge\nA_b 1",
        "# HELP catalog A.\n# TYPE catalog gauge\ncatalog 1\n# HELP up Up.\n# TYPE up gauge\nup 1\n# HELP none A.\n# TYPE none gauge\nnone{class=\"x\",None=\"y\"} 1",
        "# HELP _ A.\n# TYPE _ gauge\n_ 1\n# HELP __ A.\n# TYPE __ gauge\n__ 1\n# HELP _1 A.\n# TYPE _1 gauge\n_1 1",
        'a{job="x"} 1\nb 1\na:b:c 1\n{"http.requests"} 1\n{"é", "l.l"="1"} 1\nc{"l.l"="1"} 1',
        'a{x="1"} 1\na{y="1"} 1\na 1',
        '# HELP a A.\n# TYPE a gauge\na{x=""} 1\na{x="b"} 1',
        "# HELP s S.\n# TYPE s summary\ns_sum 1\ns_count 1\n# HELP a A.\n# TYPE a gauge\na 1",
        '# HELP h H.\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\nb 1\n# HELP i I.\n# TYPE i histogram\nc 1',
        '# HELP h H.\n# TYPE h histogram\nh_bucket{x="1",le="1"} 1\nh_bucket{x="1",le="+Inf"} 1\nh_bucket{x="2",le="2"} 1\nh_bucket{x="2",le="+Inf"} 1\nb 1',
        '# HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le="-1"} 1\nh_seconds_bucket{le="+Inf"} 1\nh_seconds_sum 1\nh_seconds_count 1',
        '# HELP d D.\n# TYPE d stateset\nd{d="open"} 1\nd{d="shut"} 0\n# HELP e E.\n# TYPE e stateset\ne{e="only"} 1\n# HELP b B.\n# TYPE b info\nb_info{v="1"} 1\n# EOF',
        "# HELP x_seconds_total X.\n# UNIT x_seconds_total seconds\n# TYPE x_seconds_total counter\nx_seconds_total 1\n# HELP y Y.\n# UNIT y seconds\n# TYPE y gauge\ny 1",
        "".join(f'# HELP a A.\n# TYPE a gauge\na{{id="{n}"}} 1\n'.removeprefix("# HELP a A.\n# TYPE a gauge\n" if n else "") for n in range(500)),
        "# HELP r R.\n# TYPE r counter\nr_total{status=\"2xx\"} 1\n# EOF",
        "# HELP r_ratio R.\n# TYPE r_ratio gauge\nr_ratio 1\n# HELP r_ratio_max R.\n# TYPE r_ratio_max gauge\nr_ratio_max 1",
    ],
)  # fmt: skip
def test_odd_names_and_help_are_adopted(text: str) -> None:
    assert adopted(text).catalog.metrics


NAME = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}(_total|_seconds|_bytes|_count|_sum|_bucket|_created|_info|_ratio|_max)?", fullmatch=True)
LABELS = st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}|code|status|method|le|job", fullmatch=True), st.text(max_size=5), max_size=3)


@st.composite
def scrapes(draw: st.DrawFn) -> str:
    lines = []
    for name in draw(st.lists(NAME, min_size=1, max_size=12, unique=True)):
        if draw(st.booleans()):
            text = draw(st.text(st.characters(exclude_characters="\n\r"), max_size=20))
            lines.append(f"# HELP {name} {text}")
        kind = draw(st.sampled_from(["counter", "gauge", "untyped", ""]))
        lines += [f"# TYPE {name} {kind}"] if kind else []
        for labels in draw(st.lists(LABELS, max_size=4)):
            pairs = ",".join(f'{label}="{value}"' for label, value in labels.items() if not set(value) & set('"\\\n\r') and value.isprintable())
            lines.append(f"{name}{{{pairs}}} {draw(st.integers(0, 9))}")
    return "\n".join(lines)


@settings(max_examples=60)
@given(text=scrapes())
def test_any_valid_scrape_is_adopted_or_rejected(text: str) -> None:
    try:
        if scrape.parse(text).problems:
            return  # verify tells of them: they are faults of the service
        adopted(text)
    except BalanceError as error:
        assert "contains nothing that a catalog can declare" in str(error) or "contains no metrics" in str(error)  # noqa: PT017


def test_python_client_is_adopted_in_both_formats() -> None:
    for generate in (generate_latest, generate_openmetrics):
        registry = CollectorRegistry()
        Counter("shop_orders", "Orders.", ["way"], registry=registry).labels("in").inc()
        Gauge("shop_open", "Open.", registry=registry).set(1)
        Histogram("shop_wait_seconds", "Wait.", ["way"], registry=registry).labels("in").observe(1)
        Info("shop_build", "Build.", registry=registry).info({"version": "1"})
        names = {metric.name for metric in adopted(generate(registry)).catalog}
        assert names == {"shop_orders_total", "shop_open", "shop_wait_seconds", "shop_build_info"}


def test_five_thousand_families(tmp_path: Path) -> None:
    lines = []
    for number in range(5000):
        kind = ("counter", "gauge")[number % 2]
        name = f"shop_thing{number}" + "_total" * (kind == "counter")
        lines += [f"# HELP {name} Thing {number}.", f"# TYPE {name} {kind}", f'{name}{{way="in"}} 1', f'{name}{{way="out"}} 1']
    bundle = adopted("\n".join(lines))
    assert len(bundle.catalog.metrics) == 5000
    assert len(bundle.dashboards[0].panels) < 30


def test_all_commands_accept_the_adopted_module(tmp_path: Path, program: Callable[[str], str]) -> None:
    judges = os.pathsep.join(str(Path(program(name)).parent) for name in ("promtool", "amtool"))
    environment = {**os.environ, "PATH": os.pathsep.join((judges, os.environ["PATH"]))}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("balance-gen")
        done = subprocess.run([program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    (tmp_path / "metrics.txt").write_text(SHOP + "# TYPE s summary\ns_sum 1\n")
    printed = command("adopt", "metrics.txt")
    (tmp_path / "adopted_shop.py").write_text(printed.stdout)
    assert printed.stderr.endswith("6 families adopted, 1 skipped\n")
    source = ["--source", "adopted_shop:bundle"]
    command("lint", *source)
    command("verify", "metrics.txt", *source)
    command("write", "--out", "out", *source)
    command("check", "--out", "out", *source)
    assert "alerts tested: 4 / 4" in command("test", *source).stdout
    told = json.loads(command("audit", "--metrics", "metrics.txt", "--dashboards", "out", "--rules", "out", "--format", "json").stdout)
    assert {row["verdict"] for row in told["verdicts"]} == {"live"}


def test_invalid_service_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.txt").write_text(SHOP)
    assert main(["adopt", str(tmp_path / "metrics.txt"), "--name", 'a"""b']) == 2
    assert "invalid service name" in capsys.readouterr().err


def test_invalid_families_are_ignored_with_reason() -> None:
    shown = scrape.parse(
        '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
        '# HELP i_info I.\n# TYPE i_info info\ni_info_info{v="1"} 1\n# HELP a A.\n# TYPE a gauge\na 1'
    )
    found = adopt(shown)
    assert [metric.name for metric in found.metrics] == ["a"]
    assert found.ignored == {"h": "has a bucket with a smaller count than the one below it", "i_info": "exposes its series as i_info_info"}


@pytest.mark.parametrize(("bounds", "threshold"), [((0.1, 1, 5), 1), ((0.1, 0.5, 1), 0.5), ((2, 5), 2), ((1,), None)])
def test_latency_threshold_is_below_the_last_bucket(bounds: tuple[float, ...], threshold: float | None) -> None:
    buckets = "".join(f'wait_seconds_bucket{{le="{bound}"}} 1\n' for bound in (*bounds, "+Inf"))
    bundle = adopted(f"# HELP wait_seconds W.\n# TYPE wait_seconds histogram\n{buckets}wait_seconds_sum 1\nwait_seconds_count 1")
    assert next((alert.condition.threshold.value for alert in bundle.alerts if alert.name.endswith("HighLatency")), None) == threshold
