"""Charts as the page draws them: marks with their values, the unit, gaps."""

from __future__ import annotations

import re
from itertools import pairwise

from adapters.web.page.chart import draw_chart
from adapters.web.page.render import to_html
from core.base.i18n import use_locale
from core.domain.rows import Chart, Series

MONTHS = ("Jul 2026", "Aug 2026", "Sep 2026")


def test_few_bars_have_their_values_and_the_axis_has_the_unit() -> None:
    texts = ("€1,200.00", "–", "€<b>")
    chart = Chart(
        "bar", "Sales", MONTHS, (Series("Sum", (1200.0, None, 2500.0), texts, "currency EUR 2"),)
    )
    drawing = draw_chart(chart, "")
    assert re.findall(r'class="bar c0"[^>]*><title>([^<]+)</title>', drawing) == [
        "Jul 2026: €1,200.00", "Sep 2026: €&lt;b&gt;",
    ]  # fmt: skip
    assert re.findall(r'class="value"[^>]*>([^<]+)<', drawing) == ["€1,200.00", "€&lt;b&gt;"]
    ticks = re.findall(r'text-anchor="end">([^<]+)<', drawing)
    assert ticks == ["€0", "€1,000", "€2,000", "€3,000"]
    with use_locale("pt-BR"):
        assert "R$\xa01.000" in draw_chart(
            Chart(
                "bar",
                "Vendas",
                MONTHS,
                (Series("Soma", (1200.0, 1.0, 2500.0), texts, "currency BRL 2"),),
            ),
            "",
        )


def test_the_bar_of_a_single_day_is_narrow_and_in_the_middle() -> None:
    days = Series("Turns", (12.0,), ("12",))
    drawing = draw_chart(Chart("bar", "Days", ("Nov 30",), (days,)), "")
    ((x, width),) = re.findall(r'class="bar c0" d="M([\d.]+) [\d.]+h([\d.]+)V', drawing)
    assert (float(x) + float(width) / 2, float(width)) == (356.0, 64.0)
    assert 'x="356.0" y="290" text-anchor="middle">Nov 30<' in drawing


def test_many_bars_have_none_and_two_series_name_themselves() -> None:
    labels = tuple(f"d{n}" for n in range(7))
    values = tuple(map(float, range(7)))
    two = tuple(Series(name, values, tuple(map(str, range(7)))) for name in ("In", "Out"))
    drawing = draw_chart(Chart("bar", "Flow", labels, two), "")
    assert 'class="value"' not in drawing
    assert "<title>d3 · Out: 3</title>" in drawing


def test_a_line_ends_where_a_day_has_no_value() -> None:
    values = (1.0, 2.0, None, None, 3.0)
    series = Series("Orders", values, ("1", "2", "–", "–", "3"))
    for kind in ("line", "area"):
        drawing = draw_chart(Chart(kind, "Orders", tuple("abcde"), (series,)), "")
        (line,) = re.findall(r'class="line c0" d="([^"]+)"', drawing)
        assert line.count("M") == 2
        assert drawing.count("<circle") == 3


def test_an_address_that_is_no_link_is_text() -> None:
    """Elsewhere it must be code, so that no platform makes a link of it."""
    html = to_html("`https://evil.example/x` `ana@example.com` `x = 1`")
    assert html == '<p dir="auto">https://evil.example/x ana@example.com <code>x = 1</code></p>\n'


def test_labels_of_days_do_not_touch_and_a_pie_says_its_values() -> None:
    labels = tuple(f"Nov {n}, 2026" for n in range(1, 29))
    days = Series("Orders", (1.0,) * 28, ("1",) * 28)
    drawing = draw_chart(Chart("line", "Days", labels, (days,)), "")
    places = re.findall(r'x="([\d.]+)" y="290"', drawing)
    gaps = {round(float(b) - float(a)) for a, b in pairwise(places)}
    assert min(gaps) >= 11 * 7, "eleven letters of 7 pixels"
    parts = Series("Rows", (65.0, 13.0), ("65", "13"))
    drawing = draw_chart(Chart("pie", "Status", ("Paid", "Open"), (parts,)), "")
    assert '<li class="c0">Paid: 65</li><li class="c1">Open: 13</li>' in drawing
