"""Ids that servers give to calls, one form for each kind of server, and what becomes of a request
whose ids are not those that the server gave."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.openai import odd
from tests.fakes.openai.items import new_id
from tests.fakes.openai.script import Script

Json = dict[str, Any]
Form = Literal[
    "kimi",
    "kimi, from 0",
    "mistral",
    "call",
    "vllm",
    "constant",
    "constant count",
    "none",
    "long",
    "signature",
]
LONGEST = 64
COUNTED = re.compile(r"(?:functions\.)?([\w-]+):(\d+)")


@dataclass
class CallIds:
    """Gives ids in one form, and reads those of a request.

    "kimi" counts through the conversation, "kimi, from 0" begins again in each answer. "constant"
    and "constant count" give one id to all calls, "none" gives none, "long" ids are longer than
    OpenAI takes, and "signature" puts a whole signature into each (LiteLLM).
    """

    form: Form
    given: list[tuple[str, str]] = field(default_factory=list)
    """The calls of all answers: their arguments and ids."""
    count: int = 0
    """Calls in the last request."""

    def new_ids(self, script: Script) -> list[str]:
        """Return the ids of the calls of one answer."""
        ids = [self._new_id(name, number) for number, (name, _) in enumerate(script.calls)]
        pairs = zip(script.calls, ids, strict=True)
        self.given += [(arguments, id) for (_, arguments), id in pairs]
        return ids

    def _new_id(self, name: str, number: int) -> str:
        digits = new_id("")[1:]
        return {
            "kimi": f"functions.{name}:{self.count + number}",
            "kimi, from 0": f"functions.{name}:{number}",
            "mistral": f"a{digits[-8:]}",
            "call": f"call_{digits}",
            "vllm": f"chatcmpl-tool-{digits.zfill(32)}",
            "constant": "call_0",
            "constant count": f"{name}:0",
            "none": "",
            "long": f"call_{digits.zfill(100)}",
            "signature": f"call_{digits}__thought__{'c2ln' * 500}",
        }[self.form]

    def change(self, events: list[Json], script: Script) -> list[Json]:
        """Give the calls of an answer their ids."""
        ids = self.new_ids(script)
        for piece in odd.call_pieces(events):
            if "id" in piece:
                piece["id"] = ids[piece["index"]]
        items = [item for item in odd.items_in(events) if item["type"] == "function_call"]
        values = list(dict.fromkeys(item["call_id"] for item in items))
        for item in items:
            item["call_id"] = ids[values.index(item["call_id"])]
            item["id"] = item["id"] if item["call_id"] else ""
        return events

    def check(self, body: Json) -> str:
        """Return what the server says of the ids of a request; "" if it takes them."""
        calls = sent_calls(body)
        ids = [id for id, _, _ in calls]
        self.count = len(calls)
        if len(set(ids)) < len(ids) or not all(ids):
            return "Duplicate tool call ids."
        if long := [id for id in ids if len(id) > LONGEST]:
            return f"Invalid 'input[1].call_id': string too long, length {len(long[0])}."
        for id in ids if self.form == "mistral" else ():
            if not re.fullmatch("[a-zA-Z0-9]{9}", id):
                return f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."
        value = dict[str, str]()
        for arguments, id in self.given:
            if id not in value.values() and 0 < len(id) <= LONGEST:
                value[arguments] = id
        for id, _, arguments in calls:
            if value.get(arguments, id) != id:
                return f"Unknown tool call id {id}."
        return ""

    def loses_way(self, body: Json) -> bool:
        """Return whether the model writes markup in place of a call. Kimi's template shows it the
        ids, and after two calls in another form it follows them (llxprt-code issue 713)."""
        matches = [(COUNTED.fullmatch(id), name) for id, name, _ in sent_calls(body)]
        last, wrong = -1, 0
        for match, name in matches:
            wrong += match is None or match[1] != name
            wrong += self.form == "kimi" and match is not None and int(match[2]) <= last
            last = int(match[2]) if match else last
        return "kimi" in self.form and wrong > 0 and len(matches) > 1


def sent_calls(body: Json) -> list[tuple[str, str, str]]:
    """Return the calls in a request of either API: their ids, names and arguments."""
    if "messages" in body:
        calls = [call for each in body["messages"] for call in each.get("tool_calls", ())]
        return [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls]
    items = [item for item in body.get("input") or () if isinstance(item, dict)]
    calls = [item for item in items if item.get("type") == "function_call"]
    return [(c["call_id"], c["name"], c["arguments"]) for c in calls]


def write_markup(calls: Sequence[tuple[str, str]]) -> str:
    """Return calls as Kimi writes them into the text."""
    begin, middle, end = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
    text = "".join(
        f"{begin}functions_{name}_1{middle}{json.dumps(arguments)}{end}"
        for name, arguments in calls
    )
    return f"<|tool_calls_section_begin|>{text}<|tool_calls_section_end|>"
