"""Every row of the tables in docs/troubleshooting.md: the cause is made, and doctor says what the row says."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from balance.commands.cli import main

from .conftest import eventually, fetch
from .doctor_chain import JOBS, UNKNOWN, Chain, chosen, port
from .grafana_api import TOKEN

pytestmark = pytest.mark.process
PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
ROWS = {check: words for words, check in re.findall(r"^\| .+? \| `(.+?) \[([a-z-]+)\]` \| .+? \|$", PAGE.read_text(), re.MULTILINE)}
ALSO = {
    "rule-failing": {"rule-differs", "alertmanager-unknown"},
    "alertmanager-unknown": {"rule-differs", "rule-failing"},
    "scrape-interval": {"datasource-interval"},
    "rules-missing": {"retention", "reload-failed"},
    "retention": {"rules-missing", "reload-failed"},
    "reload-failed": {"rules-missing", "retention"},
}
"""What is found beside, as one cause or one server has several effects."""
Cause = Callable[[Chain, dict[str, str]], object]


def at(option: str, place: str) -> Cause:
    """Look there instead."""
    return lambda chain, options: options.update({option: getattr(chain, place)})


def source(place: str) -> Cause:
    """Grafana's data source asks that one."""
    return lambda chain, _: chain.grafana.source.update(url=getattr(chain, place))


def older(chain: Chain, options: dict[str, str]) -> None:
    options["balance"] = f"http://127.0.0.1:{chain.older.port}/metrics"


def edited(chain: Chain, _: dict[str, str]) -> None:
    panels = chain.grafana.dashboards["balance"]["dashboard"]["panels"]
    next(panel for panel in panels if panel["type"] == "timeseries")["title"] = "Edited"


def refused(chain: Chain, options: dict[str, str]) -> None:
    options["grafana-token-file"] = str(chain.folder / "wrong-token")
    (chain.folder / "wrong-token").write_text("glsa_wrong")


def refusing(chain: Chain, options: dict[str, str]) -> None:
    options |= {"alertmanager": chain.refusing, "settings": str(chain.folder / "refusing.yaml")}
    alert = [{"labels": {"alertname": "BalanceDown", "severity": "critical", "job": "balance"}}]
    post(chain.refusing, "/api/v2/alerts", alert)
    failed = rb'requests_failed_total\{integration="webhook"\} [1-9]'
    eventually("a message was tried", lambda: re.search(failed, fetch(port(chain.refusing), "/metrics")[1]))


def silenced(chain: Chain, _: dict[str, str]) -> None:
    matchers = [{"name": "alertname", "value": "Balance.*Down", "isRegex": True}, {"name": "instance", "value": "a", "isRegex": False}]
    times = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"}
    post(chain.manager, "/api/v2/silences", {"matchers": matchers, **times, "comment": "maintenance", "createdBy": "somebody"})


def post(url: str, path: str, document: Any) -> None:
    status, body = fetch(port(url), path, "POST", json.dumps(document).encode(), {"Content-Type": "application/json"})
    assert status == 200, body


CAUSES: dict[str, Cause] = {
    "metrics-unreachable": at("balance", "closed"),
    "metrics-off": at("balance", "without"),
    "family-missing": older,
    "prometheus-unreachable": at("prometheus", "closed"),
    "target-missing": lambda _, options: options.update(balance="off"),
    "reload-failed": at("prometheus", "bare"),
    "rules-missing": at("prometheus", "bare"),
    "retention": at("prometheus", "bare"),
    "rule-failing": at("prometheus", "unalerting"),
    "alertmanager-unknown": at("prometheus", "unalerting"),
    "alertmanager-other": at("alertmanager", "elsewhere"),
    "alertmanager-unreachable": at("alertmanager", "closed"),
    "alertmanager-config": at("alertmanager", "handwritten"),
    "receiver-failing": refusing,
    "silenced": silenced,
    "grafana-unreachable": at("grafana", "closed"),
    "grafana-token": refused,
    "dashboard-missing": lambda chain, _: chain.grafana.dashboards.pop("balance"),
    "dashboard-differs": edited,
    "datasource-missing": lambda chain, _: chain.grafana.sources.pop(1),
    "datasource-broken": source("closed"),
    "datasource-other": source("unalerting"),
}
"""What makes each cause, beside the jobs that are called like the check."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Chain]:
    with ExitStack() as stack:
        yield Chain(tmp_path_factory.mktemp("chain"), program, stack)


@pytest.fixture
def mended(chain: Chain) -> Iterator[None]:
    """Afterwards Grafana and the silences are as they were."""
    state = deepcopy((chain.grafana.dashboards, chain.grafana.sources))
    yield
    chain.grafana.dashboards, chain.grafana.sources = state
    for silence in json.loads(fetch(port(chain.manager), "/api/v2/silences")[1]):
        fetch(port(chain.manager), f"/api/v2/silence/{silence['id']}", "DELETE")


def doctor(options: dict[str, str], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Exit code and output."""
    words = [word for name, value in options.items() if name != "job" for word in (f"--{name}", value)]
    capsys.readouterr()
    code = main(["doctor", *words, *chosen(options["job"]), *more])
    printed = capsys.readouterr()
    assert not printed.err
    assert TOKEN not in printed.out
    return code, printed.out


SYSTEMS = ("balance", "prometheus", "alertmanager", "grafana")


def own_time(chain: Chain, capsys: pytest.CaptureFixture[str]) -> float:
    """Seconds to make what is compared with, and to ask nobody: a busy machine takes long for it."""
    begin = time.monotonic()
    assert doctor({**chain.options("balance"), **dict.fromkeys(SYSTEMS, "off")}, capsys)[0] == 0
    return time.monotonic() - begin


def test_healthy_chain_has_no_findings(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """And the examination takes less than five seconds."""
    own = own_time(chain, capsys)
    begin = time.monotonic()
    code, words = doctor(chain.options("balance"), capsys)
    took = time.monotonic() - begin
    assert code == 0, words
    links = ("metrics", "targets", "rules", "series", "delivery", "alertmanager", "dashboards", "datasource")
    assert [line.split()[:2] for line in words.splitlines()] == [[link, "ok"] for link in links]
    assert took - own < 4


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize("check", ROWS)
def test_doctor_finds_each_documented_cause(chain: Chain, check: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = chain.options(check)
    if options["job"] != "balance":
        chain.upload(options)
    if check in CAUSES:
        CAUSES[check](chain, options)
    code, told = doctor(options, capsys, "--format", "json")
    document = json.loads(told)
    assert code == 1
    assert {finding["check"] for finding in document["findings"]} == {check, *ALSO.get(check, ())}, told
    assert all(finding["subject"] and finding["problem"] and finding["cure"] and finding["where"] for finding in document["findings"])
    assert document["summary"]["errors"] + document["summary"]["warnings"] == len(document["findings"])
    words = ".*".join(re.escape(part) for part in ROWS[check].split("..."))
    said = [f"{finding['subject']} {finding['problem']}" for finding in document["findings"] if finding["check"] == check]
    assert any(re.search(f"{words}$", line) for line in said), said


def test_text_report_of_a_finding(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = doctor({**chain.options("balance"), "alertmanager": chain.closed}, capsys)
    assert code == 1
    assert ("delivery      ok             Prometheus sends alerts to ") in text
    assert (
        "alertmanager  BROKEN\n"
        "    error: Alertmanager cannot be reached: Connection refused [alertmanager-unreachable]\n"
        f"        at {chain.closed}/api/v2/status\n"
        "        cure: check the address, and that the service is running\n"
    ) in text


def test_each_check_is_documented_and_tested(repository: Path) -> None:
    code = "".join((repository / "balance" / "live" / f"{name}.py").read_text() for name in ("doctor", "symptoms", "delivery"))
    named = set(re.findall(r'check="([a-z-]+)"', code)) | set(re.findall(r'"([a-z]+-(?:unreachable|token))"', code))
    assert {*named, "family-missing"} == ROWS.keys()  # the last stands for all checks of verify
    assert ROWS.keys() == CAUSES.keys() | JOBS.keys() - {"balance"} | {*UNKNOWN, "target-down", "series-missing"}


def test_unreachable_systems_skip_dependent_links(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    everything = dict.fromkeys(SYSTEMS, chain.closed)
    code, told = doctor({**chain.options("balance"), **everything}, capsys, "--format", "json")
    document = json.loads(told)
    assert code == 1
    assert [finding["check"] for finding in document["findings"]] == [
        f"{name}-unreachable" for name in ("metrics", "prometheus", "alertmanager", "grafana")
    ]
    assert document["summary"] == {
        "links": {
            "metrics": "broken", "targets": "broken", "rules": "not looked at", "series": "not looked at", "delivery": "not looked at",
            "alertmanager": "broken", "dashboards": "broken", "datasource": "not looked at",
        },
        "errors": 4,
        "warnings": 0,
    }  # fmt: skip


def test_systems_can_be_off(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = doctor({**chain.options("balance"), "balance": "off", "alertmanager": "off", "grafana": "off"}, capsys, "--format", "json")
    links = json.loads(told)["summary"]["links"]
    assert code == 0, told
    assert {name for name, state in links.items() if state == "off"} == {"metrics", "alertmanager", "dashboards", "datasource"}


def test_silent_systems_time_out_together(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """All four take no more than five seconds in total."""
    own = own_time(chain, capsys)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        code, words = doctor({**chain.options("balance"), **dict.fromkeys(SYSTEMS, url)}, capsys)
        took = time.monotonic() - begin
    assert code == 1
    assert words.count("did not answer in full within 3 s [") == 4
    assert took - own < 4.5


@pytest.mark.parametrize(
    ("system", "other", "said"),
    [
        ("balance", "manager", "is declared but not exposed"),
        ("prometheus", "manager", "Prometheus answered 404 Not Found"),
        ("alertmanager", "many", "Alertmanager does not respond like an Alertmanager"),
        ("grafana", "many", "Grafana answered 404 404 page not found"),
    ],
)
def test_wrong_service_at_an_address(chain: Chain, system: str, other: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = doctor({**chain.options("balance"), system: getattr(chain, other)}, capsys)
    assert code == 1
    assert said in words


def test_unexpected_responses_are_findings(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"data": {}, "database": "ok", "config": {"original": "a: ["}, "dashboard": [], "meta": 1}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(odd).encode()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the name that http.server calls)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        code, words = doctor({**chain.options("balance"), **dict.fromkeys(SYSTEMS, url)}, capsys)
        server.shutdown()
    assert code == 1
    assert words.count("-unreachable]") == 4, words
    assert words.count("Prometheus sent an unexpected response (KeyError) [") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prometheus", "ftp://x"], "ftp://x: invalid Prometheus address (write it like http://127.0.0.1:9090)"),
        (["--grafana", "http://"], "invalid Grafana address"),
        (["--grafana-token-file", "nowhere"], "nowhere: cannot be read: No such file or directory (give the file that holds the token for Grafana)"),
        (["--grafana-token-file", "words"], "words: invalid token (must be a single word, as Grafana shows it once)"),
        (["--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_usage_errors_never_show_the_token(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").write_text("glsa_first\nglsa_second\n")
    try:
        code = main(["doctor", *arguments])
    except SystemExit as left:
        code = int(str(left.code))
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err
    assert "glsa" not in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
