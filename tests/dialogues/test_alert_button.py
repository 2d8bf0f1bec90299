"""*Alert…* below an answer of a table: its form makes the card that the model's tool makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from core.base.i18n import say, use_locale
from core.domain.changes import FormField
from core.domain.messages import Address, Answer, Person, turn_id
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.saved.buttons import find_alert_fields
from core.saved.queries import NotRunAgain
from core.schedules.schedule import ScheduleFilter, ScheduleLimits
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import MEMBER, OTHER, RIGHTS, on_slack, says
from tests.dialogues.test_alerts import QUERY
from tests.dialogues.test_run_again import Office, office
from tests.fakes.config import fixed_rules
from tests.fakes.schedules import LateScheduleSource

FIGURE = ("nocodb_summarize", {"table": "Orders", "aggregates": [{"field": "Amount", "fn": "sum"}]})
ORDERS = turn_id("slack:k1")


@asynccontextmanager
async def ask_orders(
    bot_home: BotHome, *calls: tuple[str, Mapping[str, object]], policy: Policy = RIGHTS
) -> AsyncIterator[Office]:
    """Somebody asked for the orders that are not paid, or what these calls read."""
    source = LateScheduleSource()
    async with office(bot_home, *(calls or [QUERY]), policy=policy, schedules=source) as crm:
        await says(crm.ponte, "Which orders are unpaid?", "k1", thread="t1")
        yield crm


async def open_form(crm: Office) -> dict[str, FormField]:
    at = Address("slack", "C1", "T1", "t1")
    fields = await find_alert_fields(crm.ponte.engine.conversations, ORDERS, at)
    return {field.key: field for field in fields}


async def send(
    crm: Office,
    *values: str,
    key: str = "k2",
    person: Person = MEMBER,
    thread: str = "t1",
    locale: str = "",
) -> Answer:
    """Send the form with these values, else over 20 rows, each hour."""
    names = ("value", "comparison", "every", "now", "limit", "title")
    filled = dict(zip(names, ("count", ">", "0 * * * *", "", "20", ""), strict=True))
    filled |= dict(value.split("=", 1) for value in values)
    text = f"watch {ORDERS} {'|'.join(filled[name] for name in names)}"
    message = on_slack(text, key, person, clicked=True, thread=thread)
    return await crm.ponte.ask_message(replace(message, locale=locale))


async def test_the_form_offers_what_the_answer_shows(bot_home: BotHome) -> None:
    async with ask_orders(bot_home) as crm:
        form = await open_form(crm)
        assert form["value"].labels == (
            "number of rows",
            "a row appears",
            "sum of Amount",
            "average of Amount",
            "smallest Amount",
            "largest Amount",
        )
        assert form["value"].hint == "Orders: Paid = false"
        with use_locale("pt-BR"):
            assert say(form["title"].label) == "Título"
        assert form["every"].labels[:2] == ("5 minutes", "15 minutes")
        vars(crm.ponte.engine.schedules.config)["alerts"] = ScheduleLimits(30, 20)
        assert (await open_form(crm))["every"].labels == ("60 minutes", "4 hours", "24 hours")
        vars(crm.ponte.engine.schedules.config)["alerts"] = ScheduleLimits(10_000, 20)
        assert (await open_form(crm))["every"].labels == ("24 hours",)


async def test_the_form_of_a_figure_begins_with_it(bot_home: BotHome) -> None:
    async with ask_orders(bot_home, FIGURE) as crm:
        value = (await open_form(crm))["value"]
        assert dict(zip(value.options, value.labels, strict=True))[value.value] == "sum of Amount"


@pytest.mark.parametrize("calls", [(FIGURE, QUERY), (("nocodb_tables", {}),)])
async def test_what_is_not_one_question_of_a_table_has_no_form(
    bot_home: BotHome, calls: tuple[tuple[str, Mapping[str, object]], ...]
) -> None:
    async with ask_orders(bot_home, *calls) as crm:
        with pytest.raises(NotRunAgain):
            await open_form(crm)
        refused = await send(crm)
        assert (refused.status, refused.is_private, refused.cards) == ("failed", True, ())


async def test_the_form_makes_the_card_and_the_owner_starts_it(bot_home: BotHome) -> None:
    async with ask_orders(bot_home) as crm:
        asked = len(crm.model.asks)
        value = next(v for v in (await open_form(crm))["value"].options if v.startswith("sum"))
        answer = await send(crm, f"value={value}", "limit=1,000.50", "title=*Late* orders")
        (card,) = answer.cards
        assert answer.text == ""
        title = "Alert: *Late* orders · Orders: Paid = false · sum of Amount over 1000.5"
        assert card.title == title
        for words in ("every hour", "uses no tokens", "Now: ", "Posts in this thread."):
            assert words in card.text
        assert len(crm.model.asks) == asked, "without a model"
        press = await says(crm.ponte, f"approve {card.id}", "k3", OTHER, thread="t1", clicked=True)
        assert press.code == "forbidden"
        store = crm.ponte.engine.schedules.store
        assert not await store.list_matching(ScheduleFilter())
        await says(crm.ponte, f"approve {card.id}", "k4", thread="t1", clicked=True)
        (alert,) = await store.list_matching(ScheduleFilter())
        assert alert.address.thread == "t1"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("value=new", "limit="), "a row appears"),
        (("comparison=<", "limit=-3"), "number of rows under -3"),
        (("comparison=changes", "limit=10 %"), "number of rows changes by more than 10%"),
    ],
)
async def test_conditions(bot_home: BotHome, values: tuple[str, ...], words: str) -> None:
    async with ask_orders(bot_home) as crm:
        (card,) = (await send(crm, *values, "now=true")).cards
        assert card.title.endswith(words)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (("limit=",), "Enter a number as the limit."),
        (("limit=many",), "Enter a number as the limit."),
        (("limit=10%",), "Enter a number as the limit."),
        (("limit=1|2", "title=mine"), "A limit or a title can't contain `|`."),
        (("limit=1|2",), "A limit or a title can't contain `|`."),
        (("comparison=is",), "Enter a number as the limit."),
        (("value=sum nothing",), "nothing"),
        (("every=* * * * *",), "This schedule would run every 1 min. The minimum is 5 min."),
        (("every=soon",), "Invalid date or time."),
    ],
)
async def test_what_is_refused_is_told_to_the_person_alone(
    bot_home: BotHome, values: tuple[str, ...], why: str
) -> None:
    async with ask_orders(bot_home) as crm:
        refused = await send(crm, *values)
        assert why in refused.text
        assert (refused.status, refused.cards) == ("failed", ())
        if refused.code == "bad_request":
            journal = crm.ponte.engine.conversations.journal
            assert await journal.list_recent_turns() == [], "no operator can mend a typing error"


@pytest.mark.parametrize(
    ("limit", "locale", "shown"),
    [
        ("1,000", "pt-BR", "acima de 1"),
        ("1.000", "pt-BR", "acima de 1000"),
        ("1000,5", "pt-BR", "acima de 1000,5"),
        ("1,000", "en", "over 1000"),
        ("1 000,25", "fr", "au-dessus de 1000,25"),
    ],
)
async def test_a_limit_stands_on_the_card_as_its_reader_writes_numbers(
    bot_home: BotHome, limit: str, locale: str, shown: str
) -> None:
    async with ask_orders(bot_home) as crm:
        (card,) = (await send(crm, f"limit={limit}", locale=locale)).cards
        assert card.title.endswith(shown)


async def test_a_limit_that_is_reached_is_told_in_the_persons_language(bot_home: BotHome) -> None:
    async with ask_orders(bot_home) as crm:
        vars(crm.ponte.engine.schedules.config)["alerts"] = ScheduleLimits(5, 0)
        refused = await send(crm, locale="pt-BR")
        assert "alertas" in refused.text
        assert refused.is_private


async def test_nobody_watches_what_they_may_not_read(bot_home: BotHome) -> None:
    """Also not by the id of a turn of another conversation, or of one that was deleted."""
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Orders",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    async with ask_orders(bot_home, policy=policy) as crm:
        refused = await send(crm, person=OTHER)
        assert refused.text.startswith("You don't have permission")
        elsewhere = await send(crm, key="k3", thread="t2")
        assert elsewhere.text.startswith("This question is no longer stored.")
        await says(crm.ponte, "forget yes", "k4", thread="t1")
        reply = await send(crm, key="k5")
        assert reply.text.startswith("This question is no longer stored.")


@pytest.mark.slow
async def test_a_process_that_ends_after_the_form_posts_one_card(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY, schedules=LateScheduleSource()) as crm:
        await crm.ask()
        posted = len(bot_home.recorder.posts)
        bot_home.recorder.after_effect = asyncio.Event()
        values = "count|>|0 * * * *||20|"
        _, receipt = await crm.ponte.send(f"watch {crm.turns[0]} {values}", channel="C5")
        await bot_home.recorder.after_effect.wait()
        bot_home.recorder.after_effect = None
        await crm.ponte.engine.drain(0)
    async with office(bot_home, QUERY, schedules=LateScheduleSource()) as crm:
        answer = await crm.ponte.wait_for_answer(receipt)
        assert [card.state for card in answer.cards] == ["open"]
        assert len(bot_home.recorder.posts) == posted + 1
        assert len(await crm.ponte.engine.conversations.ledger.list_of_conversation("", 9)) == 1
