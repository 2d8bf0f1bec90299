"""The token of the page: offered once as JSON and then kept as a session, or as a bearer."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

from adapters.web.errors import TooManyTries, Unauthorized, WrongToken

SESSION = 30 * 86_400
"""Seconds that a session lasts."""
TRIES, TRIES_IN_ALL = 10, 100
"""Wrong tokens in `WINDOW` seconds: of one address, and of all together."""
WINDOW = 60.0


class Login:
    """Tokens are compared in constant time, and each is counted before it is compared, so that no
    answer tells a guesser more than the count allows. Whoever has a session is never counted."""

    def __init__(
        self,
        token: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not token:
            raise ValueError("the page needs a token")
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"ponte session", "sha256")
        # Browsers keep cookies by host and not by port: two Pontes of one machine need two names.
        self.cookie = f"ponte-{self._seal('')[:8]}"
        self._clock = clock
        self._now = now
        self._tries: deque[tuple[float, str]] = deque()

    def admit(self, headers: Mapping[str, str], address: str) -> None:
        """Raises Unauthorized, WrongToken, and TooManyTries where there were too many guesses."""
        if self._has_session(headers):
            return
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        self.check(offered.strip(), address)

    def check(self, offered: str, address: str) -> None:
        """Raises WrongToken, and TooManyTries before the token is even looked at."""
        tries, now, source = self._tries, self._clock(), _source(address)
        while tries and tries[0][0] <= now - WINDOW:
            tries.popleft()
        if len(tries) >= TRIES_IN_ALL or sum(one == source for _, one in tries) >= TRIES:
            raise TooManyTries
        tries.append((now, source))
        if not hmac.compare_digest(offered.encode(errors="replace"), self._token):
            raise WrongToken
        tries.pop()

    def session(self) -> str:
        """What a browser keeps: it ends by itself, and with a new token."""
        said = f"{int(self._now()) + SESSION:x}-{secrets.token_hex(8)}"
        return f"{said}-{self._seal(said)}"

    def _has_session(self, headers: Mapping[str, str]) -> bool:
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        said, _, seal = (kept.value if kept else "").rpartition("-")
        if not hmac.compare_digest(seal.encode(errors="replace"), self._seal(said).encode()):
            return False
        return int(said.partition("-")[0], 16) > self._now()

    def _seal(self, said: str) -> str:
        return hmac.new(self._key, said.encode(errors="replace"), hashlib.sha256).hexdigest()


def _source(address: str) -> str:
    """By what guesses are counted: an IPv6 network of 64 bits is one household's."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address
