"""The access token: OAuth client credentials (RFC 6749, section 4.4), one for everybody."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from urllib.parse import quote

from core.http import HttpUnreadable
from core.tools.stackspot.account import Account
from core.tools.stackspot.clock import Clock
from core.tools.stackspot.request import Request
from core.tools.stackspot.retry import persist
from core.tools.stackspot.wire import Wire

MARGIN = 60.0
"""Seconds before its end that a token is no longer used; half its life for a short one."""
LIFETIME = 1199.0
"""Seconds, where the answer does not tell: a session has 20 minutes
(https://docs.stackspot.com/en/home/account/profile/access-token)."""


class Token:
    """One request for any number of waiters, who also share its failure."""

    def __init__(self, account: Account, wire: Wire, clock: Clock) -> None:
        self._account = account
        self._wire = wire
        self._clock = clock
        self._value = ""
        self._until = -math.inf
        self._asking: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """A token that is good for a while. Raises StackSpotError."""
        if self._value and self._clock.now() < self._until:
            return self._value
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def drop(self, token: str) -> None:
        """It was refused: ask for another one, unless that has happened already."""
        if token == self._value:
            self._value = ""

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _asked(self, task: asyncio.Task[str]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # every waiter may have gone

    async def _ask(self) -> str:
        return await persist(self._send, self._request(), self._clock)

    async def _send(self, request: Request) -> str:
        return self._read(await self._wire.send(request))

    def _request(self) -> Request:
        account = self._account
        realm = quote(account.realm, safe="")
        return Request(
            "token",
            "POST",
            f"{account.auth_url.rstrip('/')}/{realm}/oidc/oauth/token",
            subject=repr(account.realm),
            form={
                "grant_type": "client_credentials",
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            },
        )

    def _read(self, answer: object) -> str:
        token = answer.get("access_token") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not _is_header_text(token):
            raise HttpUnreadable("no token")
        self._value = str(token)
        lifetime = _seconds(answer.get("expires_in"))
        self._until = self._clock.now() + lifetime - min(MARGIN, lifetime / 2)
        return self._value


def _is_header_text(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and token != ""


def _seconds(told: object) -> float:
    """`expires_in`; some servers write the number as a text."""
    try:
        seconds = float(told) if isinstance(told, str | int | float) else LIFETIME
    except (ValueError, OverflowError):
        return LIFETIME
    return seconds if 0 < seconds < math.inf else LIFETIME
