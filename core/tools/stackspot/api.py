"""Requests that need the token: authorised, sent again where that is harmless."""

from __future__ import annotations

import json
from typing import Any

from core.http import HttpAnswer, HttpError
from core.tools.stackspot.account import Account
from core.tools.stackspot.clock import Clock
from core.tools.stackspot.error import StackSpotError, worded
from core.tools.stackspot.request import Request
from core.tools.stackspot.retry import persist
from core.tools.stackspot.token import Token
from core.tools.stackspot.wire import Wire

_WITHHELD = "(withheld)"
_UNSENDABLE = (
    "What was to be sent for {subject} is no JSON: it holds half a character, a number that is "
    "none, or a thing that JSON has no form for."
)


class StackSpotApi:
    """Any number of callers share the connections and the token."""

    def __init__(self, account: Account, wire: Wire, clock: Clock) -> None:
        self.token = Token(account, wire, clock)
        self._secret = account.client_secret
        self._wire = wire
        self._clock = clock

    async def repeat(self, request: Request) -> Any:
        """The answer's JSON, after several attempts if need be. Raises StackSpotError."""
        _check(request)
        return await persist(self._send, request, self._clock)

    async def once(self, request: Request) -> Any:
        """The answer's JSON, for who comes again by themselves. Raises StackSpotError."""
        try:
            return await self._send(request)
        except HttpError as error:
            raise worded(error, request) from None

    async def _send(self, request: Request) -> Any:
        """A refused token is replaced once: it may have been revoked, or its time mistaken."""
        token = await self.token.get()
        try:
            return await self._sent(request, token)
        except HttpAnswer as error:
            if error.status != 401:
                raise
        self.token.drop(token)
        return await self._sent(request, await self.token.get())

    async def _sent(self, request: Request, token: str) -> Any:
        try:
            return await self._wire.send(request, token)
        except HttpAnswer as error:
            for secret in filter(None, (token, self._secret)):
                error.text = error.text.replace(secret, _WITHHELD)
            raise


def _check(request: Request) -> None:
    """Raises StackSpotError before anything is sent."""
    try:
        json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise StackSpotError(_UNSENDABLE, code="bad_input", subject=request.subject) from None
