"""People as the tables know them, over both databases: found, exported, and forgotten whole."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from adapters.discord.state import DiscordState, ThreadState
from bot.stores import SCHEMA
from core.base.errors import Superseded
from core.changes.ledger import SqlLedger, forget_changes
from core.domain.changes import (
    ApprovalNotice,
    Change,
    ChangeStep,
    Consent,
    Draft,
    Proposal,
    RowWrite,
    new_change_id,
)
from core.domain.messages import Address, Answer, Card, Item, Message, Person, Quote, Usage
from core.domain.records import Outcome, Remote, RoundOutput, ToolCall, Turn
from core.domain.rights import PlatformMember
from core.erasure import (
    FORGOTTEN_PERSON,
    AmbiguousPerson,
    KnownPerson,
    SqlPersonalData,
    StillApplying,
    UnknownPerson,
)
from core.journal.jobs import Alone
from core.people.audit import Audit, assign_pseudonym
from core.people.directory import SqlDirectory
from core.people.notices import Outbox
from core.people.page_accounts import SqlPageAccounts, hash_token
from core.store.database import SqlConnection, SqliteStatements
from core.store.files import SqlFiles
from core.store.remembered import FORGOTTEN_ID, remove_ids, select_ids
from core.turn.preface import build_items
from tests.contract.engines import Embedded, Shared
from tests.contract.test_journal import again
from tests.fakes.choices import make_message
from tests.time_limits import Limits

ANA = Person("slack", "UANA77", "T1", "Ana Lima")
BEA = Person("slack", "UBEA88", "T1", "Bea Reis")
ZOE = Person("slack", "UZOE99", "T1", "Zoe Dias")
"""Whom Slack lists, and who never wrote."""
SECRET = "xoxe-a-token-that-opens-a-door"
DIRECT, CHANNEL, BEAS = "DANA77", "C1", "DBEA88"
ANAS_WORDS = ("aubergine", "UANA77", "Ana Lima", DIRECT)
"""What she said has the first in it, and what was read, drafted, made and answered for her."""


def persons_of(engine: Embedded) -> SqlPersonalData:
    return SqlPersonalData(engine.database)


def address_of(channel: str) -> Address:
    direct = channel.startswith("D")
    return Address("slack", channel, "T1", thread="" if direct else "1.1", is_shared=not direct)


def says(text: str, author: Person, channel: str, context: Sequence[Quote] = ()) -> Message:
    first = make_message(text, f"slack:T1:{channel[:1]}:{time.monotonic_ns()}", channel)
    address = address_of(channel)
    to = replace(first.reply_to, address=address, asker=author, token=SECRET, token_expires_at=9e9)
    return replace(first, author=author, address=address, reply_to=to, context=tuple(context))


async def talk(
    engine: Embedded,
    text: str,
    author: Person,
    channel: str,
    *,
    context: Sequence[Quote] = (),
    answer: Answer | None = None,
) -> Turn:
    """A whole turn, paid for: asked with a tool, answered, posted."""
    reply = says(text, author, channel, context)
    turn = await again(engine, (await engine.inbox.accept(reply)).seq)
    journal = engine.journal
    await journal.record_user_message(
        turn, build_items(reply, ()), await engine.budget.make_reservation(turn)
    )
    call = ToolCall(f"c{turn.seq}", "look", json.dumps({"for": text}), "read")
    item = Item("call", call_id=call.call_id, name="look", arguments=call.arguments)
    await journal.record_response(turn, 1, f"resp_{turn.seq}")
    usage = Usage(input=100, output=10, cost=0.25)
    await journal.record_round(turn, RoundOutput(1, (item,), usage, "m"))
    await journal.record_call_start(turn, call)
    await journal.record_call_end(turn, call.call_id, Outcome("ok", f"found {text}"))
    await journal.record_object_to_erase(turn.thread, Remote("conversation", f"conv_{channel[:2]}"))
    texts = Item("message", role="assistant", text=f"re: {text}")
    await journal.record_round(turn, RoundOutput(2, (texts,), usage, "m"))
    await journal.record_answer(
        turn, answer or Answer(f"re: {text}", parts=(f"re: {text}",)), key="k1"
    )
    await journal.record_posted(turn, 1, f"{turn.seq}.9")
    await journal.end_turn(turn, "done")
    return turn


async def change_of(
    ledger: SqlLedger, turn: Turn, decider: Person | None, value: str, *consents: Person
) -> Change:
    """Asked for in that turn, and done where somebody decided."""
    author = turn.message.author
    before = {"Name": f"old {value}", "Password": SECRET}
    rows = (RowWrite("7", before, {"Name": value}),)
    drafted = Draft("memory", "update", {"table": "t1"}, f"People, {value}", rows)
    change = await ledger.propose(
        Proposal(
            new_change_id(),
            drafted,
            author,
            turn.message.address,
            turn.seq,
            f"w{value}",
            turn.thread,
            0,
            "en",
            time.time(),
            time.time() + 1e6,
        )
    )
    for person in consents:
        await ledger.consent(change.id, Consent(person, turn.message.address, time.time()))
    if decider is None:
        return await ledger.get(change.id)
    await ledger.claim(change.id, 10_000 + turn.seq, decider, time.time())
    steps = [ChangeStep(1, rows[0], "done")]
    await ledger.record(change.id, 10_000 + turn.seq, steps)
    note = f"[A note: {change.id} ({value}) was approved by {decider.name}.]"
    return await ledger.finish(change.id, 10_000 + turn.seq, "done", note, time.time())


@dataclass
class Team:
    """Ana and Bea, each alone with the bot and both in a channel; each decided for the other."""

    engine: Embedded
    hers: Change
    beas: Change
    open: Change
    """Bea's, which Ana has approved as the first of two."""
    files: SqlFiles
    sums: Mapping[str, Any]
    others: list[Any]
    """What is kept of Bea alone."""


@pytest.fixture
async def team(stores: Embedded) -> Team:
    return await make_team(stores)


async def make_team(engine: Embedded) -> Team:
    ledger = SqlLedger(engine.database)
    await talk(engine, "aubergine one", ANA, DIRECT)
    first = await talk(engine, "aubergine two", ANA, CHANNEL)
    hers = await change_of(ledger, first, BEA, "aubergine row")
    card = Card(hers.id, "change", "People, aubergine row", "Approved by Bea Reis.")
    await talk(engine, "approve it", BEA, CHANNEL, answer=Answer("aubergine done", cards=(card,)))
    second = await talk(
        engine,
        "what did she mean?",
        BEA,
        CHANNEL,
        context=(Quote("Ana Lima", "the aubergine\nof mine"), Quote("Cy", "I wonder, too")),
    )
    beas = await change_of(ledger, second, ANA, "Bea's row")
    view = Card(beas.id, "change", "People, Bea's row", "Approved by Ana Lima.")
    await talk(
        engine,
        "what was changed?",
        BEA,
        CHANNEL,
        answer=Answer("1. Bea's row, approved by Ana Lima.", cards=(view,)),
    )
    own = await talk(engine, "my own affairs", BEA, BEAS)
    waiting = await change_of(ledger, own, None, "another row", ANA)
    await Outbox(engine.database).record_notices(
        waiting.id,
        "asked",
        [ApprovalNotice(waiting.id, "copy", ANA, locale="en", text="Please approve this")],
    )
    files = SqlFiles(engine.database, engine.bytes())
    event = first.message.event_key
    await files.put(
        event,
        "aubergine.txt",
        "text/plain",
        b"aubergine bytes",
        ANA,
        first.message.address.conversation,
    )
    await files.put(own.message.event_key, "b.txt", "text/plain", b"beas", BEA, "slack:T1:DBEA88")
    await engine.database.write(lambda c: [assign_pseudonym(c, p.key) for p in (ANA, BEA)])
    people = [
        PlatformMember(p.id, scope, p.key, p.name)
        for p in (ANA, BEA, ZOE)
        for scope in ("", "groups")
    ]
    await SqlDirectory(engine.database, str).put("slack", people)
    return Team(engine, hers, beas, waiting, files, await sums(engine), await others(engine))


async def sums(engine: Embedded) -> Mapping[str, Any]:
    """Money and tokens by everything but the person."""

    def read(connection: SqlConnection) -> Any:
        result = connection.execute("SELECT sum(cost) AS c, count(*) AS n FROM spendings")
        return [dict(row) for row in result]

    return {
        **{by: await engine.budget.report(by) for by in ("day", "model", "tool")},
        "all": await engine.database.read(read),
        "bea": [r for r in await engine.budget.report("person") if r["name"] == BEA.key],
    }


async def others(engine: Embedded) -> list[Any]:
    """Rows of Bea's that say nothing of Ana."""

    values = {"bea": BEA.key, "hers": address_of(BEAS).conversation}

    def read(connection: SqlConnection) -> list[Any]:
        matches = []
        for sql in (
            "SELECT * FROM inbox WHERE person = :bea AND conversation = :hers",
            "SELECT item FROM items WHERE person = :bea AND item NOT LIKE '%context%' ORDER BY id",
            "SELECT * FROM items WHERE person = '' AND item NOT LIKE '%\"name\":\"note\"%'"
            " AND seq IN"
            " (SELECT seq FROM inbox WHERE person = :bea) ORDER BY id",
            "SELECT * FROM calls WHERE person = :bea ORDER BY seq",
            "SELECT * FROM posts WHERE person = :bea ORDER BY seq",
            "SELECT * FROM files WHERE person = :bea",
            "SELECT * FROM steps WHERE person = :bea",
            "SELECT * FROM usage WHERE person = :bea ORDER BY seq",
            "SELECT * FROM counters WHERE person = :bea ORDER BY scope",
            "SELECT * FROM audit_keys WHERE person = :bea",
            "SELECT * FROM directory WHERE person = :bea ORDER BY scope",
        ):
            rows = [dict(row) for row in connection.execute(sql, values)]
            assert rows, sql
            matches.append(rows)
        return matches

    return await engine.database.read(read)


async def everything(engine: Embedded) -> str:
    """What stands in any table, as text."""
    share = isinstance(engine, Shared)

    def read(connection: SqlConnection) -> str:
        names = [table.name for table in SCHEMA.declarations if share or not table.shared]
        names += ["procrastinate_jobs", "procrastinate_events"] if share else []
        return "\n".join(
            f"{name} {dict(row)}"
            for name in names
            for row in connection.execute(f"SELECT * FROM {name}").fetchall()
        )

    return await engine.database.read(read)


async def test_every_table_and_column_is_declared(stores: Embedded) -> None:
    share = isinstance(stores, Shared)

    def read(connection: SqlConnection) -> dict[str, set[str]]:
        if share:
            rows = connection.execute(
                "SELECT c.table_name AS t, c.column_name AS c FROM information_schema.columns AS c"
                " JOIN information_schema.tables AS t USING (table_schema, table_name)"
                " WHERE table_schema = 'ponte' AND table_type = 'BASE TABLE'"
                " AND left(table_name, 13) <> 'procrastinate'"
            ).fetchall()
        else:
            rows = connection.execute(
                "SELECT t.name AS t, c.name AS c FROM sqlite_schema AS t,"
                " pragma_table_info(t.name) AS c WHERE t.type = 'table'"
                " AND substr(t.name, 1, 7) <> 'sqlite_'"
            ).fetchall()
        matches: dict[str, set[str]] = {}
        for row in rows:
            matches.setdefault(row["t"], set()).add(row["c"])
        matches.pop("database_schema")  # the version of the schema itself
        return matches

    declarations = {
        table.name: {column.name for column in table.columns if share or not column.shared}
        for table in SCHEMA.declarations
        if share or not table.shared
    }
    assert await stores.database.read(read) == declarations


def test_each_table_is_exported_or_says_why_not() -> None:
    for table in SCHEMA.declarations:
        assert bool(table.section) != bool(table.not_exported), table.name
    assert len({table.section for table in SCHEMA.export_tables}) == len(SCHEMA.export_tables)


def test_each_table_with_data_of_people_is_erased() -> None:
    """By links that are columns of it, or in the way that it tells. Money stays, nameless."""
    for table in SCHEMA.declarations:
        assert {*table.deleted_by} <= {column.name for column in table.columns}, table.name
        is_erased = bool(table.deleted_by) or bool(table.erased)
        assert is_erased == (table.whose not in ("money", "nobody")), table.name


async def test_who_is_known_and_a_key_may_be_written_in_three_ways(team: Team) -> None:
    bea, ana = await persons_of(team.engine).list_people()
    assert (bea["person"], bea["name"], bea["platform"]) == (BEA.key, "Bea Reis", "slack")
    assert (ana["person"], ana["name"]) == (ANA.key, "Ana Lima")
    assert [ana[n] for n in ("messages", "files", "changes", "decisions")] == [2, 1, 1, 1]
    assert 0 < ana["first"] < ana["last"] <= time.time()
    persons = persons_of(team.engine)
    for lines in (ANA.key, "slack:T1/UANA77", "slack:UANA77", " slack:T1:UANA77 "):
        assert (await persons.find(lines)).key == ANA.key
    for nobody in ("slack:T1:UNOBODY", "UANA77", "", "slack:T2:UANA77"):
        with pytest.raises(UnknownPerson, match="ponte person list"):
            await persons.find(nobody)
    await talk(team.engine, "me too", replace(ANA, workspace="T2"), "C7")
    with pytest.raises(AmbiguousPerson, match="slack:T1:UANA77, slack:T2:UANA77"):
        await persons.find("slack:UANA77")


async def test_an_export_has_all_of_theirs_and_no_secret(team: Team) -> None:
    persons = persons_of(team.engine)
    await team.engine.inbox.accept(says("it waits", BEA, BEAS))
    (row,) = (await persons.read_rows(await persons.find(BEA.key), "messages"))[-1:]
    assert row["message"]["reply_to"]["token"] is True
    await SqlPageAccounts(team.engine.database).add("web:ana", hash_token("her token"))
    (row,) = await persons.read_rows(await persons.find("web:ana"), "page_account")
    assert (row["person"], row["token"]) == ("web:ana", True), "only that there is one"
    who = await persons.find(ANA.key)
    assert (set(who.names), set(who.ids)) == ({"Ana Lima"}, {"UANA77", DIRECT})
    counts = await persons.count_rows(who)
    matches = {section: await persons.read_rows(who, section) for section in counts}
    assert {section: len(rows) for section, rows in matches.items()} == counts
    assert {
        "messages",
        "transcript",
        "model_calls",
        "tool_calls",
        "posts",
        "files",
        "changes",
        "changed_rows",
        "approvals",
        "cards_sent",
        "usage",
        "spendings",
        "allowances",
        "decisions",
        "platform_profile",
    } <= matches.keys()
    assert [row["message"]["text"] for row in matches["messages"]] == [
        "aubergine one",
        "aubergine two",
    ]
    assert matches["tool_calls"][0]["outcome"]["text"] == "found aubergine one"
    assert [row["after"] for row in matches["changed_rows"]] == [{"Name": "aubergine row"}]
    assert [row["before"]["Password"] for row in matches["changed_rows"]] == [True]
    assert [row["id"] for row in matches["decisions"]] == [team.beas.id]
    text = json.dumps(matches)
    assert SECRET not in text
    assert "my own affairs" not in text
    assert matches["messages"][0]["message"]["reply_to"].get("token", False) is False

    assert ZOE.key not in [one["person"] for one in await persons.list_people()], "only listed"
    who = await persons.find("slack:UZOE99")
    assert (who.key, set(who.names)) == (ZOE.key, {"Zoe Dias"})
    assert await persons.count_rows(who) == {"platform_profile": 2}
    row, _ = await persons.read_rows(who, "platform_profile")
    assert (row["name"], row["is_guest"], row["scope"]) == ("Zoe Dias", 0, "")
    await persons.erase(who)
    with pytest.raises(UnknownPerson):
        await persons.find(ZOE.key)


async def test_a_long_export_comes_in_pages(stores: Embedded, limits: Limits) -> None:
    limits(EXPORT_PAGE_ROWS=2)
    for number in range(5):
        await stores.inbox.accept(says(f"number {number}", ANA, DIRECT))
    persons = persons_of(stores)
    who = await persons.find(ANA.key)
    pages = [await persons.read_rows(who, "messages", begin) for begin in (0, 2, 4, 6)]
    assert [[row["message"]["text"] for row in page] for page in pages] == [
        ["number 0", "number 1"],
        ["number 2", "number 3"],
        ["number 4"],
        [],
    ]


async def forget(engine: Embedded, key: str) -> KnownPerson:
    """As `bot.people` does it, as far as the database goes."""
    persons = persons_of(engine)
    who = await persons.find(key)
    for conversation in (await persons.find_conversations(who)).alone:
        await engine.journal.forget(conversation)
    await persons.erase(who)
    await engine.database.scrub(whole=True)
    await Audit(engine.database).forget(who.key)
    await engine.database.scrub()
    return who


async def test_nothing_of_hers_stays_and_all_of_others_does(team: Team) -> None:
    engine, persons = team.engine, persons_of(team.engine)
    before = await everything(engine)
    assert all(word in before for word in ANAS_WORDS)
    assert await engine.journal.list_remotes_to_erase() == []
    thread = await engine.journal.current_thread("slack:T1:C1:1.1")
    who = await forget(engine, ANA.key)
    assert await persons.count_rows(who) == {}
    with pytest.raises(UnknownPerson):
        await persons.find(ANA.key)
    assert [one["person"] for one in await persons.list_people()] == [BEA.key]
    remaining_rows = await everything(engine)
    assert [word for word in ANAS_WORDS if word in remaining_rows] == []
    assert "I wonder, too" in remaining_rows, "what others said around a message stays"
    now = await others(engine)
    assert now == team.others
    spending = await sums(engine)
    assert spending == team.sums
    (nobodys,) = [
        r for r in await engine.budget.report("person") if r["name"] == FORGOTTEN_PERSON.key
    ]
    assert (nobodys["turns"], nobodys["cost"]) == (2, 1.0)
    await check_what_was_decided(team)
    await check_the_thread_goes_on(engine, thread.id)
    for word in ANAS_WORDS:
        assert not await engine.holds(word), word


async def check_what_was_decided(team: Team) -> None:
    """What others decided for her is gone, and what she decided names nobody."""
    engine, ledger = team.engine, SqlLedger(team.engine.database)
    ids = [change.id for change in await ledger.list_of_conversation("", 10)]
    assert team.hers.id not in ids
    beas = await ledger.get(team.beas.id)
    assert (beas.state, beas.decider) == ("done", FORGOTTEN_PERSON)
    assert beas.version == team.beas.version + 1, "its card is drawn anew"
    assert (await ledger.get(team.open.id)).consents == ()
    entries = await engine.journal.list_entries("slack:T1:C1:1.1")
    texts = {one.message.text: one.answer for one in entries}
    approval, listing = texts["approve it"], texts["what was changed?"]
    assert approval is not None
    assert listing is not None
    assert (approval.text, approval.code) == ("", "forgotten")
    assert listing.text == "1. Bea's row, approved by –."
    assert listing.cards[0].text == "Approved by –."


async def check_the_thread_goes_on(engine: Embedded, thread: str) -> None:
    assert (await engine.journal.current_thread("slack:T1:C1:1.1")).id == thread
    texts = [entry.item.text for entry in await engine.journal.transcript(thread)]
    assert "what did she mean?" in texts
    assert "re: what did she mean?" in texts
    erasing = {remote.id for remote in await engine.journal.list_remotes_to_erase()}
    assert erasing >= {"conv_C1", "conv_DA", "conv_DB"}, "all that held or told of her"
    turn = await talk(engine, "and now?", BEA, CHANNEL)
    assert turn.thread == thread


async def test_an_erasure_does_not_read_all_turns(
    sqlite: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can write meanwhile. With a million turns, reading all took half a minute."""
    await make_team(sqlite)
    scans = list[str]()
    execute = SqliteStatements.execute

    def explain(self: SqliteStatements, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        for row in self.raw.execute(f"EXPLAIN QUERY PLAN {sql}", parameters):
            if re.match("SCAN (inbox|items|calls|posts|rounds|usage|spendings)", row["detail"]):
                scans.append(f"{row['detail']}: {sql}")
        return execute(self, sql, parameters)

    monkeypatch.setattr(SqliteStatements, "execute", explain)
    persons = persons_of(sqlite)
    ana = await persons.find(ANA.key)
    scans.clear()  # who is known is looked up in all tables, without a transaction
    for conversation in (*(await persons.find_conversations(ana)).alone, "slack:T1:C1:1.1"):
        await sqlite.database.write(partial(forget_changes, conversation=conversation))
    assert (await persons.erase(ana)).rows
    assert [scan for scan in scans if "inbox_shows_changes" not in scan] == []
    assert scans, "answers with cards are looked through"


async def test_a_name_that_begins_with_another_one_of_hers_is_replaced_whole(
    sqlite: Embedded,
) -> None:
    engine = sqlite
    await make_team(engine)
    await talk(engine, "aubergine three", replace(ANA, name="Ana"), DIRECT)
    await forget(engine, ANA.key)
    entries = await engine.journal.list_entries("slack:T1:C1:1.1")
    answers = [one.answer.text for one in entries if one.answer]
    assert "1. Bea's row, approved by –." in answers


async def test_a_turn_under_way_can_write_nothing_any_more(stores: Embedded) -> None:
    turn = await again(stores, (await stores.inbox.accept(says("aub", ANA, CHANNEL))).seq)
    await talk(stores, "hello", BEA, CHANNEL)
    await forget(stores, ANA.key)
    with pytest.raises(Superseded):
        await stores.journal.record_user_message(turn, build_items(turn.message, ()))
    assert not [each for each in (await everything(stores)).split() if "UANA77" in each]


async def test_nothing_is_erased_while_a_change_of_theirs_is_applied(team: Team) -> None:
    """Elsewhere than where turns run nobody is at it."""
    ledger, persons = SqlLedger(team.engine.database), persons_of(team.engine)
    await ledger.claim(team.open.id, 77, ANA, time.time())
    who = await persons.find(ANA.key)
    before = await persons.count_rows(who)
    for at_work in (None, {"slack", "web"}):
        with pytest.raises(StillApplying, match="in a moment"):
            await persons.erase(who, at_work)
    assert await persons.count_rows(who) == before
    await persons.erase(who, {"discord"})
    assert await persons.count_rows(who) == {}


async def test_again_after_a_crash_ends_it(team: Team) -> None:
    """Killed after any of the steps: she is still found, and the next time ends it."""
    engine, persons = team.engine, persons_of(team.engine)
    who = await persons.find(ANA.key)
    await engine.journal.forget(f"slack:T1:{DIRECT}")
    heir = await engine.kill()
    assert (await persons_of(heir).find(ANA.key)).key == who.key
    await persons_of(heir).erase(who)
    last = await heir.kill()
    assert (await persons_of(last).find(ANA.key)).key == who.key, "by her lines of the audit log"
    await forget(last, ANA.key)
    remaining_rows = await everything(last)
    assert [word for word in ANAS_WORDS if word in remaining_rows] == []
    await last.close()


def test_what_platforms_remember() -> None:
    values = {
        "languages": {"7": "fr", "8": "en"},
        "aliases": {"55:7": [1, 2.0], "55:8": [3, 4.0]},
        "threads": {"99": {"people": ["7", "8"], "is_announced": True}},
        "commands": "abc",
        "posts": [{"by": "9", "seen": {"7": 1}}, ["7"]],
    }
    ids = frozenset({"7"})
    assert remove_ids(values, ids) == {
        "languages": {"8": "en"},
        "aliases": {"55:8": [3, 4.0]},
        "threads": {"99": {"people": [FORGOTTEN_ID, "8"], "is_announced": True}},
        "commands": "abc",
        "posts": [{"by": "9", "seen": {}}, [FORGOTTEN_ID]],
    }
    assert select_ids(values, ids) == {
        "languages": {"7": "fr"},
        "aliases": {"55:7": [1, 2.0]},
        "threads": {"99": {"people": ["7"]}},
        "posts": [{"seen": {"7": 1}}, ["7"]],
    }


async def test_what_discords_side_remembers_is_forgotten_in_memory_too(stores: Embedded) -> None:
    peers = stores.jobs if isinstance(stores, Shared) else Alone(stores.database)
    state = DiscordState(peers)
    await state.open()
    for person, thread in ((7, 99), (8, 98)):
        state.note_language(person, "fr")
        await state.set_alias(55, str(person), thread)
    state.threads[99] = ThreadState(["7", "8"], last_message=3)
    await state.note_channel(500, 10, 0)
    await state.forget(frozenset({"7", "500"}))
    for one in (state, DiscordState(peers)):
        await one.open()
        assert (one.languages, one.find_alias(55, "7"), one.find_alias(55, "8")) == (
            {"8": "fr"},
            None,
            98,
        )
        assert (one.threads[99].people, one.threads[99].last_message) == ([FORGOTTEN_ID, "8"], 3)
        assert one.channels == {}
        await one.close()


async def test_what_another_process_remembers_meanwhile_is_kept(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written before the erasure has its lock, and after the erasure has begun."""
    engine = team.engine
    sql = "INSERT INTO remembered (name, data) VALUES ('others', ?)"
    await engine.database.write(lambda c: c.execute(sql, (f'{{"{ANA.id}": 1}}',)).close())
    kind: Any = type(await engine.database.read(lambda c: c))

    def lock_key(connection: Any, key: str) -> bool:
        if key == "others":
            data = f'{{"{ANA.id}": 1, "meanwhile": 2}}'
            update = "UPDATE remembered SET data = ? WHERE name = 'others'"
            connection.execute(update, (data,)).close()
        return bool(locked(connection, key))

    locked = kind.lock_key
    monkeypatch.setattr(kind, "lock_key", lock_key)
    await forget(engine, ANA.key)
    text = "SELECT data FROM remembered WHERE name = 'others'"
    row = await engine.database.read(lambda c: c.execute(text).fetchone())
    assert json.loads(row["data"]) == {"meanwhile": 2}


async def test_conversations_on_the_page_are_those_of_the_person_who_signed_in(
    stores: Embedded,
) -> None:
    """Also where only the key of a conversation names them."""
    people = {key: f"web:main:@{key}" for key in ("slack:T1:UANA77", "oidc:corp:ana", "oidc:x:ana")}
    rows = [(one,) for one in (*people.values(), "web:main:@ana", "web:main")]
    sql = "INSERT INTO conversations (conversation, thread, used_at) VALUES (?, 't', 1)"
    await stores.database.write(lambda c: c.executemany(sql, rows))
    data = persons_of(stores)
    for key, conversation in people.items():
        assert (await data.find_conversations(data.by_key(key))).alone == [conversation]


def test_an_account_s_id_at_its_provider_is_no_id_of_another_person() -> None:
    """The remembered name of the owner is not that of somebody whose id is `owner`."""
    who = KnownPerson("oidc:corp:owner", "oidc:corp:owner")
    assert who.id == "corp:owner"
    names = {"web:owner": "Maya"}
    assert remove_ids(names, frozenset({who.id})) == names
