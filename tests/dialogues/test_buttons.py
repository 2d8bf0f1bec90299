"""Who sees which buttons: a shared post keeps them and names who can decide, a private view shows
them only to people who may use them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.changes import Consent, DisplayName
from core.domain.messages import Address, Card, Person
from core.domain.ports import Messenger
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, BOSS, MEMBER, OTHER, approve_after_reading, bot, says
from tests.dialogues.decisions import _call as call
from tests.dialogues.test_page_people import ANA, OWNER, on_page
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable

CLERK = Person("slack", "U5", "T1", "Cleo")
UPDATE = call("table_update", {"rows": {"1": {"Name": "A"}}})
DELETE = call("table_delete", {"ids": ["1"]})
BOTH = ("approve", "deny")
NAMES = {"slack:U5": DisplayName("Cleo"), "slack:S1": DisplayName("finance-team", is_group=True)}


async def _groups(person: Person, max_age: float) -> frozenset[str]:
    return frozenset({"S1"} if person == CLERK else ())


def rights() -> Policy:
    """Mia and Otto may write, Bea is an admin, Cleo is in a user group."""
    return allow_list(
        frozenset({"slack:U1", "slack:U2"}), frozenset({"slack:U9", "web"}), {"slack": _groups}
    )


def knows_names(ponte: RunningBot) -> None:
    """As a platform that can tell what people and groups are called."""

    async def labels(names: Collection[str]) -> Mapping[str, DisplayName]:
        return {name: NAMES[name] for name in names if name in NAMES}

    ponte.engine.platforms.messengers["slack"] = cast(Messenger, SimpleNamespace(labels=labels))


async def on_the_page(ponte: RunningBot, text: str, person: Person) -> Card:
    (card,) = (await ponte.ask_message(on_page(text, person))).cards
    return card


async def in_slack(
    ponte: RunningBot, text: str, key: str, shared: bool, who: Person = MEMBER
) -> Card:
    channel = "C1" if shared else "D1"
    (card,) = (await says(ponte, text, key, who, channel=channel, shared=shared)).cards
    return card


async def test_on_the_page_only_who_may_decide_has_the_button(bot_home: BotHome) -> None:
    """Whoever asked may still deny it."""
    async with bot(bot_home, MemoryTable({"1": dict(ADA)})) as ponte:
        find_latest = ponte.engine.changes.views.find_latest
        for person, text, actions in (
            (ANA, UPDATE, BOTH),
            (OWNER, DELETE, BOTH),
            (ANA, DELETE, ("deny",)),
        ):
            card = await on_the_page(ponte, text, person)
            assert card.actions == actions, (person.id, text)
            latest = await find_latest(on_page("", person).address.conversation)
            assert next(one for one in latest if one.id == card.id) == card, "after a reload, too"
        assert card.text.endswith("An admin must approve this request.")
        decision = await approve_after_reading(ponte, on_page(f"approve {card.id}", OWNER))
        assert [one.actions for one in decision.cards] == [("undo",)]
        await ponte.engine.redraw.once()
        latest = await find_latest(on_page("", ANA).address.conversation)
        anas = next(one for one in latest if one.id == card.id)
        assert (anas.state, anas.actions) == ("done", ())


async def test_only_a_shared_post_has_buttons_that_its_reader_may_not_use(
    bot_home: BotHome,
) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=rights()) as ponte:
        own = await in_slack(ponte, UPDATE, "k1", shared=True)
        assert own.actions == BOTH
        assert own.text.endswith("Waiting for Mia or an admin.")
        admins = await in_slack(ponte, DELETE, "k2", shared=True)
        assert admins.actions == BOTH
        assert admins.text.endswith("An admin must approve this request.")
        own = await in_slack(ponte, UPDATE, "k3", shared=False)
        assert (own.actions, "Waiting for" in own.text) == (BOTH, False)
        assert (await in_slack(ponte, DELETE, "k4", shared=False)).actions == ("deny",)
        boss = await in_slack(ponte, DELETE, "k5", shared=False, who=BOSS)
        assert boss.actions == BOTH


@pytest.mark.parametrize("shared", [True, False])
async def test_a_card_names_the_approvers_of_its_table(bot_home: BotHome, shared: bool) -> None:
    """Sets of ponte.toml by their names there, people and groups as their platform calls them."""
    policy = rights()
    clerks = Rule("1", frozenset({"clerks"}), allow=("approve:people",))
    policy.read_rules = fixed_rules(RuleBook((clerks,), groups={"clerks": frozenset({"slack:U5"})}))
    rules = TableRules({"people": TableRule("ask", frozenset({"slack:S1", "slack:U5", "asker"}))})
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        unnamed = await in_slack(ponte, UPDATE, "k1", shared)
        knows_names(ponte)
        name = await in_slack(ponte, UPDATE, "k2", shared, OTHER)
    asker = "Otto" if shared else "you"
    who = "Waiting for someone in clerks, {}" + asker + " or an admin."
    assert who.format("someone in finance-team, Cleo, ") in name.text
    assert name.actions == unnamed.actions == BOTH
    assert (
        f"Waiting for someone in clerks, {'Mia' if shared else 'you'}, another designated approver "
        "or an admin."
    ) in unnamed.text


async def test_a_copy_is_drawn_for_whom_it_was_brought_to(bot_home: BotHome) -> None:
    rules = TableRules({"people": TableRule("ask", frozenset({"slack:S1"}), approvals=2)})
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=rights(), rules=rules) as ponte:
        id = (await in_slack(ponte, UPDATE, "k1", shared=True)).id
        changes, direct = ponte.engine.changes, Address("slack", "D5", "T1")

        async def actions(viewer: Person, **more: Any) -> tuple[str, ...]:
            change = await changes.ledger.get(id)
            return (await changes.views.card(change, viewer=viewer, address=direct, **more)).actions

        assert await actions(CLERK) == BOTH
        assert await actions(OTHER) == ()
        await changes.ledger.consent(id, Consent(CLERK, direct, bot_home.clock.now))
        assert await actions(CLERK) == ("deny",), "they have approved it"
        assert await actions(BOSS) == BOTH


async def test_where_it_is_not_known_who_may_the_buttons_stay(bot_home: BotHome) -> None:
    """The click is checked again; a card is not drawn again only because Slack answers later."""
    policy, answers = rights(), [False, None]

    async def is_guest(person: Person, max_age: float) -> bool | None:
        return answers[0]

    policy.people.guests = {"slack": is_guest}
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=policy) as ponte:
        id = (await in_slack(ponte, DELETE, "k1", shared=False)).id
        answers.pop(0)
        change = await ponte.engine.changes.ledger.get(id)
        assert (await ponte.engine.changes.views.card(change)).actions == BOTH
