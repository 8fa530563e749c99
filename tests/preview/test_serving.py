"""Pages from a real Prometheus, and pages that are served and follow their sources, by real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from balance.generate.preview_server import Pages, fingerprint, listen_address
from balance.monitoring.bundle import Bundle
from tests.e2e.conftest import eventually, fetch, free_port, running
from tests.preview.chromium import Browser

STEP, HOURS = 15, 2
SHOP = """
from balance.catalog.model import Counter, Gauge, Unit
from balance.catalog.registry import Catalog
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Row
from balance.monitoring.panels import rate_panel, value_panel

ORDERS = Counter("shop_orders_total", "Orders.", Unit.of("orders"))
BASKETS = Gauge("shop_open_baskets", "Baskets that are not paid yet.", Unit.of("baskets"))
ROW = Row("Shop", (rate_panel(ORDERS, "Orders"), value_panel(BASKETS, title="Baskets")))
bundle = Bundle(Catalog("shop", (ORDERS, BASKETS)), dashboards=(Dashboard("shop", "shop", "Shop", "Orders.", (ROW,), presence=BASKETS, main=True),))
"""


def generator(*words: str) -> list[str]:
    return [sys.executable, "-m", "balance.commands.cli", *words]


def previewed(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(generator("preview", *words), capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def articles(file: Path) -> dict[str, str]:
    """The panels of a page by their titles."""
    return dict(re.findall(r'<article [^>]*aria-label="([^"]*)">(.*?)</article>', file.read_text(), re.DOTALL))


def history(now: int) -> str:
    """Two instances for two hours; no scrapes from 40 to 20 minutes ago; backend b unhealthy before that. In OpenMetrics."""
    up, healthy, requests = ["# TYPE up gauge"], ["# TYPE balance_backend_healthy gauge"], ["# TYPE balance_http_requests counter"]
    for instance in ("one", "two"):
        where = f'job="balance",instance="{instance}"'
        times = [at for at in range(now - HOURS * 3600, now + 1, STEP) if not now - 2400 < at < now - 1200]
        up += (f"up{{{where}}} 1 {at}" for at in times)
        for backend in ("a", "b"):
            values = ((int(backend == "a" or at > now - 2400), at) for at in times)
            healthy += (f'balance_backend_healthy{{{where},backend="{backend}"}} {value} {at}' for value, at in values)
        begin = now - HOURS * 3600
        requests += (f'balance_http_requests_total{{{where},method="GET",status="200"}} {8 * (at - begin)} {at}' for at in times)
    return "\n".join((*up, *healthy, *requests, "# EOF", ""))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("recorded")
    (directory / "history.txt").write_text(history(int(time.time()) // STEP * STEP))
    made = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)
    (directory / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--query.max-samples=300",
    ]  # fmt: skip
    with running(command, directory / "log"):
        eventually("Prometheus is ready", lambda: fetch(port, "/-/ready")[0] == 200)
        yield f"http://127.0.0.1:{port}"


def test_pages_show_prometheus_data_and_gaps(server: str, tmp_path: Path) -> None:
    ended = previewed("--out", str(tmp_path), "--prometheus", server, "--since", "1h")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"from {server}" in (tmp_path / "balance.html").read_text()
    panels = articles(tmp_path / "balance.html")
    assert re.search(r"<p>16(\.0)? req/s</p>", panels["Requests"]), "8 requests a second at each of two instances"
    line = re.findall(r'<path d="([^"]*)" style="stroke:', panels["Request Rate"])
    assert [path.count("M") for path in line] == [2], "no line where nothing was scraped"
    assert {"a (one): Unhealthy", "b (one): Unhealthy"} & set(re.findall(r"<title>(.*?)</title>", panels["Backend Health"])) == {"b (one): Unhealthy"}
    assert "No data" in panels["Response Time"]
    assert "No data" in panels["Error Budget Left"], "no rule has recorded it"


def test_query_error_is_shown_in_panel(server: str, tmp_path: Path) -> None:
    text = SHOP.replace("shop_open_baskets", "up").replace("shop_orders", "balance_http_requests")
    slow = 'Panel("Slow", "Too much.", (Query(sum_by(rate(series(ORDERS).over(Window(7200)))), "all"),))'
    text = text.replace(
        "ROW =", "from balance.monitoring.dashboards import Panel, Query\nfrom balance.promql import Window, rate, series, sum_by\nROW ="
    )
    (tmp_path / "shop.py").write_text(text.replace('(rate_panel(ORDERS, "Orders"),', f'(rate_panel(ORDERS, "Orders"), {slow},'))
    words = ("--source", "shop:bundle", "--set", "job=balance", "--prometheus", server, "--since", "1h")
    ended = previewed(*words, "--out", "pages", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    panels = articles(tmp_path / "pages" / "shop.html")
    assert re.search(r'role="alert">[^<]*rejected the query: [^<]*too many samples', panels["Slow"])
    assert all("<svg" in panels[title] for title in ("Orders", "Baskets")), "the others are drawn"


@pytest.mark.process
def test_unreachable_server_is_one_line(tmp_path: Path) -> None:
    for url, told in ((f"http://127.0.0.1:{free_port()}", "cannot be reached"), ("prometheus", "invalid Prometheus address")):
        ended = previewed("--out", str(tmp_path / "pages"), "--prometheus", url)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert told in ended.stderr
        assert not (tmp_path / "pages").exists()


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give --out DIR or --serve"),
        (("--out", "pages", "--serve"), "give --out DIR or --serve"),
        (("--out", "pages", "--since", "1h"), "give --prometheus URL as well"),
        (("--serve", "example"), "--serve: invalid port 'example' (must be 0 to 65535)"),
        (("--serve", "70000"), "--serve: invalid port '70000' (must be 0 to 65535)"),
        (
            ("--out", "pages", "--prometheus", "http://127.0.0.1:1", "--since", "soon"),
            "--since: invalid duration 'soon' (write it like 100ms, 10s or 1h30m)",
        ),
    ],
)
def test_usage_error_is_one_line(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    ended = previewed(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert told in ended.stderr


@contextmanager
def served(cwd: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A serving process and its port; stopped by a signal, it ends well."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(generator("preview", "--serve", "0", *words), cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
            assert found
            yield process, int(found[1])
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def asked(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_served_pages_follow_sources(tmp_path: Path, program: Callable[[str], str]) -> None:
    """An error in the sources is shown until it is corrected."""
    source = tmp_path / "shop.py"
    source.write_text(SHOP)
    with served(tmp_path, "--source", "shop:bundle") as (_, port), Browser(program("chromium-headless-shell")) as browser:
        browser.open(f"http://127.0.0.1:{port}/")
        panels = "[...document.querySelectorAll('article')].map((one) => one.ariaLabel).join()"
        eventually("the index leads to the main dashboard", lambda: browser.run(panels) == "Orders,Baskets")
        source.write_text(SHOP.replace('ORDERS, "Orders"', 'ORDERS, "Orders Now"'))
        eventually("the page follows by itself", lambda: browser.run(panels) == "Orders Now,Baskets", deadline=60)
        source.write_text(SHOP.replace("value_panel(", "value_panel(("))
        problem = "document.querySelector('[role=alert]')?.textContent ?? ''"
        eventually("the page tells what is wrong", lambda: "SyntaxError" in browser.run(problem), deadline=60)
        assert "shop.py" in browser.run(problem)
        source.write_text(SHOP)
        eventually("all is well again", lambda: browser.run(panels) == "Orders,Baskets", deadline=60)


def test_fingerprint_covers_what_the_sources_import(bundle: Bundle, repository: Path) -> None:
    """The bundled source is `dashboards_py`; its alerts are in a package that it imports."""
    files = [file for file, _ in fingerprint(Namespace(source=[], settings=None))]
    assert bundle.alerts
    assert {repository / "rules_src" / "conditions.py", repository / "dashboards_py" / "main.py", repository / "balance" / "api.py"} <= set(files)


@pytest.mark.process
def test_server_checks_host_and_etag(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with served(tmp_path, "--source", "shop:bundle") as (_, port):
        status, headers, text = asked(port, "/shop.html")
        assert (status, "<h1>Shop</h1>" in text) == (200, True)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert asked(port, "/shop.html", **{"If-None-Match": headers["ETag"]})[::2] == (304, "")
        assert asked(port, "/../shop.py")[0] == 404
        assert asked(port, "/shop.html", Host=f"localhost:{port}")[0] == 200
        assert asked(port, "/shop.html", Host="shop.example")[0] == 421, "a name of somebody else's that leads here"
        taken = previewed("--serve", str(port), "--source", "shop:bundle", cwd=tmp_path)
        assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
        assert "in use" in taken.stderr


def test_default_address_is_loopback() -> None:
    assert [str(listen_address(text)) for text in ("8300", "0.0.0.0:80", "[::]:81", ":82")] == [
        "127.0.0.1:8300", "0.0.0.0:80", "[::]:81", "127.0.0.1:82",
    ]  # fmt: skip


def test_pages_are_cached_until_old_or_changed() -> None:
    """Concurrent readers wait for one rendering."""
    made: list[int] = []
    stamps = ["first"]

    def make() -> dict[str, str]:
        made.append(len(made))
        time.sleep(0.05)
        return {"a": str(made[-1])}

    lasting = Pages(make, lambda: stamps[-1], None)
    readers = [threading.Thread(target=lasting.get, args=("a",)) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert (lasting.get("a"), lasting.get("b"), made) == ("0", None, [0])
    stamps.append("second")
    assert (lasting.get("a"), lasting.get("a")) == ("1", "1")
    aging = Pages(make, lambda: "same", 0.2)
    assert (aging.get("a"), aging.get("a")) == ("2", "2")
    time.sleep(0.3)
    assert aging.get("a") == "3"
