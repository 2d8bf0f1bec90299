"""A turn keeps the configuration that it began with. Its rights are checked at each call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bot.config.ponte_toml import ChannelConfig, Config, LiveConfig
from bot.engine import Engine
from core.domain.messages import Answer, Person
from core.domain.model_rounds import RoundRequest
from core.people.rules import Rule, RuleBook
from core.tools.tool import FunctionTool
from core.turn.run import TurnConfig
from tests.core.turn.test_turn import Watched
from tests.fakes.choices import allow_list, make_choices, make_message, open_engine
from tests.fakes.config import FixedConfig
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.models import EchoModel

TURNS = 20
PEOPLE = [Person("web", f"p{number}", name=f"P{number}") for number in range(TURNS)]
EVERYBODY = frozenset(person.key for person in PEOPLE)


async def test_a_reload_under_load_changes_nothing_of_running_turns_but_rights(
    tmp_path: Path,
) -> None:
    """Instructions, model, links and limits stay; who lost a right is refused at the next call."""
    reloaded, usage = asyncio.Event(), list[str]()

    async def wait_for_reload(ask: RoundRequest) -> None:
        if ask.number == 1:
            await reloaded.wait()

    async def use() -> str:
        """Use it."""
        usage.append("used")
        return "see https://old.example/a"

    rights = FixedConfig()
    policy = replace(allow_list(EVERYBODY), read_rules=lambda: rights.rule_book)
    model = EchoModel(gate=wait_for_reload)
    tool = FunctionTool(use, effect="spend", doing="…", name="use")
    config = LiveConfig(
        Config(channels={"web": ChannelConfig(model="old-model", instructions="Old channel.")}),
        TurnConfig(instructions="Be brief."),
    )
    variant = replace(make_choices(model, [FixedTools(tool)], policy), config=config)
    engine = await open_engine(tmp_path, variant)
    engine.platforms.replies["web"] = lambda to, posts: Watched()
    engine.start()
    first = [await ask(engine, person, f"k{n}") for n, person in enumerate(PEOPLE)]
    await model.until(2)
    limits = replace(config.current.limits, tool_calls=0, costly_calls=0)
    channel = ChannelConfig(model="new-model", instructions="New channel.")
    config.current = Config(channels={"web": channel}, limits=limits)
    rights.rule_book = RuleBook((Rule("1", frozenset({PEOPLE[0].key}), deny=("spend",)),))
    reloaded.set()
    answers = await asyncio.gather(*first)
    starts = {one.turn for one in model.asks if one.number == 1 and "Old" in one.instructions}
    for one in model.asks:
        is_old = one.turn in starts
        assert ("Old channel." in one.instructions, one.model) == (
            is_old,
            "old-model" if is_old else "new-model",
        ), one.number
    assert len(starts) >= 2
    assert "You don't have permission" in answers[0].text
    assert len(usage) == len(starts) - 1
    await engine.drain(5)
    await engine.close()


async def ask(engine: Engine, person: Person, key: str) -> asyncio.Task[Answer]:
    message = make_message("call use {}", key, channel=person.id, person=person)
    receipt = await engine.conversations.inbox.accept(message)
    return asyncio.create_task(engine.conversations.inbox.wait_for_answer(receipt.seq))
