"""Forgetting: what was said is gone, nothing old can write, and servers are told."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot.engine import Engine
from core.domain.errors import Forgotten, Superseded
from core.domain.messages import ONCE, Answer, Attachment, Item, Quote, Usage
from core.domain.records import Area, Call, Outcome, Remote, Spoken
from core.store import threads
from core.store.database import Connection
from core.store.tables import TABLES
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import again, begun
from tests.contract.test_journal_threads import ANA, BOB, talk
from tests.fakes.choices import make_choices
from tests.fakes.models import EchoModel

CONTENT = {
    *("inbox", "items", "calls", "posts", "usage", "days", "files"),
    *("changes", "steps", "notes", "people", "consents", "outbox", "audit_keys"),
    *("spendings", "counters", "holds"),
}
"""Tables with something that a person said, did or got."""
TOPIC = "my operation next week"


async def test_nothing_of_what_was_said_is_left(embedded: Embedded) -> None:
    full = replace(
        says(TOPIC),
        attachments=(Attachment(f"{TOPIC}.pdf", "application/pdf", 9),),
        context=(Quote("Bob", f"about {TOPIC}"),),
    )
    full = replace(full, reply_to=replace(full.reply_to, token=f"token of {TOPIC}"))
    turn = await again(embedded, (await embedded.inbox.accept(full)).seq)
    journal = embedded.journal
    await journal.heard(turn, [Item("message", role="user", text=TOPIC)])
    call = Call("c1", "look", f'{{"for": "{TOPIC}"}}', "read")
    asked = Item("call", call_id="c1", name="look", arguments=call.arguments)
    await journal.items(turn, Spoken(1, (asked,), Usage(), "m"))
    await journal.call_started(turn, call)
    await journal.call_ended(turn, "c1", Outcome("ok", f"found {TOPIC}"))
    await journal.answered(turn, Answer(f"about {TOPIC}", parts=(f"about {TOPIC}",)))
    await journal.ended(turn, "undeliverable", TOPIC)
    await embedded.inbox.accept(says(f"and {TOPIC}?"))
    assert (await journal.forget("web:C1")).messages == 2
    assert not await embedded.holds(TOPIC)


async def test_a_new_generation_begins(embedded: Embedded) -> None:
    old = await begun(embedded)
    forgot = await embedded.journal.forget("web:C1")
    assert (forgot.generation, forgot.running) == (1, (old.seq,))
    thread = await embedded.journal.thread("web:C1")
    assert thread.generation == 1
    assert thread.id != old.thread
    turn = await talk(embedded, "hello again")
    assert (turn.generation, turn.thread) == (1, thread.id)
    assert (await embedded.journal.forget("web:C1")).generation == 2


async def test_waiting_messages_are_withdrawn(embedded: Embedded) -> None:
    waiting = await embedded.inbox.accept(says("waits"))
    elsewhere = await embedded.inbox.accept(says("elsewhere", "C2"))
    await embedded.journal.forget("web:C1")
    assert await embedded.journal.begin(waiting.seq) is None
    assert (await again(embedded, elsewhere.seq)).message.text == "elsewhere"
    with pytest.raises(Forgotten):
        await embedded.inbox.answer_of(waiting.seq)


async def test_a_forgotten_event_is_still_known(embedded: Embedded) -> None:
    hello = says("hello")
    first = await embedded.inbox.accept(hello)
    await embedded.journal.forget("web:C1")
    again_ = await embedded.inbox.accept(hello)
    assert (again_.seq, again_.fresh) == (first.seq, False)
    assert await embedded.inbox.amend(hello.event_key, replace(hello, sent_at=9.0)) == "unknown"


async def test_the_command_itself_goes_on(embedded: Embedded) -> None:
    forget = says("forget")
    turn = await again(embedded, (await embedded.inbox.accept(forget)).seq)
    await embedded.journal.forget("web:C1")
    await embedded.inbox.amend(forget.event_key, replace(forget, text="no, do not", sent_at=9.0))
    await embedded.journal.answered(turn, Answer("Forgotten."))
    await embedded.journal.ended(turn, "done")
    assert (await embedded.journal.turn_of(turn.id)).state == "done"


async def test_the_conversation_starts_from_nothing(embedded: Embedded) -> None:
    old = await talk(embedded, "one")
    await embedded.journal.forget("web:C1")
    assert await embedded.journal.list_entries("web:C1") == []
    assert await embedded.journal.transcript(old.thread) == []
    assert await embedded.journal.owner("web:C1") == ""


async def test_older_threads_go_too_also_where_their_rows_were_purged(embedded: Embedded) -> None:
    old = await talk(embedded, TOPIC)
    await embedded.journal.new_thread("web:C1")
    await talk(embedded, "two")
    assert await embedded.inbox.purge(time.time() + 60) == 2
    assert len(await embedded.journal.transcript(old.thread)) == 2
    await embedded.journal.forget("web:C1")
    assert await embedded.journal.transcript(old.thread) == []
    assert not await embedded.holds(TOPIC)


async def test_what_servers_keep_is_listed_for_erasing(embedded: Embedded) -> None:
    journal, turn = embedded.journal, await begun(embedded)
    elsewhere = await begun(embedded, channel="C2")
    await journal.remote(turn.thread, Remote("conversation", "conv_1"))
    await journal.round_began(turn, 1, "resp_1")
    await journal.round_began(turn, 1, "resp_1")
    await journal.round_began(elsewhere, 1, "resp_2")
    new = await journal.new_thread("web:C1")
    await journal.remote(new.id, Remote("container", "cntr_1"))
    assert await journal.to_erase() == []
    await journal.forget("web:C1")
    assert set(await journal.to_erase()) == {
        Remote("conversation", "conv_1"), Remote("response", "resp_1"),
        Remote("container", "cntr_1"),
    }  # fmt: skip


async def test_an_id_that_comes_late_is_listed_too(embedded: Embedded) -> None:
    journal, turn = embedded.journal, await begun(embedded)
    await journal.forget("web:C1")
    await journal.remote(turn.thread, Remote("conversation", "conv_1"))
    with pytest.raises(Superseded):
        await journal.round_began(turn, 1, "resp_1")
    late = {Remote("conversation", "conv_1"), Remote("response", "resp_1")}
    assert set(await journal.to_erase()) == late
    for remote in late:
        await journal.erased(remote, done=True)
    assert await journal.to_erase() == []
    await journal.remote(turn.thread, Remote("conversation", "conv_1"))
    assert await journal.to_erase() == [Remote("conversation", "conv_1")]


async def test_erasing_is_tried_again_but_not_for_ever(embedded: Embedded) -> None:
    journal, turn = embedded.journal, await begun(embedded)
    stubborn, easy = Remote("conversation", "conv_1"), Remote("response", "resp_1")
    for remote in (stubborn, easy):
        await journal.remote(turn.thread, remote)
    await journal.forget("web:C1")
    await journal.erased(stubborn, done=False)
    assert await journal.to_erase() == [easy, stubborn]
    await journal.erased(easy, done=True)
    for _ in range(threads.MAX_TRIES - 2):
        await journal.erased(stubborn, done=False)
    assert await (await embedded.killed()).journal.to_erase() == [stubborn]
    heir = await embedded.killed()
    await heir.journal.erased(stubborn, done=False)
    assert await heir.journal.to_erase() == []


async def test_idle_conversations_are_found(embedded: Embedded) -> None:
    journal = embedded.journal
    for channel in ("C1", "C2", "C3", "C4"):
        await talk(embedded, "hello", channel)
    await journal.forget("web:C2")
    await embedded.inbox.accept(says("a new question", "C3"))
    begin = time.time()
    await talk(embedded, "hello", "C4")
    assert await journal.forgettable(begin) == ["web:C1"]
    assert await journal.forgettable(begin - 60) == []
    await talk(embedded, "hello", "C11")
    late = time.time() + 60

    async def old(place: str, *but: str) -> set[str]:
        return set(await journal.forgettable(late, Area(place, but)))

    assert await old("web") == {"web:C1", "web:C4", "web:C11"}
    assert await old("web", "web:C1") == {"web:C4", "web:C11"}
    assert await old("", "web:C1", "web:C4") == {"web:C11"}
    assert await old("web:C1") == {"web:C1"}
    assert await old("we") == await old("web", "web") == set()
    await talk(embedded, "hello", f"{ONCE}a")
    assert await journal.forgettable(time.time() + 60, Area(once=True)) == [f"web:{ONCE}a"]
    await embedded.inbox.purge(time.time() + 60, Area(once=True))
    await embedded.inbox.purge(begin)
    assert await journal.forgettable(begin) == ["web:C1"]


async def test_a_person_is_found_wherever_they_spoke(embedded: Embedded) -> None:
    await talk(embedded, "hello", "C1", ANA)
    await talk(embedded, "hello", "C2", BOB)
    await talk(embedded, "hello", "C3", BOB)
    await talk(embedded, "hello", "C3", ANA)
    assert await embedded.journal.of_person(ANA.key) == ["web:C1", "web:C3"]
    await embedded.inbox.purge(time.time() + 60)
    assert await embedded.journal.of_person(ANA.key) == ["web:C1", "web:C3"]
    await embedded.journal.forget("web:C1")
    assert await embedded.journal.of_person(ANA.key) == ["web:C3"]
    assert await embedded.journal.of_person("web:nobody") == []


async def test_every_row_of_a_person_can_be_found_by_their_key(sqlite: Embedded) -> None:
    def first_columns(connection: Connection) -> dict[str, set[str]]:
        """Of each table's indexes."""
        pairs = connection.execute(
            "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_index_list(t.name) AS i,"
            " pragma_index_info(i.name) AS c WHERE t.type = 'table' AND c.seqno = 0"
        ).fetchall()
        return {table: {column for name, column in pairs if name == table} for table, _ in pairs}

    indexed = await sqlite.database.read(first_columns)
    of_people = {table.name for table in TABLES if table.has_person and not table.shared}
    assert of_people >= CONTENT
    # The key of `people` is the person.
    assert {name for name in of_people if "person" not in indexed[name]} == set()


async def test_a_spare_conversation_is_its_first_threads(embedded: Embedded) -> None:
    """Made for nobody it is not erased while the process runs; taken, it goes with its thread."""
    journal, spare = embedded.journal, Remote("conversation", "c1")
    await journal.remote("", spare)
    assert await journal.to_erase() == []
    thread = await journal.thread("web:C1")
    other = await journal.thread("web:C2")
    await journal.remote(thread.id, spare)
    await journal.remote(other.id, spare)
    await journal.forget("web:C2")
    assert await journal.to_erase() == [], "the first one has it"
    await journal.forget("web:C1")
    assert await journal.to_erase() == [spare]


async def test_spares_of_a_former_process_are_erased(tmp_path: Path) -> None:
    left = Remote("conversation", "c1")
    engine = await Engine.open(tmp_path, make_choices(EchoModel()))
    await engine.records.journal.remote("", left)
    assert await engine.records.journal.to_erase() == []
    await engine.close()
    heir = await Engine.open(tmp_path, make_choices(EchoModel()))
    assert await heir.records.journal.to_erase() == [left]
    await heir.close()


async def test_a_spare_that_comes_to_a_forgotten_thread_is_erased(embedded: Embedded) -> None:
    journal, spare = embedded.journal, Remote("conversation", "c1")
    await journal.remote("", spare)
    thread = await journal.thread("web:C1")
    await journal.forget("web:C1")
    await journal.remote(thread.id, spare)
    assert await journal.to_erase() == [spare]
