"""The colours of curves stand out from the page and from each other, in light and in dark."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from importlib.resources import files
from itertools import combinations

import pytest

from balance.monitoring.bundle import Bundle
from balance.preview import synthetic
from balance.preview.curves import asking
from balance.preview.palette import COLORS, color, css, dashed


def linear(text: str) -> list[float]:
    shares = (int(text[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """By WCAG 2."""
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(text: str) -> tuple[float, float, float]:
    """In OKLab, where equal distances look equal."""
    r, g, b = linear(text)
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_stand_out(theme: int) -> None:
    style = (files("balance.preview") / "style.css").read_text(encoding="utf-8")
    found = re.search(r"--panel: light-dark\((#\w+), (#\w+)\)", style)
    assert found
    panel = found[theme + 1].replace("#fff", "#ffffff") if len(found[theme + 1]) == 4 else found[theme + 1]
    assert min(contrast(pair[theme], panel) for pair in COLORS) >= 3
    assert min(math.dist(seen(one[theme]), seen(other[theme])) for one, other in combinations(COLORS, 2)) > 0.08


def test_every_colour_is_in_style() -> None:
    assert [color(index) in css().replace("--", "var(--").replace(":", "):") for index in (0, 23, 24)] == [True] * 3
    assert (color(24), dashed(23), dashed(24)) == (color(0), False, True)
    assert len(COLORS) == len(set(COLORS)) == 24


def test_no_panel_uses_a_colour_twice(bundle: Bundle) -> None:
    from balance.generate import collect
    from balance.monitoring.settings import Settings

    ask = asking(synthetic.database(*collect.collect(Settings())), replace(synthetic.SPAN, start=synthetic.SPAN.end))
    counts = {panel.title: sum(len(ask(query.expr)) for query in panel.queries)
              for board in bundle.dashboards for panel in board.panels if panel.kind == "timeseries"}  # fmt: skip
    assert {title for title, count in counts.items() if count > len(COLORS)} == set()
