"""Level 3: `POST /chat/completions` with our own history, which every server knows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence

from core.clients.openai import Json, ModelServerFault, read_id
from core.domain.messages import Item
from core.domain.records import ModelEvent, ResponseStarted, RoundRequest, TextDelta, ToolSpec
from core.models.responses import OwnHistory, company
from core.models.server import Cut, Said, Server, Weight
from core.rights.usage import parse_usage
from core.text.text import PieceJoiner

CUTS: dict[str, Cut] = {"length": "length", "content_filter": "filter"}
"""Why an answer ends early, by its `finish_reason`."""


class ChatReading:
    """One stream: pieces of words, and calls in numbered pieces.

    It ends with a `finish_reason`; the tokens may follow in a last chunk.
    """

    def __init__(self) -> None:
        self.over = False
        self.response = ""
        self._text = ""
        self._calls: dict[int, Json] = {}
        self._finish = ""
        self._usage: object = None
        self._model = ""
        self._weight = Weight()
        self._pieces = PieceJoiner()

    def take(self, chunk: Json) -> Sequence[ModelEvent]:
        self._model = str(chunk.get("model") or self._model)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        events: list[ModelEvent] = []
        if not self.response and chunk.get("id"):
            self.response = read_id(chunk)
            events.append(ResponseStarted(self.response))
        if piece := "".join(self._choice(choice) for choice in chunk.get("choices") or ()):
            self._weight.add(len(piece))
            self._text += piece
            if shown := self._pieces.add(piece):
                events.append(TextDelta(shown))
        return events

    def finished(self) -> Said:
        """What was said. Raises Fault when the stream ended before it was."""
        if not self._finish:
            raise ModelServerFault("lost")
        cut = CUTS.get(self._finish, "")
        items = []
        if self._text:
            items.append(Item(kind="message", role="assistant", text=self._text))
        if not cut:
            items += [_call_item(call) for _, call in sorted(self._calls.items())]
        return Said(tuple(items), parse_usage({"usage": self._usage}), cut, self._model)

    def _choice(self, choice: Json) -> str:
        delta = choice.get("delta") or {}
        for number, piece in enumerate(delta.get("tool_calls") or ()):
            self._call_piece(piece, number)
        self._finish = str(choice.get("finish_reason") or self._finish)
        return str(delta.get("content") or "") + str(delta.get("refusal") or "")

    def _call_piece(self, piece: Json, number: int) -> None:
        """Some servers leave the index out, or send null, and send each call whole."""
        index = number if piece.get("index") is None else int(piece["index"])
        new = index not in self._calls
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        name, arguments = str(function.get("name") or ""), str(function.get("arguments") or "")
        self._weight.add(len(name) + len(arguments), int(new))
        call["id"] = call["id"] or str(piece.get("id") or "")
        call["name"] += name
        call["arguments"] += arguments


class Chat:
    level = "chat"
    path = "/chat/completions"

    def __init__(self, server: Server) -> None:
        self._server = server
        # `max_tokens` is deprecated at OpenAI, and not known to its reasoning models (types of the
        # openai package); others know nothing else.
        self.most = "max_completion_tokens" if server.official else "max_tokens"
        self._history = OwnHistory(server, self)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        return self._history.ask(ask)

    async def body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        server, model = self._server, ask.model or self._server.options.model
        input = await server.input.items(items, preface=ask.preface, company=company(ask))
        body: Json = {
            "model": model,
            "messages": messages(ask.instructions, input),
            "stream": True,
            "stream_options": {"include_usage": True},
            **server.names(ask),
        }
        if ask.tools:
            body["tools"] = [self._tool(tool) for tool in ask.tools]
        if effort := self._effort(ask, model):
            body["reasoning_effort"] = effort
        return body

    def reading(self) -> ChatReading:
        return ChatReading()

    def _effort(self, ask: RoundRequest, model: str) -> str:
        """gpt-6-luna takes function tools over this API only without reasoning (its model page)."""
        if ask.tools and model.startswith("gpt-6"):
            return "none"
        return ask.effort or self._server.options.effort or ("low" if self._server.official else "")

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


def _call_item(call: Json) -> Item:
    return Item(
        kind="call",
        call_id=read_id(call) or f"call_{call['name']}",
        name=call["name"],
        arguments=call["arguments"] or "{}",
    )


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
