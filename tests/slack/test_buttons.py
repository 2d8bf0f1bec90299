"""A new button needs only a row of the table, on Slack; those without room are in a menu."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.render import PostContent
from core.chat.buttons import BUTTONS
from core.domain.buttons import ButtonOffer
from tests.fakes.slack.blocks import check_message
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import WatchedInbox
from tests.toys.clap import SAVE


async def test_a_new_row_is_drawn_asks_in_its_form_and_becomes_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        post, other = await w.ask("hello"), await w.ask("and now")
        await w.until(lambda: other.buttons and post.buttons)
        await w.slack.click(w.alice, post, "Save…").acked.wait()
        (view,) = w.slack.workspace.views
        submission = w.slack.submit(w.alice, view, {"title": "Leads"})
        await submission.acked.wait()
        assert not submission.response
        turn = post.buttons["Save…"]["value"]
        assert inbox.messages[-1].text == f"save {turn} as Leads"
        other.blocks = post.blocks  # forged: the button of another answer
        await w.slack.click(w.alice, other, "Save…").acked.wait()
        hook = list(w.slack.workspace.hooks.values())[-1]
        await w.until(lambda: hook.heard)
        assert hook.heard[-1]["text"] == SAVE.gone


def test_buttons_without_room_are_in_a_menu() -> None:
    rows = [replace(SAVE, name=f"save{n}") for n in range(30)]
    offers = tuple(ButtonOffer(row, "a" * 16, row.name) for row in rows)
    body = PostContent("Answer", offers=offers).build_whole()
    check_message(body["blocks"], "chat.update")
    (block,) = [block for block in body["blocks"] if block["type"] == "actions"]
    assert [element["type"] for element in block["elements"]] == ["button"] * 24 + ["static_select"]
    assert block["elements"][-1]["options"][0]["value"] == f"ponte_save24 {'a' * 16}"
