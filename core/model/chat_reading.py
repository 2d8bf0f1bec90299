"""What is said in a chat completions stream: pieces of words, and calls in numbered pieces."""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Item
from core.model.said import Cut, Said, Weight
from core.openai import Fault, Json
from core.records import Began, Delta, ModelEvent
from core.tokens import usage_of

CUTS: dict[str, Cut] = {"length": "length", "content_filter": "filter"}


class ChatReading:
    """One stream. It ends with a `finish_reason`; the tokens may follow in a last chunk."""

    def __init__(self) -> None:
        self.over = False
        self.response = ""
        self._text = ""
        self._calls: dict[int, Json] = {}
        self._finish = ""
        self._usage: Json = {}
        self._weight = Weight()

    def take(self, chunk: Json) -> Sequence[ModelEvent]:
        if chunk.get("usage"):
            self._usage = {"usage": chunk["usage"], "model": chunk.get("model", "")}
        events: list[ModelEvent] = []
        if not self.response and chunk.get("id"):
            self.response = str(chunk["id"])
            events.append(Began(self.response))
        if piece := "".join(self._choice(choice) for choice in chunk.get("choices") or ()):
            self._weight.add(len(piece))
            self._text += piece
            events.append(Delta(piece))
        return events

    def finished(self) -> Said:
        """What was said. Raises Fault when the stream ended before it was."""
        if not self._finish:
            raise Fault("lost")
        cut = CUTS.get(self._finish, "")
        items = []
        if self._text:
            items.append(Item(kind="message", role="assistant", text=self._text))
        if not cut:
            items += [_call(call) for _, call in sorted(self._calls.items())]
        return Said(tuple(items), usage_of(self._usage), cut)

    def _choice(self, choice: Json) -> str:
        delta = choice.get("delta") or {}
        for number, piece in enumerate(delta.get("tool_calls") or ()):
            self._call_piece(piece, number)
        self._finish = str(choice.get("finish_reason") or self._finish)
        return str(delta.get("content") or "") + str(delta.get("refusal") or "")

    def _call_piece(self, piece: Json, number: int) -> None:
        """Some servers leave the index out and send each call whole."""
        index = int(piece.get("index", number))
        new = index not in self._calls
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        name, arguments = str(function.get("name") or ""), str(function.get("arguments") or "")
        self._weight.add(len(name) + len(arguments), int(new))
        call["id"] = call["id"] or str(piece.get("id") or "")
        call["name"] += name
        call["arguments"] += arguments


def _call(call: Json) -> Item:
    return Item(
        kind="call",
        call_id=call["id"] or f"call_{call['name']}",
        name=call["name"],
        arguments=call["arguments"] or "{}",
    )
