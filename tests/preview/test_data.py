"""The preview agrees with @grafana/data, the code that Grafana itself shows values with: units, reducers, thresholds, words and colours."""

from __future__ import annotations

import html
import json
import math
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Panel
from balance.monitoring.settings import Settings
from balance.preview.curves import Curve, Span
from balance.preview.formats import formatted
from balance.preview.view import View
from balance.promql.text import NO_SCOPE
from balance.render.grafana import render
from balance.render.grafana_ids import panel_id

SCRIPT = Path(__file__).with_name("data.cjs")
CASES = int(os.environ.get("BALANCE_FORMATS", "3000"))
"""So many values for each unit."""
JUDGED = ("stat", "table", "state-timeline")
"""The kinds of panels that give the values themselves words and a colour."""
REDUCED: dict[str, Callable[[Curve], float | None]] = {
    "last": lambda curve: curve.last,
    "lastNotNull": lambda curve: curve.last_number,
    "max": lambda curve: curve.maximum,
}
"""Grafana's reducers, and what the preview has for each."""
Json = dict[str, Any]


class Shown(NamedTuple):
    """A panel of a dashboard, as declared and as rendered."""

    panel: Panel
    model: Json

    @property
    def config(self) -> Json:
        """What Grafana knows of the field."""
        return {key: value for key, value in self.model["fieldConfig"]["defaults"].items() if key != "custom"}

    @property
    def steps(self) -> list[Json]:
        steps: list[Json] = self.config["thresholds"]["steps"]
        return steps

    @property
    def view(self) -> View:
        """What the preview draws the panel with."""
        return View(self.panel, Span(0, 60, 60), NO_SCOPE, (), (), lambda _: "")


def rendered(dashboard: Dashboard) -> Iterator[Shown]:
    model = json.loads(render(dashboard, Settings()))
    by_id = {panel["id"]: panel for top in model["panels"] for panel in (top, *top.get("panels", ()))}
    for panel in dashboard.panels:
        if panel.kind != "text":
            yield Shown(panel, by_id[panel_id(dashboard, panel.title)])


@pytest.fixture(scope="module")
def panels(bundle: Bundle) -> list[Shown]:
    return [panel for dashboard in bundle.dashboards for panel in rendered(dashboard)]


@pytest.fixture(scope="module")
def ask(modules: Callable[..., Path]) -> Callable[..., Json]:
    """Answers of `data.cjs`."""
    folder = modules("@grafana/data")

    def answers(**questions: list[Any]) -> Json:
        told = json.dumps({"written": [], "reduced": [], "active": [], "shown": [], **questions}, allow_nan=False)
        environment = {**os.environ, "NODE_PATH": str(folder)}
        done = subprocess.run(["node", str(SCRIPT)], input=told, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        result: Json = json.loads(done.stdout)
        return result

    return answers


def units(panels: list[Shown]) -> set[str]:
    """Every unit that a dashboard names: of fields, of a heatmap's cells and axis."""
    options = [panel.model["options"] for panel in panels]
    named = {part["unit"] for option in options for key in ("cellValues", "yAxis") if "unit" in (part := option.get(key, {}))}
    return {panel.config["unit"] for panel in panels} | named


def calcs(panels: list[Shown]) -> set[str]:
    """Every reducer that a dashboard names: in legends, in stats."""
    options = [panel.model["options"] for panel in panels]
    return {calc for option in options for key in ("legend", "reduceOptions") for calc in option.get(key, {}).get("calcs", ())}


def told(value: float | None) -> float | str | None:
    """A number as JSON can carry it."""
    return value if value is None or math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def number(chosen: random.Random) -> float:
    """A value of any size and either sign: plain, whole, with few digits, or a power of a thousand or 1024."""
    size = 10 ** chosen.uniform(-12, 15)
    value = chosen.choice((size, float(round(size)), float(f"{size:.2g}"), 1000.0 ** chosen.randint(-3, 5), 1024.0 ** chosen.randint(0, 5)))
    return value if chosen.random() < 0.8 else -value


def test_grafana_knows_units_and_reducers(panels: list[Shown], ask: Callable[..., Json]) -> None:
    known = ask()
    assert units(panels) <= set(known["units"])
    assert calcs(panels) <= set(known["reducers"])


def test_preview_has_every_reducer(panels: list[Shown]) -> None:
    assert calcs(panels) == set(REDUCED)


def test_random_numbers_match_grafana(panels: list[Shown], ask: Callable[..., Json]) -> None:
    chosen = random.Random(7)
    cases = [(unit, number(chosen), chosen.choice((None, None, 0, 1, 2, 3))) for unit in sorted(units(panels)) for _ in range(CASES)]
    written = ask(written=cases)["written"]
    wrong = [(*case, own, theirs) for case, theirs in zip(cases, written, strict=True) if (own := formatted(case[1], case[0], case[2])) != theirs]
    assert wrong == []


def test_reducers_match_grafana(ask: Callable[..., Json]) -> None:
    chosen = random.Random(8)
    cases = []
    for _ in range(500):
        values = [chosen.choice((None, math.nan, math.inf, number(chosen), number(chosen))) for _ in range(chosen.randint(1, 6))]
        cases += [(reducer, values) for reducer in REDUCED if reducer != "last" or values[-1] is not None]
    reduced = ask(reduced=[(reducer, [told(value) for value in values]) for reducer, values in cases])["reduced"]
    own = [told(REDUCED[reducer](Curve({}, tuple(values)))) for reducer, values in cases]
    assert [case for case in zip(cases, own, reduced, strict=True) if case[1] != case[2]] == []


def around(panel: Shown, chosen: random.Random) -> list[float]:
    """Values at, just below and just above each threshold, and anywhere."""
    limits = panel.view.limits
    return [*(limit + part * (abs(limit) or 1) for limit in limits for part in (-1e-12, 0, 1e-12)), *(number(chosen) for _ in range(50))]


def test_threshold_colours_match_grafana(panels: list[Shown], ask: Callable[..., Json]) -> None:
    chosen = random.Random(9)
    colored = [panel for panel in panels if panel.panel.kind in ("stat", "table") and not panel.panel.states]
    cases = [(panel, value) for panel in colored for value in around(panel, chosen)]
    active = ask(active=[(panel.steps, value) for panel, value in cases])["active"]
    own = [panel.view.text_and_color(value)[1] for panel, value in cases]
    assert {"green", "red", "blue"} <= set(own)
    assert own == active


def test_texts_and_colours_match_grafana(panels: list[Shown], ask: Callable[..., Json]) -> None:
    """Numbers, states, and in a stat what is no number."""
    chosen = random.Random(10)
    cases: list[tuple[Shown, float]] = []
    for panel in panels:
        if panel.panel.kind in JUDGED:
            cases += [(panel, float(state.value)) for state in panel.panel.states]
        if panel.panel.kind in ("stat", "table"):
            cases += [(panel, value) for value in around(panel, chosen)]
        if panel.panel.kind == "stat":
            cases += [(panel, math.nan)]
    own = [panel.view.text_and_color(value) for panel, value in cases]
    shown = ask(shown=[(panel.config, told(value), color) for (panel, value), (_, color) in zip(cases, own, strict=True)])["shown"]
    assert {"No traffic", "Healthy"} <= {words for words, _ in own}
    assert shown == [[html.unescape(words), True] for words, _ in own]


def test_differences_are_found(panels: list[Shown], ask: Callable[..., Json]) -> None:
    panel = next(panel for panel in panels if panel.panel.kind == "stat" and len(panel.steps) == 2)
    limit = panel.steps[1]["value"]
    upper = panel.steps[1]["color"]
    answers = ask(
        written=[("reqps", 1234, None)], reduced=[("lastNotNull", [1, "NaN", None])], active=[(panel.steps, limit)],
        shown=[(panel.config, limit, upper), (panel.config, limit, panel.steps[0]["color"])],
    )  # fmt: skip
    assert (answers["written"], answers["reduced"], answers["active"]) == (["1.23K req/s"], [1], [upper])
    assert [right for _, right in answers["shown"]] == [True, False]
    assert not {"requests per second", "sec"} & set(answers["units"])
    assert not {"avg", "latest"} & set(answers["reducers"])
