"""The list of requests that wait for the reader: the badge, the cards, and their buttons."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.domain.changes import Change, Draft, Proposal
from core.domain.messages import Address, Answer, Card, ChangeAction, Person
from tests.fakes.card_rows import card_row
from tests.web.page.browser import axe_source, findings, resize, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOTH: tuple[ChangeAction, ...] = ("approve", "deny")
ROWS = (card_row({"Name": "Ann", "City": "Lisbon"}, {"Name": "Ann", "City": "Porto"}),)
TITLES = {"abc234": "Change a row in Customers", "def567": "Delete a row in Orders"}


def request(id: str, address: Address) -> tuple[Change, Card]:
    draft = Draft("memory", "update", {}, "Customers", ())
    asker = Person(address.platform, "x", name="Ana")
    proposal = Proposal(id, draft, asker, address, 1, "c", "t", 1, "en", 0, 2e9)
    card = Card(id, "proposal", TITLES.get(id, id), "Requested by Ana.", ROWS, BOTH, "open", 2e9)
    return Change(proposal), card


def waits(ponte: WebPonte, *ids: str) -> None:
    """Have these requests wait for the owner."""
    places = {"abc234": Address("web", "work"), "def567": Address("slack", "C1", "T1")}
    ponte.board.pending["web:owner"] = [
        request(id, places.get(id, Address("web", "work"))) for id in ids
    ]
    ponte.board.announce_requests()


def decides(ponte: WebPonte, status: str = "done") -> None:
    async def script(turn: Turn) -> Answer:
        word, _, id = turn.message.text.partition(" ")
        if status != "done":
            return Answer("Someone else must approve it.", "failed", code="forbidden")
        ponte.board.pending["web:owner"] = [
            one for one in ponte.board.pending["web:owner"] if one[0].id != id
        ]
        ponte.board.announce_requests()
        state = "done" if word == "approve" else "denied"
        words = {"done": "Approved by you. Done.", "denied": "Denied by you."}[state]
        return Answer(words, cards=(Card(id, "change", TITLES[id], words, ROWS, (), state),))

    ponte.script = script


async def test_one_press_approves_what_is_shown_of_a_table_and_nothing_newer(
    ponte: WebPonte, page: Page
) -> None:
    decides(ponte)
    waits(ponte, "abc234", "def567")
    await page.locator("#approvals").click()
    dialog = page.locator("#requests")
    await expect(dialog.locator(".card")).to_have_count(2)
    assert await dialog.evaluate("e => e.querySelector('form button').textContent") == "Close"
    await expect(dialog.get_by_text("From Slack")).to_have_count(1)
    async with page.expect_request("**/cards/abc234") as sent:
        await dialog.get_by_role("button", name="Approve all 2 in Customers").click()
    body = (await sent.value).post_data_json or {}
    assert (body["action"], body["revision"], body["others"]) == ("approve", 1, ["def567.1"])


async def test_requests_are_counted_listed_and_decided(ponte: WebPonte, page: Page) -> None:
    decides(ponte)
    badge, dialog = page.locator("#approvals"), page.locator("#requests")
    await expect(badge).to_be_hidden()
    waits(ponte, "abc234")
    await expect(badge).to_have_accessible_name("Approvals: 1 waiting for you")
    await badge.click()
    card = dialog.locator("[data-card=abc234]")
    await expect(card.locator("ins")).to_have_text("Porto")
    await expect(card.get_by_role("button")).to_have_text(["Approve", "Deny"])
    await expect(dialog.get_by_role("link")).to_have_attribute("href", "#work")
    waits(ponte, "abc234", "def567")
    await expect(dialog.locator(".card")).to_have_count(2)
    await expect(dialog.get_by_role("link")).to_have_count(1)
    await card.get_by_role("button", name="Approve").click()
    await expect(card.locator(".state strong")).to_have_text("done")
    await expect(badge.locator(".count")).to_have_text("1")
    assert [row.message.address.conversation for row in ponte.rows.values()] == ["web:work"]
    other = dialog.locator("[data-card=def567]")
    await other.get_by_role("button", name="Deny").click()
    await other.locator("form").get_by_role("button", name="Deny").click()
    await expect(other.locator(".state strong")).to_have_text("denied")
    assert ponte.rows[2].message.address.conversation == "web:main", "the one that is open"
    await page.keyboard.press("Escape")
    await expect(badge).to_be_hidden()


async def test_requests_that_are_not_listed_are_counted(ponte: WebPonte, page: Page) -> None:
    ids = [f"abc2{number}" for number in range(22, 49)]
    waits(ponte, *ids)
    badge, dialog = page.locator("#approvals"), page.locator("#requests")
    await expect(badge).to_have_accessible_name("Approvals: 27 waiting for you")
    await badge.click()
    await expect(dialog.locator(".card")).to_have_count(20)
    await expect(dialog.get_by_text("7 more waiting for you")).to_be_visible()
    waits(ponte, *ids[:21])
    await expect(dialog.get_by_text("1 more waiting for you")).to_be_visible()
    waits(ponte, *ids[:20])
    await expect(dialog.get_by_text("more waiting for you")).to_have_count(0)


async def test_a_card_in_the_log_and_in_the_list_is_decided_in_both(
    ponte: WebPonte, page: Page
) -> None:
    ponte.answers(Answer("Shall I?", cards=(request("abc234", Address("web", "main"))[1],)))
    await page.fill("#text", "change it")
    await page.keyboard.press("Enter")
    await expect(page.locator("#log .card")).to_have_count(1)
    waits(ponte, "abc234")
    await page.locator("#approvals").click()
    await expect(page.locator("#requests .card")).to_have_count(1)
    decides(ponte, "refused")
    await page.locator("#requests").get_by_role("button", name="Deny").click()
    await page.locator("#requests form.reason").get_by_role("button", name="Deny").click()
    for place in ("#requests", "#log"):
        note = page.locator(f"{place} .card .note")
        await expect(note).to_have_text("Someone else must approve it.")
        await expect(page.locator(f"{place} .card .deny")).to_be_enabled()
    decides(ponte)
    await page.locator("#requests").get_by_role("button", name="Approve").click()
    for place in ("#requests", "#log"):
        await expect(page.locator(f"{place} .card .state strong")).to_have_text("done")


async def test_the_list_looks_right_and_axe_finds_nothing(ponte: WebPonte, axe_tab: Page) -> None:
    source, page = axe_source(), axe_tab
    await visit(page, ponte.link)
    waits(ponte, "abc234", "def567")
    for width, dark in ((1280, False), (390, True)):
        await resize(page, width, dark=dark)
        await page.locator("#approvals").click()
        await expect(page.locator("#requests .card")).to_have_count(2)
        assert await findings(page, source) == []
        wide = "document.querySelector('#requests').scrollWidth <= innerWidth"
        assert await page.evaluate(wide)
        await page.keyboard.press("Escape")
