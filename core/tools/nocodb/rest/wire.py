"""How NocoDB is asked: with which token, how often, how fast, and on whose behalf."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.http import HttpClient, HttpError
from core.tools.again import Sleep, again
from core.tools.nocodb.rest.error import NocoError, busy_wait, wait_of, worded
from core.tools.nocodb.rest.pace import Pace, interval_of
from core.tools.nocodb.rest.records import Json

AT_ONCE = 8
"""Calls under way at the same time."""

_BY = re.compile(r"[^\w:.@-]", re.ASCII)


@dataclass(slots=True)
class Drifts:
    count: int = 0


class Wire:
    """What reads is asked again where NocoDB is down, busy or failing. What writes is sent once,
    and again only where NocoDB said that it is too busy, and so did nothing."""

    def __init__(
        self,
        url: str,
        token: str,
        http: HttpClient,
        *,
        pauses: Sequence[float],
        timeout: float,
        clock: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.drifts = Drifts()
        """How often NocoDB said that what we named is not there."""
        self._token = token
        self._http = http
        self._pauses = tuple(pauses)
        self._timeout = timeout
        self._sleep = sleep
        self._pace = Pace(interval_of(url), clock, sleep)
        self._gate = asyncio.Semaphore(AT_ONCE)

    def patient(self, pauses: Sequence[float]) -> Wire:
        """The same line, on which these pauses lie between two attempts."""
        other = copy.copy(self)
        other._pauses = tuple(pauses)
        return other

    async def read(self, path: str, asked: Mapping[str, str] | None = None) -> Any:
        """Raises NocoError."""
        try:
            return await again(
                lambda: self._ask("GET", path, params=asked), wait_of, self._pauses, self._sleep
            )
        except HttpError as error:
            raise self._worded(error) from None

    async def write(self, method: str, path: str, body: Sequence[Json], by: str) -> Any:
        """Raises NocoError when nothing was written, WriteUnsure when it may have been."""
        try:
            return await again(
                lambda: self._ask(method, path, body=body, by=by),
                busy_wait, self._pauses, self._sleep,
            )  # fmt: skip
        except HttpError as error:
            raise self._worded(error).of_write() from None

    def _worded(self, error: HttpError) -> NocoError:
        problem = worded(error)
        self.drifts.count += problem.drift
        return problem

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Sequence[Json] | None = None,
        by: str = "",
    ) -> Any:
        headers = {"xc-token": self._token}
        if by:
            headers["User-Agent"] = f"ponte-bot ({_BY.sub('', by)[:100]})"
        async with self._gate:
            await self._pace.take()
            return await self._http.request_json(
                method, f"{self.url}{path}", body=body, params=params or None, headers=headers,
                timeout=self._timeout,
            )  # fmt: skip
