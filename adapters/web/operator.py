"""What only the Unix socket serves, for the operator's commands: threads, the page's address."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web.errors import BadRequest
from adapters.web.intake import Body, read_json
from adapters.web.site import Operator


class Forgetting(Body):
    """One of the two, by key: `slack:T1:C1:1718.9`, `slack:T1:U1`."""

    conversation: str = ""
    person: str = ""


class OperatorRoutes:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/operator/link", self.link, methods=["GET"]),
            Route("/operator/threads", self.threads, methods=["GET"]),
            Route("/operator/threads/{conversation:path}", self.thread, methods=["GET"]),
            Route("/operator/forget", self.forget, methods=["POST"]),
        ]

    async def link(self, request: Request) -> Response:
        return JSONResponse({"link": self._operator.link()})

    async def threads(self, request: Request) -> Response:
        return JSONResponse({"threads": [dict(one) for one in await self._operator.threads()]})

    async def thread(self, request: Request) -> Response:
        return JSONResponse(dict(await self._operator.thread(request.path_params["conversation"])))

    async def forget(self, request: Request) -> Response:
        asked = await read_json(request, Forgetting)
        if bool(asked.conversation) == bool(asked.person):
            raise BadRequest(why="give a conversation or a person")
        done = await self._operator.forget(conversation=asked.conversation, person=asked.person)
        return JSONResponse(dict(done))
