"""Level 3: `POST /chat/completions`, which every server offers. Ponte sends the history itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from core.clients.openai import Json, ModelServerFault, read_id
from core.domain.messages import Item
from core.domain.records import ModelEvent, ResponseStarted, RoundRequest, TextDelta, ToolSpec
from core.models.model_server import AnswerSize, CutReason, ModelAnswer, ModelServer
from core.models.responses_api import OwnHistoryRounds, has_other_speakers
from core.rights.usage import parse_usage
from core.text.text import PieceJoiner

CUT_BY_FINISH_REASON: dict[str, CutReason] = {"length": "length", "content_filter": "filter"}
"""Why an answer ends early, by its `finish_reason`."""


class ChatCompletionsReader:
    """Reads one stream of chat completion chunks: pieces of text, and calls in numbered pieces.

    The stream ends with a `finish_reason`. The token counts may follow in one more chunk.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self.response = ""
        self._text = ""
        self._calls: dict[int, Json] = {}
        self._finish = ""
        self._usage: object = None
        self._model = ""
        self._weight = AnswerSize()
        self._pieces = PieceJoiner()

    def read_event(self, chunk: Json) -> Sequence[ModelEvent]:
        """Add a chunk and return the events that it causes. Raise Fault for an oversized answer."""
        self._model = str(chunk.get("model") or self._model)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        events: list[ModelEvent] = []
        if not self.response and chunk.get("id"):
            self.response = read_id(chunk)
            events.append(ResponseStarted(self.response))
        if piece := "".join(self._read_choice(choice) for choice in chunk.get("choices") or ()):
            self._weight.add(len(piece))
            self._text += piece
            if shown := self._pieces.add(piece):
                events.append(TextDelta(shown))
        return events

    def read_answer(self) -> ModelAnswer:
        """Return the whole answer. Raise Fault if the stream ended before the answer did."""
        if not self._finish:
            raise ModelServerFault("lost")
        cut = CUT_BY_FINISH_REASON.get(self._finish, "")
        items = []
        if self._text:
            items.append(Item(kind="message", role="assistant", text=self._text))
        if not cut:
            items += [_call_item(call) for _, call in sorted(self._calls.items())]
        return ModelAnswer(tuple(items), parse_usage({"usage": self._usage}), cut, self._model)

    def _read_choice(self, choice: Json) -> str:
        delta = choice.get("delta") or {}
        for number, piece in enumerate(delta.get("tool_calls") or ()):
            self._read_call_piece(piece, number)
        self._finish = str(choice.get("finish_reason") or self._finish)
        return str(delta.get("content") or "") + str(delta.get("refusal") or "")

    def _read_call_piece(self, piece: Json, number: int) -> None:
        index = number if piece.get("index") is None else int(piece["index"])
        # Some servers leave the index out, or send null, and send each call whole.
        new = index not in self._calls
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        name, arguments = str(function.get("name") or ""), str(function.get("arguments") or "")
        self._weight.add(len(name) + len(arguments), int(new))
        call["id"] = call["id"] or str(piece.get("id") or "")
        call["name"] += name
        call["arguments"] += arguments


class ChatCompletionsApi:
    """Asks rounds over `POST /chat/completions`."""

    level = "chat"
    path = "/chat/completions"

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        # `max_tokens` is deprecated at OpenAI, and not known to its reasoning models (types of the
        # openai package); others know nothing else.
        self.max_tokens_field = "max_completion_tokens" if server.official else "max_tokens"
        self._history = OwnHistoryRounds(server, self)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask one round and yield its events. Raise ModelError."""
        return self._history.ask(ask)

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""
        server, model = self._server, ask.model or self._server.options.model
        input = await server.input.build_items(
            items, preface=ask.preface, with_names=has_other_speakers(ask)
        )
        body: Json = {
            "model": model,
            "messages": build_chat_messages(ask.instructions, input),
            "stream": True,
            "stream_options": {"include_usage": True},
            **server.user_pseudonyms(ask),
        }
        if ask.tools:
            body["tools"] = [self._tool_definition(tool) for tool in ask.tools]
        if effort := self._reasoning_effort(ask, model):
            body["reasoning_effort"] = effort
        return body

    def new_reader(self) -> ChatCompletionsReader:
        """Return a reader for one stream."""
        return ChatCompletionsReader()

    def _reasoning_effort(self, ask: RoundRequest, model: str) -> str:
        """Return the reasoning effort to send, or "" for the server's default.

        gpt-6-luna accepts function tools over this API only without reasoning (its model page).
        """
        if ask.tools and model.startswith("gpt-6"):
            return "none"
        return self._server.reasoning_effort(ask)

    def _tool_definition(self, tool: ToolSpec) -> Json:
        function: Json = {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        if self._server.is_strict(tool):
            function["strict"] = True
        return {"type": "function", "function": function}


def build_chat_messages(instructions: str, input: Sequence[Json]) -> list[Json]:
    """Return chat messages for Responses input.

    The only system message comes first, because some servers' chat templates demand that.
    """
    chat: list[Json] = [{"role": "system", "content": instructions}]
    for item in input:
        if item["type"] == "message" and item["role"] == "user":
            chat.append({"role": "user", "content": _message_content(item["content"])})
        elif item["type"] == "message":
            chat.append({"role": "assistant", "content": item["content"]})
        elif item["type"] == "function_call":
            _last_tool_calls(chat).append(_tool_call(item))
        elif item["type"] == "function_call_output":
            output = {"tool_call_id": item["call_id"], "content": item["output"]}
            chat.append({"role": "tool", **output})
    return chat


def _call_item(call: Json) -> Item:
    return Item(
        kind="call",
        call_id=read_id(call) or f"call_{call['name']}",
        name=call["name"],
        arguments=call["arguments"] or "{}",
    )


def _last_tool_calls(chat: list[Json]) -> list[Json]:
    """Return the `tool_calls` of the last assistant message; add that message if it is missing."""
    if chat[-1]["role"] != "assistant":
        chat.append({"role": "assistant", "content": None})
    calls: list[Json] = chat[-1].setdefault("tool_calls", [])
    return calls


def _tool_call(item: Json) -> Json:
    """Return a call as a message holds it."""
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _message_content(parts: Sequence[Json]) -> str | list[Json]:
    """Return plain text if there is only text, because small servers accept nothing else."""
    if all(part["type"] == "input_text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return [_content_part(part) for part in parts]


def _content_part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": "auto"}}
    if part["type"] == "input_file":
        named = {"filename": part["filename"], "file_data": part["file_data"]}
        return {"type": "file", "file": named}
    return {"type": "text", "text": part["text"]}
