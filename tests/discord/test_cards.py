"""Cards: shown once, decided by a click, redrawn where they stand, also after a restart."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, get_args

import discord
import pytest

from adapters.discord.card_embeds import (
    DISCORD_CARD_ROWS,
    build_buttons,
    build_embed,
    build_embeds,
    describe_cards,
    read_press,
)
from adapters.discord.surface import Renderer
from core.base.errors import Undeliverable
from core.changes.cards import describe_whole, is_short
from core.chat.reply import GrowingReply
from core.domain.messages import (
    Address,
    Answer,
    Card,
    ChangeAction,
    Message,
    Person,
    Progress,
    ReplyTo,
    turn_id,
)
from core.domain.ports import NO_STEP, Inbox, Reply, TransactionStep
from core.domain.records import Receipt
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.card_rows import card_row
from tests.fakes.discord import DiscordPerson, Exchange, FakeDiscord
from tests.fakes.discord.interactions import DEFER_UPDATE, EPHEMERAL
from tests.fakes.discord.world import Payload
from tests.fakes.posts import KeptPosts

ROWS = (
    card_row({"Id": 4, "city": "Porto"}, {"Id": 4, "city": "Lisboa"}),
    card_row(None, {"name": "*@everyone*"}),
)
OPEN = Card(
    "abcde2",
    "proposal",
    "Change 2 customers",
    "In Customers:",
    ROWS,
    ("approve", "deny"),
    expires_at=time.time() + 3600,
)
OTHER = Card("ghijk2", "proposal", "Delete 1 order", "", (), ("approve", "deny"))
DONE = Card("abcde2", "change", "Changed 2 customers", "Ana approved it.", (), ("undo",), "done")


class Deciding:
    """Replaces the inbox: records the Messages of clicks, and answers each as Ponte would."""

    def __init__(self, ponte: DiscordPonte) -> None:
        self.ponte = ponte
        self.taken: list[Message] = []
        self.came = asyncio.Condition()

    def before(self, inbox: Inbox) -> Inbox:
        accept = inbox.accept

        async def catch_click(message: Message, also: TransactionStep = NO_STEP) -> Receipt:
            if not message.is_click:
                return await accept(message, also)
            async with self.came:
                self.taken.append(message)
                self.came.notify_all()
            return Receipt(len(self.taken), message.turn, is_new=True)

        inbox.accept = catch_click  # type: ignore[method-assign]  # this one test double
        return inbox

    async def answer(self, answer: Answer, **reply_to: Any) -> GrowingReply:
        """To the newest click. `reply_to` are fields that its stored ReplyTo has instead."""
        async with self.came:
            await self.came.wait_for(lambda: self.taken)
            message = self.taken.pop()
        to = replace(message.reply_to, **reply_to)
        reply = GrowingReply(self.ponte.adapter.surface(to), KeptPosts(), to.turn)
        await reply.finish(answer)
        return reply

    async def work(self, text: str = "") -> Reply:
        """Begin with the newest click, and show `text` as the start of the answer."""
        async with self.came:
            await self.came.wait_for(lambda: self.taken)
        reply = self.ponte.adapter.reply(self.taken[-1].reply_to, KeptPosts())
        await reply.show(Progress(text))
        return reply


@pytest.fixture
async def deciding(ponte: DiscordPonte) -> Deciding:
    deciding = Deciding(ponte)
    ponte.inbox = deciding.before
    await ponte.open()
    return deciding


async def post_cards(ponte: DiscordPonte, ana: DiscordPerson, *cards: Card) -> Payload:
    """An answer that ends in cards, under a message that Ana sent."""
    question = await ana.say("change them")
    await ana.wait_for_text("You said: change them")
    address = Address("discord", str(ana.dm.id))
    to = ReplyTo(address, Person("discord", str(ana.id)), question["id"], turn_id("other"))
    reply = ponte.adapter.reply(to, KeptPosts())
    await reply.finish(Answer("", parts=reply.split(""), cards=cards))
    seen = await ana.wait_for_messages(lambda seen: any(m["embeds"] for m in seen))
    return next(m for m in seen if m["embeds"])


async def click_approve(ponte: DiscordPonte, ana: DiscordPerson) -> tuple[Payload, Exchange]:
    """Ana clicks *Approve* on an open card. Return its message and the acknowledged click."""
    message = await post_cards(ponte, ana, OPEN)
    return message, await (await ana.click(message, "Approve")).wait_for_ack()


def labels(message: Payload) -> list[list[str]]:
    return [[b["label"] for b in row["components"]] for row in message["components"]]


async def test_a_card_shows_what_would_change(live: DiscordPonte, ana: DiscordPerson) -> None:
    long = (card_row(None, {"whole": "v" * 200}), card_row(None, {"cut": "v" * 201}))
    message = await post_cards(live, ana, replace(OPEN, rows=(*ROWS, *long)))
    (embed,) = message["embeds"]
    assert embed["title"] == "Change 2 customers"
    assert "**4**\ncity: Porto → Lisboa" in embed["description"]
    assert "@everyone" not in embed["description"]
    assert "\\*" in embed["description"], "a value is no markup"
    assert f"**whole**: {'v' * 200}\n" in embed["description"]
    assert f"**cut**: {'v' * 199}…\n" in embed["description"]
    assert (embed["author"]["name"], embed["footer"]["text"]) == (
        "● waiting for approval",
        "abcde2",
    )
    assert labels(message) == [["Approve", "Deny"]]


async def test_each_action_of_a_card_has_a_button_whose_click_is_read() -> None:
    for action in get_args(ChangeAction):
        (button,) = build_buttons([replace(OPEN, id="abcde2", actions=(action,))]).children
        assert isinstance(button, discord.ui.Button), action
        assert read_press(button.custom_id or "") == (action, "abcde2")


NAMED = tuple(
    {
        "id": str(n),
        "name": f"No. {n}",
        "name_field": "Number",
        "before": {},
        "after": {},
        "changes": [{"field": "Status", "before": "Late", "after": "Paid"}],
    }
    for n in range(3)
)


def describe_rows(rows: tuple[dict[str, Any], ...]) -> str:
    return str(build_embed(replace(OPEN, rows=rows)).description)


def test_rows_that_a_card_does_not_show_are_counted() -> None:
    for more, words in enumerate(("", "…and 1 more row.", "…and 2 more rows.")):
        count = DISCORD_CARD_ROWS + more
        text = describe_rows(tuple(card_row(None, {"id": str(number)}) for number in range(count)))
        assert text.count("more row") == bool(more)
        assert words in text


def test_three_narrow_rows_are_a_table_on_discord() -> None:
    assert "```\nNumber  Status\n──────  ───────────\nNo. 0   Late → Paid\n" in describe_rows(NAMED)
    assert "**No. 0**\nStatus: Late → Paid\n**No. 1**\n" in describe_rows(NAMED[:2])


def test_rows_that_are_wide_for_a_phone_are_lines() -> None:
    change = {"field": "Note", "before": "–", "after": "wide " * 20}
    text = describe_rows(tuple({**row, "changes": [change]} for row in NAMED))
    assert "```" not in text
    assert "**No. 2**\nNote: – → wide wide" in text


def test_a_table_that_does_not_fit_into_the_embed_is_lines() -> None:
    """A table that is cut would leave its code block open."""
    text = str(build_embed(replace(OPEN, rows=NAMED, text="x" * 430), 900).description)
    assert "```" not in text
    assert "**No. 0**" in text


def test_values_in_a_table_are_inert() -> None:
    change = {"field": "Note", "before": "–", "after": "``` @everyone"}
    text = describe_rows(tuple({**row, "changes": [change]} for row in NAMED))
    assert text.count("```") == 2
    assert "@everyone" not in text.replace("``` @", "```@") or text.index("@") < text.rindex("```")


async def test_an_answer_is_drawn_once() -> None:
    renderer, answer = Renderer(5, "t"), Answer("hello", parts=("hello",))
    assert await renderer.rendering(answer) is await renderer.rendering(answer)


async def test_a_decided_card_is_redrawn_and_the_others_stay(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message = await post_cards(ponte, ana, OPEN, OTHER)
    click = await (await ana.click(message, "Approve")).wait_for_ack()
    assert click.kind == DEFER_UPDATE
    item = deciding.taken[0]
    assert (item.text, item.is_click) == ("approve abcde2", True)
    await deciding.answer(Answer("Done.", parts=("Done.",), cards=(DONE,)))
    await ana.discord.wait_until(lambda: message["embeds"][0]["title"] == "Changed 2 customers")
    assert message["embeds"][1]["title"] == "Delete 1 order"
    assert labels(message) == [["Approve", "Deny"], ["Undo"]]
    assert not click.followups


async def test_the_fifth_card_leaves_the_shared_buttons_in_its_row(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    """A message has five rows: "Show code" and "Approve all" stand in that of the fifth card."""
    others = [
        replace(OPEN, id=f"abcde{number}", rows=(), state="open", is_whole=True)
        for number in (3, 4, 5, 6)
    ]
    message = await post_cards(
        ponte, ana, *others, replace(OPEN, rows=(), state="open", is_whole=True)
    )
    shared = [label for label in labels(message)[4] if label not in ("Approve", "Deny")]
    assert shared
    await (await ana.click(message, "Approve")).wait_for_ack()
    await deciding.answer(Answer("Done.", parts=("Done.",), cards=(DONE,)))
    await ana.discord.wait_until(lambda: message["embeds"][4]["title"] == "Changed 2 customers")
    assert labels(message)[4] == ["Undo", *shared]


async def test_a_click_after_a_restart_is_taken(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message = await post_cards(ponte, ana, OPEN)
    await ponte.close()
    await ponte.open()
    click = await (await ana.click(message, "Deny")).wait_for_ack()
    assert click.kind == DEFER_UPDATE
    assert deciding.taken[0].text == "deny abcde2"


async def test_who_may_not_decide_is_told_alone_in_each_part_of_the_outcome(
    discord: FakeDiscord, ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, click = await click_approve(ponte, ana)
    count = len(discord.world.messages_by(discord.world.me.id))
    parts = ("Your limit is used up.", "It resets on Monday.")
    await deciding.answer(Answer("", status="failed", parts=parts, is_private=True))
    assert whispers(click) == list(parts)
    assert labels(message) == [["Approve", "Deny"]]
    assert len(discord.world.messages_by(discord.world.me.id)) == count


@pytest.mark.parametrize("is_expired_here", [False, True])
async def test_an_outcome_after_the_clicks_token_is_drawn_in_the_channel(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    deciding: Deciding,
    ana: DiscordPerson,
    is_expired_here: bool,
) -> None:
    """A token that has expired by our own clock is not sent."""
    message, _ = await click_approve(ponte, ana)
    discord.clock.advance(3600)
    expires = {"token_expires_at": 1.0} if is_expired_here else {}
    await deciding.answer(Answer("", parts=("",), cards=(DONE,)), **expires)
    await discord.wait_until(lambda: labels(message) == [["Undo"]])
    requests = [path for _, path in discord.calls if path.startswith("/webhooks/")]
    assert bool(requests) is not is_expired_here


async def test_a_private_outcome_after_the_clicks_token_is_undeliverable(
    discord: FakeDiscord, ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    await click_approve(ponte, ana)
    before = len(discord.world.messages_by(discord.world.me.id))
    discord.clock.advance(3600)
    with pytest.raises(Undeliverable, match="the click's token is over"):
        await deciding.answer(Answer("No.", status="failed", parts=("No.",), is_private=True))
    assert len(discord.world.messages_by(discord.world.me.id)) == before


async def test_a_card_whose_embed_a_moderator_removed_is_drawn_again(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, _ = await click_approve(ponte, ana)
    message["embeds"] = []
    await deciding.answer(Answer("", parts=("",), cards=(DONE,)))
    assert [embed["title"] for embed in message["embeds"]] == ["Changed 2 customers"]


async def test_a_card_that_changes_after_the_answer_to_its_click_is_redrawn(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, _ = await click_approve(ponte, ana)
    reply = await deciding.answer(Answer("", parts=("",), cards=(DONE,)))
    assert labels(message) == [["Undo"]]
    undone = replace(DONE, state="undone", actions=(), decided_at=1_800_000_000.5)
    await reply.refresh(Answer("", parts=("",), cards=(undone,)))
    assert message["embeds"][0]["author"]["name"] == "↶ undone"
    assert "-# <t:1800000000:f>" in message["embeds"][0]["description"]
    assert labels(message) == []


async def test_an_answer_for_everybody_to_a_click_grows_in_a_post_with_its_files(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, _ = await click_approve(ponte, ana)
    reply = await deciding.work("one")
    await ana.wait_for_text("one")
    file = await ponte.engine.conversations.files.put(
        "t", "plot.png", "image/png", b"png", Person("discord", str(ana.id)), "c"
    )
    await reply.finish(Answer("", parts=("one two",), files=(file,), has_own_post=True))
    answer = await ana.wait_for_text("one two")
    assert [one["filename"] for one in answer["attachments"]] == ["plot.png"]
    assert labels(message) == [["Approve", "Deny"]], "the card's message is not changed"
    assert not message["attachments"]
    assert len(ana.dm.messages) == 4, "Ana's message, its answer, the card, and this answer"


async def test_an_outcome_on_the_card_has_no_place_for_files(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, _ = await click_approve(ponte, ana)
    file = await ponte.engine.conversations.files.put(
        "t", "plot.png", "image/png", b"png", Person("discord", str(ana.id)), "c"
    )
    before = len(ana.dm.messages)
    await deciding.answer(Answer("", parts=("",), cards=(DONE,), files=(file,)))
    assert labels(message) == [["Undo"]]
    assert not message["attachments"]
    assert len(ana.dm.messages) == before


async def test_an_answer_to_a_click_where_ponte_may_not_post_is_for_the_person_alone(
    discord: FakeDiscord, ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    """Ponte is not a member there. The token of the click is valid."""
    _, click = await click_approve(ponte, ana)
    file = await ponte.engine.conversations.files.put(
        "t", "plot.png", "image/png", b"png", Person("discord", str(ana.id)), "c"
    )
    discord.refuse("POST", "/channels/*/messages", 403, 50001)
    await deciding.answer(Answer("", parts=("Undone.",), files=(file,), has_own_post=True))
    assert whispers(click) == ["Undone."]


async def test_a_card_that_was_deleted_meanwhile_is_let_go(
    discord: FakeDiscord, ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message, _ = await click_approve(ponte, ana)
    await ana.delete(message)
    discord.clock.advance(3600)
    await deciding.answer(Answer("", parts=("",), cards=(DONE,)))


async def test_two_clicks_at_once_do_not_undo_each_other(
    ponte: DiscordPonte, deciding: Deciding, ana: DiscordPerson
) -> None:
    message = await post_cards(ponte, ana, OPEN, OTHER)
    await (await ana.click(message, "Approve")).wait_for_ack()
    await (await ana.click(message, "Approve")).wait_for_ack()
    second = Card("ghijk2", "change", "Deleted 1 order", "", (), (), "done")
    await asyncio.gather(
        deciding.answer(Answer("", parts=("",), cards=(DONE,))),
        deciding.answer(Answer("", parts=("",), cards=(second,))),
    )
    titles = [embed["title"] for embed in message["embeds"]]
    assert titles == ["Changed 2 customers", "Deleted 1 order"]


async def test_a_click_whose_work_takes_long_shows_it(
    discord: FakeDiscord, deciding: Deciding, ana: DiscordPerson
) -> None:
    message = await post_cards(deciding.ponte, ana, OPEN)
    before = len(ana.dm.typing)
    await (await ana.click(message, "Approve")).wait_for_ack()
    reply = await deciding.work()
    await discord.wait_until(lambda: len(ana.dm.typing) > before)
    await reply.finish(Answer("", parts=("",), cards=(DONE,)))
    await reply.wait_for_updates()
    assert message["embeds"][0]["title"] == "Changed 2 customers"


async def test_more_cards_than_fit_come_as_words(live: DiscordPonte, ana: DiscordPerson) -> None:
    many = [Card(f"aaaaa{n}", "proposal", f"Card {n}", "", (), ("approve",)) for n in "234567"]
    message = await post_cards(live, ana, *many)
    assert len(message["embeds"]) == 5
    assert "`approve aaaaa7`" in message["content"]


def whispers(exchange: Exchange) -> list[str]:
    return [m["content"] for m in exchange.followups if m["flags"] & EPHEMERAL]


async def test_a_card_that_must_be_whole_is_whole_or_cannot_be_approved() -> None:
    text = "> " + "@everyone &é " * 90 + "END\n\n" + "Waiting for Ana. " * 20
    for count in range(1, 8):
        cards = [
            replace(OTHER, id=f"abcde{number}", text=text, is_whole=True)
            for number in range(2, count + 2)
        ]
        buttons = str([getattr(item, "custom_id", "") for item in build_buttons(cards).children])
        for card, result in zip(cards, build_embeds(cards), strict=False):
            words, is_whole = result.description or "", count < 3
            assert (f"approve:{card.id}" in buttons) == is_whole, count
            assert ("fit here" in words) != is_whole, count
            assert "END" in words or not is_whole, count
        assert "approve" not in " ".join(describe_cards(cards[5:]))
    for length in (3_000, 4_090):
        card = replace(OTHER, id="abcde2", text="x" * length + "END", is_whole=True)
        buttons = str([getattr(item, "custom_id", "") for item in build_buttons([card]).children])
        assert ("approve:abcde2" in buttons) == ("END" in str(build_embeds([card])[0].description))
        assert ("approve:abcde2" in buttons) == (length == 3_000)
        assert "approve" not in " ".join(describe_cards([card]))


@pytest.mark.parametrize(
    ("rows", "fields", "size", "can_approve"),
    [
        (1, 1, 10, True), (1, 1, 3_000, True), (1, 13, 20, True), (11, 2, 20, True),
        (1, 1, 4_000, False), (100, 2, 30, False), (50, 10, 100, False),
    ],
)  # fmt: skip
def test_rows_are_whole_or_cannot_be_approved(
    rows: int, fields: int, size: int, can_approve: bool
) -> None:
    row = card_row(None, {f"F{n}": f"{'v' * size}E{n}" for n in range(fields)})
    card = replace(OTHER, rows=(row,) * rows, is_whole=True)
    words = build_embeds([card])[0].description or ""
    assert len(words) <= 4096
    buttons = str([getattr(item, "custom_id", "") for item in build_buttons([card]).children])
    is_whole = all(words.count(change["after"]) >= rows for change in row["changes"])
    assert (f"approve:{card.id}" in buttons) == can_approve
    assert can_approve <= is_whole
    assert can_approve or f"type `approve {card.id}`" in words


@pytest.mark.parametrize("letter", ["x", "*", "@everyone "])
@pytest.mark.parametrize("count", [1, 2])
def test_cards_that_count_as_short_are_whole(count: int, letter: str) -> None:
    """A word approves them without showing them again."""
    for length in range(1, 700, 30):
        row = card_row(None, {"F": letter * length})
        card = replace(OTHER, rows=(row,), is_whole=True)
        cards = [replace(card, id=f"abcde{n}") for n in range(2, 2 + count)]
        if not is_short([describe_whole(card) for card in cards]):
            break
        buttons = str([getattr(item, "custom_id", "") for item in build_buttons(cards).children])
        assert buttons.count("ponte:approve:") == count, length
    assert length > 1


def test_a_new_row_has_a_line_for_each_field() -> None:
    """Line breaks stay, and no line of a value looks like a field."""
    note = "first\n\n# second\n**Status**: Paid"
    row = card_row(None, {"Name": "Ann", "Note": note, "Status": "Open"})
    embed = build_embed(Card("abc234", "proposal", "Create a row", "", (row,), ("approve",)))
    assert embed.description == (
        "**Ann**\n**Note**: first\n\u2003\\# second\n\u2003\\*\\*Status\\*\\*: Paid\n"
        "**Status**: Open"
    )
