"""Sends a request as it stands, once, and counts what came of it."""

from __future__ import annotations

from typing import Any

from core import metrics
from core.http import HttpAnswer, HttpClient, HttpError
from core.tools.stackspot.request import Request


class Wire:
    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def send(self, request: Request, token: str = "") -> Any:
        """The answer's JSON. Raises HttpError."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        outcome = "lost"
        try:
            answer = await self._http.request_json(
                request.method,
                request.url,
                body=request.body,
                form=request.form,
                params=request.params,
                headers={"Accept": "application/json", **request.headers, **bearer},
                timeout=request.timeout,
            )
            outcome = "answered"
            return answer
        except HttpAnswer as error:
            outcome = str(error.status)
            raise
        except HttpError as error:
            outcome = type(error).__name__
            raise
        finally:
            metrics.stackspot_requests.labels(request.kind, outcome).inc()
