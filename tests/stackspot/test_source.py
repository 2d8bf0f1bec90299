"""What the model is offered, what it may run, and what a person is asked first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.base.errors import ToolError
from core.domain.changes import Draft
from core.domain.records import Health, Outcome, QuickCommand, ToolContext
from core.domain.rights import Need, Viewer
from core.tools.stackspot import StackSpot
from core.tools.stackspot.source import FILE_FROM_CHARACTERS, StackSpotCommands, StackSpotSource
from tests.core.tools.scene import with_controls
from tests.core.tools.strict import breaches
from tests.fakes.config import FixedConfig
from tests.fakes.quick_commands import CLOSE, ECHO, SUMMARY, RegisteredCommands
from tests.fakes.stackspot import FakeStackSpot, Run, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import CommandScene, client

LEDGER = QuickCommand("ledger", "Ledger", effect="spend")
AGENTS = FixedConfig(known_agents={"legal": ("01AGENT", "Legal", "Knows contracts")})


@dataclass(slots=True)
class Running(RegisteredCommands):
    stackspot: StackSpotCommands | None = None

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        assert self.stackspot is not None
        return await self.stackspot.run(ctx, slug, input)


@dataclass
class Proposals:
    drafts: list[Draft] = field(default_factory=list)

    async def propose(self, draft: Draft) -> Outcome:
        self.drafts.append(draft)
        return Outcome("proposed", "Waiting for approval", proposal="abcde2")


@pytest.fixture
def source(stackspot: StackSpot) -> StackSpotSource:
    commands = (SUMMARY, CLOSE, ECHO, LEDGER)
    registry = Running(commands, stackspot=StackSpotCommands(stackspot))
    return StackSpotSource(stackspot, registry, AGENTS)


async def call(
    source: StackSpotSource, ctx: ToolContext, tool: str, **arguments: object
) -> Outcome:
    tools = {result.spec.name: result for result in await source.tools(Viewer())}
    return await tools[tool].run(ctx, json.dumps(arguments))


async def command(
    source: StackSpotSource, ctx: ToolContext, slug: str, input: object = ""
) -> Outcome:
    return await call(source, ctx, "stackspot_quick_command", slug=slug, input=input)


async def test_two_tools_are_offered_to_who_may_spend(source: StackSpotSource) -> None:
    running, asking = await source.tools(Viewer())
    assert [running.spec.name, asking.spec.name] == ["stackspot_quick_command", "stackspot_agent"]
    assert not breaches(running.spec)
    assert not breaches(asking.spec)
    assert (running.spec.strict, asking.spec.strict) == (False, True)
    assert running.spec.parameters["required"] == ["slug"]
    assert running.restrict_to({"read", "propose"}) is None
    assert running.restrict_to({"spend"}) is running
    assert running.timeout_seconds > 300


async def test_the_model_is_told_of_the_commands_in_a_line_each(source: StackSpotSource) -> None:
    running, asking = await source.tools(Viewer())
    assert "- daily-summary [day, tone?=dry|warm]: Daily summary. What happened today\n" in (
        running.spec.description
    )
    assert "- close-day: Close the day (asks first)\n" in running.spec.description
    assert "One marked (asks first) is proposed: a person approves" in running.spec.description
    assert "- legal: Legal. Knows contracts" in asking.spec.description
    assert "01AGENT" not in asking.spec.description


async def test_without_a_registry_only_a_named_command_is_run(stackspot: StackSpot) -> None:
    many = [QuickCommand(f"c{n}", "x" * 500) for n in range(100)]
    (alone,) = await StackSpotSource(stackspot, RegisteredCommands(()), FixedConfig()).tools(
        Viewer()
    )
    assert "only where the person names it" in alone.spec.description
    crowded, _ = await StackSpotSource(stackspot, RegisteredCommands(many), AGENTS).tools(Viewer())
    assert "and 40 more" in crowded.spec.description
    assert len(crowded.spec.description) < 12_000


async def test_a_command_is_run_with_checked_inputs(
    fake: FakeStackSpot, source: StackSpotSource
) -> None:
    scene = CommandScene()
    outcome = await command(source, scene.ctx(), "daily-summary", "Friday")
    assert (outcome.status, outcome.text) == ("ok", 'daily-summary: {"day": "Friday"}')
    assert scene.handles == list(fake.executions)
    assert fake.refused == []


async def test_what_does_not_fit_is_told_before_anything_is_sent(
    fake: FakeStackSpot, source: StackSpotSource
) -> None:
    cases: list[tuple[str, object, str]] = [
        ("ecko", "a", "Did you mean `echo`?"),
        ("daily-summary", {"tone": "dry"}, "also needs day"),
        ("daily-summary", {"day": "x", "tone": "loud"}, "dry"),
    ]
    for slug, input, words in cases:
        with pytest.raises(ToolError) as error:
            await command(source, CommandScene().ctx(), slug, input)
        assert (error.value.code, words in str(error.value)) == ("bad_request", True), words
    assert fake.requests == []


async def test_one_that_is_not_for_this_place_is_refused(stackspot: StackSpot) -> None:
    registry = RegisteredCommands(elsewhere=frozenset({"echo"}))
    with pytest.raises(ToolError, match="can't be run in this channel") as error:
        await command(StackSpotSource(stackspot, registry, AGENTS), CommandScene().ctx(), "echo")
    assert error.value.code == "forbidden"


@pytest.mark.parametrize(("slug", "effect"), [("close-day", "write"), ("ledger", "spend")])
async def test_one_that_writes_or_spends_asks_a_person_first(
    fake: FakeStackSpot, source: StackSpotSource, slug: str, effect: str
) -> None:
    proposals = Proposals()
    ctx = with_controls(CommandScene().ctx(), propose=proposals.propose)
    outcome = await command(source, ctx, slug, "now")
    running, _ = await source.tools(Viewer())
    assert running.effect_of(json.dumps({"slug": slug})) == effect
    assert outcome.status == "proposed"
    assert [draft.target["slug"] for draft in proposals.drafts] == [slug]
    assert fake.requests == []
    with pytest.raises(ToolError, match="can't request changes here"):
        await command(source, CommandScene().ctx(), slug, "now")


async def test_every_other_call_spends(source: StackSpotSource) -> None:
    running, _ = await source.tools(Viewer())
    for arguments in ("", "[]", "{", '{"slug": 3}', '{"slug": "echo"}', "[" * 9999):
        assert running.effect_of(arguments) == "spend", arguments


async def test_a_lost_answer_is_not_a_plain_failure(
    fake: FakeStackSpot, source: StackSpotSource
) -> None:
    fake.fail("create", Trouble("reset", after=True))
    outcome = await command(source, CommandScene().ctx(), "echo", "a")
    assert outcome.status == "unknown"
    assert json.loads(outcome.text)["error"]["code"] == "unknown"
    fake.answer("create", 422, body={"code": "X", "details": "too long"})
    outcome = await command(source, CommandScene().ctx(), "echo", "b")
    assert outcome.status == "error"
    assert "too long" in outcome.text


async def test_of_a_long_result_the_person_gets_a_file(
    fake: FakeStackSpot, source: StackSpotSource
) -> None:
    long = json.dumps([{"row": number} for number in range(FILE_FROM_CHARACTERS)])
    fake.go(Run.of("COMPLETED", result=f"```json\n{long}\n```"))
    scene = CommandScene()
    outcome = await command(source, scene.ctx(), "echo", "a")
    assert [file.name for file in outcome.files] == ["echo.json"]
    assert json.loads(scene.files.made["echo.json"]) == json.loads(long)
    assert outcome.text.startswith('[The person gets all of it as the file echo.json.]\n[{"row": 0')
    assert len(outcome.text) <= 16_000


async def test_an_agent_is_asked_by_its_name(fake: FakeStackSpot, source: StackSpotSource) -> None:
    ctx = CommandScene().ctx()
    for number in (1, 2):
        usage = set[Need]()
        outcome = await call(
            source,
            replace(ctx, viewer=Viewer(needs=usage)),
            "stackspot_agent",
            agent="legal",
            prompt="Hm?",
        )
        assert outcome.text == f"({number}) You said: Hm?"
        assert usage == {("agent", "legal")}
    assert fake.refused == []


async def test_an_agent_that_nobody_named_is_not_asked(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    source = StackSpotSource(stackspot, Running(), AGENTS)
    for agent in ("01AGENT", "a/b", ""):
        with pytest.raises(ToolError) as error:
            await call(source, CommandScene().ctx(), "stackspot_agent", agent=agent, prompt="Hm?")
        matches = (error.value.code, error.value.hint)
        assert matches == ("unknown_agent", "these may be asked: legal"), agent
    assert fake.requests == []


async def test_health_says_whether_we_get_a_token(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with client(fake.url, clock) as stackspot:
        assert await StackSpotSource(stackspot, Running(), AGENTS).health() == Health(
            "stackspot", "on"
        )
    async with client(fake.url, clock, secret="wrong") as stackspot:
        health = await StackSpotSource(stackspot, Running(), AGENTS).health()
    assert health.state == "failing"
    assert health.words.startswith("StackSpot rejected the credentials.")
