"""Buttons of cards, pressed on the page of a whole bot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import bot
from tests.fakes.memory_table import MemoryTable
from tests.fakes.web_surfaces import make_page
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="session")


def update(*ids: str) -> str:
    """Return a message that makes the model propose a change of each of these rows."""
    lines = [{"rows": {id: {"Name": f"new {id}"}}} for id in ids]
    return "\n".join(f"call table_update {json.dumps(line)}" for line in lines)


@asynccontextmanager
async def open_page(home: BotHome, table: MemoryTable, tab: Page) -> AsyncIterator[RunningBot]:
    """Open a bot, and its page in the tab, signed in as the owner."""
    async with bot(home, table) as ponte:
        web = make_page(ponte.engine, TOKEN)
        await web.start()
        await visit(tab, f"{web.address}/#token={TOKEN}")
        try:
            yield ponte
        finally:
            await web.close()


def button(card: Locator, name: str) -> Locator:
    return card.get_by_role("button", name=name)


async def test_a_request_is_proposed_again(tmp_path: Path, tab: Page) -> None:
    """First a denied one, then one that expired."""
    home, table = BotHome(tmp_path / "home"), MemoryTable({"1": {"Name": "Ada"}})
    table.is_editable = True
    async with open_page(home, table, tab) as ponte:
        for number, end in enumerate(("denied", "expired")):
            await say(tab, update("1"))
            old, new = (tab.locator(".card").nth(2 * number + each) for each in (0, 1))
            await expect(button(old, "Deny")).to_be_visible()
            if end == "denied":
                await button(old, "Deny").click()
                await expect(old.get_by_label("Reason")).to_be_focused()
                await tab.keyboard.press("Escape")  # nothing is denied yet
                await expect(button(old, "Deny")).to_be_focused()
                await button(old, "Deny").click()
                await button(old.locator("form"), "Deny").click()
                await button(old, "Say why").click()
                await old.get_by_label("Reason").fill("Too early.")
                await button(old.locator("form"), "Deny").click()
                await expect(old.locator(".words")).to_contain_text("Too early.")
                await expect(old.locator(".note")).to_be_empty()
            else:
                home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
                await ponte.engine.changes.lifecycle.end_overdue()
            await expect(old.get_by_role("button")).to_have_text(["Propose again"])
            await button(old, "Propose again").focus()
            await tab.keyboard.press("Enter")
            await expect(button(new, "Approve")).to_be_visible()
            await expect(old.get_by_role("button")).to_have_count(0)
            await expect(old).to_have_attribute("data-state", end)
            await expect(old.locator(".note")).to_be_empty()
            await button(new, "Approve").click()
            await expect(new).to_have_attribute("data-state", "done")
            assert table.rows["1"]["Name"] == "new 1"
            table.rows["1"]["Name"] = "Ada"


async def test_one_press_approves_all_cards_of_an_answer(tmp_path: Path, axe_tab: Page) -> None:
    table, tab = MemoryTable({id: {"Name": f"N{id}"} for id in "123"}), axe_tab
    async with open_page(BotHome(tmp_path / "home"), table, tab):
        await say(tab, update("1", "2", "3"))
        together = tab.get_by_role("button", name="Approve all 3", exact=True)
        for width in (1280, 320):
            await resize(tab, width)
            await expect(together).to_be_visible()
            assert await findings(tab, axe_source()) == []
        await together.click()
        await expect(tab.locator(".card[data-state=done]")).to_have_count(3)
        await expect(together).to_have_count(0)
        await expect(tab.locator(".card").first).to_be_focused()
        assert [table.rows[id]["Name"] for id in "123"] == ["new 1", "new 2", "new 3"]


async def test_what_was_decided_is_said_once_by_the_card(tmp_path: Path, tab: Page) -> None:
    """Also of a later version, and where the card names rows that the answer has by their id."""
    table = MemoryTable({id: {"Name": "Ada"} for id in "12"})
    table.is_editable = True
    async with open_page(BotHome(tmp_path / "home"), table, tab):
        await say(tab, update("1"))
        first, second = tab.locator(".card").nth(0), tab.locator(".card").nth(1)
        await button(first, "Change…").click()
        await first.get_by_label("Name").fill("Grace")
        await tab.keyboard.press("Enter")
        await expect(first.locator(".note")).to_contain_text("Saved the new values of")
        await button(first, "Change…").click()
        await expect(first.get_by_label("Name")).to_have_value("Grace")
        await expect(first.locator(".note")).to_be_empty()
        await button(first, "Cancel").click()
        await button(first, "Approve").click()
        await expect(first).to_have_attribute("data-state", "done")
        await expect(first.locator(".note")).to_be_empty()
        await button(first, "Undo").click()
        await expect(first).to_have_attribute("data-state", "undone")
        await expect(first.locator(".note")).to_be_empty()
        await say(tab, update("2"))
        await expect(button(second, "Approve")).to_be_visible()
        table.rows["2"]["Name"] = "moved"
        await button(second, "Approve").click()
        await expect(second).to_have_attribute("data-state", "failed")
        await expect(second.locator(".words")).to_contain_text("Nothing was changed.")
        await expect(second.locator(".note")).to_be_empty()
        await expect(tab.locator(".answer:visible")).to_have_count(2)
    assert table.rows["1"] == {"Name": "Ada"}
