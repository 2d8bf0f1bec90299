"""Who may come in: our own page and scripts with the token, or anyone on our Unix socket.

A page of another site can make a browser send requests to 127.0.0.1, also under a name of its own
that it lets point there (DNS rebinding): the Host must be one of ours, and an Origin our own.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Protocol
from urllib.parse import urlsplit

from adapters.web.errors import ForeignHost, ForeignOrigin, TooManyTries, Unauthorized, WrongToken
from core.errors import Refusal
from core.messages import Person

SESSION = 30 * 86_400
"""Seconds that a session lasts."""
TRIES, TRIES_IN_ALL = 10, 100
"""Wrong tokens in `WINDOW` seconds: of one address, and of all together."""
WINDOW = 60.0
HEALTH = frozenset({"/healthz", "/readyz"})
OPEN = frozenset({"/", "/login"})
"""Paths without the token, as all under `ASSETS`; for `HEALTH` the Host is not looked at either."""
ASSETS = "/page/"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as it came in: header names in lower case, `peer` the client's address."""

    path: str
    headers: Mapping[str, str]
    peer: str = ""
    method: str = "GET"


class Authentication(Protocol):
    @property
    def platform(self) -> str: ...

    @property
    def person(self) -> Person: ...

    @property
    def secure(self) -> bool:
        """Whether cookies are for https alone."""
        ...

    def admit(self, visit: Visit) -> bool:
        """Whether they have shown that they are the owner; False where nobody needs to.

        Raises the Refusal that the visitor reads.
        """
        ...

    def trusts(self, visit: Visit) -> bool:
        """Whether this visitor may read what is wrong with us."""
        ...

    def enter(self, token: str, visit: Visit) -> tuple[str, str]:
        """The cookie, name and value, of who offers this token.

        Raises WrongToken, TooManyTries.
        """
        ...


class Login:
    """The page's token: offered once as JSON and then kept as a session, or as a bearer.

    Tokens are compared in constant time, and each is counted before it is compared, so that no
    answer tells a guesser more than the count allows. Whoever has a session is never counted.
    """

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


class SocketAuthentication:
    """The home's Unix socket: whoever can open it is the operator."""

    platform = "terminal"
    person = Person("terminal", "owner")
    secure = False

    def admit(self, visit: Visit) -> bool:
        return True

    def trusts(self, visit: Visit) -> bool:
        return True

    def enter(self, token: str, visit: Visit) -> tuple[str, str]:
        return "", ""


class TokenAuthentication:
    """`host` is the listen address, `url` the public origin where a proxy stands in front.

    The token is asked for on loopback too: every user of this machine can come from there.
    """

    platform = "web"
    person = Person("web", "owner")

    def __init__(self, host: str, token: str, url: str = "") -> None:
        public = urlsplit(url)
        self._login = Login(token)
        self.secure = public.scheme == "https"
        self._hosts = {host.lower(), (public.hostname or "").lower()} - {""}
        self._origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""

    def admit(self, visit: Visit) -> bool:
        if visit.path in HEALTH:
            return False
        self._own_host(visit)
        self._own_origin(visit)
        if visit.path in OPEN or visit.path.startswith(ASSETS):
            return False
        self._login.admit(visit.headers, self._address(visit))
        return True

    def trusts(self, visit: Visit) -> bool:
        try:
            self._login.admit(visit.headers, self._address(visit))
        except Refusal:
            return False
        return True

    def enter(self, token: str, visit: Visit) -> tuple[str, str]:
        self._login.check(token, self._address(visit))
        return self._login.cookie, self._login.session()

    def _address(self, visit: Visit) -> str:
        """Whose guesses these are: a proxy on this machine writes last for whom it asks."""
        forwarded = visit.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if self._origin and forwarded and is_loopback(visit.peer) else visit.peer

    def _own_host(self, visit: Visit) -> None:
        host = visit.headers.get("host", "")
        name = _name(host)
        if not name or not (is_loopback(name) or name in self._hosts):
            raise ForeignHost(host=host[:100] or "?")

    def _own_origin(self, visit: Visit) -> None:
        """`Sec-Fetch-Site` tells of cross-site requests that carry no Origin (fetch metadata)."""
        origin = visit.headers.get("origin", "").lower()
        host = visit.headers.get("host", "").lower()
        if origin and origin not in {f"http://{host}", f"https://{host}", self._origin}:
            raise ForeignOrigin(origin=origin[:100])
        foreign = visit.headers.get("sec-fetch-site", "") in {"cross-site", "same-site"}
        walks_in = visit.headers.get("sec-fetch-mode", "") == "navigate" and visit.method == "GET"
        if foreign and not walks_in:  # a form of theirs navigates too, with a POST
            raise ForeignOrigin(origin=origin[:100] or "?")


def is_loopback(host: str) -> bool:
    """`host` is a name or address of this machine alone (RFC 6761 for `localhost`)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _source(address: str) -> str:
    """By what guesses are counted: an IPv6 network of 64 bits is one household's."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address


def _name(host: str) -> str:
    """The name in a Host header, without port, brackets and final dot; empty when malformed."""
    found = _HOST.fullmatch(host.lower())
    return found.group(1).strip("[]") if found else ""
