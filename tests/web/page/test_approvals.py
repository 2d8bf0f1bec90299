"""The inbox of requests that wait for the reader: the badge, the list, and the chosen card."""

from __future__ import annotations

from dataclasses import replace
from string import ascii_lowercase

import pytest
from playwright.async_api import Locator, Page, expect

from core.domain.changes import Change, ChangeState, Draft, Proposal
from core.domain.messages import Address, Answer, Card, ChangeAction, Person
from tests.fakes.card_rows import card_row
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL: tuple[ChangeAction, ...] = ("approve", "change", "deny")
ROWS = (card_row({"Name": "Ann", "City": "Lisbon"}, {"Name": "Ann", "City": "Porto"}),)
TITLES = {"abc234": "Change a row in Customers", "def567": "Delete a row in Orders"}


def request(id: str, address: Address, asker: str = "Ana") -> tuple[Change, Card]:
    draft = Draft("memory", "update", {}, "Customers", ())
    person = Person(address.platform, "x", name=asker)
    proposal = Proposal(id, draft, person, address, 1, "c", "t", 1, "en", 0, 2e9)
    card = Card(
        id, "proposal", TITLES.get(id, id), "Requested by Ana.", ROWS, ALL, "open", 2e9, label="Go"
    )
    return Change(proposal), card


def waits(ponte: WebPonte, *ids: str) -> None:
    """Have these requests wait for the owner."""
    places = {"abc234": Address("web", "work"), "def567": Address("slack", "C1", "T1")}
    ponte.board.pending["web:owner"] = [
        request(id, places.get(id, Address("web", "work"))) for id in ids
    ]
    ponte.board.announce_requests()


def ends(ponte: WebPonte, id: str, state: ChangeState, text: str) -> Card:
    """Have a request wait no longer."""
    pending = ponte.board.pending["web:owner"]
    ponte.board.pending["web:owner"] = [one for one in pending if one[0].id != id]
    card = Card(id, "change", TITLES.get(id, id), text, ROWS, (), state)
    ponte.board.decided.append(card)
    ponte.board.announce_requests()
    return card


def revises(ponte: WebPonte, id: str) -> None:
    """Have somebody else change the values of a request."""
    ponte.board.pending["web:owner"] = [
        (
            replace(change, proposal=replace(change.proposal, revision=2)),
            replace(card, revision=2, text="Version 2, changed by Bia."),
        )
        if card.id == id
        else (change, card)
        for change, card in ponte.board.pending["web:owner"]
    ]
    ponte.board.announce_requests()


def decides(ponte: WebPonte, status: str = "done") -> None:
    async def script(turn: Turn) -> Answer:
        word, id, *others = turn.message.text.split()
        if status != "done":
            return Answer("Someone else must approve it.", "failed", code="forbidden")
        state: ChangeState = "done" if word == "approve" else "denied"
        text = {"done": "Approved by you. Done.", "denied": "Denied by you."}[state]
        cards = [ends(ponte, one.partition(".")[0], state, text) for one in (id, *others)]
        if others:
            return Answer("Approved.", has_own_post=True)
        return Answer(text, cards=tuple(cards))

    ponte.script = script


def row(page: Page, id: str) -> Locator:
    return page.locator(f"#requests-list [data-of={id}]")


def card_of(page: Page, id: str) -> Locator:
    return page.locator(f"#requests [data-card={id}]")


async def test_the_list_says_who_where_and_how_old_and_keys_choose_and_open(
    ponte: WebPonte, page: Page
) -> None:
    waits(ponte, "abc234", "def567")
    await page.locator("#approvals").focus()
    await page.keyboard.press("Enter")
    await expect(row(page, "abc234")).to_be_focused()
    await expect(row(page, "abc234")).to_contain_text("Change a row in Customers")
    await expect(row(page, "abc234").locator(".hint")).to_contain_text("Ana · This page · ")
    await expect(row(page, "def567").locator(".hint")).to_contain_text("Ana · Slack · ")
    await expect(row(page, "def567").locator(".unseen")).to_have_text("Not opened yet")
    await page.keyboard.press("ArrowDown")
    await expect(row(page, "def567")).to_be_focused()
    await expect(card_of(page, "def567")).to_be_visible()
    await expect(card_of(page, "abc234")).to_be_hidden()
    await expect(card_of(page, "def567").locator(".approve")).to_be_hidden()
    await page.keyboard.press("Enter")
    await expect(card_of(page, "def567")).to_be_focused()
    for action in ("deny", "change", "approve"):
        await page.keyboard.press("Tab")
        await expect(card_of(page, "def567").locator(f"[data-action={action}]")).to_be_focused()
    await expect(row(page, "def567").locator(".unseen")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(row(page, "def567")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("#requests")).to_be_hidden()


async def test_no_letter_decides(ponte: WebPonte, page: Page) -> None:
    decides(ponte)
    waits(ponte, "abc234", "def567")
    await page.locator("#approvals").click()
    await expect(row(page, "abc234")).to_be_focused()
    for part in (row(page, "abc234"), card_of(page, "abc234")):
        await expect(part).to_be_focused()
        for letter in ascii_lowercase:
            await page.keyboard.press(letter)
            await page.keyboard.press(letter.upper())
        await page.keyboard.press("Enter")
    await expect(page.locator("#requests form textarea")).to_have_count(0)
    await card_of(page, "abc234").locator(".approve").click()
    await expect(card_of(page, "abc234").locator(".state strong")).to_have_text("done")
    assert [entry.message.text for entry in ponte.rows.values()] == ["approve abc234"]


async def test_a_single_request_opens_at_once(ponte: WebPonte, page: Page) -> None:
    decides(ponte)
    badge = page.locator("#approvals")
    await expect(badge).to_be_hidden()
    waits(ponte, "abc234")
    await expect(badge).to_have_accessible_name("Approvals: 1 waiting for you")
    await badge.click()
    card = card_of(page, "abc234")
    await expect(card).to_be_focused()
    await expect(card.locator("ins")).to_have_text("Porto")
    await expect(card.get_by_role("button")).to_have_text(["Deny", "Change…", "Go"])
    link = page.locator("#requests").get_by_role("link")
    await expect(link).to_have_attribute("href", "#work")
    await card.locator(".approve").click()
    await expect(card.locator(".state strong")).to_have_text("done")
    await expect(row(page, "abc234").locator(".hint")).to_have_text("Ana · This page · done")
    await expect(badge.locator(".count")).to_have_text("0")
    assert [entry.message.address.conversation for entry in ponte.rows.values()] == ["web:work"]
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await expect(badge).to_be_hidden()


async def test_next_leads_to_what_still_waits_and_a_phone_shows_one_after_the_other(
    ponte: WebPonte, page: Page
) -> None:
    decides(ponte)
    waits(ponte, "abc234", "def567", "ghi234")
    await resize(page, 390)
    await page.locator("#approvals").click()
    await expect(row(page, "abc234")).to_be_focused()
    await expect(card_of(page, "abc234")).to_be_hidden()
    await page.locator("#requests-list [data-of=abc234]").click()
    await expect(card_of(page, "abc234")).to_be_focused()
    await expect(row(page, "abc234")).to_be_hidden()
    await card_of(page, "abc234").locator(".deny").click()
    await page.locator("#requests form.reason").get_by_role("button", name="Deny").click()
    await expect(card_of(page, "abc234").locator(".state strong")).to_have_text("denied")
    for id in ("def567", "ghi234", "def567"):
        await page.get_by_role("button", name="Next request").click()
        await expect(card_of(page, id)).to_be_focused()
    await page.get_by_role("button", name="Back to the list").click()
    await expect(row(page, "def567")).to_be_focused()
    await expect(card_of(page, "def567")).to_be_hidden()
    await resize(page, 1280)


async def test_a_press_on_its_title_opens_a_request_and_a_newer_version_is_opened_again(
    ponte: WebPonte, page: Page
) -> None:
    decides(ponte)
    waits(ponte, "abc234", "def567")
    await page.locator("#approvals").click()
    await expect(row(page, "abc234")).to_be_focused()
    box = await row(page, "def567").locator("strong").bounding_box()
    assert box
    await page.mouse.click(box["x"] + 5, box["y"] + 5)
    await expect(card_of(page, "def567")).to_be_focused()
    await expect(card_of(page, "def567").locator(".approve")).to_be_visible()
    revises(ponte, "def567")
    full = page.get_by_role("button", name="Open in full")
    await expect(full).to_be_focused()
    await expect(card_of(page, "def567").locator(".approve")).to_be_hidden()
    await full.press("Enter")
    await card_of(page, "def567").locator(".approve").click()
    await expect(card_of(page, "def567").locator(".state strong")).to_have_text("done")


async def test_one_press_approves_what_was_opened_of_a_table_and_nothing_newer(
    ponte: WebPonte, page: Page
) -> None:
    decides(ponte)
    ids = ["abc234", "def567", *(f"xyz{letter}23" for letter in ascii_lowercase[:10])]
    waits(ponte, *ids)
    await page.locator("#approvals").click()
    together, hint = (
        page.locator("#requests-together button"),
        "first open each one in full (up to 10)",
    )
    await expect(page.locator("#requests")).to_contain_text(hint)
    await expect(together).to_have_count(0)
    for id in ids[:3]:
        await row(page, id).click()
    await expect(together).to_have_text("Approve the 3 you opened in Customers")
    revises(ponte, "def567")
    await expect(row(page, "def567").locator(".unseen")).to_have_text("Not opened yet")
    await expect(together).to_have_text("Approve the 2 you opened in Customers")
    for id in ids[3:]:
        await row(page, id).click()
    await expect(together).to_have_text("Approve the 10 you opened in Customers")
    async with page.expect_request("**/cards/abc234") as sent:
        await together.click()
    body = (await sent.value).post_data_json or {}
    assert (body["action"], body["revision"]) == ("approve", 1)
    assert body["others"] == [f"{id}.1" for id in ids[2:11]]
    await expect(card_of(page, "abc234").locator(".state strong")).to_have_text("done")
    await expect(row(page, "xyzi23").locator(".hint")).to_contain_text("done")
    await expect(page.locator("#approvals-count")).to_have_text("2")
    await row(page, "def567").click()
    await expect(together).to_have_text("Approve all 2 in Customers")


async def test_what_others_decide_is_shown_where_it_was_opened(ponte: WebPonte, page: Page) -> None:
    waits(ponte, "abc234", "def567", "ghi234")
    await page.locator("#approvals").click()
    await row(page, "abc234").click()
    await expect(card_of(page, "abc234")).to_be_focused()
    ends(ponte, "def567", "denied", "Denied by Bia.")
    await expect(row(page, "def567")).to_have_count(0)
    ends(ponte, "abc234", "done", "Approved by Bia.")
    await expect(card_of(page, "abc234").locator(".words")).to_have_text("Approved by Bia.")
    await expect(card_of(page, "abc234").get_by_role("button")).to_have_count(0)
    await expect(card_of(page, "abc234")).to_be_focused()
    await expect(page.locator("#approvals-count")).to_have_text("1")
    await row(page, "ghi234").focus()
    ends(ponte, "ghi234", "expired", "Expired: no one approved it within 24 hours.")
    await expect(row(page, "ghi234")).to_have_count(0)
    await expect(row(page, "abc234")).to_be_focused()
    await page.reload()
    await page.wait_for_selector("#list[aria-busy=false]", state="attached")
    await expect(page.locator("#approvals")).to_be_hidden()


async def test_the_first_of_two_approvals_leaves_the_request_to_others(
    ponte: WebPonte, page: Page
) -> None:
    waits(ponte, "abc234")

    async def script(turn: Turn) -> Answer:
        card = request("abc234", Address("web", "work"))[1]
        card = replace(card, actions=("deny",), text="1 of 2 approvals, by you.")
        ponte.board.pending["web:owner"], ponte.board.decided = [], [card]
        ponte.board.announce_requests()
        return Answer("", cards=(card,))

    ponte.script = script
    await page.locator("#approvals").click()
    card = card_of(page, "abc234")
    await card.locator(".approve").click()
    await expect(card.locator(".words")).to_have_text("1 of 2 approvals, by you.")
    await expect(row(page, "abc234").locator(".hint")).to_contain_text("waiting for someone else")
    await expect(page.locator("#approvals-count")).to_have_text("0")
    ponte.board.decided = [replace(ponte.board.decided[0], actions=(), state="done")]
    waits(ponte, "def567")
    await expect(row(page, "abc234").locator(".hint")).to_contain_text("done")


async def test_an_empty_or_unreachable_list_says_so(ponte: WebPonte, page: Page) -> None:
    waits(ponte, "abc234")
    await expect(page.locator("#approvals")).to_be_visible()
    await page.route("**/approvals", lambda route: route.abort())
    await page.locator("#approvals").click()
    status = page.locator("#requests-none")
    await expect(status).to_contain_text("No connection to Ponte.")
    await expect(page.get_by_role("button", name="Open in full")).to_have_count(0)
    await expect(page.get_by_role("button", name="Next request")).to_be_disabled()
    await page.unroute("**/approvals")
    ponte.board.pending["web:owner"] = []
    await status.get_by_role("button", name="Try again").click()
    await expect(status).to_have_text("No requests are waiting for you.")


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
    await say(page, "change it")
    await expect(page.locator("#log .card")).to_have_count(1)
    waits(ponte, "abc234")
    await page.locator("#approvals").click()
    await expect(page.locator("#requests .card")).to_be_focused()
    decides(ponte, "refused")
    await page.locator("#requests").get_by_role("button", name="Deny").click()
    await page.locator("#requests form.reason").get_by_role("button", name="Deny").click()
    for place in ("#requests", "#log"):
        note = page.locator(f"{place} .card .note")
        await expect(note).to_have_text("Someone else must approve it.")
        await expect(page.locator(f"{place} .card .deny")).to_be_enabled()
    decides(ponte)
    await page.locator("#requests .card .approve").click()
    for place in ("#requests", "#log"):
        await expect(page.locator(f"{place} .card .state strong")).to_have_text("done")


async def test_a_wide_table_scrolls_within_its_card(ponte: WebPonte, page: Page) -> None:
    waits(ponte, "abc234")
    old, new = (dict.fromkeys(("Name", "City", "Notes"), text * 900) for text in "ab")
    change, card = ponte.board.pending["web:owner"][0]
    ponte.board.pending["web:owner"] = [(change, replace(card, rows=(card_row(old, new),) * 3))]
    await page.locator("#approvals").click()
    await expect(card_of(page, "abc234")).to_be_focused()
    await expect(card_of(page, "abc234").locator("tbody tr")).to_have_count(3)
    inside = "e => e.scrollWidth <= e.clientWidth"
    assert await page.locator("#requests-cards").evaluate(inside)


async def test_the_list_looks_right_and_axe_finds_nothing(ponte: WebPonte, axe_tab: Page) -> None:
    source, page = axe_source(), axe_tab
    await visit(page, ponte.link)
    waits(ponte, "abc234", "def567")
    for width, dark in ((1280, False), (390, True)):
        await resize(page, width, dark=dark)
        await page.locator("#approvals").click()
        await expect(row(page, "abc234")).to_be_focused()
        assert await findings(page, source) == []
        await page.keyboard.press("Enter")
        await expect(card_of(page, "abc234")).to_be_focused()
        assert await findings(page, source) == []
        wide = "document.querySelector('#requests').scrollWidth <= innerWidth"
        assert await page.evaluate(wide)
        await page.keyboard.press("Escape")
        await expect(row(page, "abc234")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.locator("#requests")).to_be_hidden()
