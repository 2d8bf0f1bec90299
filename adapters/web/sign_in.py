"""Authentication of HTTP requests: by a token or session on the page, by file permissions on the
socket.

A page of another site can make a browser send requests to 127.0.0.1, also under a host name that
points there (DNS rebinding). So the Host must be one of ours, and the Origin our own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from adapters.web import errors
from adapters.web.errors import Unauthorized
from adapters.web.visitor import BrowserSession, Visit, Visitor, owner_visitor
from core.base.errors import NotAllowed, NotStored, Refusal
from core.base.proxies import is_loopback
from core.base.tasks import BoundedDict
from core.domain.messages import Address, Person
from core.domain.records import EndedToken, PageAccount
from core.domain.rights import Action
from core.integrations import has_generated_form
from core.people.page_accounts import (
    API_TOKEN_PREFIX,
    MCP_TOKEN_KIND,
    OwnerName,
    PageAccounts,
    hash_token,
)
from core.people.policy import Policy
from core.people.rules import DEFAULT_RULE, OIDC_PLATFORM, OWNER_ID
from core.people.sign_ins import (
    ABSENT_SECONDS,
    CONFIRMED_SECONDS,
    Identity,
    SignedInPerson,
    is_provider_key,
)

if TYPE_CHECKING:
    from adapters.web.oidc.flow import SignIn
    from adapters.web.setup.gate import SetupGate

WEB_PLATFORM = "web"
"""The platform of people who sign in with a token."""
SESSION_SECONDS = 30 * 86_400
"""How long a session of the owner or of a link lasts."""
PROVIDER_SESSION_SECONDS = 7 * 86_400
"""How long a session of a person of a provider lasts."""
IDLE_SECONDS = 86_400
"""How long a session of a person of a provider lasts without a request."""
RENEWAL_SECONDS = 600
"""The age at which the cookie of such a session is replaced."""
CONFIRMATION_SECONDS = 60.0
"""How often Slack's directory is asked whether a person is still there. Its data is at most four
minutes old, so that they lose the page within five."""
CONFIRMATION_TIMEOUT_SECONDS, CONFIRMATION_PAUSE_SECONDS = 2.0, 10.0
"""How long a request waits for that answer, and the pause before the next question if there is
none."""
MAX_UNCONFIRMED_PEOPLE = 10_000
"""People of whom the last question without an answer is remembered."""
MAX_WRONG_TOKENS_OF_ADDRESS, MAX_WRONG_TOKENS = 10, 100
"""Wrong tokens from one address, and from all, after which no other is compared for a while."""
WRONG_TOKEN_WINDOW_SECONDS = 60.0
"""How long a wrong token counts for these limits."""
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = frozenset({"/", "/login", "/logout", "/guide", "/sign-in"})
"""Paths that need no token, besides those under OPEN_PREFIXES. For HEALTH_PATHS the Host is not
checked either."""
WELL_KNOWN_PREFIX = "/.well-known/"
"""The prefix of the documents by which clients find a server's OAuth (RFC 8414, RFC 9728). There
are none, which every client must be able to read: some take a 401 for a server with OAuth."""
ASSETS_PREFIX = "/page/"
SIGN_IN_PATH = "/sign-in"
"""The path of the ways to sign in. Below it is one for each of them."""
OPEN_PREFIXES = (ASSETS_PREFIX, WELL_KNOWN_PREFIX, f"{SIGN_IN_PATH}/")
COMPATIBLE_PREFIX = "/v1/"
"""The prefix of the paths that follow OpenAI's API, the only ones that an API token opens."""
METRICS_PATH = "/metrics"
"""The only path that a token for metrics opens."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(:\d{1,5})?")
"""A Host header: a name or an address in brackets, with a final dot and a port if it has them."""


@dataclass(frozen=True, slots=True)
class PageSecrets:
    """The owner's `token`, which a person chose unless it `is_generated`, and the random `key` of
    cookies and sign-ins. With the token alone, a cookie would let its reader guess a chosen one."""

    token: str
    key: bytes
    is_generated: bool = False


class SignInMethods:
    """The ways in which people sign in, besides the owner: whether they still can with a provider
    (`is_provider`), and with a link (`has_links`).

    `policy` finds out whether a person of Slack is still there. A session ends if its provider is
    no longer offered.
    """

    def __init__(
        self,
        policy: Policy,
        is_provider: Callable[[str], bool],
        has_links: Callable[[], bool] = lambda: True,
    ) -> None:
        self.is_provider, self.has_links = is_provider, has_links
        self._policy = policy
        self._unanswered = BoundedDict[str, float](MAX_UNCONFIRMED_PEOPLE)
        """By person: until when their platform is not asked about them again, because it did not
        answer."""

    async def has_left(self, person: Person, now: float) -> bool | None:
        """Return whether a person has left their platform; None if it does not answer soon. A
        person of a platform that is not connected any more has left: `departures` has a function
        for each connected platform that tells who left. `place` is the person's place on the page,
        so it names no server or channel of the platform."""
        if person.platform not in self._policy.people.departures:
            return True
        # The platform did not answer a moment ago: visitors do not wait for it again.
        if self._unanswered.get(person.key, 0.0) > now:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(CONFIRMATION_TIMEOUT_SECONDS):
                place = Address(WEB_PLATFORM, "main", person=person.key)
                find_workspace = self._policy.people.workspaces.get(person.platform)
                # "": the platform does not tell which workspace it is.
                if find_workspace and await find_workspace() not in ("", person.workspace):
                    return True  # Ponte is connected to another workspace now
                # 0.0: the time of a membership, which Slack's look-up does not use.
                if (has_left := await self._policy.has_left(person, place, 0.0)) is not None:
                    return has_left
        self._unanswered[person.key] = now + CONFIRMATION_PAUSE_SECONDS
        return None


class TokenAuthentication:
    """Authentication on the port, for requests of the platform "web".

    It checks the tokens of the page's owner and of the people with accounts, and seals sessions.
    The token is needed on loopback too: every user of this machine can connect from there.

    All tokens are compared, in constant time. Wrong tokens are counted, and above the limit nothing
    is answered. A correct token that Ponte generated is accepted even then, since it cannot be
    guessed; people's tokens are always generated. A token that a person chose is counted before it
    is compared, so that an answer gives a guesser no information. Requests with a session are never
    counted.

    Sessions are sealed with a key that is derived from the page's key and the token. A session ends
    with its token, and when its person signs out. Without `methods`, nobody has a session of a
    provider.
    """

    platform = WEB_PLATFORM

    def __init__(
        self,
        host: str,
        page_secrets: PageSecrets,
        url: str,
        people: PageAccounts,
        owner: OwnerName,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`host` is the listen address, `url` the public origin behind a proxy, and `people` the
        accounts."""
        if not page_secrets.token:
            raise ValueError("the page needs a token")
        self._token = page_secrets.token.encode()
        # Nobody can guess a generated token, so the limit of wrong tokens does not hold for it.
        self._is_generated = page_secrets.is_generated
        self._key = hmac.digest(page_secrets.key, b"ponte session " + self._token, "sha256")
        """The key that seals the owner's sessions. Those of other people are derived from it."""
        public = urlsplit(url)
        self.secure = public.scheme == "https"
        """Whether cookies are sent over https only."""
        # Browsers keep cookies by host and not by port: two Pontes of one machine need two names.
        # `__Host-`: no other host of the domain can set it.
        prefix = "__Host-ponte" if self.secure else "ponte"
        self.cookie = f"{prefix}-{_seal(page_secrets.key, '')[:8]}"
        # 0.2.0 had no key of the page. Its sessions are read until they end, 30 days at most, and
        # their cookies tell, as they did there, whether a guess at a chosen token is right: drop
        # them with the next version but one.
        former_key = hmac.digest(self._token, b"ponte session", "sha256")
        self._keys = {self.cookie: self._key, f"ponte-{_seal(former_key, '')[:8]}": former_key}
        """The names of session cookies, and the key that seals each."""
        self._clock = clock  # for the times of wrong tokens
        self._now = now  # for the times in sessions and records, in seconds since the epoch
        self._people = people
        self._owner_name = owner
        self.methods: SignInMethods | None = None
        """Whether people can still sign in with a provider or a link. Set while the page is
        built; None allows links and no provider."""
        self._tries: deque[tuple[float, str]] = deque()
        """Wrong tokens of the last minute: when they came, and from where."""
        self._hosts = {host.lower(), (public.hostname or "").lower()} - {""}
        """The names, besides loopback, that a Host header may have."""
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""
        """The public origin, as in `https://ponte.example.com`; "" without one."""

    async def admit(self, visit: Visit) -> Visitor | None:
        """Authenticate a request. Return who sent it, or None on a path that is open to everybody.

        First the request must come from a page of ours or from no page; then its session or token
        is checked, and whether that kind of token may open the path. Raise the Refusal that the
        visitor reads, or NotStored if accounts cannot be read.
        """
        # Monitoring may ask under any host name, and needs no token.
        if visit.path in HEALTH_PATHS:
            return None
        self.check_site(visit)
        if visit.path in OPEN_PATHS or visit.path.startswith(OPEN_PREFIXES):
            return None
        visitor = await self.find_visitor(visit.headers, self._client_address(visit))
        # Each kind of token opens its own paths and no others. `/mcp` does not come through here.
        is_for_programs = visit.path.startswith(COMPATIBLE_PREFIX)
        if visitor.program == MCP_TOKEN_KIND:
            raise Refusal("This token works only for `/mcp`.")
        if visitor.program == "metrics" and visit.path != METRICS_PATH:
            raise Refusal("This token works only for `/metrics`.")
        if visitor.program == "api" and not is_for_programs:
            raise Refusal("API tokens work only for `/v1`. Use the page for this.")
        if is_for_programs and not visitor.program:
            raise Refusal(
                "Use an API token for `/v1`. Create one on the page or with `ponte people token`."
            )
        return visitor

    def check_site(self, visit: Visit) -> None:
        """Raise ForeignHost or ForeignOrigin unless the request comes from a page of ours or from
        no page."""
        # A site can point a name of its own to this machine (DNS rebinding). A browser would then
        # take Ponte's page for a page of that site.
        host = visit.headers.get("host", "")
        match = _HOST.fullmatch(host.lower())
        name = match[1].strip("[]") if match else ""
        if not name or not (is_loopback(name) or name in self._hosts):
            raise errors.ForeignHost(host=host[:100] or "?")
        # Both schemes: behind a proxy that ends TLS, the browser has https and Ponte gets http.
        origin = visit.headers.get("origin", "").lower()
        own_host = visit.headers.get("host", "").lower()
        if origin and origin not in {f"http://{own_host}", f"https://{own_host}", self.origin}:
            raise errors.ForeignOrigin(origin=origin[:100])
        # `Sec-Fetch-Site` marks requests of other sites that carry no Origin (fetch metadata).
        foreign = visit.headers.get("sec-fetch-site", "") in {"cross-site", "same-site"}
        # Following a link from another site is no attack: it only shows a page.
        walks_in = visit.headers.get("sec-fetch-mode", "") == "navigate" and visit.method == "GET"
        if foreign and not walks_in:  # a form of theirs navigates too, with a POST
            raise errors.ForeignOrigin(origin=origin[:100] or "?")

    async def identify(self, visit: Visit) -> Visitor | None:
        """Return the visitor on an open path, or None for a stranger and for a program. Nothing is
        raised, because such a path answers everybody."""
        try:
            visitor = await self.find_visitor(visit.headers, self._client_address(visit))
        except (Refusal, NotStored, errors.NotConfirmed):
            return None
        return None if visitor.program else visitor

    async def has_session(self, visit: Visit) -> bool:
        """Return whether this browser is signed in, or may be again without its person: the page
        then shows no sign-in form."""
        try:
            return not (await self.find_visitor(visit.headers, "")).program
        # Not known now, or the provider has to confirm the person, which needs no question to them.
        except (NotStored, errors.NotConfirmed, errors.ConfirmAgain):
            return True
        except Refusal:
            return False

    async def sign_in(self, token: str, visit: Visit) -> str:
        """Return the cookie value of a new session for the person whose token this is.

        Raise WrongToken, TooManyTries, NotStored, and Unauthorized for an API token.
        """
        visitor = await self.find_token_visitor(token, self._client_address(visit))
        if visitor.program:
            raise Unauthorized(
                "This is an API token, which only works in programs. Use your sign-in link to "
                "sign in to the page."
            )
        return self.new_session(visitor)

    def _client_address(self, visit: Visit) -> str:
        """Return the address whose wrong tokens are counted. A proxy on this machine appends its
        client's address to X-Forwarded-For."""
        forwarded = visit.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if self.origin and forwarded and is_loopback(visit.peer) else visit.peer

    async def find_visitor(self, headers: Mapping[str, str], address: str) -> Visitor:
        """Return the visitor of a session cookie or a bearer token.

        Raise Unauthorized, WrongToken, TooManyTries after too many wrong tokens, and NotStored.
        """
        # `session.known` is the record of a provider's person. `address`, the client's, serves the
        # limit of wrong tokens.
        session = await self._read_session(headers)
        # A valid seal is not enough: the person may have signed out, or lost their access.
        if session and not await self._is_ended(session.visitor):
            if session.known:
                await self._check_access(session.known)
            # ponte.toml can turn sign-in links off. Then a session that began with the link of an
            # invited person is refused; the owner's is not.
            elif not self._may_use_link(session.visitor):
                raise errors.SessionEnded(errors.LinksOff.sentence)
            # The day of the visit is stored for people with a link, whose account `accounts` has.
            await self._record_visit(session.visitor, session.accounts)
            return session.visitor
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            cookie = self._read_cookie(headers)
            # A cookie that is no longer valid: the page tells why.
            raise await self._why_ended(*cookie) if cookie else Unauthorized()
        return await self.find_token_visitor(token.strip(), address)

    async def find_token_visitor(self, token: str, address: str) -> Visitor:
        """Return the person whose token that is.

        Raise WrongToken; Unauthorized for an expired API token; LinkRenewed and AccessRemoved for a
        token that the owner ended; TooManyTries after too many wrong tokens; NotStored if the token
        is not the owner's and accounts cannot be read.

        First come the tokens that Ponte has generated: nobody can guess one, so no limit of tries
        holds for them. Then the limit is checked, and only after it a token that the owner chose.
        """
        source, unread = address, None  # `unread`: the error with which accounts were not read
        with suppress(ValueError):
            ip = ipaddress.ip_address(address)
            if ip.version == 6:  # a network of 64 bits belongs to one household
                source = str(ipaddress.ip_network((ip, 64), strict=False))
        accounts: Sequence[PageAccount] = ()
        has_api_form = has_generated_form(token.removeprefix(API_TOKEN_PREFIX))
        is_api_token = token.startswith(API_TOKEN_PREFIX) and has_api_form
        # Program tokens are random, so guesses at them need no limit.
        if is_api_token and (program := await self.find_program(hash_token(token))):
            return program
        if has_generated_form(token):
            try:
                accounts = await self._people.list_all()
            except NotStored as error:  # its owner still comes in, to see what is wrong
                unread = error
            visitor = None
            # All tokens are compared, so that the time of the answer does not tell which one fits.
            if hmac.compare_digest(_bytes(token), self._token) and self._is_generated:
                visitor = self._owner
            digest = hash_token(token)
            for account in accounts:
                if hmac.compare_digest(digest, account.token_hash):
                    visitor = self._visitor_of(account)

            if visitor:
                if not self._may_use_link(visitor):
                    raise errors.LinksOff
                await self._record_visit(visitor, accounts)
                return visitor
            with suppress(NotStored):
                if ended_token := await self._people.find_ended_token(digest):
                    raise _ended_refusal(ended_token)
        # Nothing waits from here on: many guesses at once are each counted before the next.
        tries, now = self._tries, self._clock()
        while tries and tries[0][0] <= now - WRONG_TOKEN_WINDOW_SECONDS:
            tries.popleft()
        if (
            len(tries) >= MAX_WRONG_TOKENS
            or sum(one == source for _, one in tries) >= MAX_WRONG_TOKENS_OF_ADDRESS
        ):
            raise errors.TooManyTries
        if not hmac.compare_digest(_bytes(token), self._token):
            self._tries.append((self._clock(), source))
            raise unread or errors.WrongToken()
        return self._owner

    @property
    def _owner(self) -> Visitor:
        return owner_visitor(WEB_PLATFORM, self._owner_name)

    async def find_program(self, digest: str) -> Visitor | None:
        """Return the visitor of the API token with this SHA-256, None if there is none. Raise
        SessionEnded, LinksOff or ConfirmAgain if its person has no access now, NotConfirmed if that
        is not known, Unauthorized, NotStored.

        The author of its messages is marked as a program, so that no part of Ponte lets it decide
        or administer (`core.people.policy`).
        """
        api_token = await self._people.find_api_token(digest)
        if api_token is None:
            return None
        # An expired token is named as such only to who has it.
        if api_token.is_expired(self._now()):
            raise Unauthorized(
                "This API token has expired. Create a new one on the page or with `ponte people`."
            )
        today = self._today()
        # Once a day, so that not each request writes. The date only informs people, so the token
        # works even if the date cannot be stored.
        if api_token.last_use < today:
            with suppress(NotStored):
                await self._people.record_api_token_use(api_token.id, today)
        _, _, id = api_token.person.partition(":")  # a person's key is PLATFORM:ID
        person = self._owner.person if id == OWNER_ID else Person(WEB_PLATFORM, id, name=id)
        # A person of a provider must have signed in not too long ago. A program cannot do that for
        # them, so the limit is longer than that of a session.
        if is_provider_key(api_token.person):
            known = await self._people.find_sign_in(api_token.person)
            if known is None:
                return None
            await self._check_access(known, ABSENT_SECONDS)
            person = known.person
        elif id != OWNER_ID and self.methods and not self.methods.has_links():
            raise errors.LinksOff
        author = replace(person, is_bot=True, api_token=api_token.id)
        return Visitor(author, digest, program=api_token.kind)

    async def measure_session_age(self, visit: Visit) -> float:
        """Return the seconds since this browser signed in; infinity without a session. Raise
        NotStored."""
        session = await self._read_session(visit.headers)
        return self._now() - session.began_at if session else math.inf

    async def describe_session(self, visit: Visit) -> str:
        """Return the session of a person of a provider as `open_session` continues it; "" without
        one. Raise NotStored."""
        session = await self._read_session(visit.headers)
        return _describe(session.label, session.known) if session and session.known else ""

    async def is_owner_token(self, token: str, visit: Visit) -> bool:
        """Return whether a text that somebody typed is the owner's token, or the page's link with
        it. Raise TooManyTries, NotStored."""
        token = unquote(token.strip().rpartition("#token=")[2])
        try:
            visitor = await self.find_token_visitor(token, self._client_address(visit))
        except Unauthorized:
            return False
        return visitor.person.id == OWNER_ID and not visitor.program

    async def is_still_allowed(self, visitor: Visitor) -> bool:
        """Return whether the visitor may still do what they could when they were authenticated.
        Raise NotStored.

        Each kind of visitor has its own proof: a program its token, a person of a provider their
        record there, a person with a link the hash of that link's token. The owner only has
        sessions.
        """
        try:
            if visitor.program:
                return await self.find_program(visitor.token) is not None
            if visitor.provider:
                known = await self._people.find_sign_in(visitor.person.key)
                # A new key has ended the person's sessions, as after a sign-out everywhere.
                if known is None or known.session_key != visitor.token:
                    return False
                await self._check_access(known)
        # NotConfirmed: Slack has not confirmed the person for an hour, so their access is unknown.
        except (Refusal, errors.NotConfirmed):
            return False
        # `until` is the end of the session, 0 for a request without one.
        if await self._is_ended(visitor) or 0 < visitor.until <= self._now():
            return False
        if visitor.provider:
            return True
        if not self._may_use_link(visitor):  # ponte.toml has turned sign-in links off
            return False
        account = await self._find_account(visitor.person.id) if visitor.token else None
        # Without a token: the owner, whose sessions are proof enough.
        return not visitor.token or bool(account and account.token_hash == visitor.token)

    def new_session(self, visitor: Visitor | None = None) -> str:
        """Return the cookie value of a new session of the owner (None), or of a person with a
        sign-in link. The session ends after SESSION_SECONDS, and when the owner's token or the
        person's own is replaced, because both are in the key of the seal.

        The value is a claim and its seal (a keyed hash of the claim): `END-RANDOM-SEAL` for the
        owner, `END-RANDOM-NAME-SEAL` for others. Nothing is stored.
        """
        claim = f"{int(self._now()) + SESSION_SECONDS:x}-{secrets.token_hex(8)}"
        if visitor and visitor.token:
            claim = f"{claim}-{visitor.person.id}"
        return f"{claim}-{_seal((visitor or self._owner).sealing_key(self._key), claim)}"

    async def open_session(self, identity: Identity, session: str = "") -> str:
        """Return the cookie value of a session of a person whom a provider has confirmed.

        `session`: the one that was to be confirmed (`describe_session`). It goes on, and ends as
        early as before: a sign-out ends all its cookies. Raise SessionEnded if it is over or
        somebody else's, NotStored, and the Refusal that the person reads.
        """
        people, key, label = self._people, identity.person.key, session.partition("-")[0]
        known = None
        if session:
            known = await people.find_sign_in(key)
            is_theirs = known and hmac.compare_digest(session, _describe(label, known))
            if not is_theirs or await people.is_session_ended(hash_token(f"{label}-{key}")):
                raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        # A confirmation is no sign-in: the audit log gets no line of it.
        stored = await people.record_sign_in(identity, self._now(), is_new=not session)
        if stored.removed_at:
            raise errors.AccessRemoved
        label = label or f"{int(self._now()):x}.{secrets.token_hex(8)}"
        session_key = (known or stored).session_key  # a newer one ended the session meanwhile
        return self._seal_session(Visitor(stored.person, session_key), f"{label}-{key}")

    async def sign_out_everywhere(self, visitor: Visitor) -> None:
        """End all sessions of a person of a provider. Raise NotStored, NotAllowed for others."""
        if not visitor.provider:
            raise NotAllowed(
                "Your link opens this page. To end all sessions, ask Ponte's owner for a new link."
            )
        await self._people.end_all_sessions(visitor.person, self._now())

    def _seal_session(self, visitor: Visitor, rest: str) -> str:
        """Return the cookie value of a provider's session that ends if it is not used. `rest` is
        the part of the claim after its end, which stays when the cookie is replaced. It begins with
        the time of the sign-in, after which the session lasts PROVIDER_SESSION_SECONDS at most."""
        latest = int(rest.partition(".")[0], 16) + PROVIDER_SESSION_SECONDS
        claim = f"{min(int(self._now()) + IDLE_SECONDS, latest):x}-{rest}"
        return f"{claim}-{_seal(visitor.sealing_key(self._key), claim)}"

    def _may_use_link(self, visitor: Visitor) -> bool:
        return not visitor.token or self.methods is None or self.methods.has_links()

    async def _check_access(
        self, known: SignedInPerson, confirmed_seconds: float = CONFIRMED_SECONDS
    ) -> None:
        """Raise the Refusal that a person of a provider reads if they have no access any more.

        Raise NotConfirmed, NotStored if that is not known. An OIDC provider is asked by way of the
        person's browser, so they have to be confirmed every `confirmed_seconds`.
        """
        now, person, provider = self._now(), known.person, known.provider
        age = now - known.confirmed_at
        if known.removed_at:  # when an operator removed them; 0 if nobody did
            raise errors.SessionEnded(errors.AccessRemoved.sentence)
        if self.methods is None or not self.methods.is_provider(provider):
            raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        if person.platform == OIDC_PLATFORM:
            if age > confirmed_seconds:
                raise errors.ConfirmAgain(provider=provider)
            return
        # A person of Slack: its directory is asked, but not for each request: at most once a minute
        # (CONFIRMATION_SECONDS).
        if age <= CONFIRMATION_SECONDS:
            return
        if has_left := await self.methods.has_left(person, now):
            raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        # None: Slack did not tell. Then the last confirmation counts for an hour
        # (CONFIRMED_SECONDS).
        if has_left is False:
            await self._people.confirm_sign_in(person.key, now)
        elif age > CONFIRMED_SECONDS:
            raise errors.NotConfirmed(provider=provider.capitalize())

    def form_token(self, visitor: Visitor) -> str:
        """Return a value that only pages in this visitor's session have. It proves that a form was
        not sent by another site. It ends with their session and their token."""
        return _seal(visitor.sealing_key(self._key), f"form {visitor.session}")

    async def sign_out(self, visit: Visit) -> None:
        """End the session of this request in all processes. Raise NotStored."""
        cookies, people = _parse_cookies(visit.headers), self._people
        for name in self._keys:  # the browser may have one of 0.2.0 too, also of somebody else
            session = await self._read_session({"cookie": f"{name}={cookies.get(name, '')}"})
            if session and not await people.is_session_ended(session.visitor.session):
                await people.end_session(session.visitor.session, session.until)

    def _read_cookie(self, headers: Mapping[str, str]) -> tuple[str, str, bytes] | None:
        """Return the claim of the session cookie, its seal and the key of the owner's seals; None
        without such a cookie.

        The claim is the end in seconds, a random part and, except for the owner, the person's name.
        """
        cookies = _parse_cookies(headers)
        for name, key in self._keys.items():
            if name in cookies:
                claim, _, seal = cookies[name].rpartition("-")
                return claim, seal, key
        return None

    async def _why_ended(self, claim: str, seal: str, owner_key: bytes) -> Refusal:
        """Return why the session of a cookie is not valid. Somebody who makes up a cookie must not
        find out who has an account, so the seal is compared with those of ended tokens: only a
        cookie that was once valid leads to the reason."""
        name = claim.split("-", 2)[2:]  # a claim is END-RANDOM, with -NAME for all but the owner
        # A person who signed in with a provider is named by their key, and has no ended tokens. All
        # such names get the same sentence, so it needs no check of the seal.
        if name and is_provider_key(name[0]):
            return errors.SessionEnded(PROVIDER_SESSION_ENDED)
        if name:
            person = Person(WEB_PLATFORM, name[0])
            with suppress(NotStored):  # then the reason is left out
                for token in await self._people.list_ended_tokens(person.key):
                    # The session began with the token whose key made this seal.
                    key = Visitor(person, token.token_hash).sealing_key(owner_key)
                    if hmac.compare_digest(_bytes(seal), _bytes(_seal(key, claim))):
                        return errors.SessionEnded(_ended_refusal(token).sentence)
        return errors.SessionEnded()

    async def _read_session(self, headers: Mapping[str, str]) -> BrowserSession | None:
        """Return the session of the cookie if its seal is valid and it has not expired. Raise
        NotStored.

        The seal's key depends on the person, so the claim is parsed before it is trusted, only to
        find whose key it is. A session of a provider ends if it is not used: its cookie is replaced
        by one with a later end, once in RENEWAL_SECONDS. That is the `visitor.cookie`, which the
        response to the request brings to the browser.
        """
        claim, seal, owner_key = self._read_cookie(headers) or ("", "", b"")
        if not claim:
            return None
        # A claim is END-RANDOM, with -NAME for all but the owner. END is in hexadecimal seconds.
        # `accounts` has the account of a person with a sign-in link, whose last visit is recorded.
        visitor, accounts = self._owner, list[PageAccount]()
        name = claim.split("-", 2)[2:]
        known = None
        if name and is_provider_key(name[0]):
            if (known := await self._people.find_sign_in(name[0])) is None:
                return None
            visitor = Visitor(known.person, known.session_key, provider=known.provider)
        elif name:
            account = await self._find_account(name[0])
            if account is None:
                return None
            visitor, accounts = self._visitor_of(account), [account]
        # From here on, the claim is one that Ponte has made.
        expected = _seal(visitor.sealing_key(owner_key), claim)
        if not hmac.compare_digest(_bytes(seal), _bytes(expected)):
            return None
        end, _, rest = claim.partition("-")
        until = int(end, 16)
        if until <= self._now():
            return None
        if known is None:
            visitor = replace(visitor, session=hash_token(claim), until=until)
            return BrowserSession(visitor, until - SESSION_SECONDS, until, accounts)
        # A provider's session: its random part begins with the time of the sign-in, and `rest`
        # names the session, because the end before it changes with each renewal.
        label = rest.partition("-")[0]
        began_at = int(label.partition(".")[0], 16)
        visitor = replace(visitor, session=hash_token(rest), until=until)
        renewed = self._seal_session(visitor, rest)
        if int(renewed.partition("-")[0], 16) - until >= RENEWAL_SECONDS:
            visitor = replace(visitor, cookie=renewed)
        latest = began_at + PROVIDER_SESSION_SECONDS
        return BrowserSession(visitor, began_at, latest, known=known, label=label)

    async def _is_ended(self, visitor: Visitor) -> bool:
        """Return whether the visitor signed out.

        If this cannot be read, the owner is still let in, to see what is wrong; for others
        NotStored is raised.
        """
        if not visitor.session:  # a bearer token came with the request, in place of a cookie
            return False
        try:
            return await self._people.is_session_ended(visitor.session)
        except NotStored:
            if visitor.token:  # the owner has none
                raise
            return False

    async def _find_account(self, name: str) -> PageAccount | None:
        return await self._people.find(Person(WEB_PLATFORM, name).key)

    def _visitor_of(self, account: PageAccount) -> Visitor:
        platform, _, name = account.person.partition(":")
        return Visitor(Person(platform, name, name=name), account.token_hash)

    async def _record_visit(self, visitor: Visitor, accounts: Sequence[PageAccount]) -> None:
        """Store the day of the visit of a person with an account, once a day. `accounts` are those
        that were read already. If it cannot be stored, the visit goes on."""
        today = self._today()
        for account in accounts:
            if account.person == visitor.person.key and account.last_visit < today:
                with suppress(NotStored):
                    await self._people.record_visit(account.person, today)

    def _today(self) -> str:
        return f"{datetime.fromtimestamp(self._now(), UTC):%Y-%m-%d}"


class SocketAuthentication:
    """Authentication on the home's Unix socket: everybody who can open it is the owner."""

    platform = "terminal"
    secure = False
    origin = ""
    cookie = ""

    def __init__(self, owner: OwnerName) -> None:
        self._owner_name = owner

    async def admit(self, visit: Visit) -> Visitor:
        """Return the owner: only their user of this machine can open the socket."""
        return owner_visitor(self.platform, self._owner_name)

    identify = admit

    async def is_still_allowed(self, visitor: Visitor) -> bool:
        """Return True: whoever has opened the socket is the owner."""
        return True

    async def sign_out_everywhere(self, visitor: Visitor) -> None:
        """Do nothing: there are no sessions."""

    async def has_session(self, visit: Visit) -> bool:
        """Return True: everybody on the socket counts as signed in."""
        return True

    async def sign_in(self, token: str, visit: Visit) -> str:
        """Return "": there are no sessions."""
        return ""

    async def sign_out(self, visit: Visit) -> None:
        """Do nothing: there are no sessions."""

    def form_token(self, visitor: Visitor) -> str:
        """Return "": there are no forms."""
        return ""


Authentication = TokenAuthentication | SocketAuthentication
"""A way to find out who sends a request. `cookie` is the name of the session cookie ("" without
sessions), `secure` whether cookies are sent over https only, and `origin` the page's public origin,
without a path ("" if it has none of its own)."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """The visitors of one server. Without a policy, each of them may do everything.

    `locale` and `time_zone` are those of the installation. `setup` says who may use the set-up
    page; None: nobody. `sign_in` signs in with other services' accounts. `voice`: recordings are
    written down.
    """

    auth: Authentication
    policy: Policy | None = None
    locale: str = "en"
    time_zone: str = "UTC"
    setup: SetupGate | None = None
    sign_in: SignIn | None = None
    voice: bool = False

    async def may(self, person: Person, action: Action) -> bool:
        """Return whether the person has the right `action` here."""
        place = self.address_of(person, "main")
        return not self.policy or (await self.policy.may(person, place, action)).allowed

    async def list_models(self, person: Person) -> Sequence[str]:
        """Return the models that a rule of the operator gives this person by name. The model that
        everybody has by default is none of them, because it need not be named."""
        if self.policy is None:
            return ()
        place, models = self.address_of(person, "main"), []
        for name in self.policy.list_names("model"):
            verdict = await self.policy.may(person, place, "model", name)
            if verdict.allowed and verdict.rule != DEFAULT_RULE:
                models.append(name)
        return models

    async def is_operator(self, person: Person) -> bool:
        """Return whether the person is the owner or an admin."""
        return person.id == OWNER_ID or await self.may(person, "administer")

    async def check_is_operator(self, person: Person) -> None:
        """Raise NotAllowed unless the person is the owner or an admin."""
        if self.policy and person.id != OWNER_ID:
            place = self.address_of(person, "main")
            (await self.policy.may(person, place, "administer")).raise_if_denied()

    def address_of(self, person: Person, conversation: str) -> Address:
        """Return the address of the person's conversation of this name. Each person has their own
        conversations, which are not those of the same person on a chat platform."""
        return Address(self.auth.platform, conversation, person=self.address_person(person))

    def address_person(self, person: Person) -> str:
        """Return the `Address.person` of the person's conversations: "" for the owner, the name of
        an account, or the key of a person of a provider, which has colons, unlike a name."""
        if person.id == OWNER_ID:
            return ""
        return person.id if person.platform == self.auth.platform else person.key

    def make_event_key(self, person: Person, key: str) -> str:
        """Return the inbox's key for a client's own `key`, which is unique for each person.

        An owner's key may hold any character but a space. The keys of other people therefore begin
        with their name. The client's key follows the first colon.
        """
        name = self.address_person(person).replace(":", "/")
        return f"{self.auth.platform}{'@' if name else ''}{name}:{key}"

    def owns(self, person: Person, conversation: str) -> bool:
        """Return whether the conversation with this key is the person's. A key ends with `:@` and
        the person, unless it is the owner's."""
        place, _, own = conversation.partition(":@")
        return place.startswith(f"{self.auth.platform}:") and own == self.address_person(person)


PROVIDER_SESSION_ENDED = "Your session has ended. Sign in again."
"""The sentence of `SessionEnded` for people of a provider."""


def _parse_cookies(headers: Mapping[str, str]) -> Mapping[str, str]:
    # The parser of `http.cookies` finds nothing if another program's cookie is odd.
    pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ended_refusal(token: EndedToken) -> Refusal:
    return errors.AccessRemoved() if token.was_removed else errors.LinkRenewed()


def _describe(label: str, known: SignedInPerson) -> str:
    # The hash ends with the person's other sessions (`session_key`).
    return f"{label}-{hash_token(f'{known.person.key} {known.session_key}')}"


def _seal(key: bytes, claim: str) -> str:
    return hmac.new(key, _bytes(claim), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
