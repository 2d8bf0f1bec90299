"""The token of the page: offered once as JSON, then as a cookie, or as a bearer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

from adapters.web.errors import TooManyTries, Unauthorized, WrongToken

COOKIE = "ponte"
COOKIE_DAYS = 30
TRIES = 10
"""Wrong tokens that one peer may offer in `WINDOW` seconds."""
WINDOW = 60.0
PEERS = 1024


class Login:
    """Compares tokens in constant time. Without a token everybody who came this far is in."""

    def __init__(self, token: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    @property
    def needed(self) -> bool:
        return bool(self._token)

    @property
    def cookie(self) -> str:
        """What the browser keeps: bound to the token, so that a new token ends old sessions."""
        return hmac.new(self._token, b"ponte cookie", hashlib.sha256).hexdigest()

    def admit(self, headers: Mapping[str, str], peer: str) -> None:
        """Raises Unauthorized, or TooManyTries where `peer` guesses."""
        if not self.needed or self._has_cookie(headers):
            return
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        if not self._right(offered.strip()):
            self._count(peer)
            raise WrongToken

    def enter(self, offered: str, peer: str) -> None:
        """`POST /login`: raises WrongToken, or TooManyTries before the token is even looked at."""
        if len(self._recent(peer)) >= TRIES:
            raise TooManyTries
        if self.needed and not self._right(offered):
            self._count(peer)
            raise WrongToken

    def _right(self, offered: str) -> bool:
        return hmac.compare_digest(offered.encode(errors="replace"), self._token)

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return kept is not None and hmac.compare_digest(
            kept.value.encode(errors="replace"), self.cookie.encode()
        )

    def _recent(self, peer: str) -> deque[float]:
        tries = self._wrong.get(peer, deque())
        while tries and tries[0] < self._clock() - WINDOW:
            tries.popleft()
        return tries

    def _count(self, peer: str) -> None:
        tries = self._recent(peer)
        if len(tries) >= TRIES:
            raise TooManyTries
        tries.append(self._clock())
        self._wrong.pop(peer, None)
        self._wrong[peer] = tries
        while len(self._wrong) > PEERS:
            del self._wrong[next(iter(self._wrong))]
