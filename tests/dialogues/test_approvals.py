"""Several people approve: who counts, who does not, and that nobody counts twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.base.errors import Draining, StatusUnknown
from core.changes.approval import Approvers, TableRule, TableRules
from core.changes.cards import MAX_NAMED_DECIDERS
from core.changes.service import Decisions
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS, Change, DecisionRequest, DisplayName
from core.domain.messages import Address, Answer, ChangeAction, Person
from core.domain.ports import Messenger
from core.domain.records import Receipt
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.store.database import SqliteDatabase
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    approve_after_reading,
    bot,
    end_no_changes,
    on_slack,
    proposed_on_slack,
    says,
    typed_code,
)
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import FixedConfig, fixed_rules
from tests.fakes.memory_table import MemoryTable

CLERK = Person("slack", "U5", "T1", "Cleo")
CHIEF = Person("slack", "U6", "T1", "Carl *C*")
GUEST = Person("slack", "U7", "T1", "Gus")
FINANCE = frozenset({"slack:S1"})


async def _groups(person: Person, max_age: float) -> frozenset[str]:
    return frozenset({"S1"} if person in (CLERK, CHIEF, GUEST) else ())


async def _guests(person: Person, max_age: float) -> bool | None:
    return person == GUEST


def rights() -> Policy:
    return allow_list(
        frozenset({"slack:U1", "slack:U2", "slack:U7"}),
        frozenset({"slack:U9"}),
        {"slack": _groups},
        {"slack": _guests},
    )


def two(*approvers: str) -> TableRules:
    return TableRules({"people": TableRule("ask", frozenset(approvers), approvals=2)})


async def test_two_different_people_approve(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        assert "2 different people must approve this request." in card.text
        why = await says(ponte, f"why {card.id}", "w1", MEMBER)
        assert why.text.endswith(
            "An admin or a designated approver can decide.\n2 different people must "
            "approve this request."
        )
        elsewhere = on_slack(f"why {card.id}", "w2", OTHER, channel="C9")
        answer = await ponte.ask_message(elsewhere)
        assert (answer.code, "Not found." in answer.text) == ("not_found", True)
        for number in (2, 3):  # no second approval
            first = await says(ponte, f"approve {card.id}", f"k{number}", CLERK)
            assert first.text.startswith("1 of 2 approvals, by Cleo.")
        assert "already approved this request" in first.text
        assert table.applied == []
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        click = on_slack(f"approve {card.id}", "k4", CLERK, clicked=True, thread="tU1")
        (view,) = (await ponte.ask_message(click)).cards
        assert "1 of 2 approvals, by Cleo." in view.text, "a restart forgets none"
        reply = await says(ponte, f"approve {card.id}", "k5", CHIEF)
        assert reply.text.startswith("Approved by Cleo, Carl *C*. Done.")
        assert table.rows["1"]["Name"] == "A"
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "k6", CLERK)).text
    lines = bot_home.read_audit_lines()
    decisions = [one for one in lines if one["event"].startswith("change-")][:5]
    events = ["proposed", "consent-added", "consent-added", "approved", "done"]
    assert [one["event"] for one in decisions] == [f"change-{event}" for event in events]
    cleo, carl, *rest = (one["decider"] for one in decisions[1:])
    assert cleo != carl
    assert rest == [carl, carl], "by keys of their own"


@pytest.mark.parametrize("shared", [True, False], ids=["in a channel", "in a direct message"])
async def test_where_nobody_is_named_two_admins_approve(bot_home: BotHome, shared: bool) -> None:
    """The card says so, although one row alone needs no admin. Whoever asked is not enough. It does
    not say so if a rule lets others approve, whose names are unknown here."""
    table, policy = MemoryTable({"1": dict(ADA)}), rights()
    async with bot(bot_home, table, policy=policy, rules=two()) as ponte:
        call = f"call table_update {json.dumps({'rows': {'1': {'Name': 'A'}}})}"
        reply = await says(ponte, call, "k1", OTHER, shared=shared)
        (card,) = reply.cards
        who = "Otto" if shared else "you"
        assert card.text == (
            f"Requested by {who}. An admin must approve this request. "
            "2 different people must approve this request."
        )
        own = on_slack(f"approve {card.id}", "k2", OTHER, shared=shared)
        assert (await ponte.ask_message(own)).code == "forbidden"
        words = on_slack(f"approve {card.id}", "k3", BOSS)
        ask = ponte.ask_message(words) if shared else approve_after_reading(ponte, words)
        assert (await ask).text.startswith("1 of 2 approvals, by Bea.")
        assert table.applied == []
        clerks = Rule("ponte.toml:1", frozenset({"slack:U5"}), allow=("approve:people",))
        policy.read_rules = fixed_rules(RuleBook((clerks,)))
        reply = await says(ponte, call, "k4", OTHER, shared=shared)
        assert (
            reply.cards[0].text
            == f"Requested by {who}. 2 different people must approve this request."
        )


async def test_only_the_named_approvers_of_a_table_decide(bot_home: BotHome) -> None:
    """Administrators, and people whom a rule allows to approve, are not among them."""
    table, policy = MemoryTable({"1": dict(ADA)}), rights()
    others = Rule("ponte.toml:1", frozenset({"slack:U2"}), allow=("approve",))
    policy.read_rules = fixed_rules(RuleBook((others,)))
    own = TableRule("ask", FINANCE, approvers_only=True)
    rules = TableRules({"people": own})
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        changes = ponte.engine.changes
        assert changes.approval.to_be_asked(await changes.ledger.get(card.id)) == FINANCE
        for number, who in enumerate((BOSS, OTHER, MEMBER)):
            refusal = await says(ponte, f"approve {card.id}", f"a{number}", who)
            assert refusal.code == "forbidden", who
            assert refusal.text == f"Only a designated approver can decide on {card.id}."
        assert (await says(ponte, f"deny {card.id}", "d1", BOSS)).code == "forbidden"
        why = await says(ponte, f"why {card.id}", "w1", MEMBER)
        assert why.text.endswith("\nOnly a designated approver can decide.")
        for who, words in (
            (BOSS, "denied by the rule `tables.People.approvers_only`"),
            (CLERK, "allowed by"),
        ):
            assert words in (await says(ponte, "why approve:People", f"v{who.id}", who)).text
        reply = await says(ponte, f"approve {card.id}", "k2", CLERK)
        assert reply.text.startswith("Approved by Cleo. Done.")
        assert (await says(ponte, f"undo {card.id}", "u1", BOSS)).code == "forbidden"
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "u2", CLERK)).text
    lines = bot_home.read_audit_lines()
    (approval,) = (one for one in lines if one["event"] == "change-approved")
    assert approval["rule"] == "tables.People.approvers"
    both = TableRules({"people": replace(own, approvers=FINANCE | {"slack:U9"}, approvals=2)})
    async with bot(bot_home, table, policy=policy, rules=both) as ponte:
        card = await proposed_on_slack(ponte, "k3", "table_delete", ids=["1"])
        first = await says(ponte, f"approve {card.id}", "k4", BOSS)
        assert first.text.startswith("1 of 2 approvals, by Bea."), "named, as an administrator"
    lines = bot_home.read_audit_lines()
    (consent,) = (one for one in lines if one["event"] == "change-consent-added")
    assert consent["rule"] == "tables.People.approvers", "not as an administrator"
    askers = TableRules({"people": replace(own, approvers=frozenset({"asker"}), approvals=2)})
    async with bot(bot_home, table, policy=policy, rules=askers) as ponte:
        card = await proposed_on_slack(ponte, "k5", "table_delete", ids=["1"])
        changes = ponte.engine.changes
        assert changes.approval.to_be_asked(await changes.ledger.get(card.id)) == frozenset()


async def test_two_at_once_apply_it_once(bot_home: BotHome) -> None:
    """A denial by one closes it."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        denial = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        await says(ponte, f"approve {denial.id}", "k2", CLERK)
        assert (await says(ponte, f"deny {denial.id}", "k3", CHIEF)).text == "Denied by Carl *C*."
        assert "Denied by" in (await says(ponte, f"approve {denial.id}", "k4", CHIEF)).text
        assert table.applied == []
        card = await proposed_on_slack(ponte, "k5", "table_update", rows={"1": {"Name": "A"}})
        await asyncio.gather(
            *(says(ponte, f"approve {card.id}", f"k-{who.id}", who) for who in (CLERK, CHIEF))
        )
        assert table.rows["1"]["Name"] == "A"
        assert len(table.applied) == 1


async def test_the_asker_counts_as_none_of_two_approvers(bot_home: BotHome) -> None:
    """Nor as an admin: that is what two people are for."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        call = {"rows": {"1": {"Name": "A"}}}
        card = await proposed_on_slack(ponte, "k1", "table_update", BOSS, **call)
        for word in ("approve", "undo"):
            reply = await says(ponte, f"{word} {card.id}", word, BOSS)
            assert reply.code == "forbidden"
            assert "The person who requested it can't approve it." in reply.text
            for who in (CLERK, CHIEF):
                await says(ponte, f"approve {card.id}", f"k-{word}-{who.id}", who)


async def test_a_card_lists_only_approvals_that_count(bot_home: BotHome) -> None:
    """While it waits, and once it was done: whose right was taken away did not approve it."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        id = (await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])).id
        await says(ponte, f"approve {id}", "k2", CLERK)
    only = two("slack:U6", "slack:U2")
    async with bot(bot_home, table, policy=rights(), rules=only) as ponte:
        ledger = ponte.engine.changes.ledger
        (still,) = await ponte.engine.changes.views.find_latest("")
        assert "2 different people must approve this request." in still.text
        text = (await says(ponte, f"approve {id}", "k3", CHIEF)).text
        assert text.startswith("1 of 2 approvals, by Carl *C*. Some approvals are no longer valid")
        assert table.applied == []
        click = on_slack(f"approve {id}", "k4", CHIEF, clicked=True, thread="tU1")
        (card,) = (await ponte.ask_message(click)).cards
        assert card.text.endswith("1 of 2 approvals, by Carl *C*.")
        bot_home.clock.now += 60
        reply = await says(ponte, f"approve {id}", "k5", OTHER)
        assert reply.text.startswith("Approved by Carl *C*, Otto. Done.")
        assert "Cleo" not in (await ponte.engine.changes.views.card(await ledger.get(id))).text
        assert [one.person for one in (await ledger.get(id)).consents] == [CHIEF, OTHER]
    assert table.rows == {}


async def test_somebody_who_came_back_approves_anew(bot_home: BotHome) -> None:
    table, policy, departures = MemoryTable({"1": dict(ADA)}), rights(), list[float]()

    async def has_left(person: Person, address: Address, since: float) -> bool | None:
        return person == CLERK and any(since < departure for departure in departures)

    policy.people.departures = {"slack": has_left}
    rules = two("slack:U5", "slack:U6", "slack:U2")
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        id = (await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])).id
        await says(ponte, f"approve {id}", "k2", CLERK)
        bot_home.clock.now += 60
        departures.append(bot_home.clock.now)
        assert id in (await says(ponte, "approvals", "k3", CLERK)).text
        again = (await says(ponte, f"approve {id}", "k4", CLERK)).text
        assert again.startswith("1 of 2 approvals, by Cleo.")
        assert "Your approval was recorded" not in again
        assert "Done." in (await says(ponte, f"approve {id}", "k5", CHIEF)).text


@pytest.mark.parametrize("left", [True, None], ids=["left", "not told"])
async def test_the_approval_of_who_has_left_does_not_count(
    bot_home: BotHome, left: bool | None
) -> None:
    """Their name still stands in the file."""
    table, departures, policy = MemoryTable({"1": dict(ADA)}), dict[Person, bool | None](), rights()
    consent: list[float] = []

    async def has_left(person: Person, address: Address, since: float) -> bool | None:
        consent.append(since)
        return departures.get(person, False)

    policy.people.departures = {"slack": has_left}
    rules = two("slack:U5", "slack:U6", "slack:U2")
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        bot_home.clock.now += 60
        await says(ponte, f"approve {card.id}", "k2", CLERK)
        departures[CLERK] = left
        bot_home.clock.now += 60
        reply = await says(ponte, f"approve {card.id}", "k3", CHIEF)
        assert "Some approvals are no longer valid" in reply.text
        assert bot_home.clock.now - 60 in consent, "since they approved it"
        assert table.applied == []
        assert "Done." in (await says(ponte, f"approve {card.id}", "k4", OTHER)).text
        departures[MEMBER] = True
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "k5", OTHER)).text


async def test_what_somebody_asked_for_who_has_left_is_not_done(bot_home: BotHome) -> None:
    table, policy, has_left = MemoryTable({"1": dict(ADA)}), rights(), dict[Person, bool | None]()

    async def find_departure(person: Person, address: Address, since: float) -> bool | None:
        return has_left.get(person, False)

    policy.people.departures = {"slack": find_departure}
    async with bot(bot_home, table, policy=policy) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        for departure, words in ((True, "is no longer a member"), (None, "couldn't check in time")):
            has_left[MEMBER] = departure
            reply = await says(ponte, f"approve {card.id}", f"k2 {departure}", BOSS)
            assert (reply.code, words in reply.text) == ("forbidden", True)
            text = (await says(ponte, "approvals", f"k3 {departure}", BOSS)).text
            assert text == "No requests are waiting for you."
        assert (await says(ponte, f"deny {card.id}", "k4", BOSS)).text == "Denied by Bea."
    assert table.applied == []


async def approve_and_end(
    ponte: RunningBot, monkeypatch: pytest.MonkeyPatch, id: str, who: Person
) -> Receipt:
    """The process is killed after the last approval, before anything is written."""
    start_event = asyncio.Event()

    async def drain_at_once(change: Change, doing: object = None) -> None:
        start_event.set()
        raise Draining

    with monkeypatch.context() as patch:
        patch.setattr(ponte.engine.changes.lifecycle.runner, "run", drain_at_once)
        last = on_slack(f"approve {id}", "k3", who)
        receipt = await ponte.engine.conversations.inbox.accept(last)
        await start_event.wait()
    assert (await ponte.engine.changes.ledger.get(id)).state == "applying"
    return receipt


@pytest.mark.parametrize("approvals", [1, 2])
async def test_who_approved_is_checked_again_after_a_restart(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch, approvals: int
) -> None:
    table = MemoryTable({"1": dict(ADA)})

    def approver_rules(*approvers: str) -> TableRules:
        return TableRules({"people": TableRule("ask", frozenset(approvers), approvals)})

    async with bot(bot_home, table, policy=rights(), rules=approver_rules("slack:S1")) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        if approvals > 1:
            await says(ponte, f"approve {card.id}", "k2", CLERK)
        receipt = await approve_and_end(ponte, monkeypatch, card.id, CHIEF)
    departure = ("slack:U6", "slack:U2") if approvals > 1 else ("slack:U2",)
    async with bot(bot_home, table, policy=rights(), rules=approver_rules(*departure)) as ponte:
        answer = await ponte.wait_for_answer(receipt)
        assert answer.code == "forbidden"
        assert (await ponte.engine.changes.ledger.get(card.id)).state == "open"
        assert table.applied == []
        assert "Done." in (await says(ponte, f"approve {card.id}", "k4", OTHER)).text


async def test_a_card_names_only_who_still_counts_after_a_restart(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file then asks for fewer approvals, and one of the three no longer counts."""
    table, names = MemoryTable({"1": dict(ADA)}), frozenset({"slack:S1", "slack:U2"})
    three = TableRules({"people": TableRule("ask", names, approvals=3)})
    async with bot(bot_home, table, policy=rights(), rules=three) as ponte:
        id = (await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])).id
        for who in (CLERK, CHIEF):
            await says(ponte, f"approve {id}", f"k-{who.id}", who)
        receipt = await approve_and_end(ponte, monkeypatch, id, OTHER)
    fewer = two("slack:U6", "slack:U2")
    async with bot(bot_home, table, policy=rights(), rules=fewer) as ponte:
        await ponte.wait_for_answer(receipt)
        (card,) = await ponte.engine.changes.views.find_latest("")
        assert "Approved by Otto, Carl *C*." in card.text
        assert "Cleo" not in card.text
    assert table.rows == {}


async def test_the_owner_on_page_and_terminal_counts_as_one_approver(bot_home: BotHome) -> None:
    """Who owns the page owns the terminal as well."""
    table, rules = MemoryTable({"1": dict(ADA)}), two("web:owner", "terminal:owner")
    admins = frozenset({"web", "terminal"})
    async with bot(bot_home, table, policy=allow_list(admins=admins), rules=rules) as ponte:
        (card,) = (await ponte.ask('call table_delete {"ids": ["1"]}')).cards
        for platform in ("web", "terminal"):
            place: Any = {"person": Person(platform, "owner"), "channel": f"C-{platform}"}
            answer = await ponte.ask(f"approve {card.id}", **place)
            if answer.status == "failed":  # the card is on the other surface
                answer = await ponte.ask(f"approve {typed_code(answer)}", **place)
            assert answer.status == "done"
            assert answer.text.startswith("1 of 2 approvals, by ")
    assert table.applied == []


@pytest.mark.parametrize("approvals", [1, 2])
async def test_a_guest_never_approves(bot_home: BotHome, approvals: int) -> None:
    table = MemoryTable({"1": dict(ADA)})
    rules = TableRules({"people": TableRule("ask", FINANCE, approvals)})
    async with bot(bot_home, table, policy=rights(), rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        for word in ("approve", "deny"):
            reply = await says(ponte, f"{word} {card.id}", word, GUEST, thread="tU1")
            assert (reply.code, "Guests can't decide on" in reply.text) == ("forbidden", True)
    assert table.applied == []


async def test_a_bot_never_approves_and_never_undoes(bot_home: BotHome) -> None:
    robot = Person("slack", "U9", "T1", "Robo", is_bot=True)
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights()) as ponte:
        id = (await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})).id
        assert (await says(ponte, f"approve {id}", "k2", robot)).text.startswith("You said")
        for word, name in (("approve", "Ada"), ("undo", "A")):
            reply = await says(ponte, f"{word} {id}", word, robot, clicked=True, thread="tU1")
            assert reply.code == "forbidden"
            assert "Bots can't decide on changes" in reply.text
            assert table.rows["1"]["Name"] == name
            await says(ponte, f"approve {id}", "k3", MEMBER)


async def test_who_asked_is_one_where_the_file_says_so(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("asker", "slack:S1")) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        text = await says(ponte, f"approve {card.id}", "k2", MEMBER)
        assert text.text.startswith("1 of 2 approvals, by Mia.")
        beside = await says(ponte, f"approve {card.id}", "k3", OTHER, thread="tU1")
        assert beside.code == "forbidden"
        reply = await says(ponte, f"approve {card.id}", "k4", CLERK)
        assert "Approved by Mia, Cleo" in reply.text
    assert table.rows == {}


async def test_approvals_lists_what_waits_for_me(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=two("slack:S1")) as ponte:
        first = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        bot_home.clock.now += 3600
        second = await proposed_on_slack(ponte, "k2", "table_update", rows={"1": {"Name": "A"}})

        async def waits(key: str, person: Person, **more: Any) -> Answer:
            return await says(ponte, "approvals", key, person, **more)

        text = await waits("a1", CLERK)
        assert text.is_private, "others read along"
        assert text.text.splitlines() == [
            f"- `{first.id}` Delete a row in People: requested by Mia, expires in 23 hours.",
            f"- `{second.id}` Change a row in People: requested by Mia, expires in 24 hours.",
        ]
        nothing = "No requests are waiting for you."
        for person in (MEMBER, GUEST, OTHER):
            assert (await waits(f"a-{person.id}", person)).text == nothing
        elsewhere = (await waits("a2", CLERK, channel="C9")).text
        assert elsewhere == "2 more requests are waiting for you. Ask for them in a direct message."
        await says(ponte, f"approve {first.id}", "k3", CLERK)
        direct = await waits("a3", CLERK, channel="D1", shared=False)
        assert (direct.is_private, direct.text) == (False, "1 request is waiting for you.")
        (card,) = direct.cards
        assert (card.id, card.actions) == (second.id, ("approve", "deny"))
        assert card.rows, "the person sees what they decide on"
        assert first.id in (await waits("a4", CHIEF)).text
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS
        assert (await waits("a5", CHIEF)).text == nothing


async def test_a_direct_message_lists_five_cards_and_the_rest_as_lines(bot_home: BotHome) -> None:
    """Five cards with their buttons fit under one message of Discord."""
    table = MemoryTable({str(n): dict(ADA) for n in range(1, 25)})
    async with bot(bot_home, table, policy=rights()) as ponte:
        ids = []
        for number in range(1, 24):
            key, who = f"k{number}", MEMBER if number != 7 else BOSS
            card = await proposed_on_slack(ponte, key, "table_delete", who, ids=[str(number)])
            ids.append(card.id)
            bot_home.clock.now += 1
        message = on_slack("approvals", "a1", BOSS, channel="D9", shared=False)
        answer = await ponte.ask_message(message)
        assert [card.id for card in answer.cards] == ids[:5]
        head, lines, more = answer.text.split("\n\n")
        assert head == "23 requests are waiting for you."
        assert [line[3:9] for line in lines.splitlines()] == ids[5:20]
        assert "requested by Mia, expires in" in lines.splitlines()[0]
        assert ": requested by you, expires in" in lines.splitlines()[1]
        assert more == "3 more requests are waiting for you."
        click = on_slack(f"deny {ids[0]}", "a2", BOSS, channel="D9", shared=False, clicked=True)
        assert (await ponte.ask_message(click)).cards[0].state == "denied"


async def test_a_card_names_few_deciders_and_no_other_platform_s_people(bot_home: BotHome) -> None:
    """Names come from people; the platforms escape them (tests of their renderers)."""
    names = [f"slack:U{number}" for number in range(20, 28)]
    rules = TableRules({"people": TableRule("ask", frozenset({*names, "discord:7", "web:bia"}))})
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights(), rules=rules) as ponte:

        async def labels(asked: Collection[str]) -> Mapping[str, DisplayName]:
            return {name: DisplayName(f"{name}\n@everyone {'e' * 500}") for name in asked}

        messenger = cast(Messenger, SimpleNamespace(labels=labels))
        ponte.engine.platforms.messengers.update(slack=messenger, discord=messenger)
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        who = card.text.partition("Waiting for ")[2]
        assert who.startswith("someone on Discord, slack:U20 @everyone e"), who
        assert who.endswith("another designated approver or an admin.")
        assert who.count(" @everyone ") == MAX_NAMED_DECIDERS - 1
        assert "bia" not in who, "the accounts of the page are nobody else's to know"
        assert len(who) < 400
        assert "\n" not in who


async def test_approvers_of_a_tool_and_of_a_channel(bot_home: BotHome) -> None:
    """A table's own stand before a channel's."""
    table, policy = MemoryTable({"1": dict(ADA)}), rights()
    update: dict[str, Any] = {"rows": {"1": {"Name": "A"}}}
    rules = TableRules(tools={"table_delete": Approvers(FINANCE, 1)})
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        assert card.text.endswith("A designated approver must approve this request.")
        assert (await says(ponte, f"approve {card.id}", "k2", MEMBER)).code == "forbidden"
        card = await proposed_on_slack(ponte, "k3", "table_update", **update)
        assert (await says(ponte, f"approve {card.id}", "k4", MEMBER)).status == "done"
    choices = make_choices(None, [table], policy, [table])
    config = FixedConfig(approvers={"C1": FINANCE})
    choices = replace(choices, approval=replace(choices.approval, config=config))
    async with bot_home.play(choices) as ponte:
        card = await proposed_on_slack(ponte, "k5", "table_update", **update)
        assert card.text.endswith("A designated approver must approve this request.")
        assert (await says(ponte, f"approve {card.id}", "k6", MEMBER)).code == "forbidden"
        assert (await says(ponte, f"approve {card.id}", "k7", CLERK)).status == "done"
        message = on_slack('call table_create {"rows": [{"Name": "B"}]}', "k8", channel="C2")
        (card,) = (await ponte.ask_message(message)).cards
        text = await says(ponte, f"approve {card.id}", "k9", channel="C2")
        assert "Approved by Mia" in text.text
    table_rules = TableRules({"people": TableRule("ask", frozenset({"slack:U2"}))})
    choices = replace(choices, approval=replace(choices.approval, config=FixedConfig(table_rules)))
    async with bot_home.play(choices) as ponte:
        card = await proposed_on_slack(ponte, "k10", "table_update", rows={"1": {"Name": "C"}})
        reply = await says(ponte, f"approve {card.id}", "k11", CLERK)
        assert reply.code == "not_found", "no card of theirs any more"
        assert (await says(ponte, f"approve {card.id}", "k12", OTHER)).status == "done"


async def test_one_click_reads_the_change_once(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undo reads its change, then the change that it has undone, for the new card."""
    reads, decide, content = Counter[str](), Decisions.decide, SqliteDatabase.read
    action: ContextVar[str] = ContextVar("action", default="")

    async def count_reads(database: SqliteDatabase, *given: Any, **more: Any) -> Any:
        reads[action.get()] += 1
        return await content(database, *given, **more)

    async def decide_counted(
        decisions: Decisions, name: ChangeAction, decision: DecisionRequest
    ) -> Answer:
        reset = action.set(name)
        try:
            return await decide(decisions, name, decision)
        finally:
            action.reset(reset)

    monkeypatch.setattr(SqliteDatabase, "read", count_reads)
    monkeypatch.setattr(Decisions, "decide", decide_counted)
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights()) as ponte:
        for key, typed_text in (("k1", ("approve", "undo")), ("k2", ("deny",))):
            rows = {"1": {"Name": key}}
            card = await proposed_on_slack(ponte, key, "table_update", rows=rows)
            for word in typed_text:
                words, event = f"{word} {card.id}", f"{key} {word}"
                await says(ponte, words, event, clicked=True, thread="tU1")
    assert {name: reads[name] for name in ("approve", "undo", "deny")} == {
        "approve": 1,
        "undo": 3,
        "deny": 1,
    }


@pytest.mark.parametrize("silent", [1, 2], ids=["silent once", "silent"])
async def test_a_decision_asks_once_more_for_what_is_not_known(
    bot_home: BotHome, silent: int
) -> None:
    """Then it applies nothing, says so, and the card keeps its button."""
    table, policy, unanswered = MemoryTable({"1": dict(ADA)}), rights(), list[Person]()

    async def guests(person: Person, max_age: float) -> bool | None:
        if person in unanswered:
            unanswered.remove(person)
            return None
        return False

    policy.people.guests = {"slack": guests}
    async with bot(bot_home, table, policy=policy) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        ledger, decisions = ponte.engine.changes.ledger, ponte.engine.changes.decisions
        here = (await ledger.get(card.id)).proposal.address
        end_no_changes(ponte)
        click = DecisionRequest(card.id, 99, BOSS, here, is_click=True, revision=1)
        unanswered += [BOSS] * silent
        if silent == 1:
            assert "Done." in (await decisions.decide("approve", click)).text
            assert table.rows["1"]["Name"] == "A"
            return
        with pytest.raises(StatusUnknown, match="Try again in a minute"):
            await decisions.decide("approve", click)
        change = await ledger.get(card.id)
        assert (unanswered, change.state, table.applied) == ([], "open", [])
        unanswered.append(BOSS)
        private = replace(here, channel="D9", is_shared=False)
        drawn = await ponte.engine.changes.views.card(change, BOSS, private)
        assert (unanswered, "approve" in drawn.actions) == ([], True)
