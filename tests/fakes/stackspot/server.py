"""The fake's HTTP server: which path is what, and how an answer goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.fakes.loopback import serve_on_loopback
from tests.fakes.stackspot import rules
from tests.fakes.stackspot.ids import new_ulid
from tests.fakes.stackspot.rules import StackSpotErrorResponse
from tests.fakes.stackspot.script import Json, Run
from tests.fakes.stackspot.state import Execution, Kind, Request, State, Trouble, callback_body

STATE = web.AppKey("state", State)
Serve = Callable[[State, web.Request, Json], Json | str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MISSING_BODY_BYTES = 4_000
"""Bytes that a truncated answer announces and does not send."""


class FakeStackSpot(State):
    """`async with FakeStackSpot() as fake:` serves every host at `fake.url`."""

    url = ""

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=16 * 2**20)
        app[STATE] = self
        app.router.add_post("/{realm}/oidc/oauth/token", _handler("token", _token))
        commands = "/v1/quick-commands"
        app.router.add_post(f"{commands}/create-execution/{{slug}}", _handler("create", _create))
        app.router.add_get(f"{commands}/callback/{{id}}", _handler("status", _callback))
        app.router.add_post("/v1/agent/{agent}/chat", _handler("agent", _chat))
        self._runner, self.url = await serve_on_loopback(app, port, cancels=True)

    async def close(self) -> None:
        self.release.set()
        await self._runner.cleanup()

    async def __aenter__(self) -> FakeStackSpot:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _handler(kind: Kind, serve: Serve) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        body = await _body(request)
        recorded_body = {**body, "client_secret": "…"} if kind == "token" else body
        state.requests.append(Request(kind, request.path, recorded_body, dict(request.query)))
        trouble = state.trouble(kind)
        await state.change()
        if trouble is not None and trouble.how == "hang" and not trouble.after:
            await state.release.wait()
            trouble = None
        if trouble is not None and not trouble.after:
            return await _answer_with_trouble(state, request, trouble, {})
        try:
            if kind != "token":
                rules.check_bearer(state, request)
            answer = serve(state, request, body)
        except StackSpotErrorResponse as refused:
            state.refused.append(f"{kind}: {refused}")
            return refused.answer()
        if trouble is not None:
            return await _answer_with_trouble(state, request, trouble, answer)
        return web.json_response(answer)

    return handle


async def _body(request: web.Request) -> Json:
    if request.content_type == "application/x-www-form-urlencoded":
        return {name: str(value) for name, value in (await request.post()).items()}
    body = await request.json() if request.can_read_body else {}
    return body if isinstance(body, dict) else {"": body}


def _token(state: State, request: web.Request, form: Json) -> Json:
    rules.check_client(state, request.match_info["realm"], request, form)
    answer: Json = {"access_token": state.new_token(), "token_type": "Bearer"}
    return answer if state.lifetime is None else {**answer, "expires_in": state.lifetime}


def _create(state: State, request: web.Request, body: Json) -> Json | str:
    slug, query = request.match_info["slug"], dict(request.query)
    rules.check_create(state, slug, query, body)
    run = state.runs.popleft() if state.runs else Run()
    conversation = query.get("conversation_id") or new_ulid()
    execution = Execution(new_ulid(), slug, body.get("input_data", ""), conversation, run)
    state.executions[execution.id] = execution
    return execution.id if state.bare else {"execution_id": execution.id}


def _callback(state: State, request: web.Request, _: Json) -> Json:
    execution = state.executions.get(request.match_info["id"])
    if execution is None:
        raise StackSpotErrorResponse(
            404, {"type": "NotFound", "code": "FAKE_404", "details": "No execution"}
        )
    if execution.cached is None or rules.is_fresh(request):
        execution.cached = callback_body(execution, execution.look(state.held))
    return execution.cached


def _chat(state: State, request: web.Request, body: Json) -> Json:
    rules.check_question(state, request.match_info["agent"], dict(request.query), body)
    conversation_id = body.get("conversation_id")
    conversation = (
        conversation_id
        if conversation_id and (state.follows or conversation_id in state.conversations)
        else new_ulid()
    )
    message = state.conversations.setdefault(conversation, [])
    message.append(body["user_prompt"])
    return {
        "message": f"({len(message)}) You said: {body['user_prompt']}",
        "conversation_id": conversation,
        "stop_reason": "stop",
        "tokens": {"user": 3, "enrichment": 0, "output": 5},
        "knowledge_source_id": [],
    }


async def _answer_with_trouble(
    state: State, request: web.Request, trouble: Trouble, answer: Json | str
) -> web.StreamResponse:
    if trouble.how == "status":
        return web.json_response(trouble.body, status=trouble.status, headers=trouble.headers)
    if trouble.how == "html":
        return web.Response(text="<html><body>Sign in</body></html>", content_type="text/html")
    if trouble.how == "malformed":
        return web.Response(text='{"progress": {"status": ', content_type="application/json")
    if trouble.how == "hang":
        await state.release.wait()
        return web.json_response(answer)
    if trouble.how == "truncated":
        whole = json.dumps(answer).encode()
        cut = web.StreamResponse(headers={"Content-Length": str(len(whole) + _MISSING_BODY_BYTES)})
        await cut.prepare(request)
        await cut.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    await asyncio.sleep(0)
    return web.Response()
