from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from balance.commands.cli import main
from balance.generate import collect
from balance.generate.store import MARKER
from balance.monitoring.settings import Settings


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path


@pytest.fixture
def written(in_an_empty_directory: None, repository: Path) -> None:
    """What `write --out out` writes: see `test_write_reproduces_generated`."""
    shutil.copytree(repository / "generated", "out")


def contents(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["dashbords"], "invalid choice: 'dashbords'"),
        (["dashboards", "nope"], "no dashboard 'nope' (choices: backend, balance, slo, workers)"),
        (["dashboards", "--grafana", "9"], "argument --grafana: invalid choice: '9'"),
        (["alerts", "--runtime", "rust"], "argument --runtime: invalid choice: 'rust'"),
        (["alerts", "--settings", "nope.yaml"], "nope.yaml: cannot be read: no such file or directory (check the path given with --settings)"),
        (["alerts", "--set", "thresholds"], "--set thresholds: invalid assignment (write key.path=value"),
        (["alerts", "--set", "thresholds.eror_ratio=0.1"], "--set: thresholds.eror_ratio: unknown threshold (did you mean 'error_ratio'?)"),
        (["alerts", "--set", "thresholds.error_ratio=5"], "thresholds.error_ratio: 5 is out of range: must be above 0 and at most 1 (ratio)"),
        (["alerts", "--set", "thresholds.latency_p99=60"], "thresholds.latency_p99: 60 is out of range: must be above 0 and at most 30 (seconds)"),
        (
            ["alerts", "--set", "thresholds.latency_p99=1.7"],
            "thresholds.latency_p99: 1.7 is not a bucket bound of balance_http_request_duration_seconds (bounds:",
        ),
        (["alerts", "--set", "thresholds.memory=.inf"], "--set: thresholds.memory: invalid number '.inf' (must be a number)"),
        (["alerts", "--set", "thresholds.memory=.nan"], "--set: thresholds.memory: invalid number '.nan' (must be a number)"),
        (
            ["alerts", "--set", "prometheus.scrape_interval=3m"],
            "prometheus.scrape_interval: 3m leaves fewer than two samples in the rules' window of 5m",
        ),
        (
            ["alerts", "--set", "alerts.BalanceDown.for=999999999w"],
            "--set: alerts.BalanceDown.for: invalid duration '999999999w' (must be at most 1000w)",
        ),
        (["alerts", "--set", "thresholds.target_down=1"], "thresholds.target_down: is 0 by definition"),
        (["alerts", "--set", "thresholds.error_ratio=much"], "--set: thresholds.error_ratio: invalid number 'much' (must be a number)"),
        (["alerts", "--set", "threshold.x=1"], "--set: threshold: unknown setting (did you mean 'thresholds'?)"),
        (["alerts", "--set", "alerts.BalanceDow.for=1m"], "--set: alerts.BalanceDow: unknown alert (did you mean 'BalanceDown'?)"),
        (
            ["alerts", "--set", "alerts.BalanceDown.for=soon"],
            "--set: alerts.BalanceDown.for: invalid duration 'soon' (write it like 100ms, 10s or 1h30m)",
        ),
        (
            ["alerts", "--set", "alerts.BalanceDown.severity=page"],
            "--set: alerts.BalanceDown.severity: invalid value 'page' (choices: critical, warning)",
        ),
        (["alerts", "--set", "alerts=none"], "--set: alerts: must be a mapping (write it like {NAME: value})"),
        (["alerts", "--set", "job="], "--set: job: must be a string (put it in quotes)"),
        (
            ["alerts", "--set", "keep_labels=[cluster, job]"],
            "--set: keep_labels[1]: invalid label 'job' (write names of labels besides job and instance, for example [cluster, namespace])",
        ),
        (
            ["alerts", "--set", "keep_labels=my-cluster"],
            "--set: keep_labels: invalid label 'my-cluster' (write names of labels besides job and instance, for example [cluster, namespace])",
        ),
        (
            ["alerts", "--set", "prometheus.scrape_interval=0s"],
            "--set: prometheus.scrape_interval: invalid duration '0s' (must be more than 0s, at most 1000w)",
        ),
        (
            ["alerts", "--set", "job=a", "--set", "job.x=b"],
            "--set job.x=b: cannot set 'x': its parent is not a mapping (set the parent instead)",
        ),
        (["alerts", "--set", "alerts.BalanceDown.enabled=maybe"], "--set: alerts.BalanceDown.enabled: invalid value 'maybe' (must be true or false)"),
        (
            ["alerts", "--set", "alerts.BalanceDown.keep_firing_for=1"],
            "--set: alerts.BalanceDown.keep_firing_for: invalid duration '1' (write it like 100ms, 10s or 1h30m)",
        ),
        (
            ["alerts", "--set", "alerts.BalanceDown.wait=1m"],
            "--set: alerts.BalanceDown.wait: unknown setting (choices: enabled, for, keep_firing_for, severity)",
        ),
        (
            ["alerts", "--set", "selector=cluster"],
            "--set: selector: invalid selector 'cluster' (write label=\"value\", with =, !=, =~ or !~ and a comma between two)",
        ),
        (["alerts", "--set", "selector={a: b}"], "--set: selector: must be a single value (neither a list nor a mapping)"),
        (
            ["alerts", "--set", 'selector=a="b" c="d"'],
            '--set: selector: invalid selector \'a="b" c="d"\' (write label="value", with =, !=, =~ or !~ and a comma between two)',
        ),
        (
            ["alerts", "--set", r'selector=a="\x"'],
            '--set: selector: invalid selector \'a="\\\\x"\' (write label="value", with =, !=, =~ or !~ and a comma between two)',
        ),
        (["alerts", "--set", 'selector=a=~"("'], "selector: '(' is not a valid regular expression"),
        (
            ["alerts", "--set", 'selector=a=~"(?!x)"'],
            "selector: '(?!x)' uses lookaround, backreferences or possessive quantifiers, which RE2 does not support",
        ),
        (
            ["alerts", "--set", 'selector=__name__="up"'],
            "--set: selector: reserved label '__name__' (select by labels such as job, cluster or namespace)",
        ),
        (["alerts", "--set", 'selector=backend="a"'], "selector: 'backend' is a label of balance_"),
        (["alerts", "--set", 'selector=le="1"'], "selector: 'le' is a label of balance_"),
        (
            ["alerts", "--set", 'selector=job=~"edge.*"'],
            'selector: job=~"edge.*" does not select the one scrape job (choose the job with the key `job`)',
        ),
        (["alerts", "--set", 'selector=job="edge"', "--set", "job=core"], 'selector: job="edge" does not select the one scrape job'),
        (["alerts", "--set", 'selector=job="edge",job="core"'], 'selector: job="core" does not select the one scrape job'),
        (["rules", "--set", "ruler=cortex"], "--set: ruler: invalid value 'cortex' (choices: mimir, prometheus, thanos, vmalert, vmalert-1.79)"),
        (["rules", "--ruler", "cortex"], "argument --ruler: invalid choice: 'cortex'"),
        (["kubernetes"], "kubernetes makes 11 files (give a directory: --out DIR)"),
        (["kubernetes", "--set", "kubernetes.name=Edge"], "--set: kubernetes.name: invalid Kubernetes name 'Edge' (write it like edge-monitoring)"),
        (["kubernetes", "--set", "kubernetes.port=9090"], "--set: kubernetes.port: must be a string (put it in quotes)"),
        (
            ["kubernetes", "--set", "kubernetes.labels={a: 1}"],
            "--set: kubernetes.labels.a: must be a string (put it in quotes)",
        ),
        (
            ["kubernetes", "--set", "kubernetes.labels={-a: b}"],
            "--set: kubernetes.labels: invalid name of a Kubernetes label '-a' (write it like app.kubernetes.io/name)",
        ),
        (["kubernetes", "--set", "kubernetes.label.a=b"], "--set: kubernetes.label: unknown setting (did you mean 'labels'?)"),
        (
            ["provisioning", "--set", "provisioning.organisation=0"],
            "--set: provisioning.organisation: invalid number '0' (must be a whole number, 1 or more)",
        ),
        (
            ["provisioning", "--set", "provisioning.url=prometheus:9090"],
            "--set: provisioning.url: invalid URL 'prometheus:9090' (write it like http://localhost:9090)",
        ),
        (["alerts", "--source", "shop"], "--source shop: no installed source 'shop' (choices: balance; or write module:attribute)"),
        (["alerts", "--source", "nope:x"], "source nope:x: cannot be loaded: ModuleNotFoundError: No module named 'nope'"),
        (["alerts", "--source", "json:dumps"], "source json:dumps"),
        (["alerts", "--settings", ""], "'': cannot be read: no such file or directory (check the path given with --settings)"),
        (
            ["alerts", "--set", "objectives.availability=2"],
            "--set: objectives.availability: invalid number '2' (must be between 0 and 1, for example 0.999)",
        ),
        (["doctor", "--prometheus", "http://["], "http://[: invalid Prometheus address (write it like http://127.0.0.1:9090)"),
        (["doctor", "--grafana", "http://["], "http://[: invalid Grafana address (write it like http://127.0.0.1:3000)"),
        (["alerts", "--source", "os:sep"], "source os:sep: must be a Bundle, got str"),
        (["explain", "window"], "unknown check 'window' (did you mean 'window-sparse'?"),
        (["mixin"], "mixin makes 8 files (give a directory: --out DIR)"),
        (["check", "--out", "x" * 300], "cannot be read: File name too long"),
        (["write", "--out", "/dev/null"], "/dev/null: is not a directory"),
        (["write", "--out", "/proc/nope"], "/proc/nope: cannot be written"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thresholds: {error_ratio: [1}", "s.yaml:1: invalid YAML: expected ',' or ']', but got '}' (fix the syntax)"),
        ("- 1\n", "s.yaml: must be a mapping of keys (indent its keys below it)"),
        ("job: a\nthresholds: {}\njob: b\n", "s.yaml:3: job: is given twice (first in line 1: remove one)"),
        ("[" * 5000, "s.yaml: is nested too deeply (reduce the number of levels)"),
        ("job: 2020-99-99\n", "s.yaml:1: job: must be a string (put it in quotes)"),
        ("thresholds: 5\n", "s.yaml:1: thresholds: must be a mapping (write it like {NAME: value})"),
        ("prometheus: {targets: [1]}\n", "s.yaml:1: prometheus.targets[0]: must be a string (put it in quotes)"),
        ("prometheus: {scrape_interval: 15}\n", "s.yaml:1: prometheus.scrape_interval: invalid duration '15' (write it like 100ms, 10s or 1h30m)"),
    ],
)
def test_settings_file_errors_have_file_and_line(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(text)
    assert main(["alerts", "--settings", "s.yaml"]) == 2
    assert message in capsys.readouterr().err


def test_all_settings_problems_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text("color: red\nthresholds: {error_ratio: true}\nruntime: rust\n")
    assert main(["alerts", "--settings", "s.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "balance-gen: s.yaml:1: color: unknown setting (choices: selector, alerts, thresholds, job, alertmanager and 10 more)",
        "balance-gen: s.yaml:3: runtime: invalid value 'rust' (choices: go, python)",
        "balance-gen: s.yaml:2: thresholds.error_ratio: invalid number 'true' (must be a number)",
    ]


def test_set_overrides_settings_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text("thresholds: {error_ratio: 0.03, retry_ratio: 0.3}\njob: edge\n")
    assert main(["catalog", "--settings", "s.yaml", "--set", "thresholds.error_ratio=0.02"]) == 0
    values = {threshold["name"]: threshold["value"] for threshold in json.loads(capsys.readouterr().out)["thresholds"]}
    assert (values["error_ratio"], values["retry_ratio"]) == (0.02, 0.3)


def test_rules_are_recording_rules_and_alerts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["rules"])
    groups = {group["name"]: group["rules"] for group in yaml.safe_load(capsys.readouterr().out)["groups"]}
    kinds = {name: {"record" if "record" in rule else "alert" for rule in rules} for name, rules in groups.items()}
    assert kinds == {name + tail: {kind} for tail, kind in ((".rules", "record"), ("", "alert")) for name in ("balance", "availability", "latency")}
    main(["alerts"])
    only = [{"name": name, "rules": rules} for name, rules in groups.items() if not name.endswith(".rules")]
    assert yaml.safe_load(capsys.readouterr().out)["groups"] == only


def test_scrape_configuration_uses_job_of_rules(capsys: pytest.CaptureFixture[str]) -> None:
    main(["prometheus", "--set", "job=edge", "--set", "prometheus.targets=[10.0.0.1:9090]", "--set", "prometheus.alertmanagers=alerts:9093"])
    document = yaml.safe_load(capsys.readouterr().out)
    assert document["scrape_configs"] == [{"job_name": "edge", "static_configs": [{"targets": ["10.0.0.1:9090"]}]}]
    assert document["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alerts:9093"]}]}]


def test_no_alerting_section_without_alertmanagers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["prometheus"])
    assert yaml.safe_load(capsys.readouterr().out)["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]
    main(["prometheus", "--set", "prometheus.alertmanagers=[]"])
    assert "alerting" not in yaml.safe_load(capsys.readouterr().out)


def test_lint_prints_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["lint", "--set", "prometheus.scrape_interval=2m", "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {finding["check"] for finding in told["findings"]} == {"absent-without-for", "window-sparse"}
    assert told["findings"][-1]["cure"] == "at most 1m15s"
    assert told["summary"]["errors"] + told["summary"]["warnings"] == len(told["findings"])


def test_lint_prints_github_annotations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--set", "prometheus.evaluation_interval=3m", "--format", "github"]) == 1
    first = capsys.readouterr().out.splitlines()[-1]
    assert first.startswith("::")
    Path("shop/runbooks").mkdir(parents=True)
    Path("shop/__init__.py").write_text(
        "from balance.lb.catalog.metrics import CATALOG\n"
        "from balance.monitoring.bundle import Bundle\n"
        "bundle = Bundle(CATALOG, runbooks=(__name__,))\n"
    )  # fmt: skip
    Path("shop/runbooks/Old.md").write_text("---\nowner: 100% us\nreviewed: 2001-02-03\n---\n")
    assert main(["lint", "--reviews", "--source", "shop:bundle", "--format", "github"]) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        "::warning file=shop/runbooks/Old.md,title=review-due::shop/runbooks/Old.md: warning: Old was last reviewed on 2001-02-03, by 100%25 us"
    )
    assert told.count("\n") == 1


def test_comparison_of_two_units_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.py").write_text(
        "from balance.catalog.standard import PROCESS_CPU\n"
        "from balance.lb.catalog import thresholds\n"
        "from balance.monitoring.alerts import Condition\n"
        "from balance.promql import RATE_WINDOW, rate, series\n"
        "bundle = Condition(rate(series(PROCESS_CPU).over(RATE_WINDOW)), '>', thresholds.LATENCY_P99)\n"
    )  # fmt: skip
    assert main(["lint", "--source", "wrong:bundle"]) == 2
    assert capsys.readouterr().err == (
        "balance-gen: compares ratio with the threshold 'latency_p99', which is in seconds (use an expression and a threshold of the same unit)\n"
    )


def test_lint_reviews_lists_only_due_runbooks(capsys: pytest.CaptureFixture[str]) -> None:
    Path("aged").mkdir()
    Path("aged/__init__.py").write_text(
        "from balance.lb.catalog.metrics import CATALOG\n"
        "from balance.monitoring.bundle import Bundle\n"
        "bundle = Bundle(CATALOG, runbooks=(__name__,))\n"
    )  # fmt: skip
    Path("aged/runbooks").mkdir()
    Path("aged/runbooks/Old.md").write_text("---\nowner: nobody in particular\nreviewed: 2001-02-03\n---\n")
    assert main(["lint", "--reviews", "--source", "aged:bundle"]) == 1
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "aged/runbooks/Old.md: warning: Old was last reviewed on 2001-02-03, by nobody in particular" in told


def test_explain_prints_one_check_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "window-sparse"]) == 0
    assert "A rate needs two samples" in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert "window-sparse\twarning\t" in capsys.readouterr().out


def test_schema_accepts_settings_and_needs_no_source(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate({"job": "edge", "thresholds": {"error_ratio": 0.02}, "alerts": {"BalanceDown": {"for": "5m"}}}, schema)
    with pytest.raises(jsonschema.ValidationError, match="treshold"):
        jsonschema.validate({"treshold": {}}, schema)


def test_dashboards_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "--list"]) == 0
    assert capsys.readouterr().out == "balance\tBalance\nbackend\tBalance / Backends\nslo\tBalance / Objectives\nworkers\tBalance / Workers\n"


@pytest.mark.parametrize(("version", "schema"), [("10", 36), ("11", 39), ("12", 41), ("13", 42)])
def test_schema_version_follows_grafana(version: str, schema: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["dashboards", "balance", "--grafana", version])
    assert json.loads(capsys.readouterr().out)["schemaVersion"] == schema


def test_write_reproduces_generated(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", "--out", "out"]) == 0
    assert contents(Path("out")) == contents(repository / "generated")
    assert main(["check", "--out", "out"]) == 0
    assert "out is up to date" in capsys.readouterr().err


def test_check_reports_drift_and_the_fixing_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["write", "--out", "out", "--set", "job=edge"])
    before = contents(Path("out"))
    Path("out/catalog.json").unlink()
    Path("out/more").mkdir()
    Path("out/more/stray.txt").write_text("stray")
    alerts = Path("out/prometheus/rules/alerts.yaml")
    alerts.write_text(alerts.read_text().replace("> 0.05", "> 0.5"))
    capsys.readouterr()

    assert main(["check", "--out", "out", "--set", "job=edge"]) == 1
    printed = capsys.readouterr()
    told = printed.err.splitlines()
    assert told[:3] == ["missing: out/catalog.json", "orphaned: out/more/stray.txt", "changed: out/prometheus/rules/alerts.yaml"]
    assert told[3] == "fix with: balance-gen write --out out --set job=edge"
    assert "-stray" in printed.out
    lines = [line.partition(" and ")[0] for line in printed.out.splitlines() if line.startswith(("-    expr", "+    expr"))]
    assert [line[-6:] for line in lines] == [" > 0.5", "> 0.05"]

    assert main(["write", "--out", "out", "--set", "job=edge"]) == 0
    assert contents(Path("out")) == before
    assert not Path("out/more").exists()


def test_check_of_missing_directory_reports_all_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert all(line.startswith("missing: ") for line in told[:-1])
    assert not Path("generated").exists()


def test_write_refuses_foreign_directory(capsys: pytest.CaptureFixture[str]) -> None:
    Path("precious.txt").write_text("precious")
    assert main(["write", "--out", "."]) == 2
    assert f"contains files but no {MARKER}" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["precious.txt"]


def test_write_refuses_foreign_marker() -> None:
    """A GENERATED.md of another origin does not allow overwriting."""
    Path(MARKER).write_text("# My notes\n")
    Path("precious.txt").write_text("precious")
    assert main(["write", "--out", "."]) == 2
    assert Path("precious.txt").read_text() == "precious"


@pytest.mark.usefixtures("written")
def test_hidden_files_are_kept() -> None:
    Path("out/.git").mkdir()
    Path("out/.git/HEAD").write_text("ref: refs/heads/main")
    assert main(["write", "--out", "out"]) == 0
    assert main(["check", "--out", "out"]) == 0
    assert Path("out/.git/HEAD").exists()


@pytest.mark.usefixtures("written")
def test_symlink_is_an_orphan() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/precious.txt").write_text("precious")
    Path("out/link").symlink_to("../elsewhere")
    assert main(["check", "--out", "out"]) == 1
    assert main(["write", "--out", "out"]) == 0
    assert not Path("out/link").is_symlink()
    assert Path("elsewhere/precious.txt").exists()


@pytest.mark.usefixtures("written")
def test_write_stops_at_directory_in_place_of_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Such a write fails before it has changed anything."""
    Path("out/prometheus/prometheus.yml").unlink()
    Path("out/prometheus/prometheus.yml").mkdir()
    Path("out/prometheus/prometheus.yml/stray").write_text("stray")
    before = contents(Path("out"))
    assert main(["write", "--out", "out", "--set", "job=edge"]) == 2
    assert "out/prometheus/prometheus.yml: is a directory, but must be a file" in capsys.readouterr().err
    assert contents(Path("out")) == before


@pytest.mark.usefixtures("written")
def test_failed_write_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("out/dashboards")
    Path("out/dashboards").write_text("a file where a directory must be")
    Path("out/catalog.json").write_text("old")
    before = contents(Path("out"))
    assert main(["write", "--out", "out"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert contents(Path("out")) == before


def test_source_in_current_directory(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(
        "from balance.lb.catalog.metrics import CATALOG\n"
        "from balance.monitoring.bundle import Bundle\n"
        "bundle = Bundle(CATALOG)\n"
        "def source(settings): return bundle\n"
    )  # fmt: skip
    for name in ("mine:bundle", "mine:source"):
        assert main(["alerts", "--source", name]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == {"groups": []}


def test_source_error_has_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text("\nbundle = nothing\n")
    assert main(["alerts", "--source", "broken:bundle"]) == 2
    assert "broken.py:2: cannot be loaded: NameError: name 'nothing' is not defined" in capsys.readouterr().err


def test_source_that_exits_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Even if it exits with 0."""
    Path("leaving.py").write_text("import sys\nsys.exit(0)\n")
    assert main(["alerts", "--source", "leaving:bundle"]) == 2
    assert "leaving.py:2: cannot be loaded: SystemExit" in capsys.readouterr().err


def test_output_of_source_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Path("chatty.py").write_text("print('hello')\nfrom rules_src import source\n")
    assert main(["alerts", "--source", "chatty:source"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# Made by balance-gen")
    assert printed.err == "hello\n"


def test_no_installed_source(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert main(["alerts"]) == 2
    assert "no source of dashboards and rules is installed" in capsys.readouterr().err


@pytest.mark.process
def test_closed_pipe_is_not_an_error() -> None:
    run = subprocess.run(f"{sys.executable} -m balance.commands.cli catalog | head -c 10", shell=True, capture_output=True, text=True, check=True)
    assert (len(run.stdout), run.stderr) == (10, "")


@pytest.mark.process
def test_full_disk_is_one_line() -> None:
    run = subprocess.run(
        f"{sys.executable} -m balance.commands.cli dashboards > /dev/full", shell=True, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (2, "balance-gen: standard output: No space left on device (free some space, or write elsewhere)\n")


def test_exponent_notation_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--set", "thresholds.memory=1e9"]) == 0
    assert 'process_resident_memory_bytes{job="balance"} > 1000000000\n' in capsys.readouterr().out


@pytest.mark.process
def test_closed_stdout_is_not_a_traceback() -> None:
    run = subprocess.run(f"{sys.executable} -m balance.commands.cli catalog >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert run.stderr == ""


@pytest.mark.process
def test_output_does_not_depend_on_environment() -> None:
    outputs = set()
    for changes in (
        {"PYTHONHASHSEED": "1", "PYTHONIOENCODING": "latin-1", "TZ": "UTC"},
        {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"},
    ):
        run = subprocess.run(
            [sys.executable, "-m", "balance.commands.cli", "rules", "--set", "job=ä"], env={**os.environ, **changes}, capture_output=True, check=True
        )
        board = subprocess.run(
            [sys.executable, "-m", "balance.commands.cli", "dashboards"], env={**os.environ, **changes}, capture_output=True, check=True
        )
        outputs.add(run.stdout + board.stdout)
    assert len(outputs) == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        (
            "import balance.lb.catalog.metrics, balance.promql, balance.monitoring.bundle",
            "aiohttp grafanalib jinja2 prometheus_client uvloop yaml _jsonnet",
        ),
        (
            "from balance.commands.cli import main; main(['dashboards'])",
            "aiohttp jinja2 prometheus_client uvloop _jsonnet",
        ),
        ("from balance.commands.cli import main; main(['rules'])", "aiohttp grafanalib jinja2 prometheus_client uvloop"),
    ],
)
def test_commands_import_only_what_they_need(program: str, unwanted: str) -> None:
    tail = f"; import sys; loaded = set({unwanted.split()!r}) & set(sys.modules); sys.exit(f'loaded {{loaded}}' if loaded else 0)"
    run = subprocess.run([sys.executable, "-c", program + tail], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0


def test_error_of_a_source_is_one_line_at_its_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text(
        "from balance.api import RATIO, Bundle, Catalog, Threshold\n"
        "def lines(settings):\n"
        "    raise RuntimeError('boom\\nsecond line')\n"
        "def inside(settings):\n"
        "    Threshold('a', '0.5', RATIO, reason='x')\n"
        "lost = Bundle(Catalog('lost', ()), runbooks=('nowhere',))\n"
    )
    assert main(["alerts", "--source", "broken:lines"]) == 2
    file = Path("broken.py").resolve()
    told = f"source broken:lines, {file}:3: cannot be loaded: RuntimeError: boom second line (fix the module or the name)"
    assert capsys.readouterr().err == f"balance-gen: {told}\n"
    assert main(["alerts", "--source", "broken:inside"]) == 2
    assert f"source broken:inside, {file}:5: cannot be loaded: TypeError" in capsys.readouterr().err
    assert main(["runbooks", "--out", "out", "--source", "broken:lost"]) == 2
    assert capsys.readouterr().err.startswith("balance-gen: package nowhere: cannot be imported: No module named 'nowhere'")


def install(folder: Path, *names: str) -> None:
    """Packages with a source each, as an installer leaves them."""
    for name in names:
        (folder / f"{name}.py").write_text(
            f"from balance.catalog.registry import Catalog\nfrom balance.monitoring.bundle import Bundle\nbundle = Bundle(Catalog('{name}', ()))\n"
        )
        (folder / f"{name}-1.0.dist-info").mkdir()
        (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[balance.sources]\n{name} = {name}:bundle\n")


def test_installed_source_precedes_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "stall")
    assert collect.select(()) == ("stall:bundle",)
    assert collect.select(("balance",)) == ("dashboards_py:source",)
    assert collect.collect(Settings())[0].catalog.name == "stall"


def test_several_installed_sources_need_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "kiosk", "booth")
    assert main(["catalog"]) == 2
    assert capsys.readouterr().err == "balance-gen: several sources are installed (choose one with --source: balance, booth, kiosk)\n"
    assert main(["catalog", "--source", "booth"]) == 0
