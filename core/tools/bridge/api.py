"""The bridge's HTTP: `POST /execute`, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.http import HttpAnswer, HttpClient, HttpDown, HttpError
from core.tools.again import PAUSES, again
from core.tools.bridge.error import BridgeError, worded
from core.tools.remote import AWAY


class BridgeApi:
    """`url` ends in /execute and is a secret: the public code asks nobody who they are.

    `token` is sent as a bearer, for copies that do ask.
    """

    def __init__(
        self, url: str, token: str, http: HttpClient, *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._url = url.rstrip("/")
        self._beside = self._url.removesuffix("/execute")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http
        self._pauses = tuple(pauses)

    async def read(self, tool: str, args: Mapping[str, Any], *, timeout: float = 30.0) -> Any:
        """The result of a tool that changes nothing. Raises BridgeError.

        A connection that breaks, or a host that says the bridge is away, is tried twice more.
        """
        try:
            return await again(lambda: self._execute(tool, args, timeout), _wait_of, self._pauses)
        except HttpError as error:
            raise worded(error, tool) from None

    async def once(self, tool: str, args: Mapping[str, Any], *, timeout: float = 30.0) -> Any:
        """The result of a single attempt, as a write needs it. Raises BridgeError."""
        try:
            return await self._execute(tool, args, timeout)
        except HttpError as error:
            raise worded(error, tool) from None

    async def tools(self, *, timeout: float = 3.0) -> frozenset[str] | None:
        """The names that the bridge says it has; None where it does not say. Raises BridgeError."""
        try:
            body = await self._beside_json("/tools", timeout)
        except HttpAnswer as error:
            if error.status not in (404, 405):
                raise worded(error, "tools") from None
            return None
        except HttpError as error:
            raise worded(error, "tools") from None
        listed = body.get("tools") if isinstance(body, Mapping) else None
        if not isinstance(listed, list):
            return None
        names = [each.get("name") if isinstance(each, Mapping) else each for each in listed]
        return frozenset(name for name in names if isinstance(name, str))

    async def alive(self, *, timeout: float = 3.0) -> None:
        """Raises BridgeError when the bridge does not answer its own health check."""
        try:
            await self._beside_json("/health", timeout)
        except HttpError as error:
            raise worded(error, "health") from None

    async def _execute(self, tool: str, args: Mapping[str, Any], timeout: float) -> Any:
        call = {"tool": tool, "args": dict(args)}
        answer = await self._http.post_json(self._url, call, headers=self._headers, timeout=timeout)
        if not isinstance(answer, Mapping) or "result" not in answer:
            raise BridgeError(
                "The NocoDB bridge answered {tool} without a result.",
                code="bridge_unreadable",
                unsure=True,
                tool=tool,
            )
        return answer["result"]

    async def _beside_json(self, path: str, timeout: float) -> Any:
        return await self._http.get_json(
            f"{self._beside}{path}", headers=self._headers, timeout=timeout
        )


def _wait_of(error: HttpError, pause: float) -> float | None:
    away = isinstance(error, HttpAnswer) and error.status in AWAY
    return pause if away or isinstance(error, HttpDown) else None
