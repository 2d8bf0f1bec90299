"""Agents: one question, one answer, in a conversation that StackSpot keeps.

https://ai.stackspot.com/docs/agents/agent-api/agents-api
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from core.http import HttpUnreadable
from core.text import in_whole_characters
from core.tools.stackspot.api import StackSpotApi
from core.tools.stackspot.error import StackSpotError, worded
from core.tools.stackspot.request import Request

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class Agent:
    """One that an operator named: `id` is StackSpot's, `title` for people."""

    id: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """`text` is Markdown, as an agent writes it; `conversation` is the id to go on with."""

    text: str
    conversation: str = ""


def is_agent_id(id: str) -> bool:
    return _ID.fullmatch(id) is not None


class Agents:
    """`url` is the agents' host; an answer may take `timeout` seconds."""

    def __init__(self, url: str, api: StackSpotApi, timeout: float) -> None:
        self._url = f"{url.rstrip('/')}/v1/agent"
        self._api = api
        self._timeout = timeout

    async def ask(self, agent: str, prompt: str, conversation: str = "") -> AgentAnswer:
        """The whole answer at once. Raises StackSpotError; it is a spend, as `create` is."""
        if not is_agent_id(agent):
            raise StackSpotError("{agent} is no agent's id.", code="bad_agent", agent=agent[:40])
        request = Request(
            "agent",
            "POST",
            f"{self._url}/{quote(agent, safe='')}/chat",
            subject=agent,
            body=_question(prompt, conversation),
            repeatable=False,
            timeout=self._timeout,
        )
        answer = await self._api.repeat(request)
        message = answer.get("message") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not isinstance(message, str):
            raise worded(HttpUnreadable("no message"), request)
        told = answer.get("conversation_id")
        return AgentAnswer(
            in_whole_characters(message), told if isinstance(told, str) and told else conversation
        )


def _question(prompt: str, conversation: str) -> dict[str, object]:
    """`stackspot_knowledge` is a text there, and the other switches are not."""
    question: dict[str, object] = {
        "user_prompt": prompt,
        "streaming": False,
        "use_conversation": True,
        "stackspot_knowledge": "false",
        "return_ks_in_response": False,
    }
    return {**question, "conversation_id": conversation} if conversation else question
