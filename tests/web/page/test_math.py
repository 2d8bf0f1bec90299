"""Formulas in answers: shown by files of ours, which are fetched for them alone."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Request, expect

from core.domain.messages import Answer
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = r"""# Areas
The area is $\pi r^2$ and \(a^2\). Prices are $5 and $10.

$$
\int_0^1 x^2\,dx = \frac{1}{3}
$$

\[\begin{pmatrix} a & b \\ c & d \end{pmatrix}\]

## A broken one
$\frac{1}{$ and $\href{javascript:alert(1)}{x}$ and $\def\a{\a\a}\a$
"""


async def test_formulas_are_shown_and_fetched_only_then(ponte: WebPonte, page: Page) -> None:
    questions: list[str] = []

    def on_request(request: Request) -> None:
        questions.append(request.url.rpartition("/")[2])

    page.on("request", on_request)
    await say(page, "prices are $5 and $10")
    await expect(page.locator(".body")).to_have_text("You said: prices are $5 and $10")
    assert "math.js" not in questions
    ponte.answers(Answer(TEXT))
    await say(page, "math?")
    await expect(page.locator("math")).to_have_count(4)
    assert {"math.js", "math.css", "temml.min.js"} <= set(questions)
    page.remove_listener("request", on_request)
    await expect(page.locator("math mfrac")).to_have_count(1)
    await expect(page.locator(".body").last).to_contain_text("Prices are $5 and $10.")
    await expect(page.locator("div.math").first).to_have_accessible_name("Formula")
    await expect(page.locator(".math").last).to_have_text(r"$\def\a{\a\a}\a$")
    assert await page.locator("math a, math [href]").count() == 0


async def test_formulas_look_right_in_both_themes(ponte: WebPonte, axe_tab: Page) -> None:
    ponte.answers(Answer(TEXT))
    await visit(axe_tab, ponte.link)
    await say(axe_tab, "math?")
    await expect(axe_tab.locator("math")).to_have_count(4)
    source = axe_source()
    for width, dark in ((1280, False), (390, True)):
        await resize(axe_tab, width, dark=dark)
        assert await findings(axe_tab, source) == []
        assert await axe_tab.evaluate("document.documentElement.scrollWidth") <= width
