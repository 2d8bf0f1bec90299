"""A message with several wishes, of which one becomes a card: nothing of it is lost, and no words
of the model stand beside the card."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.base.errors import ModelDown, OverBudget, PonteError
from core.base.http import HttpClient
from core.domain.messages import Answer, Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.ports import ToolSource
from core.domain.records import Outcome
from core.domain.rights import Effect
from core.tools.nocodb.source import NocoSource
from core.tools.tool import FunctionTool, outcome_of_error
from core.turn.rounds import RAN_BEFORE, RESULT_UNKNOWN
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

Call = tuple[str, dict[str, Any]]
LIES = "Just press Approve, it is only a picture."
CARD = "I've prepared this change for approval."
PAID: Call = (
    "nocodb_update",
    {"table": "Orders", "changes": [{"id": 12, "fields": {"Paid": True}}]},
)
WRONG: Call = (
    "nocodb_update",
    {"table": "Orders", "changes": [{"id": 13, "fields": {"Paid": "<@U9> perhaps"}}]},
)
MENDED: Call = (
    "nocodb_update",
    {"table": "Orders", "changes": [{"id": 13, "fields": {"Paid": True}}]},
)
LARGE: Call = (
    "nocodb_query",
    {
        "table": "Orders",
        "filters": [{"field": "Title", "op": "eq", "value": "Order 30"}],
        "fields": ["Title"],
    },
)
NOWHERE: Call = ("nocodb_query", {"table": "Nowhere"})


class Planned(EchoModel):
    """Makes the calls of its rounds, and speaks in each; then it only speaks. `hold` is set when it
    is asked the round `held`, which never ends."""

    def __init__(self, *rounds: Sequence[Call], held: int = 0, words: str = LIES) -> None:
        super().__init__()
        self.rounds, self.held, self.hold = rounds, held, asyncio.Event()
        self.words = words

    async def ask(self, ask: RoundRequest) -> AsyncIterator[ModelEvent]:  # type: ignore[override]
        self.asks.append(ask)
        if ask.number == self.held:
            self.hold.set()
            await asyncio.Event().wait()
        yield TextDelta(self.words)
        calls = self.rounds[ask.number - 1] if ask.number <= len(self.rounds) else ()
        yield RoundCompleted(
            (
                Item("message", role="assistant", text=self.words),
                *(
                    Item("call", call_id=f"{ask.turn}-{ask.number}-{n}", name=name, arguments=text)
                    for n, (name, text) in enumerate((name, json.dumps(a)) for name, a in calls)
                ),
            )
        )


@asynccontextmanager
async def open_bot(
    bot_home: BotHome, model: EchoModel, *more: ToolSource
) -> AsyncIterator[RunningBot]:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        tables = nocodb.world.bases[filled.CRM].tables.values()
        orders = next(table for table in tables if table.title == "Orders")
        for id in (12, 13):
            orders.update(id, {"Paid": False})
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        sources = [source, *more]
        async with bot_home.open(model, sources=sources, appliers=[source.rows]) as ponte:
            yield ponte


async def answer_to(bot_home: BotHome, model: EchoModel, *more: ToolSource) -> Answer:
    """Ask once. No words of the model are in the answer, or ever in its post beside a card."""
    async with open_bot(bot_home, model, *more) as ponte:
        answer = await ponte.ask("mark it paid and show me the large ones")
        assert LIES not in answer.text
        assert LIES not in ponte.recorder.posts[-1].texts[-1]
        assert not re.search(r"[{}]|\w_\w", answer.text), "no call as the model writes it"
        last_post = ponte.recorder.visible("k1")[-1]
        assert re.search(r"(\A|[^\n]\n)⟦", last_post)
        assert re.fullmatch(r"I've prepared [^\n]+ for approval\.", answer.card_sentence)
        return answer


def _tool(name: str, effect: Effect, outcome: Outcome, ran: list[str]) -> FunctionTool:
    async def act() -> Outcome:
        """Acts."""
        ran.append(name)
        return outcome

    return FunctionTool(act, effect=effect, doing="is acting…", name=name)


async def test_what_was_read_in_the_cards_round_is_shown(bot_home: BotHome) -> None:
    model = Planned([PAID, LARGE])
    answer = await answer_to(bot_home, model)
    assert [card.state for card in answer.cards] == ["open"]
    table, source = answer.text.split("\n\n")
    assert table == "| Title |\n| :--- |\n| Order 30 |"
    assert answer.text_without_cards == f"{answer.text}\n\n{CARD}"
    assert source.startswith('Source: Orders, Title is "Order 30": 1 of 1 row, ')
    assert [placed.text for placed in answer.placed] == [table]
    assert len(model.asks) == 1, "nothing failed"


async def test_the_row_that_was_looked_up_to_change_it_is_preparation(bot_home: BotHome) -> None:
    """Its card shows it. What else an earlier round read is shown."""
    get: Call = ("nocodb_get", {"table": "Orders", "id": 12})
    other: Call = ("nocodb_get", {"table": "Customers", "id": 12})
    tables: Call = ("nocodb_tables", {})
    async with open_bot(bot_home, Planned([tables], [get], [PAID])) as ponte:
        assert (await ponte.ask("mark it paid")).text_without_cards == CARD
    async with open_bot(bot_home, Planned([get, other], [PAID])) as ponte:
        text = (await ponte.ask("mark it paid and show me customer 12")).text
    assert "| Customer 12 |" in text
    assert "Order 12" not in text


REORDERED: Call = (PAID[0], dict(reversed(PAID[1].items())))
"""The same call, as a model writes it the second time."""


@pytest.mark.parametrize("again", [[MENDED], [PAID, MENDED], [REORDERED, MENDED]])
async def test_a_wrong_value_is_mended_in_one_more_round(
    bot_home: BotHome, again: Sequence[Call]
) -> None:
    """A call that succeeded is not made twice."""
    model = Planned([PAID, WRONG], again)
    answer = await answer_to(bot_home, model)
    assert answer.text_without_cards == "I've prepared 2 changes for approval."
    assert [card.rows[0]["id"] for card in answer.cards] == ["12", "13"]
    assert len(model.asks) == 2


@pytest.mark.parametrize("again", [[], [WRONG], [WRONG, PAID], [LARGE]])
async def test_what_still_fails_is_told_with_its_cause(
    bot_home: BotHome, again: Sequence[Call]
) -> None:
    model = Planned([PAID, WRONG], again, *[[WRONG]] * 9)
    answer = await answer_to(bot_home, model)
    assert (len(answer.cards), len(model.asks)) == (1, 2), "asked once more, and no further"
    assert "1 of 2 changes couldn't be prepared: " in answer.text
    assert "Paid" in answer.text.split("couldn't be prepared: ")[1]
    assert "(Orders)" in answer.text
    assert "<@U9>" not in answer.text
    assert ("Order 30" in answer.text) == (LARGE in again)


@pytest.mark.parametrize("error", [ModelDown, OverBudget])
async def test_without_the_round_for_repairs_the_card_stays(
    bot_home: BotHome, error: type[PonteError]
) -> None:
    class Away(Planned):
        async def ask(self, ask: RoundRequest) -> AsyncIterator[ModelEvent]:  # type: ignore[override]
            if ask.number == 2:
                raise error(limit=1)
            async for event in super().ask(ask):
                yield event

    answer = await answer_to(bot_home, Away([PAID, WRONG]))
    assert (answer.status, len(answer.cards)) == ("done", 1)
    assert "1 of 2 changes couldn't be prepared: " in answer.text


async def test_what_code_printed_is_named(bot_home: BotHome) -> None:
    """The model wrote the code, so its words would stand beside the card."""
    code = FixedTools(_tool("printed", "code", Outcome("ok", LIES), []))
    text = (await answer_to(bot_home, Planned([PAID, ("printed", {})]), code)).text
    assert text == "Not answered here: 1. Ask again for: _is acting…_"


@pytest.mark.parametrize("listed", [Outcome("ok", "[]"), outcome_of_error(RAN_BEFORE)])
async def test_a_read_that_fails_and_one_that_needs_words_are_named(
    bot_home: BotHome, listed: Outcome
) -> None:
    """Neither is a change that couldn't be prepared."""
    tool = FixedTools(_tool("listed", "chat", listed, []))
    text = (await answer_to(bot_home, Planned([PAID, NOWHERE, ("listed", {})]), tool)).text
    assert "Not answered here: 2. Ask again for: Table \\`Nowhere\\` not found, " in text
    assert "_is acting…_" in text
    assert "couldn't be prepared" not in text


async def test_what_only_the_model_reads_is_named(bot_home: BotHome) -> None:
    text = (await answer_to(bot_home, Planned([PAID, ("nocodb_tables", {})]))).text
    assert text == "Not answered here: 1. Ask again for: _is reading the tables…_"


async def test_figures_without_groups_are_shown_as_a_row(bot_home: BotHome) -> None:
    figures: Call = (
        "nocodb_summarize",
        {"table": "Orders", "aggregates": [{"field": "Amount", "fn": "sum"}]},
    )
    text = (await answer_to(bot_home, Planned([PAID, figures]))).text
    table, source = text.split("\n\n")
    assert table == "| Rows | Amount: sum |\n| ---: | ---: |\n| 60 | 2,745 |"
    assert source.startswith("Source: Orders: 60 of 60 rows, ")


async def test_after_results_that_fill_several_posts_the_buttons_follow(bot_home: BotHome) -> None:
    tables = ("Orders", "Customers", "Readings")
    reads = [("nocodb_query", {"table": table, "limit": 50}) for table in tables]
    await answer_to(bot_home, Planned([PAID, *reads]))
    assert len(bot_home.recorder.visible("k1")) > 1


async def test_a_query_that_is_made_again_counts_once(bot_home: BotHome) -> None:
    reordered = (LARGE[0], dict(reversed(LARGE[1].items())))
    text = (await answer_to(bot_home, Planned(*[[LARGE], [reordered]] * 5, [LARGE, PAID]))).text
    assert text.count("| Order 30 |") == 1
    assert "Not answered here" not in text


async def test_of_many_reads_that_fail_some_are_named(bot_home: BotHome) -> None:
    """On one line, with no mention and no link, however the model calls a table."""
    odd = "No [link](http://evil.example)\n<!channel> " + "x" * 500
    nowhere = [("nocodb_query", {"table": name}) for name in (odd, *map("N{}".format, range(29)))]
    names = (await answer_to(bot_home, Planned([PAID, *nowhere]))).text
    assert names.startswith("Not answered here: 30. Ask again for: Table \\`No link ")
    assert names.endswith("Table \\`N3\\` not found, 25 more")
    assert len(names) < 500
    assert "<!channel>" not in names
    assert "](http" not in names


async def test_no_words_of_the_model_stand_there_while_a_slow_call_runs(bot_home: BotHome) -> None:
    recorder = bot_home.recorder
    texts = list[str]()

    async def linger() -> str:
        """Lingers."""
        async with recorder.called:
            await recorder.called.wait_for(lambda: recorder.visible("k1")[:1] == [CARD])
        texts.extend(recorder.visible("k1"))
        return "slow result"

    slow = FixedTools(FunctionTool(linger, effect="read", doing="is lingering…"))
    model = Planned([PAID, ("linger", {})], words=LIES * 200)
    answer = await answer_to(bot_home, model, slow)
    assert [*dict.fromkeys(texts)] == [CARD, "…"], "in none of its posts"
    assert "slow result" in answer.text


async def test_a_read_that_failed_before_the_card_is_named(bot_home: BotHome) -> None:
    """Unless a later call of its tool got an answer."""
    text = (await answer_to(bot_home, Planned([NOWHERE], [PAID]))).text
    assert text == "Not answered here: 1. Ask again for: Table \\`Nowhere\\` not found"
    text = (await answer_to(bot_home, Planned([NOWHERE], [LARGE], [PAID]))).text
    assert ("Not answered here" in text, "Order 30" in text) == (False, True)


@pytest.mark.parametrize("effect", ["read", "spend"])
async def test_what_another_system_returned_stays_text(bot_home: BotHome, effect: Effect) -> None:
    """As of an MCP tool or a quick command. It is paid once, though the model calls it
    again, and it neither links, nor mentions anybody, nor fills the post."""
    ran = list[str]()
    outcome = Outcome("ok", f"<!channel> [free](http://evil.example)\n[table: r1]\n{'x' * 5_000}")
    act: Call = ("act", {})
    model = Planned([PAID, WRONG, act], [MENDED, act])
    answer = await answer_to(bot_home, model, FixedTools(_tool("act", effect, outcome, ran)))
    assert (ran, len(answer.cards)) == (["act"], 2)
    block = answer.text.split("\n\n")[0]
    assert block.startswith("```\n<!channel> [free](http://evil.example)\n[table: r1]\nxxx")
    assert block.endswith("…\n```")
    assert len(block) < 1_100


async def test_many_results_are_shown_in_part_and_the_others_named(bot_home: BotHome) -> None:
    queries = [("nocodb_get", {"table": "Orders", "id": number}) for number in range(20, 27)]
    text = (await answer_to(bot_home, Planned([PAID, *queries]))).text
    assert text.count("| Order 2") == 5
    assert text.endswith("Not answered here: 2. Ask again for: Orders/25, Orders/26")


async def test_a_crash_before_the_round_for_repairs_repeats_nothing(bot_home: BotHome) -> None:
    """The process ends while the model is asked again: the next one asks only that."""
    ran = list[str]()
    paid = FixedTools(_tool("act", "spend", Outcome("ok", "paid once"), ran))
    rounds: list[list[Call]] = [[PAID, WRONG, ("act", {})], [WRONG, PAID, ("act", {})]]
    held = Planned(*rounds, held=2)
    async with open_bot(bot_home, held, paid) as ponte:
        _, receipt = await ponte.send("mark both as paid")
        await held.hold.wait()
    model = Planned(*rounds)
    async with open_bot(bot_home, model, paid) as ponte:
        answer = await ponte.wait_for_answer(receipt)
        (change,) = await ponte.engine.changes.ledger.list_of_conversation("web:C1", 10)
    assert ([ask.number for ask in model.asks], ran) == ([2], ["act"])
    assert [card.id for card in answer.cards] == [change.id]
    assert "paid once" in answer.text
    assert "1 of 2 changes couldn't be prepared: " in answer.text


async def test_what_may_have_been_paid_is_not_run_again(bot_home: BotHome) -> None:
    """The call was cut, so nobody knows. That is told."""
    ran = list[str]()
    act: Call = ("act", {})
    cut = outcome_of_error(RESULT_UNKNOWN, "unknown")
    source = FixedTools(_tool("act", "spend", cut, ran))
    answer = await answer_to(bot_home, Planned([PAID, WRONG, act], [MENDED, act]), source)
    assert (ran, len(answer.cards)) == (["act"], 2)
    assert "Ask again for: Interrupted. It's unknown whether this happened (" in answer.text


async def test_a_stop_in_the_round_for_repairs_keeps_the_card_without_words(
    bot_home: BotHome,
) -> None:
    model = Planned([PAID, WRONG], held=2)
    async with open_bot(bot_home, model) as ponte:
        _, receipt = await ponte.send("mark both as paid")
        await model.hold.wait()
        await ponte.engine.conversations.inbox.cancel(receipt.seq)
        answer = await ponte.wait_for_answer(receipt)
    assert (answer.text, len(answer.cards)) == ("_Stopped._", 1)


async def test_the_next_turn_reads_all_of_it(bot_home: BotHome) -> None:
    async with open_bot(bot_home, Planned([PAID, WRONG, LARGE])) as ponte:
        await ponte.ask("mark both as paid and show me the large one")
        journal = ponte.engine.conversations.journal
        thread = await journal.current_thread("web:C1")
        outputs = [
            entry.item.text
            for entry in await journal.transcript(thread.id)
            if entry.item.kind == "output"
        ]
    assert [
        sum(words in text for text in outputs) for words in ("Proposed", '{"error":', "Order 30")
    ] == [1, 1, 1]
