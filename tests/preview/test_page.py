"""Pages hold every panel with its data, need nothing from outside, and are the same wherever they are made."""

from __future__ import annotations

import html
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from balance.catalog.model import RATIO, Threshold
from balance.generate import collect
from balance.generate.pages import pages, synthetic_pages
from balance.lb.catalog import metrics as m
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Panel, PanelKind, Query, Row, State
from balance.monitoring.settings import Settings
from balance.preview import draw
from balance.preview.curves import Curve, Span
from balance.preview.page import MAX_SERIES, PageContext, page
from balance.preview.scale import tick_label, ticks
from balance.preview.view import View
from balance.promql import RATE_WINDOW, rate, ratio, series, sum_by
from balance.promql.text import NO_SCOPE

EMPTY_WHEN_WELL = {"BalanceMetricsMissing"}
"""What these show is wrong, if there is any."""


@pytest.fixture(scope="module")
def stage() -> PageContext:
    return synthetic_pages(*collect.collect(Settings(runbook_base="https://runbooks.example/balance")))


@pytest.fixture(scope="module")
def drawn(stage: PageContext) -> dict[str, str]:
    """The pages by their name."""
    return {page.path: page.text for page in pages(stage)}


def articles(text: str) -> dict[str, str]:
    return dict(re.findall(r'<article [^>]*aria-label="([^"]*)">(.*?)</article>', text, re.DOTALL))


def test_every_panel_is_drawn_with_data(bundle: Bundle, drawn: dict[str, str]) -> None:
    for dashboard in bundle.dashboards:
        panels = articles(drawn[f"{dashboard.name}.html"])
        assert list(panels) == [html.escape(panel.title) for panel in dashboard.panels], "those of collapsed rows too"
        assert {title for title, inside in panels.items() if 'class="none"' in inside} <= EMPTY_WHEN_WELL


def test_every_kind_of_panel_is_drawn() -> None:
    assert set(draw._DRAW) == set(get_args(PanelKind))


def test_a_page_needs_nothing_from_outside(drawn: dict[str, str]) -> None:
    for text in drawn.values():
        assert not re.findall(r' src=|url\((?!#)|@import|<link|http-equiv="(?!refresh)', text)
        assert set(re.findall(r'href="([^"]*)"', text)) <= {*drawn, *re.findall(r"https://runbooks.example/balance/\w+\.md", text)}


def test_links_lead_to_dashboards_and_runbooks(stage: PageContext, drawn: dict[str, str]) -> None:
    """Runbooks without an absolute URL are not linked."""
    panels = articles(drawn["balance.html"])
    assert 'href="slo.html"' in panels["Error Budget Left"]
    assert '<a href="backend.html" title="This backend in depth: api-1">api-1</a>' in panels["Backends: Traffic"]
    assert 'href="https://runbooks.example/balance/BalanceDown.md"' in panels["BalanceDown"]
    local = page(stage.dashboards[0], replace(stage, runbooks="runbooks"))
    assert ".md" not in local, "a browser would not find it"


def test_annotations_are_marked_and_listed(drawn: dict[str, str]) -> None:
    text = drawn["balance.html"]
    told = re.findall(r"<li>(.*?)</li>", text)
    assert "Firing alerts: BalanceHighLatency critical" not in told
    assert {line.partition(":")[0] for line in told} == {"Firing alerts", "Reloads"}
    assert any("BalanceBackendDown" in line for line in told), "the incident"
    assert articles(text)["Request Rate"].count('class="mark"') == len(told)
    assert 'class="mark"' not in articles(text)["Requests"], "a figure has no room for marks"


def panel(values: tuple[float | None, ...], **options: Any) -> str:
    """A panel of one series, drawn."""
    count = len(values)
    span = Span(0, 60 * (count - 1), 60)
    query = Query(options.pop("expr", series(m.HTTP_REQUESTS_IN_FLIGHT)), "all")
    declared = Panel("One", "Words.", (query,), **options)
    return draw.draw(View(declared, span, NO_SCOPE, ((Curve({"instance": "a"}, values),),), (), lambda _: ""))


def test_gaps_and_single_samples() -> None:
    (line,) = re.findall(r'<path d="([^"]*)" style="stroke:', panel((1, 2, None, 3, math.nan, 2, 2)))
    assert [part.split()[0] for part in line.split("M")[1:]] == ["0.0", "500.0", "833.3"]
    assert line.count("h2") == 1


@pytest.mark.parametrize(
    ("value", "alarm", "colour"),
    [(0.1, "above", "green"), (0.6, "above", "red"), (0.5, "above", "red"), (0.1, "below", "red"), (0.6, "below", "green")],
)
def test_threshold_colours_stat(value: float, alarm: str, colour: str) -> None:
    limit = Threshold("limit", 0.5, RATIO, reason="It is one.")
    ratio_of = ratio(sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW))), sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW))))
    drawn = panel((value,), kind="stat", thresholds=(limit,), alarm=alarm, expr=ratio_of)
    assert f"--own:var(--{colour})" in drawn
    assert "No traffic" in panel((math.nan,), kind="stat", expr=ratio_of)


def test_nan_counts_in_stats_only() -> None:
    """As Grafana's reducers do: `last` in stats, `lastNotNull` in legends and in cells."""
    assert "No traffic" in panel((3, math.nan), kind="stat")
    assert "<td>3</td><td>3</td>" in panel((3, math.nan))
    assert "<span>3</span>" in panel((3, math.nan), kind="table")


def test_states_have_text_and_colour() -> None:
    drawn = panel((1, 1, 0), kind="state-timeline", states=(State(1, "Fine", "green"), State(0, "Broken", "red")))
    assert re.findall(r"fill:var\(--(\w+)\)", drawn) == ["green", "red"]
    assert '<p class="away">Now: all: Broken</p>' in drawn


def test_number_of_series_is_limited(stage: PageContext) -> None:
    span = Span(0, 60, 60)
    many = tuple(Curve({"instance": str(place)}, (1.0, 2.0)) for place in range(MAX_SERIES + 5))
    declared = Panel("Many", "Words.", (Query(series(m.HTTP_REQUESTS_IN_FLIGHT), "{{instance}}"),))
    board = replace(stage.dashboards[0], rows=(Row("All", (declared,)),), annotations=())
    text = page(board, replace(stage, span=span, ask=lambda expr, *, job=False: many))
    assert f"<small>{MAX_SERIES} of {MAX_SERIES + 5} series</small>" in text
    assert text.count('class="again"') == 2 * (MAX_SERIES - 24), "beyond 24 colours lines are dotted"


def test_tags_are_closed_in_order(drawn: dict[str, str]) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "path", "line", "rect"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("path", "line", "rect"):
                assert self.open.pop() == tag

    for text in drawn.values():
        tags = Tags()
        tags.feed(text)
        assert not tags.open


@pytest.mark.process
def test_pages_are_the_same_in_every_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "balance.commands.cli", "preview", "--out", str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    one, other = ({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert one == other


@pytest.mark.parametrize(
    ("most", "unit", "labels"),
    [
        (1780.0, "reqps", ["0 req/s", "500 req/s", "1K req/s", "1.5K req/s", "2K req/s"]),
        (0.036, "percentunit", ["0%", "1%", "2%", "3%", "4%"]),
        (450e6, "bytes", ["0 B", "128 MiB", "256 MiB", "384 MiB", "512 MiB"]),
        (8000.0, "s", ["0 s", "30 mins", "1 hour", "1.5 hours", "2 hours", "2.5 hours"]),
        (0.0, "short", ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_axes_have_round_ticks(most: float, unit: str, labels: list[str]) -> None:
    assert [tick_label(tick, unit) for tick in ticks(0, most, unit)] == labels
