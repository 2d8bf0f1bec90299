"""What a model's server or a tool sends can always be stored. Where it cannot, the turn ends with
an apology, and nothing that was paid for is asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.base.errors import NotStored, ToolError, Unstorable
from core.base.http import HttpClient
from core.base.tasks import Backoff
from core.domain.messages import Answer, decode_json, encode_json
from core.domain.ports import ToolSource
from core.domain.records import Outcome, RoundOutput, Turn
from core.journal import journal as turns
from core.models.served_model import Level
from core.money.allowances import MAX_OUTPUT_TOKENS, Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR
from core.store.database import SqlConnection
from core.tools.nocodb.bridge import BridgeSource
from core.tools.tool import tool
from core.turn.manager import MAX_FAILED_ATTEMPTS
from core.turn.preparation import Preparation
from core.turn.run import TurnRun
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.openai import open_served_bot
from tests.dialogues.test_allowances import PRICES
from tests.fakes.bridge import FakeBridge
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.openai import FakeOpenAI, Script, events, hostile
from tests.time_limits import Limits

LEVELS: tuple[Level, ...] = ("conversations", "responses", "chat")
every_level = pytest.mark.parametrize("level", LEVELS)
also_on_postgres_with_history = pytest.mark.parametrize(
    ("bot_home", "level"),
    [("home", "conversations"), ("postgres", "responses"), ("home", "chat")],
    indirect=["bot_home"],
)
"""On Postgres with the kind of server for which Ponte stores the most."""
HALF, OTHER_HALF, WHOLE = "\ud83d", "\ude00", "\U0001f600"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ALLOWED = [Allowance("each person", tokens=10**6, money=NANODOLLARS_PER_DOLLAR)]


@tool(effect="read", doing="is looking…")
async def look() -> str:
    """Look."""
    raise ToolError("It says {words}.", code="odd", hint=f"hint {HALF}", words=f"no {HALF}")


@tool(effect="read", doing="is looking…")
async def rows() -> list[dict[str, str]]:
    """Give rows."""
    return [{f"na{HALF}me": f"Ada {HALF}"}]


def calls_of_model(fake: FakeOpenAI) -> int:
    return len(fake.request_bodies("/responses")) + len(fake.request_bodies("/chat/completions"))


async def read_budget(ponte: RunningBot) -> tuple[int, int, int]:
    """Tokens and money of the one counter, and how many reservations are open; zeros before the
    first call."""

    def read(connection: SqlConnection) -> tuple[int, int, int]:
        reservations = connection.execute("SELECT count(*) AS n FROM holds").fetchone()["n"]
        rows = connection.execute("SELECT * FROM counters WHERE scope NOT LIKE 'cap%'").fetchall()
        return (
            (int(rows[0]["tokens"]), int(rows[0]["money"]), int(reservations))
            if rows
            else (0, 0, 0)
        )

    return await ponte.engine.stores.database.read(read)


@also_on_postgres_with_history
async def test_half_an_emoji_in_a_response_is_replaced_and_asked_for_once(
    bot_home: BotHome, fake: FakeOpenAI, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an answer, a call's name and arguments, the id of the response, a refusal, and in
    encrypted reasoning."""
    whole = events.output_of

    def break_reasoning(*given: Any) -> list[dict[str, Any]]:
        items = whole(*given)
        for item in items:
            if item["type"] == "reasoning":
                item.update(encrypted_content=f"gAA{HALF}", summary=[{"text": HALF}])
        return items

    monkeypatch.setattr("tests.fakes.openai.responses.output_of", break_reasoning)
    questions = (f"lo{HALF}ok", json.dumps({"a": 1}) + HALF)
    call = Script(calls=(questions, ("look", "{}")), id=f"id{HALF}")
    async with open_served_bot(bot_home, fake, [FixedTools(look)], level=level) as ponte:
        for script, answer, calls in (
            (Script(text=f"Hello {HALF}", piece=3), f"Hello {REPLACEMENT}", 1),
            ("And again.", "And again.", 2),
            (call, f"No {REPLACEMENT}", 4),
            (Script(text="Hello", reasoning=level == "responses"), "Hello", 5),
            ("Yes.", "Yes.", 6),
        ):
            fake.say(script)
            if script is call:
                fake.say(Script(refusal=f"No {HALF}"))
            assert (await ponte.ask("look")).text == answer
            assert calls_of_model(fake) == calls


@every_level
async def test_an_emoji_that_was_split_over_two_chunks_is_joined(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """Also in what is shown while the answer grows."""
    message = f"{HALF}{OTHER_HALF} one {HALF}{OTHER_HALF}"
    async with open_served_bot(bot_home, fake, level=level) as ponte:
        fake.say(Script(text=message, piece=1))
        one, receipt = await ponte.send("hello")
        assert (await ponte.wait_for_answer(receipt)).text == f"{WHOLE} one {WHOLE}"
    assert bot_home.recorder.visible(one.event_key) == [f"{WHOLE} one {WHOLE}"]
    views = [text for post in bot_home.recorder.posts for text in post.texts]
    assert not any(REPLACEMENT in text or HALF in text for text in views)
    assert calls_of_model(fake) == 1


@also_on_postgres_with_history
async def test_absurd_counts_are_settled_at_the_reservation(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    counts = [10**17, 10**400, -(10**30), 2**63, "many", None, 1.5, [1]]
    limits = [Allowance("each person", tokens=10**7, money=10 * NANODOLLARS_PER_DOLLAR)]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES, level=level) as ponte:
        tokens = money = 0
        for count in counts:
            fake.say(Script(text="Hello", usage={"output": count}))
            assert (await ponte.ask("hello")).text == "Hello", count
            before = tokens, money
            tokens, money, reservations = await read_budget(ponte)
            assert MAX_OUTPUT_TOKENS < tokens - before[0] < 100_000, count
            assert 0 < money - before[1] < NANODOLLARS_PER_DOLLAR, count
            assert reservations == 0, count
    assert calls_of_model(fake) == len(counts)


async def test_what_a_tool_says_is_stored(bot_home: BotHome, fake: FakeOpenAI) -> None:
    """And what a bridge says of its failure."""
    calls = ("nocodb_execute", json.dumps({"tool": "list_tables", "args": {"base_id": "b"}}))
    fake.say(Script(calls=(("look", "{}"), ("rows", "{}"), calls)), "Done.")
    async with FakeBridge() as bridge, HttpClient() as http:
        bridge.fail(9, 500, f"no such thing {HALF}")
        sources: list[ToolSource] = [FixedTools(look, rows), BridgeSource(bridge.url, "", http)]
        async with open_served_bot(bot_home, fake, sources, level="chat") as ponte:
            assert (await ponte.ask("look")).text == "Done."
    messages = fake.request_bodies("/chat/completions")[-1]["messages"]
    outputs = [message["content"] for message in messages if message["role"] == "tool"]
    for output, words in zip(outputs, ("no", "Ada", "no such thing"), strict=True):
        assert f"{words} {REPLACEMENT}" in output
    assert calls_of_model(fake) == 2


@also_on_postgres_with_history
@pytest.mark.parametrize("calls", [False, True], ids=["answer", "call"])
async def test_an_answer_that_cannot_be_stored_ends_in_an_apology_and_is_paid_once(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, level: Level, calls: bool
) -> None:
    """Whatever it is that the database does not take."""
    plan = turns._plan_round

    def refuse(turn: Turn, said: RoundOutput, condition: str) -> Any:
        steps, values = plan(turn, said, condition)
        if "poison" in str(said.items):
            values["number"] = 2**63
        return steps, values

    monkeypatch.setattr(turns, "_plan_round", refuse)
    question = (("look", '{"a": "poison"}'),) if calls else ()
    fake.say(
        Script(text="poison", calls=question, usage={"input": 1000, "cached": 0, "output": 10}),
        "Yes.",
    )
    async with open_served_bot(
        bot_home, fake, [FixedTools(look)], allowed=ALLOWED, prices=PRICES, level=level
    ) as ponte:
        one, receipt = await ponte.send("hello")
        answer = await ponte.wait_for_answer(receipt)
        assert (answer.status, answer.code) == ("failed", "unstorable")
        assert "it contains something that the database rejects" in answer.text
        assert await read_budget(ponte) == (1010, 1_040_000, 0), "it was paid for, and is counted"
        assert (await ponte.ask("again")).text == "Yes."
    assert bot_home.recorder.visible(one.event_key) == list(answer.parts)
    assert calls_of_model(fake) == 2
    async with open_served_bot(bot_home, fake, level=level) as ponte:
        assert await ponte.ask_message(one) == answer


async def test_a_tools_result_that_cannot_be_stored_is_told_to_the_model(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tool(effect="spend", doing="is buying…")
    async def buy() -> str:
        """Buy."""
        purchases.append(1)
        return "poison"

    purchases: list[int] = []
    monkeypatch.setattr(turns, "encode_json", _refusing)
    fake.say(Script(calls=(("buy", "{}"),)), "It is not known.")
    async with open_served_bot(bot_home, fake, [FixedTools(buy)], level="chat") as ponte:
        assert (await ponte.ask("buy it")).text == "It is not known."
        (call,) = await ponte.engine.stores.database.read(
            lambda c: c.execute("SELECT outcome FROM calls").fetchall()
        )
        assert decode_json(Outcome, call["outcome"]).status == "unknown"
    body = fake.request_bodies("/chat/completions")[-1]["messages"][-1]["content"]
    assert "could not be stored" in body
    assert (purchases, calls_of_model(fake)) == ([1], 2)


def _refusing(value: object) -> str:
    if "poison" in str(value):
        raise Unstorable
    return encode_json(value)


@pytest.mark.parametrize(
    ("level", "calls"),
    [("conversations", False), ("responses", True), ("chat", False), ("chat", True)],
)
async def test_a_store_that_is_away_or_full_makes_the_turn_wait_and_asks_nothing_twice(
    bot_home: BotHome,
    fake: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
    level: Level,
    calls: bool,
) -> None:
    """However often: it never counts as an attempt."""
    limits(STORE_BACKOFF=Backoff(0.0))
    refused = 0
    fake.say(Script(calls=(("look", "{}"),))) if calls else None
    async with open_served_bot(bot_home, fake, [FixedTools(look)], level=level) as ponte:
        journal = ponte.engine.conversations.journal
        name = "record_round" if calls else "record_answer"
        write = getattr(journal, name)

        async def away(*given: Any) -> None:
            nonlocal refused
            if refused < 20:
                refused += 1
                raise NotStored
            await write(*given)

        monkeypatch.setattr(journal, name, away)
        assert (await ponte.ask("hello")).status == "done"
    assert refused == 20
    assert calls_of_model(fake) == (2 if calls else 1)


@also_on_postgres_with_history
async def test_what_no_index_or_reader_takes_ends_the_turn(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    async with open_served_bot(
        bot_home, fake, allowed=ALLOWED, prices=PRICES, level=level
    ) as ponte:
        for what in (hostile.long_ids, hostile.deep_event, hostile.many_parts):
            (before, *_), calls = await read_budget(ponte), calls_of_model(fake)
            fake.hostile = hostile.streams(what)
            answer = await ponte.ask("hello")
            assert "The model's server sent more than the limit (" in answer.text, what
            tokens, _, reservations = await read_budget(ponte)
            assert (tokens - before > MAX_OUTPUT_TOKENS, reservations) == (True, 0), (
                f"it counts as what was reserved: {what.__name__}"
            )
            assert calls_of_model(fake) == calls + 1, what
            fake.hostile = None
            fake.say("Well again.")
            assert (await ponte.ask("again")).text == "Well again.", what


@also_on_postgres
async def test_deep_reasoning_ends_in_an_answer_whatever_its_depth(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of it could be written and never be read again."""
    whole, levels = events.output_of, 0

    def deepen_reasoning(*given: Any) -> list[dict[str, Any]]:
        items, deep = whole(*given), json.loads("[" * levels + "]" * levels)
        return [{**i, "summary": deep} if i["type"] == "reasoning" else i for i in items]

    monkeypatch.setattr("tests.fakes.openai.responses.output_of", deepen_reasoning)
    async with open_served_bot(bot_home, fake, level="responses") as ponte:
        for levels in (90, 150, 210, 300, 900):
            calls = calls_of_model(fake)
            fake.say(Script(text="Hello", reasoning=True), "Well again.")
            answer = await ponte.ask("hello")
            assert (answer.text == "Hello") == (levels < 100), levels
            assert (await ponte.ask("again")).text == "Well again.", levels
            assert calls_of_model(fake) == calls + 2, levels


async def test_an_answer_that_cannot_be_prepared_ends_in_an_apology(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """Its failures count as attempts, but not those of a store that is unavailable. The model is
    asked once."""
    limits(TURN_BACKOFF=Backoff(0.0))
    prepare, tried = Preparation.disarm_and_split, 0

    async def breaks(self: Any, run: TurnRun, answer: Answer, provenance: Any) -> Answer:
        nonlocal tried
        if "poison" in run.turn.message.text:
            tried += 1
            raise RuntimeError("it can't be split")
        if "unavailable" in run.turn.message.text and tried <= MAX_FAILED_ATTEMPTS:
            tried += 1
            raise NotStored
        return await prepare(self, run, answer, provenance)

    monkeypatch.setattr(Preparation, "disarm_and_split", breaks)
    async with open_served_bot(bot_home, fake, level="chat") as ponte:
        one, receipt = await ponte.send("poison")
        answer = await ponte.wait_for_answer(receipt)
        assert (answer.status, answer.code, tried) == ("failed", "internal", MAX_FAILED_ATTEMPTS)
        tried = 0
        fake.say("Well again.")
        assert (await ponte.ask("unavailable")).text == "Well again."
        assert tried == MAX_FAILED_ATTEMPTS + 1
    assert bot_home.recorder.visible(one.event_key) == list(answer.parts)
    assert calls_of_model(fake) == 2


async def test_a_turn_of_which_not_even_the_apology_is_stored_ends(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_served_bot(bot_home, fake, level="chat") as ponte:
        journal = ponte.engine.conversations.journal
        record_answer = journal.record_answer

        async def refuse(turn: Turn, *given: Any) -> None:
            if "poison" in turn.message.text:
                raise Unstorable
            await record_answer(turn, *given)

        monkeypatch.setattr(journal, "record_answer", refuse)
        _, receipt = await ponte.send("poison")
        await ponte.wait_for_answer(receipt)
        fake.say("Well again.")
        assert (await ponte.ask("again")).text == "Well again."
    assert calls_of_model(fake) == 2
