"""Questions saved under a name: whose they are, what their names may be, and when they run."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.messages import PROGRAM, Address, turn_id
from core.people.rules import Rule, RuleBook
from core.saved.buttons import find_fields
from core.saved.queries import StoredCall, describe_calls
from core.saved.questions import (
    MAX_IN_CHANNEL_OF_ONE,
    MAX_IN_SCOPE,
    find_fixed_days,
    find_shown_name,
    fold_name,
    let_days_move,
    propose_name,
)
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import BOSS, MEMBER, OTHER, RIGHTS, on_slack, says
from tests.dialogues.test_run_again import UNPAID, Office, office
from tests.fakes.choices import make_message
from tests.fakes.config import fixed_rules
from tests.fakes.schedules import LateScheduleSource, put_schedule

QUERY = ("nocodb_query", {"table": "Orders", "filters": [UNPAID]})
PARIS = ZoneInfo("Europe/Paris")


async def save(crm: Office, name: str, options: str = "/", key: str = "s") -> str:
    answer = await crm.ponte.ask(f"save {crm.turns[0]} {options} {name}", channel="C5")
    return answer.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a" * 61, "A name has 1 to 60 letters"),
        ("see <@U1>", "A name has 1 to 60 letters"),
        ("**bold**", "A name has 1 to 60 letters"),
        ("https://evil.test", "A name has 1 to 60 letters"),
        ("...", "A name has 1 to 60 letters"),
        ("\u115f\u1160", "A name has 1 to 60 letters"),
        ("Cafe\u0301", ""),
        ("the", ""),
        ("help", "`help` is a command."),
        ("approve", "`approve` is a command."),
        ("Undo.", "`Undo.` is a command."),
        ("aprovar", "`aprovar` is a command."),
        ("alerte", "`alerte` is a command."),
        ("orders", "There is already a question or a table called `orders` here"),
        ("The Orders", "There is already a question or a table called `The Orders` here"),
    ],
)
async def test_a_name_that_cannot_be(bot_home: BotHome, name: str, why: str) -> None:
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        assert (await save(crm, name)).startswith(why or "Saved.")


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("show overdue invoices", "overdue invoices"),
        ("Show the overdue invoices, please", "the overdue invoices, please"),
        ("mostrar faturas vencidas!", "faturas vencidas"),
        ("Affiche les factures", "les factures"),
        ("Montre-moi les factures", "les factures"),
        ("show me", "me"),
        ("`show unpaid orders`", "unpaid orders"),
        ("mostrar “faturas”", "faturas"),
        ("showing off", ""),
        ("please show it", ""),
        (f"show {'a' * 200}", ""),
    ],
)
def test_what_may_name_a_question(message: str, name: str) -> None:
    assert find_shown_name(message) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Les Dépenses", "depenses"),
        ("L'équipe", "equipe"),
        ("A fatura", "fatura"),
        ("the  IT", "it"),
        ("today’s No. 5 Inc.", "Today's no. 5 Inc"),
    ],
)
def test_names_that_are_equal(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("show overdue invoices", "overdue invoices"),
        ("Which <@U1> are **unpaid**?", "Which U1 are unpaid"),
        ("x" * 80, "x" * 60),
        ("???", ""),
    ],
)
def test_the_name_that_is_proposed(message: str, name: str) -> None:
    assert propose_name(message) == name


@pytest.mark.parametrize(
    ("forms", "values"),
    [([], {"title": ""}), (["%Y", "%Y-%m"], {"title": "Orders", "move": "true"})],
)
async def test_a_form_proposes_no_title_of_a_table_and_moves_days_together(
    bot_home: BotHome, forms: list[str], values: dict[str, str]
) -> None:
    now = datetime.now(ZoneInfo("UTC"))
    due = [{"field": "Due", "op": "eq", "value": now.strftime(form)} for form in forms]
    async with office(bot_home, ("nocodb_query", {"table": "Orders", "filters": due})) as crm:
        message, receipt = await crm.ponte.send("show Orders")
        await crm.ponte.wait_for_answer(receipt)
        stores = crm.ponte.engine.assistant.contexts.stores
        fields = await find_fields(stores, receipt.turn, message.address)
        assert [(field.key, field.value) for field in fields] == list(values.items())


def _call(value: Any, op: str = "eq") -> StoredCall:
    filters = [{"field": "cDue", "op": op, "value": value}]
    return StoredCall(
        "nocodb_query", {"table": "t", "filters": filters}, {"t": "Orders", "cDue": "Due"}
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("2026-11", "this_month"),
        ("2026-10", "last_month"),
        (["2026-11-01", "2026-11-30"], "this_month"),
        ("2026-11-30", "today"),
        ("2026", "this_year"),
        ("2026-02", ""),
        ("Paid", ""),
        (20261130, ""),
        (["2026-11-01"] * 3, ""),
    ],
)
def test_days_that_may_move(value: Any, word: str) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=PARIS)
    call = _call(value, "between" if isinstance(value, list) else "eq")
    assert list(find_fixed_days([call], now).values()) == ([word] if word else [])
    moved = let_days_move([call], now)[0].arguments["filters"][0]["value"]
    expected: Any = [word, word] if isinstance(value, list) else word
    assert moved == (expected if word else value)


async def test_a_month_moves_on_if_its_owner_wants(bot_home: BotHome) -> None:
    due = {"field": "Due", "op": "eq", "value": f"{datetime.now(ZoneInfo('UTC')):%Y-%m}"}
    query = ("nocodb_query", {"table": "Orders", "filters": [due]})
    async with office(bot_home, query) as crm:
        await crm.ask()
        await save(crm, "fixed")
        await save(crm, "moving", "/true")
        person = "web:owner"
        (fixed, moving) = await crm.ponte.engine.conversations.saved.list_for(
            person, (await crm.ponte.send("x"))[0].address
        )
        assert [describe_calls(one.calls) for one in (fixed, moving)] == [
            f"Orders: Due = {due['value']}",
            "Orders: Due = this_month",
        ]


async def test_a_question_of_a_channel(bot_home: BotHome) -> None:
    """Otto uses what Mia saved, with his own rights; only she and admins delete it."""
    async with office(bot_home, QUERY, policy=RIGHTS) as crm:
        answer = await says(crm.ponte, "How many?", "k1", thread="t1")
        assert answer.can_run_again
        turn = turn_id("slack:k1")
        saved = await says(crm.ponte, f"save {turn} true/ unpaid orders", "k2", thread="t1")
        assert saved.text.startswith("Saved for everyone here.")
        late = await says(crm.ponte, f"save {turn} true/ unpaid orders", "k", OTHER, thread="t1")
        assert late.text.startswith("There is already a question or a table"), "it is hers"
        listed = await says(crm.ponte, "saved", "k0", OTHER)
        assert listed.text.startswith("- `show unpaid orders` · everyone here\n")
        assert listed.is_private
        shown = await says(crm.ponte, "show unpaid orders", "k3", OTHER)
        assert "Source: Orders, Paid isn't checked" in shown.text
        asked = len(crm.model.asks)
        await says(crm.ponte, "show unpaid orders", "k4", OTHER, channel="C2")
        assert len(crm.model.asks) > asked, "it is one of this channel alone"
        refused = await says(crm.ponte, "saved unpaid orders delete", "k5", OTHER)
        assert refused.text == "Only the person who saved this question or an admin can delete it."
        deleted = await says(crm.ponte, "saved unpaid orders delete", "k6", BOSS)
        assert deleted.text == "Deleted the saved question `unpaid orders`."


async def test_what_a_person_saved_comes_before_what_the_channel_has(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY, policy=RIGHTS) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        await says(crm.ponte, f"save {turn_id('slack:k1')} / orders now", "k2", thread="t1")
        crm.model.calls = (("nocodb_query", {"table": "Orders"}),)
        await says(crm.ponte, "And all?", "k3", thread="t1")
        await says(crm.ponte, f"save {turn_id('slack:k3')} true/ orders now", "k4", thread="t1")
        assert "20 of 30 rows" in (await says(crm.ponte, "show orders now", "k5")).text
        assert "20 of 60 rows" in (await says(crm.ponte, "show orders now", "k6", OTHER)).text


async def test_who_may_not_read_a_table_learns_no_name(bot_home: BotHome) -> None:
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Orders",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    async with office(bot_home, QUERY, policy=policy) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        await says(crm.ponte, f"save {turn_id('slack:k1')} true/ unpaid", "k2", thread="t1")
        assert "`show unpaid`" in (await says(crm.ponte, "saved", "k3", MEMBER)).text
        assert "unpaid" not in (await says(crm.ponte, "saved", "k4", OTHER)).text
        asked = len(crm.model.asks)
        await says(crm.ponte, "show unpaid", "k5", OTHER)
        assert len(crm.model.asks) > asked, "for Otto it is a message like others"


FIGURES = [{"field": "Amount", "fn": "sum"}]
LEADS = {"field": "Customers.Status", "op": "eq", "value": "Lead"}


@pytest.mark.parametrize(
    ("tool", "arguments", "is_theirs"),
    [
        ("nocodb_query", {"fields": ["Title", "Amount"]}, True),
        ("nocodb_query", {"fields": ["Title"], "filters": [UNPAID]}, True),
        ("nocodb_summarize", {"aggregates": FIGURES}, True),
        ("nocodb_get", {"id": 1, "fields": ["Title"]}, True),
        ("nocodb_query", {"fields": ["Title", "Customers"]}, False),
        ("nocodb_query", {"fields": ["Title", "Customers.Status"]}, False),
        ("nocodb_query", {"fields": ["Title"], "filters": [LEADS]}, False),
        ("nocodb_summarize", {"aggregates": FIGURES, "group_by": "Customers"}, False),
        ("nocodb_get", {"id": 1}, False),
    ],
)
async def test_only_tables_that_a_question_reads_decide_who_may_use_it(
    bot_home: BotHome, tool: str, arguments: dict[str, Any], is_theirs: bool
) -> None:
    """Otto may not read Customers, with which each order is linked."""
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Customers",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    query = (tool, {"table": "Orders", **arguments})
    async with office(bot_home, query, policy=policy) as crm:
        asked = await says(crm.ponte, "How many?", "k1", thread="t1")
        assert asked.can_run_again, asked.text
        await says(crm.ponte, f"save {turn_id('slack:k1')} true/ mine", "k2", thread="t1")
        listed = await says(crm.ponte, "saved", "k3", OTHER)
        assert ("`show mine`" in listed.text) is is_theirs
        count = len(crm.model.asks)
        shown = await says(crm.ponte, "show mine", "k4", OTHER)
        assert (len(crm.model.asks) == count) is is_theirs
        assert shown.can_run_again or not is_theirs
        again = await says(crm.ponte, f"rerun {turn_id('slack:k1')}", "k5", OTHER, thread="t1")
        assert again.can_run_again or not is_theirs


async def test_who_may_not_read_a_table_saves_nothing_of_it(bot_home: BotHome) -> None:
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Orders",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    async with office(bot_home, QUERY, policy=policy) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        save = f"save {turn_id('slack:k1')} true/ unpaid"
        refused = await says(crm.ponte, save, "k2", OTHER, thread="t1")
        assert refused.text.startswith("You don't have permission")


async def test_a_place_called_like_a_person_has_no_questions_of_theirs(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        await save(crm, "unpaid orders")
        place = Address("web", "owner", person="guest")
        assert not await crm.ponte.engine.conversations.saved.list_for("web:guest", place)


async def test_nobody_else_reads_a_question_of_one_person(bot_home: BotHome) -> None:
    """Where nobody else reads along, "everyone in this channel" is the person."""
    async with office(bot_home, QUERY, policy=RIGHTS) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        save = f"save {turn_id('slack:k1')} / unpaid"
        assert (await says(crm.ponte, save, "k2", thread="t1")).is_private
        await crm.ask()
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        alone = await crm.ponte.ask(f"save {crm.turns[0]} true/ unpaid", channel="C5")
        assert alone.text.startswith("Saved. To see it again")


async def test_the_message_of_a_program_shows_no_saved_question(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        await save(crm, "unpaid orders")
        asked = len(crm.model.asks)
        assert (await crm.ponte.ask("show unpaid orders")).can_run_again
        assert len(crm.model.asks) == asked
        message = make_message("show unpaid orders", "program")
        await crm.ponte.ask_message(replace(message, origin=PROGRAM))
        assert len(crm.model.asks) > asked


async def test_a_damaged_question_takes_no_other_with_it(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        for name in ("whole", "broken", "empty", "alpha"):
            await save(crm, name)
        sql = "UPDATE saved_questions SET calls = ? WHERE name = ?"
        with closing(sqlite3.connect(bot_home.home / "ponte.db")) as connection, connection:
            connection.executemany(sql, [('[{"tool":', "broken"), ("[]", "empty")])
        assert (await crm.ponte.ask("saved")).text.startswith("- `show alpha`\n- `show whole`\n\n")
        assert "20 of 30 rows" in (await crm.ponte.ask("show whole")).text


async def test_what_is_saved_is_saved_again_without_an_error(bot_home: BotHome) -> None:
    """A form sent twice, or a turn that is resumed after a crash, stores it once and says so."""
    async with office(bot_home, QUERY) as crm:
        await crm.ask()
        assert (await save(crm, "unpaid orders")).startswith("Saved.")
        with closing(sqlite3.connect(bot_home.home / "ponte.db")) as connection, connection:
            ((text,),) = connection.execute("SELECT calls FROM saved_questions")
            assert "Order 01" not in text, "no rows: `forget` would not delete them"
            calls = json.loads(text)
            # A set of text has another order in another process.
            calls[0]["needs"].reverse()
            assert calls != json.loads(text)
            connection.execute("UPDATE saved_questions SET calls = ?", (json.dumps(calls),))
        assert (await save(crm, "unpaid orders")).startswith("Saved.")
        assert (await crm.ponte.ask("saved")).text.count("show unpaid orders") == 1
        crm.model.calls = (("nocodb_query", {"table": "Orders"}),)
        await crm.ask()
        crm.turns.reverse()
        assert (await save(crm, "unpaid orders")).startswith(
            "There is already a question or a table"
        )


async def test_neither_a_channel_nor_a_person_has_too_many(bot_home: BotHome) -> None:
    async with office(bot_home, QUERY, policy=RIGHTS) as crm:
        await says(crm.ponte, "How many?", "k0", thread="t1")
        turn = turn_id("slack:k0")
        for number in range(MAX_IN_CHANNEL_OF_ONE):
            await says(crm.ponte, f"save {turn} true/ q{number}", f"k1{number}", thread="t1")
        full = await says(crm.ponte, f"save {turn} true/ more", "k2", thread="t1")
        assert full.text.startswith("You have already saved 10 questions for this channel.")
        for number in range(MAX_IN_SCOPE):
            await says(crm.ponte, f"save {turn} / q{number}", f"k3{number}", thread="t1")
        full = await says(crm.ponte, f"save {turn} / more", "k4", thread="t1")
        assert full.text.startswith("There are already 50 saved questions.")


async def test_a_schedule_shows_its_own_copy_without_a_model(bot_home: BotHome) -> None:
    """Who renames or deletes the question afterwards changes no approved schedule."""
    async with office(bot_home, QUERY, policy=RIGHTS, schedules=LateScheduleSource()) as crm:
        await says(crm.ponte, "How many?", "k1")
        await says(crm.ponte, f"save {turn_id('slack:k1')} / unpaid orders", "k2")
        wish = {"kind": "saved", "what": "the unpaid orders", "when": "0 9 * * MON"}
        rest = {"zone": "UTC", "ends": None, "replaces": None}
        crm.model.calls = (("schedule_propose", {**wish, **rest}),)
        (card,) = (await says(crm.ponte, "Every Monday at 9", "k3")).cards
        assert card.title == "Show: the unpaid orders"
        assert "> Orders: Paid = false" in card.text
        assert "without a model" in card.text
        await says(crm.ponte, f"approve {card.id}", "k4", clicked=True)
        await says(crm.ponte, "saved unpaid orders delete", "k5")
        asked = len(crm.model.asks)
        await says(crm.ponte, f"schedule {card.id} run", "k6")
        store = crm.ponte.engine.schedules.store
        (run,) = await store.list_runs(card.id, 1)
        answer = await crm.ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert "Source: Orders, Paid isn't checked: 20 of 30 rows" in answer.text
        assert len(crm.model.asks) == asked
        with closing(sqlite3.connect(bot_home.home / "ponte.db")) as connection, connection:
            connection.execute("UPDATE schedules SET queries = '[{'")
        await says(crm.ponte, f"schedule {card.id} run", "k7")
        run = max(await store.list_runs(card.id, 2), key=lambda run: run.seq)
        answer = await crm.ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert answer.text.startswith("This question is no longer stored.")


async def test_a_schedule_shows_nothing_of_a_table_that_was_hidden(bot_home: BotHome) -> None:
    source = LateScheduleSource()
    async with office(bot_home, QUERY, policy=RIGHTS, schedules=source) as crm:
        await says(crm.ponte, "How many?", "k1")
        await says(crm.ponte, f"save {turn_id('slack:k1')} / unpaid orders", "k2")
        wish = {"kind": "saved", "what": "unpaid orders", "when": "0 9 * * MON"}
        rest = {"zone": "UTC", "ends": None, "replaces": None}
        crm.model.calls = (("schedule_propose", {**wish, **rest}),)
        config = crm.ponte.engine.assistant.contexts.approval.config
        vars(config)["table_rules"] = TableRules({"Orders": TableRule(access="hidden")})
        assert not (await says(crm.ponte, "Every Monday at 9", "k3")).cards


async def test_a_schedule_of_no_saved_question_is_refused(bot_home: BotHome) -> None:
    wish = {"kind": "saved", "what": "nothing", "when": "0 9 * * MON"}
    rest = {"zone": "UTC", "ends": None, "replaces": None}
    source = LateScheduleSource()
    call = ("schedule_propose", {**wish, **rest})
    async with office(bot_home, call, policy=RIGHTS, schedules=source) as crm:
        answer = await says(crm.ponte, "Every Monday at 9", "k3")
        assert not answer.cards


async def test_a_schedule_that_asks_for_one_table_could_do_without_a_model(
    bot_home: BotHome,
) -> None:
    async with office(bot_home, QUERY, policy=RIGHTS, schedules=LateScheduleSource()) as crm:
        ponte, store = crm.ponte, crm.ponte.engine.schedules.store
        to = on_slack("x", "k0").reply_to
        rule = ScheduleRule("0 9 * * MON")
        schedule = await put_schedule(store, to, ScheduleDraft("ask", "How many?", rule, "UTC"))
        shown = await says(ponte, f"schedule {schedule.id} show", "k1")
        assert "no model is needed" not in shown.text
        await says(ponte, f"schedule {schedule.id} run", "k2")
        (run,) = await store.list_runs(schedule.id, 1)
        await ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        shown = await says(ponte, f"schedule {schedule.id} show", "k3")
        assert "schedule the saved question by its name, no model is needed." in shown.text
