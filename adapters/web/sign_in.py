"""Authentication of HTTP requests: by a token or session on the page, by file permissions on the
socket.

A page of another site can make a browser send requests to 127.0.0.1, also under a host name that
points there (DNS rebinding). So the Host must be one of ours, and the Origin our own.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from adapters.web import errors
from adapters.web.errors import Unauthorized
from adapters.web.visitor import (
    PROVIDER_SESSION_ENDED,
    WEB_PLATFORM,
    Access,
    LinkVisitor,
    OwnerVisitor,
    ProgramVisitor,
    ProviderVisitor,
    SessionCookie,
    SignInMethods,
    Visit,
    Visitor,
    ended_refusal,
    find_kind,
    seal,
    to_bytes,
)
from core.base.errors import NotAllowed, NotStored, Refusal
from core.base.proxies import is_loopback
from core.domain.messages import Address, Person
from core.domain.records import PageAccount
from core.domain.rights import Action
from core.integrations import has_generated_form
from core.people.page_accounts import API_TOKEN_PREFIX, OwnerName, PageAccounts, hash_token
from core.people.policy import Policy
from core.people.rules import DEFAULT_RULE, OWNER_ID
from core.people.sign_ins import Identity

if TYPE_CHECKING:
    from adapters.web.oidc.flow import SignIn
    from adapters.web.setup.gate import SetupGate

RENEWAL_SECONDS = 600
"""The age at which the cookie of a provider's session is replaced."""
MAX_WRONG_TOKENS_OF_ADDRESS, MAX_WRONG_TOKENS = 10, 100
"""Wrong tokens from one address, and from all, after which no other is compared for a while."""
WRONG_TOKEN_WINDOW_SECONDS = 60.0
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
OPEN_PATHS = frozenset({"/", "/login", "/logout", "/guide", "/sign-in"})
"""For HEALTH_PATHS the Host is not checked either."""
WELL_KNOWN_PREFIX = "/.well-known/"
"""The prefix of the documents by which clients find a server's OAuth (RFC 8414, RFC 9728). There
are none, which every client must be able to read: some take a 401 for a server with OAuth."""
ASSETS_PREFIX = "/page/"
SIGN_IN_PATH = "/sign-in"
OPEN_PREFIXES = (ASSETS_PREFIX, WELL_KNOWN_PREFIX, f"{SIGN_IN_PATH}/")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(:\d{1,5})?")
"""A Host header: a name or an address in brackets, with a final dot and a port if it has them."""


@dataclass(frozen=True, slots=True)
class PageSecrets:
    """The owner's `token`, which a person chose unless it `is_generated`, and the random `key` of
    cookies and sign-ins. With the token alone, a cookie would let its reader guess a chosen one."""

    token: str
    key: bytes
    is_generated: bool = False


class TokenAuthentication:
    """Authentication on the port, for requests of the platform "web". Checks the tokens of the
    page's owner and of the people with accounts, and seals sessions. The token is needed on
    loopback too: every user of this machine can connect from there.

    All tokens are compared, in constant time. Wrong tokens are counted, and above the limit nothing
    is answered. A correct token that Ponte generated is accepted even then, since it cannot be
    guessed; people's tokens are always generated. A token that a person chose is counted before it
    is compared, so that an answer gives a guesser no information. Requests with a session are never
    counted.

    Sessions are sealed with a key that is derived from the page's key and the token. A session ends
    with its token, and when its person signs out.
    """

    platform = WEB_PLATFORM

    def __init__(
        self,
        host: str,
        page_secrets: PageSecrets,
        url: str,
        people: PageAccounts,
        owner: OwnerName,
        methods: SignInMethods | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        # `host` is the listen address, `url` the public origin behind a proxy, `people` the
        # accounts.
        if not page_secrets.token:
            raise ValueError("the page needs a token")
        self._token = page_secrets.token.encode()
        # Nobody can guess a generated token, so the limit of wrong tokens does not hold for it.
        self._is_generated = page_secrets.is_generated
        self._key = hmac.digest(page_secrets.key, b"ponte session " + self._token, "sha256")
        public = urlsplit(url)
        self.secure = public.scheme == "https"
        # Browsers keep cookies by host and not by port: two Pontes of one machine need two names.
        # `__Host-`: no other host of the domain can set it.
        prefix = "__Host-ponte" if self.secure else "ponte"
        self.cookie = f"{prefix}-{seal(page_secrets.key, '')[:8]}"
        # 0.2.0 had no key of the page. Its sessions are read until they end, 30 days at most, and
        # their cookies tell, as they did there, whether a guess at a chosen token is right: drop
        # them with the next version but one.
        former_key = hmac.digest(self._token, b"ponte session", "sha256")
        self._keys = {self.cookie: self._key, f"ponte-{seal(former_key, '')[:8]}": former_key}
        self._clock = clock  # for the times of wrong tokens
        self.access = Access(people, owner, now, methods)
        self._tries: deque[tuple[float, str]] = deque()
        self._hosts = {host.lower(), (public.hostname or "").lower()} - {""}
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""
        """The public origin, as in `https://ponte.example.com`; "" without one."""

    async def admit(self, visit: Visit) -> Visitor | None:
        """First the request must come from a page of ours or from no page; then its session or
        token is checked, and whether that kind of token may open the path. Raise the Refusal that
        the visitor reads, or NotStored if accounts cannot be read."""
        # Monitoring may ask under any host name, and needs no token.
        if visit.path in HEALTH_PATHS:
            return None
        self.check_site(visit)
        if visit.path in OPEN_PATHS or visit.path.startswith(OPEN_PREFIXES):
            return None
        visitor = await self.find_visitor(visit.headers, self._client_address(visit))
        # `/mcp` does not come through here.
        visitor.check_path(visit.path)
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
        # `Sec-Fetch-Site` marks requests of other sites that carry no Origin (fetch metadata). It
        # protects what a browser adds by itself, the cookie. Programs built on Electron send it,
        # too, with a token, which no site can send.
        is_bearer = visit.headers.get("authorization", "").lower().startswith("bearer ")
        is_marked = visit.headers.get("sec-fetch-site", "") in {"cross-site", "same-site"}
        foreign = is_marked and not (is_bearer and self._read_cookie(visit.headers) is None)
        # Following a link from another site is no attack: it only shows a page.
        walks_in = visit.headers.get("sec-fetch-mode", "") == "navigate" and visit.method == "GET"
        if foreign and not walks_in:  # a form of theirs navigates too, with a POST
            raise errors.ForeignOrigin(origin=origin[:100] or "?")

    async def identify(self, visit: Visit) -> Visitor | None:
        """Nothing is raised, because an open path answers everybody."""
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
        """Raise WrongToken, TooManyTries, NotStored, and Unauthorized for an API token."""
        visitor = await self.find_token_visitor(token, self._client_address(visit))
        if visitor.program:
            raise Unauthorized(
                "This is an API token, which only works in programs. Use your sign-in link to "
                "sign in to the page."
            )
        return self.new_session(visitor)

    def _client_address(self, visit: Visit) -> str:
        # A proxy on this machine appends its client's address to X-Forwarded-For.
        forwarded = visit.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if self.origin and forwarded and is_loopback(visit.peer) else visit.peer

    async def find_visitor(self, headers: Mapping[str, str], address: str) -> Visitor:
        """Raise Unauthorized, WrongToken, TooManyTries after too many wrong tokens, and
        NotStored."""
        # `address`, the client's, serves the limit of wrong tokens.
        visitor = await self._read_session(headers)
        # A valid seal is not enough: the person may have signed out, or lost their access.
        if visitor and not await visitor.is_signed_out(self.access):
            try:
                await visitor.check_access(self.access)
            except errors.LinksOff as refusal:  # the session began with a link
                raise errors.SessionEnded(refusal.sentence) from None
            await visitor.record_visit(self.access)
            return visitor
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            cookie = self._read_cookie(headers)
            # A cookie that is no longer valid: the page tells why.
            if cookie:
                raise await find_kind(cookie.name).explain_end(self.access, cookie)
            raise Unauthorized
        return await self.find_token_visitor(token.strip(), address)

    async def find_token_visitor(self, token: str, address: str) -> Visitor:
        """Raise WrongToken; Unauthorized for an expired API token; LinkRenewed and AccessRemoved
        for a token that the owner ended; TooManyTries after too many wrong tokens; NotStored if the
        token is not the owner's and accounts cannot be read.

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
                accounts = await self.access.accounts.list_all()
            except NotStored as error:  # its owner still comes in, to see what is wrong
                unread = error
            visitor: Visitor | None = None
            # All tokens are compared, so that the time of the answer does not tell which one fits.
            if hmac.compare_digest(to_bytes(token), self._token) and self._is_generated:
                visitor = self.access.owner_visitor
            digest = hash_token(token)
            for account in accounts:
                if hmac.compare_digest(digest, account.token_hash):
                    visitor = LinkVisitor.of(account)
            if visitor:
                await visitor.check_access(self.access)
                await visitor.record_visit(self.access)
                return visitor
            with suppress(NotStored):
                if ended_token := await self.access.accounts.find_ended_token(digest):
                    raise ended_refusal(ended_token)
        # Nothing waits from here on: many guesses at once are each counted before the next.
        tries, now = self._tries, self._clock()
        while tries and tries[0][0] <= now - WRONG_TOKEN_WINDOW_SECONDS:
            tries.popleft()
        if (
            len(tries) >= MAX_WRONG_TOKENS
            or sum(source_of_try == source for _, source_of_try in tries)
            >= MAX_WRONG_TOKENS_OF_ADDRESS
        ):
            raise errors.TooManyTries
        if not hmac.compare_digest(to_bytes(token), self._token):
            self._tries.append((self._clock(), source))
            raise unread or errors.WrongToken()
        return self.access.owner_visitor

    async def find_program(self, digest: str) -> Visitor | None:
        """Raise SessionEnded, LinksOff or ConfirmAgain if its person has no access now,
        NotConfirmed if that is not known, Unauthorized, NotStored."""
        if program := await ProgramVisitor.find(self.access, digest):
            await program.check_access(self.access)
        return program

    async def measure_session_age(self, visit: Visit) -> float:
        visitor = await self._read_session(visit.headers)
        return self.access.now() - visitor.began_at if visitor else math.inf

    async def describe_session(self, visit: Visit) -> str:
        """Raise NotStored."""
        visitor = await self._read_session(visit.headers)
        return _describe(visitor.label, visitor) if visitor and visitor.label else ""

    async def is_owner_token(self, token: str, visit: Visit) -> bool:
        """Raise TooManyTries, NotStored."""
        # The person may have typed the link with the token.
        token = unquote(token.strip().rpartition("#token=")[2])
        try:
            visitor = await self.find_token_visitor(token, self._client_address(visit))
        except Unauthorized:
            return False
        return visitor.person.id == OWNER_ID and not visitor.program

    async def is_still_allowed(self, visitor: Visitor) -> bool:
        """Raise NotStored."""
        access = self.access
        try:
            found = await type(visitor).find(access, visitor.name)
            # Another token or key has ended the sessions of the former one.
            if found is None or found.token != visitor.token:
                return False
            await found.check_access(access)
        # NotConfirmed: Slack has not confirmed the person for an hour, so their access is unknown.
        except (Refusal, errors.NotConfirmed):
            return False
        # `until` is the end of the session, 0 for a request without one.
        return not (await visitor.is_signed_out(access) or 0 < visitor.until <= access.now())

    def new_session(self, visitor: Visitor | None = None, label: str = "") -> str:
        """A session ends with its person's token or session key and the owner's, because both are
        in the key of the seal. `label` names the session of a provider that goes on.

        The value is a claim and its seal (a keyed hash of the claim). Nothing is stored.

        """
        visitor = visitor or self.access.owner_visitor
        claim = visitor.make_claim(int(self.access.now()), label)
        return f"{claim}-{seal(visitor.sealing_key(self._key), claim)}"

    async def open_session(self, identity: Identity, session: str = "") -> str:
        """`session`: the one that was to be confirmed (`describe_session`). It goes on, and ends as
        early as before: a sign-out ends all its cookies. Raise SessionEnded if it is over or
        somebody else's, NotStored, and the Refusal that the person reads."""
        access, key, label = self.access, identity.person.key, session.partition("-")[0]
        visitor = None
        if session:
            visitor = await ProviderVisitor.find(access, key)
            is_theirs = visitor and hmac.compare_digest(session, _describe(label, visitor))
            if not is_theirs or await access.accounts.is_session_ended(
                hash_token(f"{label}-{key}")
            ):
                raise errors.SessionEnded(PROVIDER_SESSION_ENDED)
        # A confirmation is no sign-in: the audit log gets no line of it.
        stored = await access.accounts.record_sign_in(identity, access.now(), is_new=not session)
        if stored.removed_at:
            raise errors.AccessRemoved
        # A newer session key ended the session meanwhile.
        return self.new_session(visitor or ProviderVisitor.of(stored), label)

    async def sign_out_everywhere(self, visitor: Visitor) -> None:
        """End all sessions of a person of a provider. Raise NotStored, NotAllowed for others."""
        if not visitor.provider:
            raise NotAllowed(
                "Your link opens this page. To end all sessions, ask Ponte's owner for a new link."
            )
        await self.access.accounts.end_all_sessions(visitor.person, self.access.now())

    def form_token(self, visitor: Visitor) -> str:
        """The value proves that a form was not sent by another site. It ends with their session and
        their token."""
        return seal(visitor.sealing_key(self._key), f"form {visitor.session}")

    async def sign_out(self, visit: Visit) -> None:
        """Raise NotStored."""
        cookies, people = _parse_cookies(visit.headers), self.access.accounts
        for name in self._keys:  # the browser may have one of 0.2.0 too, also of somebody else
            visitor = await self._read_session({"cookie": f"{name}={cookies.get(name, '')}"})
            if visitor and not await people.is_session_ended(visitor.session):
                latest = visitor.began_at + visitor.session_seconds
                await people.end_session(visitor.session, latest)

    def _read_cookie(self, headers: Mapping[str, str]) -> SessionCookie | None:
        cookies = _parse_cookies(headers)
        for name, key in self._keys.items():
            if name in cookies:
                claim, _, claim_seal = cookies[name].rpartition("-")
                return SessionCookie(claim, claim_seal, key)
        return None

    async def _read_session(self, headers: Mapping[str, str]) -> Visitor | None:
        """Return the visitor of the session cookie if its seal is valid and it has not expired.
        Raise NotStored.

        A session of a provider ends if it is not used: its cookie is replaced by one with a later
        end, once in RENEWAL_SECONDS. That is the `visitor.cookie`, which the response to the
        request brings to the browser.
        """
        cookie = self._read_cookie(headers)
        if cookie is None or not cookie.claim:
            return None
        visitor = await find_kind(cookie.name).find(self.access, cookie.name)
        if visitor is None or not cookie.is_of(visitor):
            return None
        # From here on, the claim is one that Ponte has made.
        visitor = visitor.read_claim(cookie.claim)
        if visitor.until <= self.access.now():
            return None
        if visitor.label:
            renewed = self.new_session(visitor, visitor.label)
            if int(renewed.partition("-")[0], 16) - visitor.until >= RENEWAL_SECONDS:
                return replace(visitor, cookie=renewed)
        return visitor


class SocketAuthentication:
    """Authentication on the home's Unix socket: everybody who can open it is the owner."""

    platform = "terminal"
    secure = False
    origin = ""
    cookie = ""

    def __init__(self, owner: OwnerName) -> None:
        self._owner_name = owner

    async def admit(self, visit: Visit) -> Visitor:
        """Only the owner's user of this machine can open the socket."""
        return OwnerVisitor(Person(self.platform, OWNER_ID, name=self._owner_name.current))

    identify = admit

    async def is_still_allowed(self, visitor: Visitor) -> bool:
        return True

    async def sign_out_everywhere(self, visitor: Visitor) -> None: ...

    async def has_session(self, visit: Visit) -> bool:
        return True

    async def sign_in(self, token: str, visit: Visit) -> str:
        return ""

    async def sign_out(self, visit: Visit) -> None: ...

    def form_token(self, visitor: Visitor) -> str:
        return ""


Authentication = TokenAuthentication | SocketAuthentication
"""A way to find out who sends a request. `cookie` is the name of the session cookie ("" without
sessions), `secure` whether cookies are sent over https only, and `origin` the page's public origin,
without a path ("" if it has none of its own)."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """The visitors of one server. Without a policy, each of them may do everything.

    `locale` and `time_zone` are those of the installation. `setup` says who may use the setup
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
        place = self.address_of(person, "main")
        return not self.policy or (await self.policy.may(person, place, action)).allowed

    async def list_models(self, person: Person) -> Sequence[str]:
        """The model that everybody has by default is left out, because it need not be named."""
        if self.policy is None:
            return ()
        place, models = self.address_of(person, "main"), []
        for name in self.policy.list_names("model"):
            verdict = await self.policy.may(person, place, "model", name)
            if verdict.allowed and verdict.rule != DEFAULT_RULE:
                models.append(name)
        return models

    async def is_operator(self, person: Person) -> bool:
        return person.id == OWNER_ID or await self.may(person, "administer")

    async def check_is_operator(self, person: Person) -> None:
        if self.policy and person.id != OWNER_ID:
            place = self.address_of(person, "main")
            (await self.policy.may(person, place, "administer")).raise_if_denied()

    def address_of(self, person: Person, conversation: str) -> Address:
        """Each person has their own conversations, which are not those of the same person on a chat
        platform."""
        return Address(self.auth.platform, conversation, person=self.address_person(person))

    def address_person(self, person: Person) -> str:
        """Return the `Address.person` of the person's conversations: "" for the owner, the name of
        an account, or the key of a person of a provider, which has colons, unlike a name."""
        if person.id == OWNER_ID:
            return ""
        return person.id if person.platform == self.auth.platform else person.key

    def make_event_key(self, person: Person, key: str) -> str:
        """An owner's key may hold any character but a space. The keys of other people therefore
        begin with their name. The client's key follows the first colon."""
        name = self.address_person(person).replace(":", "/")
        return f"{self.auth.platform}{'@' if name else ''}{name}:{key}"

    def owns(self, person: Person, conversation: str) -> bool:
        """A key ends with `:@` and the person, unless it is the owner's."""
        place, _, owner = conversation.partition(":@")
        return place.startswith(f"{self.auth.platform}:") and owner == self.address_person(person)


def _parse_cookies(headers: Mapping[str, str]) -> Mapping[str, str]:
    # The parser of `http.cookies` finds nothing if another program's cookie is odd.
    pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _describe(label: str, visitor: Visitor) -> str:
    # The hash ends with the person's other sessions.
    return f"{label}-{hash_token(f'{visitor.name} {visitor.token}')}"
