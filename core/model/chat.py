"""Level 3: `POST /chat/completions` with our own history, which every server knows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence

from core.messages import Item
from core.model.chat_reading import ChatReading
from core.model.own_history import OwnHistory
from core.model.responses import company
from core.model.server import Server
from core.openai import Json
from core.records import Ask, ModelEvent, ToolSpec


class Chat:
    level = "chat"
    path = "/chat/completions"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._history = OwnHistory(server, self)

    def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        return self._history.ask(ask)

    async def body(self, ask: Ask, items: Sequence[Item]) -> Json:
        server, options = self._server, self._server.options
        input = await server.input.items(items, preface=ask.preface, company=company(ask))
        body: Json = {
            "model": options.model,
            "messages": messages(ask.instructions, input),
            "stream": True,
            "stream_options": {"include_usage": True},
            **server.names(ask),
        }
        if ask.tools:
            body["tools"] = [self._tool(tool) for tool in ask.tools]
        if effort := self._effort(bool(ask.tools)):
            body["reasoning_effort"] = effort
        return body

    def reading(self) -> ChatReading:
        return ChatReading()

    def _effort(self, tools: bool) -> str:
        """gpt-6-luna takes function tools over this API only without reasoning (its model page)."""
        options = self._server.options
        if tools and options.model.startswith("gpt-6"):
            return "none"
        return options.effort or ("low" if self._server.official else "")

    def _tool(self, tool: ToolSpec) -> Json:
        function: Json = {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        if self._server.strict(tool):
            function["strict"] = True
        return {"type": "function", "function": function}


def messages(instructions: str, input: Sequence[Json]) -> list[Json]:
    """Chat messages for Responses input. One system message, first: templates demand that."""
    told: list[Json] = [{"role": "system", "content": instructions}]
    for item in input:
        if item["type"] == "message" and item["role"] == "user":
            told.append({"role": "user", "content": _content(item["content"])})
        elif item["type"] == "message":
            told.append({"role": "assistant", "content": item["content"]})
        elif item["type"] == "function_call":
            _calling(told).append(_call(item))
        elif item["type"] == "function_call_output":
            output = {"tool_call_id": item["call_id"], "content": item["output"]}
            told.append({"role": "tool", **output})
    return told


def _calling(told: list[Json]) -> list[Json]:
    """The calls of the assistant's last message; made where it has said nothing yet."""
    if told[-1]["role"] != "assistant":
        told.append({"role": "assistant", "content": None})
    calls: list[Json] = told[-1].setdefault("tool_calls", [])
    return calls


def _call(item: Json) -> Json:
    """Templates read the arguments, so what is no JSON object goes back as an empty one."""
    arguments = item["arguments"]
    try:
        whole = isinstance(json.loads(arguments), dict)
    except ValueError:
        whole = False
    function = {"name": item["name"], "arguments": arguments if whole else "{}"}
    return {"id": item["call_id"], "type": "function", "function": function}


def _content(parts: Sequence[Json]) -> str | list[Json]:
    """Plain text where there is nothing else, which the smallest servers take too."""
    if all(part["type"] == "input_text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return [_part(part) for part in parts]


def _part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": "auto"}}
    if part["type"] == "input_file":
        named = {"filename": part["filename"], "file_data": part["file_data"]}
        return {"type": "file", "file": named}
    return {"type": "text", "text": part["text"]}
