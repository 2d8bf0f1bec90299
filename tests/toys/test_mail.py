"""An origin of turns is one file and one line. Its turns keep every promise, on Slack, Discord and
the page: with and without rights, and if the process is lost after any stored step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.engine import ORIGINS, Engine
from core.changes.approval import TableRule, TableRules
from core.domain.messages import Address, Answer, Person, ReplyTo
from core.rights.rules import Rule, RuleBook
from core.store.turns import Journal
from tests.dialogues.bot_home import BotHome
from tests.dialogues.test_page_approvals import page
from tests.discord.discord_ponte import DiscordPonte, Speaker
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.memory_table import MemoryTable
from tests.fakes.slack import FakeSlack
from tests.slack.bot import Setting, running
from tests.toys.mail import PREFACE, MailOrigin, allow_senders, make_mail

ADD = f"call table_create {json.dumps({'rows': [{'Name': 'Ada'}]})}"
READ = "call table_read {}"
SHOP, GUEST, STRANGER = "shop@ours.example", "guest@ours.example", "who@evil.example"
"""The first may read and propose, the second may chat, and the third is not known."""
RULES = RuleBook(
    (Rule("1", frozenset({"crew"}), allow=("read", "propose:People")),),
    stand_ins=allow_senders({SHOP: "crew", GUEST: "visitors"}),
)
STEPS = (
    "begin", "record_user_message", "record_response", "record_round", "record_call_start",
    "record_call_end", "record_answer", "record_posting", "record_posted", "end_turn", "put_back",
)  # fmt: skip
"""The methods of the journal that store a step of a turn."""


@dataclass
class Process:
    """The process that runs turns. It can be lost: from then on it stores nothing."""

    steps: list[str] = field(default_factory=list)
    ends_after: int = -1
    """The number of stored steps after which the process is lost; -1 for never."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the tasks of a lost process end."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the end of a turn is stored, which may be after its answer is read."""

    def restart(self, ends_after: int = -1) -> None:
        self.steps.clear()
        self.lost.clear()
        self.gone.clear()
        self.ended.clear()
        self.ends_after = ends_after

    def watch(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return the journal's method of that name, as this process calls it."""
        store = getattr(Journal, name)

        async def step(journal: Journal, *given: Any, **more: Any) -> Any:
            await self._end_here()
            stored = await store(journal, *given, **more)
            self.steps.append(name)
            await self._end_here()
            if name == "end_turn":
                self.ended.set()
            return stored

        return step

    async def _end_here(self) -> None:
        if self.ends_after == len(self.steps):
            self.lost.set()
        if self.lost.is_set():
            await self.gone.wait()
            raise asyncio.CancelledError


class Office:
    """A Ponte on one platform, with a table, mails, and a person who is an admin. Mails are
    answered in the person's direct conversation."""

    engine: Engine

    def __init__(self, home: Path, person: str) -> None:
        self.home = home
        self.model, self.table = Speaker(), MemoryTable()
        self.policy = allow_list(frozenset({person}), frozenset({person}))
        self.policy.rule_book = lambda: RULES
        self.choices = make_choices(
            self.model, [self.table], self.policy, [self.table],
            rules=TableRules({"people": TableRule("auto")}),
        )  # fmt: skip
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        """Start Ponte in its home."""
        raise NotImplementedError

    async def close(self) -> None:
        await self.stack.aclose()

    async def find_place(self) -> ReplyTo:
        """Return where a new post goes."""
        raise NotImplementedError

    async def write(self, text: str) -> None:
        """The person writes this and reads the answer."""
        raise NotImplementedError

    async def posts(self) -> list[str]:
        """Return all that Ponte posted."""
        raise NotImplementedError

    async def store(self, id: str, sender: str, text: str, *, is_spam: bool = False) -> int:
        mail = make_mail(id, sender, text, await self.find_place(), is_spam=is_spam)
        return (await self.engine.records.inbox.accept(mail)).seq

    async def answer(self, seq: int) -> Answer:
        return await self.engine.records.inbox.wait_for_answer(seq)

    async def receive(self, id: str, sender: str, text: str, *, is_spam: bool = False) -> Answer:
        return await self.answer(await self.store(id, sender, text, is_spam=is_spam))


class SlackOffice(Office):
    def __init__(self, home: Path, slack: FakeSlack) -> None:
        self.slack, self.alice = slack, slack.person("Alice")
        self.dm = slack.dm(self.alice)
        super().__init__(home, f"slack:{self.alice.id}")
        home.mkdir()

    async def open(self) -> None:
        setting = Setting(chosen=self.choices, grace=0)
        bot = await self.stack.enter_async_context(running(self.slack, self.home, setting))
        self.engine, self.adapter = bot.engine, bot.slack

    async def find_place(self) -> ReplyTo:
        return (await self.adapter.direct(Person("slack", self.alice.id)))[0]

    async def write(self, text: str) -> None:
        before = len(self.slack.workspace.by_bot(self.dm.id))
        self.slack.say(self.alice, self.dm, text)
        await self.slack.wait_until(lambda: len(self.slack.workspace.by_bot(self.dm.id)) > before)

    async def posts(self) -> list[str]:
        return [post.visible_text for post in self.slack.workspace.by_bot(self.dm.id)]


class DiscordOffice(Office):
    def __init__(self, home: Path, discord: FakeDiscord) -> None:
        self.discord, self.ana = discord, discord.user("Ana")
        super().__init__(home, f"discord:{self.ana.id}")
        home.mkdir()
        self.ponte = DiscordPonte(discord, home)
        self.ponte.model, self.ponte.policy = self.model, self.policy
        self.ponte.choices = self.choices

    async def open(self) -> None:
        await self.ponte.open()
        self.stack.push_async_callback(self.ponte.close, 0)
        self.engine = self.ponte.engine

    async def find_place(self) -> ReplyTo:
        return (await self.ponte.adapter.direct(Person("discord", str(self.ana.id))))[0]

    async def write(self, text: str) -> None:
        before = len(await self.posts())
        await self.ana.say(text)
        await self.ana.wait_for_messages(lambda seen: len(seen) > before)

    async def posts(self) -> list[str]:
        world = self.discord.world
        return [post["content"] for post in world.messages_by(world.me.id, self.ana.dm.id)]


class PageOffice(Office):
    def __init__(self, home: Path, database: str = "") -> None:
        super().__init__(home, "web:owner")
        self.bot_home = BotHome(home, database)

    async def open(self) -> None:
        running_bot = await self.stack.enter_async_context(self.bot_home.play(self.choices))
        self.browser, *_ = await self.stack.enter_async_context(page(running_bot))
        self.engine = running_bot.engine

    async def find_place(self) -> ReplyTo:
        address = Address("web", "main")
        return ReplyTo(address, Person("web", "owner"), "mail", "")

    async def write(self, text: str) -> None:
        (await self.browser.post("/chat", json={"message": text})).raise_for_status()

    async def posts(self) -> list[str]:
        shown = (await self.browser.get("/conversations/main")).json()
        return [one["text"] for one in shown["messages"] if one["role"] == "assistant"]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    for name in STEPS:
        monkeypatch.setattr(Journal, name, process.watch(name))
    return process


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> MailOrigin:
    """The one line that adds the origin."""
    mails = MailOrigin()
    monkeypatch.setitem(ORIGINS, "mail", lambda engine: mails)
    return mails


@pytest.fixture(params=["slack", "discord", "page"])
async def office(
    request: pytest.FixtureRequest, tmp_path: Path, process: Process, mails: MailOrigin
) -> AsyncIterator[Office]:
    home = tmp_path / "home"
    async with AsyncExitStack() as stack:
        if request.param == "slack":
            office: Office = SlackOffice(home, await stack.enter_async_context(FakeSlack()))
        elif request.param == "discord":
            stack.enter_context(sdk_addresses())
            office = DiscordOffice(home, await stack.enter_async_context(FakeDiscord()))
        elif request.param == "page":
            office = PageOffice(home)
        else:
            office = PageOffice(home, request.getfixturevalue("migrated_postgres"))
        await office.open()
        stack.push_async_callback(office.close)
        yield office


async def test_a_mail_is_answered_by_the_rules_of_its_origin(
    office: Office, mails: MailOrigin
) -> None:
    await office.write("a secret plan")
    answer = await office.receive("m1", SHOP, "See https://evil.example/x")
    told = "You said: See `https://evil.example/x`"
    assert answer.text == f"{told}\n\n_Mail m1 from `{SHOP}`_", "its address is no link"
    (heard,) = office.model.asks[1:]
    assert PREFACE in heard.preface
    assert await heard.history() == [], "it reads nothing of the conversation"

    (card,) = (await office.receive("m2", SHOP, ADD)).cards
    assert card.state == "open", "no policy approves what a mail leads to"
    decision = await office.receive("m3", SHOP, f"approve {card.id}")
    assert decision.text.startswith(f"You said: approve {card.id}"), "its text is no command"
    schedule = await office.receive("m4", SHOP, "call schedule_propose {}")
    assert "error: there is no tool 'schedule_propose' here" in schedule.text
    assert office.table.applied == []
    await office.write(f"approve {card.id}")
    assert [row["Name"] for row in office.table.rows.values()] == ["Ada"], "a person approved it"

    posts = len(await office.posts())
    await office.receive("m5", SHOP, "Win a prize", is_spam=True)
    assert len(await office.posts()) == posts
    assert mails.skipped == [f"{SHOP}: rights"]
    assert mails.ended == 5


async def test_a_mail_has_the_rights_of_its_sender(office: Office) -> None:
    """Whoever may not chat is refused in the place, because nobody else could read it."""
    office.table.rows["1"] = {"Name": "Bea"}
    assert "Bea" in (await office.receive("m1", SHOP, READ)).text
    for number, text in enumerate((READ, ADD), 2):
        answer = await office.receive(f"m{number}", GUEST, text)
        assert answer.text.startswith("You said: error: there is no tool 'table_"), answer.text
        assert not answer.cards
    asked = len(office.model.asks)
    refused = await office.receive("m4", STRANGER, READ)
    assert refused.text == "Programs can't do this. A person must ask for it."
    assert (refused.code, refused.is_private) == ("forbidden", False)
    assert (await office.posts())[-1] == refused.text
    assert len(office.model.asks) == asked
    lines, _ = await office.engine.records.audit.read()
    assert [one["asker"] for one in lines if one["event"] == "action-refused"] == [
        f"mail:{STRANGER}"
    ]


@pytest.mark.parametrize("office", ["slack", "discord", "page", "postgres"], indirect=True)
async def test_nothing_happens_twice_if_the_process_is_lost_after_any_step(
    office: Office, process: Process, mails: MailOrigin
) -> None:
    process.restart()
    await office.receive("m", SHOP, ADD)
    await process.ended.wait()
    steps = list(process.steps)
    assert len(steps) > 5
    for number in range(len(steps) + 1):
        asks, posts, ended = len(office.model.asks), len(await office.posts()), mails.ended
        process.restart(ends_after=number)
        seq = await office.store(f"m{number}", SHOP, ADD)
        await process.lost.wait()
        process.gone.set()
        await office.close()
        process.restart()
        await office.open()
        answer = await office.answer(seq)
        lost_after = steps[number - 1] if number else "accept"
        if lost_after != "end_turn":
            await process.ended.wait()
        (card,) = answer.cards
        assert card.state == "open", lost_after
        assert len(office.model.asks) == asks + 1, lost_after
        assert len(await office.posts()) == posts + 1, lost_after
        assert mails.ended == ended + (lost_after != "end_turn"), lost_after
    proposals = await office.engine.changes.ledger.list_of_conversation("", 100)
    assert len(proposals) == len(steps) + 2
    assert office.table.applied == []
