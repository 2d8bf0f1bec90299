"""For machines that watch us: alive, ready, metrics; and for the page: what is connected."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from adapters.web.guard import visit_of
from adapters.web.site import Json, Site
from core.errors import NotFound


class HealthRoutes:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/status", self.status, methods=["GET"]),
        ]

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """503 while a configured platform or the model fails; why, only to whom the door trusts."""
        parts = await self._site.readiness()
        failing = [part for part in parts if part.state == "failing"]
        ready = self._site.taking and not failing
        body: Json = {"status": "ready" if ready else "not ready"}
        if self._site.door.trusts(visit_of(request.scope)):
            body["reasons"] = [{"name": part.name, "words": part.words} for part in failing]
            if not self._site.taking:
                body["reasons"].append({"name": "ponte", "words": "stopping"})
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        if self._site.metrics is None:
            raise NotFound(what="metrics")
        return PlainTextResponse(
            self._site.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def status(self, request: Request) -> Response:
        parts = await self._site.board.health()
        return JSONResponse(
            {"parts": [{"name": p.name, "state": p.state, "words": p.words} for p in parts]}
        )
