"""The page `/usage`: a bar for each of the last thirty days, for admins, drawn without a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from adapters.web.adapter import Site
from adapters.web.http_io import visitor_of
from adapters.web.routing import RouteGroup, endpoint
from core.domain.errors import NotFound
from core.rights.allowances import describe_estimates
from core.text.i18n import LANGUAGE, format_money, format_number, say

CHART_DAYS = 30
CHART_WIDTH, CHART_HEIGHT, BAR_WIDTH, LABEL_HEIGHT = 720, 160, 24, 18
"""Sizes of the drawing in its own units. Each day has a bar; its number is printed below it."""
Row = Mapping[str, Any]
USAGE_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'"
)


class UsageRoutes(RouteGroup):
    """The route of the usage page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @endpoint("GET", "/usage", media=("text/html",), refuses=(404,))
    async def chart(self, request: Request) -> Response:
        """Return an HTML page with the usage of each of the last 30 days. Raises NotAllowed,
        NotFound."""
        await self._site.check_is_operator(visitor_of(request).person)
        if self._site.usage is None:
            raise NotFound(what="metrics")
        today = datetime.now(ZoneInfo(self._site.time_zone)).date()
        days = [today - timedelta(days=back) for back in range(CHART_DAYS - 1, -1, -1)]
        rows = {row["name"]: row for row in await self._site.usage(days[0].isoformat())}
        page = render_page([(day, rows.get(day.isoformat(), {})) for day in days])
        return HTMLResponse(page, headers={"Content-Security-Policy": USAGE_SECURITY_POLICY})


def render_page(days: Sequence[tuple[date, Row]]) -> str:
    """Return the page. `days` are days with their rows of a report (`Budget.report`), oldest first.

    The bars show money if prices are known, else tokens, else turns.
    """
    measures: Sequence[tuple[str, Callable[[Row], float]]] = (
        (say("US dollars"), cost_of), (say("tokens"), tokens_of), (say("messages"), turns_of),
    )  # fmt: skip
    charts = [(word, [measure(row) for _, row in days]) for word, measure in measures]
    of, values = next((chart for chart in charts if any(chart[1])), charts[0])
    title = escape(say("Usage in the last {days} days", days=CHART_DAYS))
    head = "".join(
        f'<th scope="col">{escape(word)}</th>'
        for word in (say("day"), say("messages"), say("tokens"), say("US dollars"))
    )
    body = "".join(_table_row(day, row) for day, row in reversed(days) if row)
    most = format_number(round(max(values), 2))
    estimated = sum(int(row.get("estimated") or 0) for _, row in days)
    note = f"<p>{escape(describe_estimates(estimated))}</p>" if estimated else ""
    return (
        f'<!doctype html><html lang="{LANGUAGE.get()}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="/page/ponte.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/page/ponte.css">'
        '<link rel="stylesheet" href="/page/admin.css"><body class="report">'
        f'<header><h1>{title}</h1><a href="/">Ponte</a></header><main><figure>'
        f"<figcaption>{escape(of)} (≤ {most})</figcaption>"
        f"{draw_chart([day for day, _ in days], values, title)}</figure>"
        f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
        f"</div>{note}</main></body></html>"
    )


def draw_chart(days: Sequence[date], values: Sequence[float], title: str) -> str:
    """Return an SVG drawing of bars over the days. The table next to it has the numbers."""
    most = max(values, default=0) or 1
    base = CHART_HEIGHT - LABEL_HEIGHT
    bars = []
    for n, (day, value) in enumerate(zip(days, values, strict=True)):
        height = round(base * value / most, 1)
        bars.append(
            f'<rect x="{n * BAR_WIDTH + 3}" y="{base - height}"'
            f' width="{BAR_WIDTH - 6}" height="{height}"/>'
            f'<text x="{n * BAR_WIDTH + BAR_WIDTH // 2}" y="{CHART_HEIGHT - 4}">{day.day}</text>'
        )
    return (
        f'<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{title}">'
        f"{''.join(bars)}</svg>"
    )


def cost_of(row: Row) -> float:
    """Return the cost of a report's row in US dollars, 0 if it is unknown."""
    return float(row.get("cost") or 0)


def turns_of(row: Row) -> int:
    """Return the number of turns of a report's row."""
    return int(row.get("turns") or 0)


def tokens_of(row: Row) -> int:
    """Return the number of input and output tokens of a report's row."""
    return int(row.get("input") or 0) + int(row.get("output") or 0)


def _table_row(day: date, row: Row) -> str:
    spent = "–" if row.get("cost") is None else format_money(cost_of(row))
    cells = (day.isoformat(), format_number(turns_of(row)), format_number(tokens_of(row)), spent)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
