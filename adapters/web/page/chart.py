"""Draws charts as SVG for the page. Colours are classes of the style sheet, so that they fit light
and dark pages. Each value is read at its mark; a table under the drawing holds all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from html import escape

from core.base.i18n import format_number, say
from core.base.value_formats import format_amount, format_kind
from core.domain.rows import Chart, Series

WIDTH, HEIGHT, LEFT_SPACE, TOP_SPACE, RIGHT_SPACE, BOTTOM_SPACE = 640, 300, 84, 24, 12, 32
"""The drawing in pixels, and the space around its plot."""
MAX_BAR_WIDTH = 64
MAX_X_LABELS, X_LABEL_CHARACTERS, LETTER_WIDTH = 8, 12, 7.5
MAX_VALUES_SHOWN = 12
"""With so few bars, each has its value above it."""
MIN_SPAN, MAX_SPAN = 1e-15, 1e300
"""Values that differ by less are drawn as zeros. Smaller spans make long labels, or overflow, as
larger ones do."""
COLOURS = 8
Scale = Callable[[float], float]


def draw_chart(chart: Chart, table: str) -> str:
    """Return the HTML of a figure: the title, the drawing, a legend if there are several colours,
    and `table`, the HTML of the values, to unfold."""
    names: Sequence[str] = [series.name for series in chart.series]
    if chart.kind == "pie":  # it has one series; each slice has a colour, a label and a value
        names = list(map(": ".join, zip(chart.labels, chart.series[0].texts, strict=True)))
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
    values = [value for series in chart.series for value in series.values if value is not None]
    # Zero is always in the picture: bars that begin elsewhere mislead.
    low, high = min([0.0, *values]), max([0.0, *values])
    if high - low < MIN_SPAN:  # drawn as zeros
        low = high = 0.0
    # Four to six lines at round numbers; one where all values are 0, or where they overflow. 0.999
    # and the rounding keep an error of floating point from adding a line.
    line, count = (high - low) / 4, 1
    if 0 < line < MAX_SPAN:
        unit = 10.0 ** math.floor(math.log10(line))
        line = unit * next(n for n in (1, 2, 2.5, 5, 10) if unit * n >= line * 0.999)
        low, high = math.floor(low / line) * line, math.ceil(round(high / line, 9)) * line
        count = round((high - low) / line) + 1
    # Pixels of one unit of the values, and of one label of the axis.
    height = (HEIGHT - TOP_SPACE - BOTTOM_SPACE) / ((high - low) or 1)
    step = (WIDTH - LEFT_SPACE - RIGHT_SPACE) / len(chart.labels)

    def scale(value: float) -> float:
        return TOP_SPACE + (high - value) * height

    parts = []
    for n in range(count):
        at = low + line * n
        y = scale(at)
        parts.append(f'<path class="grid" d="M{LEFT_SPACE} {y:.1f}H{WIDTH - RIGHT_SPACE}"/>')
        text = escape(_format_tick(at, chart))
        parts.append(f'<text x="{LEFT_SPACE - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    # The pixels that a label needs: so many that there are at most MAX_X_LABELS, and that the
    # longest one does not touch its neighbour. Labels in between are left out.
    longest = min(X_LABEL_CHARACTERS, max(map(len, chart.labels)))
    room = max(len(chart.labels) * step / MAX_X_LABELS, longest * LETTER_WIDTH)
    # Less a tiny part: a rounding error must not skip every second label.
    every = math.ceil(room / step - 1e-9)
    for n, label in enumerate(chart.labels[::every]):
        short = label[: X_LABEL_CHARACTERS - 1] + "…" if len(label) > X_LABEL_CHARACTERS else label
        middle = WIDTH - len(short) * LETTER_WIDTH / 2  # of the last place where it is not cut
        x = min(LEFT_SPACE + (n * every + 0.5) * step, middle)
        # A phone has room for every second label.
        style = ' class="minor"' if n % 2 else ""
        parts.append(
            f'<text{style} x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(short)}'
            "</text>"
        )
    for n, series in enumerate(chart.series):
        colour = f"c{n % COLOURS}"
        if chart.kind == "bar":
            parts += _draw_bars(chart, series, colour, scale, step, n)
        else:
            parts += _draw_line(chart, series, colour, scale, step)
    return "".join(parts)


def _draw_bars(
    chart: Chart, series: Series, colour: str, scale: Scale, step: float, n: int
) -> Iterator[str]:
    """Yield the SVG of a bar for each value, with the value above it if they are few. `scale`
    returns the height of a value in pixels, `step` is the room of a label with the bars of all
    series beside each other, and `n` the number of this series."""
    # A tenth of the room stays free on each side, and more beside a single day.
    width = min(step * 0.8 / len(chart.series), MAX_BAR_WIDTH)
    shows_values = len(chart.labels) * len(chart.series) <= MAX_VALUES_SHOWN
    for at, value in enumerate(series.values):
        if value is None:
            continue
        x = LEFT_SPACE + step * (at + 0.5) + (n - len(chart.series) / 2) * width
        top = scale(value)
        shape = f"M{x:.1f} {scale(0):.1f}h{width:.1f}V{top:.1f}h{-width:.1f}Z"
        yield f'<path class="bar {colour}" d="{shape}">{_tip(chart, series, at)}</path>'
        if shows_values:
            label, y = escape(series.texts[at]), min(top, scale(0)) - 4
            yield (
                f'<text class="value" x="{x + width / 2:.1f}" y="{y:.1f}" '
                f'text-anchor="middle">{label}</text>'
            )


def _draw_line(
    chart: Chart, series: Series, colour: str, scale: Scale, step: float
) -> Iterator[str]:
    """Yield the SVG of a line through the values, which ends where one is missing, and of a point
    for each. In a chart of areas, the area under the line comes first. `scale` returns the height
    of a value in pixels, `step` is the room of a label."""
    points = {
        at: (LEFT_SPACE + step * (at + 0.5), scale(value))
        for at, value in enumerate(series.values)
        if value is not None
    }
    runs = list[list[tuple[float, float]]]()
    for at, point in points.items():
        # After a missing value, a new line begins.
        if at - 1 not in points:
            runs.append([])
        runs[-1].append(point)
    lines = ["M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs]
    if chart.kind == "area":
        # Each line is closed along the zero line.
        floor = scale(0)
        shapes = (
            f"{line}V{floor:.1f}H{run[0][0]:.1f}Z" for line, run in zip(lines, runs, strict=True)
        )
        yield f'<path class="area {colour}" d="{"".join(shapes)}"/>'
    yield f'<path class="line {colour}" d="{"".join(lines)}"/>'
    for at, (x, y) in points.items():
        tip = _tip(chart, series, at)
        yield f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{tip}</circle>'


def _tip(chart: Chart, series: Series, at: int) -> str:
    names = [chart.labels[at], *([series.name] if len(chart.series) > 1 else [])]
    return f"<title>{escape(' · '.join(names))}: {escape(series.texts[at])}</title>"


def _format_tick(value: float, chart: Chart) -> str:
    """Series with several units, or with a format that has none, give a plain number."""
    number = float(f"{value:.4g}")  # without the rounding errors of a sum
    formats = {series.format for series in chart.series}
    format = formats.pop() if len(formats) == 1 else ""
    if format_kind(format) not in ("currency", "percent", "duration"):
        return format_number(number)
    # A format may end with the number of decimals, which a whole number does not need.
    places = format.rpartition(" ")[2]
    if places.isdecimal() and number.is_integer():
        format = f"{format.removesuffix(places)}0"
    return format_amount(Decimal(str(number)), format)


def _draw_pie(chart: Chart) -> str:
    """Return the SVG of a pie: one path for each value, which begins at twelve o'clock and goes on
    clockwise."""
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
            f'A{radius} {radius} 0 {large} 1 {to_x:.2f} {to_y:.2f}Z">'
            f"{_tip(chart, chart.series[0], n)}</path>"
        )
    return "".join(parts)
