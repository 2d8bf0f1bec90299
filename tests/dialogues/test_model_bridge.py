"""The bridge's story: the model wants a function called, the bridge does it, the model tells.

The same at every level that a server can have.
"""

from __future__ import annotations

import json

import pytest

from core.base.http import HttpClient
from core.models.served_model import Level
from core.tools.nocodb.bridge import BridgeSource
from tests.dialogues.bot_home import BotHome
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import BASE, CUSTOMERS
from tests.fakes.openai import FakeOpenAI, Script

levels = pytest.mark.parametrize("level", list(WITHOUT))


def execute(tool: str, **args: object) -> tuple[tuple[str, str], ...]:
    return (("nocodb_execute", json.dumps({"tool": tool, "args": args})),)


@levels
async def test_the_tables_are_asked_by_function_calls(bot_home: BotHome, level: Level) -> None:
    async with FakeOpenAI(without=WITHOUT[level]) as fake, FakeBridge() as bridge:
        fake.say(
            Script(calls=execute("list_bases"), match="How many customers"),
            Script(calls=execute("list_tables", base_id=BASE), match='"CRM"'),
            Script(
                text="Let me count them.",
                calls=execute("list_records", table_id=CUSTOMERS, limit=1),
                match='"Customers"',
            ),
            Script(text="You have **30** customers.", match='"totalRows":30'),
        )
        async with HttpClient() as http:
            source = BridgeSource(bridge.url, "", http)
            async with open_served_bot(bot_home, fake, [source]) as ponte:
                answer = await ponte.ask("How many customers do we have?")
                spending = await ponte.engine.people.budget.usage_today()
        assert answer.status == "done"
        assert answer.text == "Let me count them.\n\nYou have **30** customers."
        assert bridge.executed_tools == ["list_bases", "list_tables", "list_records"]
        assert spending.usage.input > 0
        assert bot_home.recorder.visible("k1") == [answer.text]


@levels
async def test_several_calls_at_once(bot_home: BotHome, level: Level) -> None:
    """A bridge that is down is told to the model."""
    async with FakeOpenAI(without=WITHOUT[level]) as fake, FakeBridge() as bridge:
        both = execute("list_bases") + execute("list_tables", base_id=BASE)
        fake.say(Script(calls=both, match="Look"), Script(text="Two tables.", match='"Customers"'))
        async with HttpClient() as http:
            source = BridgeSource(bridge.url, "", http, pauses=(0, 0))
            async with open_served_bot(bot_home, fake, [source]) as ponte:
                assert (await ponte.ask("Look around")).text == "Two tables."
                assert (await ponte.ask("thanks")).text.endswith("thanks")
                assert sorted(bridge.executed_tools) == ["list_bases", "list_tables"]
                bridge.fail(50, 500, "boom")
                fake.say(
                    Script(calls=execute("list_bases"), match="Which bases"),
                    Script(text="I could not reach your tables.", match="error"),
                )
                answer = await ponte.ask("Which bases are there?")
        assert answer.text == "I could not reach your tables."
