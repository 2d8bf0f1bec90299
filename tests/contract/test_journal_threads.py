"""The Journal of conversations: which thread is current, and what was said in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.base.errors import NotFound
from core.domain.messages import Answer, Item, Person, Usage
from core.domain.records import Outcome, RoundOutput, SearchHit, ToolCall, Turn
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import again, begin_turn

ANA, BOB = Person("web", "ana"), Person("web", "bob")


async def talk(engine: Embedded, text: str, channel: str = "C1", person: Person = ANA) -> Turn:
    """A whole turn: `text` is said, and repeated by the answer."""
    message = replace(says(text, channel), author=person)
    turn = await again(engine, (await engine.inbox.accept(message)).seq)
    await engine.journal.record_user_message(
        turn, [Item("message", role="user", text=text, is_authored=True)]
    )
    item = Item("message", role="assistant", text=f"re: {text}")
    await engine.journal.record_round(turn, RoundOutput(1, (item,), Usage(), "m"))
    await engine.journal.record_answer(turn, Answer(f"re: {text}"))
    await engine.journal.end_turn(turn, "done")
    return turn


async def test_a_conversation_has_one_thread_until_a_new_one(stores: Embedded) -> None:
    journal = stores.journal
    first = await journal.current_thread("web:C1")
    assert (await journal.current_thread("web:C1")).id == first.id
    second = await journal.new_thread("web:C1")
    assert second.id != first.id
    heir = await stores.kill()
    assert (await heir.journal.current_thread("web:C1")).id == second.id
    assert await heir.journal.find_thread_id("web:C1") == second.id
    assert await heir.journal.find_thread_id("web:C2") == "", "a reader begins none"
    assert (await heir.journal.current_thread("web:C2")).id not in (first.id, second.id)


async def test_a_transcript_is_what_was_said_in_order(stores: Embedded) -> None:
    first = await talk(stores, "one")
    second = await talk(stores, "two", person=BOB)
    entries = await stores.journal.transcript(first.thread)
    assert [(entry.seq, entry.person, entry.item.text) for entry in entries] == [
        (first.seq, ANA.key, "one"),
        (first.seq, "", "re: one"),
        (second.seq, BOB.key, "two"),
        (second.seq, "", "re: two"),
    ]
    before = await stores.journal.transcript(first.thread, before=second.seq)
    assert before == entries[:2]


async def test_a_new_thread_remembers_nothing_and_the_old_one_stays(stores: Embedded) -> None:
    old = await talk(stores, "one")
    new = await stores.journal.new_thread("web:C1")
    assert await stores.journal.transcript(new.id) == []
    turn = await talk(stores, "two")
    assert turn.thread == new.id
    assert len(await stores.journal.transcript(old.thread)) == 2


async def test_a_turn_that_resumes_stays_in_its_thread(stores: Embedded) -> None:
    turn = await begin_turn(stores)
    await stores.journal.new_thread("web:C1")
    heir = await stores.kill()
    assert (await again(heir, turn.seq)).thread == turn.thread


async def test_a_person_reads_one_thread_again(stores: Embedded) -> None:
    journal = stores.journal
    old = await talk(stores, "one")
    await talk(stores, "help")
    await talk(stores, "elsewhere", "C2")
    await journal.new_thread("web:C1")
    await talk(stores, "two")
    await stores.inbox.accept(says("waits"))
    reply = says("oops")
    await stores.inbox.accept(reply)
    await stores.inbox.amend(reply.event_key, None)
    entries = await journal.list_entries("web:C1")
    assert [(s.message.text, s.state, s.answer and s.answer.text) for s in entries] == [
        ("two", "done", "re: two"),
        ("waits", "new", None),
    ]
    assert [s.message.text for s in await journal.list_entries("web:C1", old.thread)] == ["one"]


async def test_a_thread_belongs_to_who_began_it(stores: Embedded) -> None:
    journal = stores.journal
    assert await journal.owner("web:C1") == ""
    await talk(stores, "one", person=ANA)
    await talk(stores, "two", person=BOB)
    assert await journal.owner("web:C1") == ANA.key
    await journal.new_thread("web:C1")
    assert await journal.owner("web:C1") == ""
    await talk(stores, "three", person=BOB)
    assert await journal.owner("web:C1") == BOB.key


async def test_threads_are_listed_by_their_last_use(stores: Embedded) -> None:
    for channel in ("C1", "C2", "C3", "C1"):
        await talk(stores, "hello", channel)
    threads = await stores.journal.list_threads()
    assert [thread.conversation for thread in threads] == ["web:C1", "web:C3", "web:C2"]


async def test_a_list_has_what_is_said_in_and_the_pinned_first(stores: Embedded) -> None:
    journal = stores.journal
    assert await journal.list_conversations("web") == []
    for channel in ("C1", "C2", "C3"):
        await talk(stores, f"hello {channel}", channel)
    await talk(stores, "more", "C1")
    await journal.current_thread("web:empty")
    await journal.set_listing("web:C2", None, True)
    await journal.set_listing("web:C3", "My name", None)
    conversations = await journal.list_conversations("web")
    assert [
        (one.conversation, one.first.text, one.title, one.is_pinned) for one in conversations
    ] == [
        ("web:C2", "hello C2", "", True),
        ("web:C1", "hello C1", "", False),
        ("web:C3", "hello C3", "My name", False),
    ]
    assert await journal.list_conversations("slack") == []
    await journal.forget("web:C3")
    assert "web:C3" not in [one.conversation for one in await journal.list_threads()]
    await journal.new_thread("web:C1")
    assert [one.conversation for one in await journal.list_conversations("web")] == ["web:C2"]
    await talk(stores, "anew", "C3")
    assert (await journal.list_conversations("web"))[1].title == "", "its name was forgotten, too"
    with pytest.raises(NotFound):
        await journal.set_listing("web:nowhere", "x", None)


async def test_words_are_found_in_what_both_said(stores: Embedded) -> None:
    journal = stores.journal
    first = await talk(stores, "Où est São Paulo?", "C1")
    await talk(stores, "hello", "C2")
    hits = await journal.search("web", "SÃO paulo")
    assert hits == {"web:C1": SearchHit(first.id, "Où est ", "São", " Paulo?")}
    assert set(await journal.search("web", "paulo RE:")) == {"web:C1"}, "all of the words"
    assert await journal.search("web", "  ") == {}
    assert set(await journal.search("web", "re:")) == {"web:C1", "web:C2"}
    assert await journal.search("web", "absent") == {}
    assert await journal.search("terminal", "hello") == {}
    long = await talk(stores, f"{'word ' * 200}needle {'after ' * 200}", "C3")
    (hit,) = (await journal.search("web", "needle")).values()
    assert (hit.turn, hit.match, hit.before[:6], hit.before[-6:]) == (
        long.id,
        "needle",
        "…word ",
        " word ",
    )
    await talk(stores, "İstanbul and the haystack", "C4")
    thread = await journal.find_thread_id("web:C1")
    (hit,) = (await journal.search("web", "HAYSTACK")).values()
    assert (hit.before, hit.match) == ("İstanbul and the ", "haystack"), "folding moved letters"
    await journal.forget("web:C1")
    assert await journal.search("web", "paulo") == {}
    assert await journal.find_thread_id("web:C1") not in ("", thread)


async def asked_again(engine: Embedded, old: Turn, text: str, person: Person = ANA) -> Turn:
    message = replace(says(text), author=person, replaced_turn=old.id)
    return await again(engine, (await engine.inbox.accept(message)).seq)


async def test_what_is_asked_again_is_left_out_from_then_on(stores: Embedded) -> None:
    journal = stores.journal
    current, old = await talk(stores, "one"), await talk(stores, "tow")
    new = await asked_again(stores, old, "two")
    assert [one.turn for one in await journal.list_entries("web:C1")] == [current.id, new.id]
    entries = await journal.transcript(new.thread)
    assert [entry.item.text for entry in entries] == ["one", "re: one"]
    provenance = await journal.provenance(new.thread, ANA.key, new.seq)
    assert provenance.previous_seq == current.seq
    heir = await stores.kill()
    reply = await again(heir, new.seq)
    assert reply.attempt == 2
    assert [one.turn for one in await heir.journal.list_entries("web:C1")] == [current.id, new.id]


async def test_every_address_that_the_asker_wrote_is_known(stores: Embedded) -> None:
    lines = ("see http://localhost/plan", "mailto:ana@intranet", "tel:5550199", "docs.example/a")
    turns = [await talk(stores, text) for text in ("no address", *lines)]
    provenance = await stores.journal.provenance(turns[-1].thread, ANA.key, 1 << 62)
    assert set(lines) <= set(provenance.asker_texts), provenance


async def test_nobody_replaces_what_is_not_theirs_or_not_there(stores: Embedded) -> None:
    journal = stores.journal
    old = await talk(stores, "one")
    await asked_again(stores, old, "mine", BOB)
    elsewhere = replace(says("other", "C2"), author=ANA, replaced_turn=old.id)
    await again(stores, (await stores.inbox.accept(elsewhere)).seq)
    assert (await journal.list_entries("web:C1"))[0].turn == old.id


async def test_what_was_paid_for_stays_beside_the_new_turn(stores: Embedded) -> None:
    journal = stores.journal
    old = await begin_turn(stores, "run it")
    old = replace(old, message=replace(old.message))
    await journal.record_user_message(old, [Item("message", role="user", text="run it")])
    await journal.record_call_start(old, ToolCall("c1", "quick", "{}", "spend"))
    await journal.record_call_end(old, "c1", Outcome("ok", "done"))
    await journal.record_answer(old, Answer("done"))
    await journal.end_turn(old, "done")
    new = await asked_again(stores, old, "run it", old.message.author)
    assert [one.turn for one in await journal.list_entries("web:C1")] == [old.id, new.id]


async def test_a_title_is_made_once_and_never_over_a_person_s(stores: Embedded) -> None:
    journal = stores.journal

    async def titles() -> list[str]:
        return [one.title for one in await journal.list_conversations("web")]

    await talk(stores, "hello", "C1")
    thread = (await journal.current_thread("web:C1")).id
    assert [await journal.claim_title(thread) for _ in range(2)] == [True, False]
    assert await titles() == [""], "a process that dies now leaves the first words"
    await journal.set_title(thread, "Greetings")
    assert (await titles(), await journal.claim_title(thread)) == (["Greetings"], False)
    await journal.set_listing("web:C1", "Mine", None)
    await journal.set_title(thread, "Late")
    assert await titles() == ["Mine"]
    await journal.set_listing("web:C1", "", None)
    assert await titles() == ["Late"]
    newer = (await journal.new_thread("web:C1")).id
    await talk(stores, "anew", "C1")
    assert await titles() == [""], "each thread has its own"
    await journal.set_listing("web:C1", "Mine", None)
    assert await journal.claim_title(newer) is False
    await journal.forget("web:C1")
    await journal.set_title(newer, "Late")
    assert (await journal.claim_title(thread), await titles()) == (False, [])
