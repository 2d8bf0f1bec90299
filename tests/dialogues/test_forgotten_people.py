"""An operator deletes a person who talked, and decided, in conversations with other people."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bot.people import PersonalDataService
from core.base.errors import NotFound
from core.changes.approval import TableRule, TableRules
from core.domain.changes import ApprovalNotice
from core.domain.messages import Person
from core.domain.model_rounds import RoundRequest
from core.domain.ports import ChatPlatform
from core.erasure import SqlPersonalData
from core.journal.journal import Journal
from core.people.audit import OPERATOR
from core.store.remembered import FORGOTTEN_ID
from core.tools.code.source import CodeRunner
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import ADA, OTHER, on_slack, proposed_on_slack, says
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.choices import personal_data as data_of
from tests.fakes.code import FakeBackend
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

BEA, ZED = Person("slack", "U9", "T1", "Bea  de Sá"), Person("slack", "UZ", "T1", "Zed")
"""Two admins. A card shows the name with one space."""
RIGHTS = allow_list(frozenset({"slack:U2"}), frozenset({"slack:U9", "slack:UZ"}))
SECRET = b"Bea's own bytes"


class RememberingChat:
    """A chat platform that remembers people. `forgotten` are the ids that it was told to forget."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.forgotten = frozenset[str]()

    async def forget(self, ids: frozenset[str]) -> None:
        self.forgotten |= ids


def personal_data(ponte: RunningBot, chats: Sequence[RememberingChat] = ()) -> PersonalDataService:
    engine: Any = ponte.engine
    service = cast("Sequence[ChatPlatform]", chats)
    return PersonalDataService(engine, data_of(engine), engine.people.accounts, service)


async def texts_of_cards(journal: Journal, conversation: str) -> list[str]:
    entries = await journal.list_entries(conversation)
    return [card.text for one in entries if one.answer for card in one.answer.cards]


@pytest.mark.parametrize(
    ("forgets", "locale", "bot_home"),
    [("person", "en", "home"), ("conversation", "fr", "home"), ("conversation", "en", "postgres")],
    indirect=["bot_home"],
)
async def test_a_change_that_was_read_out_elsewhere_is_forgotten_there_too(
    bot_home: BotHome, forgets: str, locale: str
) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot_home.open(sources=[table], appliers=[table], policy=RIGHTS) as ponte:
        rows = {"1": {"Name": "Augusta"}}
        card = await proposed_on_slack(ponte, "k1", "table_update", OTHER, rows=rows)
        message = on_slack(f"approve {card.id}", "k2", BEA, channel="D9", thread="", shared=False)
        message = replace(message, locale=locale)
        assert "Otto" in (answer := await ponte.ask_message(message)).text
        assert "Augusta" in answer.text
        listing = on_slack("approvals", "k4", BEA)
        assert "requested by Otto" in (await ponte.ask_message(listing)).text
        if forgets == "person":
            await personal_data(ponte).forget(OTHER.key, OPERATOR)
            assert "requested by –" in (await ponte.ask_message(listing)).text
        else:
            await says(ponte, "forget yes", "k3", OTHER)
        assert (await ponte.ask_message(message)).text == ""


@also_on_postgres
async def test_who_asked_for_a_former_version_is_named_nowhere(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    table.is_editable = True
    async with bot_home.open(sources=[table], appliers=[table], policy=RIGHTS) as ponte:
        rows = {"1": {"Name": "Augusta"}}
        card = await proposed_on_slack(ponte, "k1", "table_update", OTHER, rows=rows)
        message = on_slack(f"approve {card.id}", "k2", BEA, channel="D9", thread="", shared=False)
        assert "Augusta" in (await ponte.ask_message(message)).text
        outbox = ponte.engine.conversations.outbox
        copy = ApprovalNotice(card.id, "copy", BEA, text="Otto requested this", state="posted")
        await outbox.put(copy)
        await says(ponte, f"change {card.id} Name = Zoe", "k3", ZED, thread="tU2")
        await personal_data(ponte).forget(OTHER.key, OPERATOR)
        (change,) = await ponte.engine.changes.ledger.list_of_conversation("", 9)
        assert (change.proposal.asker, change.proposal.revision) == (ZED, 2)
        assert (await ponte.ask_message(message)).text == ""
        (copy,) = await outbox.list_copies(card.id)
        assert copy.text == "– requested this"


async def test_of_a_shared_conversation_the_rest_goes_on_without_them(bot_home: BotHome) -> None:
    """Their files, the sandbox of the thread and what the model's server holds of it are deleted.
    No card and no note for the model names them any more."""
    table, backend = MemoryTable({"1": dict(ADA)}), FakeBackend()
    rules = TableRules({"people": TableRule("ask", frozenset({"slack:S1"}), approvals=2)})
    choices = make_choices(sources=[table], appliers=[table], policy=RIGHTS, rules=rules)
    async with bot_home.play(replace(choices, code=CodeRunner(backend))) as ponte:
        stores = ponte.engine.conversations
        threads, files, journal = stores.threads, stores.files, stores.journal
        both = on_slack("", "k1", BEA).address.conversation
        others = on_slack("", "k1", OTHER).address.conversation
        await says(ponte, "hello", "k1", replace(BEA, name="  "))
        await says(ponte, "hello too", "k2", OTHER, thread="tU9")
        file = await files.put("slack:k1", "a.txt", "text/plain", SECRET, BEA, both)
        for number, name in enumerate(("A", "B")):
            card = await proposed_on_slack(
                ponte, f"k3{number}", "table_update", OTHER, rows={"1": {"Name": name}}
            )
            for who in (BEA, ZED) if name == "A" else (BEA,):
                key = f"k4{number}{who.id}"
                answer = await says(ponte, f"approve {card.id}", key, who)
                assert answer.status == "done", answer.text
        await says(ponte, "and now?", "k5", OTHER)
        await ponte.stop_redrawing()  # as in a process that does not serve the platform
        await ponte.engine.redraw.once()
        waiting = "Requested by Otto. A designated approver must approve this request."
        assert await texts_of_cards(journal, others) == [
            "Approved by Bea de Sá, Zed.",
            f"{waiting} 1 of 2 approvals, by Bea de Sá.",
        ]
        for conversation in (both, others):
            record = await threads.get(conversation)
            assert record is not None
            await threads.put(replace(record, remote="conv_1", container="c_1", remote_upto=1))

        slack, discord = RememberingChat("slack"), RememberingChat("discord")
        service = personal_data(ponte, [discord, slack])
        with pytest.raises(NotFound):
            await service.read_file(OTHER.key, file.id)
        assert await service.read_file(BEA.key, file.id)
        reply = await service.forget(BEA.key, OPERATOR)
        assert (reply.left, reply.shared) == ({}, [both])

        records = [path for path in bot_home.home.rglob("*") if path.is_file()]
        for word in (SECRET, "de Sá".encode()):
            assert not [path for path in records if word in path.read_bytes()], word
        note = "Approved by –, Zed. Done.]".encode()
        assert [path for path in records if note in path.read_bytes()]
        assert await texts_of_cards(journal, others) == [
            "Approved by Zed.",
            f"{waiting} 2 different people must approve this request.",
        ]
        record = await threads.get(both)
        assert record is not None
        assert backend.forgotten == [record.id]
        assert record.participants == (FORGOTTEN_ID, OTHER.key)
        assert (record.remote, record.container, record.remote_upto) == ("", "", 0)
        record = await threads.get(others)
        assert record is not None
        assert (record.remote, record.container, record.remote_upto) == ("", "c_1", 0)
        assert (sorted(slack.forgotten), sorted(discord.forgotten)) == (["U9"], [])


async def test_rows_are_deleted_after_their_running_turn_has_ended(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the turn needs a while to stop."""
    order, looks = list[str](), list[str]()
    event, awaited = asyncio.Event(), asyncio.Event()

    async def stop_slowly(request: RoundRequest) -> None:
        if request.input[-1].text == "slow":
            event.set()
            try:
                await asyncio.Event().wait()
            finally:
                await awaited.wait()
                order.append("the turn ended")

    variant = replace(make_choices(EchoModel(gate=stop_slowly)), code=CodeRunner(FakeBackend()))
    async with bot_home.play(variant) as ponte:
        inbox = ponte.engine.conversations.inbox
        find_running, erase = inbox.running_turn, SqlPersonalData.erase

        async def running_turn(conversation: str) -> int | None:
            if looks:
                awaited.set()
            looks.append(conversation)
            return await find_running(conversation)

        async def note_and_erase(*arguments: Any) -> Any:
            order.append("rows are deleted")
            return await erase(*arguments)

        monkeypatch.setattr(inbox, "running_turn", running_turn)
        monkeypatch.setattr(SqlPersonalData, "erase", note_and_erase)
        await says(ponte, "hello", "k1", OTHER, thread="tU9")
        await inbox.accept(on_slack("slow", "k2", BEA))
        await event.wait()
        reply = await personal_data(ponte).forget(BEA.key, OPERATOR)
        assert (reply.left, order) == ({}, ["the turn ended", "rows are deleted"])
