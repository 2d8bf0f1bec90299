"""Draws charts as SVG for the page. Colours are classes of the style sheet, so that they fit light
and dark pages. A table under the drawing holds the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from core.base.i18n import format_number, say
from core.domain.rows import Chart

WIDTH, HEIGHT, LEFT_SPACE, TOP_SPACE, RIGHT_SPACE, BOTTOM_SPACE = 640, 300, 72, 12, 12, 32
"""The drawing in pixels, and the space around its plot."""
MAX_X_LABELS, X_LABEL_CHARACTERS = 8, 12
MIN_SPAN, MAX_SPAN = 1e-15, 1e300
"""Values that differ by less are drawn as zeros. Smaller spans make long labels, or overflow, as
larger ones do."""
COLOURS = 8
"""The number of colours in the style sheet."""
Scale = Callable[[float], float]


def draw_chart(chart: Chart, table: str) -> str:
    """Return a figure. `table` is the HTML of the values."""
    names = chart.labels if chart.kind == "pie" else [each.name for each in chart.series]
    keys = [f'<li class="c{n % COLOURS}">{escape(name)}</li>' for n, name in enumerate(names)]
    legend = f"<ul>{''.join(keys)}</ul>" if len(keys) > 1 else ""
    title = escape(chart.title)
    return (
        f'<figure class="chart"><figcaption>{title}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"{_draw_pie(chart) if chart.kind == 'pie' else _draw_plot(chart)}</svg>{legend}"
        f"<details><summary>{escape(say('Values'))}</summary>{table}</details></figure>"
    )


def _draw_plot(chart: Chart) -> str:
    values = [value for each in chart.series for value in each.values if value is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    if high - low < MIN_SPAN:
        low = high = 0.0
    # Four to six lines at round numbers; one where all values are 0, or where they overflow.
    line, count = (high - low) / 4, 1
    if 0 < line < MAX_SPAN:
        unit = 10.0 ** math.floor(math.log10(line))
        line = unit * next(n for n in (1, 2, 2.5, 5, 10) if unit * n >= line * 0.999)
        low, high = math.floor(low / line) * line, math.ceil(round(high / line, 9)) * line
        count = round((high - low) / line) + 1
    height = (HEIGHT - TOP_SPACE - BOTTOM_SPACE) / ((high - low) or 1)
    step = (WIDTH - LEFT_SPACE - RIGHT_SPACE) / len(chart.labels)

    def scale(value: float) -> float:
        return TOP_SPACE + (high - value) * height

    parts = []
    for n in range(count):
        at = low + line * n
        y = scale(at)
        parts.append(f'<path class="grid" d="M{LEFT_SPACE} {y:.1f}H{WIDTH - RIGHT_SPACE}"/>')
        text = format_number(float(f"{at:.4g}"))
        parts.append(f'<text x="{LEFT_SPACE - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    every = math.ceil(len(chart.labels) / MAX_X_LABELS)
    for n, label in enumerate(chart.labels[::every]):
        short = label[: X_LABEL_CHARACTERS - 1] + "…" if len(label) > X_LABEL_CHARACTERS else label
        x = LEFT_SPACE + (n * every + 0.5) * step
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(short)}</text>'
        )
    for n, each in enumerate(chart.series):
        draw = _draw_bars if chart.kind == "bar" else _draw_line
        bar = step * 0.8 / len(chart.series)
        x = LEFT_SPACE + (step * 0.1 + n * bar if chart.kind == "bar" else step / 2)
        shape = draw(each.values, scale, x, step, bar)
        if chart.kind == "area":
            points = [
                LEFT_SPACE + step * (at + 0.5) for at, v in enumerate(each.values) if v is not None
            ]
            floor = f"V{scale(0):.1f}H{points[0]:.1f}Z" if points else ""
            parts.append(f'<path class="area c{n % COLOURS}" d="{shape}{floor}"/>')
        parts.append(f'<path class="{chart.kind} c{n % COLOURS}" d="{shape}"/>')
    return "".join(parts)


def _draw_bars(
    values: Sequence[float | None], scale: Scale, x: float, step: float, width: float
) -> str:
    return "".join(
        f"M{x + at * step:.1f} {scale(0):.1f}h{width:.1f}V{scale(value):.1f}h{-width:.1f}Z"
        for at, value in enumerate(values)
        if value is not None
    )


def _draw_line(
    values: Sequence[float | None], scale: Scale, x: float, step: float, width: float
) -> str:
    points = [
        f"{x + at * step:.1f} {scale(value):.1f}"
        for at, value in enumerate(values)
        if value is not None
    ]
    return "M" + "L".join(points) if points else ""


def _draw_pie(chart: Chart) -> str:
    values = [max(0, value or 0) for value in chart.series[0].values]
    total, turned, parts = sum(values) or 1, 0.0, []
    radius, middle_x, middle_y = HEIGHT / 2 - TOP_SPACE, WIDTH / 2, HEIGHT / 2
    for n, value in enumerate(values):
        # A whole circle would begin and end in the same point, and show nothing.
        ends = [2 * math.pi * part for part in (turned, turned + min(value / total, 0.99999))]
        turned += value / total
        (x, y), (to_x, to_y) = (
            (middle_x + radius * math.sin(end), middle_y - radius * math.cos(end)) for end in ends
        )
        large = int(value * 2 > total)
        parts.append(
            f'<path class="bar c{n % COLOURS}" d="M{middle_x} {middle_y}L{x:.2f} {y:.2f}'
            f'A{radius} {radius} 0 {large} 1 {to_x:.2f} {to_y:.2f}Z"/>'
        )
    return "".join(parts)
