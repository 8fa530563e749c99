"""A real Prometheus with a history that was made for it."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from balance.catalog.model import RATIO, SECONDS, Threshold
from balance.commands.cli import main
from balance.errors import LiveError
from balance.live import prometheus
from balance.live.backtest import Period, Trial, firing, rounded, suggestion
from balance.live.prometheus import Prometheus
from tests.e2e.conftest import eventually, fetch, free_port, running

START, STEP, STEPS = 1_767_225_600, 15, 4 * 60 * 8  # 2026-01-01T00:00:00Z, eight hours
END = START + STEPS * STEP
UNTIL = "2026-01-01T08:00:00Z"
DOWN = (2 * 3600, 2 * 3600 + 600)
"""From when to when, in seconds from the start, backend b is down; and error responses are a fifth of all."""


def history() -> str:
    """Two instances for eight hours, in OpenMetrics."""
    lines = ["# TYPE up gauge", "# TYPE balance_backend_healthy gauge", "# TYPE balance_http_requests counter"]
    rows: dict[str, list[str]] = {}
    for index in range(STEPS + 1):
        second, at = index * STEP, START + index * STEP
        down = DOWN[0] <= second < DOWN[1]
        errors = max(0, min(second, DOWN[1]) - DOWN[0]) * 2
        for instance in ("one", "two"):
            where = f'job="balance",instance="{instance}"'
            rows.setdefault(f"up{instance}", []).append(f"up{{{where}}} 1 {at}")
            for backend in ("a", "b"):
                value = 0 if down and backend == "b" and instance == "one" else 1
                rows.setdefault(f"x{instance}{backend}", []).append(f'balance_backend_healthy{{{where},backend="{backend}"}} {value} {at}')
            for status, count in (("200", second * 8), ("500", errors)):
                rows.setdefault(f"y{instance}{status}", []).append(
                    f'balance_http_requests_total{{{where},method="GET",status="{status}"}} {count} {at}'
                )
    by_kind = {kind: [line for key, values in rows.items() if key.startswith(kind) for line in values] for kind in ("up", "x", "y")}
    return "\n".join([lines[0], *by_kind["up"], lines[1], *by_kind["x"], lines[2], *by_kind["y"], "# EOF", ""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("history")
    (directory / "history.txt").write_text(history())
    subprocess.run(
        [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"], cwd=directory, check=True, capture_output=True
    )
    (directory / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}", "--query.max-samples=3000",
    ]  # fmt: skip
    with running(command, directory / "log"):
        eventually("Prometheus is ready", lambda: fetch(port, "/-/ready")[0] == 200)
        yield f"http://127.0.0.1:{port}"


def tried(server: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["backtest", "--prometheus", server, "--since", "8h", "--until", UNTIL, "--format", "json", *arguments]) == 0
    return {outcome["alert"]: outcome for outcome in json.loads(capsys.readouterr().out)["alerts"]}


def test_alert_fires_after_for_until_resolved(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = tried(server, capsys)
    down = outcomes["BalanceBackendDown"]
    assert [(one["labels"]["backend"], one["labels"]["instance"]) for one in down["episodes"]] == [("b", "one")]
    assert (down["episodes"][0]["start"], down["episodes"][0]["end"]) == (START + DOWN[0] + 60, START + DOWN[1])
    assert down["seconds"] == 540
    assert down["suggested"] is None, "a state has no other threshold"
    assert outcomes["BalanceHighErrorRate"]["fired"] == 1
    assert all(outcomes[name]["fired"] == 0 for name in ("BalanceDown", "BalanceAllBackendsDown", "BalanceHighConnections"))
    assert outcomes["BalanceHighConnections"]["samples"] == 0


def test_error_rate_fires_within_its_window(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = tried(server, capsys, "BalanceHighErrorRate", "--set", "alerts.BalanceHighErrorRate.for=0s")["BalanceHighErrorRate"]
    (episode,) = outcome["episodes"]
    # the ratio is 0.2 x share of the five minutes: above 0.05 from 75 s or so on, and until some 75 s of errors are left
    assert START + DOWN[0] + 60 <= episode["start"] <= START + DOWN[0] + 90
    assert START + DOWN[1] + 210 <= episode["end"] <= START + DOWN[1] + 255
    assert outcome["quantiles"]["p50"] == 0
    assert outcome["quantiles"]["most"] == pytest.approx(0.2)
    assert outcome["suggested"] == 0.2


def test_table_output_without_progress(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "BalanceBackendDown", "BalanceHighLatency", "--prometheus", server, "--since", "8h", "--until", UNTIL]) == 0
    printed = capsys.readouterr()
    head, down, latency = printed.out.splitlines()
    assert head.split()[:2] == ["alert", "fired"]
    assert down.split()[:6] == ["BalanceBackendDown", "1", "9m", "9m", "0", "state"]
    assert "no data" in latency
    assert printed.err == "", "no terminal"


def test_range_query_in_pieces_and_halves(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Prometheus(server)
    whole = [len(samples) for piece in asked.range("up{instance='one'}", START, END, STEP) for samples in piece.values()]
    assert whole == [STEPS + 1]
    monkeypatch.setattr(prometheus, "POINTS", 500)
    pieces = [next(iter(piece.values())) for piece in asked.range("up", START, END, STEP)]
    assert [len(piece) for piece in pieces] == [500, 500, 500, STEPS + 1 - 1500]
    times = [at for piece in pieces for at, _ in piece]
    assert times == list(range(START, END + 1, STEP))
    monkeypatch.setattr(prometheus, "POINTS", 5000)
    halves = list(asked.range("balance_backend_healthy", START, END, STEP))  # 4 series, and the server gives 3000 samples at a time
    assert len(halves) > 1
    assert sum(len(next(iter(piece.values()))) for piece in halves) == STEPS + 1


def test_pieces_give_the_same_result(server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tried(server, capsys, "BalanceBackendDown")
    monkeypatch.setattr(prometheus, "POINTS", 7)
    assert tried(server, capsys, "BalanceBackendDown") == whole


PERIOD = Period(0, 30 * 60, 60)


def test_firing_equals_promtool(program: Callable[[str], str], tmp_path: Path) -> None:
    """Random histories; promtool evaluates the rule over them and must find ALERTS just as we say."""
    chance, minutes = random.Random(1), range(31)
    tests, firings = [], 0
    for wait, keep in ((0, 0), (2, 0), (0, 3), (2, 2), (5, 4)):
        rule = {"alert": "Wrong", "expr": "wrong == 1", "for": f"{wait}m", **({"keep_firing_for": f"{keep}m"} if keep else {})}
        file = f"rules-{wait}-{keep}.yaml"
        (tmp_path / file).write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
        cases = []
        for case in range(10):
            active = [minute for minute in minutes if chance.random() < 0.75]
            results = {minute * 60: {frozenset[tuple[str, str]](): 1.0} for minute in active}
            episodes = list(firing(results, PERIOD, wait * 60, keep * 60))
            firings += len(episodes)
            values = " ".join("1" if minute in active else "0" for minute in minutes)
            expected = [
                {
                    "expr": 'ALERTS{alertstate="firing"}',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": 'ALERTS{alertname="Wrong",alertstate="firing"}', "value": 1}]
                    if any(one.start <= minute * 60 and (minute * 60 < one.end or not one.ended) for one in episodes)
                    else [],
                }
                for minute in minutes
            ]
            cases.append({"name": f"{case}", "interval": "1m", "input_series": [{"series": "wrong", "values": values}], "promql_expr_test": expected})
        name = f"test-{wait}-{keep}.yaml"
        (tmp_path / name).write_text(yaml.safe_dump({"rule_files": [file], "evaluation_interval": "1m", "tests": cases}))
        tests.append(name)
    assert firings > 100
    done = subprocess.run([program("promtool"), "test", "rules", *tests], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def trial(threshold: Threshold, operator: str, bounds: tuple[float, ...] = ()) -> Trial:
    return Trial("X", "x > 1", 0, 0, "x", operator, threshold, threshold.value, bounds)


SHARE = Threshold("share", 0.1, RATIO, "a reason", maximum=1)
TIME = Threshold("time", 1, SECONDS, "a reason", maximum=30)


@pytest.mark.parametrize(
    ("given", "values", "suggested"),
    [
        (trial(SHARE, ">"), [index / 10_000 for index in range(1001)], 0.1),
        (trial(SHARE, ">"), [0.0123] * 500, 0.013),
        (trial(SHARE, "<"), [0.0129] * 500, 0.012),
        (trial(SHARE, ">"), [0.0] * 500, None),
        (trial(SHARE, ">"), [1.5] * 500, None),
        (trial(SHARE, ">"), [0.5] * 99, None),
        (trial(SHARE, "=="), [0.5] * 500, None),
        (trial(TIME, ">", (0.5, 1, 2)), [1.1] * 500, 2),
        (trial(TIME, ">", (0.5, 1, 2)), [2.1] * 500, None),
    ],
)
def test_suggested_threshold(given: Trial, values: list[float], suggested: float | None) -> None:
    assert suggestion(given, sorted(values)) == suggested


@pytest.mark.parametrize(("value", "up", "down"), [(0.123, 0.13, 0.12), (1234.0, 1300, 1200), (0.12, 0.12, 0.12), (0.0, 0, 0), (99.9, 100, 99)])
def test_rounding_to_two_digits(value: float, up: float, down: float) -> None:
    assert (rounded(value, up=True), rounded(value, up=False)) == (up, down)


@pytest.mark.process
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090: invalid Prometheus address (write it like http://127.0.0.1:9090)"),
        ("file:///etc/passwd", "invalid Prometheus address"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/api/v1/query_range: cannot be reached: Connection refused"),
    ],
)
def test_unreachable_server_is_one_line(url: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "BalanceDown", "--prometheus", url]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("balance-gen: ")]
    assert len(told) == 1
    assert message in told[0]


@pytest.mark.process
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"rubbish\r\n", b""]
)
def test_server_that_is_not_a_prometheus(answer: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(LiveError) as refused:
            list(Prometheus(f"http://127.0.0.1:{listener.getsockname()[1]}").range("up", 0, 60, 15))
        thread.join()
    assert len(refused.value.problems) == 1


def test_rejected_query_shows_the_servers_message(server: str) -> None:
    with pytest.raises(LiveError, match=r"rejected the query: .*expected type range vector in call to function"):
        list(Prometheus(server).range("rate(up)", START, END, STEP))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["BalanceNope"], "no alert 'BalanceNope'"),
        (["--since", "ever"], "--since: invalid duration 'ever'"),
        (["--step", "0s"], "--step: invalid duration '0s'"),
        (["--until", "noon"], "--until: invalid time 'noon'"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "--prometheus", "http://127.0.0.1:1", *arguments]) == 2
    assert message in capsys.readouterr().err
