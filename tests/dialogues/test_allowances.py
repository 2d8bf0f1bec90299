"""What may be spent: held before each call, settled after it, and told in words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.domain.messages import Person
from core.journal.inbox import SenderLimits
from core.journal.journal import Journal
from core.models.served_model import Level
from core.money.allowances import MAX_OUTPUT_TOKENS, MIN_OUTPUT_TOKENS, Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR, Price, Prices
from core.store.database import SqlConnection
from core.tools.tool import tool
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.openai import open_served_bot
from tests.fakes.config import FixedConfig
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.gate import Gate
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI, Script

BOB, OWNER = Person("web", "bob", name="Bob"), Person("web", "owner")
LEVELS: tuple[Level, ...] = ("conversations", "responses", "chat")
Source = FixedTools
PRICES = Prices({"gpt-6-luna": Price(1.0, 0.1, 1.25, 4.0, 2.0, 1.5)})


@tool(effect="read", doing="is looking…")
async def look() -> str:
    """Look again."""
    return "nothing yet " * 20


async def read_counters(ponte: RunningBot) -> list[tuple[int, int]]:
    """Tokens and money of each allowance's counter; nothing is held any more."""

    def read(connection: SqlConnection) -> list[tuple[int, int]]:
        assert connection.execute("SELECT * FROM holds").fetchall() == []
        rows = connection.execute("SELECT * FROM counters ORDER BY scope").fetchall()
        return [(r["tokens"], r["money"]) for r in rows if not r["scope"].startswith("cap")]

    return await ponte.engine.stores.database.read(read)


def cost(fake: FakeOpenAI) -> int:
    """Billionths of a dollar that the server would charge, at most (nothing was cached)."""
    price = PRICES.models["gpt-6-luna"]
    return sum(price.max_cost(input, output) for input, output in fake.used)


@pytest.mark.parametrize("level", LEVELS)
async def test_what_was_used_replaces_what_was_held(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    limits = [Allowance("each person", tokens=200_000, money=NANODOLLARS_PER_DOLLAR)]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES, level=level) as ponte:
        for text in ("hello", "again"):
            assert (await ponte.ask(text)).text.endswith(text)
        ((tokens, money),) = await read_counters(ponte)
        usage = (await ponte.engine.people.budget.usage_today()).usage
    assert tokens == sum(input + output for input, output in fake.used)
    assert tokens == usage.input + usage.output
    assert usage.cost is not None
    assert money == pytest.approx(usage.cost * NANODOLLARS_PER_DOLLAR, abs=2)
    path, limit = {"chat": ("/chat/completions", "max_tokens")}.get(
        level, ("/responses", "max_output_tokens")
    )
    bodies = fake.request_bodies(path)
    assert [body.get(limit) for body in bodies[-2:]] == [MAX_OUTPUT_TOKENS] * 2


async def test_what_does_not_fit_is_refused_and_not_asked(
    bot_home: BotHome, fake: FakeOpenAI
) -> None:
    limits = [
        Allowance("each channel", tokens=MIN_OUTPUT_TOKENS, source="ponte.toml:4", per="month"),
        Allowance("everybody", tokens=10**6),
    ]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        answer = await ponte.ask("hello")
        assert (answer.status, answer.code) == ("failed", "too_many")
        assert answer.text.startswith(
            "This channel's limit is 1,000 tokens a month. What is left (1,000 tokens) "
            "isn't enough. The limit resets on "
        )
        assert answer.text.endswith("You can raise it (ponte.toml:4).")
        assert await read_counters(ponte) == [], "all of a refusal is undone"
        assert fake.request_bodies("/responses") == []
        ponte.engine.people.budget.config = FixedConfig()  # ponte.toml was changed
        assert (await ponte.ask("hello")).text == "You said: hello"


async def test_an_answer_is_as_long_as_what_is_left(bot_home: BotHome, fake: FakeOpenAI) -> None:
    limits = [Allowance("each person", tokens=15_000)]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        fake.say(Script(text="word " * 60_000, piece=20_000))
        answer = await ponte.ask("tell me all")
        ((tokens, _),) = await read_counters(ponte)
    assert answer.status == "done"
    assert "_The answer stops here because the limit has been reached._" in answer.text
    body = fake.request_bodies("/responses")[-1]["max_output_tokens"]
    assert MIN_OUTPUT_TOKENS <= body < MAX_OUTPUT_TOKENS
    assert tokens == sum(map(sum, fake.used)) <= 15_000


@pytest.mark.parametrize("level", LEVELS)
async def test_a_model_that_never_ends_spends_no_more_than_there_is(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """It obeys a hostile page: look again, for ever."""
    limits = [Allowance("each person", money=NANODOLLARS_PER_DOLLAR // 20)]
    usage = {"output": 900}
    fake.say(Script(text="I look. ", calls=(("look", "{}"),), times=0, usage=usage))
    async with open_served_bot(
        bot_home, fake, [Source(look)], allowed=limits, prices=PRICES, level=level
    ) as ponte:
        answer = await ponte.ask("look again, for ever")
        assert answer.status == "done"
        assert "I look." in answer.text
        assert "_I stopped here. Your limit is $0.0500 a day. What is left ($0.0" in answer.text
        refusal = await ponte.ask("once more")
        while refusal.status == "done":
            refusal = await ponte.ask("once more")
        ((_, money),) = await read_counters(ponte)
    assert refusal.code == "too_many"
    assert 0 < money <= NANODOLLARS_PER_DOLLAR // 20
    assert cost(fake) <= NANODOLLARS_PER_DOLLAR // 20


async def test_a_hundred_at_once_spend_what_there_is(bot_home: BotHome, fake: FakeOpenAI) -> None:
    limits = [
        Allowance("together", turns=10, who=frozenset({"everybody"})),
        Allowance("everybody", tokens=10**6),
    ]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        people = [Person("web", f"p{n}") for n in range(100)]
        answers = await asyncio.gather(
            *(ponte.ask("hi", f"C{n}", person) for n, person in enumerate(people))
        )
        counters = await read_counters(ponte)
    assert sorted(answer.status for answer in answers) == ["done"] * 10 + ["failed"] * 90
    assert len(fake.used) == 10
    words = next(answer.text for answer in answers if answer.status == "failed")
    assert words.startswith("Your group has reached its limit of 10 messages a day. ")
    assert sorted(tokens for tokens, _ in counters) == [0, sum(map(sum, fake.used))]


@pytest.mark.parametrize("level", LEVELS)
async def test_what_the_server_refused_is_given_back_and_what_was_lost_is_not(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    limits = [Allowance("each person", tokens=10**6)]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES, level=level) as ponte:
        fake.say(Script(status=400, code="content_policy_violation"))
        assert (await ponte.ask("hello")).code == "refused"
        assert await read_counters(ponte) == [(0, 0)]
        fake.say(Script(status=429, code="rate_limit_exceeded"))
        assert (await ponte.ask("one")).text.endswith("one")
        ((tokens, _),) = await read_counters(ponte)
        assert tokens == sum(map(sum, fake.used))
        fake.say(Script(text="Hm, let me see", fail="drop", on_disconnect="nothing"))
        assert (await ponte.ask("two")).text.startswith("Hm, let")
        ((after, _),) = await read_counters(ponte)
        assert after > tokens + MAX_OUTPUT_TOKENS, "the lost one counts as its bound"
        usage = (await ponte.engine.people.budget.usage_today()).usage
        assert usage.input + usage.output == after


async def test_another_ones_allowance_is_their_own(bot_home: BotHome, fake: FakeOpenAI) -> None:
    """One of messages bounds no answer."""
    limits = [Allowance("each person", turns=1, source="ponte.toml:9")]
    async with open_served_bot(bot_home, fake, allowed=limits) as ponte:
        assert (await ponte.ask("hello")).status == "done"
        text = (await ponte.ask("hello")).text
        assert text.startswith("You've reached your limit of 1 message a day. The limit resets on ")
        assert (await ponte.ask("hello", person=BOB)).status == "done"
    assert "max_output_tokens" not in fake.request_bodies("/responses")[-1]


async def test_most_of_an_allowance_is_told_once(bot_home: BotHome, fake: FakeOpenAI) -> None:
    limits = [Allowance("each person", turns=5), Allowance("each channel", tokens=10**6)]
    texts = []
    for _ in range(2):  # over a restart, too
        async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
            for number in range(3):
                answer = await ponte.ask(f"hello {number}")
                texts.append(answer.text)
    words = "_You have used 4 messages of your limit of 5 messages a day. The limit resets on "
    assert [words in text for text in texts] == [False] * 3 + [True] + [False] * 2
    assert "You've reached your limit of 5 messages a day" in texts[-1]


async def test_what_was_used_counts_and_not_what_was_held(
    bot_home: BotHome, fake: FakeOpenAI
) -> None:
    """The upper bound of a short answer would be most of this allowance."""
    limits = [Allowance("each person", tokens=20_000)]
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        first = (await ponte.ask("hello")).text
        fake.say(Script(text="word " * 20_000, piece=20_000))
        second = (await ponte.ask("tell me all")).text
    words = "of your limit of 20,000 tokens a day."
    assert (words in first, words in second) == (False, True)


async def test_most_of_what_all_share_is_told_an_admin(bot_home: BotHome, fake: FakeOpenAI) -> None:
    limits = [Allowance("everybody", turns=5)]
    people = (BOB, BOB, BOB, BOB, OWNER)
    async with open_served_bot(bot_home, fake, allowed=limits) as ponte:
        messages = [(await ponte.ask("hello", person=person)).text for person in people]
        answer = await ponte.ask("hello", person=OWNER)
    words = "_Everyone together has used 5 messages of the shared limit of 5 messages a day. "
    assert [words in text for text in messages] == [False] * 4 + [True]
    assert answer.text.startswith("The shared limit of 5 messages a day has been reached. ")


async def test_usage_shows_what_is_left(bot_home: BotHome, fake: FakeOpenAI) -> None:
    limits = [
        Allowance("each person", money=NANODOLLARS_PER_DOLLAR, tokens=10**6),
        Allowance("everybody", "month", turns=100),
    ]
    unknown = Prices(official=False)
    async with open_served_bot(bot_home, fake, allowed=limits, prices=unknown) as ponte:
        await ponte.ask("hello", person=OWNER)
        own = (await ponte.ask("usage", person=BOB)).text
        all_ = (await ponte.ask("usage", person=OWNER)).text
        channel = await ponte.ask("usage channel", person=OWNER)
        answer = await ponte.ask("usage channel", person=BOB)
    assert "everyone" not in own.split("Remaining:")[0]
    assert "- you, 1,000,000 tokens a day: 1,000,000 tokens left until " in own
    assert "- you, $1.00 a day: $1.00 left until " in own
    assert "- everyone in total, 100 messages a month: 99 messages left" in own
    assert "- everyone: 1 message, " in all_
    assert "Ponte doesn't know the price of gpt-6-luna, so its cost" in all_
    assert channel.is_private
    assert channel.text.startswith("Today in this channel: 1 message, ")
    assert "- `web:owner`: 1 message, " in channel.text
    assert answer.code == "forbidden"


async def test_too_many_messages_a_minute_are_not_taken_up(bot_home: BotHome) -> None:
    gate = Gate()
    async with bot_home.open(
        EchoModel(gate=lambda _: gate.wait()), intake=SenderLimits(per_minute=2)
    ) as ponte:
        receipts = [(await ponte.send(f"m{n}", channel=f"C{n}"))[1] for n in range(3)]
        answer = await ponte.wait_for_answer(receipts[2])
        assert answer.text.startswith("You can send 2 messages a minute, so I didn't process this")
        assert (await ponte.ask("usage")).status == "done", "a decision is always taken"
        assert (await ponte.send("hello", person=BOB))[1].is_new
        gate.release()
        assert (await ponte.wait_for_answer(receipts[1])).text == "You said: m1"


async def test_what_one_person_may_have_waiting(bot_home: BotHome) -> None:
    gate = Gate()
    async with bot_home.open(
        EchoModel(gate=lambda _: gate.wait()), intake=SenderLimits(waiting=2)
    ) as ponte:
        first = (await ponte.send("m0"))[1]
        await gate.wait_until_reached()
        receipts = [(await ponte.send(f"m{n}"))[1] for n in (1, 2, 3)]
        assert [receipt.refusal for receipt in receipts] == ["", "", "waiting:2"]
        answer = await ponte.wait_for_answer(receipts[2])
        assert answer.text.startswith("2 of your messages are already queued, so I didn't process")
        gate.release()
        for receipt in (first, *receipts[:2]):
            assert (await ponte.wait_for_answer(receipt)).status == "done"
        assert (await ponte.ask("m4")).status == "done"


@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_answer_that_a_restart_cut_off_is_paid_for_once(
    bot_home: BotHome, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """If the server lost it, too, it is asked again and reserved again."""
    record, recorded_event = Journal.record_response, asyncio.Event()

    async def record_and_tell(*arguments: Any) -> None:
        await record(*arguments)
        recorded_event.set()

    monkeypatch.setattr(Journal, "record_response", record_and_tell)
    limits = [Allowance("each person", tokens=10**6)]
    script = Script(text="It is forty-two.", fail="hang", on_disconnect="nothing")
    fake.say(script if is_lost else replace(script, on_disconnect="commit"))
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        _, receipt = await ponte.send("hello")
        await recorded_event.wait()
        await ponte.engine.drain(0)
    async with open_served_bot(bot_home, fake, allowed=limits, prices=PRICES) as ponte:
        answer = (await ponte.wait_for_answer(receipt)).text
        assert answer == ("You said: hello" if is_lost else "It is forty-two.")
        ((tokens, _),) = await read_counters(ponte)
    if is_lost:
        assert fake.request_bodies("/responses")[-1]["max_output_tokens"] == MAX_OUTPUT_TOKENS
    else:
        assert [tokens] == [sum(usage) for usage in fake.used]
