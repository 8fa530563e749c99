"""Draws each kind of panel: shapes as SVG, text as HTML, so that lines stretch with the window and letters do not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape

from balance.preview.curves import Curve, stretches
from balance.preview.palette import color, dashed
from balance.preview.scale import tick_label, ticks
from balance.preview.view import View

WIDTH, HEIGHT = 1000, 400
"""The size of a plot in SVG units."""
_SHADES = 12
"""Number of colour intensities in a heatmap."""
Values = Sequence[float | None]


def draw(view: View) -> str:
    """The HTML inside a panel's frame."""
    if not view.named and view.panel.kind != "text":
        return f'<p class="none">{escape(view.panel.nothing or "No data")}</p>'
    return _DRAW[view.panel.kind](view)


def _svg(view: View, inside: str, *, about: str = "") -> str:
    """An SVG with a title and a description for screen readers."""
    title, words = escape(about or view.panel.title), escape(view.panel.description)
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{title}"'
    return f"<svg {frame}><desc>{words}</desc>{inside}</svg>"


def _lines(values: Values, least: float, most: float, base: Sequence[float] | None = None) -> tuple[str, str]:
    """The SVG paths of a curve and of the area between it and `base`, with gaps where there is no value."""
    scale, across = HEIGHT / (most - least), WIDTH / max(1, len(values) - 1)
    line, area = [], []
    for run in _runs(values):
        points = _without_level_points([(f"{place * across:.1f}", f"{HEIGHT - (value - least) * scale:.1f}") for place, value in run])
        line.append("M" + "L".join(" ".join(point) for point in points) + ("h2" if not run[1:] else ""))
        bottom = ((place, base[place] if base else max(0, least)) for place, _ in reversed(run))
        floor = [(f"{place * across:.1f}", f"{HEIGHT - (value - least) * scale:.1f}") for place, value in bottom]
        area.append(f"{line[-1]}L{'L'.join(' '.join(point) for point in _without_level_points(floor))}Z")
    return "".join(line), "".join(area)


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    run: list[tuple[int, float]] = []
    for place, value in enumerate(values):
        if value is not None and math.isfinite(value):
            run.append((place, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _without_level_points(points: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The points without those inside horizontal stretches."""
    return [
        point for place, point in enumerate(points)
        if not (0 < place < len(points) - 1 and points[place - 1][1] == point[1] == points[place + 1][1])
    ]  # fmt: skip


def _finite_values(curves: Iterable[Values]) -> list[float]:
    return [value for values in curves for value in values if value is not None and math.isfinite(value)] or [0.0]


def _timeseries(view: View) -> str:
    curves: list[Values] = [curve.values for _, curve in view.named]
    bases: list[Sequence[float] | None] = [None] * len(curves)
    if view.panel.stacked:
        curves, bases = _stacked(curves)
    shown, least = _finite_values(curves), view.panel.least
    low = min(shown) if least is None else min(float(least), *shown)
    marks = ticks(low, max(shown), view.unit, max(2, min(5, view.panel.height - 3)))
    filled = 0.6 if view.panel.stacked else 0.12 if len(curves) < 3 else 0
    paths = []
    for index, values in reversed(list(enumerate(curves))):
        line, area = _lines(values, marks[0], marks[-1], bases[index])
        if filled:
            paths.append(f'<path d="{area}" style="fill:{color(index)};fill-opacity:{filled};stroke:none"/>')
        paths.append(f'<path d="{line}" style="stroke:{color(index)}"{_dash_class(index)}/>')
    limits = "".join(_horizontal_line(limit, marks, "limit") for limit in view.limits if marks[0] <= limit <= marks[-1])
    grid = "".join(_horizontal_line(mark, marks, "grid") for mark in marks) + _time_grid(view)
    inside = _mark_bands(view) + grid + "".join(paths) + limits + _mark_lines(view)
    return _plot(view, [tick_label(mark, view.unit) for mark in marks], _svg(view, inside)) + _legend(view)


def _dash_class(index: int) -> str:
    return ' class="again"' if dashed(index) else ""


def _stacked(curves: Sequence[Values]) -> tuple[list[Values], list[Sequence[float] | None]]:
    """Stacked curves, and the base of each."""
    base = [0.0] * len(curves[0])
    tops: list[Values] = []
    bases: list[Sequence[float] | None] = []
    for values in curves:
        bases.append(tuple(base))
        tops.append(tuple(None if value is None else below + value for below, value in zip(base, values, strict=True)))
        base = [below + (value if value is not None and math.isfinite(value) else 0) for below, value in zip(base, values, strict=True)]
    return tops, bases


def _horizontal_line(value: float, marks: Sequence[float], kind: str) -> str:
    height = HEIGHT * (1 - (value - marks[0]) / (marks[-1] - marks[0]))
    return f'<line class="{kind}" x1="0" x2="{WIDTH}" y1="{height:.1f}" y2="{height:.1f}"/>'


def _clock_ticks(view: View) -> Iterator[tuple[float, str]]:
    """Round times within the span: position as a share of the width, and the time in UTC."""
    length = view.span.end - view.span.start
    most = 3 if view.panel.width < 9 else 6
    step = next((step for step in (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200) if length / step <= most), 86400)
    for at in range(-(-view.span.start // step) * step, view.span.end + 1, step):
        share = (at - view.span.start) / length
        if 0.04 < share < 0.96:
            yield share, f"{datetime.fromtimestamp(at, UTC):%H:%M}"


def _time_grid(view: View) -> str:
    return "".join(f'<line class="grid" x1="{share * WIDTH:.1f}" x2="{share * WIDTH:.1f}" y1="0" y2="{HEIGHT}"/>' for share, _ in _clock_ticks(view))


def _mark_bands(view: View) -> str:
    """Bands behind the curves where marked events last, one set per colour."""
    across = WIDTH / max(1, len(view.span.times) - 1)
    shades = dict.fromkeys(mark.color for mark in view.marks)
    lasting = {shade: {place for mark in view.marks if mark.color == shade for place in range(mark.first, mark.end)} for shade in shades}
    return "".join(
        f'<rect class="band" x="{first * across:.1f}" y="0" width="{(end - first) * across:.1f}" height="{HEIGHT}" style="fill:var(--{shade})"/>'
        for shade, places in lasting.items()
        for first, end, held in stretches([place in places for place in range(len(view.span.times))])
        if held
    )


def _mark_lines(view: View) -> str:
    """Vertical lines where marked events begin."""
    across = WIDTH / max(1, len(view.span.times) - 1)
    return "".join(
        f'<line class="mark" x1="{mark.first * across:.1f}" x2="{mark.first * across:.1f}" y1="0" y2="{HEIGHT}" style="stroke:var(--{mark.color})">'
        f"<title>{escape(mark.name)}: {escape(mark.words)}</title></line>"
        for mark in view.marks
    )


def _plot(view: View, labels: Iterable[str], picture: str, kind: str = "y") -> str:
    """A picture with labels (HTML) beside it and times below it."""
    beside = "".join(f"<span>{label}</span>" for label in labels)
    below = "".join(f'<span style="left:{100 * share:.2f}%">{clock}</span>' for share, clock in _clock_ticks(view))
    return f'<div class="plot"><div class="{kind}">{beside}</div>{picture}<div class="x">{below}</div></div>'


def _legend(view: View) -> str:
    rows = "".join(
        f'<tr><th scope="row"><i style="color:{color(index)}"{_dash_class(index)}></i>{view.linked(name, curve)}</th>'
        f"<td>{view.figure(curve.last_number)}</td><td>{view.figure(curve.maximum)}</td></tr>"
        for index, (name, curve) in enumerate(view.named)
    )
    head = '<tr><th scope="col">Name</th><th scope="col">Last</th><th scope="col">Max</th></tr>'
    return _scrolling_table("legend", f"{view.panel.title}: figures", head, rows)


def _scrolling_table(kind: str, about: str, head: str, body: str) -> str:
    """A table that can be scrolled, with the keyboard too."""
    table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return f'<div class="{kind}" tabindex="0" role="group" aria-label="{escape(about)}">{table}</div>'


def _timeline(view: View) -> str:
    lane, across = HEIGHT / len(view.named), WIDTH / max(1, len(view.span.times))
    shapes, words = [], []
    for index, (name, curve) in enumerate(view.named):
        for first, last, value in stretches(curve.values):
            text, shade = view.text_and_color(value)
            box = f'x="{first * across:.1f}" y="{lane * (index + 0.08):.1f}" width="{(last - first) * across:.1f}" height="{lane * 0.84:.1f}"'
            shapes.append(f'<rect {box} class="state" style="fill:var(--{shade})"><title>{escape(name)}: {text}</title></rect>')
            left, top, wide = first * across / WIDTH, (index + 0.5) / len(view.named), (last - first) * across / WIDTH
            words.append(f'<b aria-hidden="true" style="left:{left:.2%};top:{top:.2%};width:{wide:.2%}">{text}</b>' if len(view.named) < 17 else "")
    now = ", ".join(f"{escape(name)}: {view.text_and_color(curve.last)[0]}" for name, curve in view.named)
    picture = f'<div class="lanes">{_svg(view, "".join(shapes) + _mark_lines(view))}{"".join(words)}</div>'
    return _plot(view, (view.linked(name, curve) for name, curve in view.named), picture, "names") + f'<p class="away">Now: {now}</p>'


def _stat(view: View) -> str:
    """Each figure above its sparkline, tinted where a threshold or state gives it a colour."""
    told = []
    several = len(view.named) > 1
    for name, curve in view.named:
        text, shade = view.text_and_color(curve.last)
        tinted = " tinted" if shade in ("green", "orange", "red") else ""
        below = f"<small>{escape(name)}</small>" if several else ""
        told.append(f'<div class="stat{tinted}" style="--own:var(--{shade})"><p>{text}{below}</p>{_spark(view, curve, name)}</div>')
    return f'<div class="stats">{"".join(told)}</div>'


def _spark(view: View, curve: Curve, name: str) -> str:
    shown = _finite_values([curve.values])
    low, high = min(0.0, *shown), max(shown)
    line, area = _lines(curve.values, low, high if high > low else low + 1)
    return _svg(view, f'<path class="area" d="{area}"/><path d="{line}"/>', about=f"{view.panel.title}: {name}")


def _table(view: View) -> str:
    labels = sorted({label for _, curve in view.named for label in curve.labels})
    columns = [{tuple(curve.labels.get(label, "") for label in labels): curve for curve in curves} for curves in view.answers]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in (*labels, *(query.legend for query in view.panel.queries)))
    body = "".join(
        "<tr>" + "".join(f'<th scope="row">{view.linked(text, Curve({label: text}, ()))}</th>' for label, text in zip(labels, key, strict=True))
        + "".join(_cell(view, column.get(key), query.legend) for column, query in zip(columns, view.panel.queries, strict=True)) + "</tr>"
        for key in sorted(set().union(*columns))
    )  # fmt: skip
    return _scrolling_table("cells", f"{view.panel.title}: table", f"<tr>{head}</tr>", body)


def _cell(view: View, curve: Curve | None, name: str) -> str:
    if curve is None:
        return "<td></td>"
    text, shade = view.text_and_color(curve.last_number)
    about = " ".join((*curve.labels.values(), name))
    return f'<td style="--own:var(--{shade})">{_spark(view, curve, about)}<span>{text}</span></td>'


def _heatmap(view: View) -> str:
    """Observations per bucket: buckets are cumulative, so the next lower one is subtracted from each."""
    curves = sorted((curve for _, curve in view.named), key=lambda curve: float(curve.labels["le"]))
    rows = []
    below: Values = [0.0] * len(view.span.times)
    for curve in curves:
        rows.append([max(0.0, (value or 0) - (under or 0)) for value, under in zip(curve.values, below, strict=True)])
        below = curve.values
    most = max(_finite_values(rows)) or 1
    lane, across = HEIGHT / len(rows), WIDTH / len(view.span.times)
    shades: dict[int, list[str]] = {}
    for index, row in enumerate(rows):
        top = HEIGHT - (index + 1) * lane
        levels = [math.ceil(_SHADES * math.sqrt(value / most)) if value > most * 1e-4 else None for value in row]
        for first, last, shade in stretches(levels):
            shades.setdefault(int(shade), []).append(
                f"M{first * across:.1f} {top:.1f}h{(last - first) * across:.1f}v{lane * 0.96:.1f}H{first * across:.1f}z"
            )
    shapes = "".join(
        f'<path class="heat" d="{"".join(boxes)}" style="fill-opacity:{shade / _SHADES:.2f}"/>' for shade, boxes in sorted(shades.items())
    )
    every = -(-len(curves) // 9)
    bounds = [tick_label(float(curve.labels["le"]), view.unit) if not index % every else "" for index, curve in enumerate(curves)]
    busiest = max(zip(curves, rows, strict=True), key=lambda pair: pair[1][-1])[0].labels["le"]
    told = f'<p class="away">Now most are in the bucket up to {tick_label(float(busiest), view.unit)}.</p>'
    return _plot(view, reversed(bounds), _svg(view, shapes + _mark_lines(view)), "names") + told


def _text(view: View) -> str:
    """The subset of Markdown that text panels use: paragraphs, lists, code, bold, links."""
    blocks = []
    for block in view.panel.text.strip().split("\n\n"):
        lines = [_inline(line) for line in block.splitlines()]
        if all(line.startswith("- ") for line in lines):
            blocks.append(f"<ul>{''.join(f'<li>{line[2:]}</li>' for line in lines)}</ul>")
        else:
            blocks.append(f"<p>{' '.join(lines).lstrip('# ')}</p>")
    return f'<div class="text" tabindex="0" role="group" aria-label="{escape(view.panel.title)}: text">{"".join(blocks)}</div>'


def _inline(line: str) -> str:
    line = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line))
    line = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", line)
    return re.sub(r"\[([^]]+)\]\(((?:https?:|/|\#)[^)\s]*)\)", r'<a href="\2">\1</a>', line)


_DRAW: dict[str, Callable[[View], str]] = {
    "timeseries": _timeseries, "state-timeline": _timeline, "stat": _stat, "table": _table, "heatmap": _heatmap, "text": _text,
}  # fmt: skip
