"""A new button needs only a row of the table, on Slack; those without room are in a menu."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.render import PostContent
from core.base.errors import NotStored
from core.chat.buttons import BUTTONS
from core.chat.incoming import EVENT_FAILED
from core.chat.interactions import FORM_UNREADABLE
from core.domain.buttons import FORM_LATE, Button, ButtonOffer
from core.journal.journal import Journal
from tests.fakes.slack.blocks import check_message
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import WatchedInbox
from tests.time_limits import Limits
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


async def test_a_press_is_acknowledged_in_time_although_slack_opens_no_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """Retries would outlast the three seconds that Slack waits."""
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    limits(SLACK_OPEN_SECONDS=0.1)
    async with workplace(tmp_path) as w:
        post = await w.ask("hello")
        await w.until(lambda: post.buttons)
        w.slack.api.faults.add("views.open", "500", 0)
        await w.slack.click(w.alice, post, "Save…").acked.wait()
        assert w.slack.api.calls["views.open"] <= 1  # a slow machine sends none in so little time
        assert await hear(w) == FORM_LATE


async def test_nothing_is_pressed_under_an_answer_that_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    async with workplace(tmp_path) as w:
        post = await w.ask("hello")
        await w.until(lambda: post.buttons)
        w.slack.say(w.alice, w.general, f"{w.slack.bot} forget yes", thread_ts=post.thread_ts)
        await w.until(lambda: any("Deleted" in post.visible_text for post in w.posts()))
        await w.slack.click(w.alice, post, "Save…").acked.wait()
        assert w.slack.workspace.views == []
        assert await hear(w) == SAVE.gone


async def hear(w: Workplace) -> str:
    hook = list(w.slack.workspace.hooks.values())[-1]
    await w.until(lambda: hook.heard)
    return str(hook.heard[-1]["text"])


async def test_a_press_that_is_no_row_of_the_table_is_told_and_becomes_no_message(
    tmp_path: Path,
) -> None:
    """Of a later version, or made up: the grammar of commands takes none of them."""
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        post = await w.ask("hello")
        for id, subject in (
            ("ponte_of_next_year", "abc234"),
            ("ponte_card_approve", "abcdef"),
            ("ponte_card_approve", "abc234.0"),
            ("ponte_card_approve", "abc234.\u0663"),
            ("ponte_card_approve", "abc234.2\n"),
            ("ponte_together", " ".join(["abc234"] * 11)),
            ("ponte_schedule", "schedule abc234 delete"),
            ("ponte_stop", "\u0663"),
        ):
            words = {"type": "plain_text", "text": "Press"}
            button = {"type": "button", "action_id": id, "value": subject, "text": words}
            post.blocks = [{"type": "actions", "block_id": "b", "elements": [button]}]
            (label,) = post.buttons
            await w.slack.click(w.alice, post, label).acked.wait()
            assert await hear(w) == EVENT_FAILED, (id, subject)
        assert len(inbox.messages) == 1


async def press_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Button
) -> tuple[list[str], list[str]]:
    """Return what Alice reads and what is stored while the database does not read the answer."""
    monkeypatch.setitem(BUTTONS, row.name, row)
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        post, _ = await w.ask("hello"), await w.ask("and now")
        await w.until(lambda: post.buttons)

        async def fail(*_: object) -> None:
            raise NotStored

        read = [""]
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "find_answer", fail)
            await w.slack.click(w.alice, post, "Save…").acked.wait()
            read[0] = await hear(w)
        await w.slack.click(w.alice, post, "Save…").acked.wait()
        if not w.slack.workspace.views:
            read.append(await hear(w))
        for view in w.slack.workspace.views:
            blank = w.slack.submit(w.alice, view, {"title": " "})
            await blank.acked.wait()
            read += blank.response["errors"].values()
            with monkeypatch.context() as patch:
                patch.setattr(Journal, "find_answer", fail)
                late = w.slack.submit(w.alice, view, {"title": "Leads"})
                await late.acked.wait()
                read += late.response["errors"].values()
        return read, [message.text for message in inbox.messages[2:]]


async def test_a_press_that_cannot_be_checked_and_a_form_without_its_value_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, stored = await press_save(tmp_path, monkeypatch, SAVE)
    assert read == [NotStored.sentence, FORM_UNREADABLE, NotStored.sentence]
    assert stored == []


@pytest.mark.parametrize("has_form", [True, False])
async def test_the_right_of_a_row_is_checked_though_its_command_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_form: bool
) -> None:
    row = replace(SAVE, right="administer", form=SAVE.form if has_form else None)
    read, stored = await press_save(tmp_path, monkeypatch, row)
    assert "Only an admin can do that." in read[-1]
    assert stored == []


def test_buttons_without_room_are_in_a_menu() -> None:
    rows = [replace(SAVE, name=f"save{n}") for n in range(30)]
    offers = tuple(ButtonOffer(row, "a" * 16, row.name) for row in rows)
    body = PostContent("Answer", offers=offers).build_whole()
    check_message(body["blocks"], "chat.update")
    (block,) = [block for block in body["blocks"] if block["type"] == "actions"]
    assert [element["type"] for element in block["elements"]] == ["button"] * 24 + ["static_select"]
    assert block["elements"][-1]["options"][0]["value"] == f"ponte_save24 {'a' * 16}"
