"""A bot with a table in memory, and people who ask it for changes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from core.domain.changes import Change
from core.domain.messages import Address, Answer, Card, Message, Person, ReplyTo, turn_id
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.choices import ANA, allow_list
from tests.fakes.memory_table import MemoryTable

ADA = {"Name": "Ada", "Status": "Lead"}
BRUNO = {"Name": "Bruno", "Status": "Lost"}
MEMBER = Person("slack", "U1", "T1", "Mia")
OTHER = Person("slack", "U2", "T1", "Otto")
STRANGER = Person("slack", "U3", "T1", "Stan")
BOSS = Person("slack", "U9", "T1", "Bea")
RIGHTS = allow_list(frozenset({"slack:U1", "slack:U2"}), frozenset({"slack:U9", "terminal"}))
"""Mia and Otto may write, Stan may not, Bea is an admin."""


@asynccontextmanager
async def bot(bot_home: BotHome, table: MemoryTable, **more: Any) -> AsyncIterator[RunningBot]:
    async with bot_home.open(sources=[table], appliers=[table], **more) as ponte:
        yield ponte


def end_no_changes(ponte: RunningBot) -> None:
    """Let the test decide without an event in the inbox: Ponte ends changes that lack theirs, at
    any moment in the background."""

    async def list_none() -> list[Change]:
        return []

    vars(ponte.engine.changes.ledger)["list_abandoned"] = list_none


async def propose(ponte: RunningBot, tool: str, person: Person = ANA, **arguments: Any) -> Card:
    """The card of a proposal that the model made."""
    answer = await ponte.ask(_call(tool, arguments), person=person)
    assert [card.state for card in answer.cards] == ["open"], answer.text
    return answer.cards[0]


async def proposed_on_slack(
    ponte: RunningBot, key: str, tool: str, person: Person = MEMBER, **arguments: Any
) -> Card:
    answer = await ponte.ask_message(on_slack(_call(tool, arguments), key, person))
    assert [card.state for card in answer.cards] == ["open"], answer.text
    return answer.cards[0]


def on_slack(
    text: str,
    key: str,
    person: Person = MEMBER,
    workspace: str = "T1",
    clicked: bool = False,
    channel: str = "C1",
    thread: str | None = None,
    shared: bool = True,
) -> Message:
    """In a thread of the person's own, or in `thread`; "": at the channel's top level."""
    key = f"slack:{key}"
    alone = person.id if thread == "" and shared else ""
    thread = f"t{person.id}" if thread is None else thread
    address = Address("slack", channel, workspace, thread, alone, shared)
    reply_to = ReplyTo(address, person, key, turn_id(key))
    return Message(key, text, person, address, reply_to, is_click=clicked)


async def says(
    ponte: RunningBot, text: str, key: str, person: Person = MEMBER, **more: Any
) -> Answer:
    """Write `text` on Slack; `more` are arguments of `on_slack`. Return the answer."""
    return await ponte.ask_message(on_slack(text, key, person, **more))


def summary(answer: Answer) -> str:
    return f"{answer.status}: {answer.text}"


def _call(tool: str, arguments: dict[str, Any]) -> str:
    return f"call {tool} {json.dumps(arguments)}"


def typed_code(answer: Answer) -> str:
    """Return the id and the code in the answer that reads out a whole change."""
    match = re.search(r"`approve ([a-z2-7]{6}-\d{4})`", answer.text)
    assert match, answer.text
    return match[1]


async def approve_after_reading(ponte: RunningBot, message: Message) -> Answer:
    """Type `approve ID`, read all of the change, and type what the answer says."""
    answer = await ponte.ask_message(message)
    key = f"{message.event_key} again"
    return await ponte.ask_message(
        replace(
            message,
            text=f"approve {typed_code(answer)}",
            event_key=key,
            reply_to=replace(message.reply_to, source=key, turn=turn_id(key)),
        )
    )
