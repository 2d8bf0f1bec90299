"""Forgetting: what was said is gone, nothing old can write, and servers are told."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot.stores import SCHEMA
from core.base.errors import Forgotten, Superseded
from core.domain.messages import ONE_REQUEST_PREFIX, Answer, Attachment, Item, Quote, Usage
from core.domain.records import ConversationArea, Outcome, Remote, RoundOutput, ToolCall
from core.journal import threads
from core.store.database import SqlConnection
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import again, begin_turn
from tests.contract.test_journal_threads import ANA, BOB, talk
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.models import EchoModel
from tests.time_limits import Limits

CONTENT = {
    *("inbox", "items", "calls", "posts", "usage", "files"),
    *("changes", "steps", "notes", "people", "consents", "outbox", "audit_keys"),
    *("spendings", "counters", "holds"),
}
"""Tables with something that a person said, did or got."""
TOPIC = "my operation next week"


async def test_nothing_of_what_was_said_is_left(stores: Embedded) -> None:
    full = replace(
        says(TOPIC),
        attachments=(Attachment(f"{TOPIC}.pdf", "application/pdf", 9),),
        context=(Quote("Bob", f"about {TOPIC}"),),
    )
    full = replace(full, reply_to=replace(full.reply_to, token=f"token of {TOPIC}"))
    turn = await again(stores, (await stores.inbox.accept(full)).seq)
    journal = stores.journal
    await journal.record_user_message(turn, [Item("message", role="user", text=TOPIC)])
    call = ToolCall("c1", "look", f'{{"for": "{TOPIC}"}}', "read")
    item = Item("call", call_id="c1", name="look", arguments=call.arguments)
    await journal.record_round(turn, RoundOutput(1, (item,), Usage(), "m"))
    await journal.record_call_start(turn, call)
    await journal.record_call_end(turn, "c1", Outcome("ok", f"found {TOPIC}"))
    await journal.record_answer(turn, Answer(f"about {TOPIC}", parts=(f"about {TOPIC}",)))
    await journal.end_turn(turn, "undeliverable", TOPIC)
    await stores.inbox.accept(says(f"and {TOPIC}?"))
    assert (await journal.forget("web:C1")).messages == 2
    assert not await stores.holds(TOPIC)


async def test_a_new_generation_begins_from_nothing(stores: Embedded) -> None:
    old = await begin_turn(stores)
    forgot = await stores.journal.forget("web:C1")
    assert (forgot.generation, forgot.running) == (1, (old.seq,))
    thread = await stores.journal.current_thread("web:C1")
    assert thread.generation == 1
    assert thread.id != old.thread
    turn = await talk(stores, "hello again")
    assert (turn.generation, turn.thread) == (1, thread.id)
    assert (await stores.journal.forget("web:C1")).generation == 2
    assert await stores.journal.list_entries("web:C1") == []
    assert await stores.journal.transcript(turn.thread) == []
    assert await stores.journal.owner("web:C1") == ""


async def test_waiting_messages_are_withdrawn(stores: Embedded) -> None:
    waiting = await stores.inbox.accept(says("waits"))
    elsewhere = await stores.inbox.accept(says("elsewhere", "C2"))
    await stores.journal.forget("web:C1")
    assert await stores.journal.begin(waiting.seq) is None
    assert (await again(stores, elsewhere.seq)).message.text == "elsewhere"
    with pytest.raises(Forgotten):
        await stores.inbox.wait_for_answer(waiting.seq)


async def test_a_forgotten_event_is_still_known(stores: Embedded) -> None:
    hello = says("hello")
    first = await stores.inbox.accept(hello)
    await stores.journal.forget("web:C1")
    again_ = await stores.inbox.accept(hello)
    assert (again_.seq, again_.is_new) == (first.seq, False)
    assert await stores.inbox.amend(hello.event_key, replace(hello, sent_at=9.0)) == "unknown"


async def test_the_command_itself_goes_on(stores: Embedded) -> None:
    forget = says("forget")
    turn = await again(stores, (await stores.inbox.accept(forget)).seq)
    await stores.journal.forget("web:C1")
    await stores.inbox.amend(forget.event_key, replace(forget, text="no, do not", sent_at=9.0))
    await stores.journal.record_answer(turn, Answer("Forgotten."))
    await stores.journal.end_turn(turn, "done")
    assert (await stores.journal.history_entry(turn.id)).state == "done"


async def test_older_threads_go_too_also_where_their_rows_were_purged(stores: Embedded) -> None:
    old = await talk(stores, TOPIC)
    await stores.journal.new_thread("web:C1")
    await talk(stores, "two")
    assert await stores.inbox.purge(time.time() + 60) == 2
    assert len(await stores.journal.transcript(old.thread)) == 2
    await stores.journal.forget("web:C1")
    assert await stores.journal.transcript(old.thread) == []
    assert not await stores.holds(TOPIC)


async def test_a_purge_deletes_in_several_transactions(stores: Embedded, limits: Limits) -> None:
    limits(PURGED_MESSAGES_PER_TRANSACTION=2)
    for number in range(5):
        await talk(stores, f"{number}")
    waiting = await begin_turn(stores)
    assert await stores.inbox.purge(time.time() + 60) == 5
    assert await stores.inbox.purge(time.time() + 60) == 0
    assert await again(stores, waiting.seq) is not None


async def test_what_servers_keep_is_listed_for_erasing(stores: Embedded) -> None:
    journal, turn = stores.journal, await begin_turn(stores)
    elsewhere = await begin_turn(stores, channel="C2")
    await journal.record_object_to_erase("", Remote("conversation", "conv_1"))
    await journal.record_response(turn, 1, "resp_1", [Remote("conversation", "conv_1")])
    await journal.record_response(turn, 1, "resp_1")
    await journal.record_response(elsewhere, 1, "resp_2")
    new = await journal.new_thread("web:C1")
    await journal.record_object_to_erase(new.id, Remote("container", "cntr_1"))
    assert await journal.list_remotes_to_erase() == []
    await journal.forget("web:C1")
    assert set(await journal.list_remotes_to_erase()) == {
        Remote("conversation", "conv_1"),
        Remote("response", "resp_1"),
        Remote("container", "cntr_1"),
    }


async def test_an_id_that_comes_late_is_listed_too(stores: Embedded) -> None:
    """From a forgotten turn, or from an older attempt."""
    journal, turn = stores.journal, await begin_turn(stores)
    await journal.forget("web:C1")
    await journal.record_object_to_erase(turn.thread, Remote("conversation", "conv_1"))
    with pytest.raises(Superseded):
        await journal.record_response(turn, 1, "resp_1")
    late = {Remote("conversation", "conv_1"), Remote("response", "resp_1")}
    assert set(await journal.list_remotes_to_erase()) == late
    for remote in late:
        await journal.record_erasure(remote, is_erased=True)
    assert await journal.list_remotes_to_erase() == []
    await journal.record_object_to_erase(turn.thread, Remote("conversation", "conv_1"))
    assert await journal.list_remotes_to_erase() == [Remote("conversation", "conv_1")]
    older = await begin_turn(stores, channel="C2")
    heir = await stores.kill()
    await again(heir, older.seq)
    with pytest.raises(Superseded):
        await heir.journal.record_response(older, 1, "resp_2")
    await heir.journal.forget("web:C2")
    assert Remote("response", "resp_2") in await heir.journal.list_remotes_to_erase()


async def test_erasing_is_tried_again_but_not_for_ever(stores: Embedded) -> None:
    journal, turn = stores.journal, await begin_turn(stores)
    stubborn, easy = Remote("conversation", "conv_1"), Remote("response", "resp_1")
    for remote in (stubborn, easy):
        await journal.record_object_to_erase(turn.thread, remote)
    await journal.forget("web:C1")
    await journal.record_erasure(stubborn, is_erased=False)
    assert await journal.list_remotes_to_erase() == [easy, stubborn]
    await journal.record_erasure(easy, is_erased=True)
    for _ in range(threads.MAX_ERASURE_TRIES - 2):
        await journal.record_erasure(stubborn, is_erased=False)
    assert await (await stores.kill()).journal.list_remotes_to_erase() == [stubborn]
    heir = await stores.kill()
    await heir.journal.record_erasure(stubborn, is_erased=False)
    assert await heir.journal.list_remotes_to_erase() == []


async def test_idle_conversations_are_found(stores: Embedded) -> None:
    journal = stores.journal
    for channel in ("C1", "C2", "C3", "C4"):
        await talk(stores, "hello", channel)
    await journal.forget("web:C2")
    await stores.inbox.accept(says("a new question", "C3"))
    begin = time.time()
    await talk(stores, "hello", "C4")
    assert await journal.list_idle_conversations(begin) == ["web:C1"]
    assert await journal.list_idle_conversations(begin - 60) == []
    await talk(stores, "hello", "C11")
    late = time.time() + 60

    async def old(place: str, *but: str) -> set[str]:
        return set(await journal.list_idle_conversations(late, ConversationArea(place, but)))

    assert await old("web") == {"web:C1", "web:C4", "web:C11"}
    assert await old("web", "web:C1") == {"web:C4", "web:C11"}
    assert await old("", "web:C1", "web:C4") == {"web:C11"}
    assert await old("web:C1") == {"web:C1"}
    assert await old("we") == await old("web", "web") == set()
    await talk(stores, "hello", f"{ONE_REQUEST_PREFIX}a")
    assert await journal.list_idle_conversations(
        time.time() + 60, ConversationArea(is_one_request=True)
    ) == [f"web:{ONE_REQUEST_PREFIX}a"]
    await stores.inbox.purge(time.time() + 60, ConversationArea(is_one_request=True))
    await stores.inbox.purge(begin)
    assert await journal.list_idle_conversations(begin) == ["web:C1"]


async def test_a_person_is_found_wherever_they_spoke(stores: Embedded) -> None:
    await talk(stores, "hello", "C1", ANA)
    await talk(stores, "hello", "C2", BOB)
    await talk(stores, "hello", "C3", BOB)
    await talk(stores, "hello", "C3", ANA)
    assert await stores.journal.list_conversations_of(ANA.key) == ["web:C1", "web:C3"]
    await stores.inbox.purge(time.time() + 60)
    assert await stores.journal.list_conversations_of(ANA.key) == ["web:C1", "web:C3"]
    await stores.journal.forget("web:C1")
    assert await stores.journal.list_conversations_of(ANA.key) == ["web:C3"]
    assert await stores.journal.list_conversations_of("web:nobody") == []


async def test_every_row_of_a_person_can_be_found_by_their_key(sqlite: Embedded) -> None:
    def first_columns(connection: SqlConnection) -> dict[str, set[str]]:
        """Of each table's indexes."""
        pairs = connection.execute(
            "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_index_list(t.name) AS i,"
            " pragma_index_info(i.name) AS c WHERE t.type = 'table' AND c.seqno = 0"
        ).fetchall()
        return {table: {column for name, column in pairs if name == table} for table, _ in pairs}

    indexed = await sqlite.database.read(first_columns)
    of_people = {
        table.name for table in SCHEMA.declarations if table.has_person and not table.shared
    }
    assert of_people >= CONTENT
    # The key of `people` is the person.
    assert {name for name in of_people if "person" not in indexed[name]} == set()


async def test_a_spare_conversation_is_its_first_threads(stores: Embedded) -> None:
    """Made for nobody it is not erased while the process runs; taken, it goes with its thread."""
    journal = stores.journal
    spare, late = Remote("conversation", "c1"), Remote("conversation", "c2")
    for remote in (spare, late):
        await journal.record_object_to_erase("", remote)
    assert await journal.list_remotes_to_erase() == []
    thread = await journal.current_thread("web:C1")
    other = await journal.current_thread("web:C2")
    await journal.record_object_to_erase(thread.id, spare)
    await journal.record_object_to_erase(other.id, spare)
    await journal.forget("web:C2")
    assert await journal.list_remotes_to_erase() == [], "the first one has it"
    await journal.forget("web:C1")
    assert await journal.list_remotes_to_erase() == [spare]
    await journal.record_object_to_erase(thread.id, late)
    assert set(await journal.list_remotes_to_erase()) == {spare, late}, "it comes too late"


async def test_spares_of_a_former_process_are_erased(tmp_path: Path) -> None:
    remote = Remote("conversation", "c1")
    engine = await open_engine(tmp_path, make_choices(EchoModel()))
    await engine.conversations.journal.record_object_to_erase("", remote)
    assert await engine.conversations.journal.list_remotes_to_erase() == []
    await engine.close()
    heir = await open_engine(tmp_path, make_choices(EchoModel()))
    assert await heir.conversations.journal.list_remotes_to_erase() == [remote]
    await heir.close()


FORGOTTEN = {
    "inbox": "blanked, so that a repeated event is known",
    "items": "deleted",
    "rounds": "numbers and names of models stay",
    "calls": "deleted",
    "posts": "stay, so that no post is doubled",
    "notes": "deleted with its changes",
    "conversations": "another generation",
    "threads": "deleted",
    "kernels": "end with their process",
    "progress": "ends with its turn",
    "votes": "deleted",
}
"""What `forget` in a chat does to each table with rows of a turn or a conversation."""


def test_forget_knows_each_table_of_a_conversation() -> None:
    links = {"seq", "turn", "thread", "conversation"}
    names = {table.name for table in SCHEMA.declarations if links.intersection(table.deleted_by)}
    assert names == FORGOTTEN.keys(), (
        "`forget` deletes only what `forget_conversation` (core/journal/threads.py) names: a new "
        "table with a person's data is deleted there, too"
    )
