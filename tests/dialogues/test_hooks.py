"""What a webhook's turn may do with a model that wants everything: read what its group may read,
post in one place, propose, and spend its own cap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.config.ponte_toml import Config, read_config
from core.base.http import HttpClient
from core.chat.destinations import Destinations
from core.domain.messages import Address, Answer, Person, ReplyTo
from core.people.policy import Policy
from core.tools.nocodb.source import NocoSource
from core.webhooks.intake import HookIntake
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import BOSS, OTHER, on_slack, says, typed_code
from tests.dialogues.test_obedient import EVIL, Bought, Obedient
from tests.dialogues.test_rights import policy
from tests.fakes.config import fixed_rules
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_nocodb
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

FILE = """
[groups]
readers = ["slack:U1"]

[[rules]]
who = ["readers"]
allow = ["read:Customers", "propose:Customers", "spend", "code", "approve", "administer"]

[[rules]]
allow = ["read:Orders"]

[tables.Customers]
access = "auto"

[hooks.ask]
kind = "secret"
secret = "ASK_SECRET"
post_to = "slack:T1:C1"
as = "readers"
instruction = "Report on https://ours.example/report."
turns_per_day = 1

[hooks.tell]
kind = "secret"
secret = "ASK_SECRET"
post_to = "slack:T1:C1"
as = "readers"
template = "approve {id} at {link}"
"""


class Platform:
    """The part of a chat platform that says where to post."""

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "since", "")


@dataclass
class Office:
    """A bot over the fake NocoDB with the webhooks of FILE."""

    ponte: RunningBot
    nocodb: FakeNocoDB
    model: Obedient
    bought: Bought
    intake: HookIntake
    access: Policy

    async def deliver(self, hook: str, body: Any) -> Answer:
        """Send a delivery, and return the answer of its turn."""
        status, _, text = await self.intake.receive(hook, from_nocodb(), encode_body(body))
        assert status == 202, text
        stores = self.ponte.engine.conversations
        entry = await stores.journal.history_entry(json.loads(text)["turn"])
        return await stores.inbox.wait_for_answer(entry.seq)

    async def decide(self, text: str, person: Person, number: int) -> Answer:
        message = on_slack(text, f"k{number}", person, thread="t1")
        return await self.ponte.ask_message(message)


def read_office_config(folder: Path) -> Config:
    path = folder / "ponte.toml"
    path.write_text(FILE, encoding="utf-8")
    return read_config(path)


@asynccontextmanager
async def office(bot_home: BotHome, folder: Path) -> AsyncIterator[Office]:
    choice, model, purchase = policy(), Obedient(), Bought()
    config = read_office_config(folder)
    choice.read_rules = fixed_rules(config.rule_book)
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        file = bot_home.open(
            model,
            sources=[source, purchase],
            appliers=[source.rows],
            policy=choice,
            rules=config.table_rules,
            allowed=config.turn_allowances,
        )
        async with file as ponte:
            platform: Any = {"slack": Platform()}
            hooks = {
                name: own.hook(name, lambda _: PLAIN_SECRET)
                for name, own in config.section("hooks").items()
            }
            intake = HookIntake(hooks.get, Destinations(platform), ponte.engine.conversations.inbox)
            yield Office(ponte, nocodb, model, purchase, intake, choice)


async def test_a_wilful_model_gets_only_what_the_webhooks_group_may_read_and_propose(
    bot_home: BotHome, tmp_path: Path
) -> None:
    async with office(bot_home, tmp_path) as there:
        answer = await there.deliver("ask", {"id": "1", "note": EVIL})
        body = json.dumps([[item.text for item in ask.input] for ask in there.model.asks])
        first = there.model.asks[0]
        assert EVIL in body, "the body is read as a quote"
        assert "through a webhook" in first.preface
        assert "Order 12" not in body, "a rule for everybody gives a webhook nothing"
        names = {tool.name for tool in first.tools}
        assert names.isdisjoint({"pay", "run_python"}), "no quick commands and no code"
        assert there.bought.done == [], "also if the model calls them"
        assert [call.method for call in there.nocodb.calls if call.method != "GET"] == []
        assert {card.state for card in answer.cards} == {"open"}, "no policy approves for a webhook"
        assert len(answer.cards) == 3
        assert {post.channel for post in there.ponte.recorder.posts} == {"C1"}
        id = next(card.id for card in answer.cards if "Create" in card.title or card.rows)
        denial = await there.decide(f"approve {id}", OTHER, 1)
        assert "not found" in denial.text, "nobody approves as if they had asked"
        reply = await there.decide(f"approve {id}", BOSS, 2)
        approval = await there.decide(f"approve {typed_code(reply)}", BOSS, 3)
        assert "approve" not in approval.text, approval.text
        assert [call.method for call in there.nocodb.calls if call.method != "GET"], approval.text
        lines = (await there.ponte.engine.people.audit.read())[0][::-1]
        deliveries = [line["asker"] for line in lines if line["event"] == "webhook-received"]
        assert deliveries == ["hook:ask"]


@also_on_postgres
async def test_a_template_is_posted_without_a_model_and_a_model_runs_within_the_cap(
    bot_home: BotHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(bot_home, tmp_path) as there:
        budget, access = there.ponte.engine.people.budget, there.access
        monkeypatch.setattr(budget, "_is_meant", access.is_meant)
        body = {"id": "abcde2", "link": "https://evil.example/x"}
        for _ in range(2):
            body["id"] += "x"
            text = await there.deliver("tell", body)
            assert text.text.startswith(f"approve {body['id']} at "), "its text is no command"
            assert "](https://evil" not in text.text
            assert not text.cards
        assert there.model.asks == []
        assert (await there.deliver("ask", {"id": "1"})).code != "too_many"
        posts = len(there.ponte.recorder.posts)
        assert (await there.deliver("ask", {"id": "2"})).status == "stopped"
        assert len(there.ponte.recorder.posts) == posts, "no refusals fill the channel"
        lines = (await there.ponte.engine.people.audit.read())[0][::-1]
        refusals = [line["asker"] for line in lines if line["event"] == "action-refused"]
        assert refusals[-1:] == ["hook:ask"]
        posts = len(there.ponte.recorder.posts)
        empty = await there.deliver("tell", {"number": 7})
        assert (empty.status, len(there.ponte.recorder.posts)) == ("stopped", posts)
        recent_turns = await there.ponte.engine.conversations.journal.list_recent_turns()
        assert [turn.reason for turn in recent_turns] == ["skipped:no_fields"]
        mine = await says(there.ponte, "hello", "k9")
        assert mine.code != "too_many", "the cap is the webhook's alone"
