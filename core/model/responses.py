"""Level 2: `POST /responses` with our own history; nothing is stored (the private mode)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from core.messages import Item
from core.model.own_history import OwnHistory
from core.model.reading import Reading
from core.model.server import Server
from core.openai import Json
from core.records import Ask, ModelEvent

PATH = "/responses"


class Responses:
    """Encrypted reasoning comes along with each answer and goes back with the next question."""

    level = "responses"
    path = PATH

    def __init__(self, server: Server) -> None:
        self._server = server
        self._history = OwnHistory(server, self)

    def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        return self._history.ask(ask)

    async def body(self, ask: Ask, items: Sequence[Item]) -> Json:
        input = self._server.input
        told = await input.items(input.compacted(items), preface=ask.preface, company=company(ask))
        body = question(self._server, ask, told)
        body["store"] = False
        if self._server.official:
            body["include"] = ["reasoning.encrypted_content"]
        return body

    def reading(self) -> Reading:
        return Reading()


def company(ask: Ask) -> bool:
    """Whether somebody else than the asker speaks in this thread."""
    return any(person != ask.asker.key for person in ask.thread.participants)


def question(server: Server, ask: Ask, input: Sequence[Json]) -> Json:
    """The body of a `POST /responses`, without where its history is.

    Fields that only OpenAI knows go only there: others refuse them, or pretend.
    """
    options = server.options
    body: Json = {
        "model": options.model,
        "instructions": ask.instructions,
        "input": list(input),
        "stream": True,
        **server.names(ask),
    }
    if ask.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": server.strict(tool),
            }
            for tool in ask.tools
        ]
    if effort := options.effort or ("low" if server.official else ""):
        body["reasoning"] = {"effort": effort}
    if server.official:
        body["truncation"] = "auto"
        body["context_management"] = [{"type": "compaction", "compact_threshold": options.compact}]
        body["stream_options"] = {"include_obfuscation": False}
    return body
