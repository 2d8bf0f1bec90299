"""What was spent, a bar for each of the last thirty days: for admins, drawn without a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from adapters.web.adapter import Site
from adapters.web.requests import visitor_of
from core.domain.errors import NotFound
from core.rights.allowances import describe_estimates
from core.text.i18n import LANGUAGE, format_money, format_number, say

DAYS = 30
WIDE, HIGH, BAR, FOOT = 720, 160, 24, 18
"""Of the drawing, in its own units; each day has a `BAR`, and its number stands in the `FOOT`."""
Row = Mapping[str, Any]
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'"


class UsageRoutes:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [Route("/usage", self.chart, methods=["GET"])]

    async def chart(self, request: Request) -> Response:
        """What was used in each of the last 30 days, as HTML. Raises NotAllowed, NotFound."""
        await self._site.check_operates(visitor_of(request).person)
        if self._site.usage is None:
            raise NotFound(what="metrics")
        today = datetime.now(ZoneInfo(self._site.time_zone)).date()
        days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
        rows = {row["name"]: row for row in await self._site.usage(days[0].isoformat())}
        told = page([(day, rows.get(day.isoformat(), {})) for day in days])
        return HTMLResponse(told, headers={"Content-Security-Policy": POLICY})


def page(days: Sequence[tuple[date, Row]]) -> str:
    """`days` with their rows of a report (`Budget.report`), the oldest first. The bars are of money
    where prices are known, else of tokens, else of turns."""
    measures: Sequence[tuple[str, Callable[[Row], float]]] = (
        (say("US dollars"), cost), (say("tokens"), tokens), (say("turns"), turns),
    )  # fmt: skip
    charts = [(word, [measure(row) for _, row in days]) for word, measure in measures]
    of, values = next((chart for chart in charts if any(chart[1])), charts[0])
    title = escape(say("What was used in the last {days} days", days=DAYS))
    head = "".join(
        f'<th scope="col">{escape(word)}</th>'
        for word in (say("day"), say("turns"), say("tokens"), say("US dollars"))
    )
    body = "".join(_line(day, row) for day, row in reversed(days) if row)
    most = format_number(round(max(values), 2))
    estimated = sum(int(row.get("estimated") or 0) for _, row in days)
    note = f"<p>{escape(describe_estimates(estimated))}</p>" if estimated else ""
    return (
        f'<!doctype html><html lang="{LANGUAGE.get()}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="/page/ponte.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/page/ponte.css"><body class="report">'
        f'<header><h1>{title}</h1><a href="/">Ponte</a></header><main><figure>'
        f"<figcaption>{escape(of)} (≤ {most})</figcaption>"
        f"{drawing([day for day, _ in days], values, title)}</figure>"
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div>{note}</main></body></html>"
    )


def drawing(days: Sequence[date], values: Sequence[float], title: str) -> str:
    """Bars over the days of the month; the table beside it says the numbers."""
    most = max(values, default=0) or 1
    bars = []
    for n, (day, value) in enumerate(zip(days, values, strict=True)):
        tall = round((HIGH - FOOT) * value / most, 1)
        bars.append(
            f'<rect x="{n * BAR + 3}" y="{HIGH - FOOT - tall}" width="{BAR - 6}" height="{tall}"/>'
            f'<text x="{n * BAR + BAR // 2}" y="{HIGH - 4}">{day.day}</text>'
        )
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}">{"".join(bars)}</svg>'


def cost(row: Row) -> float:
    return float(row.get("cost") or 0)


def turns(row: Row) -> int:
    return int(row.get("turns") or 0)


def tokens(row: Row) -> int:
    return int(row.get("input") or 0) + int(row.get("output") or 0)


def _line(day: date, row: Row) -> str:
    spent = "–" if row.get("cost") is None else format_money(cost(row))
    cells = (day.isoformat(), format_number(turns(row)), format_number(tokens(row)), spent)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
