"""Who may not use a source of tables reaches it by nothing that is built over it. Ana was added to
the page, and PONTE_SAMPLE is not set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from core.changes.card_rows import read_rows
from core.domain.messages import Answer, Attachment, Person, turn_id
from core.imports.tools import ImportSource
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.tools.sample import open_sample_base
from core.tools.sample.base import SampleSource
from core.tools.saved import SavedSource
from core.tools.tool import Toolbox
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.test_page_people import ANA, OWNER, on_page
from tests.dialogues.test_run_again import Planner
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.schedules import LateScheduleSource

EMAIL = "@"
"""In each address of the sample tables, and in nothing else here."""
TITLES = ("Customers", "Orders", "Products", "Invoices")
QUERY = ("nocodb_query", {"table": "Customers", "fields": ["Name", "Email"]})
UPDATE = ("nocodb_update", {"table": "Customers", "changes": [{"id": 1, "fields": {"City": "X"}}]})
CREATE = ("nocodb_create", {"table": "Customers", "rows": [{"Name": "Ana"}]})
CALLS: Mapping[str, Mapping[str, object]] = {
    "nocodb_tables": {},
    "nocodb_query": QUERY[1],
    "nocodb_summarize": {"table": "Customers"},
    "nocodb_get": {"table": "Customers", "id": 1},
    "nocodb_history": {"table": "Customers", "id": 1},
    "nocodb_create": CREATE[1],
    "nocodb_update": UPDATE[1],
    "nocodb_delete": {"table": "Customers", "ids": [1]},
    "nocodb_link": {"table": "Customers", "id": 1, "link_field": "Orders", "add": [1]},
    "nocodb_import": {"file": "new.csv", "table": "Customers", "columns": {"Name": "Name"}},
    "saved_question": {"name": "mine"},
}


@dataclass
class Shop:
    ponte: RunningBot
    policy: Policy
    model: Planner
    turn: str = ""

    def admit(self, *people: Person) -> None:
        """Let these people use the tables, as after a restart with another PONTE_SAMPLE."""
        keys = {person.key for person in people}
        self.policy.sources["sample"] = lambda rights: rights.person.key in keys  # type: ignore[attr-defined]
        self.policy._rights.clear()

    async def says(self, text: str, person: Person = ANA) -> Answer:
        self.model.calls = ()
        return await self.ponte.ask_message(on_page(text, person))

    async def call(self, name: str, arguments: object, person: Person = ANA) -> Answer:
        """Make the model call a tool, for a message with a file."""
        self.model.calls = ((name, dict(arguments)),)  # type: ignore[call-overload]
        message, data = on_page("go", person), b"Id,Email,Name\n1,ana@x.test,Ana\n"
        self.turn = turn_id(message.event_key)
        stored = await self.ponte.engine.conversations.files.put(
            message.event_key, "new.csv", "text/csv", data, person, message.address.conversation
        )
        attachment = Attachment("new.csv", "text/csv", len(data), stored.id)
        return await self.ponte.ask_message(replace(message, attachments=(attachment,)))

    async def read(self, name: str, arguments: object, person: Person = ANA) -> str:
        """Return what the model got of the call."""
        await self.call(name, arguments, person)
        return self.model.asks[-1].input[-1].text


@asynccontextmanager
async def shop(home: BotHome) -> AsyncIterator[Shop]:
    policy, model, late = allow_list(), Planner(), LateScheduleSource()
    home.home.mkdir(exist_ok=True)
    source = SampleSource(open_sample_base(home.home, "UTC"), "Shop")
    toolbox = Toolbox([source, ImportSource(source), late])
    choices = make_choices(model, [], policy, [source.rows])
    async with home.play(replace(choices, toolbox=toolbox)) as ponte:
        late.open(ponte.engine)
        saved, contexts = ponte.engine.conversations.saved, ponte.engine.assistant.contexts
        toolbox.add(SavedSource(saved, toolbox, contexts.may_know))
        yield Shop(ponte, policy, model)


async def test_no_tool_over_the_source_reaches_it(bot_home: BotHome) -> None:
    async with shop(bot_home) as here:
        for name, arguments in CALLS.items():
            text = await here.read(name, arguments)
            assert "not_offered" in text or name == "saved_question", text
            assert not any(title in text for title in TITLES), text
        for table in ("Customers", "Customer", "Nothing"):
            answer = await here.call("nocodb_import", {**CALLS["nocodb_import"], "table": table})
            assert not answer.cards
        assert "Customers" in await here.read(*QUERY, OWNER)


async def test_what_ana_made_of_it_before_ends_with_the_right(bot_home: BotHome) -> None:
    """She read, saved, watched, asked for changes and approved them while she was invited."""
    async with shop(bot_home) as here:
        here.admit(ANA)
        assert (await here.call(*QUERY)).can_run_again
        turn, ledger = here.turn, here.ponte.engine.changes.ledger
        assert (await here.says(f"save {turn} / mine")).text.startswith("Saved.")
        assert (await here.says("show mine")).can_run_again
        (alert,) = (await here.says(f"watch {turn} count|>|0 * * * *|false|1|")).cards
        await here.says(f"approve {alert.id}")
        (first,) = (await here.call(*UPDATE)).cards
        assert (await here.says(f"approve {first.id}")).status == "done"
        waiting, denied = [(await here.call(*CREATE)).cards[0] for _ in range(2)]
        await here.says(f"deny {denied.id}")

        here.admit()
        refused = [f"approve {waiting.id}", f"change {waiting.id} Name = B", f"again {denied.id}"]
        refused += [f"undo {first.id}", f"rerun {turn}", "rerun", "show mine", "saved", "alerts"]
        for text in [*refused, f"schedule {alert.id} show"]:
            answer = await here.says(text)
            assert EMAIL not in answer.text, text
            assert "mine" not in answer.text.replace("show mine", ""), answer.text
            assert not any(title in answer.text for title in TITLES), (text, answer.text)
            assert not any(card.state == "open" for card in answer.cards if card.id != waiting.id)
        assert [(await ledger.get(id)).state for id in (waiting.id, first.id)] == ["open", "done"]
        await here.says("what did I ask?")
        request = here.model.asks[-1]
        assert EMAIL not in str([*await request.history(), *request.input])
        store = here.ponte.engine.schedules.store
        await here.ponte.engine.schedules.watch.look(await store.get(alert.id))
        assert (await store.get(alert.id)).reason == "rights"


async def test_a_card_identifies_its_row_only_for_those_admitted_to_the_source(
    bot_home: BotHome,
) -> None:
    """Ana may approve, and so sees the card of a change, with its changed cells alone."""
    allow = Rule("approves", frozenset({ANA.key}), allow=("approve", "read"))
    async with shop(bot_home) as here:
        here.policy.read_rules = fixed_rules(RuleBook((allow,)))
        (card,) = (await here.call(*UPDATE, person=OWNER)).cards
        assert read_rows(card.rows)[0].details
        views = here.ponte.engine.changes.views
        change = await views.ledger.get(card.id)
        address = on_page("x", ANA).address
        for is_admitted in (False, True):
            here.admit(*[ANA] * is_admitted)
            (row,) = read_rows((await views.card(change, ANA, address)).rows)
            assert bool(row.details) is is_admitted
