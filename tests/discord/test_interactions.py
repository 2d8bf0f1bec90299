"""Slash commands, the message menu, modals and buttons, as people see them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.discord import state as tokens
from adapters.discord.interactions import DISCORD_STORE_SECONDS
from adapters.discord.responses import ResponseSurface
from core.base.errors import Undeliverable
from core.chat.reply import GrowingReply
from core.domain.messages import Address, Answer, Card, File, Message, Person, ReplyTo, turn_id
from core.domain.model_rounds import RoundRequest
from core.domain.ports import PostJournal, Reply
from core.domain.records import FINAL_STATES, QuickCommand, Receipt
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import EmptyStatusBoard, allow_list, make_choices
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import DEFER, DEFER_UPDATE, MODAL
from tests.fakes.discord.interactions import MESSAGE as SAID
from tests.fakes.discord.limits import NONCE_SECONDS
from tests.fakes.discord.world import Channel
from tests.fakes.posts import KeptPosts
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS
from tests.time_limits import Limits


class Board(EmptyStatusBoard):
    """Knows quick commands and changes."""

    def __init__(self, count: int = 2) -> None:
        self.known = [
            QuickCommand(f"summary-{n}", f"Summary {n}", inputs={"text": {"required": True}})
            for n in range(count)
        ]

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return self.known

    async def changes(self, conversation: str) -> Sequence[Card]:
        card = Card("abcde2", "change", "3 customers", "", actions=("undo",), state="done")
        return (card, Card("bcdef2", "change", "undone", "", state="undone"))


@pytest.fixture
async def open_ponte(ponte: DiscordPonte) -> DiscordPonte:
    ponte.policy = allow_list(frozenset({"*"}))
    choices = make_choices(ponte.model, policy=ponte.policy)
    ponte.choices = replace(choices, board=Board())
    await ponte.open()
    await ponte.ready()
    return ponte


async def test_ask_is_acked_first_and_answered_in_place_to_a_person_with_a_language(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    exchange = await ana.slash("ask", prompt="olá", locale="pt-BR")
    await exchange.wait_until(lambda e: e.text == "You said: olá" and "Stop" not in str(e.buttons))
    assert exchange.kind == DEFER
    assert not exchange.followups
    assert "their language setting is pt-BR." in open_ponte.model.asks[-1].preface


async def test_the_commands_of_ponte_are_registered_only_when_they_changed(
    discord: FakeDiscord, open_ponte: DiscordPonte
) -> None:
    names = {command["name"]: command for command in discord.rest.commands}
    words = {"ask", "quick-command", "new", "status", "show", "stop", "undo", "usage", "Ask Ponte"}
    assert set(names) == words
    assert names["ask"]["contexts"] == [0, 1, 2]
    assert names["ask"]["integration_types"] == [0, 1]
    await open_ponte.close()
    for _ in range(2):
        await open_ponte.open()
        await open_ponte.close()
    assert discord.rest.syncs == 1


async def test_commands_that_discord_refused_are_registered_at_the_next_start(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.refuse("PUT", "/applications/*/commands", 400, 30034)
    await ponte.open()
    await discord.wait_until(lambda: not discord.faults.waiting)
    await ponte.close()
    assert discord.rest.commands == []
    await ponte.open()
    await ponte.ready()


async def test_status_is_for_the_asker_alone(open_ponte: DiscordPonte, ana: DiscordPerson) -> None:
    exchange = await ana.slash("status")
    await exchange.wait_for_answer()
    assert exchange.ephemeral
    assert "Connections" in exchange.text


async def test_a_stranger_is_refused_in_words_and_alone(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    await live.ready()
    exchange = await ana.slash("quick-command", slug="summary", input="hi", locale="en-US")
    await exchange.wait_for_answer()
    assert (exchange.kind, exchange.ephemeral) == (SAID, True)
    assert "have permission to run quick commands here. Ask an admin to add you" in exchange.text
    ((line,), _) = await live.engine.people.audit.read()
    assert (line["event"], line["right"]) == ("action-refused", "spend")
    assert line["asker"] == f"discord:{ana.id}"


async def test_what_cannot_be_stored_is_said_at_once(
    open_ponte: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    async def stuck(message: Message) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(open_ponte.engine.conversations.inbox, "accept", stuck)
    limits(DISCORD_STORE_SECONDS=0.05)
    exchange = await ana.slash("ask", prompt="hello")
    await exchange.wait_for_answer()
    assert exchange.ephemeral
    assert "I couldn't save your message" in exchange.text
    assert DISCORD_STORE_SECONDS < 2.0, "a second of the three is left for the way"


async def test_what_is_stored_after_the_person_was_told_that_it_is_not_is_not_answered(
    open_ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(DISCORD_STORE_SECONDS=0.05)
    full = threading.Event()
    disk = asyncio.create_task(open_ponte.engine.stores.database.write(lambda _: full.wait()))
    exchange = await ana.slash("ask", prompt="hello")
    await exchange.wait_for_answer()
    assert "I couldn't save your message" in exchange.text
    full.set()
    await disk
    limits(DISCORD_STORE_SECONDS=60.0)
    later = await ana.slash("ask", prompt="next")
    await later.wait_for_answer()
    assert [ask.input[-1].text for ask in open_ponte.model.asks] == ["next"]


async def test_a_file_may_be_as_large_as_the_interaction_says(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.give("plot.png", b"p" * 12 * 1024 * 1024)
    await ponte.open()
    await ponte.ready()
    small = await ana.slash("ask", prompt="call draw {}")
    await small.wait_until(lambda e: "up to 10 MiB" in e.text)
    discord.interactions.largest = 20 * 1024 * 1024
    large = await ana.slash("ask", prompt="call draw {}")
    await large.wait_until(lambda e: e.original and e.original["attachments"])
    assert "is too large" not in large.text


async def test_autocomplete_offers_what_fits_and_no_more_than_discord_takes(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    assert open_ponte.choices is not None
    board = open_ponte.choices.board
    assert isinstance(board, Board)
    choices = await ana.autocomplete("quick-command", "slug", slug="SUMM")
    assert [choice["value"] for choice in choices] == ["summary-0", "summary-1"]
    board.known = Board(40).known
    assert len(await ana.autocomplete("quick-command", "slug", slug="")) == 25
    undoable = await ana.autocomplete("undo", "change", change="")
    assert [choice["value"] for choice in undoable] == ["abcde2"]


async def test_ask_without_a_prompt_opens_a_modal_that_is_taken_also_after_a_restart(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ack = await (await ana.slash("ask")).wait_for_ack()
    assert ack.kind == MODAL
    submission = await ana.submit(ack, prompt="several\nlines")
    await submission.wait_for_text("You said: several\nlines")
    ack = await (await ana.slash("ask")).wait_for_ack()
    await open_ponte.close()
    await open_ponte.open()
    submission = await ana.submit(ack, prompt="still here")
    await submission.wait_for_text("You said: still here")


async def test_a_quick_command_asks_for_its_input_or_for_one_if_it_is_not_known(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ack = await (await ana.slash("quick-command", slug="summary-1")).wait_for_ack()
    assert (ack.kind, ack.data["title"]) == (MODAL, "Summary 1")
    submission = await ana.submit(ack, text="the news")
    await submission.wait_until(lambda answer: "Quick commands aren't set up" in answer.text)
    ack = await (await ana.slash("quick-command", slug="other")).wait_for_ack()
    assert (ack.kind, ack.data["title"]) == (MODAL, "other")
    (field,) = ack.data["components"]
    assert field["label"] == "Input: text or key=value"
    assert field["component"]["required"] is False
    await ana.submit(ack, input="text=news")
    await open_ponte.wait_until_stored("quick-command other text=news")


async def test_undo_names_the_change_in_lower_case(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    exchange = await ana.slash("undo", change="ABCDE2")
    await exchange.wait_until(lambda e: "abcde2" in e.text)
    assert open_ponte.taken == ["undo abcde2"]
    assert open_ponte.model.asks == []


async def test_a_command_that_breaks_is_answered_too(
    open_ponte: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(*_: object) -> None:
        raise RuntimeError("the registry")

    assert open_ponte.choices is not None
    monkeypatch.setattr(open_ponte.choices.board, "commands", raise_error)
    assert await ana.autocomplete("quick-command", "slug", slug="a") == []
    exchange = await ana.slash("quick-command", slug="summary")
    await exchange.wait_for_answer()
    assert (exchange.ephemeral, exchange.followups) == (True, [])
    assert "Something went wrong" in exchange.text


async def test_a_form_that_breaks_is_answered_too(
    open_ponte: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(message: Message) -> Receipt:
        raise RuntimeError("the inbox")

    ack = await (await ana.slash("ask")).wait_for_ack()
    monkeypatch.setattr(open_ponte.engine.conversations.inbox, "accept", raise_error)
    submission = await ana.submit(ack, prompt="hello")
    await submission.wait_for_answer()
    assert submission.ephemeral
    assert "Something went wrong" in submission.text


async def test_the_message_menu_asks_about_a_message(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    channel = discord.text_channel(discord.guild("Bolts", ana, bob), "general")
    message = await bob.say("the bolts are late", channel)
    ack = await (await ana.context_menu("Ask Ponte", message)).wait_for_ack()
    submission = await ana.submit(ack, prompt="why?")
    await submission.wait_for_text("You said: why?")
    (context, question) = open_ponte.model.asks[-1].input
    assert "the bolts are late" in context.text
    assert question.text == "why?"


async def test_where_only_the_person_installed_the_app_all_goes_by_the_token(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    elsewhere = discord.text_channel(discord.guild("Nuts", ana, with_bot=False), "general")
    exchange = await ana.slash("ask", elsewhere, prompt="hello")
    await exchange.wait_for_text("You said: hello")
    group = discord.group_dm(ana, discord.user("Bob"))
    exchange = await ana.slash("ask", group, prompt="and here?")
    await exchange.wait_for_text("You said: and here?")
    assert not [call for call in discord.calls if call[1].startswith("/channels/")]


async def test_a_long_answer_to_a_command_comes_with_a_file(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    long = "\n\n".join(f"paragraph {n} " + "x" * 900 for n in range(6))
    open_ponte.model.script = {"tell me": [long]}
    exchange = await ana.slash("ask", prompt="tell me")
    await exchange.wait_until(lambda e: e.original and e.original["attachments"])
    assert "The full answer is in `answer.md`" in exchange.text
    assert len(exchange.text) <= 2000
    assert not exchange.followups


async def test_what_is_being_done_is_shown_where_the_answer_will_stand(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.give("plot.png", b"png")
    gate = asyncio.Event()

    async def wait(ask: RoundRequest) -> None:
        if ask.number == 2:
            await gate.wait()

    ponte.model.gate = wait
    await ponte.open()
    await ponte.ready()
    exchange = await ana.slash("ask", prompt="call draw {}")
    await exchange.wait_until(lambda e: e.text == "*is drawing…*")
    gate.set()
    await exchange.wait_until(lambda e: e.original and e.original["attachments"])
    assert exchange.text.startswith("You said: ")
    assert not exchange.followups


async def test_a_file_comes_with_a_command_or_is_named(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    exchange = await ana.slash("ask", prompt="look", file=("a.csv", b"a,b"))
    await exchange.wait_until(lambda e: e.text == "You said: look")
    (file,) = open_ponte.model.asks[0].input[-1].files
    assert await open_ponte.engine.conversations.files.get(file.id) == (file, b"a,b")
    discord.refuse("GET", "/cdn/*", 404, times=9)
    exchange = await ana.slash("ask", prompt="look", file=("b.csv", b"a,b"))
    await exchange.wait_until(lambda e: "b.csv could not be fetched" in e.text)


async def test_of_too_many_acks_the_oldest_counts_as_refused(
    limits: Limits,
) -> None:
    """The answer that waits for it goes to the channel."""
    limits(MAX_REMEMBERED_ACKS=1)
    acks = tokens.Acks()
    acks.expect("old")
    waiting = asyncio.create_task(acks.wait_for("old"))
    await asyncio.sleep(0)
    acks.expect("new")
    assert await asyncio.wait_for(waiting, HANG_TIMEOUT_SECONDS) is False
    assert await acks.wait_for("old") is None
    acks.settle("new", True)
    assert await acks.wait_for("new") is True


async def test_an_ack_that_came_too_late_is_answered_in_the_channel(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.interactions.deadline = -1.0
    await ana.slash("ask", prompt="hello")
    await ana.wait_for_text("You said: hello")
    assert len(discord.world.messages_by(discord.world.me.id)) == 1


async def test_a_private_answer_whose_ack_came_too_late_is_not_shown_to_others(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    await ponte.ready()
    discord.interactions.deadline = -1.0
    exchange = await ana.slash("status", channel)
    await ponte.wait_until_stored("status")
    journal, turn = (
        ponte.engine.conversations.journal,
        turn_id(f"discord:interaction:{exchange.id}"),
    )
    # Status does not hold up the conversation, so the next turn could begin before its end.
    while (await journal.history_entry(turn)).state not in FINAL_STATES:
        pass
    await ana.mention("hello", channel)
    text = "my last answer here (the command's token is over)"  # the growing text is without it
    answer = await ana.wait_for_text(text, channel)
    assert "You said: hello" in answer["content"]
    assert len(discord.world.messages_by(discord.world.me.id)) == 1


async def test_a_token_that_ends_before_the_answer_leaves_one_answer(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    open_ponte.model.say_in_steps({"take your time": ["one", " two"]})
    exchange = await ana.slash("ask", prompt="take your time")
    await exchange.wait_until(lambda e: e.text == "one")
    discord.clock.advance(3600)
    open_ponte.model.go_on()
    await ana.wait_for_text("one two")
    assert len(discord.world.messages_by(discord.world.me.id)) == 1


def record_destinations(ponte: DiscordPonte) -> list[ReplyTo]:
    """Return a list that gets the destination of each reply from now on, with its token."""
    destinations: list[ReplyTo] = []

    def reply(to: ReplyTo, posts: PostJournal) -> Reply:
        destinations.append(to)
        return ponte.adapter.reply(to, posts)

    ponte.engine.platforms.replies["discord"] = reply
    return destinations


async def test_an_answer_that_replaced_the_response_is_not_posted_twice_after_a_crash(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """Nothing but its text tells which post it is: Discord has forgotten the nonce."""
    destinations = record_destinations(open_ponte)
    discord.interactions.deadline = -1.0
    await ana.slash("ask", prompt="hello")
    await ana.wait_for_text("You said: hello")
    discord.clock.advance(NONCE_SECONDS + 60)
    to, posts = replace(destinations[0], token_expires_at=1.0), KeptPosts()
    engine = open_ponte.engine
    turn = await engine.conversations.journal.history_entry(to.turn)
    await engine.conversations.inbox.wait_for_answer(turn.seq)
    await engine.stores.database.write(lambda c: c.execute("DELETE FROM posts").close())
    await posts.record_posting(1, f"{to.turn}:1")
    reply = open_ponte.adapter.reply(to, posts)
    await reply.finish(Answer("", parts=("You said: hello",)))
    (answer,) = discord.world.messages_by(discord.world.me.id)
    assert posts.posts[1].id == f"{ana.dm.id}:{answer['id']}"


async def test_a_private_answer_in_a_direct_message_is_changed_after_its_token(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """Nobody else reads there, so it was posted in the channel."""
    destinations = record_destinations(open_ponte)
    discord.interactions.deadline = -1.0
    await ana.slash("status")
    await discord.wait_until(lambda: discord.world.messages_by(discord.world.me.id))
    (answer,) = discord.world.messages_by(discord.world.me.id)
    to, posts = replace(destinations[0], token_expires_at=1.0), KeptPosts()
    await posts.record_posting(1, f"{to.turn}:1")
    await posts.record_posted(1, f"{ana.dm.id}:{answer['id']}")
    await open_ponte.adapter.reply(to, posts).finish(Answer("", parts=("on",)))
    assert [m["content"] for m in ana.dm.messages.values()] == ["on"]


async def test_a_private_answer_is_not_changed_after_its_token(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    destinations = record_destinations(open_ponte)
    await (await ana.slash("status", channel)).wait_for_answer()
    to, posts = replace(destinations[0], token_expires_at=1.0), KeptPosts()
    await posts.record_posting(1, f"{to.turn}:1")
    await posts.record_posted(1, f"{channel.id}:1")
    with pytest.raises(Undeliverable, match="the command's token is over"):
        await open_ponte.adapter.reply(to, posts).finish(Answer("", parts=("on",)))
    assert not [path for method, path in discord.calls if method == "PATCH" and "channels" in path]


async def test_an_answer_that_came_after_another_process_took_over_is_deleted(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    destinations = record_destinations(open_ponte)
    await (await ana.slash("ask", prompt="hello")).wait_for_text("You said: hello")
    reply = open_ponte.adapter.reply(destinations[0], KeptPosts())
    assert isinstance(reply, GrowingReply)
    answer = Answer("", parts=("late",))
    await reply.finish(answer)
    assert [m["content"] for m in ana.dm.messages.values()] == ["late"]
    await reply.correct_late_posts(answer, [])
    assert not ana.dm.messages


@pytest.mark.parametrize("is_expired_before", [False, True])
async def test_a_token_that_ends_before_the_files_are_attached_loses_no_file(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    is_expired_before: bool,
) -> None:
    """It ends after the answer is complete: while the files are attached, or before that."""
    ponte.give("plot.png", b"png")
    await ponte.open()
    await ponte.ready()
    get, upload, now = ponte.engine.conversations.files.get, ResponseSurface.upload, time.time

    async def get_late(id: str) -> tuple[File, bytes]:
        discord.clock.advance(3600)
        return await get(id)

    async def upload_late(surface: ResponseSurface, key: str, files: Sequence[File]) -> str:
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        return await upload(surface, key, files)

    if is_expired_before:
        monkeypatch.setattr(ResponseSurface, "upload", upload_late)
    else:
        monkeypatch.setattr(ponte.engine.conversations.files, "get", get_late)
    exchange = await ana.slash("ask", prompt="call draw {}")
    await exchange.wait_until(lambda e: e.original and e.text.startswith("You said: "))
    await discord.wait_until(lambda: exchange.original and exchange.original["attachments"])
    assert exchange.text.startswith("You said: ")
    assert len(discord.world.messages_by(discord.world.me.id)) == 1


async def test_a_replayed_interaction_is_taken_once(
    discord: FakeDiscord, open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    exchange = await ana.slash("ask", prompt="hello")
    await exchange.wait_for_answer()
    session = discord.gateway.sessions[-1]
    assert session is not None
    event = next(text for _, text in session.sent if '"INTERACTION_CREATE"' in text)
    assert session.socket is not None
    await session.socket.send_str(event)
    again = await ana.slash("ask", prompt="next")
    await again.wait_for_answer()
    assert [ask.input[-1].text for ask in open_ponte.model.asks] == ["hello", "next"]


async def test_the_stop_button_stops_and_goes(open_ponte: DiscordPonte, ana: DiscordPerson) -> None:
    open_ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ana.say("tell me")
    message = await ana.wait_for_text("one")
    await ana.discord.wait_until(lambda: message["components"])
    click = await (await ana.click(message, "Stop")).wait_for_ack()
    assert click.kind == DEFER_UPDATE
    await ana.wait_for_text("Stopped.")
    await ana.discord.wait_until(lambda: not message["components"])
    again = await ana.slash("ask", prompt="stop")
    await again.wait_for_text("Nothing is running here.")
    assert not click.followups  # "Stopped." is in the post alone


async def test_someone_else_may_not_stop_it(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    channel = discord.text_channel(discord.guild("Bolts", ana, bob), "general")
    await ponte.open()
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    question = await ana.mention("tell me", channel)
    await discord.wait_until(lambda: int(question["id"]) in discord.world.channels)
    thread = discord.world.channels[int(question["id"])]
    message = await ana.wait_for_text("one", thread)
    await discord.wait_until(lambda: message["components"])
    click = await bob.click(message, "Stop")
    await click.wait_until(lambda e: e.followups)
    assert "Only the person who asked" in click.followups[0]["content"]
    ponte.model.go_on()
    await ana.wait_for_text("one two", thread)


async def test_while_restarting_commands_are_told_to_wait(
    open_ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    await open_ponte.adapter.stop_intake()
    exchange = await ana.slash("ask", prompt="hello")
    await exchange.wait_for_answer()
    assert exchange.ephemeral
    assert "restart" in exchange.text
