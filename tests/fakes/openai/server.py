"""The fake's HTTP server: which path is what. What it does not know answers 404, Assistants too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.fakes.loopback import serve_on_loopback
from tests.fakes.openai import audio, chat, containers, conversations, responses
from tests.fakes.openai.context import Refused, model_entry, native_answer
from tests.fakes.openai.errors import OpenAIErrorResponse, no_endpoint, unknown_model, wrong_key
from tests.fakes.openai.items import has_lone_surrogate
from tests.fakes.openai.state import Json, Request, State
from tests.fakes.openai.writing import Cut, cut

STATE = web.AppKey("state", State)
BODY = web.RequestKey("body", dict)
UPLOADED = web.RequestKey("uploaded", tuple)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[[State, web.Request], Json]
routes = web.RouteTableDef()


class FakeOpenAI(State):
    """`async with FakeOpenAI() as fake:` serves at `fake.base_url`; its fields are its switches."""

    base_url = ""

    async def start(self, port: int = 0) -> None:
        app = web.Application(middlewares=[_answering], client_max_size=64 * 2**20)
        app[STATE] = self
        app.add_routes(routes)
        with_id = {name: _pass_id(answer) for name, answer in WITH_ID.items()}
        for name, answer in {**WITHOUT_ID, **with_id}.items():
            method, path = name.split()
            app.router.add_route(method, path, _handle(answer))
        self._runner, origin = await serve_on_loopback(app, port, cancels=True)
        self.base_url = f"{origin}/v1"

    async def close(self) -> None:
        self.release.set()
        await self._runner.cleanup()

    async def __aenter__(self) -> FakeOpenAI:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@web.middleware
async def _answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    state = request.app[STATE]
    if request.path.startswith("/_fake/"):
        return await handler(request)
    body = request[BODY] = await _body(request)
    state.requests.append(Request(request.method, request.path.removeprefix("/v1"), body))
    await state.change()
    if request.path.split("/")[2:3] and request.path.split("/")[2] in state.without:
        return no_endpoint()
    if state.hostile and request.path.removeprefix("/v1") in state.hostile_at:
        return await state.hostile(request)
    path = request.path.removeprefix("/v1")
    if state.refuses and request.method == "POST":
        is_checked = path in state.hostile_at or path.endswith("/items")
        if is_checked and (error := state.refuses(body)):
            return error.answer()
    if state.slow:
        await state.release.wait()
    try:
        if has_lone_surrogate(body):
            raise OpenAIErrorResponse(400, "We could not parse the JSON body of your request.")
        if state.ill:
            raise OpenAIErrorResponse(state.ill, "The server is not well.")
        if state.key and request.headers.get("authorization") != f"Bearer {state.key}":
            raise wrong_key()
        return await handler(request)
    except OpenAIErrorResponse as refused:
        state.emit("error", refused.body["error"])
        answer = refused.answer()
        answer.headers["x-request-id"] = "req_refused"
        return answer
    except Refused as refused:
        return refused.error.answer()
    except Cut:
        cut(request)
        return web.Response()


async def _body(request: web.Request) -> Json:
    """JSON as it is; of a form the name and size of its file, whose bytes are kept aside."""
    request[UPLOADED] = ("", b"")
    if not request.can_read_body:
        return {}
    if not request.content_type.startswith("multipart/"):
        body: Json = await request.json()
        return body
    form = await request.post()
    fields: Json = {name: value for name, value in form.items() if isinstance(value, str)}
    file = form.get("file")
    if not isinstance(file, web.FileField):
        return fields
    with file.file as content:
        data = content.read()
    request[UPLOADED] = (file.filename, data)
    return {**fields, "file": file.filename, "size": len(data)}


def _list_models(state: State, request: web.Request) -> Json:
    models = [model_entry(state.kind, name, state.context) for name in state.models]
    if not state.kind:
        models += [model_entry(state.kind, name, state.context) for name in state.speech_models]
    return {"object": "list", "data": models}


def _describe_model(state: State, name: str, request: web.Request) -> Json:
    if name not in state.models:
        raise unknown_model(name)
    return model_entry("", name, 0)


def _retrieve_response(state: State, id: str, request: web.Request) -> Json:
    return responses.retrieve(state, id, request.query.getall("include[]", []))


def _delete_item(state: State, id: str, request: web.Request) -> Json:
    return conversations.delete_item(state, id, request.match_info["item"])


CONVERSATION, CONTAINER = "/v1/conversations/{id}", "/v1/containers/{id}"
WITHOUT_ID: dict[str, Answer] = {
    "GET /v1/models": _list_models,
    "POST /v1/conversations": lambda s, r: conversations.create(s, r[BODY]),
    "POST /v1/containers": lambda s, r: containers.create(s, r[BODY]),
    "GET /_fake/seen": lambda s, r: {"most": s.most},  # for benchmarks/model.py
}
WITH_ID: dict[str, Callable[[State, str, web.Request], Json]] = {
    "GET /v1/models/{id}": _describe_model,
    f"GET {CONVERSATION}": lambda s, id, r: conversations.retrieve(s, id),
    f"POST {CONVERSATION}": lambda s, id, r: conversations.update(s, id, r[BODY]),
    f"DELETE {CONVERSATION}": lambda s, id, r: conversations.delete(s, id),
    f"GET {CONVERSATION}/items": lambda s, id, r: conversations.list_items(s, id, r.query),
    f"POST {CONVERSATION}/items": lambda s, id, r: conversations.add_items(s, id, r[BODY]),
    f"DELETE {CONVERSATION}/items/{{item}}": _delete_item,
    "GET /v1/responses/{id}": _retrieve_response,
    "DELETE /v1/responses/{id}": lambda s, id, r: responses.delete(s, id),
    f"GET {CONTAINER}": lambda s, id, r: containers.retrieve(s, id),
    f"DELETE {CONTAINER}": lambda s, id, r: containers.delete(s, id),
    f"POST {CONTAINER}/files": lambda s, id, r: containers.add_file(s, id, *r[UPLOADED]),
    f"GET {CONTAINER}/files": lambda s, id, r: containers.list_files(s, id, r.query),
}
"""The paths that answer with JSON, by method and path."""


def _pass_id(answer: Callable[[State, str, web.Request], Json]) -> Answer:
    return lambda state, request: answer(state, request.match_info["id"], request)


def _handle(answer: Answer) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer(request.app[STATE], request))

    return handle


@routes.get("/{path:props|api/ps|api/v0/models|v1/model/info}")
@routes.post("/{path:api/show}")
async def _native(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    return native_answer(state.kind, request.path, state.models, state.context, state.loads)


@routes.post("/v1/responses")
async def _respond(request: web.Request) -> web.StreamResponse:
    return await responses.create(request.app[STATE], request, request[BODY])


@routes.post("/v1/chat/completions")
async def _chat(request: web.Request) -> web.StreamResponse:
    return await chat.create(request.app[STATE], request, request[BODY])


@routes.post("/v1/audio/transcriptions")
async def _transcribe(request: web.Request) -> web.Response:
    return await audio.transcribe(request.app[STATE], request[BODY], request[UPLOADED][1])


@routes.get("/v1/containers/{id}/files/{file}/content")
async def _content(request: web.Request) -> web.StreamResponse:
    id, file = request.match_info["id"], request.match_info["file"]
    data, type = containers.content(request.app[STATE], id, file)
    return web.Response(body=data, content_type=type)
