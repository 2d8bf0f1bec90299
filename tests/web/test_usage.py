"""The page of what was spent, which admins alone see."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from adapters.web.usage_page import CHART_DAYS, render_page
from tests.web.web_ponte import WebPonte


async def test_a_bar_for_each_day_and_the_numbers_beside_it(
    ponte: WebPonte, client: httpx.AsyncClient
) -> None:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in (0, 1, CHART_DAYS + 5)]
    ponte.usage = [
        {"name": day.isoformat(), "turns": 3, "input": 1500, "output": 20, "cost": 0.25}
        for day in days
    ]
    said = await client.get("/usage")
    assert said.status_code == 200
    assert said.headers["content-type"] == "text/html; charset=utf-8"
    policy = said.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';"), "no script at all"
    assert said.text.count("<rect ") == CHART_DAYS
    assert said.text.count("<td>1,520</td><td>$0.25</td>") == 2, "what is older is left out"
    assert "<script" not in said.text
    assert "style=" not in said.text, "the policy takes none"


async def test_the_usage_page_needs_a_session(ponte: WebPonte) -> None:
    async with ponte.stranger() as somebody:
        assert (await somebody.get("/usage")).status_code == 401


@pytest.mark.parametrize("path", ["/usage", "/me/tokens"])
async def test_the_socket_has_no_usage_page_and_no_api_tokens(ponte: WebPonte, path: str) -> None:
    async with ponte.terminal_client() as terminal:
        said = await terminal.get(path)
    assert (said.status_code, said.json()["error"]["code"]) == (404, "not_found")


def test_without_prices_the_bars_are_tokens() -> None:
    today = datetime.now(UTC).date()
    drawn = render_page([(today, {"turns": 1, "input": 5, "output": 5, "cost": None})])
    assert "<td>10</td><td>–</td>" in drawn
    assert 'height="142.0"' in drawn
    assert "<figcaption>tokens (≤ 10)</figcaption>" in drawn


def test_without_tokens_the_bars_are_turns() -> None:
    today = datetime.now(UTC).date()
    drawn = render_page([(today, {"turns": 4, "input": 0, "output": 0, "cost": None})])
    assert 'height="142.0"' in drawn
    assert "<figcaption>messages (≤ 4)</figcaption>" in drawn


def test_amounts_that_are_estimates_are_told_under_the_table() -> None:
    today = date(2026, 11, 20)
    row = {"turns": 4, "input": 5, "output": 5, "cost": 0.5}
    assert "estimate" not in render_page([(today, {**row, "estimated": 0})])
    drawn = render_page([(today, {**row, "estimated": 2}), (today, {**row, "estimated": 1})])
    assert "<p>The costs of 3 calls are upper estimates" in drawn
