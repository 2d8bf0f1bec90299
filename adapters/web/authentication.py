"""Who may come in, and as whom: our own page and scripts with the owner's token or with that of
somebody who has a name here, or anyone on our Unix socket.

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from typing import Protocol
from urllib.parse import urlsplit

from adapters.web.errors import ForeignHost, ForeignOrigin, TooManyTries, Unauthorized, WrongToken
from core.domain.errors import NotStored, Refusal
from core.domain.messages import Person
from core.domain.records import PageAccount
from core.integrations.settings import has_generated_form
from core.ports.rights import PageAccounts
from core.rights.policy import OWNER_ID
from core.store.page_accounts import hash_token

SESSION = 30 * 86_400
"""Seconds that a session lasts."""
TRIES, TRIES_IN_ALL = 10, 100
"""Wrong tokens in `WINDOW` seconds: of one address, and of all together."""
WINDOW = 60.0
HEALTH = frozenset({"/healthz", "/readyz"})
OPEN = frozenset({"/", "/login", "/logout"})
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


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, as they have shown; `token` is the hash of what let them in, "" for an owner;
    `session` that of their session, "" for a bearer."""

    person: Person
    token: str = ""
    session: str = ""

    @property
    def can_end(self) -> bool:
        """Whether they may be let in no more while this process runs."""
        return bool(self.token or self.session)


@dataclass(frozen=True, slots=True)
class Session:
    """What a browser's cookie says; `until` is a time in seconds of the epoch."""

    visitor: Visitor
    until: float
    accounts: Sequence[PageAccount]

    @property
    def id(self) -> str:
        return self.visitor.session


class Authentication(Protocol):
    @property
    def platform(self) -> str: ...

    @property
    def secure(self) -> bool:
        """Whether cookies are for https alone."""
        ...

    @property
    def origin(self) -> str:
        """Where the page is for others, without a path; "" where it is only where it is asked."""
        ...

    @property
    def cookie(self) -> str:
        """The name of a session's cookie; "" where there are none."""
        ...

    async def admit(self, visit: Visit) -> Visitor | None:
        """Who that is; None where nobody needs to show it.

        Raises the Refusal that the visitor reads, NotStored where it cannot be known.
        """
        ...

    async def known(self, visit: Visit) -> Visitor | None:
        """Who that is, on a path where nobody needs to show it; None for a stranger."""
        ...

    async def still(self, visitor: Visitor) -> bool:
        """Whether what let them in would do so now. Raises NotStored."""
        ...

    async def enter(self, token: str, visit: Visit) -> str:
        """The value of the cookie of who offers this token.

        Raises WrongToken, TooManyTries, NotStored.
        """
        ...

    async def leave(self, visit: Visit) -> None:
        """End the session that this request comes with, if any, everywhere. Raises NotStored."""
        ...


class Login:
    """The tokens of the page's owner and of its people: offered once as JSON and then kept as a
    session, or as a bearer.

    Tokens are compared in constant time, all of them. Wrong ones are counted, and no more than the
    count allows are answered. A right token that Ponte generated is let in even then, since no
    number of guesses finds it; those of people always are generated. A token that a person chose is
    counted before it is compared, so that no answer tells a guesser more. Whoever has a session is
    never counted. A session is sealed with a key that is made of the token: it ends with it, and
    when its person signs out.
    """

    def __init__(
        self,
        token: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        people: PageAccounts | None = None,
        platform: str = "web",
        *,
        is_generated: bool = False,
    ) -> None:
        """`is_generated`: Ponte made the owner's token."""
        if not token:
            raise ValueError("the page needs a token")
        self._token = token.encode()
        self._is_generated = is_generated
        self._key = hmac.digest(self._token, b"ponte session", "sha256")
        # Browsers keep cookies by host and not by port: two Pontes of one machine need two names.
        self.cookie = f"ponte-{_seal(self._key, '')[:8]}"
        self._clock = clock
        self._now = now
        self._people = people
        self._owner = Visitor(Person(platform, OWNER_ID))
        self._tries: deque[tuple[float, str]] = deque()

    async def admit(self, headers: Mapping[str, str], address: str) -> Visitor:
        """Raises Unauthorized, WrongToken, TooManyTries where there were too many guesses, and
        NotStored."""
        if visitor := await self._of_session(headers):
            return visitor
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        return await self.check(offered.strip(), address)

    async def check(self, offered: str, address: str) -> Visitor:
        """Return whose token that is.

        Raises WrongToken; TooManyTries where too many wrong ones came; NotStored where the token is
        not the owner's and the others' cannot be read.
        """
        source, unread = _source(address), None
        accounts: Sequence[PageAccount] = ()
        if has_generated_form(offered):
            try:
                accounts = await self._people.list_all() if self._people else ()
            except NotStored as error:  # its owner still comes in, to see what is wrong
                unread = error
            if found := self._find_generated(offered, accounts):
                await self._saw(found, accounts)
                return found
        # Nothing waits from here on: many guesses at once are each counted before the next.
        self._check_tries(source)
        if not hmac.compare_digest(_bytes(offered), self._token):
            self._tries.append((self._clock(), source))
            raise unread or WrongToken()
        return self._owner

    def _find_generated(self, offered: str, accounts: Sequence[PageAccount]) -> Visitor | None:
        found = None
        if hmac.compare_digest(_bytes(offered), self._token) and self._is_generated:
            found = self._owner
        digest = hash_token(offered)
        for account in accounts:
            if hmac.compare_digest(digest, account.token_hash):
                found = self._visitor(account)
        return found

    async def still(self, visitor: Visitor) -> bool:
        if await self._is_ended(visitor):
            return False
        account = await self._account(visitor.person.id) if visitor.token else None
        return not visitor.token or bool(account and account.token_hash == visitor.token)

    def session(self, visitor: Visitor | None = None) -> str:
        """What a browser keeps: it ends by itself, and with a new token."""
        said = f"{int(self._now()) + SESSION:x}-{secrets.token_hex(8)}"
        if visitor and visitor.token:
            said = f"{said}-{visitor.person.id}"
        return f"{said}-{_seal(self._key_of(visitor or self._owner), said)}"

    async def leave(self, headers: Mapping[str, str]) -> None:
        """End the session that these headers bring. Raises NotStored."""
        session = await self._read_session(headers)
        if session and self._people and not await self._people.is_session_ended(session.id):
            await self._people.end_session(session.id, session.until)

    async def _of_session(self, headers: Mapping[str, str]) -> Visitor | None:
        session = await self._read_session(headers)
        if session is None or await self._is_ended(session.visitor):
            return None
        await self._saw(session.visitor, session.accounts)
        return session.visitor

    async def _read_session(self, headers: Mapping[str, str]) -> Session | None:
        """Return the session of the cookie where its seal is ours and its time is not over.

        Raises NotStored.
        """
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return None
        said, _, seal = (kept.value if kept else "").rpartition("-")
        if not said:
            return None
        visitor, accounts = self._owner, list[PageAccount]()
        if name := said.split("-", 2)[2:]:
            account = await self._account(name[0])
            if account is None:
                return None
            visitor, accounts = self._visitor(account), [account]
        if not hmac.compare_digest(_bytes(seal), _bytes(_seal(self._key_of(visitor), said))):
            return None
        until = int(said.partition("-")[0], 16)
        if until <= self._now():
            return None
        return Session(replace(visitor, session=hash_token(said)), until, accounts)

    async def _is_ended(self, visitor: Visitor) -> bool:
        """Whether they signed out. An owner comes in while that cannot be read, to see what is
        wrong: nothing else is to be had then. Raises NotStored."""
        if not visitor.session or self._people is None:
            return False
        try:
            return await self._people.is_session_ended(visitor.session)
        except NotStored:
            if visitor.token:
                raise
            return False

    async def _account(self, name: str) -> PageAccount | None:
        if self._people is None:
            return None
        return await self._people.find(Person(self._owner.person.platform, name).key)

    def _visitor(self, account: PageAccount) -> Visitor:
        platform, _, name = account.person.partition(":")
        return Visitor(Person(platform, name, name=name), account.token_hash)

    def _key_of(self, visitor: Visitor) -> bytes:
        """Who reads the hashes alone cannot make sessions: the owner's token is in it, too."""
        if not visitor.token:
            return self._key
        return hmac.digest(self._key, visitor.token.encode(), "sha256")

    async def _saw(self, visitor: Visitor, accounts: Sequence[PageAccount]) -> None:
        """Kept once a day."""
        today = f"{datetime.fromtimestamp(self._now(), UTC):%Y-%m-%d}"
        for account in accounts:
            if account.person == visitor.person.key and account.last_visit < today and self._people:
                with suppress(NotStored):
                    await self._people.record_visit(account.person, today)

    def _check_tries(self, source: str) -> None:
        """Raises TooManyTries."""
        tries, now = self._tries, self._clock()
        while tries and tries[0][0] <= now - WINDOW:
            tries.popleft()
        if len(tries) >= TRIES_IN_ALL or sum(one == source for _, one in tries) >= TRIES:
            raise TooManyTries


class SocketAuthentication:
    """The home's Unix socket: whoever can open it is the operator."""

    platform = "terminal"
    secure = False
    origin = ""
    cookie = ""
    _visitor = Visitor(Person("terminal", OWNER_ID))

    async def admit(self, visit: Visit) -> Visitor:
        return self._visitor

    async def known(self, visit: Visit) -> Visitor:
        return self._visitor

    async def still(self, visitor: Visitor) -> bool:
        return True

    async def enter(self, token: str, visit: Visit) -> str:
        return ""

    async def leave(self, visit: Visit) -> None:
        return None


class TokenAuthentication:
    """`host` is the listen address, `url` the public origin where a proxy stands in front; `token`
    its owner's, `people` who else may come in.

    The token is asked for on loopback too: every user of this machine can come from there.
    """

    platform = "web"

    def __init__(
        self,
        host: str,
        token: str,
        url: str = "",
        people: PageAccounts | None = None,
        *,
        is_generated: bool = False,
    ) -> None:
        """`is_generated`: Ponte made the owner's token."""
        public = urlsplit(url)
        self._login = Login(token, people=people, platform=self.platform, is_generated=is_generated)
        self.cookie = self._login.cookie
        self.secure = public.scheme == "https"
        self._hosts = {host.lower(), (public.hostname or "").lower()} - {""}
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""

    async def admit(self, visit: Visit) -> Visitor | None:
        if visit.path in HEALTH:
            return None
        self._own_host(visit)
        self._own_origin(visit)
        if visit.path in OPEN or visit.path.startswith(ASSETS):
            return None
        return await self._login.admit(visit.headers, self._address(visit))

    async def known(self, visit: Visit) -> Visitor | None:
        try:
            return await self._login.admit(visit.headers, self._address(visit))
        except (Refusal, NotStored):
            return None

    async def still(self, visitor: Visitor) -> bool:
        return await self._login.still(visitor)

    async def enter(self, token: str, visit: Visit) -> str:
        return self._login.session(await self._login.check(token, self._address(visit)))

    async def leave(self, visit: Visit) -> None:
        await self._login.leave(visit.headers)

    def _address(self, visit: Visit) -> str:
        """Whose guesses these are: a proxy on this machine writes last for whom it asks."""
        forwarded = visit.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if self.origin and forwarded and is_loopback(visit.peer) else visit.peer

    def _own_host(self, visit: Visit) -> None:
        host = visit.headers.get("host", "")
        name = _name(host)
        if not name or not (is_loopback(name) or name in self._hosts):
            raise ForeignHost(host=host[:100] or "?")

    def _own_origin(self, visit: Visit) -> None:
        """`Sec-Fetch-Site` tells of cross-site requests that carry no Origin (fetch metadata)."""
        origin = visit.headers.get("origin", "").lower()
        host = visit.headers.get("host", "").lower()
        if origin and origin not in {f"http://{host}", f"https://{host}", self.origin}:
            raise ForeignOrigin(origin=origin[:100])
        foreign = visit.headers.get("sec-fetch-site", "") in {"cross-site", "same-site"}
        walks_in = visit.headers.get("sec-fetch-mode", "") == "navigate" and visit.method == "GET"
        if foreign and not walks_in:  # a form of theirs navigates too, with a POST
            raise ForeignOrigin(origin=origin[:100] or "?")


def _seal(key: bytes, said: str) -> str:
    return hmac.new(key, _bytes(said), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


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
