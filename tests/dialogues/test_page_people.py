"""Several people on the page, each in a conversation that all of them call `main`."""

from __future__ import annotations

import itertools

import pytest

from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, approve_after_reading, bot
from tests.dialogues.decisions import _call as call
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable

OWNER = Person("web", "owner")
ANA, BIA = Person("web", "ana", name="ana"), Person("web", "bia", name="bia")
UPDATE = call("table_update", {"rows": {"1": {"Name": "A"}}})
DELETE = call("table_delete", {"ids": ["1"]})
_numbers = itertools.count()


def on_page(text: str, person: Person, clicked: bool = False) -> Message:
    """As the page makes it."""
    address = Address("web", "main", person="" if person == OWNER else person.id)
    key = f"{person.key} {next(_numbers)}"
    return Message(
        key, text, person, address, ReplyTo(address, person, key, turn_id(key)), is_click=clicked
    )


async def says(ponte: RunningBot, text: str, person: Person, clicked: bool = False) -> Answer:
    return await ponte.ask_message(on_page(text, person, clicked))


async def propose(ponte: RunningBot, text: str, person: Person) -> str:
    (card,) = (await says(ponte, text, person)).cards
    return card.id


@pytest.mark.parametrize("clicked", [False, True], ids=["typed", "clicked"])
async def test_a_card_of_one_is_unknown_to_another(bot_home: BotHome, clicked: bool) -> None:
    """Also by a click from the conversation that goes by the same name."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        id = await propose(ponte, UPDATE, ANA)
        unknown = (await says(ponte, "approve zzz222", BIA, clicked)).text
        for word in ("approve", "deny", "undo"):
            reply = await says(ponte, f"{word} {id}", BIA, clicked)
            assert (reply.status, reply.text) == ("failed", unknown.replace("zzz222", id))
        assert table.applied == []
        assert (await says(ponte, "changes", BIA)).text == "No changes yet."
        assert id in (await says(ponte, "changes", ANA)).text
        assert (await says(ponte, f"approve {id}", ANA, clicked)).status == "done"
        assert table.rows["1"]["Name"] == "A"
        assert (await says(ponte, f"undo {id}", BIA, clicked)).text == unknown.replace("zzz222", id)
        assert (await says(ponte, f"undo {id}", ANA, clicked)).status == "done"


async def test_what_needs_an_admin_is_the_owner_s_to_decide(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte:
        id = await propose(ponte, DELETE, ANA)
        reply = await says(ponte, f"approve {id}", ANA)
        assert (reply.code, "an admin must approve it" in reply.text) == ("forbidden", True)
        outcome = await approve_after_reading(ponte, on_page(f"approve {id}", OWNER))
        assert "approved" in outcome.text.casefold()
        assert table.rows == {}


async def test_an_owner_who_is_no_admin_decides_on_their_own_alone(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA), "2": dict(ADA)})
    async with bot(bot_home, table, policy=allow_list(admins=frozenset({"slack:U9"}))) as ponte:
        id = await propose(ponte, DELETE, ANA)
        assert (await says(ponte, f"approve {id}", OWNER)).text == f"Request {id} not found."
        own = await propose(ponte, call("table_delete", {"ids": ["2"]}), OWNER)
        assert (await says(ponte, f"approve {own}", OWNER)).status == "done"
        assert table.rows.keys() == {"1"}


async def test_who_is_named_an_admin_decides_for_others(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=allow_list(admins=frozenset({"web:bia"}))) as ponte:
        id = await propose(ponte, DELETE, ANA)
        outcome = await approve_after_reading(ponte, on_page(f"approve {id}", BIA))
        assert outcome.status == "done"
        assert table.rows == {}


async def test_a_conversation_s_name_gives_no_right() -> None:
    """Whoever writes on the page chooses it."""
    policy = allow_list(allow=frozenset({"web:bia"}))
    everybody = Rule("1", frozenset({"web"}), deny=("read",))
    policy.read_rules = fixed_rules(
        RuleBook((Rule("0", frozenset({"web:bia"}), allow=("read",)), everybody))
    )
    for person, may in ((ANA, False), (BIA, True)):
        for place in (Address("web", "bia", person=person.id), Address("web", "bia")):
            assert (await policy.may(person, place, "read")).allowed is may
