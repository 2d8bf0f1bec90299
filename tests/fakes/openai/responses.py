"""`/v1/responses`: create, streamed or not, with every way to fail; retrieve and delete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tests.fakes.openai import code, odd
from tests.fakes.openai.errors import (
    OpenAIErrorResponse,
    conversation_locked,
    unknown_model,
    unknown_parameter,
    zero_retention,
)
from tests.fakes.openai.events import events_of, output_of, response_of, usage_of
from tests.fakes.openai.items import check_pairs, stored_items, text_to_answer, tokens
from tests.fakes.openai.schemas import check_choice, check_tools
from tests.fakes.openai.script import Script
from tests.fakes.openai.state import Json, State
from tests.fakes.openai.writing import Cut, EventStream

FIELDS = {
    "background", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier",
    "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_p",
    "truncation",
}  # fmt: skip


class Creation:
    """One `POST /v1/responses`."""

    def __init__(self, state: State, body: Json) -> None:
        self._state = state
        self._body = body
        self._check()
        if state.no_retention and body.get("conversation"):
            raise zero_retention()
        self._conversation = "" if state.forgets else str(body.get("conversation") or "")
        self._lock()
        self._input = stored_items(body.get("input", []))
        before = state.conversation(self._conversation).items if self._conversation else []
        self._context = [*before, *self._input]
        check_pairs(self._context)
        state.check_words(self._context)
        state.check_call_ids(body)
        texts, most = (body.get("instructions"), body.get("tools")), body.get("max_output_tokens")
        room = state.context
        if body.get("truncation") != "auto":
            room = state.check_size(*texts, self._context, most=most)
        self._container = code.container_of(state, body)
        choice = self._choose_script(text_to_answer(self._context))
        self.script = state.script_within(choice, most, room, body)
        self._response: Json = {}
        self._ended = False

    def _choose_script(self, said: str) -> Script:
        if self._container is None:
            return self._state.scripts.choose(said)
        return self._state.code.choose(said, Script(text="done"))

    def _check(self) -> None:
        state, body = self._state, self._body
        for name in body:
            if name not in FIELDS or name in state.rejects:
                raise unknown_parameter(name)
        if "model" not in body:
            raise OpenAIErrorResponse(400, "Missing required parameter: 'model'.", param="model")
        if body["model"] not in state.models:
            raise unknown_model(body["model"])
        if "input" not in body:
            raise OpenAIErrorResponse(400, "Missing required parameter: 'input'.", param="input")
        if body.get("conversation") and body.get("previous_response_id"):
            raise OpenAIErrorResponse(
                400, "Mutually exclusive parameters.", param="previous_response_id"
            )
        check_tools(body.get("tools", []))
        check_choice(body.get("tool_choice"), body.get("tools", []))
        if state.blind and "input_image" in json.dumps(body["input"]):
            raise OpenAIErrorResponse(400, "Invalid value: 'input_image'.", param="input")

    def _lock(self) -> None:
        name = self._conversation
        if not name:
            return
        self._state.conversation(name)
        if self._state.locked.get(name, 0) > 0:
            self._state.locked[name] -= 1
            raise conversation_locked()
        if name in self._state.busy:
            raise conversation_locked()

    async def run(self, request: web.Request) -> web.StreamResponse:
        script = self.script
        if script.status:
            message = script.message or "The server had an error."
            raise OpenAIErrorResponse(
                script.status, message, code=script.code, param=script.param, headers=script.headers
            )
        token_count = tokens(self._context)
        output = self._output()
        if self._state.call_ids:
            self._state.call_ids.change([{"response": {"output": output}}], script)
        self._response = response_of(self._body, script, token_count, output)
        usage = usage_of(script, token_count, output)
        self._state.used.append((usage["input_tokens"], usage["output_tokens"]))
        self._response["created_at"] = int(self._state.now())
        self._state.busy.add(self._conversation)
        try:
            async with self._state.working():
                return await self._answer(request)
        finally:
            self._state.busy.discard(self._conversation)

    def _output(self) -> list[Json]:
        if self._container is None:
            return output_of(self.script)
        runs = code.runs_of(self._body, self.script)
        ran, cited = code.items_of(self._container, runs, text_to_answer(self._context))
        return output_of(self.script, ran, cited)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._body.get("stream"):
            if self.script.held:
                await self._state.release.wait()
            await asyncio.sleep(self.script.seconds)
            self._commit("commit")
            return web.json_response(self._state.emit("response", self._visible_response()))
        stream = EventStream(self._state, request, "event")
        if self._body.get("store", True):
            self._state.responses[self._response["id"]] = {
                **self._response,
                "status": "in_progress",
                "output": [],
                "usage": None,
            }
        try:
            await self._stream(stream)
        except (Cut, asyncio.CancelledError, ConnectionError):
            self._commit(self.script.on_disconnect)
            raise
        return stream.response

    def _visible_response(self) -> Json:
        return code.filter_outputs(self._response, self._body.get("include") or ())

    async def _stream(self, stream: EventStream) -> None:
        script, pieces = self.script, 0
        if script.held:
            await self._state.release.wait()
        kinds = odd.kinds_of(self._state.odd, is_chat=False)
        events = list(events_of(self._visible_response(), script.piece))
        events = odd.change_events(events, kinds)
        pause = script.seconds / len(events)
        if script.fail == "lost":
            await self._state.count_failure()
            raise Cut
        if "json" in kinds:
            await stream.send_whole(self._visible_response())
            events = []
        for event in events:
            await asyncio.sleep(pause)
            terminal = event is events[-1]
            if terminal:
                self._commit("commit")
            if terminal and script.fail == "no_terminal":
                break
            await stream.send(event)
            is_piece = odd.is_piece(event) if kinds else event["type"].endswith(".delta")
            pieces += is_piece
            if script.fail and pieces == script.after and is_piece:
                await self._fail(stream, script, event.get("sequence_number", 0))
        self._commit("commit")
        await stream.end()

    async def _fail(self, stream: EventStream, script: Script, number: int) -> None:
        if script.fail in ("no_terminal", "failed"):
            return
        await self._state.count_failure()
        if script.fail == "drop":
            raise Cut
        if script.fail == "hang":
            await self._state.release.wait()
            return
        if script.fail == "garbage":
            await stream.send_text("{not json")
            raise Cut
        code = script.code or "server_error"
        error: Json = {"code": code, "message": "The server had an error.", "param": None}
        if script.fail == "raised_error":
            await stream.send_text(json.dumps({"error": {**error, "type": "server_error"}}))
        else:
            await stream.send({"type": "error", **error, "sequence_number": number + 1})
        self._commit("nothing")
        raise Cut

    def _commit(self, what: str) -> None:
        response, state = self._response, self._state
        if self._ended:
            return
        self._ended = True
        if what == "nothing":
            state.responses.pop(response["id"], None)
            return
        if self._body.get("store", True):
            state.responses[response["id"]] = response
        conversation = state.conversations.get(self._conversation)
        if what == "commit" and conversation and response["status"] != "failed":
            conversation.items += self._input + response["output"]


async def create(state: State, request: web.Request, body: Json) -> web.StreamResponse:
    return await Creation(state, body).run(request)


def retrieve(state: State, id: str, include: Sequence[str] = ()) -> Json:
    if id not in state.responses:
        raise OpenAIErrorResponse(404, f"Response with id '{id}' not found.")
    return state.emit("response", code.filter_outputs(state.responses[id], include))


def delete(state: State, id: str) -> Any:
    retrieve(state, id)
    del state.responses[id]
    return {"id": id, "object": "response", "deleted": True}
