"""A person changes a proposal before it is approved: whose it is then, and which version counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from core.base import commonmark
from core.base.markdown import to_plain_text
from core.changes.ledger import SqlLedger
from core.changes.standing import Allowed, judge_approval, judge_denial
from core.commands.grammar import render_change
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS, Change, DecisionRequest
from core.domain.messages import Address, Card, Person
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    STRANGER,
    approve_after_reading,
    bot,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.dialogues.test_approvals import CHIEF, CLERK, GUEST, rights, two
from tests.fakes.choices import make_message
from tests.fakes.config import FixedConfig
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

NEW = {"Name": "Ada L.", "Status": "Won", "Value": "7"}


def editable(**rows: dict[str, str]) -> MemoryTable:
    table = MemoryTable({"1": {**ADA, "Value": "1"}, **rows})
    table.is_editable = True
    return table


@asynccontextmanager
async def proposed_card(
    bot_home: BotHome, table: MemoryTable, values: Mapping[str, str] = NEW
) -> AsyncIterator[tuple[RunningBot, Card]]:
    """Mia asks for new values of the first row."""
    async with bot(bot_home, table, policy=rights()) as ponte:
        rows = {"1": values}
        yield ponte, await proposed_on_slack(ponte, "k1", "table_update", rows=rows)


async def test_an_admin_changes_and_denies_from_another_place(bot_home: BotHome) -> None:
    table = editable()
    async with proposed_card(bot_home, table) as (ponte, card):
        ledger = ponte.engine.changes.ledger
        own = Address("terminal", "operator")

        async def type_as(id: str, words: str) -> None:
            person = Person("terminal", id)
            message = make_message(words, f"{id} {words}", person=person)
            to = replace(message.reply_to, address=own)
            await ponte.ask_message(replace(message, address=own, reply_to=to))

        ponte.engine.people.policy.admins |= {"terminal:owner"}
        for id, revision in (("cy", 1), ("owner", 2)):
            await type_as(id, f"change {card.id} status = Lost")
            assert (await ledger.get(card.id)).proposal.revision == revision, id
        reply = await says(ponte, f"approve {card.id}.2", "k3", BOSS, clicked=True, thread="tU1")
        assert "Version 2, changed by" in reply.text
        assert table.rows["1"]["Status"] == "Lost"
        other = await proposed_on_slack(ponte, "k4", "table_update", rows={"1": NEW})
        await type_as("owner", f"deny {other.id} Too late.")
        response = await ledger.get(other.id)
        assert (response.state, response.denial_reason) == ("denied", "Too late.")


@also_on_postgres
async def test_one_of_three_values_is_changed_and_somebody_else_approves(bot_home: BotHome) -> None:
    table = editable()
    rules = two("slack:S1")
    async with bot(bot_home, table, policy=rights(), rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": NEW})
        await says(ponte, f"approve {card.id}", "k2", CLERK)
        reply = await says(ponte, f"change {card.id} status = Lost", "k3", OTHER, thread="tU1")
        assert "Saved the new values of" in reply.text
        assert table.applied == []
    async with bot(bot_home, table, policy=rights(), rules=rules) as ponte:
        views, ledger = ponte.engine.changes.views, ponte.engine.changes.ledger
        change = await ledger.get(card.id)
        assert (change.proposal.asker, change.proposal.revision) == (OTHER, 2)
        assert change.consents == (), "approvals of the former version don't count"
        assert "Version 2, changed by Otto." in (await views.card(change)).text
        old = await says(ponte, f"approve {card.id}", "k4", CHIEF, clicked=True, thread="tU1")
        assert "This version was replaced" in old.text
        own = await says(ponte, f"approve {card.id}", "k5", OTHER, thread="tU1")
        assert own.code == "forbidden", "who changed it counts as its asker"
        for key, who in (("k6", CLERK), ("k7", CHIEF)):
            click = on_slack(f"approve {card.id}.2", key, who, clicked=True, thread="tU1")
            answer = await ponte.ask_message(click)
        assert "Version 2, changed by Otto." in answer.text
        assert table.rows["1"] == {**NEW, "Status": "Lost"}
        why = await says(ponte, f"why {card.id}", "k8")
        assert "Version 2, changed by Otto." in why.text
        (revision,), _ = await ponte.engine.people.audit.read(event="change-revised")
        assert (revision["revision"], revision["row_count"]) == (2, 1)
        assert revision["asker"] == OTHER.key


@also_on_postgres
async def test_two_change_it_at_once(bot_home: BotHome) -> None:
    table = editable()
    async with proposed_card(bot_home, table) as (ponte, card):
        answers = await asyncio.gather(
            *(
                says(
                    ponte,
                    render_change(card.press_id, {"Name": who.name}),
                    f"k-{who.id}",
                    who,
                    clicked=True,
                    thread="tU1",
                )
                for who in (MEMBER, OTHER)
            )
        )
        values = sorted((answer.status, "was replaced" in answer.text) for answer in answers)
        assert values == [("done", False), ("failed", True)]
        change = await ponte.engine.changes.ledger.get(card.id)
        assert change.proposal.revision == 2
        assert change.steps[0].write.after == {**NEW, "Name": change.proposal.asker.name}


async def test_what_is_denied_while_its_values_are_read_is_not_said_to_be_saved(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = editable()
    async with proposed_card(bot_home, table) as (ponte, card):
        revise = table.revise

        async def revise_late(*arguments: Any) -> Any:
            text = f"deny {card.press_id}"
            await says(ponte, text, "k-deny", MEMBER, clicked=True, thread="tU1")
            return await revise(*arguments)

        monkeypatch.setattr(table, "revise", revise_late)
        text = render_change(card.press_id, {"Name": "Bea"})
        answer = await says(ponte, text, "k-change", MEMBER, clicked=True, thread="tU1")
        assert (answer.status, "was replaced" in answer.text) == ("failed", True)
        change = await ponte.engine.changes.ledger.get(card.id)
        assert (change.state, change.proposal.revision) == ("denied", 1)


async def list_audit_lines(ponte: RunningBot) -> list[tuple[str, str, int]]:
    """The lines about changes: event, who asks or decides, revision."""
    lines = (await ponte.engine.people.audit.read())[0][::-1]
    people = [str(line.get("decider", line["asker"])) for line in lines]
    return [
        (line["event"].removeprefix("change-"), who.rpartition(":")[2], line["revision"])
        for line, who in zip(lines, people, strict=True)
    ]


@also_on_postgres
@pytest.mark.parametrize("action", ["change", "approve", "deny"])
async def test_a_decision_that_came_too_late_has_no_line(bot_home: BotHome, action: str) -> None:
    """Otto changes the request between the check of another event and its place in the database."""
    async with bot(bot_home, editable(), policy=rights(), rules=two("slack:S1")) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": NEW})
        changes = ponte.engine.changes
        proposal = (await changes.ledger.get(card.id)).proposal
        request = partial(DecisionRequest, card.id, address=proposal.address, is_click=True)
        name = {"change": "revise", "approve": "consent", "deny": "close"}[action]
        record = getattr(changes.ledger, name)

        async def change_first(*values: Any, **options: Any) -> Change:
            del vars(changes.ledger)[name]
            await changes.decisions.decide(
                "change", request(901, person=OTHER, values={"Name": "Otto's"})
            )
            change: Change = await record(*values, **options)
            return change

        vars(changes.ledger)[name] = change_first
        values = {"Name": "Cleo's"} if action == "change" else {}
        who = MEMBER if action == "change" else CLERK
        answer = await changes.decisions.decide(action, request(902, person=who, values=values))  # type: ignore[arg-type]
        assert "was replaced" in answer.text
        assert (await changes.ledger.get(card.id)).proposal.asker == OTHER
        assert await list_audit_lines(ponte) == [("proposed", "U1", 1), ("revised", "U2", 2)]


async def test_what_is_closed_once_has_one_line(bot_home: BotHome) -> None:
    async with proposed_card(bot_home, editable()) as (ponte, card):
        lifecycle, ledger = ponte.engine.changes.lifecycle, ponte.engine.changes.ledger
        change = await ledger.get(card.id)
        for state, who in (("expired", None), ("expired", None), ("denied", BOSS)):
            closed_change = await lifecycle.close(change, state, who)  # type: ignore[arg-type]
            assert closed_change.state == "expired"
        assert await list_audit_lines(ponte) == [("proposed", "U1", 1), ("expired", "U1", 1)]


async def test_a_press_at_the_moment_of_expiry_approves_no_later_version(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, close = editable(), SqlLedger.close
    async with proposed_card(bot_home, table) as (ponte, card):
        await ponte.stop_redrawing()

        async def change_before_close(*args: Any) -> Change:
            bot_home.clock.now -= PROPOSAL_LIFETIME_SECONDS
            await says(ponte, f"change {card.id} Name = Eve", "k2")
            bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS - 60
            return await close(*args)

        monkeypatch.setattr(SqlLedger, "close", change_before_close)
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS
        reply = await says(ponte, f"approve {card.id}", "k3", clicked=True)
        assert "This version was replaced" in reply.text
        assert table.applied == []


async def test_a_row_that_is_left_as_it_was_is_no_failure(bot_home: BotHome) -> None:
    table, model = editable(**{"2": dict(ADA)}), EchoModel()
    async with bot(bot_home, table, model=model, policy=rights()) as ponte:
        rows = {"1": {"Name": "A"}, "2": {"Name": "B"}}
        card = await proposed_on_slack(ponte, "k1", "table_update", rows=rows)
        await says(ponte, f"change {card.id} 1.Name = {ADA['Name']}", "k2")
        await says(ponte, f"change {card.id} 2.Name = C", "k3")
        await says(ponte, "what now?", "k4")
        note = model.asks[-1].input[0].text
        assert f"Proposal {card.id} (update 2 row(s) in 'People'): Someone changed" in note
        reply = await says(ponte, f"approve {card.id}", "k5")
        assert "Skipped" not in reply.text
        assert (table.rows["1"]["Name"], table.rows["2"]["Name"]) == (ADA["Name"], "C")
        change = await ponte.engine.changes.ledger.get(card.id)
        assert [step.state for step in change.steps] == ["done", "done"]


async def test_a_change_after_a_row_moved_shows_the_row_as_it_is(bot_home: BotHome) -> None:
    table = editable()
    async with proposed_card(bot_home, table) as (ponte, card):
        table.rows["1"]["Status"] = "Elsewhere"
        await says(ponte, f"change {card.id} Value = 8", "k2")
        (view,) = await ponte.engine.changes.views.cards([card.id])
        assert view.rows[0]["before"]["Status"] == "Elsewhere"
        await says(ponte, f"approve {card.id}", "k3")
        assert table.rows["1"] == {**NEW, "Value": "8"}


async def test_who_may_not_ask_for_it_may_not_change_it(bot_home: BotHome) -> None:
    """Nor does what a model writes."""
    async with proposed_card(bot_home, editable()) as (ponte, card):
        text = render_change(card.press_id, {"Name": "x"})
        program = replace(OTHER, api_token="t", is_bot=True)
        for number, who in enumerate((STRANGER, GUEST, replace(OTHER, is_bot=True), program)):
            await says(ponte, text, f"k2{number}", who, clicked=True, thread="tU1")
            change = await ponte.engine.changes.ledger.get(card.id)
            assert (change.proposal.revision, change.proposal.asker) == (1, MEMBER), who
        answer = await says(ponte, f"say: change {card.id} Name = x", "k3")
        assert f"change {card.id} Name = x" in answer.text
        assert (await ponte.engine.changes.ledger.get(card.id)).proposal.revision == 1


async def test_wrong_values_change_nothing_and_say_why(bot_home: BotHome) -> None:
    """Null clears a field."""
    async with proposed_card(bot_home, editable()) as (ponte, card):
        reply = await says(ponte, f"change {card.id}", "k2")
        assert "Fields: Name, Status, Value." in reply.text
        unknown = await says(ponte, f"change {card.id} Age = 4", "k3")
        assert unknown.text.startswith("Field Age not found.")
        wrong = await says(ponte, f"change {card.id} Name = wrong", "k4")
        assert "takes no such value" in wrong.text
        twice = await says(ponte, f"change {card.id} Name = A\nname = B", "k5")
        assert twice.text == "name appears twice. Use it only once."
        assert (await ponte.engine.changes.ledger.get(card.id)).proposal.revision == 1
        await says(ponte, f'change {card.id} {{"Name": null}}', "k6")
        change = await ponte.engine.changes.ledger.get(card.id)
        assert change.steps[0].write.after == {**NEW, "Name": ""}


MISLEADING = "**b** [Approve](https://evil.example/x) @everyone"


async def test_a_title_in_a_sentence_is_only_text(bot_home: BotHome) -> None:
    table = MemoryTable({"1": {}})
    table.is_editable = True
    values = {MISLEADING: "a", "Name": "b"}
    async with proposed_card(bot_home, table, values) as (ponte, card):
        for words in ("", "Age = 4", "{0} = 1\n{0} = 2", "{0} = wrong"):
            text = f"change {card.id} {words.format(MISLEADING)}"
            answer = await says(ponte, text, f"k2 {words}")
            assert answer.status == "failed"
            assert "Approve" in answer.text, "the title is in it"
            html = commonmark.parser().render(answer.text)
            assert "<strong>" not in html
            assert "<a " not in html
            assert MISLEADING.split("(")[0] in to_plain_text(answer.text)


async def test_a_changed_proposal_is_read_before_a_typed_approval(bot_home: BotHome) -> None:
    table = editable()
    async with proposed_card(bot_home, table) as (ponte, card):
        await says(ponte, f"change {card.id} Value = 8", "k2", OTHER, thread="tU1")
        message = on_slack(f"approve {card.id}", "k3", BOSS, thread="tU1")
        assert "Done." in (await approve_after_reading(ponte, message)).text
        assert table.rows["1"]["Value"] == "8"


TITLES = [
    "Name",
    "name",
    " Name",
    "2.Status",
    "a=b",
    "{x",
    "two\nlines",
    "Status\u200b",
    "\u202eabc",
    "x\u2028y",
    "\U0001f469\u200d\U0001f469",
    "İ",
    "e\u0301",
    "a'\"\\`",
]


async def test_a_form_changes_the_field_with_exactly_this_title(bot_home: BotHome) -> None:
    table = MemoryTable({"1": {}})
    table.is_editable = True
    proposal = dict.fromkeys(TITLES, "old")
    async with bot(bot_home, table, policy=rights()) as ponte:
        for number, title in enumerate(TITLES):
            key = f"k{number}"
            card = await proposed_on_slack(ponte, key, "table_update", rows={"1": proposal})
            text = render_change(card.press_id, {title: "new\u2028 value"})
            await says(ponte, text, f"{key} changed", clicked=True)
            change = await ponte.engine.changes.ledger.get(card.id)
            assert change.steps[0].write.after == {**proposal, title: "new\n value"}


@also_on_postgres
async def test_who_asked_first_can_still_deny_it(bot_home: BotHome) -> None:
    async with bot(bot_home, editable(), policy=rights(), rules=two("slack:S1")) as ponte:
        for channel in ("C1", "D1"):
            key = f"{channel} asked"
            id = (await proposed_on_slack(ponte, key, "table_update", rows={"1": NEW})).id
            await says(ponte, f"change {id} Status = Lost", f"{key} 2", OTHER, thread="tU1")
            third = Person("slack", "U7", "T1", "Tom")
            refusal = await says(ponte, f"deny {id}", f"{key} 3", third, thread="tU1")
            assert refusal.code == "forbidden"
            own = await says(ponte, f"approve {id}.2", f"{key} 4", clicked=True, thread="tU1")
            assert own.code == "forbidden", "this gives no right to approve"
            is_shared = channel == "C1"
            reply = await says(ponte, f"deny {id}", f"{key} 5", channel=channel, shared=is_shared)
            assert reply.text.startswith("Denied by Mia")
            assert (await ponte.engine.changes.ledger.get(id)).state == "denied"


async def test_the_asker_s_other_account_is_no_stranger(bot_home: BotHome) -> None:
    async with proposed_card(bot_home, editable()) as (ponte, card):
        change = await ponte.engine.changes.ledger.get(card.id)
        accounts = {OTHER.key: MEMBER.key}
        approval = ponte.engine.changes.approval
        approval = replace(approval, canonical_person=lambda key: accounts.get(key, key))
        two_needed = replace(approval, config=FixedConfig(two("slack:S1")))
        codes = []
        for each in (approval, two_needed):
            standing = await each.find_standing(
                change, OTHER, change.proposal.address, actions=["approve"]
            )
            assert isinstance(judge_denial(standing), Allowed)
            codes.append(getattr(judge_approval(standing), "code", "allowed"))
        assert codes == ["allowed", "two_others"]
