"""The fake's HTTP server: which path is what. What it does not know answers 404, Assistants too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.fakes.openai import chat, containers, control, conversations, responses
from tests.fakes.openai.context import Refused, model_entry, native_answer
from tests.fakes.openai.errors import OpenAIErrorResponse, no_endpoint, unknown_model, wrong_key
from tests.fakes.openai.items import has_lone_surrogate
from tests.fakes.openai.state import Json, Request, State
from tests.fakes.openai.writing import Cut, cut

STATE = web.AppKey("state", State)
BODY = web.RequestKey("body", dict)
UPLOADED = web.RequestKey("uploaded", tuple)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
routes = web.RouteTableDef()


class FakeOpenAI(State):
    """`async with FakeOpenAI() as fake:` serves at `fake.base_url`; its fields are its switches."""

    base_url = ""

    async def start(self, port: int = 0) -> None:
        app = web.Application(middlewares=[_answering], client_max_size=64 * 2**20)
        app[STATE] = self
        app.add_routes(routes)
        control.add_routes(app, self)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

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
    file = (await request.post()).get("file")
    if not isinstance(file, web.FileField):
        return {}
    data = file.file.read()
    request[UPLOADED] = (file.filename, data)
    return {"file": file.filename, "size": len(data)}


@routes.get("/v1/models")
async def _models(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    models = [model_entry(state.kind, name, state.context) for name in state.models]
    return web.json_response({"object": "list", "data": models})


@routes.get("/v1/models/{id}")
async def _one_model(request: web.Request) -> web.StreamResponse:
    name = request.match_info["id"]
    if name not in request.app[STATE].models:
        raise unknown_model(name)
    return web.json_response(model_entry("", name, 0))


@routes.get("/{path:props|api/ps|api/v0/models|v1/model/info}")
@routes.post("/{path:api/show}")
async def _native(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    return native_answer(state.kind, request.path, state.models, state.context, state.loads)


@routes.post("/v1/conversations")
async def _new_conversation(request: web.Request) -> web.StreamResponse:
    return web.json_response(conversations.create(request.app[STATE], request[BODY]))


@routes.get("/v1/conversations/{id}")
async def _conversation(request: web.Request) -> web.StreamResponse:
    return web.json_response(conversations.retrieve(request.app[STATE], request.match_info["id"]))


@routes.post("/v1/conversations/{id}")
async def _update(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    return web.json_response(conversations.update(request.app[STATE], id, request[BODY]))


@routes.delete("/v1/conversations/{id}")
async def _delete(request: web.Request) -> web.StreamResponse:
    return web.json_response(conversations.delete(request.app[STATE], request.match_info["id"]))


@routes.get("/v1/conversations/{id}/items")
async def _items(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    return web.json_response(conversations.list_items(request.app[STATE], id, request.query))


@routes.post("/v1/conversations/{id}/items")
async def _add_items(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    return web.json_response(conversations.add_items(request.app[STATE], id, request[BODY]))


@routes.delete("/v1/conversations/{id}/items/{item}")
async def _delete_item(request: web.Request) -> web.StreamResponse:
    id, item = request.match_info["id"], request.match_info["item"]
    return web.json_response(conversations.delete_item(request.app[STATE], id, item))


@routes.post("/v1/responses")
async def _respond(request: web.Request) -> web.StreamResponse:
    return await responses.create(request.app[STATE], request, request[BODY])


@routes.get("/v1/responses/{id}")
async def _response(request: web.Request) -> web.StreamResponse:
    include = request.query.getall("include[]", [])
    id = request.match_info["id"]
    return web.json_response(responses.retrieve(request.app[STATE], id, include))


@routes.delete("/v1/responses/{id}")
async def _forget_response(request: web.Request) -> web.StreamResponse:
    return web.json_response(responses.delete(request.app[STATE], request.match_info["id"]))


@routes.post("/v1/chat/completions")
async def _chat(request: web.Request) -> web.StreamResponse:
    return await chat.create(request.app[STATE], request, request[BODY])


@routes.post("/v1/containers")
async def _new_container(request: web.Request) -> web.StreamResponse:
    return web.json_response(containers.create(request.app[STATE], request[BODY]))


@routes.get("/v1/containers/{id}")
async def _container(request: web.Request) -> web.StreamResponse:
    return web.json_response(containers.retrieve(request.app[STATE], request.match_info["id"]))


@routes.delete("/v1/containers/{id}")
async def _forget_container(request: web.Request) -> web.StreamResponse:
    return web.json_response(containers.delete(request.app[STATE], request.match_info["id"]))


@routes.post("/v1/containers/{id}/files")
async def _add_file(request: web.Request) -> web.StreamResponse:
    name, data = request[UPLOADED]
    id = request.match_info["id"]
    return web.json_response(containers.add_file(request.app[STATE], id, name, data))


@routes.get("/v1/containers/{id}/files")
async def _files(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    return web.json_response(containers.list_files(request.app[STATE], id, request.query))


@routes.get("/v1/containers/{id}/files/{file}/content")
async def _content(request: web.Request) -> web.StreamResponse:
    id, file = request.match_info["id"], request.match_info["file"]
    data, type = containers.content(request.app[STATE], id, file)
    return web.Response(body=data, content_type=type)
