"""Questions to agents, each thread in a conversation of its own with each agent."""

from __future__ import annotations

from collections import OrderedDict

from core.records import Scene
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.commands import conversation_of

_KEPT = 1_000


class Conversations:
    """The id is derived from thread and agent, so that it outlives a restart.

    A server that gives another one is followed, for the last thousand conversations.
    """

    def __init__(self, stackspot: StackSpot) -> None:
        self._stackspot = stackspot
        self._given: OrderedDict[str, str] = OrderedDict()

    async def ask(self, scene: Scene, agent: str, prompt: str) -> str:
        """What the agent answers. Raises StackSpotError."""
        ours = conversation_of(scene, agent)
        answer = await self._stackspot.ask_agent(
            agent, prompt, conversation_id=self._given.get(ours, ours)
        )
        if answer.conversation != ours:
            self._given[ours] = answer.conversation
            self._given.move_to_end(ours)
        if len(self._given) > _KEPT:
            self._given.popitem(last=False)
        return answer.text
