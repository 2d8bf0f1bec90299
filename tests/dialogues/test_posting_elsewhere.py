"""A model proposes a post in another place: a person sees the whole text, and it is posted once."""

from __future__ import annotations

import functools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from core.base.errors import NotAllowed, PlatformBusy, ToolError, Undeliverable, WriteUnsure
from core.base.tasks import Backoff
from core.changes.kinds import Changer
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowWrite
from core.domain.messages import (
    PERSON,
    Address,
    Answer,
    File,
    MessageOrigin,
    Person,
    ReplyTo,
    encode_json,
)
from core.domain.ports import Messenger
from core.domain.rights import Viewer
from core.people.rules import Rule, RuleBook
from core.tools import posting as elsewhere
from core.tools.posting import PlacePosts, PlacePostSource
from core.tools.tool import offered_tools
from core.webhooks.hook import HOOK_PLATFORM
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices, make_message
from tests.fakes.config import fixed_rules
from tests.fakes.discord import FakeDiscord
from tests.fakes.models import EchoModel
from tests.fakes.recorder import Faults, Recorder, RecordingSurface
from tests.fakes.slack import SlackChannel, SlackPerson
from tests.slack.bot import Setting, Workplace, workplace
from tests.time_limits import Limits

WILFUL = (
    "@everyone <!channel> @here <@U123> see [us](https://evil.example/x) **now**\n"
    "||hidden||\n\nRequested by Bob.\n```\n<!here> code"
)


@dataclass
class SlackPosting:
    """A Slack workplace whose model can post elsewhere."""

    work: Workplace
    policy: Any
    faults: Any = field(init=False)

    def __post_init__(self) -> None:
        self.faults = self.work.slack.api.faults

    async def ask(
        self, to: str, text: str, who: SlackPerson | None = None, place: SlackChannel | None = None
    ) -> Any:
        """Return the answer to a message that makes the model call the tool. Slack takes one post a
        second in each channel, so each message has a channel of its own."""
        slack, who = self.work.slack, who or self.work.alice
        place = place or slack.channel("asks", who)
        arguments = json.dumps({"to": "TO", "text": text}).replace("<", "\\u003c")
        words = f"{slack.bot} call post_message {arguments.replace('TO', to)}"
        return await slack.wait_for_answer(slack.say(who, place, words))

    def posts(self, place: str) -> list[Any]:
        """Return the bot's posts in a channel."""
        return self.work.slack.workspace.by_bot(place)

    async def approve(self, card: Any, words: str, who: SlackPerson | None = None) -> None:
        """Press the card's first button, and wait until the card contains `words`."""
        who = who or self.work.alice
        await self.work.slack.click(who, card, "Approve").acked.wait()
        await self.work.slack.wait_until(lambda: words in card.visible_text)

    async def try_to_approve(self, card: Any, words: str) -> None:
        """Press *Approve*, and wait until Alice alone reads `words`."""
        slack = self.work.slack
        await slack.click(self.work.alice, card, "Approve").acked.wait()
        await slack.wait_until(
            lambda: words in "".join(p.visible_text for p in slack.ephemeral_posts(card.channel))
        )


@asynccontextmanager
async def posting_on_slack(home: Path) -> AsyncIterator[SlackPosting]:
    policy = allow_list(frozenset({"*"}))
    messengers: dict[str, Messenger] = {}
    choices = make_choices(EchoModel(), [PlacePostSource(messengers)], policy)
    async with workplace(home, Setting(chosen=choices)) as work:
        messengers["slack"] = work.bot.slack
        yield SlackPosting(work, policy)


def mention(place: SlackChannel) -> str:
    return f"<#{place.id}|{place.name}>"


@pytest.mark.slow
async def test_a_post_elsewhere_on_slack(tmp_path: Path, limits: Limits) -> None:
    limits(REFUSAL_SECONDS=0.0)
    async with posting_on_slack(tmp_path) as ponte:
        w = ponte.work
        slack, places = w.slack, w.slack.workspace.places
        sales, secret = slack.channel("sales", w.alice), slack.channel("secret", w.bob)
        stranger, guest = slack.person("Zoe", team="T0OTHER"), slack.person("Gus", guest="multi")
        bobs = slack.dm(w.bob)

        card = await ponte.ask(mention(sales), WILFUL)
        event = card.visible_text.replace("\\", "")
        for part in ("Post to #sales", "**now**", "code", "Requested by Alice", "can't be undone"):
            assert part in event, (part, event)
        assert not ponte.posts(sales.id), "nothing is posted before a person approves"
        id = card.buttons["Approve"]["value"]
        await ponte.approve(card, "Posted.")
        undoing = slack.channel("undo", w.alice)
        slack.say(w.alice, undoing, f"{slack.bot} undo {id}")
        await slack.wait_until(lambda: slack.ephemeral_posts(undoing.id))
        assert "Posts can't be undone." in slack.ephemeral_posts(undoing.id)[0].visible_text
        (post,) = ponte.posts(sales.id)
        source = post.blocks[0]["text"]
        assert [block["type"] for block in post.blocks] == ["markdown"], "no buttons"
        *quote, empty, last = source.split("\n")
        assert all(line.startswith(">") for line in quote), source
        assert (empty, last) == ("", "Requested by Alice."), source
        for bad in ("<!", "<@", "@everyone", "@here", "https://evil", "](", "||"):
            assert bad not in source, bad

        bob = f"<@{w.bob.id}>"
        slack.workspace.groups["SBOBSTEAM"] = {w.bob.id}
        for case, to, text, who, words in (
            ("no member", mention(secret), "Hi", w.alice, "where you can write"),
            ("no place", "<#C0NOWHERE|no>", "Hi", w.alice, "where you can write"),
            ("not mentioned", sales.id, "Hi", w.alice, "Mention the channel"),
            ("by its name", "#sales", "Hi", w.alice, "Mention the channel"),
            ("an id in plain text", f"#{sales.id}", "Hi", w.alice, "Mention the channel"),
            ("too long", mention(sales), "x" * 1300, w.alice, "too long"),
            ("too many bytes", mention(sales), "語" * 800, w.alice, "too long"),
            ("empty", mention(sales), "\u200b ", w.alice, "empty"),
            ("here", mention(w.general), "Hi", w.alice, "current conversation"),
            ("a stranger", f"<@{stranger.id}>", "Hi", w.alice, "where you can write"),
            ("nobody", "<@U0NOWHERE>", "Hi", w.alice, "where you can write"),
            ("a group, though of one person", "@SBOBSTEAM", "Hi", w.alice, "Mention the channel"),
            ("of a stranger", bob, "Hi", stranger, "where you can write"),
            ("of a guest", bob, "Hi", guest, "where you can write"),
        ):
            answer = await ponte.ask(to, text, who, w.general if case == "here" else None)
            assert words in answer.visible_text, (case, answer.visible_text)
            assert not answer.buttons, case

        newcomer = slack.person("Nia")
        ponte.faults.add("users.info", "missing_scope", 0)
        answer = await ponte.ask(f"<@{newcomer.id}>", "Hi", w.alice)
        assert "couldn't check" in answer.visible_text
        assert not answer.buttons
        ponte.faults.end("users.info")

        card = await ponte.ask(bob, "Call Ana.", place=w.dm)
        assert "Post to @Bob" in card.visible_text
        await ponte.approve(card, "Posted.")
        assert "Requested by Alice." in ponte.posts(bobs.id)[-1].visible_text

        card = await ponte.ask(f"<#{sales.id}|general>", "First")
        assert "Post to #sales" in card.visible_text, "the channel's own name, not what was written"

        # Rights are checked again at the approval. Unknown ones leave the card open.
        card = await ponte.ask(mention(sales), "Second")
        await slack.leave(w.alice.id, places[sales.id]).acked.wait()
        await ponte.try_to_approve(card, "where you can write")
        places[sales.id].members.add(w.alice.id)
        ponte.faults.add("conversations.members", "missing_scope", 0)
        await ponte.try_to_approve(card, "couldn't check")
        unknown = await ponte.ask(mention(sales), "Third")
        assert "Post to #sales" in unknown.visible_text
        ponte.faults.end("conversations.members")
        assert len(ponte.posts(sales.id)) == 1
        await ponte.approve(card, "Posted.")
        await ponte.approve(unknown, "Posted.")
        assert len(ponte.posts(sales.id)) == 3, "one post for each card"

        # A lost answer: the post is found, or it is not known and never made again.
        for case, how, unread, words, made_posts in (
            ("found", "lost", "", "Posted.", 1),
            ("history not readable", "lost", "missing_scope", "The result is unknown.", 1),
            ("may still arrive", "cut", "", "The result is unknown.", 0),
        ):
            target = slack.channel("target", w.alice)
            card = await ponte.ask(mention(target), "Fourth")
            ponte.faults.add("chat.postMessage", how, 1)
            if unread:
                ponte.faults.add("conversations.history", unread, 0)
            await ponte.approve(card, words)
            ponte.faults.end("conversations.history")
            assert len(ponte.posts(target.id)) == made_posts, case

        book = RuleBook((Rule("rules 1", deny=(f"post:slack:*:{sales.id}",)),))
        ponte.policy.read_rules = fixed_rules(book)
        answer = await ponte.ask(mention(sales), "No")
        assert "You don't have permission to post there" in answer.visible_text


async def test_who_left_without_an_event_posts_no_more_on_slack(tmp_path: Path) -> None:
    """An older manifest has no event of who leaves, and reading trusts Slack's answer for a
    minute."""
    async with posting_on_slack(tmp_path) as ponte:
        w = ponte.work
        sales = w.slack.channel("sales", w.alice)
        card = await ponte.ask(mention(sales), "The offer is out")
        sales.members.discard(w.alice.id)
        await ponte.try_to_approve(card, "where you can write")
        assert ponte.posts(sales.id) == []
        assert "Approve" in card.buttons, "she may join again"
        sales.members.add(w.alice.id)
        await ponte.approve(card, "Posted.")
        assert len(ponte.posts(sales.id)) == 1


async def test_who_leaves_after_the_approval_posts_no_more_on_slack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = elsewhere._PostBatch.write
    async with posting_on_slack(tmp_path) as ponte:
        w = ponte.work
        sales = w.slack.channel("sales", w.alice)

        async def leave_and_write(batch: Any, rows: list[RowWrite]) -> Any:
            sales.members.discard(w.alice.id)
            return await write(batch, rows)

        monkeypatch.setattr(elsewhere._PostBatch, "write", leave_and_write)
        card = await ponte.ask(mention(sales), "The offer is out")
        await ponte.approve(card, "where you can write")
        assert ponte.posts(sales.id) == []


@pytest.mark.parametrize("fault", ["slow", "503", "cut"])
async def test_a_member_whom_slack_names_late_posts_on_slack(
    tmp_path: Path, limits: Limits, fault: str
) -> None:
    limits(CALL_BACKOFF=Backoff(0.0))
    async with posting_on_slack(tmp_path) as ponte:
        w = ponte.work
        sales = w.slack.channel("sales", w.alice)
        card = await ponte.ask(mention(sales), "The offer is out")
        gate = w.slack.api.hold("conversations.members")
        if fault != "slow":
            ponte.faults.add("conversations.members", fault, 1)
        click = w.slack.click(w.alice, card, "Approve")
        await gate.wait_until_reached()
        await click.acked.wait()
        assert ponte.posts(sales.id) == []
        gate.release()
        await w.until(lambda: "Posted." in card.visible_text)
        assert len(ponte.posts(sales.id)) == 1


async def test_cards_show_all_of_the_text_or_no_button_on_slack(tmp_path: Path) -> None:
    async with posting_on_slack(tmp_path) as ponte:
        w = ponte.work
        sales = w.slack.channel("sales", w.alice)
        text = ("Lorem & ipsum " * 100)[:1100]
        card = await ponte.ask(mention(sales), text)
        assert "Approve" in card.buttons
        assert card.visible_text.count("Lorem &amp;") == text.count("Lorem &")
        for locale, name, words in (
            ("pt-BR", "Rui", ("Postar em #sales", "Solicitação de Rui.", "Mensagem postada.")),
            ("fr", "Zoé", ("Publier dans #sales", "Demande faite par Zoé.", "Message publié.")),
        ):
            person = w.slack.person(name, locale=locale)
            w.slack.workspace.places[sales.id].members.add(person.id)
            card = await ponte.ask(mention(sales), "Bom dia", person)
            for part in words[:2]:
                assert part in card.visible_text, card.visible_text
            await ponte.approve(card, words[2], person)
            assert words[1] in ponte.posts(sales.id)[-1].visible_text


@pytest.mark.parametrize("made", ["at once", "late", "never"])
async def test_a_killed_process_neither_loses_nor_doubles_the_post(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, made: str
) -> None:
    """The next process starts from a copy of the home as it was when the first one was killed.
    Slack has made the post then, or makes it after the next process has looked for it, or never."""
    homes = tmp_path / "killed", tmp_path / "next"
    write, find = elsewhere._PostBatch.write, elsewhere._PostBatch._find
    late: list[tuple[Any, list[RowWrite]]] = []

    async def die(batch: Any, rows: list[RowWrite]) -> Any:
        if homes[1].exists():
            return await write(batch, rows)
        result = await write(batch, rows) if made == "at once" else None
        copy_home(*homes)
        if made == "late":
            late.append((batch, rows))
        if result is None:
            raise ToolError("It was killed.")
        return result

    async def find_before_it_is_made(batch: Any, row: RowWrite) -> Any:
        position = await find(batch, row)
        for one in late:
            late.clear()
            await write(*one)
        return position

    limits(ARRIVAL_SECONDS=0)
    homes[0].mkdir()
    async with posting_on_slack(homes[0]) as ponte:
        w = ponte.work
        sales = w.slack.channel("sales", w.alice)
        card = await ponte.ask(mention(sales), "Once")
        monkeypatch.setattr(elsewhere._PostBatch, "write", die)
        monkeypatch.setattr(elsewhere._PostBatch, "_find", find_before_it_is_made)
        await ponte.approve(card, "Posted." if made == "at once" else "It was killed.")
        w.home = homes[1]
        await w.restart()
        await w.until(lambda: "Posted." in card.visible_text)
        await w.bot.engine.changes.lifecycle.end_overdue()
        (post,) = ponte.posts(sales.id)
        assert "Requested by Alice." in post.visible_text


def copy_home(home: Path, copy: Path) -> None:
    """Copy a home while its process runs."""
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.db-*", "*.lock"))
    for database in home.glob("*.db"):
        with sqlite3.connect(database) as source, sqlite3.connect(copy / database.name) as target:
            source.backup(target)


async def test_a_post_elsewhere_on_discord_is_found_after_a_lost_answer(
    discord: FakeDiscord, tmp_path: Path, limits: Limits
) -> None:
    limits(CALL_PAUSES_SECONDS=(0.01, 0.01))
    ponte = DiscordPonte(discord, tmp_path)
    ana, rui, zoe = (discord.user(name) for name in ("Ana", "Rui", "Zoe"))
    guild = discord.guild("Bolts", ana, rui)
    discord.guild("Others", zoe)
    here, sales = discord.text_channel(guild, "general"), discord.text_channel(guild, "sales")
    ponte.policy = allow_list(frozenset({"*"}), frozenset())
    messengers: dict[str, Messenger] = {}
    ponte.choices = make_choices(ponte.model, [PlacePostSource(messengers)], ponte.policy)
    await ponte.open(threads=False)
    messengers["discord"] = ponte.adapter

    def own(place: Any) -> list[Any]:
        return discord.world.messages_by(discord.world.me.id, place.id)

    async def ask(to: str, text: str, place: Any = here) -> Any:
        before = len(own(place))
        arguments = json.dumps({"to": "TO", "text": text}).replace("<", "\\u003c")
        await ana.mention(f"call post_message {arguments.replace('TO', to)}", place)
        await discord.wait_until(lambda: len(own(place)) > before)
        return own(place)[-1]

    def is_in(words: str, post: Any) -> bool:
        return words in post["content"]

    def words_of(card: Any) -> str:
        return str(card["embeds"][0]["description"])

    def is_on(words: str, card: Any) -> bool:
        return words in words_of(card)

    card = await ask(f"<#{sales.id}>", WILFUL)
    assert "Requested by Ana" in words_of(card)
    assert own(sales) == []
    discord.lose("POST", f"/channels/{sales.id}/messages", times=1)
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: "Posted." in words_of(card))
    (result,) = own(sales)
    quote, code, end = result["content"].split("```")
    lines = quote.rstrip("\n").split("\n")
    assert all(line.startswith(">") for line in lines), result["content"]
    assert end == "\n\nRequested by Ana.", "what leaves code open is closed"
    assert not result.get("components")
    for bad in ("@everyone", "https://evil", "](", "||"):
        assert bad not in result["content"], bad
    card_words = words_of(card).replace("\n", "")
    for part in ("".join(lines), code.strip()):
        assert part in card_words, "the card showed what is posted"

    # All tries of a call are lost, so the post is looked for: in the history, or in vain.
    for text, unread, words in (("Found", False, "Posted."), ("Lost", True, "result is unknown")):
        card = await ask(f"<#{sales.id}>", text)
        discord.lose("POST", f"/channels/{sales.id}/messages", times=3)
        if unread:
            discord.refuse("GET", f"/channels/{sales.id}/messages", 403, 50001, times=99)
        await (await ana.click(card, "Approve")).wait_for_ack()
        await discord.wait_until(functools.partial(is_on, words, card))
        assert [text in post["content"] for post in own(sales)].count(True) == 1, "never twice"
    thread = discord.world.channel(type=11, name="offers", guild=guild, parent=sales.id)

    for case, place, to, words in (
        ("not mentioned", here, str(sales.id), "Mention the channel"),
        ("an id in plain text", here, f"#{sales.id}", "Mention the channel"),
        ("another server", here, f"<@{zoe.id}>", "where you can write"),
        ("a thread", here, f"<#{thread.id}>", "where you can write"),
        ("a channel, from a direct message", ana.dm, f"<#{sales.id}>", "where you can write"),
        ("a person, from a direct message", ana.dm, f"<@{rui.id}>", "where you can write"),
    ):
        answer = await ask(to, "Hi", place)
        await discord.wait_until(functools.partial(is_in, words, answer))
        assert "ponte:approve:" not in str(answer["components"]), case
    discord.lose("GET", f"/users/{rui.id}", times=99)
    answer = await ask(f"<@{rui.id}>", "Hi")
    await discord.wait_until(functools.partial(is_in, "couldn't check", answer))
    discord.faults.clear()
    card = await ask(f"<@{rui.id}>", "Call Ana.")
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: "Posted." in words_of(card))
    await ponte.close()


class Places:
    """A messenger whose posts stand in a `Recorder`."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.refusal: Exception | None = None
        """Why no direct message can begin."""
        self.may: bool | None = True

    async def can_write(
        self, person: Person | None, address: Address, *, afresh: bool = False
    ) -> bool | None:
        return self.may

    async def can_write_to(self, person: Person, other: Person, address: Address) -> bool | None:
        return True

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        if self.refusal:
            raise self.refusal
        return ReplyTo(SALES, person, "direct", ""), "en"

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "into", "")

    def surface(self, to: ReplyTo) -> RecordingSurface:
        return RecordingSurface(self.recorder, to)

    async def find_post(self, to: ReplyTo, key: str, text: str) -> str | None:
        return await self.recorder.find(to.source, key)


SALES = Address("slack", "C5", "T1", is_shared=True)
ALICE, BOB = Person("slack", "U1", "T1", "Alice"), Person("slack", "U2", "T1", "Bob")


def make_post(to: Person | None = None) -> Draft:
    target = {
        "asker": encode_json(ALICE),
        "address": encode_json(SALES),
        "person": encode_json(to) if to else "",
    }
    row = RowWrite(after={"text": "Hello"})
    return Draft(elsewhere.POST_APPLIER, "post", target, "#sales", (row,))


def connect(places: Places) -> PlacePosts:
    return PlacePosts({"slack": cast(Messenger, places)}, AsyncMock(return_value=""))


@pytest.fixture
def places(limits: Limits) -> Places:
    limits(ARRIVAL_SECONDS=0.0)
    limits(BUSY_POST_SECONDS=0.0)
    return Places()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(busy=1), "The platform isn't accepting posts right now. Try again later."),
        (Faults(refuse="channel_is_archived"), elsewhere.NO_MEMBER),
    ],
    ids=["busy", "refused"],
)
async def test_a_post_that_the_platform_rejects_is_certainly_not_made(
    places: Places, faults: Faults, words: str
) -> None:
    batch = connect(places).open(make_post())
    (finding,) = await batch.check(make_post().rows)
    places.recorder.faults = replace(faults)
    with pytest.raises(ToolError, match=words):
        await batch.write([finding.write])
    places.recorder.faults = Faults()
    (again,) = await batch.check([finding.write])
    assert again.state == "before", "so it could be made now"
    (result,) = await batch.write([again.write])
    assert [post.text for post in places.recorder.posts] == ["Hello"]
    (match,) = await batch.check([result])
    assert (match.state, match.current) == ("after", result.after)


async def test_a_post_of_a_dead_process_that_arrives_during_the_check_is_found(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = connect(places)
    (finding,) = await posts.open(make_post()).check(make_post().rows)
    monkeypatch.setattr(places, "find_post", AsyncMock(side_effect=[None, "p1"]))
    (again,) = await posts.open(make_post()).check([finding.write])
    assert (again.state, again.write.id) == ("after", "p1")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Undeliverable(reason="user_disabled"), elsewhere.NO_MEMBER),
        (PlatformBusy(5.0), elsewhere.NOT_KNOWN),
    ],
    ids=["never", "not now"],
)
async def test_nothing_is_posted_to_a_person_who_cannot_be_written_to(
    places: Places, refusal: Exception, words: str
) -> None:
    draft, places.refusal = make_post(BOB), refusal
    batch = connect(places).open(draft)
    with pytest.raises(ToolError) as error:
        await batch.check(draft.rows)
    assert (error.value.words(), error.value.code) == (words, "drift")


async def test_a_post_on_a_platform_that_is_no_longer_connected_stays_undecided() -> None:
    posts, draft = PlacePosts({}, AsyncMock(return_value="")), make_post()
    with pytest.raises(NotAllowed, match="couldn't check whether you can write there"):
        await posts.check_asker(draft)
    with pytest.raises(ToolError) as error:
        await posts.open(replace(draft, target=dict(make_post(BOB).target))).check(draft.rows)
    assert error.value.code == "drift"


async def test_only_people_of_a_chat_platform_are_offered_the_tool() -> None:
    (tool,) = await PlacePostSource({"slack": cast("Messenger", None)}).tools(Viewer())
    message = make_message("Hi", "k1")
    ours, not_ours = PERSON, MessageOrigin("schedule", is_authored=False)
    for case, author, origin, is_offered in (
        ("a person of Slack", Person("slack", "U1", "T1"), ours, True),
        ("a bot of Slack", Person("slack", "B1", "T1", is_bot=True), ours, False),
        ("the page", Person("web", "owner"), ours, False),
        ("the terminal", Person("terminal", "owner"), ours, False),
        ("a platform that is off", Person("discord", "1"), ours, False),
        ("a webhook", Person(HOOK_PLATFORM, "ci"), ours, False),
        ("a webhook's message, a run", Person("slack", "U1", "T1"), not_ours, False),
    ):
        address = Address(author.platform, "C1")
        variant = replace(message, author=author, address=address, origin=origin)
        assert bool(offered_tools([tool], variant)) == is_offered, case
    on_page = replace(message, author=Person("slack", "U1", "T1"), address=Address("web", "main"))
    assert not offered_tools([tool], on_page), "somebody who signed in with Slack"


async def test_the_text_of_a_proposed_post_is_changed_by_who_can_write_there(
    places: Places,
) -> None:
    first = make_post()
    row = RowWrite(after={"text": "> Hello", "typed": "Hello"}, applier_data="old")
    first = replace(first, rows=(row,))
    proposal = Proposal("abcde2", first, ALICE, SALES, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    change = Change(proposal, steps=(ChangeStep(1, row),))
    (field,) = elsewhere.PLACE_POST.form_fields(change)
    assert (field.key, field.type, field.value) == ("Text", "lines", "Hello")
    posts = connect(places)
    changer = Changer(BOB, SALES, Viewer(), UTC)
    revision = await posts.revise(change, {"Text": "**Bye** <!here>"}, changer)
    (new,) = revision.rows
    assert new.after
    assert new.after["text"].endswith("Requested by Bob.")
    assert "<!here>" not in new.after["text"]
    assert (new.after["typed"], new.applier_data) == ("**Bye** <!here>", "")
    assert json.loads(revision.target["asker"])["id"] == BOB.id
    for text, words in ((" ", "empty"), ("x" * 2_000, "too long")):
        with pytest.raises(ToolError, match=words):
            await posts.revise(change, {"Text": text}, changer)
    places.may = False
    with pytest.raises(ToolError, match="where you can write"):
        await posts.revise(change, {}, changer)


async def test_a_process_that_dies_before_the_files_leaves_them_to_the_next_one(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a private answer that is shared."""
    answer = Answer("Hello", parts=("Hello",), files=(File("f1", "a.csv", "text/csv", 1),))
    after = {"text": "Hello", "answer": encode_json(answer)}
    draft = replace(make_post(), rows=(RowWrite(after=after),))
    posts = connect(places)
    batch = posts.open(draft)
    (finding,) = await batch.check(draft.rows)
    with monkeypatch.context() as patch:
        patch.setattr(RecordingSurface, "upload", AsyncMock(side_effect=ConnectionError))
        with pytest.raises(WriteUnsure):
            await batch.write([finding.write])
    batch = posts.open(draft)
    (again,) = await batch.check([finding.write])
    assert again.state == "before"
    (result,) = await batch.write([again.write])
    assert [post.text for post in places.recorder.posts] == ["Hello", "a.csv"]
    (match,) = await batch.check([result])
    assert match.state == "after"
