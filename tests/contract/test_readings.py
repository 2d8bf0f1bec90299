"""What was read of other people's messages is kept for a day, over both databases."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from core.base.text import clip_line
from core.domain.messages import Item, Person, Quote, Reading, Usage
from core.domain.records import Outcome, Remote, RoundOutput, Thread, ToolCall, Turn
from core.domain.rights import PlatformMember
from core.journal.thread_map import find_record, store_record
from core.journal.threads import erase_readings
from core.people.directory import SqlDirectory
from core.store.database import select_value
from core.tools.tool import compact_json
from core.turn.preface import build_items
from tests.contract.engines import Embedded
from tests.contract.test_journal import again
from tests.contract.test_personal_data import (
    ANA,
    BEA,
    CHANNEL,
    address_of,
    everything,
    forget,
    says,
)

CY = Person("slack", "UCY55", "T1", "Cy Day")
LUNCH, OFFER, EARLIER = "Lunch at one?", "the offer is 900", "earlier in this thread"
HANDLE = "1700000000.0 1.5"
TEXTS_ON_SERVER = {("conversation", "conv_1"), ("response", "resp_1")}


async def read_here(engine: Embedded, name: str = CY.name) -> Turn:
    """Ana follows a link and catches up. Python runs in the thread, too."""
    quotes = (Quote(name, EARLIER), Quote(name, OFFER, place=address_of("C9")))
    message = says("what did I miss?", ANA, CHANNEL)
    turn = await again(engine, (await engine.inbox.accept(message)).seq)
    journal = engine.journal
    await journal.record_user_message(turn, build_items(replace(message, context=quotes), ()))
    await journal.record_response(turn, 1, "resp_1", [Remote("conversation", "conv_1")])
    await journal.record_object_to_erase(turn.thread, Remote("container", "cont_1"))
    call = ToolCall("c1", "read_messages", "{}", "chat")
    item = Item("call", call_id=call.call_id, name=call.name, arguments=call.arguments)
    await journal.record_round(turn, RoundOutput(1, (item,), Usage(), "m"), call)
    await journal.record_call_handle(turn, "c1", HANDLE)
    reading = Reading("Ana Lima", 1, message.address)
    lines = compact_json([f"{clip_line(name)}: {LUNCH}"])
    await journal.record_call_end(turn, "c1", Outcome("ok", lines, reading=reading))
    await keep_record(engine, turn)
    return turn


async def keep_record(engine: Embedded, turn: Turn) -> None:
    """The turn has used this conversation of the server, and this container."""
    conversation = turn.message.address.conversation
    record = Thread(conversation, turn.thread, 0, "conv_1", turn.seq, container="cont_1")
    await engine.database.write(lambda c: store_record(c, record))


async def assert_erased(engine: Embedded, turn: Turn) -> None:
    """A line stands in place of the texts. The thread goes on in another conversation of the
    server, with its container, and a schedule where its digest ended."""
    stored = await everything(engine)
    assert LUNCH not in stored
    assert OFFER not in stored
    assert EARLIER in stored
    assert stored.count("messages read (1). Their text was deleted.") == 3
    remotes = await engine.journal.list_remotes_to_erase()
    assert {(remote.kind, remote.id) for remote in remotes} == TEXTS_ON_SERVER
    record = await engine.database.read(lambda c: find_record(c, turn.thread))
    assert record
    assert (record.remote, record.remote_upto, record.container) == ("", 0, "cont_1")
    sql = "SELECT handle FROM calls WHERE seq = ?"
    assert await engine.database.read(lambda c: select_value(c, sql, turn.seq)) == HANDLE


async def test_texts_of_others_are_erased_once_they_are_old(stores: Embedded) -> None:
    turn = await read_here(stores)
    yesterday = time.time() - 3600
    await stores.database.write(lambda c: erase_readings(c, yesterday))
    assert LUNCH in await everything(stores)
    assert await stores.journal.list_remotes_to_erase() == []
    # Several processes may do it at the same time, and one that dies afterwards loses nothing.
    other = await stores.beside()
    now = time.time() + 1
    await asyncio.gather(
        *(one.database.write(lambda c: erase_readings(c, now)) for one in (stores, other))
    )
    await assert_erased(await stores.kill(), turn)


async def test_a_process_that_dies_meanwhile_erases_all_or_nothing(
    stores: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = await read_here(stores)
    with monkeypatch.context() as dying:
        dying.setattr("core.journal.threads.find_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await stores.database.write(erase_readings)
    heir = await stores.kill()
    assert LUNCH in await everything(heir)
    assert await heir.journal.list_remotes_to_erase() == []
    await heir.database.write(erase_readings)
    await assert_erased(heir, turn)


async def test_a_turn_that_used_the_texts_ends_after_they_are_erased(stores: Embedded) -> None:
    """It does not lead the next turn into the conversation that is to be erased."""
    turn = await read_here(stores)
    await stores.database.write(erase_readings)
    await keep_record(stores, turn)
    await assert_erased(stores, turn)


async def test_others_write_between_many_texts(stores: Embedded) -> None:
    turn = await read_here(stores)
    counts = [await stores.database.write(lambda c: erase_readings(c, limit=1)) for _ in range(3)]
    assert counts == [1, 1, 0]
    await assert_erased(stores, turn)


@pytest.mark.parametrize("name", [CY.name, 'Cy "Rex" O\'Day', "Cy  \\o/"])
async def test_who_is_forgotten_is_quoted_no_more(stores: Embedded, name: str) -> None:
    """Also somebody who never wrote to Ponte. What names only others stays for the day."""
    turn = await read_here(stores, name)
    unch = replace(BEA, name="unch")
    people = [PlatformMember(p.id, "", p.key, p.name) for p in (unch, replace(CY, name=name))]
    await SqlDirectory(stores.database, str).put("slack", people)
    await forget(stores, BEA.key)
    assert LUNCH in await everything(stores)
    await forget(stores, CY.key)
    await assert_erased(stores, turn)
