"""StackSpot for the model: `stackspot_quick_command` and `stackspot_agent`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from core.errors import BadInput, Refusal, ToolError
from core.input_types import check_inputs
from core.inputs import Inputs
from core.ports import QuickCommands, Tool
from core.records import Effect, Health, Outcome, QuickCommand, Scene
from core.text import aside
from core.tools.outcome import outcome_of_error
from core.tools.stackspot.agents import Agent, is_agent_id
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.conversations import Conversations
from core.tools.stackspot.error import StackSpotError
from core.tools.stackspot.menu import agents_told, commands_told
from core.tools.stackspot.result import document_of
from core.tools.stackspot.runs import draft_of
from core.tools.tool import FunctionTool

LONG = 8_000
"""Characters from which the person gets a result as a file too, whatever the model says of it."""
_PATIENCE = 180.0
"""Seconds that a call may take beside the run itself: a token, attempts to begin, pauses."""
_NO_AGENTS: Mapping[str, Agent] = MappingProxyType({})


class StackSpotSource:
    """`commands` decides what may run and runs it; `listed` is what the model is told of.

    `agents` are those of the operator, by name; with `any_agent` any well-formed id is one too.
    `asks_first` says of a slug whether nothing of it runs before a person approves it.
    The client belongs to whoever gave it.
    """

    name = "stackspot"

    def __init__(
        self,
        stackspot: StackSpot,
        commands: QuickCommands,
        *,
        listed: Sequence[QuickCommand] = (),
        agents: Mapping[str, Agent] = _NO_AGENTS,
        any_agent: bool = False,
        asks_first: Callable[[str], bool] = lambda slug: False,
    ) -> None:
        self._stackspot = stackspot
        self._commands = commands
        self._listed = {command.slug: command for command in listed}
        self._agents = agents
        self._any_agent = any_agent
        self._asks_first = asks_first
        self._conversations = Conversations(stackspot)
        self._tools = self._made()

    async def tools(self) -> Sequence[Tool]:
        """Offered also while StackSpot is away: its errors then tell so, in words."""
        return self._tools

    async def health(self) -> Health:
        try:
            await self._stackspot.check()
        except StackSpotError as error:
            return Health(self.name, "failing", str(error))
        return Health(self.name, "on")

    async def close(self) -> None:
        """Nothing is held open here."""

    async def stackspot_quick_command(self, scene: Scene, slug: str, input: Inputs = "") -> Outcome:
        """Run a quick command.

        Args:
            slug: the command's name
            input: a text, or an object with its inputs by name
        """
        if scene.handle:
            return await self._run(scene, slug, input)
        try:
            found = await self._commands.find(scene.asker, scene.address, slug)
            given = check_inputs(found, input)
        except (BadInput, Refusal) as error:
            raise ToolError(error.sentence, code=error.code, hint="", **error.values) from None
        if found.effect == "read":
            return await self._run(scene, slug, given)
        return await scene.propose(draft_of(scene, found, given))

    async def stackspot_agent(self, scene: Scene, agent: str, prompt: str) -> Outcome:
        """Ask an agent.

        Args:
            agent: the agent's name
            prompt: the question, with all that it needs to know
        """
        known = self._agents.get(agent)
        if known is None and not (self._any_agent and is_agent_id(agent)):
            raise ToolError(
                "There is no agent {agent}.",
                code="unknown_agent",
                hint=f"these may be asked: {', '.join(self._agents)}",
                agent=repr(agent[:40]),
            )
        id = known.id if known else agent
        try:
            said = await self._conversations.ask(scene, id, prompt)
        except StackSpotError as error:
            return _told(error)
        return await _outcome(scene, said, agent)

    async def _run(self, scene: Scene, slug: str, input: Inputs) -> Outcome:
        try:
            outcome = await self._commands.run(scene, slug, input)
        except StackSpotError as error:
            return _told(error)
        return await _outcome(scene, outcome.text, slug) if outcome.status == "ok" else outcome

    def _made(self) -> Sequence[Tool]:
        patience = self._stackspot.deadline + _PATIENCE
        tools = [
            QuickCommandTool.of(
                self.stackspot_quick_command,
                effect="spend",
                doing="is running the quick command…",
                strict=False,
                description=commands_told(list(self._listed.values())),
                patience=patience,
            )
        ]
        tools[0].listed = self._listed
        tools[0].asks_first = self._asks_first
        if not self._agents and not self._any_agent:
            return tools
        asking = FunctionTool.of(
            self.stackspot_agent,
            effect="spend",
            doing="is asking the agent…",
            description=agents_told(self._agents, self._any_agent),
            patience=patience,
        )
        return [*tools, asking]


class QuickCommandTool(FunctionTool):
    """Its effect is that of the command that is called."""

    listed: Mapping[str, QuickCommand] = MappingProxyType({})
    asks_first: Callable[[str], bool] = staticmethod(lambda slug: False)

    def effect_of(self, arguments: str) -> Effect:
        """A command marked as writing only proposes, as a write does."""
        command = self.listed.get(_slug(arguments))
        return "write" if command and command.effect == "write" else "spend"

    def only_proposes(self, arguments: str) -> bool:
        return self.asks_first(_slug(arguments))


def _slug(arguments: str) -> str:
    """The slug that a call names; "" for none."""
    try:
        slug = json.loads(arguments).get("slug")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return slug if isinstance(slug, str) else ""


def _told(error: StackSpotError) -> Outcome:
    """Where it is not known what happened, the model must not take it for a plain failure."""
    outcome = outcome_of_error(error)
    return Outcome("unknown", outcome.text) if error.unsure else outcome


async def _outcome(scene: Scene, said: str, stem: str) -> Outcome:
    """The text for the model, and of a long one a file for the person."""
    if len(said) <= LONG or scene.files is None:
        return Outcome("ok", said)
    document = await aside(lambda text: document_of(text, stem), said)
    file = await scene.files.keep(document.name, document.type, document.data)
    return Outcome("ok", f"[The person gets all of it as the file {file.name}.]\n{said}", (file,))
