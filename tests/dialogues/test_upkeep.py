"""What is forgotten by itself, and what servers are asked to erase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from core.base.errors import ModelDown, NotFound
from core.domain.messages import ONE_REQUEST_PREFIX, Address
from core.domain.records import ALL_CONVERSATIONS, ConversationArea, Remote
from core.store.database import SqlConnection
from core.turn.run import Retention
from core.turn.upkeep import DAY_SECONDS, Upkeep
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.fakes.choices import ANA, make_choices
from tests.fakes.config import FixedConfig
from tests.fakes.models import EchoModel


class Erasing(EchoModel):
    """Erases what it is asked to, unless the server is down."""

    def __init__(self) -> None:
        super().__init__()
        self.erased: list[Remote] = []
        self.down = False
        self.came_to_erase = asyncio.Event()

    async def erase(self, remote: Remote) -> bool:
        if self.down:
            raise ModelDown
        self.erased.append(remote)
        self.came_to_erase.set()
        return True


def _upkeep(ponte: RunningBot, model: EchoModel, days: int, **places: int) -> Upkeep:
    engine = ponte.engine
    config = FixedConfig()
    config.retention = Retention(days, {name.replace("_", ":"): n for name, n in places.items()})
    return Upkeep(
        engine.conversations,
        engine.people,
        engine.changes,
        replace(engine.assistant, model=model),
        engine.stores.database,
        engine.stores.peers,
        config,
    )


async def _grow_old(ponte: RunningBot, channel: str, days: float) -> None:
    """As if nobody had written there for so long."""
    then = time.time() - days * DAY_SECONDS
    await ponte.engine.stores.database.write(
        lambda c: c.execute(
            "UPDATE conversations SET used_at = ? WHERE conversation = ?", (then, f"web:{channel}")
        ).close()
    )


async def test_idle_conversations_are_forgotten_and_others_kept(bot_home: BotHome) -> None:
    model = EchoModel()
    async with bot_home.open(model) as ponte:
        await ponte.ask("old", channel="C1")
        await ponte.ask("recent", channel="C2")
        await _grow_old(ponte, "C1", days=31)
        await _grow_old(ponte, "C2", days=29)
        await _upkeep(ponte, model, days=0).once()
        assert await ponte.engine.conversations.journal.list_entries("web:C1"), "0 keeps all"
        await _upkeep(ponte, model, days=30).once()
        assert not await ponte.engine.conversations.journal.list_entries("web:C1")
        assert await ponte.engine.conversations.journal.list_entries("web:C2")


@also_on_postgres
async def test_who_comes_back_while_others_are_forgotten_keeps_all(bot_home: BotHome) -> None:
    """The list of idle conversations was read before; each is looked at again when it is due."""
    model = EchoModel()
    async with bot_home.open(model) as ponte:
        journal = ponte.engine.conversations.journal
        for channel in ("C1", "C2"):
            await ponte.ask("old", channel=channel)
            await _grow_old(ponte, channel, days=31)
        forgettable = journal.list_idle_conversations

        async def somebody_is_quicker(
            idle_since: float, area: ConversationArea = ALL_CONVERSATIONS
        ) -> Sequence[str]:
            match = await forgettable(idle_since, area)
            if match:
                await ponte.ask("back again", channel="C2")
            return match

        journal.list_idle_conversations = somebody_is_quicker  # type: ignore[method-assign]
        await _upkeep(ponte, model, days=30).once()
        assert not await journal.list_entries("web:C1")
        assert [one.message.text for one in await journal.list_entries("web:C2")] == [
            "old",
            "back again",
        ]


async def test_a_place_has_its_own_days(bot_home: BotHome) -> None:
    """The narrowest that is written; longer than elsewhere, too."""
    model = EchoModel()

    async def remaining_conversations(ponte: RunningBot) -> set[str]:
        journal = ponte.engine.conversations.journal
        return {c for c in ("C1", "C1:t1", "C2", "C10") if await journal.list_entries(f"web:{c}")}

    async with bot_home.open(model) as ponte:
        for channel in ("C1", "C1:t1", "C2", "C10"):
            await ponte.ask("old", channel=channel)
            await _grow_old(ponte, channel, days=10)
        await _upkeep(ponte, model, 0, web_C1=11, web=0).once()
        assert await remaining_conversations(ponte) == {"C1", "C1:t1", "C2", "C10"}
        await _upkeep(ponte, model, 0, web_C1=9).once()
        assert await remaining_conversations(ponte) == {"C2", "C10"}, "C10 is no thread of C1"
        await _upkeep(ponte, model, 1, web_C2=11, web=9).once()
        assert await remaining_conversations(ponte) == {"C2"}
        conversations = Retention(30, {"web": 20, "web:W:C2": 5})
        places = [Address("web", "C2", "W", thread="t"), Address("web", "C3", "W")]
        assert [conversations.of(where) for where in [*places, Address("terminal", "t")]] == [
            5,
            20,
            30,
        ]


async def test_what_was_one_request_s_is_gone_after_a_day(bot_home: BotHome) -> None:
    """Whatever else is kept, also by a process that was not there; and a day later its row, too."""
    model, once = EchoModel(), f"{ONE_REQUEST_PREFIX}a"
    async with bot_home.open(model) as ponte:
        for channel in (once, f"{ONE_REQUEST_PREFIX}b", "C1"):
            await ponte.ask("old", channel=channel)
        listings = [
            one.conversation
            for one in await ponte.engine.conversations.journal.list_conversations("web")
        ]
        assert listings == ["web:C1"]
        for channel in (once, "C1"):
            await _grow_old(ponte, channel, days=1.1)
    async with bot_home.open(model) as ponte:
        journal = ponte.engine.conversations.journal
        await _upkeep(ponte, model, days=0).once()
        assert await journal.list_entries(f"web:{ONE_REQUEST_PREFIX}b")
        assert await journal.list_entries("web:C1")
        assert not await journal.list_entries(f"web:{once}")
        await _grow_old(ponte, once, days=1.1)
        rows = await ponte.engine.stores.database.write(_gone_by)
        assert rows == 1
        await _upkeep(ponte, model, days=0).once()
        conversations = await ponte.engine.stores.database.read(_stored_conversations)
        assert conversations == {f"web:{ONE_REQUEST_PREFIX}b", "web:C1"}
    assert Retention(30).of(Address("web", once)) == 1


def _stored_conversations(connection: SqlConnection) -> set[str]:
    """The conversations of which any row is left."""
    tables = ("conversations", "threads", "inbox")
    each = " UNION ".join(f"SELECT conversation FROM {table}" for table in tables)
    return {row["conversation"] for row in connection.execute(each)}


def _gone_by(connection: SqlConnection) -> int:
    """A day after it was forgotten."""
    then = time.time() - 1.1 * DAY_SECONDS
    query = "UPDATE inbox SET updated_at = ? WHERE state = 'withdrawn'"
    return connection.execute(query, (then,)).rowcount


async def test_status_says_after_how_many_days(bot_home: BotHome) -> None:
    conversations = Retention(30, {"web": 1})
    async with bot_home.play(replace(make_choices(), retention=conversations)) as ponte:
        answer = await ponte.ask("status")
        assert "Conversations here are deleted after 1 day without activity." in answer.text


async def test_what_a_server_holds_is_erased_until_it_is_gone(bot_home: BotHome) -> None:
    model = Erasing()
    conversation = Remote("conversation", "conv_1")
    async with bot_home.open(model) as ponte:
        await ponte.ask("hello")
        current_thread = await ponte.engine.conversations.journal.current_thread("web:C1")
        await ponte.engine.conversations.journal.record_object_to_erase(
            current_thread.id, conversation
        )
        model.down = True
        await ponte.ask("forget")
        await _upkeep(ponte, model, 0).once()
        assert await ponte.engine.conversations.journal.list_remotes_to_erase() == [conversation]
    model.down = False
    async with bot_home.open(model) as ponte:
        await _upkeep(ponte, model, 0).once()
        assert not await ponte.engine.conversations.journal.list_remotes_to_erase()
    assert set(model.erased) == {conversation}


async def test_what_cannot_be_erased_is_listed(bot_home: BotHome) -> None:
    model = Erasing()
    model.down = True
    stubborn = Remote("conversation", "conv_1")
    async with bot_home.open(model) as ponte:
        await ponte.ask("hello")
        current_thread = await ponte.engine.conversations.journal.current_thread("web:C1")
        await ponte.engine.conversations.journal.record_object_to_erase(current_thread.id, stubborn)
        await ponte.ask("forget")
        while not await ponte.engine.conversations.journal.list_unerasable_remotes():
            await _upkeep(ponte, model, 0).once()
        with capture_logs() as logs:
            await _upkeep(ponte, model, 0).once()
        assert not await ponte.engine.conversations.journal.list_remotes_to_erase(), (
            "it isn't tried for ever"
        )
    # Others log meanwhile, and the bot's own upkeep, which "forget" started, may list it too.
    listings = [
        line for line in logs if line["event"] == "gave up deleting data on the model server"
    ]
    assert {(line["kind"], line["remote_id"]) for line in listings} == {
        (stubborn.kind, stubborn.id)
    }


async def test_erasing_begins_when_a_conversation_is_forgotten(bot_home: BotHome) -> None:
    model = Erasing()
    async with bot_home.open(model) as ponte:
        await ponte.ask("hello")
        current_thread = await ponte.engine.conversations.journal.current_thread("web:C1")
        await ponte.engine.conversations.journal.record_object_to_erase(
            current_thread.id, Remote("response", "resp_1")
        )
        await ponte.ask("forget")
        await model.came_to_erase.wait()
    assert model.erased == [Remote("response", "resp_1")]


async def test_a_file_whose_message_never_came_is_swept(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bot_home.open() as ponte:
        files = ponte.engine.conversations.files
        one, _ = await ponte.send("with a file")
        conversations = await files.put(one.event_key, "a.txt", "text/plain", b"a", ANA, "web:C1")
        orphan = await files.put("never-accepted", "b.txt", "text/plain", b"b", ANA, "web:C1")
        await files.sweep(time.time() + 1)
        assert (await files.get(conversations.id))[1] == b"a"
        with pytest.raises(NotFound):
            await files.get(orphan.id)
        assert not (bot_home.home / "files" / orphan.id[:2] / orphan.id).exists()
