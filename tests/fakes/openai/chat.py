"""`/v1/chat/completions`: create, streamed or not, with the same scripts and failures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence

from aiohttp import web

from tests.fakes.openai import odd
from tests.fakes.openai.errors import OpenAIErrorResponse, unknown_model, unknown_parameter
from tests.fakes.openai.items import new_id, tokens, total
from tests.fakes.openai.schemas import check_choice, check_tools
from tests.fakes.openai.script import Script
from tests.fakes.openai.state import Json, State
from tests.fakes.openai.writing import Cut, EventStream

ROLES = {"system", "developer", "user", "assistant", "tool"}
FIELDS = {
    "frequency_penalty", "max_completion_tokens", "max_tokens", "messages", "metadata", "model",
    "n", "parallel_tool_calls", "prompt_cache_key", "reasoning_effort", "response_format",
    "safety_identifier", "seed",
    "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_p",
    "verbosity",
}  # fmt: skip


async def create(state: State, request: web.Request, body: Json) -> web.StreamResponse:
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    room = _check(state, body, most)
    messages = body["messages"]
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise OpenAIErrorResponse(
            400, "Setting both is not supported.", code="invalid_parameter_combination"
        )
    choice = state.scripts.choose(_last_text(messages))
    script = state.script_within(choice, most, room, body)
    if script.status:
        message = script.message or "The server had an error."
        raise OpenAIErrorResponse(
            script.status, message, code=script.code, param=script.param, headers=script.headers
        )
    usage = _usage(body, script)
    state.used.append((usage["prompt_tokens"], usage["completion_tokens"]))
    async with state.working():
        if body.get("stream"):
            return await _stream(state, request, body, script)
        if script.held:
            await state.release.wait()
        return web.json_response(state.emit("completion", _completion(body, script)))


async def _stream(
    state: State, request: web.Request, body: Json, script: Script
) -> web.StreamResponse:
    stream = EventStream(state, request, "chunk")
    kinds = odd.kinds_of(state.odd, is_chat=True)
    chunks = list(_chunks(body, script))
    if state.call_ids:
        chunks = state.call_ids.change(chunks, script)
    chunks = odd.change_events(chunks, kinds)
    if script.fail == "lost":
        await state.count_failure()
        raise Cut
    if "json" in kinds:
        await stream.send_whole(odd.completion_of(chunks))
        chunks = []
    pieces = 0
    for number, chunk in enumerate(chunks):
        await asyncio.sleep(script.seconds / len(chunks))
        finish = chunk.get("choices") and odd.finish_of(chunk)
        if finish and script.fail == "no_terminal":
            await stream.end()
            return stream.response
        await stream.send(chunk)
        pieces = pieces + odd.is_piece(chunk) if kinds else number
        if script.fail and pieces == script.after and (odd.is_piece(chunk) or not kinds):
            await _fail(state, stream, script)
    await stream.send_done()
    await stream.end()
    return stream.response


async def _fail(state: State, stream: EventStream, script: Script) -> None:
    if script.fail == "no_terminal":
        return
    await state.count_failure()
    if script.fail == "hang":
        await state.release.wait()
        return
    if script.fail in ("error_event", "raised_error", "failed"):
        error = {"code": script.code or "server_error", "message": "The server had an error."}
        await stream.send_text(json.dumps({"error": {**error, "type": "server_error"}}))
    elif script.fail == "garbage":
        await stream.send_text("{not json")
    raise Cut


def _chunks(body: Json, script: Script) -> Iterator[Json]:
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    for field, words in (("content", script.text), ("refusal", script.refusal)):
        steps = range(0, len(words), script.piece)
        deltas += [{field: words[start : start + script.piece]} for start in steps]
    for index, (name, arguments) in enumerate(script.calls):
        function = {"name": name, "arguments": ""}
        call = {"index": index, "id": new_id("call"), "type": "function", "function": function}
        deltas.append({"tool_calls": [call]})
        for start in range(0, len(arguments), script.piece):
            piece = {"arguments": arguments[start : start + script.piece]}
            deltas.append({"tool_calls": [{"index": index, "function": piece}]})
    base: Json = {"id": script.id or new_id("chatcmpl"), "object": "chat.completion.chunk"}
    base |= {"model": script.model or body["model"]}
    base["created"] = int(time.time())
    usage: Json = {"usage": None} if _counts(body) else {}
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield {**base, "choices": [choice], **usage}
    yield {
        **base,
        "choices": [{"index": 0, "delta": {}, "finish_reason": _finish(script)}],
        **usage,
    }
    if usage and script.counted != "no":
        count = _usage(body, script) if script.counted == "yes" else None
        yield {**base, "choices": [], "usage": count}


def _completion(body: Json, script: Script) -> Json:
    calls = [
        {"id": new_id("call"), "type": "function", "function": {"name": n, "arguments": a}}
        for n, a in script.calls
    ]
    message: Json = {"role": "assistant", "content": script.text or None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(script)}
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": script.model or body["model"],
        "choices": [choice],
        "usage": _usage(body, script),
    }


def _finish(script: Script) -> str:
    if script.incomplete:
        return "length" if script.incomplete == "max_output_tokens" else "content_filter"
    return "tool_calls" if script.calls else "stop"


def _counts(body: Json) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _usage(body: Json, script: Script) -> Json:
    message = tokens([script.text, script.refusal, script.calls])
    count = {"input": tokens(body["messages"]), "cached": 0, "output": message}
    count = {**count, "reasoning": 0, **script.usage}
    return {
        "prompt_tokens": count["input"],
        "completion_tokens": count["output"],
        "total_tokens": total(count),
        "prompt_tokens_details": {"cached_tokens": count["cached"]},
        "completion_tokens_details": {"reasoning_tokens": count["reasoning"]},
        **({"cost": count["cost"]} if "cost" in count else {}),
    }


def _check(state: State, body: Json, most: object) -> int:
    """Return how many tokens an answer can have. Raise for a wrong request."""
    for name in body:
        if name not in FIELDS or name in state.rejects:
            raise OpenAIErrorResponse(
                400, f"Unrecognized request argument supplied: {name}", param=name
            )
    if body.get("model") not in state.models:
        raise unknown_model(str(body.get("model")))
    thinks = body.get("reasoning_effort") != "none"
    if thinks and body.get("tools") and body["model"].startswith("gpt-6-luna"):
        raise OpenAIErrorResponse(
            400, "Tools need reasoning_effort 'none'.", param="reasoning_effort"
        )
    if state.blind and "image_url" in json.dumps(body["messages"]):
        raise unknown_parameter("messages[0].content[0].image_url")
    check_tools(body.get("tools", []))
    check_choice(body.get("tool_choice"), body.get("tools", []))
    _check_messages(body["messages"])
    if refusal := state.odd and odd.check_demands(
        body["messages"], odd.kinds_of(state.odd, is_chat=True)
    ):
        raise OpenAIErrorResponse(400, refusal)
    state.check_words(body["messages"])
    state.check_call_ids(body)
    return state.check_size(body.get("tools"), body["messages"], most=most)


def _check_messages(messages: Sequence[Json]) -> None:
    waiting: list[str] = []
    for index, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            raise OpenAIErrorResponse(
                400, f"Invalid value: {role!r}.", param=f"messages[{index}].role"
            )
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                raise OpenAIErrorResponse(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'.",
                    param=f"messages[{index}].role",
                )
            waiting.remove(message["tool_call_id"])
            continue
        _none_waiting(waiting)
        waiting = [call["id"] for call in message.get("tool_calls", ())]
    _none_waiting(waiting)


def _none_waiting(waiting: Sequence[str]) -> None:
    if waiting:
        raise OpenAIErrorResponse(
            400,
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(waiting),
            param="messages",
        )


def _last_text(messages: Sequence[Json]) -> str:
    for message in reversed(messages):
        if message["role"] in ("user", "tool"):
            content = message["content"]
            if isinstance(content, str):
                return content
            return str([part["text"] for part in content if part["type"] == "text"][-1])
    return ""
