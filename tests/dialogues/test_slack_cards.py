"""Cards: a person decides where they stand, and what was decided is told there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.render import ANSWER_PART_BYTES
from core.base.errors import Undeliverable
from core.domain.messages import Answer, Card
from tests.fakes.card_rows import card_row
from tests.fakes.slack import Post, blocks
from tests.fakes.slack.records import block_text
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import NoPosts, WatchedInbox
from tests.time_limits import Limits

CARD = Card(
    "abc234",
    "proposal",
    "Update 1 row in *Orders* <!channel>",
    "Requested by Alice.",
    rows=(card_row({"paid": "no"}, {"paid": "<@U1>`yes`"}),),
    actions=("approve", "deny"),
    expires_at=1_800_000_000.0,
)


@asynccontextmanager
async def answered_workplace(
    home: Path, answer: Answer
) -> AsyncIterator[tuple[Workplace, WatchedInbox, Post]]:
    """Alice asked in #general and got `answer`."""
    inbox = WatchedInbox()
    async with workplace(home, Setting(inbox=inbox.over)) as w:
        await w.ask("pay order 1")
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        await reply.finish(answer)
        yield w, inbox, w.posts()[-1]


ASKED = Answer("Shall I?", parts=("Shall I?",), cards=(CARD,))


async def test_a_card_asks_a_click_becomes_the_word_and_the_card_is_rendered_anew(
    tmp_path: Path,
) -> None:
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        assert "Shall I?" in post.visible_text
        assert "paid: no → <\u2060@U1>`yes`" in post.visible_text, "it mentions nobody"
        assert list(post.buttons) == ["Approve", "Deny"]
        await w.restart()
        await decide(w, inbox, post)
        click = inbox.messages[-1]
        assert (click.text, click.is_click, click.author.id) == ("approve abc234", True, w.bob.id)
        assert "Approved by Bob" in post.visible_text
        assert "Shall I?" in post.visible_text
        assert not post.buttons


async def decide(w: Workplace, inbox: WatchedInbox, post: Post, card: Card = CARD) -> None:
    """Bob approves in `post`, and Ponte answers with the decided `card`."""
    await w.slack.click(w.bob, post, "Approve").acked.wait()
    variant = replace(card, state="Approved by Bob", actions=())
    reply = w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts())
    await reply.finish(Answer("Done.", parts=("Done.",), cards=(variant,)))


async def test_nine_cards_that_are_decided_at_once_lose_their_buttons_at_once(
    tmp_path: Path,
) -> None:
    """Each decision edits the same post. None puts the buttons of another one back."""
    cards = tuple(replace(CARD, id=f"abc23{n}", rows=()) for n in range(2, 8)) + tuple(
        replace(CARD, id=f"abd23{n}", rows=()) for n in range(2, 5)
    )
    variant = replace(ASKED, cards=cards)
    async with answered_workplace(tmp_path, variant) as (w, inbox, _):
        (post,) = [each for each in w.posts() if each.buttons]
        await w.slack.click(w.bob, post, "Approve").acked.wait()
        to = inbox.messages[-1].reply_to
        decisions = [replace(card, state="Approved by Bob", actions=()) for card in cards]
        await asyncio.gather(
            *(
                w.bot.slack.reply(to, NoPosts()).finish(
                    Answer("Done.", parts=("Done.",), cards=(card,))
                )
                for card in decisions
            )
        )
        assert post.visible_text.count("Approved by Bob") == len(cards)
        assert not post.buttons


@pytest.mark.parametrize("why", ["card deleted", "another card", "refused blocks"])
async def test_a_decision_whose_card_cannot_be_redrawn_is_told_in_a_message(
    tmp_path: Path, why: str
) -> None:
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        if why == "card deleted":
            w.slack.remove(post)
        if why == "refused blocks":
            w.slack.api.faults.add("chat.update", "invalid_blocks", 0)
        await decide(w, inbox, post, replace(CARD, id="zzz234") if why == "another card" else CARD)
        posts = w.slack.workspace.by_bot(w.general.id, post.thread_ts)
        (text,) = [each for each in posts if "Done." in each.visible_text]
        assert "Approved by Bob" in text.visible_text
        assert "Approved by Bob" not in post.visible_text


async def test_a_message_with_cards_that_slack_refuses_keeps_text_and_cards(
    tmp_path: Path, limits: Limits
) -> None:
    limits(CHANNEL_INTERVAL=0.01)
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        await w.ask("pay order 1")
        w.slack.api.faults.add("chat.postMessage", "invalid_blocks", 1)
        await w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts()).finish(ASKED)
        post = w.posts()[-1]
        assert [block["type"] for block in post.blocks][:3] == [
            "section",
            "context",
            "section",
        ]
        assert "Shall I?" in post.visible_text
        assert "paid: no → <\u2060@U1>`yes`" in post.visible_text
        assert list(post.buttons) == ["Approve", "Deny"]


async def test_a_refused_card_without_a_table_does_not_switch_tables_off(
    tmp_path: Path, limits: Limits
) -> None:
    limits(CHANNEL_INTERVAL=0.01)
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        w.slack.api.limits.on = False
        w.slack.api.faults.add("chat.update", "invalid_blocks", 0)
        for _ in range(3):
            await decide(w, inbox, post)
        assert "tables" not in (await w.bot.slack.health()).words


async def test_a_decision_is_undeliverable_if_slack_refuses_every_edit_of_its_card(
    tmp_path: Path,
) -> None:
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        w.slack.api.faults.add("chat.update", "cant_update_message", 0)
        with pytest.raises(Undeliverable, match="cant_update_message"):
            await decide(w, inbox, post)


async def test_a_click_by_someone_who_may_not_is_answered_to_them_alone(tmp_path: Path) -> None:
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        await w.slack.click(w.bob, post, "Approve").acked.wait()
        reply = w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts())
        await reply.finish(Answer("You may not.", parts=("You may not.",), is_private=True))
        refusal = w.whispers()[-1]
        assert (refusal.seen_by, refusal.visible_text) == (w.bob.id, "You may not.")
        assert list(post.buttons) == ["Approve", "Deny"]


@pytest.mark.slow
async def test_a_click_that_cannot_be_stored_is_not_acknowledged_and_told(tmp_path: Path) -> None:
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        inbox.times = 1
        click = w.slack.click(w.bob, post, "Approve")
        await w.until(lambda: w.whispers())
        visible_text = w.whispers()[0].visible_text
        assert "Não consegui salvar sua mensagem" in visible_text, (
            "Bob's language is known from the list"
        )
        assert not click.acked.is_set()


async def test_a_click_on_something_that_is_not_ours_is_acknowledged_and_does_nothing(
    tmp_path: Path,
) -> None:
    """Slack shows a warning beside a button, also one that opens a link, until it is."""
    async with answered_workplace(tmp_path, ASKED) as (w, inbox, post):
        before = len(inbox.messages)
        other = {"actions": [{"type": "button", "action_id": "link", "block_id": "b"}]}
        await w.slack.click(w.bob, post, "Approve", lies=other).acked.wait()
        assert len(inbox.messages) == before


EVIL = "<!channel> @everyone <@U1> *bold* <https://evil.example|here> evil.example"
ROWS = tuple(
    {
        "id": str(n),
        "name": f"Invoice {n}",
        "name_field": "Number",
        "before": {},
        "after": {},
        "changes": [
            {"field": "Status", "before": "Overdue", "after": "Paid"},
            {"field": "Note", "before": "–", "after": EVIL},
        ],
    }
    for n in range(3)
)
SAFE = (
    "<\u2060!channel> @\u2060everyone <\u2060@U1> *bold* "
    "https[:]//evil[.]example|here evil[.]example"
)


def with_rows(*counts: int) -> Answer:
    cards = tuple(
        replace(CARD, id=f"abc23{at}", rows=ROWS[:count]) for at, count in enumerate(counts, 2)
    )
    return Answer("Shall I?", parts=("Shall I?",), cards=cards)


def kinds(post: Post) -> list[str]:
    """The blocks that hold rows."""
    return [block["type"] for block in post.blocks if block.get("block_id", "").endswith(":rows")]


def check_inert(post: Post) -> None:
    assert SAFE in post.visible_text
    assert post.links == []


async def test_three_rows_are_a_table_and_two_are_lines(tmp_path: Path) -> None:
    async with answered_workplace(tmp_path, with_rows(3)) as (_, _, post):
        assert kinds(post) == ["table"]
        assert "Number | Status | Note\nInvoice 0 | Overdue → Paid | – → " in post.visible_text
        check_inert(post)
    async with answered_workplace(tmp_path, with_rows(2)) as (_, _, post):
        assert kinds(post) == ["rich_text"]
        assert "\nInvoice 0\nStatus: Overdue → Paid · Note: – → " in post.visible_text
        check_inert(post)


async def test_one_message_has_one_table(tmp_path: Path) -> None:
    async with answered_workplace(tmp_path, with_rows(3, 3, 1)) as (w, inbox, post):
        assert kinds(post) == ["table", "rich_text", "rich_text"]
        assert "\nInvoice 0\nStatus: Overdue → Paid · Note: – → " in post.visible_text
        check_inert(post)
        value = next(b["elements"][0]["value"] for b in post.blocks if b["type"] == "actions")
        await w.slack.click(w.bob, post, "Approve").acked.wait()
        variant = replace(with_rows(3).cards[0], id=value, state="done", actions=())
        reply = w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts())
        await reply.finish(Answer("Done.", parts=("Done.",), cards=(variant,)))
        assert kinds(post) == ["table", "rich_text", "rich_text"], "still one after the decision"
        assert len([block for block in post.blocks if block["type"] == "actions"]) == 2


async def test_a_workspace_without_tables_gets_lines_and_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    monkeypatch.setattr(blocks, "TAKES_TABLES", False)
    limits(CHANNEL_INTERVAL=0.01)
    async with answered_workplace(tmp_path, with_rows(3)) as (w, inbox, post):
        w.slack.api.limits.on = False
        calls, attempts = w.slack.api.calls, []
        for _ in range(4):
            assert kinds(post) == ["rich_text"]
            assert "\nInvoice 0\nStatus: Overdue → Paid · Note: – → " in post.visible_text
            assert list(post.buttons) == ["Approve", "Deny"]
            before = calls["chat.postMessage"]
            await w.ask("pay again")
            answer = calls["chat.postMessage"]
            reply = w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts())
            await reply.finish(with_rows(3))
            attempts.append(calls["chat.postMessage"] - answer)
            assert answer == before + 1
            post = w.posts()[-1]
        assert attempts == [2, 2, 1, 1], "after three refusals no table is tried"
        assert "tables: invalid_blocks" in (await w.bot.slack.health()).words
        check_inert(post)


async def test_a_row_that_does_not_fit_says_how_many_more_fields_it_has(tmp_path: Path) -> None:
    changes = [{"field": f"F{n}", "before": "x" * 30, "after": "y" * 30} for n in range(12)]
    card = replace(CARD, text="", rows=({**ROWS[1], "changes": changes},))
    text = "The bridge was built in 1894.\n" * (ANSWER_PART_BYTES // 30)
    answer = Answer(text, parts=(text,), cards=(card, replace(card, id="abc235")))
    async with answered_workplace(tmp_path, answer) as (_, _, post):
        texts = [block_text(b) for b in post.blocks if b.get("block_id", "").endswith(":rows")]
        fields = [one.splitlines()[1].split(" · ") for one in texts]
        assert [(len(one), one[-1]) for one in fields] == [(6, "… +7"), (6, "… +7")]


async def test_a_decided_table_becomes_lines_where_slack_no_longer_takes_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(CHANNEL_INTERVAL=0.01)
    async with answered_workplace(tmp_path, with_rows(3)) as (w, inbox, _):
        w.slack.api.limits.on = False
        for _ in range(3):
            await w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts()).finish(with_rows(3))
        monkeypatch.setattr(blocks, "TAKES_TABLES", False)
        attempts = []
        for post in w.posts()[-4:]:
            assert kinds(post) == ["table"]
            before = w.slack.api.calls["chat.update"]
            await decide(w, inbox, post, with_rows(3).cards[0])
            attempts.append(w.slack.api.calls["chat.update"] - before)
            assert kinds(post) == ["rich_text"]
            assert "Approved by Bob" in post.visible_text
        assert attempts == [2, 2, 2, 1], "after three refusals no table is tried"
        assert "tables: invalid_blocks" in (await w.bot.slack.health()).words
