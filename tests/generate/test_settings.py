from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from balance.commands.cli import main
from balance.config.schema import Field, Section, Table
from balance.generate import collect
from balance.generate.settings import SETTINGS, load
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def alerts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    assert main(["alerts", *arguments]) == 0
    return {rule["alert"]: rule for group in yaml.safe_load(capsys.readouterr().out)["groups"] for rule in group["rules"]}


def inside(field: Field) -> tuple[str, Section | None]:
    """What stands between the key and those below it, and the section that they are of."""
    kind = field.kind.values if isinstance(field.kind, Table) else field.kind
    below = kind if isinstance(kind, Section) and not field.many else None
    return (f"{field.key}.NAME." if isinstance(field.kind, Table) else f"{field.key}."), below


def keys(prefix: str, section: Section) -> Iterator[str]:
    for field in section.fields:
        path, below = inside(field)
        if below:
            yield from keys(prefix + path, below)
        else:
            yield prefix + field.key


def sections(section: Section) -> Iterator[Section]:
    yield section
    for field in section.fields:
        _, below = inside(field)
        if below:
            yield from sections(below)


def test_fields_and_keys_correspond() -> None:
    """Every field of the settings has a key, and every key a field and a description."""
    for section in sections(SETTINGS):
        assert all(field.doc.endswith(".") for field in section.fields)
        record = Settings if section is SETTINGS else section.make
        if isinstance(record, type) and is_dataclass(record):
            assert sorted(field.name for field in section.fields) == sorted(field.name for field in fields(record))
            defaults = {field.name: field.default for field in fields(record)}
            assert not [field.key for field in section.fields if is_dataclass(defaults[field.name]) and not inside(field)[1]]


def test_page_lists_every_setting(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    listed = re.findall(r"^\| `([^`]+)` \|", capsys.readouterr().out, re.MULTILINE)
    adjustable = [f"thresholds.{threshold.name}" for threshold in bundle.catalog.thresholds if not threshold.fixed]
    assert listed == [
        *keys("", SETTINGS),
        *adjustable,
        *(f"objectives.{slo.name}" for slo in bundle.slos),
        *(f"alerts.{alert.name}" for alert in bundle.alerts),
    ]


def test_page_shows_current_values(capsys: pytest.CaptureFixture[str]) -> None:
    main(["settings", "--set", "job=edge", "--set", 'selector=a="b|c"', "--set", "thresholds.error_ratio=0.02", "--set", "alerts.BalanceDown.for=7m"])
    page = capsys.readouterr().out
    for row in (
        "| `job` | `edge` |",
        '| `selector` | `a="b\\|c"` |',
        "| `thresholds.error_ratio` | 0.02 |",
        "| `alerts.BalanceDown` | critical | 7m | 0s |",
    ):
        assert row in page


def test_disabled_alert_is_in_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "BalanceDown" not in alerts(capsys, "--set", "alerts.BalanceDown.enabled=false")
    assert main(["write", "--out", "out", "--set", "alerts.BalanceHighRetryRate.enabled=false"]) == 0
    rules = ("prometheus/rules/alerts.yaml", "kubernetes/rules.yaml", "mixin/model.json", "settings.md")
    for name in rules:
        text = Path("out", name).read_text()
        assert "BalanceHighRetryRate" not in text
        assert "BalanceHighLatency" in text


@pytest.mark.parametrize("name", sorted(alert.name for alert in collect.collect(Settings())[0].alerts))
def test_each_alert_can_be_disabled(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the runbook of another alert mentions it."""
    off = ("--set", f"alerts.{name}.enabled=false")
    assert main(["write", "--out", "out", *off]) == 0
    assert not Path("out", "runbooks", f"{name}.md").exists()
    assert f"({name}.md)" not in "".join(page.read_text() for page in Path("out", "runbooks").iterdir())
    assert f"/{name}.md" not in Path("out", "dashboards", "balance.json").read_text(), "no link to a runbook that is not made"
    assert main(["lint", *off]) == 0, capsys.readouterr().out


def test_keep_firing_for_can_be_set_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = alerts(capsys, "--set", "alerts.BalanceDown.keep_firing_for=10m", "--set", "alerts.BalanceCircuitBreakerOpen.keep_firing_for=0s")
    assert chosen["BalanceDown"]["keep_firing_for"] == "10m"
    assert "keep_firing_for" not in chosen["BalanceCircuitBreakerOpen"]


def test_alert_overrides_apply_to_the_bundle() -> None:
    chosen, _ = collect.collect(load(None, ["alerts.BalanceDown.severity=warning", "alerts.BalanceDown.for=2m"]))
    (down,) = (alert for alert in chosen.alerts if alert.name == "BalanceDown")
    assert (down.severity, down.wait, down.keep_firing) == ("warning", 120, 0)


@pytest.mark.parametrize(
    ("selector", "written"),
    [
        ('cluster="eu"', 'job="balance",cluster="eu"'),
        (' cluster = "eu" , namespace =~ "edge-.*", ', 'job="balance",cluster="eu",namespace=~"edge-.*"'),
        ('a!="x",b!~"y|z"', 'job="balance",a!="x",b!~"y|z"'),
        (r'a="quote \" backslash \\ line \n"', r'job="balance",a="quote \" backslash \\ line \n"'),
        ('job="edge",cluster="eu"', 'job="edge",cluster="eu"'),
        ('cluster="eu",job="edge"', 'job="edge",cluster="eu"'),
    ],
)
def test_selector_is_in_rules_and_dashboards(selector: str, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(yaml.safe_dump({"selector": selector}))
    assert alerts(capsys, "--settings", "s.yaml")["BalanceBackendDown"]["expr"] == f"balance_backend_healthy{{{written}}} == 0"
    own = written.partition(",")[2]
    main(["dashboards", "--settings", "s.yaml"])
    quoted = yaml.safe_load(capsys.readouterr().out)
    shown = [target["expr"] for panel in quoted["panels"] for target in panel.get("targets", ())]
    variables = [variable["query"] for variable in quoted["templating"]["list"] if variable["type"] == "query"]
    selectors = [found for text in (*shown, *variables) for found in re.findall(r"([a-z0-9_:]+)\{([^}]*)\}", text)]
    assert len(selectors) > 50
    assert {":" in name for name, inside in selectors if own not in inside} == {True}, "only what is recorded lacks such labels"


def test_job_of_selector_is_the_scrape_job(capsys: pytest.CaptureFixture[str]) -> None:
    main(["prometheus", "--set", 'selector=job="edge",cluster="eu"'])
    assert yaml.safe_load(capsys.readouterr().out)["scrape_configs"][0]["job_name"] == "edge"
