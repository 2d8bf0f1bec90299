"""What comes from outside can be stored, on both databases; what no column takes is told apart from
a database that is away."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from core.base.errors import Unstorable
from core.domain.messages import Answer, Attachment, Card, Item, Person, Quote, ReplyTo, Usage
from core.domain.records import Outcome, Remote, RoundOutput, ToolCall
from core.store.database import SqlConnection
from tests.contract.engines import Embedded, Shared
from tests.contract.test_inbox import says
from tests.fakes.card_rows import card_row

HALF, LOST = "\ud83d", "\N{REPLACEMENT CHARACTER}"
HALVES = (HALF, "\ude00", f"a{HALF}", f"{HALF}b", f"\ude00{HALF}", "\udfff\ud800")


async def test_halves_of_characters_are_replaced_wherever_they_come_in(stores: Embedded) -> None:
    """A platform's event, a model's answer, a call, its outcome, a post's id."""
    bare = says(f"hello {HALF}", channel=f"C{HALF}")
    ana = Person("web", f"ana{HALF}", name=f"Ana {HALF}")
    address = replace(bare.address, thread=f"t{HALF}")
    message = replace(
        bare,
        author=ana,
        address=address,
        reply_to=ReplyTo(address, ana, f"s{HALF}", "turn"),
        attachments=(Attachment(f"a{HALF}.csv", "text/csv", 3),),
        context=(Quote(f"Bo {HALF}", HALF),),
        program_context=(Quote("system", HALF),),
        event_key=f"web:k{HALF}",
        locale=HALF,
        time_zone=HALF,
    )
    receipt = await stores.inbox.accept(message)
    assert not (await stores.inbox.accept(message)).is_new, "it is known by its key"
    turn = await stores.journal.begin(receipt.seq)
    assert turn
    assert turn.message.text == f"hello {LOST}"
    assert (turn.message.author.name, turn.message.context[0].name) == (f"Ana {LOST}", f"Bo {LOST}")
    text = Item("message", "user", f"hello {HALF}", name=HALF)
    (event,) = (await stores.journal.record_user_message(turn, [text])).items
    assert event.text == f"hello {LOST}"
    await stores.journal.record_response(turn, 1, f"resp{HALF}")
    call = ToolCall(f"c{HALF}", f"look{HALF}", f'{{"a": "{HALF}"}}', "read")
    item = Item("call", call_id=call.call_id, name=call.name, arguments=call.arguments)
    opaque = Item("opaque", raw={"item": {"x": [HALF, {"y": HALF}]}})
    await stores.journal.record_round(turn, RoundOutput(1, (opaque, item), Usage(1), f"m{HALF}"))
    await stores.journal.record_call_start(turn, call)
    await stores.journal.record_call_handle(turn, call.call_id, f"h{HALF}")
    await stores.journal.record_call_end(
        turn, call.call_id, Outcome("ok", HALF, sources=(HALF,), paid=f"p{HALF}")
    )
    await stores.journal.record_object_to_erase(turn.thread, Remote("container", f"cntr{HALF}"))
    await stores.journal.set_listing(address.conversation, f"title {HALF}", None)
    card = Card("a", "change", HALF, HALF, (card_row({HALF: HALF}, {}),))
    round_output = RoundOutput(2, (Item("message", "assistant", HALF),), Usage(1), "m")
    await stores.journal.record_answer(
        turn, Answer(f"hi {HALF}", cards=(card,)), round_output, f"key{HALF}"
    )
    await stores.journal.record_posted(turn, 1, f"post{HALF}")
    assert await stores.journal.seq_of_post(f"post{HALF}") == receipt.seq
    (match,) = [one for one in (await stores.journal.begin(receipt.seq),) if one]
    assert match.answer
    assert match.answer.text == f"hi {LOST}"
    assert [c.outcome.text for c in match.calls if c.outcome] == [LOST]
    await stores.journal.end_turn(turn, "done", f"why {HALF}")
    entries = await stores.journal.list_entries(address.conversation)
    assert [one.seq for one in entries] == [receipt.seq]


async def test_random_texts_are_stored_and_read_back(stores: Embedded) -> None:
    """Zero characters, halves in any order, noncharacters: what was stored reads the same again."""
    numbers = random.Random(29)
    signs = [*map(chr, range(0x20)), *HALVES, "é", "\U0001f600", "\ufffe", "\U0010ffff", "a"]
    for n in range(30):
        text = "".join(numbers.choice(signs) for _ in range(40))
        receipt = await stores.inbox.accept(says(text, channel=f"C{n}"))
        turn = await stores.journal.begin(receipt.seq)
        assert turn
        user_message = await stores.journal.record_user_message(
            turn, [Item("message", "user", turn.message.text)]
        )
        assert user_message.items[0].text == turn.message.text
        user_message.items[0].text.encode()


async def test_a_number_that_no_column_takes_is_unstorable(stores: Embedded) -> None:
    def write(connection: SqlConnection) -> None:
        connection.execute(
            "INSERT INTO counters (scope, period, person, turns, tokens, money)"
            " VALUES ('s', 'p', '', 0, ?, 0)",
            (number,),
        )

    for number in (2**63, -(2**63) - 1, 10**30, 10**400):
        with pytest.raises(Unstorable):
            pytest.fail(f"{number} was stored: {await stores.database.write(write)}")
        receipt = await stores.inbox.accept(says("the next one is stored"))
        assert receipt.is_new


async def test_a_name_too_long_for_an_index_is_unstorable(on_postgres: Shared) -> None:
    """Its entries end at some 2,700 bytes, after compression; SQLite knows no such limit."""
    numbers = random.Random(29)
    key = "".join(chr(numbers.randrange(0x4E00, 0x9FFF)) for _ in range(10_000))
    with pytest.raises(Unstorable):
        await on_postgres.inbox.accept(replace(says("hello"), event_key=key))
    await on_postgres.inbox.accept(says("the next one is stored"))


async def test_many_rows_at_once_are_stored_once_each(stores: Embedded) -> None:
    rows = [(f"s{n}", "p", f"ana{n}", n) for n in range(5)]
    rows[3] = (f"s3{HALF}", "p", f"ana{HALF}", 3)

    def write(connection: SqlConnection) -> list[str]:
        connection.executemany(
            "INSERT INTO counters (scope, period, person, turns, tokens, money)"
            " VALUES (?, ?, ?, ?, 0, 0)",
            rows,
        )
        match = connection.execute("SELECT person FROM counters ORDER BY turns").fetchall()
        return [row["person"] for row in match]

    assert await stores.database.write(write) == ["ana0", "ana1", "ana2", f"ana{LOST}", "ana4"]


def nest_lists(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


async def test_what_is_stored_can_be_read_again(stores: Embedded) -> None:
    """JSON may be nested so deeply that it can be written and not be read: its conversation would
    never get an answer again."""
    journal = stores.journal
    text = Item("message", "assistant", "[" * 1000 + '{"' * 1000)
    for levels in (1, 50, 90, 110, 199, 220, 250, 260, 400, 2000):
        message = says("hello", channel=f"C{levels}")
        turn = await journal.begin((await stores.inbox.accept(message)).seq)
        assert turn, levels
        deep = Item("opaque", raw={"item": nest_lists(levels)})
        try:
            await journal.record_round(turn, RoundOutput(1, (text, deep), Usage(1), "m"))
        except Unstorable:
            assert levels > 90
            await journal.record_round(turn, RoundOutput(1, (text,), Usage(1), "m"))
        else:
            assert levels < 110
        again = await journal.begin(turn.seq)
        assert again, levels
        assert again.items[0] == text, levels
