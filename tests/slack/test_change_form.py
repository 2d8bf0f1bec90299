"""The form that changes a proposal: opened from a card's button, filled in, sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.forms import build_change_form, read_new_values
from core.base.errors import BadInput, NotAllowed
from core.changes.cards import REPLACED
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Answer
from tests.dialogues.test_slack_approvers import team
from tests.fakes.change_form import CARD, FIELDS, FORM, FormBoard
from tests.fakes.slack import Json, Post
from tests.fakes.slack.blocks import check_view
from tests.fakes.slack.people import read_input
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import NoPosts, WatchedInbox
from tests.time_limits import Limits


@asynccontextmanager
async def card_shown(
    home: Path, form: ChangeForm = FORM
) -> AsyncIterator[tuple[Workplace, FormBoard, WatchedInbox, Post]]:
    """A workplace with a card in a thread of #general. The inbox records what was submitted."""
    board, inbox = FormBoard(form), WatchedInbox()
    async with workplace(home, Setting(board=board, inbox=inbox.over)) as w:
        await w.ask("change it")
        reply = w.bot.slack.reply(inbox.messages.pop().reply_to, NoPosts())
        await reply.finish(Answer("", parts=("",), cards=(CARD,)))
        await w.until(lambda: any(post.buttons for post in w.posts()))
        yield w, board, inbox, next(post for post in w.posts() if post.buttons)


async def open_form(w: Workplace, card: Post) -> Json:
    click = w.slack.click(w.alice, card, "Change…")
    await click.acked.wait()
    assert w.slack.workspace.views, [post.visible_text for post in w.whispers()]
    return w.slack.workspace.views[-1]


def inputs(view: Json) -> list[Json]:
    return [block for block in view["blocks"] if block["type"] == "input"]


async def test_the_button_opens_a_form_and_stores_nothing(tmp_path: Path) -> None:
    async with card_shown(tmp_path) as (w, board, inbox, card):
        assert list(card.buttons) == ["Approve", "Change…", "Deny"]
        view = await open_form(w, card)
        assert board.presses == ["abc234.2"]
        kinds = [block["element"]["type"] for block in inputs(view)]
        assert kinds == [
            "static_select",
            "plain_text_input",
            "datepicker",
            "checkboxes",
            "plain_text_input",
        ]
        notes = "*Notes* <!channel> @everyone"
        assert inputs(view)[4]["label"] == {"type": "plain_text", "text": notes}
        assert inbox.messages == []


async def test_only_changed_values_are_sent(tmp_path: Path) -> None:
    async with card_shown(tmp_path) as (w, _, inbox, card):
        view = await open_form(w, card)
        ids = [block["block_id"] for block in inputs(view)]
        values = {ids[0]: "Paid", ids[1]: "12.50", ids[2]: "", ids[3]: "true"}
        submission = w.slack.submit(w.alice, view, values)
        await submission.acked.wait()
        assert submission.response == {}
        (message,) = inbox.messages
        word, press, text = message.text.split(" ", 2)
        assert (word, press) == ("change", "abc234.2")
        assert json.loads(text) == {"Status": "Paid", "Due": "", "Done": "true"}
        assert message.is_click
        assert message.address.thread == card.thread_ts


async def test_a_form_that_changes_nothing_is_not_sent(tmp_path: Path) -> None:
    async with card_shown(tmp_path) as (w, _, inbox, card):
        view = await open_form(w, card)
        submission = w.slack.submit(w.alice, view, {})
        await submission.acked.wait()
        assert list(submission.response["errors"].values()) == ["You didn't change any values."]
        assert list(submission.response["errors"]) == [inputs(view)[0]["block_id"]]
        assert inbox.messages == []


@pytest.mark.parametrize(
    ("error", "words"),
    [(NotAllowed("Only members may."), "Only members may."), (BadInput(REPLACED), "replaced")],
)
async def test_who_may_not_gets_a_sentence(tmp_path: Path, error: Exception, words: str) -> None:
    async with card_shown(tmp_path) as (w, board, inbox, card):
        view = await open_form(w, card)
        board.error = error
        click = w.slack.click(w.alice, card, "Change…")
        await click.acked.wait()
        assert words in (await w.first_whisper()).visible_text
        assert len(w.slack.workspace.views) == 1
        submission = w.slack.submit(w.alice, view, {inputs(view)[0]["block_id"]: "Paid"})
        await submission.acked.wait()
        assert words in str(submission.response["errors"])
        assert inbox.messages == []


async def test_a_trigger_that_is_over_is_answered_with_a_sentence(tmp_path: Path) -> None:
    async with card_shown(tmp_path) as (w, _, inbox, card):
        w.slack.workspace.trigger_seconds = -1.0
        click = w.slack.click(w.alice, card, "Change…")
        await click.acked.wait()
        assert "couldn't be opened in time" in (await w.first_whisper()).visible_text
        assert w.slack.workspace.views == []
        assert inbox.messages == []


async def test_a_form_that_is_not_known_in_time_is_not_opened(
    tmp_path: Path, limits: Limits
) -> None:
    async with card_shown(tmp_path) as (w, board, _, card):
        limits(SLACK_FORM_SECONDS=0.01)
        board.gate = asyncio.Event()
        click = w.slack.click(w.alice, card, "Change…")
        await click.acked.wait()
        assert "couldn't be opened in time" in (await w.first_whisper()).visible_text
        assert w.slack.workspace.views == []


async def test_a_forged_form_is_refused(tmp_path: Path) -> None:
    async with card_shown(tmp_path) as (w, _, inbox, card):
        view = await open_form(w, card)
        for forgery, value in {
            "change:17": "x",
            "Secret": "x",
            "change:4": "x" * 2_000_000,
        }.items():
            typed_text = {"type": "plain_text_input", "value": value}
            state = {"values": {forgery: {"value": typed_text}}}
            submission = w.slack.submit(w.alice, view, {}, {"view": view | {"state": state}})
            await submission.acked.wait()
            assert "couldn't read this form" in str(submission.response["errors"]), forgery
        assert inbox.messages == []


def read_untouched(view: Json) -> dict[str, str]:
    """The values of a form that nobody touched."""
    values = {
        block["block_id"]: {"value": read_input(block["element"], None)} for block in inputs(view)
    }
    return read_new_values(view | {"state": {"values": values}})


ODD: list[FormField] = [
    FormField("a", "a" * 5000, "number", "about 12"),
    FormField("b", "", "number", "1" * 30),
    FormField("c", "c", "date", "tomorrow"),
    FormField("d", "d", "select", "Gone", ("Open", "Paid")),
    FormField("e", "e", "select", "1", tuple(map(str, range(101)))),
    FormField("f", "f", "select", "", ("x" * 151, "y")),
    FormField("g", "g", "moment", "2026-11-20 14:30"),
    FormField("h", "h", "text", "two\nlines"),
    FormField("i", "i", "checkbox", ""),
    FormField("j", "j", "select", "", ()),
    FormField("k", "k", "select", "", ("", "A", "A")),
    FormField("l", "l", "lines", "&" * 500),
]


def test_slack_takes_every_form_and_untouched_values_stay() -> None:
    form = ChangeForm("abc234", 1, "<&>" * 2000, tuple(ODD))
    view = build_change_form(form, {"press": "abc234"})
    check_view(view)
    untouched = read_untouched(view)
    for at, field in enumerate(ODD):
        assert untouched[str(at)] == (field.value or ("false" if field.type == "checkbox" else ""))


@pytest.mark.parametrize("value", ["x" * 2901, "&" * 601, "語" * 968])
def test_a_text_that_no_input_holds_is_named_and_left_out(value: str) -> None:
    form = ChangeForm(
        "abc234", 1, "T", (FormField("2.N98", "N98", "lines", value, (), "2. Ada"), FIELDS[0])
    )
    view = build_change_form(form, {})
    check_view(view)
    (only,) = inputs(view)
    assert only["label"]["text"] == "Status"
    assert "Not in this form: 2.N98." in view["blocks"][1]["text"]["text"]
    assert "`change abc234 FIELD = VALUE`" in view["blocks"][1]["text"]["text"]
    alone = build_change_form(replace(form, fields=form.fields[:1]), {})
    check_view(alone)
    assert "submit" not in alone


def test_many_rows_have_headers_and_the_rest_is_left_out() -> None:
    options = tuple(f"{'wide ' * 20}{n}" for n in range(90))
    fields: list[FormField] = []
    for row in range(1, 101):
        fields.append(
            FormField(f"{row}.Status", "Status", "select", options[3], options, f"R{row}")
        )
        fields.append(FormField(f"{row}.Name", "Name", "text", "n" * 2900, (), f"R{row}"))
    view = build_change_form(ChangeForm("abc234", 1, "T", tuple(fields)), {})
    check_view(view)
    headers = [block["text"]["text"] for block in view["blocks"] if block["type"] == "header"]
    assert headers[:2] == ["R1", "R2"]
    assert "…" in view["blocks"][1]["text"]["text"]
    short = [FormField(f"{n}.Name", "Name", "text", "", (), f"R{n}") for n in range(1, 101)]
    view = build_change_form(ChangeForm("abc234", 1, "T", tuple(short)), {})
    check_view(view)
    assert len(inputs(view)) == 49


async def test_a_changed_card_is_redrawn_in_place_and_somebody_else_approves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = FormBoard()
    async with team(tmp_path, approvers_only=True, board=board) as t:
        monkeypatch.setattr(board, "find_form", t.w.bot.engine.changes.views.find_form)
        t.table.is_editable = True
        w, values = t.w, {"Name": "Ada L.", "Status": "Won", "Value": "7"}
        card = await t.asks(f"call table_update {json.dumps({'rows': {'1': values}})}")
        before = len(w.posts())
        await w.slack.click(w.alice, card, "Change…").acked.wait()
        (view,) = w.slack.workspace.views
        labels = {block["label"]["text"]: block["block_id"] for block in inputs(view)}
        submission = w.slack.submit(w.alice, view, {labels["Status"]: "Lost"})
        await submission.acked.wait()
        assert submission.response == {}
        await t.until(lambda: "Lost" in card.visible_text and card.buttons)
        assert "Version 2, changed by Alice." in card.visible_text
        assert len(w.posts()) == before, "no post was added"
        old = w.slack.submit(w.alice, view, {labels["Status"]: "Open"})
        await old.acked.wait()
        assert "This version was replaced" in str(old.response["errors"])
        await w.slack.click(w.bob, card, "Approve").acked.wait()
        await t.until(lambda: t.table.rows["1"].get("Status") == "Lost")
        await t.until(lambda: "✓ done" in card.visible_text)
        late = w.slack.submit(w.alice, view, {labels["Status"]: "Open"})
        await late.acked.wait()
        assert late.response["errors"]
